"""What a rule is shown. An engine gathers it, a rule only looks.

Three scopes, one class each: a document by itself, a line with its readings and products, and one step of
a code's chain. Rules are pure functions of these; they never ask for more.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter

from tracecode.code import Reading
from tracecode.document import Document, Line, Operation, china_day
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.life_cycle import INBOUND, SALES, Custody, Event, InstitutionFacts, Order, Registry, Step
from tracecode.rule_base import Thresholds
from tracecode.v1 import catalogue_pb2

FACTS_MAX = 10
"""Events shown of one kind in one finding: what a hundred institutions typed is told in part (ours)."""

SALES_COMPARED = 10
"""Of many standing sales, so many of the first and of the last are compared with the judged one (ours)."""


@dataclass(frozen=True, slots=True)
class DocumentEvidence:
    """A document, when it came, and who sent it. Times are seconds since 1970 UTC."""

    document: Document
    receive_time: int
    institution: InstitutionFacts
    in_service: bool
    """The institution is registered and its service agreement is in force on the business day."""
    thresholds: Thresholds
    deleted: tuple[DeletedDocument, ...] = ()
    """Of a deletion: what it takes back."""

    def found(self, type: FindingType, severity: Severity, *facts: Evidence) -> Finding:
        """A finding about the document."""
        return Finding(type, severity, evidence=facts)


@dataclass(frozen=True, slots=True)
class DeletedDocument:
    """A document that a deletion takes back, as it stood."""

    sequence: int
    document: Document
    time: int
    """Its effective time."""
    findings: tuple[Finding, ...]
    """What stands of it, judged as if it had not been deleted."""
    sold_again: bool
    """A correction sold the same code to the same person within the correction time."""


# Without slots and compared by identity, because what several rules ask of one line is kept.
@dataclass(frozen=True, eq=False)
class LineEvidence:
    """A line with its scans read and its products looked up."""

    document: Document
    line: Line
    readings: tuple[Reading, ...]
    """Of all scans of the line, in order; glued scans give several."""
    products: Mapping[str, catalogue_pb2.Product]
    """Identifier -> product, for the identifiers of the readings that are known."""
    unknown_since: Mapping[str, int]
    """Identifier -> first time it was seen, for those that are not."""
    lines_of_code: Mapping[bytes, tuple[Line, ...]]
    """Canonical key -> the lines of the document on which it stands, once for each appearance."""
    replaced: Mapping[bytes, str]
    """Scanned canonical key -> canonical text of the code the platform gave instead, if it did."""
    thresholds: Thresholds
    split_units_max: Mapping[str, int] = field(default_factory=dict)
    """Identifier -> how many units of a pack may be sold split, 0 = none, where the rule base says it."""

    @cached_property
    def codes(self) -> tuple[Reading, ...]:
        """The readings that identify a code, each code once."""
        return tuple({reading.key: reading for reading in self.readings if reading.key}.values())

    def found(
        self, type: FindingType, severity: Severity, *facts: Evidence, code: str = "", grade: int = 0
    ) -> Finding:
        """A finding about the line, or about one code on it (canonical text)."""
        return Finding(type, severity, self.line.number, code, grade, facts)

    def show_scan(self, reading: Reading) -> tuple[Evidence, ...]:
        """Which scan of the line it was, from 1, and what the clerk should do (a name of code.Hint).

        Never the scan itself: what is no code may be anything, an identity number too.
        """
        return (
            Evidence("scan_number", str(self.line.scans.index(reading.raw) + 1)),
            Evidence("hint", reading.hint.name),
        )


@dataclass(frozen=True, slots=True)
class Chain:
    """A code's chain, looked through once for all of its steps.

    A code that hundreds of sales name is no box's code, and judging it must not cost more with each of
    them: what a rule looks for is indexed here, so that it need not walk the chain.
    """

    steps: tuple[Step, ...]
    """In effective order, uncounted events included."""
    counted: int = field(init=False, default=0)
    """How many of the events count."""
    orders: list[Order] = field(init=False, repr=False, default_factory=list)
    """Of the steps, in the same order."""
    moves: dict[tuple[Operation, str], list[Event]] = field(init=False, repr=False, default_factory=dict)
    """The counted events of an operation at an institution, in effective order."""
    returns: dict[Order, list[Step]] = field(init=False, repr=False, default_factory=dict)
    """Place of a sale -> the counted returns that took it back, wholly or in part."""
    took_back: set[Order] = field(init=False, repr=False, default_factory=set)
    """Places of the counted returns that took a sale back."""
    whole_sales: dict[Custody, list[Step]] = field(init=False, repr=False, default_factory=dict)
    """The counted whole sales that came into force, by custody, in effective order."""

    def __post_init__(self) -> None:
        """Index the steps."""
        counted = 0
        for step in self.steps:
            event = step.event
            order = event.order
            self.orders.append(order)
            if not event.counted:
                continue
            counted += 1
            self.moves.setdefault((event.operation, event.institution), []).append(event)
            if step.returned is not None:
                self.returns.setdefault(step.returned.event.order, []).append(step)
                self.took_back.add(order)
            sales = step.after.sales
            if event.operation is Operation.SALE and sales and sales[-1].event is event:
                self.whole_sales.setdefault(step.custody, []).append(step)
        object.__setattr__(self, "counted", counted)

    def find_moves(
        self, operations: Iterable[Operation], institution: str, after: Order | None = None
    ) -> list[Event]:
        """The counted events of these operations there, behind a place of the chain if one is given."""
        found: list[Event] = []
        for operation in operations:
            events = self.moves.get((operation, institution))
            if events:
                found += events if after is None else events[bisect_right(events, after, key=_order) :]
        return found

    def find_last_move(self, operation: Operation, institution: str, before: Order) -> Event | None:
        """The last counted event of the operation there before a place of the chain."""
        events = self.moves.get((operation, institution))
        at = bisect_left(events, before, key=_order) if events else 0
        return events[at - 1] if events and at else None

    def find_return(self, sale: Order, after: Order, until: int) -> Event | None:
        """The first return of a sale behind a place of the chain, up to `until` in seconds."""
        for step in self.returns.get(sale, ()):
            if step.event.order > after:
                return step.event if step.event.time <= until else None
        return None


def _order(event: Event) -> Order:
    return event.order


# Without slots and compared by identity, because what several rules ask of one step is kept.
@dataclass(frozen=True, eq=False)
class ChainEvidence:
    """One step of a code's chain, with the whole chain around it."""

    step: Step
    chain: Chain
    code: str
    """Canonical text."""
    product: catalogue_pb2.Product | None
    institution: InstitutionFacts
    """Of the step's event."""
    registry: Registry
    holds: tuple[catalogue_pb2.Hold, ...]
    """Holds on the code, its package or its lot, whatever their dates."""
    thresholds: Thresholds
    split_units_max: int | None = None
    """How many units of the pack may be sold split, 0 = none, if the rule base says it."""
    boxed: bool = False
    """The event's institution received an outer package of this product whose contents nobody named."""
    event: Event = field(init=False, repr=False)
    """The event that is judged."""
    is_sale: bool = field(init=False, repr=False)
    """The event is a sale, whole or split, that counts as one of its own: not another report of a sale, and
    not the sale of a package the code was in, which the package's own chain judges."""
    business_day: int = field(init=False, repr=False)
    """Day of the event in China, days since 1970-01-01."""

    def __post_init__(self) -> None:
        """Look up what nearly every rule asks."""
        event = self.step.event
        is_sale = event.operation in SALES and not event.package and self.step.joined is None
        object.__setattr__(self, "event", event)
        object.__setattr__(self, "is_sale", is_sale)
        object.__setattr__(self, "business_day", china_day(event.time))

    @property
    def steps(self) -> tuple[Step, ...]:
        """The whole chain in effective order, uncounted events included."""
        return self.chain.steps

    def standing(self, operation: Operation, *, here: bool) -> list[Step]:
        """The sales of an operation that stand before this step, at its institution or elsewhere.

        In effective order; of many the first and the last SALES_COMPARED, and the first of the best
        custody between them.
        """
        return self._standing.get((operation, here), []) if self.step.before.sales else []

    @cached_property
    def _standing(self) -> dict[tuple[Operation, bool], list[Step]]:
        place = self.event.institution
        found: dict[tuple[Operation, bool], list[Step]] = defaultdict(list)
        for sale in self.step.before.sales:
            event = sale.event
            found[event.operation, event.institution == place].append(sale)
        return {key: _deciding(sales) for key, sales in found.items()}

    def find_moves(
        self, operations: Iterable[Operation], institution: str, *, later: bool = False
    ) -> list[Event]:
        """The counted events of these operations at an institution; only those after this step if `later`."""
        return self.chain.find_moves(operations, institution, self.event.order if later else None)

    def find_inbound(self, *, later: bool = False) -> list[Event]:
        """The counted events by which the box came in here, also inside a package."""
        return self.find_moves(INBOUND, self.event.institution, later=later)

    def found(self, type: FindingType, severity: Severity, *facts: Evidence) -> Finding:
        """A finding about the code, on the line that carries it."""
        return Finding(type, severity, self.event.line_number, self.code, evidence=facts)

    def show(
        self, name: str, events: Sequence[Event], value: Callable[[Event], str] | None = None
    ) -> list[Evidence]:
        """Evidence that points at events of the chain: the first FACTS_MAX, then how many more at least."""
        facts = [
            show_event(name, event, self.registry, value(event) if value else "")
            for event in events[:FACTS_MAX]
        ]
        if len(events) > FACTS_MAX:
            facts.append(Evidence("more", str(len(events) - FACTS_MAX)))
        return facts


def _deciding(sales: list[Step]) -> list[Step]:
    if len(sales) <= 2 * SALES_COMPARED + 1:
        return sales
    between = sales[SALES_COMPARED:-SALES_COMPARED]
    best = max(between, key=attrgetter("custody"))
    return [*sales[:SALES_COMPARED], best, *sales[-SALES_COMPARED:]]


def show_event(name: str, event: Event, registry: Registry, value: str = "") -> Evidence:
    """Evidence that points at an event of the chain."""
    return Evidence(
        name=name,
        value=value or event.operation.name,
        sequence=event.sequence,
        time=event.business_time,
        institution_code=event.institution,
        division_code=registry(event.institution).division,
        document_number=event.document_number,
    )


def show_institution(name: str, institution: InstitutionFacts, value: str = "") -> Evidence:
    """Evidence that points at an institution."""
    return Evidence(
        name=name, value=value, institution_code=institution.code, division_code=institution.division
    )
