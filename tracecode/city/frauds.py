"""What is wrong on purpose, after the published cases: resale, kept and photographed codes, swaps, forgeries.

Each kind happens about once in 10,000 lines, and at least once in a city. Every document, line or code on
which a finding must stand is labelled with it; the other lines of a fraud are labelled too, without a
finding, so that an alarm on them is no false one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from tracecode.city.city import HOUR, MINUTE, City, Goods, Sold
from tracecode.city.days import LINES_PER_DAY
from tracecode.city.institutions import Institution
from tracecode.city.products import Box, Lot, Pack
from tracecode.v1 import catalogue_pb2

__all__ = ["FRAUDS", "Fraud", "plan_frauds"]

RATE = 1e-4
"""Lines of each kind of fraud among all lines."""

TRIES = 25
RESALE_DAYS_MAX = 14


@dataclass(frozen=True, slots=True)
class Fraud:
    """A kind of fraud; `commit` does it at an institution and a time, False = not possible there and then.

    `lines` is how many it makes, `days_after` how many days of the city it needs after its first.
    `ahead` = it is planned before the first day, because its boxes or lists must be there by then.
    """

    label: str
    commit: Callable[[City, Institution, int], bool]
    lines: int = 1
    days_after: int = 0
    ahead: bool = False


def plan_frauds(city: City) -> None:
    """Spread the frauds over the city's days and institutions."""
    lines = LINES_PER_DAY * city.days * len(city.institutions)
    for fraud in FRAUDS:
        if fraud.days_after >= city.days:
            continue
        for _ in range(max(1, round(RATE * lines / fraud.lines))):
            day = city.rng.randrange(max(1, city.days - fraud.days_after))
            time = city.moment(day, 9 + city.rng.random() * 8)
            if fraud.ahead:
                _commit(city, fraud, time)
            else:
                city.at(time, partial(_commit, city, fraud, time))


def _commit(city: City, fraud: Fraud, time: int) -> None:
    for _ in range(TRIES):
        here = city.rng.choice(city.institutions)
        if not city.closed(here, time) and fraud.commit(city, here, time):
            return


def _sell_marked(
    city: City,
    here: Institution,
    time: int,
    boxes: list[Box],
    label: str,
    *expected: str,
    code: str = "",
    person: str = "",
    **changes: Any,
) -> Sold:
    """Sell boxes of a fraud, with ordinary lines beside them; `code` is the code that is accused."""
    line = city.line(boxes, **changes)
    sold, number = city.sell_among(here, time, line, person=person)
    for accused in [code] if code or not line["codes"] else [box.code for box in boxes]:
        city.mark_fraud(here, "SALE", sold.number, label, expected, number, accused)
    return sold


def _cross(here: Institution, there: Institution, *expected: str) -> tuple[str, ...]:
    """The findings of a code that was sold at two institutions."""
    region = ("DUP_CROSS_REGION",) if here.area != there.area else ()
    return ("DUP_SALE_CROSS_ORG", *region, *expected)


# --- one code, several sales --------------------------------------------------------------------


def _resell(city: City, here: Institution, time: int) -> bool:
    """回流: bought back from the person it was prescribed to, and billed once more elsewhere."""
    return _resell_at_stranger(city, here, time, "resale") is not None


def _resell_at_stranger(
    city: City,
    here: Institution,
    time: int,
    label: str,
    then: Callable[[Institution, Sold], None] | None = None,
    days_max: int = RESALE_DAYS_MAX,
) -> Institution | None:
    there = city.choose_stranger(here)
    again = None if there is None else city.later(there, time, 25, 24 * days_max)
    boxes = city.find(here)
    if there is None or again is None or boxes is None:
        city.shelve(here, boxes or ())
        return None
    expected = _cross(here, there, "RESALE_AFTER_SETTLE")
    sold, line = city.sell_among(here, time, city.line(boxes))
    city.mark_honest(here, "SALE", sold.number, "source_of_resale", line, boxes[0].code)

    def resell() -> None:
        other = city.person(sold.person)
        resold = _sell_marked(city, there, again, boxes, label, *expected, person=other)
        if then is not None:
            then(there, resold)

    city.at(again, resell)
    return there


