"""Draws, self-checks and inspections as a program calls them, over the connection of a `LedgerClient`."""

from __future__ import annotations

import uuid
from typing import TypeVar

import grpc

from tracecode.client.case_client import FILE_SECONDS, Attempt
from tracecode.v1 import inspection_pb2, inspection_service_pb2, inspection_service_pb2_grpc

Request = TypeVar("Request")
Response = TypeVar("Response")


class InspectionClient:
    """Calls the InspectionService. Raises CallInvalid, StateConflict, NotKnown, Unanswered, ServerFault. What
    opens something and has no request_id is given one, so that it may be tried again."""

    def __init__(self, channel: grpc.Channel, deadline_seconds: float, attempt: Attempt) -> None:
        """The channel stays the caller's to close."""
        self._stub = inspection_service_pb2_grpc.InspectionServiceStub(channel)
        self._deadline_seconds = deadline_seconds
        self._attempt = attempt

    def _call(
        self,
        call: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        deadline_seconds: float = 0,
    ) -> Response:
        timeout = deadline_seconds or self._deadline_seconds
        return self._attempt(lambda wait: call(request, timeout=timeout, wait_for_ready=wait))

    def announce_draw(self, request: inspection_service_pb2.AnnounceDrawRequest) -> inspection_pb2.Draw:
        """Say what will be drawn from."""
        named = inspection_service_pb2.AnnounceDrawRequest()
        named.CopyFrom(request)
        named.request_id = request.request_id or str(uuid.uuid4())
        return self._call(self._stub.AnnounceDraw, named).draw

    def perform_draw(self, request: inspection_service_pb2.PerformDrawRequest) -> inspection_pb2.Draw:
        """Draw by the seed."""
        return self._call(self._stub.PerformDraw, request).draw

    def get_draw(self, draw_number: str) -> inspection_pb2.Draw:
        """A draw by its number."""
        request = inspection_service_pb2.GetDrawRequest(draw_number=draw_number)
        return self._call(self._stub.GetDraw, request).draw

    def issue_self_check(
        self, request: inspection_service_pb2.IssueSelfCheckRequest
    ) -> inspection_pb2.SelfCheck:
        """Ask an institution about itself."""
        named = inspection_service_pb2.IssueSelfCheckRequest()
        named.CopyFrom(request)
        named.request_id = request.request_id or str(uuid.uuid4())
        return self._call(self._stub.IssueSelfCheck, named).self_check

    def answer_self_check(
        self, request: inspection_service_pb2.AnswerSelfCheckRequest
    ) -> inspection_pb2.SelfCheck:
        """Answer all questions."""
        return self._call(self._stub.AnswerSelfCheck, request).self_check

    def get_self_check(self, self_check_number: str) -> inspection_pb2.SelfCheck:
        """A self-check by its number."""
        request = inspection_service_pb2.GetSelfCheckRequest(self_check_number=self_check_number)
        return self._call(self._stub.GetSelfCheck, request).self_check

    def open_inspection(
        self, request: inspection_service_pb2.OpenInspectionRequest
    ) -> inspection_pb2.Inspection:
        """Begin to scan a shelf."""
        named = inspection_service_pb2.OpenInspectionRequest()
        named.CopyFrom(request)
        named.request_id = request.request_id or str(uuid.uuid4())
        return self._call(self._stub.OpenInspection, named).inspection

    def scan_shelf(self, request: inspection_service_pb2.ScanShelfRequest) -> inspection_pb2.Inspection:
        """Keep scans of what stands there."""
        return self._call(self._stub.ScanShelf, request).inspection

    def close_inspection(
        self, request: inspection_service_pb2.CloseInspectionRequest
    ) -> inspection_pb2.Inspection:
        """Compare the shelf with the ledger; waits as long as that takes."""
        return self._call(self._stub.CloseInspection, request, FILE_SECONDS).inspection

    def get_inspection(self, inspection_number: str) -> inspection_pb2.Inspection:
        """An inspection by its number."""
        request = inspection_service_pb2.GetInspectionRequest(inspection_number=inspection_number)
        return self._call(self._stub.GetInspection, request).inspection
