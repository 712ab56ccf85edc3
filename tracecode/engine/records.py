"""Keys and records of the index: one table byte, then the key; the value is a fixed struct or a message.

Everything here is derived from the journal and can be thrown away. The same bytes are kept by every
engine that keeps them in a store, so that two engines can be compared record by record; the lmdb
engine prefixes each value with its CRC32C. Layouts with a hex example each: native/FORMAT.md. All
integers in values are little-endian; integers in keys are big-endian, so that they sort.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import IntEnum, IntFlag
from functools import lru_cache

from tracecode.document import EPOCH
from tracecode.v1 import catalogue_pb2

FORMAT = 1
"""Number of the on-disk format. A store of another number is refused with a sentence."""

INDEX_FORMAT = 2
"""Number of the index's own layout. An index of an earlier one is rebuilt from the journal at the start."""

NO_DAY = -(2**31)
"""An absent date, in days since 1970-01-01."""

DAY_MAX = 2**31 - 1
"""A day that never comes."""


class Table(IntEnum):
    """First byte of a key: what the record is about."""

    CODE = ord("c")
    CHAIN_ORDER = ord("e")
    CHAIN_PART = ord("E")
    DOCUMENT = ord("d")
    SUPERSEDED = ord("D")
    BATCH = ord("b")
    BATCH_DELETION = ord("x")
    REQUEST = ord("r")
    PRODUCT = ord("p")
    INSTITUTION = ord("i")
    INSTITUTION_NUMBER = ord("n")
    CODE_HOLD = ord("h")
    LOT_HOLD = ord("l")
    HOLD = ord("H")
    REPLACEMENT = ord("a")
    CHILD = ord("k")
    PARENT = ord("q")
    OUTER_PACKAGE = ord("o")
    UNRECEIVED = ord("w")
    UNKNOWN_PRODUCT = ord("u")
    UNKNOWN_DOCUMENT = ord("U")
    CASE = ord("C")
    CASE_NUMBER = ord("N")
    FINDING = ord("F")
    DESK_REQUEST = ord("R")
    VIOLATIONS = ord("V")
    PAPER = ord("P")
    COMPLAINT = ord("T")
    META = ord("m")


def code_key(key: bytes) -> bytes:
    """Of a canonical code. Codes of one product lie together."""
    return b"c" + key


def chain_order_key(code: bytes) -> bytes:
    """Of the order of a code's chain that is too long to be read for it; see chain_order.py."""
    return b"e" + code


def chain_part_key(code: bytes, number: int) -> bytes:
    """Of a part of that order."""
    return b"E" + bytes([len(code)]) + code + struct.pack(">I", number)


def document_key(institution_number: int, kind: int, document_number: str) -> bytes:
    """Of a document's identity."""
    return b"d" + struct.pack(">IB", institution_number, kind) + document_number.encode()


def batch_key(institution_number: int, deleted_type: int, batch_serial: str, sequence: int) -> bytes:
    """Of one entry that carries a batch serial; without its last 8 bytes the prefix of all of them."""
    head = b"b" + struct.pack(">IB", institution_number, deleted_type) + batch_serial.encode()
    return head + b"\0" + struct.pack(">Q", sequence)


def batch_deletion_key(institution_number: int, deleted_type: int, batch_serial: str, sequence: int) -> bytes:
    """Of one deletion (entry `sequence`) by batch serial."""
    return b"x" + batch_key(institution_number, deleted_type, batch_serial, sequence)[1:]


def request_key(institution_number: int, request_id: str) -> bytes:
    """Of an institution's request_id; the value is the sequence, u64."""
    return b"r" + struct.pack(">IB", institution_number, 0) + request_id.encode()


def product_key(identifier: str) -> bytes:
    """Of a product: 7 digits or GTIN-14."""
    return b"p" + identifier.encode()


def institution_key(institution_code: str) -> bytes:
    """Of an institution, known or only seen."""
    return b"i" + institution_code.encode()


def institution_number_key(number: int) -> bytes:
    """From an institution's number back to its code (the value, ASCII)."""
    return b"n" + struct.pack(">I", number)


def hold_key(hold_id: str) -> bytes:
    """Of a hold as imported (a serialized Hold)."""
    return b"H" + hold_id.encode()


