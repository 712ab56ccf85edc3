"""The auditor: every kind of entry is judged again, and a running service is held to what it has shown."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from backed_up import fill_ledger, tell_days
from documents import INSTITUTIONS, PRODUCTS
from running_server import ServerProcess
from test_proof_service import wait_until_published
from tracecode_server.cli import app as cli
from trust.tampering import read_journal, write_journal
from typer.testing import CliRunner

from tracecode.client import LedgerClient, ProofClient
from tracecode.proof import key
from tracecode.proof.audit import judge_again, open_journal
from tracecode.proof.verify import Change
from tracecode.v1 import journal_pb2

KINDS = {field.name for field in journal_pb2.JournalEntry.DESCRIPTOR.oneofs_by_name["content"].fields}


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """A journal with entries of every kind that there is."""
    folder = tmp_path_factory.mktemp("audited") / "ledger"
    fill_ledger(folder, 24, desk=True)
    return read_journal(folder)


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


def test_a_rule_base_that_its_author_approved_is_named(entries: list[bytes], tmp_path: Path) -> None:
    """Pins that who put a rule base in force is looked at, too, and not its text alone."""
    read = [journal_pb2.JournalEntry.FromString(value) for value in entries]
    at = next(at for at, entry in enumerate(read) if entry.rule_base_change.author)
    read[at].rule_base_change.approver = read[at].rule_base_change.author
    values = [*entries]
    values[at] = read[at].SerializeToString(deterministic=True)

    ((change, sequence, sentence),) = judge(tmp_path / "ledger", values)

    assert (change, sequence) == (Change.VERDICT, at + 1)
    assert "its author approved it" in sentence


def test_a_kind_that_the_auditor_does_not_know_is_named(entries: list[bytes], tmp_path: Path) -> None:
    """Pins that an entry of a later version is named, wherever it stands, and never passed over."""
    for at in (30, len(entries)):
        # Field 99, of two bytes, behind the sequence and the time.
        before = journal_pb2.JournalEntry.FromString(entries[at - 1])
        unknown = journal_pb2.JournalEntry(sequence=at + 1, receive_time_ns=before.receive_time_ns)
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
