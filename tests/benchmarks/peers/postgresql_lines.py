"""PostgreSQL as a warehouse: the columns of the lines relation that queries read, loaded by COPY, analyzed
with statistics of what they group by, and indexed by institution and day, and for sales by code and by person
with all that is asked of them; 4 GB of shared buffers, 1 GB of work memory for each step, all cores."""

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
GROUPED = (
    "institution_code, drug_code",
    "institution_code, prescriber_token",
    "institution_code, code",
    "institution_code, business_day",
    "person_token, drug_code",
)
"""What the queries group by: without being told, the planner takes the columns for independent."""


class PostgreSQLLines(PostgreSQL):
    """See the module."""

    def __init__(self, folder: Path, files: Iterable[Path]) -> None:
        cores = str(os.cpu_count() or 1)
        self._start(
            folder,
            {
                **SETTINGS,
                "work_mem": "1GB",
                "maintenance_work_mem": "2GB",
                "effective_cache_size": "12GB",
                # A disk without a head, and the table lies in memory.
                "random_page_cost": "1.1",
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
            connection.execute("CREATE INDEX ON lines (institution_code, business_day)")
            connection.execute("CREATE INDEX ON lines (code, settlement_id) WHERE kind = 1")
            connection.execute(
                "CREATE INDEX ON lines (person_token, drug_code) INCLUDE (institution_code, quantity) "
                "WHERE kind = 1"
            )
            for number, columns in enumerate(GROUPED):
                connection.execute(f"CREATE STATISTICS grouped_{number} (ndistinct) ON {columns} FROM lines")
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
