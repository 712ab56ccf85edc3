"""Bad neighbours hurt only themselves: an honest client's calls are answered in time beside every attack.

The honest client and the attacker are processes of their own on addresses of their own, because what the
service calls a peer is a host. A twin of the service, with an honest client of its own, is attacked by nobody
and says at every moment how fast this machine is: both are measured in the same windows. What is late on a
busy machine is late for both, and of three windows the one in the middle counts: in the first, others wait
until a flood is known for one, and the note says how long. In the short form, beside all else that
`make test` does, the best counts. As the control the limits that protect are taken away, or the service is
held still, and the harness has to notice.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from running_server import ServerProcess, register_institutions
from wire import make_batch, make_sale

from tracecode.v1 import document_pb2, ledger_service_pb2, ledger_service_pb2_grpc
from trust import attacks, honest_client
from trust.conftest import Effort
from trust.table import Row

# What an honest till may wait for at the 99th percentile: as promised, or where `make test` shares the
# machine with all else it does.
P99_SECONDS_MAX = 0.05
P99_SECONDS_MAX_SHORT = 1.0
# Where the twin is slower than promised, the service is judged by how much slower it is.
SLOWDOWN_MAX = 3.0
WINDOWS = 3
RECOVERY_SECONDS_MAX = 5.0
CALLS_PER_SECOND = 40.0
# What a bad neighbour may make the service hold, all its processes together.
GROWTH_BYTES_MAX = 768 * 1024 * 1024
GOODPUT_MIN = 0.9
GOODPUT_MIN_SHORT = 0.4
# Files that a process without limits may have open in the control.
FILES_MAX = 128

IN_SHORT_FORM = ("bodyless_4000", "no_preface", "half_headers", "too_large_messages")
ON_EDGES = ("bodyless_200_connections", "pings", "questions_flood", "histories_flood", "documents_flood")
# Of these, what protects is a limit that the control takes away.
LIMITED_ATTACKS = {
    "bodyless_200_connections",
    "questions_flood",
    "histories_flood",
    "odd_questions_flood",
    "rapid_resets",
}
# An honest bulk load: so many documents in a message, on so many streams.
BULK_DOCUMENTS = 250
BULK_STREAMS = 4
BULK_SECONDS = 60.0
BULK_SECONDS_SHORT = 3.0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The short form tries some attacks, the full one all, and some of them on two edges, too."""
    if "attack" in metafunc.fixturenames:
        full = metafunc.config.getoption("--minutes") > 0
        names = [name for name in attacks.ATTACKS if name not in attacks.PATIENT] if full else IN_SHORT_FORM
        cases = [(1, name) for name in names] + [(2, name) for name in (ON_EDGES if full else names[:1])]
        metafunc.parametrize(("edges", "attack"), cases, scope="module")


def spawn(module: str, *arguments: str) -> subprocess.Popen[str]:
    """A program of this folder; it has begun when this returns."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"trust.{module}", *arguments],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline(), f"{module} {arguments} did not begin"
    return process


@dataclass(frozen=True, slots=True)
class Window:
    """What came of an honest client's calls for a while."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def p99(self) -> float:
        """Seconds; of fewer than a hundred calls the slowest but one counts, of none nothing can be good."""
        ordered = sorted(self.seconds)
        return ordered[-1 - max(1, len(ordered) // 100)] if len(ordered) > 4 else float("inf")


@dataclass(frozen=True, slots=True)
class Pair:
    """The same while of the service and of its twin."""

    service: Window
    twin: Window
    promised: float

    @property
    def bound(self) -> float:
        """What the honest client's p99 may be; a twin that is stuck excuses nothing."""
        return max(self.promised, SLOWDOWN_MAX * min(self.twin.p99, 1.0))

    @property
    def good(self) -> bool:
        """Whether the honest client was served as it should be."""
        return self.service.p99 <= self.bound


class Honest:
    """The honest client's process."""

    def __init__(self, address: str) -> None:
        self.process = spawn("honest_client", address, str(CALLS_PER_SECOND))

    def take(self) -> Window:
        """What came of its calls since this was last asked."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return Window(**json.loads(self.process.stdout.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        end(self.process)


class Attacker:
    """An attack's process; `said` is what came back, once it was stopped."""

    def __init__(self, name: str, address: str, scale: float) -> None:
        # A flood comes from a few hosts. Each attack has its own: who was put out for the last one still is.
        number = list(attacks.ATTACKS).index(name)
        sources = f"127.1.{number}.2,127.1.{number}.3" if "flood" in name else f"127.1.{number}.2"
        self.process = spawn("attacks", name, address, sources, str(scale))
        self.said: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        if select.select([self.process.stdout], [], [], 30)[0]:
            self.said = json.loads(self.process.stdout.readline() or "{}")
        end(self.process)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process of ours and give up its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@contextlib.contextmanager
def serve(folder: Path, **settings: object) -> Iterator[tuple[ServerProcess, Honest]]:
    """A service with a code of a long history, and an honest client that is used to it."""
    with ServerProcess(data_directory=folder / "ledger", **settings) as server:
        register_institutions(server.address, honest_client.INSTITUTION, "P37020304446")
        documents = [
            make_sale(attacks.LONG_CODE, f"LONG{n}", stage=document_pb2.SALE_STAGE_REPORTED)
            for n in range(30)
        ]
        with grpc.insecure_channel(server.address) as channel:
            stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
            assert list(stub.RecordDocuments(iter([make_batch(*documents)]), timeout=60))
        with Honest(server.address) as honest:
            time.sleep(0.3)
            yield server, honest


@pytest.fixture(scope="module")
def service(edges: int) -> Iterator[tuple[ServerProcess, Honest]]:
    """One service for all attacks: it has to outlive them."""
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder), edges=edges) as served:
        yield served


