"""The service as a client in any language meets it: real sockets, real ledger, raw bytes where it matters."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running_server import ServerThread, register_institutions
from tracecode_server.server import open_ledger
from tracecode_server.settings import Settings
from wire import (
    DRUG,
    GRANTS,
    INSTITUTION,
    METHODS,
    STOCK_INSTITUTION,
    call_raw,
    make_batch,
    make_code,
    make_document,
    make_long_sale,
    make_receipt,
    make_sale,
    read_details,
    read_metrics,
    try_raw,
)

from tracecode.fair_share import FairShare
from tracecode.v1 import (
    catalogue_pb2,
    catalogue_service_pb2,
    catalogue_service_pb2_grpc,
    code_pb2,
    document_pb2,
    finding_pb2,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
)
from tracecode.views.projector import rebuild


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerThread]:
    """A service with a ledger of its own for this file, on disk."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "grants.toml").write_text(GRANTS)
    directory = folder / "ledger"
    open_ledger(Settings(data_directory=directory)).close()
    # Of the ledger as it begins: nobody follows it here.
    rebuild(directory)
    with ServerThread(
        data_directory=directory,
        grants_file=folder / "grants.toml",
        # All tests ask from one host.
        consumer_questions_per_second_max=10_000,
    ) as server:
        register_institutions(server.address, INSTITUTION, STOCK_INSTITUTION)
        yield server


@pytest.fixture(scope="module")
def channel(server: ServerThread) -> Iterator[grpc.Channel]:
    """A connection to the service of this module."""
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def ledger(channel: grpc.Channel) -> ledger_service_pb2_grpc.LedgerServiceStub:
    """The LedgerService of that connection."""
    return ledger_service_pb2_grpc.LedgerServiceStub(channel)


@pytest.fixture(scope="module")
def catalogue(channel: grpc.Channel) -> catalogue_service_pb2_grpc.CatalogueServiceStub:
    """The CatalogueService of that connection."""
    return catalogue_service_pb2_grpc.CatalogueServiceStub(channel)


# --- every method ---------------------------------------------------------------------------------


def test_a_sale_is_kept_and_its_repeat_gets_the_first_answer(
    ledger: ledger_service_pb2_grpc.LedgerServiceStub,
) -> None:
    """Pins that a till that lost the answer sends the same again and learns what was decided."""
    request = ledger_service_pb2.RecordSaleRequest(document=make_sale())

    first = ledger.RecordSale(request).verdict
    second = ledger.RecordSale(request).verdict

    assert first.outcome == finding_pb2.OUTCOME_ACCEPTED
    assert not first.repeat
    assert second.repeat
    assert second.sequence == first.sequence > 0


def test_a_box_sold_twice_is_found(ledger: ledger_service_pb2_grpc.LedgerServiceStub) -> None:
    """Pins that the answer is a judgement of the real rules, with texts for people."""
    code = make_code()
    ledger.RecordSale(ledger_service_pb2.RecordSaleRequest(document=make_sale(code)))

    verdict = ledger.RecordSale(ledger_service_pb2.RecordSaleRequest(document=make_sale(code))).verdict

    found = {finding.type: finding for finding in verdict.findings}
    assert finding_pb2.FINDING_TYPE_DUP_SALE_SAME_ORG in found
    finding = found[finding_pb2.FINDING_TYPE_DUP_SALE_SAME_ORG]
    assert finding.code == code
    assert finding.title.zh_cn
    assert finding.title.en
    assert finding.remedy.zh_cn


def test_documents_of_every_kind_are_recorded(ledger: ledger_service_pb2_grpc.LedgerServiceStub) -> None:
    """Pins one accepted document for each of the seven recording methods."""
    code = make_code()
    sale = make_sale(code)
    sale_return = make_document(code)
    sale_return.sale_return.sale_document_number = sale.document_number
    purchase_return = make_document(code)
    purchase_return.purchase_return.SetInParent()
    stock_change = make_document(make_code())
    stock_change.stock_change.type = document_pb2.STOCK_CHANGE_TYPE_SURPLUS
    stock_count = make_document(make_code())
    stock_count.stock_count.SetInParent()
    deletion = make_document()
    del deletion.lines[:]
    deletion.deletion.type = document_pb2.DELETED_TYPE_STOCK_CHANGE
    deletion.deletion.deleted_document_number = stock_change.document_number
    pb = ledger_service_pb2

    verdicts = [
        ledger.RecordReceipt(pb.RecordReceiptRequest(document=make_receipt(code))).verdict,
        ledger.RecordSale(pb.RecordSaleRequest(document=sale)).verdict,
        ledger.RecordSaleReturn(pb.RecordSaleReturnRequest(document=sale_return)).verdict,
        ledger.RecordPurchaseReturn(pb.RecordPurchaseReturnRequest(document=purchase_return)).verdict,
        ledger.RecordStockChange(pb.RecordStockChangeRequest(document=stock_change)).verdict,
        ledger.RecordStockCount(pb.RecordStockCountRequest(document=stock_count)).verdict,
        ledger.DeleteDocument(pb.DeleteDocumentRequest(document=deletion)).verdict,
    ]

    assert {verdict.outcome for verdict in verdicts} == {finding_pb2.OUTCOME_ACCEPTED}
    sequences = [verdict.sequence for verdict in verdicts]
    assert sequences == sorted(set(sequences))


