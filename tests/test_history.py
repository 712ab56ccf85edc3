"""Histories: what a regulator is shown is what was reported, and he is shown no more than he may see.

Goal: lists, exports and a code's life agree with the engine and with a plain reading of the journal, whatever
lies in files and whatever does not yet; nobody looks unnamed, beyond his divisions, or unrecorded. Method: a
small ledger with findings, revisions and deletions is asked over files cut at random; a service is asked over
a socket.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import grpc
import pyarrow as pa
import pytest
from backed_up import PERSON, PERSON_KEY, fill_ledger
from documents import (
    DAY,
    DRUG,
    FAR,
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
)
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from running_server import ServerProcess, ServerThread
from test_cli import run
from wire import read_looks

from tracecode.access import Access, Asker
from tracecode.client import CallInvalid, LedgerClient, NotKnown
from tracecode.client.actor import name_actor
from tracecode.document import DocumentKind
from tracecode.engine.store_engine import StoreEngine
from tracecode.errors import AccessDenied, FieldInvalid, GrantsInvalid, StorageFull
from tracecode.filter import compile_predicate, parse_filter
from tracecode.grants import Grants, GrantsFile, Reach
from tracecode.history import History, list_columns
from tracecode.ledger import Ledger, read_key
from tracecode.masks import mask_complaint
from tracecode.v1 import (
    case_pb2,
    case_service_pb2,
    case_service_pb2_grpc,
    code_pb2,
    complaint_pb2,
    consumer_service_pb2,
    consumer_service_pb2_grpc,
    document_pb2,
    finding_pb2,
    history_service_pb2,
    history_service_pb2_grpc,
    journal_pb2,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
)
from tracecode.v1.complaint_pb2 import COMPLAINT_KIND_SALE_NOT_MINE
from tracecode.views.lines import extract, read_entries
from tracecode.views.parquet import ParquetWriter
from tracecode.views.projector import DIRECTORY
from tracecode.views.relations import Relations
from tracecode.views.standing import select_deleted, select_row_findings, select_standing_findings
from tracecode.views.store import ViewStore

LINES = history_service_pb2.ListHistoryRequest
DOCUMENTS = history_service_pb2.ListDocumentsRequest
EXPORT = history_service_pb2.ExportHistoryRequest
ALL = Asker("all")
GRANTS = """
[actors.all]
divisions = [""]
[actors."王芳"]
divisions = ["1305"]
[actors.guest]
divisions = []
[[actors.guest.granted]]
divisions = ["5101"]
from = 2026-03-01
to = 2026-03-31
granted_by = "王芳"
reason = "联合检查"
"""
CLOCK_SECONDS = NOON + 3 * DAY


def clock_ns() -> int:
    """Three days after noon."""
    return CLOCK_SECONDS * NS


class Desk:
    """A ledger with its history, opened by the test."""

    def __init__(self, directory: Path, *, tail_rows_max: int = 200_000) -> None:
        self.ledger = Ledger.open(directory / "data", person_key=PERSON_KEY, clock_ns=clock_ns)
        (directory / "grants.toml").write_text(GRANTS)
        self.relations = Relations(
            directory / "data" / DIRECTORY,
            lambda: self.ledger.engine.sequence,
            self.ledger.engine.entries,
            tail_rows_max=tail_rows_max,
        )
        access = Access(self.ledger.desk, GrantsFile(directory / "grants.toml"), clock_ns)
        self.history = History(self.ledger, self.relations, access, clock_ns)

    def close(self) -> None:
        """Release it."""
        self.relations.close()
        self.ledger.close()

    def rows(self, request: LINES, asker: Asker = ALL) -> list[history_service_pb2.HistoryLine]:
        """All rows of a list, page by page."""
        rows: list[history_service_pb2.HistoryLine] = []
        while True:
            page = self.history.list_history(asker, request)
            rows += page.lines
            if not page.next_page_token:
                return rows
            request.page_token = page.next_page_token


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Over a ledger with findings, revisions and deletions, none of it in files."""
    fill_ledger(tmp_path / "data", 16)
    opened = Desk(tmp_path)
    opened.ledger.record(
        [
            sale(FAR, "FAR1", NOON + HOUR, line(code(1)), person="p2"),
            sale(OTHER, "B1", NOON + HOUR, line(code(501), batch="LOT7"), line(code(502), batch="LOT8")),
            sale(OTHER, "B2", NOON + 3 * HOUR, line(code(503), batch="LOT7")),
            deletion(OTHER, "X1", NOON + 2 * HOUR, batch="LOT7"),
            deletion(OTHER, "X2", NOON + DAY, deletes="B3"),
            sale(OTHER, "B3", NOON + 3 * HOUR, line(code(504), code(505), "no code", quantity="2")),
            sale(OTHER, "B4", NOON + 3 * HOUR, line(code(506)), corrects="B3"),
        ]
    )
    yield opened
    opened.close()


