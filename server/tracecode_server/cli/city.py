"""Commands about the simulated city: write one, and measure how well its frauds are found."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tracecode.city.score import Score, read_start
from tracecode.city.score import score as score_city
from tracecode.city.simulate import DAYS_MIN, INSTITUTIONS_MIN, Frauds
from tracecode.city.simulate import simulate as simulate_city
from tracecode.errors import ImportInvalid, TracecodeError
from tracecode.ledger import Ledger
from tracecode.person import KEY_BYTES, PersonKey
from tracecode.rule_base import RuleBase
from tracecode_server.cli.exit_code import ExitCode
from tracecode_server.cli.screen import (
    JsonOption,
    build_table,
    complain,
    open_screen,
    remark,
    show,
    track,
    write_json,
)


class Engine(StrEnum):
    """Where the ledger that is scored keeps its journal."""

    MEMORY = "memory"
    LMDB = "lmdb"


def simulate(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the files; made if missing.")
    ],
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same bytes.")] = 1,
    institutions: Annotated[
        int, typer.Option("--institutions", min=INSTITUTIONS_MIN, help="Pharmacies and clinics.")
    ] = 20,
    days: Annotated[int, typer.Option("--days", min=DAYS_MIN, help="Days from 2026-03-01.")] = 10,
    catalogue: Annotated[
        Path | None,
        typer.Option(
            "--catalogue",
            metavar="CSV",
            help="Drug codes to use: columns med_list_codg, generic_name. Default: made up.",
            show_default=False,
        ),
    ] = None,
    frauds: Annotated[
        Frauds,
        typer.Option(
            "--frauds",
            help="What is wrong: single lines, or what institutions and persons do for weeks (days around "
            "2026-12-31, at least 40 institutions).",
        ),
    ] = Frauds.LINE,
    as_json: JsonOption = False,
) -> None:
    """Write a city of pharmacies: catalogue, documents with retries and delays, and what each fraud is.

    Writes products.csv, institutions.csv, holds.csv, documents.jsonl and labels.jsonl, about 170 lines
    an institution and day.
    """
    with track("days", days) as bar:
        try:
            summary = simulate_city(
                seed,
                institutions,
                days,
                out,
                catalogue,
                bar.show,
                frauds,
            )
        except ValueError as error:
            complain(f"{catalogue}: {error}" if catalogue else str(error))
            raise typer.Exit(ExitCode.BAD_INPUT) from None
    if as_json:
        write_json(
            {
                "directory": str(summary.directory),
                "institutions": summary.institutions,
                "days": summary.days,
                "products": summary.products,
                "documents": summary.documents,
                "lines": summary.lines,
                "frauds": dict(summary.frauds),
                "honest": dict(summary.honest),
            }
        )
        return
    screen = open_screen()
    screen.print(
        Text(
            f"{summary.directory}: {summary.institutions:,} institutions, {summary.days} days, "
            f"{summary.products:,} products, {summary.documents:,} documents, {summary.lines:,} lines"
        ),
        soft_wrap=True,
    )
    table = build_table(("what was done", "labels", "honest"))
    for honest, counts in (("no", summary.frauds), ("yes", summary.honest)):
        for name, count in counts.items():
            table.add_row(name, f"{count:,}", honest)
    screen.print(table)


def score(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A city that `simulate` wrote.")],
    engine: Annotated[
        Engine, typer.Option("--engine", help="Where the journal is kept meanwhile.")
    ] = Engine.MEMORY,
    shuffle: Annotated[
        int | None,
        typer.Option(
            "--shuffle", metavar="SEED", help="Let documents arrive in another order.", show_default=False
        ),
    ] = None,
    rule_base_file: Annotated[
        Path | None,
        typer.Option(
            "--rule-base", metavar="FILE", help="Judge by this rule base 规则库.", show_default=False
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="DIR",
            help="Leave the ledger in this new folder (for `fsck`, `history`).",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Record a city into a fresh ledger and measure recall and precision of what stands in the end."""
    rule_base = RuleBase.load(rule_base_file) if rule_base_file is not None else None
    try:
        if keep is not None and (engine is not Engine.LMDB or keep.exists()):
            raise ValueError("--keep takes --engine lmdb and a folder that does not exist yet")
        with _open_fresh(directory, engine, rule_base, keep) as ledger, track("documents") as bar:
            result = score_city(directory, ledger, shuffle_seed=shuffle, progress=bar.show)
    except ImportInvalid as error:
        complain(f"{directory}: {error}")
        raise typer.Exit(ExitCode.BAD_INPUT) from None
    except TracecodeError:
        raise
    except ValueError as error:
        complain(str(error))
        raise typer.Exit(ExitCode.BAD_INPUT) from None
    if as_json:
        write_json(result.to_json())
    else:
        _print_score(result)


@contextmanager
def _open_fresh(
    city: Path, engine: Engine, rule_base: RuleBase | None, keep: Path | None
) -> Iterator[Ledger]:
    start_ns = read_start(city)
    # The city's persons are made up, and their key is forgotten with the ledger.
    person_key = PersonKey(secrets.token_bytes(KEY_BYTES))
    with tempfile.TemporaryDirectory(prefix="tracecode-score-") as folder:
        ledger = Ledger.open(
            (keep or Path(folder)) if engine is Engine.LMDB else None,
            engine=engine.value,
            person_key=person_key,
            rule_base=rule_base,
            clock_ns=lambda: start_ns,
        )
        try:
            yield ledger
        finally:
            ledger.close()


def _print_score(result: Score) -> None:
    screen = open_screen()
    table = build_table(("finding", "expected", "found", "recall", "alarms", "right", "precision"))
    for name, row in sorted(result.per_finding.items()):
        table.add_row(
            name,
            f"{row.expected:,}",
            f"{row.found:,}",
            _say_share(row.recall),
            f"{row.alarms:,}",
            f"{row.right:,}",
            _say_share(row.precision),
        )
    screen.print(table)
    causes = ", ".join(f"{name} {count:,}" for name, count in result.false_alarm_causes.items())
    for sentence in (
        f"recall {_say_share(result.recall)}, precision {_say_share(result.precision)}",
        f"false alarms {result.false_alarms:,}, "
        f"{result.false_alarms_per_10000_lines:.2f} in 10,000 lines" + (f" ({causes})" if causes else ""),
        f"{result.documents:,} documents, {result.lines:,} lines in {result.seconds:.2f} s: "
        f"{result.lines_per_second:,.0f} lines/s",
        f"verdicts {result.digest}",
    ):
        screen.print(Text(sentence), soft_wrap=True)
    for reason, count in result.rejected.items():
        screen.print(Text(f"not taken: {reason} {count:,}", "yellow"), soft_wrap=True)
    for name, examples in (("missed", result.misses), ("false alarm", result.false_alarm_examples)):
        for example in examples:
            remark(f"{name}: {show(example)}")


def _say_share(share: float | None) -> str:
    return "-" if share is None else f"{share:.4f}"
