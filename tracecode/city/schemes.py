"""What an institution or a person does for weeks: frauds that only a comparison shows, and their doubles.

No single document of a scheme need be wrong. So what is labelled is the institution or the person, with
the models of a screening that must point there (`expected`) and those that may (`related`). For every
scheme there is somebody honest who looks like it: a busy hospital, a village with one doctor, a care home.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from tracecode.city.city import HOUR, MINUTE, Sold
from tracecode.city.institutions import Institution
from tracecode.city.products import Box, Pack
from tracecode.city.region import Region

__all__ = ["SCHEMES", "WATCHED", "Scheme", "plan_schemes"]

WATCHED = ("XA10BA", "XC10AA", "XB01AC", "ZA12HA", "ZA01AA")
"""Heads of the drug codes that buyers of resold drugs pay for, as a watch list has them (ours)."""

CHRONIC = ("XC08CA", "XC09CA", "XA02BC")
"""Heads of the drug codes of long illness: 90 days may be prescribed at once."""

INSTITUTIONS_PER_SCHEME = 100
"""Each scheme has one institution of so many that runs it, and one at least (ours)."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """Something that goes on for weeks; `run` lets one institution do it, with others it may choose.

    `letter` is what kind of institution it takes, `uploads` whether it must upload the codes it receives.
    """

    label: str
    run: Callable[[Region, _Cast, Institution], None]
    letter: str = "P"
    uploads: bool = True
    rare: bool = False
    """Happens once, however large the city is."""
    visiting: bool = False
    """It is about a person, who goes where others have their part."""


class _Cast:
    """Who has no part yet: an institution plays in one scheme only, so that each label has one cause."""

    def __init__(self, city: Region) -> None:
        self._city = city
        self._free = [here for here in city.institutions if here.closed is None and not here.clock_seconds]
        self._open = tuple(self._free)
        city.rng.shuffle(self._free)

    def take(self, letter: str = "P", uploads: bool = True, division: str = "") -> Institution:
        """Somebody free. Raises ValueError when the city is too small for its schemes."""
        for at, here in enumerate(self._free):
            fits = here.code[0] == letter and (here.uploads or not uploads)
            if fits and division in ("", here.division) and not here.group:
                return self._free.pop(at)
        for at, here in enumerate(self._free):
            if here.code[0] == letter and (here.uploads or not uploads) and division in ("", here.division):
                return self._free.pop(at)
        raise ValueError(
            f"a city of {len(self._city.institutions)} institutions is too small for frauds of institutions; "
            "it needs at least 40"
        )

    def pass_by(self) -> Institution:
        """Anybody who is open, with a part or without."""
        return self._city.rng.choice(self._open)

    def take_chain(self) -> list[Institution]:
        """All members of a chain of which nobody has a part."""
        for here in self._free:
            chain = [there for there in self._free if here.group and there.group == here.group]
            if len(chain) >= 3:
                for there in chain:
                    self._free.remove(there)
                return chain
        return []


def plan_schemes(city: Region) -> None:
    """Plan all schemes of the city, from its first day to its last."""
    cast = _Cast(city)
    for scheme in sorted(SCHEMES, key=lambda each: each.letter):
        times = 1 if scheme.rare else max(1, len(city.institutions) // INSTITUTIONS_PER_SCHEME)
        for _ in range(times):
            here = cast.pass_by() if scheme.visiting else cast.take(scheme.letter, scheme.uploads)
            scheme.run(city, cast, here)


# --- what schemes are made of -------------------------------------------------------------------


def _choose_pack(city: Region, here: Institution, heads: Sequence[str] = ()) -> Pack:
    """A pack that nobody else sells here in the ordinary way, so that its stock is the scheme's own."""
    billed = {pack.drug_code for pack in here.assortment}
    while True:
        pack = city.rng.choice(city.packs)
        if pack.remark or pack.form != "N" or pack.drug_code in billed:
            continue
        if not heads or pack.drug_code.startswith(tuple(heads)):
            return pack


