"""Reports over gRPC: made beside the service, as by the command, and shown only to whom they concern.

Goal: a page that calls nothing but gRPC has every report that the command makes, bit for bit, and nobody has
one of a division that he may not see whole. Method: a real service over a small ledger, asked over a socket;
its files are compared with those that tracecode.reports writes of the same entry.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from backed_up import fill_ledger
from running_server import ServerProcess
from wire import read_looks

from tracecode.client import CallInvalid, LedgerClient, NotKnown, ServerFault
from tracecode.proof.audit import open_journal
from tracecode.reports import FORMATS, Period, export_report, make_report
from tracecode.reports.runs import ReportRequest, create_run, execute_run, open_runs
from tracecode.runs import RunState
from tracecode.v1 import report_service_pb2
from tracecode.v1.report_service_pb2 import Report, StartReportRequest

GRANTS = """
[actors."张三"]
divisions = [""]
[actors."王芳"]
divisions = ["1305"]
"""
MONTH = "2026-03"
RUNNING = report_service_pb2.REPORT_STATE_RUNNING
DONE = report_service_pb2.REPORT_STATE_DONE
WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the service, beside its file of grants."""
    folder = tmp_path_factory.mktemp("reports")
    (folder / "grants.toml").write_text(GRANTS)
    fill_ledger(folder / "data", 16)
    return folder / "data"


@pytest.fixture(scope="module")
def process(directory: Path) -> Iterator[ServerProcess]:
    """A service that keeps no views."""
    with ServerProcess(data_directory=directory, grants_file=directory.parent / "grants.toml") as process:
        yield process


def ask(process: ServerProcess, actor: str) -> LedgerClient:
    """A client of somebody."""
    return LedgerClient(process.address, actor=actor, reason="月报", deadline_seconds=20)


def wait(client: LedgerClient, report: Report) -> Report:
    """The report once it has ended."""
    deadline = time.monotonic() + WAIT_SECONDS
    while report.state == RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        report = client.reports.get_report(report.report_id)
    return report


def test_a_report_is_made_beside_the_service_and_is_the_command_s_own(
    process: ServerProcess, directory: Path, tmp_path: Path
) -> None:
    """Pins every format, byte for byte, with its checksum, as tracecode.reports writes it of the same entry,
    and that both the question and each download stand in the journal before anything is shown."""
    with ask(process, "张三") as client:
        report = wait(client, client.reports.start_report(StartReportRequest(period=MONTH)))
        assert (report.state, report.error) == (DONE, "")
        assert {file.format for file in report.files} == set(range(1, 1 + len(FORMATS)))
        for file in report.files:
            client.reports.download(report.report_id, file.name, tmp_path / file.name)
            content = (tmp_path / file.name).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size_bytes, file.sha256)
    with make_report(directory, Period.parse(MONTH), as_of=report.as_of_sequence) as made:
        for path in export_report(made, tmp_path / "own"):
            assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    assert len(report.files) == len(list((tmp_path / "own").iterdir()))
    with closing(open_journal(directory)) as journal:
        looks = [look for look in read_looks(journal.entries(0, 1_000_000)) if look.actor == "张三"]
    assert [look.method.rpartition(".")[2] for look in looks] == [
        "StartReport",
        *["DownloadReportFile"] * len(report.files),
    ]
    assert json.loads(looks[1].question)["fileName"] == report.files[0].name
    assert {look.reason for look in looks} == {"月报"}
    assert not (open_runs(directory).folder_of(report.report_id) / "spill").exists()


def test_nobody_has_a_report_of_more_than_he_may_see(process: ServerProcess, tmp_path: Path) -> None:
    """Pins that a report of the country is none for who may see a city: not started, listed, got, cancelled,
    downloaded; and that who is nobody is not even told which there are."""
    with ask(process, "张三") as all_of_it, ask(process, "王芳") as city, ask(process, "") as nobody:
        country = all_of_it.reports.start_report(StartReportRequest(period="2026Q1", formats=[4]))
        country = wait(all_of_it, country)
        ours = StartReportRequest(period=MONTH, division_prefix="130501", formats=[4, 1])
        mine = wait(city, city.reports.start_report(ours))
        assert (mine.state, mine.actor, list(mine.formats)) == (DONE, "王芳", [1, 4])
        assert [each.report_id for each in city.reports.list_reports()] == [mine.report_id]
        listed = [each.report_id for each in all_of_it.reports.list_reports()]
        assert listed[:2] == [mine.report_id, country.report_id]
        for client, name in ((city, country.report_id), (nobody, mine.report_id), (nobody, "2026-03-99")):
            for call in (
                lambda client=client: client.reports.start_report(StartReportRequest(period="2026Q1")),
                lambda client=client, name=name: client.reports.get_report(name),
                lambda client=client, name=name: client.reports.cancel_report(name),
                lambda client=client, name=name: client.reports.download(name, "x", tmp_path / "x"),
            ):
                with pytest.raises(CallInvalid, match="ACCESS_DENIED"):
                    call()
        with pytest.raises(CallInvalid, match="ACCESS_DENIED"):
            list(nobody.reports.list_reports())
        city.reports.download(mine.report_id, mine.files[-1].name, tmp_path / "mine.json")
        assert json.loads((tmp_path / "mine.json").read_text())["division"] == "130501"
        assert not (tmp_path / "x").exists()


