"""The public question: how often was this box sold, and to whom not."""

from __future__ import annotations

from collections.abc import Iterator

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

from tracecode.errors import DocumentRejected, FieldInvalid
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import consumer_service_pb2, consumer_service_pb2_grpc, document_pb2
from tracecode.v1.consumer_service_pb2 import (
    CONSUMER_ANSWER_NO_SALE,
    CONSUMER_ANSWER_ONE_SALE,
    CONSUMER_ANSWER_ONE_SALE_NOT_YOURS,
    CONSUMER_ANSWER_ONE_SALE_YOURS,
    CONSUMER_ANSWER_SEVERAL_SALES,
    CONSUMER_ANSWER_SPLIT_SALES,
)

BOX = code(1)


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
