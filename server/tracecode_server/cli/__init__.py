"""The command `tracecode`: serve, record, ask, keep, simulate, check.

app.py lists the commands; one file holds a group of them: serve.py, record.py, catalogue.py, rule_base.py,
case.py, inspection.py, screening.py, report.py, read.py, backup.py, proof.py, city.py, check.py. What they
share: target.py (where the ledger is), screen.py, terms.py and findings.py (what a person sees), exit_code.py
(how it ends).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from pathlib import Path

from tracecode_server.cli.exit_code import ExitCode
from tracecode_server.cli.screen import complain
from tracecode_server.doctor import Level, examine

__all__ = ["main"]


def main() -> None:
    """The console script `tracecode`."""
    # A scan or a name may hold what the terminal's encoding lacks, and stdin may be any bytes.
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        with contextlib.suppress(AttributeError, io.UnsupportedOperation):
            stream.reconfigure(errors=errors)  # type: ignore[union-attr]
    try:
        # Not at the top of the file: without the native code nothing below can be imported, and then
        # this is the place to say so.
        app = importlib.import_module("tracecode_server.cli.app").app
    except ImportError as error:
        complain(f"this installation is not complete: {error}")
        for check in examine(Path(), ""):
            if check.level is Level.FAIL and check.name != "address":
                complain(f"{check.name}: {check.seen}; {check.remedy}")
        sys.exit(ExitCode.STOPPED)
    app()
