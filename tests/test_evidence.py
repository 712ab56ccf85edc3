"""A case by the command line alone, and its evidence checked by programs that know nothing of us."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import grpc
import pytest
from documents import HOUR, INSTITUTIONS, NOON, OTHER, PRODUCTS, SHOP, code, line, receipt, sale
from google.protobuf import json_format
from running_server import ServerThread
from tracecode_server.cli.app import app
from tracecode_server.cli.case import read_fen, read_finding, read_outcome
from tracecode_server.cli.exit_code import ExitCode
from typer import BadParameter
from typer.testing import CliRunner, Result

from tracecode.attachments import Attachments
from tracecode.backup import restore, verify
from tracecode.client import LedgerClient, StateConflict
from tracecode.errors import DataLoss, FieldInvalid
from tracecode.fsck import check
from tracecode.v1 import case_pb2, case_service_pb2, case_service_pb2_grpc, journal_pb2

NASTY = '<script>alert("回收")</script>'

# What an auditor has: python's own library, started so that it finds nothing else.
CHECKER = """
import hashlib, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as bundle:
    sums = dict(reversed(row.split("  ", 1)) for row in bundle.read("MANIFEST.sha256").decode().splitlines())
    names = set(bundle.namelist()) - {"MANIFEST.sha256"}
    assert bundle.testzip() is None
    assert names == set(sums), names ^ set(sums)
    for name in names:
        assert hashlib.sha256(bundle.read(name)).hexdigest() == sums[name], name
