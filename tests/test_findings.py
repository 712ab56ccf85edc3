"""The finding queue of a real service: a watch, its cursor over a restart and over two edges, precision.

Goal: what a duplicate sale raises is told within a second, and nothing is lost or told twice. Method: sales
and returns through the service while a watch listens; the least of several delays is compared with the goal,
since others use the machine, too.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import pytest
from running_server import ServerProcess, register_institutions
from test_cli import run
from tracecode_server.finding_service import bound_share, read_cursor, write_cursor
from wire import make_code, make_document, make_sale, read_details, read_looks

from tracecode.client import CallInvalid, LedgerClient, NotKnown
from tracecode.proof.audit import open_journal
from tracecode.v1 import (
    case_pb2,
    case_service_pb2,
    document_pb2,
    finding_pb2,
    finding_service_pb2,
)
from tracecode.v1.finding_service_pb2 import (
    FindingEvent,
    FindingFilter,
    GroupFindingsRequest,
    ListFindingsRequest,
    WatchFindingsRequest,
)

HERE, THERE, FAR = "P37020304446", "P37020300077", "P37010200078"
CROSS_ORG = finding_pb2.FINDING_TYPE_DUP_SALE_CROSS_ORG
DELAY_SECONDS_MAX = 1.0
# A machine that is busy with other things takes its time.
WAIT_SECONDS = 60.0


class Watch:
    """A watch in a thread; events come out of `next_event`."""

    def __init__(self, client: LedgerClient, request: WatchFindingsRequest) -> None:
        self._events: queue.Queue[FindingEvent] = queue.Queue()
        self._begun = threading.Event()
        self.cursor = ""
        self.heartbeats = 0
        self._responses = client.findings.watch_findings(request)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._begun.wait(WAIT_SECONDS)

    def _listen(self) -> None:
        try:
            for response in self._responses:
                for event in response.events:
                    self._events.put(event)
                self.heartbeats += not response.events
                self.cursor = response.cursor
                self._begun.set()
        except (grpc.RpcError, ValueError, OSError):
            # The client was closed.
            self._begun.set()

    def next_event(self) -> FindingEvent:
        """The next event, once it is there."""
        return self._events.get(timeout=WAIT_SECONDS)

    def is_quiet(self) -> bool:
        """Whether nothing waits."""
        return self._events.empty()


GRANTS = """
[actors."李"]
divisions = [""]
[actors."青岛"]
divisions = ["370203"]
"""
ACTOR = ("--actor", "李", "--reason", "查过")


@contextmanager
def serve(directory: Path, **settings: object) -> Iterator[tuple[ServerProcess, LedgerClient]]:
    """A service with views, and a client of it."""
    grants = directory.parent / "grants.toml"
    grants.write_text(GRANTS)
    settings = {"views": True, "drain_seconds": 5, "grants_file": grants, **settings}
    with ServerProcess(data_directory=directory, **settings) as process:
        register_institutions(process.address, HERE, THERE)
        with LedgerClient(process.address, actor="李", reason="查过", deadline_seconds=20) as client:
            deadline = time.monotonic() + WAIT_SECONDS
            while not client.service_info().HasField("views"):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield process, client


def sell_twice(client: LedgerClient, *, here: str = HERE, there: str = THERE) -> tuple[str, int, str]:
    """A box is sold here and an hour later there: its code, the second sale's entry, the first's number."""
    code = make_code()
    first = make_sale(code, institution_code=here, stage=document_pb2.SALE_STAGE_REPORTED)
    first.business_time.seconds -= 7200
    second = make_sale(code, institution_code=there, stage=document_pb2.SALE_STAGE_REPORTED)
    client.record(first)
    return code, client.record(second).sequence, first.document_number


def take_back(client: LedgerClient, code: str, number: str) -> int:
    """The first sale was taken back before the second, which is told only now; the return's entry."""
    document = make_document(code, institution_code=HERE)
    document.business_time.seconds -= 3600
    document.sale_return.sale_document_number = number
    return client.record(document).sequence


