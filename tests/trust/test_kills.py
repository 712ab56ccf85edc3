"""kill -9 as any system call of the write path is entered: what was acknowledged is kept, the rest is whole
or absent, and telling all of it again ends in the bytes of a day that nobody disturbed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from pathlib import Path

import pytest

from trust import kills
from trust.conftest import Effort
from trust.kills import KillPoint, Stage
from trust.recording import DAYS, Checked, scratch_folder
from trust.table import NotInjected, Row

EARLY = "answers given before they are durable"
DOCTORED = "one record of the index changed"
DURABLE_CALLS = frozenset(
    {"write", "pwrite64", "writev", "fdatasync", "fsync", "ftruncate", "mkdir", "rename"}
)
"""What changes files or announces; an occurrence of any of them may be the last."""
BIG_DAYS = frozenset({"flush", "replay"})
COMMITTING_DAYS = frozenset({"plain", "judged"})
"""Whose last sync is that of a commit, and not of the index."""
WHOLE_EACH = 25
"""Every so many kills, fsck reads the ledger besides."""
WORKERS = 2
SEED = 20261122


def choose(points: list[KillPoint], most: int) -> list[KillPoint]:
    """At most so many points: of each call its first, then by chance, first those that change files."""
    chance = random.Random(SEED)
    shuffled = sorted(points, key=lambda point: (point.call not in DURABLE_CALLS, chance.random()))
    firsts = {point.call: point for point in sorted(points, key=lambda p: p.occurrence, reverse=True)}
    ordered = sorted(firsts.values(), key=lambda p: p.call not in DURABLE_CALLS)
    ordered += [point for point in shuffled if firsts[point.call] is not point]
    return ordered[:most]


def kill_all(points: list[KillPoint], folder: Path) -> tuple[Counter[str], int, Checked]:
    """Kill at each point; how often each call was the last, how often none was, and what was wrong."""
    with ThreadPoolExecutor(WORKERS) as workers:
        results = list(
            workers.map(
                lambda numbered: kills.kill(
                    numbered[1], folder / str(numbered[0]), whole=numbered[0] % WHOLE_EACH == 0
                ),
                enumerate(points),
            )
        )
    hit = Counter(point.call for point, (died, _) in zip(points, results, strict=True) if died)
    passed = sum(not died for died, _ in results)
    return hit, passed, reduce(add, (checked for _, checked in results), Checked())


@pytest.mark.parametrize("name", DAYS)
def test_a_kill_at_any_system_call_loses_and_doubles_nothing(
    name: str, tmp_path: Path, effort: Effort, add_row: Callable[[Row | NotInjected], None]
) -> None:
    """Creation, plain and judged commits, closing, flush beside commits, replay: until a run passes."""
    fault = f"kill -9, {name}"
    reason = kills.why_no_strace()
    if reason:
        add_row(NotInjected(fault=fault, reason=reason))
        return
    kills.start_fork_server()
    with scratch_folder(tmp_path) as folder:
        stage = Stage.prepare(name, folder)
        found = kills.find_kill_points(stage, folder)
        calls = {point.call for point in found}
        assert calls >= {"pwrite64", "fdatasync"}, "the trace shows what is written"
        is_big = name in BIG_DAYS
        points = choose(found, effort.count(1 if is_big else 10, 90 if is_big else len(found)))
        # Far more than were seen: there the process is to pass untouched.
        beyond = KillPoint(stage, "fdatasync", 1_000)
        hit, passed, checked = kill_all([*points, beyond], folder)

        if name in COMMITTING_DAYS:
            syncs = [point for point in found if point.call == "fdatasync"]
            # In the middle: how many commits the documents of one group share is a matter of chance.
            middle = syncs[len(syncs) // 2]
            control = kills.kill(middle, folder / "control", early=True)[1].lost
        else:
            control = kills.kill(beyond, folder / "control", doctored=True)[1].wrong
    hits = ", ".join(f"{call} {n}" for call, n in sorted(hit.items()))
    add_row(
        Row(
            fault=fault,
            how="strace at the entry of a system call",
            tries=sum(hit.values()),
            lost=checked.lost,
            doubled=checked.doubled,
            wrong=checked.wrong,
            aborts=checked.aborts,
            control=EARLY if name in COMMITTING_DAYS else DOCTORED,
            control_failed=control > 0,
            note="; ".join([hits, *checked.reasons[:3]]),
        )
    )
    assert passed, "a run in which the call does not come passes untouched"
    assert effort.is_short or set(hit) >= calls & DURABLE_CALLS, "each was the last call at least once"
