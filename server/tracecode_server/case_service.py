"""tracecode.v1.CaseService: each method checks, asks the desk, converts."""

from __future__ import annotations

from tracecode.desk import Desk
from tracecode.v1 import case_service_pb2
from tracecode_server.read_pool import ReadPool


class CaseService:
    """Answers for the desk of a ledger. Raises the ledger's errors; `Methods` turns them into statuses."""

    def __init__(self, desk: Desk, reads: ReadPool) -> None:
        self._desk = desk
        self._reads = reads

    async def OpenCase(self, request: case_service_pb2.OpenCaseRequest) -> case_service_pb2.OpenCaseResponse:
        case = await self._reads.run(self._desk.open_case, request)
        return case_service_pb2.OpenCaseResponse(case=case)

    async def GetCase(self, request: case_service_pb2.GetCaseRequest) -> case_service_pb2.GetCaseResponse:
        case = await self._reads.run(self._desk.get_case, request.case_number)
        return case_service_pb2.GetCaseResponse(case=case)

    async def ListCases(
        self, request: case_service_pb2.ListCasesRequest
    ) -> case_service_pb2.ListCasesResponse:
        return await self._reads.run(self._desk.list_cases, request)

    async def ListCaseEvents(
        self, request: case_service_pb2.ListCaseEventsRequest
    ) -> case_service_pb2.ListCaseEventsResponse:
        events = await self._reads.run(self._desk.list_case_events, request.case_number)
        return case_service_pb2.ListCaseEventsResponse(events=events)

    async def AdvanceCase(
        self, request: case_service_pb2.AdvanceCaseRequest
    ) -> case_service_pb2.AdvanceCaseResponse:
        case = await self._reads.run(self._desk.advance_case, request)
        return case_service_pb2.AdvanceCaseResponse(case=case)

    async def AssignCase(
        self, request: case_service_pb2.AssignCaseRequest
    ) -> case_service_pb2.AssignCaseResponse:
        case = await self._reads.run(self._desk.assign_case, request)
        return case_service_pb2.AssignCaseResponse(case=case)

    async def AddFindings(
        self, request: case_service_pb2.AddFindingsRequest
    ) -> case_service_pb2.AddFindingsResponse:
        case = await self._reads.run(self._desk.add_findings, request)
        return case_service_pb2.AddFindingsResponse(case=case)

    async def ActOnFinding(
        self, request: case_service_pb2.ActOnFindingRequest
    ) -> case_service_pb2.ActOnFindingResponse:
        standing = await self._reads.run(self._desk.act_on_finding, request)
        return case_service_pb2.ActOnFindingResponse(standing=standing)
