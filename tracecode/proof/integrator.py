"""Follows the journal and writes the log: tiles, then a checkpoint of them.

What is durable in the journal is *sequenced*; what a checkpoint covers is *published*. All that is written
here follows from the journal and may be deleted, with one exception that is not in this folder: beside the
key file stands the last checkpoint that was signed (`<key file>.last`). It is written before that checkpoint
is published, so the key never signs two trees of one size, nor one that does not continue the last, whatever
becomes of journal and log. A journal that was put back to an earlier state needs another log, with another
name and key.

Only `<key file>.last` is waited for: the disk that would have to confirm each tile is the one that sales wait
for. A crash of the system may take tiles, then; `synced` says how many entries' tiles are safe, and those
behind are written again from the journal at the next start, which compares their root with the signed one
before it touches a file. They are written even where they read right: memory may tell what the disk failed to
keep. What replaces a file is written beside it, then renamed.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from tracecode import _native
from tracecode.errors import EngineStopped
from tracecode.proof import checkpoint as checkpoints
from tracecode.proof import note
from tracecode.proof.checkpoint import Checkpoint
from tracecode.proof.note import Ed25519Signer, NoteInvalid
from tracecode.proof.tiles import (
    CHECKPOINT,
    HEIGHT,
    LEVEL_MAX,
    WIDTH,
    LogDamaged,
    fetch_from,
    list_tiles,
    name_tile,
    read_tile,
    write_bundle,
)
from tracecode.proof.tree import EMPTY_ROOT, HASH_BYTES, hash_children

STEP_ENTRIES = 64 * WIDTH
"""Integrated at once: read from the journal in one transaction."""
_LIBC = ctypes.CDLL(None, use_errno=True)
TILE_BYTES = WIDTH * HASH_BYTES
SYNCED = "synced"
"""How many entries' tiles a crash of the system cannot take."""
SYNC_ENTRIES = 2**20
"""After so many the file system is told to write all down; a start hashes so many again at most, in less
than a second, and writes their tiles, 4,096 of the lowest level."""


class LogRefused(EngineStopped):
    """A checkpoint would contradict one that was signed before; nothing is signed."""


class Journal(Protocol):
    """What is read of a ledger: its durable entries, by sequence from 1."""

    @property
    def durable_sequence(self) -> int:
        """The last of them, 0 = none."""

    def leaf_hashes(self, after: int, limit: int) -> bytes:
        """The leaf hashes of the entries after+1 .. after+limit, as far as they exist."""

    def entries(self, after: int, limit: int) -> list[bytes]:
        """Those entries."""


