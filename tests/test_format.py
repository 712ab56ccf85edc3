"""native/FORMAT.md against the code: every example is what records.py makes and what a store holds."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import lmdb
import pytest

from tracecode import _native
from tracecode.code import read_scan
from tracecode.engine import chain_order, records
from tracecode.engine.records import CodeFlag, CodeRecord, DocumentIndexRecord
from tracecode.v1 import case_pb2, catalogue_pb2, finding_pb2, inspection_pb2, journal_pb2

TEXT = (Path(__file__).parent.parent / "native" / "FORMAT.md").read_text(encoding="utf-8")

(_BOX,) = read_scan("82062330000000017919")
(_CARTON,) = read_scan("80217620000000059595")
(_IMPORTED,) = read_scan("(01)06901234567892(21)S1")
_SHOP = catalogue_pb2.Institution(
    institution_code="P13050000001", division_code="130500", uploads_receipt_codes=True
)
_PRODUCT = catalogue_pb2.Product(
    identifier="8206233", package_level=1, drug_codes=["XJ01CAA040A001010102699"], units_per_package=1
)
_HOLD = catalogue_pb2.Hold(hold_id="H1", code="82062330000000017919", start_date="2026-01-01")
_LOT_HOLD = catalogue_pb2.Hold(hold_id="H2", identifier="8206233", lot_number="L1", start_date="2026-01-01")
_CASE = case_pb2.Case(
    case_number="130500-2026-000001",
    state=case_pb2.CASE_STATE_PRELIMINARY_REVIEW,
    institution_code="P13050000001",
    etag="6",
    event_count=1,
)
_STANDING = case_pb2.FindingStanding(
    finding=case_pb2.FindingReference(
        sequence=5,
        type=finding_pb2.FINDING_TYPE_DUP_SALE_CROSS_ORG,
        line_number=1,
        code="82062330000000017919",
    ),
    case_number="130500-2026-000001",
)
_PLACES = chain_order.place(1_773_547_200, 0, 2), chain_order.place(1_773_547_200, 1, 5)
_DOCUMENT_KEY = records.document_key(7, 1, "S1")

# One record of each table, by the first byte of its key.
EXAMPLES: dict[str, tuple[bytes, bytes]] = {
    "c": (
        records.code_key(_BOX.key),
        CodeRecord(
            state=2,
            flags=CodeFlag.HELD,
            event_count=1,
            institution=7,
            head=5,
            last_time=1_773_547_200,
            lot_hash=records.lot_hash("L1"),
            expiry_day=20_999,
        ).to_bytes(),
    ),
    "e": (
        records.chain_order_key(_BOX.key),
        records.U64.pack(5) + chain_order.part_to_bytes(0, 2, _PLACES[0]),
    ),
    "E": (records.chain_part_key(_BOX.key, 0), b"".join(_PLACES)),
    "d": (_DOCUMENT_KEY, DocumentIndexRecord(5, 0, 9, 1, 0).to_bytes()),
    "D": (records.superseded_key(_DOCUMENT_KEY, 5), DocumentIndexRecord(5, 6, 0, 0, 0).to_bytes()),
    "b": (records.batch_key(7, 4, "B1", 5), b""),
    "x": (records.batch_deletion_key(7, 4, "B1", 6), b""),
    "r": (records.request_key(7, "q1"), records.U64.pack(5)),
    "p": (records.product_key("8206233"), records.product_to_bytes(_PRODUCT, held=True)),
    "i": (records.institution_key("P13050000001"), records.institution_to_bytes(7, _SHOP)),
    "n": (records.institution_number_key(7), b"P13050000001"),
    "h": (records.code_hold_key(_BOX.key, "H1"), _HOLD.SerializeToString(deterministic=True)),
    "l": (
        records.lot_hold_key("8206233", "L1", "H2"),
        _LOT_HOLD.SerializeToString(deterministic=True),
    ),
    "H": (records.hold_key("H1"), _HOLD.SerializeToString(deterministic=True)),
    "a": (records.replacement_key(_BOX.key), records.codes_to_bytes([_BOX.key, _IMPORTED.key])),
    "k": (records.child_key(_CARTON.key, _BOX.key), b""),
    "q": (records.parent_key(_BOX.key, _CARTON.key), b""),
    "o": (records.outer_package_key(7, "8206233"), b""),
    "w": (records.unreceived_key(7, "8206233", _BOX.key), b""),
    "u": (
        records.unknown_product_key("8999999"),
        json.dumps(
            {"documents": 1, "drug_codes": {}, "first_seen": 1_773_547_200, "last_seen": 1_773_547_200},
            sort_keys=True,
        ).encode(),
    ),
    "U": (records.unknown_document_key("8999999", 5), b""),
    "C": (records.case_key(1), _CASE.SerializeToString(deterministic=True)),
    "N": (records.case_number_key("130500-2026-000001"), records.U64.pack(1)),
    "F": (
        records.finding_key(5, 14, 1, "82062330000000017919"),
        _STANDING.SerializeToString(deterministic=True),
    ),
    "R": (records.desk_request_key("A1", "q1"), records.U64.pack(6)),
    "V": (records.violations_key("P13050000001"), records.U64.pack(2)),
    "P": (
        records.paper_key("CQ-130500-2026-000001"),
        inspection_pb2.Draw(
            draw_number="CQ-130500-2026-000001", division_code="130500", count=1, etag="7"
        ).SerializeToString(deterministic=True),
    ),
    "T": (records.complaint_key(1), records.U64.pack(7)),
    "m": (records.meta_key("applied_sequence"), records.U64.pack(5)),
}
ENTRY = journal_pb2.JournalEntry(
    sequence=5,
    receive_time_ns=1_773_547_260_000_000_000,
    document=journal_pb2.DocumentEntry(
        document=b"\x0a\x0cP13050000001",
        outcome=finding_pb2.OUTCOME_ACCEPTED,
        rule_base_version="1",
        previous_sequences=[0, 4],
        cleared=True,
    ),
).SerializeToString(deterministic=True)


def find_example(section: str) -> dict[str, bytes]:
    """The hex examples of a section, by their label."""
    lines = re.findall(r"^    (key|value|entry|stored)([0-9a-f ]*)$", section, re.MULTILINE)
    return {label: bytes.fromhex(text) for label, text in lines}


SECTIONS = {
    heading: text
    for heading, text in re.findall(r"^### `(.)` .*?$\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
}


def test_every_table_has_its_section() -> None:
    """Pins that no table is on disk without a word about it, and none is described that is not there."""
    tables = [chr(table) for table in records.Table]

    assert list(SECTIONS) == tables
    assert list(EXAMPLES) == tables


@pytest.mark.parametrize("table", EXAMPLES.keys())
def test_an_example_is_what_the_code_makes(table: str) -> None:
    """Pins key and value of each table, byte for byte; a change of layout must change FORMAT."""
    key, value = EXAMPLES[table]

    assert find_example(SECTIONS[table]) == {"key": key, "value": value}


def test_flags_and_states_have_the_numbers_of_the_code() -> None:
    """Pins the lists of flags."""
    for flags in (records.CodeFlag, records.ProductFlag, records.InstitutionFlag):
        for flag in flags:
            assert f"{flag.value} {flag.name}" in TEXT


def test_the_format_number_is_one_number() -> None:
    """Pins that the document, the Python half and the native half speak of the same format."""
    assert f"Format {records.FORMAT}." in TEXT
    assert _native.FORMAT == records.FORMAT
    assert f"layout {records.INDEX_FORMAT}." in TEXT
    assert _native.INDEX_FORMAT == records.INDEX_FORMAT


def test_a_store_holds_what_the_document_shows(tmp_path: Path) -> None:
    """Pins the bytes on disk, read by py-lmdb: checksums, journal keys, the meta records and the file."""
    with _native.Store(str(tmp_path / "ledger"), map_size_bytes=1 << 24, overlay_bytes_max=1 << 22) as store:
        for key, value in EXAMPLES.values():
            store.put(key, value)
        for _ in range(4):
            store.append(b"entry")
        store.append(ENTRY)
        store.commit()

    with lmdb.open(str(tmp_path / "ledger" / "index"), readonly=True, lock=False) as index:
        with index.begin() as transaction:
            stored = dict(transaction.cursor())
    checked = dict(EXAMPLES.values()) | {records.meta_key("format"): records.U64.pack(records.INDEX_FORMAT)}
    assert stored == {
        key: struct.pack("<I", _native.crc32c(key + value)) + value for key, value in checked.items()
    }
    with lmdb.open(str(tmp_path / "ledger" / "journal"), readonly=True, lock=False) as journal:
        with journal.begin() as transaction:
            entries = list(transaction.cursor())
    assert [struct.unpack("<Q", key)[0] for key, _ in entries] == [1, 2, 3, 4, 5]
    section = TEXT[TEXT.index("## Journal") :]
    example = find_example(section[: section.index("\n## ")])
    assert example == {"key": entries[-1][0], "entry": ENTRY, "stored": entries[-1][1]}
    checked_key = find_example(TEXT[TEXT.index("## Index") : TEXT.index("### `c`")])
    assert checked_key == {"key": EXAMPLES["r"][0], "stored": stored[EXAMPLES["r"][0]]}
    assert (tmp_path / "ledger" / "format").read_text() == f"tracecode format {records.FORMAT}\n"
    assert f"`tracecode format {records.FORMAT}`" in TEXT
