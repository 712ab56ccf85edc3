"""What whoever holds a box may ask of it: how often was it sold, when, in which division.

The four answers are those of the NHSA's public question (nothing found, one sale and it is mine, one and it
is not mine, more than one); split packs, of which several persons hold a part, have one of their own (ours).
Who sold, who bought and by which document stays hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from tracecode.document import Operation, china_day, day_date
from tracecode.finding import PROVISIONAL_SECONDS
from tracecode.life_cycle import Event, Registry
from tracecode.v1 import consumer_service_pb2
from tracecode.v1.consumer_service_pb2 import ConsumerAnswer, ConsumerSale
from tracecode.v1.finding_pb2 import LocalizedText

SALES_SHOWN_MAX = 10

ADVICE = MappingProxyType(
    {
        consumer_service_pb2.CONSUMER_ANSWER_NO_SALE: LocalizedText(
            zh_cn="未查到销售记录。药店最迟可在两天内上传，请等两天再次扫码；仍查不到请向医保部门反映。",
            en="No sale is known. Pharmacies may report for two days: ask again then, and complain if there "
            "is still none.",
        ),
        consumer_service_pb2.CONSUMER_ANSWER_ONE_SALE: LocalizedText(
            zh_cn="有一条销售记录。若日期、地区与您的购药一致，则属正常；若不是您的购药，请向医保部门反映。",
            en="One sale is known. If day and place are those of your purchase, all is well; if not, report "
            "it.",
        ),
        consumer_service_pb2.CONSUMER_ANSWER_ONE_SALE_YOURS: LocalizedText(
            zh_cn="有一条销售记录，与您的购药一致，属正常。", en="One sale is known, and it is yours."
        ),
        consumer_service_pb2.CONSUMER_ANSWER_ONE_SALE_NOT_YOURS: LocalizedText(
            zh_cn="有一条销售记录，但不是您的购药，疑似回流药、串换或假药，请保留药盒和小票并反映给医保部门。",
            en="One sale is known, but not to you: the box is suspected to be resold, swapped or forged. "
            "Keep it and the slip, and report it.",
        ),
        consumer_service_pb2.CONSUMER_ANSWER_SEVERAL_SALES: LocalizedText(
            zh_cn="有两条或以上销售记录，疑似回流药、串换或假药，请保留药盒和小票并反映给医保部门。",
            en="More than one sale is known: the box is suspected to be resold, swapped or forged. Keep it "
            "and the slip, and report it.",
        ),
        consumer_service_pb2.CONSUMER_ANSWER_SPLIT_SALES: LocalizedText(
            zh_cn="该药盒为拆零销售，同一追溯码有多条记录属正常。",
            en="The pack is sold by the piece, so several sales of it are as they should be.",
        ),
    }
)


def answer_consumer(
    sales: Sequence[Event], registry: Registry, person: str, bought: int, now: int
) -> consumer_service_pb2.GetCodeSalesResponse:
    """The answer, but for the code and what it was read from.

    `sales` are those that stand, by time; `person` is the keyed hash of who asks, empty = not said; `bought`
    and `now` are seconds since 1970 UTC, `bought` 0 = not said.
    """
    answer = _choose(sales, person)
    last = sales[-1].business_time if sales else bought or now
    return consumer_service_pb2.GetCodeSalesResponse(
        answer=answer,
        sale_count=len(sales),
        sales=[
            ConsumerSale(
                day=day_date(china_day(sale.business_time)).isoformat(),
                division_code=registry(sale.institution).division,
                split=sale.operation is Operation.SPLIT_SALE,
                yours=bool(person) and sale.person == person,
            )
            for sale in sales[:SALES_SHOWN_MAX]
        ],
        provisional=now < last + PROVISIONAL_SECONDS,
        advice=ADVICE[answer],
    )


def _choose(sales: Sequence[Event], person: str) -> ConsumerAnswer.ValueType:
    if not sales:
        return consumer_service_pb2.CONSUMER_ANSWER_NO_SALE
    if len(sales) > 1:
        if all(sale.operation is Operation.SPLIT_SALE for sale in sales):
            return consumer_service_pb2.CONSUMER_ANSWER_SPLIT_SALES
        return consumer_service_pb2.CONSUMER_ANSWER_SEVERAL_SALES
    if not person or not sales[0].person:
        # Who paid without insurance is not known, and so accused of nothing.
        return consumer_service_pb2.CONSUMER_ANSWER_ONE_SALE
    if sales[0].person == person:
        return consumer_service_pb2.CONSUMER_ANSWER_ONE_SALE_YOURS
    return consumer_service_pb2.CONSUMER_ANSWER_ONE_SALE_NOT_YOURS
