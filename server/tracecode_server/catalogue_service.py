"""tracecode.v1.CatalogueService: each method checks, asks the ledger, converts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from tracecode.errors import FieldInvalid, ImportInvalid
from tracecode.ledger import Ledger
from tracecode.v1 import catalogue_service_pb2
from tracecode.v1.catalogue_service_pb2 import ImportResult
from tracecode_server.read_pool import ReadPool

IMPORT_ROWS_MAX = 1000

Row = TypeVar("Row")


class CatalogueService:
    """Answers for a ledger's catalogue. Raises the ledger's errors; `Methods` turns them into statuses."""

    def __init__(self, ledger: Ledger, reads: ReadPool) -> None:
        self._ledger = ledger
        self._reads = reads

    async def ImportProducts(
        self, requests: AsyncIterator[catalogue_service_pb2.ImportProductsRequest]
    ) -> catalogue_service_pb2.ImportProductsResponse:
        batches = (request.products async for request in requests)
        result = await self._import("products", self._ledger.import_products, batches)
        return catalogue_service_pb2.ImportProductsResponse(result=result)

    async def ImportInstitutions(
        self, requests: AsyncIterator[catalogue_service_pb2.ImportInstitutionsRequest]
    ) -> catalogue_service_pb2.ImportInstitutionsResponse:
        batches = (request.institutions async for request in requests)
        result = await self._import("institutions", self._ledger.import_institutions, batches)
        return catalogue_service_pb2.ImportInstitutionsResponse(result=result)

    async def ImportHolds(
        self, requests: AsyncIterator[catalogue_service_pb2.ImportHoldsRequest]
    ) -> catalogue_service_pb2.ImportHoldsResponse:
        batches = (request.holds async for request in requests)
        result = await self._import("holds", self._ledger.import_holds, batches)
        return catalogue_service_pb2.ImportHoldsResponse(result=result)

    async def ImportCodeReplacements(
        self, requests: AsyncIterator[catalogue_service_pb2.ImportCodeReplacementsRequest]
    ) -> catalogue_service_pb2.ImportCodeReplacementsResponse:
        batches = (request.code_replacements async for request in requests)
        result = await self._import("code_replacements", self._ledger.import_code_replacements, batches)
        return catalogue_service_pb2.ImportCodeReplacementsResponse(result=result)

    async def GetProduct(
        self, request: catalogue_service_pb2.GetProductRequest
    ) -> catalogue_service_pb2.GetProductResponse:
        product = await self._reads.run(self._ledger.get_product, request.identifier)
        return catalogue_service_pb2.GetProductResponse(product=product)

    async def GetInstitution(
        self, request: catalogue_service_pb2.GetInstitutionRequest
    ) -> catalogue_service_pb2.GetInstitutionResponse:
        institution = await self._reads.run(self._ledger.get_institution, request.institution_code)
        return catalogue_service_pb2.GetInstitutionResponse(institution=institution)

    async def _import(
        self,
        field: str,
        write: Callable[[Sequence[Row]], ImportResult],
        batches: AsyncIterator[Sequence[Row]],
    ) -> ImportResult:
        total = ImportResult()
        number = 0
        async for rows in batches:
            number += 1
            if len(rows) > IMPORT_ROWS_MAX:
                raise FieldInvalid(
                    field,
                    f"has {len(rows)} rows; a message takes {IMPORT_ROWS_MAX}, so send several messages",
                )
            try:
                result = await self._reads.run(write, rows)
            except ImportInvalid as error:
                raise _locate(error, field, number) from None
            total.created += result.created
            total.updated += result.updated
            total.unchanged += result.unchanged
            total.sequence = result.sequence
        return total


def _locate(error: ImportInvalid, field: str, number: int) -> ImportInvalid:
    """The error with its row as a path into the message; `number` counts the stream's messages from 1."""
    message = error.message if number == 1 else f"{error.message} (message {number} of the stream)"
    if error.row:
        field = f"{field}[{error.row - 1}]"
        field = f"{field}.{error.field}" if error.field else field
    return ImportInvalid(error.row, field, message)
