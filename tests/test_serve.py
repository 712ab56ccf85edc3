"""The service as a process: started, told to stop, restarted, told new rules."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from running_server import ServerProcess, register_institutions
from wire import INSTITUTION, call_raw, make_batch, make_long_sale, make_sale, read_details, read_figure

from tracecode.client import LedgerClient
from tracecode.rule_base import RuleBase
from tracecode.v1 import document_pb2, finding_pb2, ledger_service_pb2, ledger_service_pb2_grpc


@pytest.fixture
def data_directory(tmp_path: Path) -> Path:
    """A directory for one ledger."""
    return tmp_path / "ledger"


def test_sigterm_lets_calls_finish(data_directory: Path) -> None:
    """Pins the drain: what was read is answered and durable, health says so, the exit status is 0."""
    with ServerProcess(data_directory=data_directory) as process:
        register_institutions(process.address, INSTITUTION)
        with grpc.insecure_channel(process.address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
            assert next(iter(watch)).status == health_pb2.HealthCheckResponse.SERVING
            end = threading.Event()
            documents = [make_sale() for _ in range(60)]

            def send() -> Iterator[ledger_service_pb2.RecordDocumentsRequest]:
                for at in range(0, len(documents), 3):
                    yield make_batch(*documents[at : at + 3])
                end.wait(20)

            call = ledger_service_pb2_grpc.LedgerServiceStub(channel).RecordDocuments(send())
            answers = [next(iter(call))]
            begin = time.monotonic()
            process.signal()
            with pytest.raises(grpc.RpcError) as caught:
                answers.extend(call)
            assert next(iter(watch)).status == health_pb2.HealthCheckResponse.NOT_SERVING
            end.set()
            status = process.wait()
            duration_seconds = time.monotonic() - begin

    assert status == 0
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert read_details(caught.value)["ErrorInfo"].reason == "DRAINING"
    assert duration_seconds < 18
    assert process.other == []
    assert [line["event"] for line in process.log][-2:] == ["drained", "stopped"]
    with ServerProcess(data_directory=data_directory) as again:
        with grpc.insecure_channel(again.address) as channel:
            ledger = ledger_service_pb2_grpc.LedgerServiceStub(channel)
            results = [result for answer in answers for result in answer.results]
            assert len(results) == 3 * len(answers)
            for document, result in zip(documents, results, strict=False):
                verdict = ledger.RecordSale(ledger_service_pb2.RecordSaleRequest(document=document)).verdict
                assert verdict.repeat
                assert verdict.sequence == result.verdict.sequence


def test_sigterm_waits_for_a_call_that_is_being_judged(data_directory: Path) -> None:
    """Pins that the largest document, half judged when the service is told to stop, gets its verdict."""
    with ServerProcess(data_directory=data_directory, metrics_listen="127.0.0.1:0") as process:
        register_institutions(process.address, INSTITUTION)
        metrics_address = process.wait_for("serving")["metrics_address"]
        request = ledger_service_pb2.RecordSaleRequest(document=make_long_sale(3500))
        options = [("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(process.address, options=options) as channel:
            call = ledger_service_pb2_grpc.LedgerServiceStub(channel).RecordSale.future(request, timeout=30)
            while read_figure(metrics_address, "tracecode_calls_in_flight") < 1:
                assert not call.done()
            process.signal()
            verdict = call.result().verdict
        status = process.wait()

    assert status == 0
    assert verdict.outcome == finding_pb2.OUTCOME_ACCEPTED
    assert len(verdict.findings) >= 3500


def test_a_port_that_is_taken_is_an_error(data_directory: Path) -> None:
    """Pins that two services never share one port without noticing."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with ServerProcess(data_directory=data_directory, listen=address) as process:
            status = process.wait()

    assert status == 1
    assert [line["event"] for line in process.log if line["level"] == "error"] == ["not_listening"]
    assert process.other == []


def test_a_changed_rule_base_comes_into_force_and_a_bad_one_does_not(
    data_directory: Path, tmp_path: Path
) -> None:
    """Pins that an operator changes the rules without a restart, and cannot break it by a slip."""
    text = RuleBase.default().text
    version = RuleBase.default().version
    file = tmp_path / "rules.toml"
    file.write_text(text)

    with ServerProcess(data_directory=data_directory, rule_base_file=file) as process:
        file.write_text("version = nothing")
        process.wait_for("rule_base_refused")
        file.write_text(text.replace(version, f"{version}-changed"))
        process.wait_for("rule_base_changed")
        with grpc.insecure_channel(process.address) as channel:
            info = ledger_service_pb2.GetServiceInfoResponse.FromString(
                call_raw(channel, "GetServiceInfo", b"")
            )
        status = process.stop()

    assert info.rule_base_version == f"{version}-changed"
    assert status == 0


