"""Codes, documents and stock as a regulator asks for them by the methods that tills use, too: as far as his
grants reach, and recorded. A till that asks names nobody, and none of this is done for it.
"""

from __future__ import annotations

from google.protobuf.message import Message

from tracecode.access import Access, Asker
from tracecode.document import check_institution_code
from tracecode.errors import NotFound
from tracecode.grants import Reach
from tracecode.ledger import Ledger
from tracecode.masks import division_of, mask_event, mask_finding, mask_status
from tracecode.v1 import ledger_service_pb2

_SERVICE = "tracecode.v1.LedgerService"


class Regulator:
    """A ledger as somebody may look at it. Any thread may ask; an answer waits until the look is durable."""

    def __init__(self, ledger: Ledger, access: Access) -> None:
        self._ledger = ledger
        self._access = access

    def get_code(
        self, asker: Asker, request: ledger_service_pb2.GetCodeRequest
    ) -> ledger_service_pb2.GetCodeResponse:
        """What is known of a code; who has it, if that is within. Raises FieldInvalid, AccessDenied."""
        response = self._ledger.get_code(request.code)
        mask_status(response.status, self._look(asker, "GetCode", request))
        return response

    def list_code_events(
        self, asker: Asker, request: ledger_service_pb2.ListCodeEventsRequest
    ) -> ledger_service_pb2.ListCodeEventsResponse:
        """A page of a code's history, and of other divisions no more than he may see. Raises FieldInvalid,
        AccessDenied."""
        page = self._ledger.list_code_events(request)
        reach = self._look(asker, "ListCodeEvents", request)
        for event in page.events:
            mask_event(event, reach)
        mask_status(page.status, reach)
        return page

    def get_document(
        self, asker: Asker, request: ledger_service_pb2.GetDocumentRequest
    ) -> ledger_service_pb2.GetDocumentResponse:
        """A document of an institution within. Raises NotFound, FieldInvalid, AccessDenied."""
        self._check(asker, request.institution_code)
        try:
            response = self._ledger.get_document(request)
        except NotFound:
            # That there is none is told, too.
            self._look(asker, "GetDocument", request)
            raise
        reach = self._look(asker, "GetDocument", request)
        for verdict in (response.verdict_first, response.verdict):
            for finding in verdict.findings:
                mask_finding(finding, reach)
        return response

    def list_stock(
        self, asker: Asker, request: ledger_service_pb2.ListStockRequest
    ) -> ledger_service_pb2.ListStockResponse:
        """Stock of an institution within. Raises FieldInvalid, AccessDenied."""
        self._check(asker, request.institution_code)
        response = self._ledger.list_stock(request)
        reach = self._look(asker, "ListStock", request)
        for stock in response.stocks:
            for finding in stock.findings:
                mask_finding(finding, reach)
        return response

    def _check(self, asker: Asker, institution_code: str) -> None:
        check_institution_code("institution_code", institution_code)
        self._access.reach(asker).check(division_of(institution_code))

    def _look(self, asker: Asker, method: str, question: Message) -> Reach:
        return self._access.look(asker, f"{_SERVICE}.{method}", question)
