"""A disk that fails: no OK for what is lost, and the service ends or goes on, but never lies."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from documents import HOUR, NOON, SHOP, code, line, receipt
from running_server import ServerProcess, register_institutions

from tracecode.client import CallFailed, LedgerClient
from tracecode.v1 import document_pb2
from trust.conftest import Effort
from trust.io_errors import SYNC, WRITE
from trust.shares import WORKERS, run_shares
from trust.small_ledger import record_small
from trust.table import NotInjected, Row

AddRow = Callable[[Row | NotInjected], None]
ENDS = ("right", "lost", "doubled", "wrong", "not recovered", "failed", "aborts")


@pytest.fixture(scope="module")
def faulty_io(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that lets a disk fail."""
    library = tmp_path_factory.mktemp("faulty_io") / "faulty_io.so"
    source = Path(__file__).with_name("faulty_io.cpp")
    subprocess.run(["g++", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger to begin from."""
    folder = tmp_path_factory.mktemp("small") / "ledger"
    record_small(folder, lambda: None)
    return folder


def run_positions(
    faulty_io: Path, small: Path, scratch: Path, first: int, step: int, mode: str
) -> Counter[str]:
    """Let the program try its share of the positions, in two processes."""
    shares = [
        [str(small), str(scratch / f"{mode}{n}"), str(first + n * step), str(step * WORKERS), mode]
        for n in range(WORKERS)
    ]
    return run_shares("trust.io_errors", shares, LD_PRELOAD=str(faulty_io))


@pytest.mark.timeout(900)
def test_a_disk_that_fails_at_any_position_loses_nothing_acknowledged(
    faulty_io: Path, small: Path, tmp_path: Path, effort: Effort, add_row: AddRow
) -> None:
    """Pins every write and sync of a commit and of a flush, with EIO, ENOSPC and a write cut short, once and
    from then on. The control says OK although the commit failed."""
    step = 12 if effort.is_short else 1
    ends = run_positions(faulty_io, small, tmp_path, 0, step, "honest")
    control = run_positions(faulty_io, small, tmp_path, 0, 12, "lying")

    add_row(
        Row(
            fault="EIO, ENOSPC, short write",
            how="each write and sync of journal and index, once and for good",
            tries=sum(ends[end] for end in ENDS),
            lost=ends["lost"],
            doubled=ends["doubled"],
            wrong=ends["wrong"] + ends["not recovered"] + ends["failed"],
            aborts=ends["aborts"],
            control="OK in spite of the error",
            control_failed=control["lost"] > 0,
            note=json.dumps(ends),
        )
    )
    # Each worker counts all positions before it tries its share.
    assert effort.is_short or ends["tries"] * WORKERS == ends["positions"]


def count_known(data: Path, count: int) -> tuple[list[int], list[int]]:
    """How often a service of this ledger knows each box: at its start, and after all were told again."""
    with (
        ServerProcess(data_directory=data, disk_free_bytes_min=0) as service,
        LedgerClient(service.address, deadline_seconds=10) as client,
    ):
        found = [client.get_code(code(serial)).status.event_count for serial in range(count)]
        for serial in range(count):
            client.record(receipt(SHOP, f"R{serial}", NOON + HOUR, line(code(serial))))
        return found, [client.get_code(code(serial)).status.event_count for serial in range(count)]


@pytest.mark.parametrize(
    ("name", "kind", "error", "always"),
    [
        ("EIO on fdatasync, once", SYNC, errno.EIO, 0),
        ("EIO on fdatasync, always", SYNC, errno.EIO, 1),
        ("EIO on a write, always", WRITE, errno.EIO, 1),
    ],
)
def test_a_service_whose_disk_fails_ends_at_once_and_loses_nothing(
    faulty_io: Path,
    tmp_path: Path,
    effort: Effort,
    add_row: AddRow,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: int,
    error: int,
    always: int,
) -> None:
    """Pins that the process answers UNAVAILABLE, exits with 1, that what it acknowledged is there at the next
    start, and that it then takes what it refused. The control starts an older copy of the ledger."""
    tries, lost, doubled, slow, missed = effort.count(1, 6), 0, 0, 0, 0
    for number in range(tries):
        data = tmp_path / str(number)
        monkeypatch.setenv("LD_PRELOAD", str(faulty_io))
        monkeypatch.setenv("FAULTY_IO", f"journal/data.mdb {kind} {12 + number} {error} {always}")
        acknowledged = []
        with ServerProcess(data_directory=data, drain_seconds=2, disk_free_bytes_min=0) as service:
            register_institutions(service.address, SHOP)
            older = shutil.copytree(data, tmp_path / f"older{number}")
            refused = time.monotonic()
            with LedgerClient(service.address, deadline_seconds=3, attempts=1) as client:
                for serial in range(100):
                    document = receipt(SHOP, f"R{serial}", NOON + HOUR, line(code(serial)))
                    try:
                        client.record(document)
                    except CallFailed:
                        refused = time.monotonic()
                        break
                    acknowledged.append(serial)
            assert service.wait(20) == 1
            slow += time.monotonic() - refused > 10
        monkeypatch.delenv("LD_PRELOAD")
        monkeypatch.delenv("FAULTY_IO")
        known, after = count_known(data, len(acknowledged) + 1)
        lost += sum(not known[serial] for serial in acknowledged)
        lost += after.count(0)
        doubled += sum(count > 1 for count in after)
        if number == 0:
            seen, _ = count_known(older, len(acknowledged))
            missed += seen.count(0)
    add_row(
        Row(
            fault=name,
            how="the service's journal",
            tries=tries,
            lost=lost,
            doubled=doubled,
            wrong=slow,
            control="an older copy of the ledger put back",
            control_failed=missed > 0,
        )
    )


SMALL_OVERLAY = """
from tracecode.engine.lmdb import LmdbEngine

LmdbEngine.__init__.__kwdefaults__["overlay_bytes_max"] = 2**22
"""
"""What python imports at its start if it stands in its path: records are soon written back."""
FLUSHED_CODES = 2_000
"""On each document that is told while the index is written."""
FLUSHED_DOCUMENTS_MAX = 100
FIRST_FLUSH_WRITE, FIRST_FLUSH_SYNC = 5, 4
"""What comes before are the index's own first pages."""


def write_many(serial: int) -> document_pb2.Document:
    """A receipt that fills a tenth of what may wait to be written back."""
    codes = (code(serial * FLUSHED_CODES + n) for n in range(FLUSHED_CODES))
    return receipt(SHOP, f"R{serial}", NOON + HOUR, line(*codes))


def record_until_stopped(client: LedgerClient, acknowledged: list[int]) -> int:
    """Tell documents until the service gives up; how often it did not know what it had acknowledged."""
    wrong = 0
    while len(acknowledged) < FLUSHED_DOCUMENTS_MAX:
        serial = len(acknowledged)
        try:
            client.record(write_many(serial))
            acknowledged.append(serial)
            wrong += client.get_code(code(serial * FLUSHED_CODES)).status.event_count != 1
        except CallFailed as failed:
            if failed.reason != "OVERLOADED":
                break
            # They come faster than they are written back.
            time.sleep(0.05)
    return wrong


def count_entries(data: Path, count: int) -> tuple[list[int], list[int]]:
    """What a service of this ledger knows of each document by its last box, at its start and told again."""
    with (
        ServerProcess(data_directory=data, disk_free_bytes_min=0) as service,
        LedgerClient(service.address, deadline_seconds=20) as client,
    ):
        boxes = [code((serial + 1) * FLUSHED_CODES - 1) for serial in range(count)]
        found = [client.get_code(box).status.event_count for box in boxes]
        for serial in range(count):
            client.record(write_many(serial))
        return found, [client.get_code(box).status.event_count for box in boxes]


@pytest.mark.parametrize(
    ("name", "kind", "first", "always"),
    [
        ("EIO on a write of the index, once", WRITE, FIRST_FLUSH_WRITE, 0),
        ("EIO on a write of the index, always", WRITE, FIRST_FLUSH_WRITE, 1),
        ("EIO on fdatasync of the index", SYNC, FIRST_FLUSH_SYNC, 0),
    ],
)
def test_a_service_whose_index_cannot_be_written_ends_and_the_next_has_all(
    faulty_io: Path,
    tmp_path: Path,
    effort: Effort,
    add_row: AddRow,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: int,
    first: int,
    always: int,
) -> None:
    """Pins that a flush that fails ends the process with 1, that all questions answered before are
    right, and that the next start has all that was acknowledged, once. The control starts an older copy."""
    tries, lost, doubled, wrong, missed = effort.count(1, 6), 0, 0, 0, 0
    (tmp_path / "sitecustomize.py").write_text(SMALL_OVERLAY, encoding="utf-8")
    for number in range(tries):
        data = tmp_path / str(number)
        with monkeypatch.context() as faulty:
            faulty.setenv("PYTHONPATH", str(tmp_path))
            faulty.setenv("LD_PRELOAD", str(faulty_io))
            faulty.setenv("FAULTY_IO", f"index/data.mdb {kind} {first + number} {errno.EIO} {always}")
            acknowledged: list[int] = []
            with ServerProcess(data_directory=data, drain_seconds=2, disk_free_bytes_min=0) as service:
                register_institutions(service.address, SHOP)
                older = shutil.copytree(data, tmp_path / f"older{number}")
                with LedgerClient(service.address, deadline_seconds=10, attempts=1) as client:
                    wrong += record_until_stopped(client, acknowledged)
                # It did fail, and before all were told.
                assert service.wait(20) == 1
        known_then, after = count_entries(data, len(acknowledged) + 1)
        lost += sum(not known_then[serial] for serial in acknowledged) + after.count(0)
        doubled += sum(count > 1 for count in after)
        if number == 0:
            seen, _ = count_entries(older, len(acknowledged))
            missed += seen.count(0)
    add_row(
        Row(
            fault=name,
            how="a flush of the running service",
            tries=tries,
            lost=lost,
            doubled=doubled,
            wrong=wrong,
            control="an older copy of the ledger put back",
            control_failed=missed > 0,
        )
    )
