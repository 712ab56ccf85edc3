"""What people of the city do, and the documents it makes: deliver, sell, take back, move, count, delete.

Things happen in the order of true time. A document carries its institution's own clock and arrives when
the network, the till and its clerk let it. Times are seconds since 1970 UTC.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

from tracecode.city.documents import Arrivals, Labels, write_time
from tracecode.city.institutions import Institution
from tracecode.city.products import Box, Carton, Drugs, Lot, Pack
from tracecode.v1.catalogue_pb2 import Hold

__all__ = ["City", "Goods", "Sold"]

Line = dict[str, Any]

MINUTE = 60
HOUR = 3600
DAY = 86_400
CHINA_SECONDS = 8 * HOUR
OPEN_HOUR = 8
CLOSE_HOUR = 21
"""Shops sell from eight to nine in the evening, in China."""

CLOCK_FAR_SECONDS = 300
"""A clock further ahead than this is impossible to a receiver; those documents are labelled."""

_KINDS = {
    "sale": "SALE",
    "saleReturn": "SALE_RETURN",
    "receipt": "RECEIPT",
    "purchaseReturn": "PURCHASE_RETURN",
    "stockChange": "STOCK_CHANGE",
    "stockCount": "STOCK_COUNT",
    "deletion": "DELETION",
}
_SUPPLIERS = ("国药一致", "上药分销", "华润医药", "九州通", "南京医药", "瑞康医药")


@dataclass(frozen=True, slots=True)
class Goods:
    """Boxes of one lot as they are delivered: loose, or in cartons of `carton`, whose codes are given."""

    pack: Pack
    lot: Lot
    boxes: tuple[Box, ...]
    carton: Carton | None = None
    carton_codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sold:
    """A sale as it was reported."""

    here: Institution
    number: str
    time: int
    person: str
    insured: bool
    settlement: str
    visit: str
    lines: tuple[Line, ...]


class City:
    """The city at one moment of its time."""

    def __init__(
        self,
        rng: Random,
        start: date,
        days: int,
        drugs: Drugs,
        packs: Sequence[Pack],
        institutions: Sequence[Institution],
        arrivals: Arrivals,
        labels: Labels,
    ) -> None:
        self.rng = rng
        self.start = start
        self.days = days
        self.drugs = drugs
        self.packs = packs
        self.institutions = institutions
        self.holds: list[Hold] = []
        self.begin = int(datetime(start.year, start.month, start.day, tzinfo=UTC).timestamp()) - CHINA_SECONDS
        self.end = self.begin + days * DAY
        self._arrivals = arrivals
        self._labels = labels
        self._tasks: list[tuple[int, int, Callable[[], object]]] = []
        self._task_count = 0
        self._settlement = rng.randrange(10**8)
        self._identifiers = {pack.identifier for pack in packs} | {
            carton.identifier for pack in packs for carton in pack.cartons
        }
        self._by_code = {here.code: here for here in institutions}

    # --- time -----------------------------------------------------------------------------------

    def at(self, time: int, action: Callable[[], object]) -> None:
        """Let something happen at a time."""
        self._task_count += 1
        heapq.heappush(self._tasks, (time, self._task_count, action))

    def run(self, until: int) -> None:
        """Let happen what happens before a time, and write what has arrived by then."""
        while self._tasks and self._tasks[0][0] < until:
            heapq.heappop(self._tasks)[2]()
        self._arrivals.write(until)

    def moment(self, day: int, hour: float) -> int:
        """A time of day in China on a day of the city, from 0."""
        return self.begin + day * DAY + int(hour * HOUR)

    def day(self, time: int) -> int:
        """The day of the city of a time."""
        return (time - self.begin) // DAY

    def date(self, day: int) -> date:
        """The date of a day of the city."""
        return self.start + timedelta(days=day)

    def later(self, here: Institution, time: int, hours_min: float, hours_max: float) -> int | None:
        """A time in opening hours between so many hours from now; None when the city ends before."""
        first, last = time + int(hours_min * HOUR), time + int(hours_max * HOUR)
        last = min(last, self.end - DAY + CLOSE_HOUR * HOUR)
        for _ in range(12):
            if first > last:
                return None
            chosen = self.rng.randrange(first, last + 1)
            hour = (chosen - self.begin) % DAY / HOUR
            if OPEN_HOUR <= hour < CLOSE_HOUR and not self.closed(here, chosen):
                return chosen
        return None

    def closed(self, here: Institution, time: int) -> bool:
        """Whether the institution's service agreement is suspended at a time."""
        return here.closed is not None and here.closed[0] <= self.day(time) <= here.closed[1]

    # --- labels ---------------------------------------------------------------------------------

    def mark_honest(
        self, here: Institution, kind: str, number: str, label: str, line: int = 0, code: str = ""
    ) -> None:
        """Nothing is wrong with this, however it looks."""
        self._labels.add(here.code, kind, number, label, line_number=line, code=code)

    def mark_fraud(
        self,
        here: Institution,
        kind: str,
        number: str,
        label: str,
        expected: Sequence[str] = (),
        line: int = 0,
        code: str = "",
    ) -> None:
        """This is part of a fraud; `expected` names the findings that must stand there."""
        self._labels.add(
            here.code, kind, number, label, line_number=line, code=code, fraud=True, expected=expected
        )

    def mark_stock_fraud(
        self, here: Institution, drug_code: str, label: str, expected: Sequence[str] = ()
    ) -> None:
        """This drug's quantities at this institution are part of a fraud."""
        self._labels.add(here.code, "", "", label, fraud=True, expected=expected, drug_code=drug_code)

    # --- documents ------------------------------------------------------------------------------

    def send(
        self,
        here: Institution,
        field: str,
        content: dict[str, Any],
        time: int,
        lines: Sequence[Line],
        number: str,
        *,
        channel: str = "CHANNEL_INVENTORY",
        corrects: str = "",
        prompt: bool = False,
        delay_seconds: int | None = None,
        terminal: str = "",
    ) -> None:
        """Report something that happened at a time; `prompt` keeps delays and retries away.

        Without a terminal it is one of three.
        """
        rng = self.rng
        document: dict[str, Any] = {
            "institutionCode": here.code,
            "documentNumber": number,
            "businessTime": write_time(time + here.clock_seconds),
            "terminalId": terminal or f"T{rng.randrange(1, 4)}",
            "operatorToken": f"op-{here.code[7:]}-{rng.randrange(1, 6)}",
            "channel": channel,
        }
        if lines:
            document["lines"] = lines
        if corrects:
            document["correctsDocumentNumber"] = corrects
        document[field] = content
        label = ""
        times = [time + rng.randrange(1, 40)]
        fate = 1.0 if prompt else rng.random()
        if delay_seconds is not None:
            times = [time + delay_seconds]
        elif fate < 0.0025:
            label, times = "offline_till", [time + rng.randrange(HOUR, 30 * HOUR)]
            document["offline"] = True
        elif fate < 0.005:
            label, times = "late_upload", [time + rng.randrange(48 * HOUR, 5 * DAY)]
        elif fate < 0.0085:
            # The answer got lost: the till asks again, at once or the next morning.
            label = "till_retry"
            gaps = rng.sample((5, 65, 600, 14 * HOUR), rng.randrange(1, 3))
            times += [times[0] + gap for gap in gaps]
        elif fate < 0.02:
            times = [time + rng.randrange(HOUR, 24 * HOUR)]
        elif fate < 0.08:
            times = [time + rng.randrange(MINUTE, HOUR)]
        self._arrivals.add(document, times)
        if not label and here.clock_seconds > CLOCK_FAR_SECONDS:
            label = "clock_ahead"
        if label:
            self.mark_honest(here, _KINDS[field], number, label)

    def number(self, here: Institution, prefix: str, time: int) -> str:
        """The next document number of an institution."""
        return here.number(prefix, f"{self.date(self.day(time)):%y%m%d}")

    def line(self, boxes: Sequence[Box], **changes: Any) -> Line:
        """A line on which boxes of one lot stand with their codes; `changes` replace fields."""
        box = boxes[0]
        line: Line = {
            "lineNumber": 0,
            "drugCode": box.pack.drug_code,
            "codes": [box.pack.scan(self.rng, each) for each in boxes],
            "quantity": str(len(boxes)),
            "batchSerial": f"{box.pack.index:05d}-{box.lot.number}",
            "lotNumber": box.lot.number,
            "expiryDate": box.lot.expiry,
        }
        line.update(changes)
        return line

    # --- goods in -------------------------------------------------------------------------------

    def make_goods(self, pack: Pack, count: int, lot: Lot, carton: Carton | None = None) -> Goods:
        """Boxes fresh from the maker; with a carton, `count` cartons of them."""
        boxes = count * (carton.units if carton else 1)
        return Goods(
            pack,
            lot,
            tuple(pack.make_box(self.rng, lot) for _ in range(boxes)),
            carton,
            tuple(pack.make_carton_code(self.rng, carton) for _ in range(count)) if carton else (),
        )

    def receipt_lines(self, here: Institution, deliveries: Iterable[Goods]) -> list[Line]:
        """The lines of a receipt, with codes where the institution uploads them."""
        lines: list[Line] = []
        for goods in deliveries:
            line = self.line(
                goods.boxes,
                lineNumber=len(lines) + 1,
                manufactureDate=goods.lot.made,
                unitPrice=goods.pack.price,
            )
            if not here.uploads:
                del line["codes"]
            elif goods.carton is not None:
                units = goods.carton.units
                codes = [box.code for box in goods.boxes]
                line["codes"] = list(goods.carton_codes)
                line["packages"] = [
                    {"code": code, "childCodes": codes[at * units : (at + 1) * units]}
                    for at, code in enumerate(goods.carton_codes)
                ]
                line["packageLevel"] = goods.carton.level
            lines.append(line)
        return lines

    def receive(
        self,
        here: Institution,
        time: int,
        deliveries: Sequence[Goods],
        *,
        shelve: bool = True,
        entered_seconds: int = 0,
        batch_serial: str = "",
        corrects: str = "",
        prompt: bool = False,
        delay_seconds: int | None = None,
    ) -> str:
        """Goods in from a supplier; returns the document's number.

        `shelve` puts them up for sale. `entered_seconds` later the clerk enters the receipt, with that
        time on it.
        """
        number = self.number(here, "RK", time)
        lines = self.receipt_lines(here, deliveries)
        if batch_serial:
            for line in lines:
                line["batchSerial"] = batch_serial
        supplier = f"{self.rng.choice(_SUPPLIERS)}医药有限公司"
        content = {"supplierName": supplier, "deliveryNoteNumber": f"SH{number}{here.code[-3:]}"}
        self.send(
            here,
            "receipt",
            content,
            time + entered_seconds,
            lines,
            number,
            corrects=corrects,
            prompt=prompt,
            delay_seconds=delay_seconds,
        )
        if shelve:
            for goods in deliveries:
                self.shelve(here, goods.boxes)
        return number

    def shelve(self, here: Institution, boxes: Iterable[Box]) -> None:
        """Put boxes up for sale."""
        for box in boxes:
            shelf = here.stock.get(box.pack.index)
            if shelf is None:
                shelf = here.stock[box.pack.index] = deque()
            shelf.append(box)

    # --- goods out ------------------------------------------------------------------------------

    def take(self, here: Institution, pack: Pack, count: int) -> list[Box]:
        """Take up to so many boxes of one pack and one lot off the shelf."""
        shelf = here.stock.get(pack.index)
        taken: list[Box] = []
        while shelf and len(taken) < count and (not taken or shelf[0].lot is taken[0].lot):
            taken.append(shelf.popleft())
        return taken

    def find(
        self, here: Institution, count: int = 1, suits: Callable[[Pack], bool] | None = None
    ) -> list[Box] | None:
        """Take exactly so many boxes of some pack that suits; None when the shelves have none.

        Packs that look odd by themselves are left alone, so that every label has one cause.
        """
        for _ in range(40):
            pack = here.assortment[here.pick(self.rng)]
            if pack.remark or (suits is not None and not suits(pack)):
                continue
            boxes = self.take(here, pack, count)
            if len(boxes) == count:
                return boxes
            here.stock.get(pack.index, deque()).extendleft(reversed(boxes))
        return None

    def ordinary_lines(self, here: Institution, count: int) -> list[Line]:
        """Lines of a sale to anybody: different packs, one box each or a few."""
        lines: list[Line] = []
        taken = set()
        for _ in range(count * 3):
            pack = here.assortment[here.pick(self.rng)]
            if pack.index in taken:
                continue
            taken.add(pack.index)
            wanted = self.rng.random()
            boxes = self.take(here, pack, 1 if wanted < 0.76 else 2 if wanted < 0.95 else 3)
            if boxes:
                lines.append(self.line(boxes))
                if len(lines) == count:
                    break
        return lines

    def person(self, *but: str) -> str:
        """The token of some person, other than those named."""
        while True:
            token = f"psn-{self.rng.randrange(len(self.institutions) * 400):07d}"
            if token not in but:
                return token

    def sell(
        self,
        here: Institution,
        time: int,
        lines: Sequence[Line],
        *,
        person: str = "",
        insured: bool = True,
        visit: str = "",
        settlement: str = "",
        number: str = "",
        corrects: str = "",
        both_channels: bool = False,
        prompt: bool = False,
        delay_seconds: int | None = None,
        terminal: str = "",
        prescriber: str = "",
    ) -> Sold:
        """A sale that has happened, reported by the inventory ledger or by both channels."""
        rng = self.rng
        for position, line in enumerate(lines):
            line["lineNumber"] = position + 1
        number = number or self.number(here, "XS", time)
        self._settlement += 1
        sold = Sold(
            here=here,
            number=number,
            time=time,
            person=person or self.person(),
            insured=insured,
            settlement=settlement or (f"{here.division}{self._settlement:012d}" if insured else ""),
            visit=visit or f"V{here.code[1:]}{self._settlement:010d}",
            lines=tuple(lines),
        )
        content = {
            "stage": "SALE_STAGE_REPORTED",
            "visitNumber": sold.visit,
            "settlementType": f"SETTLEMENT_TYPE_{'INSURED' if insured else 'SELF_PAID'}",
            "feeSettlementType": f"FEE_SETTLEMENT_TYPE_{'LOCAL' if insured else 'NOT_INSURED'}",
            "personToken": sold.person,
            "personCertificateType": "01",
        }
        if insured:
            content["settlementId"] = sold.settlement
        if prescriber:
            content["prescriberToken"] = prescriber
        self.send(
            here,
            "sale",
            content,
            time,
            lines,
            number,
            corrects=corrects,
            prompt=prompt,
            delay_seconds=delay_seconds,
            terminal=terminal,
        )
        if both_channels and insured:
            other = self.number(here, "JS", time)
            # The settlement comes first or last: the two channels are two programs.
            offset = rng.randrange(-90, 90)
            self.send(here, "sale", content, time + offset, lines, other, channel="CHANNEL_SETTLEMENT")
            self.mark_honest(here, "SALE", number, "both_channels")
            self.mark_honest(here, "SALE", other, "both_channels")
        for line in lines:
            pack = self._remarkable(line)
            if pack is not None:
                self.mark_honest(here, "SALE", number, pack.remark, line["lineNumber"])
        return sold

    def _remarkable(self, line: Line) -> Pack | None:
        head = line.get("batchSerial", "")[:5]
        pack = self.packs[int(head)] if head.isdigit() else None
        return pack if pack is not None and pack.remark else None

    def sell_among(self, here: Institution, time: int, line: Line, **options: Any) -> tuple[Sold, int]:
        """Sell a line together with none to two ordinary ones; returns the sale and the line's number."""
        others = self.ordinary_lines(here, self.rng.randrange(3))
        place = self.rng.randrange(len(others) + 1)
        lines = [*others[:place], line, *others[place:]]
        return self.sell(here, time, lines, **options), place + 1

    def take_back(
        self, here: Institution, time: int, sold: Sold, lines: Sequence[Line], *, prompt: bool = False
    ) -> str:
        """A return from a person, here or elsewhere; returns the document's number."""
        number = self.number(here, "TH", time)
        content = {
            "visitNumber": sold.visit,
            "settlementType": "SETTLEMENT_TYPE_INSURED" if sold.insured else "SETTLEMENT_TYPE_SELF_PAID",
            "personToken": sold.person,
            "personCertificateType": "01",
        }
        if here is sold.here:
            content["saleDocumentNumber"] = sold.number
            if sold.insured:
                content["settlementId"] = sold.settlement
        lines = [{**line, "lineNumber": at} for at, line in enumerate(lines, start=1)]
        self.send(here, "saleReturn", content, time, lines, number, prompt=prompt)
        return number

    def send_back(self, here: Institution, time: int, boxes: Sequence[Box]) -> str:
        """Send boxes of one lot back to the supplier; returns the document's number."""
        number = self.number(here, "CT", time)
        supplier = f"{self.rng.choice(_SUPPLIERS)}医药有限公司"
        line = self.line(boxes, lineNumber=1)
        self.send(here, "purchaseReturn", {"supplierName": supplier}, time, [line], number)
        return number

    def change_stock(
        self,
        here: Institution,
        time: int,
        change: str,
        lines: Sequence[Line],
        *,
        there: Institution | None = None,
        prompt: bool = False,
    ) -> str:
        """A change of stock such as TRANSFER_OUT; returns the document's number."""
        number = self.number(here, "KC", time)
        content = {"type": f"STOCK_CHANGE_TYPE_{change}"}
        if there is not None:
            content["counterpartyInstitutionCode"] = there.code
        lines = [{**line, "lineNumber": at} for at, line in enumerate(lines, start=1)]
        self.send(here, "stockChange", content, time, lines, number, prompt=prompt)
        return number

    def count_stock(self, here: Institution, time: int, packs: Sequence[Pack]) -> None:
        """Count some packs on the shelf, box by box where codes are uploaded."""
        lines: list[Line] = []
        for pack in packs:
            shelf = here.stock.get(pack.index)
            if not shelf:
                continue
            line = self.line([shelf[0]], quantity=str(len(shelf)))
            if here.uploads:
                line["codes"] = [pack.scan(self.rng, box) for box in shelf]
            else:
                del line["codes"]
            lines.append({**line, "lineNumber": len(lines) + 1})
        if lines:
            self.send(here, "stockCount", {}, time, lines, self.number(here, "PD", time))

    def delete(
        self, here: Institution, time: int, kind: str, *, number: str = "", batch_serial: str = ""
    ) -> str:
        """Take back a document, or all of a type with a batch serial; returns the deletion's number."""
        content = {"type": f"DELETED_TYPE_{kind}"}
        if number:
            content["deletedDocumentNumber"] = number
        else:
            content["batchSerial"] = batch_serial
        deletion = self.number(here, "SC", time)
        self.send(here, "deletion", content, time, (), deletion)
        return deletion

    # --- people and places ----------------------------------------------------------------------

    def choose(self, suits: Callable[[Institution], bool]) -> Institution | None:
        """Some institution that suits."""
        for _ in range(60):
            here = self.rng.choice(self.institutions)
            if suits(here):
                return here
        return None

    def choose_stranger(self, here: Institution, *, uploads: bool = False) -> Institution | None:
        """Some institution that has nothing to do with another one."""
        return self.choose(
            lambda there: not there.related(here) and there.closed is None and (there.uploads or not uploads)
        )

    def choose_sister(self, here: Institution) -> Institution | None:
        """Another institution of the same chain."""
        return self.choose(lambda there: there is not here and there.related(here)) if here.group else None

    def draw_identifier(self) -> str:
        """An identifier that no product has."""
        while True:
            identifier = f"8{self.rng.randrange(10**6):06d}"
            if identifier not in self._identifiers:
                return identifier