def _keep_code(city: City, here: Institution, time: int) -> bool:
    """The code of one box is kept at the till and billed to several persons (one clinic: 8 times)."""
    boxes = city.find(here)
    if boxes is None:
        return False
    sold = _sell_marked(city, here, time, boxes, "kept_code")
    persons = [sold.person]
    moment: int | None = time
    for _ in range(city.rng.randrange(1, 8)):
        moment = city.later(here, moment, 0.5, 20) if moment is not None else None
        if moment is None:
            break
        persons.append(city.person(*persons))
        again = partial(
            _sell_marked, city, here, moment, boxes, "kept_code", "DUP_SALE_SAME_ORG", person=persons[-1]
        )
        city.at(moment, again)
    if len(persons) > 1:
        city.mark_stock_fraud(here, boxes[0].pack.drug_code, "kept_code")
    return True


def _photograph_own(city: City, here: Institution, time: int) -> bool:
    """A pharmacy photographs the codes of a delivery, bills other goods under them to persons in a row, and
    passes the boxes on to another institution, which enters them as received and sells them."""
    there = city.choose_stranger(here, uploads=True)
    received = None if there is None else city.later(there, time, 14, 36)
    if there is None or received is None or not here.uploads or city.later(there, received, 1, 30) is None:
        return False
    goods = _make_delivery(city, here, time, city.rng.randrange(6, 16))
    city.receive(here, time, [goods], shelve=False)
    for at, box in enumerate(goods.boxes):
        moment = time + (20 + 3 * at) * MINUTE
        city.at(moment, partial(_sell_marked, city, here, moment, [box], "photographed_here"))

    def pass_on() -> None:
        number = city.receive(there, received, [goods], shelve=False)
        city.mark_fraud(there, "RECEIPT", number, "photographed_elsewhere")
        for box in goods.boxes:
            moment = city.later(there, received, 0.5, 100)
            if moment is not None:
                sell = partial(
                    _sell_marked, city, there, moment, [box], "photographed_elsewhere", *_cross(here, there)
                )
                city.at(moment, sell)

    city.at(received, pass_on)
    return True


def _photograph_others(city: City, here: Institution, time: int) -> bool:
    """A pharmacy bills codes photographed at another one, which received the boxes and sells them."""
    there = city.choose_stranger(here, uploads=True)
    if there is None or not here.uploads:
        return False
    goods = _make_delivery(city, here, time, city.rng.randrange(5, 12))
    plan = []
    for box in goods.boxes:
        sold, billed = city.later(there, time, 0.5, 60), city.later(here, time, 0.5, 60)
        if sold is not None and billed is not None and abs(sold - billed) >= HOUR:
            plan.append((box, sold, billed))
    if not plan:
        return False
    city.receive(there, time, [goods], shelve=False)
    expected = _cross(here, there)
    for box, sold, billed in plan:
        city.at(sold, partial(_sell_victim, city, there, sold, box))
        city.at(billed, partial(_sell_marked, city, here, billed, [box], "photographed_by_other", *expected))
    city.mark_stock_fraud(here, goods.pack.drug_code, "photographed_by_other")
    return True


def _sell_victim(city: City, here: Institution, time: int, box: Box) -> None:
    sold, line = city.sell_among(here, time, city.line([box]))
    city.mark_honest(here, "SALE", sold.number, "code_used_by_other", line, box.code)


def _make_delivery(city: City, here: Institution, time: int, count: int) -> Goods:
    pack = city.rng.choice([pack for pack in city.rng.sample(here.assortment, 20) if not pack.remark])
    return city.make_goods(pack, count, pack.lot(city.rng, city.date(city.day(time))))


