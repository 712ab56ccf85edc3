"""A case as its events make it: what an event must say, whether it may follow, and what the case is then."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from tracecode.cases.moves import HANDED_OVER, MONEY, CaseState, Needs, OutcomeType, find_move, list_next
from tracecode.document import BUSINESS_TIME_MAX, NS, check_institution_code, china_day, day_date
from tracecode.errors import FieldInvalid, MoveRefused
from tracecode.v1 import case_pb2, finding_pb2

ACTOR_BYTES_MAX = 64
TITLE_BYTES_MAX = 400
NOTE_BYTES_MAX = 8_000
NAME_BYTES_MAX = 255
CODE_BYTES_MAX = 300
CASE_NUMBER_BYTES_MAX = 32
REQUEST_ID_BYTES_MAX = 64
FINDINGS_MAX = 500
"""Findings of a case: what one person can look through; a ring has several cases (ours)."""
COMPLAINTS_MAX = 100
ATTACHMENTS_MAX = 200
OUTCOMES_MAX = 50
EVENTS_MAX = 2_000
ATTACHMENT_BYTES_MAX = 64 * 1024 * 1024
AMOUNT_FEN_MAX = 10**13
"""One hundred thousand million yuan: beyond it somebody wrote the amount in the wrong field."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIVISION = re.compile(r"[0-9]{6}")


def case_number(division_code: str, year: int, serial: int) -> str:
    """The number of the serial-th case of a division in a year."""
    return f"{division_code}-{year:04}-{serial:06}"


def check_text(field: str, text: str, bytes_max: int, *, required: bool = False, lines: bool = False) -> None:
    """Raises FieldInvalid where a text is missing, too long or no text."""
    if required and not text.strip():
        raise FieldInvalid(field, "is required")
    if len(text.encode()) > bytes_max:
        raise FieldInvalid(field, f"longer than {bytes_max} bytes")
    if not (text.replace("\n", " ").replace("\t", " ") if lines else text).isprintable():
        raise FieldInvalid(field, "holds characters that cannot be printed")


def check_references(field: str, references: Sequence[case_pb2.FindingReference]) -> None:
    """Raises FieldInvalid where a reference names no finding, or one twice."""
    if len(references) > FINDINGS_MAX:
        raise FieldInvalid(field, f"more than {FINDINGS_MAX}; open several cases")
    seen = set()
    for position, reference in enumerate(references):
        name = f"{field}[{position}]"
        check_reference(name, reference)
        key = reference.SerializeToString(deterministic=True)
        if key in seen:
            raise FieldInvalid(name, "is named twice")
        seen.add(key)


def check_reference(field: str, reference: case_pb2.FindingReference) -> None:
    """Raises FieldInvalid where a reference names no finding."""
    if not reference.sequence:
        raise FieldInvalid(f"{field}.sequence", "the document's entry is required")
    if not reference.type:
        raise FieldInvalid(f"{field}.type", "which finding is required")
    if reference.type not in finding_pb2.FindingType.values():
        raise FieldInvalid(f"{field}.type", "there is no such finding; docs/findings.md lists them")
    check_text(f"{field}.code", reference.code, CODE_BYTES_MAX)


def check_outcomes(field: str, outcomes: Sequence[case_pb2.CaseOutcome]) -> None:
    """Raises FieldInvalid where an outcome does not say what it must."""
    if len(outcomes) > OUTCOMES_MAX:
        raise FieldInvalid(field, f"more than {OUTCOMES_MAX}")
    for position, outcome in enumerate(outcomes):
        name = f"{field}[{position}]"
        try:
            kind = OutcomeType(outcome.type)
        except ValueError:
            raise FieldInvalid(f"{name}.type", "say which outcome: RECOVERED, FINE, ...") from None
        if not 0 <= outcome.amount_fen <= AMOUNT_FEN_MAX:
            raise FieldInvalid(f"{name}.amount_fen", f"must be 0 to {AMOUNT_FEN_MAX}, in fen 分")
        if (kind in MONEY) != bool(outcome.amount_fen):
            raise FieldInvalid(
                f"{name}.amount_fen",
                f"{kind.name} is an amount, in fen 分" if kind in MONEY else f"{kind.name} has no amount",
            )
        check_text(f"{name}.reference", outcome.reference, NOTE_BYTES_MAX, required=kind in HANDED_OVER)


