"""The regulator's desk over an engine: cases, what people make of findings, and who looked at what.

It completes what a person leaves out (the institution of a finding, the owner by the area grid), hands acts
to the engine and pages what is listed. Whether an act may be kept is judged by the engine, in the order of
the journal.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tracecode.attachments import Attachments, Upload
from tracecode.cases.area_grid import AreaGrid
from tracecode.cases.case import (
    ACTOR_BYTES_MAX,
    ATTACHMENT_BYTES_MAX,
    CASE_NUMBER_BYTES_MAX,
    NAME_BYTES_MAX,
    NOTE_BYTES_MAX,
    check_file_name,
    check_references,
    check_sha256,
    check_text,
)
from tracecode.document import NS, check_institution_code
from tracecode.engine.contract import DeskAnswer, Engine
from tracecode.engine.desk import QUESTION_BYTES_MAX
from tracecode.errors import AccessDenied, FieldInvalid, NotFound
from tracecode.grants import Reach
from tracecode.masks import mask_complaint
from tracecode.paging import page_size, read_page_token, write_page_token
from tracecode.v1 import case_pb2, case_service_pb2, complaint_pb2, document_pb2, journal_pb2

SCAN_CASES = 1_000
"""Cases read at once while one looks for those that a filter lets through."""

SCANNED_CASES_MAX = 50_000
"""Cases looked at for one page: it may come back short, with a token to go on from."""

DIVISION_DIGITS = 6

SEES_NOTHING = Reach("", ())

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Desk:
    """What people do at the desk of a ledger. Any thread may call its methods; they wait for the commit."""

    def __init__(
        self,
        engine: Engine,
        clock_ns: Callable[[], int],
        check_room: Callable[[], None],
        attachments: Attachments,
    ) -> None:
        """`check_room` raises StorageFull while nothing may be written."""
        self.attachments = attachments
        self.area_grid = AreaGrid({})
        self._engine = engine
        self._clock_ns = clock_ns
        self._check_room = check_room
        self._lock = threading.Lock()
        self._committing = threading.Lock()
        self._waiting: list[tuple[journal_pb2.JournalEntry, Future[DeskAnswer]]] = []

    # Cases.

    def open_case(
        self, request: case_service_pb2.OpenCaseRequest, reach: Reach = SEES_NOTHING
    ) -> case_pb2.Case:
        """Open a case; the same request_id of the same actor gets the same case. `reach` is what the caller
        may see, where the seller is to be taken from a complaint (`takes_seller`). Raises FieldInvalid,
        FindingInCase, AccessDenied."""
        check_references("findings", request.findings)
        institution_code = request.institution_code or self._institution_of(request, reach)
        check_institution_code("institution_code", institution_code)
        institution = self._engine.institution(institution_code)
        division_code = institution_code[1:7] if institution is None else institution.division_code
        opening = case_pb2.CaseOpening(
            title=request.title,
            origin=request.origin,
            institution_code=institution_code,
            division_code=division_code,
            owner=request.owner or self.area_grid.owner_of(institution_code, division_code),
            findings=request.findings,
            tip_off=request.tip_off if request.HasField("tip_off") else None,
        )
        event = case_pb2.CaseEvent(
            actor=request.actor, note=request.note, request_id=request.request_id, opening=opening
        )
        return self._change(event)

    def _institution_of(self, request: case_service_pb2.OpenCaseRequest, reach: Reach) -> str:
        sequences = [each.sequence for each in request.findings] or [*request.tip_off.complaint_sequences]
        if not sequences:
            raise FieldInvalid("institution_code", "is required where there are no findings")
        values = self._engine.entries(sequences[0] - 1, 1) if sequences[0] else []
        entry = journal_pb2.JournalEntry.FromString(values[0]) if values else journal_pb2.JournalEntry()
        if entry.HasField("complaint"):
            record = complaint_pb2.ComplaintRecord(complaint=entry.complaint)
            mask_complaint(record, reach)
            # The case would tell of whom it is to who is not told when he lists complaints.
            if not record.complaint.institution_codes and not reach.covers_all:
                raise AccessDenied(
                    f"{reach.actor!r} may not see of whom complaint {sequences[0]} is; name the institution"
                )
            return next(iter(record.complaint.institution_codes), "")
        return document_pb2.Document.FromString(entry.document.document).institution_code

    def get_case(self, case_number: str) -> case_pb2.Case:
        """A case as it stands. Raises NotFound, FieldInvalid."""
        check_text("case_number", case_number, CASE_NUMBER_BYTES_MAX, required=True)
        case = self._engine.case(case_number)
        if case is None:
            raise NotFound(f"there is no case {case_number!r}")
        return case

    def list_cases(self, request: case_service_pb2.ListCasesRequest) -> case_service_pb2.ListCasesResponse:
        """A page of the cases that the request lets through, the newest first. Raises FieldInvalid."""
        _check_question(request)
        size = page_size(request.page_size)
        question = case_service_pb2.ListCasesRequest()
        question.CopyFrom(request)
        question.ClearField("page_size")
        question.ClearField("page_token")
        binding = hashlib.sha256(question.SerializeToString(deterministic=True)).hexdigest().encode()
        before = read_page_token(request.page_token, binding)
        found: list[case_pb2.Case] = []
        looked_at = 0
        while looked_at < SCANNED_CASES_MAX:
            rows = self._engine.cases(before, SCAN_CASES)
            for ordinal, case in rows:
                if len(found) == size:
                    break
                before = ordinal
                if _lets_through(request, case):
                    found.append(case)
            looked_at += len(rows)
            if len(rows) < SCAN_CASES or len(found) == size:
                break
        more = before > 1 and bool(self._engine.cases(before, 1))
        return case_service_pb2.ListCasesResponse(
            cases=found, next_page_token=write_page_token(before, binding) if more else ""
        )

    def list_case_events(self, case_number: str) -> list[case_pb2.CaseEventRecord]:
        """What was done with a case, the first first. Raises NotFound, FieldInvalid."""
        self.get_case(case_number)
        return [
            case_pb2.CaseEventRecord(
                sequence=entry.sequence,
                time=Timestamp(seconds=entry.receive_time_ns // NS, nanos=entry.receive_time_ns % NS),
                event=entry.case_event,
            )
            for entry in self._engine.case_events(case_number)
        ]

    def advance_case(self, request: case_service_pb2.AdvanceCaseRequest) -> case_pb2.Case:
        """Move a case to another state. Raises NotFound, EtagStale, MoveRefused, FieldInvalid."""
        move = case_pb2.CaseMove(
            to_state=request.to_state,
            approver=request.approver,
            outcomes=request.outcomes,
            reward_fen=request.reward_fen,
        )
        return self._change(_event(request, move=move))

    def assign_case(self, request: case_service_pb2.AssignCaseRequest) -> case_pb2.Case:
        """Give a case to another person. Raises NotFound, EtagStale, MoveRefused, FieldInvalid."""
        return self._change(_event(request, assignment=case_pb2.CaseAssignment(owner=request.owner)))

    def add_findings(self, request: case_service_pb2.AddFindingsRequest) -> case_pb2.Case:
        """Add findings to a case. Raises NotFound, EtagStale, MoveRefused, FindingInCase, FieldInvalid."""
        addition = case_pb2.FindingsAddition(findings=request.findings)
        return self._change(_event(request, findings_addition=addition))

    def begin_attachment(self, header: case_service_pb2.AttachFileHeader) -> Upload:
        """A file that comes for a case; hand it to `attach_file` when it is there. Raises NotFound,
        FieldInvalid, StorageFull."""
        self._check_room()
        # Refused before the bytes are sent, not behind the last of them.
        _event(header)
        check_text("actor", header.actor, ACTOR_BYTES_MAX, required=True)
        check_text("note", header.note, NOTE_BYTES_MAX, lines=True)
        check_file_name("name", header.name)
        check_text("media_type", header.media_type, NAME_BYTES_MAX)
        if header.sha256:
            check_sha256("sha256", header.sha256)
        self.get_case(header.case_number)
        return self.attachments.begin(ATTACHMENT_BYTES_MAX)

    def attach_file(
        self, header: case_service_pb2.AttachFileHeader, upload: Upload
    ) -> case_service_pb2.AttachFileResponse:
        """Keep the file and make it one of the case's. Raises NotFound, EtagStale, MoveRefused,
        FieldInvalid."""
        attachment = case_pb2.Attachment(
            sha256=upload.finish(header.sha256),
            name=header.name,
            size_bytes=upload.size_bytes,
            media_type=header.media_type,
        )
        case = self._change(_event(header, attachment=attachment))
        return case_service_pb2.AttachFileResponse(case=case, attachment=attachment)

    def _change(self, event: case_pb2.CaseEvent) -> case_pb2.Case:
        answer = self.keep(journal_pb2.JournalEntry(case_event=event))
        assert answer.case is not None
        return answer.case

    # Findings, and looks at them.

    def act_on_finding(self, request: case_service_pb2.ActOnFindingRequest) -> case_pb2.FindingStanding:
        """Keep what a person makes of a finding. Raises EtagStale, FieldInvalid."""
        act = case_pb2.FindingAct(
            finding=request.finding,
            decision=request.decision,
            actor=request.actor,
            reason=request.reason,
            previous_sequence=request.previous_sequence,
        )
        answer = self.keep(journal_pb2.JournalEntry(finding_act=act))
        assert answer.finding is not None
        return answer.finding

    def note_access(self, actor: str, peer: str, method: str, question: Message, reason: str = "") -> int:
        """Keep who looks at what, before it is shown; returns the entry. Persons in `question` are hashed
        already. Raises FieldInvalid."""
        text = json_format.MessageToJson(question, indent=None, ensure_ascii=False)
        # A question that is longer is cut: that somebody asked must not fail for its length.
        text = text.encode()[:QUESTION_BYTES_MAX].decode(errors="ignore")
        access = case_pb2.AccessRecord(actor=actor, peer=peer, method=method, question=text, reason=reason)
        return self.keep(journal_pb2.JournalEntry(access_record=access)).sequence

    def keep(self, act: journal_pb2.JournalEntry) -> DeskAnswer:
        """Keep an act; whoever comes while one commits shares the next commit."""
        self._check_room()
        future: Future[DeskAnswer] = Future()
        with self._lock:
            self._waiting.append((act, future))
        with self._committing:
            if not future.done():
                with self._lock:
                    batch, self._waiting = self._waiting, []
                self._commit(batch)
        return future.result()

    def _commit(self, batch: list[tuple[journal_pb2.JournalEntry, Future[DeskAnswer]]]) -> None:
        try:
            answers = self._engine.act([act for act, _ in batch], self._clock_ns())
        except Exception as error:
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if isinstance(answer, DeskAnswer):
                future.set_result(answer)
            else:
                future.set_exception(answer)


def takes_seller(request: case_service_pb2.OpenCaseRequest) -> bool:
    """Whether the case is to be against whom a complaint is about, without naming him."""
    return bool(not request.institution_code and not request.findings and request.tip_off.complaint_sequences)


def _event(
    request: (
        case_service_pb2.AdvanceCaseRequest
        | case_service_pb2.AssignCaseRequest
        | case_service_pb2.AddFindingsRequest
        | case_service_pb2.AttachFileHeader
    ),
    *,
    move: case_pb2.CaseMove | None = None,
    assignment: case_pb2.CaseAssignment | None = None,
    findings_addition: case_pb2.FindingsAddition | None = None,
    attachment: case_pb2.Attachment | None = None,
) -> case_pb2.CaseEvent:
    """The event that a request asks for, behind the one that it names."""
    check_text("case_number", request.case_number, CASE_NUMBER_BYTES_MAX, required=True)
    if not (request.etag.isascii() and request.etag.isdigit() and len(request.etag) <= 19):
        raise FieldInvalid("etag", "is that of the case as you saw it; get the case first")
    return case_pb2.CaseEvent(
        case_number=request.case_number,
        previous_sequence=int(request.etag),
        actor=request.actor,
        note=request.note,
        move=move,
        assignment=assignment,
        findings_addition=findings_addition,
        attachment=attachment,
    )


def _check_question(request: case_service_pb2.ListCasesRequest) -> None:
    prefix = request.division_prefix
    if prefix and not (prefix.isascii() and prefix.isdigit() and len(prefix) <= DIVISION_DIGITS):
        raise FieldInvalid("division_prefix", f"must be at most {DIVISION_DIGITS} digits, such as 1305")
    if len(request.states) > len(case_pb2.CaseState.values()):
        raise FieldInvalid("states", "name each state once")
    check_text("owner", request.owner, ACTOR_BYTES_MAX)
    if request.institution_code:
        check_institution_code("institution_code", request.institution_code)
    if request.overdue_on and not _DAY.fullmatch(request.overdue_on):
        raise FieldInvalid("overdue_on", "must be yyyy-MM-dd")


def _lets_through(request: case_service_pb2.ListCasesRequest, case: case_pb2.Case) -> bool:
    if not case.division_code.startswith(request.division_prefix):
        return False
    if request.states and case.state not in request.states:
        return False
    if request.owner and case.owner != request.owner:
        return False
    if request.institution_code and case.institution_code != request.institution_code:
        return False
    if request.overdue_on:
        return (
            case.state != case_pb2.CASE_STATE_CLOSED
            and bool(case.due_date)
            and case.due_date < request.overdue_on
        )
    return True
