"""What a regulator's program calls: lists, an export, a code's life. Each call says who asks, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc

from tracecode.client.actor import name_actor
from tracecode.client.errors import Unanswered, read_failure
from tracecode.v1 import history_service_pb2, history_service_pb2_grpc

ANSWER_BYTES_MAX = 64 * 1024 * 1024
PAGE_SIZE = 500


class HistoryClient:
    """Asks one service. Safe to share between threads; close it, or use it as a context manager."""

    def __init__(
        self,
        target: str,
        actor: str,
        reason: str = "",
        *,
        deadline_seconds: float = 30.0,
        attempts: int = 3,
    ) -> None:
        """`target` is host:port; `actor` stands in the service's file of grants. What is asked is kept there
        with `reason`. An export that breaks off is taken up again, `attempts` times without a message."""
        self._metadata = name_actor(actor, reason)
        self._deadline_seconds = deadline_seconds
        self._attempts = attempts
        self._channel = grpc.insecure_channel(
            target, options=[("grpc.max_receive_message_length", ANSWER_BYTES_MAX)]
        )
        self._stub = history_service_pb2_grpc.HistoryServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the connection. Safe to call twice."""
        self._channel.close()

    def list_history(
        self, filter_text: str = "", order_by: str = ""
    ) -> Iterator[history_service_pb2.HistoryLine]:
        """Lines, page by page as they are wanted. Raises CallFailed."""
        request = history_service_pb2.ListHistoryRequest(
            filter=filter_text, order_by=order_by, page_size=PAGE_SIZE
        )
        for page in self._pages(self._stub.ListHistory, request):
            yield from page.lines

    def list_documents(
        self, filter_text: str = "", order_by: str = ""
    ) -> Iterator[history_service_pb2.HistoryDocument]:
        """Documents, page by page as they are wanted. Raises CallFailed."""
        request = history_service_pb2.ListDocumentsRequest(
            filter=filter_text, order_by=order_by, page_size=PAGE_SIZE
        )
        for page in self._pages(self._stub.ListDocuments, request):
            yield from page.documents

    def get_code_history(self, code: str) -> Iterator[history_service_pb2.CodeLifeEvent]:
        """A code's life, oldest first, as far as the actor may see it. Raises CallFailed."""
        request = history_service_pb2.GetCodeHistoryRequest(code=code, page_size=PAGE_SIZE)
        for page in self._pages(self._stub.GetCodeHistory, request):
            yield from page.events

    def export_history(
        self, filter_text: str = "", after_sequence: int = 0
    ) -> Iterator[history_service_pb2.HistoryLine]:
        """All lines in the order of entries, however many. Raises CallFailed."""
        request = history_service_pb2.ExportHistoryRequest(
            filter=filter_text,
            format=history_service_pb2.EXPORT_FORMAT_ROWS,
            after_sequence=after_sequence,
        )
        failures = 0
        while True:
            try:
                for message in self._stub.ExportHistory(request, metadata=self._metadata):
                    yield from message.lines
                    request.after_sequence = message.sequence
                    request.as_of_sequence = message.as_of_sequence
                    failures = 0
                    if message.complete:
                        return
            except grpc.RpcError as error:
                failure = read_failure(error)
                failures += 1
                if failures >= self._attempts or not isinstance(failure, Unanswered):
                    raise failure from error

    def _pages(self, ask: Callable[..., Any], request: Any) -> Iterator[Any]:
        while True:
            try:
                page = ask(request, metadata=self._metadata, timeout=self._deadline_seconds)
            except grpc.RpcError as error:
                raise read_failure(error) from error
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
