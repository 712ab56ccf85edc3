"""Commands of screenings 筛查 by a running service: start, follow, read the leads, open a case on one."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tracecode.cases.draw import WEIGHT_MAX
from tracecode.client import LedgerClient
from tracecode.v1 import case_pb2, case_service_pb2, screening_service_pb2
from tracecode.v1.screening_service_pb2 import (
    LEAD_KIND_INSTITUTION,
    Lead,
    ListLeadsRequest,
    ListScoresRequest,
    Screening,
)
from tracecode_server.cli.case import ActorOption
from tracecode_server.cli.exit_code import ExitCode
from tracecode_server.cli.screen import (
    JsonOption,
    Language,
    LanguageOption,
    build_table,
    choose_language,
    complain,
    open_screen,
    show,
    to_json,
    track,
    write_json,
)
from tracecode_server.cli.target import SERVER_DEFAULT, ServerOption, open_target

screening_app = typer.Typer(
    name="screening",
    help="Screenings of a running service: leads 线索, their reasons, and cases opened on them.",
    no_args_is_help=True,
)

NameArgument = Annotated[
    str, typer.Argument(metavar="SCREENING", help="Its name, such as 20261201-20261231-1.")
]
POLL_SECONDS = 0.3
NOTE_EVIDENCE_MAX = 20
"""Places that the note of a case names; the attached lead has all."""


@screening_app.command("start")
def start(
    first: Annotated[str, typer.Option("--from", metavar="DAY", help="First business day, 2026-12-01.")],
    last: Annotated[str, typer.Option("--to", metavar="DAY", help="Last business day.")],
    division: Annotated[
        str, typer.Option("--division", metavar="DIGITS", help="Beginning of a division code.")
    ] = "",
    model: Annotated[
        list[str], typer.Option("--model", "-m", metavar="NAME", help="Only this model; may be repeated.")
    ] = [],  # noqa: B006
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for its end.")] = False,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Screen a period in the service's background; asked again meanwhile it is the same screening."""
    request = screening_service_pb2.StartScreeningRequest(
        first_day=first, last_day=last, division_prefix=division, models=model
    )
    with _open(server) as client:
        found = client.screenings.start_screening(request)
        if wait:
            found = _follow(client, found)
    _show(found, as_json)