def test_verify_answers_each_question_in_order_and_writes_nothing(
    ledger: ledger_service_pb2_grpc.LedgerServiceStub,
) -> None:
    """Pins that asking before the sale leaves no trace, whatever was asked."""
    sold, fresh = make_code(), make_code()
    ledger.RecordSale(ledger_service_pb2.RecordSaleRequest(document=make_sale(sold)))
    before = ledger.GetServiceInfo(ledger_service_pb2.GetServiceInfoRequest()).sequence

    answer = ledger.VerifyCodes(
        ledger_service_pb2.VerifyCodesRequest(
            institution_code=INSTITUTION,
            codes=[ledger_service_pb2.CodeQuestion(code=code) for code in (sold, fresh, "not a code")],
        )
    )

    states = [item.status.state for item in answer.answers]
    assert len(states) == 3
    assert states[:2] == [code_pb2.CODE_STATE_SOLD, code_pb2.CODE_STATE_UNKNOWN]
    assert answer.answers[2].readings[0].code_class == code_pb2.CODE_CLASS_MALFORMED
    assert ledger.GetServiceInfo(ledger_service_pb2.GetServiceInfoRequest()).sequence == before


def test_a_code_tells_its_state_and_its_history_page_by_page(
    ledger: ledger_service_pb2_grpc.LedgerServiceStub,
) -> None:
    """Pins paging after AIP-158: pages of the asked size, a token until the last, in order of happening."""
    code = make_code()
    sale = make_sale(code)
    sale_return = make_document(code)
    sale_return.sale_return.sale_document_number = sale.document_number
    ledger.RecordSale(ledger_service_pb2.RecordSaleRequest(document=sale))
    ledger.RecordReceipt(ledger_service_pb2.RecordReceiptRequest(document=make_receipt(code)))
    ledger.RecordSaleReturn(ledger_service_pb2.RecordSaleReturnRequest(document=sale_return))

    operations, sizes, token = [], [], ""
    while True:
        page = ledger.ListCodeEvents(
            ledger_service_pb2.ListCodeEventsRequest(code=code, page_size=2, page_token=token)
        )
        sizes.append(len(page.events))
        operations += [event.operation for event in page.events]
        token = page.next_page_token
        if not token:
            break

    assert sizes == [2, 1]
    assert operations == [
        code_pb2.OPERATION_RECEIVE,
        code_pb2.OPERATION_SALE,
        code_pb2.OPERATION_SALE_RETURN,
    ]
    status = ledger.GetCode(ledger_service_pb2.GetCodeRequest(code=code)).status
    assert status.state == code_pb2.CODE_STATE_IN_STOCK
    assert status.event_count == 3


def test_a_document_is_found_by_its_identity(ledger: ledger_service_pb2_grpc.LedgerServiceStub) -> None:
    """Pins that a till which restarted can ask what became of a document, and reads no person in it."""
    sale = make_sale()
    sale.sale.person_token = "person-in-clear"
    verdict = ledger.RecordSale(ledger_service_pb2.RecordSaleRequest(document=sale)).verdict

    found = ledger.GetDocument(
        ledger_service_pb2.GetDocumentRequest(
            institution_code=INSTITUTION,
            kind=document_pb2.DOCUMENT_KIND_SALE,
            document_number=sale.document_number,
        )
    )

    assert found.verdict_first.sequence == verdict.sequence
    assert found.document.lines == sale.lines
    assert found.document.sale.person_token not in ("", "person-in-clear")


def test_stock_is_the_sum_of_documents(ledger: ledger_service_pb2_grpc.LedgerServiceStub) -> None:
    """Pins the quantity ledger of one drug at one institution."""
    receipt = make_receipt(make_code(), STOCK_INSTITUTION)
    receipt.lines[0].quantity = "10"
    ledger.RecordReceipt(ledger_service_pb2.RecordReceiptRequest(document=receipt))
    sale = make_sale(institution_code=STOCK_INSTITUTION)
    ledger.RecordSale(ledger_service_pb2.RecordSaleRequest(document=sale))

    stocks = ledger.ListStock(ledger_service_pb2.ListStockRequest(institution_code=STOCK_INSTITUTION)).stocks

    assert [(stock.drug_code, stock.received, stock.sold, stock.balance) for stock in stocks] == [
        (DRUG, "10", "1", "9")
    ]


def test_an_import_sums_its_messages_and_a_repeat_changes_nothing(
    catalogue: catalogue_service_pb2_grpc.CatalogueServiceStub,
) -> None:
    """Pins that an import which broke off can be sent again whole."""
    products = [
        catalogue_pb2.Product(
            identifier=f"83000{number:02d}", package_level=1, name="布洛芬缓释胶囊", units_per_package=1
        )
        for number in range(6)
    ]
    messages = [
        catalogue_service_pb2.ImportProductsRequest(products=products[at : at + 2]) for at in (0, 2, 4)
    ]

    first = catalogue.ImportProducts(iter(messages)).result
    second = catalogue.ImportProducts(iter(messages)).result

    assert (first.created, first.updated, first.unchanged) == (6, 0, 0)
    assert (second.created, second.updated, second.unchanged) == (0, 0, 6)
    found = catalogue.GetProduct(catalogue_service_pb2.GetProductRequest(identifier="8300003")).product
    assert found.name == "布洛芬缓释胶囊"


def test_institutions_holds_and_replacements_are_imported(
    catalogue: catalogue_service_pb2_grpc.CatalogueServiceStub,
) -> None:
    """Pins the other three imports and that an institution can be asked for."""
    pb = catalogue_service_pb2
    institution = catalogue_pb2.Institution(
        institution_code="P37020300088", name="青岛测试药店", division_code="370203"
    )
    hold = catalogue_pb2.Hold(
        hold_id="H1",
        reason=catalogue_pb2.HOLD_REASON_RECALL,
        identifier="8300001",
        lot_number="L1",
        start_date="2026-01-01",
    )
    replacement = catalogue_pb2.CodeReplacement(old_code=make_code(), new_code=make_code())

    results = [
        catalogue.ImportInstitutions(iter([pb.ImportInstitutionsRequest(institutions=[institution])])),
        catalogue.ImportHolds(iter([pb.ImportHoldsRequest(holds=[hold])])),
        catalogue.ImportCodeReplacements(
            iter([pb.ImportCodeReplacementsRequest(code_replacements=[replacement])])
        ),
    ]

    assert [response.result.created for response in results] == [1, 1, 1]
    found = catalogue.GetInstitution(pb.GetInstitutionRequest(institution_code="P37020300088"))
    assert found.institution == institution


