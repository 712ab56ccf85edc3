"""The public question: how often was this box sold, and to whom not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from documents import (
    DAY,
    HOUR,
    INSTITUTIONS,
    NOON,
    NS,
    OTHER,
    PRODUCTS,
    SHOP,
    code,
    deletion,
    line,
    receipt,
    sale,
    sale_return,
)
from google.protobuf.timestamp_pb2 import Timestamp
from running_server import ServerProcess

from tracecode.code import read_scan
from tracecode.errors import ComplaintRefused, DocumentRejected, FieldInvalid, NotFound
from tracecode.fsck import check
from tracecode.grants import Reach
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.proof.audit import judge_again, open_journal
from tracecode.v1 import (
    case_pb2,
    case_service_pb2,
    complaint_pb2,
    consumer_service_pb2,
    consumer_service_pb2_grpc,
    document_pb2,
    journal_pb2,
)
from tracecode.v1.complaint_pb2 import COMPLAINT_KIND_NO_SALE_KNOWN, COMPLAINT_KIND_SALE_NOT_MINE
from tracecode.v1.consumer_service_pb2 import (
    CONSUMER_ANSWER_NO_SALE,
    CONSUMER_ANSWER_ONE_SALE,
    CONSUMER_ANSWER_ONE_SALE_NOT_YOURS,
    CONSUMER_ANSWER_ONE_SALE_YOURS,
    CONSUMER_ANSWER_SEVERAL_SALES,
    CONSUMER_ANSWER_SPLIT_SALES,
)

BOX = code(1)
ALL = Reach("all", ("",))


class Clock:
    """The time, as the test sets it."""

    seconds = NOON + DAY

    def __call__(self) -> int:
        return self.seconds * NS


@pytest.fixture
def clock() -> Clock:
    """A day after noon."""
    return Clock()


@pytest.fixture
def ledger(clock: Clock) -> Iterator[Ledger]:
    """With a catalogue, and the box received."""
    opened = Ledger.open(None, engine="memory", person_key=PersonKey(b"k" * 32), clock_ns=clock)
    opened.import_institutions(INSTITUTIONS)
    opened.import_products(PRODUCTS)
    tell(opened, receipt(SHOP, "R1", NOON - HOUR, line(BOX)))
    yield opened
    opened.close()


def tell(ledger: Ledger, *documents: document_pb2.Document) -> None:
    """Record documents."""
    for answer in ledger.record(documents):
        assert not isinstance(answer, DocumentRejected)


def ask(ledger: Ledger, person: str = "", bought: int = 0) -> consumer_service_pb2.GetCodeSalesResponse:
    """Ask for the box."""
    request = consumer_service_pb2.GetCodeSalesRequest(code=BOX, person_token=person)
    if bought:
        request.bought_time.CopyFrom(Timestamp(seconds=bought))
    return ledger.get_code_sales(request)


def test_a_box_nobody_sold_is_to_be_asked_for_again_in_two_days(ledger: Ledger, clock: Clock) -> None:
    """Pins the first answer, and that it is final only two days after the purchase."""
    assert ask(ledger).answer == CONSUMER_ANSWER_NO_SALE
    assert ask(ledger).provisional
    assert ask(ledger, bought=NOON).provisional

    clock.seconds = NOON + 2 * DAY + 1

    assert not ask(ledger, bought=NOON).provisional
    assert "两天" in ask(ledger).advice.zh_cn


def test_one_sale_is_yours_or_not_or_for_you_to_tell(ledger: Ledger) -> None:
    """Pins the second and third answer; day and division are shown, shop and buyer are not."""
    tell(ledger, sale(SHOP, "S1", NOON, line(BOX), person="me"))

    mine, other, unknown = ask(ledger, "me"), ask(ledger, "somebody"), ask(ledger)

    assert mine.answer == CONSUMER_ANSWER_ONE_SALE_YOURS
    assert mine.sales[0].yours
    assert other.answer == CONSUMER_ANSWER_ONE_SALE_NOT_YOURS
    assert unknown.answer == CONSUMER_ANSWER_ONE_SALE
    assert (mine.sales[0].day, mine.sales[0].division_code, mine.provisional) == (
        "2026-03-15",
        SHOP[1:7],
        True,
    )
    shown = mine.SerializeToString() + other.SerializeToString()
    for hidden in (SHOP.encode(), b"S1", PersonKey(b"k" * 32).hash("me").encode()):
        assert hidden not in shown


def test_a_buyer_nobody_named_accuses_nobody(ledger: Ledger) -> None:
    """Pins that a self-paid sale without a person is not called somebody else's."""
    tell(ledger, sale(SHOP, "S1", NOON, line(BOX), person=""))

    assert ask(ledger, "me").answer == CONSUMER_ANSWER_ONE_SALE


