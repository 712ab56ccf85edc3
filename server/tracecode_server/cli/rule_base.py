"""Commands about the rule base 规则库: check a file, and see what it would change before it is in force."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tracecode.dry_run import SAMPLES_MAX, DryRunReport, dry_run
from tracecode.rule_base import RuleBase
from tracecode.v1.rule_base_service_pb2 import ActivateRuleBaseRequest
from tracecode.v1.rule_base_service_pb2 import RuleBase as RuleBaseMessage
from tracecode_server.cli.exit_code import ExitCode
from tracecode_server.cli.screen import (
    JsonOption,
    build_table,
    complain,
    open_screen,
    show,
    show_time,
    to_json,
    track,
    write_json,
)
from tracecode_server.cli.target import DataOption, ServerOption, open_target

INSTITUTIONS_SHOWN_MAX = 20

rule_base_app = typer.Typer(no_args_is_help=True, help="The rule base 规则库: check, try, put in force.")


@rule_base_app.command("validate")
def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A rule base, TOML.")],
    as_json: JsonOption = False,
) -> None:
    """Read a rule base as the service would. The first mistake is named with its line, key and remedy.

    Exit 2: the file cannot be used.
    """
    rule_base = RuleBase.load(file)
    counts = {
        "overrides": len(rule_base.overrides),
        "exemptions": len(rule_base.exemptions),
        "thresholds": len(rule_base.threshold_rows),
        "drug conditions": len(rule_base.drug_conditions),
    }
    if as_json:
        write_json(
            {"version": rule_base.version, **{name.replace(" ", "_"): n for name, n in counts.items()}}
        )
        return
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    open_screen().print(Text(f"ok: version {rule_base.version}, {said}"), soft_wrap=True)


@rule_base_app.command("list")
def list_all(
    server: ServerOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List all rule bases that were put in force or are to be, the one that holds last first."""
    with open_target(server, data) as target:
        rows = list(target.list_rule_bases())
    if as_json:
        for row in rows:
            write_json(to_json(row))
        return
    table = build_table(("entry", "version", "judges from", "", "author", "approver", "notes"))
    for row in rows:
        table.add_row(
            str(row.sequence),
            show(row.version),
            show_time(row.effective_time),
            _say_state(row),
            show(row.author),
            show(row.approver),
            show(row.notes),
        )
    open_screen().print(table)


def _say_state(row: RuleBaseMessage) -> str:
    said = ["in force"] if row.in_force else []
    if row.restored_sequence:
        said.append(f"entry {row.restored_sequence} again")
    return ", ".join(said)


