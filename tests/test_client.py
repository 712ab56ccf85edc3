"""The client against a real service that is slow, overloaded, restarted, or whose answers get lost."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from losing_wire import Proxy
from running_server import ServerThread, register_institutions
from wire import DRUG, INSTITUTION, make_long_sale, make_sale

from tracecode.client import (
    Backoff,
    CallInvalid,
    DocumentConflict,
    LedgerClient,
    NotKnown,
    OutcomeUnknown,
    ServerFault,
    Unanswered,
)
from tracecode.client.document_stream import PendingDocument, cut_messages, read_part
from tracecode.v1 import (
    catalogue_pb2,
    code_pb2,
    document_pb2,
    finding_pb2,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerThread]:
    """A service with a ledger of its own for this file."""
    with ServerThread(engine="memory") as server:
        register_institutions(server.address, INSTITUTION)
        yield server


@pytest.fixture
def client(server: ServerThread) -> Iterator[LedgerClient]:
    """A client that asks as a till does."""
    with LedgerClient(server.address, deadline_seconds=5, seed=1) as client:
        yield client


@pytest.fixture
def proxy(server: ServerThread) -> Iterator[Proxy]:
    """A wire to the service of this file."""
    proxy = Proxy(server.address)
    try:
        yield proxy
    finally:
        proxy.close()


# --- questions and answers ------------------------------------------------------------------------


def test_every_method_of_the_client_reaches_the_service(client: LedgerClient) -> None:
    """Pins the plain way through, each method once."""
    sale = make_sale()
    code = sale.lines[0].codes[0]
    verdict = client.record(sale)
    products = [
        catalogue_pb2.Product(
            identifier=f"824{number:04d}", package_level=1, name="阿莫西林胶囊", units_per_package=1
        )
        for number in range(1500)
    ]
    institution = catalogue_pb2.Institution(
        institution_code="P37020300099", name="测试药店", division_code="370203"
    )
    hold = catalogue_pb2.Hold(
        hold_id="C1", reason=catalogue_pb2.HOLD_REASON_INVESTIGATION, code=code, start_date="2026-01-01"
    )
    replacement = catalogue_pb2.CodeReplacement(
        old_code="82345670000000999991", new_code="82345670000000999992"
    )

    assert verdict.outcome == finding_pb2.OUTCOME_ACCEPTED
    assert client.get_code(code).status.state == code_pb2.CODE_STATE_SOLD
    assert [event.operation for event in client.list_code_events(code)] == [code_pb2.OPERATION_SALE]
    found = client.get_document(INSTITUTION, document_pb2.DOCUMENT_KIND_SALE, sale.document_number)
    assert found.verdict_first.sequence == verdict.sequence
    assert [stock.drug_code for stock in client.list_stock(INSTITUTION)] == [DRUG]
    answers = client.verify(
        ledger_service_pb2.VerifyCodesRequest(
            institution_code=INSTITUTION, codes=[ledger_service_pb2.CodeQuestion(code=code)]
        )
    ).answers
    assert [answer.status.active_sales for answer in answers] == [1]
    assert client.import_products(products).created == 1500
    assert client.import_institutions([institution]).created == 1
    assert client.import_holds([hold]).created == 1
    assert client.import_code_replacements([replacement]).created == 1
    assert client.get_product("8241499").name == "阿莫西林胶囊"
    assert client.get_institution("P37020300099").name == "测试药店"
    assert client.service_info().sequence >= verdict.sequence


def test_a_long_history_is_read_over_many_pages(client: LedgerClient) -> None:
    """Pins that the client asks for every page, in order and without a gap."""
    code = make_sale().lines[0].codes[0]
    for seconds in range(7):
        sale = make_sale()
        sale.business_time.seconds += seconds
        sale.lines[0].codes[0] = code
        client.record(sale)

    events = list(client.list_code_events(code, page_size=3))

    assert len(events) == 7
    assert [event.sequence for event in events] == sorted({event.sequence for event in events})


def test_documents_of_every_kind_find_their_method(client: LedgerClient) -> None:
    """Pins that `record` chooses the method by the kind of the content, and asks for one."""
    kinds: list[document_pb2.Document] = []
    for kind in ("receipt", "sale_return", "purchase_return", "stock_count", "stock_change"):
        document = make_sale()
        getattr(document, kind).SetInParent()
        kinds.append(document)
    kinds[-1].stock_change.type = document_pb2.STOCK_CHANGE_TYPE_SURPLUS
    deletion = document_pb2.Document(
        institution_code=INSTITUTION,
        document_number="D1",
        business_time=kinds[0].business_time,
        deletion=document_pb2.Deletion(
            type=document_pb2.DELETED_TYPE_STOCK_CHANGE, deleted_document_number=kinds[-1].document_number
        ),
    )

    verdicts = [client.record(document) for document in (*kinds, deletion)]

    assert [verdict.outcome for verdict in verdicts] == [finding_pb2.OUTCOME_ACCEPTED] * 6
    with pytest.raises(CallInvalid) as caught:
        client.record(document_pb2.Document())
    assert caught.value.field == "document"


def test_what_is_the_callers_fault_is_told_once_and_never_tried_again(
    server: ServerThread, client: LedgerClient
) -> None:
    """Pins the types, and that asking again the same wrong question is not done for the caller."""
    bad = make_sale()
    bad.lines[0].quantity = "one"
    used = make_sale()
    client.record(used)
    reused = make_sale(number=used.document_number)
    before = len(server.log)

    with pytest.raises(CallInvalid) as invalid:
        client.record(bad)
    with pytest.raises(DocumentConflict) as conflict:
        client.record(reused)
    with pytest.raises(NotKnown):
        client.get_product("8999999")

    assert (invalid.value.reason, invalid.value.field) == ("FIELD_INVALID", "document.lines[0].quantity")
    assert invalid.value.message
    assert invalid.value.message_zh_cn
    assert conflict.value.reason == "DOCUMENT_REUSED"
    assert [line["reason"] for line in server.log[before:] if line["event"] == "call_refused"] == [
        "FIELD_INVALID",
        "DOCUMENT_REUSED",
        "NOT_FOUND",
    ]


def test_an_answer_larger_than_any_question_arrives(client: LedgerClient) -> None:
    """Pins that a long document with much to say about each line does not lose its answer on the way."""
    document = make_long_sale(3500)
    document.sale.stage = document_pb2.SALE_STAGE_REPORTED
    list(client.record_stream([document]))
    document.document_number += "-again"

    (answer,) = client.record_stream([document])

    assert isinstance(answer, finding_pb2.Verdict)
    assert answer.ByteSize() > 4 * 1024 * 1024


def test_a_message_that_is_too_large_is_not_tried_again(server: ServerThread) -> None:
    """Pins that RESOURCE_EXHAUSTED without RetryInfo is final: patience makes no message smaller."""
    pauses: list[float] = []
    sale = make_sale()
    sale.memo = "x" * (4 * 1024 * 1024 + 1)

    with LedgerClient(server.address, sleep=pauses.append) as client, pytest.raises(ServerFault) as caught:
        client.record(sale)

    assert caught.value.reason == "RESOURCE_EXHAUSTED"
    assert pauses == []


# --- trying again ---------------------------------------------------------------------------------


def test_a_lost_answer_is_asked_for_again_and_is_the_first_one(
    server: ServerThread, client: LedgerClient, proxy: Proxy
) -> None:
    """Pins the case that makes honest pharmacies look like cheats elsewhere: kept, but never told."""
    verdicts: list[finding_pb2.Verdict] = []
    sale = make_sale()
    with LedgerClient(proxy.address, deadline_seconds=5, seed=1) as far:
        far.service_info()
        before = client.service_info().sequence
        proxy.deaf.set()
        till = threading.Thread(target=lambda: verdicts.append(far.record(sale)))
        till.start()
        while client.service_info().sequence == before:
            time.sleep(0.005)
        proxy.deaf.clear()
        proxy.cut()
        till.join()

    assert proxy.connections == 2
    assert verdicts[0].repeat
    assert verdicts[0].sequence == before + 1
    assert client.service_info().sequence == before + 1


def test_a_deadline_that_passes_is_tried_again(client: LedgerClient, proxy: Proxy) -> None:
    """Pins DEADLINE_EXCEEDED as a reason to ask again, on a wire that is silent and not broken."""
    sale = make_sale()
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        proxy.deaf.clear()
        proxy.cut()
        time.sleep(0.1)

    with LedgerClient(proxy.address, deadline_seconds=0.3, attempts=8, sleep=pause) as far:
        far.service_info()
        proxy.deaf.set()
        verdict = far.record(sale)

    # The next attempts may still find the wire that is being cut.
    assert pauses
    assert verdict.repeat
    assert client.record(sale).sequence == verdict.sequence


def test_nobody_there_is_an_unknown_outcome(client: LedgerClient) -> None:
    """Pins what a till learns when all attempts failed, and that the pauses grow and differ."""
    pauses: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    with LedgerClient(address, deadline_seconds=0.2, attempts=4, seed=7, sleep=pauses.append) as alone:
        with pytest.raises(OutcomeUnknown) as caught:
            alone.record(make_sale())
        with pytest.raises(Unanswered):
            alone.get_code("82345670000000000001")

    assert isinstance(caught.value, TimeoutError)
    assert len(pauses) == 6
    assert 0 < pauses[0] < pauses[2]


def test_a_till_may_ask_once_only(server: ServerThread) -> None:
    """Pins attempts=1 for a till that has one and a half seconds for its customer, and no more."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        begin = time.monotonic()
        with (
            LedgerClient(address, deadline_seconds=2, attempts=1) as client,
            pytest.raises(OutcomeUnknown),
        ):
            client.record(make_sale())
        duration_seconds = time.monotonic() - begin

    # A second attempt would end after four seconds.
    assert duration_seconds < 3.9


