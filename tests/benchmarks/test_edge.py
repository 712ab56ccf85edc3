"""The service over loopback, beside a bare echo of the same sizes in the same event loop.

For unary calls the server has one core to itself, echo and ours alike, and the client, which is C, another.
Streams and several edges are not pinned: client, edges and engine share all cores of the machine. Before each
turn the ledger's files are read into memory, and the same calls are made for a while without counting.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

import grpc
from tracecode_server.settings import Settings

from benchmarks.conftest import PERSON_KEY, Loads, Plan
from benchmarks.load.clients import Client
from benchmarks.load.memory import memory_bytes
from benchmarks.load.servers import echo_server, ledger_server, port_of
from benchmarks.page_cache import read_files
from benchmarks.results import Results
from benchmarks.test_record import sell
from benchmarks.workload import LINES_PER_SALE, Till, name_findings
from tracecode.ledger import Ledger
from tracecode.v1 import document_pb2, finding_pb2, ledger_service_pb2, ledger_service_pb2_grpc

VERIFY = "/tracecode.v1.LedgerService/VerifyCodes"
RECORD_SALE = "/tracecode.v1.LedgerService/RecordSale"
RECORD_DOCUMENTS = "/tracecode.v1.LedgerService/RecordDocuments"
CODES_PER_QUESTION = 5
FLIGHT = 64
CALLS_PER_SECOND_MAX = 12_000
STREAMS = (1, 4)
DOCUMENTS_PER_MESSAGE = 100
SALES_PER_GROUP = 2_000
FAILED_SHARE_MAX = 0.001
"""Of calls that come on schedule, whatever became of those before."""
UNARY_TURNS = 3
"""Of a round for unary calls, each as much shorter: what else a shared machine does, it does for seconds."""


def list_cores() -> tuple[list[int], list[int]]:
    """A core for the server, and one for the client; the same one where there is no other."""
    cores = sorted(os.sched_getaffinity(0))
    return [cores[0]], [cores[-1]]


def write_requests(documents: list[bytes]) -> list[bytes]:
    """A RecordSale request around each document, without parsing it."""
    return [b"\x0a" + write_varint(len(document)) + document for document in documents]


def write_varint(value: int) -> bytes:
    """As protobuf writes a length."""
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def write_messages(documents: list[bytes]) -> list[bytes]:
    """The stream's messages: each a hundred requests."""
    requests = [b"\x0a" + write_varint(len(request)) + request for request in write_requests(documents)]
    return [
        b"".join(requests[at : at + DOCUMENTS_PER_MESSAGE])
        for at in range(0, len(requests), DOCUMENTS_PER_MESSAGE)
    ]


def ask(port: int, method: str, request: bytes) -> bytes:
    """One call, and its answer's bytes."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        return call(request, timeout=10)


def sequence_of(port: int) -> int:
    """The last durable entry."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        return stub.GetServiceInfo(ledger_service_pb2.GetServiceInfoRequest(), timeout=10).sequence


def test_requests_are_what_protobuf_writes(loads: Loads, plan: Plan) -> None:
    """Pins the bytes that are put around documents here."""
    documents = Till(loads.load(plan.codes).workload).sell(DOCUMENTS_PER_MESSAGE)

    (message,) = write_messages(documents)

    parsed = ledger_service_pb2.RecordDocumentsRequest.FromString(message)
    assert parsed.SerializeToString() == message
    assert [request.document for request in parsed.requests] == [
        document_pb2.Document.FromString(document) for document in documents
    ]
    sale = ledger_service_pb2.RecordSaleRequest.FromString(write_requests(documents)[0])
    assert sale.SerializeToString() == write_requests(documents)[0]


