"""The only door to an engine: what a till reports goes in here, what anybody reads comes out here.

The ledger hides persons, keeps the clock, shares commits among those who wait (group_commit), and makes
answers complete. It judges nothing: that is the engine's, by the rules.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from tracecode import catalogue
from tracecode.answer import DAY_SECONDS, answer_findings, answer_verdict, to_timestamp
from tracecode.attachments import ATTACHMENTS, Attachments
from tracecode.code import key_text, read_scan
from tracecode.complaints import Complaints
from tracecode.consumer import answer_consumer
from tracecode.desk import Desk
from tracecode.document import (
    BUSINESS_TIME_MAX,
    DOCUMENT_NUMBER_BYTES_MAX,
    DRUG_CODE_BYTES_MAX,
    NS,
    TOKEN_BYTES_MAX,
    DocumentKind,
    check_institution_code,
    check_size,
    check_tokens,
)
from tracecode.engine import open_engine
from tracecode.engine.contract import Engine, ImportCounts, Submission, Submissions
from tracecode.engine.records import FORMAT
from tracecode.engine.rule_bases import KeptRuleBase
from tracecode.errors import (
    DocumentRejected,
    FieldInvalid,
    ImportInvalid,
    NotFound,
    RuleBaseInvalid,
    StorageFull,
)
from tracecode.finding import PROVISIONAL_SECONDS
from tracecode.group_commit import GroupCommit, RecordedFuture
from tracecode.inspections import Inspections
from tracecode.paging import page_size, read_page_token, write_page_token
from tracecode.person import PersonKey
from tracecode.rule_base import Activation, RuleBase
from tracecode.v1 import (
    catalogue_pb2,
    catalogue_service_pb2,
    code_pb2,
    consumer_service_pb2,
    document_pb2,
    finding_pb2,
    history_service_pb2,
    ledger_service_pb2,
    rule_base_service_pb2,
)
from tracecode.views.quantity import QuantityView

Row = TypeVar("Row")
VerdictFuture = Future[finding_pb2.Verdict]
RepliesFuture = Future[list[bytes | Exception]]
VERSION = metadata.version("tracecode")
IMPORT_ROWS_MAX = 1_000
REQUEST_ID_BYTES_MAX = 64
IDENTIFIER_BYTES_MAX = 64
PERSON_NAME_BYTES_MAX = 200
NOTES_BYTES_MAX = 20_000


class Ledger:
    """A ledger that is open. Methods may be called from any thread."""

    def __init__(
        self,
        engine: Engine,
        person_key: PersonKey,
        clock_ns: Callable[[], int] = time.time_ns,
        attachments: Attachments | None = None,
    ) -> None:
        self.engine = engine
        self._persons = person_key
        self._clock_ns = clock_ns
        self._commits = GroupCommit(engine)
        self._quantities = QuantityView(engine)
        self.desk = Desk(engine, clock_ns, self._check_room, attachments or Attachments(None))
        self.inspections = Inspections(engine, self.desk)
        self.complaints = Complaints(engine, self.desk)

    @classmethod
    def open(
        cls,
        directory: Path | None,
        *,
        engine: str = "lmdb",
        person_key: PersonKey,
        rule_base: RuleBase | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> Ledger:
        """Open or create a ledger in a directory; engine "memory" takes none and keeps nothing.

        Raises DataLoss, EngineStopped (another process has it), ValueError (unknown engine).
        """
        opened = open_engine(engine, directory, rule_base, clock_ns())
        folder = None if directory is None or engine == "memory" else directory / ATTACHMENTS
        attachments = Attachments(folder)
        attachments.forget_incoming()
        return cls(opened, person_key, clock_ns, attachments)

    def close(self) -> None:
        """Finish what waits and release the files. Safe to call twice."""
        self._commits.close()
        self.engine.close()
        self.desk.attachments.close()

    @property
    def clock_ns(self) -> Callable[[], int]:
        """The clock it goes by."""
        return self._clock_ns

    @property
    def waiting(self) -> int:
        """Documents that wait for the engine."""
        return self._commits.waiting

    @property
    def refusal(self) -> str:
        """Why nothing is written now; empty while documents and imports are taken. Questions always are."""
        return self._commits.refusal

    @refusal.setter
    def refusal(self, reason: str) -> None:
        self._commits.refusal = reason

    def free_dead_readers(self) -> int:
        """Free what processes hold that died while they read; how many there were."""
        return self.engine.free_dead_readers()

    def is_behind(self, source: str) -> bool:
        """Whether so much of this source waits to be judged that it is better not read on."""
        return self._commits.is_behind(source)

    # Documents.

    def submit(
        self,
        document: document_pb2.Document,
        request_id: str = "",
        receive_time_ns: int | None = None,
        source: str = "",
    ) -> VerdictFuture:
        """Record a document; the future holds its verdict once it is durable. Sources take turns.

        The future raises DocumentRejected, StorageFull or EngineStopped. Raises Overloaded, EngineStopped and
        FieldInvalid (request_id) at once. `document` is not changed.
        """
        submission = self._submission(document, request_id, receive_time_ns)
        future: VerdictFuture = VerdictFuture()
        asked = document.sale.stage == document_pb2.SALE_STAGE_BEFORE_SETTLEMENT
        asker = document.institution_code

        def answer(done: RecordedFuture) -> None:
            try:
                (recorded,) = done.result()
                if isinstance(recorded, Exception):
                    raise recorded
                if isinstance(recorded, bytes):
                    verdict = finding_pb2.Verdict.FromString(recorded)
                else:
                    verdict = recorded
                    answer_verdict(verdict, submission.receive_time_ns, asked=asked, asker=asker)
            except Exception as failed:
                # Nobody may be left waiting for an answer that could not be made.
                with contextlib.suppress(InvalidStateError):
                    future.set_exception(failed)
                return
            with contextlib.suppress(InvalidStateError):
                future.set_result(verdict)

        self._commits.submit(Submissions.of(submission), source).add_done_callback(answer)
        return future

    def submit_requests(self, message: bytes, kind: int = 0, source: str = "") -> RepliesFuture | None:
        """Record the documents of a serialized RecordDocumentsRequest without making objects of them.

        The future holds, for each request in order, a serialized Verdict as it is answered, or the error that
        `submit` would have raised in its place. None where the message is not in the form that every
        encoder writes, or is not of the `kind` (a DocumentKind, 0 = any) asked for: nothing was done, read
        it and `submit` each.
        Raises Overloaded, EngineStopped.
        """
        now_ns = self._clock_ns()
        submissions = Submissions.read(message, kind, self._persons.hash, now_ns)
        if submissions is None:
            return None
        documents = submissions.documents
        future: RepliesFuture = RepliesFuture()

        def answer(done: RecordedFuture) -> None:
            replies = [
                reply if isinstance(reply, bytes) else _reply(reply, document, now_ns)
                for reply, document in zip(done.result(), documents, strict=True)
            ]
            with contextlib.suppress(InvalidStateError):
                future.set_result(replies)

        self._commits.submit(submissions, source).add_done_callback(answer)
        return future

    def verify_plain(self, request: bytes) -> bytes | None:
        """The serialized VerifyCodesResponse to a serialized VerifyCodesRequest of which every code is
        plainly in order; None for any other: read it and ask `verify`. Never waits for a commit."""
        return self.engine.verify_plain(request, self._clock_ns())

    def record(
        self,
        documents: Sequence[document_pb2.Document],
        receive_times_ns: Sequence[int] | None = None,
    ) -> list[finding_pb2.Verdict | DocumentRejected]:
        """Record documents in order and wait until they are durable; one answer for each."""
        futures: list[VerdictFuture | DocumentRejected] = []
        for position, document in enumerate(documents):
            try:
                futures.append(
                    self.submit(
                        document,
                        receive_time_ns=None if receive_times_ns is None else receive_times_ns[position],
                    )
                )
            except DocumentRejected as rejected:
                futures.append(rejected)
        answers: list[finding_pb2.Verdict | DocumentRejected] = []
        for future in futures:
            if isinstance(future, DocumentRejected):
                answers.append(future)
                continue
            error = future.exception()
            if error is None:
                answers.append(future.result())
            elif isinstance(error, DocumentRejected):
                answers.append(error)
            else:
                raise error
        return answers

    def _submission(
        self, document: document_pb2.Document, request_id: str, receive_time_ns: int | None
    ) -> Submission:
        if not request_id.isprintable() or len(request_id.encode()) > REQUEST_ID_BYTES_MAX:
            raise FieldInvalid("request_id", f"at most {REQUEST_ID_BYTES_MAX} bytes of printable text")
        hidden = document_pb2.Document()
        hidden.CopyFrom(document)
        # What this release does not know it can neither check nor hide; a retry may pass another gateway.
        hidden.DiscardUnknownFields()
        check_tokens(hidden)
        self._persons.hide(hidden)
        return Submission(
            document=hidden.SerializeToString(deterministic=True),
            receive_time_ns=self._clock_ns() if receive_time_ns is None else receive_time_ns,
            request_id=request_id,
        )

    def get_document(
        self, request: ledger_service_pb2.GetDocumentRequest
    ) -> ledger_service_pb2.GetDocumentResponse:
        """A document with its verdict as first given and as it stands. Raises NotFound, FieldInvalid."""
        check_institution_code("institution_code", request.institution_code)
        check_size("document_number", request.document_number, DOCUMENT_NUMBER_BYTES_MAX)
        if request.kind not in set(map(int, DocumentKind)):
            raise FieldInvalid("kind", "say which kind of document: SALE, RECEIPT, ...")
        found = self.engine.document(request.institution_code, request.kind, request.document_number)
        if found is None:
            raise NotFound(f"{request.institution_code} has reported no such document")
        asked = found.document.sale.stage == document_pb2.SALE_STAGE_BEFORE_SETTLEMENT
        answer_verdict(found.verdict_first, found.receive_time_ns, asked=asked)
        answer_verdict(found.verdict, self._clock_ns(), asked=asked)
        return ledger_service_pb2.GetDocumentResponse(
            document=found.document,
            receive_time=to_timestamp(found.receive_time_ns),
            verdict_first=found.verdict_first,
            verdict=found.verdict,
            deleted_by_sequence=found.deleted_by_sequence,
        )

    # Codes.

    def verify(
        self, request: ledger_service_pb2.VerifyCodesRequest
    ) -> ledger_service_pb2.VerifyCodesResponse:
        """Judge codes as if they were sold now; writes nothing. Raises FieldInvalid."""
        now_ns = self._clock_ns()
        if request.person_token:
            check_size("person_token", request.person_token, TOKEN_BYTES_MAX)
            hidden = ledger_service_pb2.VerifyCodesRequest()
            hidden.CopyFrom(request)
            hidden.person_token = self._persons.hash(request.person_token)
            request = hidden
        response = self.engine.verify(request, now_ns)
        now, final = now_ns // NS, now_ns // NS + PROVISIONAL_SECONDS
        for answer in response.answers:
            verdict = finding_pb2.Verdict(findings=answer.findings, final_time=Timestamp(seconds=final))
            answer_verdict(verdict, now * NS, asked=True, asker=request.institution_code)
            del answer.findings[:]
            answer.findings.extend(verdict.findings)
            answer.severity = verdict.severity
            if answer.status.holder_institution_code != request.institution_code:
                answer.status.holder_institution_code = ""
        return response

    def get_code(self, code: str) -> ledger_service_pb2.GetCodeResponse:
        """What is known of a code. Raises FieldInvalid if it reads as no code."""
        return ledger_service_pb2.GetCodeResponse(
            status=self.engine.code(read_key(code)), as_of=self._as_of()
        )

    def list_code_events(
        self, request: ledger_service_pb2.ListCodeEventsRequest
    ) -> ledger_service_pb2.ListCodeEventsResponse:
        """A page of a code's history in the order in which things happened. Raises FieldInvalid."""
        page = ledger_service_pb2.ListCodeEventsResponse()
        self.fill_code_page(request, page, page.events.add)
        for event in page.events:
            self.answer_event(event)
        return page

    def fill_code_page(
        self,
        request: ledger_service_pb2.ListCodeEventsRequest | history_service_pb2.GetCodeHistoryRequest,
        page: ledger_service_pb2.ListCodeEventsResponse | history_service_pb2.GetCodeHistoryResponse,
        make: Callable[[], code_pb2.CodeEvent],
    ) -> None:
        """Write the page into an empty answer, its events where `make` adds them, which saves copies of them;
        `answer_event` is left to do. Raises FieldInvalid."""
        key = read_key(request.code)
        size = page_size(request.page_size)
        start = read_page_token(request.page_token, key)
        if len(self.engine.history(key, start, size + 1, make)) > size:
            del page.events[size:]
            page.next_page_token = write_page_token(start + size, key)
        page.status.CopyFrom(self.engine.code(key))
        page.as_of.CopyFrom(self._as_of())

    def answer_event(self, event: code_pb2.CodeEvent) -> None:
        """Make an event of a code ready for its reader, in place."""
        final = event.effective_time.seconds + PROVISIONAL_SECONDS
        answer_findings(event.findings_first, event.receive_time.seconds, final, asked=False)
        answer_findings(event.findings, self._clock_ns() // NS, final, asked=False)

    def hash_person(self, token: str) -> str:
        """What a person's token is stored as; an empty token stays empty."""
        return self._persons.hash(token)

    def get_code_sales(
        self, request: consumer_service_pb2.GetCodeSalesRequest
    ) -> consumer_service_pb2.GetCodeSalesResponse:
        """How often a box was sold, as its holder may know. Raises FieldInvalid if it reads as no code."""
        key = read_key(request.code)
        check_size("person_token", request.person_token, TOKEN_BYTES_MAX)
        now = self._clock_ns() // NS
        bought = request.bought_time.seconds if request.HasField("bought_time") else 0
        if bought > now + DAY_SECONDS:
            raise FieldInvalid("bought_time", "lies in the future; give the time on the slip")
        response = answer_consumer(
            self.engine.standing_sales(key),
            self.engine.facts,
            self._persons.hash(request.person_token),
            bought,
            now,
        )
        response.code = key_text(key)
        response.as_of.CopyFrom(self._as_of())
        return response

    def file_complaint(
        self, request: consumer_service_pb2.FileComplaintRequest
    ) -> consumer_service_pb2.FileComplaintResponse:
        """Keep what the holder of a box complains of. Raises FieldInvalid, Overloaded."""
        key = read_key(request.code)
        check_size("person_token", request.person_token, TOKEN_BYTES_MAX)
        return self.complaints.file(
            request, key, self._persons.hash(request.person_token), self._clock_ns() // NS
        )

    def _as_of(self) -> finding_pb2.AsOf:
        return finding_pb2.AsOf(sequence=self.engine.sequence, time=to_timestamp(self._clock_ns()))

    # Quantity stock.

    def list_stock(
        self, request: ledger_service_pb2.ListStockRequest
    ) -> ledger_service_pb2.ListStockResponse:
        """Quantity stock of an institution by drug, with what is odd about it. Raises FieldInvalid."""
        check_institution_code("institution_code", request.institution_code)
        check_size("drug_code", request.drug_code, DRUG_CODE_BYTES_MAX)
        size = page_size(request.page_size)
        binding = f"{request.institution_code}/{request.drug_code}".encode()
        start = read_page_token(request.page_token, binding)
        now = self._clock_ns() // NS
        sequence = self._quantities.catch_up()
        drugs = self._quantities.drugs(request.institution_code, request.drug_code)
        page = self._quantities.stocks(request.institution_code, drugs[start : start + size])
        for stock in page:
            answer_findings(stock.findings, now, 0, asked=False)
        following = start + len(page)
        return ledger_service_pb2.ListStockResponse(
            stocks=page,
            next_page_token=write_page_token(following, binding) if following < len(drugs) else "",
            as_of=finding_pb2.AsOf(sequence=sequence, time=Timestamp(seconds=now)),
        )

    # The catalogue and the lists.

    def get_product(self, identifier: str) -> catalogue_pb2.Product:
        """Raises NotFound, FieldInvalid."""
        check_size("identifier", identifier, IDENTIFIER_BYTES_MAX)
        product = self.engine.product(identifier)
        if product is None:
            raise NotFound(f"no product has the identifier {identifier!r}")
        return product

    def get_institution(self, institution_code: str) -> catalogue_pb2.Institution:
        """Raises NotFound, FieldInvalid."""
        check_size("institution_code", institution_code, IDENTIFIER_BYTES_MAX)
        institution = self.engine.institution(institution_code)
        if institution is None:
            raise NotFound(f"no institution has the code {institution_code!r}")
        return institution

    def _check_room(self) -> None:
        if self.refusal:
            raise StorageFull(self.refusal)

    def import_products(
        self, products: Sequence[catalogue_pb2.Product]
    ) -> catalogue_service_pb2.ImportResult:
        """Create or update products, all or nothing. Raises ImportInvalid."""
        self._check_room()
        _check_rows(products, catalogue.check_product)
        return _result(self.engine.import_products(products, self._clock_ns()))

    def import_institutions(
        self, institutions: Sequence[catalogue_pb2.Institution]
    ) -> catalogue_service_pb2.ImportResult:
        """Create or update institutions, all or nothing. Raises ImportInvalid."""
        self._check_room()
        _check_rows(institutions, catalogue.check_institution)
        return _result(self.engine.import_institutions(institutions, self._clock_ns()))

    def import_holds(self, holds: Sequence[catalogue_pb2.Hold]) -> catalogue_service_pb2.ImportResult:
        """Create or update holds, all or nothing. Raises ImportInvalid."""
        self._check_room()
        _check_rows(holds, catalogue.check_hold)
        return _result(self.engine.import_holds(holds, self._clock_ns()))

    def import_code_replacements(
        self, replacements: Sequence[catalogue_pb2.CodeReplacement]
    ) -> catalogue_service_pb2.ImportResult:
        """Create or update code replacements, all or nothing. Raises ImportInvalid."""
        self._check_room()
        _check_rows(replacements, catalogue.check_code_replacement)
        return _result(self.engine.import_code_replacements(replacements, self._clock_ns()))

    def change_rule_base(self, rule_base: RuleBase) -> int:
        """Put a rule base in force from now; returns its entry."""
        return self.engine.change_rule_base(rule_base, self._clock_ns())

    def list_rule_bases(
        self, request: rule_base_service_pb2.ListRuleBasesRequest
    ) -> rule_base_service_pb2.ListRuleBasesResponse:
        """A page of all versions, the one that holds last first, without texts. Raises FieldInvalid."""
        size = page_size(request.page_size)
        start = read_page_token(request.page_token, b"rule bases")
        changes = self.engine.rule_bases.changes[::-1]
        page = changes[start : start + size]
        following = start + len(page)
        return rule_base_service_pb2.ListRuleBasesResponse(
            rule_bases=[self._rule_base_message(change) for change in page],
            next_page_token=write_page_token(following, b"rule bases") if following < len(changes) else "",
        )

    def get_rule_base(self, sequence: int) -> rule_base_service_pb2.RuleBase:
        """A version with its text; 0 = the one in force. Raises NotFound."""
        sequence = sequence or self._sequence_in_force()
        for change in self.engine.rule_bases.changes:
            if change.sequence == sequence:
                message = self._rule_base_message(change)
                message.text = self.engine.rule_bases.rule_base(sequence).text
                return message
        raise NotFound(f"entry {sequence} puts no rule base in force")

    def activate_rule_base(
        self, request: rule_base_service_pb2.ActivateRuleBaseRequest
    ) -> rule_base_service_pb2.RuleBase:
        """Put a text in force, or an earlier version again, at once or from a second to come. What only
        repeats the last change is not written.

        Raises RuleBaseInvalid, FieldInvalid, NotFound, StorageFull.
        """
        self._check_room()
        for field in ("author", "approver"):
            value = getattr(request, field).strip()
            if not value:
                raise FieldInvalid(field, "is missing; say who")
            check_size(field, value, PERSON_NAME_BYTES_MAX)
        if request.author.strip() == request.approver.strip():
            raise FieldInvalid("approver", "is the author; somebody else must approve")
        if len(request.notes.encode()) > NOTES_BYTES_MAX:
            raise FieldInvalid("notes", f"longer than {NOTES_BYTES_MAX} bytes; shorten them")
        if bool(request.text) == bool(request.restored_sequence):
            raise FieldInvalid("text", "give a text, or restored_sequence of an earlier version, not both")
        kept = self.engine.rule_bases
        if request.restored_sequence:
            self.get_rule_base(request.restored_sequence)
            rule_base = kept.rule_base(request.restored_sequence)
        else:
            rule_base = RuleBase.parse_field(request.text, "text")
        last = max(kept.changes, key=lambda change: change.sequence)
        effective = request.effective_time.seconds
        if (last.author, last.approver) == (request.author.strip(), request.approver.strip()) and (
            last.notes == request.notes
            and last.restored_sequence == request.restored_sequence
            and last.effective_time == (effective or last.receive_time_ns // NS)
            and kept.rule_base(last.sequence) == rule_base
        ):
            return self.get_rule_base(last.sequence)
        if request.HasField("effective_time"):
            if request.effective_time.nanos:
                raise FieldInvalid("effective_time", "must be a whole second")
            if not self._clock_ns() // NS <= effective < BUSINESS_TIME_MAX:
                raise FieldInvalid("effective_time", "must be a time to come; leave it out for at once")
        for change in kept.changes:
            if change.version == rule_base.version and kept.rule_base(change.sequence) != rule_base:
                raise RuleBaseInvalid(
                    f'version: "{change.version}" is another text, put in force by entry {change.sequence}; '
                    "give it a new one, since verdicts name only the version",
                    "text",
                )
        activation = Activation(
            request.author.strip(),
            request.approver.strip(),
            request.notes,
            effective,
            request.restored_sequence,
        )
        sequence = self.engine.change_rule_base(rule_base, self._clock_ns(), activation)
        return self.get_rule_base(sequence)

    def _sequence_in_force(self) -> int:
        return self.engine.rule_bases.change_at(self._clock_ns() // NS).sequence

    def _rule_base_message(self, change: KeptRuleBase) -> rule_base_service_pb2.RuleBase:
        return rule_base_service_pb2.RuleBase(
            sequence=change.sequence,
            version=change.version,
            author=change.author,
            approver=change.approver,
            notes=change.notes,
            effective_time=Timestamp(seconds=change.effective_time),
            create_time=to_timestamp(change.receive_time_ns),
            restored_sequence=change.restored_sequence,
            in_force=change.sequence == self._sequence_in_force(),
        )

    def service_info(self) -> ledger_service_pb2.GetServiceInfoResponse:
        """Version, rule base, last entry and format."""
        return ledger_service_pb2.GetServiceInfoResponse(
            version=VERSION,
            rule_base_version=self.engine.rule_bases.at(self._clock_ns() // NS).version,
            sequence=self.engine.sequence,
            format=FORMAT,
            engine=self.engine.name,
            time=to_timestamp(self._clock_ns()),
        )


def read_key(code: str) -> bytes:
    """The canonical key of a scan or a canonical text. Raises FieldInvalid if it reads as no single code."""
    readings = read_scan(code)
    if len(readings) != 1 or not readings[0].key:
        raise FieldInvalid("code", "does not read as one traceability code; scan or type it again")
    return readings[0].key


def _reply(recorded: finding_pb2.Verdict | Exception, document: bytes, now_ns: int) -> bytes | Exception:
    """A verdict as the institution of its document may see it, serialized."""
    if isinstance(recorded, Exception):
        return recorded
    try:
        read = document_pb2.Document.FromString(document)
        asked = read.sale.stage == document_pb2.SALE_STAGE_BEFORE_SETTLEMENT
        answer_verdict(recorded, now_ns, asked=asked, asker=read.institution_code)
        return recorded.SerializeToString()
    except Exception as failed:
        # The others of the message have their answers.
        return failed


def _check_rows(rows: Sequence[Row], check: Callable[[Row], None]) -> None:
    if len(rows) > IMPORT_ROWS_MAX:
        raise ImportInvalid(0, "", f"more than {IMPORT_ROWS_MAX} rows in one message; send several")
    for position, row in enumerate(rows):
        try:
            check(row)
        except ImportInvalid as invalid:
            raise ImportInvalid(position + 1, invalid.field, invalid.message) from None


def _result(counts: ImportCounts) -> catalogue_service_pb2.ImportResult:
    return catalogue_service_pb2.ImportResult(
        created=counts.created,
        updated=counts.updated,
        unchanged=counts.unchanged,
        sequence=counts.sequence,
    )
