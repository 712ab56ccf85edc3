"""tracecode.v1.HistoryService: each method names who asks and asks the history."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tracecode.history import History
from tracecode.v1 import history_service_pb2
from tracecode_server.asker import name_asker
from tracecode_server.read_pool import ReadPool


class HistoryService:
    """Answers for the history of a ledger. Raises its errors; `Methods` turns them into statuses."""

    def __init__(self, history: History, reads: ReadPool) -> None:
        self._history = history
        self._reads = reads

    async def ListHistory(
        self, request: history_service_pb2.ListHistoryRequest
    ) -> history_service_pb2.ListHistoryResponse:
        return await self._reads.run(self._history.list_history, name_asker(), request)

    async def ListDocuments(
        self, request: history_service_pb2.ListDocumentsRequest
    ) -> history_service_pb2.ListDocumentsResponse:
        return await self._reads.run(self._history.list_documents, name_asker(), request)

    async def ExportHistory(
        self, request: history_service_pb2.ExportHistoryRequest
    ) -> AsyncIterator[history_service_pb2.ExportHistoryResponse]:
        responses = await self._reads.run(self._history.export_history, name_asker(), request)
        try:
            while True:
                # A turn for each message: a long export waits for others, too.
                response = await self._reads.run(next, responses, None)
                if response is None:
                    return
                yield response
        finally:
            responses.close()

    async def GetCodeHistory(
        self, request: history_service_pb2.GetCodeHistoryRequest
    ) -> history_service_pb2.GetCodeHistoryResponse:
        return await self._reads.run(self._history.get_code_history, name_asker(), request)
