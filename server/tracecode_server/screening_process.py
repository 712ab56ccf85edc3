"""A screening in a process of its own, which gives way to the tills.

Arguments: the data folder and the name of the screening; then, where there are such, --care-homes FILE,
--thresholds FILE, --memory SIZE. How far it is, it says on stdout, a JSON object a line; the last one says
why it failed, if it did. It may be ended by a signal at any time, and goes on from there when started again.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
from pathlib import Path

import duckdb

from tracecode.errors import TracecodeError
from tracecode.screening.run import MEMORY_LIMIT
from tracecode.screening.runs import execute_run
from tracecode.screening.thresholds import Thresholds

# prctl: the system ends this process with its parent.
PR_SET_PDEATHSIG = 1
NICENESS = 10


def main() -> int:
    """Screen, and say so; returns the exit status."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Ctrl-C in a terminal is the service's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    if os.getppid() != parent:
        return 1
    options = argparse.ArgumentParser()
    options.add_argument("directory", type=Path)
    options.add_argument("name")
    options.add_argument("--care-homes", type=Path)
    options.add_argument("--thresholds", type=Path)
    options.add_argument("--memory", default=MEMORY_LIMIT)
    asked = options.parse_args()
    try:
        execute_run(
            asked.directory,
            asked.name,
            thresholds=Thresholds.load(asked.thresholds) if asked.thresholds is not None else None,
            care_homes=asked.care_homes,
            memory_limit=asked.memory,
            progress=lambda done, total, step: _say(done=done, total=total, step=step),
        )
    except (TracecodeError, ValueError, OSError, duckdb.Error) as error:
        _say(error=f"{type(error).__name__}: {error}")
        return 1
    return 0


def _say(**said: object) -> None:
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    sys.exit(main())
