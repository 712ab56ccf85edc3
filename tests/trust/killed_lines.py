"""A process that is killed at one line after another of a backup or a restore, and what it then leaves.

Arguments: what to do, the ledger, a folder of its own, a seed, how many lines to try (0 = each). A child is
forked for each; it dies by SIGKILL before its n-th line of tracecode/backup.py. Prints JSON: the lines there
are, the tries, and a sentence for each that left something wrong.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import tracecode.backup
from tracecode._native import Store as NativeStore
from tracecode.backup import back_up, read_manifest, restore, verify
from tracecode.errors import TracecodeError

# So small that a few dozen entries make several segments.
SEGMENT_BYTES = 2_000
OLD_ENTRIES = 20


def count_lines(work: Callable[[], object]) -> int:
    """The lines of tracecode/backup.py that this takes."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename != tracecode.backup.__file__:
            return None
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return count


def kill_at_line(work: Callable[[], object], line: int) -> bool:
    """Whether a child that does this was killed before so many of its lines."""
    child = os.fork()
    if child == 0:
        left = line

        def trace(frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal left
            if frame.f_code.co_filename != tracecode.backup.__file__:
                return None
            left -= event == "line"
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def rewrite_last_segment(writer: Any, store: NativeStore) -> None:
    """The sabotage: the last segment is written anew instead of added to."""
    *before, last = writer._manifest.segments
    writer._manifest = replace(writer._manifest, segments=tuple(before))
    writer.last_sequence = last.first_sequence - 1
    for value in store.entries(writer.last_sequence, last.last_sequence - writer.last_sequence):
        writer.add(value)


class Backups:
    """A backup that has some entries is given the others."""

    def __init__(self, ledger: Path, folder: Path) -> None:
        self.ledger = ledger
        self.old = folder / "old"
        self.place = folder / "backup"
        back_up(ledger, folder / "all")
        restore(folder / "all", folder / "young", to_sequence=OLD_ENTRIES)
        back_up(folder / "young", self.old)
        self.old_last = read_manifest(self.old).last_sequence
        self.whole = ""

    def begin(self) -> None:
        """The folder as it was before."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.old, self.place)

    def work(self) -> object:
        """What is killed."""
        return back_up(self.ledger, self.place)

    def look(self) -> str:
        """What is wrong with what is left, or nothing."""
        try:
            left = verify(self.place)
            if left.last_sequence < self.old_last:
                return f"holds {left.last_sequence} entries, held {self.old_last}"
            report = back_up(self.ledger, self.place)
            verify(self.place)
        except (TracecodeError, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        self.whole = self.whole or report.manifest.sha256
        return "" if report.manifest.sha256 == self.whole else "ends in another backup"


class Restores:
    """A ledger is made of a backup."""

    def __init__(self, ledger: Path, folder: Path) -> None:
        self.source = folder / "backup"
        self.place = folder / "restored"
        self.last = back_up(ledger, self.source).manifest.last_sequence

    def begin(self) -> None:
        """No folder."""
        shutil.rmtree(self.place, ignore_errors=True)

    def work(self) -> object:
        """What is killed."""
        return restore(self.source, self.place)

    def look(self) -> str:
        """What is wrong with what is left, or nothing."""
        try:
            if self._read_last() not in (0, self.last):
                return "a part of the ledger opens as if it were whole"
            if not (self.place / "format").exists():
                restore(self.source, self.place)
            return "" if self._read_last() == self.last else "cannot be restored any more"
        except (TracecodeError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    def _read_last(self) -> int:
        """The last entry that a ledger opened there has; 0 = nothing can be opened there."""
        if not self.place.exists() or not os.listdir(self.place):
            return 0
        try:
            store = NativeStore(str(self.place), map_size_bytes=2**30, overlay_bytes_max=2**23)
        except TracecodeError:
            return 0
        try:
            return store.durable_sequence if store.applied_sequence == store.durable_sequence else -1
        finally:
            store.close()


def main(what: str, ledger: Path, folder: Path, seed: int, tries: int) -> None:
    """Kill and look, at lines chosen by the seed."""
    tracecode.backup.SEGMENT_BYTES = SEGMENT_BYTES
    folder.mkdir()
    scene = Restores(ledger, folder) if what == "restore" else Backups(ledger, folder)
    if what == "backup-rewriting":
        tracecode.backup._Writer.open_last = rewrite_last_segment  # type: ignore[method-assign]
    scene.begin()
    lines = count_lines(scene.work)
    tried = range(1, lines + 1) if not tries else random.Random(seed).sample(range(1, lines + 1), tries)
    wrong, killed = [], 0
    for line in tried:
        scene.begin()
        killed += kill_at_line(scene.work, line)
        if said := scene.look():
            wrong.append(f"line {line} of {lines}: {said}")
    print(json.dumps({"lines": lines, "killed": killed, "wrong": wrong}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
