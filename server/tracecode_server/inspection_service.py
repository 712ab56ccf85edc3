"""tracecode.v1.InspectionService: each method checks, asks the desk, converts."""

from __future__ import annotations

from tracecode.inspections import Inspections
from tracecode.v1 import inspection_pb2, inspection_service_pb2
from tracecode_server.read_pool import ReadPool


class InspectionService:
    """Answers for draws, self-checks and inspections. Raises the ledger's errors; `Methods` turns them into
    statuses."""

    def __init__(self, inspections: Inspections, reads: ReadPool) -> None:
        self._inspections = inspections
        self._reads = reads

    async def AnnounceDraw(
        self, request: inspection_service_pb2.AnnounceDrawRequest
    ) -> inspection_service_pb2.AnnounceDrawResponse:
        draw = await self._reads.run(self._inspections.announce_draw, request)
        return inspection_service_pb2.AnnounceDrawResponse(draw=draw)

    async def PerformDraw(
        self, request: inspection_service_pb2.PerformDrawRequest
    ) -> inspection_service_pb2.PerformDrawResponse:
        draw = await self._reads.run(self._inspections.perform_draw, request)
        return inspection_service_pb2.PerformDrawResponse(draw=draw)

    async def GetDraw(
        self, request: inspection_service_pb2.GetDrawRequest
    ) -> inspection_service_pb2.GetDrawResponse:
        draw = await self._reads.run(self._inspections.find, request.draw_number, inspection_pb2.Draw)
        return inspection_service_pb2.GetDrawResponse(draw=draw)

    async def IssueSelfCheck(
        self, request: inspection_service_pb2.IssueSelfCheckRequest
    ) -> inspection_service_pb2.IssueSelfCheckResponse:
        self_check = await self._reads.run(self._inspections.issue_self_check, request)
        return inspection_service_pb2.IssueSelfCheckResponse(self_check=self_check)

    async def AnswerSelfCheck(
        self, request: inspection_service_pb2.AnswerSelfCheckRequest
    ) -> inspection_service_pb2.AnswerSelfCheckResponse:
        self_check = await self._reads.run(self._inspections.answer_self_check, request)
        return inspection_service_pb2.AnswerSelfCheckResponse(self_check=self_check)

    async def GetSelfCheck(
        self, request: inspection_service_pb2.GetSelfCheckRequest
    ) -> inspection_service_pb2.GetSelfCheckResponse:
        self_check = await self._reads.run(
            self._inspections.find, request.self_check_number, inspection_pb2.SelfCheck
        )
        return inspection_service_pb2.GetSelfCheckResponse(self_check=self_check)

    async def OpenInspection(
        self, request: inspection_service_pb2.OpenInspectionRequest
    ) -> inspection_service_pb2.OpenInspectionResponse:
        inspection = await self._reads.run(self._inspections.open_inspection, request)
        return inspection_service_pb2.OpenInspectionResponse(inspection=inspection)

    async def ScanShelf(
        self, request: inspection_service_pb2.ScanShelfRequest
    ) -> inspection_service_pb2.ScanShelfResponse:
        inspection = await self._reads.run(self._inspections.scan_shelf, request)
        return inspection_service_pb2.ScanShelfResponse(inspection=inspection)

    async def CloseInspection(
        self, request: inspection_service_pb2.CloseInspectionRequest
    ) -> inspection_service_pb2.CloseInspectionResponse:
        inspection = await self._reads.run(self._inspections.close_inspection, request)
        return inspection_service_pb2.CloseInspectionResponse(inspection=inspection)

    async def GetInspection(
        self, request: inspection_service_pb2.GetInspectionRequest
    ) -> inspection_service_pb2.GetInspectionResponse:
        inspection = await self._reads.run(
            self._inspections.find, request.inspection_number, inspection_pb2.Inspection
        )
        return inspection_service_pb2.GetInspectionResponse(inspection=inspection)
