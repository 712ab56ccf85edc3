"""A backup: what it holds, what it refuses, and that nothing of it can be changed unseen."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from backed_up import PERSON, PERSON_KEY, fill_ledger, read_entries, read_verdicts
from test_cli import run, run_process
from tracecode_server.cli.exit_code import ExitCode

import tracecode.backup
from tracecode.backup import back_up, belongs_to_entry_before, read_manifest, restore, verify
from tracecode.errors import BackupRefused, DataLoss, EngineStopped
from tracecode.fsck import check
from tracecode.v1 import journal_pb2

BOXES = 12


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with findings and revisions that nobody has open."""
    directory = tmp_path_factory.mktemp("ledger") / "data"
    fill_ledger(directory, BOXES)
    return directory


@pytest.fixture
def backup(ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backup of it, in several segments."""
    monkeypatch.setattr(tracecode.backup, "SEGMENT_BYTES", 2_000)
    back_up(ledger, tmp_path / "backup")
    return tmp_path / "backup"


def test_what_is_restored_is_the_ledger(ledger: Path, backup: Path, tmp_path: Path) -> None:
    """Pins byte-equal entries, equal verdicts and an index that fsck accepts."""
    report = restore(backup, tmp_path / "restored")

    assert len(read_manifest(backup).segments) > 3
    assert verify(backup).last_sequence == report.last_sequence
    assert check(tmp_path / "restored").ok
    assert read_entries(tmp_path / "restored") == read_entries(ledger)
    assert read_verdicts(tmp_path / "restored", BOXES) == read_verdicts(ledger, BOXES)


def test_a_second_backup_adds_only_what_is_new(ledger: Path, backup: Path, tmp_path: Path) -> None:
    """Pins the tail: earlier bytes stay, and many small backups end in the same as one."""
    for last in (1, 20, 21, 30):
        restore(backup, tmp_path / f"at-{last}", to_sequence=last)
        before = {path.name: path.read_bytes() for path in (tmp_path / "grown" / "entries").glob("*")}
        back_up(tmp_path / f"at-{last}", tmp_path / "grown")
        for name, written in before.items():
            assert (tmp_path / "grown" / "entries" / name).read_bytes().startswith(written)
    report = back_up(ledger, tmp_path / "grown")
    again = back_up(ledger, tmp_path / "grown")

    assert report.entries_new == report.manifest.last_sequence - read_last(tmp_path / "at-30")
    assert (again.entries_new, again.bytes_new) == (0, 0)
    assert again.manifest.sha256 == read_manifest(backup).sha256


def read_last(directory: Path) -> int:
    """The last entry of a ledger."""
    return len(read_entries(directory))


def test_every_point_in_time_is_a_ledger(ledger: Path, backup: Path, tmp_path: Path) -> None:
    """Pins the cut: an entry comes with the revisions it brought about, and with nothing else."""
    entries = [journal_pb2.JournalEntry.FromString(value) for value in read_entries(ledger)]
    revised = next(entry.revision.cause_sequence for entry in entries if entry.HasField("revision"))
    for last in (1, 5, revised, revised + 1, len(entries)):
        expected = last
        while expected < len(entries) and belongs_to_entry_before(
            entries[expected], entries[expected - 1].receive_time_ns
        ):
            expected += 1

        report = restore(backup, tmp_path / f"at-{last}", to_sequence=last)

        assert report.last_sequence == expected
        assert check(tmp_path / f"at-{last}").ok
        assert read_entries(tmp_path / f"at-{last}") == read_entries(ledger)[:expected]
    assert entries[revised].HasField("revision")


def change_byte(path: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def leave_out_segment(path: Path) -> None:
    """A manifest without its second segment, and with a checksum that fits."""
    manifest = read_manifest(path.parent.parent)
    parts = (manifest.segments[0], *manifest.segments[2:])
    changed = tracecode.backup.replace(manifest, segments=parts)
    (path.parent.parent / "backup.json").write_bytes(tracecode.backup._write_manifest(changed))


def exchange_with_next(path: Path) -> None:
    """Two segments under each other's names."""
    other = sorted(path.parent.iterdir())[2]
    path.rename(path.with_suffix(".x"))
    other.rename(path)
    path.with_suffix(".x").rename(other)


SPOILS: list[Callable[[Path], object]] = [
    change_byte,
    lambda path: path.unlink(),
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(path.read_bytes()[:-1]),
    lambda path: change_byte(path.parent.parent / "backup.json"),
    lambda path: (path.parent.parent / "backup.json").write_bytes(b"[]"),
    leave_out_segment,
    exchange_with_next,
]


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_backup_that_was_changed_is_refused(
    backup: Path, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    """Pins that no byte can be changed and no part left out or exchanged, and that nothing is restored."""
    spoil(sorted((backup / "entries").iterdir())[1])

    with pytest.raises(DataLoss):
        verify(backup)
    with pytest.raises(DataLoss):
        restore(backup, tmp_path / "restored")
    assert list((tmp_path / "restored").glob("*")) == []
    assert run("backup", "--verify", backup).exit_code == ExitCode.DATA_LOSS


def test_what_lies_before_the_damage_can_be_restored(backup: Path, tmp_path: Path) -> None:
    """Pins that a damaged part does not take the parts before it along."""
    segments = read_manifest(backup).segments
    change_byte(backup / "entries" / segments[-1].name)

    report = restore(backup, tmp_path / "restored", to_sequence=segments[-2].last_sequence)

    assert report.last_sequence == segments[-2].last_sequence
    assert check(tmp_path / "restored").ok


def test_a_backup_of_another_ledger_is_not_added_to(backup: Path, tmp_path: Path) -> None:
    """Pins that two ledgers, or two states of one that parted, never meet in one folder."""
    restore(backup, tmp_path / "younger", to_sequence=20)
    shutil.copytree(backup, tmp_path / "before")
    # It tells the same days in as many entries, but began with another catalogue.
    fill_ledger(tmp_path / "parted", BOXES + 4, catalogue=False)

    with pytest.raises(BackupRefused, match="only 20"):
        back_up(tmp_path / "younger", backup)
    with pytest.raises(BackupRefused, match="holds another entry"):
        back_up(tmp_path / "parted", backup)
    for path in (tmp_path / "before").rglob("*.*"):
        assert (backup / path.relative_to(tmp_path / "before")).read_bytes() == path.read_bytes()


def test_a_later_form_or_format_is_refused_by_name(backup: Path, tmp_path: Path) -> None:
    """Pins that an old release says so, and makes nothing."""
    manifest = read_manifest(backup)
    for name in ("form", "format"):
        changed = tracecode.backup.replace(manifest, **{name: 2})
        (backup / "backup.json").write_bytes(tracecode.backup._write_manifest(changed))
        with pytest.raises(EngineStopped, match="use the release that wrote it, or a later one"):
            restore(backup, tmp_path / "restored")


def test_a_backup_is_its_owners_and_knows_no_person(ledger: Path, backup: Path) -> None:
    """Pins 0700 and 0600, and that neither a person nor the key is in it."""
    for path in (backup, *backup.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        if path.is_file():
            assert PERSON.encode() not in path.read_bytes()
            assert b"k" * 32 not in path.read_bytes()
    hashed = PERSON_KEY.hash(PERSON).encode()
    assert any(hashed in path.read_bytes() for path in (backup / "entries").iterdir())


def test_a_throttle_holds(ledger: Path, tmp_path: Path) -> None:
    """Pins that the bytes of a second stay below what was allowed."""
    waited: list[float] = []
    size = back_up(ledger, tmp_path / "quick").bytes_new
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr(tracecode.backup, "THROTTLED_BYTES", 1_000)
        patch.setattr(tracecode.backup.time, "sleep", waited.append)
        patch.setattr(tracecode.backup.time, "monotonic", lambda: 100.0 + sum(waited))
        back_up(ledger, tmp_path / "slow", bytes_per_second_max=1_000)

    assert sum(waited) == pytest.approx(size / 1_000, rel=0.1)


# --- the commands -------------------------------------------------------------------------------


def test_the_commands_say_what_they_did(ledger: Path, tmp_path: Path) -> None:
    """Pins what an operator reads, on which stream, and that a script can read it too."""
    made = run("backup", ledger, tmp_path / "b", "--throttle", "100")
    again = run("backup", ledger, tmp_path / "b", "--json")
    seen = run("backup", "--verify", tmp_path / "b", "--json")
    restored = run_process("restore", tmp_path / "b", tmp_path / "r", "--json")
    checked = run("fsck", tmp_path / "r")

    for result in (made, again, seen, checked):
        assert result.exit_code == ExitCode.OK, result.output
    assert "of them are new" in made.stdout
    told, verified = json.loads(again.stdout), json.loads(seen.stdout)
    assert (told["entriesNew"], verified["verified"]) == (0, True)
    assert told["sha256"] == verified["sha256"]
    assert told["sha256"] in made.stdout
    assert json.loads(restored.stdout)["lastSequence"] == told["lastSequence"]
    assert b"r.person-key" in restored.stderr


def test_the_commands_refuse_what_would_do_harm(ledger: Path, backup: Path, tmp_path: Path) -> None:
    """Pins the exit codes of every refusal."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    for arguments, ending, said in (
        (["backup", tmp_path / "none", tmp_path / "b"], ExitCode.BAD_INPUT, "holds no ledger"),
        (["backup", ledger], ExitCode.BAD_INPUT, "DIR TO"),
        (["backup", ledger, tmp_path / "b", "--verify", backup], ExitCode.BAD_INPUT, "stands alone"),
        (["backup", ledger, tmp_path / "full"], ExitCode.BAD_INPUT, "not empty and holds no backup"),
        (["backup", "--verify", tmp_path / "none"], ExitCode.BAD_INPUT, "No such file"),
        (["restore", backup, tmp_path / "full"], ExitCode.BAD_INPUT, "is not empty"),
        (["restore", backup, ledger], ExitCode.BAD_INPUT, "is not empty"),
        (["restore", backup, tmp_path / "r", "--to-sequence", 10**6], ExitCode.BAD_INPUT, "no entry"),
        (["restore", tmp_path / "none", tmp_path / "r"], ExitCode.BAD_INPUT, "No such file"),
    ):
        result = run(*arguments)
        assert result.exit_code == ending, result.output
        assert said in result.output