def test_the_service_says_what_it_is(ledger: ledger_service_pb2_grpc.LedgerServiceStub) -> None:
    """Pins GetServiceInfo: version, rule base and sequence are there."""
    info = ledger.GetServiceInfo(ledger_service_pb2.GetServiceInfoRequest())

    assert info.version
    assert info.rule_base_version
    assert info.time.seconds > 0


# --- the stream -----------------------------------------------------------------------------------


def test_a_stream_answers_in_order_and_survives_bad_documents(
    channel: grpc.Channel, ledger: ledger_service_pb2_grpc.LedgerServiceStub
) -> None:
    """Pins that a gateway's bulk upload goes on behind a bad document and behind bytes that are none."""
    good = [make_sale() for _ in range(40)]
    bad = make_sale()
    bad.lines[0].quantity = "many"
    reused = make_sale(number=good[0].document_number)
    messages = [
        make_batch(*documents).SerializeToString()
        for documents in (good[:1], good[1:10], (*good[10:20], bad, *good[20:]), (), (reused,))
    ]
    messages.insert(2, b"\xff\xff\xff")

    answers = converse(channel, *messages)

    assert [len(answer.results) for answer in answers] == [1, 9, 1, 31, 0, 1]
    results = [result for answer in answers for result in answer.results]
    assert [result.position for result in results] == list(range(43))
    errors = {result.position: result.error for result in results if result.HasField("error")}
    assert {at: (error.reason, error.field, error.retryable) for at, error in errors.items()} == {
        10: ("MESSAGE_MALFORMED", "", False),
        21: ("FIELD_INVALID", "document.lines[0].quantity", False),
        42: ("DOCUMENT_REUSED", "document.document_number", False),
    }
    assert all(error.message for error in errors.values())
    sequences = [result.verdict.sequence for result in results if result.HasField("verdict")]
    assert sequences == sorted(set(sequences))
    for document in good:
        found = ledger.GetDocument(
            ledger_service_pb2.GetDocumentRequest(
                institution_code=INSTITUTION,
                kind=document_pb2.DOCUMENT_KIND_SALE,
                document_number=document.document_number,
            )
        )
        assert found.verdict_first.sequence in sequences


def converse(channel: grpc.Channel, *messages: bytes) -> list[ledger_service_pb2.RecordDocumentsResponse]:
    """Send the messages of one stream; returns its answers."""
    call = channel.stream_stream("/tracecode.v1.LedgerService/RecordDocuments")
    return [
        ledger_service_pb2.RecordDocumentsResponse.FromString(raw) for raw in call(iter(messages), timeout=30)
    ]


def test_a_message_of_too_many_documents_is_refused_whole(
    channel: grpc.Channel, server: ServerThread
) -> None:
    """Pins the bound and its neighbour, that nothing of the message is kept, and that the stream goes on."""
    before = server.ledger.service_info().sequence
    number = make_sale().document_number
    # A thousand repeats of one sale cost no more than one entry.
    full = make_batch(*[make_sale(number=number, code="83333330000000000001")] * 1000)
    over = ledger_service_pb2.RecordDocumentsRequest(requests=[*full.requests, full.requests[0]])
    strange = over.SerializeToString() + b"\xfa\x3f\x03abc"

    answers = converse(channel, over.SerializeToString(), strange, full.SerializeToString())

    assert [len(answer.results) for answer in answers] == [1, 1, 1000]
    for position, answer in enumerate(answers[:2]):
        (result,) = answer.results
        assert result.position == position
        assert (result.error.reason, result.error.field) == ("FIELD_INVALID", "requests")
        assert "1,000" in result.error.message
        assert not result.error.retryable
    verdicts = [result.verdict for result in answers[2].results]
    assert [result.position for result in answers[2].results] == list(range(2, 1002))
    assert {verdict.sequence for verdict in verdicts} == {before + 1}
    assert [verdict.repeat for verdict in verdicts] == [False] + [True] * 999
    assert server.ledger.service_info().sequence == before + 1


def test_a_message_of_too_many_bytes_ends_the_stream(channel: grpc.Channel) -> None:
    """Pins the bound of 4 MiB on a message of a stream, and that what was answered before it stands."""
    large = make_sale()
    large.memo = "x" * (4 * 1024 * 1024)
    answered = threading.Event()

    def send() -> Iterator[ledger_service_pb2.RecordDocumentsRequest]:
        yield make_batch(make_sale())
        answered.wait(10)
        yield make_batch(make_sale(), large)

    call = ledger_service_pb2_grpc.LedgerServiceStub(channel).RecordDocuments(send(), timeout=20)
    first = next(iter(call))
    answered.set()
    with pytest.raises(grpc.RpcError) as caught:
        next(iter(call))

    assert first.results[0].verdict.outcome == finding_pb2.OUTCOME_ACCEPTED
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_request_id_of_a_batch_is_its_documents_own(channel: grpc.Channel) -> None:
    """Pins that request_id works within a message: a bad one and a used one stop nobody else."""
    requests = [
        ledger_service_pb2.RecordDocumentRequest(document=make_sale(), request_id=request_id)
        for request_id in ("batch-1", "x" * 65, "batch-1", "", "")
    ]
    batch = ledger_service_pb2.RecordDocumentsRequest(requests=requests)

    (answer,) = converse(channel, batch.SerializeToString())

    assert [(result.error.reason, result.error.field) for result in answer.results] == [
        ("", ""),
        ("FIELD_INVALID", "request_id"),
        ("REQUEST_REUSED", "request_id"),
        ("", ""),
        ("", ""),
    ]