def test_an_overloaded_service_is_given_the_time_it_asks_for() -> None:
    """Pins that RetryInfo is kept to, and that a refusal before any work leaves no doubt."""
    pauses: list[float] = []
    with (
        ServerThread(engine="memory", peer_calls_per_second_max=1) as strict,
        LedgerClient(strict.address, attempts=3, sleep=pauses.append, seed=3) as client,
    ):
        client.service_info()
        with pytest.raises(Unanswered) as caught:
            client.record(make_sale())

    assert not isinstance(caught.value, OutcomeUnknown)
    assert caught.value.reason == "PEER_OVER_LIMIT"
    assert len(pauses) == 2
    assert all(0.5 <= pause < 1.0 for pause in pauses)


class _GoingDown(ledger_service_pb2_grpc.LedgerServiceServicer):
    """A service that cuts the first call as gRPC does when its server stops, and answers the second."""

    calls = 0

    def RecordSale(
        self, request: ledger_service_pb2.RecordSaleRequest, context: grpc.ServicerContext
    ) -> ledger_service_pb2.RecordSaleResponse:
        self.calls += 1
        if self.calls == 1:
            context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
        return ledger_service_pb2.RecordSaleResponse(verdict=finding_pb2.Verdict(sequence=7))


def test_a_call_that_a_stopping_server_cut_is_made_again() -> None:
    """Pins that CANCELLED from the other side is an unknown outcome like a broken connection."""
    service = _GoingDown()
    server = grpc.server(ThreadPoolExecutor(1))
    ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with LedgerClient(f"127.0.0.1:{port}", deadline_seconds=5, seed=4) as client:
            verdict = client.record(make_sale())
    finally:
        server.stop(None).wait()

    assert verdict.sequence == 7
    assert service.calls == 2


