"""The service in several processes: edges in front of the one with the ledger, as a till sees them."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import ValidationError
from running_server import ServerProcess, ServerThread, register_institutions
from tracecode_server import engine_link, link
from tracecode_server.edge_link import Desk, EdgeLink
from tracecode_server.engine_link import EngineLink, RemoteService, build_services
from tracecode_server.limits import PeerLimits
from tracecode_server.listener import list_options
from tracecode_server.method import PEER, SERVICES, from_bytes
from tracecode_server.settings import Settings
from tracecode_server.status import TABLE, Refused, read_refusal, refuse, write_refusal
from wire import (
    INSTITUTION,
    call_raw,
    make_batch,
    make_document,
    make_sale,
    read_details,
    read_figure,
    read_metrics,
)

from tracecode.client import LedgerClient
from tracecode.errors import DocumentRejected, FieldInvalid, ImportInvalid, Overloaded
from tracecode.v1 import catalogue_pb2, catalogue_service_pb2, document_pb2, ledger_service_pb2
from tracecode.v1.ledger_service_pb2_grpc import LedgerServiceStub

EDGES = 2
REUSED = make_sale(number="reused")
GONE_SECONDS_MAX = 30.0
RESTART_SECONDS_MAX = 60.0


def list_processes(parent: int) -> list[int]:
    """The processes that a process has started and that run."""
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def is_running(process: int) -> bool:
    """Whether the process runs; one that has ended and was not asked for its status does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def list_refusals(process: ServerProcess) -> list[dict[str, Any]]:
    """The refused calls in the log."""
    return [line for line in list(process.log) if line["event"] == "call_refused"]


def open_channels(process: ServerProcess, stack: ExitStack) -> dict[int, grpc.Channel]:
    """A channel of its own to each edge; the system decides where a connection goes, the log says where."""
    channels: dict[int, grpc.Channel] = {}
    deadline = time.monotonic() + RESTART_SECONDS_MAX
    while len(channels) < EDGES and time.monotonic() < deadline:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = stack.enter_context(grpc.insecure_channel(process.address, options=options))
        before = len(list_refusals(process))
        with pytest.raises(grpc.RpcError):
            call_raw(channel, "GetCode", b"")
        while len(list_refusals(process)) == before:
            time.sleep(0.005)
        channels.setdefault(list_refusals(process)[-1]["edge"], channel)
    assert sorted(channels) == list(range(1, EDGES + 1))
    return channels


