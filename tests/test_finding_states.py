"""The states of findings: what is a suspicion, what people and later entries make of it, and what is counted.

Method: random acts and cases on the findings of a small ledger; the view is compared with a sum made by hand
from the journal, and with itself for other cuts of its batches.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest
from backed_up import PERSON_KEY, fill_ledger
from documents import DAY, HOUR, INSTITUTIONS, NOON, NS, OTHER, PRODUCTS, SHOP, code, line, receipt, sale
from tracecode_server import finding_service
from tracecode_server.finding_service import FindingService, read_cursor
from tracecode_server.open_views import OpenViews
from tracecode_server.read_pool import ReadPool

from tracecode.access import Access
from tracecode.document import china_day
from tracecode.engine.contract import Submission, Submissions
from tracecode.engine.lmdb import LmdbEngine, open_to_read
from tracecode.errors import TracecodeError
from tracecode.finding import FindingType
from tracecode.ledger import Ledger
from tracecode.suspicion import FAMILIES, SEVERAL_CODES, SEVERAL_CODES_DAYS
from tracecode.v1 import case_pb2, case_service_pb2, document_pb2, finding_pb2, journal_pb2
from tracecode.views.finding_states import (
    SEVERAL,
    TWO_SIGNALS,
    EventType,
    Filter,
    FindingId,
    FindingState,
    State,
    _dense_days,
    count_findings,
    list_events,
    list_events_of,
    list_findings,
    read_rule_counts,
)
from tracecode.views.projector import DIRECTORY, Projector, rebuild
from tracecode.views.store import Reader, ViewStore

EVERY = tuple(State)


def act_at_random(directory: Path, seed: int) -> None:
    """People judge findings of a ledger, open cases on them, and close those, well or badly."""
    rng = random.Random(seed)
    clock = [(NOON + 3 * DAY) * NS]

    def tick() -> int:
        clock[0] += NS
        return clock[0]

    ledger = Ledger.open(directory, person_key=PERSON_KEY, clock_ns=tick)
    try:
        references = []
        for value in ledger.engine.entries(0, 10_000):
            entry = journal_pb2.JournalEntry.FromString(value)
            document = document_pb2.Document.FromString(entry.document.document)
            references += [
                (
                    document.institution_code,
                    case_pb2.FindingReference(
                        sequence=entry.sequence, type=each.type, line_number=each.line_number, code=each.code
                    ),
                )
                for each in entry.document.findings
            ]
        done = 0
        for _ in range(60):
            institution, reference = rng.choice(references)
            try:
                if rng.random() < 0.5:
                    standing = ledger.engine.finding_standing(reference)
                    ledger.desk.act_on_finding(
                        case_service_pb2.ActOnFindingRequest(
                            finding=reference,
                            decision=case_pb2.FindingDecision.ValueType(rng.randint(1, 4)),
                            actor="李",
                            reason="看过",
                            previous_sequence=standing.act_sequence,
                        )
                    )
                else:
                    case = ledger.desk.open_case(
                        case_service_pb2.OpenCaseRequest(
                            actor="李",
                            title="案",
                            origin=case_pb2.CASE_ORIGIN_FINDINGS,
                            institution_code=institution,
                            findings=[reference],
                        )
                    )
                    if rng.random() < 0.7:
                        ledger.desk.advance_case(
                            case_service_pb2.AdvanceCaseRequest(
                                case_number=case.case_number,
                                etag=case.etag,
                                actor="李",
                                approver="王",
                                note="无违规",
                                to_state=case_pb2.CASE_STATE_CLOSED,
                                outcomes=[case_pb2.CaseOutcome(type=case_pb2.CASE_OUTCOME_TYPE_NO_VIOLATION)],
                            )
                        )
                done += 1
            except TracecodeError:
                # What the desk refuses is not kept.
                continue
        assert done > 10
    finally:
        ledger.close()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with findings, revisions, deletions and what people made of them."""
    path = tmp_path_factory.mktemp("states") / "data"
    fill_ledger(path, 24)
    act_at_random(path, 3)
    rebuild(path)
    return path


def read_all(reader: Reader) -> list[FindingState]:
    """Every finding that is kept."""
    found, _ = list_findings(reader, Filter(states=EVERY), size=100_000)
    return found


