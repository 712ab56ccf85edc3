"""RuleBaseService against a real service over a real socket, and the commands that ask it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from documents import NOON, NS
from running_server import ServerProcess
from test_cli import run
from test_dry_run import CANDIDATES, SHIPPED, STORY, TEXT, tell
from tracecode_server.cli.exit_code import ExitCode

from tracecode.client import CallInvalid, LedgerClient
from tracecode.client.errors import NotKnown
from tracecode.engine.lmdb import LmdbEngine
from tracecode.v1 import rule_base_service_pb2
from tracecode.v1.rule_base_service_pb2 import ActivateRuleBaseRequest, DryRun

MILD = CANDIDATES["nothing is refused"].text


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A service over a ledger in which a story was told."""
    directory = tmp_path_factory.mktemp("rule-base") / "ledger"
    engine = LmdbEngine(directory, SHIPPED, NOON * NS, map_size_bytes=2**28)
    tell(engine, STORY)
    engine.close()
    with ServerProcess(data_directory=directory) as process:
        yield process


@pytest.fixture(scope="module")
def client(process: ServerProcess) -> Iterator[LedgerClient]:
    """A client of it."""
    with LedgerClient(process.address, deadline_seconds=20) as client:
        yield client


def wait(client: LedgerClient, run: DryRun) -> DryRun:
    """The run once it has ended."""
    deadline = time.monotonic() + 60
    while run.state == rule_base_service_pb2.DRY_RUN_STATE_RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        run = client.get_dry_run(run.dry_run_id)
    return run


def test_a_dry_run_is_asked_for_followed_and_found_again(client: LedgerClient) -> None:
    """Pins that the run of a candidate has one name, and that its report is there when it is done."""
    first = client.start_dry_run(MILD)
    assert client.start_dry_run(MILD).dry_run_id == first.dry_run_id
    done = wait(client, first)
    assert (done.state, done.error) == (rule_base_service_pb2.DRY_RUN_STATE_DONE, "")
    assert done.report.no_longer_refused == 1
    assert done.entries_done == done.entries_total == done.report.until_sequence


def test_a_dry_run_is_cancelled_and_may_be_started_anew(client: LedgerClient) -> None:
    """Pins the states, that a cancelled run stays so, and that an unknown one is told."""
    begun = client.start_dry_run(CANDIDATES["off"].text, since_sequence=2)
    cancelled = client.cancel_dry_run(begun.dry_run_id)
    assert cancelled.state == rule_base_service_pb2.DRY_RUN_STATE_CANCELLED
    again = wait(client, client.start_dry_run(CANDIDATES["off"].text, since_sequence=2))
    assert again.state == rule_base_service_pb2.DRY_RUN_STATE_DONE
    assert client.cancel_dry_run(again.dry_run_id).state == rule_base_service_pb2.DRY_RUN_STATE_DONE
    with pytest.raises(NotKnown):
        client.get_dry_run("nothing")


BAD: list[tuple[str, ActivateRuleBaseRequest, str]] = [
    ("author", ActivateRuleBaseRequest(text=TEXT, approver="b"), "is missing"),
    ("approver", ActivateRuleBaseRequest(text=TEXT, author="a", approver=" a "), "is the author"),
    ("text", ActivateRuleBaseRequest(author="a", approver="b"), "not both"),
    ("text", ActivateRuleBaseRequest(text="version = 1", author="a", approver="b"), "line 1: version"),
    ("text", ActivateRuleBaseRequest(text=SHIPPED.text + "#", author="a", approver="b"), "is another text"),
    ("", ActivateRuleBaseRequest(restored_sequence=99, author="a", approver="b"), "no rule base in force"),
]


@pytest.mark.parametrize(("field", "request_", "said"), BAD, ids=[case[2] for case in BAD])
def test_what_cannot_be_put_in_force_is_told_by_field(
    client: LedgerClient, field: str, request_: ActivateRuleBaseRequest, said: str
) -> None:
    """Pins each refusal, and that nothing is written."""
    before = client.service_info().sequence
    with pytest.raises((CallInvalid, NotKnown), match=said) as refused:
        client.activate_rule_base(request_)
    assert refused.value.field == field
    assert client.service_info().sequence == before


def test_versions_are_put_in_force_listed_and_taken_back_from_the_command_line(
    client: LedgerClient, process: ServerProcess, tmp_path: Path
) -> None:
    """Pins activation, a repeat that writes nothing, a time that is over, the list, and rollback."""
    file = tmp_path / "rules.toml"
    file.write_text(MILD)
    command = (
        "rule-base",
        "activate",
        file,
        "--author",
        "甲",
        "--approver",
        "乙",
        "--server",
        process.address,
    )
    first = client.get_rule_base()
    activated = json.loads(run(*command, "--notes", "试行", "--json").stdout)
    assert (activated["version"], activated["author"]) == ("candidate", "甲")
    assert client.service_info().rule_base_version == "candidate"
    assert client.get_rule_base().text == MILD
    again = json.loads(run(*command, "--notes", "试行", "--json").stdout)
    assert again["sequence"] == activated["sequence"]
    late = run(*command, "--effective", "2020-01-01T00:00:00+08:00")
    assert late.exit_code == ExitCode.BAD_INPUT
    assert "must be a time to come" in late.stderr
    back = run("rule-base", "activate", "--restore", first.sequence, *command[3:])
    assert f"version {first.version} judges" in back.stdout
    assert client.get_rule_base().restored_sequence == first.sequence
    table = run("rule-base", "list", "--server", process.address).stdout
    assert f"in force, entry {first.sequence} again" in table
    assert [row.version for row in client.list_rule_bases()] == [first.version, "candidate", first.version]