def prepare(address: str) -> None:
    """Let a new service know what the tests count on, each under the same entry."""
    register_institutions(address, INSTITUTION)
    with grpc.insecure_channel(address) as channel:
        call_raw(channel, "RecordSale", make_batch(REUSED).requests[0].SerializeToString())


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A service of two edges, whose processes all live on to the end."""
    directory = tmp_path_factory.mktemp("edges") / "ledger"
    settings = {"metrics_listen": "127.0.0.1:0", "peer_streams_max": 3}
    with ServerProcess(data_directory=directory, edges=EDGES, **settings) as running:
        prepare(running.address)
        yield running
        assert running.other == []


@pytest.fixture
def channels(process: ServerProcess) -> Iterator[dict[int, grpc.Channel]]:
    """A channel to each edge, by its number."""
    with ExitStack() as stack:
        yield open_channels(process, stack)


# --- one ledger behind all edges ------------------------------------------------------------------


def test_a_sale_and_its_retry_through_another_edge_are_one_entry(channels: dict[int, grpc.Channel]) -> None:
    """Pins that it does not matter where a till is connected."""
    request = ledger_service_pb2.RecordSaleRequest(document=make_sale())

    first, again = (LedgerServiceStub(channels[edge]).RecordSale(request).verdict for edge in (1, 2))

    assert (first.repeat, again.repeat) == (False, True)
    assert again.sequence == first.sequence


def test_streams_through_two_edges_are_answered_in_order(channels: dict[int, grpc.Channel]) -> None:
    """Pins streams that are longer than one side may be ahead of the other, on every edge at once."""
    documents = {edge: [make_sale() for _ in range(300)] for edge in channels}
    for document in itertools.chain(*documents.values()):
        document.memo = "x" * 2000
    messages = {
        edge: [make_batch(*each[at : at + 30]) for at in range(0, len(each), 30)]
        for edge, each in documents.items()
    }
    assert sum(message.ByteSize() for message in messages[1]) > 2 * link.AHEAD_BYTES_MAX

    calls = {
        edge: LedgerServiceStub(channel).RecordDocuments(iter(messages[edge]))
        for edge, channel in channels.items()
    }
    results = {edge: [result for answer in call for result in answer.results] for edge, call in calls.items()}

    for edge, each in results.items():
        assert [result.position for result in each] == list(range(len(documents[edge])))
        assert not [result.error for result in each if result.HasField("error")]
    sequences = [result.verdict.sequence for each in results.values() for result in each]
    assert len(set(sequences)) == len(sequences)


def test_a_client_that_reads_no_answers_is_not_read_from_through_an_edge_either(
    process: ServerProcess, channels: dict[int, grpc.Channel]
) -> None:
    """Pins the window from end to end: neither an edge nor its link takes what the ledger does not."""
    total = 6000

    def send() -> Iterator[ledger_service_pb2.RecordDocumentsRequest]:
        for _ in range(total):
            document = make_sale()
            document.memo = document.lines[0].memo = "x" * 2000
            yield make_batch(document)

    def count() -> int:
        return (
            LedgerServiceStub(channels[2]).GetServiceInfo(ledger_service_pb2.GetServiceInfoRequest()).sequence
        )

    # Without this gRPC lends a fast peer more and more room of its own for answers that wait.
    with grpc.insecure_channel(process.address, options=[("grpc.http2.bdp_probe", 0)]) as channel:
        begin = count()
        call = LedgerServiceStub(channel).RecordDocuments(send())
        next(iter(call))
        held, before = count(), 0
        while held != before:
            time.sleep(0.3)
            held, before = count(), held
        call.cancel()

    assert begin < held < begin + total


# --- errors ---------------------------------------------------------------------------------------

OTHER = make_sale(number="reused")
BAD_PRODUCTS = catalogue_service_pb2.ImportProductsRequest(products=[catalogue_pb2.Product(identifier="1")])

# Method, messages. Told in this order to a service of one process and to one of several.
REFUSED = [
    pytest.param("RecordSale", [b"\xff"], id="no message at all"),
    pytest.param(
        "RecordReceipt", [make_batch(make_sale()).requests[0].SerializeToString()], id="not its kind"
    ),
    pytest.param("RecordSaleReturn", [make_batch(make_sale()).requests[0].SerializeToString()], id="nor its"),
    pytest.param("RecordSale", [make_batch(make_document()).requests[0].SerializeToString()], id="no kind"),
    pytest.param("RecordSale", [b""], id="nothing"),
    pytest.param(
        "RecordSale", [make_batch(OTHER).requests[0].SerializeToString()], id="a number used before"
    ),
    pytest.param("GetCode", [b"\x0a\x03\xe2\x80\xae"], id="a mark that turns the text around"),
    pytest.param("GetProduct", [b"\x0a\x071234567"], id="not found"),
    pytest.param("ImportProducts", [b"", BAD_PRODUCTS.SerializeToString()], id="a bad row in a stream"),
    pytest.param("ImportProducts", [b"", b"\xff"], id="no message in a stream"),
    pytest.param("ListStock", [b"\x0a\x0cP37020304446\x22\x01x"], id="another question's page"),
]


@pytest.fixture(scope="module")
def alone() -> Iterator[grpc.Channel]:
    """A channel to a service of one process that knows what the one of several processes knows."""
    with ServerThread(engine="memory") as server, grpc.insecure_channel(server.address) as channel:
        prepare(server.address)
        yield channel


def read_error(channel: grpc.Channel, method: str, messages: list[bytes]) -> tuple[object, ...]:
    """All that a client is told: code, text, and the bytes of the details."""
    with pytest.raises(grpc.RpcError) as caught:
        call_raw(channel, method, *messages)
    error = caught.value
    return error.code(), error.details(), [*error.trailing_metadata()]


@pytest.mark.parametrize(("method", "messages"), REFUSED)
def test_an_error_is_the_same_bytes_from_one_process_and_from_several(
    alone: grpc.Channel, channels: dict[int, grpc.Channel], method: str, messages: list[bytes]
) -> None:
    """Pins that no client can tell where its call was refused, nor an edge say less than the ledger did."""
    expected = read_error(alone, method, messages)

    assert [read_error(channels[edge], method, messages) for edge in (1, 2)] == [expected] * 2


def test_a_bad_message_of_a_stream_is_answered_in_its_place(
    alone: grpc.Channel, channels: dict[int, grpc.Channel]
) -> None:
    """Pins that a malformed message, which only the ledger's process reads, does not end the stream."""
    answers = [
        call_raw(channel, "RecordDocuments", b"\xff", make_batch(make_document()).SerializeToString())
        for channel in (alone, channels[1], channels[2])
    ]

    assert answers[1:] == answers[:1] * 2
    (result,) = ledger_service_pb2.RecordDocumentsResponse.FromString(answers[0]).results
    assert (result.position, result.error.reason) == (1, "FIELD_INVALID")


