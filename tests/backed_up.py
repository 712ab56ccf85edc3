"""Small ledgers for tests of backups: a few institutions' days, with repeats, findings and revisions."""

from __future__ import annotations

from pathlib import Path

from documents import (
    DAY,
    HOUR,
    INSTITUTIONS,
    NOON,
    NS,
    OTHER,
    PRODUCTS,
    SHOP,
    code,
    deletion,
    line,
    receipt,
    sale,
    sale_return,
)

from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import document_pb2

PERSON_KEY = PersonKey(b"k" * 32)
PERSON = "370203195001011234"


def tell_days(count: int) -> list[document_pb2.Document]:
    """Documents of so many boxes: sold, returned, sold twice, received late, deleted."""
    told = []
    for number in range(count):
        box, time = code(number), NOON + number * HOUR
        told.append(receipt(SHOP, f"R{number}", time, line(box)))
        told.append(sale(SHOP, f"S{number}", time + 60, line(box), person=PERSON))
        match number % 4:
            case 0:
                told.append(sale(OTHER, f"D{number}", time + 120, line(box)))
                told.append(receipt(OTHER, f"L{number}", time + 30, line(code(1000 + number))))
            case 1:
                told.append(sale_return(SHOP, f"B{number}", time + 180, line(box), of=f"S{number}"))
            case 2:
                late = code(2000 + number)
                told.append(sale(OTHER, f"E{number}", time + 60, line(late)))
                # Clears what its absence raised: a revision.
                told.append(receipt(OTHER, f"F{number}", time - DAY, line(late)))
            case 3:
                told.append(deletion(SHOP, f"X{number}", time + 240, deletes=f"S{number}"))
    return told


def fill_ledger(directory: Path, count: int, *, catalogue: bool = True) -> None:
    """A ledger of these documents, closed."""
    ledger = Ledger.open(directory, person_key=PERSON_KEY, clock_ns=lambda: (NOON - DAY) * NS)
    try:
        if catalogue:
            ledger.import_products(PRODUCTS)
        ledger.import_institutions(INSTITUTIONS)
        for document in tell_days(count):
            ledger.record([document], [(document.business_time.seconds + 5) * NS])
    finally:
        ledger.close()


def read_entries(directory: Path) -> list[bytes]:
    """The whole journal of a ledger that nobody has open."""
    ledger = Ledger.open(directory, person_key=PERSON_KEY, clock_ns=lambda: NOON * NS)
    try:
        return ledger.engine.entries(0, 1_000_000)
    finally:
        ledger.close()


def read_verdicts(directory: Path, count: int) -> list[bytes]:
    """What stands of each of the documents, and what was first said, in order."""
    ledger = Ledger.open(directory, person_key=PERSON_KEY, clock_ns=lambda: NOON * NS)
    try:
        read = []
        for document in tell_days(count):
            kind = document_pb2.DocumentKind.Value(f"DOCUMENT_KIND_{document.WhichOneof('content').upper()}")
            record = ledger.engine.document(document.institution_code, kind, document.document_number)
            if record is None:
                read.append(b"")
                continue
            for verdict in (record.verdict_first, record.verdict):
                read.append(verdict.SerializeToString(deterministic=True))
        return read
    finally:
        ledger.close()