def list_twins() -> Iterator[tuple[str, document_pb2.Document]]:
    """Documents that an engine may take as bytes, plain and not."""
    code = make_code()
    yield "a receipt", make_receipt(code)
    yield "a sale of what was received", make_sale(code)
    yield "the same code again", make_sale(code)
    yield "a reported sale", make_sale(stage=document_pb2.SALE_STAGE_REPORTED)
    yield "many lines", make_long_sale(20)
    person = make_sale()
    person.sale.person_token = "person-of-a-twin"
    person.sale.prescriber_token = "医师"
    person.sale.pharmacist_token = "pharmacist-of-a-twin"
    person.operator_token = "操作员"
    person.memo = "a memo is no person"
    yield "persons", person
    bringer = make_receipt(make_code())
    bringer.operator_token = "bringer-of-a-twin"
    bringer.receipt.supplier_name = "供应商"
    yield "a person at a receipt", bringer
    noted = make_sale()
    noted.memo = "two\nlines"
    yield "what cannot be seen in a memo", noted
    scanned = make_sale()
    scanned.lines[0].codes[0] = f"\x1d(01)0{make_code()}"
    yield "what cannot be seen in a scan", scanned
    yield "an unknown institution", make_sale(institution_code="P99999999999")
    wrong = make_sale()
    wrong.lines[0].quantity = "-1"
    yield "a bad quantity", wrong
    yield "no content", make_document()


def answer_twins(channel: grpc.Channel, documents: list[document_pb2.Document], tail: bytes) -> list[bytes]:
    """What each document is answered alone, and then of what is recorded what is kept."""
    answers = []
    for document in documents:
        name = "RecordReceipt" if document.HasField("receipt") else "RecordSale"
        request = ledger_service_pb2.RecordSaleRequest(document=document, request_id=document.document_number)
        try:
            answers.append(call_raw(channel, name, request.SerializeToString() + tail))
        except grpc.RpcError as error:
            answers.append(f"{error.code()} {error.details()}".encode())
    return answers


def batch_twins(channel: grpc.Channel, documents: list[document_pb2.Document], tail: bytes) -> list[bytes]:
    """What the documents are answered in one message."""
    (answer,) = converse(channel, make_batch(*documents).SerializeToString() + tail)
    return [result.SerializeToString() for result in answer.results]


def read_twin(channel: grpc.Channel, document: document_pb2.Document) -> bytes:
    """What is kept of a sale or a receipt; nothing if it was not taken."""
    kind = "RECEIPT" if document.HasField("receipt") else "SALE"
    request = ledger_service_pb2.GetDocumentRequest(
        institution_code=document.institution_code,
        kind=document_pb2.DocumentKind.Value(f"DOCUMENT_KIND_{kind}"),
        document_number=document.document_number,
    )
    try:
        return call_raw(channel, "GetDocument", request.SerializeToString())
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return b""


@pytest.mark.parametrize("ask", [answer_twins, batch_twins], ids=["alone", "in a batch"])
def test_bytes_and_messages_are_answered_alike(
    tmp_path: Path, ask: Callable[[grpc.Channel, list[document_pb2.Document], bytes], list[bytes]]
) -> None:
    """Pins that a document has the same answer byte for byte, and the same is kept of it, whether its
    request is in the form that every encoder writes, or has a field that nobody knows and must be read."""
    now_ns = time.time_ns()
    twins = dict(list_twins())
    if ask is batch_twins:
        # Either would have the whole message read.
        del twins["no content"], twins["what cannot be seen in a memo"]
    answers, kept = [], []
    for number, tail in enumerate((b"", b"\xfa\x3f\x03abc")):
        with (
            ServerThread(
                data_directory=tmp_path / str(number),
                person_key_file=tmp_path / "person-key",
                clock_ns=lambda: now_ns,
            ) as server,
            grpc.insecure_channel(server.address) as channel,
        ):
            register_institutions(server.address, INSTITUTION)
            answers.append(dict(zip(twins, ask(channel, list(twins.values()), tail), strict=True)))
            kept.append({name: read_twin(channel, document) for name, document in twins.items()})

    # By name, since the bytes themselves tell a reader nothing.
    assert [name for name, answer in answers[0].items() if answer != answers[1][name]] == []
    assert [name for name, document in kept[0].items() if document != kept[1][name]] == []
    assert kept[0]["persons"]
    assert b"of-a-twin" not in b"".join(kept[0].values())


