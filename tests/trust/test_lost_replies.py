"""A reply that is lost after the commit: whoever asks again, how and when, gets the one answer there is."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import grpc
from documents import DAY, DRUG, NS, code
from google.protobuf.timestamp_pb2 import Timestamp
from losing_wire import Proxy
from running_server import ServerProcess, ServerThread, register_institutions

from tracecode.client import LedgerClient, NotKnown, OutcomeUnknown
from tracecode.finding import FindingType
from tracecode.v1 import document_pb2, finding_pb2, ledger_service_pb2, ledger_service_pb2_grpc
from trust.conftest import Effort
from trust.table import NotInjected, Row

AddRow = Callable[[Row | NotInjected], None]
SHOP = "P13050000001"
WAIT_SECONDS = 60.0
SALES_PER_LOSS = 8
"""Calls on the wire at once when it goes deaf."""


@dataclass(slots=True)
class Till:
    """Writes sales, and remembers which answers it lost and which it got in the end."""

    rng: Random
    lost: list[document_pb2.Document] = field(default_factory=list)
    answers: dict[str, list[finding_pb2.Verdict]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def write(self) -> document_pb2.Document:
        """A sale of a box of its own."""
        number = next(self.numbers)
        asked = self.rng.random() < 0.5
        return document_pb2.Document(
            institution_code=SHOP,
            document_number=f"S{number}",
            business_time=Timestamp(seconds=int(time.time()) - 60),
            lines=[document_pb2.Line(drug_code=DRUG, codes=[code(number)], quantity="1")],
            sale=document_pb2.Sale(
                stage=(
                    document_pb2.SALE_STAGE_BEFORE_SETTLEMENT if asked else document_pb2.SALE_STAGE_REPORTED
                ),
                settlement_type=document_pb2.SETTLEMENT_TYPE_INSURED,
                person_token="A",
            ),
        )

    def hear(self, document: document_pb2.Document, verdict: finding_pb2.Verdict) -> None:
        """Keep an answer."""
        self.answers.setdefault(document.document_number, []).append(verdict)


@dataclass(slots=True)
class Audit:
    """What the service knows of the sales whose replies were lost."""

    lost: int = 0
    doubled: int = 0
    wrong: int = 0


def audit(client: LedgerClient, till: Till) -> Audit:
    """Ask for every box: it was sold once, and all answers to its till are that entry's."""
    found = Audit()
    for document in till.lost:
        events = list(client.list_code_events(document.lines[0].codes[0]))
        found.lost += not events
        found.doubled += len(events) > 1
        said = {essence(verdict) for verdict in till.answers.get(document.document_number, [])}
        said |= {
            essence(client.get_document(SHOP, document_pb2.DOCUMENT_KIND_SALE, one).verdict_first)
            for one in (document.document_number,)
            if events
        }
        found.wrong += len(said) > 1 or (bool(events) and {one[0] for one in said} != {events[0].sequence})
    return found


def essence(verdict: finding_pb2.Verdict) -> tuple[Any, ...]:
    """What may never change in the answer to a sale: its entry, the outcome and what was found."""
    findings = sorted(
        (finding.type, finding.code, finding.line_number, finding.final_severity)
        for finding in verdict.findings
        if finding.type != FindingType.DUP_RETRY
    )
    return (verdict.sequence, verdict.outcome, tuple(findings))


def wait_until_kept(client: LedgerClient, documents: Sequence[document_pb2.Document]) -> None:
    """Return when all of them are in the journal."""
    deadline = time.monotonic() + WAIT_SECONDS
    for document in documents:
        while not is_kept(client, document):
            assert time.monotonic() < deadline, "the service never kept what was sent"
            time.sleep(0.005)


def is_kept(client: LedgerClient, document: document_pb2.Document) -> bool:
    """Whether the journal has it."""
    try:
        client.get_document(SHOP, document_pb2.DOCUMENT_KIND_SALE, document.document_number)
    except NotKnown:
        return False
    return True


