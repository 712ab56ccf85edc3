"""Commands that import the catalogue: products, institutions, and the lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from tracecode import catalogue
from tracecode.errors import ImportInvalid
from tracecode.v1.catalogue_service_pb2 import ImportResult
from tracecode_server.cli.exit_code import ExitCode
from tracecode_server.cli.screen import (
    JsonOption,
    choose_language,
    complain,
    open_screen,
    to_json,
    track,
    write_json,
)
from tracecode_server.cli.target import ClockOption, DataOption, ServerOption, Target, open_target
from tracecode_server.cli.terms import term

# What one message of the contract takes.
IMPORT_ROWS = 1_000

import_app = typer.Typer(
    name="import",
    help="Import products, institutions, holds or code replacements from a CSV file (UTF-8).",
    no_args_is_help=True,
)
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="CSV, UTF-8, columns named in row 1.")]


@import_app.command()
def products(
    file: FileArgument,
    server: ServerOption = None,
    data: DataOption = None,
    clock: ClockOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import products 药品标识码 (or GTIN) and the drug codes they may be billed as."""
    _import(
        file, server, data, clock, as_json, catalogue.read_products, lambda target: target.import_products
    )


@import_app.command()
def institutions(
    file: FileArgument,
    server: ServerOption = None,
    data: DataOption = None,
    clock: ClockOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import designated institutions 定点医药机构."""
    _import(
        file,
        server,
        data,
        clock,
        as_json,
        catalogue.read_institutions,
        lambda target: target.import_institutions,
    )


@import_app.command()
def holds(
    file: FileArgument,
    server: ServerOption = None,
    data: DataOption = None,
    clock: ClockOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import holds: recalls 召回 and other stops."""
    _import(file, server, data, clock, as_json, catalogue.read_holds, lambda target: target.import_holds)


@import_app.command("code-replacements")
def code_replacements(
    file: FileArgument,
    server: ServerOption = None,
    data: DataOption = None,
    clock: ClockOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import codes that the platform replaced 单码替换."""
    _import(
        file,
        server,
        data,
        clock,
        as_json,
        catalogue.read_code_replacements,
        lambda target: target.import_code_replacements,
    )


def _import(
    file: Path,
    server: str | None,
    data: Path | None,
    clock: str | None,
    as_json: bool,
    read: Callable[[Path], Iterable[Any]],
    choose: Callable[[Target], Callable[[Sequence[Any]], ImportResult]],
) -> None:
    total = ImportResult()
    try:
        # Once through before the first row is sent: a file with a bad row changes nothing.
        rows_total = sum(1 for _ in read(file))
        with open_target(server, data, clock) as target, track("rows", rows_total) as bar:
            write = choose(target)
            done = 0
            source = iter(read(file))
            while rows := list(islice(source, IMPORT_ROWS)):
                result = write(rows)
                total.created += result.created
                total.updated += result.updated
                total.unchanged += result.unchanged
                total.sequence = result.sequence
                done += len(rows)
                bar.show(done)
    except ImportInvalid as error:
        complain(f"{file}: {error}")
        raise typer.Exit(ExitCode.BAD_INPUT) from None
    if as_json:
        write_json(to_json(total))
    else:
        language = choose_language(None)
        sums = ", ".join(
            f"{getattr(total, key):,} {term(key, language)}" for key in ("created", "updated", "unchanged")
        )
        open_screen().print(Text(sums))
