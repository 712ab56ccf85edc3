"""Cases from a finding to 销号: the moves, who may make them, and that the journal alone holds them."""

from __future__ import annotations

import io
import shutil
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from documents import DAY, HOUR, INSTITUTIONS, NOON, NS, OTHER, PRODUCTS, SHOP, code, line, receipt, sale
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from running_server import ServerProcess

from tracecode.cases.area_grid import AreaGrid
from tracecode.cases.case import due_date, fold
from tracecode.cases.moves import MOVES, CaseState, OutcomeType, find_move, list_next
from tracecode.errors import (
    EtagStale,
    FieldInvalid,
    FindingInCase,
    ImportInvalid,
    MoveRefused,
    TracecodeError,
)
from tracecode.finding import FindingType
from tracecode.fsck import check
from tracecode.ledger import Ledger
from tracecode.names import NAMES_ZH
from tracecode.person import PersonKey
from tracecode.v1 import case_pb2, case_service_pb2, case_service_pb2_grpc, journal_pb2, ledger_service_pb2

ENGINES = ("memory", "lmdb")
S = CaseState


class Clock:
    """A clock that stands until it is put on."""

    def __init__(self) -> None:
        self.seconds = NOON - DAY

    def __call__(self) -> int:
        return self.seconds * NS


def open_ledger(directory: Path, clock: Clock, engine: str = "lmdb") -> Ledger:
    """A ledger with that clock and an area grid of one city."""
    ledger = Ledger.open(directory, engine=engine, person_key=PersonKey(b"k" * 32), clock_ns=clock)
    ledger.desk.area_grid = AreaGrid.parse(f"area,owner\n1305,王科长\n{OTHER},李专员\n")
    return ledger


def sell_twice(ledger: Ledger, number: int = 1) -> case_pb2.FindingReference:
    """A box that two shops sold; the finding of the second sale."""
    box, time = code(number), NOON + number * HOUR
    for document in (
        receipt(SHOP, f"R{number}", time, line(box)),
        sale(SHOP, f"S{number}", time + 60, line(box)),
        sale(OTHER, f"D{number}", time + 120, line(box)),
    ):
        (verdict,) = ledger.record([document], [(document.business_time.seconds + 5) * NS])
        assert not isinstance(verdict, TracecodeError), verdict
    found = [finding for finding in verdict.findings if finding.type == FindingType.DUP_SALE_CROSS_ORG]
    return case_pb2.FindingReference(
        sequence=verdict.sequence,
        type=found[0].type,
        line_number=found[0].line_number,
        code=found[0].code,
    )


def opening(*findings: case_pb2.FindingReference, **fields: object) -> case_service_pb2.OpenCaseRequest:
    """A request to open a case on findings."""
    values: dict[str, object] = {
        "actor": "张三",
        "title": "同一追溯码重复结算",
        "origin": case_pb2.CASE_ORIGIN_FINDINGS,
        "findings": findings,
    }
    return case_service_pb2.OpenCaseRequest(**{**values, **fields})  # type: ignore[arg-type]


def advancing(case: case_pb2.Case, to: CaseState, **fields: object) -> case_service_pb2.AdvanceCaseRequest:
    """A request to move the case on, with all that any move asks for."""
    values: dict[str, object] = {
        "case_number": case.case_number,
        "etag": case.etag,
        "actor": "张三",
        "to_state": int(to),
        "note": "已核对进销存",
        "approver": "李四",
    }
    return case_service_pb2.AdvanceCaseRequest(**{**values, **fields})  # type: ignore[arg-type]


RECOVERED = case_pb2.CaseOutcome(type=OutcomeType.RECOVERED, amount_fen=12_345)
NO_VIOLATION = case_pb2.CaseOutcome(type=OutcomeType.NO_VIOLATION)


def close(ledger: Ledger, case: case_pb2.Case, clock: Clock) -> case_pb2.Case:
    """Through all states to the end, a day for each."""
    for state in (S.INVESTIGATION, S.DISPOSAL, S.RECTIFICATION, S.RECHECK, S.CLOSED):
        clock.seconds += DAY
        outcomes = [RECOVERED] if state is S.RECTIFICATION else []
        case = ledger.desk.advance_case(advancing(case, state, outcomes=outcomes))
    return case