def lose_unary(server: str, till: Till) -> None:
    """RecordSale calls: all are kept, none is answered."""
    proxy = Proxy(server)
    documents = [till.write() for _ in range(SALES_PER_LOSS)]
    with grpc.insecure_channel(proxy.address) as channel, LedgerClient(server, deadline_seconds=20) as direct:
        stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        stub.GetServiceInfo(ledger_service_pb2.GetServiceInfoRequest(), timeout=WAIT_SECONDS)
        proxy.deaf.set()
        calls = [
            stub.RecordSale.future(
                ledger_service_pb2.RecordSaleRequest(document=document), timeout=WAIT_SECONDS
            )
            for document in documents
        ]
        wait_until_kept(direct, documents)
        proxy.cut()
        till.lost += [
            document for document, call in zip(documents, calls, strict=True) if call.exception() is not None
        ]
    proxy.close()


def lose_stream(server: str, till: Till) -> None:
    """One RecordDocuments stream, a document a message: all are kept, none is answered."""
    proxy = Proxy(server)
    documents = [till.write() for _ in range(SALES_PER_LOSS)]
    ended = threading.Event()

    def feed() -> Iterator[ledger_service_pb2.RecordDocumentsRequest]:
        for document in documents:
            yield ledger_service_pb2.RecordDocumentsRequest(
                requests=[ledger_service_pb2.RecordDocumentRequest(document=document)]
            )
        ended.wait(WAIT_SECONDS)

    with grpc.insecure_channel(proxy.address) as channel, LedgerClient(server, deadline_seconds=20) as direct:
        stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        stub.GetServiceInfo(ledger_service_pb2.GetServiceInfoRequest(), timeout=WAIT_SECONDS)
        proxy.deaf.set()
        call = stub.RecordDocuments(feed(), timeout=WAIT_SECONDS)
        wait_until_kept(direct, documents)
        proxy.cut()
        heard = []
        try:
            heard += list(call)
        except grpc.RpcError:
            till.lost += documents
        assert not heard
        ended.set()
    proxy.close()


def lose_from_client(server: str, till: Till) -> None:
    """Our own client, which sends again by itself: one call, and one stream."""
    proxy = Proxy(server)
    single, several = till.write(), [till.write() for _ in range(SALES_PER_LOSS - 1)]
    with (
        LedgerClient(proxy.address, deadline_seconds=20, attempts=6, stall_seconds=20, seed=1) as client,
        LedgerClient(server, deadline_seconds=20) as direct,
        ThreadPoolExecutor(2) as threads,
    ):
        client.service_info()
        proxy.deaf.set()
        call = threads.submit(client.record, single)
        stream = threads.submit(lambda: list(client.record_stream(several)))
        wait_until_kept(direct, [single, *several])
        proxy.deaf.clear()
        proxy.cut()
        till.lost += [single, *several]
        for document, verdict in zip([single, *several], [call.result(), *stream.result()], strict=True):
            assert isinstance(verdict, finding_pb2.Verdict)
            till.hear(document, verdict)
    proxy.close()


def ask_again(server: str, till: Till, documents: Sequence[document_pb2.Document]) -> None:
    """Send each one to five times more: by calls and streams, from two connections at the same moment."""
    times = till.rng.randint(1, 5)
    with (
        LedgerClient(server, deadline_seconds=20) as one,
        LedgerClient(server, deadline_seconds=20) as other,
        ThreadPoolExecutor(2) as threads,
    ):
        for turn in range(times):
            if turn % 2:
                answers = [
                    threads.submit(lambda client=client: list(client.record_stream(documents)))
                    for client in (one, other)
                ]
            else:
                answers = [
                    threads.submit(lambda client=client: [client.record(each) for each in documents])
                    for client in (one, other)
                ]
            for answer in answers:
                for document, verdict in zip(documents, answer.result(), strict=True):
                    assert isinstance(verdict, finding_pb2.Verdict), verdict
                    till.hear(document, verdict)


def renumber(document: document_pb2.Document) -> document_pb2.Document:
    """What a till must never do: the same sale under a new number."""
    renamed = document_pb2.Document()
    renamed.CopyFrom(document)
    renamed.document_number += "-2"
    return renamed


