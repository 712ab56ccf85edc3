"""The life of one box: its chain of events, folded in the order in which things happened.

`fold` is a pure function of the set of events, never of their arrival, so a late upload repairs the
state and every order of arrival ends the same. It decides states and custody; what is odd about a step
is for the rules to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import IntEnum

from tracecode.document import DocumentKind, Operation

INBOUND = frozenset({Operation.RECEIVE, Operation.TRANSFER_IN})
SALES = frozenset({Operation.SALE, Operation.SPLIT_SALE})
RETURNS = frozenset({Operation.SALE_RETURN, Operation.SPLIT_RETURN})

RECEIPT_LATE_SECONDS = 48 * 3600
"""A receipt up to this much after the sale, by the institution's own clock, still gives custody (ours)."""

JOIN_SECONDS = 24 * 3600
"""Reports of one visit further apart than this are two sales (ours)."""

SETTLEMENT_JOIN_SECONDS = 7 * 24 * 3600
"""Reports of one settlement further apart than this are two sales: some send "0" for all of them (ours)."""

LEGACY_STOCK_UNTIL = 1_767_196_800
"""2026-01-01 00:00 in China: until then boxes were sold that had come in without their codes (ours)."""

OUT_AFTER_IN_SECONDS = 24 * 3600
"""A transfer may look as if it arrived before it left by this much: clocks differ (ours)."""


Order = tuple[int, int, str, int, str, int, bool, bytes]
"""A place in a chain, as Event.order says it."""

WHOLE = Decimal(0)
"""The units of an event that is about the whole pack."""


class State(IntEnum):
    """Where a box is; numbers equal tracecode.v1.CodeState."""

    UNKNOWN = 1
    IN_STOCK = 2
    SPLIT = 3
    SOLD = 4
    IN_TRANSIT = 5
    RETURNED_TO_SUPPLIER = 6
    DESTROYED = 7


class Custody(IntEnum):
    """How well an institution can be shown to have had the box it says it sold."""

    NONE = 0
    UNPROVEN = 1
    HELD = 2


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a document says happened to a code. Times are seconds since 1970 UTC."""

    time: int
    """Effective time: the business time, or the receive time of an impossible clock."""
    operation: Operation
    institution: str
    document_kind: int
    document_number: str
    sequence: int
    line_number: int
    business_time: int
    receive_time: int
    units: Decimal = WHOLE
    """Smallest units of a split sale or return, to 4 decimals (half a tablet); 0 = the whole pack."""
    divided: bool = False
    """Its units are an equal share of a split line with several codes: how they lay is not known."""
    settlement_id: str = ""
    visit_number: str = ""
    person: str = ""
    channel: int = 0
    insured: bool = False
    before_settlement: bool = False
    counterparty: str = ""
    sale_document_number: str = ""
    corrects: bool = False
    """Its document takes the number of the one that it corrects."""
    drug_code: str = ""
    lot_number: str = ""
    expiry_day: int | None = None
    manufacture_day: int | None = None
    scan_lot_number: str = ""
    scan_expiry_day: int | None = None
    package: bytes = b""
    """Key of the package it moved inside; empty if the code itself was scanned."""
    inside: bool = False
    """The document names the code as part of a package."""
    refused: bool = False
    deleted_by: int = 0
    other_in: bool = False
    """Came in by 3502 kind 106, which also books drugs that patients brought back."""
    deletes: int = 0
    """Sequence of the entry that a DELETE takes back."""

    @property
    def counted(self) -> bool:
        """Whether it moves the box: refused attempts, deleted documents and deletions do not."""
        return not self.refused and not self.deleted_by and self.operation is not Operation.DELETE

    @property
    def order(self) -> Order:
        """Place in the chain: time; at the same second goods come in before they go out; then identity.

        Arrival has no part in it, so the order must be total: a correction has the number of what it
        corrects, and one line may name several packages around a code.
        """
        rank = 0 if self.operation in INBOUND else 2 if self.operation is Operation.DELETE else 1
        return (
            self.time,
            rank,
            self.institution,
            self.document_kind,
            self.document_number,
            self.line_number,
            self.corrects,
            self.package,
        )


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of a box at one point of its chain."""

    state: State = State.UNKNOWN
    institution: str = ""
    """Who the state is about: holder, seller or sender."""
    counterparty: str = ""
    """Where a box in transit goes; empty = not said."""
    since: int = 0
    sales: tuple[Step, ...] = ()
    """Sales in force, whole and split; a conflict keeps all branches."""
    sales_seen: tuple[Event, ...] = ()
    """All counted sales so far, for joining the two channels."""
    returns: tuple[Event, ...] = ()
    return_cycles: int = 0
    received: tuple[Event, ...] = ()
    """Inbound events so far."""
    departed: tuple[Event, ...] = ()
    """Events so far by which it left without a sale: transfer, other out, supplier return, destruction."""
    conflict: bool = False

    @property
    def held_by(self) -> str:
        """Who has the box now; empty if nobody is known to."""
        return self.institution if self.state in (State.IN_STOCK, State.SPLIT) else ""

    def received_at(self, institution: str) -> Event | None:
        """The last inbound event there so far."""
        return next((event for event in reversed(self.received) if event.institution == institution), None)

    def departed_from(self, institution: str) -> Event | None:
        """The last event by which it left there so far, other out (107) aside.

        One vendor reports dispensing as other out, so the sale of such a box is what was reported.
        """
        return next(
            (
                event
                for event in reversed(self.departed)
                if event.institution == institution and event.operation is not Operation.ISSUE
            ),
            None,
        )


