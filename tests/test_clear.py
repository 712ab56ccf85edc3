"""Store.clear by itself: what it writes, what keeps a document from being plain, and what the wire may do.

Whatever is cleared here is also applied by Index.apply to a store in dicts, from the entry alone; the records
must be equal. That no rule fires on it is for test_clearing.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from documents import (
    DAY,
    DRUG,
    HOUR,
    ITEM,
    NOON,
    NS,
    OTHER,
    OTHER_DRUG,
    OTHER_PACK,
    SHOP,
    code,
    line,
    receipt,
    sale,
)
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given, settings
from hypothesis import strategies as st

from tracecode import _native
from tracecode.answer import pass_finding, plain_verdict
from tracecode.code import read_scan
from tracecode.document import read_document
from tracecode.engine import records
from tracecode.engine.index import EVENTS_MAX, Index
from tracecode.engine.memory import MemoryStore
from tracecode.engine.records import CodeFlag, CodeRecord, DocumentIndexRecord
from tracecode.errors import FieldInvalid, Overloaded
from tracecode.finding import PROVISIONAL_SECONDS
from tracecode.v1 import catalogue_pb2, document_pb2, finding_pb2, journal_pb2

VERSION = "2026.3"
PASS = pass_finding().SerializeToString(deterministic=True)
GTIN = "06901234567892"
CARTON = "8111111"
"""An infusion: the carton is the smallest unit that has a code."""
TODAY = (NOON + 8 * HOUR) // DAY
"""The business day of NOON in China, days since 1970: 2026-03-15."""


def make_catalogue() -> dict[bytes, bytes]:
    """Two shops and three products, as records."""
    made = {}
    for number, institution_code in ((7, SHOP), (8, OTHER)):
        row = catalogue_pb2.Institution(institution_code=institution_code, uploads_receipt_codes=True)
        made[records.institution_key(institution_code)] = records.institution_to_bytes(number, row)
        made[records.institution_number_key(number)] = institution_code.encode()
    for product in (
        catalogue_pb2.Product(identifier=ITEM, package_level=1, drug_codes=[OTHER_PACK, DRUG]),
        catalogue_pb2.Product(identifier=GTIN, package_level=1, drug_codes=[OTHER_DRUG]),
        catalogue_pb2.Product(identifier=CARTON, package_level=3, smallest_unit=True, drug_codes=[DRUG]),
    ):
        made[records.product_key(product.identifier)] = records.product_to_bytes(product, held=False)
    return made


class Bench:
    """A native store that clears, and an index in dicts that applies what was cleared."""

    def __init__(self, directory: Path) -> None:
        self.store = _native.Store(
            str(directory), map_size_bytes=1 << 26, overlay_bytes_max=1 << 26, sync=False
        )
        self.store.configure(
            rule_base_version=VERSION,
            late_seconds=48 * HOUR,
            future_skew_seconds=300,
            provisional_seconds=PROVISIONAL_SECONDS,
            pass_finding=PASS,
        )
        self.memory = MemoryStore()
        self.index = Index(self.memory)
        for key, value in make_catalogue().items():
            self.put(key, value)

    def put(self, key: bytes, value: bytes) -> None:
        """Put a record into both; committed, so that what clearing leaves behind can be told."""
        self.store.put(key, value)
        self.store.commit()
        self.memory.put(key, value)

    def dump(self) -> dict[bytes, bytes]:
        """The records, without those the store keeps about itself."""
        own = {records.meta_key("format"), records.meta_key("applied_sequence")}
        return {key: value for key, value in self.store.scan(b"") if key not in own}

    def clear(self, *contents: bytes, delay: int = 60, request_id: str = "") -> int:
        """Clear documents received `delay` seconds after their business time (NOON if they have none);
        check what it did; how many were cleared."""
        times = []
        for content in contents:
            try:
                seconds = document_pb2.Document.FromString(content).business_time.seconds
            except DecodeError:
                seconds = 0
            times.append((max(seconds, 1) + delay) * NS)
        before, first = self.dump(), self.store.sequence
        verdicts = self.store.clear(list(contents), [request_id] * len(contents), times, 0)
        cleared = len(verdicts)
        assert self.store.sequence == first + cleared
        for position in range(cleared):
            value = self.store.entry(first + position + 1)
            assert value is not None
            entry = journal_pb2.JournalEntry.FromString(value)
            assert entry.SerializeToString(deterministic=True) == value
            assert entry.sequence == first + position + 1
            assert entry.receive_time_ns == times[position]
            assert entry.document.document == contents[position]
            assert entry.document.request_id == request_id
            assert entry.document.outcome == finding_pb2.OUTCOME_ACCEPTED
            assert entry.document.rule_base_version == VERSION
            assert entry.document.cleared
            time = document_pb2.Document.FromString(contents[position]).business_time.seconds
            verdict = plain_verdict(entry.sequence, time, times[position], VERSION)
            assert verdicts[position] == verdict.SerializeToString(deterministic=True)
            assert not entry.document.findings
            self.memory.append(value)
            self.index.apply(entry)
        assert self.dump() == (self.memory.dump() if cleared else before)
        return cleared

    def clear_document(self, document: document_pb2.Document, **options: object) -> bool:
        """Whether one document is plain."""
        return bool(self.clear(document.SerializeToString(deterministic=True), **options))

    def receive(self, *lines: document_pb2.Line, time: int = NOON - HOUR, number: str = "R0") -> None:
        """Goods in, which must be plain."""
        assert self.clear_document(receipt(SHOP, number, time, *lines))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A fresh store with a catalogue."""
    made = Bench(tmp_path / "ledger")
    with made.store:
        yield made


