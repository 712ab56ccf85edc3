"""The projector: follows the journal and keeps the views.

It reads what is durable through a read-only Store, some tens of thousands of rows at once, and counts them
into all views in one transaction with its cursor (tracecode/views/store.py). Where it is interrupted it goes
on from the cursor. `rebuild` begins anew and ends in the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from tracecode._native import Store
from tracecode.v1 import journal_pb2
from tracecode.views.batch import Batch
from tracecode.views.cohorts import CohortsView
from tracecode.views.finding_states import FindingStatesView
from tracecode.views.institution_days import InstitutionDaysView
from tracecode.views.lines import ENTRIES_MAX, ROWS_MAX, read_lines
from tracecode.views.parquet import ROWS_MAX as PARQUET_ROWS_MAX
from tracecode.views.parquet import ParquetWriter
from tracecode.views.person_days import PersonDaysView
from tracecode.views.staff_days import StaffDaysView
from tracecode.views.stock import StockView
from tracecode.views.store import View, ViewStore

VIEWS: tuple[View, ...] = (
    StockView(),
    InstitutionDaysView(),
    PersonDaysView(),
    StaffDaysView(),
    CohortsView(),
    FindingStatesView(),
)
"""Every view; a new one is entered here, and LAYOUT in tracecode/views/store.py raised."""

DIRECTORY = "views"
"""Their folder in the data folder."""
PERIOD_SECONDS = 0.3
"""From one batch to the next, while it keeps up: many rows of one key cost as much as one."""
FILES_PERIOD_SECONDS = 30.0
"""Rows wait so long, at most, for their Parquet file, while it keeps up."""
LAG_BOUNDS_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
"""Lags are counted up to these."""


class Projector:
    """Follows one ledger. Raises EngineStopped where somebody else does already."""

    def __init__(
        self,
        directory: Path,
        *,
        parquet: bool = True,
        clock_ns: Callable[[], int] = time.time_ns,
        map_size_bytes: int = 256 * 2**30,
    ) -> None:
        """`directory` is the data folder of a ledger, which may be served meanwhile."""
        # Its threads would take from the tills the cores that they wait for.
        pa.set_cpu_count(1)
        pa.set_io_thread_count(1)
        self._clock_ns = clock_ns
        self._journal = Store(
            str(directory), map_size_bytes=map_size_bytes, overlay_bytes_max=0, read_only=True
        )
        try:
            self.store = ViewStore(directory / DIRECTORY)
        except BaseException:
            self._journal.close()
            raise
        if not self.store.follows(self._journal.entry):
            # Another journal lies there now, such as one that was restored to an earlier day.
            self.store.clear()
        self._parquet = ParquetWriter(self.store) if parquet else None
        self._files_seconds = time.monotonic()
        self._lags = [0] * (len(LAG_BOUNDS_SECONDS) + 1)
        self._sequence = self.store.sequence

    @property
    def sequence(self) -> int:
        """The entry up to which everything is counted in."""
        return self._sequence

    @property
    def durable_sequence(self) -> int:
        """The last entry of the journal."""
        return self._journal.durable_sequence

    def restart(self) -> None:
        """Throw all views away; the next step begins with the first entry."""
        self.store.clear()
        self._sequence = 0
        if self._parquet is not None:
            self._parquet = ParquetWriter(self.store)

    def step(self, entries_max: int = ENTRIES_MAX, rows_max: int = ROWS_MAX) -> int:
        """Count in what is durable behind the cursor, at most so much; how many entries it was."""
        after = self._sequence
        extract = read_lines(self._journal, after, entries_max, rows_max)
        if extract.sequence == after:
            return 0
        if not self.store.apply(VIEWS, Batch(extract), self._journal.entry):
            raise RuntimeError("somebody else moved the views' cursor, though this process has their lock")
        self._sequence = extract.sequence
        lag = self._lag(after + 1)
        self._lags[sum(lag > bound for bound in LAG_BOUNDS_SECONDS)] += 1
        self.store.tell(
            {
                "sequence": self._sequence,
                "entries_behind": self._journal.durable_sequence - self._sequence,
                "lag_seconds": round(lag, 3),
                "lag_bounds_seconds": LAG_BOUNDS_SECONDS,
                "lag_counts": self._lags,
                "files_sequence": self._parquet.sequence if self._parquet is not None else 0,
                "time_ns": self._clock_ns(),
            }
        )
        if self._parquet is not None:
            self._catch_up_files(after, entries_max, rows_max)
            if self._parquet.gathered == after:
                self._parquet.add(extract)
        return extract.sequence - after

    def write_files(self, *, whole: bool = False) -> None:
        """Write Parquet files if it is time for it, or all that is there."""
        if self._parquet is None:
            return
        if whole:
            self._catch_up_files(self._sequence, ENTRIES_MAX, ROWS_MAX)
        due = time.monotonic() - self._files_seconds >= FILES_PERIOD_SECONDS
        if whole or due or self._parquet.rows >= PARQUET_ROWS_MAX:
            self._parquet.write()
            self._files_seconds = time.monotonic()

    def _catch_up_files(self, until: int, entries_max: int, rows_max: int) -> None:
        """Gather what the files lack up to an entry: what was gathered when the last projector ended."""
        assert self._parquet is not None
        while self._parquet.gathered < until:
            entries = min(entries_max, until - self._parquet.gathered)
            self._parquet.add(read_lines(self._journal, self._parquet.gathered, entries, rows_max))
            if self._parquet.rows >= PARQUET_ROWS_MAX:
                self._parquet.write()

    def _lag(self, sequence: int) -> float:
        """How long ago an entry, which has only now been counted in, was received."""
        entry = journal_pb2.JournalEntry.FromString(self._journal.entry(sequence) or b"")
        return max(0.0, (self._clock_ns() - entry.receive_time_ns) / 1e9)

    def follow(self, ended: Callable[[float], bool]) -> None:
        """Follow until `ended(seconds)`, which waits so long for the end, says so; then write the files."""
        while True:
            begun = time.monotonic()
            done = self.step()
            self.write_files()
            rest = PERIOD_SECONDS - (time.monotonic() - begun)
            # A long way behind there is nothing to wait for.
            if ended(0.0 if done >= ENTRIES_MAX // 2 else max(0.0, rest)):
                break
        # What is still missing after that, the next one counts in.
        self.step()
        self.write_files(whole=True)

    def close(self) -> None:
        """Stop following; what was counted in is brought to the disk."""
        self.store.close()
        self._journal.close()

    def __enter__(self) -> Projector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def rebuild(directory: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Throw the views of a ledger away and build them again from the first entry; the last entry.

    Raises EngineStopped while a service keeps them, DataLoss if the journal is damaged.
    """
    with Projector(directory) as projector:
        projector.restart()
        last = projector.durable_sequence
        while projector.step():
            projector.write_files()
            if progress is not None:
                progress(projector.sequence, max(last, projector.sequence))
        projector.write_files(whole=True)
        return projector.sequence