_NOWHERE = Place()


@dataclass(frozen=True, slots=True)
class Step:
    """An event at its place in the chain."""

    event: Event
    before: Place
    after: Place = field(repr=False, default=_NOWHERE)
    custody: Custody = Custody.UNPROVEN
    """Of a sale: see Custody."""
    joined: Event | None = None
    """The earlier report of the same sale or return, if this is another report of it."""
    returned: Step | None = field(repr=False, default=None)
    """Of a return: the sale it takes back."""
    odd: bool = False
    """The operation does not fit the state before it, and no counted explanation exists."""


@dataclass(frozen=True, slots=True)
class InstitutionFacts:
    """What judging a chain needs to know of an institution."""

    code: str
    division: str = ""
    group: str = ""
    uploads_receipt_codes: bool = False
    registered: bool = False

    def same_group(self, other: InstitutionFacts) -> bool:
        """Both belong to one chain or one legal person."""
        return bool(self.group) and self.group == other.group


Registry = Callable[[str], InstitutionFacts]


def same_sale(earlier: Event, later: Event) -> bool:
    """Whether two reports from one institution tell of one sale (or one return). Ours.

    Both carry the same settlement_id, at most 7 days apart; the same channel then says the same units, while
    two channels may cut a sale differently. Or one lacks it and both carry the same visit_number by different
    channels, at most 24 hours apart. Never when both name a person and these differ.
    """
    if earlier.institution != later.institution:
        return False
    if not any({earlier.operation, later.operation} <= kind for kind in (SALES, RETURNS)):
        return False
    if earlier.sequence == later.sequence and earlier.document_number == later.document_number:
        return False
    if _differ(earlier.person, later.person):
        return False
    same_kind = earlier.operation is later.operation
    apart = abs(later.time - earlier.time)
    if earlier.settlement_id and later.settlement_id:
        return (
            earlier.settlement_id == later.settlement_id
            and apart <= SETTLEMENT_JOIN_SECONDS
            and (earlier.channel != later.channel or (same_kind and earlier.units == later.units))
        )
    return (
        bool(earlier.visit_number)
        and earlier.visit_number == later.visit_number
        and earlier.drug_code == later.drug_code
        and earlier.channel != later.channel
        and same_kind
        and apart <= JOIN_SECONDS
    )


def _differ(one: str, other: str) -> bool:
    return bool(one) and bool(other) and one != other