def test_unary(plan: Plan, results: Results, loads: Loads, client: Client) -> None:
    """Pins that all calls succeed, on schedule nearly all, and that every sale is a durable entry. One core
    has the server."""
    folder, workload = loads.copy(plan.codes)
    till = Till(workload)
    questions, _ = workload.questions(200, CODES_PER_QUESTION)
    ours_on, client_on = list_cores()
    verified: list[float] = []
    verify_echo: list[float] = []
    recorded: list[float] = []
    record_echo: list[float] = []
    client_cpu: list[float] = []
    turns = UNARY_TURNS * plan.rounds
    times = (plan.warm_up_seconds / 2, plan.seconds / 2)
    with ledger_server(folder, ours_on) as server:
        port = port_of(server)
        answer = ask(port, VERIFY, questions[0])
        answers = ledger_service_pb2.VerifyCodesResponse.FromString(answer).answers
        assert not any(name_findings(one.findings) for one in answers)
        verdict = ask(port, RECORD_SALE, write_requests(till.sell(1))[0])
        response = ledger_service_pb2.RecordSaleResponse.FromString(verdict)
        assert not name_findings(response.verdict.findings)
        with echo_server(len(answer), ours_on) as echo, echo_server(len(verdict), ours_on) as sale_echo:
            for turn in range(turns + 1):
                for to, kept in ((port, verified), (echo, verify_echo)):
                    if to == port:
                        read_files(folder)
                    for seconds in times:
                        calls = client.call(
                            to,
                            VERIFY,
                            questions,
                            flight=FLIGHT,
                            seconds=seconds,
                            repeat=True,
                            cores=client_on,
                        )
                    # The first turn warms up the processes.
                    if turn:
                        kept.append(calls.per_second)
            # Only now: a question about a box that was sold is not plain.
            for turn in range(turns + 1):
                # Half of the sales is kept for the calls on schedule.
                share = min(
                    CALLS_PER_SECOND_MAX, till.workload.sales_max / (2 * turns + 2) / (times[0] + times[1])
                )
                parts = [write_requests(till.sell(int(share * seconds))) for seconds in times]
                for to, kept in ((port, recorded), (sale_echo, record_echo)):
                    if to == port:
                        read_files(folder)
                    for sales, seconds in zip(parts, times, strict=True):
                        before = sequence_of(port)
                        calls = client.call(
                            to, RECORD_SALE, sales, flight=FLIGHT, seconds=seconds, cores=client_on
                        )
                        assert sequence_of(port) - before == (calls.calls if to == port else 0)
                    if turn:
                        kept.append(calls.per_second)
                        client_cpu.append(calls.cpu_seconds / min(calls.seconds, calls.until_last))
        rate = 0.7 * median(recorded)
        parts = [
            write_requests(till.sell(int(rate * seconds)))
            for seconds in (plan.warm_up_seconds, 2 * plan.seconds)
        ]
        read_files(folder)
        for sales in parts:
            paced = client.call(
                port,
                RECORD_SALE,
                sales,
                seconds=len(sales) / rate + 1,
                rate=rate,
                cores=client_on,
                failures=True,
            )
    loads.drop(folder)

    scale = plan.scale
    results.add_figure("unary_pinned", "server on one core, client on another")
    results.add_figure("unary_client_cpu_share", max(client_cpu))
    results.add_figure(f"unary_verify_calls_per_second_{scale}", median(verified))
    results.add_figure(f"unary_record_calls_per_second_{scale}", median(recorded))
    results.add_figure("echo_verify_calls_per_second", median(verify_echo))
    results.add_figure("echo_record_calls_per_second", median(record_echo))
    results.add_figure(f"record_sale_rate_{scale}", rate)
    results.add_figure(f"record_sale_failed_share_{scale}", paced.failed_share)
    results.add_figure(f"record_sale_p50_ms_{scale}", paced.p50_ms)
    results.add_figure(f"record_sale_p95_ms_{scale}", paced.p95_ms)
    results.add_figure(f"record_sale_p99_ms_{scale}", paced.p99_ms)
    results.add_ratio(plan.key("unary_verify_vs_echo"), median(verified), median(verify_echo))
    results.add_ratio(plan.key("unary_record_vs_echo"), median(recorded), median(record_echo))
    # Last, so that what was measured is written down all the same.
    assert paced.calls == len(sales)
    assert paced.failed_share <= FAILED_SHARE_MAX, f"{paced.calls - paced.ok} of {paced.calls} calls failed"