def read_rows(ledger: Ledger) -> list[dict[str, Any]]:
    """The lines relation, read the readable way."""
    rows: list[dict[str, Any]] = extract(ledger.engine.entries(0, 100_000), 0).lines.to_pylist()
    return rows


def place(row: Any) -> tuple[int, int, str]:
    """What names a row of a list."""
    if isinstance(row, dict):
        return row["sequence"], row["line_number"], row["code"] or row["scan"] or ""
    return row.sequence, row.line_number, row.code or row.scan


def test_what_stands_is_what_the_engine_says(desk: Desk) -> None:
    """Pins the joins of standing.py by every document of a ledger: by which deletion it is taken back, and
    what is found now; and that what was first found is distributed over rows as the relation says."""
    engine = desk.ledger.engine
    extracted = extract(engine.entries(0, 100_000), 0)
    with duckdb.connect() as connection:
        for name in ("lines", "findings", "deletions"):
            connection.register(name, getattr(extracted, name))
        connection.execute(f"CREATE TABLE standing AS {select_standing_findings()}")
        deleted = dict(connection.execute(select_deleted()).fetchall())
        connection.execute("CREATE TABLE first AS SELECT * FROM findings WHERE revision = 0 AND type <> 0")
        types: dict[int, list[int]] = {}
        for sequence, number in connection.execute("SELECT sequence, type FROM standing").fetchall():
            types.setdefault(sequence, []).append(number)
        first = {
            row[:3]: (sorted(row[3]), row[4])
            for row in connection.execute(select_row_findings(standing="first")).fetchall()
        }
    seen = set()
    for value in engine.entries(0, 100_000):
        entry = journal_pb2.JournalEntry.FromString(value)
        if not entry.HasField("document"):
            continue
        document = document_pb2.Document.FromString(entry.document.document)
        kind = document_pb2.DocumentKind.Value(f"DOCUMENT_KIND_{document.WhichOneof('content').upper()}")
        found = engine.document(document.institution_code, kind, document.document_number)
        assert found is not None
        assert deleted.get(entry.sequence, 0) == found.deleted_by_sequence
        standing = sorted(each.type for each in found.verdict.findings)
        assert sorted(types.get(entry.sequence, [])) == standing
        seen.add((bool(found.deleted_by_sequence), bool(found.verdict.revision)))
    assert seen == {(False, False), (True, False), (False, True), (True, True)} or len(seen) >= 3
    for row in extracted.lines.to_pylist():
        told = first.get((row["sequence"], row["line_number"], row["line_row"]), ([], 0))
        assert told == (sorted(row["findings"]), row["severity"])


def write_files(desk: Desk, directory: Path, count: int) -> None:
    """Let the files go so many entries further."""
    with ViewStore(directory) as store:
        writer = ParquetWriter(store)
        writer.add(read_entries(desk.ledger.engine.entries(writer.sequence, count), writer.sequence))
        writer.write()


FILTERS = [
    "",
    f"institution = {SHOP}",
    f'person_token = "{PERSON}" AND kind = SALE',
    f'code = "{code(3)}" OR code = "{code(504)}"',
    "business_day > 2026-03-15 AND NOT division = 5101*",
    "findings:DUP_SALE_CROSS_ORG OR severity >= ALERT",
    "NOT code:* AND scan:*",
    "kind != RECEIPT AND (lot = x OR quantity >= 1)",
]


