"""A run in a process of its own, which gives way to the tills.

How far it is, it says on stdout, a JSON object a line; the last one says why it failed, if it did. It may be
ended by a signal at any time; started again it goes on from there, or begins anew.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

import duckdb

from tracecode.errors import TracecodeError
from tracecode_server.child import NICENESS, end_with_parent


def execute(run: Callable[[], object]) -> int:
    """Do it, and say why if it fails; the exit status."""
    end_with_parent()
    # Ctrl-C in a terminal is the service's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    try:
        run()
    except (TracecodeError, ValueError, OSError, duckdb.Error) as error:
        _say(error=f"{type(error).__name__}: {error}")
        return 1
    return 0


def say_progress(done: int, total: int, step: str) -> None:
    """How far it is."""
    _say(done=done, total=total, step=step)


def _say(**said: object) -> None:
    print(json.dumps(said), flush=True)