def test_two_sales_are_suspect_until_one_is_taken_back(ledger: Ledger) -> None:
    """Pins the fourth answer; a returned and a deleted sale do not count."""
    tell(ledger, sale(SHOP, "S1", NOON, line(BOX), person="me"))
    tell(ledger, sale(OTHER, "S2", NOON + HOUR, line(BOX), person="you"))
    assert ask(ledger, "me").answer == CONSUMER_ANSWER_SEVERAL_SALES
    assert ask(ledger, "me").sale_count == 2

    tell(ledger, deletion(OTHER, "D1", NOON + 2 * HOUR, deletes="S2"))
    assert ask(ledger, "me").answer == CONSUMER_ANSWER_ONE_SALE_YOURS

    tell(ledger, sale_return(SHOP, "T1", NOON + 3 * HOUR, line(BOX), of="S1"))
    assert ask(ledger, "me").answer == CONSUMER_ANSWER_NO_SALE


def test_a_pack_sold_by_the_piece_is_no_suspicion(ledger: Ledger) -> None:
    """Pins that several buyers of one split pack are told so."""
    for number in range(3):
        split = line(BOX, quantity="1", split=True)
        tell(ledger, sale(SHOP, f"S{number}", NOON + number * HOUR, split, person=f"p{number}"))

    assert ask(ledger, "p1").answer == CONSUMER_ANSWER_SPLIT_SALES


def test_a_question_that_cannot_be_taken_names_its_field(ledger: Ledger) -> None:
    """Pins the code and the time."""
    with pytest.raises(FieldInvalid, match="code"):
        ledger.get_code_sales(consumer_service_pb2.GetCodeSalesRequest(code="6924561884074"))
    with pytest.raises(FieldInvalid, match="bought_time"):
        ask(ledger, bought=NOON + 9 * DAY)


