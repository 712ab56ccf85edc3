"""Screenings of the same service as a program calls them.

Whatever is asked may be asked twice: a screening that is under way is found again. So what may pass is tried
again, as by `LedgerClient`, whose connection this is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import grpc

from tracecode.client.case_client import Attempt
from tracecode.v1 import screening_service_pb2, screening_service_pb2_grpc

Request = TypeVar("Request")
Response = TypeVar("Response")


class ScreeningClient:
    """Calls the ScreeningService. Raises CallInvalid, NotKnown, Unanswered, ServerFault."""

    def __init__(self, channel: grpc.Channel, deadline_seconds: float, attempt: Attempt) -> None:
        """The channel stays the caller's to close."""
        self._stub = screening_service_pb2_grpc.ScreeningServiceStub(channel)
        self._deadline_seconds = deadline_seconds
        self._attempt = attempt

    def _call(self, call: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        return self._attempt(lambda wait: call(request, timeout=self._deadline_seconds, wait_for_ready=wait))

    def start_screening(
        self, request: screening_service_pb2.StartScreeningRequest
    ) -> screening_service_pb2.Screening:
        """Screen a period, or find the screening of it that is under way."""
        return self._call(self._stub.StartScreening, request).screening

    def get_screening(self, screening_id: str) -> screening_service_pb2.Screening:
        """How far a screening is."""
        request = screening_service_pb2.GetScreeningRequest(screening_id=screening_id)
        return self._call(self._stub.GetScreening, request).screening

    def cancel_screening(self, screening_id: str) -> screening_service_pb2.Screening:
        """End a screening."""
        request = screening_service_pb2.CancelScreeningRequest(screening_id=screening_id)
        return self._call(self._stub.CancelScreening, request).screening

    def list_screenings(self) -> Iterator[screening_service_pb2.Screening]:
        """All screenings, the newest first, asked for page by page."""
        request = screening_service_pb2.ListScreeningsRequest()
        while True:
            page = self._call(self._stub.ListScreenings, request)
            yield from page.screenings
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return

    def list_leads(
        self, request: screening_service_pb2.ListLeadsRequest
    ) -> Iterator[screening_service_pb2.Lead]:
        """The leads that the request lets through, asked for page by page."""
        asked = screening_service_pb2.ListLeadsRequest()
        asked.CopyFrom(request)
        while True:
            page = self._call(self._stub.ListLeads, asked)
            yield from page.leads
            asked.page_token = page.next_page_token
            if not page.next_page_token:
                return

    def list_scores(
        self, request: screening_service_pb2.ListScoresRequest
    ) -> Iterator[screening_service_pb2.SubjectScore]:
        """The scores that the request lets through, the worst first, asked for page by page."""
        asked = screening_service_pb2.ListScoresRequest()
        asked.CopyFrom(request)
        while True:
            page = self._call(self._stub.ListScores, asked)
            yield from page.scores
            asked.page_token = page.next_page_token
            if not page.next_page_token:
                return
