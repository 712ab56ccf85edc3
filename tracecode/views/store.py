"""Where views are kept: an LMDB environment of their own, `<data>/views`, beside the journal they follow.

What several entries change and the cursor, the entry up to which that is done, are written in one
transaction: each entry counts exactly once, whatever dies when. The environment is not synced at each commit,
since all of it can be rebuilt. A process that dies loses nothing by that; a machine that loses its power may,
and so the boot in which the environment was opened is noted, and views that were open when another boot began
are thrown away.

Keys begin with the byte of their view. `\\0` is the store's own:

    \\0c                  cursor: sequence u64, CRC-32 of that entry u32, big-endian
    \\0f                  number of the layout of all views
    \\0s                  how the projector is doing, JSON (not part of what is compared)
    \\0p                  entry up to which Parquet files were written, u64 big-endian
    \\0q + path           one of these files: rows u64 big-endian
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from typing import Any, Protocol

import lmdb

from tracecode.errors import EngineStopped
from tracecode.views.batch import Batch

_Transaction = Any
"""Of lmdb, whose stubs do not know that without `buffers` keys and values are bytes."""

LAYOUT = 3
"""Raised when a key or record of any view changes: older views are thrown away and rebuilt."""
MAP_SIZE_BYTES = 64 * 2**30
READERS_MAX = 512

_CURSOR = Struct(">QI")
_U64 = Struct(">Q")
_CURSOR_KEY, _LAYOUT_KEY, _STATUS_KEY, _FILES_KEY = b"\0c", b"\0f", b"\0s", b"\0p"
FILE = b"\0q"


class View(Protocol):
    """One view: a file in tracecode/views that says what it keeps, changes it, and answers from it."""

    tables: bytes
    """The bytes with which its keys begin."""

    def apply(self, batch: Batch, write: Writer) -> None:
        """Count some entries in. The sum must not depend on where batches are cut."""


class Writer:
    """The one transaction in which some entries are counted in."""

    def __init__(self, txn: _Transaction, entry: Callable[[int], bytes | None]) -> None:
        """`entry` gives earlier entries of the journal."""
        self._txn = txn
        self.entry = entry

    def get(self, key: bytes) -> bytes | None:
        """A record, or None."""
        value: bytes | None = self._txn.get(key)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a record."""
        self._txn.put(key, value)

    def delete(self, key: bytes) -> None:
        """Forget a record; no error if there is none."""
        self._txn.delete(key)

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """The records whose keys begin with `prefix`, by key."""
        return list(_scan(self._txn, prefix, b""))

    def scan_from(self, prefix: bytes, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The same from `start` on, one by one: nothing may be written meanwhile."""
        return _scan(self._txn, prefix, start)

    def add(self, counts: Iterable[tuple[bytes, tuple[int, ...]]], record: Struct) -> None:
        """Add to records of counters, best told in the order of keys; a missing one counts 0."""
        get, put = self._txn.get, self._txn.cursor().put
        pack, unpack = record.pack, record.unpack
        for key, more in counts:
            value = get(key)
            if value is not None:
                more = tuple(map(int.__add__, unpack(value), more))
            put(key, pack(*more))


class Reader:
    """A snapshot of all views."""

    def __init__(self, txn: _Transaction) -> None:
        self._txn = txn

    @property
    def sequence(self) -> int:
        """The entry up to which everything was counted in."""
        value = self._txn.get(_CURSOR_KEY)
        return 0 if value is None else int(_CURSOR.unpack(value)[0])

    @property
    def status(self) -> dict[str, Any]:
        """How the projector was doing at its last commit; empty before the first."""
        value = self._txn.get(_STATUS_KEY)
        return {} if value is None else dict(json.loads(value))

    @property
    def files_sequence(self) -> int:
        """The entry up to which Parquet files were written."""
        value = self._txn.get(_FILES_KEY)
        return 0 if value is None else int(_U64.unpack(value)[0])

    def get(self, key: bytes) -> bytes | None:
        """A record, or None."""
        value: bytes | None = self._txn.get(key)
        return value

    def scan(
        self, prefix: bytes, start: bytes = b"", *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """The records whose keys begin with `prefix`, by key, from `start` on (the greatest first, from
        `start` down, if reversed)."""
        return _scan(self._txn, prefix, start, reverse=reverse)

    def files(self) -> dict[str, int]:
        """The Parquet files that count, by path below the views' folder, and their rows."""
        return {key[len(FILE) :].decode(): _U64.unpack(value)[0] for key, value in self.scan(FILE)}


def _scan(
    txn: _Transaction, prefix: bytes, start: bytes, *, reverse: bool = False
) -> Iterator[tuple[bytes, bytes]]:
    cursor = txn.cursor()
    if reverse:
        found = cursor.set_range(start or prefix + b"\xff" * 64)
        found = (found and (cursor.key() == start or cursor.prev())) or (not found and cursor.last())
    else:
        found = cursor.set_range(max(prefix, start))
    while found and cursor.key().startswith(prefix):
        yield cursor.item()
        found = cursor.prev() if reverse else cursor.next()


class ViewStore:
    """The environment. One process writes it; any number read."""

    def __init__(self, directory: Path, *, read_only: bool = False) -> None:
        """Raises EngineStopped if somebody else writes it, or it is to be read and is not there."""
        self.directory = directory
        self._lock = -1
        if read_only:
            # What is torn must not be looked into: LMDB would follow its pages anywhere.
            if not (directory / "data.mdb").exists() or self._may_be_torn():
                raise EngineStopped(f"{directory} holds no views yet; they are made while a ledger is served")
        else:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(directory / "writer", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._lock)
                raise EngineStopped(f"{directory} is being written by another process") from None
            if self._may_be_torn():
                self._throw_away()
            self._note_boot()
        self._env = lmdb.open(
            str(directory),
            map_size=MAP_SIZE_BYTES,
            mode=0o600,
            readonly=read_only,
            sync=read_only,
            readahead=False,
            meminit=False,
            max_readers=READERS_MAX,
            max_spare_txns=4,
        )
        if not read_only:
            self._env.reader_check()
            with self._env.begin() as txn:
                layout = txn.get(_LAYOUT_KEY)
            if layout is not None and layout != _U64.pack(LAYOUT):
                self.clear()

    # --- What an unclean end leaves -------------------------------------------------------------

    def _may_be_torn(self) -> bool:
        """It was open when another boot began: what was not synced may be on disk in part."""
        try:
            return (self.directory / "boot").read_text() != _boot()
        except OSError:
            return False

    def _note_boot(self) -> None:
        path = self.directory / "boot"
        with path.open("w") as file:
            file.write(_boot())
            file.flush()
            os.fsync(file.fileno())
        _sync_directory(self.directory)

    def _throw_away(self) -> None:
        for name in ("data.mdb", "lock.mdb"):
            (self.directory / name).unlink(missing_ok=True)
        for name in ("lines", "findings", "deletions"):
            shutil.rmtree(self.directory / name, ignore_errors=True)

    def clear(self) -> None:
        """Throw away all views, so that they are built again from the first entry."""
        with self._env.begin(write=True) as txn:
            database = self._env.open_db(None, txn=txn)
            txn.drop(database, delete=False)
        for name in ("lines", "findings", "deletions"):
            shutil.rmtree(self.directory / name, ignore_errors=True)

    # --- Reading and writing --------------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """A snapshot; it keeps pages from being used again, so let it go soon."""
        with self._env.begin(buffers=False) as txn:
            yield Reader(txn)

    @property
    def sequence(self) -> int:
        """The entry up to which everything was counted in."""
        with self.read() as reader:
            return reader.sequence

    def follows(self, entry: Callable[[int], bytes | None]) -> bool:
        """Whether what was counted in is a part of this journal."""
        with self._env.begin() as txn:
            value = txn.get(_CURSOR_KEY)
        if value is None:
            return True
        sequence, crc = _CURSOR.unpack(value)
        last = entry(sequence)
        return last is not None and zlib.crc32(last) == crc

    def apply(self, views: Iterable[View], batch: Batch, entry: Callable[[int], bytes | None]) -> bool:
        """Count entries into all views and move the cursor, in one transaction. False, and nothing is done,
        if they do not follow the cursor."""
        with self._env.begin(write=True) as txn:
            value = txn.get(_CURSOR_KEY)
            if (0 if value is None else _CURSOR.unpack(value)[0]) != batch.after:
                return False
            writer = Writer(txn, entry)
            for view in views:
                view.apply(batch, writer)
            last = entry(batch.sequence) or b""
            txn.put(_CURSOR_KEY, _CURSOR.pack(batch.sequence, zlib.crc32(last)))
            txn.put(_LAYOUT_KEY, _U64.pack(LAYOUT))
        return True

    def tell(self, status: dict[str, Any]) -> None:
        """Keep how the projector is doing, for whoever asks."""
        with self._env.begin(write=True) as txn:
            txn.put(_STATUS_KEY, json.dumps(status).encode())

    @property
    def files_sequence(self) -> int:
        """The entry up to which Parquet files were written."""
        with self.read() as reader:
            return reader.files_sequence

    def change_files(self, sequence: int, added: dict[str, int], removed: Iterable[str] = ()) -> None:
        """From now on these files count, and those no more; all entries up to `sequence` are in some."""
        with self._env.begin(write=True) as txn:
            for path in removed:
                txn.delete(FILE + path.encode())
            for path, rows in added.items():
                txn.put(FILE + path.encode(), _U64.pack(rows))
            txn.put(_FILES_KEY, _U64.pack(sequence))

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Every record of every view, and the cursor, by key: what a rebuild must give again."""
        with self._env.begin() as txn:
            for key, value in txn.cursor():
                if key[:1] != b"\0" or key in (_CURSOR_KEY, _LAYOUT_KEY):
                    yield key, value

    def sync(self) -> None:
        """Bring everything to the disk."""
        self._env.sync(True)

    def close(self) -> None:
        """Sync, so that the next boot may use it. Safe to call twice."""
        if self._lock < 0:
            self._env.close()
            return
        self._env.sync(True)
        self._env.close()
        (self.directory / "boot").unlink(missing_ok=True)
        _sync_directory(self.directory)
        os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> ViewStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
