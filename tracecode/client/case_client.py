"""The regulator's desk as a program calls it: cases, attachments, evidence.

Every change may be sent twice: a case is opened under a request_id, and whatever changes one names its etag.
So what may pass is tried again, as by `LedgerClient`, whose connection this is.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import grpc

from tracecode.client.actor import Metadata
from tracecode.client.errors import read_failure
from tracecode.v1 import case_pb2, case_service_pb2, case_service_pb2_grpc, complaint_pb2

Request = TypeVar("Request")
Response = TypeVar("Response")

PART_BYTES = 1024 * 1024
FILE_SECONDS = 120.0
"""What a file, or a bundle, may take at most: a line of some megabits is enough."""


class Attempt(Protocol):
    """Makes a call as often as it takes. It is told whether to wait for a connection."""

    def __call__(self, call: Callable[[bool], Response], /) -> Response: ...


class CaseClient:
    """Calls the CaseService. Raises CallInvalid, StateConflict, NotKnown, Unanswered, ServerFault."""

    def __init__(
        self, channel: grpc.Channel, deadline_seconds: float, attempt: Attempt, metadata: Metadata = None
    ) -> None:
        """The channel stays the caller's to close. `metadata` names who asks, where complaints tell of
        whom they are."""
        self._stub = case_service_pb2_grpc.CaseServiceStub(channel)
        self._deadline_seconds = deadline_seconds
        self._attempt = attempt
        self._metadata = metadata

    def _call(self, call: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        return self._attempt(
            lambda wait: call(
                request, timeout=self._deadline_seconds, wait_for_ready=wait, metadata=self._metadata
            )
        )

    def open_case(self, request: case_service_pb2.OpenCaseRequest) -> case_pb2.Case:
        """Open a case; a request without a request_id is given one, so that it may be tried again."""
        named = case_service_pb2.OpenCaseRequest()
        named.CopyFrom(request)
        named.request_id = request.request_id or str(uuid.uuid4())
        return self._call(self._stub.OpenCase, named).case

    def get_case(self, case_number: str) -> case_pb2.Case:
        """A case as it stands."""
        request = case_service_pb2.GetCaseRequest(case_number=case_number)
        return self._call(self._stub.GetCase, request).case

    def list_cases(self, request: case_service_pb2.ListCasesRequest) -> Iterator[case_pb2.Case]:
        """The cases that the request lets through, the newest first, asked for page by page."""
        asked = case_service_pb2.ListCasesRequest()
        asked.CopyFrom(request)
        while True:
            page = self._call(self._stub.ListCases, asked)
            yield from page.cases
            asked.page_token = page.next_page_token
            if not page.next_page_token:
                return

    def list_complaints(
        self, request: case_service_pb2.ListComplaintsRequest
    ) -> Iterator[complaint_pb2.ComplaintRecord]:
        """The complaints that the request lets through, the newest first, asked for page by page; each as far
        as the actor may see it."""
        asked = case_service_pb2.ListComplaintsRequest()
        asked.CopyFrom(request)
        while True:
            page = self._call(self._stub.ListComplaints, asked)
            yield from page.complaints
            asked.page_token = page.next_page_token
            if not page.next_page_token:
                return

    def list_case_events(self, case_number: str) -> list[case_pb2.CaseEventRecord]:
        """What was done with a case, the first first."""
        request = case_service_pb2.ListCaseEventsRequest(case_number=case_number)
        return list(self._call(self._stub.ListCaseEvents, request).events)

    def advance_case(self, request: case_service_pb2.AdvanceCaseRequest) -> case_pb2.Case:
        """Move a case to another state."""
        return self._call(self._stub.AdvanceCase, request).case

    def assign_case(self, request: case_service_pb2.AssignCaseRequest) -> case_pb2.Case:
        """Give a case to another person."""
        return self._call(self._stub.AssignCase, request).case

    def add_findings(self, request: case_service_pb2.AddFindingsRequest) -> case_pb2.Case:
        """Add findings to a case."""
        return self._call(self._stub.AddFindings, request).case

    def attach_file(
        self, header: case_service_pb2.AttachFileHeader, path: Path
    ) -> case_service_pb2.AttachFileResponse:
        """Make a file one of the case's. Raises OSError too."""

        def send() -> Iterator[case_service_pb2.AttachFileRequest]:
            yield case_service_pb2.AttachFileRequest(header=header)
            with path.open("rb") as file:
                while part := file.read(PART_BYTES):
                    yield case_service_pb2.AttachFileRequest(content=part)

        # Opened once before: what cannot be read is the caller's affair and no failure of the call.
        path.open("rb").close()
        return self._attempt(
            lambda wait: self._stub.AttachFile(send(), timeout=FILE_SECONDS, wait_for_ready=wait)
        )

    def export_evidence(self, case_number: str, actor: str, reason: str = "") -> Iterator[bytes]:
        """The zip of all that a case rests on, part by part. Not tried again: each try is a look that is
        recorded."""
        request = case_service_pb2.ExportEvidenceRequest(case_number=case_number, actor=actor, reason=reason)
        try:
            for response in self._stub.ExportEvidence(request, timeout=FILE_SECONDS):
                yield response.content
        except grpc.RpcError as error:
            raise read_failure(error) from error

    def act_on_finding(self, request: case_service_pb2.ActOnFindingRequest) -> case_pb2.FindingStanding:
        """Keep what a person makes of a finding."""
        return self._call(self._stub.ActOnFinding, request).standing