@pytest.fixture
def clock() -> Clock:
    """The clock of the ledger of a test."""
    return Clock()


@pytest.fixture(params=ENGINES)
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    """A ledger with the catalogue of the stories, on each engine."""
    ledger = open_ledger(tmp_path / "ledger", clock, request.param)
    ledger.import_products(PRODUCTS)
    ledger.import_institutions(INSTITUTIONS)
    clock.seconds = NOON + DAY
    yield ledger
    ledger.close()


# --- the table of moves -------------------------------------------------------------------------


def test_the_moves_are_those_of_the_closing_of_issues() -> None:
    """Pins the way from 初步核实 to 销号 with its days, and that every state has a way to the end."""
    way = [S.PRELIMINARY_REVIEW, S.INVESTIGATION, S.DISPOSAL, S.RECTIFICATION, S.RECHECK, S.CLOSED]

    days = [find_move(before, after).due_days for before, after in pairwise(way)]  # type: ignore[union-attr]

    assert days == [0, 0, 30, 15, 0]
    assert len({(move.before, move.after) for move in MOVES}) == len(MOVES)
    for state in S:
        reached, before = {state}, set[CaseState]()
        while reached != before:
            before = set(reached)
            reached |= {after for known in before for after in list_next(known)}
        assert S.CLOSED in reached


def test_a_case_is_closed_only_with_a_second_person_and_a_reason() -> None:
    """Pins four eyes on whatever ends a case or accuses somebody."""
    for move in MOVES:
        if move.after is S.CLOSED or move.before is S.CLOSED or move.after is S.DISPOSAL:
            assert move.approved, move
            assert move.noted, move


def test_the_page_for_people_has_the_moves_of_the_code() -> None:
    """Pins docs/cases.md to the table: the same ways, and the same number of days."""
    text = (Path(__file__).parent.parent / "docs" / "cases.md").read_text(encoding="utf-8")
    names = {NAMES_ZH[f"CASE_STATE_{state.name}"]: state for state in S}
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines()]

    told = [
        (names[row[0].split()[0]], names[row[1].split()[0]], int(row[3] or 0), "second person" in row[2])
        for row in rows
        if len(row) == 4 and row[0].split()[:1] and row[0].split()[0] in names
    ]

    assert told == [(move.before, move.after, move.due_days, move.approved) for move in MOVES]


