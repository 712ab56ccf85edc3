"""The quantity ledger: stock per institution and drug, followed from the journal.

It keeps each line's effect and sums when asked, so that deletions and late documents need no repair. It
holds nothing that the journal does not: after a restart it follows from the first entry again.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from tracecode.code import read_scan
from tracecode.document import (
    DELETED_TYPES,
    NS,
    Document,
    DocumentKind,
    Line,
    china_day,
    day_date,
    effective_time,
    read_document,
)
from tracecode.engine.contract import Engine
from tracecode.finding import to_message
from tracecode.rules.sales_exceed_purchase import find as find_sales_exceed_purchase
from tracecode.rules.stock_negative import find as find_stock_negative
from tracecode.rules.stocktake_diff import find as find_stocktake_diff
from tracecode.scope import RowPlace
from tracecode.stock import Movement, QuantityEvent, StockEvidence, sum_stock
from tracecode.v1 import finding_pb2, journal_pb2, ledger_service_pb2

STOCK_RULES = (find_stock_negative, find_sales_exceed_purchase, find_stocktake_diff)
ENTRIES_PER_STEP = 2_000

_CHANGES = {
    101: Movement.TRANSFERRED_IN,
    102: Movement.TRANSFERRED_OUT,
    103: Movement.OTHER_IN,
    104: Movement.OTHER_OUT,
    105: Movement.OTHER_OUT,
    106: Movement.OTHER_IN,
    107: Movement.OTHER_OUT,
    108: Movement.OPENING,
}
_KINDS = {
    DocumentKind.SALE: Movement.SOLD,
    DocumentKind.SALE_RETURN: Movement.SALE_RETURNED,
    DocumentKind.RECEIPT: Movement.RECEIVED,
    DocumentKind.PURCHASE_RETURN: Movement.PURCHASE_RETURNED,
    DocumentKind.STOCK_COUNT: Movement.COUNTED,
}


@dataclass(frozen=True, slots=True)
class _Moved:
    """A line's effect as it was reported: of a split line in smallest units, not in packs."""

    event: QuantityEvent
    split: bool
    identifiers: tuple[str, ...]
    """Of the scans of a split line."""


