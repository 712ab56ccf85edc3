"""A file system on a loop device whose power is cut: what was not synced is gone, its log is recovered.

FS_IOC_SHUTDOWN makes a mounted file system forget what is in memory, at once and without writing its log.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from documents import FAR, SHOP

from tracecode import fsck
from tracecode.errors import EngineStopped
from tracecode.v1 import document_pb2, journal_pb2
from trust import recording
from trust.kills import ProcessDied, ask, end, read_answers, start
from trust.recording import Answer, Checked, sell, stock

FS_IOC_SHUTDOWN = 0x8004587D
WITHOUT_LOG = 2
DISK_BYTES = 320 * 2**20
"""The least that mkfs.xfs takes is 300 MiB; the file is sparse."""

MAKERS = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q")}
STOCK_EACH = 200
FLUSH_EACH = 40
RETOLD = 60
"""So many of the last documents are sent once more."""


# --- the disk -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system in a file, and where it is mounted."""

    kind: str
    image: Path
    folder: Path

    @classmethod
    def make(cls, kind: str, folder: Path) -> Disk:
        """Format it. Raises CannotCut."""
        disk = cls(kind, folder / f"{kind}.image", folder / kind)
        disk.folder.mkdir()
        with disk.image.open("wb") as file:
            file.truncate(DISK_BYTES)
        _run(*MAKERS[kind], str(disk.image))
        return disk

    def mount(self) -> None:
        """Recovers what its log says. Raises CannotCut."""
        _run("mount", "-o", "loop", "-t", self.kind, str(self.image), str(self.folder))

    def unmount(self) -> None:
        """Whoever had it open is dead, but the kernel may need a moment to see it."""
        for _ in range(50):
            if subprocess.run(["umount", str(self.folder)], capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.1)
        _run("umount", "-l", str(self.folder))

    def cut(self) -> None:
        """From now on nothing reaches it."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, WITHOUT_LOG.to_bytes(4, "little"))
        finally:
            os.close(descriptor)


class CannotCut(Exception):
    """This machine has no such file system or does not let us mount it."""


def _run(*command: str) -> None:
    if shutil.which(command[0]) is None:
        raise CannotCut(f"no {command[0]}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotCut(f"{command[0]}: {' '.join((done.stderr or done.stdout).split())[-200:]}")


def why_not(kind: str, folder: Path) -> str:
    """Why power cannot be cut here; nothing if it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    try:
        disk = Disk.make(kind, folder)
        disk.mount()
        try:
            disk.cut()
        finally:
            disk.unmount()
    except (CannotCut, OSError) as error:
        return str(error)
    finally:
        shutil.rmtree(folder / kind, ignore_errors=True)
        (folder / f"{kind}.image").unlink(missing_ok=True)
    return ""


# --- what is recorded ---------------------------------------------------------------------------


def document_at(position: int) -> document_pb2.Document:
    """An endless day: receipts, sales of what was received, and now and then a box sold elsewhere."""
    if position % STOCK_EACH == 0:
        return stock(SHOP, f"RK{position}", range(position, position + STOCK_EACH))
    if position % 7 == 3:
        return sell(FAR, position - 1)
    return sell(SHOP, position)


def record(folder: Path, answers: Path, first: int, unsafe: bool) -> None:
    """Record from a position on until the disk fails; acknowledge in a file that is on another."""
    if unsafe:
        recording.give_up_durability()
    file = os.open(answers, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    chance = random.Random(first)
    position = first
    try:
        ledger = recording.open_ledger(folder)
        while True:
            group = [document_at(at) for at in range(position, position + chance.randint(1, 8))]
            for answer in recording.tell(ledger, group, position):
                os.write(file, str(answer).encode())
            if position // FLUSH_EACH != (position + len(group)) // FLUSH_EACH:
                recording.native_of(ledger).flush(wait=False)
            position += len(group)
    except (EngineStopped, OSError):
        # Without power there is nothing to close.
        os._exit(0)


def check(folder: Path, acknowledged: Sequence[Answer], whole: bool) -> Checked:
    """Every acknowledged document has one entry; sent again, the last ones are answered as before."""
    try:
        return _check(folder, acknowledged, whole)
    except Exception as error:
        return Checked(wrong=1, reasons=(f"{type(error).__name__}: {error}",))


def _check(folder: Path, acknowledged: Sequence[Answer], whole: bool) -> Checked:
    ledger = recording.open_ledger(folder)
    native = recording.native_of(ledger)
    entries = [journal_pb2.JournalEntry.FromString(entry) for entry in native.entries(0, native.sequence)]
    numbers = [
        (kept.institution_code, kept.document_number)
        for entry in entries
        if entry.HasField("document")
        for kept in [document_pb2.Document.FromString(entry.document.document)]
    ]
    checked = Checked(doubled=len(numbers) - len(set(numbers)))
    lost = 0
    for answer in acknowledged:
        told = document_at(answer.position)
        if answer.position >= len(numbers):
            lost += 1
        elif numbers[answer.position] != (told.institution_code, told.document_number):
            checked += Checked(wrong=1, reasons=(f"another document at position {answer.position}",))
    if lost or not checked.ok:
        return checked + Checked(lost=lost, reasons=(f"{lost} of {len(acknowledged)} lost",) * bool(lost))
    last = list(acknowledged)[-RETOLD:]
    if last:
        first = last[0].position
        again = recording.tell(ledger, [document_at(answer.position) for answer in last], first)
        odd = sum(new != old for new, old in zip(again, last, strict=True))
        checked += Checked(wrong=odd, doubled=native.sequence - len(entries))
    ledger.close()
    if whole:
        report = fsck.check(folder)
        checked += Checked(wrong=report.wrong, reasons=report.lines[:1])
    return checked


@dataclass(frozen=True, slots=True)
class Cut:
    """What came of one."""

    acknowledged: int
    checked: Checked


def cut(
    disk: Disk, answers: Path, chance: random.Random, *, unsafe: bool = False, whole: bool = False
) -> Cut:
    """Record on the mounted disk, cut its power at a moment by chance, mount it again and check."""
    ledger = disk.folder / "ledger"
    before = len(read_answers(answers))
    process = start(record, ledger, answers, before, unsafe)
    try:
        _wait_for(answers)
        time.sleep(chance.uniform(0.02, 0.25))
        disk.cut()
    finally:
        # However it ends without its disk: it may be killed as it reads what is not there any more.
        end(process)
    disk.unmount()
    disk.mount()
    acknowledged = read_answers(answers)
    try:
        checked = ask(check, ledger, acknowledged, whole)
    except ProcessDied as died:
        checked = Checked(aborts=1, reasons=(f"the process that checked died: {died}",))
    return Cut(len(acknowledged) - before, checked)


def _wait_for(answers: Path) -> None:
    before = answers.stat().st_size if answers.exists() else 0
    for _ in range(2_000):
        if answers.exists() and answers.stat().st_size > before:
            return
        time.sleep(0.01)
    raise TimeoutError("nothing was acknowledged")
