"""What looks odd and is not: late paper, misread scans, returns, transfers, and the bugs of honest clients.

Each habit happens about once in 1,000 lines. A ledger that raises an alarm on one of them accuses
somebody who did nothing wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from tracecode.city.city import HOUR, MINUTE, City, Goods, Sold
from tracecode.city.days import LINES_PER_DAY
from tracecode.city.institutions import Institution
from tracecode.city.products import Box, Lot, Pack

__all__ = ["HABITS", "Habit", "plan_habits", "prepare_habits"]

RATE = 1e-3
"""Lines of each habit among all lines: ten times the rate of a fraud."""

SPLIT_PLACEHOLDER = "9" * 20
"""What a hospital system uploads for every split pack."""

FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")


@dataclass(frozen=True, slots=True)
class Habit:
    """Something honest that happens; `act` does it at an institution and a time, False = could not."""

    label: str
    act: Callable[[City, Institution, int], bool]
    lines: float
    """Lines it makes."""
    share: float = 1.0
    """Of the institutions, those at which it can happen."""


def plan_habits(city: City, day: int) -> None:
    """Plan the habits of a day."""
    rng = city.rng
    for here in city.institutions:
        if city.closed(here, city.moment(day, 12)):
            continue
        for habit in HABITS:
            if habit.share < 1 and not here.group:
                continue
            expected = RATE * LINES_PER_DAY * here.factor / habit.lines / habit.share
            for _ in range(int(expected) + (rng.random() < expected % 1)):
                time = city.moment(day, 8.3 + rng.random() * 12)
                city.at(time, partial(habit.act, city, here, time))


def prepare_habits(city: City) -> None:
    """Put aside, before the first day, the boxes of habits that are about their age."""
    rng = city.rng
    count = max(1, round(RATE * LINES_PER_DAY * city.days * len(city.institutions)))
    for act in (_sell_on_last_day, _sell_in_last_month):
        for _ in range(count):
            here = rng.choice(city.institutions)
            time = city.moment(rng.randrange(city.days), 8.5 + rng.random() * 12)
            if not city.closed(here, time):
                act(city, here, time)


# --- age ----------------------------------------------------------------------------------------


def _put_aside(city: City, here: Institution, expiry: str, day: int) -> Box:
    pack = city.rng.choice([pack for pack in city.rng.sample(city.packs, 20) if not pack.remark])
    made = city.date(day) - timedelta(days=720)
    lot = Lot(f"{made:%y%m%d}{city.rng.randrange(100, 1000)}", made.isoformat(), expiry)
    box = city.make_goods(pack, 1, lot).boxes[0]
    here.opening.append(box)
    return box


def _sell_on_last_day(city: City, here: Institution, time: int) -> bool:
    day = city.day(time)
    box = _put_aside(city, here, city.date(day).isoformat(), day)
    city.at(time, partial(_sell_labelled, city, here, time, [box], "last_day_of_validity"))
    return True


def _sell_in_last_month(city: City, here: Institution, time: int) -> bool:
    day = city.day(time)
    box = _put_aside(city, here, f"{city.date(day):%Y-%m}-00", day)
    city.at(time, partial(_sell_labelled, city, here, time, [box], "month_end_expiry"))
    return True


# --- scans --------------------------------------------------------------------------------------


def _sell_labelled(
    city: City, here: Institution, time: int, boxes: Sequence[Box], label: str, **changes: Any
) -> Sold:
    sold, line = city.sell_among(here, time, city.line(boxes, **changes))
    city.mark_honest(here, "SALE", sold.number, label, line)
    return sold


def _has_twenty_digits(pack: Pack) -> bool:
    return pack.form == "N"


def _scan_oddly(city: City, here: Institution, time: int) -> bool:
    """A keyboard in Chinese mode, a QR code read as the address it holds, the label's text typed in."""
    boxes = city.find(here, 1, _has_twenty_digits)
    if boxes is None:
        return False
    code = boxes[0].code
    label, scan = city.rng.choice(
        (
            ("full_width_scan", code.translate(FULL_WIDTH)),
            ("address_scan", f"https://www.mashangfangxin.com/drugQueryResult?code={code}"),
            ("label_typed", f"药品标识码：{code[:7]} 序列号：{code[7:]}"),
            ("spaced_scan", " ".join(code[at : at + 5] for at in range(0, 20, 5))),
            ("scan_with_line_end", code + "\r\n"),
        )
    )
    _sell_labelled(city, here, time, boxes, label, codes=[scan])
    return True


