"""`tracecode history` as a regulator uses it: lists by a filter, an export, and codes of his divisions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from google.protobuf.message import Message
from rich.text import Text

from tracecode.client.history_client import HistoryClient
from tracecode.v1.code_pb2 import Operation
from tracecode.v1.document_pb2 import DocumentKind
from tracecode.v1.finding_pb2 import FindingType
from tracecode.v1.history_service_pb2 import CodeLifeEvent, HistoryDocument, HistoryLine
from tracecode_server.cli.screen import (
    Language,
    build_table,
    open_screen,
    show,
    show_time,
    to_json,
    write_json,
)
from tracecode_server.cli.terms import say_name, term


def ask_history(
    client: HistoryClient,
    code: str,
    filter_text: str,
    order_by: str,
    *,
    documents: bool,
    export: bool,
) -> Iterator[Message]:
    """The rows that were asked for: of a code, of an export, or of a list."""
    if code:
        return iter(client.get_code_history(code))
    if export:
        return iter(client.export_history(filter_text))
    if documents:
        return iter(client.list_documents(filter_text, order_by))
    return iter(client.list_history(filter_text, order_by))


def print_rows(rows: Iterator[Message], limit: int, language: Language, *, as_json: bool) -> None:
    """Write them as JSON lines, or as a table; at most `limit`, 0 = all."""
    chosen = islice(rows, limit or None)
    if as_json:
        for row in chosen:
            write_json(to_json(row))
        return
    heads = ("sequence", "business_time", "operation", "institution", "document", "code", "findings_now")
    table = build_table(term(key, language) for key in heads)
    for row in chosen:
        table.add_row(*_say_row(row, language))
    open_screen().print(table)


def _say_row(row: Message, language: Language) -> list[str | Text]:
    if isinstance(row, CodeLifeEvent):
        event = row.event
        who = event.institution_code or f"({row.division_code})"
        document = (
            f"{say_name(DocumentKind.Name(event.document_kind), language)} {show(event.document_number)}"
        )
        found = _say_findings((finding.type for finding in event.findings), language)
        operation = say_name(Operation.Name(event.operation), language)
        time = show_time(event.effective_time)
        return [str(event.sequence), time, operation, who, document, show(event.lot_number), found]
    assert isinstance(row, HistoryLine | HistoryDocument)
    if isinstance(row, HistoryLine):
        operation = say_name(Operation.Name(row.operation), language)
        code = show(row.code or row.scan)
    else:
        operation, code = "", f"× {row.code_count}"
    text = Text(operation)
    if row.refused:
        text.append(f" ({term('refused', language)})", "red")
    if row.deleted_by_sequence:
        text.append(f" ({term('deleted', language)} #{row.deleted_by_sequence})", "red")
    return [
        str(row.sequence),
        show_time(row.business_time),
        text,
        row.institution_code,
        f"{say_name(DocumentKind.Name(row.kind), language)} {show(row.document_number)}",
        code,
        _say_findings(row.findings_now, language),
    ]


def _say_findings(types: Iterable[FindingType.ValueType], language: Language) -> str:
    return ", ".join(
        say_name(FindingType.Name(each), language) for each in types if each != FindingType.FINDING_TYPE_PASS
    )