def key_of(serial: int, identifier: str = ITEM) -> bytes:
    """The record key of a box of the pool."""
    (reading,) = read_scan(code(serial, identifier))
    return records.code_key(reading.key)


# --- What is written ---------------------------------------------------------------------------------


def test_a_receipt_becomes_an_entry_and_its_codes_come_into_stock(bench: Bench) -> None:
    """Pins every byte that a plain receipt leaves: entry, document, request, batches, codes."""
    first = line(code(1), code(2), lot="L1", expiry="2027-06-30", batch="B1")
    second = line(f"01{GTIN}21S1\x1d10L2\x1d17270700", drug=OTHER_DRUG, batch="B2")
    document = receipt(SHOP, "R1", NOON, first, second, line(quantity="2.5", drug=""))
    before = bench.dump()

    assert bench.clear_document(document, request_id="q1")

    expected = journal_pb2.JournalEntry(
        sequence=1,
        receive_time_ns=(NOON + 60) * NS,
        document=journal_pb2.DocumentEntry(
            document=document.SerializeToString(deterministic=True),
            request_id="q1",
            outcome=finding_pb2.OUTCOME_ACCEPTED,
            rule_base_version=VERSION,
            previous_sequences=[0, 0, 0],
            cleared=True,
        ),
    )
    assert bench.store.entry(1) == expected.SerializeToString(deterministic=True)
    box = CodeRecord(
        state=2,
        event_count=1,
        institution=7,
        head=1,
        last_time=NOON,
        lot_hash=records.lot_hash("L1"),
        expiry_day=TODAY + 472,
    )
    imported = replace(box, lot_hash=records.lot_hash("L2"), expiry_day=TODAY + 503)
    (reading,) = read_scan(second.codes[0])
    assert {key: value for key, value in bench.dump().items() if key not in before} == {
        records.document_key(7, 3, "R1"): DocumentIndexRecord(1).to_bytes(),
        records.request_key(7, "q1"): records.U64.pack(1),
        records.batch_key(7, 3, "B1", 1): b"",
        records.batch_key(7, 3, "B2", 1): b"",
        key_of(1): box.to_bytes(),
        key_of(2): box.to_bytes(),
        records.code_key(reading.key): imported.to_bytes(),
    }


@pytest.mark.parametrize("asked", [False, True])
def test_a_sale_becomes_an_entry_and_its_codes_are_sold(bench: Bench, asked: bool) -> None:
    """Pins every byte that a plain sale leaves, reported or asked before settlement."""
    bench.receive(line(code(1), code(2), lot="L1", expiry="2027-06-30"))
    document = sale(SHOP, "S1", NOON, line(code(2), code(1), batch="B1"), asked=asked)

    assert bench.clear_document(document)

    value = bench.store.entry(2)
    assert value is not None
    assert list(journal_pb2.JournalEntry.FromString(value).document.previous_sequences) == [1, 1]
    sold = CodeRecord(
        state=4,
        event_count=2,
        institution=7,
        active_sales=1,
        head=2,
        last_time=NOON,
        lot_hash=records.lot_hash("L1"),
        expiry_day=TODAY + 472,
    )
    dump = bench.dump()
    assert dump[key_of(1)] == dump[key_of(2)] == sold.to_bytes()
    assert dump[records.document_key(7, 1, "S1")] == DocumentIndexRecord(2).to_bytes()
    assert dump[records.batch_key(7, 4, "B1", 2)] == b""


def test_clearing_stops_at_the_first_document_that_is_not_plain(bench: Bench) -> None:
    """Pins the order, `start`, and that what stands behind the first is not looked at."""
    contents = [
        receipt(SHOP, f"R{serial}", NOON, line(code(serial))).SerializeToString() for serial in range(3_000)
    ]
    contents[2_500] = b"nothing"
    ids, times = [""] * 3_000, [(NOON + 60) * NS] * 3_000

    assert len(bench.store.clear(contents, ids, times, 1)) == 2_499
    assert len(bench.store.clear(contents, ids, times, 2_500)) == 0
    assert len(bench.store.clear(contents, ids, times, 2_501)) == 499
    assert len(bench.store.clear(contents, ids, times, 3_000)) == 0
    assert len(bench.store.clear([], [], [], 0)) == 0

    assert (bench.store.sequence, bench.store.durable_sequence) == (2_998, 0)
    bench.store.commit()
    assert bench.store.durable_sequence == 2_998


def test_what_was_cleared_is_forgotten_by_a_rollback_and_found_after_a_flush(bench: Bench) -> None:
    """Pins that cleared documents stand in the same overlay as records put from Python."""
    before = bench.dump()
    content = [receipt(SHOP, "R1", NOON, line(code(1), batch="B1")).SerializeToString()]
    assert len(bench.store.clear(content, ["q"], [NOON * NS + 1], 0)) == 1

    bench.store.rollback()

    assert (bench.store.sequence, bench.dump()) == (0, before)
    assert len(bench.store.clear(content, ["q"], [NOON * NS + 1], 0)) == 1
    after = bench.dump()
    bench.store.flush()
    assert bench.store.memory()["overlay_records"] == 0
    assert bench.dump() == after
    assert len(bench.store.clear(content, ["q"], [NOON * NS + 1], 0)) == 0
    content = [sale(SHOP, "S1", NOON + HOUR, line(code(1))).SerializeToString()]
    assert len(bench.store.clear(content, [""], [(NOON + HOUR) * NS], 0)) == 1


