"""A process that records sales until its overlay has been full, and says what memory that took.

Arguments: the ledger's folder, how many codes it has, sales at most. Prints JSON: the overlay's bytes, the
resident bytes of the process itself and of mapped files, each at its highest, and its own before it sold.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from benchmarks.load.memory import memory_bytes
from benchmarks.workload import Workload, check_silent, group, record
from tracecode.engine.lmdb import LmdbEngine

SALES_PER_STEP = 20_000


def main(folder: Path, codes: int, sales: int) -> None:
    """Record, looking at the memory after every step."""
    now = int(time.time())
    engine = LmdbEngine(folder, None, now * 10**9)
    overlay = resident = mapped = 0
    before = memory_bytes(os.getpid(), "RssAnon")
    for first in range(0, sales - SALES_PER_STEP + 1, SALES_PER_STEP):
        for submissions in group(Workload(codes, 0).sales(first, SALES_PER_STEP, now), 2_000):
            check_silent(record(engine, submissions)[:1])
            memory = engine.native.memory()
            overlay = max(overlay, memory["overlay_bytes"] + memory["frozen_bytes"])
            resident = max(resident, memory_bytes(os.getpid(), "RssAnon"))
            mapped = max(mapped, memory_bytes(os.getpid(), "RssFile"))
    engine.close()
    told = {
        "overlay_bytes": overlay,
        "rss_bytes": resident,
        "mapped_bytes": mapped,
        "rss_before_bytes": before,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
