"""Commands of the regulator's desk: a case from a finding to 销号."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tracecode.client import CaseClient, LedgerClient
from tracecode.names import say_fen
from tracecode.v1 import case_pb2, case_service_pb2, complaint_pb2
from tracecode.v1.finding_pb2 import FindingType
from tracecode_server.cli.screen import (
    JsonOption,
    Language,
    LanguageOption,
    build_table,
    choose_language,
    open_screen,
    show,
    show_time,
    to_json,
    write_json,
)
from tracecode_server.cli.target import SERVER_DEFAULT, ServerOption, open_target
from tracecode_server.cli.terms import say_name, term

case_app = typer.Typer(
    name="case",
    help="The regulator's desk: a case from a finding to its closing 销号.",
    no_args_is_help=True,
)

NumberArgument = Annotated[
    str, typer.Argument(metavar="NUMBER", help="The case, such as 130500-2026-000001.")
]
ActorOption = Annotated[
    str, typer.Option("--actor", "-a", envvar="TRACECODE_ACTOR", metavar="NAME", help="Who does it.")
]
LookerOption = Annotated[
    str,
    typer.Option(
        "--actor", "-a", envvar="TRACECODE_ACTOR", metavar="NAME", help="Who looks, as in the file of grants."
    ),
]
LookReasonOption = Annotated[str, typer.Option("--reason", "-r", help="Why. The look is kept with it.")]
NoteOption = Annotated[str, typer.Option("--note", "-n", help="What to keep with it.")]
EtagOption = Annotated[
    str,
    typer.Option(
        "--etag",
        help="The case as you saw it, to be refused if somebody changed it since. Default: as it is now.",
        show_default=False,
    ),
]
FindingOption = Annotated[
    list[str],
    typer.Option(
        "--finding",
        "-f",
        metavar="ENTRY:FINDING:LINE[:CODE]",
        help="A finding by the document's entry, such as 17:DUP_SALE_CROSS_ORG:1:82062330000000017919.",
    ),
]

_AMOUNT = re.compile(r"([0-9]{1,11})(?:\.([0-9]{1,2}))?")


@case_app.command("open")
def open_(
    title: Annotated[str, typer.Argument(metavar="TITLE", help="What it is about 案由.")],
    actor: ActorOption,
    finding: FindingOption = [],  # noqa: B006
    institution: Annotated[
        str, typer.Option("--institution", "-i", metavar="CODE", help="Who has to answer for it.")
    ] = "",
    origin: Annotated[
        str, typer.Option(help="findings, tip-off, inspection, screening, self-check, hand-over.")
    ] = "",
    tip_off: Annotated[str, typer.Option("--tip-off", help="What was told 举报内容.")] = "",
    tip_off_number: Annotated[
        str, typer.Option("--tip-off-number", help="Its number where it came in.")
    ] = "",
    tip_off_channel: Annotated[str, typer.Option("--tip-off-channel", help="12345, letter, visit.")] = "",
    complaint: Annotated[
        list[int],
        typer.Option(
            "--complaint", metavar="ENTRY", help="A complaint of who holds a box 投诉, by its entry."
        ),
    ] = [],  # noqa: B006
    owner: Annotated[str, typer.Option(help="Who is responsible. Default: by the area grid.")] = "",
    note: NoteOption = "",
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Open a case 立案 on findings or a tip-off."""
    named = origin or ("tip-off" if tip_off or complaint else "findings")
    request = case_service_pb2.OpenCaseRequest(
        actor=actor,
        title=title,
        origin=case_pb2.CaseOrigin.ValueType(read_name(case_pb2.CaseOrigin, "CASE_ORIGIN_", named)),
        institution_code=institution,
        findings=[read_finding(text) for text in finding],
        owner=owner,
        note=note,
    )
    if tip_off:
        request.tip_off.summary = tip_off
        request.tip_off.tip_off_number = tip_off_number
        request.tip_off.channel = tip_off_channel
    if complaint:
        request.tip_off.complaint_sequences.extend(complaint)
        request.tip_off.summary = tip_off or f"追溯码投诉 {len(complaint)} 件"
        request.tip_off.channel = tip_off_channel or "追溯码查询"
    with open_desk(server, actor) as client:
        _show_case(client.cases.open_case(request), as_json, language)


