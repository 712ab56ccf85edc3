"""Nothing left: room on the disk, room in the map, places for readers, descriptors."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from documents import HOUR, NOON, SHOP, code, line, receipt
from running_server import ServerProcess, register_institutions

from tracecode.client import CallFailed, LedgerClient
from tracecode.engine.lmdb import LmdbEngine
from tracecode.errors import Overloaded
from tracecode.ledger import Ledger
from tracecode.v1 import ledger_service_pb2, ledger_service_pb2_grpc
from trust.conftest import Effort
from trust.small_ledger import PERSON_KEY, read_clock
from trust.table import NotInjected, Row

AddRow = Callable[[Row | NotInjected], None]
MIB = 2**20
DISK_MIB = 8


@contextmanager
def small_disk(folder: Path) -> Iterator[str]:
    """A disk of a few MiB at this folder; gives why not, if it cannot be made."""
    folder.mkdir()
    options = f"size={DISK_MIB}m,mode=700"
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True
    )
    if made.returncode:
        yield made.stderr.strip() or "mount failed"
        return
    try:
        yield ""
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def record_until_full(client: LedgerClient, acknowledged: list[int]) -> str:
    """Record receipts until one is refused; the reason."""
    for serial in range(len(acknowledged), 3_000):
        lines = [line(code(serial * 50 + n)) for n in range(50)]
        try:
            client.record(receipt(SHOP, f"R{serial}", NOON + HOUR, *lines))
        except CallFailed as failed:
            return failed.reason
        acknowledged.append(serial)
    return ""


def count_lost(client: LedgerClient, acknowledged: list[int]) -> int:
    """How many of them the ledger does not know."""
    return sum(not client.get_code(code(serial * 50)).status.event_count for serial in acknowledged)


@pytest.mark.parametrize(("name", "floor"), [("full disk", 0), ("less room than the floor", 2 * MIB)])
def test_a_full_disk_refuses_writes_answers_questions_and_recovers(
    tmp_path: Path, add_row: AddRow, name: str, floor: int
) -> None:
    """Pins RESOURCE_EXHAUSTED with STORAGE_FULL, that there was a warning before, that questions are answered
    meanwhile, and that the same process takes documents once there is room. The control starts a copy of the
    ledger from before the disk was full."""
    disk = tmp_path / "disk"
    with small_disk(disk) as reason:
        if reason:
            add_row(NotInjected(fault=name, reason=reason))
            return
        (disk / "ballast").write_bytes(bytes(3 * MIB))
        acknowledged: list[int] = []
        settings = {"data_directory": disk / "ledger", "disk_free_bytes_min": floor}
        with ServerProcess(**settings, disk_free_bytes_low=4 * MIB) as service:
            register_institutions(service.address, SHOP)
            older = shutil.copytree(disk / "ledger", tmp_path / "older")
            with LedgerClient(service.address, deadline_seconds=10, attempts=1) as client:
                reasons = [record_until_full(client, acknowledged)]
                before = len(acknowledged)
                lost = count_lost(client, acknowledged)
                service.wait_for("disk_space_low")
                if floor:
                    service.wait_for("writing_refused")
                (disk / "ballast").unlink()
                if floor:
                    service.wait_for("writing_resumed")
                reasons.append(record_until_full(client, acknowledged))
            assert service.process.poll() is None
            service.signal()
            service.wait()
        # A second ledger's worth of room, to start again in.
        subprocess.run(["mount", "-o", f"remount,size={4 * DISK_MIB}m", str(disk)], check=True)
        with (
            ServerProcess(**settings, disk_free_bytes_low=0) as service,
            LedgerClient(service.address, deadline_seconds=10) as client,
        ):
            lost += count_lost(client, acknowledged)
        with (
            ServerProcess(data_directory=older) as service,
            LedgerClient(service.address, deadline_seconds=10) as client,
        ):
            missed = count_lost(client, acknowledged)
    assert reasons == ["STORAGE_FULL", "STORAGE_FULL"]
    assert len(acknowledged) > before > 0
    add_row(
        Row(
            fault=name,
            how=f"tmpfs of {DISK_MIB} MiB",
            tries=len(acknowledged),
            lost=lost,
            control="an older copy of the ledger put back",
            control_failed=missed > 0,
        )
    )


def open_with_map(folder: Path, map_size_bytes: int) -> Ledger:
    """A ledger with so much room in its maps."""
    engine = LmdbEngine(folder, None, read_clock(), map_size_bytes=map_size_bytes, overlay_bytes_max=4 * MIB)
    return Ledger(engine, PERSON_KEY, read_clock)


def count_unknown(folder: Path, count: int) -> int:
    """How many of so many receipts of 20 boxes a ledger does not know, with room in its maps."""
    ledger = open_with_map(folder, 64 * MIB)
    unknown = sum(not ledger.get_code(code(n * 20)).status.event_count for n in range(count))
    ledger.close()
    return unknown


def test_a_full_map_refuses_writes_and_a_larger_one_takes_up_there(
    tmp_path: Path, effort: Effort, add_row: AddRow
) -> None:
    """Pins StorageFull of MDB_MAP_FULL, in the journal and in the index: what was acknowledged is answered,
    then and with the larger map. The control opens the ledger as it was when its first map was full."""
    tries, lost, acknowledged = effort.count(2, 12), 0, 0
    for number in range(1, tries + 1):
        ledger = open_with_map(tmp_path / "ledger", number * 384 * 1024)
        while True:
            codes = [code(acknowledged * 20 + n) for n in range(20)]
            try:
                ledger.record([receipt(SHOP, f"R{acknowledged}", NOON, line(*codes))])
            except Overloaded:
                break
            acknowledged += 1
        lost += sum(not ledger.get_code(code(n * 20)).status.event_count for n in range(acknowledged))
        ledger.close()
        if number == 1:
            shutil.copytree(tmp_path / "ledger", tmp_path / "older")
    lost += count_unknown(tmp_path / "ledger", acknowledged)
    missed = count_unknown(tmp_path / "older", acknowledged)
    add_row(
        Row(
            fault="full map",
            how="map_size_bytes of 384 KiB and more",
            tries=acknowledged,
            lost=lost,
            control="an older copy of the ledger put back",
            control_failed=missed > 0,
        )
    )


READERS = """
import os, signal, sys
from tracecode._native import Store
for number in range(int(sys.argv[2])):
    if os.fork() == 0:
        try:
            store = Store(sys.argv[1], map_size_bytes=2**26, overlay_bytes_max=2**23, read_only=True)
            assert store.applied_sequence >= 0
            os.write(1, b".")
        except Exception:
            os.write(1, b"x")
        if sys.argv[3] == "live":
            signal.pause()
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[3] == "dead":
        os.wait()