def test_a_duplicate_sale_is_told_within_a_second_and_a_return_clears_it(tmp_path: Path) -> None:
    """Pins the delay of a watch, that a later return clears the finding by a revision that is told, and that
    the finding stays listed with all that became of it."""
    with serve(tmp_path / "ledger") as (process, client):
        watch = Watch(
            client,
            WatchFindingsRequest(filter=FindingFilter(types=[CROSS_ORG], division_prefix="3702")),
        )
        delays, sold = [], []
        for _ in range(5):
            sold.append(sell_twice(client))
            answered = time.monotonic()
            # The third code makes a suspicion of the two before it, in the same entry.
            events = [watch.next_event() for _ in range(3 if len(sold) == 3 else 1)]
            delays.append(time.monotonic() - answered)
            *turned, event = events
            assert {each.sequence for each in events} == {sold[-1][1]}
            assert event.type == finding_service_pb2.FINDING_EVENT_TYPE_RAISED
            assert event.record.finding.code == sold[-1][0]
            assert [each.record.finding.sequence for each in turned] == [
                each[1] for each in sold[: len(turned)]
            ]
            assert {each.state for each in turned} <= {finding_service_pb2.FINDING_STATE_SUSPECTED}
        assert min(delays) < DELAY_SECONDS_MAX
        code, sequence, number = sold[0]
        returned = take_back(client, code, number)
        cleared = watch.next_event()
        assert cleared.type == finding_service_pb2.FINDING_EVENT_TYPE_CLEARED
        # By a revision that follows the return; the first sale has another.
        assert returned < cleared.sequence <= returned + 2
        assert cleared.record.clear_sequence == cleared.sequence
        assert cleared.state == finding_service_pb2.FINDING_STATE_CLEARED
        reference = cleared.record.finding
        told = client.findings.get_finding(reference)
        assert told.first_finding.type == CROSS_ORG
        assert told.first_finding.title.zh_cn
        assert not told.HasField("standing_finding")
        looked_for = {each.type: each for each in told.counter_evidence}
        assert all(each.searched for each in looked_for.values())
        [found] = looked_for[finding_service_pb2.COUNTER_EVIDENCE_TYPE_RETURN].events
        assert (found.sequence, found.before, found.uncounted) == (returned, True, False)
        assert not looked_for[finding_service_pb2.COUNTER_EVIDENCE_TYPE_TRANSFER].events
        standing = client.findings.get_finding(
            case_pb2.FindingReference(sequence=sold[1][1], type=CROSS_ORG, line_number=1, code=sold[1][0])
        )
        assert standing.standing_finding.evidence
        assert [each.event_count for each in standing.counter_evidence] == [0] * 6
        asked = (*ACTOR, "--server", process.address)
        shown = run("findings", "show", f"{sequence}:DUP_SALE_CROSS_ORG:1:{code}", *asked)
        assert shown.exit_code == 0, shown.stderr
        assert f"sale return #{returned}" in shown.stdout
        listed = run("findings", "list", "--state", "cleared", *asked, "--json")
        assert listed.stdout.count(f'"sequence":"{sequence}"') == 1


@pytest.mark.parametrize("edges", [1, 2])
def test_a_watch_goes_on_over_a_restart_and_loses_and_doubles_nothing(tmp_path: Path, edges: int) -> None:
    """Pins that responses cut anywhere, by drains and by the client, join to the events in their order, with
    one process and with edges; and that a drain ends a watch without an error."""
    directory = tmp_path / "ledger"
    request = WatchFindingsRequest(cursor="0", filter=FindingFilter(types=[CROSS_ORG]))
    events: list[tuple[int, int]] = []
    for round_ in range(2):
        with serve(directory, edges=edges) as (process, client):
            stub = client.findings._stub
            sold = [sell_twice(client)[1] for _ in range(4)]
            for take in (1, 2):
                # The client leaves after some responses and comes back with the cursor of the last.
                call = stub.WatchFindings(request, metadata=client.findings._metadata)
                for _ in range(take):
                    response = next(iter(call))
                    events += [(event.sequence, event.record.finding.sequence) for event in response.events]
                    request.cursor = response.cursor
                    if response.as_of_sequence >= sold[-1]:
                        break
                call.cancel()
            call = stub.WatchFindings(request, metadata=client.findings._metadata)
            ended = threading.Thread(target=lambda: process.signal())
            for response in call:
                events += [(event.sequence, event.record.finding.sequence) for event in response.events]
                request.cursor = response.cursor
                if response.as_of_sequence >= sold[-1] and not ended.ident:
                    ended.start()
            assert call.code() == grpc.StatusCode.OK
            assert process.wait() == 0
        assert round_ == 0 or len(events) > 8
    with serve(directory) as (_, client):
        request.cursor = "0"
        whole = next(client.findings.watch_findings(request))
    assert events == [(event.sequence, event.record.finding.sequence) for event in whole.events]
    assert len(set(events)) == len(events)