@rule_base_app.command("activate")
def activate(
    author: Annotated[str, typer.Option("--author", help="Who wrote it.")],
    approver: Annotated[str, typer.Option("--approver", help="Who approved it; somebody else.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A rule base, TOML.", show_default=False)
    ] = None,
    restore: Annotated[
        int, typer.Option("--restore", metavar="ENTRY", min=0, help="Instead of FILE: an earlier version.")
    ] = 0,
    effective: Annotated[
        str | None,
        typer.Option(
            "--effective",
            metavar="TIME",
            help="Judges what is received from then on (2026-03-01T00:00:00+08:00). Default: at once.",
            show_default=False,
        ),
    ] = None,
    notes: Annotated[str, typer.Option("--notes", help="What is new, and why.")] = "",
    server: ServerOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a rule base in force, or an earlier version again. What was received before keeps its verdicts.

    Exit 2: the file cannot be used, or author and approver are one.
    """
    request = ActivateRuleBaseRequest(
        author=author, approver=approver, notes=notes, restored_sequence=restore
    )
    if file is not None:
        request.text = RuleBase.load(file).text
    if effective is not None:
        try:
            time = datetime.fromisoformat(effective)
        except ValueError:
            raise typer.BadParameter(f"--effective: {show(effective)} is no time") from None
        if time.tzinfo is None:
            raise typer.BadParameter("--effective needs its zone, such as +08:00")
        request.effective_time.FromDatetime(time)
    with open_target(server, data) as target:
        activated = target.activate_rule_base(request)
    if as_json:
        activated.ClearField("text")
        write_json(to_json(activated))
        return
    open_screen().print(
        Text(
            f"entry {activated.sequence}: version {activated.version} judges what is received from "
            f"{show_time(activated.effective_time)} on"
        ),
        soft_wrap=True,
    )


@rule_base_app.command("dry-run")
def try_out(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Data folder; a service may have it open.")
    ],
    candidate: Annotated[Path, typer.Argument(metavar="FILE", help="The rule base to try, TOML.")],
    since: Annotated[
        int, typer.Option("--since", metavar="SEQUENCE", min=1, help="First entry that it judges.")
    ] = 1,
    samples: Annotated[
        int, typer.Option("--samples", min=0, max=100, help="Documents shown of each finding.")
    ] = SAMPLES_MAX,
    scratch: Annotated[
        Path | None,
        typer.Option(
            "--scratch",
            metavar="DIR",
            help="Where to keep a passing ledger as large as DIR; else where temporary files are.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge the stored documents by a candidate and say what would change. Nothing is put in force.

    Exit 1: something would change. Exit 2: the file cannot be used.
    """
    rule_base = RuleBase.load(candidate)
    try:
        with track("entries") as bar:
            report = dry_run(
                directory, rule_base, since=since, progress=bar.show, scratch=scratch, samples_max=samples
            )
    except FileNotFoundError as error:
        complain(str(error))
        raise typer.Exit(ExitCode.BAD_INPUT) from None
    if as_json:
        write_json(_to_json(report))
    else:
        _print(report)
    if report.documents_changed:
        raise typer.Exit(ExitCode.FINDINGS)


def _to_json(report: DryRunReport) -> dict[str, object]:
    return {
        "version": report.version,
        "sinceSequence": report.since_sequence,
        "untilSequence": report.until_sequence,
        "documents": report.documents,
        "documentsChanged": report.documents_changed,
        "newlyRefused": report.newly_refused,
        "noLongerRefused": report.no_longer_refused,
        "findings": {
            type.name: {
                "before": change.before,
                "after": change.after,
                "new": change.new,
                "gone": change.gone,
                "severityChanged": change.severity_changed,
                "modeChanged": change.mode_changed,
                "severities": [
                    {"before": before, "after": after, "count": count}
                    for (before, after), count in sorted(change.severities.items())
                ],
                "samples": [
                    {
                        "sequence": sample.sequence,
                        "institutionCode": sample.institution_code,
                        "documentNumber": sample.document_number,
                        "lineNumber": sample.line_number,
                        "code": sample.code,
                        "before": sample.before,
                        "after": sample.after,
                    }
                    for sample in change.samples
                ],
            }
            for type, change in report.findings.items()
        },
        "institutions": [
            {
                "institutionCode": code,
                "documents": change.documents,
                "new": change.new,
                "gone": change.gone,
                "severityChanged": change.severity_changed,
            }
            for code, change in report.institutions.items()
        ],
        "entries": report.entries,
        "seconds": round(report.seconds, 3),
        "entriesPerSecond": round(report.entries_per_second),
        "judged": report.judged,
        "skipped": report.skipped,
        "whole": report.whole,
    }


def _print(report: DryRunReport) -> None:
    screen = open_screen()
    table = build_table(("finding", "stands", "would stand", "new", "gone", "other severity", "other mode"))
    for type, change in report.findings.items():
        table.add_row(
            type.name,
            f"{change.before:,}",
            f"{change.after:,}",
            f"{change.new:,}",
            f"{change.gone:,}",
            f"{change.severity_changed:,}",
            f"{change.mode_changed:,}",
        )
    screen.print(table)
    samples = build_table(("finding", "entry", "institution", "document", "line", "code", "stands", "would"))
    for type, change in report.findings.items():
        for sample in change.samples:
            samples.add_row(
                type.name,
                str(sample.sequence),
                show(sample.institution_code),
                show(sample.document_number),
                str(sample.line_number or ""),
                show(sample.code),
                sample.before or "-",
                sample.after or "-",
            )
    if samples.row_count:
        screen.print(samples)
    institutions = build_table(("institution", "documents", "new", "gone", "other severity"))
    for code, each in list(report.institutions.items())[:INSTITUTIONS_SHOWN_MAX]:
        institutions.add_row(
            show(code), f"{each.documents:,}", f"{each.new:,}", f"{each.gone:,}", f"{each.severity_changed:,}"
        )
    if institutions.row_count:
        screen.print(institutions)
    if len(report.institutions) > INSTITUTIONS_SHOWN_MAX:
        screen.print(Text(f"... and {len(report.institutions) - INSTITUTIONS_SHOWN_MAX:,} more"))
    for sentence in (
        f"version {report.version}, entries {report.since_sequence:,} to {report.until_sequence:,}: "
        f"{report.documents_changed:,} of {report.documents:,} documents would stand otherwise; "
        f"{report.newly_refused:,} would be refused that were not, {report.no_longer_refused:,} no more",
        f"{report.entries:,} entries in {report.seconds:.1f} s: {report.entries_per_second:,.0f} entries/s, "
        f"{report.judged:,} documents judged by the rules, {report.skipped:,} skipped"
        + (f"; the whole journal was told: {report.whole}" if report.whole else ""),
    ):
        screen.print(Text(sentence), soft_wrap=True)
