"""An ordinary day: goods in before the shops open, sales until nine, now and then a count of the shelves."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

from tracecode.city.city import HOUR, City
from tracecode.city.institutions import SALES_PER_DAY, Institution
from tracecode.city.products import Box, Carton, Lot, Pack

__all__ = ["LINES_PER_DAY", "open_shelves", "plan_day"]

LINES_PER_DAY = 168
"""Lines that an average institution reports on one day, as this file and honest.py make them."""

BOTH_CHANNELS_SHARE = 0.1
INSURED_SHARE = 0.85
REORDER_SHARE = 0.45
"""A pack is ordered when its place on the shelf is filled less than this."""

COUNT_DAYS = 10
"""Each institution counts its shelves about this often."""

ENTERED_LATE_SHARE = 0.03
UPLOADED_LATE_SHARE = 0.03


def open_shelves(city: City) -> None:
    """The first morning: every institution reports what it has (3502, kind 108)."""
    for here in city.institutions:
        time = city.moment(0, 6.2 + city.rng.random() * 0.4)
        boxes: dict[tuple[int, str], list[Box]] = defaultdict(list)
        for pack, target in zip(here.assortment, here.targets, strict=True):
            goods = city.make_goods(pack, target, pack.lot(city.rng, city.start))
            city.shelve(here, goods.boxes)
            boxes[pack.index, goods.lot.number].extend(goods.boxes)
        for box in here.opening:
            boxes[box.pack.index, box.lot.number].append(box)
        lines = []
        for some in boxes.values():
            line = city.line(some, manufactureDate=some[0].lot.made)
            if not here.uploads:
                del line["codes"]
            lines.append(line)
        grams = str(200 * city.days)
        lines += [{"drugCode": herb, "quantity": grams, "batchSerial": "YP-1"} for herb in here.herbs]
        city.change_stock(here, time, "OPENING", lines, prompt=True)


def plan_day(city: City, day: int) -> None:
    """Plan what every institution that may sell does on a day."""
    rng = city.rng
    for here in city.institutions:
        if city.closed(here, city.moment(day, 12)):
            continue
        if day:
            time = city.moment(day, 6.7 + rng.random() * 0.8)
            city.at(time, partial(_restock, city, here, time))
        for _ in range(round(SALES_PER_DAY * here.factor * (0.85 + 0.3 * rng.random()))):
            time = city.moment(day, 8.05 + rng.random() * 12.9)
            city.at(time, partial(_sell, city, here, time))
        if rng.randrange(COUNT_DAYS) == 0:
            time = city.moment(day, 21.3 + rng.random() * 0.5)
            packs = rng.sample(here.assortment, min(20, len(here.assortment)))
            city.at(time, partial(city.count_stock, here, time, packs))


def _sell(city: City, here: Institution, time: int) -> None:
    rng = city.rng
    wanted = rng.random()
    count = 1 if wanted < 0.35 else 2 if wanted < 0.7 else 3 if wanted < 0.9 else 4
    lines = city.ordinary_lines(here, count)
    if lines:
        city.sell(
            here,
            time,
            lines,
            insured=rng.random() < INSURED_SHARE,
            both_channels=rng.random() < BOTH_CHANNELS_SHARE,
        )


def _restock(city: City, here: Institution, time: int) -> None:
    """Deliver what runs out; a third of the mornings by two suppliers."""
    rng = city.rng
    deliveries = []
    for pack, target in zip(here.assortment, here.targets, strict=True):
        have = len(here.stock.get(pack.index, ()))
        if have < target * REORDER_SHARE:
            carton, count = _choose_carton(city, pack, target - have)
            deliveries.append(city.make_goods(pack, count, _choose_lot(city, pack, time), carton))
    rng.shuffle(deliveries)
    cut = rng.randrange(len(deliveries)) if len(deliveries) > 1 and rng.random() < 0.35 else 0
    for part in (deliveries[:cut], deliveries[cut:]):
        if not part:
            continue
        fate = rng.random()
        if fate < ENTERED_LATE_SHARE:
            # The goods stand on the shelf; the clerk enters them a day later.
            entered = rng.randrange(8 * HOUR, 40 * HOUR)
            number = city.receive(here, time, part, entered_seconds=entered)
            city.mark_honest(here, "RECEIPT", number, "receipt_entered_late")
        elif fate < ENTERED_LATE_SHARE + UPLOADED_LATE_SHARE:
            number = city.receive(here, time, part, delay_seconds=rng.randrange(3 * HOUR, 40 * HOUR))
            city.mark_honest(here, "RECEIPT", number, "receipt_uploaded_late")
        else:
            number = city.receive(here, time, part)
        if here.uploads and any(goods.carton is not None for goods in part):
            city.mark_honest(here, "RECEIPT", number, "carton_received")


def _choose_lot(city: City, pack: Pack, time: int) -> Lot:
    return pack.lot(city.rng, city.date(city.day(time)))


def _choose_carton(city: City, pack: Pack, wanted: int) -> tuple[Carton | None, int]:
    """A carton and how many of them, or none and the number of loose boxes."""
    for carton in pack.cartons:
        if carton.units <= wanted + 2 and city.rng.random() < 0.6:
            return carton, max(1, wanted // carton.units)
    return None, wanted
