"""The states of findings: from a lead to its closing, what people made of them, and each change in order.

Every finding that ever weighed WARN or more when final is kept, also when later entries cleared it. It is
known as people name it: document's sequence u64, type u16, line u32, code. That is `id` below; numbers are
big-endian. All keys begin with F:

`Ff` id -> a FindingState (see `_HEAD`; then institution, division, case number, with 00 between them)
`Fl` state u8, 255 - severity u8, 2^32 - 1 - day u32, id -> nothing: the gravest, then the latest
`Fi` institution, state u8, and so on as in `Fl` -> nothing
`Fe` entry u64, id -> an event (see `_EVENT`): what changed, entry by entry
`Fd` id, 00, entry u64 -> the same event: what became of one finding
`Fn` division, institution, type u16, severity u8, state u8, day u32 -> how many u64
`Fr` type u16 -> open, cleared, confirmed, dismissed, u64 each
`Fa` id -> what people said (see `_ACTS`; then case number), whether the finding is kept here or not
`Fk` case number -> Case, as its events leave it

What makes a finding a suspicion (tracecode/suspicion.py) is counted from signals: findings that stand, have a
family and were not dismissed. A thing is a code, or 01 and the document's sequence where there is none.

`Fs` institution, thing, type u16, day u32 -> signals u64
`Fm` institution, thing, type u16, sequence u64, line u32 -> nothing: the signals themselves
`Fc` institution, type u16, day u32 -> things u64 whose first signal of that type is of that day
`Ft` institution, type u16, day u32, thing -> nothing: these things

Everything is done entry by entry and in the order of ids, so it does not matter where batches are cut.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum
from itertools import groupby
from operator import itemgetter
from struct import Struct
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from tracecode.cases.case import counts_as_violation, fold
from tracecode.document import NS, china_day, effective_time
from tracecode.finding import FindingType
from tracecode.suspicion import FAMILIES, SEVERAL_CODES, SEVERAL_CODES_DAYS
from tracecode.v1 import case_pb2, document_pb2, finding_pb2, journal_pb2
from tracecode.views.batch import Batch
from tracecode.views.store import Reader, Writer

SEVERITY_MIN = int(finding_pb2.SEVERITY_WARN)
SCANNED_MAX = 50_000
"""Findings looked at for one page."""

_ID = Struct(">QHI")
_HEAD = Struct("<BBBBB??IQQQQQIB")
"""state, suspicions, severity, mode, grade, revisable, stands, revision, entry, raised, changed, cleared,
act, day, decision."""
_EVENT = Struct("<BBBBq")
"""type, state before, state, greater severity of both, receive time ns."""
_ACTS = Struct("<BQ")
_ORDER = Struct(">BI")
_TYPE = Struct(">H")
_TYPE_DAY = Struct(">HI")
_PLACE = Struct(">HQI")
_GROUP = Struct(">HBBI")
_U64 = Struct(">Q")
_COUNTS = Struct(">4Q")
_LAST_DAY = 2**32 - 1


class State(IntEnum):
    """How far a finding has come, as in the contract."""

    LEAD = 1
    SUSPECTED = 2
    CONFIRMED = 3
    CLOSED = 4
    DISMISSED = 5
    CLEARED = 6


WAITING = (State.LEAD, State.SUSPECTED, State.CONFIRMED)
"""The states in which a finding waits for somebody."""

TWO_SIGNALS, SEVERAL = 1, 2
"""Why it is suspected, as bits."""


class EventType(IntEnum):
    """What an entry did to a finding, as in the contract."""

    RAISED = 1
    CHANGED = 2
    CLEARED = 3
    ACTED_ON = 4


@dataclass(frozen=True, slots=True, order=True)
class FindingId:
    """What names a finding, whatever is thought of its document."""

    sequence: int
    type: int
    line_number: int
    code: str

    @property
    def key(self) -> bytes:
        """Its bytes in keys."""
        return _ID.pack(self.sequence, self.type, self.line_number) + self.code.encode()

    @classmethod
    def read(cls, key: bytes) -> Self:
        """From those bytes."""
        sequence, kind, line_number = _ID.unpack_from(key)
        return cls(sequence, kind, line_number, key[_ID.size :].decode())

    @classmethod
    def of(cls, reference: case_pb2.FindingReference) -> Self:
        """From its name in the contract."""
        return cls(reference.sequence, reference.type, reference.line_number, reference.code)

    @property
    def thing(self) -> bytes:
        """What it is about: the code, or the document where there is none."""
        return self.code.encode() or b"\x01%d" % self.sequence


@dataclass(frozen=True, slots=True)
class FindingState:
    """A finding as the queue keeps it."""

    id: FindingId
    state: State
    suspicions: int
    severity: int
    """When final."""
    mode: int
    grade: int
    revisable: bool
    stands: bool
    revision: int
    entry: int
    """The document's own or the revision's in which it stands, or by which it was cleared."""
    raised: int
    """The entry that raised it,"""
    changed: int
    """that last changed it,"""
    cleared: int
    """that cleared it, 0 = it stands,"""
    act: int
    """and of the last act on it, 0 = none."""
    day: int
    """Business day of the document, days since 1970-01-01."""
    decision: int
    institution_code: str
    division_code: str
    case_number: str


@dataclass(frozen=True, slots=True)
class FindingEvent:
    """What an entry did to a finding. `severity` is the greater of before and after."""

    entry: int
    id: FindingId
    type: EventType
    before: int
    """The state, 0 = it was not there."""
    state: int
    severity: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class Filter:
    """What is asked for; what is empty lets everything through. `days` are the first and the last;
    `divisions` are how the divisions begin that may be seen."""

    severity_min: int = SEVERITY_MIN
    types: Collection[int] = ()
    institution_code: str = ""
    division_prefix: str = ""
    days: tuple[int, int] | None = None
    states: Collection[int] = ()
    divisions: tuple[str, ...] = ("",)

    def fits(self, found: FindingState) -> bool:
        """Whether a finding is as asked for, its state and severity aside."""
        return (
            (not self.types or found.id.type in self.types)
            and found.institution_code == (self.institution_code or found.institution_code)
            and found.division_code.startswith(self.division_prefix)
            and found.division_code.startswith(self.divisions)
            and (self.days is None or self.days[0] <= found.day <= self.days[1])
        )


@dataclass(frozen=True, slots=True)
class RuleCounts:
    """What became of the findings of one type."""

    type: int
    open: int
    cleared: int
    """Before anybody judged them."""
    confirmed: int
    dismissed: int


class FindingStatesView:
    """Keeps what became of findings."""

    tables = b"F"

    def apply(self, batch: Batch, write: Writer) -> None:
        """Follow findings, revisions and what people do, entry by entry."""
        findings = pa.Table.from_batches([batch.findings])
        findings = findings.filter(
            pc.or_(
                pc.greater_equal(findings["final_severity"], SEVERITY_MIN),
                pc.greater(findings["revision"], 0),
            )
        )
        given = {entry: list(rows) for entry, rows in groupby(findings.to_pylist(), itemgetter("entry"))}
        acts = {act.sequence: act for act in batch.acts}
        for entry in sorted(given.keys() | acts.keys()):
            if entry in given:
                rows = given[entry]
                # Arrow has microseconds; the entry's own time is only shown.
                _Entry(write, entry, _to_ns(rows[0]["receive_time"])).judge(rows)
            else:
                act = acts[entry]
                _Entry(write, entry, act.receive_time_ns).act(act)


def _to_ns(time: datetime) -> int:
    return (time - datetime(1970, 1, 1)) // timedelta(microseconds=1) * 1_000


class _Entry:
    """One entry that is being counted in."""

    def __init__(self, write: Writer, entry: int, time_ns: int) -> None:
        self._write = write
        self._entry = entry
        self._time_ns = time_ns

    # --- What stands ----------------------------------------------------------------------------

    def judge(self, rows: list[dict[str, Any]]) -> None:
        """What is thought of a document changes to this."""
        sequence: int = rows[0]["sequence"]
        revision: int = rows[0]["revision"]
        before = {
            kept.id: kept
            for key, value in self._write.scan(b"Ff" + _U64.pack(sequence))
            if (kept := _parse(key[2:], value)).stands
        }
        after: dict[FindingId, dict[str, Any]] = {}
        for given in rows:
            if given["final_severity"] >= SEVERITY_MIN:
                id = FindingId(sequence, given["type"], given["line_number"], given["code"])
                if id not in after or after[id]["final_severity"] < given["final_severity"]:
                    after[id] = given
        about: tuple[int, str, str] | None = None
        said = {"revision": revision, "entry": self._entry}
        for id in sorted(before.keys() | after.keys()):
            found = self._read(id)
            row = after.get(id)
            if row is None:
                assert found is not None
                self._change(found, EventType.CLEARED, stands=False, cleared=self._entry, **said)
                continue
            weight = {
                "severity": row["final_severity"],
                "mode": row["mode"],
                "grade": row["grade"],
                "revisable": row["revisable"],
            }
            if found is None:
                if about is None:
                    about = self._read_about(sequence)
                self._raise(id, weight, revision, about)
            elif not found.stands:
                self._change(found, EventType.RAISED, stands=True, cleared=0, **said, **weight)
            elif any(getattr(found, name) != value for name, value in weight.items()):
                self._change(found, EventType.CHANGED, **said, **weight)
            elif found.revision != revision:
                # Nobody need hear that a revision says of it what was said before.
                self._put(replace(found, revision=revision, entry=self._entry))

    def _read_about(self, sequence: int) -> tuple[int, str, str]:
        """Business day, institution and division of a document."""
        entry = journal_pb2.JournalEntry.FromString(self._write.entry(sequence) or b"")
        document = document_pb2.Document.FromString(entry.document.document)
        day = china_day(effective_time(document.business_time.seconds, entry.receive_time_ns // NS))
        return day, document.institution_code, document.institution_code[1:7]

    def _raise(
        self, id: FindingId, weight: Mapping[str, Any], revision: int, about: tuple[int, str, str]
    ) -> None:
        day, institution_code, division_code = about
        decision, act, case_number = self._read_acts(id)
        found = FindingState(
            id=id,
            state=State.CLEARED,
            suspicions=0,
            severity=weight["severity"],
            mode=weight["mode"],
            grade=weight["grade"],
            revisable=weight["revisable"],
            stands=True,
            revision=revision,
            entry=self._entry,
            raised=self._entry,
            changed=self._entry,
            cleared=0,
            act=act,
            day=day,
            decision=decision,
            institution_code=institution_code,
            division_code=division_code,
            case_number=case_number,
        )
        self._settle(None, found, EventType.RAISED)

    # --- What people do -------------------------------------------------------------------------

    def act(self, entry: journal_pb2.JournalEntry) -> None:
        """A person judged a finding, or did something with a case."""
        if entry.HasField("finding_act"):
            id = FindingId.of(entry.finding_act.finding)
            _, _, case_number = self._read_acts(id)
            self._put_acts(id, entry.finding_act.decision, self._entry, case_number)
            found = self._read(id)
            if found is not None:
                self._change(found, EventType.ACTED_ON, decision=entry.finding_act.decision, act=self._entry)
        elif entry.HasField("case_event"):
            self._follow_case(entry.case_event)

    def _follow_case(self, event: case_pb2.CaseEvent) -> None:
        key = b"Fk" + event.case_number.encode()
        value = self._write.get(key)
        before = None if value is None else case_pb2.Case.FromString(value)
        after = fold(before, event, self._entry, self._time_ns)
        self._write.put(key, after.SerializeToString(deterministic=True))
        for reference in (*event.opening.findings, *event.findings_addition.findings):
            id = FindingId.of(reference)
            decision, act, _ = self._read_acts(id)
            self._put_acts(id, decision, act, event.case_number)
        if event.HasField("attachment") or event.HasField("assignment"):
            return
        for id in sorted(map(FindingId.of, after.findings)):
            found = self._read(id)
            # It may have gone on to another case when this one was closed.
            if found is not None and self._read_acts(id)[2] == event.case_number:
                self._change(found, EventType.ACTED_ON, case_number=event.case_number)

    def _read_acts(self, id: FindingId) -> tuple[int, int, str]:
        """Decision, entry of the last act, and case of a finding."""
        value = self._write.get(b"Fa" + id.key)
        if value is None:
            return 0, 0, ""
        decision, act = _ACTS.unpack_from(value)
        return decision, act, value[_ACTS.size :].decode()

    def _put_acts(self, id: FindingId, decision: int, act: int, case_number: str) -> None:
        self._write.put(b"Fa" + id.key, _ACTS.pack(decision, act) + case_number.encode())

    # --- One finding ----------------------------------------------------------------------------

    def _read(self, id: FindingId) -> FindingState | None:
        value = self._write.get(b"Ff" + id.key)
        return None if value is None else _parse(id.key, value)

    def _change(self, before: FindingState, type: EventType, **changes: Any) -> None:
        self._settle(before, replace(before, changed=self._entry, **changes), type)

    def _settle(self, before: FindingState | None, after: FindingState, type: EventType) -> None:
        """Keep a finding as it is now, with what that makes of it and of others."""
        after = replace(after, state=_find_state(after, self._read_case(after.case_number)))
        was, now = before is not None and _is_signal(before), _is_signal(after)
        if was != now:
            after = replace(after, suspicions=self._count_signal(after, 1 if now else -1))
            after = _suspect(after, after.suspicions)
        self._store(before, after, type)

    def _store(self, before: FindingState | None, after: FindingState, type: EventType) -> None:
        self._count(before, -1)
        self._count(after, 1)
        for key in _list_keys(before) if before is not None else ():
            self._write.delete(key)
        for key in _list_keys(after):
            self._write.put(key, b"")
        self._put(after)
        self._note(before, after, type)

    def _put(self, found: FindingState) -> None:
        self._write.put(b"Ff" + found.id.key, _serialize(found))

    def _note(self, before: FindingState | None, after: FindingState, type: EventType) -> None:
        """Keep what this entry did to it; several things are one, named by the first."""
        key = b"Fe" + _U64.pack(self._entry) + after.id.key
        state_before = 0 if before is None else before.state
        severity = max(after.severity, 0 if before is None else before.severity)
        known = self._write.get(key)
        if known is not None:
            first, state_before, _, greater, _ = _EVENT.unpack(known)
            type, severity = EventType(first), max(severity, greater)
        value = _EVENT.pack(type, state_before, after.state, severity, self._time_ns)
        self._write.put(key, value)
        self._write.put(b"Fd" + after.id.key + b"\0" + _U64.pack(self._entry), value)

    def _read_case(self, case_number: str) -> case_pb2.Case | None:
        value = self._write.get(b"Fk" + case_number.encode()) if case_number else None
        return None if value is None else case_pb2.Case.FromString(value)

    def _count(self, found: FindingState | None, sign: int) -> None:
        if found is None:
            return
        self._add(_group_key(found), sign)
        key = b"Fr" + _TYPE.pack(found.id.type)
        value = self._write.get(key)
        counts = list(_COUNTS.unpack(value)) if value is not None else [0, 0, 0, 0]
        counts[_find_class(found)] += sign
        self._write.put(key, _COUNTS.pack(*counts))

    def _add(self, key: bytes, sign: int) -> int:
        """Count something up or down; what it was before. What comes to nothing is forgotten."""
        value = self._write.get(key)
        before = 0 if value is None else int(_U64.unpack(value)[0])
        if before + sign:
            self._write.put(key, _U64.pack(before + sign))
        else:
            self._write.delete(key)
        return before

    # --- Signals --------------------------------------------------------------------------------

    def _count_signal(self, found: FindingState, sign: int) -> int:
        """Count a signal in or out and change what others are thought of by it; what it is itself
        suspected for."""
        write = self._write
        institution = found.institution_code.encode() + b"\0"
        thing = found.id.thing + b"\0"
        before = self._read_suspicions(institution, thing)
        first_before = self._first_day(institution, thing, found.id.type)
        member = (
            b"Fm" + institution + thing + _PLACE.pack(found.id.type, found.id.sequence, found.id.line_number)
        )
        if sign > 0:
            write.put(member, b"")
        else:
            write.delete(member)
        self._add(b"Fs" + institution + thing + _TYPE_DAY.pack(found.id.type, found.day), sign)
        first = self._first_day(institution, thing, found.id.type)
        turned: set[int] = set()
        if first != first_before:
            for day, step in ((first_before, -1), (first, 1)):
                if day is None:
                    continue
                key = b"Ft" + institution + _TYPE_DAY.pack(found.id.type, day) + thing
                if step > 0:
                    write.put(key, b"")
                else:
                    write.delete(key)
                turned |= self._count_thing(institution, found.id.type, day, step)
        after = self._read_suspicions(institution, thing)
        for kind in before.keys() | after.keys():
            if before.get(kind) != after.get(kind):
                self._tell_members(institution, thing, kind, after.get(kind, 0), found.id)
        for day in sorted(turned):
            prefix = b"Ft" + institution + _TYPE_DAY.pack(found.id.type, day)
            for key, _ in write.scan(prefix):
                other = key[len(prefix) :]
                if other != thing:
                    suspicions = self._read_suspicions(institution, other)[found.id.type]
                    self._tell_members(institution, other, found.id.type, suspicions, found.id)
        return after.get(found.id.type, 0) if sign > 0 else 0

    def _read_suspicions(self, institution: bytes, thing: bytes) -> dict[int, int]:
        """By type, what the signals about a thing at an institution are suspected for."""
        prefix = b"Fs" + institution + thing
        first: dict[int, int] = {}
        for key, _ in self._write.scan(prefix):
            kind, day = _TYPE_DAY.unpack_from(key, len(prefix))
            first.setdefault(kind, day)
        two = TWO_SIGNALS if len({FAMILIES[FindingType(kind)] for kind in first}) > 1 else 0
        return {
            kind: two | (SEVERAL if self._is_dense(institution, kind, day) else 0)
            for kind, day in first.items()
        }

    def _first_day(self, institution: bytes, thing: bytes, kind: int) -> int | None:
        prefix = b"Fs" + institution + thing + _TYPE.pack(kind)
        first = next(self._write.scan_from(prefix, prefix), None)
        return None if first is None else int.from_bytes(first[0][-4:], "big")

    def _is_dense(self, institution: bytes, kind: int, day: int) -> bool:
        value = self._write.get(b"Fc" + institution + _TYPE_DAY.pack(kind, day))
        if value is not None and _U64.unpack(value)[0] >= SEVERAL_CODES:
            return True
        reach = SEVERAL_CODES_DAYS - 1
        return day in _dense_days(self._read_things(institution, kind, day - reach, day + reach))

    def _read_things(self, institution: bytes, kind: int, first: int, last: int) -> Counter[int]:
        prefix = b"Fc" + institution + _TYPE.pack(kind)
        things: Counter[int] = Counter()
        for key, value in self._write.scan_from(prefix, prefix + max(0, first).to_bytes(4, "big")):
            day = int.from_bytes(key[-4:], "big")
            if day > last:
                break
            things[day] = _U64.unpack(value)[0]
        return things

    def _count_thing(self, institution: bytes, kind: int, day: int, step: int) -> set[int]:
        """Count a thing in or out on its first day; the days whose things are suspected by it, or no more."""
        before = self._add(b"Fc" + institution + _TYPE_DAY.pack(kind, day), step)
        if min(before, before + step) >= SEVERAL_CODES:
            # All that is near is suspected with and without it.
            return set()
        reach = SEVERAL_CODES_DAYS - 1
        things = self._read_things(institution, kind, day - 2 * reach, day + 2 * reach)
        dense = _dense_days(things)
        things[day] -= step
        return {near for near in dense ^ _dense_days(things) if abs(near - day) <= reach}

    def _tell_members(
        self, institution: bytes, thing: bytes, kind: int, suspicions: int, but: FindingId
    ) -> None:
        """The signals of a type about a thing are suspected for this."""
        prefix = b"Fm" + institution + thing + _TYPE.pack(kind)
        code = "" if thing.startswith(b"\x01") else thing[:-1].decode()
        for key, _ in self._write.scan(prefix):
            _, sequence, line_number = _PLACE.unpack_from(key, len(key) - _PLACE.size)
            id = FindingId(sequence, kind, line_number, code)
            if id == but:
                continue
            found = self._read(id)
            if found is not None and found.suspicions != suspicions:
                after = _suspect(found, suspicions)
                if after.state == found.state:
                    # One more reason for the same is nothing to tell.
                    self._put(after)
                else:
                    self._store(found, replace(after, changed=self._entry), EventType.CHANGED)


def _dense_days(things: Mapping[int, int]) -> set[int]:
    """The days that lie, with SEVERAL_CODES things at least, within SEVERAL_CODES_DAYS days in a row."""
    days = sorted(day for day, count in things.items() if count > 0)
    dense: set[int] = set()
    total, last = 0, 0
    for first, day in enumerate(days):
        # The days from this one on that fit.
        while last < len(days) and days[last] < day + SEVERAL_CODES_DAYS:
            total += things[days[last]]
            last += 1
        if total >= SEVERAL_CODES:
            dense.update(days[first:last])
        total -= things[day]
    return dense


def _is_signal(found: FindingState) -> bool:
    return found.stands and found.id.type in FAMILIES and found.state != State.DISMISSED


def _suspect(found: FindingState, suspicions: int) -> FindingState:
    """The finding suspected for this. What people said of it stays."""
    state = found.state
    if state in (State.LEAD, State.SUSPECTED):
        state = State.SUSPECTED if suspicions else State.LEAD
    return replace(found, suspicions=suspicions, state=state)


def _find_state(found: FindingState, case: case_pb2.Case | None) -> State:
    judged = _find_judgement(found.decision, case)
    closed = case is not None and case.state == case_pb2.CASE_STATE_CLOSED
    if judged == case_pb2.FINDING_DECISION_DISMISSED:
        return State.DISMISSED
    if judged == case_pb2.FINDING_DECISION_CLOSED:
        return State.CLOSED
    if judged == case_pb2.FINDING_DECISION_CONFIRMED and closed:
        return State.CLOSED
    if not found.stands:
        return State.CLEARED
    if judged == case_pb2.FINDING_DECISION_CONFIRMED:
        return State.CONFIRMED
    return State.SUSPECTED if found.suspicions else State.LEAD


def _find_judgement(decision: int, case: case_pb2.Case | None) -> int:
    """What people say of it: what somebody said of this very finding, else what its closed case says."""
    if decision or case is None or case.state != case_pb2.CASE_STATE_CLOSED:
        return decision
    right = counts_as_violation(case)
    return case_pb2.FINDING_DECISION_CLOSED if right else case_pb2.FINDING_DECISION_DISMISSED


def _find_class(found: FindingState) -> int:
    """Which count of its rule it is in: open, cleared, confirmed, dismissed."""
    if found.state == State.DISMISSED:
        return 3
    decided = (case_pb2.FINDING_DECISION_CONFIRMED, case_pb2.FINDING_DECISION_CLOSED)
    if found.state in (State.CONFIRMED, State.CLOSED) or found.decision in decided:
        return 2
    return 1 if found.state == State.CLEARED else 0


def _group_key(found: FindingState) -> bytes:
    return b"Fn%s\0%s\0" % (found.division_code.encode(), found.institution_code.encode()) + _GROUP.pack(
        found.id.type, found.severity, found.state, found.day
    )


def _tail(found: FindingState) -> bytes:
    return _ORDER.pack(255 - found.severity, _LAST_DAY - found.day) + found.id.key


def _list_keys(found: FindingState) -> Iterator[bytes]:
    state, tail = bytes((found.state,)), _tail(found)
    yield b"Fl" + state + tail
    yield b"Fi" + found.institution_code.encode() + b"\0" + state + tail


def _serialize(found: FindingState) -> bytes:
    head = _HEAD.pack(
        found.state,
        found.suspicions,
        found.severity,
        found.mode,
        found.grade,
        found.revisable,
        found.stands,
        found.revision,
        found.entry,
        found.raised,
        found.changed,
        found.cleared,
        found.act,
        found.day,
        found.decision,
    )
    return head + "\0".join((found.institution_code, found.division_code, found.case_number)).encode()


def _parse(key: bytes, value: bytes) -> FindingState:
    state, *rest = _HEAD.unpack_from(value)
    return FindingState(
        FindingId.read(key), State(state), *rest, *value[_HEAD.size :].decode().split("\0", 2)
    )


# --- Queries ------------------------------------------------------------------------------------


def read_finding(reader: Reader, id: FindingId) -> FindingState | None:
    """A finding as it is, or None if it never weighed WARN."""
    value = reader.get(b"Ff" + id.key)
    return None if value is None else _parse(id.key, value)


def read_case(reader: Reader, case_number: str) -> case_pb2.Case | None:
    """A case as far as it is counted in, or None."""
    value = reader.get(b"Fk" + case_number.encode()) if case_number else None
    return None if value is None else case_pb2.Case.FromString(value)


def list_findings(
    reader: Reader, asked: Filter, *, size: int = 100, after: bytes = b""
) -> tuple[list[FindingState], bytes]:
    """A page of findings, the gravest first, then the latest, and where the next begins, empty at the end.

    Without states those are listed that wait for somebody. A page may be short and not the last.
    """
    states = sorted(set(asked.states or WAITING))
    prefixes = [
        (b"Fi" + asked.institution_code.encode() + b"\0" if asked.institution_code else b"Fl")
        + bytes((state,))
        for state in states
    ]
    tails = heapq.merge(*(_scan_tails(reader, prefix, after) for prefix in prefixes))
    found: list[FindingState] = []
    for looked_at, tail in enumerate(tails):
        severity = 255 - tail[0]
        if severity < asked.severity_min:
            break
        if len(found) == size or looked_at == SCANNED_MAX:
            return found, tail
        state = read_finding(reader, FindingId.read(tail[_ORDER.size :]))
        assert state is not None, "a list names what is not kept"
        if asked.fits(state):
            found.append(state)
    return found, b""


def _scan_tails(reader: Reader, prefix: bytes, start: bytes) -> Iterator[bytes]:
    for key, _ in reader.scan(prefix, prefix + start):
        yield key[len(prefix) :]


def count_findings(reader: Reader, asked: Filter) -> Iterator[tuple[tuple[str, str, int, int, int], int]]:
    """How many findings are as asked for, by (division, institution, type, day, state)."""
    for key, value in reader.scan(b"Fn" + asked.division_prefix.encode()):
        division, institution, rest = key[2:].split(b"\0", 2)
        kind, severity, state, day = _GROUP.unpack(rest)
        if (
            severity >= asked.severity_min
            and division.decode().startswith(asked.divisions)
            and (not asked.types or kind in asked.types)
            and (not asked.states or state in asked.states)
            and (not asked.institution_code or institution.decode() == asked.institution_code)
            and (asked.days is None or asked.days[0] <= day <= asked.days[1])
        ):
            yield (division.decode(), institution.decode(), kind, day, state), _U64.unpack(value)[0]


def list_events(reader: Reader, entry: int, skip: int, limit: int) -> list[FindingEvent]:
    """What happened from an entry on, but for the first `skip` events of that entry, in order."""
    events: list[FindingEvent] = []
    for key, value in reader.scan(b"Fe", b"Fe" + _U64.pack(entry)):
        event = _read_event(_U64.unpack_from(key, 2)[0], FindingId.read(key[10:]), value)
        if event.entry == entry and skip:
            skip -= 1
            continue
        if len(events) == limit:
            break
        events.append(event)
    return events


def list_events_of(reader: Reader, id: FindingId, limit: int) -> list[FindingEvent]:
    """The last events of a finding, the first first."""
    prefix = b"Fd" + id.key + b"\0"
    events: list[FindingEvent] = []
    for key, value in reader.scan(prefix, reverse=True):
        if len(events) == limit:
            break
        if len(key) == len(prefix) + _U64.size:
            events.append(_read_event(_U64.unpack_from(key, len(prefix))[0], id, value))
    return events[::-1]


def read_rule_counts(reader: Reader) -> list[RuleCounts]:
    """What became of the findings of each type."""
    return [
        RuleCounts(_TYPE.unpack_from(key, 2)[0], *_COUNTS.unpack(value)) for key, value in reader.scan(b"Fr")
    ]


def _read_event(entry: int, id: FindingId, value: bytes) -> FindingEvent:
    type, before, state, severity, time_ns = _EVENT.unpack(value)
    return FindingEvent(entry, id, EventType(type), before, state, severity, time_ns)
