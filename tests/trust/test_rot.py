"""Damaged files: the right answer or DATA_LOSS, never a wrong answer, never the end of the process."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tracecode.errors import DataLoss
from tracecode.fsck import check, repair
from trust.conftest import Effort
from trust.rot import FILES, OLDER, PAGE_BYTES
from trust.shares import WORKERS, run_shares
from trust.small_ledger import ask_all, open_small, record_small
from trust.table import NotInjected, Row

AddRow = Callable[[Row | NotInjected], None]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ledger, and beside it what its files were before."""
    folder = tmp_path_factory.mktemp("small") / "ledger"
    days = iter(range(100))

    def keep() -> None:
        for name in FILES:
            past = folder.parent / OLDER / f"{next(days):03}" / name
            past.parent.mkdir(parents=True)
            shutil.copy(folder / name, past)

    record_small(folder, keep)
    return folder


def run_tries(small: Path, tmp_path: Path, kind: str, tries: int, mode: str) -> Counter[str]:
    """Let the program do its tries, in two processes."""
    # In memory where there is such a folder: what is damaged is not lost at a power cut.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as scratch:
        shares = [
            [str(small), str(Path(scratch) / str(n)), kind, str(n), str(tries // WORKERS), mode]
            for n in range(WORKERS)
        ]
        return run_shares("trust.rot", shares)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kind", "fault", "how", "share"),
    [
        ("flip", "bits that flipped", "one bit of journal or index", 5),
        ("swap", "pages in each other's place", "two pages swapped, or one over another", 2),
        ("truncate", "a file cut short", "at a page's end or anywhere", 1),
        ("meta", "stale meta pages", "an older copy, zeros, or the other one", 1),
        ("blank", "sectors of zeros or noise", "512 or 4,096 bytes", 1),
    ],
)
def test_rot_is_named_and_never_answered(
    small: Path, tmp_path: Path, effort: Effort, add_row: AddRow, kind: str, fault: str, how: str, share: int
) -> None:
    """Pins that a ledger with damaged files says what it said before, or DATA_LOSS; its control reads the
    same files without the check of the pages."""
    tries = effort.count(4 * share, 1_100 * share)
    ends = run_tries(small, tmp_path, kind, tries, "checked")
    control = run_tries(small, tmp_path, kind, effort.count(40, 200), "unchecked")

    add_row(
        Row(
            fault=fault,
            how=how,
            tries=ends["right"] + ends["loss"] + ends["wrong"] + ends["aborts"] + ends["failed"],
            wrong=ends["wrong"] + ends["failed"],
            aborts=ends["aborts"],
            control="pages not checked",
            control_failed=control["wrong"] + control["aborts"] + control["failed"] > 0,
            note=json.dumps(ends),
        )
    )
    assert ends["loss"]


# --- What can be mended ------------------------------------------------------------------------------


def answers_of(folder: Path) -> dict[str, bytes]:
    """What a ledger says of everything."""
    ledger = open_small(folder)
    try:
        return ask_all(ledger)
    finally:
        ledger.close()


def copy_of(small: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(small, tmp_path / "ledger"))


def test_repair_rebuilds_an_index_and_keeps_the_damaged_one(small: Path, tmp_path: Path) -> None:
    """Pins --repair: the ledger answers as before, fsck is content, the evidence is not gone."""
    folder = copy_of(small, tmp_path)
    before = answers_of(folder)
    file = folder / "index" / "data.mdb"
    data = bytearray(file.read_bytes())
    for at in range(2 * PAGE_BYTES, len(data), 5_000):
        data[at] ^= 0x40
    file.write_bytes(data)
    with pytest.raises(DataLoss, match=r"index/data.mdb: page \d+ .*fsck --repair"):
        open_small(folder)
    assert not check(folder).ok

    report = repair(folder)

    assert report.aside is not None
    assert (report.aside / "index" / "data.mdb").read_bytes() == data
    assert check(folder).ok
    assert answers_of(folder) == before


def test_repair_gives_a_journal_new_pages_if_every_entry_can_be_read(small: Path, tmp_path: Path) -> None:
    """Pins that damage to what only leads to the entries is mended without a backup."""
    folder = copy_of(small, tmp_path)
    before = answers_of(folder)
    file = folder / "journal" / "data.mdb"
    data = bytearray(file.read_bytes())
    branch = next(
        at for at in range(2 * PAGE_BYTES, len(data), PAGE_BYTES) if data[at + 10] == 1 and data[at + 11] == 0
    )
    for at in range(0, len(data), PAGE_BYTES):
        if at >= 2 * PAGE_BYTES and data[at + 10] == 1:
            data[at + 24] ^= 0x01
    assert branch
    file.write_bytes(data)
    with pytest.raises(DataLoss, match=r"journal/data\.mdb: page"):
        open_small(folder)

    report = repair(folder)

    assert (report.ok, report.damaged) == (False, ())
    assert report.aside is not None
    assert (report.aside / "journal" / "data.mdb").read_bytes() == data
    assert check(folder).ok
    assert answers_of(folder) == before


def test_fsck_lists_the_entries_that_cannot_be_read(small: Path, tmp_path: Path) -> None:
    """Pins what an operator needs to ask the institutions again: which entries, and what stands beside
    them; nothing is replaced, and everything else is answered."""
    folder = copy_of(small, tmp_path)
    ledger = open_small(folder)
    lost = ledger.engine.entries(19, 1)[0]
    ledger.close()
    file = folder / "journal" / "data.mdb"
    data = bytearray(file.read_bytes())
    at = data.find(lost)
    while at >= 0:
        data[at + 9] ^= 0x10
        at = data.find(lost)
    file.write_bytes(data)

    for look in (check, repair):
        report = look(folder)

        assert (report.ok, report.damaged, report.aside) == (False, ((20, 20),), None)
        assert "entry 20 of the journal cannot be read; before: 19 (" in report.lines[0]
        assert "behind: 21 (" in report.lines[0]
    assert file.read_bytes() == data
    ledger = open_small(folder)
    with pytest.raises(DataLoss, match="entry 20 of"):
        ledger.engine.entries(19, 1)
    assert ledger.engine.entries(20, 1)
    ledger.close()


def test_a_journal_older_than_its_index_is_named_and_not_repaired(small: Path, tmp_path: Path) -> None:
    """Pins what is said of a journal that was put back: not that entries cannot be read, and that the index,
    the last trace of what came after, is left alone."""
    folder = copy_of(small, tmp_path)
    older = sorted((small.parent / OLDER).glob("*/journal/data.mdb"))[0]
    shutil.copy(older, folder / "journal" / "data.mdb")
    before = (folder / "index" / "data.mdb").read_bytes()

    for look in (check, repair):
        report = look(folder)

        ((first, last),) = report.damaged
        assert (report.ok, report.entries, report.aside) == (False, first - 1, None)
        assert report.wrong == last - first + 1
        (line,) = report.lines
        assert f"complete up to entry {last}, the journal ends with {first - 1}: it was replaced" in line
        assert line.endswith(f"to go on without entries {first} to {last} ({last - first + 1})")
    assert (folder / "index" / "data.mdb").read_bytes() == before
