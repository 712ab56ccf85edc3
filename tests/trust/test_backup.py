"""A backup made beside writers is whole and true, and one that is cut short leaves what was there."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backed_up import fill_ledger, read_entries
from running_server import ServerProcess, register_institutions
from wire import INSTITUTION, make_sale

from tracecode.backup import back_up, read_manifest, restore, verify
from tracecode.client import LedgerClient
from tracecode.errors import DataLoss
from tracecode.fsck import check
from tracecode.v1 import document_pb2, journal_pb2
from trust import killed_lines
from trust.conftest import Effort
from trust.table import Row

AddRow = Callable[[Row], None]
TILLS = 3


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A folder in memory where there is one: what a kill leaves does not depend on the disk."""
    shared = Path("/dev/shm")
    place = shared if os.access(shared, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="tracecode-", dir=place) as folder:
        yield Path(folder)


def run_killed(what: str, ledger: Path, folder: Path, tries: int) -> tuple[int, list[str]]:
    """How many children were killed, and what was wrong with what they left."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, killed_lines.__file__, what, ledger, folder / what, "7", str(tries)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    told = json.loads(done.stdout)
    return told["killed"], told["wrong"]


@pytest.mark.timeout(600)
def test_a_backup_or_restore_that_is_killed_leaves_what_was_there(
    memory_path: Path, effort: Effort, add_row: AddRow
) -> None:
    """Pins kill -9 between any two lines: the backup before stays whole and can be added to; a restore leaves
    no ledger that opens, or the whole one. A backup that writes its last segment anew is found out."""
    fill_ledger(memory_path / "ledger", 24)

    backups, wrong_backups = run_killed("backup", memory_path / "ledger", memory_path, effort.count(20, 1500))
    restores, wrong = run_killed("restore", memory_path / "ledger", memory_path, effort.count(12, 500))
    _, seen = run_killed("backup-rewriting", memory_path / "ledger", memory_path, effort.count(6, 50))

    assert wrong_backups + wrong == []
    add_row(
        Row(
            fault="kill -9 inside a backup or a restore",
            how="SIGKILL before one line after another",
            tries=backups + restores,
            wrong=len(wrong_backups) + len(wrong),
            control="a last segment that is written anew",
            control_failed=bool(seen),
        )
    )


@pytest.mark.timeout(600)
def test_backups_beside_a_service_under_load_hold_what_was_acknowledged(
    tmp_path: Path, effort: Effort, add_row: AddRow
) -> None:
    """Pins that a hot backup has every sale answered before it began, once, with its entry, and that its
    restored ledger passes fsck. A backup of which an entry is taken away is refused."""
    acknowledged: dict[str, int] = {}
    end = threading.Event()
    lost = doubled = wrong = 0
    tries = effort.count(2, 40)
    with ServerProcess(data_directory=tmp_path / "ledger") as process:
        register_institutions(process.address, INSTITUTION)

        def sell(till: int) -> None:
            with LedgerClient(process.address, deadline_seconds=30, seed=till) as client:
                for count in itertools.count():
                    if end.is_set():
                        return
                    number = f"backup-{till}-{count}"
                    acknowledged[number] = client.record(make_sale(number=number)).sequence

        tills = [threading.Thread(target=sell, args=(till,)) for till in range(TILLS)]
        for till in tills:
            till.start()
        try:
            for attempt in range(tries):
                expected = len(acknowledged) + 10
                deadline = time.monotonic() + 60
                while len(acknowledged) < expected and time.monotonic() < deadline:
                    time.sleep(0.01)
                before = dict(acknowledged)
                assert len(before) >= expected
                report = back_up(tmp_path / "ledger", tmp_path / "backup")
                assert verify(tmp_path / "backup") == report.manifest
                if attempt in (0, tries - 1):
                    place = tmp_path / f"restored-{attempt}"
                    restore(tmp_path / "backup", place)
                    assert check(place).ok
                    kept = list(read_sales(place))
                    lost += len(set(before.items()) - set(kept))
                    doubled += len(kept) - len({number for number, _ in kept})
                wrong += report.manifest.last_sequence < max(before.values())
        finally:
            end.set()
            for till in tills:
                till.join()
        status = process.stop()
    assert status == 0
    assert sum(1 for _ in read_sales(tmp_path / "ledger")) == len(acknowledged)

    add_row(
        Row(
            fault="backup of a ledger that is written",
            how="beside tills that record",
            tries=tries,
            lost=lost,
            doubled=doubled,
            wrong=wrong,
            control="a backup with an entry taken away",
            control_failed=is_refused_without_its_last_entry(tmp_path / "backup", tmp_path / "other"),
        )
    )


def read_sales(directory: Path) -> Iterator[tuple[str, int]]:
    """Number and entry of every sale in a ledger's journal."""
    for value in read_entries(directory):
        entry = journal_pb2.JournalEntry.FromString(value)
        if entry.HasField("document"):
            document = document_pb2.Document.FromString(entry.document.document)
            yield document.document_number, entry.sequence


def is_refused_without_its_last_entry(backup: Path, place: Path) -> bool:
    """Whether nothing is restored from a backup whose last entry was cut off its segment."""
    segment = backup / "entries" / read_manifest(backup).segments[-1].name
    whole = segment.read_bytes()
    (*_, last) = read_entries(backup.parent / "restored-0")
    size = len(last)
    segment.write_bytes(whole[: len(whole) - size])
    try:
        restore(backup, place)
    except DataLoss:
        return not (place / "format").exists()
    return False