@pytest.mark.parametrize("questions", [1, 5, 300])
def test_codes_are_verified_alike_by_bytes_and_by_message(tmp_path: Path, questions: int) -> None:
    """Pins the same for VerifyCodes: codes in stock, in which all is in order, and then one that is sold."""
    now_ns = time.time_ns()
    codes = [make_code() for _ in range(questions)]
    receipt = make_receipt(codes[0])
    receipt.lines[0].codes[:] = codes
    receipt.lines[0].quantity = str(questions)
    with (
        ServerThread(data_directory=tmp_path / "ledger", clock_ns=lambda: now_ns) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        register_institutions(server.address, INSTITUTION)
        request = ledger_service_pb2.VerifyCodesRequest(
            institution_code=INSTITUTION,
            codes=[ledger_service_pb2.CodeQuestion(code=code, drug_code=DRUG) for code in codes],
        ).SerializeToString()
        converse(channel, make_batch(receipt).SerializeToString())
        plain = [call_raw(channel, "VerifyCodes", request + tail) for tail in (b"", b"\xfa\x3f\x03abc")]
        converse(channel, make_batch(make_sale(codes[0])).SerializeToString())
        sold = [call_raw(channel, "VerifyCodes", request + tail) for tail in (b"", b"\xfa\x3f\x03abc")]

    assert plain[0] == plain[1]
    assert sold[0] == sold[1]
    assert plain[0] != sold[0]
    assert len(ledger_service_pb2.VerifyCodesResponse.FromString(plain[0]).answers) == questions


def test_a_client_that_reads_no_answers_is_not_read_from_either() -> None:
    """Pins the window: a gateway that only sends cannot fill the service's memory."""
    with ServerThread(engine="memory", stream_documents_max=8) as small:

        def send() -> Iterator[ledger_service_pb2.RecordDocumentsRequest]:
            for _ in range(3000):
                document = make_sale()
                document.memo = "x" * 2000
                document.lines[0].memo = "x" * 2000
                yield make_batch(document)

        # Without this gRPC lends a fast peer more and more room of its own for answers that wait.
        with grpc.insecure_channel(small.address, options=[("grpc.http2.bdp_probe", 0)]) as channel:
            call = ledger_service_pb2_grpc.LedgerServiceStub(channel).RecordDocuments(send())
            next(iter(call))
            held, before = small.ledger.service_info().sequence, 0
            while held != before:
                time.sleep(0.3)
                held, before = small.ledger.service_info().sequence, held
            call.cancel()

    assert 0 < held < 3000


# --- errors ---------------------------------------------------------------------------------------


def serialize_sale(**changes: object) -> bytes:
    """A RecordSaleRequest of a good sale with some fields changed."""
    document = make_sale()
    for name, value in changes.items():
        if value is None:
            document.ClearField(name)
        else:
            setattr(document, name, value)
    return ledger_service_pb2.RecordSaleRequest(document=document).SerializeToString()


def serialize_receipt() -> bytes:
    """A receipt in the envelope of RecordSale, whose bytes are the same."""
    return ledger_service_pb2.RecordSaleRequest(document=make_receipt(make_code())).SerializeToString()


def serialize_line(**changes: object) -> bytes:
    """A RecordSaleRequest with fields of its one line changed."""
    document = make_sale()
    for name, value in changes.items():
        setattr(document.lines[0], name, value)
    return ledger_service_pb2.RecordSaleRequest(document=document).SerializeToString()


REFUSED = {
    "truncated bytes": ("RecordSale", b"\x0a\x05ab", "INVALID_ARGUMENT", "MESSAGE_MALFORMED", ""),
    "bytes of nothing": ("GetCode", b"\xff\xff", "INVALID_ARGUMENT", "MESSAGE_MALFORMED", ""),
    "a string that is not UTF-8": (
        "GetCode",
        b"\x0a\x02\xff\xfe",
        "INVALID_ARGUMENT",
        "MESSAGE_MALFORMED",
        "",
    ),
    "bytes of nothing in an import": (
        "ImportProducts",
        b"\xff\xff",
        "INVALID_ARGUMENT",
        "MESSAGE_MALFORMED",
        "",
    ),
    "no document": ("RecordSale", b"", "INVALID_ARGUMENT", "FIELD_INVALID", "document.sale"),
    "a receipt sent as a sale": (
        "RecordSale",
        serialize_receipt(),
        "INVALID_ARGUMENT",
        "FIELD_INVALID",
        "document.sale",
    ),
    "a sale sent as a receipt": (
        "RecordReceipt",
        serialize_sale(),
        "INVALID_ARGUMENT",
        "FIELD_INVALID",
        "document.receipt",
    ),
    "a sale sent as a deletion": (
        "DeleteDocument",
        serialize_sale(),
        "INVALID_ARGUMENT",
        "FIELD_INVALID",
        "document.deletion",
    ),
    "no institution": (
        "RecordSale",
        serialize_sale(institution_code=None),
        "INVALID_ARGUMENT",
        "FIELD_INVALID",
        "document.institution_code",
    ),
    "no business time": (
        "RecordSale",
        serialize_sale(business_time=None),
        "INVALID_ARGUMENT",
        "FIELD_INVALID",
        "document.business_time",
    ),
    "no lines": (
        "RecordSale",
        serialize_sale(lines=None),
        "INVALID_ARGUMENT",
        "FIELD_INVALID",
        "document.lines",
    ),
    "a quantity in words": (
        "RecordSale",
        serialize_line(quantity="one"),
        "INVALID_ARGUMENT",
        "FIELD_INVALID",
        "document.lines[0].quantity",
    ),
    "a date that is none": (
        "RecordSale",
        serialize_line(expiry_date="2026-13-45"),
        "INVALID_ARGUMENT",
        "FIELD_INVALID",
        "document.lines[0].expiry_date",
    ),
    "too many codes to verify": (
        "VerifyCodes",
        ledger_service_pb2.VerifyCodesRequest(
            institution_code=INSTITUTION, codes=[ledger_service_pb2.CodeQuestion(code="8")] * 1001
        ).SerializeToString(),
        "INVALID_ARGUMENT",
        "FIELD_INVALID",
        "codes",
    ),
    "a code that is none": (
        "GetCode",
        ledger_service_pb2.GetCodeRequest(code="?").SerializeToString(),
        "INVALID_ARGUMENT",
        "FIELD_INVALID",
        "code",
    ),
    "a negative page size": (
        "ListCodeEvents",
        ledger_service_pb2.ListCodeEventsRequest(code=make_code(), page_size=-1).SerializeToString(),
        "INVALID_ARGUMENT",
        "FIELD_INVALID",
        "page_size",
    ),
    "a page token of nobody": (
        "ListCodeEvents",
        ledger_service_pb2.ListCodeEventsRequest(code=make_code(), page_token="zzz").SerializeToString(),
        "INVALID_ARGUMENT",
        "FIELD_INVALID",
        "page_token",
    ),
    "a document that nobody sent": (
        "GetDocument",
        ledger_service_pb2.GetDocumentRequest(
            institution_code=INSTITUTION, kind=document_pb2.DOCUMENT_KIND_SALE, document_number="none"
        ).SerializeToString(),
        "NOT_FOUND",
        "NOT_FOUND",
        "",
    ),
    "a product that nobody imported": (
        "GetProduct",
        catalogue_service_pb2.GetProductRequest(identifier="8999999").SerializeToString(),
        "NOT_FOUND",
        "NOT_FOUND",
        "",
    ),
    "an institution that nobody imported": (
        "GetInstitution",
        catalogue_service_pb2.GetInstitutionRequest(institution_code="P99999999999").SerializeToString(),
        "NOT_FOUND",
        "NOT_FOUND",
        "",
    ),
    "an import of too many rows": (
        "ImportProducts",
        catalogue_service_pb2.ImportProductsRequest(
            products=[catalogue_pb2.Product(identifier="8300001")] * 1001
        ).SerializeToString(),
        "INVALID_ARGUMENT",
        "FIELD_INVALID",
        "products",
    ),
}


@pytest.mark.parametrize(("name", "raw", "code", "reason", "field"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_taken_is_named(
    channel: grpc.Channel, name: str, raw: bytes, code: str, reason: str, field: str
) -> None:
    """Pins status, reason and field of each refusal, and that there is a sentence for the clerk."""
    with pytest.raises(grpc.RpcError) as caught:
        call_raw(channel, name, raw)

    error = caught.value
    details = read_details(error)
    assert (error.code().name, details["ErrorInfo"].reason, details["ErrorInfo"].metadata["field"]) == (
        code,
        reason,
        field,
    )
    assert details["ErrorInfo"].domain == "tracecode"
    assert details["LocalizedMessage"].locale == "zh-CN"
    assert details["LocalizedMessage"].message
    assert "RetryInfo" not in details
    if field:
        assert [violation.field for violation in details["BadRequest"].field_violations] == [field]
        assert details["BadRequest"].field_violations[0].description


def test_an_import_names_its_row(channel: grpc.Channel) -> None:
    """Pins that of a batch with one bad row nothing is imported and the row is named."""
    request = catalogue_service_pb2.ImportProductsRequest(
        products=[
            catalogue_pb2.Product(identifier="8310001", package_level=1, name="甲", units_per_package=1),
            catalogue_pb2.Product(identifier="83100", package_level=1, name="乙", units_per_package=1),
        ]
    )

    with pytest.raises(grpc.RpcError) as caught:
        call_raw(channel, "ImportProducts", request.SerializeToString())
    with pytest.raises(grpc.RpcError) as missing:
        call_raw(
            channel,
            "GetProduct",
            catalogue_service_pb2.GetProductRequest(identifier="8310001").SerializeToString(),
        )

    details = read_details(caught.value)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details["ErrorInfo"].reason == "IMPORT_INVALID"
    assert details["BadRequest"].field_violations[0].field == "products[1].identifier"
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param("content", "DOCUMENT_REUSED", id="other content under a used number"),
        pytest.param("request_id", "REQUEST_REUSED", id="other document under a used request_id"),
    ],
)
def test_a_number_stands_for_one_content(
    ledger: ledger_service_pb2_grpc.LedgerServiceStub, change: str, reason: str
) -> None:
    """Pins ALREADY_EXISTS and its two reasons."""
    request = ledger_service_pb2.RecordSaleRequest(document=make_sale(), request_id=make_code())
    ledger.RecordSale(request)
    if change == "content":
        request.document.lines[0].quantity = "2"
        request.ClearField("request_id")
    else:
        request.document.document_number += "b"

    with pytest.raises(grpc.RpcError) as caught:
        ledger.RecordSale(request)

    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert read_details(caught.value)["ErrorInfo"].reason == reason


def test_a_message_that_is_too_large_is_refused(channel: grpc.Channel) -> None:
    """Pins the bound on a message: 4 MiB and one byte more is not taken, and the service goes on."""
    with pytest.raises(grpc.RpcError) as caught:
        call_raw(channel, "RecordSale", b"\x00" * (4 * 1024 * 1024 + 1))

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    call_raw(channel, "GetServiceInfo", b"")


def test_a_method_that_does_not_exist_is_unimplemented(channel: grpc.Channel) -> None:
    """Pins that a client of another version is told so."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/tracecode.v1.LedgerService/RecordOpinion")(b"", timeout=5)

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_call_past_its_deadline_leaves_the_service_whole(
    ledger: ledger_service_pb2_grpc.LedgerServiceStub,
) -> None:
    """Pins that giving up is safe: the same document afterwards gets one verdict."""
    request = ledger_service_pb2.RecordSaleRequest(document=make_long_sale(1000))

    with pytest.raises(grpc.RpcError) as caught:
        ledger.RecordSale(request, timeout=0.005)
    first = ledger.RecordSale(request).verdict
    second = ledger.RecordSale(request).verdict

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert first.sequence == second.sequence


def test_what_nobody_expected_tells_an_id_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pins that a fault of ours shows no internals to the caller and can be found in the log by its id."""
    secret = "person-7-token"
    with ServerThread(engine="memory") as broken:

        def fail() -> None:
            raise RuntimeError(f"cannot read {secret}")

        monkeypatch.setattr(broken.ledger, "service_info", fail)
        with grpc.insecure_channel(broken.address) as channel, pytest.raises(grpc.RpcError) as caught:
            call_raw(channel, "GetServiceInfo", b"")
        monkeypatch.undo()

    details = read_details(caught.value)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert set(details) == {"ErrorInfo", "LocalizedMessage"}
    incident_id = details["ErrorInfo"].metadata["incident_id"]
    assert incident_id in caught.value.details()
    logged = [line for line in broken.log if line["event"] == "call_failed"]
    assert [(line["incident_id"], line["error"]) for line in logged] == [(incident_id, "RuntimeError")]
    assert logged[0]["frames"]
    assert secret not in caught.value.details()
    assert secret not in json.dumps(broken.log)


def list_bad_messages() -> Iterator[tuple[str, bytes]]:
    """Every method with inputs that have broken such services before."""
    extreme = make_sale()
    extreme.business_time.seconds = 2**63 - 1
    extreme.business_time.nanos = -(2**31)
    for text in (
        "\x00",
        "\u202e",
        "9" * 5000,
        "😀" * 300,
        "(01)",
        "]C1" + "0" * 400,
        "1e999",
        "-1",
        "NaN",
        "１２",
    ):
        line = make_sale()
        line.lines[0].quantity = text
        line.lines[0].expiry_date = text
        line.lines[0].codes[0] = text
        yield "RecordSale", ledger_service_pb2.RecordSaleRequest(document=line).SerializeToString()
        coded = make_sale()
        coded.lines[0].codes[0] = text
        yield "RecordSale", ledger_service_pb2.RecordSaleRequest(document=coded).SerializeToString()
        yield (
            "VerifyCodes",
            ledger_service_pb2.VerifyCodesRequest(
                institution_code=INSTITUTION,
                codes=[ledger_service_pb2.CodeQuestion(code=text, drug_code=text, split_units=2**32 - 1)],
                business_time=extreme.business_time,
            ).SerializeToString(),
        )
        for name in ("GetCode", "ListCodeEvents", "GetProduct", "GetInstitution", "ListStock"):
            request = GetMessageClass(METHODS[name].input_type)()
            setattr(request, request.DESCRIPTOR.fields[0].name, text)
            yield name, request.SerializeToString()
    yield "RecordSale", ledger_service_pb2.RecordSaleRequest(document=extreme).SerializeToString()
    for name, method in METHODS.items():
        yield name, b""
        yield name, b"\xff" * 100
        yield name, b"\x0a" * 101
        # A field that the contract does not know is not an error.
        yield name, b"\xfa\x3f\x03abc"
        for field in method.input_type.fields:
            values: tuple[object, ...] = ()
            if field.type == field.TYPE_INT32:
                values = (-(2**31), 2**31 - 1)
            elif field.enum_type is not None:
                values = (-1, 2**31 - 1)
            elif field.type == field.TYPE_STRING:
                values = ("\u202e", "\x00", "../x", "\U0010ffff")
            for value in values:
                request = GetMessageClass(method.input_type)()
                if field.is_repeated:
                    getattr(request, field.name).append(value)
                else:
                    setattr(request, field.name, value)
                yield name, request.SerializeToString()


def test_no_known_bad_input_is_unexpected(channel: grpc.Channel, server: ServerThread) -> None:
    """Pins that each is answered or refused with a reason; none reaches the net below, INTERNAL."""
    codes = Counter(try_raw(channel, name, raw) for name, raw in list_bad_messages())

    # No log is kept.
    known = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"}
    assert set(codes) <= known
    assert codes["INVALID_ARGUMENT"] > 50
    assert [line for line in server.log if line["event"] == "call_failed"] == []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(METHODS)), raw=st.binary(max_size=200), data=st.data())