@dataclass(slots=True)
class _Reports:
    """All reports of one sale, or of one return."""

    events: list[Event]
    settlement_id: str
    person: str
    first: int
    last: int

    @classmethod
    def of(cls, event: Event) -> _Reports:
        return cls([event], event.settlement_id, event.person, event.time, event.time)

    def joins(self, other: _Reports) -> bool:
        """Whether both can be one: one settlement, one person, and not longer than reports take."""
        if _differ(self.settlement_id, other.settlement_id) or _differ(self.person, other.person):
            return False
        settled = self.settlement_id or other.settlement_id
        span = max(self.last, other.last) - min(self.first, other.first)
        return span <= (SETTLEMENT_JOIN_SECONDS if settled else JOIN_SECONDS)

    def absorb(self, other: _Reports) -> None:
        self.events += other.events
        self.settlement_id = self.settlement_id or other.settlement_id
        self.person = self.person or other.person
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)

    @property
    def units(self) -> Decimal:
        """Units of the sale: those of the channel that says most; equal parts by one channel are one."""
        parts: dict[int, set[Decimal]] = {}
        for event in self.events:
            parts.setdefault(event.channel, set()).add(event.units)
        return max(sum(units, WHOLE) for units in parts.values())


_Identity = tuple[int, Order]


def _identity(event: Event) -> _Identity:
    # A deleted document and its correction may share the place in the chain.
    return (event.sequence, event.order)


def _gather_reports(chain: list[Event]) -> dict[_Identity, _Reports]:
    """The sales and returns that more than one report may tell of.

    The links of `same_sale` are transitive; what would put two settlements, two persons or more than 7 days
    (24 hours without a settlement) into one sale is left out. Settlements are linked before visits, and of
    visits the nearest reports first, so that a sale billed again finds its own second report. A report that
    does not count is linked last and links nobody else.
    """
    found: dict[_Identity, _Reports] = {}
    buckets: dict[tuple[str, bool, str, str], list[Event]] = {}
    for event in chain:
        selling = event.operation in SALES
        if not selling and event.operation not in RETURNS:
            continue
        if event.settlement_id:
            buckets.setdefault((event.institution, selling, event.settlement_id, ""), []).append(event)
        if event.visit_number:
            key = (event.institution, selling, "", f"{event.visit_number} {event.drug_code}")
            buckets.setdefault(key, []).append(event)
    links: list[tuple[bool, bool, int, int, int, Event, Event]] = []
    place = {id(event): at for at, event in enumerate(chain)}
    for (_, _, settlement_id, _), events in buckets.items():
        for at, later in enumerate(events):
            for earlier in reversed(events[:at]):
                if later.time - earlier.time > SETTLEMENT_JOIN_SECONDS:
                    break
                if not (earlier.counted or later.counted) or not same_sale(earlier, later):
                    continue
                uncounted = not (earlier.counted and later.counted)
                apart = 0 if settlement_id else abs(later.time - earlier.time)
                links.append(
                    (
                        uncounted,
                        not settlement_id,
                        apart,
                        place[id(later)],
                        place[id(earlier)],
                        earlier,
                        later,
                    )
                )
    for uncounted, _, _, _, _, earlier, later in sorted(links, key=lambda link: link[:5]):
        one = found.get(_identity(earlier)) or _Reports.of(earlier)
        other = found.get(_identity(later)) or _Reports.of(later)
        if one is other or not one.joins(other):
            continue
        if uncounted:
            guest, sale = (later, one) if earlier.counted else (earlier, other)
            found.setdefault(_identity(guest), sale)
            if sale.events[0].counted:
                found.setdefault(_identity(sale.events[0]), sale)
            continue
        one.absorb(other)
        for event in one.events:
            found[_identity(event)] = one
    return found


