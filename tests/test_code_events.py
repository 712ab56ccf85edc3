"""What an entry tells of a code: the native writer and the readable one write the same bytes.

Goal: what native/code_events.pxi takes it tells as `tell_entry` of tracecode/engine/store_engine.py does;
what it does not take it leaves. Method: random documents, findings and revisions become the entries and
records of a store, some with a byte changed; each code on a document is told of.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from documents import HOUR, NOON, NS, SHOP, code, line, receipt, sale, sale_return, stock_count
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from test_lines import findings, worn_documents

from tracecode._native import Store
from tracecode.code import key_text
from tracecode.document import freeze_document
from tracecode.engine import records
from tracecode.engine.document_codes import ReadDocument
from tracecode.engine.index import Index
from tracecode.engine.store_engine import tell_entry
from tracecode.v1 import code_pb2, document_pb2, finding_pb2, journal_pb2

RECEIVE_TIME = NOON + 61 * HOUR
INSTITUTION_NUMBER = 7


@dataclass(frozen=True, slots=True)
class Reported:
    """A document's entry, and what became of it."""

    document: document_pb2.Document
    outcome: int
    findings: Sequence[finding_pb2.Finding]
    revised: Sequence[finding_pb2.Finding] | None
    deleted_by: int
    superseded: bool
    """A correction took over its number."""
    skew_seconds: int = 0


@st.composite
def reported(draw: st.DrawFn) -> Reported:
    """A document of any kind but a deletion, which names no code of its own."""
    document = draw(worn_documents().filter(lambda one: not one.HasField("deletion")))
    found = st.lists(findings(), max_size=3)
    return Reported(
        document=document,
        outcome=draw(st.integers(1, 2)),
        findings=draw(found),
        revised=draw(st.none() | found),
        deleted_by=draw(st.sampled_from([0, 0, 9])),
        superseded=draw(st.integers(0, 9)) == 0,
        skew_seconds=draw(st.sampled_from([0, 0, -70 * HOUR])),
    )


def open_store(folder: str) -> Store:
    """An empty one."""
    return Store(folder, map_size_bytes=2**24, overlay_bytes_max=2**22, sync=False)


def keep(store: Store, one: Reported, content: bytes = b"") -> ReadDocument:
    """Put it into an empty store as entry 1, its revision as entry 2; with other bytes of the document, if
    some are given. Raises what a reader of these bytes raises."""
    document = one.document
    content = content or document.SerializeToString(deterministic=True)
    receive_time = RECEIVE_TIME + one.skew_seconds
    read = ReadDocument(freeze_document(document_pb2.Document.FromString(content)), 1, receive_time)
    store.append(
        journal_pb2.JournalEntry(
            sequence=1,
            receive_time_ns=receive_time * NS + 5,
            document=journal_pb2.DocumentEntry(
                document=content,
                outcome=finding_pb2.Outcome.ValueType(one.outcome),
                findings=one.findings,
                rule_base_version="v",
                previous_sequences=[0] * len(read.events),
            ),
        ).SerializeToString(deterministic=True)
    )
    store.append(
        journal_pb2.JournalEntry(
            sequence=2,
            receive_time_ns=receive_time * NS + 6,
            revision=journal_pb2.Revision(
                revised_sequence=1, revision=1, cause_sequence=1, findings=one.revised or ()
            ),
        ).SerializeToString(deterministic=True)
    )
    store.put(
        records.institution_key(read.document.institution_code),
        records.institution_to_bytes(INSTITUTION_NUMBER, None),
    )
    key = records.document_key(INSTITUTION_NUMBER, read.document.kind, read.document.number)
    record = records.DocumentIndexRecord(
        1, deleted_by=one.deleted_by, revision_sequence=0 if one.revised is None else 2
    )
    if one.superseded:
        store.put(key, records.DocumentIndexRecord(8).to_bytes())
        key = records.superseded_key(key, 1)
    store.put(key, record.to_bytes())
    store.commit()
    return read


def tell(store: Store, key: bytes) -> tuple[bytes | None, bytes]:
    """What both writers tell of a code on entry 1."""
    codes = frozenset({key_text(key), code(2)})
    (plain,) = store.code_events(key, [each.encode() for each in codes], [1])
    message = code_pb2.CodeEvent()
    tell_entry(Index(store), 1, key, codes, message)
    return plain, message.SerializeToString(deterministic=True)


@settings(max_examples=40, deadline=None)
@given(reported())
def test_the_native_writer_and_the_readable_one_tell_the_same(one: Reported) -> None:
    """Pins the bytes, for documents of all kinds, odd fields and odd scans, deleted, refused and revised."""
    with tempfile.TemporaryDirectory() as folder, open_store(folder) as store:
        for key in keep(store, one).events:
            plain, readable = tell(store, key)
            assert plain in (None, readable)


@settings(max_examples=40, deadline=None)
@given(reported(), st.integers(0, 2_000), st.integers(0, 255))
def test_an_entry_of_odd_bytes_is_told_alike_or_left(one: Reported, place: int, byte: int) -> None:
    """Pins that bytes which no encoder writes are never told of as something else than protobuf reads.

    Of bytes that nobody can read nothing is promised: they were checked when they came.
    """
    content = bytearray(one.document.SerializeToString(deterministic=True))
    content[place % len(content)] = byte
    with tempfile.TemporaryDirectory() as folder, open_store(folder) as store:
        try:
            read = keep(store, one, bytes(content))
        except (DecodeError, KeyError, ValueError, ArithmeticError):
            return
        for key in read.events:
            if store.code_events(key, [], [1]) != [None]:
                plain, readable = tell(store, key)
                assert plain == readable


def test_plain_entries_are_told_natively() -> None:
    """Pins that the native writer is used: whole packs sold, brought back and received, also deleted."""
    found = finding_pb2.Finding(type=finding_pb2.FINDING_TYPE_DUP_SALE_CROSS_ORG, line_number=1, code=code(1))
    other = finding_pb2.Finding(type=finding_pb2.FINDING_TYPE_DUP_SALE_CROSS_ORG, line_number=1, code=code(3))
    for document in (
        sale(SHOP, "S1", NOON, line(code(1)), settlement="T1", channel=1),
        sale_return(SHOP, "B1", NOON, line(code(1))),
        receipt(SHOP, "R1", NOON, line(code(1), lot="L1")),
    ):
        one = Reported(document, 1, [found, other], [other, found], 9, False)
        with tempfile.TemporaryDirectory() as folder, open_store(folder) as store:
            (key,) = keep(store, one).events
            plain, readable = tell(store, key)
        assert plain == readable
        event = code_pb2.CodeEvent.FromString(plain or b"")
        assert [each.code for each in (*event.findings_first, *event.findings)] == [code(1)] * 2
        assert event.deleted_by_sequence == 9


def test_what_is_not_plain_is_left_to_the_readable_writer() -> None:
    """Pins what is left: split packs, whose units are decimals, other kinds, superseded numbers, and an entry
    that is not there."""
    split = sale(SHOP, "S1", NOON, line(code(1), split=True))
    whole = sale(SHOP, "S1", NOON, line(code(1)))
    for one in (
        Reported(split, 1, (), None, 0, False),
        Reported(stock_count(SHOP, "C1", NOON, line(code(1))), 1, (), None, 0, False),
        Reported(whole, 1, (), None, 0, True),
    ):
        with tempfile.TemporaryDirectory() as folder, open_store(folder) as store:
            (key,) = keep(store, one).events
            assert store.code_events(key, [], [1, 3]) == [None, None]
