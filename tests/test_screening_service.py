"""Screening of a ledger that is served: what a ring of a simulated city did is found, and becomes a case.

What the institutions of the city's ring reported is recorded into a ledger whose views are then kept by a
real service. All else is asked over a real socket, or by the commands.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from running_server import ServerProcess
from simulated import make_fraud_city
from test_cli import run
from tracecode_server.cli.exit_code import ExitCode
from tracecode_server.screening_service import KEPT_MAX

from tracecode.city.score import import_catalogue, read_documents, read_start
from tracecode.client import CallInvalid, LedgerClient, NotKnown, ServerFault
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.runs import RunState
from tracecode.screening.base import Relations
from tracecode.screening.runs import RunRequest, create_run, execute_run, open_runs
from tracecode.screening.snapshot import drop_snapshot, take_snapshot
from tracecode.v1 import case_pb2, screening_service_pb2
from tracecode.v1.screening_service_pb2 import (
    LEAD_KIND_INSTITUTION,
    ListLeadsRequest,
    ListScoresRequest,
    StartScreeningRequest,
)
from tracecode.views.parquet import list_files
from tracecode.views.projector import DIRECTORY, rebuild
from tracecode.views.register import read_register

RING = ("resale_in", "resale_rings", "resale_source")
PERIOD = ("2026-12-17", "2027-01-10")
DONE = screening_service_pb2.SCREENING_STATE_DONE
RUNNING = screening_service_pb2.SCREENING_STATE_RUNNING
KEY = PersonKey(b"a city's persons are made up.....")


def find_ring(city: Path) -> tuple[set[str], set[str]]:
    """The institutions that sell for the ring, and all that are in it."""
    rows = [json.loads(row) for row in (city / "labels.jsonl").read_text().splitlines()]
    subjects = [row for row in rows if row.get("level") == "INSTITUTION" and row["fraud"]]
    sellers = {row["subject"] for row in subjects if "resale_in" in row["expected"]}
    return sellers, {row["subject"] for row in subjects if "resale_rings" in row["expected"]}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of the ring's institutions, with its views; nobody has it open."""
    whole, city = make_fraud_city(tmp_path_factory), tmp_path_factory.mktemp("ring")
    _, ring = find_ring(whole)
    for name in ("institutions.csv", "products.csv", "holds.csv"):
        shutil.copy(whole / name, city)
    with (whole / "documents.jsonl").open() as source, (city / "documents.jsonl").open("w") as target:
        target.writelines(row for row in source if row.split('"institutionCode":"')[1][:12] in ring)
    directory, start = city / "served" / "ledger", read_start(city)
    with closing(Ledger.open(directory, engine="lmdb", person_key=KEY, clock_ns=lambda: start)) as ledger:
        import_catalogue(city, ledger)
        told = list(read_documents(city))
        ledger.record([document for _, document in told], [received for received, _ in told])
    rebuild(directory)
    return directory


