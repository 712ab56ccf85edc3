"""The auditor: every kind of entry is judged again, and a running service is held to what it has shown."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from backed_up import tell_days
from documents import DAY, HOUR, INSTITUTIONS, NOON, NS, PRODUCTS, SHOP, code, line, receipt
from running_server import ServerProcess
from test_cases import Clock, open_ledger, tell_desk
from test_inspections import announcing
from test_proof_service import wait_until_published
from tracecode_server.cli import app as cli
from trust.tampering import read_journal, write_journal
from typer.testing import CliRunner

from tracecode.client import LedgerClient, ProofClient
from tracecode.proof import key
from tracecode.proof.audit import judge_again, open_journal
from tracecode.proof.verify import Change
from tracecode.v1 import catalogue_pb2, inspection_service_pb2, journal_pb2

KINDS = {field.name for field in journal_pb2.JournalEntry.DESCRIPTOR.oneofs_by_name["content"].fields}


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """A journal with entries of every kind that there is."""
    folder, clock = tmp_path_factory.mktemp("audited"), Clock()
    with closing(open_ledger(folder / "ledger", clock)) as ledger:
        tell_desk(ledger, clock)
        for document in tell_days(24)[-18:]:
            ledger.record([document], [(document.business_time.seconds + 5) * NS])
        clock.seconds = NOON + 40 * DAY
        ledger.import_holds(
            [
                catalogue_pb2.Hold(
                    hold_id="H1",
                    code=code(77),
                    start_date="2026-01-01",
                    reason=catalogue_pb2.HOLD_REASON_RECALL,
                )
            ]
        )
        ledger.import_code_replacements([catalogue_pb2.CodeReplacement(old_code=code(78), new_code=code(79))])
        desk = ledger.inspections
        drawn = desk.announce_draw(announcing())
        desk.perform_draw(
            inspection_service_pb2.PerformDrawRequest(
                draw_number=drawn.draw_number, etag=drawn.etag, actor="李四", seed="03 11"
            )
        )
        desk.issue_self_check(
            inspection_service_pb2.IssueSelfCheckRequest(
                actor="张三",
                institution_code=SHOP,
                title="自查",
                questions=["是否逐盒扫码"],
                due_date="2026-12-31",
            )
        )
        ledger.record([receipt(SHOP, "Z1", NOON, line(code(88)))], [(NOON + HOUR) * NS])
        opened = desk.open_inspection(
            inspection_service_pb2.OpenInspectionRequest(
                actor="张三", institution_code=SHOP, inspectors=["张三", "李四"]
            )
        )
        desk.scan_shelf(
            inspection_service_pb2.ScanShelfRequest(
                inspection_number=opened.inspection_number, etag=opened.etag, actor="张三", scans=[code(88)]
            )
        )
    return read_journal(folder / "ledger")


def judge(folder: Path, values: list[bytes]) -> list[tuple[Change, int, str]]:
    """What the auditor says of a journal of these entries, judged again."""
    shutil.rmtree(folder, ignore_errors=True)
    write_journal(folder, values)
    with closing(open_journal(folder)) as store:
        found = judge_again(store, len(values))
    return [(one.change, one.first, one.sentence) for one in found]


def test_every_kind_of_entry_is_judged_again(entries: list[bytes], tmp_path: Path) -> None:
    """Pins that nothing is wrong with a journal of all kinds; a kind that is added needs its entry here."""
    kinds = {journal_pb2.JournalEntry.FromString(value).WhichOneof("content") for value in entries}
    assert kinds == KINDS
    assert judge(tmp_path / "ledger", entries) == []


def test_an_act_that_the_desk_would_have_refused_is_named(entries: list[bytes], tmp_path: Path) -> None:
    """Pins forged acts with right checksums: a case closed by one person, a case's number out of its turn, a
    move from a state that it was not in, and an act that was kept twice."""
    read = [journal_pb2.JournalEntry.FromString(value) for value in entries]
    moves = [at for at, entry in enumerate(read) if entry.case_event.HasField("move")]
    openings = [at for at, entry in enumerate(read) if entry.case_event.HasField("opening")]
    last = moves[4]
    for at, forge, said in (
        (last, lambda event: event.move.ClearField("approver"), "would have refused it: "),
        (openings[1], lambda event: setattr(event, "case_number", "130500-2026-000007"), "another one"),
        (last, lambda event: setattr(event, "previous_sequence", 1), "would have refused it: "),
        (last, lambda event: event.CopyFrom(read[moves[3]].case_event), "says again"),
    ):
        entry = journal_pb2.JournalEntry()
        entry.CopyFrom(read[at])
        forge(entry.case_event)
        values = [*entries]
        values[at] = entry.SerializeToString(deterministic=True)
        ((change, sequence, sentence),) = judge(tmp_path / "ledger", values)
        assert (change, sequence) == (Change.VERDICT, at + 1)
        assert said in sentence


def test_a_kind_that_the_auditor_does_not_know_is_named(entries: list[bytes], tmp_path: Path) -> None:
    """Pins that an entry of a later version is named, wherever it stands, and never passed over."""
    for at in (30, len(entries)):
        # Field 99, of two bytes, behind the sequence and the time.
        unknown = journal_pb2.JournalEntry(sequence=at + 1, receive_time_ns=(NOON + 41 * DAY) * NS)
        values = [*entries[:at], unknown.SerializeToString() + b"\x9a\x06\x02ok"]
        ((change, sequence, sentence),) = judge(tmp_path / "ledger", values)
        assert (change, sequence) == (Change.VERDICT, at + 1)
        assert "of a kind that this version does not know" in sentence


def test_who_watches_a_service_names_a_rollback_and_a_fork(tmp_path: Path) -> None:
    """Pins `tracecode audit --state` against a service that is started again on an older copy of its data by
    somebody who has the key and takes away what it remembers of its signatures: rolled back, then, as it goes
    on, forked, with the entries; what was seen stays in the state, and the true service is in order again.
    Whoever kept nothing, or only what is older than the copy, notices nothing."""
    signer, documents = key.create(tmp_path / "keys/journal", "example.org/journal"), tell_days(12)
    true, older = tmp_path / "true", tmp_path / "older"
    state, early, shell = tmp_path / "state", tmp_path / "early", CliRunner()
    sizes: list[int] = []

    def serve(data: Path, told: int, upto: int, *states: Path) -> list[tuple[int, list[dict[str, object]]]]:
        """Record documents, wait until all is published, and look; the exit status and what was found."""
        with ServerProcess(
            data_directory=data,
            person_key_file=tmp_path / "keys/person",
            proof_key_file=tmp_path / "keys/journal",
            proof_checkpoint_seconds=0.1,
        ) as process:
            with LedgerClient(process.address, deadline_seconds=30) as client:
                if not sizes:
                    client.import_institutions(INSTITUTIONS)
                    client.import_products(PRODUCTS)
                for document in documents[told:upto]:
                    client.record(document)
            with ProofClient(process.address) as client:
                sizes.append(wait_until_published(client).published)
            given = ["audit", "--server", process.address, "--key", signer.public.line, "--json"]
            looks = [shell.invoke(cli.app, [*given, "--state", str(one)]) for one in states]
            return [(look.exit_code, json.loads(look.output)["deviations"]) for look in looks]

    assert serve(true, 0, 6, state, early) == [(0, []), (0, [])]
    shutil.copytree(true, older)
    assert serve(true, 6, 12, state) == [(0, [])]
    seen, before = state.read_bytes(), sizes[-1]

    (tmp_path / "keys/journal.last").rename(tmp_path / "last")
    nothing = tmp_path / "nothing"
    ((status, (found,)), *others) = serve(older, 6, 6, state, early, nothing)
    assert (status, found["change"], found["first"], found["last"]) == (
        4,
        "rolled back",
        sizes[0] + 1,
        before,
    )
    assert others == [(0, []), (0, [])]

    ((status, (found,)), *others) = serve(older, 12, len(documents), state, early, nothing)
    assert sizes[-1] > before
    assert (status, found["change"], found["first"], found["last"]) == (4, "forked", 1, before)
    assert others == [(0, []), (0, [])]
    assert state.read_bytes() == seen

    (tmp_path / "last").replace(tmp_path / "keys/journal.last")
    assert serve(true, 12, 13, state) == [(0, [])]
    assert state.read_bytes() != seen
