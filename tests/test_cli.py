"""The command `tracecode`: what it answers, on which stream, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import documents
import pytest
from documents import DRUG, HOUR, INSTITUTIONS, NOON, OTHER, PRODUCTS, SHOP, code, line, receipt, sale
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from running_server import ServerThread
from tracecode_server.cli.app import app
from tracecode_server.cli.exit_code import ExitCode, list_meanings
from tracecode_server.cli.record import read_submission
from typer.testing import CliRunner, Result

from tracecode import catalogue
from tracecode.v1.code_pb2 import Reading
from tracecode.v1.document_pb2 import Document
from tracecode.v1.finding_pb2 import Verdict
from tracecode.v1.ledger_service_pb2 import DocumentError, ListCodeEventsResponse, VerifyCodesResponse

COMMAND = Path(sys.executable).with_name("tracecode")
COMMANDS = (
    "serve demo record import verify history parse rule-base backup restore simulate score fsck"
    " rebuild-views doctor version"
).split()
# Wide, so that no cell is folded; English, whatever the machine speaks.
ENVIRONMENT = {"COLUMNS": "400", "TRACECODE_LANG": "en", "TRACECODE_SERVER": ""}
RECEIPT_TIME = "2026-03-15T04:00:00Z"


def run(*arguments: object, stdin: str | bytes | None = None, **environment: str) -> Result:
    """The command within this process."""
    return CliRunner().invoke(app, list(map(str, arguments)), stdin, env=ENVIRONMENT | environment)


def run_process(
    *arguments: object, stdin: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """The command as a process of its own, as a shell would run it."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=60,
        env=os.environ | ENVIRONMENT | environment,
    )


def read_json_lines(text: str) -> list[Any]:
    """The JSON documents of an output, one a line and nothing else."""
    return [json.loads(row) for row in text.splitlines()]