def test_the_view_does_not_depend_on_where_batches_are_cut(directory: Path) -> None:
    """Pins byte-equal records, acts and cases among them, whatever batches there were."""
    with ViewStore(directory / DIRECTORY, read_only=True) as store:
        whole = list(store.records())
    assert {key[:2] for key, _ in whole if key[:1] == b"F"} == {
        b"F" + bytes((letter,)) for letter in b"fliednraksmct"
    }
    for seed in range(3):
        rng = random.Random(seed)
        with Projector(directory, parquet=False) as projector:
            projector.restart()
            while projector.step(rng.randint(1, 7), 10_000):
                pass
        with ViewStore(directory / DIRECTORY, read_only=True) as store:
            assert [row for row in store.records() if row[0][:1] == b"F"] == [
                row for row in whole if row[0][:1] == b"F"
            ]


def test_what_stands_is_named_by_the_entry_that_says_it(tmp_path: Path) -> None:
    """Pins what stands against entries and revisions read one by one, with the entry that holds."""
    directory = tmp_path / "data"
    engine = LmdbEngine(directory, None, NOON * NS, map_size_bytes=2**28)
    engine.import_products(PRODUCTS, NOON * NS)
    engine.import_institutions(INSTITUTIONS, NOON * NS)
    told = [
        sale(SHOP, "S1", NOON + 5 * HOUR, line(code(1))),
        sale(SHOP, "S2", NOON + 5 * HOUR, line(code(2))),
        sale(OTHER, "S1", NOON, line(code(1))),
        receipt(SHOP, "R2", NOON, line(code(2))),
    ]
    for made in told:
        content = made.SerializeToString(deterministic=True)
        engine.record(Submissions.of(Submission(content, (NOON + 6 * HOUR) * NS)))
    engine.close()
    rebuild(directory)
    standing: dict[int, tuple[int, list[finding_pb2.Finding]]] = {}
    with closing(open_to_read(directory)) as store:
        values = store.entries(0, store.durable_sequence)
    for entry in map(journal_pb2.JournalEntry.FromString, values):
        if entry.HasField("document"):
            standing[entry.sequence] = (entry.sequence, list(entry.document.findings))
        elif entry.HasField("revision"):
            revised = entry.revision.revised_sequence
            standing[revised] = (entry.sequence, list(entry.revision.findings))
    expected = {
        (sequence, finding.type, finding.line_number, finding.code, entry)
        for sequence, (entry, findings) in standing.items()
        for finding in findings
        if finding.final_severity >= finding_pb2.SEVERITY_WARN
    }
    with ViewStore(directory / DIRECTORY, read_only=True) as store, store.read() as reader:
        found = read_all(reader)
    assert {
        (one.id.sequence, one.id.type, one.id.line_number, one.id.code, one.entry)
        for one in found
        if one.stands
    } == expected
    # Some were changed by revisions, some cleared.
    assert any(sequence != entry for sequence, _, _, _, entry in expected)
    assert not all(one.stands for one in found)


def test_suspicions_are_what_a_count_by_hand_says(directory: Path) -> None:
    """Pins both reasons against the definition, over all findings that stand and were not dismissed."""
    with ViewStore(directory / DIRECTORY, read_only=True) as store, store.read() as reader:
        found = read_all(reader)
    signals = [
        each
        for each in found
        if each.stands and each.state != State.DISMISSED and FindingType(each.id.type) in FAMILIES
    ]
    families = defaultdict(set)
    days = defaultdict(lambda: 2**31)
    for each in signals:
        place = (each.institution_code, each.id.thing)
        families[place].add(FAMILIES[FindingType(each.id.type)])
        key = (each.institution_code, each.id.type, each.id.thing)
        days[key] = min(days[key], each.day)
    expected = {}
    for each in signals:
        reasons = TWO_SIGNALS if len(families[each.institution_code, each.id.thing]) > 1 else 0
        day = days[each.institution_code, each.id.type, each.id.thing]
        alike = [
            other
            for (institution, kind, _), other in days.items()
            if (institution, kind) == (each.institution_code, each.id.type)
        ]
        windows = range(day - SEVERAL_CODES_DAYS + 1, day + 1)
        if any(
            sum(first <= other < first + SEVERAL_CODES_DAYS for other in alike) >= SEVERAL_CODES
            for first in windows
        ):
            reasons |= SEVERAL
        expected[each.id] = reasons
    assert {each.id: each.suspicions for each in signals} == expected
    assert {each.suspicions for each in found if each.id not in expected} <= {0}
    assert TWO_SIGNALS | SEVERAL in expected.values()
    assert {each.state for each in found} >= {State.SUSPECTED, State.DISMISSED, State.CLEARED}


