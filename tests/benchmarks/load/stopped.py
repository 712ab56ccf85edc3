"""A process that records sales and is then gone, as by a kill: what it recorded must be applied again.

Arguments: the ledger's folder, how many codes it has, how many sales. Nothing is written back to the index.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.workload import Workload, check_silent, group, record
from tracecode.engine.lmdb import LmdbEngine


def main(folder: Path, codes: int, sales: int) -> None:
    """Record and die."""
    now = int(time.time())
    engine = LmdbEngine(folder, None, now * 10**9)
    for first in range(0, sales, 100_000):
        some = Workload(codes, 0).sales(first, min(100_000, sales - first), now)
        for submissions in group(some, 2_000):
            check_silent(record(engine, submissions)[:1])
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
