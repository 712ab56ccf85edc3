"""What people did at the desk up to an entry, from the index and the journal behind it.

A service writes its index from time to time only. What it knows already is read from it, acts behind that
from the journal; an act is known by its entry, so one that is found both ways counts once. Acts behind the
report's own entry are left out, by which a report of an earlier entry is what it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

from tracecode._native import Store
from tracecode.cases.case import counts_as_violation, fold
from tracecode.document import NS, china_day, day_date
from tracecode.engine import records
from tracecode.engine.desk import list_cases, list_events, read_entry
from tracecode.errors import DataLoss
from tracecode.v1 import case_pb2, journal_pb2

CASES_AT_ONCE = 1_000
ENTRIES_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Stay:
    """A case was in a state, until `end_day` or, where that is None, until now."""

    case_number: str
    state: int
    begin_day: date
    end_day: date | None
    due_date: date | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case, on the day of the move that says so."""

    case_number: str
    day: date
    type: int
    amount_fen: int


@dataclass(slots=True)
class DeskRecord:
    """All that was done up to an entry."""

    cases: list[case_pb2.Case] = field(default_factory=list)
    violations: set[str] = field(default_factory=set)
    """Numbers of the cases that are closed, and with a violation."""
    open_days: dict[str, date] = field(default_factory=dict)
    close_days: dict[str, date] = field(default_factory=dict)
    """Of the cases that are closed."""
    stays: list[Stay] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    rewards: list[tuple[str, date, int]] = field(default_factory=list)
    """Case, day and fen of what tellers were paid."""
    decisions: dict[tuple[int, int, int, str], int] = field(default_factory=dict)
    """Of a finding (entry, type, line, code) the last decision."""
    register: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Registered institutions: name and division. What the index knows already of later imports, too."""


def read_desk(store: Store, as_of: int) -> DeskRecord:
    """What was done at the desk in the entries up to `as_of`. Raises DataLoss."""
    desk = DeskRecord()
    for key, value in store.scan(b"i"):
        _, institution = records.institution_from_bytes(value)
        if institution is not None:
            desk.register[key[1:].decode()] = (institution.name, institution.division_code)
    acts = {entry.sequence: entry for entry in (*_read_indexed(store), *_read_behind(store, as_of))}
    events: dict[str, list[journal_pb2.JournalEntry]] = defaultdict(list)
    for sequence in sorted(acts):
        entry = acts[sequence]
        if sequence > as_of:
            break
        if entry.HasField("institution_import"):
            for row in entry.institution_import.institutions:
                desk.register[row.institution_code] = (row.name, row.division_code)
        elif entry.HasField("case_event"):
            events[entry.case_event.case_number].append(entry)
        else:
            finding = entry.finding_act.finding
            about = (finding.sequence, int(finding.type), finding.line_number, finding.code)
            desk.decisions[about] = entry.finding_act.decision
    for number in sorted(events):
        _tell_case(desk, events[number])
    return desk


def _read_indexed(store: Store) -> Iterator[journal_pb2.JournalEntry]:
    before = 0
    while cases := list_cases(store, before, CASES_AT_ONCE):
        for ordinal, case in cases:
            yield from list_events(store, case.case_number)
            before = ordinal
        if before == 1:
            break
    for _, value in store.scan(b"F"):
        sequence = case_pb2.FindingStanding.FromString(value).act_sequence
        while sequence:
            entry = read_entry(store, sequence)
            yield entry
            sequence = entry.finding_act.previous_sequence


def _read_behind(store: Store, as_of: int) -> Iterator[journal_pb2.JournalEntry]:
    after = store.applied_sequence
    while after < as_of:
        values = store.entries(after, min(ENTRIES_AT_ONCE, as_of - after))
        if not values:
            raise DataLoss(f"journal entry {after + 1} is missing; restore the journal from a backup")
        for value in values:
            entry = journal_pb2.JournalEntry.FromString(value)
            if entry.WhichOneof("content") in ("case_event", "finding_act", "institution_import"):
                yield entry
        after += len(values)


def _tell_case(desk: DeskRecord, events: list[journal_pb2.JournalEntry]) -> None:
    case: case_pb2.Case | None = None
    begin = day_of(events[0])
    desk.open_days[events[0].case_event.case_number] = begin
    for entry in events:
        day, event = day_of(entry), entry.case_event
        if case is not None and event.HasField("move"):
            desk.stays.append(Stay(case.case_number, case.state, begin, day, _read_date(case.due_date)))
            begin = day
            for outcome in event.move.outcomes:
                desk.outcomes.append(Outcome(case.case_number, day, outcome.type, outcome.amount_fen))
            if event.move.reward_fen:
                desk.rewards.append((case.case_number, day, event.move.reward_fen))
        case = fold(case, event, entry.sequence, entry.receive_time_ns)
    assert case is not None
    desk.cases.append(case)
    desk.stays.append(Stay(case.case_number, case.state, begin, None, _read_date(case.due_date)))
    if counts_as_violation(case):
        desk.violations.add(case.case_number)
    if case.state == case_pb2.CASE_STATE_CLOSED:
        desk.close_days[case.case_number] = begin


def day_of(entry: journal_pb2.JournalEntry) -> date:
    """The day of an entry in China."""
    day: date = day_date(china_day(entry.receive_time_ns // NS))
    return day


def _read_date(text: str) -> date | None:
    return date.fromisoformat(text) if text else None
