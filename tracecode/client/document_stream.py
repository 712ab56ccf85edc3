"""One RecordDocuments call, as a sender and receiver that one thread can use."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread
from types import TracebackType
from typing import Self

import grpc

from tracecode.client.errors import ServerFault, Unanswered, read_failure
from tracecode.v1 import document_pb2, finding_pb2, ledger_service_pb2, ledger_service_pb2_grpc

Answer = finding_pb2.Verdict | ledger_service_pb2.DocumentError

MESSAGE_DOCUMENTS_MAX = 1_000
"""Documents that the service takes in one message."""

MESSAGE_BYTES_MAX = 512 * 1024
"""Bytes of documents in one message of several. Far below what the service takes, since a document in which
everything is wrong is answered with fifty times its bytes."""


@dataclass(slots=True)
class PendingDocument:
    """A document on its way to an answer; `failures` counts the times the server had no room for it."""

    document: document_pb2.Document
    bytes: int
    answer: Answer | None = None
    failures: int = 0


def read_part(documents: Iterator[document_pb2.Document], documents_max: int) -> list[PendingDocument]:
    """The next documents, as many as fill a message; none after the last."""
    items: list[PendingDocument] = []
    bytes_total = 0
    while len(items) < documents_max and bytes_total < MESSAGE_BYTES_MAX:
        document = next(documents, None)
        if document is None:
            break
        items.append(PendingDocument(document, document.ByteSize()))
        bytes_total += items[-1].bytes
    return items


def cut_messages(items: Iterable[PendingDocument], documents_max: int) -> Iterator[list[PendingDocument]]:
    """The documents in order, cut into what one message takes. A document too large for any is alone."""
    message: list[PendingDocument] = []
    bytes_total = 0
    for item in items:
        if message and (len(message) >= documents_max or bytes_total + item.bytes > MESSAGE_BYTES_MAX):
            yield message
            message, bytes_total = [], 0
        message.append(item)
        bytes_total += item.bytes
    if message:
        yield message


class DocumentStream:
    """Sends messages of documents and gives back the answers, which come in the order of sending."""

    def __init__(self, stub: ledger_service_pb2_grpc.LedgerServiceStub, stall_seconds: float) -> None:
        """A stream that keeps its receiver waiting for `stall_seconds` is given up."""
        self.received = 0
        self._sent: deque[Sequence[PendingDocument]] = deque()
        self._feed: SimpleQueue[ledger_service_pb2.RecordDocumentsRequest | None] = SimpleQueue()
        self._call = stub.RecordDocuments(iter(self._feed.get, None), wait_for_ready=True)
        self._stall_seconds = stall_seconds
        self._receive_begin_seconds: float | None = None
        self._stalled = False
        self._closed = Event()
        # A deadline of gRPC would end a healthy stream too; this watches for silence only.
        self._watch = Thread(target=self._watch_for_stall, name="tracecode-stall", daemon=True)
        self._watch.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        # Ends gRPC's own thread, which waits for the next document.
        self._feed.put(None)
        self._call.cancel()
        self._watch.join()

    def send(self, items: Sequence[PendingDocument]) -> None:
        """Put one message of documents on its way; it does not wait."""
        self._sent.append(items)
        self._feed.put(
            ledger_service_pb2.RecordDocumentsRequest(
                requests=[ledger_service_pb2.RecordDocumentRequest(document=item.document) for item in items]
            )
        )

    def receive(self) -> Iterable[tuple[PendingDocument, ledger_service_pb2.RecordDocumentResult]]:
        """The documents of the next message in the order of sending, each with its result.

        Raises Unanswered, ServerFault.
        """
        self._receive_begin_seconds = time.monotonic()
        try:
            response = next(self._call)
        except grpc.RpcError as error:
            if self._stalled:
                raise Unanswered(
                    "DEADLINE_EXCEEDED", f"the stream gave no answer for {self._stall_seconds} s"
                ) from error
            raise read_failure(error) from error
        except StopIteration:
            raise ServerFault("INTERNAL", "the server ended the stream with documents unanswered") from None
        finally:
            self._receive_begin_seconds = None
        items = self._sent.popleft()
        if len(response.results) != len(items):
            refused = response.results[0].error if response.results else ledger_service_pb2.DocumentError()
            raise ServerFault(
                refused.reason or "INTERNAL",
                f"{len(items)} documents were sent and {len(response.results)} answered: {refused.message}",
                refused.field,
            )
        self.received += len(items)
        return zip(items, response.results, strict=True)

    def finish(self) -> None:
        """Nothing more will be sent and all is answered: let the server end the call."""
        self._feed.put(None)
        with suppress(Unanswered, ServerFault):
            self.receive()

    def _watch_for_stall(self) -> None:
        while not self._closed.wait(self._stall_seconds / 4):
            begin_seconds = self._receive_begin_seconds
            if begin_seconds is not None and time.monotonic() - begin_seconds > self._stall_seconds:
                self._stalled = True
                self._call.cancel()
                return
