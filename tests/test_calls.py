"""Calls answered from their bytes: the same as by the long way, or not at all.

Goal: `submit_requests` and `verify_plain` make no objects of what they read. Method: random days, questions
and messages go both ways, to two ledgers where something is recorded; replies and journals must be equal byte
for byte, and bytes that are no message must be left to the long way.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from documents import (
    DRUG,
    HOUR,
    INSTITUTIONS,
    NOON,
    NS,
    OTHER_DRUG,
    PRODUCTS,
    SHOP,
    code,
    line,
    receipt,
    sale,
)
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from test_clearing import documents, mostly, scans

from tracecode import _native
from tracecode.code import read_scan
from tracecode.engine import records
from tracecode.engine.contract import Submissions
from tracecode.errors import DocumentRejected, FieldInvalid
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import document_pb2, ledger_service_pb2

KEY = PersonKey(b"k" * 32)
LATER = NOON + 70 * HOUR


@contextlib.contextmanager
def open_ledger() -> Iterator[Ledger]:
    """A ledger on lmdb with the catalogue of the tests, at a moment after all its days."""
    with tempfile.TemporaryDirectory() as directory:
        ledger = Ledger.open(
            Path(directory) / "ledger", engine="lmdb", person_key=KEY, clock_ns=lambda: LATER * NS + 5
        )
        try:
            ledger.import_products(PRODUCTS)
            ledger.import_institutions(INSTITUTIONS)
            yield ledger
        finally:
            ledger.close()


def stocked_day() -> list[document_pb2.Document]:
    """Boxes in stock, so that some of what is asked is plain."""
    return [receipt(SHOP, "R0", NOON - HOUR, line(*(code(n) for n in range(1, 7)), lot="L1"))]


@st.composite
def questions(draw: st.DrawFn) -> ledger_service_pb2.VerifyCodesRequest:
    """A question whose fields are mostly plain."""
    request = ledger_service_pb2.VerifyCodesRequest(
        institution_code=str(draw(mostly(SHOP, "P13050000002", "P99999900009", "p", ""))),
        person_token=str(draw(mostly("", "A"))),
    )
    for _ in range(draw(st.integers(1, 3))):
        request.codes.add(
            code=draw(scans()),
            drug_code=str(draw(mostly(DRUG, "X", ""))),
            split_units=int(str(draw(mostly(0, 0, 2)))),
        )
    if draw(st.booleans()):
        request.business_time.seconds = LATER + int(str(draw(mostly(0, -HOUR, HOUR, -(10**10)))))
    return request


@settings(max_examples=30, deadline=None)
@given(st.lists(documents(), max_size=5), st.lists(questions(), min_size=1, max_size=8))
def test_a_question_answered_from_its_bytes_is_answered_the_same(
    day: list[tuple[document_pb2.Document, int, str]], asked: list[ledger_service_pb2.VerifyCodesRequest]
) -> None:
    """Pins every byte of the answer; a question that is not plain is not answered."""
    with open_ledger() as ledger:
        told = [*stocked_day(), *(document for document, _, _ in day)]
        ledger.record(told, [LATER * NS] * len(told))
        for request in asked:
            answer = ledger.verify_plain(request.SerializeToString())
            if answer is None:
                continue
            assert ledger_service_pb2.VerifyCodesResponse.FromString(answer) == ledger.verify(request)
            assert answer == ledger.verify(request).SerializeToString(deterministic=True)


def test_a_plain_question_is_answered_from_its_bytes() -> None:
    """Pins that this happens at all: 20 digits and GS1 with lot and expiry, in memory and from disk."""
    gs1 = "010690123456789221S1\x1d10L1\x1d17270630"
    with open_ledger() as ledger:
        ledger.record(
            [receipt(SHOP, "R0", NOON, line(code(1), code(2)), line(gs1, lot="L1", drug=OTHER_DRUG))],
            [LATER * NS],
        )
        request = ledger_service_pb2.VerifyCodesRequest(institution_code=SHOP)
        request.codes.add(code=code(1), drug_code=DRUG)
        request.codes.add(code=gs1, drug_code=OTHER_DRUG)
        for _ in range(2):
            answer = ledger.verify_plain(request.SerializeToString())
            assert answer is not None
            assert ledger_service_pb2.VerifyCodesResponse.FromString(answer) == ledger.verify(request)
            ledger.engine.native.flush()


def test_what_is_not_durable_yet_is_not_told() -> None:
    """A sale that waits for its commit must be seen by nobody: the question is left to the long way."""
    with open_ledger() as ledger:
        ledger.record(stocked_day(), [LATER * NS])
        store = ledger.engine.native
        request = ledger_service_pb2.VerifyCodesRequest(institution_code=SHOP)
        request.codes.add(code=code(1), drug_code=DRUG)
        asked = request.SerializeToString()
        store.flush()
        assert store.verify(asked, LATER * NS)

        store.put(records.code_key(read_scan(code(1))[0].key), b"half")

        assert store.verify(asked, LATER * NS) is None
        store.rollback()
        assert store.verify(asked, LATER * NS)


@settings(max_examples=30, deadline=None)
@given(st.lists(documents(), min_size=1, max_size=8))
def test_documents_recorded_from_their_bytes_are_recorded_the_same(
    day: list[tuple[document_pb2.Document, int, str]],
) -> None:
    """Pins replies and journals byte for byte, persons hidden; an odd message is not read."""
    with open_ledger() as ours, open_ledger() as long_way:
        for document, _, request_id in [(stocked_day()[0], 0, ""), *day]:
            document.operator_token = "the clerk"
            if document.HasField("sale"):
                document.sale.prescriber_token = "医生"
            message = ledger_service_pb2.RecordDocumentsRequest()
            message.requests.add(document=document, request_id=request_id)
            future = ours.submit_requests(message.SerializeToString())
            other = long_way.submit(document, request_id)
            if future is None:
                future_of_one = ours.submit(document, request_id)
                assert type(future_of_one.exception()) is type(other.exception())
                continue
            (reply,) = future.result()
            if isinstance(reply, Exception):
                assert str(reply) == str(other.exception())
            else:
                assert reply == other.result().SerializeToString(deterministic=True)
        first, second = ours.engine.entries(0, 1_000), long_way.engine.entries(0, 1_000)
        assert first == second
        assert b"the clerk" not in b"".join(first)


def test_a_message_of_many_documents_is_answered_in_order() -> None:
    """Plain, repeated, odd and rejected documents in one message, each with its own answer."""
    message = ledger_service_pb2.RecordDocumentsRequest()
    for document in (
        sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"),
        sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"),
        sale(SHOP, "S2", NOON + 2 * HOUR, line(code(1)), person="B"),
        sale(SHOP, "S1", NOON + HOUR, line(code(2)), person="A"),
        sale("nobody", "S4", NOON + HOUR, line(code(3))),
        sale(SHOP, "S5", NOON + HOUR, line(code(4))),
    ):
        message.requests.add(document=document)
    with open_ledger() as ledger:
        ledger.record(stocked_day(), [LATER * NS])
        future = ledger.submit_requests(message.SerializeToString())
        assert future is not None
        plain, repeat, odd, reused, invalid, last = future.result()
    assert isinstance(plain, bytes)
    assert isinstance(last, bytes)
    assert isinstance(reused, DocumentRejected)
    assert isinstance(invalid, FieldInvalid)
    assert isinstance(repeat, bytes)
    assert b"DUP_" not in plain
    assert len(odd) > len(plain)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_bytes_that_are_no_message_are_left_to_the_long_way(data: st.DataObject) -> None:
    """Any change of any byte: what is read is what protobuf reads, and would write as the same bytes."""
    document, _, request_id = data.draw(documents())
    message = ledger_service_pb2.RecordDocumentsRequest()
    message.requests.add(document=document, request_id=request_id)
    raw = bytearray(message.SerializeToString(deterministic=True))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))

    read = _native.read_requests(bytes(raw), 0, lambda token: token)

    if read is None:
        return
    try:
        parsed = ledger_service_pb2.RecordDocumentsRequest.FromString(bytes(raw))
    except DecodeError:
        raise AssertionError("protobuf does not read it") from None
    assert read[0] == [r.document.SerializeToString(deterministic=True) for r in parsed.requests]
    assert read[1] == [r.request_id for r in parsed.requests]


def test_only_the_kind_that_was_asked_for_is_read() -> None:
    """RecordSale must not take a receipt, nor RecordReceipt a sale."""
    message = ledger_service_pb2.RecordDocumentsRequest()
    message.requests.add(document=sale(SHOP, "S1", NOON, line(code(1))))
    raw = message.SerializeToString()

    kinds = (0, document_pb2.DOCUMENT_KIND_SALE, document_pb2.DOCUMENT_KIND_RECEIPT)
    assert [_native.read_requests(raw, kind, str) is not None for kind in kinds] == [True, True, False]


def test_many_records_are_found_at_once(tmp_path: Path) -> None:
    """Pins that the walk over the pages finds every record that is there, with its value, and no other; in
    trees of one page to four levels, before and after they change."""
    drawn = random.Random(1)
    with _native.Store(str(tmp_path / "ledger"), map_size_bytes=1 << 28, overlay_bytes_max=1 << 26) as store:
        known: dict[bytes, bytes] = {}
        for count in (1, 30, 3_000, 100_000):
            for _ in range(count):
                key = b"c" + drawn.randbytes(drawn.choice((3, 11, 11, 40)))
                known[key] = drawn.randbytes(drawn.choice((0, 1, 44, 44, 300)))
                store.put(key, known[key])
            for key in drawn.sample(sorted(known), len(known) // 10):
                store.delete(key)
                del known[key]
            store.flush()
            present = drawn.sample(sorted(known), min(len(known), 2_000))
            absent = [key + b"\0" for key in present] + [key[:-1] for key in present] + [b"", b"\xff" * 200]
            asked = drawn.sample(present + absent, len(present) + len(absent))
            assert store._find_ahead(asked) == [known.get(key) for key in asked]


def test_a_large_value_is_left_to_lmdb(tmp_path: Path) -> None:
    """A value that lies on pages of its own is not found by the walk, and found all the same."""
    with _native.Store(str(tmp_path / "ledger"), map_size_bytes=1 << 24, overlay_bytes_max=1 << 22) as store:
        store.put(b"c1", b"x" * 5_000)
        store.flush()
        assert store._find_ahead([b"c1"]) == [None]
        assert store.get(b"c1") == b"x" * 5_000


def test_a_replies_column_is_as_long_as_its_documents() -> None:
    """Submissions read from bytes carry one time and one request_id each."""
    message = ledger_service_pb2.RecordDocumentsRequest()
    for number in range(3):
        message.requests.add(document=sale(SHOP, f"S{number}", NOON, line(code(1))), request_id=f"q{number}")
    read = Submissions.read(message.SerializeToString(), 0, KEY.hash, 7)
    assert read is not None
    assert (len(read), read.receive_times_ns, read.request_ids) == (3, [7] * 3, ["q0", "q1", "q2"])
