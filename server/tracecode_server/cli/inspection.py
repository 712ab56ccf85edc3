"""Commands beside cases: a random draw 双随机, self-checks 自查, a shelf against the ledger 现场盘点."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.message import Message

from tracecode.client import InspectionClient, LedgerClient
from tracecode.v1 import inspection_pb2, inspection_service_pb2
from tracecode_server.cli.case import ActorOption, read_fen
from tracecode_server.cli.screen import to_json, write_json
from tracecode_server.cli.target import SERVER_DEFAULT, ServerOption, open_target

SCANS_PER_MESSAGE = 1_000
SHARE_PERCENT = 5.0
"""比例一般不低于 5%: what is drawn each quarter at least."""

draw_app = typer.Typer(name="draw", help="A random draw 双随机 by a published seed.", no_args_is_help=True)
self_check_app = typer.Typer(
    name="self-check", help="Questions that an institution answers about itself 自查.", no_args_is_help=True
)
inspect_app = typer.Typer(name="inspect", help="A shelf against the ledger 现场盘点.", no_args_is_help=True)
NumberArgument = Annotated[str, typer.Argument(metavar="NUMBER", help="As the first command answered it.")]


@draw_app.command()
def announce(
    candidates: Annotated[Path, typer.Argument(metavar="CSV", help="institution_code,weight (1 to 100).")],
    title: Annotated[str, typer.Option(help="What is drawn for.")],
    division: Annotated[str, typer.Option(help="Division code, six digits.")],
    inspector: Annotated[list[str], typer.Option(help="Who may be sent; at least two.")],
    seed_source: Annotated[str, typer.Option(help="Where the seed will come from, in public.")],
    actor: ActorOption,
    count: Annotated[
        int | None, typer.Option(min=1, help="How many institutions.", show_default="by --share")
    ] = None,
    share: Annotated[
        float, typer.Option(min=0.1, max=100, metavar="PERCENT", help="Of the list, at least.")
    ] = SHARE_PERCENT,
    server: ServerOption = None,
) -> None:
    """Say what will be drawn from, before the seed is known."""
    listed = list(_read_candidates(candidates))
    request = inspection_service_pb2.AnnounceDrawRequest(
        actor=actor,
        title=title,
        division_code=division,
        count=count or math.ceil(len(listed) * share / 100),
        inspectors=inspector,
        seed_source=seed_source,
        candidates=listed,
    )
    with _open_desk(server) as desk:
        _say(desk.announce_draw(request))


@draw_app.command()
def perform(
    number: NumberArgument,
    seed: Annotated[str, typer.Option(help="As it was published.")],
    actor: ActorOption,
    server: ServerOption = None,
) -> None:
    """Draw, once."""
    with _open_desk(server) as desk:
        request = inspection_service_pb2.PerformDrawRequest(
            draw_number=number, etag=desk.get_draw(number).etag, actor=actor, seed=seed
        )
        _say(desk.perform_draw(request))


@draw_app.command("show")
def show_draw(number: NumberArgument, server: ServerOption = None) -> None:
    """Show a draw."""
    with _open_desk(server) as desk:
        _say(desk.get_draw(number))


@self_check_app.command()
def issue(
    institution: Annotated[str, typer.Argument(metavar="INSTITUTION", help="Who is asked.")],
    question: Annotated[list[str], typer.Option("--question", "-q", help="A question; as many as needed.")],
    title: Annotated[str, typer.Option(help="What it is about.")],
    due: Annotated[str, typer.Option(metavar="DAY", help="Answered by this day, yyyy-MM-dd.")],
    actor: ActorOption,
    server: ServerOption = None,
) -> None:
    """Ask an institution about itself."""
    request = inspection_service_pb2.IssueSelfCheckRequest(
        actor=actor, institution_code=institution, title=title, questions=question, due_date=due
    )
    with _open_desk(server) as desk:
        _say(desk.issue_self_check(request))


@self_check_app.command("answer")
def answer_(
    number: NumberArgument,
    answer: Annotated[
        list[str],
        typer.Option(
            "--answer",
            metavar="RESULT[=YUAN][@NOTE]",
            help="One for each question: compliant, not-applicable, problem=99.00@三盒未扫码.",
        ),
    ],
    actor: ActorOption,
    server: ServerOption = None,
) -> None:
    """Answer all questions of a self-check."""
    answers = [read_answer(text) for text in answer]
    with _open_desk(server) as desk:
        request = inspection_service_pb2.AnswerSelfCheckRequest(
            self_check_number=number, etag=desk.get_self_check(number).etag, actor=actor, answers=answers
        )
        _say(desk.answer_self_check(request))


@self_check_app.command("show")
def show_self_check(number: NumberArgument, server: ServerOption = None) -> None:
    """Show a self-check."""
    with _open_desk(server) as desk:
        _say(desk.get_self_check(number))


@inspect_app.command("open")
def open_(
    institution: Annotated[str, typer.Argument(metavar="INSTITUTION", help="Whose shelf it is.")],
    inspector: Annotated[list[str], typer.Option(help="Who goes; at least two.")],
    actor: ActorOption,
    case: Annotated[str, typer.Option(help="The case it is made for.")] = "",
    identifier: Annotated[
        list[str], typer.Option(help="A product whose boxes are all scanned: what is missing is listed.")
    ] = [],  # noqa: B006
    server: ServerOption = None,
) -> None:
    """Begin to scan an institution's shelf."""
    request = inspection_service_pb2.OpenInspectionRequest(
        actor=actor,
        institution_code=institution,
        case_number=case,
        inspectors=inspector,
        identifiers=identifier,
    )
    with _open_desk(server) as desk:
        _say(desk.open_inspection(request))


