"""Commands of screening 筛查: screen a ledger's lines, and measure the models on a simulated city."""

from __future__ import annotations

import tempfile
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tracecode.city.screening_score import ScreeningScore, score_screening
from tracecode.screening import RunSummary, run_screening
from tracecode.screening.base import Relations
from tracecode.screening.run import MEMORY_LIMIT
from tracecode.screening.snapshot import drop_snapshot, take_snapshot
from tracecode.screening.thresholds import Thresholds
from tracecode.spill import SPILL_BYTES_MAX
from tracecode_server.cli.exit_code import ExitCode
from tracecode_server.cli.screen import (
    JsonOption,
    Language,
    SpillOption,
    build_table,
    choose_language,
    complain,
    open_screen,
    remark,
    show,
    track,
    write_json,
)

ThresholdsOption = Annotated[
    Path | None,
    typer.Option(
        "--thresholds",
        metavar="FILE",
        help="Numbers to compare with; default: those that come with tracecode.",
        show_default=False,
    ),
]
MemoryOption = Annotated[
    str, typer.Option("--memory", metavar="SIZE", help="What it may hold in memory; the rest goes to disk.")
]
LEADS_SHOWN = 40


def screen(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A ledger's directory, or the relations themselves.")
    ],
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First business day.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last business day.")],
    division: Annotated[
        str, typer.Option("--division", metavar="DIGITS", help="Beginning of a division code, such as 4404.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Where leads and scores go; the same folder resumes. "
            "Default: DIR/screening/command-<period>.",
            show_default=False,
        ),
    ] = None,
    thresholds: ThresholdsOption = None,
    care_homes: Annotated[
        Path | None,
        typer.Option(
            "--care-homes",
            metavar="CSV",
            help="Registered homes: columns name, person_token (hashed).",
            show_default=False,
        ),
    ] = None,
    memory: MemoryOption = MEMORY_LIMIT,
    spill_bytes_max: SpillOption = SPILL_BYTES_MAX,
    language: Annotated[
        Language | None, typer.Option("--language", help="Of the reasons.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare institutions and persons with their peers; the results are leads 线索, never penalties."""
    # A name that no run of the service has: theirs are a period, maybe a division, and a number.
    name = f"command-{first:%Y%m%d}-{last:%Y%m%d}" + (f"-{division}" if division else "")
    try:
        limits = Thresholds.load(thresholds) if thresholds is not None else Thresholds.default()
        into = out or directory / "screening" / name
        if (directory / "views").is_dir():
            relations = take_snapshot(
                directory,
                into,
                first.date(),
                last.date(),
                lookback_days=limits.lookback_days,
                division=division,
                care_homes=care_homes,
            )
        else:
            relations = Relations.under(directory, care_homes)
        with track("screening") as bar:
            summary = run_screening(
                relations,
                into,
                first.date(),
                last.date(),
                division=division,
                thresholds=limits,
                memory_limit=memory,
                spill_bytes_max=spill_bytes_max,
                progress=lambda done, total, _: bar.show(done, total),
            )
    except (ValueError, FileNotFoundError) as error:
        complain(str(error))
        raise typer.Exit(ExitCode.BAD_INPUT) from None
    drop_snapshot(into)
    if as_json:
        write_json(
            {
                "directory": str(summary.directory),
                "leads": len(summary.leads),
                "by_model": dict(Counter(lead.model for lead in summary.leads)),
                "grades": dict(Counter(score.grade for score in summary.scores)),
                "resumed": list(summary.resumed),
                "seconds": dict(summary.seconds),
            }
        )
    else:
        _print_summary(summary, choose_language(language))
    if summary.leads:
        raise typer.Exit(ExitCode.FINDINGS)


def _print_summary(summary: RunSummary, language: Language) -> None:
    console = open_screen()
    chinese = language is Language.ZH
    table = build_table(("who", "grade", "risk", "credit", "factor", "leads"))
    for score in [score for score in summary.scores if score.risk > 0][:LEADS_SHOWN]:
        table.add_row(
            show(score.subject),
            score.grade,
            f"{score.risk:.1f}",
            f"{score.credit:.1f}",
            f"{score.inspection_factor:g}",
            ", ".join(point.source for point in score.risk_points),
        )
    console.print(table)
    for lead in sorted(summary.leads, key=lambda each: (each.level, each.rank))[:LEADS_SHOWN]:
        why = lead.why_zh if chinese else lead.why_en
        console.print(Text(f"{lead.level} {lead.model} {show(lead.subject)}: {why}"), soft_wrap=True)
    resumed = f", {len(summary.resumed)} models resumed" if summary.resumed else ""
    console.print(Text(f"{len(summary.leads):,} leads in {summary.directory}{resumed}"), soft_wrap=True)


def screen_score(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A city of `simulate --frauds institution`.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Keep relations, leads and scores here.", show_default=False
        ),
    ] = None,
    judged: Annotated[
        bool, typer.Option("--judged", help="Record into a ledger first; takes ten times as long.")
    ] = False,
    thresholds: ThresholdsOption = None,
    memory: MemoryOption = MEMORY_LIMIT,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as docs/ has it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure precision and recall of every model, and how honest look-alikes are graded."""
    try:
        limits = Thresholds.load(thresholds) if thresholds is not None else None
        with tempfile.TemporaryDirectory(prefix="tracecode-screen-") as folder, track("screening") as bar:
            if out is not None:
                out.mkdir(parents=True, exist_ok=True)
            result = score_screening(
                directory,
                out or Path(folder),
                judged=judged,
                thresholds=limits,
                memory_limit=memory,
                progress=lambda done, total, _: bar.show(done, total),
            )
    except (ValueError, FileNotFoundError) as error:
        complain(str(error))
        raise typer.Exit(ExitCode.BAD_INPUT) from None
    if as_json:
        write_json(result.to_json())
    elif markdown:
        typer.echo(result.to_markdown())
    else:
        _print_score(result)


def _print_score(result: ScreeningScore) -> None:
    console = open_screen()
    table = build_table(
        ("model", "labelled", "found", "recall", "leads", "right", "precision", "lowest place")
    )
    for row in result.models:
        table.add_row(
            row.model,
            f"{row.labelled}",
            f"{row.found}",
            _say(row.recall),
            f"{row.leads}",
            f"{row.right}",
            _say(row.precision),
            f"{row.worst_place}",
        )
    console.print(table)
    honest = ", ".join(
        f"{name} {''.join(f'{grade}{count} ' for grade, count in grades.items()).strip()}"
        for name, grades in result.honest.items()
    )
    for sentence in (
        f"recall {_say(result.recall)}, precision {_say(result.precision)}",
        f"honest look-alikes at worst {result.honest_worst}: {honest}",
    ):
        console.print(Text(sentence), soft_wrap=True)
    for name, examples in (("missed", result.misses), ("false lead", result.false_leads)):
        for example in examples[:LEADS_SHOWN]:
            remark(f"{name}: {show(example)}")


def _say(share: float | None) -> str:
    return "-" if share is None else f"{share:.3f}"
