"""Commands that check: a data folder, this machine, this installation."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tracecode.engine.records import FORMAT
from tracecode.fsck import check as check_directory
from tracecode.fsck import repair as repair_directory
from tracecode.rule_base import RuleBase
from tracecode.views.projector import rebuild
from tracecode_server.cli.exit_code import ExitCode
from tracecode_server.cli.screen import JsonOption, build_table, open_screen, show, track, write_json
from tracecode_server.cli.target import SERVER_DEFAULT
from tracecode_server.doctor import Level, examine

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def fsck(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Data folder; no service may have it open.")
    ],
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Rebuild what the journal's entries can bring back; damaged files are kept aside.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Derive everything again from the journal and compare it with what is stored. Lists the entries of the
    journal that cannot be read. Changes nothing without --repair.

    Exit 1: something was wrong and is repaired. Exit 4: something is not as it was written.
    """
    with track("entries") as bar:
        report = (repair_directory if repair else check_directory)(directory, bar.show)
    if as_json:
        write_json(
            {
                "ok": report.ok,
                "entries": report.entries,
                "records": report.records,
                "wrong": report.wrong,
                "lines": list(report.lines),
                "damaged": [list(entries) for entries in report.damaged],
                "aside": "" if report.aside is None else str(report.aside),
            }
        )
    else:
        screen = open_screen()
        for line in report.lines:
            screen.print(Text(show(line, 2_000)), soft_wrap=True)
        sums = f"{report.entries:,} entries, {report.records:,} records"
        verdict = (
            Text(f"ok: {sums}", "green") if report.ok else Text(f"{report.wrong:,} wrong of {sums}", "red")
        )
        screen.print(verdict)
        if report.aside is not None:
            screen.print(Text(f"repaired; the damaged files are in {show(str(report.aside))}", "yellow"))
    if report.aside is not None:
        raise typer.Exit(ExitCode.FINDINGS)
    if not report.ok:
        raise typer.Exit(ExitCode.DATA_LOSS)


def rebuild_views(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Data folder; a service that keeps its views must be stopped."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Throw the views of a ledger away and build them again from its journal, Parquet files included.

    Exit 4: the journal is not as it was written.
    """
    with track("entries") as bar:
        sequence = rebuild(directory, bar.show)
    if as_json:
        write_json({"sequence": sequence})
    else:
        open_screen().print(Text(f"ok: views up to entry {sequence:,}", "green"))


def doctor(
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Folder (or its parent) where the ledger will live.")
    ] = Path(),
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Address the service will use.")
    ] = SERVER_DEFAULT,
    proof_key_file: Annotated[
        Path | None,
        typer.Option(
            "--proof-key-file",
            envvar="TRACECODE_PROOF_KEY_FILE",
            metavar="FILE",
            help="Key by which the log is signed, if one is kept.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Examine this machine: Python, native code, LMDB, disk, clock, address. Each fault with its remedy.

    Exit 1: the service would not run, or not safely.
    """
    checks = examine(data, listen, proof_key_file)
    if as_json:
        for check in checks:
            write_json(
                {"check": check.name, "level": check.level.value, "seen": check.seen, "remedy": check.remedy}
            )
    else:
        table = build_table(("check", "", "seen", "what to do"))
        for check in checks:
            table.add_row(
                check.name,
                Text(check.level.value, _STYLES[check.level]),
                show(check.seen),
                show(check.remedy),
            )
        open_screen().print(table)
    if any(check.level is Level.FAIL for check in checks):
        raise typer.Exit(ExitCode.FINDINGS)


def version(as_json: JsonOption = False) -> None:
    """Print the versions of the program, its format, its rule base and what it stands on."""
    versions = {
        "tracecode": metadata.version("tracecode"),
        "format": str(FORMAT),
        "rule_base": RuleBase.default().version,
        "python": platform.python_version(),
        "grpcio": metadata.version("grpcio"),
        "protobuf": metadata.version("protobuf"),
        "lmdb": metadata.version("lmdb"),
        "platform": platform.platform(),
    }
    if as_json:
        write_json(versions)
        return
    for name, value in versions.items():
        typer.echo(f"{name} {value}")