def test_the_days_begin_behind_that_day_in_china() -> None:
    """Pins that 30 days from a move at 23:30 in Beijing are counted from that day, not from UTC's."""
    half_past_eleven_at_night = (NOON + 11 * HOUR + HOUR // 2) * NS

    assert due_date(half_past_eleven_at_night, 30) == "2026-04-14"
    assert due_date(half_past_eleven_at_night + HOUR * NS, 30) == "2026-04-15"
    assert due_date(half_past_eleven_at_night, 0) == ""


# --- on each engine -----------------------------------------------------------------------------


def test_a_case_goes_from_a_finding_to_its_closing(ledger: Ledger, clock: Clock) -> None:
    """Pins the whole way: number, owner, due days, outcomes, and who did what when."""
    finding = sell_twice(ledger)

    case = ledger.desk.open_case(opening(finding))
    assert (case.case_number, case.owner, case.institution_code) == ("130500-2026-000001", "李专员", OTHER)
    due = []
    for state in (S.INVESTIGATION, S.DISPOSAL, S.RECTIFICATION, S.RECHECK, S.CLOSED):
        clock.seconds += DAY
        outcomes = [RECOVERED] if state is S.RECTIFICATION else []
        case = ledger.desk.advance_case(advancing(case, state, outcomes=outcomes))
        due.append(case.due_date)

    assert case == ledger.desk.get_case(case.case_number)
    assert case.state == case_pb2.CASE_STATE_CLOSED
    assert list(case.outcomes) == [RECOVERED]
    assert due == ["", "", "2026-04-18", "2026-04-04", ""]
    events = ledger.desk.list_case_events(case.case_number)
    assert [event.time.seconds for event in events] == [NOON + DAY * days for days in range(1, 7)]
    assert [event.event.move.to_state for event in events[1:]] == [2, 3, 4, 5, 6]
    assert {event.event.actor for event in events} == {"张三"}
    assert str(events[-1].sequence) == case.etag


def test_of_two_moves_with_one_etag_the_second_is_refused(ledger: Ledger) -> None:
    """Pins that nobody overwrites what he has not seen, and that a refusal leaves no trace."""
    case = ledger.desk.open_case(opening(sell_twice(ledger)))
    ledger.desk.advance_case(advancing(case, S.INVESTIGATION))
    before = ledger.engine.sequence

    with pytest.raises(EtagStale, match="was changed by entry"):
        ledger.desk.advance_case(advancing(case, S.INVESTIGATION, actor="赵六"))

    assert ledger.engine.sequence == before


def test_the_same_change_sent_again_gets_the_same_answer(ledger: Ledger) -> None:
    """Pins that a lost answer costs nothing: an opening by its request_id, a move by its etag."""
    request = opening(sell_twice(ledger), request_id="q1")
    case = ledger.desk.open_case(request)
    assert ledger.desk.open_case(request) == case
    moved = ledger.desk.advance_case(advancing(case, S.INVESTIGATION))
    before = ledger.engine.sequence

    assert ledger.desk.advance_case(advancing(case, S.INVESTIGATION)) == moved
    assert ledger.desk.open_case(request) == moved
    assert ledger.engine.sequence == before
    with pytest.raises(FieldInvalid, match="was used for another case"):
        ledger.desk.open_case(opening(sell_twice(ledger, 2), request_id="q1"))


REFUSED_MOVES = {
    "skips a state": (S.PRELIMINARY_REVIEW, S.DISPOSAL, {}, MoveRefused),
    "to nowhere": (S.PRELIMINARY_REVIEW, 99, {}, MoveRefused),
    "closed without an outcome": (S.PRELIMINARY_REVIEW, S.CLOSED, {}, MoveRefused),
    "closed as innocent with a fine": (
        S.PRELIMINARY_REVIEW,
        S.CLOSED,
        {"outcomes": [NO_VIOLATION, case_pb2.CaseOutcome(type=OutcomeType.FINE, amount_fen=1)]},
        MoveRefused,
    ),
    "nobody agreed": (S.INVESTIGATION, S.DISPOSAL, {"approver": ""}, FieldInvalid),
    "he agreed himself": (S.INVESTIGATION, S.DISPOSAL, {"approver": "张三"}, FieldInvalid),
    "without a reason": (S.INVESTIGATION, S.DISPOSAL, {"note": " "}, FieldInvalid),
    "rectification of nothing": (S.DISPOSAL, S.RECTIFICATION, {}, MoveRefused),
    "an amount of no kind": (
        S.DISPOSAL,
        S.RECTIFICATION,
        {"outcomes": [case_pb2.CaseOutcome(type=OutcomeType.WARNING, amount_fen=5)]},
        FieldInvalid,
    ),
    "a hand-over to nobody": (
        S.DISPOSAL,
        S.CLOSED,
        {"outcomes": [case_pb2.CaseOutcome(type=OutcomeType.POLICE)]},
        FieldInvalid,
    ),
    "a reward without a tip-off": (S.PRELIMINARY_REVIEW, S.INVESTIGATION, {"reward_fen": 1}, FieldInvalid),
}


@pytest.mark.parametrize("name", REFUSED_MOVES.keys())
def test_a_move_that_the_table_does_not_allow_is_refused(ledger: Ledger, name: str) -> None:
    """Pins each thing that a move asks for, and that a refused one leaves no trace."""
    state, to, fields, error = REFUSED_MOVES[name]
    case = ledger.desk.open_case(opening(sell_twice(ledger)))
    for step in (S.INVESTIGATION, S.DISPOSAL):
        if case.state < state:
            case = ledger.desk.advance_case(advancing(case, step))
    before = ledger.engine.sequence

    with pytest.raises(error):
        ledger.desk.advance_case(advancing(case, to, **fields))  # type: ignore[arg-type]

    assert ledger.engine.sequence == before
    assert ledger.desk.get_case(case.case_number) == case


def test_a_finding_is_in_one_open_case(ledger: Ledger, clock: Clock) -> None:
    """Pins that two people do not pursue one finding unknowingly, and that a closed case frees it."""
    finding = sell_twice(ledger)
    case = ledger.desk.open_case(opening(finding))

    with pytest.raises(FindingInCase, match="130500-2026-000001"):
        ledger.desk.open_case(opening(finding))

    close(ledger, case, clock)
    assert ledger.desk.open_case(opening(finding)).case_number == "130500-2026-000002"


def test_a_case_rests_on_findings_that_there_are(ledger: Ledger) -> None:
    """Pins that a reference to nothing is refused, whatever is wrong with it."""
    finding = sell_twice(ledger)
    for change in (
        {"sequence": 1},
        {"sequence": 10_000},
        {"type": int(FindingType.RECALLED)},
        {"line_number": 7},
        {"code": code(77)},
    ):
        wrong = case_pb2.FindingReference()
        wrong.CopyFrom(finding)
        for name, value in change.items():
            setattr(wrong, name, value)

        with pytest.raises(FieldInvalid):
            ledger.desk.open_case(opening(wrong, institution_code=OTHER))


def test_who_offends_again_is_seen_when_his_next_case_is_opened(ledger: Ledger, clock: Clock) -> None:
    """Pins 屡查屡犯: cases closed with a violation count, those taken up again do not until closed anew."""
    first = close(ledger, ledger.desk.open_case(opening(sell_twice(ledger))), clock)
    second = ledger.desk.open_case(opening(sell_twice(ledger, 2)))
    assert second.earlier_violation_count == 1

    ledger.desk.advance_case(advancing(first, S.INVESTIGATION))
    third = ledger.desk.open_case(opening(sell_twice(ledger, 3)))

    assert third.earlier_violation_count == 0


def test_a_case_found_innocent_is_no_violation(ledger: Ledger) -> None:
    """Pins that an honest shop's closed case is not held against it."""
    case = ledger.desk.open_case(opening(sell_twice(ledger)))
    ledger.desk.advance_case(advancing(case, S.CLOSED, outcomes=[NO_VIOLATION]))

    assert ledger.desk.open_case(opening(sell_twice(ledger, 2))).earlier_violation_count == 0


def test_a_tip_off_stays_with_what_was_recovered(ledger: Ledger) -> None:
    """Pins intake of a 12345 call, and the reward that follows from the case."""
    tip_off = case_pb2.TipOff(tip_off_number="T-7", channel="12345", summary="药店回收药品")
    case = ledger.desk.open_case(
        opening(origin=case_pb2.CASE_ORIGIN_TIP_OFF, institution_code=SHOP, tip_off=tip_off)
    )
    assert case.owner == "王科长"
    for state in (S.INVESTIGATION, S.DISPOSAL):
        case = ledger.desk.advance_case(advancing(case, state))

    case = ledger.desk.advance_case(
        advancing(case, S.RECTIFICATION, outcomes=[RECOVERED], reward_fen=100_000)
    )

    assert (case.tip_off.tip_off_number, case.tip_off.reward_fen) == ("T-7", 100_000)


def test_a_case_is_assigned_and_grows_until_it_is_closed(ledger: Ledger, clock: Clock) -> None:
    """Pins assignment and further findings, and that a closed case takes neither."""
    case = ledger.desk.open_case(opening(sell_twice(ledger)))
    request = case_service_pb2.AssignCaseRequest(
        case_number=case.case_number, etag=case.etag, actor="张三", owner="孙七"
    )
    case = ledger.desk.assign_case(request)
    adding = case_service_pb2.AddFindingsRequest(
        case_number=case.case_number, etag=case.etag, actor="孙七", findings=[sell_twice(ledger, 2)]
    )
    case = ledger.desk.add_findings(adding)
    assert (case.owner, len(case.findings), case.event_count) == ("孙七", 2, 3)
    case = close(ledger, case, clock)

    request.etag = case.etag
    with pytest.raises(MoveRefused, match="is closed"):
        ledger.desk.assign_case(request)


def test_cases_are_listed_newest_first_by_pages(ledger: Ledger, clock: Clock) -> None:
    """Pins the filters and that pages show each case once, also while new ones come."""
    cases = [ledger.desk.open_case(opening(sell_twice(ledger, number))) for number in range(1, 8)]
    moved = ledger.desk.advance_case(advancing(cases[2], S.INVESTIGATION))
    request = case_service_pb2.ListCasesRequest(
        page_size=3, states=[case_pb2.CASE_STATE_PRELIMINARY_REVIEW], division_prefix="1305"
    )

    seen = []
    while True:
        page = ledger.desk.list_cases(request)
        seen += [case.case_number for case in page.cases]
        if len(seen) == 3:
            ledger.desk.open_case(opening(sell_twice(ledger, 8)))
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token

    assert seen == [case.case_number for case in reversed(cases) if case.case_number != moved.case_number]
    ask = case_service_pb2.ListCasesRequest
    assert [case.case_number for case in ledger.desk.list_cases(ask(states=[2])).cases] == [moved.case_number]
    assert not ledger.desk.list_cases(ask(owner="nobody")).cases
    assert not ledger.desk.list_cases(ask(division_prefix="51")).cases
    with pytest.raises(FieldInvalid, match="not from an answer to this question"):
        ledger.desk.list_cases(ask(owner="x", page_token=request.page_token))


def test_what_is_overdue_is_found(ledger: Ledger, clock: Clock) -> None:
    """Pins that a case is overdue the day after its last day, and not once it is closed."""
    case = ledger.desk.open_case(opening(sell_twice(ledger)))
    for state in (S.INVESTIGATION, S.DISPOSAL, S.RECTIFICATION):
        case = ledger.desk.advance_case(
            advancing(case, state, outcomes=[RECOVERED] if state is S.RECTIFICATION else [])
        )
    ask = case_service_pb2.ListCasesRequest

    assert case.due_date == "2026-04-15"
    assert not ledger.desk.list_cases(ask(overdue_on="2026-04-15")).cases
    assert len(ledger.desk.list_cases(ask(overdue_on="2026-04-16")).cases) == 1


def test_a_person_judges_a_finding_and_another_sees_it(ledger: Ledger) -> None:
    """Pins confirmed, dismissed, closed, reopened in their order, each behind the one before."""
    finding = sell_twice(ledger)

    def act(decision: int, after: int, actor: str = "张三") -> case_pb2.FindingStanding:
        return ledger.desk.act_on_finding(
            case_service_pb2.ActOnFindingRequest(
                finding=finding,
                decision=case_pb2.FindingDecision.ValueType(decision),
                actor=actor,
                reason="调取监控",
                previous_sequence=after,
            )
        )

    first = act(case_pb2.FINDING_DECISION_CONFIRMED, 0)
    assert act(case_pb2.FINDING_DECISION_CONFIRMED, 0) == first
    with pytest.raises(EtagStale):
        act(case_pb2.FINDING_DECISION_DISMISSED, 0)
    with pytest.raises(FieldInvalid, match="cannot follow CONFIRMED"):
        act(case_pb2.FINDING_DECISION_REOPENED, first.act_sequence)
    case = ledger.desk.open_case(opening(finding))

    second = act(case_pb2.FINDING_DECISION_CLOSED, first.act_sequence, "李四")

    assert second.case_number == case.case_number
    assert ledger.engine.finding_standing(finding) == second


def test_no_verdict_depends_on_the_desk(ledger: Ledger, clock: Clock) -> None:
    """Pins that a document is judged the same, whatever people have made of its neighbours."""
    finding = sell_twice(ledger)
    question = ledger_service_pb2.ListCodeEventsRequest(code=finding.code)
    before = list(ledger.list_code_events(question).events)

    close(ledger, ledger.desk.open_case(opening(finding)), clock)
    ledger.desk.note_access("张三", "10.0.0.1", "/tracecode.v1.LedgerService/ListCodeEvents", question)

    after = list(ledger.list_code_events(question).events)
    assert [event.state_after for event in after] == [event.state_after for event in before]
    assert [event.findings_first for event in after] == [event.findings_first for event in before]


def test_a_look_is_kept_with_who_and_what(ledger: Ledger) -> None:
    """Pins the access record: it is in the journal before the caller is told anything."""
    question = ledger_service_pb2.GetCodeRequest(code=code(1))

    sequence = ledger.desk.note_access("张三", "10.0.0.1", "/x.Y/Z", question, reason="案件核查")

    entry = journal_pb2.JournalEntry.FromString(ledger.engine.entries(sequence - 1, 1)[0])
    assert entry.access_record.actor == "张三"
    assert entry.access_record.question == f'{{"code": "{code(1)}"}}'
    with pytest.raises(FieldInvalid, match="actor"):
        ledger.desk.note_access("", "10.0.0.1", "/x.Y/Z", question)


def test_people_at_the_desk_share_commits_and_one_of_each_race_wins(ledger: Ledger) -> None:
    """Pins that of eight people with one etag exactly one moves the case, whoever commits for them."""
    case = ledger.desk.open_case(opening(sell_twice(ledger)))
    ended: list[str] = []

    def advance(actor: str) -> None:
        try:
            ledger.desk.advance_case(advancing(case, S.INVESTIGATION, actor=actor))
            ended.append("moved")
        except EtagStale:
            ended.append("stale")

    threads = [threading.Thread(target=advance, args=(f"P{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(ended) == ["moved", *["stale"] * 7]
    assert ledger.desk.get_case(case.case_number).event_count == 2


# --- what is on disk ----------------------------------------------------------------------------


def tell_desk(ledger: Ledger, clock: Clock) -> None:
    """A desk's day: cases in several states, a judged finding, a look."""
    ledger.import_products(PRODUCTS)
    ledger.import_institutions(INSTITUTIONS)
    clock.seconds = NOON + DAY
    findings = [sell_twice(ledger, number) for number in range(1, 4)]
    close(ledger, ledger.desk.open_case(opening(findings[0], request_id="q")), clock)
    case = ledger.desk.open_case(opening(findings[1]))
    ledger.desk.advance_case(advancing(case, S.INVESTIGATION))
    ledger.desk.act_on_finding(
        case_service_pb2.ActOnFindingRequest(
            finding=findings[2],
            decision=case_pb2.FINDING_DECISION_DISMISSED,
            actor="张三",
            reason="收银员误扫",
        )
    )
    ledger.desk.note_access("张三", "::1", "/x.Y/Z", case_service_pb2.GetCaseRequest(case_number="1"))


def test_both_engines_keep_the_same_desk(tmp_path: Path) -> None:
    """Pins equal entries and equal index records of every table of the desk."""
    ledgers = {}
    for engine in ENGINES:
        clock = Clock()
        ledgers[engine] = open_ledger(tmp_path / engine, clock, engine)
        tell_desk(ledgers[engine], clock)
    memory, lmdb = ledgers["memory"].engine, ledgers["lmdb"].engine

    def desk_entries(values: list[bytes]) -> list[bytes]:
        entries = map(journal_pb2.JournalEntry.FromString, values)
        kinds = {"case_event", "finding_act", "access_record"}
        return [entry.SerializeToString() for entry in entries if entry.WhichOneof("content") in kinds]

    assert len(desk_entries(memory.entries(0, 1000))) == 10
    assert desk_entries(memory.entries(0, 1000)) == desk_entries(lmdb.entries(0, 1000))
    dumped = {key: value for key, value in memory.memory.dump().items() if key[:1] in b"CNFRV"}  # type: ignore[attr-defined]
    assert {chr(key[0]) for key in dumped} == set("CNFRV")
    for key, value in dumped.items():
        assert lmdb.store.get(key) == value  # type: ignore[attr-defined]
    for ledger in ledgers.values():
        ledger.close()


def test_the_desk_is_rebuilt_from_the_journal(tmp_path: Path) -> None:
    """Pins that a case survives the loss of the index, and that fsck compares its records too."""
    clock = Clock()
    ledger = open_ledger(tmp_path / "ledger", clock)
    tell_desk(ledger, clock)
    cases = ledger.engine.cases(0, 100)
    ledger.close()
    assert check(tmp_path / "ledger").ok
    shutil.rmtree(tmp_path / "ledger" / "index")

    ledger = open_ledger(tmp_path / "ledger", clock)
    again = ledger.engine.cases(0, 100)
    ledger.close()

    assert again == cases
    assert len(cases) == 2
    assert check(tmp_path / "ledger").ok


def test_who_reads_the_journal_alone_has_the_case(tmp_path: Path) -> None:
    """Pins that folding the events of a case, without any index, gives what the ledger says."""
    clock = Clock()
    ledger = open_ledger(tmp_path / "ledger", clock)
    tell_desk(ledger, clock)

    cases: dict[str, case_pb2.Case] = {}
    for value in ledger.engine.entries(0, 1_000):
        entry = journal_pb2.JournalEntry.FromString(value)
        if entry.HasField("case_event"):
            number = entry.case_event.case_number
            cases[number] = fold(cases.get(number), entry.case_event, entry.sequence, entry.receive_time_ns)

    assert cases == {case.case_number: case for _, case in ledger.engine.cases(0, 100)}
    ledger.close()


# --- the area grid ------------------------------------------------------------------------------


def test_the_smallest_area_that_names_somebody_decides() -> None:
    """Pins institution before county before city, and nobody where nobody is named."""
    grid = AreaGrid.parse(f"area,owner\n13,甲\n130500,乙\n{SHOP},丙\n")

    assert grid.owner_of(SHOP, "130500") == "丙"
    assert grid.owner_of(OTHER, "130500") == "乙"
    assert grid.owner_of(OTHER, "130600") == "甲"
    assert grid.owner_of(OTHER, "510100") == ""


@pytest.mark.parametrize(
    "text",
    ["", "area,name\n13,甲\n", "area,owner\n1,甲\n", "area,owner\n13,\n", "area,owner\n13,甲\n13,乙\n"],
)
def test_a_table_that_cannot_be_meant_is_refused(text: str) -> None:
    """Pins that a wrong area grid is named at start and gives no case to the wrong person."""
    with pytest.raises(ImportInvalid):
        AreaGrid.parse(text)


# --- over a real socket -------------------------------------------------------------------------


def read_reason(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Code and reason of a refusal."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return error.code(), info.reason  # type: ignore[attr-defined]


@contextmanager
def serve_desk(folder: Path, **settings: object) -> Iterator[tuple[str, case_pb2.FindingReference]]:
    """The address of a service whose ledger has a finding, and that finding."""
    clock = Clock()
    ledger = open_ledger(folder / "ledger", clock)
    ledger.import_products(PRODUCTS)
    ledger.import_institutions(INSTITUTIONS)
    finding = sell_twice(ledger)
    ledger.close()
    with ServerProcess(data_directory=folder / "ledger", **settings) as process:
        yield process.address, finding


@pytest.mark.parametrize("edges", [1, 2])
def test_the_service_says_why_it_refuses(tmp_path: Path, edges: int) -> None:
    """Pins the statuses of the desk, also where edges stand in front of the engine."""
    grid = tmp_path / "grid.csv"
    grid.write_text("area,owner\n1305,王科长\n", encoding="utf-8")
    with serve_desk(tmp_path, edges=edges, area_grid_file=grid) as (address, finding), ExitStack() as stack:
        channel = stack.enter_context(grpc.insecure_channel(address))
        stub = case_service_pb2_grpc.CaseServiceStub(channel)
        case = stub.OpenCase(opening(finding), timeout=10).case
        assert case.owner == "王科长"
        stub.AdvanceCase(advancing(case, S.INVESTIGATION), timeout=10)
        export = case_service_pb2.ExportEvidenceRequest(case_number=case.case_number, actor="张三")
        bundle = b"".join(part.content for part in stub.ExportEvidence(export, timeout=20))
        assert zipfile.ZipFile(io.BytesIO(bundle)).testzip() is None
        for call, request, expected in (
            (stub.AdvanceCase, advancing(case, S.INVESTIGATION, actor="X"), ("ABORTED", "ETAG_STALE")),
            (stub.OpenCase, opening(finding), ("FAILED_PRECONDITION", "FINDING_IN_CASE")),
            (
                stub.GetCase,
                case_service_pb2.GetCaseRequest(case_number="130500-2026-000009"),
                ("NOT_FOUND", "NOT_FOUND"),
            ),
            (stub.OpenCase, opening(finding, title=""), ("INVALID_ARGUMENT", "FIELD_INVALID")),
            (
                stub.AdvanceCase,
                advancing(
                    stub.GetCase(case_service_pb2.GetCaseRequest(case_number=case.case_number)).case,
                    S.RECHECK,
                ),
                ("FAILED_PRECONDITION", "MOVE_REFUSED"),
            ),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call(request, timeout=10)
            code_, reason = read_reason(caught.value)
            assert (code_.name, reason) == expected
