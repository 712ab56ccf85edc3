"""Days that no story tells: the journal tells the index again, and the order of arrival changes no end."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from documents import HOUR, INSTITUTIONS, NOON, NS, PRODUCTS

from tracecode.engine.contract import Submission
from tracecode.engine.index import Index
from tracecode.engine.lmdb import LmdbEngine
from tracecode.engine.memory import MemoryEngine
from tracecode.engine.records import CodeRecord, Table
from tracecode.fsck import check
from tracecode.life_cycle import Event
from tracecode.rule_base import RuleBase
from tracecode.v1 import document_pb2, finding_pb2, journal_pb2
from trust.conftest import Effort
from trust.random_days import Told, describe, draw_days, shrink, tell
from trust.table import NotInjected, Row

AddRow = Callable[[Row | NotInjected], None]

ALL_RECEIVED_NS = (NOON + 400 * HOUR) * NS
"""After all that happened: so the order of arrival changes no effective time."""

CONTROL_SEEDS = range(25)
"""Seeds that the controls are tried on; most of them are silent about any one sabotage."""


def open_engine(folder: Path) -> LmdbEngine:
    """An engine on a small map, with the catalogue of the tests."""
    engine = LmdbEngine(folder, None, NOON * NS, map_size_bytes=2**26)
    if engine.sequence == 1:
        engine.import_products(PRODUCTS, NOON * NS)
        engine.import_institutions(INSTITUTIONS, NOON * NS)
    return engine


def record_days(folder: Path, days: Iterable[Sequence[Told]]) -> bool:
    """Record day by day; whether the check of the ledger after each of them was good."""
    good = True
    for day in days:
        engine = open_engine(folder)
        tell(engine, day)
        engine.close()
        good = good and check(folder).ok
    return good


def index_of(folder: Path) -> list[tuple[bytes, bytes]]:
    """The whole index on disk but for how far it has come."""
    engine = open_engine(folder)
    rows = [row for row in engine.native.scan(b"") if row[0] != b"mapplied_sequence"]
    engine.close()
    return rows


def test_the_journal_tells_random_days_again(
    effort: Effort, add_row: AddRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that what was written while it happened is what the rules, and the native replay, read back."""
    bad: list[int] = []
    tries = effort.count(10, 500)
    for seed in range(tries):
        folder = tmp_path / "ledger"
        good = record_days(folder, draw_days(seed))
        written = index_of(folder)
        shutil.rmtree(folder / "index")
        if not good or index_of(folder) != written:
            bad.append(seed)
        shutil.rmtree(folder)

    found_out = False
    for seed in CONTROL_SEEDS:
        folder = tmp_path / f"control {seed}"
        record_days(folder, draw_days(seed))
        with monkeypatch.context() as sabotage:
            sabotage.setattr(Index, "packages_around", lambda self, codes, told=None: ())
            found_out = found_out or not check(folder).ok
        if found_out:
            break

    add_row(
        Row(
            fault="index and journal disagree",
            how="random days, fsck after each, index rebuilt",
            tries=tries,
            wrong=len(bad),
            control="a reader of the journal that knows no cartons",
            control_failed=found_out,
            note=f"seeds {bad}" if bad else "",
        )
    )


def draw_documents(seed: int) -> list[Submission]:
    """The documents of random days, none asked before settlement and none rejected in any order.

    A refusal depends on what is known when it is asked, and of two documents of one number the first is kept.
    So these are left out.
    """
    kept: list[Submission] = []
    taken: set[tuple[str, ...]] = set()
    for one in (one for day in draw_days(seed) for one in day if isinstance(one, Submission)):
        document = document_pb2.Document.FromString(one.document)
        if document.HasField("sale"):
            document.sale.stage = document_pb2.SALE_STAGE_REPORTED
        shop, kind = document.institution_code, document.WhichOneof("content") or ""
        identity = (shop, kind, document.document_number, document.corrects_document_number)
        if identity not in taken:
            taken.add(identity)
            kept.append(Submission(document.SerializeToString(deterministic=True), ALL_RECEIVED_NS))
    return kept


def essence(findings: Iterable[finding_pb2.Finding]) -> list[tuple[int, str, int, int, int, int]]:
    """What the findings say; their evidence may be told in other words."""
    return sorted((f.line_number, f.code, f.type, f.final_severity, f.grade, f.mode) for f in findings)


def end_of(told: Sequence[Told]) -> dict[bytes, object]:
    """What stands in the end: of every document its findings and its deletion, of every code its state."""
    engine = MemoryEngine(RuleBase.default(), NOON * NS)
    engine.import_products(PRODUCTS, NOON * NS)
    engine.import_institutions(INSTITUTIONS, NOON * NS)
    tell(engine, told)
    found: dict[bytes, object] = {}
    for value in engine.entries(0, 1_000_000):
        entry = journal_pb2.JournalEntry.FromString(value)
        if entry.HasField("document"):
            stored = engine.index.stored(entry.sequence)
            standing, _ = engine.index.standing_findings(stored)
            deleted_by = engine.index.record_of(stored).deleted_by
            deletion = engine.index.stored(deleted_by).entry.document.document if deleted_by else b""
            found[entry.document.document] = (essence(standing), deletion)
    for key, value in engine.memory.dump().items():
        if key[0] == Table.CODE:
            # Sequences and the numbers of institutions are given by arrival.
            record = CodeRecord.from_bytes(value)
            holder = engine.index.institution_code(record.institution)
            found[key] = (record.to_bytes()[:4], holder, record.to_bytes()[8:16], record.to_bytes()[24:])
    return found


def orders_of(told: Sequence[Told], seed: int, count: int) -> list[list[Told]]:
    """Other orders of arrival, the reverse among them."""
    rng = random.Random(seed)
    return [list(reversed(told)), *(rng.sample(told, len(told)) for _ in range(count - 1))]


def differs(told: Sequence[Told], seed: int, count: int) -> bool:
    """Whether any of the orders ends in something else."""
    end = end_of(told)
    return any(end_of(order) != end for order in orders_of(told, seed, count))


def test_random_days_end_the_same_in_any_order(
    effort: Effort, add_row: AddRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that standing verdicts and states are a function of the set of documents, odd ones included."""
    tries, orders = effort.count(8, 250), 3
    bad = [seed for seed in range(tries) if differs(draw_documents(seed), seed, orders)]
    smallest = shrink(draw_documents(bad[0]), lambda told: differs(told, bad[0], orders)) if bad else []

    monkeypatch.setattr(Event, "order", property(lambda event: (event.sequence, 0, "", 0, "", 0, False, b"")))
    found_out = any(differs(draw_documents(seed), seed, orders) for seed in CONTROL_SEEDS)

    add_row(
        Row(
            fault="order of arrival, odd days",
            how=f"random days, each in {orders + 1} orders",
            tries=tries * (orders + 1),
            wrong=len(bad),
            control="chains in the order of arrival",
            control_failed=found_out,
            note="\n".join((f"seeds {bad}", *describe(smallest))) if bad else "",
        )
    )