def _bill_after_transfer(city: City, here: Institution, time: int) -> bool:
    """A branch sends a box on to another and bills its code all the same; the other sells it honestly."""
    there = city.choose_sister(here)
    boxes = city.find(here)
    billed = city.later(here, time, 0.5, 6)
    received = None if there is None else city.later(there, time, 12, 40)
    sold = None if there is None or received is None else city.later(there, received, 0.5, 30)
    known = boxes is not None and billed is not None and received is not None and billed < received
    if not known or there is None or boxes is None or received is None or sold is None or billed is None:
        city.shelve(here, boxes or ())
        return False
    city.change_stock(here, time, "TRANSFER_OUT", [city.line(boxes)], there=there)
    bill = partial(_sell_marked, city, here, billed, boxes, "billed_after_transfer", "STOCK_ALREADY_OUT")
    city.at(billed, bill)
    enter = partial(city.change_stock, there, received, "TRANSFER_IN", [city.line(boxes)], there=here)
    city.at(received, enter)
    city.at(sold, partial(_sell_victim, city, there, sold, boxes[0]))
    return True


# --- another drug, another box ------------------------------------------------------------------


def _swap(grade: int) -> Callable[[City, Institution, int], bool]:
    """串换: the box of one drug is handed over, another drug is billed under its code."""
    label = ("swap_pack", "swap_maker", "swap_form", "swap_product", "swap_not_a_drug")[grade - 1]
    finding = ("SWAP_PACK", "SWAP_MAKER", "SWAP_FORM", "SWAP_PRODUCT", "SWAP_PRODUCT")[grade - 1]

    def commit(city: City, here: Institution, time: int) -> bool:
        boxes = city.find(here)
        if boxes is None:
            return False
        pack = boxes[0].pack
        billed = city.drugs.swap(city.rng, pack.drug_code, grade, pack.drug_codes)
        if billed is None:
            city.shelve(here, boxes)
            return False
        _sell_marked(city, here, time, boxes, label, finding, drugCode=billed)
        return True

    return commit


def _sell_carton_as_box(city: City, here: Institution, time: int) -> bool:
    """The carton's code is scanned for one box out of it."""
    pack = next((pack for pack in city.rng.sample(here.assortment, 20) if pack.cartons), None)
    later = city.later(here, time, 0.5, 20)
    if pack is None or later is None:
        return False
    carton = city.rng.choice(pack.cartons)
    goods = city.make_goods(pack, 1, pack.lot(city.rng, city.date(city.day(time))), carton)
    city.receive(here, time, [goods], shelve=False)
    code = goods.carton_codes[0]
    sell = partial(
        _sell_marked,
        city,
        here,
        later,
        [goods.boxes[0]],
        "carton_code_of_one_box",
        "LEVEL_NOT_UNIT",
        code=code,
        codes=[code],
    )
    city.at(later, sell)
    return True


# --- no code, no box ----------------------------------------------------------------------------


def _sell_never_received(city: City, here: Institution, time: int) -> bool:
    """A real box that no supplier delivered here."""
    if not here.uploads:
        return False
    goods = _make_delivery(city, here, time, 1)
    _sell_marked(city, here, time, [goods.boxes[0]], "never_received", "STOCK_NEVER_RECEIVED")
    return True


def _forge_serial(city: City, here: Institution, time: int) -> bool:
    """A code made up from a known identifier."""
    boxes = city.find(here, 1, lambda pack: pack.form == "N") if here.uploads else None
    if boxes is None:
        return False
    code = boxes[0].pack.forge_code(city.rng)
    _sell_marked(city, here, time, boxes, "forged_serial", "STOCK_NEVER_RECEIVED", code=code, codes=[code])
    return True


