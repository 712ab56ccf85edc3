"""Ledgers of every format that a release wrote: they open, verify, and say what they said.

CONTRIBUTING.md says when a fixture is added. None is ever changed.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from backed_up import PERSON_KEY, fill_ledger, read_desk, read_entries, read_verdicts
from format_fixture import BOXES, FIXTURES

from tracecode.backup import restore, verify
from tracecode.engine.records import FORMAT
from tracecode.errors import EngineStopped
from tracecode.fsck import check
from tracecode.ledger import Ledger
from tracecode.v1 import journal_pb2

FORMATS = sorted(int(path.name.removeprefix("format_")) for path in FIXTURES.glob("format_*"))


@pytest.fixture(params=FORMATS)
def fixture(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with what one release left: ledger/, backup/ and said.json."""
    place = tmp_path / "fixture"
    shutil.copytree(FIXTURES / f"format_{request.param}", place)
    with tarfile.open(place / "ledger.tar.xz") as archive:
        archive.extractall(place, filter="data")
    return place


def test_there_is_a_fixture_of_each_format() -> None:
    """Pins that a new format number comes with the ledger that later releases must read."""
    assert FORMATS == list(range(1, FORMAT + 1))


def test_each_kind_of_entry_is_in_a_fixture(fixture: Path) -> None:
    """Pins that whatever a journal may hold is held by the ledger that later releases must read."""
    kinds = {
        journal_pb2.JournalEntry.FromString(value).WhichOneof("content")
        for value in read_entries(fixture / "ledger")
    }
    known = {field.name for field in journal_pb2.JournalEntry.DESCRIPTOR.oneofs_by_name["content"].fields}
    assert known - kinds == set()


def test_a_ledger_of_each_format_opens_and_says_what_it_said(fixture: Path) -> None:
    """Pins the promise to whoever upgrades: the same entries and, byte for byte, the same verdicts, cases,
    papers, acts and rule bases."""
    said = json.loads((fixture / "said.json").read_text(encoding="utf-8"))

    before = check(fixture / "ledger")
    verdicts = [verdict.hex() for verdict in read_verdicts(fixture / "ledger", BOXES)]

    assert before.ok, before.lines
    assert verdicts == said["verdicts"]
    assert [told.hex() for told in read_desk(fixture / "ledger")] == said["desk"]
    assert len(read_entries(fixture / "ledger")) == said["entries"]
    assert check(fixture / "ledger").ok


def test_its_index_is_rebuilt_from_its_journal(fixture: Path) -> None:
    """Pins that old entries still mean what they meant: nothing but the journal is needed."""
    said = json.loads((fixture / "said.json").read_text(encoding="utf-8"))
    shutil.rmtree(fixture / "ledger" / "index")

    verdicts = [verdict.hex() for verdict in read_verdicts(fixture / "ledger", BOXES)]

    assert verdicts == said["verdicts"]
    assert [told.hex() for told in read_desk(fixture / "ledger")] == said["desk"]
    assert check(fixture / "ledger").ok


def test_its_backup_is_restored(fixture: Path, tmp_path: Path) -> None:
    """Pins that a backup outlives the release that made it."""
    said = json.loads((fixture / "said.json").read_text(encoding="utf-8"))

    assert verify(fixture / "backup").last_sequence == said["entries"]
    restore(fixture / "backup", tmp_path / "restored")

    assert [verdict.hex() for verdict in read_verdicts(tmp_path / "restored", BOXES)] == said["verdicts"]
    assert [told.hex() for told in read_desk(tmp_path / "restored")] == said["desk"]
    assert read_entries(tmp_path / "restored") == read_entries(fixture / "ledger")


def test_a_later_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Pins that going back to an older release is a sentence and never a damaged ledger."""
    fill_ledger(tmp_path / "ledger", 1)
    (tmp_path / "ledger" / "format").write_text(f"tracecode format {FORMAT + 1}\n")
    before = (tmp_path / "ledger" / "journal" / "data.mdb").read_bytes()

    with pytest.raises(EngineStopped, match=f"format {FORMAT + 1} and this release reads format {FORMAT}"):
        Ledger.open(tmp_path / "ledger", person_key=PERSON_KEY)

    assert (tmp_path / "ledger" / "journal" / "data.mdb").read_bytes() == before