def test_clearing_pushes_back_at_the_bound(tmp_path: Path) -> None:
    """Pins Overloaded, and that documents are cleared whole up to the bound."""
    with _native.Store(str(tmp_path / "ledger"), map_size_bytes=1 << 26, overlay_bytes_max=1 << 22) as store:
        store.configure(
            rule_base_version=VERSION,
            late_seconds=48 * HOUR,
            future_skew_seconds=300,
            provisional_seconds=PROVISIONAL_SECONDS,
            pass_finding=PASS,
        )
        for key, value in make_catalogue().items():
            store.put(key, value)
        contents = [
            receipt(
                SHOP, f"R{number}", NOON, line(*(code(number * 100 + box) for box in range(100)))
            ).SerializeToString()
            for number in range(500)
        ]
        ids, times = [""] * 500, [(NOON + 60) * NS] * 500

        cleared = len(store.clear(contents, ids, times, 0))

        assert 100 < cleared < 400
        with pytest.raises(Overloaded, match="overlay_bytes_max"):
            store.clear(contents, ids, times, cleared)
        store.commit()
        store.flush()
        assert store.clear(contents, ids, times, cleared)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda store: store.clear([b""], [], [1], 0), "equally long"),
        (lambda store: store.clear([b""], [""], [1], -1), "start counts from 0"),
        (lambda store: store.clear(["text"], [""], [1], 0), "bytes"),
        (lambda store: store.clear([b""], [b""], [1], 0), "str"),
        (lambda store: store.clear([b""], [""], ["1"], 0), "int"),
    ],
)
def test_what_cannot_be_asked_is_said(
    bench: Bench, act: Callable[[_native.Store], int], message: str
) -> None:
    """Pins the errors of the call itself; nothing is cleared, and the store goes on."""
    with pytest.raises((ValueError, TypeError), match=message):
        act(bench.store)

    bench.receive(line(code(1)))


def test_a_store_that_knows_no_rule_base_clears_nothing(tmp_path: Path) -> None:
    """Pins that entries always name the rule base under which they were cleared."""
    with (
        _native.Store(str(tmp_path / "ledger"), map_size_bytes=1 << 24, overlay_bytes_max=1 << 22) as store,
        pytest.raises(ValueError, match="configure says by which rule base"),
    ):
        store.clear([b""], [""], [1], 0)


# --- The guards, both sides of each ------------------------------------------------------------------

Change = Callable[[document_pb2.Document], object]


def set_line(**fields: object) -> Change:
    """Change fields of the first line."""

    def change(document: document_pb2.Document) -> None:
        for name, value in fields.items():
            setattr(document.lines[0], name, value)

    return change


def set_scans(*scans: str, quantity: str = "") -> Change:
    """Change the scans of the first line, and the quantity with them."""

    def change(document: document_pb2.Document) -> None:
        document.lines[0].codes[:] = scans
        document.lines[0].quantity = quantity or str(len(scans))

    return change


def set_fields(**fields: object) -> Change:
    """Change fields of the document; a dict goes into the content."""

    def change(document: document_pb2.Document) -> None:
        for name, value in fields.items():
            if isinstance(value, dict):
                for inner, inner_value in value.items():
                    setattr(getattr(document, name), inner, inner_value)
            else:
                setattr(document, name, value)

    return change


def set_time(seconds: int, nanos: int = 0) -> Change:
    """Change the business time."""

    def change(document: document_pb2.Document) -> None:
        document.business_time.seconds = seconds
        document.business_time.nanos = nanos

    return change


def number_lines(*numbers: int) -> Change:
    """Three lines of these numbers."""

    def change(document: document_pb2.Document) -> None:
        del document.lines[:]
        document.lines.extend(line(code(serial + 1), number=number) for serial, number in enumerate(numbers))

    return change


def box(serial: int = 1, more: str = "") -> str:
    """A GS1 scan of the pool."""
    return f"]d201{GTIN}21S{serial}{more}"