def code_hold_key(key: bytes, hold_id: str = "") -> bytes:
    """Of a hold on a code; with an empty id the prefix of all of them."""
    return b"h" + bytes([len(key)]) + key + hold_id.encode()


def lot_hold_key(identifier: str, lot_number: str, hold_id: str = "") -> bytes:
    """Of a hold on a lot; with an empty id the prefix of all of them.

    With no lot either, of an empty record: the identifier had lots on hold before it had a product.
    """
    return b"l" + identifier.encode() + b"\0" + lot_number.encode() + b"\0" + hold_id.encode()


def outer_package_key(institution_number: int, identifier: str) -> bytes:
    """Of an item product of which an institution received an outer package whose contents nobody named."""
    return b"o" + struct.pack(">I", institution_number) + identifier.encode()


def unreceived_key(institution_number: int, identifier: str, code: bytes = b"") -> bytes:
    """Of a code that an institution sold without a receipt of its own, by its product; without a code the
    prefix of all of them."""
    return b"w" + struct.pack(">IB", institution_number, 0) + identifier.encode() + b"\0" + code


def replacement_key(key: bytes) -> bytes:
    """Of any code of a box whose code the platform replaced; the value is `codes_to_bytes` of all of them."""
    return b"a" + key


def codes_to_bytes(codes: Iterable[bytes]) -> bytes:
    """Canonical codes, each behind its length (u8)."""
    return b"".join(bytes([len(code)]) + code for code in codes)


def codes_from_bytes(value: bytes) -> tuple[bytes, ...]:
    """The inverse of `codes_to_bytes`."""
    codes = []
    at = 0
    while at < len(value):
        end = at + 1 + value[at]
        codes.append(value[at + 1 : end])
        at = end
    return tuple(codes)


def child_key(parent: bytes, child: bytes = b"") -> bytes:
    """Of parent -> child; without a child the prefix of all children."""
    return b"k" + bytes([len(parent)]) + parent + child


def parent_key(child: bytes, parent: bytes = b"") -> bytes:
    """Of child -> parent; without a parent the prefix of all parents."""
    return b"q" + bytes([len(child)]) + child + parent


def unknown_product_key(identifier: str) -> bytes:
    """Of what was seen of an identifier that no catalogue knows."""
    return b"u" + identifier.encode()


def unknown_document_key(identifier: str, sequence: int) -> bytes:
    """Of a document with an identifier that no catalogue knows; without its last 8 bytes the prefix of all
    of them."""
    return b"U" + identifier.encode() + b"\0" + struct.pack(">Q", sequence)


def superseded_key(document: bytes, sequence: int) -> bytes:
    """Of a document whose number a correction took over; `document` is its document_key. Without its last
    8 bytes the prefix of all of them."""
    return b"D" + document[1:] + b"\0" + struct.pack(">Q", sequence)


def number_deletion_key(
    institution_number: int, deleted_type: int, document_number: str, sequence: int
) -> bytes:
    """Of one deletion (entry `sequence`) by document number: as by batch serial, behind a NUL."""
    return batch_deletion_key(institution_number, deleted_type, "\0" + document_number, sequence)


def case_key(ordinal: int) -> bytes:
    """Of the ordinal-th case of the ledger, from 1 (a serialized Case): the newest needs no scan."""
    return b"C" + struct.pack(">Q", ordinal)


def case_number_key(case_number: str) -> bytes:
    """From a case's number to its ordinal, u64."""
    return b"N" + case_number.encode()


def finding_key(sequence: int, finding_type: int, line_number: int, code: str) -> bytes:
    """Of what people made of a finding (a serialized FindingStanding)."""
    return b"F" + struct.pack(">QHI", sequence, finding_type, line_number) + code.encode()


def desk_request_key(actor: str, request_id: str) -> bytes:
    """Of a person's request_id at the desk; the value is the entry, u64."""
    return b"R" + actor.encode() + b"\0" + request_id.encode()


def paper_key(number: str) -> bytes:
    """Of a draw, a self-check or an inspection by its number (a serialized Draw, SelfCheck, Inspection)."""
    return b"P" + number.encode()


def complaint_key(ordinal: int) -> bytes:
    """Of the ordinal-th complaint of the ledger, from 1 (its entry, u64): the newest needs no scan."""
    return b"To" + struct.pack(">Q", ordinal)


