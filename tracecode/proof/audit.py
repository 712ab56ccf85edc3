"""The auditor at a data folder: its log, its journal, and what the rules say of each entry.

verify.py judges; here the folder is opened and the journal judged again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from google.protobuf.message import DecodeError

from tracecode._native import Store as NativeStore
from tracecode.engine import desk
from tracecode.engine.contract import Submission, Submissions
from tracecode.engine.lmdb import MAP_SIZE_BYTES, LmdbEngine
from tracecode.errors import DataLoss, TracecodeError
from tracecode.proof import verify
from tracecode.proof.checkpoint import Checkpoint
from tracecode.proof.tiles import Fetch, fetch_from
from tracecode.proof.verify import AuditReport, Change, Deviation, Policy
from tracecode.rule_base import Activation, RuleBase
from tracecode.v1 import journal_pb2

LOG = "proof"
"""Where the log of a data folder is, unless a setting says otherwise."""
ENTRIES_PER_READ = 256
DOCUMENTS_PER_COMMIT = 256
OVERLAY_BYTES_MAX = 256 * 2**20

Progress = Callable[[int, int], None]


class Unjudgeable(Exception):
    """An entry that nothing brings about, or that cannot be understood."""


def open_journal(directory: Path) -> NativeStore:
    """A ledger's journal, read beside a service that writes it. Raises FileNotFoundError, DataLoss."""
    if not (directory / "journal").is_dir():
        raise FileNotFoundError(f"{directory} holds no ledger")
    return NativeStore(str(directory), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=2**20, read_only=True)


def audit(
    directory: Path,
    policy: Policy,
    *,
    fetch: Fetch | None = None,
    kept: Sequence[Checkpoint] = (),
    rejudge: bool = False,
    bundles: bool = False,
    progress: Progress | None = None,
) -> AuditReport:
    """Check a data folder's journal against its log, or against that which `fetch` reads.

    With `rejudge` every entry is judged again from what was received, and a verdict that the rules do not
    give is named. Raises FileNotFoundError when there is no ledger, DataLoss when it cannot be opened.
    """
    with closing(open_journal(directory)) as store:
        last = store.durable_sequence
        report = verify.audit(
            fetch or fetch_from(directory / LOG),
            policy,
            kept=kept,
            entries=read_entries(store, last, progress),
            bundles=bundles,
        )
        if not rejudge or any(one.change is Change.DAMAGED for one in report.deviations):
            return report
        return replace(report, deviations=(*report.deviations, *judge_again(store, last, progress)))


def read_entries(store: NativeStore, last: int, progress: Progress | None = None) -> Iterator[bytes | None]:
    """The entries up to `last`, None for one that cannot be read."""
    after = 0
    while after < last:
        count = min(ENTRIES_PER_READ, last - after)
        try:
            values: Sequence[bytes | None] = store.entries(after, count)
            if len(values) < count:
                values = [*values, *[None] * (count - len(values))]
        except DataLoss:
            values = [_read_entry(store, sequence) for sequence in range(after + 1, after + count + 1)]
        yield from values
        after += count
        if progress is not None:
            progress(after, last)


def _read_entry(store: NativeStore, sequence: int) -> bytes | None:
    try:
        return store.entry(sequence)
    except DataLoss:
        return None


def judge_again(store: NativeStore, last: int, progress: Progress | None = None) -> list[Deviation]:
    """The first entry that does not follow from what was received before it, if there is one.

    Needs the room of another ledger in the system's folder for passing files.
    """
    with tempfile.TemporaryDirectory(prefix="tracecode-audit-") as scratch:
        return _judge_again(store, last, Path(scratch) / "ledger", progress)