def _scan_two_as_one(city: City, here: Institution, time: int) -> bool:
    boxes = city.find(here, 2, _has_twenty_digits)
    if boxes is None:
        return False
    scan = city.rng.choice(("", ",", ";")).join(box.code for box in boxes)
    _sell_labelled(city, here, time, boxes, "joined_scan", codes=[scan])
    return True


def _scan_product_barcode(city: City, here: Institution, time: int) -> bool:
    boxes = city.find(here)
    if boxes is None:
        return False
    _sell_labelled(city, here, time, boxes, "product_barcode_scanned", codes=[boxes[0].pack.barcode])
    return True


def _put_all_codes_on_every_line(city: City, here: Institution, time: int) -> bool:
    boxes = city.find(here, 2)
    if boxes is None:
        return False
    codes = [box.code for box in boxes]
    lines = [city.line([box], codes=codes) for box in boxes]
    sold = city.sell(here, time, lines)
    for line in (1, 2):
        city.mark_honest(here, "SALE", sold.number, "every_line_all_codes", line)
    return True


def _mistype_lot(city: City, here: Institution, time: int) -> bool:
    boxes = city.find(here)
    if boxes is None:
        return False
    lot = boxes[0].lot.number
    place = city.rng.randrange(len(lot))
    typed = f"{lot[:place]}{(int(lot[place]) + 1) % 10}{lot[place + 1 :]}"
    _sell_labelled(city, here, time, boxes, "lot_mistyped", lotNumber=typed)
    return True


def _sell_unscanned(city: City, here: Institution, time: int) -> bool:
    """Who pays himself need not wait for the scanner."""
    boxes = city.find(here)
    if boxes is None:
        return False
    sold = city.sell(here, time, [city.line(boxes, codes=[])], insured=False)
    city.mark_honest(here, "SALE", sold.number, "self_paid_without_scan", 1)
    return True


def _sell_herbs(city: City, here: Institution, time: int) -> bool:
    """Herbal slices 饮片 carry no code and need none."""
    line = {
        "lineNumber": 0,
        "drugCode": city.rng.choice(here.herbs),
        "quantity": str(city.rng.randrange(10, 120)),
        "batchSerial": "YP-1",
    }
    sold = city.sell(here, time, [line])
    city.mark_honest(here, "SALE", sold.number, "herb_without_code", 1)
    return True


def _sell_carton(city: City, here: Institution, time: int) -> bool:
    """A care home takes a whole carton: one code, as many packs as are inside."""
    pack = next((pack for pack in city.rng.sample(here.assortment, 20) if pack.cartons), None)
    later = city.later(here, time, 0.5, 30)
    if pack is None or later is None:
        return False
    carton = city.rng.choice(pack.cartons)
    goods = city.make_goods(pack, 1, pack.lot(city.rng, city.date(city.day(time))), carton)
    city.receive(here, time, [goods], shelve=False)
    changes = {"codes": list(goods.carton_codes), "quantity": str(carton.units)}
    city.at(later, partial(_sell_labelled, city, here, later, goods.boxes, "carton_sold_whole", **changes))
    return True


def _split_document(city: City, here: Institution, time: int) -> bool:
    """A client sends a long bill in parts, numbered _1 and _2: one settlement, two documents."""
    lines = city.ordinary_lines(here, 4)
    if len(lines) < 2:
        return False
    number = city.number(here, "XS", time)
    half = len(lines) // 2
    first = city.sell(here, time, lines[:half], number=f"{number}_1")
    city.sell(
        here,
        time,
        lines[half:],
        number=f"{number}_2",
        person=first.person,
        settlement=first.settlement,
        visit=first.visit,
    )
    for part in (1, 2):
        city.mark_honest(here, "SALE", f"{number}_{part}", "document_parts")
    return True


# --- second thoughts ----------------------------------------------------------------------------


def _return_box(city: City, here: Institution, time: int) -> bool:
    """A person brings a box back; it is sold again, often on the same day."""
    boxes = city.find(here)
    if boxes is None:
        return False
    sold, line = city.sell_among(here, time, city.line(boxes))
    city.mark_honest(here, "SALE", sold.number, "customer_return", line)
    later = city.later(here, time, 0.5, 60)
    if later is not None:
        city.at(later, partial(_take_back_box, city, later, sold, boxes, "customer_return"))
    return True


def _take_back_box(city: City, time: int, sold: Sold, boxes: list[Box], label: str) -> None:
    here = sold.here
    number = city.take_back(here, time, sold, [city.line(boxes)])
    city.mark_honest(here, "SALE_RETURN", number, label)
    again = city.later(here, time, 0.5, 30)
    if again is None:
        city.shelve(here, boxes)
    else:
        city.at(again, partial(_sell_labelled, city, here, again, boxes, "returned_box_resold"))