# Of any document: what keeps it plain, and what does not. `code(1)` to `code(9)` are in stock for a sale.
PLAIN: dict[str, Change] = {
    "as it is": set_fields(),
    "a memo in Chinese": set_fields(memo="备注"),
    "a terminal and an operator": set_fields(terminal_id="T-1", operator_token="f" * 128),
    "the longest number": set_fields(document_number="9" * 64),
    "a number with a blank": set_fields(document_number="A 1"),
    "a channel": set_fields(channel=2),
    "a fraction of a second": set_time(NOON, 999_999_999),
    "a scanner suffix": set_scans(code(1) + "\r\n"),
    "another drug code of the product": set_line(drug_code=OTHER_PACK),
    "a quantity with zeros": set_line(quantity="1.0000"),
    "a quantity with leading zeros": set_line(quantity="000000000001"),
    "a lot": set_line(lot_number="A-1 (B)"),
    "the longest lot": set_line(lot_number="9" * 30),
    "expiry today": set_line(expiry_date="2026-03-15"),
    "expiry on a leap day": set_line(expiry_date="2028-02-29"),
    "expiry on the 00th": set_line(expiry_date="2027-06-00"),
    "expiry on the 00th of a leap month": set_line(expiry_date="2028-02-00"),
    "expiry on the 00th of December": set_line(expiry_date="2027-12-00"),
    "made today": set_line(manufacture_date="2026-03-15"),
    "made on the first of days": set_line(manufacture_date="0001-01-01"),
    "names in Chinese": set_line(institution_drug_name="阿莫西林胶囊（0.25g×24）", manufacturer_name="甲厂"),
    "prices and the like": set_line(
        unit_price="1.5", final_price="x\ny", product_barcode="69", pricing_unit_type="1", shelf="\x00"
    ),
    "a prescription and a gift": set_line(prescription=True, gift=True, package_level=2**31 - 1),
    "a batch serial": set_line(batch_serial="批" * 21),
    "two codes": set_scans(code(1), code(2)),
    "two batch serials": lambda d: d.lines.extend([line(code(2), batch="B1"), line(code(3), batch="B1")]),
    "numbered lines": number_lines(1, 2, 3_000_000),
    "GS1": lambda d: (set_scans(box())(d), set_line(drug_code=OTHER_DRUG)(d)),
    "GS1 with lot and expiry": lambda d: (
        set_scans(box(more="\x1d10L1\x1d17270630\x1d11260315"))(d),
        set_line(drug_code=OTHER_DRUG, lot_number="L1", expiry_date="2027-06-30")(d),
    ),
    "a carton that is the smallest unit": set_scans(code(1, CARTON)),
}
NOT_PLAIN: dict[str, Change] = {
    "unknown institution": set_fields(institution_code="P13050000009"),
    "no institution": set_fields(institution_code=""),
    "a small letter": set_fields(institution_code="p13050000001"),
    "an institution code cut short": set_fields(institution_code=SHOP[:-1]),
    "an institution code with a letter": set_fields(institution_code=SHOP[:-1] + "A"),
    "no number": set_fields(document_number=""),
    "a number in Chinese": set_fields(document_number="单1"),
    "a number too long": set_fields(document_number="9" * 65),
    "no time": lambda d: d.ClearField("business_time"),
    "a time before 2000": set_time(946_684_799),
    "a time after 2099": set_time(4_102_444_800),
    "a negative time": set_time(-1),
    "negative nanos": set_time(NOON, -1),
    "too many nanos": set_time(NOON, 1_000_000_000),
    "offline": set_fields(offline=True),
    "a correction": set_fields(corrects_document_number="S0"),
    "a control character in the memo": set_fields(memo="a\tb"),
    "an ideographic space in the memo": set_fields(memo="a\u3000b"),
    "an emoji in the memo": set_fields(memo="😀"),
    "a memo too long": set_fields(memo="x" * 2_001),
    "a terminal too long": set_fields(terminal_id="x" * 65),
    "an operator too long": set_fields(operator_token="x" * 129),
    "no content": lambda d: d.ClearField(d.WhichOneof("content")),
    "another kind": lambda d: d.stock_count.SetInParent(),
    "no lines": lambda d: d.ClearField("lines"),
    "line numbers that repeat": number_lines(1, 1, 2),
    "line numbers that fall": number_lines(2, 1, 3),
    "line numbers on some lines": number_lines(1, 0, 0),
    "line numbers on later lines": number_lines(0, 2, 3),
    "a huge line number": set_line(line_number=2**31),
    "no quantity": set_line(quantity=""),
    "quantity 0": set_line(quantity="0"),
    "quantity 0.0": set_line(quantity="0.0"),
    "more than the codes": set_line(quantity="2"),
    "part of a pack": set_line(quantity="0.5"),
    "a whole and a part": set_line(quantity="1.5"),
    "a point without decimals": set_line(quantity="1."),
    "five decimals": set_line(quantity="1.00000"),
    "a sign": set_line(quantity="+1"),
    "thirteen digits": set_line(quantity="0000000000001"),
    "a power of ten": set_line(quantity="1e0"),
    "split": set_line(split=True),
    "no drug code": set_line(drug_code=""),
    "another drug code": set_line(drug_code=OTHER_DRUG),
    "a drug code cut short": set_line(drug_code=DRUG[:-1]),
    "a lot in Chinese": set_line(lot_number="批1"),
    "a lot too long": set_line(lot_number="9" * 31),
    "expiry on the 00th of no month": set_line(expiry_date="2027-00-00"),
    "expiry on the last 00th of all": set_line(expiry_date="9999-12-00"),
    "expiry on a day that is none": set_line(expiry_date="2027-02-29"),
    "expiry in month 13": set_line(expiry_date="2027-13-01"),
    "expiry in year 0": set_line(expiry_date="0000-01-01"),
    "expiry without dashes": set_line(expiry_date="20270630"),
    "expiry with strokes": set_line(expiry_date="2027/06/30"),
    "expiry cut short": set_line(expiry_date="2027-06-3"),
    "expiry in signs": set_line(expiry_date="2027-1/-01"),
    "expiry with a blank": set_line(expiry_date="2027-06- 1"),
    "made tomorrow": set_line(manufacture_date="2026-03-16"),
    "packages": lambda d: d.lines[0].packages.add(code=code(7)),
    "the same code twice": set_scans(code(1), code(1)),
    "the same code on two lines": lambda d: d.lines.append(line(code(1))),
    "the same code otherwise scanned": set_scans(code(1), code(1) + "\r"),
    "no scan in the code": set_scans(""),
    "a code in full width": set_scans("８" + code(1)[1:]),
    "a code too long": set_scans(code(1) + " " * 237),
    "two codes in one scan": set_scans(code(1) + code(2)),
    "a placeholder": set_scans("9" * 20),
    "an enterprise code": set_scans("ABCDEFGH12345"),
    "a product barcode": set_scans("6924561884074"),
    "an unknown product": set_scans(code(1, "8999999")),
    "GS1 of another lot": lambda d: (
        set_scans(box(more="\x1d10L2"))(d),
        set_line(drug_code=OTHER_DRUG, lot_number="L1")(d),
    ),
    "GS1 of another expiry": lambda d: (
        set_scans(box(more="\x1d17270630"))(d),
        set_line(drug_code=OTHER_DRUG, expiry_date="2027-06-29")(d),
    ),
    "GS1 made tomorrow": lambda d: (
        set_scans(box(more="\x1d11260316"))(d),
        set_line(drug_code=OTHER_DRUG)(d),
    ),
}
SALE_NOT_PLAIN: dict[str, Change] = {
    "no stage": set_fields(sale={"stage": 0}),
    "an unknown stage": set_fields(sale={"stage": 3}),
    "a person too long": set_fields(sale={"person_token": "x" * 129}),
    "a control character in a token": set_fields(sale={"pharmacist_token": "\x7f"}),
    "a line without codes": lambda d: d.lines.append(line(quantity="1")),
    "a code nobody received": set_scans(code(99)),
    "expired yesterday": set_line(expiry_date="2026-03-14"),
    "GS1 expired yesterday": lambda d: (
        set_scans(box(more="\x1d17260314"))(d),
        set_line(drug_code=OTHER_DRUG)(d),
    ),
    "another institution": set_fields(institution_code=OTHER),
    "sold when it was received": set_time(NOON - HOUR),
}


