"""Is every byte of a ledger what its journal says? And what can be mended without a backup.

The files are looked at page by page first, without LMDB, which does not survive every damage. The journal's
entries are then applied to an empty index in a passing folder, up to the last entry that the index on disk
holds, and both are compared record by record, some thousand at a time.

`repair` puts a new index in the place of one that is damaged, and new pages under a journal of which every
entry can be read. What it replaces it keeps aside. An entry that cannot be read it cannot bring back.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from google.protobuf.message import DecodeError

from tracecode._native import JournalRemains, check_pages
from tracecode._native import Store as NativeStore
from tracecode.attachments import ATTACHMENTS, Attachments
from tracecode.engine import records
from tracecode.engine.index import Index
from tracecode.engine.lmdb import MAP_SIZE_BYTES
from tracecode.errors import DataLoss, EngineStopped
from tracecode.v1 import document_pb2, journal_pb2

ENTRIES_PER_STEP = 1_000
RECORDS_PER_STEP = 5_000
OVERLAY_BYTES = 128 * 2**20
WRONG_SHOWN_MAX = 20
# A page holds fewer entries than this; a meta page that counts more is not believed.
ENTRIES_PER_PAGE_MAX = 256
OWN_OF_STORE = frozenset({records.meta_key("applied_sequence"), records.meta_key("format")})
"""Records that the store keeps about itself; the journal does not know them."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What was compared, and what is wrong: `lines` are sentences, the first wrong record first."""

    ok: bool
    entries: int
    records: int
    wrong: int
    lines: tuple[str, ...]
    damaged: tuple[tuple[int, int], ...] = ()
    """The entries of the journal that cannot be read, as ranges of sequences (first, last)."""
    aside: Path | None = None
    """Where `repair` put the damaged files; None: it replaced nothing."""


def check(directory: Path, progress: Progress | None = None) -> FsckReport:
    """Check a ledger that no process has open. `progress` is told (entries done, entries in all).

    Raises EngineStopped when a process has it open, FileNotFoundError when there is no ledger.
    """
    with _hold(directory):
        return _check(directory, progress)


def repair(directory: Path, progress: Progress | None = None) -> FsckReport:
    """Check, and replace what is damaged and can be derived; the report is of the check, and `aside` says
    where the damaged files are now. Nothing is replaced where an entry of the journal cannot be read.

    Raises as `check` does, and OSError where there is no room.
    """
    with _hold(directory):
        report = _check(directory, progress)
        if report.ok or report.damaged:
            return report
        return replace(report, aside=_rebuild(directory, progress))