def test_days_are_dense_where_some_window_is_full() -> None:
    """Pins the window against a search of all windows, for random days."""
    rng = random.Random(5)
    for _ in range(200):
        things = Counter(rng.randint(0, 150) for _ in range(rng.randint(0, 12)))
        expected = {
            day
            for first in range(-40, 160)
            for day in things
            if first <= day < first + SEVERAL_CODES_DAYS
            and sum(count for other, count in things.items() if first <= other < first + SEVERAL_CODES_DAYS)
            >= SEVERAL_CODES
        }
        assert _dense_days(things) == expected


def test_lists_groups_and_statistics_count_the_same_findings(directory: Path) -> None:
    """Pins pages, filters, groups and the counts of rules against one list of everything."""
    with ViewStore(directory / DIRECTORY, read_only=True) as store, store.read() as reader:
        found = read_all(reader)
        pages, after = list_findings(reader, Filter(states=EVERY), size=3)
        while after:
            page, after = list_findings(reader, Filter(states=EVERY), size=3, after=after)
            pages += page
        assert pages == found == sorted(found, key=lambda each: (-each.severity, -each.day, each.id))
        assert len({each.id for each in found}) == len(found)
        for state in State:
            listed, _ = list_findings(reader, Filter(states=[state]), size=1_000)
            assert listed == [each for each in found if each.state == state]
        there = found[0].institution_code
        listed, _ = list_findings(reader, Filter(institution_code=there, states=EVERY), size=1_000)
        assert listed == [each for each in found if each.institution_code == there]
        grave, _ = list_findings(reader, Filter(severity_min=4, states=EVERY), size=1_000)
        assert grave == [each for each in found if each.severity == 4] != found
        counted = Counter(dict(count_findings(reader, Filter(division_prefix="1305"))))
        assert counted == Counter(
            (each.division_code, each.institution_code, each.id.type, each.day, each.state)
            for each in found
            if each.division_code.startswith("1305")
        )
        for counts in read_rule_counts(reader):
            of_type = [each for each in found if each.id.type == counts.type]
            assert len(of_type) == counts.open + counts.cleared + counts.confirmed + counts.dismissed
            assert counts.dismissed == sum(each.state == State.DISMISSED for each in of_type)


def test_events_lead_from_nothing_to_how_each_finding_is_now(directory: Path) -> None:
    """Pins that the events of a finding follow one another without a gap, and end in its state."""
    with ViewStore(directory / DIRECTORY, read_only=True) as store, store.read() as reader:
        found = {each.id: each for each in read_all(reader)}
        events = list_events(reader, 0, 0, 100_000)
        stands: dict[FindingId, int] = {}
        for event in events:
            assert event.before == stands.get(event.id, 0)
            assert (event.type == EventType.RAISED) >= (event.before == 0)
            assert china_day(event.time_ns // NS) >= found[event.id].day
            stands[event.id] = event.state
        assert stands == {id: each.state for id, each in found.items()}
        assert {event.type for event in events} >= {EventType.RAISED, EventType.CLEARED, EventType.ACTED_ON}
        for id in found:
            assert list_events_of(reader, id, 100) == [event for event in events if event.id == id]
        assert (
            list_events(reader, events[4].entry, 1, 3)
            == [event for event in events if event.entry >= events[4].entry][1:4]
        )


@pytest.mark.parametrize("events_max", [1, 2, 5])
def test_responses_of_any_size_join_to_all_events(
    directory: Path, events_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that a watch that goes on from each cursor, also amid the events of one entry, misses and doubles
    nothing, and that views which are behind the cursor are waited for."""
    views = OpenViews(directory)
    service = FindingService(cast(Ledger, None), cast(Access, None), cast(ReadPool, None), views)
    try:
        whole, _, _ = service._read_events(Filter(), (1, 0))
        assert len(whole.events) > 20
        monkeypatch.setattr(finding_service, "WATCH_EVENTS", events_max)
        joined = []
        cursor, done, amid = (1, 0), False, False
        while not done:
            response, _, done = service._read_events(Filter(), cursor)
            joined += response.events
            cursor = read_cursor(response.cursor)
            amid |= cursor[1] > 0 and any(event.sequence == cursor[0] for event in whole.events)
        assert joined == list(whole.events)
        assert amid
        for later in ((10**6, 0), (10**6, 3)):
            response, same, done = service._read_events(Filter(), later)
            assert (list(response.events), same, done) == ([], later, True)
    finally:
        views.close()
