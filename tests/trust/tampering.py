"""Tamperings with copies of a data folder whose log was published, and what the auditor says of each."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from backed_up import fill_ledger
from logged import MemoryJournal, make_key, publish

from tracecode import fsck
from tracecode._native import Store
from tracecode.engine.records import Table
from tracecode.proof import audit as folders
from tracecode.proof.audit import open_journal
from tracecode.proof.checkpoint import Checkpoint
from tracecode.proof.tiles import fetch_from
from tracecode.proof.verify import AuditReport, Change, Policy
from tracecode.v1 import journal_pb2

MAP_SIZE_BYTES = 64 * 2**20
KEPT_SIZES = (60, 110)
"""Checkpoints that the auditor has kept."""
BOXES = 40
RENUMBERED = 0.5
"""How many of those who take entries away number the others anew."""


@dataclass(slots=True)
class Case:
    """A folder as somebody left it, and what was done: to which entries, and what that may be called."""

    folder: Path
    changes: tuple[Change, ...]
    first: int = 0
    last: int = 0
    kept: bool = True
    rejudge: bool = False
    index: bool = False
    log: str = "log"


class Tampered:
    """Makes the folders; `clean` is the one nobody touched."""

    def __init__(self, place: Path) -> None:
        self.clean = place / "clean"
        self._place = place
        fill_ledger(self.clean / "ledger", BOXES)
        self.entries = read_journal(self.clean / "ledger")
        make_key(self.clean)
        self.kept: list[Checkpoint] = []
        self.policy = Policy((make_key(self.clean).public,))
        for size in (*KEPT_SIZES, len(self.entries)):
            self._publish(self.clean, self.entries[:size])
            signed = self.policy.verify((self.clean / "log/checkpoint").read_bytes())
            if size in KEPT_SIZES:
                self.kept.append(signed.checkpoint)

    def make(self, kind: str, rng: random.Random) -> Case:
        """A copy, tampered with. The caller deletes its folder."""
        folder = self._place / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return KINDS[kind](self, folder, rng)

    def examine(self, case: Case) -> AuditReport:
        """What the auditor finds."""
        return folders.audit(
            case.folder / "ledger",
            self.policy,
            fetch=fetch_from(case.folder / case.log),
            kept=self.kept if case.kept else [],
            rejudge=case.rejudge,
        )

    def is_named(self, case: Case) -> bool:
        """Whether the auditor finds what was done, and where."""
        if case.index:
            report = fsck.check(case.folder / "ledger")
            return not report.ok and report.wrong > 0 and "record" in report.lines[0]
        found = self.examine(case).deviations
        return any(
            one.change in case.changes
            and (not case.first or (one.first <= case.last and case.first <= one.last))
            for one in found
        )

    def is_clean(self, case: Case) -> bool:
        """Whether nothing is alarmed about."""
        return self.examine(case).ok

    # --- What is done ---------------------------------------------------------------------------

    def leave(self, folder: Path, rng: random.Random) -> Case:
        """Nothing: a log of some size, and a journal that may have gone on."""
        size = rng.randint(KEPT_SIZES[-1], len(self.entries))
        shutil.copytree(self.clean / "log", folder / "log")
        if rng.random() < 0.5:
            size = len(self.entries)
        elif rng.random() < 0.5:
            self._sign_anew(folder, self.entries[:size])
        write_journal(folder / "ledger", self.entries)
        return Case(folder, ())

    def edit(self, folder: Path, rng: random.Random) -> Case:
        """Another content of one entry, with a right checksum."""
        at = rng.randrange(len(self.entries))
        return self._alter(folder, {at: self._doctor(at, rng)}, (Change.EDITED,), at + 1, at + 1)

    def delete(self, folder: Path, rng: random.Random) -> Case:
        """Entries taken away; the others keep their bytes or get new numbers."""
        count = rng.randint(1, 5)
        at = rng.randrange(len(self.entries) - count - 1)
        left = self.entries[:at] + self.entries[at + count :]
        if rng.random() < RENUMBERED:
            left = [renumber(value, number) for number, value in enumerate(left, 1)]
        return self._rewrite(folder, left, (Change.DELETED,), at + 1, at + count)

    def insert(self, folder: Path, rng: random.Random) -> Case:
        """An entry that was never recorded, or one of them once more."""
        at = rng.randrange(len(self.entries) - 1)
        forged = rng.choice([self._doctor(at, rng), self.entries[at]])
        values = [*self.entries[:at], forged, *self.entries[at:]]
        return self._rewrite(folder, values, (Change.INSERTED,), max(at, 1), at + 2)

    def reorder(self, folder: Path, rng: random.Random) -> Case:
        """Two entries in each other's place, or one elsewhere."""
        one, other = sorted(rng.sample(range(len(self.entries)), 2))
        values = [*self.entries]
        if rng.random() < 0.5:
            values[one], values[other] = values[other], values[one]
        else:
            values.insert(one, values.pop(other))
        return self._rewrite(folder, values, (Change.REORDERED,), one + 1, other + 1)

    def truncate(self, folder: Path, rng: random.Random) -> Case:
        """The last entries are gone, of the log's files nothing."""
        size = rng.randrange(1, len(self.entries))
        return self._rewrite(folder, self.entries[:size], (Change.TRUNCATED,), size + 1, len(self.entries))

    def fork(self, folder: Path, rng: random.Random) -> Case:
        """Another past from some entry on, log and signature by the right key."""
        at = rng.randrange(KEPT_SIZES[-1])
        values = [*self.entries]
        values[at] = self._doctor(at, rng)
        if rng.random() < 0.5:
            del values[rng.randint(KEPT_SIZES[-1], len(values) - 1) :]
        self._sign_anew(folder, values)
        write_journal(folder / "ledger", values)
        return Case(folder, (Change.FORKED,), at + 1, at + 1)

    def roll_back(self, folder: Path, rng: random.Random) -> Case:
        """Journal and log of an earlier day, rightly signed on that day."""
        size = rng.randrange(1, KEPT_SIZES[-1])
        self._sign_anew(folder, self.entries[:size])
        write_journal(folder / "ledger", self.entries[:size])
        return Case(folder, (Change.ROLLED_BACK,), size + 1, KEPT_SIZES[-1])

    def cover_up(self, folder: Path, rng: random.Random) -> Case:
        """An entry edited and the tiles to match, by somebody without the key."""
        at = rng.randrange(len(self.entries))
        values = [*self.entries]
        values[at] = self._doctor(at, rng)
        self._sign_anew(folder, values)
        shutil.copy(self.clean / "log/checkpoint", folder / "log/checkpoint")
        write_journal(folder / "ledger", values)
        return Case(folder, (Change.DAMAGED,))

    def acquit(self, folder: Path, rng: random.Random) -> Case:
        """A finding of a document taken away by somebody with the key, and nothing kept elsewhere."""
        flagged = [at for at, value in enumerate(self.entries) if _findings(value)]
        at = rng.choice(flagged)
        entry = journal_pb2.JournalEntry.FromString(self.entries[at])
        del entry.document.findings[rng.randrange(len(entry.document.findings))]
        values = [*self.entries]
        values[at] = entry.SerializeToString(deterministic=True)
        self._sign_anew(folder, values)
        write_journal(folder / "ledger", values)
        return Case(folder, (Change.VERDICT,), at + 1, at + 1, kept=False, rejudge=True)

    def doctor_index(self, folder: Path, rng: random.Random) -> Case:
        """Where a box is, or what a document came to, exchanged in the index with a right checksum."""
        shutil.copytree(self.clean / "ledger", folder / "ledger")
        with closing(
            Store(str(folder / "ledger"), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=2**22, sync=False)
        ) as store:
            rows = store.scan(bytes([rng.choice((Table.CODE, Table.DOCUMENT))]))
            key, value = rng.choice(rows)
            at = rng.randrange(len(value))
            store.put(key, value[:at] + bytes([value[at] ^ (1 << rng.randrange(8))]) + value[at + 1 :])

            store.commit()
            store.flush()
        return Case(folder, (Change.INDEX,), index=True)

    def _alter(
        self, folder: Path, altered: dict[int, bytes], changes: tuple[Change, ...], first: int, last: int
    ) -> Case:
        values = [altered.get(at, value) for at, value in enumerate(self.entries)]
        return self._rewrite(folder, values, changes, first, last)

    def _rewrite(
        self, folder: Path, values: list[bytes], changes: tuple[Change, ...], first: int, last: int
    ) -> Case:
        (folder / "log").symlink_to(self.clean / "log")
        write_journal(folder / "ledger", values)
        return Case(folder, changes, first, last)

    def _doctor(self, at: int, rng: random.Random) -> bytes:
        """Other bytes than the entry's."""
        value = bytearray(self.entries[at])
        place = rng.randrange(2, len(value))
        if rng.random() < 0.2:
            del value[place:]
        else:
            value[place] ^= 1 << rng.randrange(8)
        return bytes(value)

    def _sign_anew(self, folder: Path, values: list[bytes]) -> None:
        shutil.rmtree(folder / "log", ignore_errors=True)
        shutil.copy(self.clean / "key", folder / "key")
        self._publish(folder, values)

    def _publish(self, folder: Path, values: list[bytes]) -> None:
        publish(MemoryJournal(values), folder)


