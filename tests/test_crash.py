"""A process that is killed loses nothing it acknowledged, and the city ends in the same verdicts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import recording_child

from tracecode.city.score import read_start, verdict_digest
from tracecode.city.simulate import simulate
from tracecode.fsck import check
from tracecode.ledger import Ledger


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small city on disk."""
    out = tmp_path_factory.mktemp("city")
    simulate(11, 6, 3, out)
    return out


@pytest.fixture(scope="module")
def undisturbed(city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of a recording that nobody killed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "ledger"
    recording_child.record(city, folder)
    return folder


def digest(city: Path, folder: Path) -> str:
    """What stands of every document."""
    start = read_start(city)
    ledger = Ledger.open(folder, person_key=recording_child.PERSON_KEY, clock_ns=lambda: start)
    try:
        return verdict_digest(ledger, city)
    finally:
        ledger.close()


def run_and_kill(city: Path, folder: Path, lines: int) -> list[str]:
    """Record in a child, kill -9 it after so many acknowledgements; what it acknowledged."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    acknowledged = []
    with subprocess.Popen(
        [sys.executable, recording_child.__file__, str(city), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            acknowledged.append(line.strip())
            if len(acknowledged) >= lines:
                break
        os.kill(child.pid, signal.SIGKILL)
        acknowledged += [line.strip() for line in child.stdout if line.endswith("\n")]
    assert child.returncode == -signal.SIGKILL
    return acknowledged


def test_kills_in_the_middle_lose_nothing_and_change_no_verdict(
    city: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """Three kills; each restart tells the whole day again; every acknowledgement keeps its sequence."""
    folder = tmp_path / "ledger"
    acknowledged: dict[str, str] = {}
    for lines in (60, 300, 700):
        for answer in run_and_kill(city, folder, lines):
            document, _, sequence = answer.rpartition(" ")
            assert acknowledged.setdefault(document, sequence) == sequence
    recording_child.record(city, folder)

    assert digest(city, folder) == digest(city, undisturbed)
    assert check(folder).ok


def test_fsck_passes_on_a_recorded_city(undisturbed: Path) -> None:
    """The index rebuilt from the journal is the index on disk."""
    report = check(undisturbed)

    assert report.ok, report.lines
    assert report.entries > 500
    assert report.records > 1_000


def test_fsck_names_the_record_whose_byte_was_changed(city: Path, tmp_path: Path) -> None:
    """One byte of one code record, changed in the file of the index, is found and named."""
    folder = tmp_path / "ledger"
    recording_child.record(city, folder)
    start = read_start(city)
    ledger = Ledger.open(folder, person_key=recording_child.PERSON_KEY, clock_ns=lambda: start)
    key, value = ledger.engine.store.scan(b"cN")[40]  # type: ignore[attr-defined]
    ledger.close()
    data = bytearray((folder / "index" / "data.mdb").read_bytes())
    stored = [at for at in range(len(data)) if data.startswith(value, at)]
    before = [at for at in stored if bytes(data[at - 4 - len(key) : at - 4]) == key]
    assert before, "the record stands in the file behind its key and checksum"
    for at in before:
        data[at + 12] ^= 0x10
    (folder / "index" / "data.mdb").write_bytes(bytes(data))

    report = check(folder)

    assert not report.ok
    assert key.hex() in report.lines[0]