def _cancel_and_rebill(city: City, here: Institution, time: int) -> bool:
    """The bill was wrong: it is cancelled and written anew for the same person, in either order."""
    lines = city.ordinary_lines(here, city.rng.randrange(1, 3))
    again, back = time + city.rng.randrange(20, 50) * MINUTE, time + city.rng.randrange(55, 100) * MINUTE
    if not lines or back >= city.end:
        return False
    if city.rng.random() < 0.5:
        again, back = back, again
    sold = city.sell(here, time, lines)
    city.mark_honest(here, "SALE", sold.number, "cancel_and_rebill")

    def rebill() -> None:
        copies = [dict(line) for line in lines]
        rebilled = city.sell(here, again, copies, person=sold.person, visit=sold.visit)
        city.mark_honest(here, "SALE", rebilled.number, "cancel_and_rebill")

    def cancel() -> None:
        number = city.take_back(here, back, sold, lines)
        city.mark_honest(here, "SALE_RETURN", number, "cancel_and_rebill")

    city.at(again, rebill)
    city.at(back, cancel)
    return True


def _scan_twice(city: City, here: Institution, time: int) -> bool:
    """A cashier scans the box of the person before once more; the mistake is returned within the day."""
    boxes = city.find(here, 2)
    if boxes is None:
        return False
    again = city.later(here, time, 0.4, 3)
    back = None if again is None else city.later(here, again, 0.4, 20)
    if again is None or back is None:
        city.shelve(here, boxes)
        return False
    mine, meant = boxes
    sold = city.sell(here, time, [city.line([mine])])
    city.mark_honest(here, "SALE", sold.number, "scanned_twice")
    mistake: list[Sold] = []

    def repeat() -> None:
        mistake.append(city.sell(here, again, [city.line([mine])], person=city.person(sold.person)))
        city.mark_honest(here, "SALE", mistake[0].number, "scanned_twice")

    def repair() -> None:
        number = city.take_back(here, back, mistake[0], [city.line([mine])])
        city.mark_honest(here, "SALE_RETURN", number, "scanned_twice")
        city.sell(here, back + 2 * MINUTE, [city.line([meant])], person=mistake[0].person)

    city.at(again, repeat)
    city.at(back, repair)
    return True


def _correct_sale(city: City, here: Institution, time: int) -> bool:
    """A wrong document is deleted within the hour (3507) and sent anew under another number."""
    lines = city.ordinary_lines(here, city.rng.randrange(1, 3))
    gone = time + city.rng.randrange(15, 40) * MINUTE
    again = gone + city.rng.randrange(15, 20) * MINUTE
    if not lines:
        return False
    sold = city.sell(here, time, lines)
    city.mark_honest(here, "SALE", sold.number, "corrected_sale")

    def erase() -> None:
        number = city.delete(here, gone, "SALE", number=sold.number)
        city.mark_honest(here, "DELETION", number, "corrected_sale")

    def correct() -> None:
        copies = [dict(line) for line in lines]
        anew = city.sell(here, again, copies, person=sold.person, visit=sold.visit, corrects=sold.number)
        city.mark_honest(here, "SALE", anew.number, "corrected_sale")

    city.at(gone, erase)
    city.at(again, correct)
    return True


def _correct_receipt(city: City, here: Institution, time: int) -> bool:
    """A receipt was entered under a wrong batch serial: all rows of it are deleted, then entered anew."""
    pack = city.rng.choice(here.assortment)
    goods = city.make_goods(pack, city.rng.randrange(2, 6), pack.lot(city.rng, city.date(city.day(time))))
    serial = f"{pack.index:05d}-{goods.lot.number}-{here.number('PC', '')}"
    number = city.receive(here, time, [goods], shelve=False, batch_serial=serial)
    city.mark_honest(here, "RECEIPT", number, "corrected_receipt")

    def erase() -> None:
        deletion = city.delete(here, time + 20 * MINUTE, "PURCHASE", batch_serial=serial)
        city.mark_honest(here, "DELETION", deletion, "corrected_receipt")

    def correct() -> None:
        anew = city.receive(here, time + 40 * MINUTE, [goods], corrects=number)
        city.mark_honest(here, "RECEIPT", anew, "corrected_receipt")

    city.at(time + 20 * MINUTE, erase)
    city.at(time + 40 * MINUTE, correct)
    return True


# --- opened packs -------------------------------------------------------------------------------


def _is_splittable(pack: Pack) -> bool:
    return pack.splittable_units > 1