@inspect_app.command()
def scan(number: NumberArgument, actor: ActorOption, server: ServerOption = None) -> None:
    """Take scans from stdin, one a line."""
    lines = (row.rstrip(b"\r\n").decode("utf-8", "replace") for row in sys.stdin.buffer)
    scans = (row for row in lines if row)
    with _open_desk(server) as desk:
        inspection = desk.get_inspection(number)
        while part := list(islice(scans, SCANS_PER_MESSAGE)):
            request = inspection_service_pb2.ScanShelfRequest(
                inspection_number=number, etag=inspection.etag, actor=actor, scans=part
            )
            inspection = desk.scan_shelf(request)
        _say(inspection)


@inspect_app.command()
def close(number: NumberArgument, actor: ActorOption, server: ServerOption = None) -> None:
    """Compare what was scanned with the ledger: missing, extra, sold but present."""
    with _open_desk(server) as desk:
        request = inspection_service_pb2.CloseInspectionRequest(
            inspection_number=number, etag=desk.get_inspection(number).etag, actor=actor
        )
        _say(desk.close_inspection(request))


@inspect_app.command("show")
def show_inspection(number: NumberArgument, server: ServerOption = None) -> None:
    """Show an inspection."""
    with _open_desk(server) as desk:
        _say(desk.get_inspection(number))


def read_answer(text: str) -> inspection_pb2.SelfCheckAnswer:
    """An answer as it is typed. Raises typer.BadParameter."""
    head, _, note = text.partition("@")
    name, equals, amount = head.partition("=")
    results = {
        "compliant": inspection_pb2.SELF_CHECK_RESULT_COMPLIANT,
        "problem": inspection_pb2.SELF_CHECK_RESULT_PROBLEM,
        "not-applicable": inspection_pb2.SELF_CHECK_RESULT_NOT_APPLICABLE,
    }
    if name not in results:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(results)}")
    return inspection_pb2.SelfCheckAnswer(
        result=results[name], note=note, amount_fen=read_fen(amount) if equals else 0
    )


def _read_candidates(path: Path) -> Iterator[inspection_pb2.DrawCandidate]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if "institution_code" not in (rows.fieldnames or ()):
            raise typer.BadParameter(f"{path} needs the column institution_code")
        for row in rows:
            weight = row.get("weight") or "1"
            if not (weight.isascii() and weight.isdigit() and len(weight) <= 3):
                raise typer.BadParameter(f"{path}: the weight {weight!r} is no number from 1 to 100")
            yield inspection_pb2.DrawCandidate(institution_code=row["institution_code"], weight=int(weight))


def _say(message: Message) -> None:
    # These are looked at by programs and copied into letters: one form for both.
    write_json(to_json(message))


@contextmanager
def _open_desk(server: str | None) -> Iterator[InspectionClient]:
    with open_target(server or SERVER_DEFAULT, None) as target:
        assert isinstance(target, LedgerClient)
        yield target.inspections
