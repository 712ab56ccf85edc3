"""No text and no list of a request is without a bound, and what is too long is told by its name.

Goal: a client cannot make the ledger keep megabytes in a field that nobody looks at. Method: for every
method of the contract a good request is made from its descriptor, and each string, each bytes and each
repeated field in it is overfilled, one at a time.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import closing

import grpc
import pytest
from documents import NOON, NS, SHOP, code, line, receipt, sale
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from running_server import ServerThread
from tracecode_server.server import open_ledger
from tracecode_server.settings import Settings
from trust.messages import Messages, list_parts
from wire import GRANTS, INSTITUTION, METHODS, call_raw, make_sale, read_details

from tracecode import _native
from tracecode.document import CERTIFICATE_TYPE_BYTES_MAX, LINE_LABELS, SUPPLIER_LABELS, read_document
from tracecode.errors import FieldInvalid
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import case_pb2, document_pb2, finding_pb2, finding_service_pb2, ledger_service_pb2
from tracecode.views.projector import rebuild

LIST_LENGTH = 6_000
TEXT_LENGTH = 70_000
FINDING = case_pb2.FindingReference(sequence=2, type=finding_pb2.FINDING_TYPE_ORG_INVALID)
EITHER: dict[str, dict[str, object]] = {
    "Deletion.batch_serial": {"deleted_document_number": ""},
    "Hold.identifier": {"code": ""},
    "Hold.lot_number": {"code": "", "identifier": "8111111"},
    "Product.item_identifier": {"package_level": 2},
}
"""What must stand elsewhere for a field to be looked at."""


WANTED = {"AttachFile": "header", "GetInclusionProof": "document"}
"""Which part a message must have where it has either; the content of a file has its bound elsewhere."""
NO_FIELD = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.FAILED_PRECONDITION,
}
"""Refusals of what a request asks for, after all its fields were looked at."""


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    """A connection to a service of its own, whose second entry is a document with a finding, in its views."""
    folder = tmp_path_factory.mktemp("bounds")
    (folder / "grants.toml").write_text(GRANTS)
    with closing(open_ledger(Settings(data_directory=folder / "ledger"))) as ledger:
        [verdict] = ledger.record([make_sale()])
        assert isinstance(verdict, finding_pb2.Verdict)
        assert (verdict.sequence, verdict.findings[0].type) == (FINDING.sequence, FINDING.type)
    rebuild(folder / "ledger")
    with (
        ServerThread(data_directory=folder / "ledger", grants_file=folder / "grants.toml") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        yield channel


def list_fields(message: Message, path: str = "") -> Iterator[tuple[str, Message, FieldDescriptor]]:
    """Every field of a message that could grow, with its path and the message that has it."""
    for field in message.DESCRIPTOR.fields:
        name = f"{path}.{field.name}".lstrip(".")
        if field.containing_oneof is not None and not message.HasField(field.name):
            continue
        if field.is_repeated or field.type in (field.TYPE_STRING, field.TYPE_BYTES):
            yield name, message, field
        if field.message_type is not None:
            value = getattr(message, field.name)
            if field.is_repeated and len(value):
                yield from list_fields(value[0], name)
            elif not field.is_repeated and message.HasField(field.name):
                yield from list_fields(value, name)


def overfill(message: Message, field: FieldDescriptor) -> None:
    """Put more into a field than anybody means."""
    for other, value in EITHER.get(f"{message.DESCRIPTOR.name}.{field.name}", {}).items():
        setattr(message, other, value)
    if not field.is_repeated:
        text = "9" * TEXT_LENGTH
        setattr(message, field.name, text.encode() if field.type == field.TYPE_BYTES else text)
        return
    values = getattr(message, field.name)
    if field.message_type is None:
        values.extend(["9" if field.type == field.TYPE_STRING else 1] * LIST_LENGTH)
        return
    first = values[0] if len(values) else values.add()
    for _ in range(LIST_LENGTH):
        values.add().CopyFrom(first)


def refused_field(channel: grpc.Channel, name: str, raw: bytes) -> str:
    """The field that a refusal of the request names; empty if it was not refused."""
    try:
        answer = call_raw(channel, name, raw)
    except grpc.RpcError as error:
        if error.code() in NO_FIELD:
            return ""
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            raise
        return read_details(error)["BadRequest"].field_violations[0].field
    if name != "RecordDocuments":
        return ""
    # The stream goes on and answers in the document's place.
    return ledger_service_pb2.RecordDocumentsResponse.FromString(answer).results[0].error.field


def make_full(name: str) -> Message:
    """A good request in which every list has something."""
    messages = Messages(3, int(time.time()))
    for _ in range(200):
        message = messages.good(METHODS[name])
        if name == "RecordDocuments":
            del message.requests[1:]
        if name in WANTED and not message.HasField(WANTED[name]):
            continue
        for part in list_parts(message):
            if isinstance(part, case_pb2.FindingReference):
                part.CopyFrom(FINDING)
        holder = message.requests[0] if name == "RecordDocuments" else message
        document = getattr(holder, "document", None)
        if (
            not isinstance(document, document_pb2.Document)
            or not document.lines
            or document.lines[0].packages
        ):
            return message
    raise AssertionError("no line with packages was made")


@pytest.mark.parametrize("name", sorted(METHODS))
def test_what_is_overfilled_is_refused_by_name(channel: grpc.Channel, name: str) -> None:
    """Pins a bound for each text and each list, and that the refusal points at it or at what holds it."""
    # The fields that could grow, found in one message; each is overfilled in a fresh copy of it.
    whole = make_full(name)
    paths = [path for path, _, _ in list_fields(whole)]
    assert refused_field(channel, name, whole.SerializeToString()) == ""

    for place, path in enumerate(paths):
        message = type(whole)()
        message.CopyFrom(whole)
        _, part, field = list(list_fields(message))[place]
        overfill(part, field)
        told = refused_field(channel, name, message.SerializeToString())
        plain = re.sub(r"\[[0-9]+\]", "", told).removeprefix("requests.")
        assert plain, f"{name}: {path} has no bound"
        assert path.removeprefix("requests.").startswith(plain), f"{name}: {path} is told as {told}"


def list_extremes() -> Iterator[tuple[str, Message, str]]:
    """Requests with a value that fits its type and nothing else, and the field to be told."""
    for seconds, nanos in ((2**62, 0), (-1, 0), (0, -1), (0, 10**9)):
        opening = make_full("OpenCase")
        opening.tip_off.receive_time.seconds, opening.tip_off.receive_time.nanos = seconds, nanos
        yield "OpenCase", opening, "tip_off.receive_time"
    for type_ in (2**16, 2**31 - 1, -1):
        act = make_full("ActOnFinding")
        act.finding.type = type_
        yield "ActOnFinding", act, "finding.type"
        question = make_full("GetFinding")
        question.finding.type = type_
        yield "GetFinding", question, "finding.type"
    for prefix in ("Fl", "Fi"):
        listing = finding_service_pb2.ListFindingsRequest()
        listing.filter.institution_code = INSTITUTION if prefix == "Fi" else ""
        binding = hashlib.sha256(listing.filter.SerializeToString(deterministic=True)).digest()[:8]
        # What it is bound to anybody can compute; a place so long no key has.
        listing.page_token = (binding + b"x" * 504).hex()
        yield "ListFindings", listing, "page_token"
    for name, field, text in (
        ("StartScreening", "first_day", "2026-02-30"),
        ("StartScreening", "division_prefix", "１３"),
        ("StartReport", "period", "２０２６-03"),
        ("StartReport", "period", "2026-3"),
        ("StartReport", "division_prefix", "１３"),
        ("StartReport", "language_code", "\u202e"),
        ("ListHistory", "filter", "kind = \u202eSALE"),
        ("WatchFindings", "cursor", "18446744073709551616"),
    ):
        question = make_full(name)
        setattr(question, field, text)
        yield name, question, field
    for kind in (0, 256, -1):
        question = make_full("GetInclusionProof")
        question.document.kind = kind
        yield "GetInclusionProof", question, "document.kind"
    for field, text in (("division_prefix", "13a"), ("overdue_on", "tomorrow"), ("institution_code", "p")):
        question = make_full("ListCases")
        setattr(question, field, text)
        yield "ListCases", question, field


def test_a_value_that_fits_its_type_alone_is_refused_by_name(channel: grpc.Channel) -> None:
    """Pins that a time, a number of an enumeration or a filter that nothing can be made of is refused,
    before it becomes a key or is kept and cannot be shown again."""
    for name, message, field in list_extremes():
        assert refused_field(channel, name, message.SerializeToString()) == field, message


def list_labels() -> Iterator[tuple[str, document_pb2.Document, Message, str, int]]:
    """The texts that nobody looks at: path, plain document, the message that has it, its name, its bound."""
    for name, bytes_max in LINE_LABELS.items():
        sold = sale(SHOP, "S1", NOON, line(code(1)))
        yield f"document.lines[0].{name}", sold, sold.lines[0], name, bytes_max
    for name in ("person_certificate_type", "prescriber_certificate_type", "pharmacist_certificate_type"):
        sold = sale(SHOP, "S1", NOON, line(code(1)))
        yield f"document.sale.{name}", sold, sold.sale, name, CERTIFICATE_TYPE_BYTES_MAX
    for name, bytes_max in SUPPLIER_LABELS.items():
        received = receipt(SHOP, "R1", NOON, line(code(2)))
        if name in received.receipt.DESCRIPTOR.fields_by_name:
            yield f"document.receipt.{name}", received, received.receipt, name, bytes_max


@pytest.mark.parametrize(("path", "document", "part", "name", "bytes_max"), list(list_labels()))
def test_both_ways_hold_the_same_bound(
    path: str, document: document_pb2.Document, part: Message, name: str, bytes_max: int
) -> None:
    """Pins, at the edge and in bytes of UTF-8, that the native reader takes what the field checks take: a
    text that just fits goes by its bytes, one byte more goes the long way and is refused by its name."""
    for text, fits in (
        ("药" * (bytes_max // 3) + "x" * (bytes_max % 3), True),
        ("药" * (bytes_max // 3) + "x" * (bytes_max % 3 + 1), False),
    ):
        setattr(part, name, text)
        message = ledger_service_pb2.RecordDocumentsRequest(
            requests=[ledger_service_pb2.RecordDocumentRequest(document=document)]
        ).SerializeToString(deterministic=True)
        assert (_native.read_requests(message, 0, str) is not None) == fits
        if fits:
            assert read_document(document).number == document.document_number
        else:
            with pytest.raises(FieldInvalid, match=f"longer than {bytes_max} bytes") as caught:
                read_document(document)
            assert caught.value.field == path


def test_a_token_that_is_too_long_is_refused_before_it_is_hidden() -> None:
    """Pins the bound on what is replaced by a hash, whose own length would always do."""
    ledger = Ledger.open(None, engine="memory", person_key=PersonKey(b"k" * 32), clock_ns=lambda: NOON * NS)
    sold = sale(SHOP, "S1", NOON, line(code(1)), person="p" * 129)
    with pytest.raises(FieldInvalid) as caught:
        ledger.submit(sold)
    ledger.close()

    assert caught.value.field == "document.sale.person_token"
    assert "p" * 9 not in str(caught.value)
