"""tracecode.v1.ReportService: reports, one after another, each made in a process; and their files."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import structlog
from google.protobuf.message import Message

from tracecode.access import Access, Asker
from tracecode.document import check_size
from tracecode.errors import DataLoss, FieldInvalid
from tracecode.ledger import Ledger
from tracecode.reports import FORMATS
from tracecode.reports.runs import (
    Asked,
    Made,
    MadeFile,
    ReportRequest,
    ReportRun,
    check_request,
    create_run,
    find_file,
    open_runs,
)
from tracecode.runs import NAME_BYTES_MAX, RunState
from tracecode.v1 import report_service_pb2
from tracecode_server.asker import name_asker
from tracecode_server.page import cut_page, write_time
from tracecode_server.read_pool import ReadPool
from tracecode_server.run_queue import RunQueue
from tracecode_server.settings import Settings

KEPT_MAX = 200
"""Reports that are kept; the oldest are removed, since they can be made again."""
PART_BYTES = 256 * 1024
FILE_NAME_BYTES_MAX = 200

_STATES = {
    RunState.RUNNING: report_service_pb2.REPORT_STATE_RUNNING,
    RunState.DONE: report_service_pb2.REPORT_STATE_DONE,
    RunState.CANCELLED: report_service_pb2.REPORT_STATE_CANCELLED,
    RunState.FAILED: report_service_pb2.REPORT_STATE_FAILED,
}
_FORMATS = {name: report_service_pb2.ReportFormat.Value(f"REPORT_FORMAT_{name.upper()}") for name in FORMATS}
_FORMAT_NAMES = {number: name for name, number in _FORMATS.items()}
_SERVICE = "tracecode.v1.ReportService"


class ReportService:
    """Answers for the reports of a ledger. Raises our errors; `Methods` turns them into statuses."""

    def __init__(
        self,
        ledger: Ledger,
        access: Access,
        reads: ReadPool,
        settings: Settings,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._ledger = ledger
        self._access = access
        self._reads = reads
        self._memory = settings.report_memory
        self._spill_bytes_max = settings.report_spill_bytes_max
        self._directory = settings.data_directory
        self._queue: RunQueue[Asked, Made] | None = None
        if self._directory is not None:
            self._queue = RunQueue(open_runs(self._directory), self._arguments, log)

    def start(self) -> None:
        """Make what was under way when the service stopped, and what is asked for."""
        if self._queue is not None:
            self._queue.start()

    def stop(self) -> None:
        """End the process of the report under way; it is made at the next start. Safe to call twice."""
        if self._queue is not None:
            self._queue.stop()

    async def StartReport(
        self, request: report_service_pb2.StartReportRequest
    ) -> report_service_pb2.StartReportResponse:
        asked = _read_request(request)
        if asked.as_of > self._ledger.engine.sequence:
            raise FieldInvalid("as_of_sequence", "names an entry that this ledger does not have")
        queue, directory = self._need_queue()
        await self._reads.run(self._look, name_asker(), asked.division, "StartReport", request)
        await self._reads.run(queue.runs.drop_old, KEPT_MAX - 1)
        run = await queue.put(
            lambda other: other.report == asked,
            lambda: create_run(directory, asked, name_asker().actor, datetime.now(UTC)),
        )
        return report_service_pb2.StartReportResponse(report=self._tell(run))

    async def GetReport(
        self, request: report_service_pb2.GetReportRequest
    ) -> report_service_pb2.GetReportResponse:
        run = await self._find(request.report_id)
        return report_service_pb2.GetReportResponse(report=self._tell(run))

    async def ListReports(
        self, request: report_service_pb2.ListReportsRequest
    ) -> report_service_pb2.ListReportsResponse:
        queue, _ = self._need_queue()
        reach = await self._reads.run(self._access.reach, name_asker())
        runs = await self._reads.run(queue.runs.list_all)
        page, token = cut_page([run for run in runs if reach.covers(run.request.report.division)], request)
        return report_service_pb2.ListReportsResponse(
            reports=[self._tell(run) for run in page], next_page_token=token
        )

    async def CancelReport(
        self, request: report_service_pb2.CancelReportRequest
    ) -> report_service_pb2.CancelReportResponse:
        run = await self._find(request.report_id)
        queue, _ = self._need_queue()
        return report_service_pb2.CancelReportResponse(report=self._tell(await queue.cancel(run.name)))

    async def DownloadReportFile(
        self, request: report_service_pb2.DownloadReportFileRequest
    ) -> AsyncGenerator[report_service_pb2.DownloadReportFileResponse, None]:
        check_size("file_name", request.file_name, FILE_NAME_BYTES_MAX)
        run = await self._find(request.report_id)
        _, directory = self._need_queue()
        made, path = await self._reads.run(find_file, directory, run.name, request.file_name)
        if request.offset_bytes > made.size_bytes:
            raise FieldInvalid("offset_bytes", f"lies behind the end of the file, {made.size_bytes}")
        await self._reads.run(
            self._look, name_asker(), run.request.report.division, "DownloadReportFile", request
        )
        file = await self._reads.run(_open, made, path, request.offset_bytes)
        try:
            content = await self._reads.run(file.read, PART_BYTES)
            yield report_service_pb2.DownloadReportFileResponse(file=_to_file(made), content=content)
            # One part at a time: a reader that is slow holds no thread.
            while content := await self._reads.run(file.read, PART_BYTES):
                yield report_service_pb2.DownloadReportFileResponse(content=content)
        finally:
            file.close()

    def _need_queue(self) -> tuple[RunQueue[Asked, Made], Path]:
        if self._queue is None or self._directory is None:
            raise FieldInvalid("report_id", "there are no reports: this service keeps no journal on disk")
        return self._queue, self._directory

    def _arguments(self, name: str) -> list[str]:
        assert self._directory is not None
        told = [str(self._directory.absolute()), name, self._memory, str(self._spill_bytes_max)]
        return ["tracecode_server.report_process", *told]

    def _look(self, asker: Asker, division: str, method: str, question: Message) -> None:
        """Returns once it is durable that he asked. Raises AccessDenied where he may not see all of it."""
        self._check(asker, division)
        self._access.look(asker, f"{_SERVICE}.{method}", question)

    def _check(self, asker: Asker, division: str) -> None:
        self._access.reach(asker).check_all_of(division)

    async def _find(self, name: str) -> ReportRun:
        """A report that the caller may see."""
        check_size("report_id", name, NAME_BYTES_MAX)
        queue, _ = self._need_queue()
        # Nobody who is not known is told which reports there are.
        await self._reads.run(self._access.reach, name_asker())
        run = await self._reads.run(queue.runs.read, name)
        await self._reads.run(self._check, name_asker(), run.request.report.division)
        return run

    def _tell(self, run: ReportRun) -> report_service_pb2.Report:
        queue, _ = self._need_queue()
        progress, asked = queue.progress(run), run.request.report
        return report_service_pb2.Report(
            report_id=run.name,
            state=_STATES[run.state],
            period=asked.period,
            division_prefix=asked.division,
            formats=[_FORMATS[name] for name in asked.formats],
            language_code=asked.language,
            actor=run.request.actor,
            steps_done=progress.done,
            steps_total=progress.total,
            step=progress.step,
            error=run.error,
            start_time=write_time(run.started),
            end_time=None if run.ended is None else write_time(run.ended),
            as_of_sequence=asked.as_of if run.result is None else run.result.as_of,
            files=[] if run.result is None else map(_to_file, run.result.files),
        )


def _read_request(request: report_service_pb2.StartReportRequest) -> ReportRequest:
    """What is asked for. Raises FieldInvalid."""
    if len(request.formats) > len(FORMATS):
        raise FieldInvalid("formats", "name each format once")
    for number in request.formats:
        if number not in _FORMAT_NAMES:
            raise FieldInvalid("formats", f"are {', '.join(name.upper() for name in FORMATS)}")
    asked = ReportRequest(
        request.period,
        request.division_prefix,
        tuple(name for name, number in _FORMATS.items() if number in request.formats),
        request.language_code or "zh",
        request.as_of_sequence,
    )
    check_request(asked)
    return asked


def _open(made: MadeFile, path: Path, offset_bytes: int) -> BinaryIO:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise DataLoss(f"{path} is gone; make the report again") from None
    file.seek(offset_bytes)
    return file


def _to_file(made: MadeFile) -> report_service_pb2.ReportFile:
    return report_service_pb2.ReportFile(
        name=made.name, format=_FORMATS[made.format], size_bytes=made.size_bytes, sha256=made.sha256
    )
