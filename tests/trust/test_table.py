"""The table itself: what is wrong may not look right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from trust.table import NotInjected, Row, render, write_json

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