@dataclass(frozen=True, slots=True)
class _Chain:
    """What a step looks up in the whole chain."""

    inbound: list[Event]
    """All counted inbound events."""
    reports: dict[_Identity, _Reports]
    registry: Registry

    def find_first(self, event: Event, seen: Iterable[Event]) -> Event | None:
        """The first of the events seen that reports the same sale or return."""
        mine = self.reports.get(_identity(event))
        if mine is None:
            return None
        return next((other for other in seen if self.reports.get(_identity(other)) is mine), None)

    def reports_of(self, event: Event) -> list[Event]:
        """All counted reports of the sale or return that an event reports."""
        reports = self.reports.get(_identity(event))
        return [event] if reports is None else reports.events

    def units_of(self, event: Event) -> Decimal:
        """Units of the sale or return that an event reports."""
        reports = self.reports.get(_identity(event))
        return event.units if reports is None or not event.counted else reports.units


def fold(events: Iterable[Event], registry: Registry) -> tuple[Step, ...]:
    """Order a chain and follow it. The last step's `after` is the state of the box now.

    A document tells one thing of a code, even if it names several packages around it.
    """
    chain = _once_each(sorted(events, key=lambda event: event.order))
    around = _Chain(
        inbound=[event for event in chain if event.counted and event.operation in INBOUND],
        reports=_gather_reports(chain),
        registry=registry,
    )
    steps: list[Step] = []
    place = _NOWHERE
    for event in chain:
        step = _step(event, place, around)
        steps.append(step)
        if event.counted:
            place = step.after
    return tuple(steps)


def _once_each(chain: list[Event]) -> list[Event]:
    seen = {(event.sequence, event.deletes) for event in chain if not event.package}
    kept = []
    for event in chain:
        if event.package:
            told = (event.sequence, event.deletes)
            if told in seen:
                continue
            seen.add(told)
        kept.append(event)
    return kept


def _step(event: Event, place: Place, chain: _Chain) -> Step:
    if event.operation is Operation.DELETE:
        return Step(event, place, place)
    if event.package and not _moves_with_package(event, place):
        return Step(event, place, place)
    match event.operation:
        case Operation.RECEIVE | Operation.TRANSFER_IN:
            return _come_in(event, place, chain)
        case Operation.SALE | Operation.SPLIT_SALE:
            return _sell(event, place, chain)
        case Operation.SALE_RETURN | Operation.SPLIT_RETURN:
            return _take_back(event, place, chain)
        case Operation.COUNT:
            return _count(event, place)
        case _:
            return _go_out(event, place, chain.registry)


def _moves_with_package(event: Event, place: Place) -> bool:
    """A box that was taken out of its package and moved on its own ignores what the package does."""
    here = event.institution
    if (event.operation in RETURNS or event.other_in) and _sold_in_package(event, place):
        return True
    if event.operation in RETURNS:
        return False
    if event.operation in INBOUND:
        if place.state is State.IN_STOCK and place.institution != here:
            # It lies where its package brought it; that the package turns up here is odd of the package.
            last = place.received_at(place.institution)
            return last is not None and bool(last.package or last.inside) and place.since == last.time
        return place.state in (State.UNKNOWN, State.IN_TRANSIT, State.RETURNED_TO_SUPPLIER)
    if place.state is State.IN_TRANSIT and event.operation in _OUT_STATES:
        # What left inside the package is sent on with it.
        sent = place.departed[-1] if place.departed else None
        return sent is not None and bool(sent.package) and here in (place.institution, place.counterparty)
    return place.state is State.IN_STOCK and place.institution == here


def _sold_in_package(event: Event, place: Place) -> list[Step]:
    return [
        sale for sale in place.sales if sale.event.package and sale.event.institution == event.institution
    ]