def to_line(document: Document, receive_time: str = "") -> str:
    """A document as a line of a file, bare or with the time it was received."""
    content = json_format.MessageToDict(document)
    return json.dumps({"receiveTime": receive_time, "document": content} if receive_time else content)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real service with the catalogue of the stories imported."""
    folder = tmp_path_factory.mktemp("service")
    with ServerThread(data_directory=folder / "data") as service:
        service.ledger.import_products(PRODUCTS)
        service.ledger.import_institutions(INSTITUTIONS)
        yield service.address


@pytest.fixture
def sold(server: str, tmp_path: Path) -> str:
    """A box that the shop received and sold, by way of the command."""
    number = next(serials)
    box = code(number)
    path = tmp_path / "day.jsonl"
    rows = [
        to_line(receipt(SHOP, f"R{number}", NOON, line(box)), RECEIPT_TIME),
        to_line(sale(SHOP, f"S{number}", NOON + HOUR, line(box))),
    ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert run("record", path, "--server", server).exit_code == ExitCode.OK
    return box


serials = iter(range(1000, 2000))


# --- help and endings ---------------------------------------------------------------------------


def test_help_names_every_command_and_every_exit_code() -> None:
    """Pins that what the command can do and how it can end is found without the manual."""
    result = run("--help")

    assert result.exit_code == 0
    for command in COMMANDS:
        assert f" {command} " in result.output
    for ending in ExitCode:
        assert f"exit {ending:d}: {ending.meaning}" in list_meanings()
        assert ending.meaning.split(";")[0].split(",")[0] in result.output


BAD_INPUT = [
    (["no-such-command"], "No such command"),
    (["verify", "82062330000000011234"], "Missing option '--institution'"),
    (["verify", "8206233", "--institution", SHOP, "--data", "none"], "there is no folder none"),
    (["history", "x", "--data", "none"], "there is no folder none"),
    (["record", "none.jsonl", "--data", "."], "none.jsonl: No such file or directory"),
    (["record", ".", "--data", "."], "Is a directory"),
    (["record", "-", "--clock", RECEIPT_TIME], "--clock goes with --data"),
    (["record", "-", "--data", ".", "--clock", "noon"], "write it as 2026-03-01T00:00:00Z"),
    (["import", "products", "none.csv"], "none.csv: No such file or directory"),
    (["simulate", "--out", "city", "--institutions", "1"], "Invalid value for '--institutions'"),
    (["simulate", "--out", "city", "--catalogue", "none.csv"], "none.csv: No such file or directory"),
    (["score", "none"], "No such file or directory"),
    (["fsck", "none"], "none holds no ledger"),
    (["serve", "--data", "d", "--listen", "0.0.0.0:3505"], "can be reached from other machines"),
    (["serve", "--data", "d", "--listen", "3505"], "'3505' is not host:port"),
    (["serve", "--data", "d", "--engine", "postgres"], "engine"),
    (["serve", "--data", "d", "--edges", "17"], "edges: Input should be less than or equal to 16"),
    (["serve", "--data", "d", "--edges", "0"], "edges: Input should be greater than or equal to 1"),
    (["serve"], "the engine lmdb needs a directory"),
    (["demo", "--exit", "--listen", "0.0.0.0:3505"], "can be reached from other machines"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD_INPUT, ids=lambda value: " ".join(value))
def test_bad_input_is_a_sentence_on_stderr(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins exit code 2 and a sentence without a traceback for what a person can mend."""
    monkeypatch.chdir(tmp_path)

    result = run(*arguments)

    assert result.exit_code == ExitCode.BAD_INPUT, result.output
    assert result.stdout == ""
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify", code(1), "--institution", SHOP],
        ["history", code(1)],
        ["record", "-"],
        ["import", "products", "p.csv"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_service_that_does_not_answer_is_told_apart_from_bad_input(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins exit code 3: the same command may be run again."""
    monkeypatch.chdir(tmp_path)
    catalogue.write_products(tmp_path / "p.csv", PRODUCTS)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        result = run(*arguments, "--server", address, stdin=to_line(receipt(SHOP, "R1", NOON, line(code(1)))))

    assert result.exit_code == ExitCode.UNREACHABLE
    assert "tracecode" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_installation_without_native_code_says_what_to_build() -> None:
    """Pins that the one fault which keeps every command from being loaded is explained, too."""
    program = (
        "import sys; sys.modules['tracecode._native'] = None; sys.argv = ['tracecode', 'version'];"
        "from tracecode_server.cli import main; main()"
    )

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert result.returncode == ExitCode.STOPPED
    assert "make build" in result.stderr
    assert "Traceback" not in result.stderr


# --- parse --------------------------------------------------------------------------------------


SCANS = [
    ("83990010002718284173", "CODE_CLASS_TWENTY_DIGIT", "83990010002718284173", ExitCode.OK),
    ("]d201069245618840742112345", "CODE_CLASS_GS1", "(01)06924561884074(21)12345", ExitCode.OK),
    ("6924561884074", "CODE_CLASS_PRODUCT_BARCODE", "", ExitCode.FINDINGS),
    ("无", "CODE_CLASS_PLACEHOLDER", "", ExitCode.FINDINGS),
    ("", "CODE_CLASS_EMPTY", "", ExitCode.FINDINGS),
    ("8" * 5000, "CODE_CLASS_MALFORMED", "", ExitCode.FINDINGS),
]


@pytest.mark.parametrize(("scan", "code_class", "canonical", "ending"), SCANS)
def test_parse_says_what_a_scan_is(scan: str, code_class: str, canonical: str, ending: ExitCode) -> None:
    """Pins class, canonical code and ending, and that the JSON is the contract's Reading."""
    result = run("parse", "--json", "--", scan)

    assert result.exit_code == ending
    (document,) = read_json_lines(result.stdout)
    reading = json_format.ParseDict(document, Reading())
    assert document.get("codeClass") == code_class
    assert reading.code == canonical
    assert bool(reading.hint.zh_cn and reading.hint.en) == (not canonical)


def test_parse_reads_stdin_one_scan_a_line() -> None:
    """Pins pipes: any bytes, a scanner's own line ends, several codes in one line, no line lost."""
    glued = "83990010002718284173" + "83990010002718285906"
    stdin = f"83990010002718284173\r\n{glued}\n".encode() + b"\xff\xfe\n" + b"last"

    result = run_process("parse", "-", "--json", stdin=stdin)

    readings = read_json_lines(result.stdout.decode())
    assert result.returncode == ExitCode.FINDINGS
    assert [reading.get("code") for reading in readings[:3]] == [
        "83990010002718284173",
        "83990010002718284173",
        "83990010002718285906",
    ]
    assert readings[-1]["scan"] == "last"


def test_a_scan_cannot_steer_the_terminal() -> None:
    """Pins that control and direction characters of a scan are shown, never obeyed."""
    result = run("parse", "--", "8399\x1b[2J\u202e0001")

    assert "\\u001b[2J\\u202e" in result.stdout
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout


@pytest.mark.parametrize(
    ("environment", "arguments", "word"),
    [
        ({"TRACECODE_LANG": "", "LC_ALL": "zh_CN.UTF-8"}, [], "占位码"),
        ({"TRACECODE_LANG": "", "LC_ALL": "", "LC_MESSAGES": "", "LANG": "zh_CN.UTF-8"}, [], "占位码"),
        ({"TRACECODE_LANG": "", "LC_ALL": "C.UTF-8"}, [], "placeholder"),
        ({"TRACECODE_LANG": "", "LC_ALL": "zh_CN.UTF-8"}, ["--lang", "en"], "placeholder"),
        ({"TRACECODE_LANG": "zh"}, [], "占位码"),
    ],
)
def test_texts_speak_the_language_of_the_person(
    environment: dict[str, str], arguments: list[str], word: str
) -> None:
    """Pins --lang before TRACECODE_LANG before the locale."""
    result = run("parse", "无", *arguments, **environment)

    assert word in result.stdout


def test_a_reader_that_has_seen_enough_ends_the_command_quietly() -> None:
    """Pins `tracecode parse - | head -1`: no traceback, no complaint."""
    with subprocess.Popen(
        [COMMAND, "parse", "-", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"83990010002718284173\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        try:
            process.stdin.write(b"83990010002718284173\n" * 20_000)
            process.stdin.close()
        except BrokenPipeError:
            pass
        complaint = process.stderr.read()
        process.wait(30)

    assert complaint == b""


# --- record, verify, history --------------------------------------------------------------------


def test_documents_are_recorded_and_answered_line_by_line(server: str, tmp_path: Path) -> None:
    """Pins that bad lines are named by number and reason, that the rest is taken, and the ending."""
    number = next(serials)
    box = code(number)
    path = tmp_path / "day.jsonl"
    reported = to_line(sale(SHOP, f"S{number}", NOON + HOUR, line(box)))
    rows = [
        "\ufeff" + to_line(receipt(SHOP, f"R{number}", NOON, line(box)), RECEIPT_TIME),
        "",
        "{not json",
        reported,
        to_line(receipt("P1", f"R{number}", NOON, line(box))),
        '{"institutionCode": "P13050000001", "colour": "red"}',
        '{"institutionCode": "P13050000001", "institutionCode": "P13050000001"}',
        '{"lines": 5}',
        "[" * 100_000,
        "5",
        '{"document": {}, "receiveTime": "yesterday"}',
        '{"document": {}, "price": 1}',
        reported,
        to_line(sale(OTHER, f"S{number}", NOON + 2 * HOUR, line(box), asked=True)),
        to_line(sale(SHOP, f"S{number}", NOON + HOUR, line(code(next(serials))))),
    ]
    path.write_text("\n".join(rows), encoding="utf-8")

    result = run("record", path, "--server", server, "--json")

    assert result.exit_code == ExitCode.BAD_INPUT
    answers = {answer.pop("line"): answer for answer in read_json_lines(result.stdout)}
    assert list(answers) == [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    reasons = {row: answer["error"]["reason"] for row, answer in answers.items() if "error" in answer}
    assert reasons == {5: "FIELD_INVALID", 15: "DOCUMENT_REUSED"} | dict.fromkeys(
        (3, 6, 7, 8, 9, 10, 11, 12), "LINE_INVALID"
    )
    sentences = {row: answers[row]["error"]["message"] for row in reasons}
    assert "is not JSON at character 2" in sentences[3]
    assert 'no field named "colour"' in sentences[6]
    assert "has the field 'institutionCode' twice" in sentences[7]
    assert "nested too deeply" in sentences[9]
    assert "is not a JSON object" in sentences[10]
    assert "write it as 2026-03-01T08:00:00Z" in sentences[11]
    assert "has 'price' beside" in sentences[12]
    verdicts = {
        row: json_format.ParseDict(answer["verdict"], Verdict())
        for row, answer in answers.items()
        if "verdict" in answer
    }
    assert verdicts[13].repeat
    assert verdicts[13].sequence == verdicts[4].sequence
    assert answers[14]["verdict"]["outcome"] == "OUTCOME_REFUSED"
    assert "receiveTime was left to the service's own clock" in result.stderr
    assert json_format.ParseDict(answers[5]["error"], DocumentError()).field.endswith("institution_code")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [field.name for field in Document.DESCRIPTOR.fields] + ["document", "receiveTime"]
            )
            | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.binary(max_size=200) | JSON.map(lambda content: json.dumps(content).encode()))
def test_no_line_can_do_more_than_be_refused(row: bytes) -> None:
    """Pins that whatever stands on a line, it is a document or a ValueError with a sentence."""
    sentence = ""
    try:
        submission = read_submission(row)
    except ValueError as error:
        sentence = str(error)
    assert sentence or isinstance(submission.document, Document)


def test_documents_are_shown_as_a_table_to_a_person(server: str) -> None:
    """Pins the table: line, document, outcome, severity, findings, and the sums below it."""
    number = next(serials)
    box = code(number)
    rows = [
        to_line(receipt(SHOP, f"R{number}", NOON, line(box))),
        to_line(sale(SHOP, f"S{number}", NOON + HOUR, line(box))),
        to_line(sale(OTHER, f"S{number}", NOON + 2 * HOUR, line(box), asked=True)),
    ]

    result = run("record", "-", "--server", server, stdin="\n".join(rows), TRACECODE_LANG="zh")

    assert result.exit_code == ExitCode.FINDINGS
    shown = result.stdout.splitlines()
    assert shown[0].split() == ["行", "单据", "结果", "级别", "疑点"]
    assert shown[1].split()[:4] == ["1", SHOP, f"R{number}", "受理"]
    assert shown[3].split()[:5] == ["3", OTHER, f"S{number}", "拒绝", "拦截"]
    assert "DUP_SALE_CROSS_ORG" in shown[3]
    assert shown[4].startswith("2 已受理, 1 已拒绝, 0 重传, 0 未受理")


def test_verify_answers_every_code_and_ends_with_what_it_found(server: str, sold: str) -> None:
    """Pins the JSON as the contract's response, its order, and exit 1 only where something is found."""
    fresh = code(next(serials))
    bad = run("verify", sold, fresh, "--institution", OTHER, "--drug", DRUG, "--server", server, "--json")
    row = to_line(receipt(OTHER, f"R{fresh}", NOON, line(fresh)))
    assert run("record", "-", "--server", server, stdin=row).exit_code == ExitCode.OK
    good = run("verify", fresh, "--institution", OTHER, "--drug", DRUG, "--server", server, "--json")

    assert (bad.exit_code, good.exit_code) == (ExitCode.FINDINGS, ExitCode.OK)
    (document,) = read_json_lines(bad.stdout)
    response = json_format.ParseDict(document, VerifyCodesResponse())
    assert [answer.status.code for answer in response.answers] == [sold, fresh]
    assert [answer.would_refuse for answer in response.answers] == [True, False]
    assert SHOP not in bad.stdout


def test_verify_tells_a_person_what_to_do(server: str, sold: str) -> None:
    """Pins state, finding, masked evidence and remedy in both languages."""
    arguments = ("verify", sold, "--institution", OTHER, "--server", server)

    english, chinese = run(*arguments), run(*arguments, "--lang", "zh")

    assert f"{sold}  sold  would be refused" in english.stdout
    assert "BLOCK DUP_SALE_CROSS_ORG  " in english.stdout
    assert "earlier_sale" in english.stdout
    assert "→ " in english.stdout
    assert SHOP not in english.stdout
    assert f"{sold}  已售出  将被拒绝" in chinese.stdout
    assert "拦截 DUP_SALE_CROSS_ORG  " in chinese.stdout


def test_history_shows_what_happened_in_order(server: str, sold: str) -> None:
    """Pins the JSON as the contract's response with every event, and the table with its words."""
    asked = to_line(sale(OTHER, f"A{sold}", NOON + 3 * HOUR, line(sold), asked=True))
    assert run("record", "-", "--server", server, stdin=asked).exit_code == ExitCode.FINDINGS

    result = run("history", sold, "--server", server, "--json")
    shown = run("history", sold, "--server", server)

    assert result.exit_code == shown.exit_code == ExitCode.OK
    response = json_format.ParseDict(json.loads(result.stdout), ListCodeEventsResponse())
    assert [(event.institution_code, event.refused) for event in response.events] == [
        (SHOP, False),
        (SHOP, False),
        (OTHER, True),
    ]
    rows = [row.split() for row in shown.stdout.splitlines()]
    assert rows[0] == [sold, "sold"]
    assert [row[3] for row in rows if SHOP in row] == ["receive", "sale"]
    assert any("(refused)" in row for row in rows if OTHER in row)


def test_history_of_a_code_never_seen_says_so(server: str) -> None:
    """Pins that a code nobody reported is an answer, and that no code at all is bad input."""
    unseen = run("history", code(next(serials)), "--server", server)
    nothing = run("history", "6924561884074", "--server", server)

    assert unseen.exit_code == ExitCode.OK
    assert "nothing was ever reported of it" in unseen.stdout
    assert nothing.exit_code == ExitCode.BAD_INPUT
    assert "does not read as one traceability code" in nothing.stderr


def test_a_data_folder_is_used_without_a_service(tmp_path: Path) -> None:
    """Pins --data for every command that has it: the receive times of the file hold, and fsck is content."""
    data = tmp_path / "data"
    data.mkdir()
    catalogue.write_products(tmp_path / "products.csv", PRODUCTS)
    catalogue.write_institutions(tmp_path / "institutions.csv", INSTITUTIONS)
    box = code(next(serials))
    rows = [
        to_line(receipt(SHOP, "R1", NOON, line(box)), RECEIPT_TIME),
        to_line(sale(SHOP, "S1", NOON + HOUR, line(box)), "2026-03-15T05:00:00Z"),
    ]

    for noun in ("products", "institutions"):
        imported = run("import", noun, tmp_path / f"{noun}.csv", "--data", data, "--clock", RECEIPT_TIME)
        assert imported.exit_code == ExitCode.OK, imported.output
    recorded = run("record", "-", "--data", data, "--clock", RECEIPT_TIME, "--json", stdin="\n".join(rows))
    verified = run("verify", box, "--institution", OTHER, "--data", data)
    history = run("history", box, "--data", data, "--json")
    checked = run("fsck", data, "--json")

    assert recorded.exit_code == ExitCode.OK, recorded.output
    assert [row["verdict"]["severity"] for row in read_json_lines(recorded.stdout)] == ["SEVERITY_INFO"] * 2
    assert verified.exit_code == ExitCode.FINDINGS
    times = [event["receiveTime"] for event in json.loads(history.stdout)["events"]]
    assert times == [RECEIPT_TIME, "2026-03-15T05:00:00Z"]
    assert checked.exit_code == ExitCode.OK, checked.output
    assert json.loads(checked.stdout)["ok"] is True


def test_a_data_folder_that_a_service_has_open_is_left_alone(tmp_path: Path) -> None:
    """Pins that two writers never meet in one folder, and that the sentence says who is in the way."""
    data = tmp_path / "data"
    with ServerThread(data_directory=data):
        result = run_process("history", code(1), "--data", data)
        checked = run_process("fsck", data)

    for ended in (result, checked):
        assert ended.returncode == ExitCode.STOPPED
        assert b"Traceback" not in ended.stderr
        assert b"tracecode: " in ended.stderr


def test_fsck_finds_a_flipped_bit(tmp_path: Path) -> None:
    """Pins exit code 4: bytes that are not what was written are never passed over."""
    data = tmp_path / "data"
    with ServerThread(data_directory=data) as service:
        service.ledger.import_products(PRODUCTS)
        boxes = [code(next(serials)) for _ in range(20)]
        service.ledger.record([receipt(SHOP, "R1", NOON, line(*boxes))])
    (journal,) = (data / "journal").rglob("data.mdb")
    content = bytearray(journal.read_bytes())
    place = content.index(boxes[7].encode())
    content[place] ^= 1
    journal.write_bytes(content)

    result = run_process("fsck", data)

    assert result.returncode == ExitCode.DATA_LOSS, result.stdout + result.stderr
    assert b"Traceback" not in result.stderr


# --- import -------------------------------------------------------------------------------------


def test_an_import_says_what_it_changed(server: str, tmp_path: Path) -> None:
    """Pins created, updated and unchanged, and that importing a file again changes nothing."""
    path = tmp_path / "products.csv"
    products = [
        documents.catalogue_pb2.Product(
            identifier=f"{7_000_000 + number}", package_level=1, units_per_package=1
        )
        for number in range(1_500)
    ]
    catalogue.write_products(path, products)

    first = run("import", "products", path, "--server", server, "--json")
    products[0].name = "改名"
    catalogue.write_products(path, products)
    second = run("import", "products", path, "--server", server, "--json")
    third = run("import", "products", path, "--server", server)

    assert json.loads(first.stdout)["created"] == "1500"
    assert (json.loads(second.stdout)["updated"], json.loads(second.stdout)["unchanged"]) == ("1", "1499")
    assert third.stdout == "0 created, 0 updated, 1,500 unchanged\n"


def test_a_file_with_a_bad_row_changes_nothing(server: str, tmp_path: Path) -> None:
    """Pins that the row is named with the file, and that the good rows before it are not sent."""
    path = tmp_path / "products.csv"
    good = documents.catalogue_pb2.Product(identifier="7999999", package_level=1, units_per_package=1)
    catalogue.write_products(path, [good])
    path.write_text(path.read_text(encoding="utf-8") + "123,1,,,,,,,1,0,false,\n", encoding="utf-8")

    result = run("import", "products", path, "--server", server)

    assert result.exit_code == ExitCode.BAD_INPUT
    assert f"{path}: row 3, identifier: '123' is not 7 digits" in result.stderr.replace("\n", "")
    path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[:2]), encoding="utf-8")
    again = run("import", "products", path, "--server", server)
    assert again.stdout.startswith("1 created")


@pytest.mark.parametrize("noun", ["institutions", "holds", "code-replacements"])
def test_the_other_lists_are_imported_likewise(noun: str, server: str, tmp_path: Path) -> None:
    """Pins one file for each list of the catalogue."""
    path = tmp_path / "rows.csv"
    catalogue.write_institutions(path, [INSTITUTIONS[0]])
    if noun == "holds":
        hold = documents.catalogue_pb2.Hold(hold_id="H1", reason="HOLD_REASON_RECALL", code=code(999))
        catalogue.write_holds(path, [hold])
    if noun == "code-replacements":
        replacement = documents.catalogue_pb2.CodeReplacement(old_code=code(998), new_code=code(997))
        catalogue.write_code_replacements(path, [replacement])

    result = run("import", noun, path, "--server", server, "--json")

    assert result.exit_code == ExitCode.OK, result.output
    counts = json.loads(result.stdout)
    assert sum(int(counts.get(key, 0)) for key in ("created", "updated", "unchanged")) == 1


# --- the city -----------------------------------------------------------------------------------


def test_a_city_is_simulated_and_scored(tmp_path: Path) -> None:
    """Pins that the same seed gives the same bytes, and that both engines and any order score alike."""
    first = run("simulate", "--seed", 7, "--institutions", 6, "--days", 3, "--out", tmp_path / "a", "--json")
    second = run("simulate", "--seed", 7, "--institutions", 6, "--days", 3, "--out", tmp_path / "b")

    assert first.exit_code == second.exit_code == ExitCode.OK
    summary = json.loads(first.stdout)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert summary["documents"] == len((tmp_path / "a" / "documents.jsonl").read_bytes().splitlines())

    score = run("score", tmp_path / "a", "--json")
    shown = run("score", tmp_path / "a", "--engine", "lmdb", "--shuffle", 3)

    assert score.exit_code == shown.exit_code == ExitCode.OK, score.output + shown.output
    figures = json.loads(score.stdout)
    assert figures["documents"] == summary["documents"]
    assert f"recall {figures['recall']:.4f}, precision {figures['precision']:.4f}" in shown.stdout
    for name, row in figures["per_finding"].items():
        (cells,) = [line.split() for line in shown.stdout.splitlines() if line.split()[:1] == [name]]
        assert cells[1:3] == [f"{row['expected']:,}", f"{row['found']:,}"]


# --- serve, doctor, version ---------------------------------------------------------------------


def test_serve_answers_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """Pins the command as an operator runs it: ready when it says so, exit 0 after SIGTERM."""
    with subprocess.Popen(
        [COMMAND, "serve", "--data", tmp_path / "data", "--listen", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        serving = json.loads(process.stderr.readline())
        result = run("history", code(1), "--server", serving["address"])
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        ended = process.wait(30)

    assert serving["event"] == "serving"
    assert result.exit_code == ExitCode.OK
    assert ended == ExitCode.OK


def test_serve_says_when_the_address_is_taken(server: str, tmp_path: Path) -> None:
    """Pins exit code 5 where the service could not start for a reason outside its arguments."""
    result = run_process("serve", "--data", tmp_path / "data", "--listen", server)

    assert result.returncode == ExitCode.STOPPED
    assert b"not_listening" in result.stderr


def test_doctor_examines_this_machine(server: str, tmp_path: Path) -> None:
    """Pins that every check is there, that a fault has a remedy, and that nothing is left behind."""
    result = run("doctor", "--data", tmp_path, "--listen", server, "--json")

    checks = {check["check"]: check for check in read_json_lines(result.stdout)}
    assert {"python", "native code", "lmdb", "clock", "free space", "disk sync", "address"} <= set(checks)
    for check in checks.values():
        assert check["level"] in ("ok", "warn", "fail")
        assert bool(check["remedy"]) == (check["level"] != "ok")
    assert checks["native code"]["level"] == checks["lmdb"]["level"] == "ok"
    assert "served by tracecode" in checks["address"]["seen"]
    assert result.exit_code == (ExitCode.FINDINGS if "fail" in str(checks) else ExitCode.OK)
    assert list(tmp_path.iterdir()) == []


def test_doctor_finds_a_taken_address_and_a_folder_that_is_none(tmp_path: Path) -> None:
    """Pins exit code 1 and the remedy for faults that would stop the service."""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        result = run("doctor", "--data", tmp_path / "file", "--listen", address, "--json")

    checks = {check["check"]: check for check in read_json_lines(result.stdout)}
    assert result.exit_code == ExitCode.FINDINGS
    assert checks["address"]["level"] == checks["folder"]["level"] == "fail"
    assert "choose another" in checks["address"]["remedy"]


def test_doctor_sees_a_folder_or_a_key_that_others_can_get_at(open_path: Path) -> None:
    """Pins the permissions: 0700 and 0600, worse where others could change what is there."""
    data = open_path / "data"

    def examine() -> dict[str, str]:
        result = run("doctor", "--data", data, "--listen", "127.0.0.1:0", "--json")
        return {check["check"]: check["level"] for check in read_json_lines(result.stdout)}

    run("history", code(1), "--data", data)
    data.mkdir(mode=0o700)
    run("history", code(1), "--data", data)
    assert (examine()["folder"], examine()["person key"]) == ("ok", "ok")
    data.chmod(0o750)
    assert examine()["folder"] == "warn"
    data.chmod(0o770)
    (open_path / "data.person-key").chmod(0o640)
    assert (examine()["folder"], examine()["person key"]) == ("fail", "fail")
    (open_path / "data.person-key").unlink()
    assert examine()["person key"] == "warn"


def test_version_is_what_a_report_of_a_fault_needs() -> None:
    """Pins the names, for people and for programs."""
    shown, versions = run("version"), json.loads(run("version", "--json").stdout)

    assert {"tracecode", "format", "rule_base", "python", "lmdb", "grpcio"} <= set(versions)
    assert f"tracecode {versions['tracecode']}" in shown.stdout


def test_json_of_a_message_is_the_contracts(server: str, sold: str) -> None:
    """Pins that a program in any language can read every --json by the contract alone."""
    outputs: list[tuple[Result, type[Message]]] = [
        (run("verify", sold, "--institution", SHOP, "--server", server, "--json"), VerifyCodesResponse),
        (run("history", sold, "--server", server, "--json"), ListCodeEventsResponse),
        (run("parse", sold, "--json"), Reading),
    ]

    for result, message in outputs:
        (document,) = read_json_lines(result.stdout)
        parsed = json_format.ParseDict(document, message())
        assert json_format.MessageToDict(parsed) == document
