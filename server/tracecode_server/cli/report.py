"""The command of reports 月报、季报: of a data folder, into files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tracecode.reports import FORMATS, Period, export_report, make_report
from tracecode.reports.report import MEMORY_LIMIT
from tracecode.spill import SPILL_BYTES_MAX
from tracecode_server.cli.exit_code import ExitCode
from tracecode_server.cli.screen import (
    JsonOption,
    LanguageOption,
    SpillOption,
    build_table,
    choose_language,
    complain,
    open_screen,
    show,
    track,
    write_json,
)


def report(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Data folder; it is only read, and a service may have it open."),
    ],
    month: Annotated[
        str, typer.Option("--month", metavar="YYYY-MM", help="The month, such as 2026-03.")
    ] = "",
    quarter: Annotated[
        str, typer.Option("--quarter", metavar="YYYYQn", help="Or the quarter, such as 2026Q1.")
    ] = "",
    division: Annotated[
        str, typer.Option("--division", metavar="DIGITS", help="Beginning of a division code, such as 3702.")
    ] = "",
    formats: Annotated[
        str, typer.Option("--format", "-f", metavar="NAMES", help=f"Of {', '.join(FORMATS)}; or all.")
    ] = "all",
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the files go.")] = Path("."),
    as_of: Annotated[
        int,
        typer.Option(
            "--as-of", metavar="ENTRY", min=0, help="Count up to this entry of the journal; 0 = the last one."
        ),
    ] = 0,
    memory: Annotated[
        str,
        typer.Option("--memory", metavar="SIZE", help="What it may hold in memory; the rest goes to disk."),
    ] = MEMORY_LIMIT,
    spill_bytes_max: SpillOption = SPILL_BYTES_MAX,
    language: LanguageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report a month or a quarter: coverage, findings, cases, money, timeliness, false alarms, rankings."""
    chosen = choose_language(language)
    try:
        if bool(month) == bool(quarter):
            raise ValueError("say either --month 2026-03 or --quarter 2026Q1")
        if (len(month) > 0) == ("Q" in month + quarter):
            raise ValueError("--month takes 2026-03, --quarter takes 2026Q1")
        period = Period.parse(month or quarter)
        names = FORMATS if formats == "all" else [name.strip() for name in formats.split(",")]
        with (
            track("report"),
            make_report(
                directory,
                period,
                division=division,
                as_of=as_of,
                memory_limit=memory,
                spill_bytes_max=spill_bytes_max,
            ) as made,
        ):
            files = export_report(made, out, names, language=chosen.value)
            figures = made.figures
            last = made.as_of
    except (ValueError, FileNotFoundError) as error:
        complain(str(error))
        raise typer.Exit(ExitCode.BAD_INPUT) from None
    if as_json:
        write_json(
            {
                "as_of": last,
                "files": [str(path) for path in files],
                "figures": {
                    each.figure.name: None if each.value is None else float(each.value) for each in figures
                },
            }
        )
        return
    console = open_screen()
    table = build_table(("figure", "value", "unit"))
    for each in figures:
        title = each.figure.title_zh if chosen.value == "zh" else each.figure.title_en
        table.add_row(title, "-" if each.value is None else f"{each.value:,}", each.figure.unit.value)
    console.print(table)
    told = f"{len(files)} files in {show(str(out))}, counted up to entry {last:,}"
    console.print(Text(told), soft_wrap=True)