def _make_boxes(city: Region, here: Institution, day: int, pack: Pack, count: int) -> list[Box]:
    """Boxes of one lot, delivered on the morning of a day and not put up for sale."""
    goods = city.make_goods(pack, count, pack.lot(city.rng, city.date(day)))
    city.receive(here, city.moment(day, 6.5), [goods], shelve=False, prompt=True)
    return list(goods.boxes)


def _sell(
    city: Region,
    here: Institution,
    time: int,
    boxes: Sequence[Box],
    label: str,
    *,
    fraud: bool = True,
    changes: dict[str, Any] | None = None,
    prompt: bool = True,
    **options: Any,
) -> Sold:
    """One sale of a scheme, labelled as a whole."""
    sold = city.sell(here, time, [city.line(boxes, **(changes or {}))], prompt=prompt, **options)
    mark = city.mark_fraud if fraud else city.mark_honest
    mark(here, "SALE", sold.number, label)
    return sold


def _spread(city: Region, day: int, count: int) -> Iterator[int]:
    """So many times in the opening hours of a day, in order."""
    yield from sorted(city.moment(day, 8.2 + city.rng.random() * 12.4) for _ in range(count))


def _season(city: Region) -> list[int]:
    """The days of the city from 20 to 31 December."""
    return [
        day for day in range(city.days) if date(city.date(day).year, 12, 20) <= city.date(day)
        and city.date(day).month == 12
    ]  # fmt: skip


def _accuse(city: Region, here: Institution, label: str, models: str, *related: str) -> None:
    city.mark_subject("INSTITUTION", here.code, label, models.split(), related)


def _accuse_person(city: Region, person: str, label: str, model: str, *related: str) -> None:
    city.mark_subject("PERSON", person, label, [model], related)


# --- frauds of institutions ---------------------------------------------------------------------


def _burst_at_year_end(city: Region, cast: _Cast, here: Institution) -> None:
    """突击划卡: what is left on the cards is swiped in the last days of the year."""
    _accuse(city, here, "year_end_burst", "year_end_burst", "watch_list_growth")
    for day in _season(city)[-7:]:
        packs = [_choose_pack(city, here) for _ in range(6)]
        boxes = [box for pack in packs for box in _make_boxes(city, here, day, pack, 60)]
        city.rng.shuffle(boxes)
        for time, box in zip(_spread(city, day, 300), boxes, strict=False):
            _sell(city, here, time, [box], "year_end_burst")


def _bill_photographed_list(city: Region, cast: _Cast, here: Institution) -> None:
    """The codes of a delivery are photographed and billed in one go, card after card, in carton order."""
    _accuse(city, here, "photographed_list", "photographed_codes")
    for day in range(1, city.days - 1, 3):
        boxes = _make_boxes(city, here, day, _choose_pack(city, here), city.rng.randrange(8, 16))
        time = city.moment(day, 9 + city.rng.random() * 10)
        for at, box in enumerate(boxes):
            _sell(city, here, time + 4 * at, [box], "photographed_list")


def _run_ring(city: Region, cast: _Cast, here: Institution) -> None:
    """回流: cards buy at many places, a collector takes the boxes, two pharmacies sell them once more."""
    sellers = [here, cast.take()]
    for seller in sellers:
        _accuse(city, seller, "ring_seller", "resale_in resale_rings", "duplicate_rate")
    feeder = cast.take()
    _accuse(city, feeder, "ring_feeder", "resale_out resale_rings", "duplicate_rate")
    honest = [place for place in city.institutions if place not in sellers and place is not feeder]
    for number in range(8):
        person = city.newcomer()
        related = ("resale_rings", "over_supply", "many_pharmacies", "identity_cluster")
        _accuse_person(city, person, "ring_source", "resale_source", *related)
        for visit in range(6):
            place = feeder if visit < 4 else city.rng.choice(honest)
            day = city.rng.randrange(1, max(2, city.days - 8))
            if city.closed(place, city.moment(day, 12)):
                continue
            pack = _choose_pack(city, place, WATCHED[:3])
            (box,) = _make_boxes(city, place, day, pack, 1)
            sold = city.sell(place, city.moment(day, 8.5 + number), [city.line([box])], person=person)
            city.mark_honest(place, "SALE", sold.number, "source_of_resale")
            seller = sellers[visit % 2]
            again = city.moment(day + 3 + city.rng.randrange(4), 9 + city.rng.random() * 10)
            if again < city.end:
                _sell(city, seller, again, [box], "ring_seller", person=city.resident(seller, person))


