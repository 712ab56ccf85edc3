"""tracecode.v1.LedgerService: each method checks, asks the ledger, converts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from tracecode.errors import DocumentRejected, FieldInvalid, Overloaded, TracecodeError
from tracecode.ledger import Ledger
from tracecode.v1 import document_pb2, finding_pb2, ledger_service_pb2
from tracecode_server.errors import Draining, MessageMalformed
from tracecode_server.method import parse
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

# What is wrong with one document of a stream is answered there; anything else ends the stream.
ONE_DOCUMENT = (DocumentRejected, MessageMalformed, Overloaded)


class LedgerService:
    """Answers for a ledger. Raises the ledger's errors; `Methods` turns them into statuses."""

    def __init__(
        self,
        ledger: Ledger,
        reads: ReadPool,
        metrics: Metrics,
        stream_documents_max: int,
        stream_bytes_max: int,
    ) -> None:
        self._ledger = ledger
        self._reads = reads
        self._metrics = metrics
        self._stream_documents_max = stream_documents_max
        self._stream_bytes_max = stream_bytes_max
        self._readers: set[asyncio.Task[None]] = set()

    async def VerifyCodes(
        self, request: ledger_service_pb2.VerifyCodesRequest
    ) -> ledger_service_pb2.VerifyCodesResponse:
        # In a thread: it waits for the engine's lock, which a commit may hold for milliseconds.
        return await self._reads.run(self._ledger.verify, request)

    async def RecordSale(
        self, request: ledger_service_pb2.RecordSaleRequest
    ) -> ledger_service_pb2.RecordSaleResponse:
        check_content(request.document, "sale")
        verdict = await self._submit(request.document, request.request_id)
        return ledger_service_pb2.RecordSaleResponse(verdict=verdict)

    async def RecordSaleReturn(
        self, request: ledger_service_pb2.RecordSaleReturnRequest
    ) -> ledger_service_pb2.RecordSaleReturnResponse:
        check_content(request.document, "sale_return")
        verdict = await self._submit(request.document, request.request_id)
        return ledger_service_pb2.RecordSaleReturnResponse(verdict=verdict)

    async def RecordReceipt(
        self, request: ledger_service_pb2.RecordReceiptRequest
    ) -> ledger_service_pb2.RecordReceiptResponse:
        check_content(request.document, "receipt")
        verdict = await self._submit(request.document, request.request_id)
        return ledger_service_pb2.RecordReceiptResponse(verdict=verdict)

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

    async def RecordDocuments(
        self, messages: AsyncIterator[bytes]
    ) -> AsyncGenerator[ledger_service_pb2.RecordDocumentsResponse, None]:
        """Reads ahead as far as the window allows, so that documents of one stream share a commit."""
        window = Window[asyncio.Future[finding_pb2.Verdict] | TracecodeError](
            self._stream_documents_max, self._stream_bytes_max
        )
        reader = asyncio.create_task(self._read_documents(messages, window))
        self._readers.add(reader)
        position = 0
        try:
            while (taken := await window.take()) is not None:
                pending, size = taken
                response = ledger_service_pb2.RecordDocumentsResponse(position=position)
                try:
                    if isinstance(pending, TracecodeError):
                        raise pending
                    response.verdict.CopyFrom(await pending)
                except ONE_DOCUMENT as error:
                    response.error.CopyFrom(to_document_error(refuse(error)))
                yield response
                window.release(size)
                position += 1
            await asyncio.wait({reader})
            if reader.cancelled():
                raise Draining("the service is stopping; send again what has no answer")
            reader.result()
        finally:
            self._readers.discard(reader)
            reader.cancel()

    async def GetCode(self, request: ledger_service_pb2.GetCodeRequest) -> ledger_service_pb2.GetCodeResponse:
        return await self._reads.run(self._ledger.get_code, request.code)

    async def ListCodeEvents(
        self, request: ledger_service_pb2.ListCodeEventsRequest
    ) -> ledger_service_pb2.ListCodeEventsResponse:
        return await self._reads.run(self._ledger.list_code_events, request)

    async def GetDocument(
        self, request: ledger_service_pb2.GetDocumentRequest
    ) -> ledger_service_pb2.GetDocumentResponse:
        return await self._reads.run(self._ledger.get_document, request)

    async def ListStock(
        self, request: ledger_service_pb2.ListStockRequest
    ) -> ledger_service_pb2.ListStockResponse:
        return await self._reads.run(self._ledger.list_stock, request)

    async def GetServiceInfo(
        self, request: ledger_service_pb2.GetServiceInfoRequest
    ) -> ledger_service_pb2.GetServiceInfoResponse:
        return self._ledger.service_info()

    def drain(self) -> None:
        """Read no more documents from any stream; what was read is still answered."""
        for reader in self._readers:
            reader.cancel()

    def _submit(
        self, document: document_pb2.Document, request_id: str
    ) -> asyncio.Future[finding_pb2.Verdict]:
        try:
            future = asyncio.wrap_future(self._ledger.submit(document, request_id))
        except TracecodeError as error:
            self._metrics.count_rejection(refuse(error).row.reason)
            raise
        future.add_done_callback(self._count)
        return future

    def _count(self, future: asyncio.Future[finding_pb2.Verdict]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._metrics.count_verdict(future.result())
        else:
            self._metrics.count_rejection(refuse(error).row.reason)

    async def _read_documents(
        self,
        messages: AsyncIterator[bytes],
        window: Window[asyncio.Future[finding_pb2.Verdict] | TracecodeError],
    ) -> None:
        try:
            async for raw in messages:
                await window.wait_for_room(len(raw))
                try:
                    request = parse(ledger_service_pb2.RecordDocumentsRequest, raw)
                    window.put(self._submit(request.document, request.request_id), len(raw))
                except TracecodeError as error:
                    window.put(error, len(raw))
        finally:
            window.end()


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
