"""The lines relation: the native reader and the readable one give the same rows.

Goal: what native/lines.pxi takes it reads as tracecode/views/lines.py does; what it does not take it hands
back. Method: random documents, findings and revisions become journal entries, some with a byte changed; every
column of every row is compared.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from documents import (
    HOUR,
    INSTITUTIONS,
    NOON,
    NS,
    PRODUCTS,
    SHOP,
    code,
    deletion,
    line,
    receipt,
    sale,
    stock_count,
)
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from test_clearing import documents

from tracecode._native import Store, extract_entries
from tracecode.errors import DataLoss
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import document_pb2, finding_pb2, journal_pb2
from tracecode.views.lines import DELETIONS, FINDINGS, LINES, Extract, extract, read_entries, read_lines

PRICES = ("", "12.5", "0.000001", "999999999999.999999", "1e3", "1.1234567", "十元", "-1", ".5", "5.")


@st.composite
def worn_documents(draw: st.DrawFn) -> document_pb2.Document:
    """A document with all that the relation has a column for, and some that only the readable way takes."""
    document, _, _ = draw(documents())
    document.terminal_id = draw(st.sampled_from(["", "T1", "收银台"]))
    document.operator_token = draw(st.sampled_from(["", "o" * 32]))
    document.corrects_document_number = draw(st.sampled_from(["", "", "S0"]))
    if document.HasField("sale"):
        document.sale.prescriber_token = draw(st.sampled_from(["", "p1"]))
        document.sale.prescription_number = draw(st.sampled_from(["", "RX"]))
    if document.HasField("receipt"):
        document.receipt.supplier_name = draw(st.sampled_from(["", "甲公司"]))
        document.receipt.supplier_licence_number = draw(st.sampled_from(["", "L1"]))
    if draw(st.integers(0, 9)) == 0 and document.lines:
        document = stock_count(SHOP, "C1", NOON, *document.lines)
    if draw(st.booleans()):
        for place, row in enumerate(document.lines):
            row.line_number = draw(st.sampled_from([place + 1, place + 10, 4_294_967_295 - place]))
    for row in document.lines:
        row.unit_price = draw(st.sampled_from(PRICES))
        row.final_price = draw(st.sampled_from(PRICES))
        row.quantity = draw(st.sampled_from(["1", "2", "0.5", "12.3456", "999999999999.9999", "007"]))
        row.gift, row.prescription = draw(st.booleans()), draw(st.booleans())
        if draw(st.integers(0, 9)) == 0:
            row.packages.add(code=code(900), child_codes=[code(901), "0000"])
    return document


@st.composite
def findings(draw: st.DrawFn) -> finding_pb2.Finding:
    """A finding about the document, a line, a code of the pool, or something that is on no line."""
    return finding_pb2.Finding(
        type=finding_pb2.FindingType.ValueType(draw(st.integers(1, 52))),
        severity=finding_pb2.Severity.ValueType(draw(st.integers(1, 4))),
        final_severity=finding_pb2.Severity.ValueType(draw(st.integers(1, 4))),
        mode=finding_pb2.Mode.ValueType(draw(st.integers(1, 3))),
        line_number=draw(st.integers(0, 3)),
        code=draw(st.sampled_from(["", code(1), code(2), "(01)06901234567892(21)A1", "半"])),
        grade=draw(st.integers(0, 5)),
        revisable=draw(st.booleans()),
        evidence=[finding_pb2.Evidence(name="earlier_sale", sequence=3)] * draw(st.integers(0, 2)),
    )


@st.composite
def entries(draw: st.DrawFn) -> list[bytes]:
    """Some entries in a row, from 1."""
    made = []
    for sequence in range(1, draw(st.integers(1, 6)) + 1):
        time = (NOON + 61 * HOUR) * NS + draw(st.integers(0, 10**9))
        entry = journal_pb2.JournalEntry(sequence=sequence, receive_time_ns=time)
        found = draw(st.lists(findings(), max_size=3))
        what = draw(st.integers(0, 9))
        if what == 0:
            entry.rule_base_change.version = "v"
        elif what <= 2:
            entry.revision.revised_sequence = 1
            entry.revision.revision = draw(st.integers(1, 3))
            entry.revision.cause_sequence = sequence
            entry.revision.findings.extend(found)
        else:
            entry.document.document = draw(worn_documents()).SerializeToString(deterministic=True)
            entry.document.outcome = finding_pb2.Outcome.ValueType(draw(st.integers(1, 2)))
            entry.document.findings.extend(found)
            entry.document.rule_base_version = "v"
            entry.document.previous_sequences.extend([0, 300])
            entry.document.cleared = draw(st.booleans())
        made.append(entry.SerializeToString(deterministic=True))
    return made


def assert_same(one: Extract, other: Extract) -> None:
    """Every relation equal, and its Arrow columns sound."""
    assert (one.after, one.sequence) == (other.after, other.sequence)
    for name in ("lines", "findings", "deletions"):
        ours, theirs = getattr(one, name), getattr(other, name)
        ours.validate(full=True)
        assert ours.schema == theirs.schema
        assert ours.to_pylist() == theirs.to_pylist()


@settings(max_examples=80, deadline=None)
@given(entries())
def test_the_native_reader_and_the_readable_one_give_the_same_rows(values: list[bytes]) -> None:
    """Pins every column of every relation, for documents of all kinds, odd fields and odd scans."""
    assert_same(read_entries(values, 0), extract(values, 0))


@settings(max_examples=80, deadline=None)
@given(entries(), st.data())
def test_an_entry_of_odd_bytes_is_read_alike_or_left(values: list[bytes], data: st.DataObject) -> None:
    """Pins that bytes which no encoder writes are never read as something else than protobuf reads.

    Of bytes that are no message nothing is promised: an entry's checksum told before.
    """
    value = bytearray(values[0])
    value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    lines, found, left = extract_entries([bytes(value)])
    if left:
        assert left == [bytes(value)]
        assert lines[0] == found[0] == 0
        return
    try:
        expected = extract([bytes(value)], 0)
    except DecodeError:
        return
    except (ValueError, KeyError, ArithmeticError) as error:
        pytest.fail(f"read natively, though the readable way says {error!r}")
    assert_same(read_entries([bytes(value)], 0), expected)


def test_plain_entries_are_read_natively() -> None:
    """The properties above would hold for a reader that leaves everything: plain days must be taken."""
    made = []
    plain = [
        receipt(SHOP, "R1", NOON, line(code(1)), line(code(2))),
        sale(SHOP, "S1", NOON + HOUR, line(code(1))),
        stock_count(SHOP, "C1", NOON + HOUR, line(code(2))),
    ]
    for sequence, document in enumerate(plain, 1):
        entry = journal_pb2.JournalEntry(sequence=sequence, receive_time_ns=(NOON + 2 * HOUR) * NS)
        entry.document.document = document.SerializeToString()
        entry.document.outcome = finding_pb2.OUTCOME_ACCEPTED
        made.append(entry.SerializeToString(deterministic=True))
    (rows, _), _, left = extract_entries(made)
    assert (rows, left) == (4, [])


def test_a_row_says_what_was_reported(tmp_path: Path) -> None:
    """Pins the meaning of the columns by one sale, read from the journal of a ledger."""
    row = line(code(1))
    row.final_price, row.quantity, row.lot_number = "12.345", "1", "L1"
    odd = line("http://x")
    ledger = Ledger.open(
        tmp_path / "ledger", person_key=PersonKey(b"k" * 32), clock_ns=lambda: (NOON + 9) * NS
    )
    try:
        ledger.import_products(PRODUCTS)
        ledger.import_institutions(INSTITUTIONS)
        ledger.record([sale(SHOP, "S1", NOON, row, odd, settlement="T1", person="A")])
        ledger.record([deletion(SHOP, "D1", NOON + 5, deletes="S1")])
    finally:
        ledger.close()
    with Store(
        str(tmp_path / "ledger"), map_size_bytes=1 << 30, overlay_bytes_max=0, read_only=True
    ) as store:
        read = read_lines(store, 0)
        entries = store.entries(0, 100)
        assert read.sequence == store.durable_sequence
        assert read_lines(store, read.sequence).sequence == read.sequence
        # However it is cut, the rows are the same.
        parts, after = [], 0
        while after < read.sequence:
            part = read_lines(store, after, 2)
            assert part.after == after
            parts += part.lines.to_pylist()
            after = part.sequence
        assert parts == read.lines.to_pylist()
    assert_same(read, extract(entries, 0))
    first, second = read.lines.to_pylist()
    assert first["business_time"] == datetime(2026, 3, 15, 4)
    assert first["business_day"] == date(2026, 3, 15)
    assert (first["institution_code"], first["division_code"]) == (SHOP, "130500")
    assert (first["code"], first["product"], first["lot"]) == (code(1), "8206233", "L1")
    assert (first["quantity"], first["amount"]) == (Decimal(1), Decimal("12.35"))
    assert first["person_token"] not in ("", "A")
    assert finding_pb2.FINDING_TYPE_STOCK_NEVER_RECEIVED in first["findings"]
    assert (second["code"], second["scan"], second["line_number"]) == (None, "http://x", 2)
    [taken] = read.deletions.to_pylist()
    assert (taken["deleted_type"], taken["deleted_document_number"]) == (4, "S1")


def test_a_damaged_journal_is_not_read_on(tmp_path: Path) -> None:
    """Pins that rows are made of entries whose checksum holds, and of a journal without a gap."""
    ledger = Ledger.open(tmp_path / "ledger", person_key=PersonKey(b"k" * 32), clock_ns=lambda: NOON * NS)
    ledger.import_products(PRODUCTS)
    ledger.close()
    path = tmp_path / "ledger" / "journal" / "data.mdb"
    path.write_bytes(path.read_bytes().replace("阿莫西林".encode(), "阿莫西村".encode()))
    with (
        Store(str(tmp_path / "ledger"), map_size_bytes=1 << 30, overlay_bytes_max=0, read_only=True) as store,
        pytest.raises(DataLoss),
    ):
        read_lines(store, 0)


@pytest.mark.parametrize("schema", [LINES, FINDINGS, DELETIONS], ids=["lines", "findings", "deletions"])
def test_every_column_says_what_it_means(schema: object) -> None:
    """Pins that no column is without its meaning, which readers of the Parquet files see too."""
    assert all(len(field.metadata[b"meaning"]) > 5 for field in schema)  # type: ignore[attr-defined]
