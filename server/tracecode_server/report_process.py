"""A report in a process of its own (run_process.py); one that is started again is made from the beginning.

Arguments: the data folder, the name of the report, what it may hold in memory and, in bytes, on disk.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tracecode.reports.runs import execute_run
from tracecode_server.run_process import execute, say_progress


def main() -> int:
    """Make it, and say so; returns the exit status."""
    directory, name, memory, spill = sys.argv[1:]
    return execute(
        lambda: execute_run(
            Path(directory), name, memory_limit=memory, spill_bytes_max=int(spill), progress=say_progress
        )
    )


if __name__ == "__main__":
    sys.exit(main())
