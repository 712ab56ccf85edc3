"""What the desk keeps beside cases: draws, self-checks, inspections. What their events must say, and what a
paper is after them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from tracecode.cases.case import (
    ACTOR_BYTES_MAX,
    AMOUNT_FEN_MAX,
    CASE_NUMBER_BYTES_MAX,
    NOTE_BYTES_MAX,
    REQUEST_ID_BYTES_MAX,
    TITLE_BYTES_MAX,
    check_text,
)
from tracecode.cases.draw import WEIGHT_MAX
from tracecode.document import NS, SCAN_BYTES_MAX, check_institution_code
from tracecode.errors import FieldInvalid, MoveRefused
from tracecode.v1 import inspection_pb2

CANDIDATES_MAX = 5_000
INSPECTORS_MAX = 200
QUESTIONS_MAX = 100
SCANS_MAX = 1_000
"""Scans of one message; an inspection takes any number of them up to SHELF_SCANS_MAX."""
SHELF_SCANS_MAX = 100_000
IDENTIFIERS_MAX = 5_000
SEED_BYTES_MAX = 200

Paper = inspection_pb2.Draw | inspection_pb2.SelfCheck | inspection_pb2.Inspection
PaperEvent = inspection_pb2.DrawEvent | inspection_pb2.SelfCheckEvent | inspection_pb2.InspectionEvent

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DIVISION = re.compile(r"[0-9]{6}")


@dataclass(frozen=True, slots=True)
class PaperKind:
    """How one kind of paper is kept. `number` is its number's field, `opening` the change that begins it."""

    prefix: str
    paper: type[inspection_pb2.Draw] | type[inspection_pb2.SelfCheck] | type[inspection_pb2.Inspection]
    number: str
    opening: str


KINDS = {
    "draw_event": PaperKind("CQ", inspection_pb2.Draw, "draw_number", "announcement"),
    "self_check_event": PaperKind("ZC", inspection_pb2.SelfCheck, "self_check_number", "issue"),
    "inspection_event": PaperKind("JC", inspection_pb2.Inspection, "inspection_number", "opening"),
}
"""By the entry's content."""


def check_paper_event(event: PaperEvent) -> None:
    """Raises FieldInvalid where an event by itself does not say what it must."""
    check_text("actor", event.actor, ACTOR_BYTES_MAX, required=True)
    check_text("request_id", event.request_id, REQUEST_ID_BYTES_MAX)
    if isinstance(event, inspection_pb2.DrawEvent):
        _check_draw(event)
    elif isinstance(event, inspection_pb2.SelfCheckEvent):
        _check_self_check(event)
    else:
        _check_inspection(event)


def _check_draw(event: inspection_pb2.DrawEvent) -> None:
    if event.HasField("result"):
        check_text("seed", event.result.seed, SEED_BYTES_MAX, required=True)
        return
    draw = event.announcement
    check_text("title", draw.title, TITLE_BYTES_MAX, required=True)
    check_text("seed_source", draw.seed_source, TITLE_BYTES_MAX, required=True)
    _check_division(draw.division_code)
    codes = [candidate.institution_code for candidate in draw.candidates]
    if not codes or len(codes) > CANDIDATES_MAX:
        raise FieldInvalid("candidates", f"must be 1 to {CANDIDATES_MAX}")
    if len(set(codes)) < len(codes):
        raise FieldInvalid("candidates", "names an institution twice; give it a weight")
    for position, candidate in enumerate(draw.candidates):
        check_institution_code(f"candidates[{position}].institution_code", candidate.institution_code)
        if candidate.weight > WEIGHT_MAX:
            raise FieldInvalid(f"candidates[{position}].weight", f"at most {WEIGHT_MAX}")
    if not 0 < draw.count <= len(codes):
        raise FieldInvalid("count", f"must be 1 to {len(codes)}")
    _check_people("inspectors", list(draw.inspectors))


def _check_self_check(event: inspection_pb2.SelfCheckEvent) -> None:
    if event.HasField("answers"):
        if not 0 < len(event.answers.answers) <= QUESTIONS_MAX:
            raise FieldInvalid("answers", f"must be 1 to {QUESTIONS_MAX}, one to each question")
        for position, answer in enumerate(event.answers.answers):
            name = f"answers[{position}]"
            if answer.result not in (1, 2, 3):
                raise FieldInvalid(f"{name}.result", "must be COMPLIANT, PROBLEM or NOT_APPLICABLE")
            problem = answer.result == inspection_pb2.SELF_CHECK_RESULT_PROBLEM
            check_text(f"{name}.note", answer.note, NOTE_BYTES_MAX, required=problem, lines=True)
            if not 0 <= answer.amount_fen <= (AMOUNT_FEN_MAX if problem else 0):
                raise FieldInvalid(f"{name}.amount_fen", "only a problem has an amount, in fen 分")
        return
    issue = event.issue
    check_text("title", issue.title, TITLE_BYTES_MAX, required=True)
    check_institution_code("institution_code", issue.institution_code)
    _check_division(issue.division_code)
    if not _DAY.fullmatch(issue.due_date):
        raise FieldInvalid("due_date", "must be yyyy-MM-dd")
    if not 0 < len(issue.questions) <= QUESTIONS_MAX:
        raise FieldInvalid("questions", f"must be 1 to {QUESTIONS_MAX}")
    for position, question in enumerate(issue.questions):
        check_text(f"questions[{position}]", question, TITLE_BYTES_MAX, required=True)


