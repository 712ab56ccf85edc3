"""A program whose children integrate and publish, each killed before one of its lines; what they then leave.

Arguments: a folder, a seed, how many tries, and `sound` or `forgetful`: then the journal is lost with
each kill and another written, and the integrator's memory of what it signed is taken away. Prints JSON: how
many were killed, and a sentence for each checkpoint that should not be.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

from logged import make_entries, make_key, open_integrator

import tracecode.proof.integrator
from tracecode._native import Store
from tracecode.proof import checkpoint as checkpoints
from tracecode.proof.audit import open_journal
from tracecode.proof.tree import Tree, hash_leaf

MAP_SIZE_BYTES = 64 * 2**20
ENTRIES_PER_TRY_MAX = 40
LINES_MAX = 900
SIZE_MAX = 3_000


def run(folder: Path, seed: int, tries: int, sound: bool) -> tuple[int, list[str]]:
    """How many children were killed, and what was wrong."""
    rng = random.Random(seed)
    killed, wrong, signed = 0, [], dict[int, bytes]()
    generation, values = 0, make_entries(SIZE_MAX)
    key = make_key(folder).public
    size = 0
    tree = Tree()
    for _ in range(tries):
        more = rng.randint(0, ENTRIES_PER_TRY_MAX)
        if size + more > SIZE_MAX:
            break
        with closing(
            Store(str(folder / "ledger"), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=2**22, sync=False)
        ) as store:
            store.extend_journal(values[size : size + more])
        for value in values[size : size + more]:
            tree.append(hash_leaf(value))
        size += more
        killed += die_at_line(folder, rng.randint(1, LINES_MAX))
        for path in (folder / "key.last", folder / "log" / "checkpoint"):
            if not path.exists():
                continue
            found = checkpoints.verify(path.read_bytes(), [key]).checkpoint
            before = signed.setdefault(found.size, found.root)
            if before != found.root:
                wrong.append(f"{path.name}: two checkpoints of {found.size} entries")
            if found.size > size:
                wrong.append(f"{path.name}: {found.size} entries, durable are {size}")
            elif sound and found.root != tree.root(found.size):
                wrong.append(f"{path.name}: not the root of {found.size} entries")
        if not sound:
            generation += 1
            for path in (
                folder / "key.last",
                folder / "log" / "checkpoint",
                folder / "ledger/journal/data.mdb",
            ):
                path.unlink(missing_ok=True)
            (folder / "ledger/format").unlink(missing_ok=True)
            (folder / "ledger/index/data.mdb").unlink(missing_ok=True)
            size, tree, values = 0, Tree(), make_entries(SIZE_MAX, str(generation))
            # So that two sizes meet.
            rng = random.Random(seed)
    if sound:
        integrate(folder)
        found = checkpoints.verify((folder / "log/checkpoint").read_bytes(), [key]).checkpoint
        if (found.size, found.root) != (size, tree.root()):
            wrong.append(f"at the end: a checkpoint of {found.size} entries, durable are {size}")
    return killed, wrong


def integrate(folder: Path) -> None:
    """Bring the log up to the journal, in several checkpoints."""
    with (
        closing(open_journal(folder / "ledger")) as journal,
        closing(open_integrator(journal, folder, bundles=True)) as integrator,
    ):
        while integrator.integrate(16):
            integrator.publish()


def die_at_line(folder: Path, line: int) -> bool:
    """Whether a child that integrates was killed before so many lines of integrator.py."""
    child = os.fork()
    if child == 0:
        left = line

        def trace(frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal left
            if frame.f_code.co_filename != tracecode.proof.integrator.__file__:
                return None
            left -= event == "line"
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        integrate(folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and status:
        raise RuntimeError(f"a child ended with {status}")
    return os.WIFSIGNALED(status)


if __name__ == "__main__":
    place, seed, tries, manner = sys.argv[1:]
    count, sentences = run(Path(place), int(seed), int(tries), manner == "sound")
    print(json.dumps({"killed": count, "wrong": sentences}))