def check_event(event: case_pb2.CaseEvent) -> None:
    """Raises FieldInvalid where an event by itself does not say what it must."""
    check_text("actor", event.actor, ACTOR_BYTES_MAX, required=True)
    check_text("note", event.note, NOTE_BYTES_MAX, lines=True)
    check_text("request_id", event.request_id, REQUEST_ID_BYTES_MAX)
    match event.WhichOneof("change"):
        case "opening":
            _check_opening(event.opening)
        case "move":
            check_text("approver", event.move.approver, ACTOR_BYTES_MAX)
            check_outcomes("outcomes", event.move.outcomes)
            if not 0 <= event.move.reward_fen <= AMOUNT_FEN_MAX:
                raise FieldInvalid("reward_fen", f"must be 0 to {AMOUNT_FEN_MAX}, in fen 分")
        case "findings_addition":
            if not event.findings_addition.findings:
                raise FieldInvalid("findings", "name at least one")
            check_references("findings", event.findings_addition.findings)
        case "attachment":
            _check_attachment(event.attachment)
        case "assignment":
            check_text("owner", event.assignment.owner, ACTOR_BYTES_MAX, required=True)
        case _:
            raise FieldInvalid("change", "an event changes something")


def _check_opening(opening: case_pb2.CaseOpening) -> None:
    check_text("title", opening.title, TITLE_BYTES_MAX, required=True)
    check_institution_code("institution_code", opening.institution_code)
    if not _DIVISION.fullmatch(opening.division_code):
        raise FieldInvalid("division_code", "must be six digits")
    check_text("owner", opening.owner, ACTOR_BYTES_MAX)
    check_references("findings", opening.findings)
    if opening.origin not in case_pb2.CaseOrigin.values() or not opening.origin:
        raise FieldInvalid("origin", "say where it comes from: FINDINGS, TIP_OFF, ...")
    if opening.origin == case_pb2.CASE_ORIGIN_FINDINGS and not opening.findings:
        raise FieldInvalid("findings", "name at least one")
    if opening.origin == case_pb2.CASE_ORIGIN_TIP_OFF and not opening.tip_off.summary:
        raise FieldInvalid("tip_off.summary", "is required")
    tip_off = opening.tip_off
    complaints = tip_off.complaint_sequences
    if len(complaints) > COMPLAINTS_MAX or len(set(complaints)) < len(complaints):
        raise FieldInvalid("tip_off.complaint_sequences", f"at most {COMPLAINTS_MAX}, each once")
    check_text("tip_off.tip_off_number", tip_off.tip_off_number, ACTOR_BYTES_MAX)
    check_text("tip_off.channel", tip_off.channel, ACTOR_BYTES_MAX)
    check_text("tip_off.summary", tip_off.summary, NOTE_BYTES_MAX, lines=True)
    if not 0 <= tip_off.receive_time.seconds < BUSINESS_TIME_MAX:
        raise FieldInvalid("tip_off.receive_time", "must be a time from 1970 to 2099, or be left out")
    if not 0 <= tip_off.receive_time.nanos < NS:
        raise FieldInvalid("tip_off.receive_time", "nanos must be 0 to 999999999")
    if tip_off.reward_fen:
        raise FieldInvalid("tip_off.reward_fen", "is paid when the case moves on, not when it is opened")


def _check_attachment(attachment: case_pb2.Attachment) -> None:
    check_sha256("sha256", attachment.sha256)
    check_file_name("name", attachment.name)
    check_text("media_type", attachment.media_type, NAME_BYTES_MAX)
    if not 0 < attachment.size_bytes <= ATTACHMENT_BYTES_MAX:
        raise FieldInvalid("content", f"must be 1 to {ATTACHMENT_BYTES_MAX} bytes")


def check_sha256(field: str, sha256: str) -> None:
    """Raises FieldInvalid where a text is no SHA-256."""
    if not _SHA256.fullmatch(sha256):
        raise FieldInvalid(field, "must be 64 lower-case hex digits")


def check_file_name(field: str, name: str) -> None:
    """Raises FieldInvalid where a name is none that every system would take as a file's."""
    check_text(field, name, NAME_BYTES_MAX, required=True)
    if set(name) & set('/\\:*?"<>|') or name.startswith(".") or name != name.strip():
        raise FieldInvalid(field, "must be a file's name, without a path")