def _check_inspection(event: inspection_pb2.InspectionEvent) -> None:
    if event.HasField("scans"):
        if not 0 < len(event.scans.scans) <= SCANS_MAX:
            raise FieldInvalid("scans", f"must be 1 to {SCANS_MAX}; send several messages")
        for position, scan in enumerate(event.scans.scans):
            if not 0 < len(scan.encode()) <= SCAN_BYTES_MAX:
                raise FieldInvalid(f"scans[{position}]", f"must be 1 to {SCAN_BYTES_MAX} bytes")
        return
    if event.HasField("result"):
        return
    opening = event.opening
    check_institution_code("institution_code", opening.institution_code)
    _check_division(opening.division_code)
    check_text("case_number", opening.case_number, CASE_NUMBER_BYTES_MAX)
    _check_people("inspectors", list(opening.inspectors))
    if len(opening.identifiers) > IDENTIFIERS_MAX:
        raise FieldInvalid("identifiers", f"more than {IDENTIFIERS_MAX}")
    for position, identifier in enumerate(opening.identifiers):
        check_text(f"identifiers[{position}]", identifier, CASE_NUMBER_BYTES_MAX, required=True)


def _check_division(division_code: str) -> None:
    if not _DIVISION.fullmatch(division_code):
        raise FieldInvalid("division_code", "must be six digits")


def _check_people(field: str, names: list[str]) -> None:
    if len(set(names)) < 2 or len(set(names)) < len(names) or len(names) > INSPECTORS_MAX:
        raise FieldInvalid(field, f"must be 2 to {INSPECTORS_MAX} different people: two at least must go")
    for position, name in enumerate(names):
        check_text(f"{field}[{position}]", name, ACTOR_BYTES_MAX, required=True)


def check_paper_follows(paper: Paper, event: PaperEvent) -> None:
    """Whether an event may follow. Raises MoveRefused, FieldInvalid."""
    if isinstance(paper, inspection_pb2.Draw):
        if paper.seed:
            raise MoveRefused(f"{paper.draw_number} was drawn; announce another one")
    elif isinstance(paper, inspection_pb2.SelfCheck) and isinstance(event, inspection_pb2.SelfCheckEvent):
        if len(event.answers.answers) != len(paper.questions):
            raise FieldInvalid("answers", f"there are {len(paper.questions)} questions; answer each")
    elif isinstance(paper, inspection_pb2.Inspection) and isinstance(event, inspection_pb2.InspectionEvent):
        if paper.HasField("close_time"):
            raise MoveRefused(f"{paper.inspection_number} is closed; open another one")
        if paper.scan_count + len(event.scans.scans) > SHELF_SCANS_MAX:
            raise MoveRefused(f"an inspection takes {SHELF_SCANS_MAX} scans; open another one")


def fold_paper(paper: Paper | None, event: PaperEvent, sequence: int, time_ns: int) -> Paper:
    """The paper after an event that entry `sequence` holds. What is in the journal was checked."""
    time = Timestamp(seconds=time_ns // NS, nanos=time_ns % NS)
    after: Paper
    if isinstance(event, inspection_pb2.DrawEvent):
        after = inspection_pb2.Draw()
        after.CopyFrom(paper if isinstance(paper, inspection_pb2.Draw) else event.announcement)
        after.draw_number = event.draw_number
        if event.HasField("result"):
            after.seed = event.result.seed
            after.drawn.extend(event.result.drawn)
            after.draw_time.CopyFrom(time)
        else:
            after.announce_time.CopyFrom(time)
    elif isinstance(event, inspection_pb2.SelfCheckEvent):
        after = inspection_pb2.SelfCheck()
        after.CopyFrom(paper if isinstance(paper, inspection_pb2.SelfCheck) else event.issue)
        after.self_check_number = event.self_check_number
        if event.HasField("answers"):
            del after.answers[:]
            after.answers.extend(event.answers.answers)
            after.answer_time.CopyFrom(time)
        else:
            after.issue_time.CopyFrom(time)
    else:
        after = inspection_pb2.Inspection()
        after.CopyFrom(paper if isinstance(paper, inspection_pb2.Inspection) else event.opening)
        after.inspection_number = event.inspection_number
        after.scan_count += len(event.scans.scans)
        if event.HasField("result"):
            after.result.CopyFrom(event.result)
            after.close_time.CopyFrom(time)
        elif event.HasField("opening"):
            after.open_time.CopyFrom(time)
    after.etag = str(sequence)
    return after
