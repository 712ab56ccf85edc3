"""Commands that run: the service, and the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tracecode_server.cli.exit_code import ExitCode
from tracecode_server.cli.target import SERVER_DEFAULT
from tracecode_server.demo import play_demo
from tracecode_server.server import serve as serve_until_told
from tracecode_server.settings import Settings


def serve(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="Folder of the ledger; made if missing.", show_default=False
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help=f"Address; loopback only, port 0 = any free. Default: {SERVER_DEFAULT}.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option("--engine", help="lmdb, or memory to forget all at the end.", show_default=False),
    ] = None,
    edges: Annotated[
        int | None,
        typer.Option(
            "--edges",
            metavar="N",
            help="Processes that speak gRPC on the one port, 1 to 16; more than 1 stand in front of the "
            "ledger's. Default: 1, all in one process.",
            show_default=False,
        ),
    ] = None,
    metrics_listen: Annotated[
        str | None,
        typer.Option(
            "--metrics-listen", metavar="HOST:PORT", help="Prometheus metrics over HTTP.", show_default=False
        ),
    ] = None,
    person_key_file: Annotated[
        Path | None,
        typer.Option(
            "--person-key-file",
            metavar="FILE",
            help="Key by which person tokens are hashed; outside the data folder.",
            show_default=False,
        ),
    ] = None,
    rule_base_file: Annotated[
        Path | None,
        typer.Option(
            "--rule-base", metavar="FILE", help="Rule base 规则库 to put in force.", show_default=False
        ),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option("--log-level", help="debug, info, warning or error.", show_default=False)
    ] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C. The log goes to stderr, one JSON object a line.

    What is not given here is taken from the environment: TRACECODE_DATA_DIRECTORY, TRACECODE_LISTEN, and
    so on for every option of the service.
    """
    given: dict[str, Any] = {
        "data_directory": data,
        "listen": listen,
        "engine": engine,
        "edges": edges,
        "metrics_listen": metrics_listen,
        "person_key_file": person_key_file,
        "rule_base_file": rule_base_file,
        "log_level": log_level,
    }
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    if serve_until_told(settings) != 0:
        raise typer.Exit(ExitCode.STOPPED)


def demo(
    stop: Annotated[
        bool, typer.Option("--exit", help="End after the scenes instead of serving on until Ctrl-C.")
    ] = False,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Address of the demo's service.")
    ] = SERVER_DEFAULT,
) -> None:
    """Start a service on a passing folder, play a short day at three pharmacies, and serve on.

    Exit 1: a scene did not show what it promises.
    """
    if not play_demo(listen, stop=stop):
        raise typer.Exit(ExitCode.FINDINGS)