def code_complaint_key(key: bytes) -> bytes:
    """Of the last complaint about a canonical code (its entry, u64); each names the one before."""
    return b"Tc" + key


def person_complaint_key(key: bytes, kind: int, person: str) -> bytes:
    """Of what a person last complained of a code in this way (its entry, u64): once is enough for a sale."""
    return b"Tp" + bytes([kind, len(key)]) + key + person.encode()


def complaint_case_key(sequence: int) -> bytes:
    """Of a complaint on which cases were opened (their numbers, a line each)."""
    return b"Tk" + struct.pack(">Q", sequence)


def violations_key(institution_code: str) -> bytes:
    """How many cases of an institution are closed with a violation, u64."""
    return b"V" + institution_code.encode()


def group(key: bytes) -> bytes | None:
    """The prefix under which a key is scanned, or None for tables that are only looked up."""
    table = key[0]
    if table in b"kqh":
        return key[: 2 + key[1]]
    if table in b"bxDU":
        return key[:-8]
    if table == ord("w"):
        return key[: key.index(b"\0", 6) + 1]
    if table == ord("l"):
        return key[: key.index(b"\0", key.index(b"\0") + 1) + 1]
    return None


def meta_key(name: str) -> bytes:
    """Of one number about the store itself."""
    return b"m" + name.encode()


class CodeFlag(IntFlag):
    """What makes a code not plain: the native code clears only codes without any of these but PACKAGE."""

    CONFLICT = 1
    PACKAGE = 2
    """It is inside another package, or others are inside it: what is known of those counts too."""
    HELD = 4
    REPLACED = 8
    CHAIN = 16
    """Its chain holds a deleted, refused or joined event, one the fold could not place, or a receipt whose
    line contradicts what is printed on the box."""


_CODE = struct.Struct("<BBHIIHHIHIIi")
_CODE_HEAD_AT = struct.calcsize("<BBHIIHH")
_CODE_HEAD_END = _CODE_HEAD_AT + 6
_DOCUMENT = struct.Struct("<QQQII")
_PRODUCT = struct.Struct("<BBHII")
_INSTITUTION = struct.Struct("<IB3xii")
U64 = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class CodeRecord:
    """What is known of a code: the fold of its chain, and the last entry of it by arrival.

    `state` is a tracecode.v1.CodeState, 1 = UNKNOWN. `institution` is the number of the institution that
    the state is about (holder, seller, sender), 0 none. `last_time` is the greatest effective time of the
    chain, seconds since 1970 UTC. `lot_hash` is that of the lot it was received with (0 none),
    `expiry_day` days since 1970 or NO_DAY.
    """

    state: int = 1
    flags: int = 0
    event_count: int = 0
    institution: int = 0
    units_left: int = 0
    active_sales: int = 0
    return_cycles: int = 0
    head: int = 0
    last_time: int = 0
    lot_hash: int = 0
    expiry_day: int = NO_DAY

    def to_bytes(self) -> bytes:
        """34 bytes."""
        return _CODE.pack(
            self.state,
            self.flags,
            min(self.event_count, 0xFFFF),
            self.institution,
            self.units_left,
            min(self.active_sales, 0xFFFF),
            min(self.return_cycles, 0xFFFF),
            self.head & 0xFFFFFFFF,
            self.head >> 32,
            self.last_time,
            self.lot_hash,
            self.expiry_day,
        )

    @classmethod
    def from_bytes(cls, value: bytes) -> CodeRecord:
        """The inverse of `to_bytes`."""
        (state, flags, events, institution, units_left, sales, returns, head, head_high, *rest) = (
            _CODE.unpack(value)
        )
        return cls(
            state, flags, events, institution, units_left, sales, returns, head | head_high << 32, *rest
        )


def code_flags(value: bytes) -> int:
    """The CodeFlag of the bytes of a CodeRecord, without reading the rest."""
    return value[1]


def code_head(value: bytes) -> int:
    """`head` of the bytes of a CodeRecord."""
    return int.from_bytes(value[_CODE_HEAD_AT:_CODE_HEAD_END], "little")


def code_with_head(value: bytes, head: int) -> bytes:
    """The bytes of a CodeRecord with another `head`."""
    return value[:_CODE_HEAD_AT] + head.to_bytes(6, "little") + value[_CODE_HEAD_END:]


