"""Judged, durable sale lines a second, in process, beside what the peers claim; all of them take turns.

The files of each, ours and the peers', are read into memory before its turn, and it then works for about a
second that does not count: a machine that takes idle memory back would else have us all measure the disk.

What our flush and their checkpoints leave to be written is written between the turns, except where a store
does it by itself; `test_sustained` counts all of it.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.conftest import Loads, Plan
from benchmarks.page_cache import read_files
from benchmarks.peers import Peer
from benchmarks.peers.postgresql import PostgreSQL
from benchmarks.peers.py_lmdb import PyLmdb
from benchmarks.peers.redis import Redis
from benchmarks.peers.sqlite import SQLite
from benchmarks.peers.tigerbeetle import TigerBeetle
from benchmarks.results import Results
from benchmarks.workload import LINES_PER_SALE, Till, check_silent, group, record
from tracecode.engine.contract import Engine
from tracecode.engine.lmdb import OVERLAY_BYTES_MAX, LmdbEngine
from tracecode.v1 import journal_pb2

GROUPS = (667, 2_000)
"""Sales in one commit: about 2,000 lines, and 6,000."""
UNCLEARED_SALES = 30
"""So many tell how many of them fill a turn."""

WARM_UP_SALES = 20_000
UNCLEARED_LEFT = 20_000
"""Sales that the rules are given, all in all, at most."""


def open_engine(folder: Path, overlay_bytes_max: int = OVERLAY_BYTES_MAX) -> LmdbEngine:
    """The engine on a loaded folder."""
    return LmdbEngine(folder, None, time.time_ns(), overlay_bytes_max=overlay_bytes_max)


def sell(
    engine: Engine, documents: Sequence[bytes], size: int, *, files: Path | None = None, warm_up: int = 0
) -> float:
    """Lines a second at which the sales become durable; every one of them was in order. The first `warm_up`
    of them do not count; before them the folder `files` is read into the page cache."""
    warm_up_groups, groups = group(documents[:warm_up], size), group(documents[warm_up:], size)
    answers = []
    gc.collect()
    gc.freeze()
    if files is not None:
        read_files(files)
    for submissions in warm_up_groups:
        answers.append(record(engine, submissions))
    begin = time.perf_counter()
    for submissions in groups:
        answers.append(record(engine, submissions))
    seconds = time.perf_counter() - begin
    gc.unfreeze()
    for some in answers:
        check_silent(some)
    return LINES_PER_SALE * (len(documents) - warm_up) / seconds


def share_cleared(engine: Engine, after: int) -> float:
    """The share of the entries behind `after` that native code cleared; of many, a sample of 10,000."""
    entries = engine.sequence - after
    step = max(1, entries // 500)
    found = [
        journal_pb2.JournalEntry.FromString(entry).document.cleared
        for at in range(after, engine.sequence, step)
        for entry in engine.entries(at, min(20, step))
    ]
    return sum(found) / len(found)


def plan_turn(plan: Plan, lines_per_second: float, left: int) -> tuple[int, int]:
    """Sales that warm up, and sales that count, in each of our turns: alike in all of them, and shorter than
    a peer's where there are not codes enough."""
    rate = lines_per_second / LINES_PER_SALE
    share = min(1.0, left / plan.rounds / (rate * (plan.warm_up_seconds + plan.seconds)))
    return int(share * rate * plan.warm_up_seconds), int(share * rate * plan.seconds)


def start_peers(plan: Plan, folder: Path) -> list[Peer]:
    """All peers that this machine has, loaded with as many codes."""
    makers: list[Callable[[], Peer]] = [
        lambda: SQLite(folder / "sqlite", plan.codes),
        lambda: PyLmdb(folder / "py_lmdb", plan.codes),
        lambda: Redis(folder / "redis", plan.codes, plan.tuning_seconds, plan.warm_up_seconds),
        lambda: PostgreSQL(folder / "postgresql", plan.codes, plan.tuning_seconds, plan.warm_up_seconds),
    ]
    binary = os.environ.get("TIGERBEETLE")
    if binary:
        makers.append(lambda: TigerBeetle(binary, folder / "tigerbeetle", plan.codes))
    peers: list[Peer] = []
    try:
        for make in makers:
            peers.append(make())
    except BaseException:
        for peer in peers:
            peer.stop()
        raise
    return peers


