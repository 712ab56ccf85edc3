"""A small ledger with something of everything in it, and all that it answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from documents import (
    DAY,
    FAR,
    HOUR,
    INSTITUTIONS,
    NOON,
    NS,
    OTHER,
    PRODUCTS,
    QUIET,
    SHOP,
    code,
    deletion,
    line,
    receipt,
    sale,
    sale_return,
)
from google.protobuf.message import Message

from tracecode.code import read_scan
from tracecode.engine.lmdb import LmdbEngine
from tracecode.errors import TracecodeError
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import catalogue_pb2, document_pb2, ledger_service_pb2

PERSON_KEY = PersonKey(b"k" * 32)
MAP_SIZE_BYTES = 64 * 2**20
SERIALS = 120
"""Boxes that were told of; as many again were not."""
Answers = dict[str, bytes]


def read_clock() -> int:
    """A time at which every verdict of the ledger is final."""
    return (NOON + 30 * DAY) * NS


def open_small(folder: Path, clock_ns: Callable[[], int] = read_clock) -> Ledger:
    """Open the ledger in a folder with a map that is small enough to open thousands of times."""
    engine = LmdbEngine(folder, None, clock_ns(), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=8 * 2**20)
    return Ledger(engine, PERSON_KEY, clock_ns)


def list_documents() -> list[document_pb2.Document]:
    """Receipts, sales, returns, deletions, a long document, and one sale that is no honest one."""
    told = []
    shops = (SHOP, OTHER, FAR)
    for first in range(0, SERIALS, 6):
        shop = shops[first % 3]
        codes = [code(serial) for serial in range(first, first + 6)]
        told.append(receipt(shop, f"R{first}", NOON + first, line(*codes)))
        told.append(sale(shop, f"S{first}", NOON + HOUR + first, line(codes[0]), line(codes[1])))
        if first % 12 == 0:
            told.append(sale_return(shop, f"T{first}", NOON + 2 * HOUR, line(codes[1]), of=f"S{first}"))
        if first % 30 == 0:
            told.append(deletion(shop, f"D{first}", NOON + 3 * HOUR, deletes=f"S{first}"))
        if first % 18 == 0:
            told.append(sale(QUIET, f"X{first}", NOON + 4 * HOUR, line(codes[0])))
    # Longer than a page: its entry lies on pages of its own.
    told.append(sale(SHOP, "LONG", NOON + 5 * HOUR, *(line(code(10_000 + n)) for n in range(150))))
    return told


def record_small(folder: Path, keep: Callable[[], None]) -> None:
    """Make the ledger, in commits and flushes enough that its files have pages freed and used again; `keep`
    is called after each of its days."""
    told = list_documents()
    for at in range(0, len(told), 20):
        ledger = open_small(folder)
        ledger.import_institutions(INSTITUTIONS)
        ledger.import_products(PRODUCTS)
        hold = catalogue_pb2.Hold(
            hold_id="H1", identifier="8206233", lot_number="L9", reason=catalogue_pb2.HOLD_REASON_RECALL
        )
        ledger.import_holds([hold])
        for begin in range(at, min(at + 20, len(told)), 5):
            ledger.record(told[begin : min(begin + 5, at + 20)])
        ledger.close()
        keep()


def ask_all(ledger: Ledger) -> Answers:
    """Everything that anybody may ask, by question; what was refused stands as the name of the error."""
    answers: Answers = {}

    def ask(question: str, answer: Callable[[], Message]) -> None:
        try:
            said = answer()
        except TracecodeError as error:
            answers[question] = type(error).__name__.encode()
        else:
            answers[question] = said.SerializeToString(deterministic=True)

    serials = [*range(2 * SERIALS), *range(9_990, 10_160)]
    for serial in serials:
        key = read_scan(code(serial))[0].key
        ask(f"code {serial}", lambda key=key: ledger.engine.code(key))
    for serial in serials[::7]:
        request = ledger_service_pb2.ListCodeEventsRequest(code=code(serial))
        ask(f"events {serial}", lambda request=request: ledger.list_code_events(request))
    questions = [ledger_service_pb2.CodeQuestion(code=code(serial)) for serial in serials[::5]]
    for at in range(0, len(questions), 5):
        verify = ledger_service_pb2.VerifyCodesRequest(institution_code=SHOP, codes=questions[at : at + 5])
        ask(f"verify {at}", lambda verify=verify: ledger.verify(verify))
    for document in list_documents():
        content = document.WhichOneof("content")
        get = ledger_service_pb2.GetDocumentRequest(
            institution_code=document.institution_code,
            kind=document_pb2.DocumentKind.Value(f"DOCUMENT_KIND_{content.upper()}"),
            document_number=document.document_number,
        )
        question = f"{content} {document.institution_code} {document.document_number}"
        ask(question, lambda get=get: ledger.get_document(get))
    for institution in (SHOP, OTHER, FAR, QUIET):
        stock = ledger_service_pb2.ListStockRequest(institution_code=institution)
        ask(f"stock {institution}", lambda stock=stock: ledger.list_stock(stock))
    for identifier in ("8206233", "8021762", "8999999"):
        ask(f"product {identifier}", lambda identifier=identifier: ledger.get_product(identifier))
    answers["sequence"] = str(ledger.engine.sequence).encode()
    return answers
