"""Files that rot under a running service, or before it starts: over gRPC the right answer or a status that
says what it is, and what is acknowledged afterwards is kept."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from trust.conftest import Effort
from trust.rot_served import FORGED
from trust.shares import WORKERS, run_shares
from trust.table import NotInjected, Row
from trust.test_rot import small as small

AddRow = Callable[[Row | NotInjected], None]

DAMAGES = {
    "flip": ("bits that flipped, served", "one bit of journal or index", 5),
    "swap": ("pages in each other's place, served", "two pages swapped, or one over another", 2),
    "meta": ("stale meta pages, served", "an older copy, zeros, or the other one", 1),
    "blank": ("sectors of zeros or noise, served", "512 or 4,096 bytes", 1),
    "truncate": ("a file cut short, served", "at a page's end or anywhere", 1),
}


def run_tries(small: Path, tmp_path: Path, kinds: dict[str, int]) -> dict[str, Counter[str]]:
    """Let the program do its tries, in two processes: so many of each kind."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as scratch:
        shares = [
            [str(small), str(Path(scratch) / str(n)), json.dumps(kinds), str(n), str(WORKERS)]
            for n in range(WORKERS)
        ]
        ends = run_shares("trust.rot_served", shares)
    sums: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    for name, count in ends.items():
        kind, _, end = name.partition(" ")
        sums[kind][end] += count
    return sums


@pytest.mark.timeout(900)
def test_rot_under_a_service_is_named_and_never_answered(
    small: Path, tmp_path: Path, effort: Effort, add_row: AddRow
) -> None:
    """Pins that a service whose files change under it, or did before it started, answers what it would have
    answered or names the damage, ends by no signal, and keeps what it acknowledges; its control changes a
    record together with its checksum."""
    tries = {kind: effort.count(1, 24 * share) for kind, (_, _, share) in DAMAGES.items()}
    ends = run_tries(small, tmp_path, {**tries, FORGED: effort.count(1, 4)})
    control = ends.pop(FORGED)

    for kind, (fault, how, _) in DAMAGES.items():
        add_row(
            Row(
                fault=fault,
                how=f"{how}; 3 of 4 under the running service",
                tries=ends[kind]["tries"],
                lost=ends[kind]["lost"],
                wrong=ends[kind]["wrong"],
                aborts=ends[kind]["aborts"],
                control="a record changed with its checksum",
                control_failed=control["wrong"] == control["tries"] > 0,
                note=json.dumps(ends[kind]),
            )
        )
    assert sum(end["named"] for end in ends.values())