@pytest.mark.parametrize("change", PLAIN.values(), ids=PLAIN.keys())
def test_a_receipt_is_plain(bench: Bench, change: Change) -> None:
    """Pins the near side of the guards for goods in."""
    document = receipt(SHOP, "R1", NOON, line(code(1)))
    change(document)

    assert bench.clear_document(document)


@pytest.mark.parametrize("change", NOT_PLAIN.values(), ids=NOT_PLAIN.keys())
def test_a_receipt_is_not_plain(bench: Bench, change: Change) -> None:
    """Pins the far side of the guards for goods in."""
    document = receipt(SHOP, "R1", NOON, line(code(1)))
    change(document)

    assert not bench.clear_document(document)


@pytest.mark.parametrize("change", PLAIN.values(), ids=PLAIN.keys())
def test_a_sale_is_plain(bench: Bench, change: Change) -> None:
    """Pins the near side of the guards for a sale of boxes in stock."""
    bench.receive(
        line(*(code(serial) for serial in range(1, 10))),
        line(box(), drug=OTHER_DRUG),
        line(code(1, CARTON)),
    )
    document = sale(SHOP, "S1", NOON, line(code(1)))
    change(document)

    assert bench.clear_document(document)


@pytest.mark.parametrize(
    "change",
    [*NOT_PLAIN.values(), *SALE_NOT_PLAIN.values()],
    ids=[*NOT_PLAIN.keys(), *SALE_NOT_PLAIN.keys()],
)
def test_a_sale_is_not_plain(bench: Bench, change: Change) -> None:
    """Pins the far side of the guards for a sale of boxes in stock."""
    bench.receive(line(*(code(serial) for serial in range(1, 10))), line(box(), drug=OTHER_DRUG))
    document = sale(SHOP, "S1", NOON, line(code(1)))
    change(document)

    assert not bench.clear_document(document)


@pytest.mark.parametrize(
    ("quantity", "plain"),
    [
        ("1", True),
        ("0.5", True),
        ("0.0001", True),
        ("999999999999.9999", True),
        ("", False),
        ("0", False),
        ("0.0000", False),
        (".5", False),
        ("5.", False),
        ("1.x", False),
        ("x", False),
        ("1,5", False),
        ("0.00001", False),
        ("1000000000000", False),
    ],
)
def test_a_receipt_without_codes_has_a_quantity(bench: Bench, quantity: str, plain: bool) -> None:
    """Pins that such a line needs a number only, as tracecode/document.py takes it."""
    document = receipt(SHOP, "R1", NOON, line(drug=""))
    document.lines[0].quantity = quantity

    assert bench.clear_document(document) is plain


@pytest.mark.parametrize(
    ("delay", "plain"), [(48 * HOUR, True), (48 * HOUR + 1, False), (-300, True), (-301, False)]
)
def test_a_document_is_neither_late_nor_early(bench: Bench, delay: int, plain: bool) -> None:
    """Pins both ends of the time in which a document is expected."""
    assert bench.clear_document(receipt(SHOP, "R1", NOON, line(code(1))), delay=delay) is plain


@pytest.mark.parametrize(
    ("request_id", "plain"),
    [("x" * 64, True), ("x" * 65, False), ("号", False), ("a\n", False), ("\ud800", False)],
)
def test_a_request_id_is_short_and_printable(bench: Bench, request_id: str, plain: bool) -> None:
    """Pins what a request_id may be."""
    document = receipt(SHOP, "R1", NOON, line(code(1)))

    assert bench.clear_document(document, request_id=request_id) is plain


@pytest.mark.parametrize(("count", "plain"), [(3_500, True), (3_501, False)])
@pytest.mark.parametrize("lines", [False, True])
def test_a_document_has_at_most_3500_lines_and_codes(
    bench: Bench, count: int, plain: bool, lines: bool
) -> None:
    """Pins the bound of the platform, for lines and for codes."""
    codes = [code(serial) for serial in range(count)]
    made = [line(one) for one in codes] if lines else [line(*codes)]

    assert bench.clear_document(receipt(SHOP, "R1", NOON, *made)) is plain