@case_app.command("show")
def show_(
    number: NumberArgument,
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Show a case and all that was done with it."""
    with _open_desk(server) as desk:
        case = desk.get_case(number)
        events = desk.list_case_events(number)
    if as_json:
        write_json({**to_json(case), "events": [to_json(event) for event in events]})
        return
    _show_case(case, False, language)
    chosen = choose_language(language)
    table = build_table(term(key, chosen) for key in ("sequence", "time", "actor", "act", "note"))
    for record in events:
        table.add_row(
            str(record.sequence),
            show_time(record.time),
            show(record.event.actor),
            show(_say_change(record.event, chosen)),
            show(record.event.note),
        )
    open_screen().print(table)


@case_app.command("list")
def list_(
    state: Annotated[list[str], typer.Option("--state", "-s", help="Any of these states.")] = [],  # noqa: B006
    owner: Annotated[str, typer.Option(help="Of this person.")] = "",
    institution: Annotated[str, typer.Option("--institution", "-i", help="Of this institution.")] = "",
    division: Annotated[str, typer.Option(help="The beginning of the division code.")] = "",
    overdue_on: Annotated[str, typer.Option(metavar="DAY", help="Due before this day, yyyy-MM-dd.")] = "",
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """List cases, the newest first."""
    chosen = choose_language(language)
    request = case_service_pb2.ListCasesRequest(
        division_prefix=division,
        states=[_read_state(name) for name in state],
        owner=owner,
        institution_code=institution,
        overdue_on=overdue_on,
    )
    table = build_table(
        term(key, chosen) for key in ("case", "state", "due", "owner", "institution", "title", "origin")
    )
    with _open_desk(server) as desk:
        for case in desk.list_cases(request):
            if as_json:
                write_json(to_json(case))
                continue
            table.add_row(
                case.case_number,
                say_name(case_pb2.CaseState.Name(case.state), chosen),
                case.due_date,
                show(case.owner),
                case.institution_code,
                show(case.title),
                say_name(case_pb2.CaseOrigin.Name(case.origin), chosen),
            )
    if not as_json:
        open_screen().print(table if table.row_count else Text(term("nothing_listed", chosen), "dim"))


@case_app.command()
def complaints(
    institution: Annotated[str, typer.Option("--institution", "-i", help="Of this institution.")] = "",
    division: Annotated[str, typer.Option(help="The beginning of the division code.")] = "",
    without_case: Annotated[
        bool, typer.Option("--without-case", help="On which no case was opened.")
    ] = False,
    actor: LookerOption = "",
    reason: LookReasonOption = "",
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """List what those who hold boxes complained of 投诉线索, the newest first."""
    chosen = choose_language(language)
    request = case_service_pb2.ListComplaintsRequest(
        division_prefix=division, institution_code=institution, without_case=without_case
    )
    table = build_table(
        term(key, chosen) for key in ("sequence", "time", "code", "complaint", "institution", "case")
    )
    with open_desk(server, actor, reason) as client:
        for record in client.cases.list_complaints(request):
            if as_json:
                write_json(to_json(record))
                continue
            told = record.complaint
            table.add_row(
                str(record.sequence),
                show_time(record.time),
                told.code,
                say_name(complaint_pb2.ComplaintKind.Name(told.kind), chosen),
                " ".join(told.institution_codes),
                " ".join(record.case_numbers),
            )
    if not as_json:
        open_screen().print(table if table.row_count else Text(term("nothing_listed", chosen), "dim"))


@case_app.command()
def advance(
    number: NumberArgument,
    to: Annotated[
        str,
        typer.Argument(
            metavar="STATE",
            help="investigation 核查, disposal 处理, rectification 整改, recheck 复查, closed 销号.",
        ),
    ],
    actor: ActorOption,
    note: NoteOption = "",
    approver: Annotated[str, typer.Option(help="A second person, where the move asks for one 审定.")] = "",
    outcome: Annotated[
        list[str],
        typer.Option(
            "--outcome",
            "-o",
            metavar="KIND[=YUAN][@REFERENCE]",
            help="What came of it, such as recovered=1234.50, fine=500@决定书12号, police@区公安分局.",
        ),
    ] = [],  # noqa: B006
    reward: Annotated[str, typer.Option(metavar="YUAN", help="Paid for the tip-off 举报奖励.")] = "",
    etag: EtagOption = "",
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Move a case to another state."""
    request = case_service_pb2.AdvanceCaseRequest(
        case_number=number,
        actor=actor,
        to_state=_read_state(to),
        note=note,
        approver=approver,
        outcomes=[read_outcome(text) for text in outcome],
        reward_fen=read_fen(reward) if reward else 0,
    )
    with _open_desk(server) as desk:
        request.etag = etag or desk.get_case(number).etag
        _show_case(desk.advance_case(request), as_json, language)


@case_app.command()
def assign(
    number: NumberArgument,
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="Who is responsible from now on.")],
    actor: ActorOption,
    note: NoteOption = "",
    etag: EtagOption = "",
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Give a case to another person."""
    with _open_desk(server) as desk:
        request = case_service_pb2.AssignCaseRequest(
            case_number=number,
            etag=etag or desk.get_case(number).etag,
            actor=actor,
            owner=owner,
            note=note,
        )
        _show_case(desk.assign_case(request), as_json, language)


@case_app.command("add-findings")
def add_findings(
    number: NumberArgument,
    actor: ActorOption,
    finding: FindingOption,
    note: NoteOption = "",
    etag: EtagOption = "",
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Add findings to a case."""
    with _open_desk(server) as desk:
        request = case_service_pb2.AddFindingsRequest(
            case_number=number,
            etag=etag or desk.get_case(number).etag,
            actor=actor,
            findings=[read_finding(text) for text in finding],
            note=note,
        )
        _show_case(desk.add_findings(request), as_json, language)


