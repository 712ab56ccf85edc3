"""A screening in a process of its own (run_process.py); one that is started again goes on where it stopped.

Arguments: the data folder and the name of the screening; then, where there are such, --care-homes FILE,
--thresholds FILE, --memory SIZE, --spill-bytes-max BYTES.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tracecode.screening.run import MEMORY_LIMIT
from tracecode.screening.runs import execute_run
from tracecode.screening.thresholds import Thresholds
from tracecode.spill import SPILL_BYTES_MAX
from tracecode_server.run_process import execute, say_progress


def main() -> int:
    """Screen, and say so; returns the exit status."""
    options = argparse.ArgumentParser()
    options.add_argument("directory", type=Path)
    options.add_argument("name")
    options.add_argument("--care-homes", type=Path)
    options.add_argument("--thresholds", type=Path)
    options.add_argument("--memory", default=MEMORY_LIMIT)
    options.add_argument("--spill-bytes-max", type=int, default=SPILL_BYTES_MAX)
    asked = options.parse_args()
    return execute(
        lambda: execute_run(
            asked.directory,
            asked.name,
            thresholds=Thresholds.load(asked.thresholds) if asked.thresholds is not None else None,
            care_homes=asked.care_homes,
            memory_limit=asked.memory,
            spill_bytes_max=asked.spill_bytes_max,
            progress=say_progress,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
