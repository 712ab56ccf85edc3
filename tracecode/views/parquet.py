"""The relations as Parquet files, for questions over many rows.

    <data>/views/lines/day=YYYY-MM-DD/division=NNNNNN/part-FIRST-LAST.parquet   business day, and division
    <data>/views/findings/part-FIRST-LAST.parquet
    <data>/views/deletions/part-FIRST-LAST.parquet

FIRST and LAST are the entries that were written together. Which files count is said in the views' environment
and changes there in one transaction with the entry up to which they go (`Reader.files`); whatever else lies
there is the remains of a writer that died, and is removed when the next one begins. So a row is in one file,
once.
Many small files of one folder are made into one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracecode.views.lines import DELETIONS, FINDINGS, LINES, Extract
from tracecode.views.store import ViewStore

RELATIONS = {"lines": LINES, "findings": FINDINGS, "deletions": DELETIONS}
ROWS_MAX = 200_000
"""Kept in memory until they are written: some 80 MB."""
FILES_MAX = 16
"""Of one folder, before they are made into one."""
COMPACTED_ROWS_MAX = 1_000_000
"""A file with so many rows is left as it is."""

_PART = re.compile(r"part-([0-9]+)-([0-9]+)\.parquet")


class ParquetWriter:
    """Gathers rows and writes them. One at a time, of the process that writes the views."""

    def __init__(self, store: ViewStore) -> None:
        self._store = store
        self.sequence = store.files_sequence
        """The entry up to which rows were written."""
        self.gathered = self.sequence
        """And up to which they are here."""
        self._parts: dict[str, list[pa.RecordBatch]] = defaultdict(list)
        self.rows = 0
        self._remove_strangers()

    def add(self, extract: Extract) -> None:
        """Keep rows until they are written. Of entries that were gathered before nothing is kept twice: they
        follow on each other. Raises ValueError if these do not."""
        if extract.after != self.gathered:
            raise ValueError(f"entry {self.gathered} was the last, and these follow {extract.after}")
        for name in RELATIONS:
            rows = getattr(extract, name)
            if rows.num_rows:
                self._parts[name].append(rows)
                self.rows += rows.num_rows
        self.gathered = extract.sequence

    def write(self) -> None:
        """Write what was gathered, and let it count."""
        if self.gathered == self.sequence:
            return
        name = f"part-{self.sequence + 1:012d}-{self.gathered:012d}.parquet"
        added: dict[str, int] = {}
        for relation, parts in self._parts.items():
            rows = pa.Table.from_batches(parts)
            for folder, part in _partition(relation, rows):
                path = f"{folder}/{name}"
                _write_file(self._store.directory / path, part)
                added[path] = part.num_rows
        self._store.change_files(self.gathered, added)
        self.sequence = self.gathered
        self._parts.clear()
        self.rows = 0
        self._compact({path.rpartition("/")[0] for path in added})

    def _compact(self, folders: Iterable[str]) -> None:
        """Make the small files of these folders into one each, where they are many."""
        with self._store.read() as reader:
            files = reader.files()
        small: dict[str, list[str]] = defaultdict(list)
        for path, count in files.items():
            small[path.rpartition("/")[0]] += [path] if count < COMPACTED_ROWS_MAX else []
        for folder in sorted(folders):
            paths = sorted(small[folder])
            if len(paths) < FILES_MAX:
                continue
            directory = self._store.directory
            rows = pa.concat_tables([pq.read_table(directory / path, partitioning=None) for path in paths])
            first, last = _PART.search(paths[0]), _PART.search(paths[-1])
            assert first is not None
            assert last is not None
            path = f"{folder}/part-{first[1]}-{last[2]}.parquet"
            _write_file(directory / path, rows)
            self._store.change_files(self.sequence, {path: rows.num_rows}, paths)
            for old in paths:
                (directory / old).unlink()

    def _remove_strangers(self) -> None:
        with self._store.read() as reader:
            files = reader.files()
        for relation in RELATIONS:
            for path in (self._store.directory / relation).glob("**/*.parquet*"):
                if str(path.relative_to(self._store.directory)) not in files:
                    path.unlink()


def list_files(directory: Path, relation: str = "lines") -> list[Path]:
    """The files of a relation that count now, for a reader of the views in `directory` (`<data>/views`)."""
    with ViewStore(directory, read_only=True) as store, store.read() as reader:
        return [directory / path for path in reader.files() if path.startswith(f"{relation}/")]


def _partition(relation: str, rows: pa.Table) -> Iterable[tuple[str, pa.Table]]:
    if relation != "lines":
        yield relation, rows
        return
    groups = rows.select(["business_day", "division_code"]).group_by(["business_day", "division_code"])
    for group in groups.aggregate([]).to_pylist():
        day, division = group["business_day"], group["division_code"]
        mine = pc.and_(pc.equal(rows["business_day"], day), pc.equal(rows["division_code"], division))
        yield f"lines/day={day}/division={division}", rows.filter(mine)


def _write_file(path: Path, rows: pa.Table) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    begun = path.with_suffix(".parquet-begun")
    pq.write_table(rows, begun, compression="zstd", compression_level=1)
    begun.rename(path)
