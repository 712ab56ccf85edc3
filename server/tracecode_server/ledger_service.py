"""tracecode.v1.LedgerService: each method checks, asks the ledger, converts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from functools import partial

from tracecode.errors import DocumentRejected, FieldInvalid, Overloaded, TracecodeError
from tracecode.ledger import Ledger
from tracecode.regulator import Regulator
from tracecode.v1 import document_pb2, finding_pb2, ledger_service_pb2
from tracecode_server.asker import is_named, name_asker
from tracecode_server.company import Company
from tracecode_server.crossing import Crossing
from tracecode_server.envelope import count_requests, wrap_request, wrap_results, wrap_verdict
from tracecode_server.errors import Draining, MessageMalformed
from tracecode_server.method import PEER, from_bytes, parse
from tracecode_server.metrics import Metrics
from tracecode_server.read_pool import ReadPool
from tracecode_server.status import refuse, to_document_error
from tracecode_server.window import Window

# The method that takes a kind of content, for the sentence that sends a caller there.
METHODS = {
    "sale": "RecordSale",
    "sale_return": "RecordSaleReturn",
    "receipt": "RecordReceipt",
    "purchase_return": "RecordPurchaseReturn",
    "stock_change": "RecordStockChange",
    "stock_count": "RecordStockCount",
    "deletion": "DeleteDocument",
}

# What is wrong with a document or a message of a stream is answered there; anything else ends the stream.
ANSWERED_IN_STREAM = (DocumentRejected, MessageMalformed, Overloaded)

# Documents in one message of a stream. Many enough that a message's own cost is lost in theirs; with the
# bound on a message's bytes it bounds the answer.
MESSAGE_DOCUMENTS_MAX = 1_000
# Documents read one by one, or verdicts written, before another caller has its turn in the event loop.
TURN_DOCUMENTS = 64

# A stream whose host has much work waiting is looked at again so often.
BEHIND_SECONDS = 0.05

# What stands for a message of a stream until it is answered: one future for all its documents, or, where
# they are read one by one, for each what it waits for or why it was not taken.
Replies = asyncio.Future[list[bytes | Exception]]
Each = list[asyncio.Future[finding_pb2.Verdict] | TracecodeError]
Pending = Replies | asyncio.Task[Each] | Each


class LedgerService:
    """Answers for a ledger. Raises the ledger's errors; `Methods` turns them into statuses."""

    def __init__(
        self,
        ledger: Ledger,
        regulator: Regulator,
        questions: ReadPool,
        reads: ReadPool,
        metrics: Metrics,
        stream_documents_max: int,
        stream_bytes_max: int,
        read_views: Callable[[], ledger_service_pb2.ViewStatus | None] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._regulator = regulator
        self._questions = questions
        self._reads = reads
        self._metrics = metrics
        self._stream_documents_max = stream_documents_max
        self._stream_bytes_max = stream_bytes_max
        self._read_views = read_views
        self._crossing = Crossing()
        # Of the documents that come in unary calls and can be taken as bytes, by their kind.
        self._companies = {
            kind: Company(partial(self._submit_requests, kind=kind))
            for kind in (document_pb2.DOCUMENT_KIND_SALE, document_pb2.DOCUMENT_KIND_RECEIPT)
        }
        self._readers: set[asyncio.Task[None]] = set()

    @from_bytes
    async def VerifyCodes(self, raw: bytes) -> bytes:
        plain = self._ledger.verify_plain(raw)
        if plain is not None:
            return plain
        request = parse(ledger_service_pb2.VerifyCodesRequest, raw)
        # In a thread: it waits for the engine's lock, which a commit may hold for milliseconds.
        return (await self._questions.run(self._ledger.verify, request)).SerializeToString()

    @from_bytes
    async def RecordSale(self, raw: bytes) -> bytes:
        reply = await self._submit_bytes(raw, document_pb2.DOCUMENT_KIND_SALE)
        if reply is not None:
            return reply
        request = parse(ledger_service_pb2.RecordSaleRequest, raw)
        check_content(request.document, "sale")
        verdict = await self._submit(request.document, request.request_id)
        return ledger_service_pb2.RecordSaleResponse(verdict=verdict).SerializeToString()

    async def RecordSaleReturn(
        self, request: ledger_service_pb2.RecordSaleReturnRequest
    ) -> ledger_service_pb2.RecordSaleReturnResponse:
        check_content(request.document, "sale_return")
        verdict = await self._submit(request.document, request.request_id)
        return ledger_service_pb2.RecordSaleReturnResponse(verdict=verdict)

    @from_bytes
    async def RecordReceipt(self, raw: bytes) -> bytes:
        reply = await self._submit_bytes(raw, document_pb2.DOCUMENT_KIND_RECEIPT)
        if reply is not None:
            return reply
        request = parse(ledger_service_pb2.RecordReceiptRequest, raw)
        check_content(request.document, "receipt")
        verdict = await self._submit(request.document, request.request_id)
        return ledger_service_pb2.RecordReceiptResponse(verdict=verdict).SerializeToString()

    async def RecordPurchaseReturn(
        self, request: ledger_service_pb2.RecordPurchaseReturnRequest
    ) -> ledger_service_pb2.RecordPurchaseReturnResponse:
        check_content(request.document, "purchase_return")
        verdict = await self._submit(request.document, request.request_id)
        return ledger_service_pb2.RecordPurchaseReturnResponse(verdict=verdict)

    async def RecordStockChange(
        self, request: ledger_service_pb2.RecordStockChangeRequest
    ) -> ledger_service_pb2.RecordStockChangeResponse:
        check_content(request.document, "stock_change")
        verdict = await self._submit(request.document, request.request_id)
        return ledger_service_pb2.RecordStockChangeResponse(verdict=verdict)

    async def RecordStockCount(
        self, request: ledger_service_pb2.RecordStockCountRequest
    ) -> ledger_service_pb2.RecordStockCountResponse:
        check_content(request.document, "stock_count")
        verdict = await self._submit(request.document, request.request_id)
        return ledger_service_pb2.RecordStockCountResponse(verdict=verdict)

    async def DeleteDocument(
        self, request: ledger_service_pb2.DeleteDocumentRequest
    ) -> ledger_service_pb2.DeleteDocumentResponse:
        check_content(request.document, "deletion")
        verdict = await self._submit(request.document, request.request_id)
        return ledger_service_pb2.DeleteDocumentResponse(verdict=verdict)

    async def RecordDocuments(self, messages: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Reads ahead as far as the window allows, so that messages of one stream share a commit."""
        window = Window[Pending](self._stream_documents_max, self._stream_bytes_max)
        reader = asyncio.create_task(self._read_messages(messages, window))
        self._readers.add(reader)
        position = 0
        try:
            while (taken := await window.take()) is not None:
                results = await settle(taken.item, taken.documents)
                yield wrap_results(position, results)
                window.release(taken)
                position += len(results)
            await asyncio.wait({reader})
            if reader.cancelled():
                raise Draining("the service is stopping; send again what has no answer")
            reader.result()
        finally:
            self._readers.discard(reader)
            reader.cancel()

    async def GetCode(self, request: ledger_service_pb2.GetCodeRequest) -> ledger_service_pb2.GetCodeResponse:
        if is_named():
            return await self._reads.run(self._regulator.get_code, name_asker(), request)
        return await self._reads.run(self._ledger.get_code, request.code)

    async def ListCodeEvents(
        self, request: ledger_service_pb2.ListCodeEventsRequest
    ) -> ledger_service_pb2.ListCodeEventsResponse:
        if is_named():
            return await self._reads.run(self._regulator.list_code_events, name_asker(), request)
        return await self._reads.run(self._ledger.list_code_events, request)

    async def GetDocument(
        self, request: ledger_service_pb2.GetDocumentRequest
    ) -> ledger_service_pb2.GetDocumentResponse:
        if is_named():
            return await self._reads.run(self._regulator.get_document, name_asker(), request)
        return await self._reads.run(self._ledger.get_document, request)

    async def ListStock(
        self, request: ledger_service_pb2.ListStockRequest
    ) -> ledger_service_pb2.ListStockResponse:
        if is_named():
            return await self._reads.run(self._regulator.list_stock, name_asker(), request)
        return await self._reads.run(self._ledger.list_stock, request)

    async def GetServiceInfo(
        self, request: ledger_service_pb2.GetServiceInfoRequest
    ) -> ledger_service_pb2.GetServiceInfoResponse:
        info = self._ledger.service_info()
        views = await self._reads.run(self._read_views)
        if views is not None:
            info.views.CopyFrom(views)
        return info

    def drain(self) -> None:
        """Read no more documents from any stream; what was read is still answered."""
        for reader in self._readers:
            reader.cancel()

    async def _submit_bytes(self, request: bytes, kind: document_pb2.DocumentKind.ValueType) -> bytes | None:
        """The response to a unary request of that kind; None where it takes the message to answer it."""
        reply = await self._companies[kind].add(wrap_request(request))
        if isinstance(reply, BaseException):
            raise reply
        return None if reply is None else wrap_verdict(reply)

    def _submit_requests(
        self,
        message: bytes,
        documents: int,
        kind: document_pb2.DocumentKind.ValueType = document_pb2.DOCUMENT_KIND_UNSPECIFIED,
        source: str = "",
    ) -> Replies | None:
        try:
            future = self._ledger.submit_requests(message, kind, source)
        except TracecodeError as error:
            self._metrics.count_rejections([error] * documents)
            raise
        return None if future is None else self._crossing.bring(future, self._count_replies)

    def _submit(
        self, document: document_pb2.Document, request_id: str
    ) -> asyncio.Future[finding_pb2.Verdict]:
        try:
            future = self._ledger.submit(document, request_id, source=PEER.get(""))
        except TracecodeError as error:
            self._metrics.count_rejections([error])
            raise
        return self._crossing.bring(future, self._count_verdict)

    def _count_replies(self, future: Future[list[bytes | Exception]]) -> None:
        error = future.exception()
        if error is None:
            replies = future.result()
            self._metrics.count_replies(reply for reply in replies if isinstance(reply, bytes))
            self._metrics.count_rejections(reply for reply in replies if not isinstance(reply, bytes))
        else:
            self._metrics.count_rejections([error])

    def _count_verdict(self, future: Future[finding_pb2.Verdict]) -> None:
        error = future.exception()
        if error is None:
            self._metrics.count_verdicts([future.result()])
        else:
            self._metrics.count_rejections([error])

    async def _read_messages(self, messages: AsyncIterator[bytes], window: Window[Pending]) -> None:
        try:
            async for message in messages:
                refused: TracecodeError | None = None
                try:
                    documents = count_documents(message)
                except TracecodeError as error:
                    refused, documents = error, 1
                await window.wait_for_room(documents, len(message))
                while self._ledger.is_behind(PEER.get("")):
                    await asyncio.sleep(BEHIND_SECONDS)
                pending: Pending = [refused] if refused else self._submit_message(message, documents)
                window.put(pending, documents, len(message))
                if isinstance(pending, asyncio.Task):
                    # Documents are taken in the order of the stream. A drain ends this wait, not the task.
                    await asyncio.wait({pending})
        finally:
            window.end()

    def _submit_message(self, message: bytes, documents: int) -> Pending:
        if not documents:
            return []
        try:
            replies = self._submit_requests(message, documents, source=PEER.get(""))
            if replies is not None:
                return replies
        except TracecodeError as error:
            return [error] * documents
        try:
            request = parse(ledger_service_pb2.RecordDocumentsRequest, message)
        except MessageMalformed as error:
            return [error]
        return asyncio.create_task(self._submit_each(request.requests))

    async def _submit_each(self, requests: Iterable[ledger_service_pb2.RecordDocumentRequest]) -> Each:
        submitted: Each = []
        for request in requests:
            if submitted and len(submitted) % TURN_DOCUMENTS == 0:
                await asyncio.sleep(0)
            try:
                submitted.append(self._submit(request.document, request.request_id))
            except TracecodeError as error:
                submitted.append(error)
        return submitted


def count_documents(message: bytes) -> int:
    """How many documents a message of a stream holds. Raises MessageMalformed, FieldInvalid (too many)."""
    documents = count_requests(message)
    if documents is None:
        # A field that this release does not know, or nonsense.
        documents = len(parse(ledger_service_pb2.RecordDocumentsRequest, message).requests)
    if documents > MESSAGE_DOCUMENTS_MAX:
        raise FieldInvalid(
            "requests", f"{documents:,} in one message; send at most {MESSAGE_DOCUMENTS_MAX:,} in each"
        )
    return documents


async def settle(pending: Pending, documents: int) -> list[bytes | ledger_service_pb2.DocumentError]:
    """The results of a message's documents, once they are there. Raises what ends the stream."""
    if isinstance(pending, list):
        return await settle_each(pending)
    if isinstance(pending, asyncio.Task):
        return await settle_each(await pending)
    try:
        replies = await pending
    except ANSWERED_IN_STREAM as error:
        return [answer_error(error)] * documents
    return [reply if isinstance(reply, bytes) else answer_error(reply) for reply in replies]


async def settle_each(pending: Each) -> list[bytes | ledger_service_pb2.DocumentError]:
    """The results of documents that were read one by one. Raises what ends the stream."""
    results: list[bytes | ledger_service_pb2.DocumentError] = []
    for submitted in pending:
        if results and len(results) % TURN_DOCUMENTS == 0:
            await asyncio.sleep(0)
        try:
            if isinstance(submitted, TracecodeError):
                raise submitted
            results.append((await submitted).SerializeToString())
        except ANSWERED_IN_STREAM as error:
            results.append(answer_error(error))
    return results


def answer_error(error: Exception) -> ledger_service_pb2.DocumentError:
    """What is answered in the place of a document. Raises the error if it ends the stream."""
    if isinstance(error, ANSWERED_IN_STREAM):
        return to_document_error(refuse(error))
    raise error


def check_content(document: document_pb2.Document, kind: str) -> None:
    """Raises FieldInvalid unless the document's content is of this kind (a name of the oneof)."""
    found = document.WhichOneof("content")
    if found == kind:
        return
    if found is None:
        raise FieldInvalid(f"document.{kind}", f"is missing; {METHODS[kind]} takes a document that has it")
    raise FieldInvalid(
        f"document.{kind}", f"is missing: this document has {found}, which {METHODS[found]} takes"
    )
