"""One RecordDocuments call, as a sender and receiver that one thread can use."""

from __future__ import annotations

import time
from collections import deque
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


@dataclass(slots=True)
class PendingDocument:
    """A document on its way to an answer; `failures` counts the times the server had no room for it."""

    document: document_pb2.Document
    answer: Answer | None = None
    failures: int = 0


class DocumentStream:
    """Sends documents and gives back the answers, which come in the order of sending."""

    def __init__(self, stub: ledger_service_pb2_grpc.LedgerServiceStub, stall_seconds: float) -> None:
        """A stream that keeps its receiver waiting for `stall_seconds` is given up."""
        self.received = 0
        self._sent: deque[PendingDocument] = deque()
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

    def send(self, item: PendingDocument) -> None:
        """Put a document on its way; it does not wait."""
        self._sent.append(item)
        self._feed.put(ledger_service_pb2.RecordDocumentsRequest(document=item.document))

    def receive(self) -> tuple[PendingDocument, ledger_service_pb2.RecordDocumentsResponse]:
        """The next document in the order of sending, and its answer. Raises Unanswered, ServerFault."""
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
        self.received += 1
        return self._sent.popleft(), response

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
