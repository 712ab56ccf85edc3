"""The log in plain files: what the integrator writes, goes on from, and refuses to sign."""

from __future__ import annotations

import os
import random
import shutil
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from logged import LOG, MemoryJournal, make_entries, make_key, open_integrator, publish
from sumdb import Sumdb
from tracecode_server import doctor
from tracecode_server.log_status import LogStatus

from tracecode.errors import EngineStopped
from tracecode.proof import checkpoint as checkpoints
from tracecode.proof import integrator, key, verify
from tracecode.proof.integrator import LogRefused
from tracecode.proof.note import NoteInvalid
from tracecode.proof.tiles import (
    TileReader,
    fetch_from,
    is_tile_name,
    list_tiles,
    name_tile,
    read_bundle,
    read_entries,
    write_bundle,
)
from tracecode.proof.tree import Tree, hash_leaf, prove_consistency, prove_inclusion
from tracecode.v1 import journal_pb2

ENTRIES = make_entries(66_000)


def read_files(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def drop_superseded(files: dict[str, bytes], size: int) -> dict[str, bytes]:
    """Without the partial tiles of earlier checkpoints."""
    last = {name_tile(level, number, width) for level, number, width in list_tiles(size)}
    last |= {name_tile("entries", size // 256, size % 256)}
    return {name: data for name, data in files.items() if ".p/" not in name or name in last}


def test_names_of_tiles_are_those_of_the_standard() -> None:
    """Pins paths: groups of three digits, an x before all but the last, the width of a partial tile."""
    assert name_tile(0, 1_234_067) == "tile/0/x001/x234/067"
    assert name_tile(2, 0, 17) == "tile/2/000.p/17"
    assert name_tile("entries", 999) == "tile/entries/999"
    assert list(list_tiles(70_000)) == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert list(list_tiles(256)) == [(0, 0, 256), (1, 0, 1)]
    for name in ("tile/0/x001/x234/067", "tile/7/000.p/255", "tile/entries/000", "tile/entries-long/000"):
        assert is_tile_name(name)
    for name in (
        *("checkpoint", "tile/0/../000", "tile/0/x000/001", "tile/0/000.p/256", "tile/0/000.p/017"),
        *("tile/8/0", "tile/00/000", "tile/0/0001", "/tile/0/000", "tile/0/000\n", "tile/0/٣٣٣"),
    ):
        assert not is_tile_name(name)


def test_a_log_of_any_steps_is_the_same_and_has_the_root_of_the_tree(tmp_path: Path) -> None:
    """Pins that a log grown in seeded steps, stopped and opened between them, ends in the bytes of one that
    was written at once, and that every checkpoint on the way has the tree's root."""
    seeded, tree, size = random.Random(9162), Tree(), 0
    journal = MemoryJournal()
    while size < 1_400:
        step = seeded.choice((1, 3, 100, 256, 300))
        for value in ENTRIES[size : size + step]:
            journal.values.append(value)
            tree.append(hash_leaf(value))
        size += step
        assert publish(journal, tmp_path, bundles=True) == size
        signed = checkpoints.verify((tmp_path / "log/checkpoint").read_bytes(), [make_key(tmp_path).public])
        assert signed.checkpoint.root == tree.root()
        assert (tmp_path / "key.last").read_bytes() == (tmp_path / "log/checkpoint").read_bytes()
    stepwise = read_files(tmp_path / "log")
    shutil.rmtree(tmp_path / "log")
    publish(journal, tmp_path, bundles=True)
    assert drop_superseded(stepwise, size) == read_files(tmp_path / "log")


def test_go_proves_from_our_tiles_what_we_prove(tmp_path: Path) -> None:
    """Pins tiles of three levels: Go's tlog.TileHashReader authenticates them against the root and gives our
    proofs, hash for hash."""
    journal = MemoryJournal(ENTRIES)
    publish(journal, tmp_path)
    size, seeded = len(ENTRIES), random.Random(70)
    tiles = TileReader(fetch_from(tmp_path / "log"), size)
    root = tiles.root()
    asked = {"Size": size, "Root": root, "Folder": tmp_path / "log"}
    with Sumdb() as go:
        for _ in range(6):
            index, old = seeded.randrange(size), seeded.randint(1, size)
            ours = go.ask("prove inclusion", Index=index, **asked)
            assert not ours["Error"]
            assert ours["Proof"] == prove_inclusion(index, size, tiles.node)
            ours = go.ask("prove consistency", Old=old, **asked)
            assert not ours["Error"]
            assert ours["Proof"] == prove_consistency(old, size, tiles.node)


def test_entries_of_any_length_are_bundled() -> None:
    """Pins two bytes of length up to 65,535 and four where an entry is longer."""
    short, long = [b"", b"a" * 65_535], [b"a" * 65_536, b"b"]
    for entries, kind in ((short, "entries"), (long, "entries-long")):
        assert write_bundle(entries)[0] == kind
        assert read_bundle(write_bundle(entries)[1], kind) == entries


def test_a_journal_that_is_not_the_one_that_was_signed_is_not_signed(tmp_path: Path) -> None:
    """Pins that a journal with another entry, or put back to an earlier state, is refused, also where the
    whole log was deleted, and that the last checkpoint stays."""
    journal = MemoryJournal(ENTRIES[:600])
    publish(journal, tmp_path)
    before = (tmp_path / "log/checkpoint").read_bytes()
    for change in ("edited early", "edited late", "put back"):
        for deleted in (False, True):
            altered = MemoryJournal(ENTRIES[:600])
            if change == "put back":
                del altered.values[599:]
            else:
                altered.values[3 if change == "edited early" else 590] += b"!"
            if deleted:
                shutil.rmtree(tmp_path / "log", ignore_errors=True)
            with pytest.raises(LogRefused):
                open_integrator(altered, tmp_path)
            assert (tmp_path / "key.last").read_bytes() == before
            publish(journal, tmp_path)
            assert (tmp_path / "log/checkpoint").read_bytes() == before


def test_damaged_tiles_are_written_again(tmp_path: Path) -> None:
    """Pins that the integrator goes on from the journal where tiles are missing or wrong."""
    journal = MemoryJournal(ENTRIES[:1_000])
    publish(journal, tmp_path)
    whole = read_files(tmp_path / "log")
    for path in ("tile/0/003.p/232", "tile/1/000.p/3"):
        for damage in (b"", bytes(32 * 232)):
            (tmp_path / "log" / path).write_bytes(damage)
            publish(journal, tmp_path)
            assert read_files(tmp_path / "log") == whole
        (tmp_path / "log" / path).unlink()
        publish(journal, tmp_path)
        assert read_files(tmp_path / "log") == whole


def test_tiles_that_a_crash_took_are_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins a crash of the system after the last sync: tiles behind it are empty, cut or gone, those before it
    are trusted, and the next start writes what is missing. A journal that is another one changes no file."""
    monkeypatch.setattr(integrator, "SYNC_ENTRIES", 700)
    journal = MemoryJournal(ENTRIES[:1_000])
    publish(journal, tmp_path, bundles=True)
    journal.values += ENTRIES[1_000:1_600]
    publish(journal, tmp_path, bundles=True)
    log = tmp_path / "log"
    assert (log / "synced").read_text() == "1000\n"
    whole = drop_superseded(read_files(log), 1_600)
    paths = [
        name_tile(0, 3),
        name_tile(0, 5),
        name_tile("entries", 4),
        name_tile(0, 6, 64),
        name_tile(1, 0, 6),
    ]
    for damage in (b"", b"cut", None):
        for path in paths:
            (log / path).unlink()
            if damage is not None:
                (log / path).write_bytes(damage)
        damaged = read_files(log)
        altered = MemoryJournal([*ENTRIES[:1_550], b"another", *ENTRIES[1_551:1_600]])
        with pytest.raises(LogRefused):
            open_integrator(altered, tmp_path, bundles=True)
        assert read_files(log) == damaged
        publish(journal, tmp_path, bundles=True)
        assert drop_superseded(read_files(log), 1_600) == whole
    # What is wrong before the sync is met where a start needs it: all is compared with the journal then.
    (log / name_tile(0, 1)).unlink()
    publish(journal, tmp_path, bundles=True)
    assert drop_superseded(read_files(log), 1_600) == whole


def test_tiles_that_no_sync_made_safe_are_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that a start makes new files of all that lies behind the last sync, in a checkpoint or not, though
    they read right: the disk may have failed to keep them, and no later sync would say so."""
    monkeypatch.setattr(integrator, "SYNC_ENTRIES", 700)
    log, journal = tmp_path / "log", MemoryJournal()
    for size in (1_000, 1_600):
        journal.values = ENTRIES[:size]
        publish(journal, tmp_path, bundles=True)
    journal.values = ENTRIES[:2_000]
    with closing(open_integrator(journal, tmp_path, bundles=True)) as unpublished:
        unpublished.integrate()
    assert (log / "synced").read_text() == "1000\n"
    whole = read_files(log)
    with ExitStack() as held:
        # Held open, so that no new file is given the number of an old one.
        before = {path: os.fstat(held.enter_context((log / path).open("rb")).fileno()) for path in whole}
        publish(journal, tmp_path, bundles=True)
        now = {path: (log / path).stat() for path in read_files(log)}
    same = {path for path, found in now.items() if path in before and os.path.samestat(found, before[path])}
    safe = {name_tile(kind, number) for kind in (0, "entries") for number in range(3)}
    assert {path for path in same if ".p/" not in path} == safe
    assert not same & {name_tile(level, number, width) for level, number, width in list_tiles(1_600)} - safe
    assert all((log / path).read_bytes() == whole[path] for path in now.keys() & whole.keys() if "/" in path)


def test_a_key_is_exchanged_while_both_sign(tmp_path: Path) -> None:
    """Pins rotation: with the old key, with both, with the new one; each checkpoint is accepted by whoever
    knows one that signed it, and a log whose keys are all unknown is not continued."""
    journal = MemoryJournal(ENTRIES[:300])
    old = make_key(tmp_path)
    publish(journal, tmp_path)
    new = key.add(tmp_path / "key")
    publish(journal, tmp_path)
    both = (tmp_path / "log/checkpoint").read_bytes()
    for signer in (old, new):
        assert checkpoints.verify(both, [signer.public]).checkpoint.size == 300
    key.retire(tmp_path / "key", old.key_id.hex())
    journal.values += ENTRIES[300:310]
    publish(journal, tmp_path)
    last = (tmp_path / "log/checkpoint").read_bytes()
    assert checkpoints.verify(last, [new.public]).checkpoint.size == 310
    with pytest.raises(NoteInvalid):
        checkpoints.verify(last, [old.public])
    (tmp_path / "key").unlink()
    key.create(tmp_path / "key", LOG)
    with pytest.raises(NoteInvalid, match="no key that is trusted"):
        open_integrator(journal, tmp_path)


def test_one_process_writes_a_log(tmp_path: Path) -> None:
    """Pins the lock of the folder."""
    first = open_integrator(MemoryJournal(ENTRIES[:3]), tmp_path)
    with pytest.raises(EngineStopped, match="another process"):
        open_integrator(MemoryJournal(ENTRIES[:3]), tmp_path)
    first.close()
    publish(MemoryJournal(ENTRIES[:3]), tmp_path)


def test_an_auditor_reads_the_bundles(tmp_path: Path) -> None:
    """Pins that a served entry that is not the published one is named, and a missing bundle, too."""
    journal = MemoryJournal([*ENTRIES[:300], b"\x08" + b"l" * 70_000, *ENTRIES[301:520]])
    publish(journal, tmp_path, bundles=True)
    fetch = fetch_from(tmp_path / "log")
    policy = verify.Policy((make_key(tmp_path).public,))
    assert verify.audit(fetch, policy, bundles=True).ok
    assert read_entries(fetch, 1, 256) == journal.values[256:512]
    path = tmp_path / "log" / "tile/entries/000"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b" entry 77 ", b" entry 78 "))
    (found,) = verify.audit(fetch, policy, bundles=True).deviations
    assert (found.change, found.first, found.last) == (verify.Change.EDITED, 78, 78)
    path.unlink()
    (found,) = verify.audit(fetch, policy, bundles=True).deviations
    assert (found.change, found.first, found.last) == (verify.Change.DAMAGED, 1, 256)


def test_what_was_moved_to_the_end_or_from_there_is_called_reordered() -> None:
    """Pins both ends of a move, of which one has nothing behind it, and a plain end that is gone."""
    values = ENTRIES[:20]
    leaves = [hash_leaf(value) for value in values]
    for moved in ([*values[:5], *values[6:], values[5]], [*values[:5], values[19], *values[5:19]]):
        found = verify.compare_entries(iter(leaves), moved, 20)
        assert {one.change for one in found} == {verify.Change.REORDERED}
    (found,) = verify.compare_entries(iter(leaves), values[:15], 20)
    assert (found.change, found.first, found.last) == (verify.Change.TRUNCATED, 16, 20)
    assert verify.compare_entries(iter(leaves), [*values, b"sequenced, not published"], 20) == []


def test_the_doctor_looks_at_the_key_of_the_log(tmp_path: Path) -> None:
    """Pins what is wrong with a key: not named, gone, open to others, another one, its memory gone."""
    data, path = tmp_path / "ledger", tmp_path / "key"
    data.mkdir()
    publish(MemoryJournal(ENTRIES[:3]), tmp_path)
    assert doctor.check_proof_key(data, None).level is doctor.Level.OK
    (tmp_path / "log").rename(data / "proof")
    assert doctor.check_proof_key(data, path).level is doctor.Level.OK
    assert doctor.check_proof_key(data, None).level is doctor.Level.WARN
    path.chmod(0o640)
    assert "chmod 600" in doctor.check_proof_key(data, path).seen
    path.chmod(0o600)
    key.create(tmp_path / "other", LOG)
    assert "no key that is trusted" in doctor.check_proof_key(data, tmp_path / "other").seen
    key.create(data / "inside", LOG)
    for wrong in (tmp_path / "none", tmp_path / "other", data / "inside"):
        assert doctor.check_proof_key(data, wrong).level is doctor.Level.FAIL
    (tmp_path / "key.last").unlink()
    assert doctor.check_proof_key(data, path).level is doctor.Level.WARN


def test_metrics_say_what_is_published_and_how_late_it_is(tmp_path: Path) -> None:
    """Pins the last published entry, and the age of the oldest that is not: of all while there is no log."""
    received = time.time_ns() - 9 * 10**9
    values = [
        journal_pb2.JournalEntry(sequence=number, receive_time_ns=received).SerializeToString()
        for number in (1, 2, 3)
    ]
    journal = MemoryJournal(values[:2])
    status = LogStatus(tmp_path / "log", lambda: len(journal.values), journal.entries)
    assert status.read() == (0, pytest.approx(9, abs=5))
    publish(journal, tmp_path)
    assert status.read() == (2, 0)
    journal.values.append(values[2])
    assert status.read() == (2, pytest.approx(9, abs=5))
    found = {metric.name: metric.samples[0].value for metric in status.collect()}
    assert found["tracecode_proof_published"] == 2
    assert found["tracecode_proof_lag_seconds"] > 5