def _forge_identifier(city: City, here: Institution, time: int) -> bool:
    """A code whose identifier no product has, as after one digit was scraped off."""
    boxes = city.find(here, 1, lambda pack: pack.form == "N")
    if boxes is None:
        return False
    code = city.draw_identifier() + boxes[0].code[7:]
    _sell_marked(city, here, time, boxes, "forged_identifier", "PRODUCT_UNKNOWN", code=code, codes=[code])
    return True


def _sell_without_code(city: City, here: Institution, time: int) -> bool:
    """依码结算: without a code the fund does not pay."""
    boxes = city.find(here)
    if boxes is None:
        return False
    _sell_marked(city, here, time, boxes, "insured_without_code", "CODE_EMPTY", codes=[])
    return True


def _sell_more_than_bought(city: City, here: Institution, time: int) -> bool:
    """销大于进: three boxes came in, five times as many go out, none of them scanned."""
    billed = {pack.drug_code for pack in here.assortment}
    offered = city.rng.sample(city.packs, 40)
    packs = [pack for pack in offered if not pack.remark and pack.drug_code not in billed]
    if not packs:
        return False
    pack = packs[0]
    goods = city.make_goods(pack, 3, pack.lot(city.rng, city.start))
    here.opening.extend(goods.boxes)
    left = city.rng.randrange(15, 26)
    moment: int | None = time
    total = 0
    sales = []
    while moment is not None and left > 0:
        packs_sold = min(left, city.rng.randrange(2, 5))
        left -= packs_sold
        total += packs_sold
        sales.append((moment, packs_sold))
        moment = city.later(here, moment, 0.5, 12)
    if total < 13:
        return False
    for at, packs_sold in sales:
        city.at(at, partial(_sell_unscanned, city, here, at, goods.boxes[0], packs_sold))
    city.mark_stock_fraud(here, pack.drug_code, "sold_more_than_bought", ["SALES_EXCEED_PURCHASE"])
    return True


def _sell_unscanned(city: City, here: Institution, time: int, box: Box, packs_sold: int) -> None:
    line = city.line([box], codes=[], quantity=str(packs_sold))
    sold = city.sell(here, time, [line], insured=False)
    city.mark_fraud(here, "SALE", sold.number, "sold_more_than_bought", (), 1)


# --- opened packs -------------------------------------------------------------------------------


def _is_splittable(pack: Pack) -> bool:
    return pack.splittable_units > 1


def _sell_part(
    city: City, here: Institution, time: int, boxes: list[Box], units: int, label: str, *expected: str
) -> None:
    line = city.line(boxes, split=True, quantity=str(units))
    sold = city.sell(here, time, [line], person=city.person())
    city.mark_fraud(here, "SALE", sold.number, label, expected, 1, boxes[0].code)


def _split_beyond_pack(city: City, here: Institution, time: int) -> bool:
    """More tablets are sold of one box than were in it."""
    boxes = city.find(here, 1, _is_splittable)
    if boxes is None:
        return False
    units = boxes[0].pack.splittable_units
    part = units // 2
    moment: int | None = time
    plan: list[int] = []
    while moment is not None and len(plan) * part <= units:
        plan.append(moment)
        moment = city.later(here, moment, 0.4, 9)
    if len(plan) * part <= units:
        city.shelve(here, boxes)
        return False
    for at, moment in enumerate(plan, start=1):
        expected = ("SPLIT_OVER",) if at * part > units else ()
        sell = partial(_sell_part, city, here, moment, boxes, part, "split_beyond_pack", *expected)
        city.at(moment, sell)
    return True


def _split_at_two(city: City, here: Institution, time: int) -> bool:
    """Parts of one box are sold at institutions that have nothing to do with each other."""
    there = city.choose_stranger(here)
    again = None if there is None else city.later(there, time, 20, 90)
    boxes = city.find(here, 1, _is_splittable)
    if there is None or again is None or boxes is None:
        city.shelve(here, boxes or ())
        return False
    part = boxes[0].pack.splittable_units // 3
    _sell_part(city, here, time, boxes, part, "split_at_two")
    city.at(again, partial(_sell_part, city, there, again, boxes, part, "split_at_two", "SPLIT_CROSS_ORG"))
    return True