def _split_pack(city: City, here: Institution, time: int) -> bool:
    """Some tablets to this person, some to the next, of one box and under one code; some come back."""
    boxes = city.find(here, 1, _is_splittable)
    if boxes is None:
        return False
    left = boxes[0].pack.splittable_units
    moment: int | None = time
    while moment is not None and left > 1:
        units = city.rng.randrange(1, left // 2 + 2)
        left -= units
        back = city.later(here, moment, 0.4, 5) if city.rng.random() < 0.25 else None
        city.at(moment, partial(_sell_part, city, here, moment, boxes, units, back))
        moment = city.later(here, moment, 0.5, 24)
    return True


def _sell_part(
    city: City, here: Institution, time: int, boxes: list[Box], units: int, back: int | None
) -> None:
    both = city.rng.random() < 0.2
    line = city.line(boxes, split=True, quantity=str(units))
    sold = city.sell(here, time, [line], both_channels=both)
    city.mark_honest(here, "SALE", sold.number, "split_pack", 1)
    if back is not None and not both:
        city.at(back, partial(_take_back_part, city, back, sold, dict(line)))


def _take_back_part(city: City, time: int, sold: Sold, line: dict[str, Any]) -> None:
    number = city.take_back(sold.here, time, sold, [line])
    city.mark_honest(sold.here, "SALE_RETURN", number, "split_return")


def _split_with_placeholder(city: City, here: Institution, time: int) -> bool:
    """A client that uploads the same twenty nines for every split pack."""
    boxes = city.find(here, 1, _is_splittable)
    if boxes is None:
        return False
    half = boxes[0].pack.splittable_units // 2
    moment: int | None = time
    for units in (half, half):
        if moment is None:
            break
        changes = {"codes": [SPLIT_PLACEHOLDER], "split": True, "quantity": str(units)}
        label = "placeholder_of_split_pack"
        city.at(moment, partial(_sell_labelled, city, here, moment, boxes, label, **changes))
        moment = city.later(here, moment, 0.2, 24)
    return True


# --- goods that move ----------------------------------------------------------------------------


def _send_back(city: City, here: Institution, time: int) -> bool:
    """Boxes go back to the supplier, who sells some of them to somebody else."""
    boxes = city.find(here, city.rng.randrange(1, 4))
    if boxes is None:
        return False
    number = city.send_back(here, time, boxes)
    city.mark_honest(here, "PURCHASE_RETURN", number, "purchase_return")
    there = city.choose_stranger(here)
    received = None if there is None else city.later(there, time, 20, 72)
    if there is None or received is None or city.rng.random() < 0.5:
        return True

    def resell() -> None:
        goods = Goods(boxes[0].pack, boxes[0].lot, tuple(boxes))
        receipt = city.receive(there, received, [goods], shelve=False)
        city.mark_honest(there, "RECEIPT", receipt, "resold_by_supplier")
        sold_at = city.later(there, received, 0.5, 48)
        if sold_at is not None:
            city.at(sold_at, partial(_sell_labelled, city, there, sold_at, boxes, "resold_by_supplier"))

    city.at(received, resell)
    return True


def _destroy(city: City, here: Institution, time: int) -> bool:
    """Boxes are destroyed, lost, or given out without a sale."""
    boxes = city.find(here, city.rng.randrange(1, 3))
    if boxes is None:
        return False
    change = city.rng.choice(("DESTROYED", "LOSS", "OTHER_OUT"))
    number = city.change_stock(here, time, change, [city.line(boxes)])
    city.mark_honest(here, "STOCK_CHANGE", number, change.lower())
    return True


def _lose_and_find(city: City, here: Institution, time: int) -> bool:
    """A box is written off as lost, turns up again, and is sold."""
    boxes = city.find(here)
    found = city.later(here, time, 1, 40)
    sold = None if found is None else city.later(here, found, 0.5, 30)
    if boxes is None or found is None or sold is None:
        city.shelve(here, boxes or ())
        return False
    city.change_stock(here, time, "LOSS", [city.line(boxes)])

    def find() -> None:
        number = city.change_stock(here, found, "SURPLUS", [city.line(boxes)])
        city.mark_honest(here, "STOCK_CHANGE", number, "lost_and_found")

    city.at(found, find)
    city.at(sold, partial(_sell_labelled, city, here, sold, boxes, "lost_and_found"))
    return True


def _find_surplus(city: City, here: Institution, time: int) -> bool:
    """The supplier packed one box too many; it is booked as surplus and sold."""
    pack = city.rng.choice(here.assortment)
    goods = city.make_goods(pack, 1, pack.lot(city.rng, city.date(city.day(time))))
    number = city.change_stock(here, time, "SURPLUS", [city.line(goods.boxes)])
    city.mark_honest(here, "STOCK_CHANGE", number, "surplus")
    city.shelve(here, goods.boxes)
    return True


def _transfer(city: City, here: Institution, time: int) -> bool:
    """Boxes go to a branch of the same chain by the book: out here, in there the next day, sold there."""
    return _move(city, here, time, "chain_transfer", city.rng.randrange(1, 4), (12, 48), (0.5, 30))


def _transfer_entered_late(city: City, here: Institution, time: int) -> bool:
    """The branch sells what came with the courier before it enters the transfer."""
    return _move(city, here, time, "transfer_entered_late", 1, (20, 40), (-16, -1))


def _move(
    city: City,
    here: Institution,
    time: int,
    label: str,
    count: int,
    in_hours: tuple[float, float],
    sold_hours: tuple[float, float],
) -> bool:
    there = city.choose_sister(here)
    if there is None:
        return False
    entered = city.later(there, time, *in_hours)
    sold = None if entered is None else city.later(there, entered, *sold_hours)
    boxes = city.find(here, count)
    if boxes is None or entered is None or sold is None or sold <= time + HOUR:
        city.shelve(here, boxes or ())
        return False
    number = city.change_stock(here, time, "TRANSFER_OUT", [city.line(boxes)], there=there)
    city.mark_honest(here, "STOCK_CHANGE", number, label)

    def enter() -> None:
        number = city.change_stock(there, entered, "TRANSFER_IN", [city.line(boxes)], there=here)
        city.mark_honest(there, "STOCK_CHANGE", number, label)

    city.at(entered, enter)
    city.at(sold, partial(_sell_labelled, city, there, sold, boxes, label))
    return True


def _transfer_on_one_side(city: City, here: Institution, time: int) -> bool:
    """Only one of the two branches reports a transfer; the other forgets."""
    there = city.choose_sister(here)
    entered = None if there is None else city.later(there, time, 2, 40)
    sold = None if there is None or entered is None else city.later(there, entered, 0.5, 40)
    boxes = city.find(here)
    if there is None or entered is None or sold is None or boxes is None:
        city.shelve(here, boxes or ())
        return False
    if city.rng.random() < 0.5:
        label = "transfer_in_missing"
        city.change_stock(here, time, "TRANSFER_OUT", [city.line(boxes)], there=there)
    else:
        label = "transfer_out_missing"
        enter = partial(city.change_stock, there, entered, "TRANSFER_IN", [city.line(boxes)], there=here)
        city.at(entered, enter)
    city.at(sold, partial(_sell_labelled, city, there, sold, boxes, label))
    return True


def _move_without_paper(city: City, here: Institution, time: int) -> bool:
    """Branches of one chain help each other out, and nobody writes it down."""
    there = city.choose_sister(here)
    sold = None if there is None else city.later(there, time, 1, 30)
    boxes = city.find(here)
    if there is None or sold is None or boxes is None:
        city.shelve(here, boxes or ())
        return False
    city.at(sold, partial(_sell_labelled, city, there, sold, boxes, "moved_within_chain"))
    return True


HABITS = (
    Habit("scanned_oddly", _scan_oddly, 1),
    Habit("joined_scan", _scan_two_as_one, 1),
    Habit("product_barcode_scanned", _scan_product_barcode, 1),
    Habit("every_line_all_codes", _put_all_codes_on_every_line, 2),
    Habit("lot_mistyped", _mistype_lot, 1),
    Habit("self_paid_without_scan", _sell_unscanned, 1),
    Habit("herb_without_code", _sell_herbs, 1),
    Habit("carton_sold_whole", _sell_carton, 2),
    Habit("document_parts", _split_document, 4),
    Habit("customer_return", _return_box, 3),
    Habit("cancel_and_rebill", _cancel_and_rebill, 4),
    Habit("scanned_twice", _scan_twice, 4),
    Habit("corrected_sale", _correct_sale, 4),
    Habit("corrected_receipt", _correct_receipt, 2),
    Habit("split_pack", _split_pack, 4),
    Habit("placeholder_of_split_pack", _split_with_placeholder, 2),
    Habit("purchase_return", _send_back, 2),
    Habit("destroyed", _destroy, 1),
    Habit("lost_and_found", _lose_and_find, 3),
    Habit("surplus", _find_surplus, 1),
    Habit("chain_transfer", _transfer, 3, share=0.4),
    Habit("transfer_entered_late", _transfer_entered_late, 3, share=0.4),
    Habit("transfer_on_one_side", _transfer_on_one_side, 1.5, share=0.4),
    Habit("moved_within_chain", _move_without_paper, 1, share=0.4),
)
