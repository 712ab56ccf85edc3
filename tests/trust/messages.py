"""Messages made from the contract's descriptors: good ones, and what damaged or hostile clients make of them.

A field that nobody has named here is filled by its type, so that what the contract gains is tried at once.
Seeded: the same seed makes the same messages.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from documents import (
    DRUG,
    FAR,
    ITEM,
    MIDDLE,
    OTHER,
    OTHER_DRUG,
    OTHER_PACK,
    QUIET,
    SHOP,
    SISTER,
    code,
)
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tracecode.cases.moves import MONEY, OutcomeType
from tracecode.v1 import case_pb2, finding_pb2
from trust.oracle import SEED_SCANS

MARK = "q7Zx"
"""Stands in every hostile text and every token, and in nothing else: the log may not show it."""
PERSONS = tuple(f"person-{MARK}-{number}" for number in range(5))
ACTORS = ("王检查", "李审核", "张核查")
CHINA_SECONDS = 8 * 3600
BOXES_IN_USE = 40
"""Boxes come into use one after another, so that each is told of some dozen times and then forgotten."""

CONTENTS = {
    "RecordSale": "sale",
    "RecordSaleReturn": "sale_return",
    "RecordReceipt": "receipt",
    "RecordPurchaseReturn": "purchase_return",
    "RecordStockChange": "stock_change",
    "RecordStockCount": "stock_count",
    "DeleteDocument": "deletion",
}

HOSTILE = (
    "",
    f"{MARK}\x00",
    f"\x00\x01\x02{MARK}\x07\x08\x1b\x7f",
    f"\x1b[31m{MARK}\x1b]0;title\x07\x1b[2J",
    f"{MARK}\r\n" + '{"event": "serving", "level": "info"}\n',
    f"\u202e{MARK}\u2066\u2069\u200f",
    f"\ufeff{MARK}\u200b\u00ad\u2028\u2029",
    f"👩‍👩‍👧‍👦🏴󠁧󠁢󠁥󠁮󠁧󠁿{MARK}\U0010ffff",
    f"e\u0301\u0301\u0301\u0301{MARK}\u0e49" * 9,
    f"%s%n{MARK}{{0}}$(id)`id`'\";--<script>",
    f"../../../../etc/passwd{MARK}",
    f"药{MARK}",
    f"{MARK}" * 20,
    f"{MARK}" * 300,
    "９９９９" * 40,
    "1e309",
    "-1",
    "0",
    "99999999999999999999999999999",
    "0001-01-01",
    "9999-12-31",
    "2026-02-30",
    "NaN",
    "8" * 20,
)
NUMBERS = (0, 1, 2, 3, 7, 101, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1)
SIGNED = (*(number for number in NUMBERS if number < 2**63), -1, -2, -(2**31), -(2**63))


class Messages:
    """Makes messages. `now` is about the receiver's clock, seconds since 1970."""

    def __init__(self, seed: int, now: int) -> None:
        self._random = random.Random(seed)
        self._numbers = 0
        self._boxes = BOXES_IN_USE
        self._now = now
        self._year = time.gmtime(now + CHINA_SECONDS).tm_year
        self._makers: dict[str, Callable[[], Any]] = {
            "institution_code": lambda: self.pick((SHOP, SHOP, SHOP, OTHER, QUIET, FAR, SISTER)),
            "counterparty_institution_code": lambda: self.pick((OTHER, SHOP, "")),
            "document_number": self._document_number,
            "deleted_document_number": self._document_number,
            "corrects_document_number": lambda: "",
            "drug_code": lambda: self.pick((DRUG, DRUG, OTHER_PACK, OTHER_DRUG)),
            "drug_codes": lambda: self.pick((DRUG, OTHER_PACK, OTHER_DRUG)),
            "codes": self._scan,
            "child_codes": self._scan,
            "code": self._scan,
            "old_code": self._box,
            "new_code": self._box,
            "quantity": lambda: self.pick(("1", "2", "1.0", "0.5", "10")),
            "manufacture_date": lambda: self.pick(("", "2025-06-30")),
            "expiry_date": lambda: self.pick(("", "2027-06-30", "2027-06-00")),
            "start_date": lambda: self.pick(("2024-01-01", "2025-01-01")),
            "end_date": lambda: self.pick(("", "2026-12-31", "2030-12-31")),
            "identifier": lambda: self.pick((ITEM, MIDDLE, "8111111", "06901234567892")),
            "item_identifier": lambda: "",
            "division_code": lambda: "130500",
            "hold_id": lambda: f"H{self._random.randrange(50)}",
            "package_level": lambda: self.pick((1, 1, 2, 3)),
            "units_per_package": lambda: self.pick((1, 10)),
            "splittable_units": lambda: self.pick((0, 24)),
            "line_number": lambda: 0,
            "page_token": lambda: "",
            "page_size": lambda: self.pick((0, 1, 100)),
            "split_units": lambda: self.pick((0, 0, 3)),
            "seconds": lambda: self._now - self._random.randrange(100_000),
            "nanos": lambda: self._random.randrange(1_000_000_000),
            "corrects": lambda: "",
            "learned": lambda: False,
            "request_id": lambda: self.pick(("", "", f"q{self._random.randrange(max(50, self._numbers))}")),
            # Of the desk. Its numbers are those that a service of this year gives first.
            "actor": lambda: self.pick(ACTORS),
            "owner": lambda: self.pick(("", *ACTORS)),
            "author": lambda: ACTORS[0],
            "approver": lambda: ACTORS[1],
            "inspectors": lambda: self.pick(ACTORS),
            "title": lambda: "某药店疑似回流药",
            "note": lambda: "已电话核实\n待现场核查",
            "ActOnFindingRequest.decision": lambda: self.pick(
                (case_pb2.FINDING_DECISION_CONFIRMED, case_pb2.FINDING_DECISION_DISMISSED)
            ),
            "reason": lambda: "逐盒核对",
            "summary": lambda: "群众反映低价收药",
            "TipOff.channel": lambda: "12345",
            "seed_source": lambda: "福利彩票开奖号码",
            "seed": lambda: "07 11 19 23 30 33 08",
            "questions": lambda: self.pick(("是否逐盒扫码", "是否存在空码", "进销存是否相符")),
            "scans": self._scan,
            "identifiers": lambda: self.pick((ITEM, MIDDLE, "8111111")),
            "case_number": lambda: self._desk_number(""),
            "draw_number": lambda: self._desk_number("CQ-"),
            "self_check_number": lambda: self._desk_number("ZC-"),
            "inspection_number": lambda: self._desk_number("JC-"),
            "etag": lambda: str(1 + self._random.randrange(2_000)),
            "sequence": lambda: 1 + self._random.randrange(2_000),
            "previous_sequence": lambda: 0,
            "restored_sequence": lambda: 0,
            "reward_fen": lambda: 0,
            "due_date": lambda: f"{self._year}-12-31",
            "overdue_on": lambda: self.pick(("", f"{self._year}-12-31")),
            "division_prefix": lambda: self.pick(("", "13", "130500")),
            "AttachFileHeader.name": lambda: self.pick(("照片.jpg", "笔录.pdf", "流水.csv")),
            "media_type": lambda: self.pick(("", "image/jpeg")),
            "sha256": lambda: "",
            "text": lambda: self.pick(('version = "a"\n', 'version = "b"\n[thresholds]\njoin_hours = 24\n')),
            "path": lambda: self.pick(
                ("checkpoint", "tile/0/000", "tile/entries/000.p/3", "tile/1/x001/067")
            ),
            "dry_run_id": lambda: self._random.randbytes(8).hex(),
            # Of lists, findings, screenings and reports. A run that is asked for is made: few questions.
            "filter": lambda: self.pick(("", "kind = SALE", 'institution = "P1305*" AND NOT refused')),
            "order_by": lambda: self.pick(("", "business_time desc")),
            "after_sequence": lambda: 0,
            "as_of_sequence": lambda: 0,
            "cursor": lambda: self.pick(("", "0", "3.1")),
            "first_day": lambda: "2026-03-01",
            "last_day": lambda: "2026-03-31",
            "models": lambda: "resale_in",
            "grades": lambda: self.pick("ABCD"),
            "subject": lambda: self.pick(("", SHOP)),
            "screening_id": lambda: f"20260301-20260331-{1 + self._random.randrange(3)}",
            "period": lambda: self.pick(("2026-03", "2026Q1")),
            "language_code": lambda: self.pick(("", "zh", "en")),
            "report_id": lambda: f"2026-03-{1 + self._random.randrange(3)}",
            "file_name": lambda: self.pick(("report-2026-03.json", "report-2026-03.html")),
            "offset_bytes": lambda: 0,
        }

    def pick(self, values: Sequence[Any]) -> Any:
        """One of some values."""
        return values[self._random.randrange(len(values))]

    def _document_number(self) -> str:
        # Some numbers come again, so that repeats, reuse and deletions are met.
        self._numbers += 1
        return f"N{self._random.randrange(max(10, self._numbers))}"

    def _desk_number(self, prefix: str) -> str:
        return f"{prefix}130500-{self._year}-{1 + self._random.randrange(20):06}"

    def _box(self) -> str:
        self._boxes += self._random.random() < 0.1
        return code(self._boxes - self._random.randrange(BOXES_IN_USE))

    def _scan(self) -> str:
        # The seeds are few: if they came often, their histories would be all that the judge is busy with.
        return self._box() if self._random.random() < 0.98 else str(self.pick(SEED_SCANS))

    def good(self, method: MethodDescriptor) -> Message:
        """A request that the method takes, or could take in another moment."""
        message = GetMessageClass(method.input_type)()
        self.fill(message, CONTENTS.get(method.name, ""))
        return message

    def fill(self, message: Message, content: str = "") -> None:
        """Set most fields of a message, and one of each oneof: `content` where it has that."""
        descriptor = message.DESCRIPTOR
        for oneof in descriptor.oneofs:
            names = [field.name for field in oneof.fields]
            chosen = content if content in names else str(self.pick(names))
            self._set(message, descriptor.fields_by_name[chosen], content)
        for field in descriptor.fields:
            if field.containing_oneof is None:
                self._set(message, field, content)
        self._make_consistent(message)

    def _set(self, message: Message, field: FieldDescriptor, content: str) -> None:
        if field.is_repeated:
            for _ in range(self.pick((1, 1, 1, 1, 1, 1, 2, 3))):
                if field.message_type is not None:
                    self.fill(getattr(message, field.name).add(), content)
                else:
                    getattr(message, field.name).append(self._value(field))
        elif field.message_type is not None:
            part = getattr(message, field.name)
            part.SetInParent()
            self.fill(part, content)
        else:
            setattr(message, field.name, self._value(field))

    def _value(self, field: FieldDescriptor) -> Any:
        named = f"{field.containing_type.name}.{field.name}"
        maker = self._makers.get(named, None if field.enum_type else self._makers.get(field.name))
        if maker is not None:
            return maker()
        if field.name.endswith("_token"):
            return self.pick(("", *PERSONS))
        if field.enum_type is not None:
            return self.pick([value.number for value in field.enum_type.values if value.number])
        if field.type == field.TYPE_BOOL:
            return self._random.random() < 0.1
        if field.type == field.TYPE_BYTES:
            return self._random.randbytes(8)
        if field.type == field.TYPE_STRING:
            return self.pick(("", "", f"{field.name[:8]}{self._random.randrange(9)}"))
        return self._random.randrange(5)

    def _make_consistent(self, message: Message) -> None:
        """What several fields must agree on."""
        name = message.DESCRIPTOR.name
        if name == "Document":
            if message.WhichOneof("content") == "deletion":
                del message.lines[:]
        elif name == "Deletion":
            message.batch_serial = ""
        elif name == "Line":
            if self._random.random() < 0.9:
                del message.packages[:]
            if not message.split:
                message.quantity = str(max(1, len(message.codes)))
        elif name == "Hold":
            if self._random.random() < 0.5:
                message.identifier = message.lot_number = ""
                message.code = self._box()
            else:
                message.code, message.lot_number = "", "L9"
        elif name == "OpenCaseRequest":
            if self._random.random() < 0.5:
                message.origin = case_pb2.CASE_ORIGIN_TIP_OFF
                del message.findings[:]
        elif name == "TipOff":
            del message.complaint_sequences[:]
        elif name == "FileComplaintRequest":
            message.request_id = message.request_id or "q0"
        elif name == "FindingReference":
            # A finding that many have: the institution of the document.
            message.type = finding_pb2.FINDING_TYPE_ORG_INVALID
            message.code = ""
        elif name == "CaseOutcome":
            message.amount_fen = 100 if OutcomeType(message.type) in MONEY else 0
            message.reference = "市公安局"
        elif name == "SelfCheckAnswer":
            message.amount_fen = 0
        elif name == "AnnounceDrawRequest":
            message.count = 1
            message.inspectors[:] = ACTORS
            candidates = {one.institution_code: one for one in message.candidates}
            chosen = [candidates[institution_code] for institution_code in sorted(candidates)]
            del message.candidates[:]
            message.candidates.extend(chosen)
        elif name == "OpenInspectionRequest":
            message.inspectors[:] = ACTORS
            message.case_number = ""
        elif name == "ActivateRuleBaseRequest":
            message.ClearField("effective_time")
        elif name == "Product":
            message.drug_codes[:] = sorted(set(message.drug_codes))

    # What is done to a good one.

    def copy(self, message: Message) -> Message:
        """Another message of the same content, to be damaged."""
        copied = type(message)()
        copied.CopyFrom(message)
        return copied

    def damage(self, message: Message) -> bytes:
        """The bytes of a message with one to four things wrong, in its fields or in its bytes."""
        for _ in range(self.pick((0, 1, 1, 2))):
            self.damage_field(message)
        raw = message.SerializeToString()
        for _ in range(self.pick((0, 1, 1, 1, 2))):
            raw = self.damage_bytes(raw)
        return raw

    def damage_field(self, message: Message) -> None:
        """Put something hostile into a field somewhere in a message."""
        parts = list(list_parts(message))
        part = parts[self._random.randrange(len(parts))]
        if not part.DESCRIPTOR.fields:
            return
        field = self.pick(part.DESCRIPTOR.fields)
        if field.message_type is not None:
            if self._random.random() < 0.5:
                part.ClearField(field.name)
            elif field.is_repeated:
                values = getattr(part, field.name)
                for _ in range(self.pick((1, 1, 2, 4, 40))):
                    if values and len(values) < 200:
                        values.add().CopyFrom(values[0])
            return
        value = self._hostile(field)
        if not field.is_repeated:
            setattr(part, field.name, value)
        elif self._random.random() < 0.02:
            getattr(part, field.name).extend(
                [value] * (40 if isinstance(value, str) and len(value) > 99 else 4_000)
            )
        else:
            getattr(part, field.name).append(value)

    def _hostile(self, field: FieldDescriptor) -> Any:
        if field.type == field.TYPE_STRING:
            return self.pick(HOSTILE) if self._random.random() < 0.95 else MARK * self.pick((500, 20_000))
        if field.type == field.TYPE_BYTES:
            return self._random.randbytes(self._random.randrange(300))
        if field.type == field.TYPE_BOOL:
            return self._random.random() < 0.5
        if field.enum_type is not None:
            return self.pick((0, 1, 2, 3, 4, 7, 99, 101, 109, 2**31 - 1, -1))
        bits = 32 if field.type in (field.TYPE_INT32, field.TYPE_UINT32) else 64
        if field.type in (field.TYPE_INT32, field.TYPE_INT64):
            return self.pick([number for number in SIGNED if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1)])
        return self.pick([number for number in NUMBERS if number < 2**bits])

    def damage_bytes(self, raw: bytes) -> bytes:
        """Break the encoding somewhere."""
        content = bytearray(raw)
        at = self._random.randrange(len(content) + 1)
        match self._random.randrange(12):
            case 0:
                return raw[:at]
            case 1 if content:
                content[at % len(content)] ^= 1 << self._random.randrange(8)
            case 2:
                content[at:at] = self._random.randbytes(self.pick((1, 2, 8, 40)))
            case 3:
                del content[at : at + self.pick((1, 2, 9))]
            case 4:
                # A length that is not there, up to one that overflows.
                content[at:at] = b"\x0a" + self.pick(
                    (b"\x7f", b"\xff\x7f", b"\xff\xff\xff\xff\x07", b"\xff" * 9 + b"\x01", b"\xff" * 11)
                )
            case 5 if content:
                # Another wire type in what is often a tag.
                place = self.pick((0, at % len(content)))
                content[place] = content[place] & 0xF8 | self._random.randrange(8)
            case 6:
                # No UTF-8: a lone continuation, an overlong slash, a surrogate, one beyond the last.
                content[at : at + 3] = self.pick((b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"))
            case 7:
                content += nest(self.pick((1, 2, 4, 16)), self.pick((10, 99, 101, 500, 5_000)))
            case 8:
                # Groups, which proto3 has not: opened and never closed, closed and never opened.
                content[at:at] = self.pick(
                    (b"\x0b", b"\x0c", b"\x0b\x0c", b"\x0b" * 200, b"\xfb\x3f\xfc\x3f")
                )
            case 9:
                content += self.pick(
                    (b"\xfa\x3f\x03abc", b"\xf8\x3f\x01", b"\xf9\x3f12345678", b"\xfd\x3f1234")
                )
            case 10:
                content = content + content[at:] + content[:at]
            case _:
                # The same number in more bytes than it needs.
                content[at:at] = b"\x80" * self.pick((1, 3, 9)) + b"\x00"
        return bytes(content)


def nest(number: int, depth: int) -> bytes:
    """A message in a message in a message, all in the field of that number."""
    raw = b""
    for _ in range(depth):
        raw = bytes([(number << 3 | 2) & 0x7F]) + write_varint(len(raw)) + raw
    return raw


def write_varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])


def list_parts(message: Message) -> Iterator[Message]:
    """A message and all messages in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                yield from list_parts(part)