def _split_after_whole(city: City, here: Institution, time: int) -> bool:
    """The box is sold whole, then parts of it are sold too."""
    boxes = city.find(here, 1, _is_splittable)
    again = city.later(here, time, 0.5, 40)
    if boxes is None or again is None:
        city.shelve(here, boxes or ())
        return False
    _sell_marked(city, here, time, boxes, "split_after_whole")
    part = boxes[0].pack.splittable_units // 3
    sell = partial(_sell_part, city, here, again, boxes, part, "split_after_whole", "SPLIT_AFTER_WHOLE")
    city.at(again, sell)
    return True


# --- goods that must not be sold ----------------------------------------------------------------


def _choose_pack(city: City) -> Pack:
    return city.rng.choice([pack for pack in city.rng.sample(city.packs, 20) if not pack.remark])


def _sell_expired(city: City, here: Institution, time: int) -> bool:
    """A box whose last day is over."""
    pack = _choose_pack(city)
    expiry = city.date(city.day(time)) - timedelta(days=city.rng.randrange(1, 40))
    made = expiry - timedelta(days=730)
    lot = Lot(f"{made:%y%m%d}{city.rng.randrange(100, 1000)}", made.isoformat(), expiry.isoformat())
    box = city.make_goods(pack, 1, lot).boxes[0]
    here.opening.append(box)
    city.at(time, partial(_sell_marked, city, here, time, [box], "expired_sale", "EXPIRED_SALE"))
    return True


def _sell_recalled(city: City, here: Institution, time: int) -> bool:
    """A lot is recalled. Some boxes were sold before, others go back or are destroyed; one is sold."""
    pack = _choose_pack(city)
    day = city.day(time)
    first = city.rng.randrange(day + 1)
    made = city.start - timedelta(days=120)
    lot = Lot(f"{made:%y%m%d}{city.rng.randrange(100, 1000)}", made.isoformat(), "2028-06-30")
    by_code = city.rng.random() < 0.3
    box = city.make_goods(pack, 1, lot).boxes[0]
    here.opening.append(box)
    hold = catalogue_pb2.Hold(
        hold_id=f"ZH{city.start:%Y}{len(city.holds) + 1:04d}",
        start_date=city.date(first).isoformat(),
        authority="省药品监督管理局",
    )
    if by_code:
        hold.reason, hold.code = catalogue_pb2.HOLD_REASON_INVESTIGATION, box.code
    else:
        hold.reason = catalogue_pb2.HOLD_REASON_RECALL
        hold.identifier, hold.lot_number = pack.identifier, lot.number
        for at in range(3):
            there = city.rng.choice(city.institutions)
            other = city.make_goods(pack, 1, lot).boxes[0]
            moment = city.moment(first - 1 if at == 0 else first, 9 + city.rng.random() * 10)
            if moment > city.begin and not city.closed(there, moment):
                there.opening.append(other)
                city.at(moment, partial(_obey_recall, city, there, moment, other, at))
    city.holds.append(hold)
    city.at(time, partial(_sell_marked, city, here, time, [box], "recalled_sale", "RECALLED"))
    return True


def _obey_recall(city: City, here: Institution, time: int, box: Box, way: int) -> None:
    if way == 0:
        sold, line = city.sell_among(here, time, city.line([box]))
        city.mark_honest(here, "SALE", sold.number, "sold_before_recall", line, box.code)
    elif way == 1:
        number = city.send_back(here, time, [box])
        city.mark_honest(here, "PURCHASE_RETURN", number, "recalled_and_returned")
    else:
        number = city.change_stock(here, time, "DESTROYED", [city.line([box])])
        city.mark_honest(here, "STOCK_CHANGE", number, "recalled_and_destroyed")