IN_STOCK = CodeRecord(state=2, event_count=1, institution=7, head=0, last_time=NOON - 1)


@pytest.mark.parametrize(
    ("record", "change", "plain"),
    [
        (IN_STOCK, set_fields(), True),
        (replace(IN_STOCK, event_count=EVENTS_MAX - 2), set_fields(), True),
        (replace(IN_STOCK, event_count=EVENTS_MAX - 1), set_fields(), False),
        *((replace(IN_STOCK, state=state), set_fields(), False) for state in (1, 3, 4, 5, 6, 7)),
        *((replace(IN_STOCK, flags=flag), set_fields(), flag is CodeFlag.PACKAGE) for flag in CodeFlag),
        (replace(IN_STOCK, institution=8), set_fields(), False),
        (replace(IN_STOCK, active_sales=1), set_fields(), False),
        (replace(IN_STOCK, return_cycles=1), set_fields(), False),
        (replace(IN_STOCK, last_time=NOON), set_fields(), False),
        (replace(IN_STOCK, expiry_day=TODAY), set_fields(), True),
        (replace(IN_STOCK, expiry_day=TODAY - 1), set_fields(), False),
        (replace(IN_STOCK, expiry_day=TODAY), set_line(expiry_date="2026-03-15"), True),
        (replace(IN_STOCK, expiry_day=TODAY), set_line(expiry_date="2026-03-16"), False),
        (replace(IN_STOCK, lot_hash=records.lot_hash("L1")), set_line(lot_number="L1"), True),
        (replace(IN_STOCK, lot_hash=records.lot_hash("L1")), set_line(lot_number="L2"), False),
        (replace(IN_STOCK, lot_hash=records.lot_hash("L1")), set_fields(), True),
    ],
)
def test_a_sale_is_plain_by_what_is_known_of_the_box(
    tmp_path: Path, record: CodeRecord, change: Change, plain: bool
) -> None:
    """Pins the guard on each field of a code's record. The index in dicts has no such past to fold, so
    what is written is compared with the record itself."""
    document = sale(SHOP, "S1", NOON, line(code(1)))
    change(document)
    bench = Bench(tmp_path / "ledger")
    bench.put(key_of(1), record.to_bytes())

    cleared = bench.store.clear([document.SerializeToString()], [""], [(NOON + 1) * NS], 0)

    sold = replace(
        record, state=4, event_count=record.event_count + 1, active_sales=1, head=1, last_time=NOON
    )
    assert bool(cleared) == plain
    assert bench.store.get(key_of(1)) == (sold if plain else record).to_bytes()
    bench.store.close()


def test_a_code_that_is_known_does_not_come_in_plainly(bench: Bench) -> None:
    """Pins that any record of a code, even of one never received, sends its receipt to the rules."""
    bench.put(key_of(1), CodeRecord(flags=CodeFlag.HELD).to_bytes())

    assert not bench.clear_document(receipt(SHOP, "R1", NOON, line(code(2), code(1))))


def make_product(**fields: object) -> bytes:
    """The record of the pool's product with fields changed; `held` is the list."""
    held = bool(fields.pop("held", False))
    row = catalogue_pb2.Product(identifier=ITEM, package_level=1, drug_codes=[DRUG])
    for name, value in fields.items():
        setattr(row, name, value)
    return records.product_to_bytes(row, held=held)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (make_product(), True),
        (make_product(learned=True), True),
        (make_product(package_level=2), False),
        (make_product(package_level=2, smallest_unit=True), True),
        (make_product(package_level=0), False),
        (make_product(held=True), False),
        (b"", False),
        (make_product()[:11], False),
        (make_product()[:20], False),
    ],
)
def test_a_product_is_a_sales_unit_on_no_list(bench: Bench, value: bytes, plain: bool) -> None:
    """Pins the guard on products, also on a record that is cut short."""
    bench.put(records.product_key(ITEM), value)

    assert bench.clear_document(receipt(SHOP, "R1", NOON, line(code(1)))) is plain