def test_stream(plan: Plan, results: Results, loads: Loads, client: Client) -> None:
    """Documents by stream from another process, beside the same ledger told in process; all in order."""
    folder, workload = loads.copy(plan.codes)
    till = Till(workload)
    in_process: list[float] = []
    streamed: dict[int, list[float]] = {streams: [] for streams in STREAMS}
    share = min(till.left // ((2 + len(STREAMS)) * plan.rounds), int(100_000 * plan.seconds))
    warm_up = int(share * plan.warm_up_seconds / plan.seconds)
    for turn in range(plan.rounds):
        ledger = Ledger.open(folder, engine="lmdb", person_key=PERSON_KEY)
        sales = till.sell(warm_up + share)
        in_process.append(sell(ledger.engine, sales, SALES_PER_GROUP, files=folder, warm_up=warm_up))
        ledger.close()
        for streams in STREAMS:
            first, documents = till.sell(warm_up), till.sell(share)
            first_messages, messages = write_messages(first), write_messages(documents)
            # A server of its own: it begins with an empty overlay, as the engine did.
            with ledger_server(folder) as server:
                read_files(folder)
                client.stream(port_of(server), RECORD_DOCUMENTS, first_messages, streams=streams)
                before = sequence_of(port_of(server))
                seconds = client.stream(port_of(server), RECORD_DOCUMENTS, messages, streams=streams)
                assert sequence_of(port_of(server)) - before == len(documents)
                streamed[streams].append(LINES_PER_SALE * len(documents) / seconds)
                resident = memory_bytes(server.process.pid, "VmHWM")
            if not turn:
                check_found(folder, documents[0])
    loads.drop(folder)

    best = max(STREAMS, key=lambda streams: median(streamed[streams]))
    results.add_figure(f"stream_lines_per_second_{plan.scale}", median(streamed[best]))
    results.add_figure(f"stream_streams_{plan.scale}", best)
    results.add_figure(f"stream_server_rss_bytes_{plan.scale}", resident)
    results.add_ratio(plan.key("stream_vs_engine"), median(streamed[best]), median(in_process))


def check_found(folder: Path, document: bytes) -> None:
    """The document is in the ledger, accepted, and nothing stands against it."""
    told = document_pb2.Document.FromString(document)
    ledger = Ledger.open(folder, engine="lmdb", person_key=PERSON_KEY)
    found = ledger.get_document(
        ledger_service_pb2.GetDocumentRequest(
            institution_code=told.institution_code,
            kind=document_pb2.DOCUMENT_KIND_SALE,
            document_number=told.document_number,
        )
    )
    ledger.close()
    assert found.verdict.outcome == finding_pb2.OUTCOME_ACCEPTED
    assert not name_findings(found.verdict.findings)


def test_edges(plan: Plan, results: Results, loads: Loads, client: Client) -> None:
    """VerifyCodes with two edges and with one; None where the service has only one."""
    if "edges" not in Settings.model_fields:
        results.add_figure(f"edges_2_calls_per_second_{plan.scale}", None)
        return
    folder, workload = loads.copy(plan.codes)
    questions, _ = workload.questions(200, CODES_PER_QUESTION)
    found: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(plan.rounds + 1):
        for edges, kept in found.items():
            with ledger_server(folder, edges=edges) as server:
                time.sleep(0.5)
                read_files(folder)
                for seconds in (plan.warm_up_seconds, plan.seconds):
                    calls = client.call(
                        port_of(server),
                        VERIFY,
                        questions,
                        connections=16,
                        flight=FLIGHT,
                        seconds=seconds,
                        repeat=True,
                    )
                if turn:
                    kept.append(calls.per_second)
    loads.drop(folder)
    results.add_figure("edges_pinned", "not pinned: client, edges and engine share all cores")
    for edges, kept in found.items():
        results.add_figure(f"edges_{edges}_calls_per_second_{plan.scale}", median(kept))
    results.add_ratio(plan.key("edges_2_vs_1"), median(found[2]), median(found[1]))