@pytest.fixture(scope="module")
def twin() -> Iterator[Honest]:
    """The honest client of a service that nobody attacks."""
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as (_, honest):
        yield honest


@pytest.fixture(scope="module")
def service_without_limits() -> Iterator[tuple[ServerProcess, Honest]]:
    """The control's: nobody is put out and anybody has any number of connections, of which there cannot be
    many."""
    settings = {"peer_connections_max": 10**9, "peer_put_out_seconds": 0}
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder), **settings) as served:
        server, honest = served
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))
        yield server, honest


def test_an_honest_client_does_not_feel_a_bad_neighbour(
    edges: int,
    attack: str,
    service: tuple[ServerProcess, Honest],
    twin: Honest,
    effort: Effort,
    add_row: Callable[[Row], None],
    request: pytest.FixtureRequest,
) -> None:
    """Pins its p99, that none of its calls fails, that the service stays as it was, and that harm is seen."""
    server, honest = service
    promised = P99_SECONDS_MAX_SHORT if effort.is_short else P99_SECONDS_MAX
    seconds = 0.6 if effort.is_short else 1.5
    scale = 0.1 if effort.is_short else 1.0
    memory = read_memory(server.process.pid)

    def watch(client: Honest, seconds: float = seconds) -> Pair:
        client.take()
        twin.take()
        time.sleep(seconds)
        return Pair(client.take(), twin.take(), promised)

    with Attacker(attack, server.address, scale) as attacker:
        time.sleep(0.5)
        during = [watch(honest)]
        while len(during) < WINDOWS and not (effort.is_short and during[-1].good):
            during.append(watch(honest))
        grown = read_memory(server.process.pid) - memory
    begin = time.monotonic()
    after = watch(honest, 0.5)
    while not after.good and time.monotonic() - begin < RECOVERY_SECONDS_MAX:
        after = watch(honest, 0.5)

    if attack in LIMITED_ATTACKS and edges == 1:
        control = "without its limits"
        bare, witness = request.getfixturevalue("service_without_limits")
        with Attacker(attack, bare.address, scale):
            time.sleep(0.5)
            harmed = watch(witness, 1.0)
    else:
        control = "the service held still"
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            harmed = watch(honest, max(0.5, 2 * during[-1].bound))
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        time.sleep(0.3)
        honest.take()

    failures = [failure for pair in (*during, after) for failure in pair.service.failures]
    last = during[-1] if effort.is_short else sorted(during, key=lambda pair: pair.service.p99)[WINDOWS // 2]
    add_row(
        Row(
            fault=f"neighbour: {attack.replace('_', ' ')}" + (f", {edges} edges" if edges > 1 else ""),
            how=(attacks.ATTACKS[attack].__doc__ or "").split(":")[0].rstrip("."),
            tries=sum(len(pair.service.seconds) for pair in during),
            lost=len(failures),
            wrong=(not last.good) + (not after.good) + (grown > GROWTH_BYTES_MAX),
            # An attack that never connected, or said nothing at its end, did not take place.
            aborts=int(
                server.process.poll() is not None
                or bool(attacker.said.get("error", not attacker.said))
                or not attacker.said["seen"].get("connected")
            ),
            control=control,
            control_failed=not harmed.good or bool(harmed.service.failures),
            note=f"honest p99 {last.service.p99 * 1000:.1f} ms, twin {last.twin.p99 * 1000:.1f}, after "
            f"{after.service.p99 * 1000:.1f}, at most {last.bound * 1000:.0f}; windows "
            f"{[f'{pair.service.p99 * 1000:.0f}' for pair in during]}; memory "
            f"+{grown // 2**20} MiB; {failures[:1]} {attacker.said.get('seen')}",
        )
    )


def test_ten_times_the_load_is_answered_as_fast_as_the_load_at_peak(
    effort: Effort, add_row: Callable[[Row], None], tmp_path: Path
) -> None:
    """Pins goodput under overload: callers who wait when they are told to get as many answers as before."""
    least = GOODPUT_MIN_SHORT if effort.is_short else GOODPUT_MIN
    seconds = 2.0 if effort.is_short else 5.0

    # All callers are one host here, and stand for ten: what one host may do is no matter of this test.
    with ServerProcess(data_directory=tmp_path / "ledger", peer_calls_per_second_max=10**6) as server:

        def measure(name: str, held_still: bool = False) -> tuple[float, dict[str, int]]:
            with Attacker(name, server.address, 1.0) as load:
                if held_still:
                    os.kill(server.process.pid, signal.SIGSTOP)
                time.sleep(seconds)
            os.kill(server.process.pid, signal.SIGCONT)
            # Who has gone is not waited for any more.
            time.sleep(1.0)
            seen = load.said["seen"]
            return seen.get("status 0", 0) / load.said["seconds"], seen

        best, peak, flooded, seen = 0.0, 0.0, 0.0, {}
        for _ in range(WINDOWS):
            peak = max(peak, measure("load_at_peak")[0])
            flooded, seen = measure("load_at_ten_times_peak")
            best = max(best, flooded / max(peak, 1.0))
            if best >= least:
                break
        slow, _ = measure("load_at_ten_times_peak", held_still=True)

    refused = seen.get("status 8", 0)
    add_row(
        Row(
            fault="neighbour: ten times the load",
            how="320 patient callers where 32 make the peak",
            tries=seen["sent"],
            # A refusal says when to come back, always.
            wrong=(best < least) + (refused - seen.get("details 8", 0)),
            control="the service held still",
            control_failed=slow / max(peak, 1.0) < least,
            note=f"{flooded:,.0f} answers/s, {peak:,.0f} at peak, {refused} told to wait",
        )
    )


def test_an_honest_bulk_load_beside_a_busy_gateway_is_never_cut(
    effort: Effort, add_row: Callable[[Row], None], tmp_path: Path
) -> None:
    """Pins that streams at full speed and 64 calls in flight are no attack, and are answered."""
    seconds = BULK_SECONDS_SHORT if effort.is_short else BULK_SECONDS

    def load(folder: Path, seconds: float, **settings: object) -> tuple[int, list[str], dict[str, int]]:
        with ServerProcess(data_directory=folder, **settings) as server:
            register_institutions(server.address, honest_client.INSTITUTION)
            with Attacker("busy_gateway", server.address, 1.0) as gateway:
                answered, failures = send_bulk(server.address, seconds)
            cut = [line["event"] for line in server.log if line["event"] in CUTS]
            return answered, failures + cut, gateway.said.get("seen", {})

    answered, failures, seen = load(tmp_path / "ledger", seconds)
    _, harmed, _ = load(tmp_path / "narrow", 1.0, peer_connections_max=1)
    add_row(
        Row(
            fault="neighbour: none, an honest bulk load and a busy gateway",
            how=f"{BULK_STREAMS} streams of documents at full speed for {seconds:.0f} s, 64 calls in flight",
            tries=answered,
            lost=len(failures),
            wrong=seen.get("closed", 0),
            aborts=int(not seen.get("status 0")),
            control="a host may have one connection",
            control_failed=bool(harmed),
            note=f"{answered / seconds:,.0f} documents/s, {seen}; {failures[:2]}",
        )
    )


# What the log says of connections that were ended.
CUTS = ("peer_put_out", "connections_ended")


def send_bulk(address: str, seconds: float) -> tuple[int, list[str]]:
    """Documents answered in so many seconds on a few streams, and why streams ended before."""
    failures: list[str] = []
    answered = [0] * BULK_STREAMS

    def stream(number: int) -> None:
        # Made before, so that the client is not what is slow; a repeat takes the service as long as a sale.
        messages = [
            make_batch(
                *(
                    make_sale(
                        honest_client.make_honest_code(10**9 * (number + 1) + BULK_DOCUMENTS * part + at),
                        f"BULK-{number}-{part}-{at}",
                        institution_code=honest_client.INSTITUTION,
                    )
                    for at in range(BULK_DOCUMENTS)
                )
            )
            for part in range(4)
        ]
        begin = time.monotonic()

        def send() -> Iterator[ledger_service_pb2.RecordDocumentsRequest]:
            while time.monotonic() - begin < seconds:
                yield from messages

        options = [("grpc.use_local_subchannel_pool", 1)]
        try:
            with grpc.insecure_channel(address, options=options) as channel:
                stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
                for response in stub.RecordDocuments(send(), timeout=seconds + 60):
                    answered[number] += len(response.results)
        except grpc.RpcError as error:
            failures.append(f"{error.code().name}: {error.details()}")

    threads = [threading.Thread(target=stream, args=(number,)) for number in range(BULK_STREAMS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answered), failures


def read_memory(process: int) -> int:
    """Resident bytes of a process and its children."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    pages = [int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in (process, *children)]
    return sum(pages) * resource.getpagesize()
