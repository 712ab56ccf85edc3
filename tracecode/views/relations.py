"""The lines relation up to the last durable entry: Parquet files, and the rows that are in none yet.

The projector writes files every half minute, or not at all where views are not kept. The rest, the tail, is
read from the journal here, each entry once; it is held in memory up to a bound and lies in passing files
beyond it.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tracecode.errors import EngineStopped, Overloaded
from tracecode.views.lines import DELETIONS, FINDINGS, LINES, Extract, read_entries
from tracecode.views.store import Reader, ViewStore

Answer = TypeVar("Answer")

SCHEMAS = {"lines": LINES, "findings": FINDINGS, "deletions": DELETIONS}
CURSORS = {"lines": "sequence", "findings": "entry", "deletions": "sequence"}
"""The column that says in which entry a row stands."""
TAIL_ROWS_MAX = 200_000
"""Of the tail in memory: some 80 MB."""
ENTRIES_AT_ONCE = 5_000
BATCHES_MAX = 32
"""Of one relation in the tail, before they are made into one."""
ATTEMPTS = 3
"""A file may be replaced by a larger one while it is asked for."""
MEMORY_BYTES_MAX = 512 * 2**20
THREADS = 2

_PART = re.compile(r"(?:day=([0-9-]{10})/division=([^/]*)/)?part-([0-9]+)-([0-9]+)\.parquet$")


@dataclass(frozen=True, slots=True)
class Within:
    """Rows that are looked for lie within these bounds; files outside are not opened."""

    first: date | None = None
    last: date | None = None
    divisions: tuple[str, ...] = ("",)
    """How the division may begin."""
    partitions: frozenset[tuple[date, str]] | None = None
    """Business days and divisions, if they are known exactly."""

    def holds(self, day: date, division: str) -> bool:
        """Whether rows of that day and division may be among them."""
        return (
            (self.first is None or day >= self.first)
            and (self.last is None or day <= self.last)
            and division.startswith(self.divisions)
            and (self.partitions is None or (day, division) in self.partitions)
        )


EVERYWHERE = Within()


@dataclass(slots=True)
class _Tail:
    """The rows of the entries behind `after`, up to `sequence`."""

    after: int = 0
    sequence: int = 0
    batches: dict[str, list[pa.RecordBatch]] = field(default_factory=lambda: {name: [] for name in SCHEMAS})
    rows: int = 0
    spilled: list[tuple[int, dict[str, Path]]] = field(default_factory=list)
    """Files of rows that were in memory, and the last entry of each."""


class Relations:
    """Asks for rows of one ledger. Any thread may call its methods."""

    def __init__(
        self,
        directory: Path | None,
        last: Callable[[], int],
        entries: Callable[[int, int], list[bytes]],
        *,
        read_views: Callable[[], AbstractContextManager[Reader]] | None = None,
        tail_rows_max: int = TAIL_ROWS_MAX,
        memory_bytes_max: int = MEMORY_BYTES_MAX,
    ) -> None:
        """`directory` is that of the views (`<data>/views`), which need not be there; `last` gives the last
        durable entry, `entries` some behind one. A process that has the views open already gives
        `read_views`, for LMDB must not see them twice. `memory_bytes_max` bounds what all questions take.
        """
        self._directory = directory
        self._read_views = read_views or self._open_views
        self._last = last
        self._entries = entries
        self._tail_rows_max = tail_rows_max
        self._lock = threading.Lock()
        self._tail = _Tail()
        self._passing = Path(tempfile.mkdtemp(prefix="tracecode-tail-"))
        self._connection = duckdb.connect(
            config={
                "memory_limit": f"{memory_bytes_max // 2**20}MiB",
                "threads": THREADS,
                "temp_directory": str(self._passing / "sorting"),
                "python_enable_replacements": False,
                "enable_object_cache": True,
            }
        )

    @property
    def sequence(self) -> int:
        """The last entry whose rows can be asked for."""
        return self._last()

    def close(self) -> None:
        """Give memory and passing files back. Nobody may ask any more."""
        self._connection.close()
        shutil.rmtree(self._passing, ignore_errors=True)

    def ask(
        self, as_of: int, within: Within, question: Callable[[duckdb.DuckDBPyConnection], Answer]
    ) -> Answer:
        """The answer to a question over the views `lines`, `findings` and `deletions` as they were when entry
        `as_of` was the last one. It may be asked again from the beginning."""
        for attempt in range(ATTEMPTS):
            try:
                with self.open(as_of, within) as connection:
                    return question(connection)
            except duckdb.IOException:
                if attempt + 1 == ATTEMPTS:
                    raise
        raise AssertionError

    @contextmanager
    def open(self, as_of: int, within: Within = EVERYWHERE) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of the caller's own to these views. Raises duckdb.IOException where a file was
        replaced meanwhile."""
        files, files_sequence, tables, spilled = self._catch_up(as_of)
        with closing(self._connection.cursor()) as connection:
            for name, schema in SCHEMAS.items():
                cursor = CURSORS[name]
                chosen = [*_choose(files[name], within), *spilled[name]]
                connection.register(f"tail_{name}", tables[name])
                parts = [f"SELECT * FROM tail_{name} WHERE {cursor} > {files_sequence}"]
                if chosen:
                    # A passing file may hold rows that meanwhile are in a file of the views, too.
                    passing = [path for path in chosen if path.is_relative_to(self._passing)]
                    kept = [path for path in chosen if not path.is_relative_to(self._passing)]
                    parts += [f"SELECT * FROM {_read(kept)}"] if kept else []
                    parts += (
                        [f"SELECT * FROM {_read(passing)} WHERE {cursor} > {files_sequence}"]
                        if passing
                        else []
                    )
                columns = ", ".join(schema.names)
                union = " UNION ALL ".join(parts)
                connection.execute(
                    f"CREATE TEMP VIEW {name} AS SELECT {columns} FROM ({union}) "
                    f"WHERE {cursor} <= {int(as_of)}"
                )
            yield connection

    def _catch_up(
        self, as_of: int
    ) -> tuple[dict[str, list[Path]], int, dict[str, pa.Table], dict[str, list[Path]]]:
        with self._lock:
            files, files_sequence = self._list_files()
            tail = self._tail
            if files_sequence < tail.after or files_sequence >= tail.sequence:
                # Views that were begun anew, or that are further than we are.
                self._forget()
                tail = self._tail = _Tail(files_sequence, files_sequence)
            while tail.spilled and tail.spilled[0][0] <= files_sequence:
                last, paths = tail.spilled.pop(0)
                tail.after = last
                for path in paths.values():
                    path.unlink(missing_ok=True)
            while tail.sequence < as_of:
                values = self._entries(tail.sequence, min(ENTRIES_AT_ONCE, as_of - tail.sequence))
                if not values:
                    raise EngineStopped(f"the journal ends at entry {tail.sequence}")
                self._add(read_entries(values, tail.sequence))
            tables = {
                name: pa.Table.from_batches(batches, SCHEMAS[name]) for name, batches in tail.batches.items()
            }
            for name, table in tables.items():
                if len(tail.batches[name]) > BATCHES_MAX:
                    tables[name] = table.combine_chunks()
                    tail.batches[name] = tables[name].to_batches()
            spilled = {name: [paths[name] for _, paths in tail.spilled if name in paths] for name in SCHEMAS}
            return files, files_sequence, tables, spilled

    def _add(self, extract: Extract) -> None:
        tail = self._tail
        for name in SCHEMAS:
            rows = getattr(extract, name)
            if rows.num_rows:
                tail.batches[name].append(rows)
                tail.rows += rows.num_rows
        tail.sequence = extract.sequence
        if tail.rows < self._tail_rows_max:
            return
        paths: dict[str, Path] = {}
        for name, batches in tail.batches.items():
            if batches:
                paths[name] = self._passing / f"{name}-{tail.sequence:012d}.parquet"
                pq.write_table(pa.Table.from_batches(batches), paths[name], compression="zstd")
                batches.clear()
        tail.spilled.append((tail.sequence, paths))
        tail.rows = 0

    def _forget(self) -> None:
        for _, paths in self._tail.spilled:
            for path in paths.values():
                path.unlink(missing_ok=True)

    def _list_files(self) -> tuple[dict[str, list[Path]], int]:
        found: dict[str, list[Path]] = {name: [] for name in SCHEMAS}
        if self._directory is None or not (self._directory / "data.mdb").exists():
            return found, 0
        try:
            with self._read_views() as reader:
                sequence, paths = reader.files_sequence, list(reader.files())
        except Overloaded:
            # They are only being made: all of the journal is the tail yet.
            return found, 0
        for path in paths:
            relation = path.partition("/")[0]
            if relation in found:
                found[relation].append(self._directory / path)
        return found, sequence

    @contextmanager
    def _open_views(self) -> Iterator[Reader]:
        assert self._directory is not None
        with ViewStore(self._directory, read_only=True) as store, store.read() as reader:
            yield reader


def _choose(files: Iterable[Path], within: Within) -> list[Path]:
    if within == EVERYWHERE:
        return list(files)
    chosen = []
    for path in files:
        found = _PART.search(path.as_posix())
        if found is None or found[1] is None or within.holds(date.fromisoformat(found[1]), found[2]):
            chosen.append(path)
    return chosen


def _read(paths: Sequence[Path]) -> str:
    quoted = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    return f"read_parquet([{quoted}], hive_partitioning = false)"