def _judge_again(store: NativeStore, last: int, scratch: Path, progress: Progress | None) -> list[Deviation]:
    engine: LmdbEngine | None = None
    waiting: list[Submission] = []
    compared = 0
    try:
        for value in read_entries(store, last, progress):
            entry = journal_pb2.JournalEntry.FromString(value or b"")
            kind = entry.WhichOneof("content")
            if kind == "document":
                document = entry.document
                waiting.append(Submission(document.document, entry.receive_time_ns, document.request_id))
                if len(waiting) < DOCUMENTS_PER_COMMIT:
                    continue
            elif kind in ("revision", "product_import") and _comes_of_a_document(engine, waiting, entry):
                continue
            if waiting:
                assert engine is not None
                engine.record(Submissions.of(*waiting))
                waiting.clear()
                found, compared = _compare(store, engine, compared)
                if found:
                    return found
            if kind != "document":
                engine = _apply(engine, entry, scratch)
                found, compared = _compare(store, engine, compared)
                if found:
                    return found
        if engine is not None:
            if waiting:
                engine.record(Submissions.of(*waiting))
            found, compared = _compare(store, engine, compared)
            if found:
                return found
        if compared < last:
            return [_deviate(compared + 1, "nothing that was received brings it about")]
    except Unjudgeable as error:
        return [_deviate(compared + 1, str(error))]
    except (TracecodeError, DecodeError, ValueError) as error:
        return [_deviate(compared + 1, f"it, or one behind it, cannot be judged again: {error}")]
    finally:
        if engine is not None:
            engine.close()
    return []


def _comes_of_a_document(
    engine: LmdbEngine | None, waiting: Sequence[Submission], entry: journal_pb2.JournalEntry
) -> bool:
    """Whether judging will bring an entry about by itself: a revision, or a product that a receipt taught."""
    if entry.HasField("revision"):
        return True
    if engine is None:
        return False
    return entry.sequence <= engine.sequence or (
        bool(waiting)
        and waiting[-1].receive_time_ns == entry.receive_time_ns
        and all(product.learned for product in entry.product_import.products)
    )


def _apply(engine: LmdbEngine | None, entry: journal_pb2.JournalEntry, scratch: Path) -> LmdbEngine:
    """Do again what an entry says was done. Raises Unjudgeable, and what the engine says."""
    now_ns = entry.receive_time_ns
    kind = entry.WhichOneof("content")
    if kind == "rule_base_change":
        rule_base = RuleBase.parse_kept(entry.rule_base_change.text, f"journal entry {entry.sequence}")
        if engine is None:
            return LmdbEngine(scratch, rule_base, now_ns, overlay_bytes_max=OVERLAY_BYTES_MAX)
        engine.change_rule_base(rule_base, now_ns, _read_activation(entry.rule_base_change))
        return engine
    if engine is None:
        raise Unjudgeable("the journal does not begin with a rule base")
    match kind:
        case "product_import":
            engine.import_products(entry.product_import.products, now_ns)
        case "institution_import":
            engine.import_institutions(entry.institution_import.institutions, now_ns)
        case "hold_import":
            engine.import_holds(entry.hold_import.holds, now_ns)
        case "code_replacement_import":
            engine.import_code_replacements(entry.code_replacement_import.code_replacements, now_ns)
        case content if content in desk.CONTENTS:
            # A move that the case's state did not allow, or a case's number that was not its turn.
            (answer,) = engine.act([entry], now_ns)
            if isinstance(answer, Exception):
                raise Unjudgeable(f"the desk would have refused it: {answer}")
            if answer.repeat:
                raise Unjudgeable("it says again what an entry before it says, and nothing should follow")
        case _:
            raise Unjudgeable(
                "it is of a kind that this version does not know; audit with the one that wrote it"
            )
    return engine


def _read_activation(change: journal_pb2.RuleBaseChange) -> Activation:
    """Who put a rule base in force. Raises Unjudgeable where it was nobody's to do."""
    if change.author and change.author == change.approver:
        raise Unjudgeable("its author approved it, and somebody else has to")
    return Activation(
        change.author,
        change.approver,
        change.notes,
        change.effective_time_seconds,
        change.restored_sequence,
    )


def _compare(store: NativeStore, engine: LmdbEngine, compared: int) -> tuple[list[Deviation], int]:
    """The first entry behind `compared` that is not as it was judged now, and up to where they are equal."""
    while compared < engine.sequence:
        again = engine.entries(compared, ENTRIES_PER_READ)
        there = store.entries(compared, len(again))
        for ours, theirs in zip(again, there, strict=False):
            compared += 1
            if ours != theirs:
                return [_deviate(compared, "judged again it is another one")], compared
        if len(there) < len(again):
            return [_deviate(compared + 1, "it should follow and is not there")], compared
    return [], compared


def _deviate(sequence: int, what: str) -> Deviation:
    return Deviation(Change.VERDICT, sequence, sequence, f"entry {sequence}: {what}")