@dataclass(frozen=True, slots=True)
class DocumentIndexRecord:
    """Where a document is. `sequence` 0: only its deletion has arrived yet."""

    sequence: int = 0
    deleted_by: int = 0
    revision_sequence: int = 0
    revisions: int = 0
    flags: int = 0

    def to_bytes(self) -> bytes:
        """32 bytes."""
        return _DOCUMENT.pack(
            self.sequence, self.deleted_by, self.revision_sequence, self.revisions, self.flags
        )

    @classmethod
    def from_bytes(cls, value: bytes) -> DocumentIndexRecord:
        """The inverse of `to_bytes`."""
        return cls(*_DOCUMENT.unpack(value))


class ProductFlag(IntFlag):
    """Facts of a product that the native code reads without parsing the message."""

    SMALLEST_UNIT = 1
    HELD = 2
    """Some lot of it is or was on hold."""
    LEARNED = 4


def product_to_bytes(product: catalogue_pb2.Product, held: bool) -> bytes:
    """Header (level, flags, number of drug codes, units per package, splittable units), the drug codes
    each behind its length (u8), then the serialized Product."""
    flags = (
        (ProductFlag.SMALLEST_UNIT if product.smallest_unit else 0)
        | (ProductFlag.HELD if held else 0)
        | (ProductFlag.LEARNED if product.learned else 0)
    )
    head = _PRODUCT.pack(
        product.package_level,
        flags,
        len(product.drug_codes),
        product.units_per_package,
        product.splittable_units,
    )
    codes = b"".join(bytes([len(code)]) + code.encode() for code in product.drug_codes)
    return head + codes + product.SerializeToString(deterministic=True)


def product_from_bytes(value: bytes) -> tuple[catalogue_pb2.Product, bool]:
    """The product, and whether a lot of it is or was on hold."""
    _, flags, code_count, _, _ = _PRODUCT.unpack_from(value)
    offset = _PRODUCT.size
    for _ in range(code_count):
        offset += 1 + value[offset]
    return catalogue_pb2.Product.FromString(value[offset:]), bool(flags & ProductFlag.HELD)


class InstitutionFlag(IntFlag):
    """Facts of an institution that the native code reads without parsing the message."""

    REGISTERED = 1
    UPLOADS_RECEIPT_CODES = 2


def institution_to_bytes(number: int, institution: catalogue_pb2.Institution | None) -> bytes:
    """Header (number, flags, first and last day of the latest service period), then the serialized
    Institution, which is absent for one that only appeared on documents. The days let the native code
    see that an agreement is in force; on days of earlier periods it asks the rules."""
    if institution is None:
        return _INSTITUTION.pack(number, 0, DAY_MAX, NO_DAY)
    flags = int(InstitutionFlag.REGISTERED)
    if institution.uploads_receipt_codes:
        flags |= InstitutionFlag.UPLOADS_RECEIPT_CODES
    start, end = NO_DAY, DAY_MAX
    if institution.service_periods:
        latest = max(institution.service_periods, key=lambda period: period.start_date)
        start = _to_day(latest.start_date)
        end = _to_day(latest.end_date) if latest.end_date else DAY_MAX
    return _INSTITUTION.pack(number, flags, start, end) + institution.SerializeToString(deterministic=True)


def _to_day(text: str) -> int:
    return (date.fromisoformat(text) - EPOCH).days


def institution_from_bytes(value: bytes) -> tuple[int, catalogue_pb2.Institution | None]:
    """The number, and the institution if it is registered."""
    number, flags, _, _ = _INSTITUTION.unpack_from(value)
    if not flags & InstitutionFlag.REGISTERED:
        return number, None
    return number, catalogue_pb2.Institution.FromString(value[_INSTITUTION.size :])


# Byte by byte, and all boxes of a receipt's line share one.
@lru_cache(maxsize=10_000)
def lot_hash(lot_number: str) -> int:
    """FNV-1a, 64 bits folded to 32, of the lot; 0 for no lot, and for no other."""
    if not lot_number:
        return 0
    value = 0xCBF29CE484222325
    for byte in lot_number.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return max((value ^ (value >> 32)) & 0xFFFFFFFF, 1)