def _keep_codes(city: Region, cast: _Cast, here: Institution) -> None:
    """The codes of a few boxes stay at the till and are billed to card after card."""
    _accuse(city, here, "kept_codes", "duplicate_rate", "sales_over_purchases", "photographed_codes")
    boxes = _make_boxes(city, here, 1, _choose_pack(city, here), 8)
    for day in range(1, city.days):
        for time, box in zip(_spread(city, day, 2), city.rng.sample(boxes, 2), strict=True):
            _sell(city, here, time, [box], "kept_codes")


def _sell_more_than_bought(city: Region, cast: _Cast, here: Institution) -> None:
    """销大于进: a few drugs go out twice as often as they came in; the surplus is not scanned."""
    _accuse(city, here, "sold_more_than_bought", "sales_over_purchases", "watch_list_growth")
    for _ in range(4):
        pack = _choose_pack(city, here)
        boxes = _make_boxes(city, here, 0, pack, 12)
        city.mark_stock_fraud(here, pack.drug_code, "sold_more_than_bought")
        for number, box in enumerate(boxes):
            time = city.moment(number * (city.days - 1) // 12, 12.5)
            _sell(city, here, time, [box], "sold_more_than_bought")
            unscanned = {"codes": [], "quantity": "2"}
            label = "sold_more_than_bought"
            _sell(city, here, time + HOUR, [box], label, changes=unscanned, insured=False)


def _sell_never_received(city: Region, cast: _Cast, here: Institution) -> None:
    """Goods without papers: a quarter of what is sold never came in."""
    _accuse(city, here, "never_received", "never_received", "sales_over_purchases")
    for day in range(city.days):
        for time in _spread(city, day, 30):
            pack = _choose_pack(city, here)
            box = city.make_goods(pack, 1, pack.lot(city.rng, city.date(day))).boxes[0]
            _sell(city, here, time, [box], "never_received")


def _swap(city: Region, cast: _Cast, here: Institution) -> None:
    """串换: cheap boxes are handed over and dear drugs billed under their codes."""
    _accuse(city, here, "swap", "swap_rate", "sales_over_purchases")
    for day in range(1, city.days):
        pack = _choose_pack(city, here)
        for time, box in zip(_spread(city, day, 6), _make_boxes(city, here, day, pack, 6), strict=True):
            billed = city.drugs.swap(city.rng, pack.drug_code, 4, pack.drug_codes)
            if billed is not None:
                changes = {"drugCode": billed, "unitPrice": f"{float(pack.price) + 180:.2f}"}
                _sell(city, here, time, [box], "swap", changes=changes)


def _skip_codes(city: Region, cast: _Cast, here: Institution) -> None:
    """Insured sales without a code, day after day."""
    _accuse(city, here, "no_code", "no_code_share", "sales_over_purchases")
    for day in range(city.days):
        boxes = _make_boxes(city, here, day, _choose_pack(city, here), 25)
        for time, box in zip(_spread(city, day, 25), boxes, strict=True):
            codes = [] if city.rng.random() < 0.6 else ["9" * 20]
            _sell(city, here, time, [box], "no_code", changes={"codes": codes})


def _delete_late(city: Region, cast: _Cast, here: Institution) -> None:
    """Sales are settled and, when nobody looks any more, deleted."""
    _accuse(city, here, "delete_abuse", "deletions")
    for day in range(0, city.days - 9, 2):
        for time, box in zip(
            _spread(city, day, 3), _make_boxes(city, here, day, _choose_pack(city, here), 3), strict=True
        ):
            sold = _sell(city, here, time, [box], "delete_abuse")
            number = city.delete(here, time + 8 * 24 * HOUR + 5 * MINUTE, "SALE", number=sold.number)
            city.mark_fraud(here, "DELETION", number, "delete_abuse")


def _upload_late(city: Region, cast: _Cast, here: Institution) -> None:
    """A fifth of the sales is uploaded days later, when it is known what was looked at."""
    _accuse(city, here, "late_upload", "late_uploads")
    for day in range(max(1, city.days - 3)):
        boxes = _make_boxes(city, here, day, _choose_pack(city, here), 18)
        for time, box in zip(_spread(city, day, 18), boxes, strict=True):
            late = city.rng.randrange(50 * HOUR, 90 * HOUR)
            _sell(city, here, time, [box], "late_upload", prompt=False, delay_seconds=late)


def _ride_carousel(city: Region, cast: _Cast, here: Institution) -> None:
    """Boxes are sold, taken back and sold again to other cards: each round draws money."""
    _accuse(city, here, "return_abuse", "return_cycles", "duplicate_rate")
    for day in range(1, city.days - 1):
        for box in _make_boxes(city, here, day, _choose_pack(city, here), 2):
            time = city.moment(day, 8.5 + city.rng.random())
            for _ in range(4):
                sold = _sell(city, here, time, [box], "return_abuse")
                number = city.take_back(here, time + 70 * MINUTE, sold, [city.line([box])], prompt=True)
                city.mark_fraud(here, "SALE_RETURN", number, "return_abuse")
                time += 140 * MINUTE


def _buy_doctor(city: Region, cast: _Cast, here: Institution) -> None:
    """One doctor elsewhere signs whatever this pharmacy wants to sell, scores of times an hour."""
    _accuse(city, here, "bought_doctor", "prescriber_concentration", "watch_list_growth")
    doctor = f"doc-{here.division}-{city.rng.randrange(40)}"
    for day in range(city.days):
        boxes = _make_boxes(city, here, day, _choose_pack(city, here), 100)
        city.rng.shuffle(boxes)
        begin = city.moment(day, 9.5)
        for at, box in enumerate(boxes):
            _sell(city, here, begin + at * 70, [box], "bought_doctor", prescriber=doctor)


def _push_watched(city: Region, cast: _Cast, here: Institution) -> None:
    """Drugs that resellers pay for go out ever faster."""
    _accuse(city, here, "watch_list_growth", "watch_list_growth")
    for day in range(city.days // 2, city.days):
        boxes = _make_boxes(city, here, day, _choose_pack(city, here, WATCHED), 45)
        for time, at in zip(_spread(city, day, 15), range(0, 45, 3), strict=True):
            _sell(city, here, time, boxes[at : at + 3], "watch_list_growth")


def _sell_at_night(city: Region, cast: _Cast, here: Institution) -> None:
    """Cards are swiped when the shop is shut."""
    _accuse(city, here, "night_sales", "scan_cadence")
    for day in range(city.days - 1):
        boxes = _make_boxes(city, here, day, _choose_pack(city, here), 12)
        begin = city.moment(day, 23)
        for at, box in enumerate(boxes):
            _sell(city, here, begin + at * 9 * MINUTE, [box], "night_sales")


def _swipe_round_amounts(city: Region, cast: _Cast, here: Institution) -> None:
    """Cash for the card: amounts are as round as the money that is paid out."""
    _accuse(city, here, "round_amounts", "round_amounts", "sales_over_purchases")
    for day in range(city.days):
        boxes = _make_boxes(city, here, day, _choose_pack(city, here), 10)
        for time, box in zip(_spread(city, day, 10), boxes, strict=True):
            price = f"{city.rng.choice((100, 200, 300, 500))}.00"
            _sell(city, here, time, [box], "round_amounts", changes={"unitPrice": price})


# --- frauds of persons --------------------------------------------------------------------------


def _collect_cards(city: Region, cast: _Cast, here: Institution) -> None:
    """A collector comes with a handful of cards and buys the same for each, evening after evening."""
    persons = [city.newcomer() for _ in range(7)]
    for person in persons:
        related = ("over_supply", "many_pharmacies", "resale_source")
        _accuse_person(city, person, "card_collector", "identity_cluster", *related)
    city.mark_subject("INSTITUTION", here.code, "card_collector_visits", (), ("identity_cluster",))
    for day in range(2, city.days, 4):
        pack = _choose_pack(city, here, WATCHED)
        boxes = _make_boxes(city, here, day, pack, len(persons))
        begin = city.moment(day, 19 + city.rng.random())
        for at, (person, box) in enumerate(zip(persons, boxes, strict=True)):
            time = begin + 70 * at
            _sell(city, here, time, [box], "card_collector", person=person, terminal="T2")


def _oversupply(city: Region, cast: _Cast, here: Institution) -> None:
    """Somebody buys one drug faster than anybody could take it, at three pharmacies in turn."""
    person = city.newcomer()
    related = ("many_pharmacies", "resale_source", "frequent_purchases", "high_value_basket")
    _accuse_person(city, person, "over_supply", "over_supply", *related)
    near = [there for there in city.institutions if there.division == here.division and there.closed is None]
    places = [here, *city.rng.sample([there for there in near if there is not here], 2)]
    pack = _choose_pack(city, here, WATCHED)
    for number, day in enumerate(range(1, city.days, max(1, city.days // 16))):
        place = places[number % 3]
        boxes = _make_boxes(city, place, day, pack, 4)
        _sell(city, place, city.moment(day, 10 + number % 7), boxes, "over_supply", person=person)


def _roam(city: Region, cast: _Cast, here: Institution) -> None:
    """One card, one drug, a different pharmacy every few days; twice a day in two regions."""
    person = city.newcomer()
    related = ("over_supply", "resale_source", "frequent_purchases")
    _accuse_person(city, person, "many_pharmacies", "many_pharmacies", *related)
    pack = _choose_pack(city, here, WATCHED)
    places = city.rng.sample([there for there in city.institutions if there.closed is None], 8)
    for number, place in enumerate(places):
        day = min(city.days - 1, 2 + number * 2)
        boxes = _make_boxes(city, place, day, pack, 2)
        _sell(city, place, city.moment(day, 9 + number), boxes, "many_pharmacies", person=person)


def _empty_card(city: Region, cast: _Cast, here: Institution) -> None:
    """A card is emptied: something small is swiped four times a day, at pharmacies in turn."""
    person = city.newcomer()
    _accuse_person(city, person, "emptied_card", "frequent_purchases", "many_pharmacies", "high_value_basket")
    near = [there for there in city.institutions if there.division == here.division and there.closed is None]
    places = [here, *city.rng.sample([there for there in near if there is not here], 2)]
    for day in range(city.days // 2, min(city.days, city.days // 2 + 9)):
        for number, place in enumerate([*places, here]):
            boxes = _make_boxes(city, place, day, _choose_pack(city, place), 1)
            _sell(city, place, city.moment(day, 9 + 2.5 * number), boxes, "emptied_card", person=person)


def _fill_basket(city: Region, cast: _Cast, here: Institution) -> None:
    """Somebody buys for a reseller: of all watched drugs some, never too much of one."""
    person = city.newcomer()
    related = ("over_supply", "many_pharmacies", "frequent_purchases", "resale_source")
    _accuse_person(city, person, "watched_basket", "high_value_basket", *related)
    near = [there for there in city.institutions if there.division == here.division and there.closed is None]
    places = [here, *city.rng.sample([there for there in near if there is not here], 3)]
    for number, day in enumerate(range(1, city.days, max(1, city.days // 14))):
        place = places[number % 4]
        for _ in range(2):
            boxes = _make_boxes(city, place, day, _choose_pack(city, place, WATCHED), 2)
            time = city.moment(day, 9 + number % 8 + city.rng.random())
            _sell(city, place, time, boxes, "watched_basket", person=person)


# --- honest doubles -----------------------------------------------------------------------------


def _be_busy(city: Region, cast: _Cast, here: Institution) -> None:
    """The pharmacy of a large hospital: the queue never ends, several tills work at once."""
    city.keep_doctors(here, 30)
    city.mark_subject("INSTITUTION", here.code, "busy_hospital")
    for day in range(city.days):
        packs = [_choose_pack(city, here) for _ in range(10)]
        boxes = [box for pack in packs for box in _make_boxes(city, here, day, pack, 30)]
        city.rng.shuffle(boxes)
        for time, box in zip(_spread(city, day, 300), boxes, strict=True):
            _sell(city, here, time, [box], "busy_hospital", fraud=False)


def _serve_village(city: Region, cast: _Cast, here: Institution) -> None:
    """A village has one doctor: who else should prescribe?"""
    city.keep_doctors(here, 1)
    city.mark_subject("INSTITUTION", here.code, "village_doctor")


def _supply_care_home(city: Region, cast: _Cast, here: Institution) -> None:
    """A registered care home buys for all who live there, once a week, the same for each."""
    city.mark_subject("INSTITUTION", here.code, "care_home_supplier")
    persons = [city.newcomer() for _ in range(12)]
    for person in persons:
        city.mark_subject("PERSON", person, "care_home_resident")
        city.care_homes.append(("春晖养老院", person))
    for day in range(3, city.days, 5):
        pack = _choose_pack(city, here, CHRONIC)
        boxes = _make_boxes(city, here, day, pack, len(persons))
        city.rng.shuffle(boxes)
        begin = city.moment(day, 9.5)
        for at, (person, box) in enumerate(zip(persons, boxes, strict=True)):
            time = begin + 45 * at
            _sell(city, here, time, [box], "care_home", fraud=False, person=person, terminal="T1")


def _move_within_chain(city: Region, cast: _Cast, here: Institution) -> None:
    """A chain evens out its shelves: boxes go from branch to branch and are sold where they came."""
    chain = cast.take_chain()
    for branch in chain:
        city.mark_subject("INSTITUTION", branch.code, "chain_transfers")
    for day in range(1, city.days - 2) if chain else ():
        source, target = city.rng.sample(chain, 2)
        pack = _choose_pack(city, source)
        boxes = _make_boxes(city, source, day, pack, 10)
        time = city.moment(day, 10)
        city.change_stock(source, time, "TRANSFER_OUT", [city.line(boxes)], there=target, prompt=True)
        city.change_stock(
            target, time + 20 * HOUR, "TRANSFER_IN", [city.line(boxes)], there=source, prompt=True
        )
        city.rng.shuffle(boxes)
        for time, box in zip(_spread(city, day + 2, 10), boxes, strict=True):
            _sell(city, target, time, [box], "chain_transfers", fraud=False)


def _prescribe_for_90_days(city: Region, cast: _Cast, here: Institution) -> None:
    """长期处方: who is ill for long takes home what lasts three months."""
    city.mark_subject("INSTITUTION", here.code, "long_prescriptions")
    pack = _choose_pack(city, here, CHRONIC)
    for number in range(20):
        person = city.newcomer()
        city.mark_subject("PERSON", person, "long_prescription")
        day = city.rng.randrange(1, city.days)
        boxes = _make_boxes(city, here, day, pack, 13)
        city.rng.shuffle(boxes)
        time = city.moment(day, 9 + number / 2)
        _sell(city, here, time, boxes, "long_prescription", fraud=False, person=person)


def _come_daily(city: Region, cast: _Cast, here: Institution) -> None:
    """Somebody whose wound is dressed comes every day for weeks."""
    person = city.newcomer()
    city.mark_subject("PERSON", person, "daily_patient")
    packs = [_choose_pack(city, here) for _ in range(7)]
    for day in range(city.days):
        boxes = _make_boxes(city, here, day, packs[day % 7], 1)
        _sell(city, here, city.moment(day, 9.5), boxes, "daily_patient", fraud=False, person=person)


def _live_with_diabetes(city: Region, cast: _Cast, here: Institution) -> None:
    """All that somebody ever buys are two watched drugs, as the doctor prescribed."""
    person = city.newcomer()
    city.mark_subject("PERSON", person, "long_illness")
    packs = [_choose_pack(city, here, WATCHED) for _ in range(2)]
    for day in range(1, city.days, 7):
        for number, pack in enumerate(packs):
            boxes = _make_boxes(city, here, day, pack, 1)
            time = city.moment(day, 15 + number / 10)
            _sell(city, here, time, boxes, "long_illness", fraud=False, person=person)


def _scan_twice(city: Region, cast: _Cast, here: Institution) -> None:
    """A new cashier scans the box before once more every other day; each mistake is returned by evening."""
    city.mark_subject("INSTITUTION", here.code, "double_scanning_cashier")
    for day in range(1, city.days, 2):
        mine, meant = _make_boxes(city, here, day, _choose_pack(city, here), 2)
        label = "double_scanning_cashier"
        _sell(city, here, city.moment(day, 10), [mine], label, fraud=False)
        mistake = _sell(city, here, city.moment(day, 10.6), [mine], label, fraud=False)
        back = city.moment(day, 17)
        number = city.take_back(here, back, mistake, [city.line([mine])], prompt=True)
        city.mark_honest(here, "SALE_RETURN", number, label)
        _sell(city, here, back + 2 * MINUTE, [meant], label, fraud=False, person=mistake.person)


def _hold_promotion(city: Region, cast: _Cast, here: Institution) -> None:
    """One day of low prices draws four times the people, and next to nobody the day after."""
    city.mark_subject("INSTITUTION", here.code, "promotion_day")
    day = _season(city)[0] if _season(city) else city.days // 2
    packs = [_choose_pack(city, here) for _ in range(6)]
    boxes = [box for pack in packs for box in _make_boxes(city, here, day, pack, 50)]
    city.rng.shuffle(boxes)
    for time, box in zip(_spread(city, day, 250), boxes, strict=False):
        _sell(city, here, time, [box], "promotion_day", fraud=False)


SCHEMES = (
    Scheme("year_end_burst", _burst_at_year_end),
    Scheme("photographed_list", _bill_photographed_list),
    Scheme("resale_ring", _run_ring),
    Scheme("kept_codes", _keep_codes),
    Scheme("sold_more_than_bought", _sell_more_than_bought),
    Scheme("never_received", _sell_never_received),
    Scheme("swap", _swap),
    Scheme("no_code", _skip_codes, uploads=False),
    Scheme("delete_abuse", _delete_late, uploads=False),
    Scheme("late_upload", _upload_late, uploads=False),
    Scheme("return_abuse", _ride_carousel),
    Scheme("bought_doctor", _buy_doctor),
    Scheme("watch_list_growth", _push_watched),
    Scheme("night_sales", _sell_at_night),
    Scheme("round_amounts", _swipe_round_amounts),
    Scheme("card_collector", _collect_cards),
    Scheme("over_supply", _oversupply, uploads=False),
    Scheme("many_pharmacies", _roam, uploads=False),
    Scheme("emptied_card", _empty_card, visiting=True),
    Scheme("watched_basket", _fill_basket, visiting=True),
    Scheme("busy_hospital", _be_busy, letter="H", uploads=False, rare=True),
    Scheme("village_doctor", _serve_village, letter="H", uploads=False),
    Scheme("care_home", _supply_care_home, uploads=False),
    Scheme("chain_transfers", _move_within_chain, uploads=False, rare=True),
    Scheme("long_prescription", _prescribe_for_90_days, uploads=False),
    Scheme("daily_patient", _come_daily, visiting=True),
    Scheme("long_illness", _live_with_diabetes, visiting=True),
    Scheme("double_scanning_cashier", _scan_twice, uploads=False),
    Scheme("promotion_day", _hold_promotion, uploads=False),
)