def test_a_restart_is_not_noticed(tmp_path: Path) -> None:
    """Pins that a service stopped and started under load loses nothing, and asks no caller to know of it."""
    first = ServerProcess(data_directory=tmp_path / "ledger")
    address = first.address
    register_institutions(address, INSTITUTION)
    sequences: dict[str, int] = {}
    failures: list[BaseException] = []
    end = threading.Event()

    def sell(till: int) -> None:
        with LedgerClient(address, deadline_seconds=5, attempts=20, seed=till) as client:
            for count in itertools.count():
                if end.is_set():
                    return
                number = f"restart-{till}-{count}"
                try:
                    sequences[number] = client.record(make_sale(number=number)).sequence
                except BaseException as error:
                    failures.append(error)
                    return

    tills = [threading.Thread(target=sell, args=(till,)) for till in range(4)]
    for till in tills:
        till.start()
    try:
        time.sleep(0.3)
        status = first.stop()
        before = len(sequences)
        with ServerProcess(data_directory=tmp_path / "ledger", listen=address) as second:
            deadline = time.monotonic() + 60
            while len(sequences) < before + 50 and time.monotonic() < deadline:
                time.sleep(0.02)
            end.set()
            for till in tills:
                till.join()
            with LedgerClient(address) as client:
                kept = {
                    number: client.get_document(
                        INSTITUTION, document_pb2.DOCUMENT_KIND_SALE, number
                    ).verdict_first.sequence
                    for number in sequences
                }
            assert second.address == address
    finally:
        end.set()

    assert status == 0
    assert failures == []
    assert before > 0
    assert len(sequences) >= before + 50
    assert kept == sequences
    assert len(set(sequences.values())) == len(sequences)


def read_errors(process: ServerProcess, level: str) -> list[str]:
    """The messages of the log's lines of a level."""
    return [line["message"] for line in process.log if line["level"] == level]


def test_a_second_service_on_one_folder_is_refused_and_the_first_goes_on(data_directory: Path) -> None:
    """Pins one writer: the second ends with 1 and names the first, which has not noticed."""
    with ServerProcess(data_directory=data_directory) as first:
        register_institutions(first.address, INSTITUTION)
        with ServerProcess(data_directory=data_directory) as second:
            status = second.wait()
        with LedgerClient(first.address) as client:
            verdict = client.record(make_sale())
        ended = first.stop()

    assert status == 1
    assert read_errors(second, "error") == [
        f"{data_directory} is in use by another process ({first.process.pid}); stop that one, "
        "or name another directory"
    ]
    assert verdict.outcome == finding_pb2.OUTCOME_ACCEPTED
    assert ended == 0


def test_a_folder_that_others_can_change_is_served_where_nobody_comes_to_it(open_path: Path) -> None:
    """Pins that a folder above that lets nobody else pass is as good as a closed one."""
    data_directory = open_path / "ledger"
    data_directory.mkdir()
    data_directory.chmod(0o770)
    with ServerProcess(data_directory=data_directory) as process:
        refused = process.wait()
    open_path.chmod(0o700)
    with ServerProcess(data_directory=data_directory) as process:
        served = process.stop()

    assert (refused, served) == (1, 0)
    assert read_errors(process, "warning") == []


def test_a_folder_that_others_can_change_is_not_served(open_path: Path) -> None:
    """Pins what an operator is told: to be read by others is a warning, to be changed by them an end."""
    data_directory = open_path / "ledger"
    with ServerProcess(data_directory=data_directory) as process:
        assert process.stop() == 0
        modes = [path.stat().st_mode & 0o777 for path in (data_directory, data_directory / "journal")]
    data_directory.chmod(0o755)
    with ServerProcess(data_directory=data_directory) as readable:
        assert readable.stop() == 0
    data_directory.chmod(0o700)
    (data_directory / "journal" / "data.mdb").chmod(0o660)
    with ServerProcess(data_directory=data_directory) as writable:
        status = writable.wait()

    assert modes == [0o700, 0o700]
    assert read_errors(process, "warning") == []
    assert read_errors(readable, "warning") == [
        f"{data_directory} can be read by others than its owner; run: chmod 700 {data_directory}"
    ]
    path = data_directory / "journal" / "data.mdb"
    assert status == 1
    assert read_errors(writable, "error") == [
        f"{path} can be changed by others than its owner; run: chmod 600 {path}"
    ]


def test_a_person_key_that_is_missing_is_told(data_directory: Path) -> None:
    """Pins that a ledger restored without its key is served, and that the log says what that costs."""
    with ServerProcess(data_directory=data_directory) as process:
        assert process.stop() == 0
    key = data_directory.with_name("ledger.person-key")
    assert key.stat().st_mode & 0o777 == 0o600
    key.unlink()
    with ServerProcess(data_directory=data_directory) as process:
        assert process.stop() == 0

    (told,) = read_errors(process, "warning")
    assert "put the old key back" in told
