"""The log in plain files, which any web server can serve as they are (C2SP tlog-tiles).

    checkpoint                   the signed tree head
    tile/0/x001/x234/067         256 leaf hashes; tile/1/... the roots of 256 full tiles below, and so on
    tile/0/000.p/17              the last tile of a tree, here of 17 hashes
    tile/entries/x001/067        the entries themselves, each behind two bytes of length, big-endian
    tile/entries-long/x001/067   the same with four bytes of length, where an entry needs more than two

Whoever reads hands in `fetch`: path to bytes, from a folder, over HTTP or over gRPC.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tracecode.proof.tree import HASH_BYTES, find_root, hash_children

WIDTH = 256
HEIGHT = 8
LEVEL_MAX = 7
CHECKPOINT = "checkpoint"
COSIGNED = "cosigned"
"""The last checkpoint that witnesses signed, with their signatures."""
SHORT_BYTES_MAX = 0xFFFF
"""The longest entry of a bundle whose lengths have two bytes."""
TILES_KEPT = 512
"""Tiles that a reader keeps, 8 KiB each."""

Fetch = Callable[[str], bytes]
"""The bytes of a file of the log; FileNotFoundError if there is none."""

_TILE = re.compile(r"tile/(?:(\d)|entries|entries-long)/((?:x\d{3}/)*\d{3})(?:\.p/([1-9]\d{0,2}))?")


class LogDamaged(ValueError):
    """A file of the log is not what the tiles above it or the checkpoint say."""


def name_tile(level: int | str, number: int, width: int = WIDTH) -> str:
    """The path of a tile: `level` may also be "entries" or "entries-long"."""
    digits = f"{number:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return f"tile/{level}/{path}" + ("" if width == WIDTH else f".p/{width}")


def is_tile_name(path: str) -> bool:
    """Whether a path is one of a tile or bundle, written as `name_tile` writes it."""
    match = _TILE.fullmatch(path)
    if match is None:
        return False
    number = int(match[2].replace("x", "").replace("/", ""))
    level = path.split("/")[1]
    width = int(match[3] or WIDTH)
    return width <= WIDTH and path == name_tile(level, number, width) and (match[3] is None or width < WIDTH)


def fold_tile(tile: bytes) -> bytes:
    """The root of a full tile."""
    row = [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]
    while len(row) > 1:
        row = [hash_children(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def list_tiles(size: int) -> Iterator[tuple[int, int, int]]:
    """(level, number, width) of the last tile of each level in a tree of this size."""
    for level in range(LEVEL_MAX + 1):
        hashes = size >> (HEIGHT * level)
        if not hashes:
            return
        number, width = divmod(hashes, WIDTH)
        if width:
            yield level, number, width
        else:
            yield level, number - 1, WIDTH


def write_bundle(entries: Sequence[bytes]) -> tuple[str, bytes]:
    """Entries as a bundle: the name of its kind and its bytes."""
    if all(len(entry) <= SHORT_BYTES_MAX for entry in entries):
        return "entries", b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
    return "entries-long", b"".join(len(entry).to_bytes(4, "big") + entry for entry in entries)


def read_bundle(data: bytes, kind: str = "entries") -> list[bytes]:
    """The entries of a bundle. Raises LogDamaged."""
    length_bytes = 2 if kind == "entries" else 4
    entries, at = [], 0
    while at < len(data):
        begin = at + length_bytes
        end = begin + int.from_bytes(data[at:begin], "big")
        if end > len(data):
            raise LogDamaged("a bundle of entries is cut short")
        entries.append(data[begin:end])
        at = end
    return entries


def fetch_from(directory: Path) -> Fetch:
    """Reads the files of a folder."""

    def fetch(path: str) -> bytes:
        return (directory / path).read_bytes()

    return fetch


class TileReader:
    """The nodes of a tree of one size, out of its tiles. Holds some of them."""

    def __init__(self, fetch: Fetch, size: int) -> None:
        """`size` is that of a checkpoint whose tiles are there."""
        self._fetch = fetch
        self.size = size
        self._rows: OrderedDict[tuple[int, int], list[list[bytes]]] = OrderedDict()

    def node(self, level: int, index: int) -> bytes:
        """See `tracecode.proof.tree.Nodes`. Raises FileNotFoundError and LogDamaged."""
        tile_level, height = divmod(level, HEIGHT)
        if tile_level > LEVEL_MAX:
            tile_level, height = LEVEL_MAX, HEIGHT
        number, at = divmod(index << height, WIDTH)
        return self._read_rows(tile_level, number)[height][at >> height]

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` entries, by the tiles."""
        return find_root(self.size if size is None else size, self.node)

    def hashes(self, level: int, number: int) -> list[bytes]:
        """The hashes of a tile."""
        return self._read_rows(level, number)[0]

    def _read_rows(self, level: int, number: int) -> list[list[bytes]]:
        """A tile and the perfect subtrees in it, row by row."""
        rows = self._rows.get((level, number))
        if rows is not None:
            self._rows.move_to_end((level, number))
            return rows
        width = min((self.size >> (HEIGHT * level)) - number * WIDTH, WIDTH)
        tile = read_tile(self._fetch, level, number, width)
        row = [tile[at : at + HASH_BYTES] for at in range(0, width * HASH_BYTES, HASH_BYTES)]
        rows = [row]
        while len(row) > 1:
            row = [hash_children(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)]
            rows.append(row)
        self._rows[level, number] = rows
        if len(self._rows) > TILES_KEPT:
            self._rows.popitem(last=False)
        return rows


def read_tile(fetch: Fetch, level: int, number: int, width: int) -> bytes:
    """The first `width` hashes of a tile; of the full one where the partial one is gone by now."""
    path = name_tile(level, number, width)
    try:
        tile = fetch(path)
    except FileNotFoundError:
        if width == WIDTH:
            raise
        path = name_tile(level, number)
        tile = fetch(path)[: width * HASH_BYTES]
    if len(tile) != width * HASH_BYTES:
        raise LogDamaged(f"{path} has {len(tile)} bytes and should have {width * HASH_BYTES}")
    return tile


def read_entries(fetch: Fetch, number: int, width: int) -> list[bytes]:
    """The entries of a bundle, whichever way they are written."""
    for wanted in (width, WIDTH):
        for kind in ("entries", "entries-long"):
            try:
                data = fetch(name_tile(kind, number, wanted))
            except FileNotFoundError:
                continue
            entries = read_bundle(data, kind)
            if len(entries) < width:
                raise LogDamaged(
                    f"{name_tile(kind, number, wanted)} has {len(entries)} entries and should have {wanted}"
                )
            return entries[:width]
    raise FileNotFoundError(name_tile("entries", number, width))
