"""Commands of the regulator's desk: the finding queue, one finding, a watch, and what people make of them."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from tracecode.client import LedgerClient
from tracecode.v1 import case_pb2, case_service_pb2, finding_pb2, finding_service_pb2
from tracecode.v1.code_pb2 import Operation
from tracecode.v1.finding_pb2 import FindingType
from tracecode_server.cli.case import (
    ActorOption,
    LookerOption,
    LookReasonOption,
    open_desk,
    read_finding,
    read_name,
)
from tracecode_server.cli.findings import say_evidence, say_finding, say_severity
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
from tracecode_server.cli.target import ServerOption
from tracecode_server.cli.terms import say_name, term

findings_app = typer.Typer(
    name="findings",
    help="The regulator's desk: findings, from a lead to their closing.",
    no_args_is_help=True,
)

SeverityOption = Annotated[str, typer.Option("--severity", help="This and graver: warn, alert, block.")]
TypeOption = Annotated[
    list[str], typer.Option("--type", "-t", metavar="FINDING", help="Any of these, such as SWAP_PRODUCT.")
]
StateOption = Annotated[
    list[str],
    typer.Option(
        "--state", "-s", help="Any of lead, suspected, confirmed, closed, dismissed, cleared; or all."
    ),
]
InstitutionOption = Annotated[
    str, typer.Option("--institution", "-i", metavar="CODE", help="Of this institution.")
]
DivisionOption = Annotated[str, typer.Option("--division", help="The beginning of the division code.")]
SinceOption = Annotated[str, typer.Option("--since", metavar="DAY", help="First business day, yyyy-MM-dd.")]
UntilOption = Annotated[str, typer.Option("--until", metavar="DAY", help="Last business day.")]
NameArgument = Annotated[
    str, typer.Argument(metavar="ENTRY:FINDING:LINE[:CODE]", help="The finding, as the list names it.")
]
ReasonOption = Annotated[str, typer.Option("--reason", "-r", help="Why. It is kept.")]

_GROUPINGS = ("type", "institution", "division", "day", "state")


@findings_app.command("list")
def list_(
    severity: SeverityOption = "warn",
    type_: TypeOption = [],  # noqa: B006
    state: StateOption = [],  # noqa: B006
    institution: InstitutionOption = "",
    division: DivisionOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    actor: LookerOption = "",
    reason: LookReasonOption = "",
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """List findings, the gravest first; those that wait for somebody, if no state is named."""
    chosen = choose_language(language)
    request = finding_service_pb2.ListFindingsRequest(
        filter=_read_filter(severity, type_, state, institution, division, since, until),
        page_size=min(limit, 1_000),
    )
    table = build_table(
        term(key, chosen) for key in ("finding", "severity", "state", "day", "institution", "case")
    )
    with open_desk(server, actor, reason) as client:
        for number, record in enumerate(client.findings.list_findings(request)):
            if number == limit:
                break
            if as_json:
                write_json(to_json(record))
                continue
            table.add_row(
                show(name_finding(record.finding)),
                say_severity(record.severity, chosen),
                say_state(record, chosen),
                record.business_day,
                record.institution_code,
                record.case_number,
            )
    if not as_json:
        open_screen().print(table if table.row_count else Text(term("no_findings", chosen), "dim"))


@findings_app.command()
def group(
    by: Annotated[str, typer.Argument(metavar="BY", help="type, institution, division, day or state.")],
    severity: SeverityOption = "warn",
    type_: TypeOption = [],  # noqa: B006
    state: StateOption = [],  # noqa: B006
    institution: InstitutionOption = "",
    division: DivisionOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    actor: LookerOption = "",
    reason: LookReasonOption = "",
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Count findings by what they are about."""
    chosen = choose_language(language)
    if by not in _GROUPINGS:
        raise typer.BadParameter(f"{by!r} is none of {', '.join(_GROUPINGS)}")
    request = finding_service_pb2.GroupFindingsRequest(
        filter=_read_filter(severity, type_, state, institution, division, since, until),
        grouping=finding_service_pb2.FindingGrouping.Value(f"FINDING_GROUPING_{by.upper()}"),
        page_size=1_000,
    )
    with open_desk(server, actor, reason) as client:
        response = client.findings.group_findings(request)
    if as_json:
        write_json(to_json(response))
        return
    states = finding_service_pb2.FindingState.keys()[1:]
    heads = [say_name(name, chosen) for name in states]
    table = build_table([term("finding", chosen) if by == "type" else by, term("findings", chosen), *heads])
    for each in response.groups:
        counts = [getattr(each, f"{name.removeprefix('FINDING_STATE_').lower()}_count") for name in states]
        table.add_row(
            say_name(each.key, chosen), str(each.finding_count), *(str(count or "") for count in counts)
        )
    open_screen().print(table if table.row_count else Text(term("no_findings", chosen), "dim"))