# --- streams --------------------------------------------------------------------------------------


def test_a_stream_gives_every_document_its_answer_in_order(client: LedgerClient) -> None:
    """Pins order over many windows, with errors in their places."""
    documents = [make_sale() for _ in range(500)]
    documents[17].lines[0].quantity = "-"
    documents[400].institution_code = ""

    answers = list(client.record_stream(iter(documents), window=32))

    errors = {
        at: answer.field
        for at, answer in enumerate(answers)
        if isinstance(answer, ledger_service_pb2.DocumentError)
    }
    assert len(answers) == 500
    assert errors == {17: "document.lines[0].quantity", 400: "document.institution_code"}
    again = list(client.record_stream(documents))
    assert [getattr(answer, "sequence", 0) for answer in again] == [
        getattr(answer, "sequence", 0) for answer in answers
    ]
    assert all(answer.repeat for answer in again if isinstance(answer, finding_pb2.Verdict))


def test_documents_travel_many_in_a_message_and_large_ones_alone(client: LedgerClient) -> None:
    """Pins both bounds of a message: a quarter of the window, and half a MiB unless one document is more."""
    sizes = [0, 300_000, 300_000, 0, 700_000, 0, *[0] * 6]
    documents = [make_sale() for _ in sizes]
    for document, size in zip(documents, sizes, strict=True):
        document.lines[0].memo = "x" * min(size, 2000)
        document.memo = "x" * max(0, size - 2000)
    items = [PendingDocument(document, document.ByteSize()) for document in documents]

    messages = list(cut_messages(items, 4))

    assert [item for message in messages for item in message] == items
    assert [len(message) for message in messages] == [2, 2, 1, 4, 3]
    read, parts = iter(documents), []
    while part := read_part(read, 4):
        parts.append([item.document for item in part])
    assert [document for part in parts for document in part] == documents
    assert [len(part) for part in parts] == [3, 2, 4, 3]
    answers = list(client.record_stream(documents, window=16))
    assert [isinstance(answer, finding_pb2.Verdict) for answer in answers] == [size == 0 for size in sizes]


