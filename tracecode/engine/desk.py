"""What people do at the regulator's desk, as the engine keeps it.

`judge` reads only and says why an act cannot be kept; `apply` is the whole meaning of a kept one for the
index, and asks nothing. Neither touches a document's records: no verdict depends on the desk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from tracecode.cases import case as cases
from tracecode.cases import papers
from tracecode.code import read_scan
from tracecode.document import NS, Operation, china_day, day_date
from tracecode.engine import records
from tracecode.engine.contract import DeskAnswer
from tracecode.errors import ComplaintRefused, DataLoss, EtagStale, FieldInvalid, FindingInCase, NotFound
from tracecode.finding import PROVISIONAL_SECONDS
from tracecode.v1 import case_pb2, complaint_pb2, finding_pb2, journal_pb2

if TYPE_CHECKING:
    # An index applies entries by this module.
    from tracecode.engine.index import Index, Store

QUESTION_BYTES_MAX = 2_000
METHOD_BYTES_MAX = 200

CONTENTS = frozenset({"case_event", "finding_act", "access_record", "complaint", *papers.KINDS})
"""The contents of entries that are acts at the desk."""

_CASES = "cases"
_COMPLAINTS = "complaints"

COMPLAINTS_SHOWN_MAX = 100
"""Of one code: what a person looks through."""
SALES_NAMED_MAX = 10
"""Entries that a complaint names; of a kept code a hundred sales may stand."""


# --- Reading ------------------------------------------------------------------------------------


def find_case(store: Store, case_number: str) -> case_pb2.Case | None:
    """A case by its number, or None."""
    ordinal = _read_number(store, records.case_number_key(case_number))
    return _read_case(store, ordinal) if ordinal else None


def list_cases(store: Store, before: int, limit: int) -> list[tuple[int, case_pb2.Case]]:
    """The cases with ordinals below `before` (0 = all), the newest first, at most `limit`."""
    last = _read_number(store, records.meta_key(_CASES))
    newest = min(before - 1, last) if before else last
    return [(ordinal, _read_case(store, ordinal)) for ordinal in range(newest, max(0, newest - limit), -1)]


def list_events(store: Store, case_number: str) -> list[journal_pb2.JournalEntry]:
    """The entries of a case, the first first: each names the one before."""
    case = find_case(store, case_number)
    sequence = int(case.etag) if case is not None else 0
    entries = []
    while sequence:
        entry = read_entry(store, sequence)
        entries.append(entry)
        sequence = entry.case_event.previous_sequence
    return entries[::-1]


def find_standing(store: Store, reference: case_pb2.FindingReference) -> case_pb2.FindingStanding:
    """What people have made of a finding; nothing but its name if nobody has looked at it."""
    value = store.get(_finding_key(reference))
    if value is None:
        return case_pb2.FindingStanding(finding=reference)
    return case_pb2.FindingStanding.FromString(value)


def find_paper(store: Store, number: str) -> papers.Paper | None:
    """A draw, a self-check or an inspection by its number, or None."""
    value = store.get(records.paper_key(number))
    for kind in papers.KINDS.values():
        if value is not None and number.startswith(f"{kind.prefix}-"):
            return kind.paper.FromString(value)
    return None


def list_paper_events(store: Store, number: str) -> list[journal_pb2.JournalEntry]:
    """The entries of a paper, the first first: each names the one before."""
    paper = find_paper(store, number)
    sequence = int(paper.etag) if paper is not None else 0
    entries = []
    while sequence:
        entry = read_entry(store, sequence)
        entries.append(entry)
        sequence = _paper_event(entry)[1].previous_sequence
    return entries[::-1]


def list_complaints(store: Store, before: int, limit: int) -> list[tuple[int, complaint_pb2.ComplaintRecord]]:
    """The complaints with ordinals below `before` (0 = all), the newest first, at most `limit`."""
    last = _read_number(store, records.meta_key(_COMPLAINTS))
    newest = min(before - 1, last) if before else last
    return [
        (ordinal, _read_complaint(store, _read_number(store, records.complaint_key(ordinal))))
        for ordinal in range(newest, max(0, newest - limit), -1)
    ]


def list_complaints_of(store: Store, key: bytes) -> list[complaint_pb2.ComplaintRecord]:
    """The newest complaints about a code, the newest first."""
    sequence = _read_number(store, records.code_complaint_key(key))
    found: list[complaint_pb2.ComplaintRecord] = []
    while sequence and len(found) < COMPLAINTS_SHOWN_MAX:
        found.append(_read_complaint(store, sequence))
        sequence = found[-1].complaint.previous_sequence
    return found


def _read_complaint(store: Store, sequence: int) -> complaint_pb2.ComplaintRecord:
    entry = read_entry(store, sequence)
    time_ns = entry.receive_time_ns
    return complaint_pb2.ComplaintRecord(
        sequence=sequence,
        time=Timestamp(seconds=time_ns // NS, nanos=time_ns % NS),
        complaint=entry.complaint,
        case_numbers=(store.get(records.complaint_case_key(sequence)) or b"").decode().splitlines(),
    )


def read_entry(store: Store, sequence: int) -> journal_pb2.JournalEntry:
    """An entry that the index names. Raises DataLoss."""
    value = store.entry(sequence)
    if value is None:
        raise DataLoss(f"journal entry {sequence} is missing; restore the journal from a backup")
    return journal_pb2.JournalEntry.FromString(value)


def _read_case(store: Store, ordinal: int) -> case_pb2.Case:
    value = store.get(records.case_key(ordinal))
    if value is None:
        raise DataLoss(f"the index does not know case {ordinal}; run tracecode fsck")
    return case_pb2.Case.FromString(value)


def _read_number(store: Store, key: bytes) -> int:
    value = store.get(key)
    return 0 if value is None else int(records.U64.unpack(value)[0])


def _finding_key(reference: case_pb2.FindingReference) -> bytes:
    return records.finding_key(reference.sequence, reference.type, reference.line_number, reference.code)


# --- Judging ------------------------------------------------------------------------------------


def judge(index: Index, entry: journal_pb2.JournalEntry) -> int:
    """0 if the act may be kept as this entry; the entry that it is already, if it was sent again.

    Completes what only the ledger knows: the number of a new case, the day a move gives time until. Raises
    FieldInvalid, DeskRefused, NotFound.
    """
    match entry.WhichOneof("content"):
        case "case_event":
            return _judge_case_event(index, entry)
        case "finding_act":
            return _judge_finding_act(index, entry)
        case "access_record":
            _check_access(entry.access_record)
            return 0
        case "complaint":
            return _judge_complaint(index, entry)
        case content if content in papers.KINDS:
            return _judge_paper_event(index, entry)
        case _:
            raise FieldInvalid("content", "is no act of the desk")


def _judge_case_event(index: Index, entry: journal_pb2.JournalEntry) -> int:
    event, store = entry.case_event, index.store
    if event.HasField("opening"):
        return _judge_opening(index, entry)
    cases.check_event(event)
    case = find_case(store, event.case_number)
    if case is None:
        raise NotFound(f"there is no case {event.case_number!r}")
    if case.etag != str(event.previous_sequence):
        if _is_repeat(read_entry(store, int(case.etag)).case_event, event):
            return int(case.etag)
        raise EtagStale(f"{event.case_number} was changed by entry {case.etag}; look at it again")
    cases.check_follows(case, event, entry.receive_time_ns)
    if event.HasField("findings_addition"):
        _check_findings(index, event.case_number, event.findings_addition.findings)
    return 0


def _is_repeat(last: case_pb2.CaseEvent, event: case_pb2.CaseEvent) -> bool:
    """Whether an event is the one that is the last of its case, but for what the ledger wrote into it."""
    if last.previous_sequence != event.previous_sequence:
        return False
    completed = case_pb2.CaseEvent()
    completed.CopyFrom(event)
    if completed.HasField("move"):
        completed.move.from_state = last.move.from_state
        completed.move.due_date = last.move.due_date
    return completed == last


def _judge_opening(index: Index, entry: journal_pb2.JournalEntry) -> int:
    event, store = entry.case_event, index.store
    opening = event.opening
    cases.check_event(event)
    if event.request_id:
        earlier = _read_number(store, records.desk_request_key(event.actor, event.request_id))
        if earlier:
            if _is_same_opening(read_entry(store, earlier).case_event, event):
                return earlier
            raise FieldInvalid("request_id", "was used for another case; make a new one")
    _check_findings(index, "", opening.findings)
    _check_complaints(store, opening.tip_off.complaint_sequences)
    year = day_date(china_day(entry.receive_time_ns // NS)).year
    serial = _read_number(store, _serial_key(opening.division_code, year)) + 1
    event.case_number = cases.case_number(opening.division_code, year, serial)
    event.previous_sequence = 0
    opening.earlier_violation_count = _read_number(store, records.violations_key(opening.institution_code))
    return 0


def _is_same_opening(kept: case_pb2.CaseEvent, event: case_pb2.CaseEvent) -> bool:
    completed = case_pb2.CaseEvent()
    completed.CopyFrom(event)
    completed.case_number = kept.case_number
    completed.opening.earlier_violation_count = kept.opening.earlier_violation_count
    return completed == kept


def _check_findings(index: Index, case_number: str, references: Sequence[case_pb2.FindingReference]) -> None:
    for position, reference in enumerate(references):
        check_finding(index, f"findings[{position}]", reference)
        in_case = find_standing(index.store, reference).case_number
        if in_case and in_case != case_number:
            other = find_case(index.store, in_case)
            if other is not None and other.state != case_pb2.CASE_STATE_CLOSED:
                raise FindingInCase(f"findings[{position}] is in case {in_case}, which is not closed")


def _check_complaints(store: Store, sequences: Sequence[int]) -> None:
    for sequence in sequences:
        value = store.entry(sequence) if 0 < sequence <= store.sequence else None
        if value is None or not journal_pb2.JournalEntry.FromString(value).HasField("complaint"):
            raise NotFound(f"entry {sequence} is no complaint")


def _judge_complaint(index: Index, entry: journal_pb2.JournalEntry) -> int:
    complaint, store = entry.complaint, index.store
    key = _code_key(complaint.code)
    person, kind = complaint.person_token, complaint.kind
    earlier = _read_number(store, _complaint_request_key(complaint))
    if earlier:
        kept = read_entry(store, earlier).complaint
        if (kept.code, kept.kind, kept.person_token) != (complaint.code, kind, person):
            raise FieldInvalid("request_id", "was used for another complaint; make a new one")
        return earlier
    sales = index.standing_sales(key)
    others = [sale for sale in sales if not person or sale.person != person]
    named = [sale.sequence for sale in others[:SALES_NAMED_MAX]]
    # A gateway that makes new requests, or somebody who is angry, makes one complaint all the same; of a sale
    # that is new it is another one. Those who do not say who they are need not be one person.
    earlier = _read_number(store, records.person_complaint_key(key, kind, person)) if person else 0
    if earlier and set(named) <= set(read_entry(store, earlier).complaint.sale_sequences):
        return earlier
    if kind == complaint_pb2.COMPLAINT_KIND_NO_SALE_KNOWN:
        if sales:
            raise ComplaintRefused("a sale of it is known; if it is not yours say SALE_NOT_MINE")
        if entry.receive_time_ns // NS < complaint.bought_time.seconds + PROVISIONAL_SECONDS:
            raise ComplaintRefused("pharmacies may report for two days; complain after them")
    else:
        if not sales:
            raise ComplaintRefused("no sale of it is known; after two days say NO_SALE_KNOWN")
        if all(sale.operation is Operation.SPLIT_SALE for sale in sales):
            raise ComplaintRefused("the pack is sold by the piece: others rightly hold parts of it")
        if not others:
            raise ComplaintRefused("the sale that is known is yours")
    complaint.ClearField("sale_sequences")
    complaint.ClearField("institution_codes")
    complaint.sale_sequences.extend(named)
    sellers = list(dict.fromkeys(sale.institution for sale in others[:SALES_NAMED_MAX]))
    if not sellers and complaint.institution_code:
        sellers = [complaint.institution_code]
    complaint.institution_codes.extend(sellers)
    complaint.previous_sequence = _read_number(store, records.code_complaint_key(key))
    return 0


def _code_key(code: str) -> bytes:
    readings = read_scan(code)
    if len(readings) != 1 or not readings[0].key:
        raise FieldInvalid("code", "does not read as one traceability code")
    return readings[0].key


def _complaint_request_key(complaint: complaint_pb2.Complaint) -> bytes:
    # No actor's name holds a control character, so that nobody at the desk has this one.
    return records.desk_request_key(f"\x01{complaint.person_token}", complaint.request_id)


def check_finding(index: Index, field: str, reference: case_pb2.FindingReference) -> None:
    """Raises FieldInvalid where a document never had the finding, neither at first nor now."""
    found: list[finding_pb2.Finding] = []
    value = index.store.entry(reference.sequence) if reference.sequence <= index.store.sequence else None
    if value is not None:
        entry = journal_pb2.JournalEntry.FromString(value)
        if entry.HasField("document"):
            found += entry.document.findings
            found += index.standing_findings(index.stored(reference.sequence))[0]
    if not any(
        (finding.type, finding.line_number, finding.code)
        == (reference.type, reference.line_number, reference.code)
        for finding in found
    ):
        raise FieldInvalid(field, f"entry {reference.sequence} has no such finding")


def _judge_finding_act(index: Index, entry: journal_pb2.JournalEntry) -> int:
    act, store = entry.finding_act, index.store
    cases.check_text("actor", act.actor, cases.ACTOR_BYTES_MAX, required=True)
    cases.check_text("reason", act.reason, cases.NOTE_BYTES_MAX, required=True, lines=True)
    cases.check_reference("finding", act.finding)
    standing = find_standing(store, act.finding)
    if standing.act_sequence != act.previous_sequence:
        if standing.act_sequence and read_entry(store, standing.act_sequence).finding_act == act:
            return standing.act_sequence
        raise EtagStale(f"the finding was judged by entry {standing.act_sequence}; look at it again")
    check_finding(index, "finding", act.finding)
    if act.decision not in _DECISIONS_AFTER.get(standing.decision, ()):
        before = case_pb2.FindingDecision.Name(standing.decision).removeprefix("FINDING_DECISION_")
        raise FieldInvalid("decision", f"cannot follow {before}")
    return 0


_DECISIONS_AFTER = {
    case_pb2.FINDING_DECISION_UNSPECIFIED: (
        case_pb2.FINDING_DECISION_CONFIRMED,
        case_pb2.FINDING_DECISION_DISMISSED,
    ),
    case_pb2.FINDING_DECISION_CONFIRMED: (
        case_pb2.FINDING_DECISION_CLOSED,
        case_pb2.FINDING_DECISION_DISMISSED,
    ),
    case_pb2.FINDING_DECISION_DISMISSED: (case_pb2.FINDING_DECISION_REOPENED,),
    case_pb2.FINDING_DECISION_CLOSED: (case_pb2.FINDING_DECISION_REOPENED,),
    case_pb2.FINDING_DECISION_REOPENED: (
        case_pb2.FINDING_DECISION_CONFIRMED,
        case_pb2.FINDING_DECISION_DISMISSED,
    ),
}


def _judge_paper_event(index: Index, entry: journal_pb2.JournalEntry) -> int:
    store = index.store
    kind, event = _paper_event(entry)
    papers.check_paper_event(event)
    change = event.WhichOneof("change")
    if change is None:
        raise FieldInvalid("change", "an event changes something")
    if change == kind.opening:
        if event.request_id:
            earlier = _read_number(store, records.desk_request_key(event.actor, event.request_id))
            if earlier:
                if _is_same_paper(kind, read_entry(store, earlier), entry):
                    return earlier
                raise FieldInvalid("request_id", "was used for something else; make a new one")
        division_code = getattr(event, change).division_code
        year = day_date(china_day(entry.receive_time_ns // NS)).year
        serial = _read_number(store, _paper_serial_key(kind.prefix, division_code, year)) + 1
        setattr(event, kind.number, f"{kind.prefix}-{cases.case_number(division_code, year, serial)}")
        event.previous_sequence = 0
        return 0
    number = getattr(event, kind.number)
    paper = find_paper(store, number)
    if not number.startswith(f"{kind.prefix}-") or paper is None:
        raise NotFound(f"there is no {number!r}")
    if paper.etag != str(event.previous_sequence):
        last = read_entry(store, int(paper.etag))
        if last.WhichOneof("content") == entry.WhichOneof("content") and _paper_event(last)[1] == event:
            return int(paper.etag)
        raise EtagStale(f"{number} was changed by entry {paper.etag}; look at it again")
    papers.check_paper_follows(paper, event)
    return 0


def _is_same_paper(
    kind: papers.PaperKind, kept: journal_pb2.JournalEntry, entry: journal_pb2.JournalEntry
) -> bool:
    if kept.WhichOneof("content") != entry.WhichOneof("content"):
        return False
    completed = journal_pb2.JournalEntry()
    completed.CopyFrom(entry)
    before, event = _paper_event(kept)[1], _paper_event(completed)[1]
    setattr(event, kind.number, getattr(before, kind.number))
    return bool(event == before)


def _paper_event(entry: journal_pb2.JournalEntry) -> tuple[papers.PaperKind, papers.PaperEvent]:
    content = entry.WhichOneof("content") or ""
    return papers.KINDS[content], getattr(entry, content)


def _paper_serial_key(prefix: str, division_code: str, year: int) -> bytes:
    return records.meta_key(f"{prefix}_{division_code}_{year:04}")


def _check_access(access: case_pb2.AccessRecord) -> None:
    cases.check_text("actor", access.actor, cases.ACTOR_BYTES_MAX, required=True)
    cases.check_text("peer", access.peer, METHOD_BYTES_MAX)
    cases.check_text("method", access.method, METHOD_BYTES_MAX, required=True)
    cases.check_text("question", access.question, QUESTION_BYTES_MAX, lines=True)
    cases.check_text("reason", access.reason, cases.NOTE_BYTES_MAX, lines=True)


# --- Applying -----------------------------------------------------------------------------------


def apply(store: Store, entry: journal_pb2.JournalEntry) -> None:
    """Change the index by an act that was kept."""
    match entry.WhichOneof("content"):
        case "case_event":
            _apply_case_event(store, entry)
        case "finding_act":
            standing = find_standing(store, entry.finding_act.finding)
            standing.decision = entry.finding_act.decision
            standing.act_sequence = entry.sequence
            _put_standing(store, standing)
        case "complaint":
            _apply_complaint(store, entry)
        case content if content in papers.KINDS:
            _apply_paper_event(store, entry)


def _apply_complaint(store: Store, entry: journal_pb2.JournalEntry) -> None:
    complaint = entry.complaint
    key = _code_key(complaint.code)
    ordinal = _read_number(store, records.meta_key(_COMPLAINTS)) + 1
    _put_number(store, records.meta_key(_COMPLAINTS), ordinal)
    _put_number(store, records.complaint_key(ordinal), entry.sequence)
    _put_number(store, records.code_complaint_key(key), entry.sequence)
    person_key = records.person_complaint_key(key, complaint.kind, complaint.person_token)
    _put_number(store, person_key, entry.sequence)
    _put_number(store, _complaint_request_key(complaint), entry.sequence)


def _apply_case_event(store: Store, entry: journal_pb2.JournalEntry) -> None:
    event = entry.case_event
    before: case_pb2.Case | None = None
    ordinal = _read_number(store, records.case_number_key(event.case_number))
    if ordinal:
        before = _read_case(store, ordinal)
    else:
        ordinal = _read_number(store, records.meta_key(_CASES)) + 1
        _put_number(store, records.meta_key(_CASES), ordinal)
        _put_number(store, records.case_number_key(event.case_number), ordinal)
        division, year, serial = event.case_number.split("-")
        _put_number(store, _serial_key(division, int(year)), int(serial))
        if event.request_id:
            _put_number(store, records.desk_request_key(event.actor, event.request_id), entry.sequence)
    for sequence in event.opening.tip_off.complaint_sequences:
        key = records.complaint_case_key(sequence)
        numbers = [*(store.get(key) or b"").decode().splitlines(), event.case_number]
        store.put(key, "\n".join(numbers).encode())
    after = cases.fold(before, event, entry.sequence, entry.receive_time_ns)
    store.put(records.case_key(ordinal), after.SerializeToString(deterministic=True))
    for reference in (*event.opening.findings, *event.findings_addition.findings):
        standing = find_standing(store, reference)
        standing.case_number = event.case_number
        _put_standing(store, standing)
    change = cases.counts_as_violation(after) - (before is not None and cases.counts_as_violation(before))
    if change:
        key = records.violations_key(after.institution_code)
        _put_number(store, key, _read_number(store, key) + change)


def _apply_paper_event(store: Store, entry: journal_pb2.JournalEntry) -> None:
    kind, event = _paper_event(entry)
    number = getattr(event, kind.number)
    before = find_paper(store, number)
    if before is None:
        _, division, year, serial = number.split("-")
        _put_number(store, _paper_serial_key(kind.prefix, division, int(year)), int(serial))
        if event.request_id:
            _put_number(store, records.desk_request_key(event.actor, event.request_id), entry.sequence)
    after = papers.fold_paper(before, event, entry.sequence, entry.receive_time_ns)
    store.put(records.paper_key(number), after.SerializeToString(deterministic=True))


def _put_standing(store: Store, standing: case_pb2.FindingStanding) -> None:
    store.put(_finding_key(standing.finding), standing.SerializeToString(deterministic=True))


def _put_number(store: Store, key: bytes, number: int) -> None:
    store.put(key, records.U64.pack(number))


def _serial_key(division_code: str, year: int) -> bytes:
    return records.meta_key(f"cases_{division_code}_{year:04}")


def answer(store: Store, entry: journal_pb2.JournalEntry, *, repeat: bool = False) -> DeskAnswer:
    """What is told of an act that was just kept, or had been before."""
    case, finding, paper = None, None, None
    if entry.HasField("case_event"):
        case = find_case(store, entry.case_event.case_number)
    elif entry.HasField("finding_act"):
        finding = find_standing(store, entry.finding_act.finding)
    elif not (entry.HasField("access_record") or entry.HasField("complaint")):
        kind, event = _paper_event(entry)
        paper = find_paper(store, getattr(event, kind.number))
    return DeskAnswer(entry.sequence, case, finding, paper, repeat)
