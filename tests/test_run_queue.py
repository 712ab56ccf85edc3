"""Runs one after another: whatever is wrong with one, the others are executed and the service answers.

Method: the queue of a service over real records, with processes that do what a bad one does.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading
from collections.abc import Callable, Coroutine
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from tracecode_server.log import build_log
from tracecode_server.run_queue import WAITING_MAX, RunQueue

from tracecode.errors import DataLoss, Overloaded
from tracecode.reports.runs import Asked, Made, ReportRequest, ReportRun, create_run, open_runs
from tracecode.runs import Runs, RunState
from tracecode.screening.runs import Found, RunRequest
from tracecode.screening.runs import create_run as create_screening
from tracecode.screening.runs import open_runs as open_screenings

NOW = datetime(2026, 4, 1, tzinfo=UTC)
ASKED = ReportRequest("2026-03")
WAIT_SECONDS = 60

NOISY = """
print('{"done": 1')
print('[1]')
print('{"done": 1, "total": "of a library"}')
print('{"a":' * 100_000)
print('{"' + 'x' * 3_000_000 + '": 1}')
print('{"error": "what it says"}')
print('{"warning": "of a library"}')
"""
BREAKS_RECORDS = """
import sys
from pathlib import Path
for record in Path(sys.argv[1]).parents[1].glob("*/report.json"):
    record.write_bytes(b"")
"""


class Queue:
    """A queue of reports in a folder; its runs execute `program`, which is told its record."""

    def __init__(self, directory: Path, program: str, runs: Runs[Asked, Made] | None = None) -> None:
        (directory / "told_program.py").write_text(program)
        self.directory = directory
        self.runs = runs or open_runs(directory)
        self._log = io.StringIO()
        self.queue = RunQueue(self.runs, self._arguments, build_log("debug", self._log))

    def _arguments(self, name: str) -> list[str]:
        return ["told_program", str(self.record_of(name))]

    def record_of(self, name: str) -> Path:
        """Where a run is noted."""
        return self.runs.folder_of(name) / "report.json"

    def create(self, request: ReportRequest = ASKED) -> ReportRun:
        """Note one."""
        return create_run(self.directory, request, "a", NOW)

    async def put(self, request: ReportRequest) -> ReportRun:
        """Ask for one."""
        return await self.queue.put(lambda asked: asked.report == request, lambda: self.create(request))

    async def wait(self, name: str) -> ReportRun:
        """The run once it has ended."""
        async with asyncio.timeout(WAIT_SECONDS):
            while (run := self.runs.read(name)).state is RunState.RUNNING:
                await asyncio.sleep(0.02)
        return run

    @property
    def events(self) -> list[str]:
        """What the log has said."""
        return [json.loads(line)["event"] for line in self._log.getvalue().splitlines()]

    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine function while the queue is at work."""

        async def work() -> None:
            self.queue.start()
            try:
                await test()
            finally:
                self.queue.stop()
                # Its process is gone, and the loop is told.
                await asyncio.sleep(0.1)

        asyncio.run(work())


@pytest.fixture(autouse=True)
def _programs_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_a_process_may_say_what_it_likes(tmp_path: Path) -> None:
    """Pins that lines of a library, broken, deep, or longer than any of ours, end no queue, and that what the
    process itself said last is told."""
    queue = Queue(tmp_path, NOISY)

    async def check() -> None:
        for run in (await queue.put(ASKED), await queue.put(ReportRequest("2026Q1"))):
            ended = await queue.wait(run.name)
            assert (ended.state, ended.error) == (RunState.FAILED, "what it says")

    queue.run(check)
    assert queue.events == []


def test_records_that_cannot_be_read_end_no_queue(tmp_path: Path) -> None:
    """Pins that the queue goes on past a record that is empty when it starts, as after a power cut, past one
    that breaks while it is executed, and past one that breaks while it waits."""
    queue = Queue(tmp_path, BREAKS_RECORDS)
    empty, broken, waiting = (queue.create(ReportRequest(f"2026-0{month}")).name for month in (1, 2, 3))
    queue.record_of(empty).write_bytes(b"")

    async def check() -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(queue.events) < 4:
                await asyncio.sleep(0.02)
        (tmp_path / "told_program.py").write_text(NOISY)
        last = await queue.put(ReportRequest("2026Q1"))
        assert (await queue.wait(last.name)).error == "what it says"

    queue.run(check)
    assert queue.events == ["run_not_read", "run_failed", "run_not_ended", "run_not_read"]
    assert [run.request.report.period for run in queue.runs.list_all()] == ["2026Q1"]
    for name in (empty, broken, waiting):
        with pytest.raises(DataLoss, match=rf"{name}/report.json is no record .*remove its folder"):
            queue.runs.read(name)


