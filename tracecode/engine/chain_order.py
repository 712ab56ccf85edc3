"""The order of a long chain, kept: a page of a code that thousands of entries name reads its own only.

The chain of an ordinary code is ordered by reading it and has no record of this. Where a chain has become
too long for that, the places of its own entries are kept sorted, in parts that are split as they grow; a
record above them says where each part begins and how many it has. Entries are put in one after another as
they arrived, so that the bytes do not depend on when that began.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracecode.engine.records import U64, chain_order_key, chain_part_key
from tracecode.errors import DataLoss

if TYPE_CHECKING:
    # An index keeps orders by this module.
    from tracecode.engine.index import Store

PLACES_MAX = 512
"""Of a part (ours). Putting entries in writes each part they fall in, 13 B a place, so 7 kB at most, and the
record above all parts whole, 19 B a part: 38 kB where a chain has a million entries in 2,000 parts. Entries
that are put in together write that record once."""

# Big-endian: the bytes sort as the places do.
_PLACE = struct.Struct(">IBQ")
_PART = struct.Struct(f"<IH{_PLACE.size}s")


@dataclass(slots=True)
class _Part:
    """Places that lie one behind the other: how many, and the first of them."""

    number: int
    count: int
    first: bytes


def place(time: int, rank: int, sequence: int) -> bytes:
    """Where an entry stands in a chain: effective time and rank (life_cycle.Event.order), then arrival."""
    return _PLACE.pack(time, rank, sequence)


def part_to_bytes(number: int, count: int, first: bytes) -> bytes:
    """A part as the record above it tells of it."""
    return _PART.pack(number, count, first)


def newest(store: Store, code: bytes) -> int:
    """The last entry of a chain whose order is kept; 0 where none is."""
    value = store.get(chain_order_key(code))
    return 0 if value is None else int(U64.unpack_from(value)[0])


def insert(store: Store, code: bytes, places: Sequence[bytes]) -> None:
    """Put entries where they belong; they come as they arrived, the first of them first."""
    parts = _parts(store, code)
    changed: dict[int, bytes] = {}
    for each in places:
        _insert(store, code, each, parts, changed)
    for number, value in changed.items():
        store.put(chain_part_key(code, number), value)
    head = b"".join(part_to_bytes(part.number, part.count, part.first) for part in parts)
    store.put(chain_order_key(code), U64.pack(_PLACE.unpack(places[-1])[2]) + head)


def list_sequences(store: Store, code: bytes, start: int, limit: int) -> list[int]:
    """The entries of a chain in its order, `limit` of them from `start` on."""
    found: list[int] = []
    for part in _parts(store, code):
        if start < part.count:
            value = _read(store, code, part.number)
            end = min(part.count, start + limit - len(found)) * _PLACE.size
            found += [sequence for _, _, sequence in _PLACE.iter_unpack(value[start * _PLACE.size : end])]
            if len(found) == limit:
                break
        start = max(0, start - part.count)
    return found


def _insert(store: Store, code: bytes, each: bytes, parts: list[_Part], changed: dict[int, bytes]) -> None:
    if not parts:
        parts.append(_Part(0, 1, each))
        changed[0] = each
        return
    at = max(0, bisect_right(parts, each, key=lambda part: part.first) - 1)
    part = parts[at]
    value = changed.get(part.number) or _read(store, code, part.number)
    cut = _PLACE.size * bisect_left(range(part.count), each, key=lambda i: _place_at(value, i))
    value = value[:cut] + each + value[cut:]
    kept = size = part.count + 1
    if size > PLACES_MAX:
        # Nearly all come behind all others: the part before them stays full.
        last = at == len(parts) - 1 and cut == PLACES_MAX * _PLACE.size
        kept = PLACES_MAX if last else size // 2
        behind = value[kept * _PLACE.size :]
        parts.insert(at + 1, _Part(len(parts), size - kept, _place_at(behind, 0)))
        changed[parts[at + 1].number] = behind
    part.count, part.first = kept, _place_at(value, 0)
    changed[part.number] = value[: kept * _PLACE.size]


def _place_at(value: bytes, which: int) -> bytes:
    return value[which * _PLACE.size : (which + 1) * _PLACE.size]


def _parts(store: Store, code: bytes) -> list[_Part]:
    value = store.get(chain_order_key(code))
    return [] if value is None else [_Part(*part) for part in _PART.iter_unpack(value[U64.size :])]


def _read(store: Store, code: bytes, number: int) -> bytes:
    value = store.get(chain_part_key(code, number))
    if value is None:
        raise DataLoss(f"the index lacks part {number} of a chain's order; run tracecode fsck")
    return value
