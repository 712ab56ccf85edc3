"""Commands that ask: what a sale now would meet, what happened to a code, what a scan says."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Annotated

import typer
from rich.text import Text

from tracecode.client.history_client import HistoryClient
from tracecode.code import read_scan
from tracecode.engine.store_engine import reading_message
from tracecode.v1.code_pb2 import CodeClass, CodeEvent, CodeState, CodeStatus, Operation, Reading
from tracecode.v1.document_pb2 import DocumentKind, SettlementType
from tracecode.v1.finding_pb2 import Finding, FindingType, Severity
from tracecode.v1.ledger_service_pb2 import (
    CodeAnswer,
    CodeQuestion,
    ListCodeEventsResponse,
    VerifyCodesRequest,
)
from tracecode_server.cli.exit_code import ExitCode
from tracecode_server.cli.findings import say_evidence, say_finding, say_remedies, say_severity, sort_findings
from tracecode_server.cli.history import ask_history, print_rows
from tracecode_server.cli.screen import (
    JsonOption,
    Language,
    LanguageOption,
    build_table,
    choose_language,
    choose_text,
    open_screen,
    show,
    show_time,
    to_json,
    write_json,
)
from tracecode_server.cli.target import SERVER_DEFAULT, DataOption, ServerOption, open_target
from tracecode_server.cli.terms import say_name, term

# No scanner delivers more on one line; what is longer is read as what it begins with, a bad scan.
LINE_BYTES_MAX = 65_536
CODE_CLASSES = frozenset(
    {
        CodeClass.CODE_CLASS_TWENTY_DIGIT,
        CodeClass.CODE_CLASS_GS1,
        CodeClass.CODE_CLASS_ENTERPRISE,
        CodeClass.CODE_CLASS_LOGISTIC_UNIT,
    }
)


def verify(
    codes: Annotated[list[str], typer.Argument(metavar="CODE…", help="Codes or scans to be sold.")],
    institution: Annotated[
        str, typer.Option("--institution", "-i", metavar="CODE", help="The institution that would sell.")
    ],
    drug: Annotated[
        str, typer.Option("--drug", "-d", metavar="CODE", help="NHSA drug code that would be billed.")
    ] = "",
    split_units: Annotated[
        int, typer.Option("--split-units", min=0, help="Smallest units of a split pack; 0 = the whole pack.")
    ] = 0,
    self_paid: Annotated[bool, typer.Option("--self-paid", help="The sale would not be insured.")] = False,
    server: ServerOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Ask what selling these codes now would meet 事前提醒. Nothing is written.

    Exit 1: a code carries a finding of WARN or graver.
    """
    language = choose_language(language)
    request = VerifyCodesRequest(
        institution_code=institution,
        settlement_type=SettlementType.SETTLEMENT_TYPE_SELF_PAID
        if self_paid
        else SettlementType.SETTLEMENT_TYPE_INSURED,
        codes=[CodeQuestion(code=_clean(code), drug_code=drug, split_units=split_units) for code in codes],
    )
    with open_target(server, data) as target:
        response = target.verify(request)
    if as_json:
        write_json(to_json(response))
    else:
        for code, answer in zip(codes, response.answers, strict=True):
            _print_answer(_clean(code), answer, language)
    if any(answer.severity >= Severity.SEVERITY_WARN for answer in response.answers):
        raise typer.Exit(ExitCode.FINDINGS)


def history(
    code: Annotated[str, typer.Argument(metavar="[CODE]", help="A code, or a scan of one.")] = "",
    filter_text: Annotated[
        str,
        typer.Option(
            "--filter",
            "-f",
            metavar="FILTER",
            help="List what it lets through: institution = P… AND kind = SALE",
        ),
    ] = "",
    documents: Annotated[bool, typer.Option("--documents", help="List documents, not lines.")] = False,
    export: Annotated[
        bool, typer.Option("--export", help="All lines in the order of entries, as JSON lines.")
    ] = False,
    order_by: Annotated[
        str, typer.Option("--order-by", metavar="COLUMNS", help="Such as: business_time desc")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="Rows of a list; 0 = all.")] = 100,
    actor: Annotated[
        str,
        typer.Option(
            "--actor",
            metavar="NAME",
            help="Who asks, as the service's grants name him.",
        ),
    ] = "",
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the question.")
    ] = "",
    server: ServerOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Show all that was ever reported of a code, in the order in which it happened.

    With --actor as a regulator asks: of a CODE, or a list by --filter, within his divisions. Each such
    question is kept in the journal.
    """
    language = choose_language(language)
    if actor:
        if data is not None:
            raise typer.BadParameter("--actor asks a service, which has the grants; leave --data out")
        if code and (filter_text or documents or export):
            raise typer.BadParameter("a CODE has no list; write --filter 'code = \"…\"' for one")
        with HistoryClient(server or SERVER_DEFAULT, actor, reason) as client:
            rows = ask_history(
                client, _clean(code), filter_text, order_by, documents=documents, export=export
            )
            print_rows(rows, 0 if export else limit, language, as_json=as_json or export)
        return
    if not code or filter_text or documents or export:
        raise typer.BadParameter("give a CODE; a list wants --actor NAME, too")
    with open_target(server, data) as target:
        now = target.get_code(_clean(code))
        response = ListCodeEventsResponse(
            events=target.list_code_events(_clean(code)), status=now.status, as_of=now.as_of
        )
    if as_json:
        write_json(to_json(response))
    else:
        print_history(response, language)


def parse(
    scans: Annotated[
        list[str], typer.Argument(metavar="SCAN…", help="Scans as they came; - reads stdin, one a line.")
    ],
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Say what scans read as, offline: class, canonical code, what was repaired, what the clerk should do.

    Exit 1: a scan is no traceability code.
    """
    language = choose_language(language)
    readable = True
    table = build_table(
        term(key, language)
        for key in ("scan", "class", "code", "identifier", "lot", "expiry", "repairs", "hint")
    )
    for scan in _list_scans(scans):
        for reading in map(reading_message, read_scan(scan)):
            readable = readable and reading.code_class in CODE_CLASSES
            if as_json:
                write_json(to_json(reading))
            else:
                table.add_row(*_say_reading(reading, language))
    if not as_json:
        open_screen().print(table)
    if not readable:
        raise typer.Exit(ExitCode.FINDINGS)