def _sell_destroyed(city: City, here: Institution, time: int) -> bool:
    """A box is written off as destroyed and sold."""
    boxes = city.find(here)
    later = city.later(here, time, 0.5, 60)
    if boxes is None or later is None:
        city.shelve(here, boxes or ())
        return False
    city.change_stock(here, time, "DESTROYED", [city.line(boxes)])
    sell = partial(_sell_marked, city, here, later, boxes, "sold_after_destruction", "STOCK_ALREADY_OUT")
    city.at(later, sell)
    return True


def _sell_sent_back(city: City, here: Institution, time: int) -> bool:
    """The box goes back to the supplier, its code is billed later; somebody else sells the box honestly."""
    there = city.choose_stranger(here)
    boxes = city.find(here)
    billed = city.later(here, time, 0.5, 60)
    if there is None or boxes is None or billed is None:
        city.shelve(here, boxes or ())
        return False
    city.send_back(here, time, boxes)
    received = city.later(there, time, 20, 60) if there.uploads else None
    sold = None if received is None else city.later(there, received, 0.5, 48)
    expected: tuple[str, ...] = ("STOCK_ALREADY_OUT",)
    if received is not None and sold is not None and min(abs(billed - sold), abs(billed - received)) > HOUR:
        # Once the box stands somewhere else, the code says so louder than "already out".
        expected = _cross(here, there) if billed > received else (*expected, *_cross(here, there))
        goods = Goods(boxes[0].pack, boxes[0].lot, tuple(boxes))
        city.at(received, partial(city.receive, there, received, [goods], shelve=False))
        city.at(sold, partial(_sell_victim, city, there, sold, boxes[0]))
    city.at(billed, partial(_sell_marked, city, here, billed, boxes, "sold_after_supplier_return", *expected))
    return True


# --- papers -------------------------------------------------------------------------------------


def _delete_after_flag(city: City, here: Institution, time: int) -> bool:
    """A sale that drew an alarm is deleted afterwards, and nothing comes instead."""

    def erase(there: Institution, resold: Sold) -> None:
        moment = city.later(there, resold.time, 0.5, 30) or resold.time + 30 * MINUTE

        def delete() -> None:
            number = city.delete(there, moment, "SALE", number=resold.number)
            city.mark_fraud(there, "DELETION", number, "deleted_after_flag", ("DELETE_AFTER_FLAG",))

        city.at(moment, delete)

    return _resell_at_stranger(city, here, time, "deleted_after_flag", erase, 6) is not None


def _delete_late(city: City, here: Institution, time: int) -> bool:
    """A sale is deleted more than a week later."""
    boxes = city.find(here)
    moment = city.later(here, time, 24 * 7.2, 24 * 12)
    if boxes is None or moment is None:
        city.shelve(here, boxes or ())
        return False
    sold = city.sell(here, time, [city.line(boxes)])
    city.mark_fraud(here, "SALE", sold.number, "deleted_late")

    def delete() -> None:
        number = city.delete(here, moment, "SALE", number=sold.number)
        city.mark_fraud(here, "DELETION", number, "deleted_late", ("DELETE_AFTER_FLAG",))

    city.at(moment, delete)
    return True


def _return_elsewhere(city: City, here: Institution, time: int) -> bool:
    """A box sold here is taken back by a stranger."""
    there = city.choose_stranger(here)
    back = None if there is None else city.later(there, time, 2, 80)
    boxes = city.find(here)
    if there is None or back is None or boxes is None:
        city.shelve(here, boxes or ())
        return False
    sold, line = city.sell_among(here, time, city.line(boxes))
    city.mark_honest(here, "SALE", sold.number, "returned_elsewhere", line, boxes[0].code)

    def take_back() -> None:
        number = city.take_back(there, back, sold, [city.line(boxes)])
        city.mark_fraud(
            there, "SALE_RETURN", number, "returned_elsewhere", ("RETURN_OTHER_ORG",), 1, boxes[0].code
        )

    city.at(back, take_back)
    return True


