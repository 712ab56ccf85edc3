"""`tracecode rule-base`: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

from documents import NOON, NS, OTHER
from test_cli import run
from test_dry_run import CANDIDATES, SHIPPED, STORY, tell
from tracecode_server.cli.exit_code import ExitCode

from tracecode.engine.lmdb import LmdbEngine


def test_a_good_file_is_ok_and_a_bad_one_is_told_with_line_key_and_remedy(tmp_path: Path) -> None:
    """Pins `validate` for both."""
    file = tmp_path / "rules.toml"
    file.write_text(SHIPPED.text)
    assert "version 2026.1, 0 overrides, 2 exemptions" in run("rule-base", "validate", file).stdout
    file.write_text(SHIPPED.text.replace("late_info_hours = 48", 'late_info_hours = "48"'))
    result = run("rule-base", "validate", file)
    assert result.exit_code == ExitCode.BAD_INPUT
    assert "line 14: thresholds.late_info_hours:" in result.stderr


def test_a_dry_run_prints_what_would_change_and_leaves_with_one(tmp_path: Path) -> None:
    """Pins exit codes, the JSON and the table of `dry-run`."""
    engine = LmdbEngine(tmp_path / "ledger", SHIPPED, NOON * NS, map_size_bytes=2**28)
    tell(engine, STORY)
    engine.close()
    file = tmp_path / "rules.toml"
    file.write_text(CANDIDATES["the same rules"].text)
    assert run("rule-base", "dry-run", tmp_path / "ledger", file, "--json").exit_code == ExitCode.OK
    file.write_text(CANDIDATES["nothing is refused"].text)
    result = run("rule-base", "dry-run", tmp_path / "ledger", file, "--json")
    assert result.exit_code == ExitCode.FINDINGS
    report = json.loads(result.stdout)
    assert report["noLongerRefused"] == 1
    assert OTHER in [each["institutionCode"] for each in report["institutions"]]
    table = run("rule-base", "dry-run", tmp_path / "ledger", file).stdout
    assert "BLOCK enforce" in table
    assert "1 no more" in table
    assert run("rule-base", "dry-run", tmp_path / "nothing", file).exit_code == ExitCode.BAD_INPUT
