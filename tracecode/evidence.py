"""What a rule is shown. An engine gathers it, a rule only looks.

Three scopes, one class each: a document by itself, a line with its readings and products, and one step of
a code's chain. Rules are pure functions of these; they never ask for more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tracecode.code import Reading
from tracecode.document import Document, Line, china_day
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.life_cycle import SALES, Event, InstitutionFacts, Registry, Step
from tracecode.rule_base import Thresholds
from tracecode.v1 import catalogue_pb2


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


@dataclass(frozen=True, slots=True)
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

    @property
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
class ChainEvidence:
    """One step of a code's chain, with the whole chain around it."""

    step: Step
    steps: tuple[Step, ...]
    """The whole chain in effective order, uncounted events included."""
    code: str
    """Canonical text."""
    product: catalogue_pb2.Product | None
    institution: InstitutionFacts
    """Of the step's event."""
    registry: Registry
    holds: tuple[catalogue_pb2.Hold, ...]
    """Holds on the code, its package or its lot, whatever their dates."""
    thresholds: Thresholds

    @property
    def event(self) -> Event:
        """The event that is judged."""
        return self.step.event

    @property
    def is_sale(self) -> bool:
        """The event is a sale, whole or split, that counts as one of its own.

        Not another report of a sale, and not the sale of a package the code was in, which the package's
        own chain judges.
        """
        event = self.event
        return event.operation in SALES and not event.package and self.step.joined is None

    @property
    def business_day(self) -> int:
        """Day of the event in China, days since 1970-01-01."""
        return china_day(self.event.time)

    @property
    def later(self) -> tuple[Step, ...]:
        """The counted steps after this one in effective order."""
        order = self.event.order
        return tuple(step for step in self.steps if step.event.counted and step.event.order > order)

    def found(self, type: FindingType, severity: Severity, *facts: Evidence) -> Finding:
        """A finding about the code, on the line that carries it."""
        return Finding(type, severity, self.event.line_number, self.code, evidence=facts)


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
