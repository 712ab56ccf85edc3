"""What DuckDB puts on disk because it does not fit into memory, bounded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from tracecode.errors import SpillFull

SPILL_BYTES_MAX = 10 * 2**30


@contextmanager
def bound_spill(connection: duckdb.DuckDBPyConnection, folder: Path, bytes_max: int) -> Iterator[None]:
    """Let a connection spill so much into a folder while the block lasts. Raises SpillFull for more.

    DuckDB's own bound is nine tenths of what is free, on what may be the journal's disk.
    """
    connection.execute("SET temp_directory = ?", [str(folder)])
    connection.execute("SET max_temp_directory_size = ?", [f"{bytes_max}B"])
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        if "max_temp_directory_size" not in str(error):
            raise
        raise SpillFull(
            f"it takes more than {bytes_max:,} bytes of disk beside its memory; allow more of either "
            "(spill_bytes_max, memory), or ask for a shorter period or for one division"
        ) from error