def serving(*periods: str) -> bytes:
    """The record of an institution whose service periods are these."""
    institution = catalogue_pb2.Institution(institution_code=SHOP)
    for period in periods:
        start, _, end = period.partition("..")
        institution.service_periods.append(catalogue_pb2.ServicePeriod(start_date=start, end_date=end))
    return records.institution_to_bytes(7, institution)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (records.institution_to_bytes(7, catalogue_pb2.Institution(institution_code=SHOP)), True),
        (records.institution_to_bytes(7, None), False),
        (serving("2026-03-15..2026-03-15"), True),
        (serving("2024-01-01.."), True),
        (serving("2024-01-01..2026-03-14"), False),
        (serving("2026-03-16.."), False),
        (serving("2024-01-01..2026-03-31", "2026-06-01.."), False),
        (b"\x07", False),
    ],
)
def test_an_institution_is_registered_and_always_in_service(bench: Bench, value: bytes, plain: bool) -> None:
    """Pins the guard on institutions."""
    bench.put(records.institution_key(SHOP), value)

    assert bench.clear_document(receipt(SHOP, "R1", NOON, line(code(1)))) is plain


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize(
    ("key", "value", "plain"),
    [
        (records.batch_deletion_key(7, 4, "B1", 9), b"", False),
        (records.batch_deletion_key(7, 3, "B1", 9), b"", True),
        (records.batch_deletion_key(8, 4, "B1", 9), b"", True),
        (records.batch_deletion_key(7, 4, "B12", 9), b"", True),
        (records.document_key(7, 1, "S1"), DocumentIndexRecord(deleted_by=9).to_bytes(), False),
        (records.document_key(7, 3, "S1"), DocumentIndexRecord(9).to_bytes(), True),
        (records.request_key(7, "q1"), records.U64.pack(9), False),
        (records.child_key(key_of(1)[1:], key_of(2)[1:]), b"", False),
        (records.child_key(key_of(3)[1:], key_of(2)[1:]), b"", True),
        (records.parent_key(key_of(1)[1:], b"S12345"), b"", True),
        (records.parent_key(key_of(1)[1:], key_of(8)[1:]), b"", False),
        (records.parent_key(key_of(2)[1:], key_of(8)[1:]), b"", True),
    ],
)
def test_nothing_waits_for_a_sale_or_hangs_on_its_boxes(
    tmp_path: Path, key: bytes, value: bytes, plain: bool, flushed: bool
) -> None:
    """Pins deletions that came first, identities in use, and packages: a box that holds others, or that is
    inside a package on hold (`code(8)`); wherever the records are."""
    bench = Bench(tmp_path / "ledger")
    bench.receive(line(code(1), batch="B1"))
    bench.put(key_of(8), CodeRecord(flags=CodeFlag.HELD).to_bytes())
    bench.put(key, value)
    if key[:1] in b"kq":
        known = CodeRecord.from_bytes(bench.dump()[key_of(1)])
        bench.put(key_of(1), replace(known, flags=CodeFlag.PACKAGE).to_bytes())
    if flushed:
        bench.store.flush()
    content = sale(SHOP, "S1", NOON, line(code(1), batch="B1")).SerializeToString()

    assert len(bench.store.clear([content], ["q1"], [NOON * NS], 0)) == plain

    bench.store.rollback()
    bench.store.delete(key)
    if key[:1] != b"c":
        assert len(bench.store.clear([content], ["q1"], [NOON * NS], 0)) == 1
    bench.store.close()


# --- The wire ----------------------------------------------------------------------------------------


def field(number: int, wire_type: int, payload: bytes) -> bytes:
    """A field as bytes; the payload of type 2 gets its length."""
    tag = (
        bytes([number << 3 & 0x7F | wire_type | 0x80, number >> 4])
        if number > 15
        else bytes([number << 3 | wire_type])
    )
    return tag + (bytes([len(payload)]) if wire_type == 2 else b"") + payload


LINE = line(code(1)).SerializeToString()
DOCUMENT = receipt(SHOP, "R1", NOON, line(code(1))).SerializeToString()
BARE = (
    field(1, 2, SHOP.encode())
    + field(2, 2, b"R1")
    + field(3, 2, b"\x08\xc0\xdd\xd8\xcd\x06")
    + field(4, 2, LINE)
)
HEAD = BARE[: -len(field(4, 2, LINE))]
RECEIPT = DOCUMENT[len(BARE) :]


@pytest.mark.parametrize(
    ("content", "plain"),
    [
        (DOCUMENT, True),
        (field(4, 2, LINE) + HEAD + RECEIPT, False),
        (BARE + field(8, 0, b"\0") + RECEIPT, False),
        (BARE + field(10, 2, b"") + RECEIPT, False),
        (BARE + field(10, 2, b"a") + RECEIPT, True),
        (BARE + RECEIPT + field(10, 2, b"a"), False),
        (b"", False),
        (DOCUMENT[:-1], False),
        (DOCUMENT + b"\x80", False),
        (BARE + field(11, 0, b"\0") + RECEIPT, False),
        (DOCUMENT + field(30, 2, b""), False),
        (DOCUMENT + field(0, 0, b"\0"), False),
        (BARE + field(7, 0, b"\x81\x00") + RECEIPT, False),
        (BARE + field(7, 0, b"\xff" * 9 + b"\x01") + RECEIPT, False),
        (BARE + field(7, 0, b"\xff" * 9 + b"\x7f") + RECEIPT, False),
        (BARE + field(8, 0, b"\2") + RECEIPT, False),
        (BARE + field(8, 2, b"") + RECEIPT, False),
        (BARE + field(8, 5, b"\0\0\0\0") + RECEIPT, False),
        (BARE + field(8, 1, b"\0" * 8) + RECEIPT, False),
        (BARE + field(10, 3, b"") + field(10, 4, b"") + RECEIPT, False),
        (BARE + field(10, 0, b"\0") + RECEIPT, False),
        (BARE + field(10, 2, b"a")[:-1], False),
        (BARE + field(10, 2, b"a") + field(10, 2, b"a") + RECEIPT, False),
        (BARE + field(2, 2, b"R1") + RECEIPT, False),
        (BARE + field(16, 2, b"\x08\x02") + RECEIPT, False),
        (DOCUMENT + field(18, 2, b""), False),
        (BARE + field(18, 2, b""), True),
        (BARE + field(18, 2, b"\x0a\x01a"), True),
        (BARE + field(18, 2, b"\x0a\x01\xff"), False),
        (BARE + field(18, 2, b"\x32\x00"), False),
        (BARE + field(17, 2, b""), False),
        (BARE + field(10, 2, b"\xff") + RECEIPT, False),
        (BARE + field(10, 2, b"\xc0\x80") + RECEIPT, False),
        (BARE + field(10, 2, b"\xe0\x80\xaf") + RECEIPT, False),
        (BARE + field(10, 2, b"\xed\xa0\x80") + RECEIPT, False),
        (BARE + field(10, 2, b"\xf4\x90\x80\x80") + RECEIPT, False),
        (BARE + field(10, 2, b"\xe4\xb8") + RECEIPT, False),
        (HEAD + field(4, 2, LINE + field(20, 2, b"\xff")) + RECEIPT, False),
        (HEAD + field(4, 2, LINE + field(20, 2, b"\xf0\x9f\x98\x80")) + RECEIPT, True),
        (HEAD + field(4, 2, LINE + field(25, 0, b"\0")) + RECEIPT, False),
        (HEAD + field(4, 2, LINE + field(3, 0, b"\0")) + RECEIPT, False),
        (HEAD + field(4, 2, LINE + field(1, 0, b"\x80\x80\x80\x80\x10")) + RECEIPT, False),
    ],
)
def test_only_what_an_ordinary_encoder_writes_is_plain(bench: Bench, content: bytes, plain: bool) -> None:
    """Pins the strictness of the wire: what is odd is left to the full path, never misread."""
    assert bool(bench.clear(content)) is plain


