"""tracecode.v1.CaseService: each method checks, asks the desk, converts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from tracecode.access import Access, Asker
from tracecode.cases.case import ACTOR_BYTES_MAX, NOTE_BYTES_MAX, check_text
from tracecode.desk import SEES_NOTHING, takes_seller
from tracecode.errors import FieldInvalid
from tracecode.evidence_bundle import write_bundle
from tracecode.ledger import Ledger
from tracecode.v1 import case_pb2, case_service_pb2
from tracecode_server.asker import name_asker
from tracecode_server.method import PEER
from tracecode_server.read_pool import ReadPool

EXPORT_EVIDENCE = "tracecode.v1.CaseService.ExportEvidence"
OPEN_CASE = "tracecode.v1.CaseService.OpenCase"
LIST_COMPLAINTS = "tracecode.v1.CaseService.ListComplaints"


class CaseService:
    """Answers for the desk of a ledger. Raises the ledger's errors; `Methods` turns them into statuses."""

    def __init__(self, ledger: Ledger, access: Access, reads: ReadPool) -> None:
        self._ledger = ledger
        self._access = access
        self._desk = ledger.desk
        self._reads = reads

    async def OpenCase(self, request: case_service_pb2.OpenCaseRequest) -> case_service_pb2.OpenCaseResponse:
        case = await self._reads.run(self._open_case, name_asker(), request)
        return case_service_pb2.OpenCaseResponse(case=case)

    def _open_case(self, asker: Asker, request: case_service_pb2.OpenCaseRequest) -> case_pb2.Case:
        reach = SEES_NOTHING
        if takes_seller(request):
            # Only whom it rests on: what else is asked for stands in the case.
            question = case_service_pb2.OpenCaseRequest(title=request.title)
            question.tip_off.complaint_sequences.extend(request.tip_off.complaint_sequences)
            reach = self._access.look(asker, OPEN_CASE, question)
        return self._desk.open_case(request, reach)

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

    async def AttachFile(
        self, requests: AsyncIterator[case_service_pb2.AttachFileRequest]
    ) -> case_service_pb2.AttachFileResponse:
        first = await anext(requests, None)
        if first is None or not first.HasField("header"):
            raise FieldInvalid("header", "the first message says what comes")
        header = first.header
        try:
            with await self._reads.run(self._desk.begin_attachment, header) as upload:
                async for request in requests:
                    if request.HasField("header"):
                        raise FieldInvalid("header", "stands in the first message alone")
                    await self._reads.run(upload.write, request.content)
                return await self._reads.run(self._desk.attach_file, header, upload)
        except FieldInvalid as invalid:
            if invalid.field not in header.DESCRIPTOR.fields_by_name:
                raise
            raise FieldInvalid(f"header.{invalid.field}", invalid.message) from None

    async def ExportEvidence(
        self, request: case_service_pb2.ExportEvidenceRequest
    ) -> AsyncGenerator[case_service_pb2.ExportEvidenceResponse, None]:
        parts = await self._reads.run(self._begin_export, request, PEER.get(""))
        # One part at a time: a reader that is slow holds neither a thread nor the ledger.
        while (part := await self._reads.run(next, parts, None)) is not None:
            yield case_service_pb2.ExportEvidenceResponse(content=part)

    def _begin_export(self, request: case_service_pb2.ExportEvidenceRequest, peer: str) -> Iterator[bytes]:
        check_text("actor", request.actor, ACTOR_BYTES_MAX, required=True)
        check_text("reason", request.reason, NOTE_BYTES_MAX, lines=True)
        parts = write_bundle(self._ledger, request.case_number)
        self._desk.note_access(request.actor, peer, EXPORT_EVIDENCE, request, request.reason)
        return parts

    async def ListComplaints(
        self, request: case_service_pb2.ListComplaintsRequest
    ) -> case_service_pb2.ListComplaintsResponse:
        return await self._reads.run(self._list_complaints, name_asker(), request)

    def _list_complaints(
        self, asker: Asker, request: case_service_pb2.ListComplaintsRequest
    ) -> case_service_pb2.ListComplaintsResponse:
        response = self._ledger.complaints.find(request, self._access.reach(asker))
        self._access.look(asker, LIST_COMPLAINTS, request)
        return response

    async def ActOnFinding(
        self, request: case_service_pb2.ActOnFindingRequest
    ) -> case_service_pb2.ActOnFindingResponse:
        standing = await self._reads.run(self._desk.act_on_finding, request)
        return case_service_pb2.ActOnFindingResponse(standing=standing)
