"""What a document says of each code on it.

Many documents are read again for the sake of one code: a receipt of a thousand boxes, whenever one of them is
sold. So the keys are found at once, by the native reader, and an event is made when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from functools import cached_property

from tracecode._native import keys_of, read_scan
from tracecode.code import CodeClass, Reading
from tracecode.document import EPOCH, Document, DocumentKind, Line, effective_time
from tracecode.life_cycle import WHOLE, Event

UNIT_STEP = Decimal("0.0001")
"""Quantities have four decimals (N16,4)."""

OTHER_IN = 106
"""inv_chg_type 其他入库 of NHSA interface 3502."""

KEYED = (CodeClass.TWENTY_DIGIT, CodeClass.GS1, CodeClass.ENTERPRISE, CodeClass.LOGISTIC_UNIT)
"""Classes of scans that name one box and therefore have a chain."""


@dataclass(frozen=True, slots=True)
class LineReadings:
    """A line, and what its scans were read as."""

    line: Line
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a document names a code: a scan of a line, of its packages or of what is inside them."""

    line: Line
    scan: str
    codes_on_line: int
    """Codes that share the line's units; 1 for packages."""
    scanned: bool
    """On the line itself, not in a package of it."""


class ReadDocument:
    """A document with its scans read: what it says of each code, in order of first appearance."""

    document: Document
    sequence: int
    """Its entry; 0 = a question that is not recorded."""
    receive_time: int
    """Seconds since 1970 UTC, as all times here."""
    time: int
    """Effective time."""
    refused: bool
    relations: tuple[tuple[bytes, bytes], ...]
    """Parent key, child key."""

    def __init__(
        self, document: Document, sequence: int, receive_time: int, *, refused: bool = False
    ) -> None:
        """Read every scan. `refused`: it asked before settlement and was refused, so it moved nothing."""
        self.document = document
        self.sequence = sequence
        self.receive_time = receive_time
        self.time = effective_time(document.business_time, receive_time)
        self.refused = refused
        places, self.relations = _find_codes(document)
        self.places: Mapping[bytes, list[_Place]] = places
        self.inside = frozenset(child for _, child in self.relations)
        self._made: dict[bytes, Event] = {}

    @property
    def events(self) -> Mapping[bytes, Event]:
        """By canonical key; at most one for each code."""
        # Not kept: in a ring with its document neither would be freed before the collector comes by.
        return _Events(self, self._made)

    def as_refused(self) -> ReadDocument:
        """The same as an attempt that was refused."""
        return ReadDocument(self.document, self.sequence, self.receive_time, refused=True)

    def at(self, time: int) -> ReadDocument:
        """The same as if it had happened then."""
        moved = ReadDocument(self.document, self.sequence, self.receive_time, refused=self.refused)
        moved.time = time
        return moved

    @cached_property
    def lines(self) -> tuple[LineReadings, ...]:
        """The lines with all that their own scans were read as."""
        return tuple(
            LineReadings(line, tuple(reading for scan in line.scans for reading in read_scan(scan)))
            for line in self.document.lines
        )

    @cached_property
    def lines_of_code(self) -> Mapping[bytes, tuple[Line, ...]]:
        """The lines whose own scans name a code, once for each scan."""
        return {
            key: lines
            for key, places in self.places.items()
            if (lines := tuple(place.line for place in places if place.scanned))
        }


class _Events(Mapping[bytes, Event]):
    """The events of a document, each made when it is asked for."""

    def __init__(self, read: ReadDocument, made: dict[bytes, Event]) -> None:
        self._read = read
        self._made = made

    def __getitem__(self, key: bytes) -> Event:
        event = self._made.get(key)
        if event is None:
            event = self._made[key] = _make_event(self._read, key, self._read.places[key])
        return event

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._read.places)

    def __len__(self) -> int:
        return len(self._read.places)

    def __contains__(self, key: object) -> bool:
        return key in self._read.places


def _find_codes(
    document: Document,
) -> tuple[dict[bytes, list[_Place]], tuple[tuple[bytes, bytes], ...]]:
    """Where the document names each code, and what it says is inside of what."""
    places: dict[bytes, list[_Place]] = {}
    relations: list[tuple[bytes, bytes]] = []
    for line in document.lines:
        scanned = keys_of_scans(line.scans)
        count = len({key for _, key in scanned})
        for scan, key in scanned:
            places.setdefault(key, []).append(_Place(line, scan, count, scanned=True))
        for package in line.packages:
            parents = keys_of_scans((package.scan,))
            children = keys_of_scans(package.child_scans)
            for scan, key in (*parents, *children):
                places.setdefault(key, []).append(_Place(line, scan, 1, scanned=False))
            if len(parents) == 1:
                relations += [(parents[0][1], child) for _, child in children]
    return places, tuple(relations)


def keys_of_scans(scans: Sequence[str]) -> list[tuple[str, bytes]]:
    """The keyed codes of scans, each with its scan; a scan may hold several."""
    found = []
    for scan, key in zip(scans, keys_of(list(scans)), strict=True):
        if key:
            found.append((scan, key))
        else:
            found += [(scan, reading.key) for reading in read_scan(scan) if reading.code_class in KEYED]
    return found


def _make_event(read: ReadDocument, key: bytes, places: list[_Place]) -> Event:
    """What the first place says; units of a split pack add up over all of them."""
    document, first = read.document, places[0]
    line = first.line
    lot, expiry_day = "", None
    # 20 digits say neither lot nor day.
    if key[:1] != b"N":
        reading = next(reading for reading in read_scan(first.scan) if reading.key == key)
        lot = reading.lot
        expiry_day = None if reading.expiry is None else (reading.expiry - EPOCH).days
    splits = document.kind in (DocumentKind.SALE, DocumentKind.SALE_RETURN)
    units = _units(first, splits=splits)
    for place in places[1:]:
        more = _units(place, splits=splits)
        if units and more:
            units += more
    return Event(
        time=read.time,
        operation=document.operation(line),
        institution=document.institution_code,
        document_kind=document.kind,
        document_number=document.number,
        sequence=read.sequence,
        line_number=line.number,
        business_time=document.business_time,
        receive_time=read.receive_time,
        units=units,
        divided=splits and line.split and first.codes_on_line > 1,
        settlement_id=document.settlement_id,
        visit_number=document.visit_number,
        person=document.person,
        channel=document.channel,
        insured=document.insured,
        before_settlement=document.before_settlement,
        counterparty=document.counterparty,
        sale_document_number=document.sale_document_number,
        corrects=bool(document.corrects) and document.corrects == document.number,
        other_in=document.change_type == OTHER_IN,
        drug_code=line.drug_code,
        lot_number=line.lot_number,
        expiry_day=line.expiry_day,
        manufacture_day=line.manufacture_day,
        scan_lot_number=lot,
        scan_expiry_day=expiry_day,
        refused=read.refused,
        inside=key in read.inside,
    )


def _units(place: _Place, *, splits: bool) -> Decimal:
    if not (splits and place.line.split):
        return WHOLE
    return (place.line.quantity / max(1, place.codes_on_line)).quantize(UNIT_STEP, ROUND_DOWN)
