"""A run in a process of its own, which gives way to the tills.

How far it is, it says on stdout, a JSON object a line; the last one says why it failed, if it did. It may be
ended by a signal at any time; started again it goes on from there, or begins anew.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
from collections.abc import Callable

import duckdb

from tracecode.errors import TracecodeError

# prctl: the system ends this process with its parent.
PR_SET_PDEATHSIG = 1
NICENESS = 10


def execute(run: Callable[[], object]) -> int:
    """Do it, and say why if it fails; the exit status."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Ctrl-C in a terminal is the service's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    if os.getppid() != parent:
        return 1
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