KINDS: dict[str, Callable[[Tampered, Path, random.Random], Case]] = {
    "edit": Tampered.edit,
    "delete": Tampered.delete,
    "insert": Tampered.insert,
    "reorder": Tampered.reorder,
    "truncate": Tampered.truncate,
    "fork": Tampered.fork,
    "rollback": Tampered.roll_back,
    "cover-up": Tampered.cover_up,
    "doctored index": Tampered.doctor_index,
    "acquittal": Tampered.acquit,
    "nothing": Tampered.leave,
}


def read_journal(ledger: Path) -> list[bytes]:
    """All entries of a ledger that nobody has open."""
    with closing(open_journal(ledger)) as store:
        return store.entries(0, store.durable_sequence)


def write_journal(ledger: Path, values: list[bytes]) -> None:
    """A ledger whose journal has these entries, with right checksums."""
    with closing(
        Store(str(ledger), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=2**22, sync=False)
    ) as store:
        store.extend_journal(values)


def renumber(value: bytes, sequence: int) -> bytes:
    """The entry with another number."""
    entry = journal_pb2.JournalEntry.FromString(value)
    entry.sequence = sequence
    return entry.SerializeToString(deterministic=True)


def _findings(value: bytes) -> bool:
    entry = journal_pb2.JournalEntry.FromString(value)
    return entry.HasField("document") and len(entry.document.findings) > 0