def test_what_people_say_is_told_counted_and_measured(tmp_path: Path) -> None:
    """Pins states after acts, groups, the table of precision, and heartbeats, through client and commands."""
    with serve(tmp_path / "ledger") as (process, client):
        watch = Watch(client, WatchFindingsRequest(heartbeat_seconds=1))
        sold = [sell_twice(client) for _ in range(4)]
        names = [f"{sequence}:DUP_SALE_CROSS_ORG:1:{code}" for code, sequence, _ in sold]
        while watch.next_event().sequence < sold[-1][1]:
            pass
        options = (*ACTOR, "--server", process.address)
        for name, command in zip(names, ("confirm", "confirm", "dismiss"), strict=False):
            told = run("findings", command, name, *options)
            assert told.exit_code == 0, told.stderr
        assert run("findings", "close", names[0], *options).exit_code == 0
        acted = []
        while len(acted) < 4:
            event = watch.next_event()
            if event.type == finding_service_pb2.FINDING_EVENT_TYPE_ACTED_ON:
                acted.append(event.state)
        state = finding_service_pb2
        assert acted == [
            state.FINDING_STATE_CONFIRMED,
            state.FINDING_STATE_CONFIRMED,
            state.FINDING_STATE_DISMISSED,
            state.FINDING_STATE_CLOSED,
        ]
        case = client.cases.open_case(
            case_service_pb2.OpenCaseRequest(
                actor="李",
                title="重复销售",
                origin=case_pb2.CASE_ORIGIN_FINDINGS,
                findings=[
                    case_pb2.FindingReference(
                        sequence=sold[3][1], type=CROSS_ORG, line_number=1, code=sold[3][0]
                    )
                ],
            )
        )
        event = watch.next_event()
        assert (event.record.case_number, event.state) == (case.case_number, state.FINDING_STATE_SUSPECTED)
        groups = client.findings.group_findings(
            GroupFindingsRequest(grouping=finding_service_pb2.FINDING_GROUPING_TYPE)
        )
        [group] = [each for each in groups.groups if each.key == "FINDING_TYPE_DUP_SALE_CROSS_ORG"]
        assert (group.finding_count, group.confirmed_count, group.closed_count) == (4, 1, 1)
        assert (group.dismissed_count, group.lead_count, group.suspected_count) == (1, 0, 1)
        [rule] = [each for each in client.findings.list_rule_statistics().rules if each.type == CROSS_ORG]
        assert (rule.raised_count, rule.open_count, rule.confirmed_count, rule.dismissed_count) == (
            4,
            1,
            2,
            1,
        )
        assert rule.precision == pytest.approx(2 / 3)
        assert 0 < rule.precision_min < 2 / 3 < rule.precision_max < 1
        told = run("findings", "precision", "--server", process.address)
        assert re.search(r"DUP_SALE_CROSS_ORG .* 66\.7%", told.stdout), told.stdout
        listed = list(client.findings.list_findings(ListFindingsRequest(page_size=1)))
        assert [each.finding.sequence for each in listed] == sorted(
            (each.finding.sequence for each in listed), key=lambda entry: entry
        )
        beats = watch.heartbeats
        deadline = time.monotonic() + WAIT_SECONDS
        while watch.heartbeats == beats:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for request in (
            WatchFindingsRequest(cursor="x"),
            WatchFindingsRequest(cursor="99999999"),
            WatchFindingsRequest(heartbeat_seconds=301),
        ):
            with pytest.raises(CallInvalid):
                next(client.findings.watch_findings(request))
        with pytest.raises(NotKnown):
            client.findings.get_finding(case_pb2.FindingReference(sequence=1, type=CROSS_ORG))
        with pytest.raises(grpc.RpcError) as caught:
            client.findings._stub.ListFindings(
                ListFindingsRequest(page_token="00"), metadata=client.findings._metadata
            )
        assert "page_token" in str(read_details(caught.value))