def test_a_report_that_cannot_be_is_refused_by_name(process: ServerProcess, tmp_path: Path) -> None:
    """Pins what is said of a bad question, of a name that there is not, and of a file that is none."""
    with ask(process, "张三") as client:
        for request, field in (
            (StartReportRequest(period="2026-13"), "period"),
            (StartReportRequest(), "period"),
            (StartReportRequest(period=MONTH, division_prefix="13a"), "division_prefix"),
            (StartReportRequest(period=MONTH, formats=[0]), "formats"),
            (StartReportRequest(period=MONTH, formats=[99]), "formats"),
            (StartReportRequest(period=MONTH, language_code="de"), "language_code"),
            (StartReportRequest(period=MONTH, as_of_sequence=2**63), "as_of_sequence"),
        ):
            with pytest.raises(CallInvalid) as raised:
                client.reports.start_report(request)
            assert raised.value.field == field
        for name in ("2026-03-99", "../journal", "2026-03-1/../x", ""):
            with pytest.raises(NotKnown):
                client.reports.get_report(name)
        made = wait(client, client.reports.start_report(StartReportRequest(period=MONTH, formats=[4])))
        for name in ("report.json", "../report.json", ""):
            with pytest.raises(NotKnown, match="no file"):
                client.reports.download(made.report_id, name, tmp_path / "x")


def test_a_download_goes_on_where_it_broke_off_and_is_checked(
    process: ServerProcess, directory: Path, tmp_path: Path
) -> None:
    """Pins the offset, the end of a file, and that a file that was changed on disk is not taken for whole."""
    with ask(process, "张三") as client, grpc.insecure_channel(process.address) as channel:
        made = wait(client, client.reports.start_report(StartReportRequest(period=MONTH, formats=[5])))
        (file,) = made.files
        path = open_runs(directory).folder_of(made.report_id) / "files" / file.name
        content = path.read_bytes()
        download = channel.unary_stream("/tracecode.v1.ReportService/DownloadReportFile")
        for offset in (0, 1, file.size_bytes - 1, file.size_bytes):
            request = report_service_pb2.DownloadReportFileRequest(
                report_id=made.report_id, file_name=file.name, offset_bytes=offset
            )
            answer = list(
                download(request.SerializeToString(), metadata=[("tracecode-actor", "%E5%BC%A0%E4%B8%89")])
            )
            read = [report_service_pb2.DownloadReportFileResponse.FromString(each) for each in answer]
            assert b"".join(each.content for each in read) == content[offset:]
            assert [each.HasField("file") for each in read] == [True] + [False] * (len(read) - 1)
        path.write_bytes(content[:-1] + b"?")
        with pytest.raises(ServerFault, match="checksum"):
            client.reports.download(made.report_id, file.name, tmp_path / "page.html")
        assert list(tmp_path.iterdir()) == []


def test_a_report_that_is_under_way_is_found_cancelled_and_made_at_the_next_start(tmp_path: Path) -> None:
    """Pins one report for one question, its end by cancelling, and that one which was under way when the
    service was killed is made when it starts again."""
    directory = tmp_path / "data"
    (tmp_path / "grants.toml").write_text(GRANTS)
    fill_ledger(directory, 16)
    noted = create_run(directory, ReportRequest(MONTH, formats=("json",)), "张三", datetime.now(UTC))
    with (
        ServerProcess(data_directory=directory, grants_file=tmp_path / "grants.toml") as process,
        ask(process, "张三") as client,
    ):
        assert wait(client, client.reports.get_report(noted.name)).state == DONE
        request = StartReportRequest(period="2026Q1", formats=[4])
        first, second = (client.reports.start_report(request) for _ in range(2))
        other = client.reports.start_report(StartReportRequest(period=MONTH, formats=[4]))
        assert first.report_id == second.report_id != other.report_id
        for report in (first, other):
            cancelled = client.reports.cancel_report(report.report_id)
            assert cancelled.state == report_service_pb2.REPORT_STATE_CANCELLED
            assert client.reports.cancel_report(report.report_id) == cancelled
            assert not (open_runs(directory).folder_of(report.report_id) / "files").exists()
        with pytest.raises(NotKnown, match="no results"):
            client.reports.download(first.report_id, "x", tmp_path / "x")
        killed = client.reports.start_report(request)
        process.signal(signal.SIGKILL)
        process.process.wait()
    assert open_runs(directory).read(killed.report_id).state is RunState.RUNNING
    with (
        ServerProcess(data_directory=directory, grants_file=tmp_path / "grants.toml") as process,
        ask(process, "张三") as client,
    ):
        assert wait(client, client.reports.get_report(killed.report_id)).state == DONE


def test_old_reports_make_room_and_names_are_not_given_twice(tmp_path: Path) -> None:
    """Pins that the oldest that have ended are removed, never one under way, and that numbers go on."""
    runs, now = open_runs(tmp_path), datetime(2026, 4, 1, tzinfo=UTC)
    names = [create_run(tmp_path, ReportRequest(MONTH, "13"), "a", now).name for _ in range(4)]
    assert names[0] == f"{MONTH}-13-1"
    for name in names[1:]:
        runs.end(name, RunState.FAILED, now, error="no")
    runs.drop_old(1)
    assert [run.name for run in runs.list_all()] == [names[3], names[0]]
    assert create_run(tmp_path, ReportRequest("2026Q1"), "a", now).name == "2026Q1-5"
    shutil.rmtree(runs.folder_of(names[3]))


def test_what_was_noted_is_read_again(tmp_path: Path) -> None:
    """Pins the record of a run: request and result are what they were."""
    fill_ledger(tmp_path, 2)
    asked = ReportRequest(MONTH, "13", ("csv", "json"), "en", 5)
    run = create_run(tmp_path, asked, "王芳", datetime(2026, 4, 1, tzinfo=UTC))
    made = execute_run(tmp_path, run.name)
    read = open_runs(tmp_path).read(run.name)
    assert (read.request.report, read.request.actor, read.result) == (asked, "王芳", made)
    assert made.as_of == 5
    assert {file.format for file in made.files} == {"csv", "json"}
    assert asdict(read)["state"] == "done"
