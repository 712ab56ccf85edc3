"""Processes that strace kills at a system call of one's choice, and checks of what they leave behind.

A process that has everything imported forks each of them, so a try costs milliseconds; strace is attached
before a process does its work. SIGKILL is delivered when a call is entered: the call is not made any more.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from trust import recording
from trust.recording import Answer, Checked, Day

PROCESS_SECONDS_MAX = 60.0
STATUS_MISSED = 255
"""What multiprocessing says of a process whose end its fork server did not tell; such a try is made again."""
ATTEMPTS = 3
TESTS = Path(__file__).parent.parent

_context = multiprocessing.get_context("forkserver")


def start_fork_server() -> None:
    """Have the process that forks the others import what they need; nothing if it does already."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(TESTS), before)))
    try:
        _context.set_forkserver_preload(["trust.recording", "trust.crash_images", "trust.power_cuts"])
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


# --- processes ----------------------------------------------------------------------------------


def start(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """A process that runs a function."""
    process = _context.Process(target=target, args=arguments)
    process.start()
    return process


def end(process: ForkServerProcess) -> int:
    """Its exit status once it ends: below 0 the signal that killed it. It is not waited for for ever."""
    process.join(PROCESS_SECONDS_MAX)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"a process did not end within {PROCESS_SECONDS_MAX} s")
    status = process.exitcode
    process.close()
    return status