def has_unknown_fields(message: document_pb2.Document) -> bool:
    """Whether protobuf kept bytes that it has no name for, in the document or in a line."""
    parts = [message, message.business_time, message.sale, message.receipt, *message.lines]
    return any(len(UnknownFieldSet(part)) for part in parts)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(
        [
            sale(SHOP, "S1", NOON, line(code(1), lot="L1", batch="B1", expiry="2027-06-30")),
            receipt(SHOP, "R1", NOON, line(code(11)), line(code(12), quantity="1.0")),
        ]
    ),
    st.lists(st.tuples(st.sampled_from("rid"), st.integers(0, 400), st.integers(0, 255)), max_size=3),
)
def test_what_is_cleared_protobuf_and_the_field_checks_take_too(
    document: document_pb2.Document, changes: list[tuple[str, int, int]]
) -> None:
    """Pins, on damaged bytes, that clearing never takes what read_document refuses, and reads the same."""
    content = bytearray(document.SerializeToString())
    for kind, place, byte in changes:
        at = place % len(content)
        content[at : at + (kind != "i")] = b"" if kind == "d" else bytes([byte])
    bench = shared_bench()

    cleared = bench.store.clear([bytes(content)], [""], [(NOON + 60) * NS], 0)

    if cleared:
        value = bench.store.entry(bench.store.sequence)
        assert value is not None
        read = read_document(bytes(content))
        parsed = document_pb2.Document.FromString(bytes(content))
        assert not has_unknown_fields(parsed)
        assert {key for key in bench.dump() if key[:1] in b"d"} >= {
            records.document_key(7, read.kind, read.number)
        }
        previous = journal_pb2.JournalEntry.FromString(value).document.previous_sequences
        assert len(previous) == sum(len(row.scans) for row in read.lines)
    else:
        assert changes
    bench.store.rollback()


_shared: list[Bench] = []


def shared_bench() -> Bench:
    """One store for all examples of a property; each example rolls back what it cleared."""
    return _shared[0]


@pytest.fixture(autouse=True, scope="module")
def _share(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    bench = Bench(tmp_path_factory.mktemp("clear") / "ledger")
    bench.receive(line(*(code(serial) for serial in range(1, 10))))
    bench.store.commit()
    _shared.append(bench)
    yield
    _shared.clear()
    bench.store.close()


def test_random_bytes_are_not_plain() -> None:
    """Pins that no bytes at all can break the reader."""
    noise = random.Random(3)
    bench = shared_bench()
    contents = [noise.randbytes(noise.randrange(300)) for _ in range(5_000)]

    for content in contents:
        assert len(bench.store.clear([content], [""], [NOON * NS], 0)) == 0
    with pytest.raises(FieldInvalid):
        read_document(contents[0])


def test_readers_beside_clearing_see_documents_whole(tmp_path: Path) -> None:
    """Pins that a document's records appear together: who sees the box sold, sees the sale that sold it,
    while documents are cleared without the GIL, committed and written back."""
    bench = Bench(tmp_path / "ledger")
    store, count = bench.store, 3_000
    assert store.clear(
        [receipt(SHOP, "R1", NOON, line(*(code(n) for n in range(count)))).SerializeToString()],
        [""],
        [NOON * NS],
        0,
    )
    store.commit()
    sales = [sale(SHOP, f"S{n}", NOON + HOUR, line(code(n))).SerializeToString() for n in range(count)]
    failures: list[BaseException] = []
    seen_sold = [0]
    ended = threading.Event()

    def read() -> None:
        picks = random.Random(5)
        try:
            while not ended.is_set():
                n = picks.randrange(count)
                value = store.get(key_of(n))
                assert value is not None
                record = CodeRecord.from_bytes(value)
                if record.state == 4:
                    sold_by = store.get(records.document_key(7, 1, f"S{n}"))
                    assert sold_by is not None
                    assert DocumentIndexRecord.from_bytes(sold_by).sequence == record.head
                    assert store.entry(record.head) is not None
                    seen_sold[0] += 1
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for begin in range(0, count, 100):
            batch = sales[begin : begin + 100]
            assert len(store.clear(batch, [""] * 100, [(NOON + HOUR) * NS] * 100, 0)) == 100
            store.commit()
            store.flush(wait=False)
            time.sleep(0.005)
    finally:
        ended.set()
        for reader in readers:
            reader.join()
    store.close()

    assert failures == []
    assert seen_sold[0] > 100
