"""Where the CPU time of a sale goes that Python judges: in tests/, `python -m benchmarks.judged_profile`.

Prints microseconds of CPU a sale of three lines, the best, the best tenth and the median of small commits,
for a busy machine only adds to them; then the functions that were at work, or below on the stack, whenever a
millisecond of CPU had gone. Unlike cProfile it does not make small functions look dear.
"""

from __future__ import annotations

import gc
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from benchmarks.conftest import load
from benchmarks.test_record import open_engine
from benchmarks.workload import Till, Workload, check_silent, group, record

CODES = 100_000
WARM_UP_SALES = 600
SALES_PER_COMMIT = 8
COMMITS = 250


def main() -> None:
    """Measure, then sample."""
    with tempfile.TemporaryDirectory() as folder:
        workload = Workload.of(CODES)
        load(Path(folder, "ledger"), workload)
        engine, till = open_engine(Path(folder, "ledger")), Till(workload)
        for submissions in group(till.sell(WARM_UP_SALES, plain=False), SALES_PER_COMMIT):
            check_silent(record(engine, submissions))
        gc.collect()
        gc.freeze()
        costs = []
        for submissions in group(till.sell(COMMITS * SALES_PER_COMMIT, plain=False), SALES_PER_COMMIT):
            begin = time.process_time()
            answers = record(engine, submissions)
            costs.append((time.process_time() - begin) / SALES_PER_COMMIT * 1e6)
            check_silent(answers)
        costs.sort()
        print(f"best {costs[0]:.0f} µs, tenth {costs[COMMITS // 10]:.0f}, median {costs[COMMITS // 2]:.0f}")

        at_work: Counter[str] = Counter()
        below: Counter[str] = Counter()

        def note(_: int, frame: FrameType | None) -> None:
            names = []
            while frame is not None:
                names.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}")
                frame = frame.f_back
            at_work[names[0]] += 1
            below.update(set(names))

        groups = group(till.sell(COMMITS * SALES_PER_COMMIT, plain=False), SALES_PER_COMMIT)
        signal.signal(signal.SIGPROF, note)
        signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
        for submissions in groups:
            record(engine, submissions)
        signal.setitimer(signal.ITIMER_PROF, 0)
        engine.close()
        for title, found in (("at work", at_work), ("at work or below", below)):
            print(title)
            for name, count in found.most_common(40):
                print(f"{100 * count / at_work.total():6.1f} % {name}")


if __name__ == "__main__":
    main()