def test_no_bytes_are_unexpected(
    channel: grpc.Channel, server: ServerThread, name: str, raw: bytes, data: st.DataObject
) -> None:
    """Pins that neither random bytes nor a good sale with some bytes changed end in INTERNAL."""
    if data.draw(st.booleans()):
        good = bytearray(serialize_sale())
        for _ in range(data.draw(st.integers(1, 4))):
            # How long a sale is written depends on what other tests have used up.
            good[data.draw(st.integers(0, 1_000)) % len(good)] = data.draw(st.integers(0, 255))
        raw = bytes(good)
    assert try_raw(channel, name, raw) in {
        "OK",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "FAILED_PRECONDITION",
    }
    assert [line for line in server.log if line["event"] == "call_failed"] == []


def test_an_engine_that_stopped_is_told_and_ends_the_service() -> None:
    """Pins that callers are sent to come again, and that the process learns that it should be restarted."""
    with ServerThread(engine="memory") as server, grpc.insecure_channel(server.address) as channel:
        server.ledger.close()
        with pytest.raises(grpc.RpcError) as caught:
            call_raw(channel, "RecordSale", serialize_sale())
        stopped = server.edge.engine_stopped.is_set()

    details = read_details(caught.value)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert details["ErrorInfo"].reason == "ENGINE_STOPPED"
    assert details["RetryInfo"].retry_delay.ToMilliseconds() > 0
    assert stopped