class _Crowded(ledger_service_pb2_grpc.LedgerServiceServicer):
    """A service that has no room for some documents of its first message, and answers what comes again."""

    def __init__(self) -> None:
        self.messages: list[list[str]] = []

    def RecordDocuments(
        self,
        request_iterator: Iterator[ledger_service_pb2.RecordDocumentsRequest],
        context: grpc.ServicerContext,
    ) -> Iterator[ledger_service_pb2.RecordDocumentsResponse]:
        for message in request_iterator:
            numbers = [request.document.document_number for request in message.requests]
            self.messages.append(numbers)
            response = ledger_service_pb2.RecordDocumentsResponse()
            for at, number in enumerate(numbers):
                result = response.results.add()
                if len(self.messages) == 1 and at in (1, 3):
                    result.error.reason = "OVERLOADED"
                    result.error.retryable = True
                else:
                    result.verdict.sequence = int(number)
            yield response


def test_only_what_had_no_room_is_sent_again() -> None:
    """Pins that a part of a message is sent again, by itself, and that the answers keep their order."""
    service = _Crowded()
    server = grpc.server(ThreadPoolExecutor(1))
    ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    pauses: list[float] = []
    try:
        with LedgerClient(f"127.0.0.1:{port}", sleep=pauses.append, seed=2) as client:
            documents = [document_pb2.Document(document_number=str(number)) for number in range(1, 13)]
            answers = list(client.record_stream(documents, window=20))
    finally:
        server.stop(None).wait()

    assert service.messages == [
        ["1", "2", "3", "4", "5"],
        ["6", "7", "8", "9", "10"],
        ["11", "12"],
        ["2", "4"],
    ]
    assert [getattr(answer, "sequence", None) for answer in answers] == list(range(1, 13))
    assert len(pauses) == 1


@pytest.mark.parametrize("window", [0, -1])
def test_a_stream_needs_a_window(client: LedgerClient, window: int) -> None:
    """Pins that a window of nothing is an error and not silence."""
    with pytest.raises(ValueError, match="window"):
        list(client.record_stream([make_sale()], window=window))


