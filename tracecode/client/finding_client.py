"""The finding queue as a program calls it: lists, counts, one finding, and a watch that goes on by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar

import grpc

from tracecode.client.actor import Metadata
from tracecode.client.case_client import Attempt
from tracecode.client.errors import Unanswered, read_failure
from tracecode.v1 import case_pb2, finding_service_pb2, finding_service_pb2_grpc

Request = TypeVar("Request")
Response = TypeVar("Response")

RETURN_SECONDS = 0.5
"""A watch that was ended, such as by a restart, begins again after so long."""


class FindingClient:
    """Calls the FindingService. Raises CallInvalid, NotKnown, Unanswered, ServerFault."""

    def __init__(
        self, channel: grpc.Channel, deadline_seconds: float, attempt: Attempt, metadata: Metadata
    ) -> None:
        """The channel stays the caller's to close. `metadata` names who asks."""
        self._stub = finding_service_pb2_grpc.FindingServiceStub(channel)
        self._deadline_seconds = deadline_seconds
        self._attempt = attempt
        self._metadata = metadata

    def _call(self, call: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        return self._attempt(
            lambda wait: call(
                request, timeout=self._deadline_seconds, wait_for_ready=wait, metadata=self._metadata
            )
        )

    def list_findings(
        self, request: finding_service_pb2.ListFindingsRequest
    ) -> Iterator[finding_service_pb2.FindingRecord]:
        """The findings that the request lets through, the gravest first, asked for page by page."""
        asked = finding_service_pb2.ListFindingsRequest()
        asked.CopyFrom(request)
        while True:
            page = self._call(self._stub.ListFindings, asked)
            yield from page.findings
            asked.page_token = page.next_page_token
            if not page.next_page_token:
                return

    def group_findings(
        self, request: finding_service_pb2.GroupFindingsRequest
    ) -> finding_service_pb2.GroupFindingsResponse:
        """How many there are, group by group."""
        return self._call(self._stub.GroupFindings, request)

    def get_finding(self, reference: case_pb2.FindingReference) -> finding_service_pb2.GetFindingResponse:
        """One finding with all that is known of it."""
        request = finding_service_pb2.GetFindingRequest(finding=reference)
        return self._call(self._stub.GetFinding, request)

    def list_rule_statistics(self) -> finding_service_pb2.ListRuleStatisticsResponse:
        """How often each rule found something, and how often it was right."""
        return self._call(self._stub.ListRuleStatistics, finding_service_pb2.ListRuleStatisticsRequest())

    def watch_findings(
        self, request: finding_service_pb2.WatchFindingsRequest, *, gone_seconds_max: float = 60.0
    ) -> Iterator[finding_service_pb2.WatchFindingsResponse]:
        """What changes, as it changes, without end; where a service ends the watch it goes on from the last
        cursor. Raises Unanswered when no service answered for `gone_seconds_max`."""
        asked = finding_service_pb2.WatchFindingsRequest()
        asked.CopyFrom(request)
        heard_at = time.monotonic()
        while True:
            try:
                for response in self._stub.WatchFindings(asked, wait_for_ready=True, metadata=self._metadata):
                    heard_at = time.monotonic()
                    asked.cursor = response.cursor
                    yield response
            except grpc.RpcError as error:
                failure = read_failure(error)
                gone = time.monotonic() - heard_at > gone_seconds_max
                if gone or not isinstance(failure, Unanswered):
                    raise failure from error
            time.sleep(RETURN_SECONDS)