class Integrator:
    """The one writer of a log's folder. Holds the last tile of each level, nothing that grows."""

    def __init__(
        self,
        journal: Journal,
        directory: Path,
        signers: Sequence[Ed25519Signer],
        last: Path,
        *,
        bundles: bool = False,
    ) -> None:
        """Go on where the folder stands, or begin. `last` keeps the last checkpoint signed, outside of it;
        with `bundles` the entries themselves are written too, for whoever may read the folder.

        Raises LogRefused when the journal is not the one that was signed before, EngineStopped when another
        process writes the folder, NoteInvalid when its checkpoint was signed by other keys.
        """
        self._journal = journal
        self._directory = directory
        self._signers = tuple(signers)
        self._last = last
        self._bundles = bundles
        self.origin = signers[0].name
        self._size = 0
        self._rows = [bytearray() for _ in range(LEVEL_MAX + 1)]
        self._partial: set[Path] = set()
        self._synced = 0
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EngineStopped(f"{directory} is being written by another process") from None
            self.published = self._recover()
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def size(self) -> int:
        """Entries integrated so far; those behind `published` are in no checkpoint yet."""
        return self._size

    def close(self) -> None:
        """Let go of the folder. What was integrated and not published is integrated again."""
        os.close(self._lock)

    def integrate(self, limit: int = STEP_ENTRIES) -> int:
        """Take up to so many entries from the journal into the tree; how many there were."""
        hashes = self._journal.leaf_hashes(self._size, limit)
        count = len(hashes) // HASH_BYTES
        if count and self._bundles:
            self._write_bundles(count)
        self._add(hashes)
        return count

    def publish(self) -> Checkpoint | None:
        """Write a checkpoint of all that was integrated; None if there is nothing new."""
        if self._size == self.published:
            return None
        self._write_partial_tiles()
        checkpoint = Checkpoint(self.origin, self._size, self.root())
        self._sign(checkpoint)
        self.published = self._size
        if self.published - self._synced >= SYNC_ENTRIES:
            self._sync()
        return checkpoint

    def root(self) -> bytes:
        """The root of what was integrated."""
        found: bytes | None = None
        for row in self._rows:
            end = len(row) // HASH_BYTES
            while end:
                begin = end & (end - 1)
                part = _fold(row[begin * HASH_BYTES : end * HASH_BYTES])
                found = part if found is None else hash_children(part, found)
                end = begin
        return EMPTY_ROOT if found is None else found

    # --- Going on ---------------------------------------------------------------------------------

    def _recover(self) -> int:
        """Take up the tree where it was signed; the size that is published."""
        signed = self._read_signed()
        if signed is None:
            return 0
        if signed.size > self._journal.durable_sequence:
            raise LogRefused(
                f"a checkpoint of {signed.size} entries was signed and the journal has only "
                f"{self._journal.durable_sequence}: it was put back to an earlier state; give what goes on "
                "from here a key with another name"
            )
        self._synced = self._read_synced(signed.size)
        # At least the last entry is compared, and where tiles are amiss or the tree is not the one that was
        # signed, all of them.
        begin = max(0, self._synced - 1) // WIDTH * WIDTH
        if not (begin and self._take_up(begin, signed)):
            self._synced = 0
            if not self._take_up(0, signed):
                raise LogRefused(
                    f"the first {signed.size} entries of the journal are not those whose checkpoint was "
                    "signed; `tracecode audit` names what differs"
                )
        # The same bytes, unless it is the keys that changed, or a crash came between the two files.
        self._sign(signed)
        return signed.size

    def _read_signed(self) -> Checkpoint | None:
        """The last checkpoint that these keys have signed, by either file."""
        found: list[Checkpoint] = []
        for path in (self._last, self._directory / CHECKPOINT):
            with suppress(FileNotFoundError):
                data = path.read_bytes()
                try:
                    keys = [signer.public for signer in self._signers]
                    found.append(checkpoints.verify(data, keys).checkpoint)
                except NoteInvalid as error:
                    raise NoteInvalid(f"{path}: {error}") from None
        if len(found) == 2 and found[0].size == found[1].size and found[0].root != found[1].root:
            raise LogRefused(f"{self._last} and {self._directory / CHECKPOINT} contradict each other")
        return max(found, key=lambda one: one.size, default=None)

    def _read_synced(self, size: int) -> int:
        """How many of the published entries have tiles that no crash took."""
        try:
            synced = int((self._directory / SYNCED).read_text())
        except (FileNotFoundError, ValueError):
            return 0
        return min(synced, size) if 0 <= synced else 0

    def _take_up(self, begin: int, signed: Checkpoint) -> bool:
        """Integrate again from `begin`, a whole number of tiles, to the checkpoint. False, and nothing is
        written, if that is not the tree that was signed, or the tiles before are not there."""
        for write in (False, True):
            if not self._load(begin):
                return False
            while self._size < signed.size:
                limit = min(STEP_ENTRIES, signed.size - self._size)
                hashes = self._journal.leaf_hashes(self._size, limit)
                if not hashes:
                    return False
                if write and self._bundles:
                    self._write_bundles(len(hashes) // HASH_BYTES)
                self._add(hashes, write)
            if self.root() != signed.root:
                return False
        self._write_partial_tiles()
        return True

    def _load(self, begin: int) -> bool:
        """Stand behind that many entries, a whole number of tiles; False where the tiles are not there. What
        a tile of any level lacks to be full follows from the full ones below it."""
        fetch = fetch_from(self._directory)
        rows = [bytearray() for _ in range(LEVEL_MAX + 1)]
        try:
            for level in range(1, LEVEL_MAX + 1):
                last = begin >> HEIGHT * level
                for number in range(last - last % WIDTH, last):
                    rows[level] += _native.fold_tiles(read_tile(fetch, level - 1, number, WIDTH))
        except (FileNotFoundError, LogDamaged):
            return False
        if begin and self._bundles and not self._has_bundles(begin):
            return False
        self._rows, self._size = rows, begin
        return True

    def _has_bundles(self, size: int) -> bool:
        """Whether the first and the last bundle are there: they are written from some size on, or never."""
        number, width = divmod(size, WIDTH)
        last = (number, width) if width else (number - 1, WIDTH)
        return all(
            any((self._directory / name_tile(kind, *one)).exists() for kind in ("entries", "entries-long"))
            for one in {last, (0, min(size, WIDTH))}
        )

    # --- The tree -----------------------------------------------------------------------------------

    def _add(self, hashes: bytes, write: bool = True) -> None:
        """Append leaf hashes, write the tiles that are full, and their roots a level above."""
        number = self._size // WIDTH
        self._size += len(hashes) // HASH_BYTES
        for level in range(LEVEL_MAX + 1):
            row = self._rows[level]
            row += hashes
            full = len(row) // TILE_BYTES
            if not full:
                return
            tiles = bytes(row[: full * TILE_BYTES])
            del row[: full * TILE_BYTES]
            for at in range(full if write else 0):
                tile = tiles[at * TILE_BYTES : (at + 1) * TILE_BYTES]
                self._write(self._directory / name_tile(level, number + at), tile)
                self._drop_partial(level, number + at)
            hashes, number = _native.fold_tiles(tiles), number // WIDTH

    def _write_partial_tiles(self) -> None:
        for level, number, width in list_tiles(self._size):
            if width < WIDTH:
                name = name_tile(level, number, width)
                self._write(self._directory / name, bytes(self._rows[level]))
                self._note_partial(level, number)
        number, width = divmod(self._size, WIDTH)
        if self._bundles and width:
            self._write_bundle(number, width)

    def _note_partial(self, level: int | str, number: int) -> None:
        self._partial.add(self._directory / (name_tile(level, number) + ".p"))

    def _drop_partial(self, level: int | str, number: int) -> None:
        """Once a tile is full, its shorter forms are of no use."""
        folder = self._directory / (name_tile(level, number) + ".p")
        if folder in self._partial:
            self._partial.discard(folder)
            shutil.rmtree(folder, ignore_errors=True)

    def _write_bundles(self, count: int) -> None:
        """The bundles that so many more entries fill; before their tiles, so that none lacks its entries."""
        for number in range(self._size // WIDTH, (self._size + count) // WIDTH):
            self._write_bundle(number, WIDTH)
            for kind in ("entries", "entries-long"):
                self._drop_partial(kind, number)

    def _write_bundle(self, number: int, width: int) -> None:
        kind, data = write_bundle(self._journal.entries(number * WIDTH, width))
        self._write(self._directory / name_tile(kind, number, width), data)
        if width < WIDTH:
            self._note_partial(kind, number)

    # --- The disk -----------------------------------------------------------------------------------

    def _write(self, path: Path, data: bytes) -> None:
        """Put a file in its place. Nobody reads a new one before it is published.

        One that is there was written before this process began, and is written anew even if it reads the
        same: a page that the disk refused is clean in memory all the same, and the error is told once, maybe
        to the process before. The next sync, which says nothing of it, would make the file trusted.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileExistsError:
            _replace(path, data, wait=False)
            return
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, flags, 0o600)
        try:
            _write_whole(descriptor, data)
        finally:
            os.close(descriptor)

    def _sync(self) -> None:
        """Make durable what was written, and say so."""
        if _LIBC.syncfs(self._lock):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(self._directory))
        _replace(self._directory / SYNCED, f"{self.published}\n".encode())
        self._synced = self.published

    def _sign(self, checkpoint: Checkpoint) -> None:
        """Remember beside the key that it is signed, then publish it."""
        signed = note.sign(checkpoint.text, self._signers).write()
        for path in (self._last, self._directory / CHECKPOINT):
            try:
                if path.read_bytes() == signed:
                    continue
            except FileNotFoundError:
                pass
            _replace(path, signed)
            if path == self._last:
                _sync_folder(path.parent)


def _fold(hashes: bytes | bytearray) -> bytes:
    """The root of a perfect subtree over these hashes."""
    row = [bytes(hashes[at : at + HASH_BYTES]) for at in range(0, len(hashes), HASH_BYTES)]
    while len(row) > 1:
        row = [hash_children(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def _write_whole(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, data[written:])


def _replace(path: Path, data: bytes, *, wait: bool = True) -> None:
    """Put a file in the place of another; whenever a crash of the process comes, or with `wait` one of the
    system, there is one of them, whole."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _write_whole(descriptor, data)
        if wait:
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