def check_follows(case: case_pb2.Case, event: case_pb2.CaseEvent, time_ns: int) -> None:
    """Whether the event may follow in that case; writes the day that a move gives time until into it.

    The event is of this case and names its last event. Raises MoveRefused, FieldInvalid.
    """
    if case.event_count >= EVENTS_MAX:
        raise MoveRefused(f"{case.case_number} has {EVENTS_MAX} events; open another case")
    if event.HasField("move"):
        _check_move(case, event, time_ns)
        return
    if case.state == case_pb2.CASE_STATE_CLOSED:
        raise MoveRefused(f"{case.case_number} is closed; take it up again first")
    if event.HasField("findings_addition"):
        added = event.findings_addition.findings
        known = {reference.SerializeToString(deterministic=True) for reference in case.findings}
        for position, reference in enumerate(added):
            if reference.SerializeToString(deterministic=True) in known:
                raise FieldInvalid(f"findings[{position}]", "is in the case already")
        if len(case.findings) + len(added) > FINDINGS_MAX:
            raise MoveRefused(f"a case has at most {FINDINGS_MAX} findings; open another case")
    if event.HasField("attachment"):
        if len(case.attachments) >= ATTACHMENTS_MAX:
            raise MoveRefused(f"a case has at most {ATTACHMENTS_MAX} attachments")
        if any(known.name == event.attachment.name for known in case.attachments):
            raise FieldInvalid("name", "is the name of another file of this case")


def _check_move(case: case_pb2.Case, event: case_pb2.CaseEvent, time_ns: int) -> None:
    asked = event.move
    move = find_move(case.state, asked.to_state)
    if move is None:
        following = ", ".join(state.name for state in list_next(case.state))
        raise MoveRefused(f"a case in {CaseState(case.state).name} may move to {following}")
    if move.noted and not event.note.strip():
        raise FieldInvalid("note", "this move asks for a reason")
    if move.approved and not asked.approver:
        raise FieldInvalid("approver", "this move asks for a second person")
    if asked.approver and asked.approver == event.actor:
        raise FieldInvalid("approver", "must be another person than the actor")
    if asked.reward_fen and not case.tip_off.summary:
        raise FieldInvalid("reward_fen", "the case has no tip-off")
    outcomes = [OutcomeType(outcome.type) for outcome in (*case.outcomes, *asked.outcomes)]
    if len(outcomes) > OUTCOMES_MAX:
        raise MoveRefused(f"a case has at most {OUTCOMES_MAX} outcomes")
    if not move.needs.met_by(outcomes):
        raise MoveRefused(f"to move to {move.after.name} the case needs {move.needs.value}")
    asked.from_state = case.state
    asked.due_date = due_date(time_ns, move.due_days)


def due_date(time_ns: int, days: int) -> str:
    """The last day, yyyy-MM-dd, of so many days that begin after that of the time in China; empty for 0."""
    if not days:
        return ""
    day: date = day_date(china_day(time_ns // NS))
    return (day + timedelta(days=days)).isoformat()


def fold(case: case_pb2.Case | None, event: case_pb2.CaseEvent, sequence: int, time_ns: int) -> case_pb2.Case:
    """The case after an event that entry `sequence` holds. What is in the journal was checked."""
    after = case_pb2.Case(case_number=event.case_number)
    if case is not None:
        after.CopyFrom(case)
    time = Timestamp(seconds=time_ns // NS, nanos=time_ns % NS)
    match event.WhichOneof("change"):
        case "opening":
            opening = event.opening
            after.state = case_pb2.CASE_STATE_PRELIMINARY_REVIEW
            after.title, after.origin, after.owner = opening.title, opening.origin, opening.owner
            after.institution_code, after.division_code = opening.institution_code, opening.division_code
            after.findings.extend(opening.findings)
            if opening.HasField("tip_off"):
                after.tip_off.CopyFrom(opening.tip_off)
            after.earlier_violation_count = opening.earlier_violation_count
            after.open_time.CopyFrom(time)
            after.state_time.CopyFrom(time)
        case "move":
            move = event.move
            after.state = move.to_state
            after.state_time.CopyFrom(time)
            after.due_date = move.due_date
            after.outcomes.extend(move.outcomes)
            if move.reward_fen:
                after.tip_off.reward_fen += move.reward_fen
            if move.to_state == case_pb2.CASE_STATE_RECTIFICATION:
                after.rectification_count += 1
        case "findings_addition":
            after.findings.extend(event.findings_addition.findings)
        case "attachment":
            after.attachments.append(event.attachment)
        case "assignment":
            after.owner = event.assignment.owner
    after.event_count += 1
    after.etag = str(sequence)
    return after


def counts_as_violation(case: case_pb2.Case) -> bool:
    """Whether a case is closed, and with a violation."""
    outcomes = [OutcomeType(outcome.type) for outcome in case.outcomes]
    return case.state == case_pb2.CASE_STATE_CLOSED and Needs.VIOLATION.met_by(outcomes)
