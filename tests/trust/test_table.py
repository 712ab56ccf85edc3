"""The table itself: what is wrong may not look right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from trust.table import NotInjected, Row, read_json, render, write_json

RIGHT = Row(fault="kill -9", how="a signal", tries=3, control="no sync", control_failed=True)


@pytest.mark.parametrize(
    "change",
    [{"lost": 1}, {"doubled": 1}, {"wrong": 1}, {"aborts": 1}, {"tries": 0}, {"control_failed": False}],
)
def test_a_row_is_right_only_when_nothing_went_wrong_and_its_control_did(change: dict[str, int]) -> None:
    """Each of the columns alone spoils it."""
    assert RIGHT.ok
    assert not replace(RIGHT, **change).ok


def test_the_table_names_every_fault_and_what_was_not_injected(tmp_path: Path) -> None:
    """On the terminal and in the file."""
    missing = NotInjected(fault="power cut", reason="no loop device")
    blind = replace(RIGHT, fault="rot", control_failed=False)

    shown = render([RIGHT, blind], [missing]).splitlines()
    write_json(tmp_path / "trust.json", [RIGHT, blind], [missing], 10)
    written = json.loads((tmp_path / "trust.json").read_text(encoding="utf-8"))

    assert shown[1].endswith("no sync: failed as it should")
    assert shown[2].endswith("no sync: WAS NOT FOUND OUT")
    assert shown[3] == "not injected on this machine: power cut: no loop device"
    assert [row["ok"] for row in written["rows"]] == [True, False]


TESTS = Path(__file__).parent.parent
HARNESS = """
import pytest
from trust.table import NotInjected, Row


@pytest.mark.parametrize("number", range(3))
def test_harness(add_row, number):
    seen = number != {unseen}
    add_row(Row(fault=f"{name} {{number}}", how="x", tries=1, control="c", control_failed=seen))
    add_row(NotInjected(fault=f"{name} {{number}} elsewhere", reason="no device"))
"""


def test_a_table_of_two_runs_and_several_processes_is_one(tmp_path: Path) -> None:
    """Pins that no row is lost, nor its control's column, when some files run side by side, others alone
    after them, and one row is not as it should be."""
    results = tmp_path / "trust.json"
    for name, unseen in (("first", 9), ("second", 1), ("third", 9)):
        harness = HARNESS.format(name=name, unseen=unseen)
        (tmp_path / f"test_{name}.py").write_text(harness, encoding="utf-8")

    def run(*arguments: str) -> int:
        plugins = ("-p", "conftest", "-p", "trust.conftest")
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                *plugins,
                f"--trust-results={results}",
                "--minutes=1",
                *arguments,
            ],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
        ).returncode

    together = run("--numprocesses=2", "--dist=loadfile", "test_first.py", "test_second.py")
    before, _ = read_json(results)
    alone = run("--trust-continue", "test_third.py")
    rows, missing = read_json(results)

    assert (together, alone) == (1, 0)
    faults = {f"{name} {number}" for name in ("first", "second", "third") for number in range(3)}
    assert len(before) == 6
    assert {row.fault for row in rows} == faults
    assert len(rows) == len(faults)
    assert [row.fault for row in rows if not row.ok] == ["second 1"]
    # What follows a row that is not as it should be is not reached.
    assert {one.fault for one in missing} == {f"{fault} elsewhere" for fault in faults - {"second 1"}}
