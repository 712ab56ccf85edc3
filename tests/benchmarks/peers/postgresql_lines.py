"""PostgreSQL as a warehouse: the columns of the lines relation that queries read, loaded by COPY, analyzed,
and indexed by code and by institution and day; 4 GB of shared buffers, 512 MB of work memory, all cores."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from benchmarks.peers.postgresql import SETTINGS, PostgreSQL

COLUMNS = {
    "sequence": "bigint",
    "business_time": "timestamp",
    "business_day": "date",
    "institution_code": 'text COLLATE "C"',
    "kind": "smallint",
    "operation": "smallint",
    "settlement_id": 'text COLLATE "C"',
    "person_token": 'text COLLATE "C"',
    "prescriber_token": 'text COLLATE "C"',
    "drug_code": 'text COLLATE "C"',
    "quantity": "numeric(16,4)",
    "amount": "numeric(18,2)",
    "code": 'text COLLATE "C"',
}
"""What the queries read, with PostgreSQL's types."""


class PostgreSQLLines(PostgreSQL):
    """See the module."""

    def __init__(self, folder: Path, files: Iterable[Path]) -> None:
        cores = str(os.cpu_count() or 1)
        self._start(
            folder,
            {
                **SETTINGS,
                "work_mem": "512MB",
                "maintenance_work_mem": "1GB",
                "max_parallel_workers": cores,
                "max_parallel_workers_per_gather": cores,
                "jit": "off",
            },
        )
        with self._connect() as connection:
            columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
            connection.execute(f"CREATE UNLOGGED TABLE lines ({columns})")
            for file in files:
                table = pq.read_table(file, columns=list(COLUMNS))
                with connection.cursor().copy("COPY lines FROM STDIN (FORMAT csv)") as copy:
                    copy.write(_to_csv(table))
            connection.execute("CREATE INDEX ON lines (code)")
            connection.execute("CREATE INDEX ON lines (institution_code, business_day)")
            connection.execute("VACUUM ANALYZE lines")
            connection.execute("CHECKPOINT")

    def run(self, queries: Sequence[str]) -> tuple[list[list[tuple[object, ...]]], float]:
        """The rows of each query, and the seconds all of them took."""
        with self._connect() as connection:
            begin = time.perf_counter()
            rows = [connection.execute(query).fetchall() for query in queries]  # type: ignore[arg-type]
            return rows, time.perf_counter() - begin

    def stop(self) -> None:
        """Fast shutdown."""
        self._stop()


def _to_csv(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pc.write_csv(table, buffer, pc.WriteOptions(include_header=False))
    return buffer.getvalue()
