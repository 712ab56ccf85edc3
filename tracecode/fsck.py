"""Rebuild the index from the journal and compare: is every record what its entries say?

The journal is read whole, applied to an empty index in memory up to the last entry that the index on disk
holds, and compared record by record. Nothing is written.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tracecode._native import Store as NativeStore
from tracecode.engine import records
from tracecode.engine.index import Index
from tracecode.engine.lmdb import MAP_SIZE_BYTES
from tracecode.engine.memory import MemoryStore
from tracecode.errors import DataLoss, EngineStopped
from tracecode.v1 import journal_pb2

ENTRIES_PER_STEP = 1_000
OWN_OF_STORE = frozenset({records.meta_key("applied_sequence"), records.meta_key("format")})
"""Records that the store keeps about itself; the journal does not know them."""


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What was compared, and what is wrong: `lines` are sentences, the first wrong record first."""

    ok: bool
    entries: int
    records: int
    wrong: int
    lines: tuple[str, ...]


WRONG_SHOWN_MAX = 20


def check(directory: Path, progress: Callable[[int, int], None] | None = None) -> FsckReport:
    """Check a ledger that no process has open. `progress` is told (entries done, entries in all).

    Raises EngineStopped when a process has it open, FileNotFoundError when there is no ledger.
    """
    if not (directory / "journal").is_dir():
        raise FileNotFoundError(f"{directory} holds no ledger")
    with _hold(directory):
        return _check(directory, progress)


@contextmanager
def _hold(directory: Path) -> Iterator[None]:
    """Keep writers out; a store that is only read takes no lock of its own."""
    with (directory / "lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EngineStopped(f"{directory} is open in another process; stop that one first") from None
        yield


def _check(directory: Path, progress: Callable[[int, int], None] | None) -> FsckReport:
    store = NativeStore(
        str(directory), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=2**20, read_only=True
    )
    entries = 0
    try:
        applied, last = store.applied_sequence, store.sequence
        rebuilt = MemoryStore()
        index = Index(rebuilt)
        while entries < last:
            values = store.entries(entries, min(ENTRIES_PER_STEP, last - entries))
            if not values:
                raise DataLoss(f"journal entry {entries + 1} is missing; restore the journal from a backup")
            for value in values:
                entry = journal_pb2.JournalEntry.FromString(value)
                if entry.sequence != entries + 1:
                    raise DataLoss(f"journal entry {entries + 1} calls itself {entry.sequence}")
                # What follows is in the journal alone; the next start brings it into the index.
                if entries < applied:
                    rebuilt.append(value)
                    index.apply(entry)
                entries += 1
            rebuilt.commit()
            if progress is not None:
                progress(entries, last)
        wrong, compared = _compare(store, rebuilt.dump())
    except DataLoss as loss:
        return FsckReport(False, entries, 0, 1, (str(loss),))
    finally:
        store.close()
    shown = wrong[:WRONG_SHOWN_MAX]
    if len(wrong) > len(shown):
        shown.append(f"... and {len(wrong) - len(shown)} more")
    return FsckReport(not wrong, entries, compared, len(wrong), tuple(shown))


def _compare(store: NativeStore, expected: dict[bytes, bytes]) -> tuple[list[str], int]:
    """Sentences about records that differ, in key order, and how many were compared."""
    wrong = []
    compared = 0
    for table in sorted(records.Table):
        for key, value in store.scan(bytes([table])):
            if key in OWN_OF_STORE:
                continue
            compared += 1
            rebuilt = expected.pop(key, None)
            if rebuilt is None:
                wrong.append(f"{_name(key)}: the journal does not call for it")
            elif rebuilt != value:
                wrong.append(f"{_name(key)}: is {value.hex()}, the journal says {rebuilt.hex()}")
    wrong += [f"{_name(key)}: is missing" for key in sorted(expected)]
    return wrong, compared


def _name(key: bytes) -> str:
    return f"{records.Table(key[0]).name} record {key.hex()}"