def print_history(response: ListCodeEventsResponse, language: Language) -> None:
    """A code's state, its events, and for each what was found when it came and what stands now."""
    screen = open_screen()
    screen.print(_say_status(response.status, language), soft_wrap=True)
    if not response.events:
        screen.print(Text(term("no_events", language), "dim"))
        return
    heads = (
        "sequence",
        "business_time",
        "operation",
        "institution",
        "document",
        "state_after",
        "findings_now",
    )
    table = build_table(term(key, language) for key in heads)
    for event in response.events:
        table.add_row(
            str(event.sequence),
            show_time(event.business_time),
            _say_operation(event, language),
            event.institution_code,
            _say_document(event, language),
            say_name(CodeState.Name(event.state_after), language),
            _say_event_findings(event, language),
        )
    screen.print(table)


def _print_answer(code: str, answer: CodeAnswer, language: Language) -> None:
    screen = open_screen()
    findings = [
        finding for finding in sort_findings(answer.findings) if finding.type != FindingType.FINDING_TYPE_PASS
    ]
    head = _say_status(answer.status, language) if answer.status.code else Text(show(code), "bold")
    if answer.would_refuse:
        head.append(f"  {term('would_refuse', language)}", "bold red")
    screen.print(head, soft_wrap=True)
    for reading in answer.readings:
        hint = choose_text(reading.hint, language)
        if hint:
            screen.print(Text(f"  {show(hint, 600)}", "yellow"), soft_wrap=True)
    if not findings:
        screen.print(Text(f"  {term('nothing_found', language)}", "green"))
    for finding in findings:
        screen.print(Text("  ") + say_finding(finding, language), soft_wrap=True)
        for evidence in finding.evidence:
            screen.print(Text(f"      {say_evidence(evidence)}", "dim"), soft_wrap=True)
    for remedy in say_remedies(findings, language):
        screen.print(Text(f"  → {remedy}"), soft_wrap=True)


def _say_status(status: CodeStatus, language: Language) -> Text:
    text = Text(show(status.code), "bold")
    text.append(f"  {say_name(CodeState.Name(status.state), language)}", "not bold")
    if status.holder_institution_code:
        text.append(f", {term('holder', language)} {show(status.holder_institution_code)}", "not bold")
    if status.state == CodeState.CODE_STATE_SPLIT:
        text.append(f", {term('units_left', language)} {status.units_left}", "not bold")
    if status.active_sales > 1:
        text.append(f", {term('active_sales', language)} {status.active_sales}", "not bold")
    if status.conflict:
        text.append(f", {term('conflict', language)}", "yellow")
    return text


def _say_operation(event: CodeEvent, language: Language) -> Text:
    text = Text(say_name(Operation.Name(event.operation), language))
    if event.units:
        text.append(f" {event.units}")
    if event.refused:
        text.append(f" ({term('refused', language)})", "red")
    if event.deleted_by_sequence:
        text.append(f" ({term('deleted', language)} #{event.deleted_by_sequence})", "red")
    if event.package_code:
        text.append(f" ⊂ {show(event.package_code)}", "dim")
    return text


def _say_document(event: CodeEvent, language: Language) -> str:
    return f"{say_name(DocumentKind.Name(event.document_kind), language)} {show(event.document_number)}"


def _say_event_findings(event: CodeEvent, language: Language) -> Text:
    def name(findings: Iterable[Finding]) -> list[tuple[int, Severity.ValueType]]:
        return [(finding.type, finding.severity) for finding in sort_findings(findings)]

    text = Text("\n").join(say_finding(finding, language) for finding in sort_findings(event.findings))
    if name(event.findings) != name(event.findings_first):
        first = ", ".join(
            f"{say_severity(finding.severity, language)} {say_name(FindingType.Name(finding.type), language)}"
            for finding in sort_findings(event.findings_first)
        )
        text.append("\n" if text else "")
        text.append(f"{term('findings_first', language)}: {first or '-'}", "dim")
    return text


def _say_reading(reading: Reading, language: Language) -> list[str]:
    return [
        show(reading.scan, 100),
        say_name(CodeClass.Name(reading.code_class), language),
        show(reading.code, 110),
        reading.identifier,
        show(reading.lot_number),
        reading.expiry_date,
        ", ".join(reading.repairs),
        show(choose_text(reading.hint, language), 400),
    ]


def _list_scans(scans: Iterable[str]) -> Iterator[str]:
    for scan in scans:
        if scan != "-":
            yield _clean(scan)
            continue
        while line := sys.stdin.buffer.readline(LINE_BYTES_MAX):
            # The line end is the pipe's; a scanner's own suffix before it is the parser's business.
            yield line.removesuffix(b"\n").decode("utf-8", "replace")


def _clean(scan: str) -> str:
    """An argument without the stand-ins for bytes that are no text, which no message can carry."""
    return scan.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