def test_who_asks_too_often_is_told_to_wait() -> None:
    """Pins the limit of questions a second on the real server, which tills do not feel."""
    with (
        ServerProcess(engine="memory", consumer_questions_per_second_max=2) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = consumer_service_pb2_grpc.ConsumerServiceStub(channel)
        request = consumer_service_pb2.GetCodeSalesRequest(code=BOX)
        assert stub.GetCodeSales(request, timeout=5).answer == CONSUMER_ANSWER_NO_SALE
        codes = set()
        for _ in range(200):
            try:
                stub.GetCodeSales(request, timeout=5)
            except grpc.RpcError as error:
                codes.add(error.code())
        assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        with pytest.raises(grpc.RpcError) as refused:
            stub.FileComplaint(
                consumer_service_pb2.FileComplaintRequest(
                    code=BOX, kind=COMPLAINT_KIND_SALE_NOT_MINE, request_id="q1"
                ),
                timeout=5,
            )
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


# --- complaints ---------------------------------------------------------------------------------


def complain(ledger: Ledger, person: str = "me", **values: Any) -> consumer_service_pb2.FileComplaintResponse:
    """Complain of the box: the sale was not mine, but for what is given."""
    values = {"kind": COMPLAINT_KIND_SALE_NOT_MINE, "request_id": f"of {person}", **values}
    bought = values.pop("bought", 0)
    request = consumer_service_pb2.FileComplaintRequest(code=BOX, person_token=person, **values)
    if bought:
        request.bought_time.CopyFrom(Timestamp(seconds=bought))
    return ledger.file_complaint(request)


def list_complaints(ledger: Ledger, **values: Any) -> list[complaint_pb2.ComplaintRecord]:
    """The complaints of a page, the newest first."""
    return list(ledger.complaints.find(case_service_pb2.ListComplaintsRequest(**values), ALL).complaints)


def test_a_complaint_names_the_sales_that_are_not_the_complainants(ledger: Ledger) -> None:
    """Pins what the ledger adds, that the person is a hash, and that one's own seller is left out."""
    tell(ledger, sale(SHOP, "S1", NOON, line(BOX), person="me"))
    tell(ledger, sale(OTHER, "S2", NOON + HOUR, line(BOX), person="you"))

    answer = complain(ledger)
    (record,) = list_complaints(ledger)

    assert (record.sequence, answer.repeat) == (answer.complaint_sequence, False)
    assert record.complaint.code == BOX
    assert list(record.complaint.institution_codes) == [OTHER]
    (named,) = record.complaint.sale_sequences
    kept = journal_pb2.JournalEntry.FromString(ledger.engine.entries(named - 1, 1)[0])
    assert document_pb2.Document.FromString(kept.document.document).document_number == "S2"
    assert record.complaint.person_token == PersonKey(b"k" * 32).hash("me")
    assert "医保部门" in answer.advice.zh_cn


def test_the_same_complaint_again_is_the_one_that_is_there(ledger: Ledger) -> None:
    """Pins that neither a retry nor a new request of the same person counts twice, and others do."""
    tell(ledger, sale(SHOP, "S1", NOON, line(BOX), person="you"))

    first = complain(ledger)
    retried, anew = complain(ledger), complain(ledger, request_id="once more")
    other, unnamed = complain(ledger, "her"), complain(ledger, "")

    assert (retried.complaint_sequence, retried.repeat) == (first.complaint_sequence, True)
    assert (anew.complaint_sequence, anew.repeat) == (first.complaint_sequence, True)
    assert not other.repeat
    assert not unnamed.repeat
    found = ledger.complaints.of_code(read_scan(BOX)[0].key)
    assert [record.sequence for record in found] == [
        unnamed.complaint_sequence,
        other.complaint_sequence,
        first.complaint_sequence,
    ]
    with pytest.raises(FieldInvalid, match="request_id"):
        complain(ledger, kind=COMPLAINT_KIND_NO_SALE_KNOWN, bought=NOON)


def test_a_complaint_about_another_sale_is_another_one(tmp_path: Path, clock: Clock) -> None:
    """Pins that what was sold since is not lost, that a sale complained of is not complained of twice, that
    those who name nobody are not one person, and that such a journal is judged the same again."""
    folder = tmp_path / "ledger"
    with closing(
        Ledger.open(folder, engine="lmdb", person_key=PersonKey(b"k" * 32), clock_ns=clock)
    ) as opened:
        opened.import_institutions(INSTITUTIONS)
        opened.import_products(PRODUCTS)
        tell(opened, sale(SHOP, "S1", NOON, line(BOX), person="you"))
        first, unnamed = complain(opened), complain(opened, "")
        tell(opened, sale(OTHER, "S2", NOON + HOUR, line(BOX), person="her"))

        retried, anew = complain(opened), complain(opened, request_id="of S2")
        again = complain(opened, request_id="of both")
        tell(opened, deletion(OTHER, "D1", NOON + 2 * HOUR, deletes="S2"))
        fewer = complain(opened, request_id="of S1")
        unnamed_retried, unnamed_anew = complain(opened, ""), complain(opened, "", request_id="somebody else")

        assert (retried.complaint_sequence, retried.repeat) == (first.complaint_sequence, True)
        assert not anew.repeat
        for repeat in (again, fewer):
            assert (repeat.complaint_sequence, repeat.repeat) == (anew.complaint_sequence, True)
        assert (unnamed_retried.complaint_sequence, unnamed_retried.repeat) == (
            unnamed.complaint_sequence,
            True,
        )
        assert not unnamed_anew.repeat
        told = {
            record.sequence: list(record.complaint.institution_codes) for record in list_complaints(opened)
        }
        assert told == {
            first.complaint_sequence: [SHOP],
            unnamed.complaint_sequence: [SHOP],
            anew.complaint_sequence: [SHOP, OTHER],
            unnamed_anew.complaint_sequence: [SHOP],
        }
    assert check(folder).ok
    with closing(open_journal(folder)) as store:
        assert not list(judge_again(store, store.durable_sequence))


def test_a_complaint_that_the_ledger_knows_better_is_refused(ledger: Ledger, clock: Clock) -> None:
    """Pins that nobody is complained of for one's own purchase, a split pack, or a sale not due yet."""
    with pytest.raises(ComplaintRefused, match="no sale of it is known"):
        complain(ledger)
    with pytest.raises(ComplaintRefused, match="two days"):
        complain(ledger, kind=COMPLAINT_KIND_NO_SALE_KNOWN, bought=NOON)
    with pytest.raises(FieldInvalid, match="bought_time"):
        complain(ledger, kind=COMPLAINT_KIND_NO_SALE_KNOWN)
    with pytest.raises(FieldInvalid, match="kind"):
        complain(ledger, kind=0)
    with pytest.raises(FieldInvalid, match="request_id"):
        complain(ledger, request_id="")

    clock.seconds = NOON + 3 * DAY
    assert not complain(ledger, kind=COMPLAINT_KIND_NO_SALE_KNOWN, bought=NOON, institution_code=OTHER).repeat
    assert list(list_complaints(ledger)[0].complaint.institution_codes) == [OTHER]

    tell(ledger, sale(SHOP, "S1", NOON + 2 * DAY, line(BOX), person="me"))
    with pytest.raises(ComplaintRefused, match="is yours"):
        complain(ledger, request_id="2")
    tell(ledger, sale_return(SHOP, "T1", NOON + 2 * DAY + HOUR, line(BOX), of="S1"))
    for number in range(2):
        split = line(BOX, quantity="1", split=True)
        tell(ledger, sale(SHOP, f"P{number}", NOON + 2 * DAY + (2 + number) * HOUR, split, person="you"))
    with pytest.raises(ComplaintRefused, match="by the piece"):
        complain(ledger, request_id="3")


def test_a_case_is_opened_on_complaints_and_takes_them_off_the_list(ledger: Ledger) -> None:
    """Pins the way of a lead: listed by division and institution, in a case, and of which case it is told."""
    tell(ledger, sale(OTHER, "S1", NOON, line(BOX), person="you"))
    sequence = complain(ledger).complaint_sequence
    assert list_complaints(ledger, division_prefix=OTHER[1:5], without_case=True)
    assert not list_complaints(ledger, division_prefix="99")
    assert not list_complaints(ledger, institution_code=SHOP)

    request = case_service_pb2.OpenCaseRequest(
        actor="张三", title="一码多售投诉", origin=case_pb2.CASE_ORIGIN_TIP_OFF
    )
    request.tip_off.summary = "持盒人称并非本人购药"
    request.tip_off.complaint_sequences.append(sequence)
    case = ledger.desk.open_case(request, ALL)

    assert case.institution_code == OTHER
    assert list(case.tip_off.complaint_sequences) == [sequence]
    assert not list_complaints(ledger, without_case=True)
    assert list(list_complaints(ledger, institution_code=OTHER)[0].case_numbers) == [case.case_number]
    request.institution_code, request.tip_off.complaint_sequences[0] = OTHER, 1
    with pytest.raises(NotFound, match="entry 1 is no complaint"):
        ledger.desk.open_case(request)


def test_complaints_are_listed_page_by_page(ledger: Ledger) -> None:
    """Pins that pages join without a gap, the newest first."""
    tell(ledger, sale(SHOP, "S1", NOON, line(BOX), person="you"))
    told = [complain(ledger, f"p{number}").complaint_sequence for number in range(5)]

    found: list[int] = []
    token = ""
    while True:
        request = case_service_pb2.ListComplaintsRequest(page_size=2, page_token=token)
        page = ledger.complaints.find(request, ALL)
        found += [record.sequence for record in page.complaints]
        token = page.next_page_token
        if not token:
            break

    assert found == told[::-1]


def test_a_page_of_complaints_reads_what_it_shows(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins that the engine is held for a hundred complaints at a time at most, and without a filter for no
    more than the page has."""
    tell(ledger, sale(SHOP, "S1", NOON, line(BOX), person="you"))
    for number in range(105):
        complain(ledger, f"p{number}")
    counts: list[int] = []
    read = ledger.engine.complaints

    def count(before: int, limit: int) -> list[tuple[int, complaint_pb2.ComplaintRecord]]:
        counts.append(limit)
        return read(before, limit)

    monkeypatch.setattr(ledger.engine, "complaints", count)
    read_of = {
        name: (len(list_complaints(ledger, **values)), [counts.pop(0) for _ in list(counts)])
        for name, values in (
            ("a page", {"page_size": 2}),
            ("all", {"page_size": 1_000}),
            ("of one", {"page_size": 2, "institution_code": SHOP}),
            ("of another", {"page_size": 2, "institution_code": OTHER}),
        )
    }

    assert read_of == {
        "a page": (2, [2]),
        "all": (105, [100, 100]),
        "of one": (2, [100]),
        "of another": (0, [100, 100]),
    }


def test_complaints_are_there_after_a_restart_and_a_rebuild(tmp_path: Path, clock: Clock) -> None:
    """Pins that the journal alone gives them, byte for byte, also where its index was thrown away."""

    def open_it(name: str = "ledger") -> Ledger:
        return Ledger.open(tmp_path / name, engine="lmdb", person_key=PersonKey(b"k" * 32), clock_ns=clock)

    with closing(open_it()) as opened:
        opened.import_institutions(INSTITUTIONS)
        opened.import_products(PRODUCTS)
        tell(opened, sale(SHOP, "S1", NOON, line(BOX), person="you"))
        sequence = complain(opened).complaint_sequence
        request = case_service_pb2.OpenCaseRequest(
            actor="张三", title="投诉", origin=case_pb2.CASE_ORIGIN_TIP_OFF
        )
        request.tip_off.summary = "投诉"
        request.tip_off.complaint_sequences.append(sequence)
        opened.desk.open_case(request, ALL)
        told = list_complaints(opened)
    assert check(tmp_path / "ledger").ok
    shutil.rmtree(tmp_path / "ledger" / "index")
    with closing(open_it()) as opened:
        assert list_complaints(opened) == told
        assert complain(opened).complaint_sequence == sequence
        assert [record.sequence for record in told] == [sequence]
    assert check(tmp_path / "ledger").ok