def test_a_stream_that_breaks_goes_on_where_it_was(client: LedgerClient, proxy: Proxy) -> None:
    """Pins that each document is recorded once although answers were lost twice on the way."""
    documents = [make_sale() for _ in range(300)]
    before = client.service_info().sequence
    sequences: list[int] = []

    with LedgerClient(proxy.address, deadline_seconds=5, seed=1) as far:
        for answer in far.record_stream(documents, window=50):
            assert isinstance(answer, finding_pb2.Verdict)
            sequences.append(answer.sequence)
            if len(sequences) in (40, 170):
                proxy.cut()

    assert proxy.connections == 3
    assert len(set(sequences)) == 300
    assert client.service_info().sequence == before + 300


def test_a_stream_that_stalls_is_opened_anew(client: LedgerClient, proxy: Proxy) -> None:
    """Pins that silence, on a wire that does not break, is noticed."""
    documents = [make_sale() for _ in range(100)]
    answers = []

    def wake(_seconds: float) -> None:
        proxy.deaf.clear()
        proxy.cut()

    with LedgerClient(proxy.address, stall_seconds=0.4, sleep=wake) as far:
        for answer in far.record_stream(documents, window=10):
            answers.append(answer)
            if len(answers) == 30:
                proxy.deaf.set()

    assert len(answers) == 100
    assert all(isinstance(answer, finding_pb2.Verdict) for answer in answers)


def test_a_connection_that_grew_too_old_is_not_noticed() -> None:
    """Pins that the bound on a connection's age renews it without losing a document."""
    with (
        ServerThread(engine="memory", connection_age_max_seconds=0.2) as restless,
        LedgerClient(restless.address, deadline_seconds=5, seed=1) as client,
    ):
        before = restless.ledger.service_info().sequence
        documents = [make_sale() for _ in range(24)]

        def pace() -> Iterator[document_pb2.Document]:
            for document in documents:
                time.sleep(0.05)
                yield document

        answers = list(client.record_stream(pace(), window=2))
        repeats = [client.record(document) for document in documents]
        after = restless.ledger.service_info().sequence
        streams = [line for line in restless.log if line["event"] == "call_refused"]

    assert [getattr(answer, "sequence", 0) for answer in answers] == [repeat.sequence for repeat in repeats]
    assert after == before + 24
    assert streams == []


def test_a_stream_left_early_ends_cleanly(client: LedgerClient) -> None:
    """Pins that a caller who stops reading leaves no thread behind."""
    before = threading.active_count()
    stream = client.record_stream(make_sale() for _ in range(1000))
    next(stream)
    stream.close()

    deadline = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_a_stream_of_nothing_is_empty(client: LedgerClient) -> None:
    """Pins that no documents give no answers and no error."""
    assert list(client.record_stream([])) == []


# --- pauses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "retry_after_seconds", "low", "high"),
    [
        pytest.param(1, None, 0.05, 0.1, id="first pause"),
        pytest.param(3, None, 0.2, 0.4, id="doubled twice"),
        pytest.param(30, None, 0.5, 1.0, id="not longer than the longest"),
        pytest.param(1, 3.0, 3.0, 3.75, id="as long as the server asks"),
        pytest.param(30, 0.1, 0.5, 1.0, id="longer than the server asks"),
    ],
)
def test_a_pause_lies_between_bounds(
    failures: int, retry_after_seconds: float | None, low: float, high: float
) -> None:
    """Pins growth, bound and jitter of the pauses."""
    backoff = Backoff(first_seconds=0.1, max_seconds=1.0)
    chosen = [
        backoff.choose_pause_seconds(failures, retry_after_seconds, random.Random(seed))
        for seed in range(200)
    ]

    assert low <= min(chosen) < max(chosen) <= high
    assert max(chosen) - min(chosen) > (high - low) / 2
