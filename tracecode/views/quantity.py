"""The quantity ledger: stock per institution and drug, followed from the journal.

It keeps each line's effect and sums when asked, so that deletions and late documents need no repair. It
holds nothing that the journal does not: after a restart it follows from the first entry again.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from decimal import Decimal

from tracecode.code import read_scan
from tracecode.document import (
    DELETED_TYPES,
    Document,
    DocumentKind,
    Line,
    china_day,
    day_date,
    read_document,
)
from tracecode.engine.contract import Engine
from tracecode.finding import to_message
from tracecode.rules.sales_exceed_purchase import find as find_sales_exceed_purchase
from tracecode.rules.stock_negative import find as find_stock_negative
from tracecode.rules.stocktake_diff import find as find_stocktake_diff
from tracecode.stock import Movement, QuantityEvent, StockEvidence, sum_stock
from tracecode.v1 import finding_pb2, journal_pb2, ledger_service_pb2

STOCK_RULES = (find_stock_negative, find_sales_exceed_purchase, find_stocktake_diff)
ENTRIES_PER_STEP = 2_000
NS = 1_000_000_000

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


class QuantityView:
    """Follows an engine's journal. Methods may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._sequence = 0
        self._stocks: dict[str, dict[str, list[QuantityEvent]]] = defaultdict(lambda: defaultdict(list))
        self._documents: dict[tuple[str, int, str], list[tuple[int, int, bool]]] = defaultdict(list)
        self._deletions: dict[tuple[str, int, str], list[int]] = defaultdict(list)
        self._joined: dict[tuple[str, int, str, str], tuple[int, int]] = {}
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

    def stocks(self, institution_code: str, drug_code: str = "") -> list[ledger_service_pb2.Stock]:
        """The stocks of an institution in order of drug code, with findings (no texts)."""
        with self._lock:
            drugs = self._stocks.get(institution_code, {})
            wanted = [drug_code] if drug_code else sorted(drugs)
            return [self._stock(institution_code, drug, drugs[drug]) for drug in wanted if drug in drugs]

    def _stock(
        self, institution_code: str, drug_code: str, events: list[QuantityEvent]
    ) -> ledger_service_pb2.Stock:
        rule_base = self._engine.rule_base
        kept = [event for event in events if event.sequence not in self._dropped]
        evidence = sum_stock(institution_code, drug_code, kept, rule_base.thresholds)
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

    def _judge(self, institution_code: str, evidence: StockEvidence) -> list[finding_pb2.Finding]:
        rule_base = self._engine.rule_base
        institution = self._engine.institution(institution_code)
        division = institution.division_code if institution else institution_code[1:7]
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
        time = min(document.business_time, entry.receive_time_ns // NS)
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
        self._stocks[document.institution_code][line.drug_code].append(
            QuantityEvent(
                day=china_day(time),
                time=time,
                movement=movement,
                quantity=line.quantity / self._units(line) if line.split else line.quantity,
                sequence=sequence,
                correction=document.change_type in (103, 104),
            )
        )

    def _is_other_channel(self, sequence: int, document: Document, line: Line) -> bool:
        """Both channels of one sale, joined on setl_id, count once."""
        if document.kind not in (DocumentKind.SALE, DocumentKind.SALE_RETURN):
            return False
        joint = document.settlement_id or (document.visit_number and f"\0{document.visit_number}")
        if not joint:
            return False
        key = (document.institution_code, int(document.kind), joint, line.drug_code)
        first, channel = self._joined.setdefault(key, (sequence, document.channel))
        if first == sequence:
            return False
        return bool(document.settlement_id) or channel != document.channel

    def _units(self, line: Line) -> int:
        """Units of the pack a split line was taken from: the scanned one, else the drug's largest."""
        for scan in line.scans:
            for reading in read_scan(scan):
                product = self._engine.product(reading.identifier) if reading.identifier else None
                if product is not None and product.splittable_units > 1:
                    return product.splittable_units
        return self._units_of_drug.get(line.drug_code, 1)


def _text(quantity: Decimal) -> str:
    return format(quantity.normalize(), "f") if quantity else "0"
