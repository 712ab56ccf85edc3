"""The demo: every promise is kept on a real service, and a broken promise is seen."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tracecode_server.demo import BOX, Promise, write_scenes

from tracecode.v1.finding_pb2 import Finding, FindingType, Outcome, Severity, Verdict

COMMAND = Path(sys.executable).with_name("tracecode")
SECONDS_MAX = 60


def test_the_demo_shows_what_it_promises_and_ends() -> None:
    """Pins the demo as `tracecode demo --exit` runs it: real service, every scene, nothing left behind."""
    result = subprocess.run(
        [COMMAND, "demo", "--exit", "--listen", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        env=os.environ | {"COLUMNS": "300"},
    )

    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    assert "✓ 13 scenes, each as promised" in result.stdout
    assert "✗" not in result.stdout
    for words in (
        "拒绝 REFUSED",
        "拦截 BLOCK  DUP_SALE_CROSS_ORG",
        "拦截 BLOCK  SWAP_PRODUCT",
        "(L4)",
        "提醒 WARN → ALERT  STOCK_NEVER_RECEIVED",
        "(repeat)",
        "提示 INFO  RETURN_RESOLD",
    ):
        assert words in result.stdout
    folder = re.search(r"@ \S+, (\S+)", result.stdout)
    assert folder is not None
    assert not Path(folder.group(1)).exists()


def test_the_demo_serves_on_and_its_invitation_works() -> None:
    """Pins the lines it prints for another terminal, tried on it as they stand, and the end by Ctrl-C.

    The address it was given is taken, so that it has to find another one.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with subprocess.Popen(
            [COMMAND, "demo", "--listen", address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=COMMAND.parent,
            env=os.environ | {"COLUMNS": "300", "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"},
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            invited: list[str] = []
            for row in process.stdout:
                if row.startswith("  tracecode ") or row.startswith("  echo "):
                    invited.append(row)
                if "until Ctrl-C" in row:
                    break
            answers = [
                subprocess.run(
                    row,
                    shell=True,
                    capture_output=True,
                    text=True,
                    timeout=SECONDS_MAX,
                    env=os.environ
                    | {
                        "PATH": f"{COMMAND.parent}:{os.environ['PATH']}",
                        "TRACECODE_LANG": "en",
                        "COLUMNS": "300",
                    },
                )
                for row in invited
            ]
            process.send_signal(signal.SIGINT)
            process.stdout.read()
            complaint = process.stderr.read()
            ended = process.wait(SECONDS_MAX)

    verified, history, parsed, recorded = answers
    assert ended == 0
    assert "taking a free port instead" in complaint
    assert "Traceback" not in complaint
    assert "DUP_SALE_CROSS_ORG" in verified.stdout
    assert "split sale 8" in history.stdout
    assert "product barcode" in parsed.stdout
    assert "STOCK_NOT_HERE" in recorded.stdout


def test_each_scene_has_a_document_of_its_own_but_the_repeat() -> None:
    """Pins that the day is told in order and that only the retry shows a document twice."""
    scenes = write_scenes(datetime(2026, 3, 15, 4, 0, tzinfo=UTC))

    numbers = [(scene.document.institution_code, scene.document.document_number) for scene in scenes]
    times = [scene.document.business_time.seconds for scene in scenes]
    assert len(set(numbers)) == len(scenes) - 1
    assert times == sorted(times)
    assert sum(scene.promise.repeat for scene in scenes) == 1
    assert sum(BOX[0] in scene.document.lines[0].codes for scene in scenes) == 4


ACCEPTED, REFUSED = Outcome.OUTCOME_ACCEPTED, Outcome.OUTCOME_REFUSED
SWAP = FindingType.FINDING_TYPE_SWAP_PRODUCT
INFO, ALERT, BLOCK = Severity.SEVERITY_INFO, Severity.SEVERITY_ALERT, Severity.SEVERITY_BLOCK


def find_swap(severity: Severity.ValueType, grade: int) -> Finding:
    """A swapped drug of this severity and degree."""
    return Finding(type=SWAP, severity=INFO, final_severity=severity, grade=grade)


PROMISES = [
    (Promise(), Verdict(outcome=ACCEPTED, sequence=2), ""),
    (Promise(), Verdict(outcome=REFUSED, sequence=2), "OUTCOME_ACCEPTED was promised"),
    (Promise(repeat=True), Verdict(outcome=ACCEPTED, sequence=2), "repeat=True"),
    (Promise(repeat=True), Verdict(outcome=ACCEPTED, sequence=2, repeat=True), "entry 1 was promised"),
    (Promise(repeat=True), Verdict(outcome=ACCEPTED, sequence=1, repeat=True), ""),
    (Promise(), Verdict(outcome=ACCEPTED, sequence=1), "an entry of its own"),
    (Promise(REFUSED, ((SWAP, BLOCK, 4),), BLOCK), Verdict(outcome=REFUSED, sequence=2), "SWAP_PRODUCT at"),
    (
        Promise(REFUSED, ((SWAP, BLOCK, 4),), BLOCK),
        Verdict(outcome=REFUSED, sequence=2, findings=[find_swap(BLOCK, 3)]),
        "SWAP_PRODUCT at",
    ),
    (
        Promise(REFUSED, ((SWAP, BLOCK, 4),), BLOCK),
        Verdict(outcome=REFUSED, sequence=2, findings=[find_swap(ALERT, 4)]),
        "SWAP_PRODUCT at",
    ),
    (
        Promise(REFUSED, ((SWAP, BLOCK, 4),), BLOCK),
        Verdict(outcome=REFUSED, sequence=2, findings=[find_swap(BLOCK, 4)]),
        "",
    ),
    (
        Promise(),
        Verdict(outcome=ACCEPTED, sequence=2, findings=[find_swap(ALERT, 4)]),
        "nothing graver than SEVERITY_INFO",
    ),
]


@pytest.mark.parametrize(("promise", "verdict", "breach"), PROMISES)
def test_a_broken_promise_is_seen(promise: Promise, verdict: Verdict, breach: str) -> None:
    """Pins that the demo can fail: outcome, repeat, entry, finding, severity and degree are compared."""
    found = promise.find_breach(verdict, sequence_before=1)

    assert (breach in found) if breach else found == ""