def test_nobody_is_told_of_findings_beyond_his_divisions(tmp_path: Path) -> None:
    """Pins list, groups, watch and one finding for who may see one of two divisions: only its findings, with
    whoever is elsewhere cut to division and day; that each look is recorded with its reason, that a watch
    ends with its grant, and that nobody who is unnamed or unknown is answered."""
    grants = tmp_path / "grants.toml"
    with serve(tmp_path / "ledger") as (process, everywhere):
        register_institutions(process.address, FAR)
        box, sequence, _ = sell_twice(everywhere, there=FAR)
        elsewhere = case_pb2.FindingReference(sequence=sequence, type=CROSS_ORG, line_number=1, code=box)
        back, back_sequence, _ = sell_twice(everywhere, here=FAR, there=HERE)
        ours = case_pb2.FindingReference(sequence=back_sequence, type=CROSS_ORG, line_number=1, code=back)
        watch = Watch(everywhere, WatchFindingsRequest(cursor="0", filter=FindingFilter(types=[CROSS_ORG])))
        assert {watch.next_event().sequence for _ in range(2)} == {sequence, back_sequence}
        asked = FindingFilter(types=[CROSS_ORG])
        with LedgerClient(process.address, actor="青岛", reason="核查", deadline_seconds=20) as client:
            found = list(client.findings.list_findings(ListFindingsRequest(filter=asked)))
            assert [each.finding for each in found] == [ours]
            for grouping in (1, 2, 3, 4, 5):
                groups = client.findings.group_findings(
                    GroupFindingsRequest(
                        filter=asked, grouping=finding_service_pb2.FindingGrouping.ValueType(grouping)
                    )
                )
                assert (groups.finding_count, groups.group_count) == (1, 1)
            told = client.findings.get_finding(ours)
            assert FAR not in str(told)
            assert {evidence.division_code for evidence in told.standing_finding.evidence} >= {FAR[1:7]}
            assert FAR in str(everywhere.findings.get_finding(ours))
            with pytest.raises(CallInvalid, match=r"ACCESS_DENIED.*370102"):
                client.findings.get_finding(elsewhere)
            responses = client.findings.watch_findings(
                WatchFindingsRequest(cursor="0", filter=asked, heartbeat_seconds=1)
            )
            assert [event.record.finding for event in next(responses).events] == [ours]
            grants.write_text(GRANTS.replace("青岛", "别人"))
            with pytest.raises(CallInvalid, match="ACCESS_DENIED"):
                for _ in responses:
                    pass
            grants.write_text(GRANTS)
        for actor in ("", "路人"):
            with LedgerClient(process.address, actor=actor, deadline_seconds=20) as client:
                for ask in (
                    lambda client=client: list(client.findings.list_findings(ListFindingsRequest())),
                    lambda client=client: client.findings.group_findings(GroupFindingsRequest(grouping=1)),
                    lambda client=client: client.findings.get_finding(ours),
                    lambda client=client: next(client.findings.watch_findings(WatchFindingsRequest())),
                ):
                    with pytest.raises(CallInvalid, match="ACCESS_DENIED"):
                        ask()
        with closing(open_journal(tmp_path / "ledger")) as journal:
            looks = [look for look in read_looks(journal.entries(0, 1_000)) if look.actor == "青岛"]
    assert [look.method.rpartition(".")[2] for look in looks] == [
        "ListFindings",
        *["GroupFindings"] * 5,
        "GetFinding",
        "WatchFindings",
    ]
    assert {look.reason for look in looks} == {"核查"}
    assert back in looks[6].question


def test_cursors_and_shares_are_what_they_say() -> None:
    """Pins the text of cursors both ways, and Wilson's interval against values of his formula."""
    for cursor in ((1, 0), (18, 0), (17, 3)):
        assert read_cursor(write_cursor(cursor)) == cursor
    assert bound_share(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert bound_share(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert bound_share(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