ERRORS = [
    FieldInvalid("document.lines[0].codes", "\u836f \u202e"),
    ImportInvalid(3, "name", "is missing"),
    *(kind("field", "said why") for kind in TABLE if issubclass(kind, DocumentRejected)),
    *(kind("said why") for kind in TABLE if not issubclass(kind, DocumentRejected | ImportInvalid)),
    Overloaded("full", 2.5),
    ValueError("said in confidence"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_refusal_crosses_the_link_whole(error: Exception) -> None:
    """Pins every kind of error that there is, and one that nobody expected."""
    refusal = refuse(error)

    assert read_refusal(write_refusal(refusal)) == refusal
    assert refuse(Refused(refusal)) == refusal


# --- what holds for the service as a whole --------------------------------------------------------


def test_limits_of_a_peer_hold_over_all_edges(
    process: ServerProcess, channels: dict[int, grpc.Channel]
) -> None:
    """Pins that one host cannot have its allowance once on each edge."""
    end = threading.Event()

    def wait() -> Iterator[bytes]:
        yield b""
        end.wait(10)

    path = "/tracecode.v1.LedgerService/RecordDocuments"
    calls = [channels[edge].stream_stream(path)(wait()) for edge in (1, 2, 1)]
    for call in calls:
        assert next(iter(call)) == b""
    try:
        with pytest.raises(grpc.RpcError) as caught:
            call_raw(channels[2], "RecordDocuments", b"")
    finally:
        end.set()
        for call in calls:
            call.cancel()

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert read_details(caught.value)["ErrorInfo"].reason == "PEER_OVER_LIMIT"
    metrics_address = process.wait_for("serving")["metrics_address"]
    deadline = time.monotonic() + 30
    while read_figure(metrics_address, "tracecode_calls_in_flight") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert read_figure(metrics_address, "tracecode_calls_in_flight") == 0


def test_one_scrape_shows_the_calls_of_all_edges(
    process: ServerProcess, channels: dict[int, grpc.Channel]
) -> None:
    """Pins that an operator need not know of edges to count calls and documents."""
    metrics_address = process.wait_for("serving")["metrics_address"]

    def count() -> float:
        return sum(
            float(line.rpartition(" ")[2])
            for line in read_metrics(metrics_address).splitlines()
            if line.startswith("tracecode_call_seconds_count") and "GetServiceInfo" in line
        )

    before = count()
    for edge, calls in ((1, 3), (2, 4)):
        for _ in range(calls):
            call_raw(channels[edge], "GetServiceInfo", b"")

    # A call is counted when its status was sent, which may be after it came.
    deadline = time.monotonic() + 30
    while count() < before + 7 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert count() == before + 7
    assert read_figure(metrics_address, "tracecode_edges") == EDGES


def test_a_port_that_another_service_of_edges_has_is_an_error(process: ServerProcess, tmp_path: Path) -> None:
    """Pins that two services never share one port without noticing, though edges of one do."""
    with ServerProcess(data_directory=tmp_path / "ledger", edges=EDGES, listen=process.address) as second:
        status = second.wait()

    assert status == 1
    assert [line["event"] for line in second.log if line["level"] == "error"] == ["not_listening"]
    assert second.other == []


def test_one_edge_is_the_service_in_one_process(tmp_path: Path) -> None:
    """Pins the default: no other process, and a port that nobody can share."""
    assert Settings(engine="memory").edges == 1
    assert dict(list_options(Settings(engine="memory")))["grpc.so_reuseport"] == 0
    with ServerProcess(engine="memory", edges=1) as single:
        children = list_processes(single.process.pid)
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", int(single.address.rpartition(":")[2])))
        status = single.stop()

    assert children == []
    assert status == 0
    assert "edges" not in single.log[0]


@pytest.mark.parametrize("edges", [0, -1, 17, "two", 1.5])
def test_a_number_of_edges_that_makes_no_sense_is_refused(edges: object) -> None:
    """Pins the bounds, and that the message names the option."""
    with pytest.raises(ValidationError, match="edges"):
        Settings(engine="memory", edges=edges)  # type: ignore[arg-type]


# --- ends -----------------------------------------------------------------------------------------


def test_an_edge_that_is_killed_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Pins kill -9 of an edge under load: callers learn that they know nothing, all others nothing at all."""
    sequences: dict[str, int] = {}
    failures: list[BaseException] = []
    unknown: list[grpc.StatusCode] = []
    end = threading.Event()

    def sell(address: str, till: int) -> None:
        with LedgerClient(address, deadline_seconds=5, attempts=20, seed=till) as client:
            for count in itertools.count():
                if end.is_set():
                    return
                number = f"edge-{till}-{count}"
                try:
                    sequences[number] = client.record(make_sale(number=number)).sequence
                except BaseException as error:
                    failures.append(error)
                    return

    def ask(channel: grpc.Channel) -> None:
        while not end.is_set():
            try:
                call_raw(channel, "GetServiceInfo", b"")
            except grpc.RpcError as error:
                unknown.append(error.code())

    with ServerProcess(
        data_directory=tmp_path / "ledger", edges=EDGES, metrics_listen="127.0.0.1:0"
    ) as process:
        register_institutions(process.address, INSTITUTION)
        metrics_address = process.wait_for("serving")["metrics_address"]
        edges = list_processes(process.process.pid)
        with ExitStack() as stack:
            channels = open_channels(process, stack)
            threads = [threading.Thread(target=sell, args=(process.address, till)) for till in range(6)]
            threads += [threading.Thread(target=ask, args=(channel,)) for channel in channels.values()]
            for thread in threads:
                thread.start()
            try:
                time.sleep(0.3)
                before = len(sequences)
                os.kill(edges[0], signal.SIGKILL)
                ended = process.wait_for("edge_ended")
                process.wait_for("edge_listening")
                after = len(sequences)
                deadline = time.monotonic() + RESTART_SECONDS_MAX
                while len(sequences) < after + 20 and time.monotonic() < deadline:
                    time.sleep(0.02)
            finally:
                end.set()
                for thread in threads:
                    thread.join()
        with LedgerClient(process.address) as client:
            kept = {
                number: client.get_document(
                    INSTITUTION, document_pb2.DOCUMENT_KIND_SALE, number
                ).verdict_first.sequence
                for number in sequences
            }
        figure = read_figure(metrics_address, "tracecode_edges")
        now = list_processes(process.process.pid)
        status = process.stop()

    assert ended["process"] == edges[0]
    assert failures == []
    assert 0 < before < after < len(sequences)
    assert set(unknown) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert kept == sequences
    assert len(set(sequences.values())) == len(sequences)
    assert figure == EDGES
    assert edges[1] in now
    assert edges[0] not in now
    assert status == 0


def is_listening(address: str) -> bool:
    """Whether anybody takes connections there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_ledger_that_is_killed_takes_its_edges_with_it(tmp_path: Path) -> None:
    """Pins that no edge stays behind to listen for nobody, not even one that is stopped."""
    with ServerProcess(data_directory=tmp_path / "ledger", edges=EDGES) as process:
        edges = list_processes(process.process.pid)
        assert len(edges) == EDGES
        os.kill(edges[0], signal.SIGSTOP)
        process.process.kill()
        deadline = time.monotonic() + GONE_SECONDS_MAX
        while any(map(is_running, edges)) and time.monotonic() < deadline:
            time.sleep(0.01)
        left = [edge for edge in edges if is_running(edge)]
        # The last thread of a process may close its sockets a moment after it counts as gone.
        while is_listening(process.address) and time.monotonic() < deadline:
            time.sleep(0.01)

        assert left == []
        assert not is_listening(process.address)


def test_sigterm_lets_the_calls_of_all_edges_finish(tmp_path: Path) -> None:
    """Pins the drain, also where the system tells every process of the service: what was read is answered."""
    directory = tmp_path / "ledger"
    with ServerProcess(data_directory=directory, edges=EDGES) as process, ExitStack() as stack:
        register_institutions(process.address, INSTITUTION)
        channels = open_channels(process, stack)
        edges = list_processes(process.process.pid)
        watches = [
            health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
            for channel in channels.values()
        ]
        for watch in watches:
            assert next(iter(watch)).status == health_pb2.HealthCheckResponse.SERVING
        end = threading.Event()
        documents = {edge: [make_sale() for _ in range(30)] for edge in channels}

        def send(edge: int) -> Iterator[ledger_service_pb2.RecordDocumentsRequest]:
            for at in range(0, len(documents[edge]), 3):
                yield make_batch(*documents[edge][at : at + 3])
            end.wait(20)

        calls = {
            edge: LedgerServiceStub(channel).RecordDocuments(send(edge)) for edge, channel in channels.items()
        }
        answers = {edge: [next(iter(call))] for edge, call in calls.items()}
        begin = time.monotonic()
        for edge in edges:
            os.kill(edge, signal.SIGTERM)
        process.signal()
        reasons = []
        for edge, call in calls.items():
            with pytest.raises(grpc.RpcError) as caught:
                answers[edge].extend(call)
            reasons.append((caught.value.code(), read_details(caught.value)["ErrorInfo"].reason))
        for watch in watches:
            assert next(iter(watch)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        end.set()
        status = process.wait()
        duration_seconds = time.monotonic() - begin

    assert status == 0
    assert reasons == [(grpc.StatusCode.UNAVAILABLE, "DRAINING")] * EDGES
    assert duration_seconds < 18
    assert process.other == []
    assert [line["event"] for line in process.log][-2:] == ["drained", "stopped"]
    assert not [edge for edge in edges if is_running(edge)]
    with ServerProcess(data_directory=directory) as again, grpc.insecure_channel(again.address) as channel:
        for edge, each in answers.items():
            results = [result for answer in each for result in answer.results]
            for document, result in zip(documents[edge], results, strict=False):
                request = ledger_service_pb2.RecordSaleRequest(document=document)
                verdict = LedgerServiceStub(channel).RecordSale(request).verdict
                assert (verdict.repeat, verdict.sequence) == (True, result.verdict.sequence)


# --- the link by itself ---------------------------------------------------------------------------


class Answers:
    """Services that answer with what they are asked, twice, once they are told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.given_up = 0
        self.read = 0
        self.services: dict[str, object] = {
            service.full_name: RemoteService(
                {
                    method.name: from_bytes(
                        self.converse  # type: ignore[type-var]
                        if method.server_streaming
                        else self.gather
                        if method.client_streaming
                        else self.answer
                    )
                    for method in service.methods
                }
            )
            for service in SERVICES
        }

    async def answer(self, request: bytes) -> bytes:
        """A unary method."""
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return request * 2

    async def gather(self, messages: AsyncIterator[bytes]) -> bytes:
        """A method with a stream of requests."""
        await self.go.wait()
        return b"".join([message async for message in messages])

    async def converse(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A method with two streams."""
        await self.go.wait()
        async for message in messages:
            self.read += 1
            yield message * 2


class Linked:
    """Both ends of a link in one event loop. Methods of the contract are numbered in its order."""

    unary, gather, converse = (
        [method.name for service in SERVICES for method in service.methods].index(name)
        for name in ("GetCode", "ImportProducts", "RecordDocuments")
    )

    def __init__(self, answers: Answers) -> None:
        self.limits = PeerLimits(10_000, 100, 10_000)
        self.edge = EdgeLink(Desk(answers.services, self.limits, lambda: None), lambda told: None)
        self.engine = EngineLink(lambda told: None)

    async def connect(self) -> None:
        """Join them."""
        loop = asyncio.get_running_loop()
        for end, side in zip((self.edge, self.engine), socket.socketpair(), strict=True):
            side.setblocking(False)
            await loop.create_unix_connection(lambda end=end: end, sock=side)
        PEER.set("ipv4:127.0.0.1")


def run(test: Any) -> None:
    """Run a coroutine function with linked ends and their answers, in the event loop that we serve in."""

    async def connect_and_run() -> None:
        answers = Answers()
        linked = Linked(answers)
        await linked.connect()
        try:
            async with asyncio.timeout(20):
                await test(answers, linked)
        finally:
            linked.engine.close()
            await settle()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(connect_and_run())


async def settle() -> None:
    """Let everything happen that needs no time."""
    for _ in range(50):
        await asyncio.sleep(0.001)


async def repeat(message: bytes, count: int, taken: list[int]) -> AsyncIterator[bytes]:
    """A stream of so many equal messages; `taken` grows as it is read."""
    for number in range(count):
        taken.append(number)
        yield message


def test_messages_of_any_size_cross_the_link_whole() -> None:
    """Pins the framing: none, few and many bytes, in one call and in streams, among each other."""

    async def test(answers: Answers, linked: Linked) -> None:
        answers.go.set()
        requests = [b"", b"x", b"ab" * 70_000, b"c" * 5_000_000, b"", b"d" * 300_000]

        async def send() -> AsyncIterator[bytes]:
            for request in requests:
                yield request

        unary = await asyncio.gather(*(linked.engine.ask(linked.unary, request) for request in requests))
        streamed = [response async for response in linked.engine.converse(linked.converse, send())]
        gathered = await linked.engine.gather(linked.gather, send())

        assert unary == streamed == [request * 2 for request in requests]
        assert gathered == b"".join(requests)

    run(test)


def test_what_an_edge_has_open_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins that an edge pushes back, by calls and by bytes, when the ledger's process does not keep up."""
    monkeypatch.setattr(engine_link, "OPEN_CALLS_MAX", 4)
    monkeypatch.setattr(engine_link, "OPEN_BYTES_MAX", 1000)

    async def test(answers: Answers, linked: Linked) -> None:
        def ask(size: int) -> asyncio.Task[bytes]:
            return asyncio.create_task(linked.engine.ask(linked.unary, b"x" * size))

        # One call always fits.
        calls = [ask(2000)]
        await settle()
        with pytest.raises(Overloaded):
            await ask(1)
        answers.go.set()
        await calls[0]
        answers.go.clear()
        calls = [ask(1) for _ in range(4)]
        await settle()
        with pytest.raises(Overloaded):
            await ask(0)
        answers.go.set()

        assert await asyncio.gather(*calls) == [b"xx"] * 4
        assert await ask(3) == b"x" * 6

    run(test)


def test_a_stream_is_read_no_further_than_its_bound() -> None:
    """Pins both directions: messages that nobody takes stay where they are, empty ones too."""
    size = 10_000

    async def test(answers: Answers, linked: Linked) -> None:
        for message, most in ((b"x" * size, link.AHEAD_BYTES_MAX // size), (b"", link.AHEAD_BYTES_MAX // 64)):
            answers.go.clear()
            answers.read = 0
            taken: list[int] = []
            responses = linked.engine.converse(linked.converse, repeat(message, 3 * most, taken))
            first = asyncio.ensure_future(anext(responses))
            await settle()
            # The one more is in the hand of who waits to send it.
            assert len(taken) == most + 1
            answers.go.set()
            assert await first == message * 2
            await settle()
            ahead = answers.read
            assert ahead < len(taken) <= ahead + most + 1
            # Of answers as well: what is twice as long fills the room with half as many.
            assert ahead <= most + 2
            assert len([response async for response in responses]) == 3 * most - 1
            assert len(taken) == 3 * most

    run(test)


def test_a_call_that_is_given_up_is_given_up_on_both_sides() -> None:
    """Pins that nothing is left of a call whose caller went away, whenever that was."""

    async def test(answers: Answers, linked: Linked) -> None:
        late = asyncio.create_task(linked.engine.ask(linked.unary, b"x"))
        stream = linked.engine.converse(linked.converse, repeat(b"x", 10, []))
        reading = asyncio.ensure_future(anext(stream))
        await settle()
        for call in (late, reading):
            call.cancel()
        await asyncio.wait({late, reading})
        # Asked and given up before it was begun with.
        for number, method in ((90, linked.unary), (91, linked.converse)):
            linked.edge.take(link.CALL, number, link.write_call(method, "ipv4:127.0.0.1", b""))
            linked.edge.take(link.CANCEL, number, b"")
        await settle()

        assert late.cancelled()
        assert reading.cancelled()
        assert answers.given_up == 1
        for end in (linked.edge, linked.engine):
            assert not end._streams
        assert not linked.edge._tasks
        assert not linked.engine._futures
        assert (linked.limits._peers["ipv4:127.0.0.1"].calls, linked.engine._bytes.total) == (0, 0)

    run(test)


def test_an_edge_that_is_gone_leaves_nothing_open() -> None:
    """Pins that its calls are given up and its peers' allowance is free again."""

    async def test(answers: Answers, linked: Linked) -> None:
        calls = [asyncio.create_task(linked.engine.ask(linked.unary, b"x")) for _ in range(3)]
        await settle()
        assert linked.limits._peers["ipv4:127.0.0.1"].calls == 3
        linked.engine.close()
        await settle()

        assert answers.given_up == 3
        assert linked.limits._peers["ipv4:127.0.0.1"].calls == 0
        for call in calls:
            call.cancel()

    run(test)


def test_an_edge_that_reads_no_answers_is_not_read_from() -> None:
    """Pins that the ledger's process keeps no heap of answers for an edge that hangs."""
    request = b"x" * 50_000
    body = link.write_call(Linked.unary, "ipv4:127.0.0.1", request)
    call = link.HEADER.pack(len(body), 1, link.CALL) + body
    calls = 2_000

    async def fill() -> int:
        answers = Answers()
        answers.go.set()
        linked = Linked(answers)
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        ours.setblocking(False)
        theirs.setblocking(False)
        await loop.create_unix_connection(lambda: linked.edge, sock=ours)
        sent = 0
        with theirs, suppress(TimeoutError):
            for _ in range(calls):
                await asyncio.wait_for(loop.sock_sendall(theirs, call), 0.5)
                sent += 1
        await settle()
        return sent

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert 0 < runner.run(fill()) < calls / 10


def test_methods_go_by_the_same_number_on_both_sides() -> None:
    """Pins that an edge asks for the method that was called."""

    async def test(answers: Answers, linked: Linked) -> None:
        answers.go.set()
        numbers = itertools.count()
        desk = Desk(answers.services, linked.limits, lambda: None)
        services = build_services(linked.engine)
        for service in SERVICES:
            for method in service.methods:
                number = next(numbers)
                assert desk.streaming[number] == (method.client_streaming or method.server_streaming)
                assert desk.server_streaming[number] == method.server_streaming
                if not desk.streaming[number]:
                    assert await getattr(services[service.full_name], method.name)(b"1") == b"11"
        assert next(numbers) == len(desk.answers)

    run(test)