class QuantityView:
    """Follows an engine's journal. Methods may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._sequence = 0
        self._stocks: dict[str, dict[str, list[_Moved]]] = defaultdict(lambda: defaultdict(list))
        self._documents: dict[tuple[str, int, str], list[tuple[int, int, bool]]] = defaultdict(list)
        self._deletions: dict[tuple[str, int, str], list[int]] = defaultdict(list)
        self._joined: dict[tuple[str, int, str, str], tuple[int, int, int]] = {}
        self._dropped: set[int] = set()
        self._units_of_drug: dict[str, int] = {}

    def catch_up(self) -> int:
        """Follow the journal to its end; returns the sequence up to which sums are complete."""
        with self._lock:
            while values := self._engine.entries(self._sequence, ENTRIES_PER_STEP):
                for value in values:
                    entry = journal_pb2.JournalEntry.FromString(value)
                    if entry.HasField("document"):
                        self._apply(entry)
                    for product in entry.product_import.products:
                        for drug_code in product.drug_codes:
                            known = self._units_of_drug.get(drug_code, 1)
                            self._units_of_drug[drug_code] = max(known, product.splittable_units)
                    self._sequence = entry.sequence
            return self._sequence

    def drugs(self, institution_code: str, drug_code: str = "") -> list[str]:
        """The drugs of which an institution has stocks, in order; of one drug, whether it has."""
        with self._lock:
            known = self._stocks.get(institution_code, {})
            return sorted(known) if not drug_code else [drug_code] if drug_code in known else []

    def stocks(self, institution_code: str, drug_codes: Sequence[str]) -> list[ledger_service_pb2.Stock]:
        """The stocks of an institution's drugs, with findings (no texts)."""
        with self._lock:
            drugs = self._stocks.get(institution_code, {})
            return [self._stock(institution_code, drug, drugs[drug]) for drug in drug_codes if drug in drugs]

    def _stock(self, institution_code: str, drug_code: str, moved: list[_Moved]) -> ledger_service_pb2.Stock:
        rule_base = self._engine.rule_base
        kept = self._to_packs(drug_code, [line for line in moved if line.event.sequence not in self._dropped])
        last = day_date(max((line.day for line in kept), default=0))
        place = RowPlace(institution_code, self._division(institution_code), last, drug_code)
        evidence = sum_stock(institution_code, drug_code, kept, rule_base.thresholds_at(place))
        return ledger_service_pb2.Stock(
            institution_code=institution_code,
            drug_code=drug_code,
            opening=_text(evidence.total(Movement.OPENING)),
            received=_text(evidence.total(Movement.RECEIVED)),
            sold=_text(evidence.total(Movement.SOLD)),
            sale_returned=_text(evidence.total(Movement.SALE_RETURNED)),
            purchase_returned=_text(evidence.total(Movement.PURCHASE_RETURNED)),
            transferred_in=_text(evidence.total(Movement.TRANSFERRED_IN)),
            transferred_out=_text(evidence.total(Movement.TRANSFERRED_OUT)),
            other_in=_text(evidence.total(Movement.OTHER_IN)),
            other_out=_text(evidence.total(Movement.OTHER_OUT)),
            balance=_text(evidence.days[-1].balance if evidence.days else Decimal(0)),
            findings=self._judge(institution_code, evidence),
        )

    def _division(self, institution_code: str) -> str:
        institution = self._engine.institution(institution_code)
        return institution.division_code if institution else institution_code[1:7]

    def _judge(self, institution_code: str, evidence: StockEvidence) -> list[finding_pb2.Finding]:
        rule_base = self._engine.rule_base
        division = self._division(institution_code)
        last = day_date(evidence.days[-1].day if evidence.days else 0)
        messages = []
        for rule in STOCK_RULES:
            for finding in rule(evidence):
                severity = rule_base.severity(finding.type, finding.severity, division, last)
                if severity is not None:
                    message = to_message(finding, rule_base.mode(finding.type, division, last))
                    message.severity = message.final_severity = finding_pb2.Severity.ValueType(severity)
                    messages.append(message)
        return messages

    def _apply(self, entry: journal_pb2.JournalEntry) -> None:
        if entry.document.outcome == finding_pb2.OUTCOME_REFUSED:
            return
        document = read_document(entry.document.document)
        time = effective_time(document.business_time, entry.receive_time_ns // NS)
        institution = document.institution_code
        if document.kind is DocumentKind.DELETION:
            named = document.deleted_document_number or "\0" + document.deleted_batch_serial
            identity = (institution, document.deleted_type, named)
            self._deletions[identity].append(time)
            for sequence, happened, corrects in self._documents.get(identity, ()):
                if happened <= time and not corrects:
                    self._dropped.add(sequence)
            return
        deleted_type = DELETED_TYPES[document.kind]
        names = [document.number]
        names += ["\0" + serial for serial in {line.batch_serial for line in document.lines} if serial]
        for name in names:
            identity = (institution, deleted_type, name)
            self._documents[identity].append((entry.sequence, time, bool(document.corrects)))
            if not document.corrects and any(time <= at for at in self._deletions.get(identity, ())):
                self._dropped.add(entry.sequence)
        for line in document.lines:
            self._apply_line(entry.sequence, document, line, time)

    def _apply_line(self, sequence: int, document: Document, line: Line, time: int) -> None:
        if not line.drug_code or self._is_other_channel(sequence, document, line):
            return
        if document.kind is DocumentKind.STOCK_CHANGE:
            movement = _CHANGES[document.change_type]
        else:
            movement = _KINDS[document.kind]
        event = QuantityEvent(
            day=china_day(time),
            time=time,
            movement=movement,
            quantity=line.quantity,
            sequence=sequence,
            correction=document.change_type in (103, 104),
        )
        identifiers: tuple[str, ...] = ()
        if line.split:
            readings = (reading for scan in line.scans for reading in read_scan(scan))
            identifiers = tuple(reading.identifier for reading in readings if reading.identifier)
        self._stocks[document.institution_code][line.drug_code].append(_Moved(event, line.split, identifiers))

    def _is_other_channel(self, sequence: int, document: Document, line: Line) -> bool:
        """Both channels of one sale, joined on setl_id, count once. So does one channel's second report,
        but not the second part of a long document, which carries other codes."""
        if document.kind not in (DocumentKind.SALE, DocumentKind.SALE_RETURN):
            return False
        joint = document.settlement_id or (document.visit_number and f"\0{document.visit_number}")
        if not joint:
            return False
        key = (document.institution_code, int(document.kind), joint, line.drug_code)
        report = (sequence, document.channel, hash(line.scans))
        first, channel, scans = self._joined.setdefault(key, report)
        if first == sequence:
            return False
        if channel != document.channel:
            return True
        return bool(document.settlement_id) and scans == hash(line.scans)

    def _to_packs(self, drug_code: str, moved: list[_Moved]) -> list[QuantityEvent]:
        """Units of split lines by what the catalogue says now, so that a restart changes nothing: the pack
        that was scanned, else the drug's largest."""
        units_of: dict[str, int] = {}
        events = []
        for line in moved:
            if not line.split:
                events.append(line.event)
                continue
            for identifier in line.identifiers:
                if identifier not in units_of:
                    product = self._engine.product(identifier)
                    units_of[identifier] = 0 if product is None else product.splittable_units
            units = next((units_of[name] for name in line.identifiers if units_of[name] > 1), 0)
            units = units or self._units_of_drug.get(drug_code, 1)
            events.append(replace(line.event, quantity=line.event.quantity / max(1, units)))
        return events


def _text(quantity: Decimal) -> str:
    return format(quantity.normalize(), "f") if quantity else "0"
