"""Starts the servers that clients talk to, ours and the bare echo, and says on which cores they run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from running_server import ServerProcess

from tracecode.v1 import ledger_service_pb2, ledger_service_pb2_grpc

TESTS = Path(__file__).parent.parent.parent
VIEWS_SECONDS_MAX = 600.0


def pin(process: int, cores: Iterable[int]) -> None:
    """Let all threads of a process, and those they will start, run on these cores only."""
    for thread in os.listdir(f"/proc/{process}/task"):
        os.sched_setaffinity(int(thread), cores)


@contextmanager
def echo_server(answer_bytes: int, cores: Iterable[int]) -> Iterator[int]:
    """The bare echo; its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load.echo", str(answer_bytes)],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        pin(process.pid, cores)
        yield port
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def ledger_server(folder: Path, cores: Iterable[int] = (), **settings: object) -> Iterator[ServerProcess]:
    """Our service on a ledger's folder, with no bound on how often one host may call."""
    server = ServerProcess(
        data_directory=folder,
        person_key_file=folder.with_name(folder.name + ".person-key"),
        peer_calls_per_second_max=10**9,
        peer_calls_max=10**6,
        peer_streams_max=10**3,
        **settings,
    )
    try:
        assert server.address, f"the service did not start: {server.log} {server.other}"
        if settings.get("views", True):
            wait_for_views(server.address)
        if cores:
            pin(server.process.pid, cores)
        yield server
    finally:
        server.process.terminate()
        status = server.process.wait(60)
        server._reader.join(10)
        for pipe in (server.process.stdout, server.process.stderr):
            assert pipe is not None
            pipe.close()
    assert status == 0, f"the service ended with {status}: {server.log[-3:]} {server.other}"


def wait_for_views(address: str) -> None:
    """Until the views have followed the journal. What was loaded without a service they read at its first
    start, beside its first sales, which is no matter of how fast it sells."""
    with grpc.insecure_channel(address) as channel:
        stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        until = time.monotonic() + VIEWS_SECONDS_MAX
        while True:
            info = stub.GetServiceInfo(ledger_service_pb2.GetServiceInfoRequest(), timeout=60)
            if info.HasField("views") and not info.views.entries_behind:
                return
            assert time.monotonic() < until, "the views did not follow"
            time.sleep(0.1)


def port_of(server: ServerProcess) -> int:
    """The port on which it listens."""
    return int(server.address.rpartition(":")[2])
