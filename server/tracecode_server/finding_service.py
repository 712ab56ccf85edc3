"""tracecode.v1.FindingService: checks, asks the views, converts; a watch follows them."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import date
from math import sqrt

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tracecode.access import Access, Asker
from tracecode.answer import answer_findings, to_timestamp
from tracecode.cases.case import CODE_BYTES_MAX, check_reference
from tracecode.code import key_text
from tracecode.counter_evidence import CHAIN_EVENTS_MAX, search
from tracecode.document import EPOCH, NS, check_size, day_date, effective_time
from tracecode.errors import FieldInvalid, NotFound, Overloaded
from tracecode.finding import PROVISIONAL_SECONDS
from tracecode.grants import Reach
from tracecode.ledger import Ledger, read_key
from tracecode.masks import day_time, division_of, mask_finding
from tracecode.paging import PAGE_TOKEN_BYTES_MAX, page_size
from tracecode.v1 import (
    case_pb2,
    code_pb2,
    document_pb2,
    finding_pb2,
    finding_service_pb2,
    journal_pb2,
)
from tracecode.views import finding_states
from tracecode.views.finding_states import SEVERITY_MIN, Filter, FindingEvent, FindingId, FindingState
from tracecode.views.store import Reader
from tracecode_server.asker import name_asker
from tracecode_server.open_views import OpenViews
from tracecode_server.read_pool import ReadPool

LOOK_SECONDS = 0.1
"""While somebody watches, the views are looked at so often."""
HEARTBEAT_SECONDS = 15
HEARTBEAT_SECONDS_MAX = 300
WATCH_EVENTS = 200
"""Events of one response, at most."""
EVENTS_SHOWN = 200
ACTS_SHOWN = 200
Z_95 = 1.959964
PLACE_BYTES_MAX = 32 + CODE_BYTES_MAX
"""Severity, day and name of a finding."""
_SERVICE = "tracecode.v1.FindingService"

_CURSOR = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,9}))?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_GROUPS = {
    finding_service_pb2.FINDING_GROUPING_DIVISION: 0,
    finding_service_pb2.FINDING_GROUPING_INSTITUTION: 1,
    finding_service_pb2.FINDING_GROUPING_TYPE: 2,
    finding_service_pb2.FINDING_GROUPING_DAY: 3,
    finding_service_pb2.FINDING_GROUPING_STATE: 4,
}


class FindingService:
    """Answers for the finding queue. Raises the ledger's errors; `Methods` turns them into statuses."""

    def __init__(self, ledger: Ledger, access: Access, reads: ReadPool, views: OpenViews) -> None:
        self._ledger = ledger
        self._access = access
        self._reads = reads
        self._views = views
        self._draining = False
        self._watching = 0
        self._changed = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def ListFindings(
        self, request: finding_service_pb2.ListFindingsRequest
    ) -> finding_service_pb2.ListFindingsResponse:
        return await self._reads.run(self._list, name_asker(), request)

    def _list(
        self, asker: Asker, request: finding_service_pb2.ListFindingsRequest
    ) -> finding_service_pb2.ListFindingsResponse:
        asked = read_filter(request.filter)
        size = page_size(request.page_size)
        binding = hashlib.sha256(request.filter.SerializeToString(deterministic=True)).digest()[:8]
        after = _read_token(request.page_token, binding)
        asked = within(asked, self._record(asker, "ListFindings", request))
        with self._views.read() as reader:
            found, following = finding_states.list_findings(reader, asked, size=size, after=after)
            return finding_service_pb2.ListFindingsResponse(
                findings=[_to_record(reader, each) for each in found],
                next_page_token=(binding + following).hex() if following else "",
                as_of_sequence=reader.sequence,
                cursor=str(reader.sequence),
            )

    async def GroupFindings(
        self, request: finding_service_pb2.GroupFindingsRequest
    ) -> finding_service_pb2.GroupFindingsResponse:
        return await self._reads.run(self._group, name_asker(), request)

    def _group(
        self, asker: Asker, request: finding_service_pb2.GroupFindingsRequest
    ) -> finding_service_pb2.GroupFindingsResponse:
        asked = read_filter(request.filter)
        part = _GROUPS.get(request.grouping)
        if part is None:
            raise FieldInvalid("grouping", "say by what: TYPE, INSTITUTION, DIVISION, DAY or STATE")
        size = page_size(request.page_size)
        asked = within(asked, self._record(asker, "GroupFindings", request))
        groups: dict[object, Counter[int]] = {}
        with self._views.read() as reader:
            sequence = reader.sequence
            for key, count in finding_states.count_findings(reader, asked):
                groups.setdefault(key[part], Counter())[key[4]] += count
        by_day = request.grouping == finding_service_pb2.FINDING_GROUPING_DAY
        largest = sorted(
            groups.items(), key=lambda group: (group[0] if by_day else -group[1].total(), str(group[0]))
        )
        state = finding_states.State
        return finding_service_pb2.GroupFindingsResponse(
            groups=[
                finding_service_pb2.FindingGroup(
                    key=_name_group(request.grouping, key),
                    finding_count=counts.total(),
                    lead_count=counts[state.LEAD],
                    suspected_count=counts[state.SUSPECTED],
                    confirmed_count=counts[state.CONFIRMED],
                    closed_count=counts[state.CLOSED],
                    dismissed_count=counts[state.DISMISSED],
                    cleared_count=counts[state.CLEARED],
                )
                for key, counts in largest[:size]
            ],
            finding_count=sum(counts.total() for counts in groups.values()),
            group_count=len(groups),
            as_of_sequence=sequence,
        )

    async def GetFinding(
        self, request: finding_service_pb2.GetFindingRequest
    ) -> finding_service_pb2.GetFindingResponse:
        return await self._reads.run(self._get, name_asker(), request)

    def _get(
        self, asker: Asker, request: finding_service_pb2.GetFindingRequest
    ) -> finding_service_pb2.GetFindingResponse:
        reference = request.finding
        check_reference("finding", reference)
        id = FindingId.of(reference)
        reach = self._access.reach(asker)
        response = finding_service_pb2.GetFindingResponse()
        with self._views.read() as reader:
            found = finding_states.read_finding(reader, id)
            if found is None:
                # That there is none is told, too.
                self._record(asker, "GetFinding", request)
                raise NotFound("no finding of WARN or more is known by this name")
            reach.check(found.division_code)
            response.record.CopyFrom(_to_record(reader, found))
            response.as_of_sequence = reader.sequence
            for event in finding_states.list_events_of(reader, id, EVENTS_SHOWN):
                response.events.append(_to_event(event))
        self._record(asker, "GetFinding", request)
        first = self._read_finding(id, found.raised)
        if first is not None:
            response.first_finding.CopyFrom(first)
        now = self._read_finding(id, found.entry) if found.stands else None
        if now is not None:
            response.standing_finding.CopyFrom(now)
        for shown in (response.first_finding, response.standing_finding):
            mask_finding(shown, reach)
        response.counter_evidence.extend(
            search(reference, found.institution_code, self._read_chain(reference.code))
        )
        for evidence in response.counter_evidence:
            for explaining in evidence.events:
                _mask_counter_evidence(explaining, reach)
        response.acts.extend(self._read_acts(reference))
        if found.case_number:
            case = self._ledger.desk.get_case(found.case_number)
            # Findings of several divisions may be in one case, which says more than they do.
            if reach.covers(case.division_code):
                response.case.CopyFrom(case)
        return response

    def _read_entry(self, sequence: int) -> journal_pb2.JournalEntry:
        values = self._ledger.engine.entries(sequence - 1, 1) if sequence else []
        return journal_pb2.JournalEntry.FromString(values[0]) if values else journal_pb2.JournalEntry()

    def _read_finding(self, id: FindingId, sequence: int) -> finding_pb2.Finding | None:
        """The finding as an entry has it, with its texts."""
        entry = self._read_entry(sequence)
        kept = entry.revision.findings if entry.HasField("revision") else entry.document.findings
        # Where several have one name, the gravest is the one that is kept.
        findings = sorted(
            (
                finding
                for finding in kept
                if (finding.type, finding.line_number, finding.code) == (id.type, id.line_number, id.code)
            ),
            key=lambda finding: -finding.final_severity,
        )[:1]
        if not findings:
            return None
        own = entry if entry.HasField("document") else self._read_entry(id.sequence)
        document = document_pb2.Document.FromString(own.document.document)
        happened = effective_time(document.business_time.seconds, own.receive_time_ns // NS)
        asked = document.sale.stage == document_pb2.SALE_STAGE_BEFORE_SETTLEMENT
        answer_findings(findings, time.time_ns() // NS, happened + PROVISIONAL_SECONDS, asked=asked)
        return findings[0]

    def _read_chain(self, code: str) -> list[code_pb2.CodeEvent] | None:
        """The chain of a code; None if there is none, or if it is too long to be looked through."""
        if not code:
            return None
        try:
            key = read_key(code)
        except FieldInvalid:
            return None
        if key_text(key) != code:
            return None
        chain = self._ledger.engine.history(key, 0, CHAIN_EVENTS_MAX + 1)
        return chain if len(chain) <= CHAIN_EVENTS_MAX else None

    def _read_acts(self, reference: case_pb2.FindingReference) -> list[finding_service_pb2.FindingActRecord]:
        acts: list[finding_service_pb2.FindingActRecord] = []
        sequence = self._ledger.engine.finding_standing(reference).act_sequence
        while sequence and len(acts) < ACTS_SHOWN:
            entry = self._read_entry(sequence)
            acts.append(
                finding_service_pb2.FindingActRecord(
                    sequence=sequence, time=to_timestamp(entry.receive_time_ns), act=entry.finding_act
                )
            )
            sequence = entry.finding_act.previous_sequence
        return acts[::-1]

    async def ListRuleStatistics(
        self, request: finding_service_pb2.ListRuleStatisticsRequest
    ) -> finding_service_pb2.ListRuleStatisticsResponse:
        del request
        return await self._reads.run(self._list_statistics)

    def _list_statistics(self) -> finding_service_pb2.ListRuleStatisticsResponse:
        with self._views.read() as reader:
            return finding_service_pb2.ListRuleStatisticsResponse(
                rules=map(_to_statistics, finding_states.read_rule_counts(reader)),
                as_of_sequence=reader.sequence,
            )

    # Watching.

    async def WatchFindings(
        self, request: finding_service_pb2.WatchFindingsRequest
    ) -> AsyncGenerator[finding_service_pb2.WatchFindingsResponse, None]:
        asked = read_filter(request.filter)
        if request.heartbeat_seconds > HEARTBEAT_SECONDS_MAX:
            raise FieldInvalid("heartbeat_seconds", f"at most {HEARTBEAT_SECONDS_MAX}")
        rest_seconds = request.heartbeat_seconds or HEARTBEAT_SECONDS
        cursor = read_cursor(request.cursor) if request.cursor else None
        if cursor is not None and cursor[0] > self._ledger.engine.sequence + 1:
            raise FieldInvalid("cursor", "names an entry that this ledger does not have")
        asker = name_asker()
        await self._reads.run(self._record, asker, "WatchFindings", request)
        said_at: float | None = None
        self._enter()
        try:
            while not self._draining:
                changed = self._changed
                try:
                    # A reader that is slow holds no thread: it is asked for more when it has taken this.
                    response, cursor, whole = await self._reads.run(self._read_within, asker, asked, cursor)
                except Overloaded as error:
                    await self._wait(changed, error.retry_after_seconds)
                    continue
                now = time.monotonic()
                if response.events or said_at is None or now - said_at >= rest_seconds:
                    said_at = now
                    yield response
                if whole:
                    rest = (said_at or now) + rest_seconds - time.monotonic()
                    await self._wait(changed, max(0.0, rest))
        finally:
            self._leave()

    def _read_within(
        self, asker: Asker, asked: Filter, cursor: tuple[int, int] | None
    ) -> tuple[finding_service_pb2.WatchFindingsResponse, tuple[int, int], bool]:
        # Each time anew: a watch may outlast a grant.
        return self._read_events(within(asked, self._access.reach(asker)), cursor)

    def _read_events(
        self, asked: Filter, cursor: tuple[int, int] | None
    ) -> tuple[finding_service_pb2.WatchFindingsResponse, tuple[int, int], bool]:
        """What is behind a cursor, the cursor behind that, and whether that is all there is now."""
        response = finding_service_pb2.WatchFindingsResponse()
        with self._views.read() as reader:
            sequence = response.as_of_sequence = reader.sequence
            entry, skip = cursor if cursor is not None else (sequence + 1, 0)
            events: list[FindingEvent] = []
            if entry <= sequence:
                events = finding_states.list_events(reader, entry, skip, WATCH_EVENTS)
            whole = len(events) < WATCH_EVENTS
            if not whole:
                last = events[-1].entry
                seen = sum(event.entry == last for event in events)
                following = (last, seen + (skip if last == entry else 0))
            else:
                # Views that are being built again may be behind what was told already.
                following = (max(entry, sequence + 1), 0) if entry <= sequence else (entry, skip)
            for event in events:
                found = finding_states.read_finding(reader, event.id)
                if found is None or not _is_asked(asked, event, found):
                    continue
                message = _to_event(event)
                message.record.CopyFrom(_to_record(reader, found))
                response.events.append(message)
        response.cursor = write_cursor(following)
        return response, following, whole

    def _record(self, asker: Asker, method: str, question: Message) -> Reach:
        return self._access.look(asker, f"{_SERVICE}.{method}", question)

    def _enter(self) -> None:
        self._watching += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())

    def _leave(self) -> None:
        self._watching -= 1
        if not self._watching and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _look(self) -> None:
        """Wake those who watch when the views have moved on: one look for all of them."""
        seen = -1
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with suppress(NotFound, Overloaded):
                # One record of a map in memory: less than the turn of a thread.
                with self._views.read() as reader:
                    sequence = reader.sequence
                if sequence != seen:
                    seen = sequence
                    self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _wait(self, changed: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await changed.wait()

    def drain(self) -> None:
        """End every watch; what was read of one is still sent."""
        self._draining = True
        self._wake()


# --- What is asked ------------------------------------------------------------------------------


def read_filter(message: finding_service_pb2.FindingFilter) -> Filter:
    """What a filter asks for. Raises FieldInvalid."""
    check_size("filter.institution_code", message.institution_code, 12)
    if message.division_prefix and not re.fullmatch(r"[0-9]{1,6}", message.division_prefix):
        raise FieldInvalid("filter.division_prefix", "must be the first digits of a division code")
    days = None
    if message.first_day or message.last_day:
        first = _read_day("filter.first_day", message.first_day) if message.first_day else 0
        last = _read_day("filter.last_day", message.last_day) if message.last_day else 2**31
        days = (first, last)
    if len(message.types) > len(finding_pb2.FindingType.values()):
        raise FieldInvalid("filter.types", "name each type once")
    if len(message.states) > len(finding_states.State):
        raise FieldInvalid("filter.states", "name each state once")
    for state in message.states:
        if int(state) not in set(map(int, finding_states.State)):
            raise FieldInvalid("filter.states", "LEAD, SUSPECTED, CONFIRMED, CLOSED, DISMISSED or CLEARED")
    return Filter(
        severity_min=max(SEVERITY_MIN, message.severity_min),
        types=frozenset(message.types),
        institution_code=message.institution_code,
        division_prefix=message.division_prefix,
        days=days,
        states=frozenset(message.states),
    )


def within(asked: Filter, reach: Reach) -> Filter:
    """What is asked for, as far as it may be seen."""
    return replace(asked, divisions=reach.divisions)


def _read_day(field: str, text: str) -> int:
    if _DAY.fullmatch(text):
        with suppress(ValueError):
            return (date.fromisoformat(text) - EPOCH).days
    raise FieldInvalid(field, "must be a day, yyyy-MM-dd")


def read_cursor(text: str) -> tuple[int, int]:
    """Where a watch goes on: an entry, and how many of its events are known. Raises FieldInvalid."""
    read = _CURSOR.fullmatch(text)
    if read is None:
        raise FieldInvalid("cursor", 'is not from an answer; "0" begins with the first finding')
    entry = int(read[1])
    return (entry, int(read[2])) if read[2] else (entry + 1, 0)


def write_cursor(cursor: tuple[int, int]) -> str:
    """The text of a cursor: ENTRY where all of that entry is known, ENTRY.EVENTS where some is."""
    entry, events = cursor
    return f"{entry}.{events}" if events else str(entry - 1)


def _read_token(token: str, binding: bytes) -> bytes:
    if not token:
        return b""
    check_size("page_token", token, 2 * PAGE_TOKEN_BYTES_MAX)
    with suppress(ValueError):
        read = bytes.fromhex(token)
        # A longer one than any place in a list would be no key.
        if read.startswith(binding) and 0 < len(read) - len(binding) <= PLACE_BYTES_MAX:
            return read[len(binding) :]
    raise FieldInvalid("page_token", "is not from an answer to this question; start from the first page")


def _is_asked(asked: Filter, event: FindingEvent, found: FindingState) -> bool:
    return (
        event.severity >= asked.severity_min
        and (not asked.states or event.state in asked.states or event.before in asked.states)
        and asked.fits(found)
    )


# --- What is answered ---------------------------------------------------------------------------


def _to_record(reader: Reader, found: FindingState) -> finding_service_pb2.FindingRecord:
    case = finding_states.read_case(reader, found.case_number)
    return finding_service_pb2.FindingRecord(
        finding=case_pb2.FindingReference(
            sequence=found.id.sequence,
            type=finding_pb2.FindingType.ValueType(found.id.type),
            line_number=found.id.line_number,
            code=found.id.code,
        ),
        state=finding_service_pb2.FindingState.ValueType(found.state),
        suspicions=_list_suspicions(found.suspicions),
        severity=finding_pb2.Severity.ValueType(found.severity),
        mode=finding_pb2.Mode.ValueType(found.mode),
        grade=found.grade,
        revisable=found.revisable,
        institution_code=found.institution_code,
        division_code=found.division_code,
        business_day=day_date(found.day).isoformat(),
        raise_sequence=found.raised,
        change_sequence=found.changed,
        clear_sequence=found.cleared,
        revision=found.revision,
        decision=case_pb2.FindingDecision.ValueType(found.decision),
        act_sequence=found.act,
        case_number=found.case_number,
        case_state=case.state if case is not None else case_pb2.CASE_STATE_UNSPECIFIED,
    )


def _mask_counter_evidence(event: finding_service_pb2.CounterEvidenceEvent, reach: Reach) -> None:
    if not reach.covers(division_of(event.institution_code)):
        event.institution_code = event.document_number = ""
        for time_ in (event.business_time, event.receive_time):
            time_.CopyFrom(day_time(time_))


def _list_suspicions(bits: int) -> Iterator[finding_service_pb2.Suspicion.ValueType]:
    if bits & finding_states.TWO_SIGNALS:
        yield finding_service_pb2.SUSPICION_TWO_SIGNALS
    if bits & finding_states.SEVERAL:
        yield finding_service_pb2.SUSPICION_SEVERAL_CODES


def _to_event(event: FindingEvent) -> finding_service_pb2.FindingEvent:
    return finding_service_pb2.FindingEvent(
        sequence=event.entry,
        type=finding_service_pb2.FindingEventType.ValueType(event.type),
        state_before=finding_service_pb2.FindingState.ValueType(event.before),
        state=finding_service_pb2.FindingState.ValueType(event.state),
        time=Timestamp(seconds=event.time_ns // NS, nanos=event.time_ns % NS),
    )


def _name_group(grouping: int, key: object) -> str:
    if grouping == finding_service_pb2.FINDING_GROUPING_TYPE:
        return finding_pb2.FindingType.Name(finding_pb2.FindingType.ValueType(int(str(key))))
    if grouping == finding_service_pb2.FINDING_GROUPING_STATE:
        return finding_service_pb2.FindingState.Name(
            finding_service_pb2.FindingState.ValueType(int(str(key)))
        )
    if grouping == finding_service_pb2.FINDING_GROUPING_DAY:
        return day_date(int(str(key))).isoformat()
    return str(key)


def _to_statistics(counts: finding_states.RuleCounts) -> finding_service_pb2.RuleStatistics:
    judged = counts.confirmed + counts.dismissed
    statistics = finding_service_pb2.RuleStatistics(
        type=finding_pb2.FindingType.ValueType(counts.type),
        raised_count=counts.open + counts.cleared + judged,
        open_count=counts.open,
        cleared_count=counts.cleared,
        confirmed_count=counts.confirmed,
        dismissed_count=counts.dismissed,
    )
    if judged:
        statistics.precision = counts.confirmed / judged
        statistics.precision_min, statistics.precision_max = bound_share(counts.confirmed, judged)
    return statistics


def bound_share(right: int, judged: int) -> tuple[float, float]:
    """Between what a share lies with 95% confidence (Wilson's score interval)."""
    share, squared = right / judged, Z_95**2 / judged
    middle = (share + squared / 2) / (1 + squared)
    reach = Z_95 / (1 + squared) * sqrt(share * (1 - share) / judged + squared / (4 * judged))
    return max(0.0, middle - reach), min(1.0, middle + reach)
