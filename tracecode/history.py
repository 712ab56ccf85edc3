"""What was reported, as a regulator asks for it: lists of lines and documents, an export, a code's life.

Lists are answered by DuckDB over the lines relation up to the last durable entry. All pages of a list show it
as it was when its first page was asked for: the page's token holds that entry, and the place of its last row.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pyarrow as pa
from google.protobuf.timestamp_pb2 import Timestamp

from tracecode.access import Access, Asker
from tracecode.answer import to_timestamp
from tracecode.code import key_text
from tracecode.errors import FieldInvalid
from tracecode.filter import (
    Column,
    Comparison,
    Node,
    OrderColumn,
    Type,
    bounds_of,
    compile_after,
    compile_sql,
    names_of,
    parse_filter,
    parse_order,
    write_filter,
)
from tracecode.grants import Reach
from tracecode.ledger import Ledger, read_key
from tracecode.masks import division_of, mask_complaint, mask_event, mask_status
from tracecode.paging import PAGE_TOKEN_BYTES_MAX, page_size
from tracecode.v1 import (
    code_pb2,
    document_pb2,
    finding_pb2,
    history_service_pb2,
)
from tracecode.views.relations import Relations, Within
from tracecode.views.standing import select_deleted, select_row_findings, select_standing_findings

BATCH_ROWS_DEFAULT = 2_000
BATCH_ROWS_MAX = 10_000
SORTABLE = ("sequence", "business_time", "receive_time", "institution")
ORDER_DEFAULT = "sequence desc"

Export = Generator[history_service_pb2.ExportHistoryResponse, None, None]
"""Messages of an export; whoever leaves before the last one closes it."""

_ROW = ("sequence", "line_number", "line_row")
_SERVICE = "tracecode.v1.HistoryService"


def _names(enum: Any, prefix: str) -> Mapping[str, int]:
    return {name.removeprefix(prefix): number for name, number in enum.items() if number}


def list_columns(hash_person: Callable[[str], str]) -> Mapping[str, Column]:
    """What a filter of lines and documents may ask of."""

    def read_code(text: str) -> str:
        try:
            return key_text(read_key(text))
        except FieldInvalid:
            raise ValueError("a traceability code, or a scan of one") from None

    severity = _names(finding_pb2.Severity, "SEVERITY_")
    findings = _names(finding_pb2.FindingType, "FINDING_TYPE_")
    text = {
        "institution": "institution_code",
        "division": "division_code",
        "document_number": "document_number",
        "corrects": "corrects_document_number",
        "settlement_id": "settlement_id",
        "visit_number": "visit_number",
        "counterparty": "counterparty",
        "terminal": "terminal_id",
        "drug_code": "drug_code",
        "product": "product",
        "lot": "lot",
        "batch_serial": "batch_serial",
        "scan": "scan",
        "person_hash": "person_token",
        "prescriber_hash": "prescriber_token",
        "pharmacist_hash": "pharmacist_token",
        "operator_hash": "operator_token",
    }
    hashed = ("person_token", "prescriber_token", "pharmacist_token", "operator_token")
    columns = {name: Column(Type.TEXT, sql) for name, sql in text.items()}
    columns |= {name: Column(Type.TEXT, name, read=hash_person) for name in hashed}
    columns |= {
        name: Column(Type.BOOLEAN, name)
        for name in ("refused", "cleared", "split", "offline", "in_package", "gift", "deleted")
    }
    return columns | {
        "code": Column(Type.TEXT, "code", read=read_code),
        "sequence": Column(Type.INTEGER, "sequence"),
        "line_number": Column(Type.INTEGER, "line_number"),
        "quantity": Column(Type.DECIMAL, "quantity"),
        "price": Column(Type.DECIMAL, "price"),
        "amount": Column(Type.DECIMAL, "amount"),
        "business_day": Column(Type.DAY, "business_day"),
        "expiry_day": Column(Type.DAY, "expiry_day"),
        "business_time": Column(Type.TIME, "business_time"),
        "receive_time": Column(Type.TIME, "receive_time"),
        "kind": Column(Type.NAME, "kind", _names(document_pb2.DocumentKind, "DOCUMENT_KIND_")),
        "operation": Column(Type.NAME, "operation", _names(code_pb2.Operation, "OPERATION_")),
        "stage": Column(Type.NAME, "stage", _names(document_pb2.SaleStage, "SALE_STAGE_")),
        "channel": Column(Type.NAME, "channel", _names(document_pb2.Channel, "CHANNEL_")),
        "findings": Column(Type.NAMES, "findings", findings),
        "severity": Column(Type.NAME, "severity", severity, ordered=True),
        "findings_now": Column(Type.NAMES, "findings_now", findings),
        "severity_now": Column(Type.NAME, "severity_now", severity, ordered=True),
    }


@dataclass(frozen=True, slots=True)
class _Question:
    """A list as it was asked for, with what its page token says."""

    filter: Node
    filter_text: str
    order: tuple[OrderColumn, ...]
    as_of: int
    after: tuple[Any, ...]
    binding: str


class History:
    """Answers over one ledger, and lets nobody look past `access`. Any thread may call its methods."""

    def __init__(
        self, ledger: Ledger, relations: Relations, access: Access, clock_ns: Callable[[], int]
    ) -> None:
        """Ledger and relations stay the caller's to close."""
        self._ledger = ledger
        self._relations = relations
        self._access = access
        self._clock_ns = clock_ns
        self._columns = list_columns(ledger.hash_person)

    # Lists.

    def list_history(
        self, asker: Asker, request: history_service_pb2.ListHistoryRequest
    ) -> history_service_pb2.ListHistoryResponse:
        """A page of lines. Raises FieldInvalid, AccessDenied."""
        question = self._read_question(request, "ListHistory")
        size = page_size(request.page_size)
        reach = self._look(asker, "ListHistory", request, question)
        rows, partitions = self._find_rows(question, reach, size + 1, documents=False)
        page = rows[:size]
        deleted, standing = self._find_standing(page, question.as_of, partitions)
        return history_service_pb2.ListHistoryResponse(
            lines=[_line_message(row, deleted, standing) for row in page],
            next_page_token=self._write_token(question, page[-1]) if len(rows) > size else "",
            as_of=self._as_of(question.as_of),
        )

    def list_documents(
        self, asker: Asker, request: history_service_pb2.ListDocumentsRequest
    ) -> history_service_pb2.ListDocumentsResponse:
        """A page of documents. Raises FieldInvalid, AccessDenied."""
        question = self._read_question(request, "ListDocuments")
        size = page_size(request.page_size)
        reach = self._look(asker, "ListDocuments", request, question)
        rows, partitions = self._find_rows(question, reach, size + 1, documents=True)
        page = rows[:size]
        deleted, standing = self._find_standing(page, question.as_of, partitions)
        return history_service_pb2.ListDocumentsResponse(
            documents=[_document_message(row, deleted, standing) for row in page],
            next_page_token=self._write_token(question, page[-1]) if len(rows) > size else "",
            as_of=self._as_of(question.as_of),
        )

    def export_history(self, asker: Asker, request: history_service_pb2.ExportHistoryRequest) -> Export:
        """All rows in the order of entries. What is asked is checked, and kept, before the first message is
        asked for. Raises FieldInvalid, AccessDenied."""
        node = parse_filter(request.filter, self._columns)
        if not 0 <= request.batch_rows <= BATCH_ROWS_MAX:
            raise FieldInvalid("batch_rows", f"0 to {BATCH_ROWS_MAX}")
        if request.format not in (
            history_service_pb2.EXPORT_FORMAT_ROWS,
            history_service_pb2.EXPORT_FORMAT_ARROW,
        ):
            raise FieldInvalid("format", "say ROWS or ARROW")
        last = self._relations.sequence
        as_of = request.as_of_sequence or last
        if as_of > last or request.after_sequence > as_of:
            raise FieldInvalid("as_of_sequence", f"the last entry is {last}")
        order = (OrderColumn("sequence"),)
        text = write_filter(node, self._columns)
        question = _Question(node, text, order, as_of, (), "")
        reach = self._look(asker, "ExportHistory", request, question)
        return self._export(question, reach, request)

    def _export(
        self, question: _Question, reach: Reach, request: history_service_pb2.ExportHistoryRequest
    ) -> Export:
        within = self._within(question, reach)
        sql, parameters = self._sql(question, reach, "sequence > ?", [request.after_sequence], full=True)
        sql += " ORDER BY sequence, line_number, line_row"
        arrow = request.format == history_service_pb2.EXPORT_FORMAT_ARROW
        pieces: _ArrowPieces | None = None
        held: list[pa.RecordBatch] = []
        with self._relations.open(question.as_of, within) as connection:
            reader: pa.RecordBatchReader = connection.sql(sql, params=parameters).to_arrow_reader(
                request.batch_rows or BATCH_ROWS_DEFAULT
            )
            if arrow:
                pieces = _ArrowPieces(reader.schema)
            for batch in reader:
                if not batch.num_rows:
                    continue
                # The rows of the last entry wait for the rest of it, so that no message ends inside one.
                rows = pa.Table.from_batches([*held, batch]).combine_chunks()
                sequences = rows.column("sequence")
                newest = sequences[-1].as_py()
                whole = _count_before(sequences, newest)
                held = rows.slice(whole).to_batches()
                if not whole:
                    continue
                sequence = sequences[whole - 1].as_py()
                yield _export_message(rows.slice(0, whole), sequence, question.as_of, pieces)
            if held:
                rows = pa.Table.from_batches(held)
                yield _export_message(rows, question.as_of, question.as_of, pieces)
        yield history_service_pb2.ExportHistoryResponse(
            arrow=b"" if pieces is None else pieces.end(),
            sequence=question.as_of,
            as_of_sequence=question.as_of,
            complete=True,
        )

    # A code.

    def get_code_history(
        self, asker: Asker, request: history_service_pb2.GetCodeHistoryRequest
    ) -> history_service_pb2.GetCodeHistoryResponse:
        """A page of a code's life, and of other divisions no more than he may see. Raises FieldInvalid,
        AccessDenied."""
        read_key(request.code)
        reach = self._access.look(asker, f"{_SERVICE}.GetCodeHistory", request)
        response = history_service_pb2.GetCodeHistoryResponse()
        self._ledger.fill_code_page(request, response, lambda: response.events.add().event)
        mask_status(response.status, reach)
        for told in response.events:
            self._ledger.answer_event(told.event)
            told.division_code = division_of(told.event.institution_code)
            told.masked = not reach.covers(told.division_code)
            mask_event(told.event, reach)
        if not request.page_token:
            response.complaints.extend(self._ledger.complaints.of_code(read_key(request.code)))
        for record in response.complaints:
            mask_complaint(record, reach)
        return response

    # What lists share.

    def _look(self, asker: Asker, method: str, request: Any, question: _Question) -> Reach:
        noted = type(request)()
        noted.CopyFrom(request)
        noted.filter = question.filter_text
        return self._access.look(asker, f"{_SERVICE}.{method}", noted)

    def _as_of(self, sequence: int) -> finding_pb2.AsOf:
        return finding_pb2.AsOf(sequence=sequence, time=to_timestamp(self._clock_ns()))

    def _read_question(self, request: Any, method: str) -> _Question:
        node = parse_filter(request.filter, self._columns)
        order = parse_order(request.order_by, self._columns, SORTABLE, ORDER_DEFAULT)
        text = write_filter(node, self._columns)
        asked = json.dumps([method, text, [(each.name, each.descending) for each in order]])
        binding = hashlib.sha256(asked.encode()).hexdigest()[:32]
        as_of, after = self._relations.sequence, ()
        if request.page_token:
            as_of, after = self._read_token(request.page_token, binding, order, method == "ListDocuments")
        return _Question(node, text, order, as_of, after, binding)

    def _key(self, order: Sequence[OrderColumn], *, documents: bool) -> list[tuple[str, bool]]:
        """The order as SQL columns, with what makes it total."""
        key = [(self._columns[each.name].sql, each.descending) for each in order]
        named = {sql for sql, _ in key}
        descending = key[-1][1]
        last = _ROW[:1] if documents else _ROW
        return key + [(sql, descending and sql == "sequence") for sql in last if sql not in named]

    def _write_token(self, question: _Question, row: Mapping[str, Any]) -> str:
        documents = "line_row" not in row
        key = [row[sql] for sql, _ in self._key(question.order, documents=documents)]
        values = [each.isoformat() if isinstance(each, datetime) else each for each in key]
        written = json.dumps([question.binding, question.as_of, values])
        return base64.urlsafe_b64encode(written.encode()).decode()

    def _read_token(
        self, token: str, binding: str, order: Sequence[OrderColumn], documents: bool
    ) -> tuple[int, tuple[Any, ...]]:
        try:
            if len(token) > PAGE_TOKEN_BYTES_MAX:
                raise ValueError
            bound, as_of, values = json.loads(base64.urlsafe_b64decode(token.encode()))
            key = self._key(order, documents=documents)
            if bound != binding or not isinstance(as_of, int) or len(values) != len(key):
                raise ValueError
            if not 0 <= as_of <= self._relations.sequence:
                raise ValueError
            return as_of, tuple(_read_key(sql, each) for (sql, _), each in zip(key, values, strict=True))
        except (ValueError, TypeError):
            raise FieldInvalid(
                "page_token", "is not from an answer to this question; start from the first page"
            ) from None

    def _within(self, question: _Question, reach: Reach) -> Within:
        first = last = None
        for bound in bounds_of(question.filter, "business_day"):
            day: date = bound.value
            if bound.operator in ("=", ">", ">="):
                first = day if first is None else max(first, day)
            if bound.operator in ("=", "<", "<="):
                last = day if last is None else min(last, day)
        divisions = [
            bound.value
            for bound in (*bounds_of(question.filter, "division"), *_divisions_of(question.filter))
            if bound.operator in ("=", "^")
        ]
        # The longest that the filter asks for; whether the caller may see it, the rows themselves are asked.
        return Within(first, last, (max(divisions, key=len),) if divisions else reach.divisions)

    def _sql(
        self, question: _Question, reach: Reach, more: str, more_parameters: list[Any], *, full: bool
    ) -> tuple[str, list[Any]]:
        """The rows that the question lets through; `full` says with what stands of them."""
        asked = names_of(question.filter)
        wanted = {"deleted"} if full or "deleted" in asked else set()
        if full or asked & {"findings_now", "severity_now"}:
            wanted.add("findings")
        ctes, joins, columns = [], [], ["l.*"]
        if "deleted" in wanted:
            ctes.append(f"gone AS MATERIALIZED ({select_deleted()})")
            joins.append("LEFT JOIN gone ON gone.sequence = l.sequence")
            columns += ["gone.deleted_by_sequence", "gone.sequence IS NOT NULL AS deleted"]
        if "findings" in wanted:
            ctes.append(f"standing AS MATERIALIZED ({select_standing_findings()})")
            ctes.append(f"now AS MATERIALIZED ({select_row_findings()})")
            joins.append(
                "LEFT JOIN now ON now.sequence = l.sequence AND now.line_number = l.line_number "
                "AND now.line_row = l.line_row"
            )
            columns += [
                "coalesce(now.findings_now, []) AS findings_now",
                "coalesce(now.severity_now, 0) AS severity_now",
            ]
        ctes.append(f"found AS (SELECT {', '.join(columns)} FROM lines AS l {' '.join(joins)})")
        condition, parameters = compile_sql(question.filter, self._columns)
        allowed = " OR ".join("starts_with(division_code, ?)" for _ in reach.divisions)
        sql = f"WITH {', '.join(ctes)} SELECT * FROM found WHERE ({allowed}) AND {condition} AND {more}"
        return sql, [*reach.divisions, *parameters, *more_parameters]

    def _find_rows(
        self, question: _Question, reach: Reach, limit: int, *, documents: bool
    ) -> tuple[list[dict[str, Any]], frozenset[tuple[date, str]]]:
        """Rows in order, and the days and divisions that they lie in."""
        key = self._key(question.order, documents=documents)
        after = "true"
        after_parameters: list[Any] = []
        if question.after:
            after, after_parameters = compile_after(key, question.after)
        sql, parameters = self._sql(question, reach, after, after_parameters, full=False)
        if documents:
            names = ", ".join(dict.fromkeys([*(sql_ for sql_, _ in key), "business_day", "division_code"]))
            sql = f"SELECT DISTINCT {names} FROM ({sql})"
        ordered = ", ".join(f"{column} {'DESC' if descending else 'ASC'}" for column, descending in key)
        sql += f" ORDER BY {ordered} LIMIT {int(limit)}"

        def ask(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
            return _fetch(connection, sql, parameters)

        rows = self._relations.ask(question.as_of, self._within(question, reach), ask)
        partitions = frozenset((row["business_day"], row["division_code"]) for row in rows)
        if not documents or not rows:
            return rows, partitions
        sequences = [row["sequence"] for row in rows]
        within = Within(partitions=partitions)

        def ask_documents(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
            return _fetch(connection, _DOCUMENTS, [sequences])

        told = {row["sequence"]: row for row in self._relations.ask(question.as_of, within, ask_documents)}
        return [told[sequence] for sequence in sequences], partitions

    def _find_standing(
        self, rows: Sequence[Mapping[str, Any]], as_of: int, partitions: frozenset[tuple[date, str]]
    ) -> tuple[dict[int, int], dict[Any, tuple[list[int], int]]]:
        """Of the documents of some rows by which deletion they are taken back, and of each of their rows (and
        of each document, by its sequence alone) what stands."""
        if not rows:
            return {}, {}
        sequences = sorted({row["sequence"] for row in rows})

        def ask(
            connection: duckdb.DuckDBPyConnection,
        ) -> tuple[dict[int, int], dict[Any, tuple[list[int], int]]]:
            connection.execute(
                "CREATE TEMP TABLE shown AS SELECT sequence, institution_code, kind, document_number, code, "
                "scan, corrects_document_number, batch_serial, business_time, line_number, line_row "
                "FROM lines WHERE sequence IN (SELECT unnest(?))",
                [sequences],
            )
            connection.execute(
                "CREATE TEMP TABLE standing AS "
                + select_standing_findings("(SELECT * FROM findings WHERE sequence IN (SELECT unnest(?)))"),
                [sequences],
            )
            deleted = dict(connection.execute(select_deleted("shown")).fetchall())
            standing: dict[Any, tuple[list[int], int]] = {
                (sequence, number, row): (types, severity)
                for sequence, number, row, types, severity in connection.execute(
                    select_row_findings("shown")
                ).fetchall()
            }
            for sequence, types, severity in connection.execute(
                "SELECT sequence, list(DISTINCT type ORDER BY type), max(final_severity) FROM standing "
                "GROUP BY sequence"
            ).fetchall():
                standing[sequence] = (types, severity)
            return deleted, standing

        return self._relations.ask(as_of, Within(partitions=partitions), ask)


_DOCUMENTS = """
    SELECT sequence, any_value(receive_time) AS receive_time, any_value(business_time) AS business_time,
           any_value(institution_code) AS institution_code, any_value(division_code) AS division_code,
           any_value(business_day) AS business_day,
           any_value(kind) AS kind, any_value(stage) AS stage, any_value(channel) AS channel,
           any_value(document_number) AS document_number,
           any_value(corrects_document_number) AS corrects_document_number,
           any_value(settlement_id) AS settlement_id, any_value(person_token) AS person_token,
           any_value(refused) AS refused, count(*) FILTER (line_row = 0) AS line_count,
           count(code) AS code_count, sum(amount) AS amount,
           list_sort(list_distinct(flatten(list(findings)))) AS findings
    FROM lines WHERE sequence IN (SELECT unnest(?)) GROUP BY sequence"""


def _divisions_of(node: Node) -> list[Comparison]:
    """What an institution says of its division: the digits behind its letter."""
    return [
        Comparison("division", "^", bound.value[1:7])
        for bound in bounds_of(node, "institution")
        if bound.operator in ("=", "^")
    ]


def _read_key(sql: str, value: Any) -> Any:
    if sql.endswith("_time"):
        return datetime.fromisoformat(value)
    if not isinstance(value, str if sql == "institution_code" else int) or isinstance(value, bool):
        raise ValueError
    return value


def _fetch(connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any]) -> list[dict[str, Any]]:
    found = connection.execute(sql, parameters)
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _count_before(sequences: pa.ChunkedArray, newest: int) -> int:
    count = len(sequences)
    while count and sequences[count - 1].as_py() == newest:
        count -= 1
    return count


class _ArrowPieces:
    """An Arrow IPC stream that leaves piece by piece."""

    def __init__(self, schema: pa.Schema) -> None:
        self._sink = io.BytesIO()
        self._writer = pa.ipc.new_stream(self._sink, schema)

    def write(self, rows: pa.Table) -> bytes:
        """What these rows add to the stream."""
        self._writer.write_table(rows)
        return self._take()

    def end(self) -> bytes:
        """What ends it."""
        self._writer.close()
        return self._take()

    def _take(self) -> bytes:
        piece = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return piece


def _export_message(
    rows: pa.Table, sequence: int, as_of: int, pieces: _ArrowPieces | None
) -> history_service_pb2.ExportHistoryResponse:
    response = history_service_pb2.ExportHistoryResponse(sequence=sequence, as_of_sequence=as_of)
    if pieces is not None:
        response.arrow = pieces.write(rows)
    else:
        response.lines.extend(_full_line_message(row) for row in rows.to_pylist())
    return response


def _time(value: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(value.replace(tzinfo=UTC))
    return stamp


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _full_line_message(row: Mapping[str, Any]) -> history_service_pb2.HistoryLine:
    sequence = row["sequence"]
    place = (sequence, row["line_number"], row["line_row"])
    return _line_message(
        row,
        {sequence: row["deleted_by_sequence"] or 0},
        {place: (row["findings_now"], row["severity_now"])},
    )


def _line_message(
    row: Mapping[str, Any],
    deleted: Mapping[int, int],
    standing: Mapping[Any, tuple[list[int], int]],
) -> history_service_pb2.HistoryLine:
    now, severity_now = standing.get((row["sequence"], row["line_number"], row["line_row"]), ([], 0))
    return history_service_pb2.HistoryLine(
        sequence=row["sequence"],
        receive_time=_time(row["receive_time"]),
        business_time=_time(row["business_time"]),
        institution_code=row["institution_code"],
        division_code=row["division_code"],
        kind=row["kind"],
        operation=row["operation"],
        stage=row["stage"],
        channel=row["channel"],
        document_number=row["document_number"],
        corrects_document_number=row["corrects_document_number"],
        settlement_id=row["settlement_id"],
        person_token=row["person_token"],
        prescriber_token=row["prescriber_token"],
        operator_token=row["operator_token"],
        terminal_id=row["terminal_id"],
        counterparty=row["counterparty"],
        line_number=row["line_number"],
        drug_code=row["drug_code"],
        quantity=_text(row["quantity"]),
        split=row["split"],
        price=_text(row["price"]),
        amount=_text(row["amount"]),
        lot_number=row["lot"],
        expiry_date="" if row["expiry_day"] is None else row["expiry_day"].isoformat(),
        code=row["code"] or "",
        product=row["product"] or "",
        scan=row["scan"] or "",
        in_package=row["in_package"],
        refused=row["refused"],
        deleted_by_sequence=deleted.get(row["sequence"], 0),
        findings_first=row["findings"],
        severity_first=row["severity"],
        findings_now=map(finding_pb2.FindingType.ValueType, now),
        severity_now=finding_pb2.Severity.ValueType(severity_now),
    )


def _document_message(
    row: Mapping[str, Any],
    deleted: Mapping[int, int],
    standing: Mapping[Any, tuple[list[int], int]],
) -> history_service_pb2.HistoryDocument:
    now, severity_now = standing.get(row["sequence"], ([], 0))
    return history_service_pb2.HistoryDocument(
        sequence=row["sequence"],
        receive_time=_time(row["receive_time"]),
        business_time=_time(row["business_time"]),
        institution_code=row["institution_code"],
        division_code=row["division_code"],
        kind=row["kind"],
        stage=row["stage"],
        channel=row["channel"],
        document_number=row["document_number"],
        corrects_document_number=row["corrects_document_number"],
        settlement_id=row["settlement_id"],
        person_token=row["person_token"],
        line_count=row["line_count"],
        code_count=row["code_count"],
        amount=_text(row["amount"]),
        refused=row["refused"],
        deleted_by_sequence=deleted.get(row["sequence"], 0),
        findings_first=row["findings"],
        findings_now=map(finding_pb2.FindingType.ValueType, now),
        severity_now=finding_pb2.Severity.ValueType(severity_now),
    )