def test_record_beside_the_peers(plan: Plan, results: Results, loads: Loads, passing: Path) -> None:
    """Every sale is cleared and silent, and every claim stands; the medians make the ratios."""
    folder, workload = loads.copy(plan.codes)
    engine, till = open_engine(folder), Till(workload)
    begin = engine.sequence
    peers = start_peers(plan, passing / "peers")
    try:
        # Each group's size gets as much as the other; what it sold tells how many sales fill a turn.
        rates = {
            size: sell(engine, till.sell(2 * WARM_UP_SALES), size, files=folder, warm_up=WARM_UP_SALES)
            for size in GROUPS
        }
        best = max(rates, key=rates.__getitem__)
        warm_up, sales = plan_turn(plan, rates[best], till.left - UNCLEARED_LEFT)
        engine.native.flush()
        found: dict[str, list[float]] = {peer.name: [] for peer in peers}
        ours = []
        for _ in range(plan.rounds):
            ours.append(sell(engine, till.sell(warm_up + sales), best, files=folder, warm_up=warm_up))
            engine.native.flush()
            for peer in peers:
                claims = peer.claim(plan.seconds, plan.warm_up_seconds)
                found[peer.name].append(claims.per_second)
        cleared = share_cleared(engine, begin)
        begin = engine.sequence
        # The judge reads the journal, too; it lies in the same folder.
        judged = sell(
            engine,
            till.sell(2 * UNCLEARED_SALES, plain=False),
            UNCLEARED_SALES,
            files=folder,
            warm_up=UNCLEARED_SALES,
        )
        sales = min(max(GROUPS), max(UNCLEARED_SALES, int(judged * plan.seconds / LINES_PER_SALE)))
        warm_up = max(1, int(sales * plan.warm_up_seconds / plan.seconds))
        uncleared = [
            sell(engine, till.sell(warm_up + sales, plain=False), sales, files=folder, warm_up=warm_up)
            for _ in range(plan.rounds)
        ]
        assert share_cleared(engine, begin) == 0
    finally:
        for peer in peers:
            peer.stop()
        engine.close()
        loads.drop(folder)

    assert cleared == 1
    scale = plan.scale
    results.add_figure(f"record_lines_per_second_{scale}", median(ours))
    results.add_figure(f"record_sales_per_commit_{scale}", best)
    results.add_figure(f"record_uncleared_lines_per_second_{scale}", median(uncleared))
    for peer in peers:
        claimed = median(found[peer.name])
        results.add_figure(f"{peer.name}_claims_per_second_{scale}", claimed)
        results.add_figure(f"{peer.name}_how", peer.how)
        results.add_ratio(f"record_vs_{peer.name}_{scale}", median(ours), claimed)
    results.add_ratio(
        f"record_uncleared_vs_postgresql_{scale}", median(uncleared), median(found["postgresql"])
    )


def test_sustained(plan: Plan, results: Results, loads: Loads) -> None:
    """For a minute, or until all codes are sold, with the flush running; pins that it did run. Where fewer
    codes would not fill it, the overlay is smaller, too."""
    folder, workload = loads.copy(plan.codes)
    engine = open_engine(folder, 64 << 20 if plan.quick else OVERLAY_BYTES_MAX)
    till = Till(workload)
    groups = group(till.sell(till.left), max(GROUPS))
    applied = engine.native.applied_sequence
    burst_seconds, marks, answers = min(2.0, plan.sustained_seconds / 20), [], []
    gc.collect()
    gc.freeze()
    read_files(folder)
    rest, begin = iter(groups), time.perf_counter()
    while time.perf_counter() - begin < plan.warm_up_seconds:
        answers.append(record(engine, next(rest)))
    begin, lines = time.perf_counter(), 0
    for submissions in rest:
        answers.append(record(engine, submissions))
        lines += LINES_PER_SALE * len(submissions.documents)
        marks.append((time.perf_counter() - begin, lines))
        if marks[-1][0] > plan.sustained_seconds:
            break
    gc.unfreeze()
    flushed = engine.native.applied_sequence - applied
    for some in answers:
        check_silent(some)
    engine.close()
    loads.drop(folder)

    assert flushed > 0
    burst = next((at, sold) for at, sold in marks if at >= burst_seconds or at == marks[-1][0])
    seconds, lines = marks[-1]
    longest = max(after[0] - before[0] for before, after in pairwise(marks))
    results.add_figure(f"record_burst_lines_per_second_{plan.scale}", burst[1] / burst[0])
    results.add_figure(f"record_sustained_lines_per_second_{plan.scale}", lines / seconds)
    results.add_figure(f"record_sustained_seconds_{plan.scale}", seconds)
    results.add_figure(f"record_longest_commit_ms_{plan.scale}", longest * 1e3)
    results.add_ratio(plan.key("record_sustained_vs_burst"), lines / seconds, burst[1] / burst[0])