def test_what_ends_a_run_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    """Pins that the files of a run, maybe gigabytes, are removed beside the event loop."""
    go, went = threading.Event(), []
    first = open_runs(tmp_path)
    slow = Runs(
        tmp_path / "reports",
        "report",
        first._read_request,
        first._read_result,
        lambda _folder, _state: went.append(go.wait(10)),
    )
    queue = Queue(tmp_path, "import time; time.sleep(60)", slow)

    async def check() -> None:
        run = await queue.put(ASKED)
        cancelling = asyncio.create_task(queue.queue.cancel(run.name))
        await asyncio.sleep(0.1)
        assert not cancelling.done()
        go.set()
        assert (await cancelling).state is RunState.CANCELLED

    queue.run(check)
    assert went == [True]


def test_equal_questions_at_once_are_one_run_and_a_queue_is_bounded(tmp_path: Path) -> None:
    """Pins that the second of two finds the first, also where who asked first has left; that one which ended
    is not taken for under way; and how many may wait."""
    queue = Queue(tmp_path, "import time; time.sleep(60)")

    async def check() -> None:
        left = asyncio.create_task(queue.put(ASKED))
        await asyncio.sleep(0)
        left.cancel()
        first, second = await asyncio.gather(queue.put(ASKED), queue.put(ASKED))
        assert first.name == second.name == queue.runs.list_all()[0].name
        assert len(queue.runs.list_all()) == 1
        # As its process does before it ends.
        queue.runs.end(first.name, RunState.DONE, NOW)
        again = await queue.put(ASKED)
        assert again.name != first.name
        for year in range(2002, 2000 + WAITING_MAX):
            await queue.put(ReportRequest(f"{year}-01"))
        with pytest.raises(Overloaded):
            await queue.put(ReportRequest("2026Q1"))
        waiting = [run.name for run in queue.runs.list_all() if run.state is RunState.RUNNING]
        for name in waiting:
            assert (await queue.queue.cancel(name)).state is RunState.CANCELLED
        last = await queue.put(ReportRequest("2026Q1"))
        await queue.queue.cancel(last.name)

    queue.run(check)


def test_a_record_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins the order: content synced, named, name synced."""
    did: list[str] = []
    sync, replace = os.fsync, Path.replace

    def look_sync(descriptor: int) -> None:
        did.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        sync(descriptor)

    def look_replace(path: Path, target: Path) -> Path:
        assert path.stat().st_size
        did.append(f"name {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", look_sync)
    monkeypatch.setattr(Path, "replace", look_replace)
    name = create_run(tmp_path, ASKED, "a", NOW).name
    assert did == ["sync reports", "sync report.new", "name report.json", f"sync {name}"]


def test_a_screening_that_was_noted_in_the_old_form_is_read(tmp_path: Path) -> None:
    """Pins records whose results stand beside the request, of one that is done and one that failed."""
    runs, asked = open_screenings(tmp_path), RunRequest(date(2026, 3, 1), date(2026, 3, 31))
    for state, found in ((RunState.DONE, Found(7, 99)), (RunState.FAILED, None), (RunState.RUNNING, None)):
        name = create_screening(tmp_path, asked, NOW).name
        path = runs.folder_of(name) / "screening.json"
        row = json.loads(path.read_text())
        del row["result"]
        leads, sequence = (found.leads, found.until_sequence) if found else (0, 0)
        path.write_text(json.dumps({**row, "state": state, "leads": leads, "until_sequence": sequence}))
        assert (runs.read(name).state, runs.read(name).result) == (state, found)
    assert len(runs.list_all()) == 3
    assert runs.end(name, RunState.DONE, NOW, result=Found(1, 2)) == runs.read(name)