@case_app.command()
def attach(
    number: NumberArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="At most 64 MiB.")],
    actor: ActorOption,
    note: NoteOption = "",
    media_type: Annotated[str, typer.Option(help="What it is, such as image/jpeg.")] = "",
    etag: EtagOption = "",
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Attach a file to a case; it is kept by its SHA-256."""
    with _open_desk(server) as desk:
        header = case_service_pb2.AttachFileHeader(
            case_number=number,
            etag=etag or desk.get_case(number).etag,
            actor=actor,
            name=file.name,
            media_type=media_type,
            note=note,
        )
        response = desk.attach_file(header, file)
    if as_json:
        write_json(to_json(response))
        return
    open_screen().print(Text(f"{response.attachment.sha256}  {show(response.attachment.name)}"))


@case_app.command()
def export(
    number: NumberArgument,
    to: Annotated[Path, typer.Argument(metavar="ZIP", help="The file to write; it must not exist yet.")],
    actor: ActorOption,
    reason: Annotated[str, typer.Option(help="For whom, and why. It is recorded.")] = "",
    server: ServerOption = None,
    language: LanguageOption = None,
) -> None:
    """Write all that a case rests on into a zip that sha256sum -c checks."""
    if to.exists():
        raise typer.BadParameter(f"{to} exists already")
    descriptor, name = tempfile.mkstemp(prefix=to.name, dir=to.parent)
    try:
        # Only a whole bundle has its name.
        with os.fdopen(descriptor, "wb") as file, _open_desk(server) as desk:
            for part in desk.export_evidence(number, actor, reason):
                file.write(part)
        Path(name).rename(to)
    finally:
        Path(name).unlink(missing_ok=True)
    open_screen().print(Text(f"{term('written', choose_language(language))} {show(str(to))}"))


@case_app.command("judge-finding")
def judge_finding(
    finding: Annotated[str, typer.Argument(metavar="ENTRY:FINDING:LINE[:CODE]", help="The finding.")],
    decision: Annotated[str, typer.Argument(help="confirmed, dismissed, closed or reopened.")],
    actor: ActorOption,
    reason: Annotated[str, typer.Option(help="Why.")],
    after: Annotated[int, typer.Option(help="The entry of the judgement before it, 0 = the first.")] = 0,
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Say what you make of a finding: it is what it says, or it is not."""
    request = case_service_pb2.ActOnFindingRequest(
        finding=read_finding(finding),
        decision=case_pb2.FindingDecision.ValueType(
            read_name(case_pb2.FindingDecision, "FINDING_DECISION_", decision)
        ),
        actor=actor,
        reason=reason,
        previous_sequence=after,
    )
    with _open_desk(server) as desk:
        standing = desk.act_on_finding(request)
    if as_json:
        write_json(to_json(standing))
        return
    said = say_name(case_pb2.FindingDecision.Name(standing.decision), choose_language(language))
    open_screen().print(Text(f"{said} #{standing.act_sequence} {standing.case_number}".rstrip()))


@contextmanager
def _open_desk(server: str | None) -> Iterator[CaseClient]:
    with open_desk(server) as client:
        yield client.cases


@contextmanager
def open_desk(server: str | None, actor: str = "", reason: str = "") -> Iterator[LedgerClient]:
    """The service whose desk it is; a desk is asked through its service alone. `actor` is who looks."""
    with open_target(server or SERVER_DEFAULT, None, actor=actor, reason=reason) as target:
        assert isinstance(target, LedgerClient)
        yield target