@findings_app.command("show")
def show_(
    name: NameArgument,
    actor: LookerOption = "",
    reason: LookReasonOption = "",
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Show a finding: its evidence, what would have explained it, and what became of it."""
    with open_desk(server, actor, reason) as client:
        found = client.findings.get_finding(read_finding(name))
    if as_json:
        write_json(to_json(found))
        return
    chosen = choose_language(language)
    screen = open_screen()
    record = found.record
    head = Text(show(name_finding(record.finding)), "bold")
    head.append(f"  {say_state(record, chosen)}", "bold cyan")
    head.append(f"  {record.institution_code} {record.business_day}", "not bold")
    if record.case_number:
        head.append(f"  {record.case_number}", "not bold")
    screen.print(head, soft_wrap=True)
    finding = found.standing_finding if found.HasField("standing_finding") else found.first_finding
    screen.print(Text("  ") + say_finding(finding, chosen), soft_wrap=True)
    for evidence in finding.evidence:
        screen.print(Text(f"    {say_evidence(evidence)}", "dim"), soft_wrap=True)
    screen.print(Text(term("looked_for", chosen), "bold"))
    for each in found.counter_evidence:
        kind = finding_service_pb2.CounterEvidenceType.Name(each.type)
        events = ", ".join(
            f"{say_name(Operation.Name(event.operation), chosen)} #{event.sequence}"
            f" {event.institution_code} {show_time(event.business_time)}"
            for event in each.events
        )
        said = events or term("none_found" if each.searched else "not_searched", chosen)
        screen.print(Text(f"  {say_name(kind, chosen)}: {said}"), soft_wrap=True)
    table = build_table(term(key, chosen) for key in ("sequence", "time", "act", "state", "actor", "note"))
    acts = {act.sequence: act.act for act in found.acts}
    for event in found.events:
        act = acts.get(event.sequence)
        table.add_row(
            str(event.sequence),
            show_time(event.time),
            say_name(finding_service_pb2.FindingEventType.Name(event.type), chosen),
            say_name(finding_service_pb2.FindingState.Name(event.state), chosen),
            show(act.actor) if act else "",
            show(act.reason) if act else "",
        )
    screen.print(table)
    remedy = choose_text(finding.remedy, chosen)
    if remedy:
        screen.print(Text(f"{term('remedy', chosen)}: {show(remedy, 600)}", "dim"), soft_wrap=True)


@findings_app.command()
def watch(
    severity: SeverityOption = "warn",
    type_: TypeOption = [],  # noqa: B006
    state: StateOption = [],  # noqa: B006
    institution: InstitutionOption = "",
    division: DivisionOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    cursor: Annotated[
        str, typer.Option(help='Go on from here; "0" = from the first finding on. Default: from now on.')
    ] = "",
    count: Annotated[int, typer.Option(min=0, help="End after so many; 0 = never.")] = 0,
    actor: LookerOption = "",
    reason: LookReasonOption = "",
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Tell what changes as it changes, until Ctrl-C; goes on over restarts of the service.

    With --json each line has the cursor from which to go on.
    """
    chosen = choose_language(language)
    request = finding_service_pb2.WatchFindingsRequest(
        filter=_read_filter(severity, type_, state, institution, division, since, until), cursor=cursor
    )
    screen = open_screen()
    told = 0
    with open_desk(server, actor, reason) as client:
        for response in client.findings.watch_findings(request):
            if as_json and response.events:
                write_json(to_json(response))
            for event in response.events:
                if not as_json:
                    screen.print(_say_event(event, chosen), soft_wrap=True)
                told += 1
            if count and told >= count:
                return


@findings_app.command()
def precision(
    server: ServerOption = None, as_json: JsonOption = False, language: LanguageOption = None
) -> None:
    """How often each rule found something, and how often people found it right 准确率."""
    chosen = choose_language(language)
    with open_desk(server) as client:
        response = client.findings.list_rule_statistics()
    if as_json:
        write_json(to_json(response))
        return
    heads = ("finding", "raised", "open", "cleared", "confirmed", "dismissed", "precision")
    table = build_table([*(term(key, chosen) for key in heads), "95%"])
    for rule in response.rules:
        judged = rule.HasField("precision")
        table.add_row(
            say_name(FindingType.Name(rule.type), chosen),
            str(rule.raised_count),
            str(rule.open_count),
            str(rule.cleared_count),
            str(rule.confirmed_count),
            str(rule.dismissed_count),
            f"{rule.precision:.1%}" if judged else "-",
            f"{rule.precision_min:.1%}-{rule.precision_max:.1%}" if judged else "",
        )
    open_screen().print(table if table.row_count else Text(term("no_findings", chosen), "dim"))


@findings_app.command()
def confirm(
    name: NameArgument,
    actor: ActorOption,
    reason: ReasonOption,
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Say that a finding is what it says 确认."""
    _act(name, case_pb2.FINDING_DECISION_CONFIRMED, actor, reason, server, as_json, language)


@findings_app.command()
def dismiss(
    name: NameArgument,
    actor: ActorOption,
    reason: ReasonOption,
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Say that a finding is a false alarm 误报."""
    _act(name, case_pb2.FINDING_DECISION_DISMISSED, actor, reason, server, as_json, language)


@findings_app.command()
def close(
    name: NameArgument,
    actor: ActorOption,
    reason: ReasonOption,
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Say that a confirmed finding is dealt with 办结."""
    _act(name, case_pb2.FINDING_DECISION_CLOSED, actor, reason, server, as_json, language)


@findings_app.command()
def reopen(
    name: NameArgument,
    actor: ActorOption,
    reason: ReasonOption,
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Take a finding up again 重新核查."""
    _act(name, case_pb2.FINDING_DECISION_REOPENED, actor, reason, server, as_json, language)


def _act(
    name: str,
    decision: case_pb2.FindingDecision.ValueType,
    actor: str,
    reason: str,
    server: str | None,
    as_json: bool,
    language: Language | None,
) -> None:
    reference = read_finding(name)
    with open_desk(server, actor, reason) as client:
        standing = client.cases.act_on_finding(
            case_service_pb2.ActOnFindingRequest(
                finding=reference,
                decision=decision,
                actor=actor,
                reason=reason,
                previous_sequence=_read_last_act(client, reference),
            )
        )
    if as_json:
        write_json(to_json(standing))
        return
    said = say_name(case_pb2.FindingDecision.Name(standing.decision), choose_language(language))
    open_screen().print(Text(f"{said} #{standing.act_sequence} {standing.case_number}".rstrip()))


def _read_last_act(client: LedgerClient, reference: case_pb2.FindingReference) -> int:
    """The act that is followed: the last one there is."""
    acts = client.findings.get_finding(reference).acts
    return acts[-1].sequence if acts else 0


def name_finding(reference: case_pb2.FindingReference) -> str:
    """A finding as it is named on the command line."""
    kind = FindingType.Name(reference.type).removeprefix("FINDING_TYPE_")
    name = f"{reference.sequence}:{kind}:{reference.line_number}"
    return f"{name}:{reference.code}" if reference.code else name


def say_state(record: finding_service_pb2.FindingRecord, language: Language) -> str:
    """How far a finding has come, and why it is more than a lead."""
    state = say_name(finding_service_pb2.FindingState.Name(record.state), language)
    if record.state != finding_service_pb2.FINDING_STATE_SUSPECTED:
        return state
    reasons = (
        say_name(finding_service_pb2.Suspicion.Name(suspicion), language) for suspicion in record.suspicions
    )
    return f"{state} ({', '.join(reasons)})"


def _say_event(event: finding_service_pb2.FindingEvent, language: Language) -> Text:
    record = event.record
    text = Text(f"{show_time(event.time)}  #{event.sequence}  ")
    text.append(say_name(finding_service_pb2.FindingEventType.Name(event.type), language), "bold")
    text.append(f"  {say_severity(record.severity, language)}  {show(name_finding(record.finding))}")
    text.append(f"  {record.institution_code}  ")
    text.append(say_name(finding_service_pb2.FindingState.Name(event.state), language), "cyan")
    return text


def _read_filter(
    severity: str,
    types: list[str],
    states: list[str],
    institution: str,
    division: str,
    since: str,
    until: str,
) -> finding_service_pb2.FindingFilter:
    every = finding_service_pb2.FindingState.values()[1:]
    named = [
        finding_service_pb2.FindingState.ValueType(
            read_name(finding_service_pb2.FindingState, "FINDING_STATE_", state)
        )
        for state in states
        if state != "all"
    ]
    return finding_service_pb2.FindingFilter(
        severity_min=finding_pb2.Severity.ValueType(read_name(finding_pb2.Severity, "SEVERITY_", severity)),
        types=[FindingType.ValueType(read_name(FindingType, "FINDING_TYPE_", name)) for name in types],
        states=every if "all" in states else named,
        institution_code=institution,
        division_prefix=division,
        first_day=since,
        last_day=until,
    )