@pytest.fixture(scope="module")
def sellers(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Who sells what the ring bought."""
    return find_ring(make_fraud_city(tmp_path_factory))[0]


@pytest.fixture(scope="module")
def served(ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the service: a copy of it."""
    directory = tmp_path_factory.mktemp("served") / "ledger"
    shutil.copytree(ledger, directory)
    return directory


@pytest.fixture(scope="module")
def process(served: Path) -> Iterator[ServerProcess]:
    """A service, which keeps its views."""
    with ServerProcess(data_directory=served, views=True) as process:
        yield process


def wait(client: LedgerClient, name: str) -> screening_service_pb2.Screening:
    """The screening once it has ended."""
    deadline = time.monotonic() + 60
    while (found := client.screenings.get_screening(name)).state == RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_a_ring_is_found_beside_the_service_and_becomes_a_case(
    process: ServerProcess, sellers: set[str], tmp_path: Path
) -> None:
    """Pins the way from records to leads with their entries, to grades, and to a case with the lead in it."""
    request = StartScreeningRequest(first_day=PERIOD[0], last_day=PERIOD[1], models=RING)
    with LedgerClient(process.address, deadline_seconds=20) as client:
        name = client.screenings.start_screening(request).screening_id
        done = wait(client, name)
        leads = list(client.screenings.list_leads(ListLeadsRequest(screening_id=name)))
        some = ListLeadsRequest(screening_id=name, models=["resale_in"], page_size=1)
        sold = list(client.screenings.list_leads(some))
        scores = list(client.screenings.list_scores(ListScoresRequest(screening_id=name)))

        assert (done.state, done.error, done.lead_count) == (DONE, "", len(leads))
        assert done.until_sequence == client.service_info().sequence
        assert {lead.subject for lead in sold} == sellers
        assert {lead.model for lead in leads} == set(RING)
        for lead in leads:
            assert lead.why_zh
            assert lead.evidence
            for place in lead.evidence[:3]:
                events = list(client.list_code_events(place.code))
                assert place.sequence in {event.sequence for event in events}
        assert [score.credit for score in scores] == sorted(score.credit for score in scores)
        assert sellers <= {score.subject for score in scores if score.grade in "CD"}

        listed = run("screening", "candidates", name, "--server", process.address)
        weights = {row["institution_code"]: row for row in csv.DictReader(io.StringIO(listed.stdout))}
        graded = {score.subject: score for score in scores if score.kind == LEAD_KIND_INSTITUTION}
        assert set(weights) == set(graded)
        for code, row in weights.items():
            assert (row["grade"], row["weight"]) == (
                graded[code].grade,
                {"A": "1", "B": "2", "C": "4", "D": "8"}[graded[code].grade],
            )
        (tmp_path / "candidates.csv").write_text(listed.stdout)
        announced = run(
            *("draw", "announce", str(tmp_path / "candidates.csv"), "--title", "季度抽查"),
            *("--division", "440402", "--inspector", "wang", "--inspector", "li"),
            *("--seed-source", "lottery", "--actor", "wang", "--server", process.address),
        )
        draw = json.loads(announced.stdout)
        assert draw["count"] == math.ceil(len(weights) / 20)
        assert {int(row["weight"]) for row in weights.values()} == {
            each["weight"] for each in draw["candidates"]
        }

        chosen = sold[0].lead_id
        arguments = ("screening", "open-case", name, chosen, "--actor", "wang", "--server", process.address)
        opened = run(*arguments, "--json")
        again = run(*arguments, "--json")
        case = client.cases.get_case(json.loads(opened.stdout)["caseNumber"])
        assert json.loads(again.stdout)["caseNumber"] == case.case_number
        assert (case.origin, case.institution_code) == (case_pb2.CASE_ORIGIN_SCREENING, sold[0].subject)
        assert [file.name for file in case.attachments] == ["lead.json"]


def test_a_screening_goes_on_when_the_service_starts_again(ledger: Path, tmp_path: Path) -> None:
    """Pins that one that was noted and not ended, as when the service was killed, is done at the next start,
    by what its models had already said."""
    directory = tmp_path / "ledger"
    shutil.copytree(ledger, directory)
    request = RunRequest(date.fromisoformat(PERIOD[0]), date.fromisoformat(PERIOD[1]), models=RING)
    noted = create_run(directory, request, datetime.now(UTC))

    def stop(done: int, total: int, what: str) -> None:
        if what == "resale_rings":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute_run(directory, noted.name, progress=stop)
    assert open_runs(directory).list_all()[0].state is RunState.RUNNING
    with (
        ServerProcess(data_directory=directory, views=True) as process,
        LedgerClient(process.address, deadline_seconds=20) as client,
    ):
        assert wait(client, noted.name).state == DONE
    told = json.loads((directory / "screening" / noted.name / "run.json").read_text())
    assert [name for name in RING if told["seconds"][name] == 0] == ["resale_in"]
    assert not (directory / "screening" / noted.name / "files").exists()


def test_a_screening_is_cancelled_found_again_and_refused_where_it_cannot_be(process: ServerProcess) -> None:
    """Pins one screening for one question, its end by cancelling, and what is said of a bad question."""
    request = StartScreeningRequest(first_day=PERIOD[0], last_day=PERIOD[1])
    with LedgerClient(process.address, deadline_seconds=20) as client:
        first, second = (client.screenings.start_screening(request) for _ in range(2))
        assert first.screening_id == second.screening_id
        cancelled = client.screenings.cancel_screening(first.screening_id)
        assert cancelled.state == screening_service_pb2.SCREENING_STATE_CANCELLED
        assert client.screenings.cancel_screening(first.screening_id) == cancelled
        assert next(client.screenings.list_screenings()).screening_id == first.screening_id
        with pytest.raises(NotKnown, match="no results"):
            list(client.screenings.list_leads(ListLeadsRequest(screening_id=first.screening_id)))
        for name in ("20261217-20270110-9", "../journal"):
            with pytest.raises(NotKnown):
                client.screenings.get_screening(name)
        for bad, said in (
            (StartScreeningRequest(first_day="2027-01-10", last_day="2026-12-17"), "before the first day"),
            (StartScreeningRequest(first_day="17.12.2026", last_day="2026-12-17"), "write it as"),
            (StartScreeningRequest(first_day=PERIOD[0], last_day=PERIOD[1], models=["x"]), "no model"),
            (
                StartScreeningRequest(first_day=PERIOD[0], last_day=PERIOD[1], division_prefix="a"),
                "six digits",
            ),
        ):
            with pytest.raises(CallInvalid, match=said):
                client.screenings.start_screening(bad)


def test_old_screenings_make_room(process: ServerProcess, served: Path) -> None:
    """Pins that the oldest that have ended are removed when another is asked for, and that a record which
    cannot be read hides no other."""
    with LedgerClient(process.address, deadline_seconds=20) as client:
        first = client.screenings.start_screening(
            StartScreeningRequest(first_day=PERIOD[0], last_day=PERIOD[0])
        )
        assert client.screenings.cancel_screening(first.screening_id).error == ""
        serial = int(first.screening_id.rpartition("-")[2])
        folder = served / "screening"
        for number in range(serial + 1, serial + 1 + KEPT_MAX):
            shutil.copytree(folder / first.screening_id, folder / f"20261217-20261217-{number}")
        bad = folder / f"20261217-20261217-{serial + KEPT_MAX}"
        (bad / "screening.json").write_bytes(b"")
        last = client.screenings.start_screening(
            StartScreeningRequest(first_day=PERIOD[1], last_day=PERIOD[1])
        )
        wait(client, last.screening_id)
        kept = [each.screening_id for each in client.screenings.list_screenings()]
        assert (kept[0], len(kept)) == (last.screening_id, KEPT_MAX)
        assert not (folder / first.screening_id).exists()
        with pytest.raises(ServerFault, match=f"{bad.name}.*remove its folder"):
            client.screenings.get_screening(bad.name)


def test_the_command_screens_a_ledger_beside_its_service(
    process: ServerProcess, served: Path, sellers: set[str]
) -> None:
    """Pins `tracecode screen` on the data folder of a running service, with the register read from it."""
    asked = ("screen", str(served), "--from", PERIOD[0], "--to", PERIOD[1], "--json")
    found = run(*asked)
    assert found.exit_code == ExitCode.FINDINGS, found.stderr
    out = Path(json.loads(found.stdout)["directory"])
    leads = json.loads((out / "leads.json").read_text())
    assert {lead["subject"] for lead in leads if lead["model"] == "resale_in"} == sellers
    assert not (out / "files").exists()


def test_the_command_and_the_service_keep_their_screenings_apart(ledger: Path, tmp_path: Path) -> None:
    """Pins that what the command wrote is no run of the service, neither in its list nor in its numbers nor
    among the old ones that it removes; and that the command touches no run of the service, not even of
    division 3702 the one with that number."""
    directory = tmp_path / "ledger"
    shutil.copytree(ledger, directory)
    request = RunRequest(date.fromisoformat(PERIOD[0]), date.fromisoformat(PERIOD[1]), models=RING[:1])
    runs = open_runs(directory)
    runs.folder_of("20261217-20270110-3701").mkdir(parents=True)
    noted = create_run(directory, request, datetime.now(UTC))
    (runs.folder_of(noted.name) / "files").mkdir()
    written = set()
    for division in ("", "3702"):
        asked = ("screen", str(directory), "--from", PERIOD[0], "--to", PERIOD[1], "--division", division)
        found = run(*asked, "--json")
        assert found.exit_code in (ExitCode.OK, ExitCode.FINDINGS), found.stderr
        written.add(Path(json.loads(found.stdout)["directory"]).name)

    assert written == {"command-20261217-20270110", "command-20261217-20270110-3702"}
    assert {path.name for path in runs.folder_of(noted.name).iterdir()} == {"screening.json", "files"}
    second = create_run(directory, request, datetime.now(UTC))
    names = ["20261217-20270110-3703", "20261217-20270110-3702"]
    assert [second.name, noted.name] == [each.name for each in runs.list_all()] == names
    for name in names:
        runs.end(name, RunState.CANCELLED, datetime.now(UTC))
    runs.drop_old(0)
    assert written < {path.name for path in (directory / "screening").iterdir()}
    assert not runs.list_all()


def test_a_snapshot_outlives_the_files_it_was_made_of(ledger: Path, tmp_path: Path) -> None:
    """Pins that the views may remove their files while a run reads them, and that days and divisions that are
    not asked for are left out."""
    directory = tmp_path / "ledger"
    shutil.copytree(ledger, directory)
    first, last = date(2026, 12, 20), date(2026, 12, 21)

    def take(out: Path, division: str = "") -> Relations:
        return take_snapshot(directory, out, first, last, lookback_days=2, division=division)

    relations = take(tmp_path / "out")
    days = {path.parent.parent.name for path in relations.lines}
    assert days == {f"day=2026-12-{day}" for day in (18, 19, 20, 21)}
    assert {path.parent.name for path in take(tmp_path / "one", "3702").lines} == {"division=370202"}
    later = take_snapshot(
        directory, tmp_path / "later", date(2027, 12, 19), date(2027, 12, 20), lookback_days=2
    )
    # 364 days before its last day: what a year end is compared with.
    assert max(path.parent.parent.name for path in later.lines) == "day=2026-12-21"
    for path in list_files(directory / DIRECTORY):
        path.unlink()
    assert all(path.stat().st_size for path in relations.lines)
    assert take(tmp_path / "out") == relations
    drop_snapshot(tmp_path / "out")
    with pytest.raises(OSError, match="change faster"):
        take(tmp_path / "out")


def test_the_register_has_what_the_index_has_not_yet(process: ServerProcess, served: Path) -> None:
    """Pins that an import is in the register at once, whether or not it was brought into the index."""
    before, products = read_register(served)
    changed = before[0]
    changed.group_code = "CHAIN"
    with LedgerClient(process.address, deadline_seconds=20) as client:
        client.import_institutions([changed])
    os.kill(process.process.pid, signal.SIGSTOP)
    try:
        after, same = read_register(served)
    finally:
        os.kill(process.process.pid, signal.SIGCONT)
    assert [row.group_code for row in after if row.institution_code == changed.institution_code] == ["CHAIN"]
    assert [row.institution_code for row in after] == [row.institution_code for row in before]
    assert same == products