def test_a_ledger_with_no_room_is_told_and_nothing_is_kept(
    server: ServerThread, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins the push back, for a single document and within a stream."""
    before = server.ledger.service_info().sequence
    monkeypatch.setattr(server.ledger._commits, "_share", FairShare(0))

    with pytest.raises(grpc.RpcError) as caught:
        call_raw(channel, "RecordSale", serialize_sale())
    (answer,) = converse(channel, make_batch(make_sale(), make_sale()).SerializeToString())

    details = read_details(caught.value)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details["ErrorInfo"].reason == "OVERLOADED"
    assert details["RetryInfo"].retry_delay.ToMilliseconds() > 0
    assert [(result.error.reason, result.error.retryable) for result in answer.results] == [
        ("OVERLOADED", True)
    ] * 2
    assert server.ledger.service_info().sequence == before


# --- limits ---------------------------------------------------------------------------------------


def test_a_peer_that_calls_too_often_is_told_when_to_come_back() -> None:
    """Pins RESOURCE_EXHAUSTED with RetryInfo, and that waiting so long helps."""
    with (
        ServerThread(engine="memory", peer_calls_per_second_max=5) as strict,
        grpc.insecure_channel(strict.address) as channel,
    ):
        for _ in range(5):
            call_raw(channel, "GetServiceInfo", b"")
        with pytest.raises(grpc.RpcError) as caught:
            call_raw(channel, "GetServiceInfo", b"")
        details = read_details(caught.value)
        time.sleep(details["RetryInfo"].retry_delay.ToMilliseconds() / 1000)
        call_raw(channel, "GetServiceInfo", b"")

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details["ErrorInfo"].reason == "PEER_OVER_LIMIT"


def test_a_peer_with_too_many_streams_gets_no_more() -> None:
    """Pins the bound on streams, and that a closed one makes room."""
    with (
        ServerThread(engine="memory", peer_streams_max=2) as strict,
        grpc.insecure_channel(strict.address) as channel,
    ):
        ledger = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        ends = [threading.Event() for _ in range(3)]

        def send(end: threading.Event) -> Iterator[ledger_service_pb2.RecordDocumentsRequest]:
            yield make_batch(make_sale())
            end.wait(20)

        first, second = ledger.RecordDocuments(send(ends[0])), ledger.RecordDocuments(send(ends[1]))
        next(iter(first))
        next(iter(second))
        with pytest.raises(grpc.RpcError) as caught:
            next(iter(ledger.RecordDocuments(send(ends[2]))))
        ends[0].set()
        assert list(first) == []
        ends[2].set()
        answers = list(ledger.RecordDocuments(send(ends[2])))
        ends[1].set()

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(answers) == 1


def test_silent_calls_of_one_client_do_not_keep_another_waiting(server: ServerThread) -> None:
    """Pins that calls which never send their message cost their own connection only."""
    silent = [
        grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(4)
    ]
    end = threading.Event()

    def send_nothing() -> Iterator[bytes]:
        end.wait(120)
        yield from ()

    try:
        calls = [
            channel.stream_stream("/tracecode.v1.LedgerService/RecordSale")(send_nothing())
            for channel in silent
            for _ in range(50)
        ]
        time.sleep(0.3)
        with grpc.insecure_channel(
            server.address, options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            for _ in range(20):
                call_raw(channel, "GetServiceInfo", b"", timeout_seconds=20)
    finally:
        end.set()
        for call in calls:
            call.cancel()
        for channel in silent:
            channel.close()


# --- running it -----------------------------------------------------------------------------------


def test_reflection_lists_the_services(channel: grpc.Channel) -> None:
    """Pins that a tool on this machine finds out what it can call."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)

    answer = next(
        iter(stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")])))
    )

    names = {service.name for service in answer.list_services_response.service}
    assert {"tracecode.v1.LedgerService", "tracecode.v1.CatalogueService", "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize("service", ["", "tracecode.v1.LedgerService", "tracecode.v1.CatalogueService"])
def test_health_is_serving(channel: grpc.Channel, service: str) -> None:
    """Pins what a supervisor asks, for the whole and for each service."""
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_metrics_count_calls_findings_and_documents(server: ServerThread, channel: grpc.Channel) -> None:
    """Pins the figures an operator watches, and that they name no code and no institution."""
    code = make_code()
    for _ in range(2):
        call_raw(
            channel,
            "RecordSale",
            ledger_service_pb2.RecordSaleRequest(document=make_sale(code)).SerializeToString(),
        )

    text = read_metrics(server.metrics_address)

    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(figures['tracecode_documents_total{outcome="ACCEPTED"}']) >= 2
    assert any(
        name.startswith('tracecode_findings_total{severity="') and "DUP_SALE" in name for name in figures
    )
    assert any("tracecode_call_seconds_bucket" in name and "RecordSale" in name for name in figures)
    assert float(figures["tracecode_sequence"]) > 0
    assert float(figures["tracecode_documents_waiting"]) == 0
    assert INSTITUTION not in text
    assert code not in text


def test_the_log_shows_no_person_and_nothing_invisible(server: ServerThread, channel: grpc.Channel) -> None:
    """Pins that what a client sends cannot forge a line of the log, nor a person be read in it."""
    sale = make_sale()
    sale.sale.person_token = "person-42-in-clear"
    sale.operator_token = "operator-42-in-clear"
    sale.lines[0].quantity = '1\n{"event": "forged"}\u202e'
    with pytest.raises(grpc.RpcError) as caught:
        call_raw(
            channel, "RecordSale", ledger_service_pb2.RecordSaleRequest(document=sale).SerializeToString()
        )

    text = json.dumps(server.log, ensure_ascii=False)
    assert "42-in-clear" not in text
    assert "42-in-clear" not in caught.value.details()
    assert "forged" not in text
    assert "\u202e" not in caught.value.details()
    assert [line["field"] for line in server.log if line["event"] == "call_refused"][-1] == (
        "document.lines[0].quantity"
    )


@pytest.mark.parametrize(
    ("settings_of_it", "word"),
    [
        pytest.param({"listen": "0.0.0.0:0"}, "TLS", id="all addresses"),
        pytest.param({"listen": "[::]:0"}, "TLS", id="all addresses, version 6"),
        pytest.param({"listen": "192.0.2.7:3505"}, "TLS", id="an address of the network"),
        pytest.param({"metrics_listen": "0.0.0.0:0"}, "TLS", id="metrics for all"),
        pytest.param({"listen": "pharmacy.example:3505"}, "numeric", id="a name"),
        pytest.param({"listen": "127.0.0.1"}, "host:port", id="no port"),
        pytest.param({"listen": "127.0.0.1:99999"}, "host:port", id="no such port"),
    ],
)
def test_an_address_that_others_reach_is_refused(settings_of_it: dict[str, str], word: str) -> None:
    """Pins that nothing listens in public by mistake, and that the refusal says what to do instead."""
    with pytest.raises(ValueError, match=word):
        ServerThread(engine="memory", **settings_of_it)
