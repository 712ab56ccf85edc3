"""Pages that change in the files of an open store: what it says of them, and what it writes behind them."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tracecode import _native
from tracecode.errors import DataLoss, EngineStopped

MIB = 2**20
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
BRANCH, LEAF = 1, 2
FLIPS = 1_500


def open_store(directory: Path) -> _native.Store:
    """A store small enough for a test."""
    return _native.Store(str(directory), map_size_bytes=64 * MIB, overlay_bytes_max=4 * MIB)


class Pages:
    """A file's pages, changed in their place while others have the file mapped."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / name / "data.mdb"
        self.descriptor = os.open(self.path, os.O_RDWR)

    def read(self, number: int) -> bytes:
        """A page."""
        return os.pread(self.descriptor, PAGE_BYTES, number * PAGE_BYTES)

    def write(self, number: int, content: bytes, at: int = 0) -> None:
        """Put bytes into a page."""
        os.pwrite(self.descriptor, content, number * PAGE_BYTES + at)

    @property
    def last_meta(self) -> int:
        """The meta page of the last commit."""
        return max((0, 1), key=lambda number: struct.unpack_from("<Q", self.read(number), 16 + 128))

    def in_use(self) -> list[int]:
        """The pages of the tree, the root first."""
        (root,) = struct.unpack_from("<Q", self.read(self.last_meta), 16 + 24 + 48 + 40)
        found = [root]
        for number in found:
            page = self.read(number)
            flags, lower = struct.unpack_from("<HH", page, 10)
            if flags != BRANCH:
                continue
            for (at,) in struct.iter_unpack("<H", page[16:lower]):
                low, middle, high = struct.unpack_from("<HHH", page, at)
                found.append(low | middle << 16 | high << 32)
        return found


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with 1,000 records, of which the even ones were asked for, and 200 entries."""
    with open_store(tmp_path / "ledger") as store:
        for number in range(200):
            store.append(b"entry %d" % number * 30)
            for record in range(5):
                store.put(key_of(2 * (5 * number + record)), b"value %d " % record * 4)
            store.commit()
    return tmp_path / "ledger"


def key_of(number: int) -> bytes:
    """The key of a record; odd numbers have none."""
    return b"c%04d/%02d" % (number, number % 7)


def test_a_bit_that_flips_under_an_open_index_hides_no_record(written: Path) -> None:
    """Pins look-ups and scans, seed 4: a record is what it was or DATA_LOSS, and what is not there is None or
    DATA_LOSS, whichever bit of whichever page in use has changed."""
    rng = random.Random(4)
    with open_store(written) as store:
        kept = dict(store.scan(b"c"))
        assert len(kept) == 1000
        pages = Pages(written, "index")
        numbers = pages.in_use()
        assert len(numbers) > 10
        losses = 0
        for _ in range(FLIPS):
            number = rng.choice(numbers[:1] * 5 + numbers)
            before = pages.read(number)
            at = rng.randrange(PAGE_BYTES) if rng.random() < 0.5 else rng.randrange(200)
            pages.write(number, bytes([before[at] ^ 1 << rng.randrange(8)]), at)
            where = f"page {number} at {at}"
            for asked in map(key_of, range(0, 2000, 13)):
                try:
                    wrong = store.get(asked) != kept.get(asked)
                except DataLoss:
                    wrong = False
                    losses += 1
                assert not wrong, f"{where}: {asked!r}"
            first = key_of(rng.randrange(2000))[: rng.randrange(1, 5)]
            try:
                wrong = store.scan(first) != [one for one in kept.items() if one[0].startswith(first)]
            except DataLoss:
                wrong = False
                losses += 1
            assert not wrong, f"{where}: records from {first!r}"
            pages.write(number, before)
        assert losses > FLIPS
        assert store.scan(b"c") == list(kept.items())


def test_a_leaf_in_the_place_of_another_is_not_read(written: Path) -> None:
    """Pins that a page says which one it is: an older copy of the records elsewhere is not answered."""
    with open_store(written) as store:
        kept = dict(store.scan(b"c"))
        pages = Pages(written, "index")
        _, *others = pages.in_use()
        before = [pages.read(number) for number in others]
        pages.write(others[1], before[0])
        answers = []
        for key, value in kept.items():
            try:
                answers.append(store.get(key) == value)
            except DataLoss:
                answers.append(None)

        assert False not in answers
        assert None in answers


def test_entries_that_a_page_hides_are_missed(written: Path) -> None:
    """Pins that a journal does not end before its last durable entry: too short a list is DATA_LOSS."""
    with open_store(written) as store:
        pages = Pages(written, "journal")
        last = pages.in_use()[-1]
        (lower,) = struct.unpack_from("<H", pages.read(last), 12)
        pages.write(last, struct.pack("<H", lower - 2), 12)

        with pytest.raises(DataLoss, match=r"entry 200 of .*journal is missing"):
            store.entries(190, 100)
        with pytest.raises(DataLoss, match=r"entry 200 of .*journal is missing"):
            store.leaf_hashes(190, 100)
        assert len(store.entries(100, 50)) == 50


def shorten(pages: Pages) -> None:
    """The last leaf hides its last entry."""
    last = pages.in_use()[-1]
    (lower,) = struct.unpack_from("<H", pages.read(last), 12)
    pages.write(last, struct.pack("<H", lower - 2), 12)


def move_room(pages: Pages) -> None:
    """The last leaf has its next entry over its last."""
    last = pages.in_use()[-1]
    (upper,) = struct.unpack_from("<H", pages.read(last), 14)
    pages.write(last, struct.pack("<H", upper + 64), 14)


def free_another(pages: Pages) -> None:
    """The list of free pages names one in use."""
    (root,) = struct.unpack_from("<Q", pages.read(pages.last_meta), 16 + 24 + 40)
    page = pages.read(root)
    (at,) = struct.unpack_from("<H", page, 16)
    pages.write(root, struct.pack("<Q", pages.in_use()[1]), at + 8 + 8 + 8)


def age_meta(pages: Pages) -> None:
    """The last commit never was."""
    last = pages.last_meta
    pages.write(last, struct.pack("<Q", last) + pages.read(1 - last)[8:])


def blank_other_meta(pages: Pages) -> None:
    """The meta page that is written next is none."""
    pages.write(1 - pages.last_meta, bytes(PAGE_BYTES))


@pytest.mark.parametrize("damage", [shorten, move_room, free_another, age_meta, blank_other_meta])
def test_nothing_is_acknowledged_that_would_go_to_damaged_pages(
    written: Path, damage: Callable[[Pages], None]
) -> None:
    """Pins that a commit looks where it writes: what it could lose is refused, no entry is harmed."""
    with open_store(written) as store:
        store.append(b"before")
        store.commit()
        pages = Pages(written, "journal")
        before = pages.path.read_bytes()
        damage(pages)
        damaged = pages.path.read_bytes()
        assert damaged != before

        store.append(b"behind")
        with pytest.raises(EngineStopped, match=r"writing .*journal"):
            store.commit()
        assert store.sequence == 201
        assert pages.path.read_bytes() == damaged
    pages.path.write_bytes(before)
    with open_store(written) as store:
        assert store.entry(201) == b"before"


CHILD = """
import os, sys
from tracecode import _native
if sys.argv[2] == "told":
    _native.end_on_damaged_map()
store = _native.Store(sys.argv[1], map_size_bytes=1 << 26, overlay_bytes_max=1 << 22)
os.truncate(sys.argv[1] + "/" + sys.argv[3] + "/data.mdb", 8192)
store.get(b"c0000/00")
store.entries(0, 5)
"""


@pytest.mark.parametrize("name", ["index", "journal"])
def test_a_process_whose_file_is_cut_short_says_which(written: Path, name: str) -> None:
    """Pins the end of a service: a sentence that names the file, and status 1; who did not ask for it ends
    as any program does."""
    file = written / name / "data.mdb"
    before = file.read_bytes()
    ends = []
    for how in ("told", "untold"):
        file.write_bytes(before)
        ends.append(
            subprocess.run(
                [sys.executable, "-c", CHILD, str(written), how, name],
                capture_output=True,
                check=False,
                text=True,
            )
        )
    told, untold = ends

    assert told.returncode == 1
    said = json.loads(told.stderr)
    assert (said["event"], said["level"]) == ("file_damaged", "error")
    assert said["message"].startswith(f"{os.path.realpath(written)}/{name}/data.mdb: ")
    assert untold.returncode in (-signal.SIGBUS, -signal.SIGSEGV)
