"""Whether stock is conserved: what came in was sold, went out or is on hand, by everybody's account.

Four accounts of each institution and drug must be one: the operations that clients recorded; the sums of
ListStock; the sums of the stock view; and, where boxes were never reported twice, the boxes that the ledger
says are on hand, counted one by one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from tracecode.client import LedgerClient
from tracecode.document import Operation as Moved
from tracecode.v1 import code_pb2, ledger_service_pb2
from tracecode.views import stock
from tracecode.views.projector import DIRECTORY, Projector
from tracecode.views.store import ViewStore
from trust.linearizability import QUESTIONS, Kind, Operation

Account = tuple[str, str]
"""Institution and drug."""

BOXES_PER_QUESTION = 1_000


@dataclass(frozen=True, slots=True)
class Stock:
    """What moved of a drug at an institution, in packs."""

    received: int = 0
    sold: int = 0
    returned: int = 0
    """By patients."""
    out: int = 0

    @property
    def on_hand(self) -> int:
        """What must be there."""
        return self.received - self.sold + self.returned - self.out


def sum_operations(
    histories: Mapping[str, Sequence[Operation]], drugs: Mapping[str, str]
) -> dict[Account, Stock]:
    """What clients were told; `drugs` names that of each product, which a code begins with."""
    moved: Counter[tuple[str, str, Kind]] = Counter()
    for box, operations in histories.items():
        for one in operations:
            if one.kind not in QUESTIONS and (one.kind is not Kind.SELL or one.answer):
                moved[one.institution, drugs[box[:7]], one.kind] += 1
    kinds = (Kind.RECEIVE, Kind.SELL, Kind.RETURN, Kind.SEND_BACK)
    accounts = sorted({(institution, drug) for institution, drug, _ in moved})
    return {account: Stock(*(moved[*account, kind] for kind in kinds)) for account in accounts}


def read_stocks(client: LedgerClient, institutions: Iterable[str]) -> dict[Account, Stock]:
    """What ListStock says; of a stock whose balance is not the sum of its parts, nothing."""
    found = {}
    for institution in institutions:
        for told in client.list_stock(institution):
            parts = (told.received, told.sold, told.sale_returned, told.purchase_returned)
            summed = Stock(*(int(part or 0) for part in parts))
            if Decimal(told.balance or 0) == summed.on_hand:
                found[institution, told.drug_code] = summed
    return found


def read_view(directory: Path) -> dict[Account, Stock]:
    """What the stock view says of a ledger that nobody serves, counted up to its last entry."""
    with Projector(directory, parquet=False) as projector:
        while projector.step():
            pass
    moved: dict[Account, Counter[int]] = defaultdict(Counter)
    with ViewStore(directory / DIRECTORY, read_only=True) as store, store.read() as reader:
        for (institution, _, drug, operation, _), counts in stock.COUNTERS.read(reader):
            moved[str(institution), str(drug)][int(operation)] += counts["quantity_e4"] // 10_000
    kinds = (Moved.RECEIVE, Moved.SALE, Moved.SALE_RETURN, Moved.SUPPLIER_RETURN)
    return {account: Stock(*(counts[kind] for kind in kinds)) for account, counts in moved.items()}


def find_on_hand(client: LedgerClient, institution: str, boxes: Sequence[str]) -> Iterator[str]:
    """Those of the boxes that the ledger says are in stock."""
    for begin in range(0, len(boxes), BOXES_PER_QUESTION):
        some = boxes[begin : begin + BOXES_PER_QUESTION]
        request = ledger_service_pb2.VerifyCodesRequest(institution_code=institution)
        for box in some:
            request.codes.add(code=box)
        for box, answer in zip(some, client.verify(request).answers, strict=True):
            if answer.status.state == code_pb2.CODE_STATE_IN_STOCK:
                yield box