print(len(names))
"""


def run(*arguments: object) -> Result:
    """The command within this process."""
    environment = {"COLUMNS": "400", "TRACECODE_LANG": "zh", "TRACECODE_ACTOR": "张三"}
    return CliRunner().invoke(app, list(map(str, arguments)), env=environment)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServerThread]:
    """A service with the catalogue of the stories."""
    with ServerThread(data_directory=tmp_path / "ledger") as running:
        running.ledger.import_products(PRODUCTS)
        running.ledger.import_institutions(INSTITUTIONS)
        yield running


def find_by_command(service: ServerThread, folder: Path) -> str:
    """A box sold twice, recorded and looked up by commands; its finding as `case open` takes it."""
    box = code(1)
    path = folder / "day.jsonl"
    rows = (
        receipt(SHOP, "R1", NOON, line(box)),
        sale(SHOP, "S1", NOON + 60, line(box)),
        sale(OTHER, f"D{NASTY}", NOON + HOUR, line(box)),
    )
    path.write_text("\n".join(json.dumps(json_format.MessageToDict(row)) for row in rows), encoding="utf-8")
    assert run("record", path, "--server", service.address).exit_code == ExitCode.OK
    events = json.loads(run("history", box, "--server", service.address, "--json").stdout)["events"]
    finding = next(
        found for found in events[-1]["findings"] if found["type"] == "FINDING_TYPE_DUP_SALE_CROSS_ORG"
    )
    return f"{events[-1]['sequence']}:DUP_SALE_CROSS_ORG:{finding['lineNumber']}:{finding['code']}"


def test_a_case_goes_from_a_finding_to_its_closing_by_commands_alone(
    service: ServerThread, tmp_path: Path
) -> None:
    """Pins the whole desk on the command line, and a bundle that coreutils and plain Python find whole."""
    to = ("--server", service.address)
    finding = find_by_command(service, tmp_path)
    photo = tmp_path / "货架照片 1.jpg"
    photo.write_bytes(b"\xff\xd8" + bytes(range(256)) * 9_000)

    opened = run("case", "open", NASTY, "-f", finding, "--note", "数据找人", *to, "--json")
    number = json.loads(opened.stdout)["caseNumber"]
    assert run("case", "judge-finding", finding, "confirmed", "--reason", "监控属实", *to).exit_code == 0
    assert run("case", "attach", number, photo, *to).exit_code == 0
    assert run("case", "assign", number, "李四", *to).exit_code == 0
    agreed = ("--approver", "李四", "--note", "会议研判", *to)
    for step in (
        ("investigation", *to),
        ("disposal", *agreed),
        ("rectification", "-o", "recovered=1234.5", "-o", "police@区公安分局", *to),
        ("recheck", "--note", "已整改", *to),
        ("closed", *agreed),
    ):
        result = run("case", "advance", number, *step)
        assert result.exit_code == 0, result.output

    shown = run("case", "show", number, *to)
    assert "销号" in shown.stdout
    assert "追回医保基金 1,234.50" in shown.stdout
    assert "复查 → 销号 (李四)" in shown.stdout
    listed = run("case", "list", "--state", "closed", "--division", "1305", *to, "--json")
    assert json.loads(listed.stdout)["caseNumber"] == number
    bundle = tmp_path / "证据.zip"
    assert run("case", "export", number, bundle, "--reason", "移送公安", *to).exit_code == 0

    checked = subprocess.run(
        [sys.executable, "-I", "-S", "-c", CHECKER, bundle], capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stderr
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    summed = subprocess.run(
        ["sha256sum", "--check", "--strict", "MANIFEST.sha256"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert summed.returncode == 0, summed.stderr
    assert len(summed.stdout.splitlines()) == int(checked.stdout)
    assert (folder / "attachments" / photo.name).read_bytes() == photo.read_bytes()
    look_into(folder, service, number)


def test_draws_self_checks_and_inspections_go_by_commands(service: ServerThread, tmp_path: Path) -> None:
    """Pins the commands beside cases, each from its beginning to its result."""
    to = ("--server", service.address)
    find_by_command(service, tmp_path)

    def ask(*arguments: object, stdin: str | None = None) -> dict[str, Any]:
        environment = {"TRACECODE_ACTOR": "张三"}
        result = CliRunner().invoke(app, [*map(str, arguments), *to], stdin, env=environment)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)  # type: ignore[no-any-return]

    table = tmp_path / "candidates.csv"
    table.write_text(f"institution_code,weight\n{SHOP},1\n{OTHER},3\n", encoding="utf-8")
    who = ("--inspector", "张三", "--inspector", "李四")
    source = ("--title", "一季度", "--division", "130500", "--count", 1, "--seed-source", "公开彩票")
    draw = ask("draw", "announce", table, *source, *who)
    drawn = ask("draw", "perform", draw["drawNumber"], "--seed", "03 11")
    assert len(drawn["drawn"]) == 1
    assert ask("draw", "show", draw["drawNumber"]) == drawn

    asked = ask("self-check", "issue", SHOP, "-q", "是否逐盒扫码", "--title", "自查", "--due", "2026-12-31")
    number = asked["selfCheckNumber"]
    ask("self-check", "answer", number, "--answer", "problem=99@三盒未扫码")
    assert ask("self-check", "show", number)["answers"][0]["amountFen"] == "9900"

    number = ask("inspect", "open", SHOP, *who)["inspectionNumber"]
    ask("inspect", "scan", number, stdin=f"{code(1)}\n\n{code(2)}\n")
    ask("inspect", "close", number)
    result = ask("inspect", "show", number)["result"]
    assert (result["soldCodes"], result["extraCodes"]) == ([code(1)], [code(2)])


def look_into(folder: Path, service: ServerThread, number: str) -> None:
    """What a bundle holds against the ledger that it came from."""
    kinds = set()
    for path in (folder / "entries").iterdir():
        sequence = int(path.stem)
        assert service.ledger.engine.entries(sequence - 1, 1) == [path.read_bytes()]
        kinds.add(journal_pb2.JournalEntry.FromString(path.read_bytes()).WhichOneof("content"))
    assert kinds == {"document", "case_event", "finding_act"}
    assert json.loads((folder / "case.json").read_text(encoding="utf-8"))["caseNumber"] == number
    (verdict,) = (folder / "verdicts").iterdir()
    assert "verdictFirst" in json.loads(verdict.read_text(encoding="utf-8"))
    (chain,) = (folder / "chains").iterdir()
    assert len(json.loads(chain.read_text(encoding="utf-8"))["events"]) == 3
    last = service.ledger.engine.sequence
    look = journal_pb2.JournalEntry.FromString(service.ledger.engine.entries(last - 1, 1)[0])
    assert look.access_record.actor == "张三"
    assert look.access_record.reason == "移送公安"
    assert number in look.access_record.question


class Tags(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_what_people_wrote_is_text_in_the_report(service: ServerThread, tmp_path: Path) -> None:
    """Pins that a title or a document number from outside never becomes markup, and is shown as it is."""
    finding = find_by_command(service, tmp_path)
    with LedgerClient(service.address, deadline_seconds=10) as client:
        case = client.cases.open_case(
            case_service_pb2.OpenCaseRequest(
                actor=NASTY,
                title=NASTY,
                origin=case_pb2.CASE_ORIGIN_FINDINGS,
                findings=[read_finding(finding)],
                note=NASTY,
            )
        )
        bundle = tmp_path / "bundle.zip"
        bundle.write_bytes(b"".join(client.cases.export_evidence(case.case_number, "张三")))

    with zipfile.ZipFile(bundle) as archive:
        page = Tags()
        page.feed(archive.read("report.html").decode())
    assert "script" not in page.tags
    assert page.text.count(NASTY) >= 4
    assert "跨机构" in page.text or "DUP_SALE_CROSS_ORG" in page.text


def test_a_bundle_of_a_damaged_attachment_is_refused(service: ServerThread, tmp_path: Path) -> None:
    """Pins that evidence which is no longer what was attached never leaves as if it were."""
    with LedgerClient(service.address, deadline_seconds=10, attempts=1) as client:
        case = client.cases.open_case(
            case_service_pb2.OpenCaseRequest(
                actor="张三",
                title="举报",
                origin=case_pb2.CASE_ORIGIN_TIP_OFF,
                institution_code=SHOP,
                tip_off=case_pb2.TipOff(summary="回收药品"),
            )
        )
        file = tmp_path / "a.txt"
        file.write_bytes(b"evidence")
        header = case_service_pb2.AttachFileHeader(
            case_number=case.case_number, etag=case.etag, actor="张三", name="a.txt"
        )
        attached = client.cases.attach_file(header, file)
        # A lost answer: the same file sent again is the same event.
        assert client.cases.attach_file(header, file) == attached
        header.etag = attached.case.etag
        with pytest.raises(ValueError, match="name of another file"):
            client.cases.attach_file(header, file)
        header.etag = case.etag
        header.name = "b.txt"
        with pytest.raises(StateConflict, match="ETAG_STALE"):
            client.cases.attach_file(header, file)
        place = service.ledger.desk.attachments.path_of(attached.attachment.sha256)
        place.write_bytes(b"Evidence")

        with pytest.raises(Exception, match="DATA_LOSS"):
            list(client.cases.export_evidence(case.case_number, "张三"))


def test_the_service_takes_no_file_without_its_header(service: ServerThread) -> None:
    """Pins what a stream of a file must look like, and that nothing of a refused one stays."""
    with grpc.insecure_channel(service.address) as channel:
        stub = case_service_pb2_grpc.CaseServiceStub(channel)
        request = case_service_pb2.AttachFileRequest
        for messages in ([], [request(content=b"x")]):
            with pytest.raises(grpc.RpcError) as caught:
                stub.AttachFile(iter(messages), timeout=10)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
        header = case_service_pb2.AttachFileHeader(
            case_number="130500-2026-000001", etag="1", actor="甲", name="a"
        )
        with pytest.raises(grpc.RpcError) as caught:
            stub.AttachFile(iter([request(header=header)]), timeout=10)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]
        export = channel.stream_stream("/tracecode.v1.CaseService/ExportEvidence")
        with pytest.raises(grpc.RpcError) as caught:
            list(export(iter([]), timeout=10))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]


def test_an_attachment_is_kept_once_and_checked_when_read(tmp_path: Path) -> None:
    """Pins the store of files: by content, bounded, whole or not there, and never silently wrong."""
    kept = Attachments(tmp_path / "attachments")
    with kept.begin(10) as upload:
        upload.write(b"12345")
        upload.write(b"67890")
        sha256 = upload.finish()
    with kept.begin(10) as upload:
        upload.write(b"1234567890")
        assert upload.finish(sha256) == sha256
    assert b"".join(kept.read(sha256)) == b"1234567890"

    with kept.begin(10) as upload, pytest.raises(FieldInvalid, match="more than 10 bytes"):
        upload.write(b"12345678901")
    with kept.begin(10) as upload, pytest.raises(FieldInvalid, match="the file is empty"):
        upload.finish()
    with kept.begin(10) as upload:
        upload.write(b"x")
        with pytest.raises(FieldInvalid, match="send the file again"):
            upload.finish(sha256)
    (tmp_path / "attachments" / "incoming-left").write_bytes(b"cut short")
    kept.forget_incoming()
    files = [path for path in (tmp_path / "attachments").rglob("*") if path.is_file()]
    assert files == [kept.path_of(sha256)]
    kept.path_of(sha256).unlink()
    with pytest.raises(DataLoss, match="missing"):
        list(kept.read(sha256))


def test_attachments_are_backed_up_restored_and_checked(service: ServerThread, tmp_path: Path) -> None:
    """Pins that a backup of a running ledger has the files of its cases and is found out when one is gone,
    and that fsck looks at those of a ledger."""
    ledger, backup = tmp_path / "ledger", tmp_path / "backup"
    with LedgerClient(service.address, deadline_seconds=10) as client:
        case = client.cases.open_case(
            case_service_pb2.OpenCaseRequest(
                actor="张三",
                title="举报",
                origin=case_pb2.CASE_ORIGIN_TIP_OFF,
                institution_code=SHOP,
                tip_off=case_pb2.TipOff(summary="回收药品"),
            )
        )
        hashes = []
        for number in range(2):
            file = tmp_path / f"{number}.txt"
            file.write_bytes(b"evidence" * (number + 1))
            header = case_service_pb2.AttachFileHeader(
                case_number=case.case_number, etag=case.etag, actor="张三", name=file.name
            )
            attached = client.cases.attach_file(header, file)
            case = attached.case
            hashes.append(attached.attachment.sha256)
            # A process of its own, as beside a real service.
            program = "import sys; from pathlib import Path; from tracecode.backup import back_up; "
            program += "back_up(Path(sys.argv[1]), Path(sys.argv[2]))"
            subprocess.run([sys.executable, "-c", program, ledger, backup], check=True, timeout=60)
    assert Attachments(backup / "attachments").hashes() == sorted(hashes)
    verify(backup)
    restore(backup, tmp_path / "restored")
    assert Attachments(tmp_path / "restored" / "attachments").hashes() == sorted(hashes)
    assert check(tmp_path / "restored").ok

    Attachments(tmp_path / "restored" / "attachments").path_of(hashes[0]).write_bytes(b"other")
    report = check(tmp_path / "restored")
    assert not report.ok
    assert hashes[0] in report.lines[0]
    Attachments(backup / "attachments").path_of(hashes[1]).unlink()
    with pytest.raises(DataLoss, match=hashes[1]):
        verify(backup)


def test_what_is_typed_is_read_or_refused() -> None:
    """Pins amounts in yuan without a float, outcomes and findings as they are typed."""
    assert [read_fen(text) for text in ("0", "1", "1.5", "1234.56")] == [0, 100, 150, 123_456]
    for text in ("", "1.234", "-1", "1,000", "1e3", "١"):
        with pytest.raises(BadParameter):
            read_fen(text)
    assert read_outcome("fine=500@决定书@12号") == case_pb2.CaseOutcome(
        type=case_pb2.CASE_OUTCOME_TYPE_FINE, amount_fen=50_000, reference="决定书@12号"
    )
    with pytest.raises(BadParameter, match="none of"):
        read_outcome("prison")
    assert read_finding("17:RECALLED:2:(01)0690:1").code == "(01)0690:1"
    assert read_finding("17:RECALLED").line_number == 0
    for text in ("", "x:RECALLED", "17:NONSENSE:1", "17:RECALLED:x"):
        with pytest.raises(BadParameter):
            read_finding(text)