def _come_in(event: Event, place: Place, chain: _Chain) -> Step:
    here = event.institution
    if event.other_in and any(sale.event.institution == here for sale in place.sales):
        return _take_back(event, place, chain)
    received = (*place.received, event)
    if _is_late_receipt(event, place, chain):
        return Step(event, place, replace(place, received=received))
    conflict = place.conflict
    match place.state:
        case State.UNKNOWN:
            odd = False
        case State.RETURNED_TO_SUPPLIER:
            # A supplier sells it again; nobody has it who could pass it on.
            odd = event.operation is Operation.TRANSFER_IN
        case State.IN_STOCK | State.SPLIT:
            if place.institution == here:
                # An opened pack does not come in a second time; the first receipt is late paperwork.
                odd = place.state is State.SPLIT and place.received_at(here) is not None
                return Step(event, place, replace(place, received=received), odd=odd)
            odd = True
        case State.IN_TRANSIT:
            odd = place.counterparty not in ("", here) and place.institution != here
        case State.DESTROYED:
            odd = True
        case State.SOLD:
            founded = [step for step in place.sales if step.custody is not Custody.NONE]
            if any(step.event.institution == here for step in place.sales):
                # The receipt of a box sold here: late paperwork if it is the first one, odd otherwise.
                odd = place.received_at(here) is not None
                return Step(event, place, replace(place, received=received), odd=odd)
            if founded:
                # Sold to a person elsewhere and received again: the box stays sold, the report stands.
                return Step(event, place, replace(place, received=received, conflict=True), odd=True)
            odd = False
            conflict = True
    after = replace(
        place,
        state=State.IN_STOCK,
        institution=here,
        counterparty="",
        since=event.time,
        received=received,
        conflict=conflict or odd,
    )
    return Step(event, place, after, odd=odd)


def _is_late_receipt(event: Event, place: Place, chain: _Chain) -> bool:
    """The first receipt of a box that already left here: it was entered after the paper of its leaving.

    Only a supplier's receipt where receipts bear codes: elsewhere a box that was booked as lost has no
    receipt either, and what comes in after it (103) was found.
    """
    return (
        event.document_kind == DocumentKind.RECEIPT
        and chain.registry(event.institution).uploads_receipt_codes
        and place.state in (State.RETURNED_TO_SUPPLIER, State.DESTROYED, State.IN_TRANSIT)
        and place.institution == event.institution
        and place.received_at(event.institution) is None
        and event.time - place.since <= RECEIPT_LATE_SECONDS
    )


def _sell(event: Event, place: Place, chain: _Chain) -> Step:
    here = event.institution
    joined = chain.find_first(event, place.sales_seen)
    seen = (*place.sales_seen, event)
    if joined is not None:
        return Step(event, place, replace(place, sales_seen=seen), joined=joined)
    custody = _custody(event, place, chain)
    step = Step(event, place, custody=custody)
    units = chain.units_of(event) if event.operation is Operation.SPLIT_SALE else event.units
    stands = step if units == event.units else replace(step, event=replace(event, units=units))
    sales = (*place.sales, stands)
    holder = place.held_by
    if custody is Custody.NONE and (holder or place.state is State.IN_TRANSIT):
        # Somebody else has it: the report is kept, the box does not move.
        after = replace(place, sales_seen=seen, sales=sales, conflict=True)
        return Step(event, place, after, custody)
    if place.state is State.SOLD:
        # A second sale. The box is where the sale of better custody took it.
        elsewhere = [sale for sale in place.sales if sale.event.institution != here]
        moves = bool(elsewhere) and all(sale.custody < custody for sale in elsewhere)
        after = replace(place, sales_seen=seen, sales=sales, conflict=True)
        if moves:
            after = replace(after, institution=here, since=event.time)
        return Step(event, place, after, custody)
    conflict = place.conflict or place.state in (State.RETURNED_TO_SUPPLIER, State.DESTROYED)
    state = State.SPLIT if event.operation is Operation.SPLIT_SALE else State.SOLD
    after = replace(
        place,
        state=state,
        institution=here,
        counterparty="",
        since=event.time,
        sales=sales,
        sales_seen=seen,
        conflict=conflict,
    )
    return Step(event, place, after, custody)