@contextmanager
def _hold(directory: Path) -> Iterator[None]:
    """Keep writers out; a store that is only read takes no lock of its own."""
    if not (directory / "journal").is_dir():
        raise FileNotFoundError(f"{directory} holds no ledger")
    with (directory / "lock").open("a+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EngineStopped(f"{directory} is open in another process; stop that one first") from None
        yield


def _check(directory: Path, progress: Progress | None) -> FsckReport:
    journal = directory / "journal" / "data.mdb"
    lines = []
    journal_fault = _find_fault(journal, journal=True)
    index_fault = _find_fault(directory / "index" / "data.mdb", journal=False)
    if not journal.exists():
        return FsckReport(False, 0, 0, 1, (f"{journal} is gone; restore it from a backup",), ((1, 1),))
    applied = 0 if journal_fault or index_fault else _read_applied(directory)
    with JournalRemains(str(journal)) as remains:
        said = remains.entries_said
        if said > ENTRIES_PER_PAGE_MAX * (journal.stat().st_size // os.sysconf("SC_PAGE_SIZE") + 1):
            said = 0
        last = max(remains.last, said)
        damaged = tuple(remains.missing(last))
        lines += [_describe_loss(remains, first, until) for first, until in damaged]
        if journal_fault and not damaged:
            lines.append(f"{journal_fault}; every entry up to {last} can be read all the same")
        elif journal_fault:
            lines.append(journal_fault)
        if journal_fault and not remains.certain:
            lines.append("which pages of the journal are in use cannot be told; restore it from a backup")
            damaged = damaged or ((1, last),)
        if index_fault:
            lines.append(f"{index_fault}; the journal has all that was in it")
        if applied > last:
            lines.append(
                f"the index is complete up to entry {applied}, the journal ends with {last}: it was"
                " replaced by an older one, or lost its end; put the right one back, or delete the index to"
                f" go on without {_count_entries(last + 1, applied)}"
            )
            # To make the index as short as that is a decision, and no repair.
            damaged = (*damaged, (last + 1, applied))
        if lines:
            wrong = (
                sum(until - first + 1 for first, until in damaged) + bool(journal_fault) + bool(index_fault)
            )
            return FsckReport(False, last, 0, max(wrong, 1), tuple(lines), damaged)
        wrong_lines, wrong, compared = _compare_with_journal(directory, remains, applied, last, progress)
    return FsckReport(not wrong, last, compared, wrong, tuple(wrong_lines))


def _find_lost(attachments: Attachments, entry: journal_pb2.JournalEntry) -> list[str]:
    """A sentence where an entry names a file that the folder does not have as it was."""
    if not entry.case_event.HasField("attachment"):
        return []
    try:
        for _part in attachments.read(entry.case_event.attachment.sha256):
            pass
    except DataLoss as loss:
        return [f"entry {entry.sequence}: {loss}"]
    return []


def _find_fault(file: Path, *, journal: bool) -> str:
    """What is wrong with the pages of a file, "" if nothing is. An index may be missing."""
    try:
        check_pages(str(file), journal=journal, full=True)
    except FileNotFoundError:
        return ""
    except DataLoss as loss:
        return str(loss)
    return ""


def _read_applied(directory: Path) -> int:
    if not (directory / "index" / "data.mdb").exists():
        return 0
    with _open_to_read(directory) as store:
        return store.applied_sequence


def _open_to_read(directory: Path) -> NativeStore:
    return NativeStore(str(directory), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=2**20, read_only=True)


def _describe_loss(remains: JournalRemains, first: int, last: int) -> str:
    """Which entries cannot be read, and what stands before and behind them."""
    which = _count_entries(first, last)
    before = _describe_entry(remains.entry(first - 1)) or "nothing"
    behind = _describe_entry(remains.entry(last + 1)) or "nothing"
    return f"{which} of the journal cannot be read; before: {before}; behind: {behind}"


def _count_entries(first: int, last: int) -> str:
    return f"entry {first}" if first == last else f"entries {first} to {last} ({last - first + 1})"


def _describe_entry(value: bytes | None) -> str:
    if value is None:
        return ""
    try:
        entry = journal_pb2.JournalEntry.FromString(value)
        document = document_pb2.Document.FromString(entry.document.document)
    except DecodeError:
        return "an entry of another format"
    time = datetime.fromtimestamp(entry.receive_time_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")
    what: str = entry.WhichOneof("content") or "entry"
    if what == "document":
        what = f"{document.WhichOneof('content')} {document.institution_code} {document.document_number}"
    return f"{entry.sequence} ({what}, received {time} UTC)"


def _compare_with_journal(
    directory: Path, remains: JournalRemains, applied: int, last: int, progress: Progress | None
) -> tuple[list[str], int, int]:
    """Sentences about what is wrong, how much is, and how many records were compared."""
    lost: list[str] = []
    attachments = Attachments(directory / ATTACHMENTS)
    with tempfile.TemporaryDirectory(prefix="tracecode-fsck-") as scratch:
        with _open_scratch(Path(scratch), directory / "journal") as rebuilt:
            index = Index(rebuilt)
            for sequence, value in _read_entries(remains, 0, last, progress):
                entry = journal_pb2.JournalEntry.FromString(value)
                lost += _find_lost(attachments, entry)
                # What follows is in the journal alone; the next start brings it into the index.
                if sequence <= applied:
                    index.apply(entry)
                    rebuilt.replayed(sequence)
            rebuilt.flush()
            if not applied:
                return lost, len(lost), 0
            with _open_to_read(directory) as store:
                wrong_lines, wrong, compared = _compare(store, rebuilt)
    return lost + wrong_lines, len(lost) + wrong, compared


def _open_scratch(scratch: Path, journal: Path) -> NativeStore:
    """A store with an empty index that follows from a journal which stays where it is."""
    (scratch / "format").write_bytes(b"tracecode format %d\n" % records.FORMAT)
    (scratch / "journal").symlink_to(journal.absolute())
    return NativeStore(str(scratch), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=OVERLAY_BYTES)


def _read_entries(
    remains: JournalRemains, after: int, last: int, progress: Progress | None
) -> Iterator[tuple[int, bytes]]:
    for sequence in range(after + 1, last + 1):
        value = remains.entry(sequence)
        if value is None:
            raise DataLoss(f"entry {sequence} of {remains.path} cannot be read any more")
        yield sequence, value
        if progress is not None and (sequence % ENTRIES_PER_STEP == 0 or sequence == last):
            progress(sequence, last)


def _compare(store: NativeStore, rebuilt: NativeStore) -> tuple[list[str], int, int]:
    shown: list[str] = []
    wrong = compared = 0

    def note(sentence: str) -> None:
        nonlocal wrong
        wrong += 1
        if len(shown) < WRONG_SHOWN_MAX:
            shown.append(sentence)

    stored, expected = _scan(store), _scan(rebuilt)
    here, there = next(stored, None), next(expected, None)
    while here is not None or there is not None:
        if there is None or (here is not None and here[0] < there[0]):
            assert here is not None
            compared += 1
            note(f"{_name(here[0])}: the journal does not call for it")
            here = next(stored, None)
        elif here is None or there[0] < here[0]:
            note(f"{_name(there[0])}: is missing")
            there = next(expected, None)
        else:
            compared += 1
            if here[1] != there[1]:
                note(f"{_name(here[0])}: is {here[1].hex()}, the journal says {there[1].hex()}")
            here, there = next(stored, None), next(expected, None)
    if wrong > len(shown):
        shown.append(f"... and {wrong - len(shown)} more")
    return shown, wrong, compared


def _scan(store: NativeStore, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """All records whose keys begin with the prefix, by key, without holding many of them."""
    rows = store.scan(prefix, RECORDS_PER_STEP + 1)
    if len(rows) <= RECORDS_PER_STEP:
        yield from (row for row in rows if row[0] not in OWN_OF_STORE)
        return
    first = rows[0]
    del rows
    if first[0] == prefix:
        yield first
    for byte in range(256):
        yield from _scan(store, prefix + bytes([byte]))


def _name(key: bytes) -> str:
    try:
        return f"{records.Table(key[0]).name} record {key.hex()}"
    except ValueError:
        return f"record {key.hex()} of no table"


def _rebuild(directory: Path, progress: Progress | None) -> Path:
    """Put what follows from the entries in the place of what is damaged; where that is now."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    # Whatever happens on the way, this folder holds the new files or the damaged ones; nothing is deleted.
    scratch = directory / f"repair-{stamp}"
    scratch.mkdir(mode=0o700)
    journal = directory / "journal" / "data.mdb"
    journal_fault = _find_fault(journal, journal=True)
    if journal_fault:
        _rewrite(scratch, journal, progress)
    else:
        with (
            JournalRemains(str(journal)) as remains,
            _open_scratch(scratch, directory / "journal") as rebuilt,
        ):
            index = Index(rebuilt)
            for sequence, value in _read_entries(remains, 0, rebuilt.durable_sequence, progress):
                index.apply(journal_pb2.JournalEntry.FromString(value))
                rebuilt.replayed(sequence)
            rebuilt.flush()
        (scratch / "journal").unlink()
    for name in ("journal", "index") if journal_fault else ("index",):
        _sync(scratch / name)
        if not (directory / name).exists():
            (directory / name).mkdir(mode=0o700)
        _exchange(scratch / name, directory / name)
    for name in ("format", "lock"):
        (scratch / name).unlink(missing_ok=True)
    aside = directory / f"damaged-{stamp}"
    scratch.rename(aside)
    _sync(aside)
    _sync(directory)
    return aside


def _rewrite(scratch: Path, journal: Path, progress: Progress | None) -> None:
    """A new journal of the same entries, and its index."""
    with (
        JournalRemains(str(journal)) as remains,
        NativeStore(str(scratch), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=OVERLAY_BYTES) as rebuilt,
    ):
        index = Index(rebuilt)
        for sequence, value in _read_entries(remains, 0, remains.last, progress):
            rebuilt.append(value)
            index.apply(journal_pb2.JournalEntry.FromString(value))
            # A long receipt alone leaves thousands of records.
            if sequence % ENTRIES_PER_STEP == 0 or rebuilt.memory()["overlay_bytes"] > OVERLAY_BYTES // 2:
                rebuilt.flush()
        rebuilt.commit()
        rebuilt.flush()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> None:
    """Swap two names at one instant: a crash leaves the old files in their place or the new ones."""
    libc = ctypes.CDLL(None, use_errno=True)
    at_working_directory, exchange = -100, 2
    with suppress(AttributeError):
        if (
            libc.renameat2(
                at_working_directory, os.fsencode(one), at_working_directory, os.fsencode(other), exchange
            )
            == 0
        ):
            return
    # A file system that cannot: for a moment there is no such folder, which of an index does no harm.
    between = one.with_name(one.name + ".old")
    other.rename(between)
    one.rename(other)
    between.rename(one)