signal.pause()
"""


def run_readers(folder: Path, count: int, kind: str) -> bytes:
    """What so many readers say, each by a point or, if there is no place for it, an x; all are killed."""
    with subprocess.Popen(
        [sys.executable, "-c", READERS, str(folder), str(count), kind],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as readers:
        assert readers.stdout is not None
        said = readers.stdout.read(count)
        os.killpg(readers.pid, signal.SIGKILL)
    return said


def test_dead_readers_keep_nobody_out(tmp_path: Path, effort: Effort, add_row: AddRow) -> None:
    """Pins that readers that were killed give their places back, to other readers and to the map: LMDB has
    126 places, and what a reader's snapshot holds is never used again. The control is that many readers
    that live: then there is no place left."""
    folder = tmp_path / "ledger"
    ledger = open_with_map(folder, 2 * MIB)
    dead = effort.count(300, 600)
    said = run_readers(folder, dead, "dead")
    for number in range(300):
        ledger.record([receipt(SHOP, f"R{number}", NOON, line(code(number)))])
        ledger.engine.native.flush()  # type: ignore[attr-defined]
    lost = sum(not ledger.get_code(code(n)).status.event_count for n in range(300))
    assert ledger.free_dead_readers() >= 0

    control = run_readers(folder, 140, "live")
    ledger.close()
    add_row(
        Row(
            fault="dead readers, a full reader table",
            how=f"{dead} readers killed with -9",
            tries=dead,
            lost=lost,
            wrong=said.count(b"x"),
            control="140 that live",
            control_failed=b"x" in control,
        )
    )


def is_reached(address: str) -> bool:
    """Whether a newcomer is answered, with a connection of his own."""
    request = ledger_service_pb2.GetServiceInfoRequest()
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            ledger_service_pb2_grpc.LedgerServiceStub(channel).GetServiceInfo(request, timeout=2)
        except grpc.RpcError:
            return False
    return True


def take_descriptors(pid: int) -> tuple[int, int]:
    """Leave the process no number for another descriptor; its limits before."""
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    free = next(number for number in range(len(taken) + 1) if number not in taken)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, limits[1]))
    return limits


def test_a_service_without_descriptors_goes_on_and_recovers(
    tmp_path: Path, effort: Effort, add_row: AddRow
) -> None:
    """Pins that, with no descriptor left, who is connected is served and what is acknowledged is kept, and
    that newcomers get in as soon as there are some again. The control is a newcomer meanwhile."""
    tries, lost, wrong, shut_out = effort.count(2, 10), 0, 0, 0
    with ServerProcess(data_directory=tmp_path / "ledger") as service:
        register_institutions(service.address, SHOP)
        pid = service.process.pid
        with LedgerClient(service.address, deadline_seconds=20, attempts=1) as client:
            for number in range(tries):
                client.service_info()
                limits = take_descriptors(pid)
                serials = range(number * 20, number * 20 + 20)
                for serial in serials:
                    client.record(receipt(SHOP, f"R{serial}", NOON + HOUR, line(code(serial))))
                shut_out += not is_reached(service.address)
                lost += sum(not client.get_code(code(n)).status.event_count for n in serials)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
                deadline = time.monotonic() + 20
                while not is_reached(service.address) and time.monotonic() < deadline:
                    pass
                wrong += not is_reached(service.address)
        ended = service.stop()
    with (
        ServerProcess(data_directory=tmp_path / "ledger") as service,
        LedgerClient(service.address, deadline_seconds=20) as client,
    ):
        lost += sum(not client.get_code(code(n)).status.event_count for n in range(tries * 20))
    add_row(
        Row(
            fault="no descriptor left",
            how="RLIMIT_NOFILE of the running service lowered to what it has open",
            tries=tries,
            lost=lost,
            wrong=wrong,
            aborts=ended != 0,
            control="a newcomer while there is none",
            control_failed=shut_out == tries,
        )
    )
