"""A program that records documents on a disk that fails at the position it is told; see faulty_io.cpp.

Arguments: a ledger to begin from, a folder for copies, the share of the positions to try (every n-th, from a
first one), and `honest`, or `lying` for a service that says OK although the commit failed. It prints the sums
as JSON.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from documents import HOUR, NOON, SHOP, code, line, receipt

from tracecode.code import read_scan
from tracecode.errors import EngineStopped, Overloaded, StorageFull
from tracecode.ledger import Ledger
from tracecode.v1 import document_pb2, finding_pb2
from trust.small_ledger import open_small

WRITE, SYNC, SHORT_WRITE = 0, 1, 2
FAULTS = [
    (WRITE, errno.EIO, False),
    (WRITE, errno.EIO, True),
    (WRITE, errno.ENOSPC, False),
    (WRITE, errno.ENOSPC, True),
    (SHORT_WRITE, 0, False),
    (SHORT_WRITE, 0, True),
    (SYNC, errno.EIO, False),
    (SYNC, errno.EIO, True),
    (SYNC, errno.ENOSPC, False),
]
"""What fails, with which error, and whether all that follows fails, too."""
FILES = ("journal/data.mdb", "index/data.mdb")
DOCUMENTS = 6
SECONDS_MAX = 120
LIBRARY = ctypes.CDLL(None)
END_NAMES = {0: "right", 10: "lost", 11: "doubled", 12: "wrong", 13: "not recovered", 99: "failed"}


def arm(file: str, kind: int, at: int, error: int, always: bool) -> None:
    """Let the disk fail at that write or sync from now; at 0 never."""
    LIBRARY.faulty_io_arm(file.encode(), kind, ctypes.c_long(at), error, int(always))


def list_new() -> list[document_pb2.Document]:
    """Documents that the ledger does not know yet, one of them of several pages."""
    told = [receipt(SHOP, f"N{n}", NOON + HOUR + n, line(code(70_000 + n))) for n in range(DOCUMENTS - 1)]
    return [*told, receipt(SHOP, "LONG", NOON + HOUR, line(*(code(71_000 + n) for n in range(300))))]


def record_all(ledger: Ledger, lying: bool) -> dict[str, int]:
    """What was acknowledged with which sequence; after a failure nothing else is tried."""
    acknowledged = {}
    for number, document in enumerate(list_new()):
        try:
            (verdict,) = ledger.record([document])
            assert isinstance(verdict, finding_pb2.Verdict)
            acknowledged[document.document_number] = verdict.sequence
            if number % 2:
                ledger.engine.native.flush()  # type: ignore[attr-defined]
        except (StorageFull, EngineStopped):
            if lying:
                acknowledged[document.document_number] = ledger.engine.sequence + 1
            raise _Failed(acknowledged) from None
    return acknowledged


class _Failed(Exception):
    def __init__(self, acknowledged: dict[str, int]) -> None:
        super().__init__()
        self.acknowledged = acknowledged


def attempt(folder: Path, file: str, fault: tuple[int, int, bool], at: int, lying: bool) -> int:
    """One position; how it ended, by END_NAMES."""
    kind, error, always = fault
    ledger = open_small(folder)
    known = read_scan(code(3))[0].key
    before = ledger.engine.code(known)
    last = ledger.engine.sequence
    arm(file, kind, at, error, always)
    try:
        acknowledged = record_all(ledger, lying)
    except _Failed as failed:
        acknowledged = failed.acknowledged
        try:
            if ledger.engine.code(known) != before:
                return 12
        except (EngineStopped, Overloaded):
            pass
        if error == errno.ENOSPC and kind == WRITE:
            arm(file, kind, 0, 0, False)
            if not lying and not recovers(ledger, file, at):
                return 13
    ledger.close()
    arm(file, kind, 0, 0, False)
    ledger = open_small(folder)
    present = ledger.engine.sequence - last
    if present < len(acknowledged):
        return 10
    for document in list_new():
        (verdict,) = ledger.record([document])
        assert isinstance(verdict, finding_pb2.Verdict)
        number = document.document_number
        if number in acknowledged and acknowledged[number] != verdict.sequence:
            return 10 if not verdict.repeat else 12
    if ledger.engine.sequence - last != DOCUMENTS:
        return 11
    ledger.close()
    return 0


def recovers(ledger: Ledger, file: str, at: int) -> bool:
    """Whether it takes documents again once there is room. Only where it could not write a meta page it must
    not: it does not know what counts."""
    try:
        ledger.record(list_new())
    except EngineStopped as stopped:
        return "MDB_PANIC" in str(stopped) or "Input/output" in str(stopped) or "No space" in str(stopped)
    return True


def count(base: Path, folder: Path) -> dict[tuple[str, int], int]:
    """How many writes and syncs of each file there are when nothing fails."""
    counts = {}
    for file in FILES:
        restore(base, folder)
        reading, writing = os.pipe()
        if os.fork() == 0:
            ledger = open_small(folder)
            arm(file, WRITE, 0, 0, False)
            record_all(ledger, False)
            ledger.close()
            sums = [LIBRARY.faulty_io_count(kind) for kind in (WRITE, SYNC)]
            os.write(writing, json.dumps(sums).encode())
            os._exit(0)
        os.wait()
        counts[file, WRITE], counts[file, SYNC] = json.loads(os.read(reading, 100))
        os.close(reading)
        os.close(writing)
    return counts


def restore(base: Path, folder: Path) -> None:
    """A fresh copy."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)


def run_child(act: Callable[[], int]) -> int:
    """What a child says that does this, negative if a signal ended it."""
    child = os.fork()
    if child == 0:
        end = 99
        try:
            signal.alarm(SECONDS_MAX)
            end = act()
        finally:
            os._exit(end)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def run(base: Path, folder: Path, first: int, step: int, lying: bool) -> dict[str, int]:
    """How every `step`-th position ended, from the `first` on."""
    counts = count(base, folder)
    positions = [
        (file, fault, at)
        for file in FILES
        for fault in FAULTS
        for at in range(1, counts[file, SYNC if fault[0] == SYNC else WRITE] + 1)
    ]
    ends: Counter[str] = Counter(positions=len(positions))
    for file, fault, at in positions[first::step]:
        restore(base, folder)
        end = run_child(lambda file=file, fault=fault, at=at: attempt(folder, file, fault, at, lying))  # type: ignore[misc]
        ends["tries"] += 1
        ends[END_NAMES.get(end, "aborts")] += 1
        if end != 0:
            ends[f"{file} {fault} at {at}: {end}"] += 1
    return dict(ends)


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(run(Path(given[0]), Path(given[1]), int(given[2]), int(given[3]), given[4] == "lying")))