def ask(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process of its own; ProcessDied where that does not live to tell."""
    ours, theirs = _context.Pipe(duplex=False)
    process = start(_tell, theirs, function, arguments)
    theirs.close()
    with ours:
        try:
            answer = ours.recv()
        except EOFError:
            raise ProcessDied(end(process)) from None
    end(process)
    return answer


def _tell(answer: Connection, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    answer.send(function(*arguments))
    answer.close()
    # Nothing that the function left open is closed in order: a ledger stays as after a crash.
    os._exit(0)


class ProcessDied(Exception):
    """A process ended without an answer."""


# --- a day in a folder --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stage:
    """A day, the folder in which its process finds what was told before, and what it must end in."""

    name: str
    folder: Path

    @property
    def day(self) -> Day:
        """The day."""
        return recording.DAYS[self.name]()

    @property
    def before(self) -> Path:
        """The ledger as the process finds it."""
        return self.folder / "before"

    @property
    def told(self) -> Path:
        """The pickled `Told` of it."""
        return self.folder / "told"

    @classmethod
    def prepare(cls, name: str, folder: Path) -> Stage:
        """Tell what is told before, and the whole day undisturbed in a copy."""
        stage = cls(name, folder / name)
        stage.folder.mkdir()
        end(start(_prepare, stage))
        end(start(_read_told, stage))
        assert stage.told.exists()
        return stage

    def copy(self, to: Path) -> Path:
        """A ledger for a process that may die."""
        if self.before.exists():
            shutil.copytree(self.before, to)
        return to


def _prepare(stage: Stage) -> None:
    if not stage.day.index_kept:
        # The same documents, in a ledger whose index is lost afterwards.
        end_of_child = os.fork()
        if end_of_child:
            os.waitpid(end_of_child, 0)
            shutil.rmtree(stage.before / "index")
            return
    recording.prepare(stage.day, stage.before)


def _read_told(stage: Stage) -> None:
    folder = stage.copy(stage.folder / "undisturbed")
    told = recording.read_told(stage.day, folder)
    stage.told.write_bytes(pickle.dumps(told))


def record(stage: Stage, folder: Path, answers: Path, early: bool, gate: Connection) -> None:
    """What a process does that may die: wait for strace, then tell the day and acknowledge."""
    file = os.open(answers, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    day = stage.day
    gate.recv()
    recording.record(day, folder, lambda answer: _acknowledge(file, answer), early=early)
    os._exit(0)


def _acknowledge(file: int, answer: Answer) -> None:
    os.write(file, str(answer).encode())


def read_answers(answers: Path) -> list[Answer]:
    """What a process acknowledged."""
    return [Answer.parse(line) for line in answers.read_text().splitlines()] if answers.exists() else []


def check(stage: Stage, folder: Path, answers: Path, whole: bool) -> Checked:
    """`recording.check` in a process of its own, which a damaged file may kill."""
    try:
        return ask(_check, stage, folder, answers, whole)
    except ProcessDied as died:
        return Checked(aborts=1, reasons=(f"the process that checked died: {died}",))


def _check(stage: Stage, folder: Path, answers: Path, whole: bool) -> Checked:
    told = pickle.loads(stage.told.read_bytes())
    try:
        return recording.check(stage.day, folder, told, read_answers(answers), whole=whole)
    except Exception as error:
        return Checked(wrong=1, reasons=(f"{type(error).__name__}: {error}",))


# --- strace -------------------------------------------------------------------------------------


def why_no_strace() -> str:
    """Why this machine cannot trace its processes; nothing if it can."""
    if shutil.which("strace") is None:
        return "no strace"
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else ""


@contextlib.contextmanager
def traced(process_id: int, *options: str) -> Iterator[None]:
    """Strace of a process and its threads, attached; it ends with the process."""
    tracer = subprocess.Popen(
        ["strace", "-f", *options, "-p", str(process_id)], stderr=subprocess.PIPE, text=True
    )
    with tracer:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        assert "attached" in said, said
        yield
        tracer.stderr.read()
        tracer.wait(PROCESS_SECONDS_MAX)


def run_gated(target: Callable[..., None], *arguments: Any, options: Iterable[str]) -> int:
    """Run a function, which waits at the gate that is its last argument, under strace; its exit status."""
    theirs, ours = _context.Pipe(duplex=False)
    process = start(target, *arguments, theirs)
    theirs.close()
    with ours, traced(process.pid or 0, *options):
        ours.send(b"go")
    return end(process)


@dataclass(frozen=True, slots=True)
class KillPoint:
    """When a process is to die: as one of its threads enters this system call so many times."""

    stage: Stage
    call: str
    occurrence: int


_CALL = re.compile(r"^\d+ +(\w+)\(")
_THREAD_CALL = re.compile(r"^(\d+) +(\w+)\(")


def find_kill_points(stage: Stage, folder: Path) -> list[KillPoint]:
    """Every occurrence of every system call by which the process touches its ledger or acknowledges."""
    ledger, answers, trace = (folder / f"{stage.name}-{name}" for name in ("traced", "answers", "trace"))
    options = ["-y", "-o", str(trace)]
    status = run_gated(record, stage, stage.copy(ledger), answers, False, options=options)
    assert status == 0, f"nobody killed it, yet it ended with {status}"
    lines = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    about = [
        found[1]
        for line in lines
        if (str(ledger) in line or str(answers) in line) and (found := _CALL.match(line))
    ]
    calls = Counter(found.groups() for line in lines if (found := _THREAD_CALL.match(line)))
    most = {call: max(n for (_, name), n in calls.items() if name == call) for call in set(about)}
    return [KillPoint(stage, call, n) for call in sorted(most) for n in range(1, most[call] + 1)]


def kill(
    point: KillPoint, folder: Path, *, early: bool = False, doctored: bool = False, whole: bool = False
) -> tuple[bool, Checked]:
    """Whether the process died at the point, and what its ledger is like, which is removed. `early` and
    `doctored` are sabotage: answers too soon, and a record changed before the check."""
    ledger, answers = folder / "ledger", folder / "answers"
    inject = f"inject={point.call}:signal=KILL:when={point.occurrence}"
    options = ["-e", f"trace={point.call}", "-e", inject, "-o", "/dev/null"]
    status = STATUS_MISSED
    for _ in range(ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        status = run_gated(record, point.stage, point.stage.copy(ledger), answers, early, options=options)
        if status != STATUS_MISSED:
            break
    assert status in (0, -signal.SIGKILL), f"{point} ended with {status}"
    if doctored:
        ask(recording.doctor, ledger)
    checked = check(point.stage, ledger, answers, whole)
    shutil.rmtree(folder)
    return status != 0, checked
