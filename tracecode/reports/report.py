"""A report: its figures, its lists, and up to which entry it counts."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from tracecode._native import Store
from tracecode.document import CHINA_SECONDS, NS
from tracecode.reports.desk import read_desk
from tracecode.reports.figures import FigureValue, count_figures
from tracecode.reports.period import Period
from tracecode.reports.source import fill_source
from tracecode.reports.tables import TABLES, Table, read_rows
from tracecode.spill import SPILL_BYTES_MAX, bound_spill
from tracecode.v1 import journal_pb2

MEMORY_LIMIT = "1GB"
"""What DuckDB may hold in memory; the rest goes to a folder of its own."""
MAP_SIZE_BYTES = 256 * 2**30

_DIVISION = re.compile(r"[0-9]{0,6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Report:
    """What was counted. Lists are read while the report is open."""

    period: Period
    division: str
    """Beginning of a division code; empty = everywhere."""
    as_of: int
    """The entry up to which it counts."""
    as_of_time: datetime
    """When that was written, in China, without a zone in the type."""
    figures: tuple[FigureValue, ...]
    connection: duckdb.DuckDBPyConnection
    tables: tuple[Table, ...] = TABLES

    @property
    def name(self) -> str:
        """What its files are called by: report-2026-03-3702."""
        return "-".join(filter(None, ("report", self.period.name, self.division)))

    @property
    def closed(self) -> bool:
        """Whether the period was over, by the day of the last entry."""
        return self.as_of_time.date() > self.period.last

    def rows(self, table: Table) -> Iterator[Sequence[Any]]:
        """The rows of a list; read one list to its end before the next."""
        return read_rows(self.connection, table)


@contextmanager
def make_report(
    directory: Path,
    period: Period,
    *,
    division: str = "",
    as_of: int = 0,
    memory_limit: str = MEMORY_LIMIT,
    spill_bytes_max: int = SPILL_BYTES_MAX,
    threads: int | None = None,
    scratch: Path | None = None,
) -> Iterator[Report]:
    """Count a report of the ledger in `directory`, which is only read and may be served meanwhile.

    `as_of` is the entry up to which it counts; 0 = the last one that is durable. `scratch` is where tables go
    that do not fit into memory. Raises ValueError for a division or an entry that cannot be, DataLoss,
    EngineStopped, FileNotFoundError, SpillFull.
    """
    if not _DIVISION.fullmatch(division):
        raise ValueError(f"a division is up to six digits, not {division!r}")
    with (
        tempfile.TemporaryDirectory(prefix="tracecode-report-", dir=scratch) as spill,
        duckdb.connect(":memory:") as connection,
        bound_spill(connection, Path(spill), spill_bytes_max),
    ):
        connection.execute("SET memory_limit = ?", [memory_limit])
        connection.execute("SET TimeZone = 'UTC'")
        if threads is not None:
            connection.execute("SET threads = ?", [threads])
        # The ledger is let go before anything is written: a process may have it open once only.
        with Store(
            str(directory), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=0, read_only=True
        ) as store:
            last = store.durable_sequence
            if not 0 <= as_of <= last:
                raise ValueError(f"the journal ends with entry {last}; entry {as_of} is not there")
            as_of = as_of or last
            if not as_of:
                raise ValueError("the journal is empty: there is nothing to report")
            entry = journal_pb2.JournalEntry.FromString(store.entry(as_of) or b"")
            fill_source(connection, store, read_desk(store, as_of), period, division, as_of)
        seconds = entry.receive_time_ns // NS + CHINA_SECONDS
        yield Report(
            period=period,
            division=division,
            as_of=as_of,
            as_of_time=datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None),
            figures=count_figures(connection),
            connection=connection,
        )