@pytest.mark.parametrize("seed", range(3))
def test_lists_are_a_plain_reading_whatever_lies_in_files(
    desk: Desk, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins every list against the predicate over the journal's rows, while files grow, are made into one, and
    the tail lies in memory or in passing files."""
    monkeypatch.setattr("tracecode.views.parquet.FILES_MAX", 3)
    rng = random.Random(seed)
    desk.close()
    other = Desk(tmp_path, tail_rows_max=[1, 20, 200_000][seed])
    columns = list_columns(other.ledger.hash_person)
    with closing(other):
        rows = read_rows(other.ledger)
        for text in FILTERS:
            predicate = compile_predicate(parse_filter(text, columns), columns)
            expected = [place(row) for row in rows if predicate(row)]
            write_files(other, tmp_path / "data" / DIRECTORY, rng.randint(0, 20))
            found = other.rows(LINES(filter=text, order_by="sequence", page_size=rng.randint(25, 60)))
            assert [place(row) for row in found] == expected
            assert expected


def test_pages_show_the_ledger_as_it_was_at_the_first(desk: Desk) -> None:
    """Pins that what comes between two pages moves, adds and clears nothing; in every order."""
    for order, kinds in (
        ("business_time", ("lines",)),
        ("institution desc, sequence", ("lines", "documents")),
    ):
        for kind in kinds:
            whole: Any = desk.history.list_history(ALL, LINES(order_by=order, page_size=1_000)).lines
            ask: Any = desk.history.list_history
            request: Any = LINES(order_by=order, page_size=25)
            if kind == "documents":
                whole = desk.history.list_documents(ALL, DOCUMENTS(order_by=order, page_size=1_000)).documents
                ask = desk.history.list_documents
                request = DOCUMENTS(order_by=order, page_size=16)
            found: list[Any] = []
            as_of = 0
            while True:
                page = ask(ALL, request)
                as_of = as_of or page.as_of.sequence
                assert page.as_of.sequence == as_of
                found += getattr(page, kind)
                number = f"{order[0]}{kind}{len(found)}"
                desk.ledger.record([sale(SHOP, number, NOON, line(code(1), code(7)))])
                desk.ledger.record([deletion(SHOP, "X" + number, NOON + DAY, deletes=f"S{len(found) % 16}")])
                if not page.next_page_token:
                    break
                request.page_token = page.next_page_token
            assert found == list(whole)


def test_a_document_is_told_in_few_words(desk: Desk) -> None:
    """Pins what a document adds up to, what stands of it, and what took it back."""
    [told] = desk.history.list_documents(ALL, DOCUMENTS(filter="document_number = B3")).documents
    engine = desk.ledger.engine.document(OTHER, DocumentKind.SALE, "B3")
    assert engine is not None
    assert (told.line_count, told.code_count, told.kind) == (1, 2, DocumentKind.SALE)
    assert told.deleted_by_sequence == engine.deleted_by_sequence > 0
    assert list(told.findings_now) == sorted({each.type for each in engine.verdict.findings})
    deleted = desk.rows(LINES(filter="deleted = true AND kind = SALE"))
    assert {row.document_number for row in deleted} == {"B1", "B3", "S3", "S7", "S11", "S15"}
    standing = desk.rows(LINES(filter="findings_now:STOCK_NEVER_RECEIVED"))
    first = desk.rows(LINES(filter="findings:STOCK_NEVER_RECEIVED"))
    assert {place(row) for row in standing} < {place(row) for row in first}
    assert not any(row.findings_now for row in desk.rows(LINES(filter="NOT severity_now >= INFO")))


def test_tokens_of_other_questions_are_refused(desk: Desk) -> None:
    """Pins that a token belongs to its question, and may be no other thing."""
    token = desk.history.list_history(ALL, LINES(page_size=1)).next_page_token
    for request in (
        LINES(page_token=token, filter="refused = false"),
        LINES(page_token=token, order_by="business_time"),
        LINES(page_token="x"),
        LINES(page_token=token[:-4]),
        LINES(page_token="eyJhIjoxfQ=="),
        LINES(page_token="A" * 2_000),
    ):
        with pytest.raises(FieldInvalid, match="page_token"):
            desk.history.list_history(ALL, request)
    with pytest.raises(FieldInvalid, match="page_token"):
        desk.history.list_documents(ALL, DOCUMENTS(page_token=token))


@pytest.mark.parametrize("form", ["rows", "arrow"])
def test_an_export_is_taken_up_where_it_broke_off(desk: Desk, form: str) -> None:
    """Pins that an export cut behind any message and gone on with has every row once, and that messages end
    with an entry; as rows, and as Arrow IPC streams."""
    arrow = form == "arrow"
    number = history_service_pb2.EXPORT_FORMAT_ARROW if arrow else history_service_pb2.EXPORT_FORMAT_ROWS
    expected = [place(row) for row in read_rows(desk.ledger) if row["kind"] != DocumentKind.RECEIPT]
    rng = random.Random(5)
    after = as_of = 0
    found: list[tuple[int, int, str]] = []
    complete = False
    while not complete:
        request = EXPORT(
            filter="kind != RECEIPT", format=number, after_sequence=after, as_of_sequence=as_of, batch_rows=5
        )
        pieces = b""
        rows: list[tuple[int, int, str]] = []
        with closing(desk.history.export_history(ALL, request)) as messages:
            for message in messages:
                pieces += message.arrow
                rows += [place(row) for row in message.lines]
                after, as_of, complete = message.sequence, message.as_of_sequence, message.complete
                if rng.random() < 0.5:
                    break
        if arrow and pieces:
            rows = [place(row) for row in pa.ipc.open_stream(pieces).read_all().to_pylist()]
        assert not rows or rows[-1][0] <= after
        found += rows
        desk.ledger.record([sale(SHOP, f"M{after}{rng.random()}", NOON, line(code(900)))])
    assert sorted(found) == sorted(expected)


def test_a_look_is_durable_before_anything_is_shown(desk: Desk) -> None:
    """Pins the record of each look, with persons hashed and the reason; and no answer where it cannot be
    kept."""
    before = desk.ledger.engine.sequence
    asker = Asker("王芳", "举报", "host")
    desk.history.list_history(asker, LINES(filter=f'person_token = "{PERSON}"', page_size=3))
    desk.history.get_code_history(asker, history_service_pb2.GetCodeHistoryRequest(code=code(1)))
    looks = read_looks(desk.ledger.engine.entries(before, 10))
    assert [look.method.rpartition(".")[2] for look in looks] == ["ListHistory", "GetCodeHistory"]
    assert {(look.actor, look.reason, look.peer) for look in looks} == {("王芳", "举报", "host")}
    assert PERSON not in looks[0].question
    assert PERSON_KEY.hash(PERSON) in looks[0].question
    desk.ledger.refusal = "the disk is full"
    with pytest.raises(StorageFull):
        desk.history.list_history(ALL, LINES())
    with pytest.raises(StorageFull):
        desk.history.export_history(ALL, EXPORT(format=history_service_pb2.EXPORT_FORMAT_ROWS))


def test_nobody_sees_beyond_his_divisions(desk: Desk) -> None:
    """Pins reaches over every method: own divisions, a grant while it lasts, and what others' events tell."""
    wang, guest = Asker("王芳"), Asker("guest")
    for text in ("", f"institution = {FAR}", "division = 5101* OR division = 1305*"):
        assert {row.division_code for row in desk.rows(LINES(filter=text), wang)} <= {"130500"}
        assert {row.division_code for row in desk.rows(LINES(filter=text), guest)} == {"510100"}
    documents = desk.history.list_documents(guest, DOCUMENTS()).documents
    assert {each.document_number for each in documents} == {"FAR1"}
    request = EXPORT(format=history_service_pb2.EXPORT_FORMAT_ROWS)
    exported = [row for message in desk.history.export_history(guest, request) for row in message.lines]
    assert {row.institution_code for row in exported} == {FAR}
    life = desk.history.get_code_history(wang, history_service_pb2.GetCodeHistoryRequest(code=code(1)))
    assert {event.division_code for event in life.events} == {"130500", "510100"}
    for told in life.events:
        assert told.masked == (told.division_code == "510100")
        assert bool(told.event.document_number) != told.masked
        assert FAR not in str(told)
        assert "FAR1" not in str(told)
    assert any(told.event.findings for told in life.events if told.masked)
    whole = desk.history.get_code_history(ALL, history_service_pb2.GetCodeHistoryRequest(code=code(1)))
    assert FAR in str(whole)
    complaint = consumer_service_pb2.FileComplaintRequest(
        code=code(1), kind=COMPLAINT_KIND_SALE_NOT_MINE, request_id="q1", person_token="somebody"
    )
    desk.ledger.file_complaint(complaint)
    (seen,) = desk.history.get_code_history(
        ALL, history_service_pb2.GetCodeHistoryRequest(code=code(1))
    ).complaints
    (bare,) = desk.history.get_code_history(
        wang, history_service_pb2.GetCodeHistoryRequest(code=code(1))
    ).complaints
    assert FAR in seen.complaint.institution_codes
    assert seen.complaint.sale_sequences
    assert (bare.sequence, bare.complaint.kind) == (seen.sequence, seen.complaint.kind)
    assert not bare.complaint.institution_codes
    assert not bare.complaint.sale_sequences
    with pytest.raises(AccessDenied, match="nobody is named"):
        desk.history.list_history(Asker(), LINES())
    with pytest.raises(AccessDenied, match="not in the file"):
        desk.history.get_code_history(Asker("x"), history_service_pb2.GetCodeHistoryRequest(code=code(1)))


def test_both_channels_of_a_sale_are_joined(desk: Desk) -> None:
    """Pins that it is said which report tells of the same sale, by which channel, and of which lot."""
    desk.ledger.record(
        [
            receipt(SHOP, "RJ", NOON, line(code(700), lot="L9")),
            sale(SHOP, "J1", NOON + HOUR, line(code(700)), settlement="ST1", channel=1),
            sale(SHOP, "J2", NOON + HOUR + 60, line(code(700)), settlement="ST1", channel=2),
        ]
    )
    told = [
        event.event
        for event in desk.history.get_code_history(
            ALL, history_service_pb2.GetCodeHistoryRequest(code=code(700))
        ).events
    ]
    assert [event.operation for event in told] == [
        code_pb2.OPERATION_RECEIVE,
        code_pb2.OPERATION_SALE,
        code_pb2.OPERATION_SALE,
    ]
    assert told[0].lot_number == "L9"
    assert [event.channel for event in told] == [0, 1, 2]
    assert [event.joined_sequence for event in told] == [0, 0, told[1].sequence]
    assert {event.settlement_id for event in told[1:]} == {"ST1"}
    assert {event.drug_code for event in told} == {DRUG}


def test_a_box_of_a_large_receipt_is_told_as_if_all_of_it_were_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that reading only the part of a receipt that names a box changes nothing of what is told."""
    boxes = [code(3_000 + number) for number in range(400)]
    large = [line(*boxes[at : at + 50], lot=f"L{at}") for at in range(0, 400, 50)]
    moment = CLOCK_SECONDS - HOUR
    desk.ledger.record(
        [receipt(SHOP, "LARGE", moment, *large), sale(SHOP, "OF", moment + 9, line(boxes[77]))]
    )
    engine = desk.ledger.engine
    assert isinstance(engine, StoreEngine)
    key = read_key(boxes[77])
    engine.index.forget()
    told = engine.history(key)
    assert engine.index._parts
    engine.index.forget()
    monkeypatch.setattr(engine.index, "stored_for", lambda sequence, _key: engine.index.stored(sequence))
    assert engine.history(key) == told
    assert [(event.document_number, event.lot_number, event.line_number) for event in told] == [
        ("LARGE", "L50", 2),
        ("OF", "", 1),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[actors", "at the end of a table"),
        ("[other]", "holds tables"),
        ("[actors.a]\ndivision = ['37']", "'division' is not known"),
        ("[actors.a]\ndivisions = '37'", "a list of texts"),
        ("[actors.a]\ndivisions = ['37a']", "is no division"),
        ("[[actors.a.granted]]\ndivisions = ['37']", "has divisions, from, granted_by, reason, to"),
        (
            "[[actors.a.granted]]\ndivisions = ['37']\nfrom = 2026-03-02\nto = 2026-03-01\n"
            "granted_by = 'b'\nreason = 'c'",
            "ends before it begins",
        ),
        (
            "[[actors.a.granted]]\ndivisions = ['37']\nfrom = 2026-03-02\nto = 2026-03-03\n"
            "granted_by = ' '\nreason = 'c'",
            "granted_by is required",
        ),
    ],
)
def test_a_file_of_grants_that_cannot_be_used_is_refused(text: str, message: str) -> None:
    """Pins what is said of it."""
    with pytest.raises(GrantsInvalid, match=r"grants\.toml") as raised:
        Grants.parse(text, "grants.toml")
    assert message in str(raised.value)


def test_grants_last_as_long_as_they_say(tmp_path: Path) -> None:
    """Pins first and last day, prefixes that cover others, changes of the file, and that an unusable file
    grants nothing."""
    path = tmp_path / "grants.toml"
    path.write_text(GRANTS + '\n[actors.b]\ndivisions = ["3702", "37", "110101"]\n')
    file = GrantsFile(path)
    assert file.reach("b", date(2026, 1, 1)).divisions == ("110101", "37")
    for day in (date(2026, 3, 1), date(2026, 3, 31)):
        assert file.reach("guest", day).divisions == ("5101",)
    for day in (date(2026, 2, 28), date(2026, 4, 1)):
        with pytest.raises(AccessDenied, match="may see no division"):
            file.reach("guest", day)
    path.write_text("[actors.b]\ndivisions = ['1']\n")
    assert file.reach("b", date(2026, 1, 1)).divisions == ("1",)
    path.write_text("[actors")
    with pytest.raises(GrantsInvalid):
        file.reach("b", date(2026, 1, 1))
    with pytest.raises(AccessDenied, match="grants_file"):
        GrantsFile(None).reach("b", date(2026, 1, 1))


def read_error(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Code and reason of a refused call."""
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return error.code(), info.reason


def read_answer(answer: Any, *, streams: bool) -> str:
    """All that was answered, as text."""
    return str(list(answer) if streams else answer)


def ask_service(address: str) -> None:
    """Ask every method of a service whose grants are GRANTS, with somebody named and with nobody."""
    with grpc.insecure_channel(address) as channel:
        stub = history_service_pb2_grpc.HistoryServiceStub(channel)
        named = [("tracecode-actor", quote("王芳")), ("tracecode-reason", quote("举报 12 号"))]
        requests: list[tuple[Any, Any]] = [
            (stub.ListHistory, LINES()),
            (stub.ListDocuments, DOCUMENTS()),
            (stub.ExportHistory, EXPORT(format=history_service_pb2.EXPORT_FORMAT_ROWS, batch_rows=1)),
            (stub.GetCodeHistory, history_service_pb2.GetCodeHistoryRequest(code=code(1))),
        ]
        for ask, request in requests:
            streams = ask is stub.ExportHistory
            answer = ask(request, metadata=named, timeout=20)
            told = read_answer(answer, streams=streams)
            assert "S1" in told
            assert "FAR1" not in told
            for metadata in ([], [("tracecode-actor", "nobody")]):
                with pytest.raises(grpc.RpcError) as raised:
                    read_answer(ask(request, metadata=metadata, timeout=20), streams=streams)
                assert read_error(raised.value) == (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED")
        with pytest.raises(grpc.RpcError) as raised:
            stub.ListHistory(LINES(filter="kind = SOLD"), metadata=named, timeout=20)
        assert read_error(raised.value) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")


def ask_ledger(address: str) -> None:
    """Ask the methods that tills have, too: by a regulator, by a till, and by somebody badly named."""
    with LedgerClient(address, actor="王芳", reason="复核", deadline_seconds=20) as client:
        events = list(client.list_code_events(code(1)))
        assert [event.institution_code for event in events] == [SHOP, SHOP, ""]
        assert FAR not in str(events)
        assert "FAR1" not in str(events)
        assert events[2].findings
        assert client.get_code(code(1)).status.holder_institution_code in ("", SHOP)
        told = client.get_document(SHOP, document_pb2.DOCUMENT_KIND_SALE, "S1")
        assert told.document.document_number == "S1"
        assert FAR not in str(told)
        assert list(client.list_stock(SHOP))
        with pytest.raises(NotKnown):
            client.get_document(SHOP, document_pb2.DOCUMENT_KIND_SALE, "none")
        for ask in (
            lambda: client.get_document(FAR, document_pb2.DOCUMENT_KIND_SALE, "FAR1"),
            lambda: list(client.list_stock(FAR)),
        ):
            with pytest.raises(CallInvalid, match="ACCESS_DENIED"):
                ask()
    with LedgerClient(address, deadline_seconds=20) as till:
        assert [event.institution_code for event in till.list_code_events(code(1))] == [SHOP, SHOP, FAR]
        assert till.get_code(code(1)).status.state
        assert till.get_document(FAR, document_pb2.DOCUMENT_KIND_SALE, "FAR1").document.lines
        assert list(till.list_stock(FAR))
    with grpc.insecure_channel(address) as channel:
        stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        for metadata in (
            [("tracecode-actor", "")],
            [("tracecode-actor", "nobody")],
            [("tracecode-reason", "x")],
        ):
            for ask_badly, request in (
                (stub.ListCodeEvents, ledger_service_pb2.ListCodeEventsRequest(code=code(1))),
                (stub.GetCode, ledger_service_pb2.GetCodeRequest(code=code(1))),
                (stub.ListStock, ledger_service_pb2.ListStockRequest(institution_code=SHOP)),
            ):
                with pytest.raises(grpc.RpcError) as raised:
                    ask_badly(request, metadata=metadata, timeout=20)
                assert read_error(raised.value) == (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED")


def ask_complaints(address: str) -> None:
    """File a complaint about the box that was sold twice, and ask for it: by who may see one of the sellers
    and who may see both, and by nobody."""
    with grpc.insecure_channel(address) as channel:
        consumers = consumer_service_pb2_grpc.ConsumerServiceStub(channel)
        complaint = consumer_service_pb2.FileComplaintRequest(
            code=code(1), kind=COMPLAINT_KIND_SALE_NOT_MINE, request_id="q1", person_token="somebody"
        )
        sequence = consumers.FileComplaint(complaint, timeout=20).complaint_sequence
        stub = case_service_pb2_grpc.CaseServiceStub(channel)
        for metadata in ([], [("tracecode-actor", "")], [("tracecode-actor", "nobody")]):
            with pytest.raises(grpc.RpcError) as raised:
                stub.ListComplaints(case_service_pb2.ListComplaintsRequest(), metadata=metadata, timeout=20)
            assert read_error(raised.value) == (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED")
    everything = case_service_pb2.ListComplaintsRequest()
    of_far = case_service_pb2.ListComplaintsRequest(institution_code=FAR)
    with LedgerClient(address, actor="all", reason="复核", deadline_seconds=20) as client:
        (seen,) = client.cases.list_complaints(of_far)
        assert set(seen.complaint.institution_codes) == {SHOP, FAR}
        assert (seen.complaint.request_id, len(seen.complaint.person_token)) == ("q1", 32)
    with LedgerClient(address, actor="王芳", reason="复核", deadline_seconds=20) as client:
        (bare,) = client.cases.list_complaints(everything)
        assert not list(client.cases.list_complaints(of_far))
    assert bare == complaint_pb2.ComplaintRecord(
        sequence=sequence,
        time=seen.time,
        complaint=complaint_pb2.Complaint(code=code(1), kind=COMPLAINT_KIND_SALE_NOT_MINE),
    )
    named = ("--server", address, "--reason", "复核", "--actor")
    assert FAR in run("case", "complaints", *named, "all", "--json").stdout
    assert FAR not in run("case", "complaints", *named, "王芳", "--json").stdout
    refused = run("case", "complaints", *named, "nobody")
    assert refused.exit_code == 2
    assert "not in the file of grants" in refused.stderr


def open_cases(address: str) -> None:
    """Open cases on a complaint about two sellers: without saying against whom, by who may see one of them,
    by who may see both, and by nobody; and by who says it himself."""
    request = case_service_pb2.OpenCaseRequest(
        actor="张三", title="投诉", origin=case_pb2.CASE_ORIGIN_TIP_OFF
    )
    request.tip_off.summary = "并非本人购药"
    with grpc.insecure_channel(address) as channel:
        complaint = consumer_service_pb2.FileComplaintRequest(
            code=code(1), kind=COMPLAINT_KIND_SALE_NOT_MINE, request_id="q1", person_token="somebody"
        )
        consumers = consumer_service_pb2_grpc.ConsumerServiceStub(channel)
        filed = consumers.FileComplaint(complaint, timeout=20)
        request.tip_off.complaint_sequences.append(filed.complaint_sequence)
        stub = case_service_pb2_grpc.CaseServiceStub(channel)
        for metadata in ([], [("tracecode-actor", "")], name_actor("nobody"), name_actor("王芳")):
            with pytest.raises(grpc.RpcError) as raised:
                stub.OpenCase(request, metadata=metadata, timeout=20)
            assert read_error(raised.value) == (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED")
            assert SHOP not in str(raised.value)
        assert not stub.ListCases(case_service_pb2.ListCasesRequest(), timeout=20).cases
        request.institution_code = FAR
        assert stub.OpenCase(request, timeout=20).case.institution_code == FAR
    request.ClearField("institution_code")
    with LedgerClient(address, actor="all", reason="复核", deadline_seconds=20) as client:
        assert client.cases.open_case(request).institution_code == SHOP
    arguments = ("case", "open", "投诉", "--server", address, "--complaint", str(filed.complaint_sequence))
    assert SHOP in run(*arguments, "--actor", "all").stdout
    refused = run(*arguments, "--actor", "王芳")
    assert refused.exit_code == 2
    assert "name the institution" in refused.stderr


DAY_AT_TWO = [
    receipt(SHOP, "R1", NOON, line(code(1))),
    sale(SHOP, "S1", NOON + 60, line(code(1))),
    sale(FAR, "FAR1", NOON + 120, line(code(1))),
]


def ask_by_command(address: str) -> None:
    """Ask by `tracecode history`, which has the lists, an export and a code's life."""
    named = ("--server", address, "--actor", "王芳", "--reason", "复核")
    for arguments, count in (
        (("--filter", "kind = SALE"), 1),
        (("--filter", "kind = SALE", "--documents", "--order-by", "business_time"), 1),
        (("--export",), 2),
        ((code(1),), 3),
    ):
        told = run("history", *arguments, *named, "--json")
        assert (told.exit_code, len(told.stdout.splitlines())) == (0, count)
        assert "S1" in run("history", *arguments, *named).stdout
    told = run("history", "--filter", "kind = SOLD", *named)
    assert told.exit_code == 2
    assert "column 8: kind is one of SALE" in told.stderr
    told = run("history", code(1), "--server", address, "--actor", "nobody")
    assert told.exit_code == 2
    assert "not in the file of grants" in told.stderr
    assert run("history", "--filter", "kind = SALE").exit_code == 2
    assert run("history", code(1), "--server", address).exit_code == 0


@contextmanager
def serve_a_day(folder: Path) -> Iterator[ServerThread]:
    """A service with grants and a day on which a box was sold twice."""
    (folder / "grants.toml").write_text(GRANTS)
    with ServerThread(clock_ns, data_directory=folder / "data", grants_file=folder / "grants.toml") as server:
        server.ledger.import_institutions(INSTITUTIONS)
        server.ledger.import_products(PRODUCTS)
        server.ledger.record(DAY_AT_TWO)
        yield server


def test_the_service_asks_who_looks(tmp_path: Path) -> None:
    """Pins every method over a socket, and what the journal then says of it."""
    with serve_a_day(tmp_path) as server:
        ask_service(server.address)
        entries = server.ledger.engine.entries(0, 1_000)
        ask_by_command(server.address)
    looks = read_looks(entries)
    assert [look.method.rpartition(".")[2] for look in looks] == [
        "ListHistory",
        "ListDocuments",
        "ExportHistory",
        "GetCodeHistory",
    ]
    assert {look.reason for look in looks} == {"举报 12 号"}


def test_a_till_is_asked_for_no_name_and_a_regulator_is_held_to_his_grants(tmp_path: Path) -> None:
    """Pins that codes, documents and stock are told to a till as ever, without a record; and that who names
    himself sees his divisions, recorded, and elsewhere no more than in a history."""
    with serve_a_day(tmp_path) as server:
        ask_ledger(server.address)
        entries = server.ledger.engine.entries(0, 1_000)
    assert [(look.method.rpartition(".")[2], look.reason) for look in read_looks(entries)] == [
        ("ListCodeEvents", "复核"),
        ("GetCode", "复核"),
        ("GetDocument", "复核"),
        ("ListStock", "复核"),
        ("GetDocument", "复核"),
    ]


def list_looks(folder: Path, ask: Callable[[str], None]) -> list[tuple[str, str, str]]:
    """Who looked, by which method and why, as the journal has it once `ask` called the service."""
    with serve_a_day(folder) as server:
        ask(server.address)
        entries = server.ledger.engine.entries(0, 1_000)
    return [(look.actor, look.method.rpartition(".")[2], look.reason) for look in read_looks(entries)]


def test_complaints_are_told_as_far_as_grants_reach(tmp_path: Path) -> None:
    """Pins that a list of complaints asks who looks, hides whom they are about elsewhere, also from filters,
    and is recorded before it is told."""
    assert list_looks(tmp_path, ask_complaints) == [
        (actor, "ListComplaints", "复核") for actor in ("all", "王芳", "王芳", "all", "王芳")
    ]


def test_a_case_on_a_complaint_tells_no_more_than_the_list_of_complaints(tmp_path: Path) -> None:
    """Pins that the seller is taken from a complaint only for who is told of him when he lists it, that no
    case is opened otherwise, and that taking him is recorded."""
    assert list_looks(tmp_path, open_cases) == [
        ("王芳", "OpenCase", ""),
        ("all", "OpenCase", "复核"),
        ("all", "OpenCase", ""),
        ("王芳", "OpenCase", ""),
    ]


def test_a_complaint_that_names_nobody_hides_its_person_from_a_part_of_the_country() -> None:
    """Pins that a complaint without institutions is not one that everybody may see."""
    told = complaint_pb2.ComplaintRecord(
        complaint=complaint_pb2.Complaint(code=code(1), person_token="aa", request_id="q1")
    )
    whole, masked = complaint_pb2.ComplaintRecord(), complaint_pb2.ComplaintRecord()
    for record, divisions in ((whole, ("",)), (masked, ("1305",))):
        record.CopyFrom(told)
        mask_complaint(record, Reach("王芳", divisions))
    assert whole == told
    assert masked.complaint == complaint_pb2.Complaint(code=code(1))


def test_who_asks_is_known_behind_edges_too(tmp_path: Path) -> None:
    """Pins that metadata and a stream of answers cross the link of an edge process."""
    (tmp_path / "grants.toml").write_text(GRANTS)
    with ServerProcess(
        data_directory=tmp_path / "data", grants_file=tmp_path / "grants.toml", edges=2
    ) as process:
        with LedgerClient(process.address, deadline_seconds=20) as client:
            client.import_institutions(INSTITUTIONS)
            client.import_products(PRODUCTS)
            for document in DAY_AT_TWO:
                client.record(document)
        ask_service(process.address)
        ask_ledger(process.address)
        ask_complaints(process.address)
        assert process.stop() == 0


def test_severities_and_types_of_lists_are_those_of_the_contract() -> None:
    """Pins that a filter knows every finding by its name."""
    columns = list_columns(lambda token: token)
    assert len(columns["findings"].names or {}) == len(finding_pb2.FindingType.keys()) - 1
    assert list(columns["severity"].names or {}) == ["INFO", "WARN", "ALERT", "BLOCK"]