def _ride_carousel(city: City, here: Institution, time: int) -> bool:
    """One box is sold and taken back again and again, to different persons."""
    boxes = city.find(here)
    times = [time]
    while boxes is not None and len(times) < 7:
        moment = city.later(here, times[-1], 0.5, 12)
        if moment is None:
            city.shelve(here, boxes)
            return False
        times.append(moment)
    if boxes is None:
        return False
    sold: list[Sold] = []

    def sell(moment: int, cycle: int) -> None:
        expected = ("RETURN_RESOLD",) if cycle else ()
        sold.append(_sell_marked(city, here, moment, boxes, "return_carousel", *expected))

    def take_back(moment: int) -> None:
        number = city.take_back(here, moment, sold[-1], [city.line(boxes)])
        city.mark_fraud(here, "SALE_RETURN", number, "return_carousel")

    for at, moment in enumerate(times):
        city.at(moment, partial(sell, moment, at // 2) if at % 2 == 0 else partial(take_back, moment))
    return True


def _sell_suspended(city: City, here: Institution, time: int) -> bool:
    """An institution whose agreement is suspended goes on billing."""
    suspended = [there for there in city.institutions if there.closed is not None]
    if not suspended:
        return False
    there = city.rng.choice(suspended)
    first, last = there.closed or (0, 0)
    moment = city.moment(city.rng.randrange(first, last + 1), 9 + city.rng.random() * 10)

    def sell() -> None:
        boxes = city.find(there)
        if boxes is None:
            return
        sold = city.sell(there, moment, [city.line(boxes)])
        city.mark_fraud(there, "SALE", sold.number, "sold_while_suspended", ("ORG_INVALID",))

    city.at(moment, sell)
    return True


FRAUDS = (
    Fraud("resale", _resell, days_after=2),
    Fraud("kept_code", _keep_code, lines=4, days_after=1),
    Fraud("photographed_here", _photograph_own, lines=12, days_after=2),
    Fraud("photographed_by_other", _photograph_others, lines=8, days_after=2),
    Fraud("billed_after_transfer", _bill_after_transfer, days_after=3),
    Fraud("swap_pack", _swap(1)),
    Fraud("swap_maker", _swap(2)),
    Fraud("swap_form", _swap(3)),
    Fraud("swap_product", _swap(4)),
    Fraud("swap_not_a_drug", _swap(5)),
    Fraud("carton_code_of_one_box", _sell_carton_as_box, days_after=1),
    Fraud("never_received", _sell_never_received),
    Fraud("forged_serial", _forge_serial),
    Fraud("forged_identifier", _forge_identifier),
    Fraud("insured_without_code", _sell_without_code),
    Fraud("sold_more_than_bought", _sell_more_than_bought, lines=7, days_after=3, ahead=True),
    Fraud("split_beyond_pack", _split_beyond_pack, lines=3, days_after=1),
    Fraud("split_at_two", _split_at_two, lines=2, days_after=2),
    Fraud("split_after_whole", _split_after_whole, lines=2, days_after=2),
    Fraud("expired_sale", _sell_expired, ahead=True),
    Fraud("recalled_sale", _sell_recalled, ahead=True),
    Fraud("sold_after_destruction", _sell_destroyed, days_after=1),
    Fraud("sold_after_supplier_return", _sell_sent_back, days_after=2),
    Fraud("deleted_after_flag", _delete_after_flag, days_after=3),
    Fraud("deleted_late", _delete_late, days_after=9),
    Fraud("returned_elsewhere", _return_elsewhere, days_after=1),
    Fraud("return_carousel", _ride_carousel, lines=7, days_after=3),
    Fraud("sold_while_suspended", _sell_suspended, ahead=True),
)