def _custody(event: Event, place: Place, chain: _Chain) -> Custody:
    here = event.institution
    if place.held_by and place.held_by != here:
        return Custody.NONE
    if place.state is State.IN_TRANSIT and here not in (place.institution, place.counterparty):
        if place.counterparty:
            return Custody.NONE
    received = [
        other
        for other in chain.inbound
        if other.institution == here and other.time <= event.time + RECEIPT_LATE_SECONDS
    ]
    founded_elsewhere = [
        sale for sale in place.sales if sale.event.institution != here and sale.custody is not Custody.NONE
    ]
    if founded_elsewhere:
        # A receipt after the box was sold to a person elsewhere is resale, not custody.
        first = min(sale.event.time for sale in founded_elsewhere)
        received = [other for other in received if other.time < first]
    departed = place.departed_from(here)
    if departed is not None:
        # It left; only what came in afterwards tells that it is back.
        received = [other for other in received if other.order > departed.order]
    if received:
        return Custody.HELD
    sold_here = place.state is State.SOLD and place.institution == here and departed is None
    if place.held_by == here or sold_here:
        return Custody.HELD if place.received_at(here) is not None else Custody.UNPROVEN
    sent_away = departed is not None and place.counterparty != here
    if founded_elsewhere or sent_away:
        return Custody.NONE
    if event.time >= LEGACY_STOCK_UNTIL and chain.registry(here).uploads_receipt_codes:
        return Custody.NONE
    return Custody.UNPROVEN


def _take_back(event: Event, place: Place, chain: _Chain) -> Step:
    here = event.institution
    joined = chain.find_first(event, place.returns)
    if joined is not None:
        return Step(event, place, place, joined=joined)
    returned = _sale_to_return(event, place, chain)
    seen = replace(place, returns=(*place.returns, event))
    if returned is None:
        if place.state in (State.UNKNOWN, State.IN_TRANSIT):
            # A return before or without its sale: the box is in the shop.
            seen = replace(seen, state=State.IN_STOCK, institution=here, since=event.time)
        return Step(event, place, seen, odd=True)
    odd = returned.event.institution != here
    whole = event.operation is not Operation.SPLIT_RETURN
    sold_split = returned.event.operation is Operation.SPLIT_SALE
    if sold_split and not whole:
        # Units go back into the opened pack, which stays opened.
        left = _give_back_units(returned, place.sales, here, chain.units_of(event))
        return Step(event, place, replace(seen, sales=left), returned=returned, odd=odd)
    left = tuple(sale for sale in place.sales if sale is not returned)
    if sold_split and not _has_report(returned, Operation.SALE, chain):
        # A slip of the split mark, or units by other in (106), which tells no units: that sale is off.
        return Step(event, place, replace(seen, sales=left), returned=returned, odd=odd)
    after = replace(seen, sales=left, return_cycles=place.return_cycles + 1, conflict=place.conflict or odd)
    if any(sale.event.operation is Operation.SALE for sale in left):
        after = replace(after, return_cycles=place.return_cycles)
    elif left and place.state is State.SOLD:
        # The whole sale is off; what was split from the pack before it stands.
        after = replace(after, state=State.SPLIT, institution=left[-1].event.institution, since=event.time)
    elif place.state is State.SOLD or (sold_split and not left and place.state is State.SPLIT):
        after = replace(after, state=State.IN_STOCK, institution=here, since=event.time)
    return Step(event, place, after, returned=returned, odd=odd)


def _give_back_units(returned: Step, sales: tuple[Step, ...], here: str, units: Decimal) -> tuple[Step, ...]:
    """What stands after units of a sale came back; more than it had are of the other split sales here."""
    others = [
        sale
        for sale in reversed(sales)
        if sale is not returned
        and sale.event.institution == here
        and sale.event.operation is Operation.SPLIT_SALE
    ]
    stands = list(sales)
    # Units that are not said are all of the one sale.
    units = units or returned.event.units
    for sale in (returned, *others):
        at = next(at for at, other in enumerate(stands) if other is sale)
        if units < sale.event.units:
            if units:
                stands[at] = replace(sale, event=replace(sale.event, units=sale.event.units - units))
            break
        units -= sale.event.units
        del stands[at]
        if not units:
            break
    return tuple(stands)


def _has_report(sale: Step, operation: Operation, chain: _Chain) -> bool:
    """One of the reports of a sale says whole, or split."""
    return any(report.operation is operation for report in chain.reports_of(sale.event))


