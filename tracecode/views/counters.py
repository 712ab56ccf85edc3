"""Views that count: rows of the lines relation grouped by some columns, numbers added up under each key.

Sums do not depend on where batches are cut, and few keys are touched for many rows. Keys keep order: texts
end with 00 (no text of a document holds one), days are big-endian.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct

import pyarrow as pa
import pyarrow.compute as pc

from tracecode.views.store import Reader, Writer

_DAY = Struct(">I")


def write_key(table: bytes, parts: Sequence[str | int]) -> bytes:
    """A key of texts and of days or small numbers (u32)."""
    return table + b"".join(
        _DAY.pack(part) if isinstance(part, int) else part.encode() + b"\0" for part in parts
    )


def read_key(key: bytes, kinds: Sequence[type]) -> tuple[str | int, ...]:
    """The parts of a key behind its table; `kinds` are str or int."""
    parts: list[str | int] = []
    at = 1
    for kind in kinds:
        if kind is int:
            parts.append(_DAY.unpack_from(key, at)[0])
            at += 4
        else:
            end = key.index(0, at)
            parts.append(key[at:end].decode())
            at = end + 1
    return tuple(parts)


@dataclass(frozen=True, slots=True)
class Counters:
    """A table of counters: the parts of its keys, and what each number counts."""

    table: bytes
    kinds: tuple[type, ...]
    names: tuple[str, ...]

    @property
    def record(self) -> Struct:
        """Numbers are signed, 64 bits, little-endian, in the order of `names`."""
        return Struct(f"<{len(self.names)}q")

    def add(self, rows: pa.Table, keys: Sequence[str], write: Writer) -> None:
        """Group rows by `keys` and add up the columns `names` (integers, booleans; null counts 0)."""
        if not rows.num_rows:
            return
        grouped = rows.group_by(list(keys), use_threads=False).aggregate(
            [(name, "sum") for name in self.names]
        )
        written = _write_keys(self.table, [grouped.column(key) for key in keys])
        # In key order neighbours lie on one page.
        order = pc.sort_indices(written)
        sums = [grouped.column(f"{name}_sum").fill_null(0).take(order).to_pylist() for name in self.names]
        write.add(zip(written.take(order).to_pylist(), zip(*sums, strict=True), strict=True), self.record)

    def read(
        self, reader: Reader, *prefix: str | int
    ) -> Iterator[tuple[tuple[str | int, ...], dict[str, int]]]:
        """The records whose keys begin with these parts: (parts of the key, counts by name), by key."""
        record = self.record
        for key, value in reader.scan(write_key(self.table, prefix)):
            yield read_key(key, self.kinds), dict(zip(self.names, record.unpack(value), strict=True))


def _write_keys(table: bytes, columns: Sequence[pa.ChunkedArray]) -> pa.Array:
    """What `write_key` gives, for whole columns."""
    pieces: list[pa.Array | pa.Scalar] = [pa.scalar(table, pa.binary())]
    for chunks in columns:
        column = chunks.combine_chunks()
        if pa.types.is_string(column.type):
            pieces += [column.cast(pa.binary()), pa.scalar(b"\0", pa.binary())]
            continue
        if pa.types.is_date32(column.type):
            column = column.cast(pa.int32())
        # Of days and small numbers there are few.
        few = pc.unique(column)
        packed = pa.array([_DAY.pack(value) for value in few.to_pylist()], pa.binary())
        pieces.append(packed.take(pc.index_in(column, value_set=few)))
    return pc.binary_join_element_wise(*pieces, pa.scalar(b"", pa.binary()))
