"""Views beside a service: kept by a process of its own that is started again, and shown."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from running_server import ServerProcess, register_institutions
from test_cli import run
from wire import INSTITUTION, make_sale

from tracecode.client import LedgerClient
from tracecode.v1 import ledger_service_pb2
from tracecode.views.projector import DIRECTORY, rebuild
from tracecode.views.store import ViewStore

# A machine that is busy with other things takes its time.
WAIT_SECONDS = 60.0


def wait_for(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    until = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < until, f"{what} within {WAIT_SECONDS:.0f} s"
        time.sleep(0.05)


def find_projectors(parent: int) -> list[int]:
    """The projector processes of a service."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{name}/cmdline").read_bytes()
            ours = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]) == parent
        except OSError:
            continue
        if ours and b"tracecode_server.projector_process" in command:
            found.append(int(name))
    return found


def test_views_are_kept_beside_the_service_and_outlive_a_kill(tmp_path: Path) -> None:
    """Pins that views catch up, are shown, go on after their process died, and end with the service, in the
    bytes that a rebuild gives."""
    directory = tmp_path / "ledger"
    with ServerProcess(data_directory=directory, views=True) as process:
        register_institutions(process.address, INSTITUTION)
        with LedgerClient(process.address, deadline_seconds=20) as client:

            def is_complete() -> bool:
                info = client.service_info()
                return info.HasField("views") and info.views.sequence == info.sequence

            def record() -> None:
                for _ in range(5):
                    client.record(make_sale())

            record()
            wait_for(is_complete, "views catch up")
            [projector] = find_projectors(process.process.pid)
            assert os.getpriority(os.PRIO_PROCESS, projector) >= min(
                19, os.getpriority(os.PRIO_PROCESS, 0) + 10
            )
            os.kill(projector, signal.SIGKILL)
            record()
            wait_for(lambda: find_projectors(process.process.pid) not in ([], [projector]), "another begins")
            wait_for(is_complete, "the other catches up")
            status: ledger_service_pb2.ViewStatus = client.service_info().views
            assert (status.entries_behind, status.lag_seconds) == (0, 0)
            sequence = status.sequence
        assert process.stop() == 0
    assert [line["status"] for line in process.log if line["event"] == "projector_ended"] == [-signal.SIGKILL]
    assert process.other == []
    # Files are written when it ends, and the boot is noted only while it is open.
    with ViewStore(directory / DIRECTORY, read_only=True) as store:
        followed = list(store.records())
        assert (store.sequence, store.files_sequence) == (sequence, sequence)
    assert not (directory / DIRECTORY / "boot").exists()
    assert rebuild(directory) == sequence
    with ViewStore(directory / DIRECTORY, read_only=True) as store:
        assert list(store.records()) == followed


def test_the_command_builds_views_again_and_doctor_tells_of_them(tmp_path: Path) -> None:
    """Pins `tracecode rebuild-views` and the line of `tracecode doctor`."""
    directory = tmp_path / "ledger"
    with ServerProcess(data_directory=directory) as process:
        register_institutions(process.address, INSTITUTION)
    assert not (directory / DIRECTORY).exists()
    told = run("rebuild-views", str(directory), "--json")
    assert told.exit_code == 0
    assert '"sequence":2' in told.stdout
    told = run("doctor", "--data", str(directory), "--listen", "127.0.0.1:0", "--json")
    assert '"check":"views","level":"ok","seen":"up to entry 2 of 2"' in told.stdout
