"""A till's or a gateway's way to the ledger: deadlines on every call, and retries that cannot do harm.

Every method may be sent twice: questions change nothing, an import of the same rows changes nothing, and a
document is known by institution, kind and number, so that a repeat gets the first answer. Therefore
whatever may pass is tried again here, and what remains is told by type:

* a Verdict with outcome ACCEPTED or REFUSED: decided and kept;
* CallInvalid, DocumentConflict: nothing was kept; a person or a program must mend it;
* OutcomeUnknown: nobody knows. The till keeps the document as it was sent and sends the same bytes again,
  later or after a restart, until there is an answer. It changes nothing in it: under a new number it would
  be a second sale, and with another content it is refused. (`offline` is for documents that a till
  writes when it already knows that it has no connection.)
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

import grpc

from tracecode.client.actor import name_actor
from tracecode.client.backoff import Backoff
from tracecode.client.case_client import CaseClient
from tracecode.client.document_stream import (
    MESSAGE_DOCUMENTS_MAX,
    Answer,
    DocumentStream,
    PendingDocument,
    cut_messages,
    read_part,
)
from tracecode.client.errors import (
    CallInvalid,
    OutcomeUnknown,
    Unanswered,
    read_failure,
)
from tracecode.client.finding_client import FindingClient
from tracecode.client.inspection_client import InspectionClient
from tracecode.client.report_client import ReportClient
from tracecode.client.screening_client import ScreeningClient
from tracecode.v1 import (
    catalogue_pb2,
    catalogue_service_pb2,
    catalogue_service_pb2_grpc,
    code_pb2,
    document_pb2,
    finding_pb2,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    rule_base_service_pb2,
    rule_base_service_pb2_grpc,
)

Request = TypeVar("Request")
Response = TypeVar("Response")
Row = TypeVar("Row")

IMPORT_ROWS_MAX = 1000
# An answer with many findings is larger than its question.
ANSWER_BYTES_MAX = 64 * 1024 * 1024
# Messages that share a stream's window: while one is answered the others are judged.
WINDOW_MESSAGES = 4
# Bytes of documents that a stream holds in memory until they are answered.
WINDOW_BYTES_MAX = 8 * 1024 * 1024
# A reason that says that nothing was done; any other failure may have come after the commit.
NOTHING_DONE = {"OVERLOADED", "PEER_OVER_LIMIT", "DRAINING", "STORAGE_FULL"}


class LedgerClient:
    """Calls one ledger service. Safe to share between threads; close it, or use it as a context manager."""

    def __init__(
        self,
        target: str,
        *,
        actor: str = "",
        reason: str = "",
        deadline_seconds: float = 1.0,
        attempts: int = 4,
        backoff: Backoff | None = None,
        stall_seconds: float = 15.0,
        seed: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`target` is host:port.

        One attempt waits `deadline_seconds`; an import waits so long for each of its messages. So a call
        takes at most attempts x deadline and the pauses between: a till that has only 1.5 s for its
        customer asks with deadline_seconds=1.5, attempts=1 and sends again what had no answer. A stream is
        renewed when it gives no answer for `stall_seconds`. `seed` fixes the jitter of the pauses.
        A till is nobody's `actor`; a regulator's program names him, and why he asks: he is shown what his
        grants hold, findings and reports among it, and what he asks is kept.
        """
        if attempts < 1:
            raise ValueError(f"attempts is {attempts}; a call is made at least once")
        self._deadline_seconds = deadline_seconds
        self._attempts = attempts
        self._backoff = backoff if backoff is not None else Backoff()
        self._stall_seconds = stall_seconds
        self._random = random.Random(seed)
        self._sleep = sleep
        self._channel = grpc.insecure_channel(
            target,
            options=[
                ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
                # gRPC's own second between reconnects would outlast all our attempts.
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 1000),
                # Else a wire that died in silence swallows every attempt.
                ("grpc.keepalive_time_ms", 20_000),
                ("grpc.keepalive_timeout_ms", 5_000),
                # Our retries alone: they know the server's reasons.
                ("grpc.enable_retries", 0),
            ],
        )
        self._ledger = ledger_service_pb2_grpc.LedgerServiceStub(self._channel)
        self._catalogue = catalogue_service_pb2_grpc.CatalogueServiceStub(self._channel)
        self._rule_bases = rule_base_service_pb2_grpc.RuleBaseServiceStub(self._channel)
        self._metadata = name_actor(actor, reason)
        self.cases = CaseClient(self._channel, self._deadline_seconds, self._attempt, self._metadata)
        """The regulator's desk of the same service."""
        self.findings = FindingClient(self._channel, self._deadline_seconds, self._attempt, self._metadata)
        """The finding queue of the same service."""
        self.inspections = InspectionClient(self._channel, self._deadline_seconds, self._attempt)
        """Draws, self-checks and inspections of the same service."""
        self.reports = ReportClient(self._channel, self._deadline_seconds, self._attempt, self._metadata)
        """Reports of the same service."""
        self.screenings = ScreeningClient(self._channel, self._deadline_seconds, self._attempt)
        """Screenings of the same service."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the connection. Safe to call twice."""
        self._channel.close()

    def record(self, document: document_pb2.Document, request_id: str = "") -> finding_pb2.Verdict:
        """Record a document of any kind, a deletion included; the kind of its content chooses the method.

        Raises CallInvalid, DocumentConflict, OutcomeUnknown (send the same document again), Unanswered
        (it certainly was not recorded; send it again), ServerFault.
        """
        service = self._ledger
        match document.WhichOneof("content"):
            case "sale":
                sale = ledger_service_pb2.RecordSaleRequest(document=document, request_id=request_id)
                return self._call(service.RecordSale, sale).verdict
            case "sale_return":
                sale_return = ledger_service_pb2.RecordSaleReturnRequest(
                    document=document, request_id=request_id
                )
                return self._call(service.RecordSaleReturn, sale_return).verdict
            case "receipt":
                receipt = ledger_service_pb2.RecordReceiptRequest(document=document, request_id=request_id)
                return self._call(service.RecordReceipt, receipt).verdict
            case "purchase_return":
                purchase_return = ledger_service_pb2.RecordPurchaseReturnRequest(
                    document=document, request_id=request_id
                )
                return self._call(service.RecordPurchaseReturn, purchase_return).verdict
            case "stock_change":
                stock_change = ledger_service_pb2.RecordStockChangeRequest(
                    document=document, request_id=request_id
                )
                return self._call(service.RecordStockChange, stock_change).verdict
            case "stock_count":
                stock_count = ledger_service_pb2.RecordStockCountRequest(
                    document=document, request_id=request_id
                )
                return self._call(service.RecordStockCount, stock_count).verdict
            case "deletion":
                deletion = ledger_service_pb2.DeleteDocumentRequest(document=document, request_id=request_id)
                return self._call(service.DeleteDocument, deletion).verdict
        raise CallInvalid(
            "FIELD_INVALID", "has no content; set sale, receipt or what else happened", "document"
        )

    def record_stream(
        self, documents: Iterable[document_pb2.Document], *, window: int = 1000
    ) -> Iterator[Answer]:
        """Record many documents over one stream; yields a Verdict or a DocumentError for each, in order.

        For documents at hand: they travel many in one message, a quarter of `window` or half a MiB, and an
        answer is handed out once `window` documents or 8 MiB are on their way or the documents have come to
        their end. A stream that breaks is opened anew and what had no answer is
        sent again, as is a document that the server had no room for. Raises OutcomeUnknown when all attempts
        gave not one answer, and ServerFault; send the documents without an answer again.
        """
        if window < 1:
            raise ValueError(f"window is {window}; a stream has at least one document on its way")
        source = iter(documents)
        pending: deque[PendingDocument] = deque()
        failures = 0
        while True:
            with DocumentStream(self._ledger, self._stall_seconds) as stream:
                try:
                    yield from self._converse(stream, source, pending, window)
                    stream.finish()
                    return
                except Unanswered as error:
                    failures = 1 if stream.received else failures + 1
                    if failures >= self._attempts:
                        raise _doubt(error) from error
                    pause = self._backoff.choose_pause_seconds(
                        failures, error.retry_after_seconds, self._random
                    )
            self._sleep(pause)

    def verify(
        self, request: ledger_service_pb2.VerifyCodesRequest
    ) -> ledger_service_pb2.VerifyCodesResponse:
        """Judge codes as if sold now; writes nothing. Raises CallInvalid, Unanswered, ServerFault."""
        return self._call(self._ledger.VerifyCodes, request)

    def get_code(self, code: str) -> ledger_service_pb2.GetCodeResponse:
        """What is known of a code (canonical or a scan) now. Raises CallInvalid, Unanswered, ServerFault."""
        return self._call(self._ledger.GetCode, ledger_service_pb2.GetCodeRequest(code=code))

    def list_code_events(self, code: str, *, page_size: int = 0) -> Iterator[code_pb2.CodeEvent]:
        """The code's whole history, oldest first, asked for page by page. Raises as `get_code`."""
        page_token = ""
        while True:
            page = self._call(
                self._ledger.ListCodeEvents,
                ledger_service_pb2.ListCodeEventsRequest(
                    code=code, page_size=page_size, page_token=page_token
                ),
            )
            yield from page.events
            page_token = page.next_page_token
            if not page_token:
                return

    def get_document(
        self, institution_code: str, kind: document_pb2.DocumentKind.ValueType, document_number: str
    ) -> ledger_service_pb2.GetDocumentResponse:
        """A document with its first and its present verdict. Raises NotKnown, CallInvalid, Unanswered."""
        return self._call(
            self._ledger.GetDocument,
            ledger_service_pb2.GetDocumentRequest(
                institution_code=institution_code, kind=kind, document_number=document_number
            ),
        )

    def list_stock(
        self, institution_code: str, drug_code: str = "", *, page_size: int = 0
    ) -> Iterator[ledger_service_pb2.Stock]:
        """Quantity stock of an institution, asked for page by page. Raises CallInvalid, Unanswered."""
        page_token = ""
        while True:
            page = self._call(
                self._ledger.ListStock,
                ledger_service_pb2.ListStockRequest(
                    institution_code=institution_code,
                    drug_code=drug_code,
                    page_size=page_size,
                    page_token=page_token,
                ),
            )
            yield from page.stocks
            page_token = page.next_page_token
            if not page_token:
                return

    def service_info(self) -> ledger_service_pb2.GetServiceInfoResponse:
        """Version, rule base and last entry of the service. Raises Unanswered, ServerFault."""
        return self._call(self._ledger.GetServiceInfo, ledger_service_pb2.GetServiceInfoRequest())

    def list_rule_bases(self) -> Iterator[rule_base_service_pb2.RuleBase]:
        """All rule bases, the one that holds last first, asked for page by page. Raises Unanswered."""
        page_token = ""
        while True:
            request = rule_base_service_pb2.ListRuleBasesRequest(page_token=page_token)
            page = self._call(self._rule_bases.ListRuleBases, request)
            yield from page.rule_bases
            page_token = page.next_page_token
            if not page_token:
                return

    def get_rule_base(self, sequence: int = 0) -> rule_base_service_pb2.RuleBase:
        """A rule base with its text, 0 = the one in force. Raises NotKnown, Unanswered, ServerFault."""
        request = rule_base_service_pb2.GetRuleBaseRequest(sequence=sequence)
        return self._call(self._rule_bases.GetRuleBase, request).rule_base

    def activate_rule_base(
        self, request: rule_base_service_pb2.ActivateRuleBaseRequest
    ) -> rule_base_service_pb2.RuleBase:
        """Put a rule base in force; the same once more is one entry. Raises CallInvalid, Unanswered."""
        return self._call(self._rule_bases.ActivateRuleBase, request).rule_base

    def start_dry_run(self, text: str, since_sequence: int = 0) -> rule_base_service_pb2.DryRun:
        """Try a candidate over the stored journal, or go on with the run that is there."""
        request = rule_base_service_pb2.StartDryRunRequest(text=text, since_sequence=since_sequence)
        return self._call(self._rule_bases.StartDryRun, request).dry_run

    def get_dry_run(self, dry_run_id: str) -> rule_base_service_pb2.DryRun:
        """How far a dry run is, and what it found. Raises NotKnown, Unanswered."""
        request = rule_base_service_pb2.GetDryRunRequest(dry_run_id=dry_run_id)
        return self._call(self._rule_bases.GetDryRun, request).dry_run

    def cancel_dry_run(self, dry_run_id: str) -> rule_base_service_pb2.DryRun:
        """End a dry run. Raises NotKnown, Unanswered."""
        request = rule_base_service_pb2.CancelDryRunRequest(dry_run_id=dry_run_id)
        return self._call(self._rule_bases.CancelDryRun, request).dry_run

    def get_product(self, identifier: str) -> catalogue_pb2.Product:
        """A product by 7-digit identifier or GTIN-14. Raises NotKnown, CallInvalid, Unanswered."""
        request = catalogue_service_pb2.GetProductRequest(identifier=identifier)
        return self._call(self._catalogue.GetProduct, request).product

    def get_institution(self, institution_code: str) -> catalogue_pb2.Institution:
        """An institution by its code. Raises NotKnown, CallInvalid, Unanswered."""
        request = catalogue_service_pb2.GetInstitutionRequest(institution_code=institution_code)
        return self._call(self._catalogue.GetInstitution, request).institution

    def import_products(
        self, products: Sequence[catalogue_pb2.Product]
    ) -> catalogue_service_pb2.ImportResult:
        """Create or update products, in messages of 1,000. Raises CallInvalid, Unanswered, ServerFault.

        Each message is all or nothing, and importing the same again changes nothing, so an import that
        failed is sent again whole. The counts are those of the attempt that succeeded.
        """
        requests = [catalogue_service_pb2.ImportProductsRequest(products=rows) for rows in _cut(products)]
        return self._import(self._catalogue.ImportProducts, requests).result

    def import_institutions(
        self, institutions: Sequence[catalogue_pb2.Institution]
    ) -> catalogue_service_pb2.ImportResult:
        """Create or update institutions; as `import_products`."""
        requests = [
            catalogue_service_pb2.ImportInstitutionsRequest(institutions=rows) for rows in _cut(institutions)
        ]
        return self._import(self._catalogue.ImportInstitutions, requests).result

    def import_holds(self, holds: Sequence[catalogue_pb2.Hold]) -> catalogue_service_pb2.ImportResult:
        """Create or update holds; as `import_products`."""
        requests = [catalogue_service_pb2.ImportHoldsRequest(holds=rows) for rows in _cut(holds)]
        return self._import(self._catalogue.ImportHolds, requests).result

    def import_code_replacements(
        self, code_replacements: Sequence[catalogue_pb2.CodeReplacement]
    ) -> catalogue_service_pb2.ImportResult:
        """Create or update code replacements; as `import_products`."""
        requests = [
            catalogue_service_pb2.ImportCodeReplacementsRequest(code_replacements=rows)
            for rows in _cut(code_replacements)
        ]
        return self._import(self._catalogue.ImportCodeReplacements, requests).result

    def _converse(
        self,
        stream: DocumentStream,
        source: Iterator[document_pb2.Document],
        pending: deque[PendingDocument],
        window: int,
    ) -> Iterator[Answer]:
        part = min(MESSAGE_DOCUMENTS_MAX, max(1, window // WINDOW_MESSAGES))
        held_bytes = sum(item.bytes for item in pending)
        for message in cut_messages((item for item in pending if item.answer is None), part):
            stream.send(message)
        ended = False
        while True:
            while not ended and len(pending) + part <= window and held_bytes < WINDOW_BYTES_MAX:
                items = read_part(source, part)
                ended = not items
                pending.extend(items)
                held_bytes += sum(item.bytes for item in items)
                for message in cut_messages(items, part):
                    stream.send(message)
            if not pending:
                return
            answer = pending[0].answer
            if answer is not None:
                held_bytes -= pending.popleft().bytes
                yield answer
                continue
            refused: list[PendingDocument] = []
            for item, result in stream.receive():
                if result.WhichOneof("result") == "verdict":
                    item.answer = result.verdict
                    continue
                item.failures += 1
                if result.error.retryable and item.failures < self._attempts:
                    refused.append(item)
                else:
                    item.answer = result.error
            if refused:
                failures = max(item.failures for item in refused)
                self._sleep(self._backoff.choose_pause_seconds(failures, None, self._random))
                for message in cut_messages(refused, part):
                    stream.send(message)

    def _call(self, call: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        return self._attempt(
            lambda wait: call(
                request, timeout=self._deadline_seconds, wait_for_ready=wait, metadata=self._metadata
            )
        )

    def _import(
        self, call: grpc.StreamUnaryMultiCallable[Request, Response], requests: Sequence[Request]
    ) -> Response:
        deadline_seconds = self._deadline_seconds * (1 + len(requests))
        return self._attempt(lambda wait: call(iter(requests), timeout=deadline_seconds, wait_for_ready=wait))

    def _attempt(self, call: Callable[[bool], Response]) -> Response:
        doubtful = False
        for failures in range(1, self._attempts + 1):
            try:
                # The first attempt hears at once that nobody listens; a later one waits for a restart.
                return call(failures > 1)
            except grpc.RpcError as error:
                failure = read_failure(error)
                doubtful = doubtful or failure.reason not in NOTHING_DONE
                if failures == self._attempts and isinstance(failure, Unanswered) and doubtful:
                    raise _doubt(failure) from error
                if failures == self._attempts or not isinstance(failure, Unanswered):
                    raise failure from error
            self._sleep(
                self._backoff.choose_pause_seconds(failures, failure.retry_after_seconds, self._random)
            )
        raise AssertionError("every attempt returns or raises")


def _cut(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for begin in range(0, len(rows), IMPORT_ROWS_MAX):
        yield rows[begin : begin + IMPORT_ROWS_MAX]


def _doubt(error: Unanswered) -> OutcomeUnknown:
    return OutcomeUnknown(
        error.reason, error.message, error.field, error.message_zh_cn, error.retry_after_seconds
    )