def test_a_reply_lost_on_the_wire_is_given_again(effort: Effort, add_row: AddRow, tmp_path: Path) -> None:
    """Pins one entry and one verdict for each sale: asked again at once, after a restart, two days later."""
    till = Till(Random(1))
    later_ns = [0]
    settings = {
        "data_directory": tmp_path / "ledger",
        "clock_ns": lambda: time.time_ns() + later_ns[0],
        "drain_seconds": 1.0,
    }
    rounds = effort.count(1, 15)
    with ServerThread(**settings) as server:
        register_institutions(server.address, SHOP)
        for _ in range(rounds):
            begin = len(till.lost)
            for lose in (lose_unary, lose_stream, lose_from_client):
                lose(server.address, till)
            ask_again(server.address, till, till.lost[begin:])
    with ServerThread(**settings) as server:
        ask_again(server.address, till, till.lost)
        later_ns[0] = 2 * DAY * NS
        ask_again(server.address, till, till.lost)
        with LedgerClient(server.address, deadline_seconds=20) as client:
            found = audit(client, till)

            careless = Till(Random(2), numbers=count(1_000_000))
            lose_unary(server.address, careless)
            for document in careless.lost:
                client.record(renumber(document))
            doubled = audit(client, careless).doubled

    add_row(
        Row(
            fault="reply lost after the commit",
            how="a wire drops answers; asked again 1-5 times, twice at once, after restart, 2 days on",
            tries=len(till.lost),
            lost=found.lost,
            doubled=found.doubled,
            wrong=found.wrong,
            control="a till that numbers its second attempt anew",
            control_failed=doubled == len(careless.lost) > 0,
        )
    )
    assert len(till.lost) == rounds * 3 * SALES_PER_LOSS


@dataclass(slots=True)
class KillerAtReply:
    """strace on a running server: the first reply written after so many others kills it."""

    process: subprocess.Popen[str]
    reader: threading.Thread
    """Reads on, for whatever else strace has to say would fill the pipe."""

    @classmethod
    def attach(cls, pid: int, nth: int, log: Path) -> KillerAtReply | None:
        """None where this machine does not let one process trace another."""
        process = subprocess.Popen(
            [
                *("strace", "-f", "-p", str(pid), "-o", str(log)),
                *("-e", "trace=sendmsg", "-e", f"inject=sendmsg:signal=KILL:when={nth}"),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        line = process.stderr.readline()
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        killer = cls(process, reader)
        if "attached" not in line:
            killer.stop()
            return None
        return killer

    def stop(self) -> None:
        """Let the server be; it is dead in most cases."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(WAIT_SECONDS)
        self.reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


def test_a_server_killed_at_its_reply_answers_the_same_when_it_is_back(
    effort: Effort, add_row: AddRow, tmp_path: Path
) -> None:
    """Pins the same where the process dies in the call that would have written the answer."""
    fault = "server killed as it writes the reply"
    if shutil.which("strace") is None:
        add_row(NotInjected(fault=fault, reason="strace is not installed"))
        return
    till = Till(Random(3))
    folder = tmp_path / "ledger"
    kills, found, register = effort.count(2, 24), Audit(), True
    for attempt in range(kills):
        with ServerProcess(data_directory=folder, drain_seconds=1) as server:
            if register:
                register_institutions(server.address, SHOP)
                register = False
            with LedgerClient(server.address, deadline_seconds=20, attempts=1) as client:
                client.service_info()
                killer = KillerAtReply.attach(server.process.pid, 1 + attempt % 6, tmp_path / "strace.log")
                if killer is None:
                    add_row(NotInjected(fault=fault, reason="processes may not be traced here"))
                    return
                unanswered = None
                while unanswered is None:
                    document = till.write()
                    try:
                        till.hear(document, client.record(document))
                    except OutcomeUnknown:
                        unanswered = document
            assert server.wait() == -signal.SIGKILL
            killer.stop()
        with (
            ServerProcess(data_directory=folder, drain_seconds=1) as server,
            LedgerClient(server.address, deadline_seconds=20) as client,
        ):
            # What was killed before its commit is no lost reply; it is sent again all the same.
            if is_kept(client, unanswered):
                till.lost.append(unanswered)
            ask_again(server.address, till, [unanswered])
            if attempt == kills - 1:
                found = audit(client, till)
                careless = till.write()
                client.record(careless)
                client.record(renumber(careless))
                control = audit(client, Till(Random(4), lost=[careless]))
    add_row(
        Row(
            fault=fault,
            how=f"strace: KILL at sendmsg 1 to 6 of a thread; {kills} kills",
            tries=len(till.lost),
            lost=found.lost,
            doubled=found.doubled,
            wrong=found.wrong,
            control="a till that numbers its second attempt anew",
            control_failed=control.doubled == 1,
        )
    )