@screening_app.command("show")
def show_(
    name: NameArgument,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for its end.")] = False,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """How far a screening is, and how it ended."""
    with _open(server) as client:
        found = client.screenings.get_screening(name)
        if wait:
            found = _follow(client, found)
    _show(found, as_json)


@screening_app.command("list")
def list_(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """All screenings, the newest first."""
    with _open(server) as client:
        found = list(client.screenings.list_screenings())
    if as_json:
        for each in found:
            write_json(to_json(each))
        return
    table = build_table(("screening", "state", "leads", "until entry"))
    for each in found:
        table.add_row(each.screening_id, _state(each), str(each.lead_count), str(each.until_sequence))
    open_screen().print(table)


@screening_app.command("cancel")
def cancel(name: NameArgument, server: ServerOption = None, as_json: JsonOption = False) -> None:
    """End a screening."""
    with _open(server) as client:
        _show(client.screenings.cancel_screening(name), as_json)


@screening_app.command("leads")
def leads(
    name: NameArgument,
    model: Annotated[
        list[str], typer.Option("--model", "-m", metavar="NAME", help="Only of this model; may be repeated.")
    ] = [],  # noqa: B006
    subject: Annotated[str, typer.Option("--subject", metavar="WHO", help="Only to this subject.")] = "",
    suspected: Annotated[bool, typer.Option("--suspected", help="Only suspicions 疑点.")] = False,
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """What a screening found, each with its reason."""
    request = ListLeadsRequest(screening_id=name, models=model, subject=subject)
    if suspected:
        request.state = screening_service_pb2.LEAD_STATE_SUSPECTED
    with _open(server) as client:
        found = list(client.screenings.list_leads(request))
    chinese = choose_language(language) is Language.ZH
    for lead in found:
        if as_json:
            write_json(to_json(lead))
        else:
            level = screening_service_pb2.LeadLevel.Name(lead.level).removeprefix("LEAD_LEVEL_").lower()
            why = lead.why_zh if chinese else lead.why_en
            open_screen().print(Text(f"{level} {show(lead.lead_id)}: {show(why, 2_000)}"), soft_wrap=True)


@screening_app.command("scores")
def scores(
    name: NameArgument,
    grade: Annotated[
        list[str], typer.Option("--grade", metavar="A-D", help="Only of this grade; may be repeated.")
    ] = [],  # noqa: B006
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Risk, credit and grade of everybody, the worst first, with the reason of every point."""
    request = ListScoresRequest(screening_id=name, grades=grade)
    with _open(server) as client:
        found = list(client.screenings.list_scores(request))
    if as_json:
        for score in found:
            write_json(to_json(score))
        return
    chinese = choose_language(language) is Language.ZH
    table = build_table(("who", "grade", "risk", "credit", "factor", "why"))
    for score in found:
        why = "; ".join(
            f"{point.points:+.1f} {point.why_zh if chinese else point.why_en}" for point in score.risk_points
        )
        table.add_row(
            show(score.subject),
            score.grade,
            f"{score.risk:.1f}",
            f"{score.credit:.1f}",
            f"{score.inspection_factor:g}",
            show(why, 400),
        )
    open_screen().print(table)


@screening_app.command("candidates")
def candidates(
    name: NameArgument,
    division: Annotated[str, typer.Option(help="The beginning of the division code.")] = "",
    server: ServerOption = None,
) -> None:
    """The list of a random draw 双随机 as CSV: who is graded worse is likelier to be drawn.

    An institution's weight is twice its inspection factor: A 1, B 2, C 4, D 8.
    """
    request = ListScoresRequest(screening_id=name, kind=LEAD_KIND_INSTITUTION)
    with _open(server) as client:
        found = {score.subject: score for score in client.screenings.list_scores(request)}
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(("institution_code", "weight", "grade"))
    for code, score in sorted(found.items()):
        if code[1:7].startswith(division):
            rows.writerow((code, max(1, min(WEIGHT_MAX, round(2 * score.inspection_factor))), score.grade))


@screening_app.command("open-case")
def open_case(
    name: NameArgument,
    lead_id: Annotated[str, typer.Argument(metavar="LEAD", help="Such as resale_in:P44040200101.")],
    actor: ActorOption,
    institution: Annotated[
        str,
        typer.Option(
            "--institution",
            "-i",
            metavar="CODE",
            help="Who has to answer for it. Default: the lead's subject, or where most of its evidence is.",
            show_default=False,
        ),
    ] = "",
    owner: Annotated[str, typer.Option(help="Who is responsible. Default: by the area grid.")] = "",
    server: ServerOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Open a case 立案 on a lead; the lead with all its figures and entries is attached to it.

    The same lead opened again by the same person is the same case.
    """
    chinese = choose_language(language) is Language.ZH
    model, _, subject = lead_id.partition(":")
    with _open(server) as client:
        request = ListLeadsRequest(screening_id=name, models=[model], subject=subject)
        found = list(client.screenings.list_leads(request))
        if not found or not subject:
            complain(f"the screening {name} has no lead {lead_id}")
            raise typer.Exit(ExitCode.BAD_INPUT)
        lead = found[0]
        case = client.cases.open_case(
            case_service_pb2.OpenCaseRequest(
                actor=actor,
                title=f"筛查线索 {lead.lead_id}" if chinese else f"Screening lead {lead.lead_id}",
                origin=case_pb2.CASE_ORIGIN_SCREENING,
                institution_code=institution or _institution(lead),
                owner=owner,
                note=_note(name, lead),
                request_id=hashlib.sha256(f"{name} {lead.lead_id}".encode()).hexdigest()[:32],
            )
        )
        if not case.attachments:
            with tempfile.TemporaryDirectory(prefix="tracecode-lead-") as folder:
                file = Path(folder) / "lead.json"
                said = {"screening": name, **to_json(lead)}
                file.write_text(json.dumps(said, ensure_ascii=False, indent=1), "utf-8")
                client.cases.attach_file(
                    case_service_pb2.AttachFileHeader(
                        case_number=case.case_number,
                        etag=case.etag,
                        actor=actor,
                        name=file.name,
                        media_type="application/json",
                    ),
                    file,
                )
    if as_json:
        write_json(to_json(case))
    else:
        open_screen().print(Text(f"{case.case_number} {show(case.institution_code)} {show(case.title)}"))


def _institution(lead: Lead) -> str:
    if lead.kind == screening_service_pb2.LEAD_KIND_INSTITUTION:
        return lead.subject
    places = Counter(place.institution_code for place in lead.evidence)
    return min(places, key=lambda code: (-places[code], code)) if places else ""


def _note(name: str, lead: Lead) -> str:
    places = ", ".join(
        f"#{place.sequence} {place.code}".rstrip() for place in lead.evidence[:NOTE_EVIDENCE_MAX]
    )
    more = f" (+{len(lead.evidence) - NOTE_EVIDENCE_MAX})" if len(lead.evidence) > NOTE_EVIDENCE_MAX else ""
    return f"{name} {lead.lead_id} v{lead.model_version}: {lead.why_zh} / {lead.why_en}\n{places}{more}"


def _follow(client: LedgerClient, found: Screening) -> Screening:
    with track("screening") as bar:
        while found.state == screening_service_pb2.SCREENING_STATE_RUNNING:
            bar.show(found.steps_done, found.steps_total or 1)
            time.sleep(POLL_SECONDS)
            found = client.screenings.get_screening(found.screening_id)
    return found


def _state(found: Screening) -> str:
    return screening_service_pb2.ScreeningState.Name(found.state).removeprefix("SCREENING_STATE_").lower()


def _show(found: Screening, as_json: bool) -> None:
    if as_json:
        write_json(to_json(found))
    else:
        far = f" {found.steps_done} of {found.steps_total} {found.step}" if found.steps_total else ""
        told = f" {found.lead_count} leads" if _state(found) == "done" else far
        sentence = f"{found.screening_id} {_state(found)}{told} {show(found.error, 2_000)}"
        open_screen().print(Text(sentence.rstrip()), soft_wrap=True)
    if found.state == screening_service_pb2.SCREENING_STATE_FAILED:
        raise typer.Exit(ExitCode.STOPPED)


@contextmanager
def _open(server: str | None) -> Iterator[LedgerClient]:
    with open_target(server or SERVER_DEFAULT, None) as target:
        assert isinstance(target, LedgerClient)
        yield target