def _sale_to_return(event: Event, place: Place, chain: _Chain) -> Step | None:
    """The sale a return means: the one it names, else the last one here, else the last one anywhere.

    A sale here that it names is meant even if one of the two carries a wrong split mark; otherwise split
    returns are of split sales. Any report of a sale names it.
    """
    here = event.institution
    sales = _sold_in_package(event, place) if event.package else list(place.sales)

    def is_named(sale: Step) -> bool:
        return any(
            (bool(event.sale_document_number) and report.document_number == event.sale_document_number)
            or (bool(event.settlement_id) and report.settlement_id == event.settlement_id)
            for report in chain.reports_of(sale.event)
        )

    def likeness(sale: Step) -> tuple[bool, bool, int]:
        return (sale.event.institution == here, is_named(sale), sale.event.time)

    wanted = Operation.SPLIT_SALE if event.operation is Operation.SPLIT_RETURN else Operation.SALE
    alike = [sale for sale in sales if _has_report(sale, wanted, chain)]
    if event.other_in and not any(sale.event.institution == here for sale in alike):
        # Other in (106) knows no split mark.
        alike = sales
    named = [sale for sale in sales if sale.event.institution == here and is_named(sale)]
    if named and not any(sale in alike for sale in named):
        alike = named
    return max(alike, key=likeness, default=None)


def _count(event: Event, place: Place) -> Step:
    here = event.institution
    if place.state is State.UNKNOWN:
        after = replace(
            place,
            state=State.IN_STOCK,
            institution=here,
            since=event.time,
            received=(*place.received, event),
        )
        return Step(event, place, after)
    at_hand = place.state in (State.IN_STOCK, State.SPLIT) and place.institution == here
    travelling = place.state is State.IN_TRANSIT and here in (place.institution, place.counterparty)
    return Step(event, place, place, odd=not at_hand and not travelling)


_OUT_STATES = {
    Operation.TRANSFER_OUT: State.IN_TRANSIT,
    Operation.ISSUE: State.IN_TRANSIT,
    Operation.SUPPLIER_RETURN: State.RETURNED_TO_SUPPLIER,
    Operation.DESTROY: State.DESTROYED,
}


def _go_out(event: Event, place: Place, registry: Registry) -> Step:
    """Transfer out, other out, return to the supplier, destruction."""
    here = event.institution
    state = _OUT_STATES[event.operation]
    gone = replace(
        place,
        state=state,
        institution=here,
        counterparty=event.counterparty if state is State.IN_TRANSIT else "",
        since=event.time,
        departed=(*place.departed, event),
    )
    match place.state:
        case State.UNKNOWN:
            return Step(event, place, gone, odd=registry(here).uploads_receipt_codes)
        case State.SOLD | State.SPLIT if event.operation is Operation.ISSUE and place.institution == here:
            # One vendor reports dispensing as other out (107) beside the sale.
            return Step(event, place, place)
        case State.IN_STOCK | State.SPLIT if place.institution == here:
            moved_open = place.state is State.SPLIT and state is not State.DESTROYED
            return Step(event, place, gone, odd=moved_open)
        case State.IN_STOCK if event.operation is Operation.TRANSFER_OUT:
            arrived = place.received_at(place.institution)
            crossed = (
                arrived is not None
                and arrived.operation is Operation.TRANSFER_IN
                and event.counterparty in ("", place.institution)
                and event.time - arrived.time <= OUT_AFTER_IN_SECONDS
            )
            after = replace(place, departed=(*place.departed, event)) if crossed else place
            return Step(event, place, after, odd=not crossed)
        case State.IN_TRANSIT if place.institution == here:
            # Sent again, or sent back instead of across: the later report says where it is.
            return Step(event, place, gone)
        case State.IN_TRANSIT if place.counterparty == here:
            # It must have arrived, for here sends it on; odd where arrivals are uploaded.
            return Step(event, place, gone, odd=registry(here).uploads_receipt_codes)
        case _ if state is place.state and place.institution == here:
            return Step(event, place, place)
        case _:
            return Step(event, place, place, odd=True)
