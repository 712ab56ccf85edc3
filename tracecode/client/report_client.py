"""Reports of a service as a program calls them: started, followed, and their files downloaded and checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import grpc

from tracecode.client.actor import Metadata
from tracecode.client.case_client import Attempt
from tracecode.client.errors import ServerFault, Unanswered, read_failure
from tracecode.v1 import report_service_pb2, report_service_pb2_grpc

Request = TypeVar("Request")
Response = TypeVar("Response")

DOWNLOAD_SECONDS = 600.0
DOWNLOAD_ATTEMPTS = 3


class ReportClient:
    """Calls the ReportService. Raises CallInvalid, NotKnown, Unanswered, ServerFault."""

    def __init__(
        self, channel: grpc.Channel, deadline_seconds: float, attempt: Attempt, metadata: Metadata
    ) -> None:
        """The channel stays the caller's to close. `metadata` names who asks."""
        self._stub = report_service_pb2_grpc.ReportServiceStub(channel)
        self._deadline_seconds = deadline_seconds
        self._attempt = attempt
        self._metadata = metadata

    def _call(self, call: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        return self._attempt(
            lambda wait: call(
                request, timeout=self._deadline_seconds, wait_for_ready=wait, metadata=self._metadata
            )
        )

    def start_report(self, request: report_service_pb2.StartReportRequest) -> report_service_pb2.Report:
        """Make a report, or find the one that is under way."""
        return self._call(self._stub.StartReport, request).report

    def get_report(self, report_id: str) -> report_service_pb2.Report:
        """How far a report is."""
        request = report_service_pb2.GetReportRequest(report_id=report_id)
        return self._call(self._stub.GetReport, request).report

    def cancel_report(self, report_id: str) -> report_service_pb2.Report:
        """End a report."""
        request = report_service_pb2.CancelReportRequest(report_id=report_id)
        return self._call(self._stub.CancelReport, request).report

    def list_reports(self) -> Iterator[report_service_pb2.Report]:
        """All reports that the actor may see, the newest first, asked for page by page."""
        request = report_service_pb2.ListReportsRequest()
        while True:
            page = self._call(self._stub.ListReports, request)
            yield from page.reports
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return

    def download(self, report_id: str, file_name: str, out: Path) -> report_service_pb2.ReportFile:
        """Write a file of a report to `out`, which appears whole and checked or not at all. A download that
        breaks off is gone on with. Raises OSError too."""
        begun = out.with_name(f".{out.name}-begun")
        request = report_service_pb2.DownloadReportFileRequest(report_id=report_id, file_name=file_name)
        told = report_service_pb2.ReportFile()
        digest = hashlib.sha256()
        failures = 0
        try:
            with begun.open("wb") as file:
                while True:
                    try:
                        for message in self._stub.DownloadReportFile(
                            request, timeout=DOWNLOAD_SECONDS, metadata=self._metadata
                        ):
                            if message.HasField("file"):
                                told = message.file
                            file.write(message.content)
                            digest.update(message.content)
                            request.offset_bytes += len(message.content)
                        break
                    except grpc.RpcError as error:
                        failure = read_failure(error)
                        failures += 1
                        if failures >= DOWNLOAD_ATTEMPTS or not isinstance(failure, Unanswered):
                            raise failure from error
            if (request.offset_bytes, digest.hexdigest()) != (told.size_bytes, told.sha256):
                raise ServerFault("DATA_LOSS", f"{file_name} is not what its checksum says; make it again")
            os.replace(begun, out)
        finally:
            begun.unlink(missing_ok=True)
        return told