def read_finding(text: str) -> case_pb2.FindingReference:
    """A finding as it is named on the command line. Raises typer.BadParameter."""
    entry, _, rest = text.partition(":")
    name, _, rest = rest.partition(":")
    line, _, code = rest.partition(":")
    if not (entry.isascii() and entry.isdigit() and (not line or (line.isascii() and line.isdigit()))):
        raise typer.BadParameter(f"{text!r} is no finding; write ENTRY:FINDING:LINE[:CODE]")
    kind = f"FINDING_TYPE_{name}"
    if kind not in FindingType.keys():
        raise typer.BadParameter(f"{name!r} is no finding; write for example DUP_SALE_CROSS_ORG")
    return case_pb2.FindingReference(
        sequence=int(entry), type=FindingType.Value(kind), line_number=int(line or 0), code=code
    )


def read_outcome(text: str) -> case_pb2.CaseOutcome:
    """An outcome as it is named on the command line. Raises typer.BadParameter."""
    head, _, reference = text.partition("@")
    name, equals, amount = head.partition("=")
    kind = read_name(case_pb2.CaseOutcomeType, "CASE_OUTCOME_TYPE_", name)
    return case_pb2.CaseOutcome(
        type=case_pb2.CaseOutcomeType.ValueType(kind),
        amount_fen=read_fen(amount) if equals else 0,
        reference=reference,
    )


def read_fen(text: str) -> int:
    """An amount in yuan as people write it, in fen. Raises typer.BadParameter."""
    read = _AMOUNT.fullmatch(text)
    if read is None:
        raise typer.BadParameter(f"{text!r} is no amount in yuan; write for example 1234.50")
    return int(read[1]) * 100 + int((read[2] or "").ljust(2, "0"))


def _read_state(name: str) -> case_pb2.CaseState.ValueType:
    return case_pb2.CaseState.ValueType(read_name(case_pb2.CaseState, "CASE_STATE_", name))


def read_name(enum: object, prefix: str, name: str) -> int:
    """The number that a name of an enum has, written as on the command line. Raises typer.BadParameter."""
    known = {key.removeprefix(prefix): value for key, value in enum.items() if value}  # type: ignore[attr-defined]
    try:
        return int(known[name.upper().replace("-", "_")])
    except KeyError:
        choices = ", ".join(key.lower().replace("_", "-") for key in known)
        raise typer.BadParameter(f"{name!r} is none of {choices}") from None


def _show_case(case: case_pb2.Case, as_json: bool, language: Language | None) -> None:
    if as_json:
        write_json(to_json(case))
        return
    chosen = choose_language(language)
    screen = open_screen()
    head = Text(case.case_number, "bold")
    head.append(f"  {say_name(case_pb2.CaseState.Name(case.state), chosen)}", "bold cyan")
    if case.due_date:
        head.append(f", {term('due', chosen)} {case.due_date}", "not bold")
    head.append(f", {term('owner', chosen)} {show(case.owner) or '-'}", "not bold")
    head.append(f", {term('etag', chosen)} {case.etag}", "dim")
    screen.print(head, soft_wrap=True)
    screen.print(Text(f"  {case.institution_code}  {show(case.title)}"), soft_wrap=True)
    for reference in case.findings:
        name = FindingType.Name(reference.type).removeprefix("FINDING_TYPE_")
        line = f"  {reference.sequence}:{name}:{reference.line_number}"
        screen.print(Text(f"{line}:{show(reference.code)}" if reference.code else line), soft_wrap=True)
    for outcome in case.outcomes:
        said = say_name(case_pb2.CaseOutcomeType.Name(outcome.type), chosen)
        amount = f" {say_fen(outcome.amount_fen)}" if outcome.amount_fen else ""
        screen.print(Text(f"  {said}{amount} {show(outcome.reference)}".rstrip()), soft_wrap=True)
    for attachment in case.attachments:
        screen.print(Text(f"  {attachment.sha256[:12]}… {show(attachment.name)}"), soft_wrap=True)


def _say_change(event: case_pb2.CaseEvent, language: Language) -> str:
    match event.WhichOneof("change"):
        case "opening":
            return say_name(case_pb2.CaseOrigin.Name(event.opening.origin), language)
        case "move":
            move = event.move
            states = (
                say_name(case_pb2.CaseState.Name(state), language)
                for state in (move.from_state, move.to_state)
            )
            return " → ".join(states) + (f" ({move.approver})" if move.approver else "")
        case "findings_addition":
            return f"{term('findings', language)} +{len(event.findings_addition.findings)}"
        case "attachment":
            return f"{term('attachment', language)} {event.attachment.name}"
        case _:
            return f"{term('owner', language)} {event.assignment.owner}"
