"""A backup: the journal's entries in plain files that tell by themselves whether they are whole.

    TO/backup.json                        the manifest: what there is, and a checksum of each part
    TO/entries/00000000000000000001.entries   serialized JournalEntry messages, each behind its length
    TO/attachments/ab/ab…                 files of cases, by the SHA-256 that entries name

Nothing else is needed, for all else follows from the journal. Each part is a segment; its SHA-256 is taken
over that of the segment before and its own bytes, so that none can be changed, exchanged or left out. A
segment only grows at its end, and the manifest, replaced whole after each, says up to where it counts: a
backup that is cut short leaves the one before. Persons are keyed hashes, and their key is never in a backup.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import BinaryIO, Protocol

from google.protobuf.message import DecodeError

from tracecode._native import Store as NativeStore
from tracecode.attachments import ATTACHMENTS, Attachments
from tracecode.document import NS
from tracecode.engine.lmdb import MAP_SIZE_BYTES, replay
from tracecode.engine.records import FORMAT
from tracecode.errors import BackupRefused, DataLoss, EngineStopped
from tracecode.v1 import journal_pb2

FORM = 1
"""Number of the form of a backup, as this page describes it."""

MANIFEST = "backup.json"
ENTRIES = "entries"
RESTORING = "restoring"
SEGMENT_BYTES = 64 * 2**20
"""From this size on a segment is not added to: the most that is read again by the next backup."""

ENTRIES_PER_READ = 256
"""Read in one transaction of the journal, which keeps its pages for that long."""

THROTTLED_BYTES = 64 * 2**10
"""Written at once when there is a limit."""

OVERLAY_BYTES_MAX = 256 * 2**20
ROOT = hashlib.sha256().digest()

Progress = Callable[[int, int], None]


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Segment:
    """The entries of one file. `sha256` is over that of the segment before, as bytes, and the file's."""

    first_sequence: int
    last_sequence: int
    bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.first_sequence:020d}.entries"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds. `form` is that of the backup, `format` that of the ledger's folder."""

    form: int
    format: int
    version: str
    """Of the program that wrote it."""
    rule_base_version: str
    """In force after the last entry."""
    time: str
    """When it was written."""
    last_receive_time: str
    """Of the last entry."""
    segments: tuple[Segment, ...]

    @property
    def last_sequence(self) -> int:
        """The last entry, 0 = none."""
        return self.segments[-1].last_sequence if self.segments else 0

    @property
    def bytes(self) -> int:
        """The size of all segments."""
        return sum(segment.bytes for segment in self.segments)

    @property
    def sha256(self) -> str:
        """Stands for all entries: two backups with the same are the same."""
        return self.segments[-1].sha256 if self.segments else ROOT.hex()


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup holds now, and how much of it is new."""

    manifest: Manifest
    entries_new: int
    bytes_new: int


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored: up to which entry, and when that one was received."""

    last_sequence: int
    last_receive_time: str


# --- Backing up ---------------------------------------------------------------------------------


def back_up(
    directory: Path,
    to: Path,
    *,
    bytes_per_second_max: float = 0,
    progress: Progress | None = None,
) -> BackupReport:
    """Copy the journal of a ledger, which a service may be writing, or add what is new to a backup of it.

    Returns when all is on disk and was read back. `progress` is told (entries done, entries in all);
    `bytes_per_second_max` 0 = as quick as it goes. Raises FileNotFoundError when there is no ledger,
    DataLoss when an entry or what the backup held is damaged, BackupRefused when `to` is another ledger's,
    EngineStopped when another process is writing to it. What `to` held before stays usable.
    """
    if not (directory / "journal").is_dir():
        raise FileNotFoundError(f"{directory} holds no ledger")
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _hold(to):
        known = _read_known(to)
        store = NativeStore(
            str(directory), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=2**20, read_only=True
        )
        try:
            last = store.durable_sequence
            if known.last_sequence > last:
                raise BackupRefused(
                    f"{to} holds {known.last_sequence} entries and {directory} only {last}: it is of another "
                    "ledger, or of a state that was given up; name an empty folder"
                )
            writer = _Writer(to, known)
            try:
                writer.open_last(store)
                begin = time.monotonic()
                for value in _read_journal(store, known.last_sequence, last):
                    writer.add(value)
                    if bytes_per_second_max and writer.bytes_waiting >= THROTTLED_BYTES:
                        writer.bytes_waiting = 0
                        ahead = writer.bytes_new / bytes_per_second_max - (time.monotonic() - begin)
                        time.sleep(max(0.0, ahead))
                    if progress is not None and (
                        writer.last_sequence % ENTRIES_PER_READ == 0 or writer.last_sequence == last
                    ):
                        progress(writer.last_sequence, last)
                manifest = writer.finish()
            finally:
                writer.close()
        finally:
            store.close()
        # Behind the entries: a file is there before the entry that names it.
        files = Attachments(directory / ATTACHMENTS)
        copied = Attachments(to / ATTACHMENTS).copy_from(files, files.hashes())
    return BackupReport(manifest, manifest.last_sequence - known.last_sequence, writer.bytes_new + copied)


@contextmanager
def _hold(directory: Path) -> Iterator[None]:
    """Keep a second process from writing into a folder."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EngineStopped(
                f"{directory} is being written by another process; wait for that one"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _read_known(to: Path) -> Manifest:
    """What the folder holds already; an empty one if it is new."""
    try:
        known = read_manifest(to)
    except FileNotFoundError:
        # What a first backup that was cut short leaves behind is taken for a new folder.
        if set(os.listdir(to)) - {ENTRIES, ATTACHMENTS, MANIFEST + ".new"}:
            raise BackupRefused(f"{to} is not empty and holds no backup; name an empty folder") from None
        return Manifest(FORM, FORMAT, "", "", "", "", ())
    if known.format != FORMAT:
        raise BackupRefused(
            f"{to} holds entries of format {known.format} and this release writes format {FORMAT}; name an "
            "empty folder and keep the old one"
        )
    return known


def _read_journal(store: NativeStore, after: int, last: int) -> Iterator[bytes]:
    while after < last:
        values = store.entries(after, min(ENTRIES_PER_READ, last - after))
        if not values:
            raise DataLoss(f"journal entry {after + 1} is missing; restore the journal from a backup")
        yield from values
        after += len(values)


class _Writer:
    """Adds entries to the folder of a backup."""

    def __init__(self, to: Path, known: Manifest) -> None:
        self._to = to
        self._manifest = known
        self._file: BinaryIO | None = None
        self._hash: _Hash = hashlib.sha256()
        self._first = self._bytes = self._receive_time_ns = 0
        self._changed = False
        self.last_sequence = known.last_sequence
        self.bytes_new = self.bytes_waiting = 0
        (to / ENTRIES).mkdir(mode=0o700, exist_ok=True)

    def open_last(self, store: NativeStore) -> None:
        """See that the last segment is whole and of this journal, and go on where it ends."""
        segments = self._manifest.segments
        if not segments:
            return
        last = segments[-1]
        self._hash = _begin_hash(segments[-2].sha256 if len(segments) > 1 else ROOT.hex())
        entries = _read_journal(store, last.first_sequence - 1, last.last_sequence)
        other = 0
        for ours, value in zip(_read_segment(self._to, last, self._hash), entries, strict=True):
            if ours != value and not other:
                other = _parse(value).sequence
            self._receive_time_ns = _parse(value).receive_time_ns
        # Only now is it known that the segment is whole.
        if other:
            raise BackupRefused(
                f"{self._to} holds another entry {other} than {store.directory}: it is of another ledger, or"
                " of a state that was given up; name an empty folder"
            )
        if last.bytes >= SEGMENT_BYTES:
            return
        self._file = (self._to / ENTRIES / last.name).open("r+b")
        self._file.truncate(last.bytes)
        self._file.seek(last.bytes)
        self._first, self._bytes = last.first_sequence, last.bytes
        self._manifest = replace(self._manifest, segments=segments[:-1])

    def add(self, value: bytes) -> None:
        """Add the next entry."""
        entry = _parse(value)
        if entry.sequence != self.last_sequence + 1:
            raise DataLoss(f"journal entry {self.last_sequence + 1} calls itself {entry.sequence}")
        # A segment ends where a point in time may be: not between a document and what it brought about.
        if self._file is not None and self._bytes >= SEGMENT_BYTES and not self._belongs(entry):
            self._end_segment()
            self._write_manifest()
        if self._file is None:
            self._begin_segment(entry.sequence)
        assert self._file is not None
        written = _delimit(value)
        self._file.write(written)
        self._hash.update(written)
        self._bytes += len(written)
        self.bytes_new += len(written)
        self.bytes_waiting += len(written)
        self.last_sequence = entry.sequence
        self._receive_time_ns = entry.receive_time_ns
        self._changed = True
        if entry.HasField("rule_base_change"):
            self._manifest = replace(self._manifest, rule_base_version=entry.rule_base_change.version)

    def _belongs(self, entry: journal_pb2.JournalEntry) -> bool:
        return belongs_to_entry_before(entry, self._receive_time_ns)

    def finish(self) -> Manifest:
        """Make all of it durable; returns what the backup holds."""
        if self._file is not None:
            self._end_segment()
        self._write_manifest()
        return self._manifest

    def close(self) -> None:
        """Let go of the file; what was not finished does not count."""
        if self._file is not None:
            self._file.close()

    def _begin_segment(self, sequence: int) -> None:
        self._first, self._bytes = sequence, 0
        self._hash = _begin_hash(self._manifest.sha256)
        path = self._to / ENTRIES / Segment(sequence, 0, 0, "").name
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "r+b")

    def _end_segment(self) -> None:
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        segment = Segment(self._first, self.last_sequence, self._bytes, self._hash.hexdigest())
        before = self._manifest.sha256
        if self._changed:
            _sync(self._to / ENTRIES)
            for _ in _read_segment(self._to, segment, _begin_hash(before)):
                pass
        self._manifest = replace(self._manifest, segments=(*self._manifest.segments, segment))

    def _write_manifest(self) -> None:
        self._manifest = replace(
            self._manifest,
            version=metadata.version("tracecode"),
            time=_say_time(time.time_ns()),
            last_receive_time=_say_time(self._receive_time_ns),
        )
        path = self._to / (MANIFEST + ".new")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(_write_manifest(self._manifest))
            file.flush()
            os.fsync(file.fileno())
        path.rename(self._to / MANIFEST)
        _sync(self._to)
        self._changed = False


def belongs_to_entry_before(entry: journal_pb2.JournalEntry, receive_time_ns: int) -> bool:
    """Whether an entry is what the one before brought about: a revision, or a product that was learnt. Both
    are received when their cause was, and stand behind it in the same commit."""
    kind = entry.WhichOneof("content")
    return kind in ("revision", "product_import") and entry.receive_time_ns == receive_time_ns


# --- Looking at a backup ------------------------------------------------------------------------


def read_manifest(to: Path) -> Manifest:
    """The manifest of a backup. Raises FileNotFoundError, DataLoss, and EngineStopped for a form or a format
    that a later release made."""
    path = to / MANIFEST
    text = path.read_bytes()
    damaged = DataLoss(f"{path} is not as it was written; use another backup")
    try:
        content = json.loads(text)
        form, format = int(content["form"]), int(content["format"])
    except (ValueError, TypeError, KeyError):
        raise damaged from None
    if form > FORM or format > FORMAT:
        raise EngineStopped(
            f"{to} holds a backup of form {form} and format {format}, and this release reads up to form "
            f"{FORM} and format {FORMAT}; use the release that wrote it, or a later one"
        )
    try:
        checksum = content.pop("checksum")
        segments = tuple(Segment(**segment) for segment in content.pop("segments"))
        manifest = Manifest(**content, segments=segments)
    except (AttributeError, TypeError, KeyError):
        raise damaged from None
    if checksum != _checksum(manifest) or text != _write_manifest(manifest):
        raise damaged
    return manifest


def verify(to: Path, progress: Progress | None = None) -> Manifest:
    """Read a backup whole and compare every byte with its checksums; what it holds.

    Raises FileNotFoundError, and DataLoss which names the first file that is damaged or missing.
    """
    manifest = read_manifest(to)
    files = Attachments(to / ATTACHMENTS)
    for _, value in _read_backup(to, manifest):
        if value.case_event.HasField("attachment"):
            for _part in files.read(value.case_event.attachment.sha256):
                pass
        if progress is not None and value.sequence % ENTRIES_PER_READ == 0:
            progress(value.sequence, manifest.last_sequence)
    return manifest


def _read_backup(to: Path, manifest: Manifest) -> Iterator[tuple[bytes, journal_pb2.JournalEntry]]:
    """All entries. The checksum of a segment is looked at when its last entry was taken."""
    before = ROOT.hex()
    sequence = 0
    for segment in manifest.segments:
        for value in _read_segment(to, segment, _begin_hash(before)):
            entry = _parse(value)
            sequence += 1
            if entry.sequence != sequence:
                raise _damaged(to, segment)
            yield value, entry
        before = segment.sha256


def _read_segment(to: Path, segment: Segment, hash: _Hash) -> Iterator[bytes]:
    """The entries of a segment, from the disk. Raises DataLoss; bytes behind its end are of a backup that was
    cut short and do not count."""
    try:
        with (to / ENTRIES / segment.name).open("rb") as file:
            # What was just written would be compared with itself in memory.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            left, count = segment.bytes, 0
            while left:
                head, size = _read_length(file)
                value = file.read(size) if size <= left else b""
                if not head or len(value) != size:
                    raise _damaged(to, segment)
                hash.update(head + value)
                left -= len(head) + size
                if left < 0:
                    raise _damaged(to, segment)
                count += 1
                yield value
    except OSError as error:
        raise DataLoss(f"{to / ENTRIES / segment.name}: {error.strerror}; use another backup") from None
    if hash.hexdigest() != segment.sha256 or count != segment.last_sequence - segment.first_sequence + 1:
        raise _damaged(to, segment)


def _damaged(to: Path, segment: Segment) -> DataLoss:
    return DataLoss(
        f"{to / ENTRIES / segment.name}, entries {segment.first_sequence} to {segment.last_sequence}, is not "
        "as it was written; use another backup, or restore up to the entry before"
    )


# --- Restoring ----------------------------------------------------------------------------------


def restore(
    to: Path,
    directory: Path,
    *,
    to_sequence: int | None = None,
    progress: Progress | None = None,
    on_replay: Progress | None = None,
) -> RestoreReport:
    """Make a ledger of the backup in `to`, up to entry `to_sequence` and what that one brought about.

    The ledger is made in a folder of its own inside `directory` and comes into its place when its journal
    was read back and its index stands: a restore that is cut short leaves no ledger. `progress` is told of
    the entries that are copied, `on_replay` of those the index follows. Raises FileNotFoundError, DataLoss,
    BackupRefused when the directory is not empty or the backup ends before `to_sequence`.
    """
    manifest = read_manifest(to)
    last = manifest.last_sequence
    if to_sequence is not None and not 1 <= to_sequence <= last:
        raise BackupRefused(f"{to} holds the entries 1 to {last}; there is no entry {to_sequence}")
    if not last:
        raise BackupRefused(f"{to} holds no entries")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _hold(directory):
        # The lock is of whoever tried to open what a restore that was cut short had left.
        if set(os.listdir(directory)) - {RESTORING, "lock"}:
            raise BackupRefused(f"{directory} is not empty; name a folder that is, or does not exist yet")
        place = directory / RESTORING
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700)
        try:
            report = _restore(to, manifest, place, to_sequence or last, progress, on_replay)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        for name in ("lock", "journal", "index", ATTACHMENTS):
            if (place / name).exists():
                (place / name).rename(directory / name)
        _sync(directory)
        # From now on the folder holds a ledger.
        (place / "format").rename(directory / "format")
        _sync(directory)
        shutil.rmtree(place)
        return report


def _restore(
    to: Path,
    manifest: Manifest,
    place: Path,
    to_sequence: int,
    progress: Progress | None,
    on_replay: Progress | None,
) -> RestoreReport:
    written = hashlib.sha256()
    kept, files = Attachments(place / ATTACHMENTS), Attachments(to / ATTACHMENTS)
    receive_time_ns = last = 0
    store = NativeStore(str(place), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=OVERLAY_BYTES_MAX)
    try:
        waiting: list[bytes] = []
        for value, entry in _read_backup(to, _cut(manifest, to_sequence)):
            if entry.sequence > to_sequence:
                # The rest is read for the checksum of its segment.
                if entry.sequence != last + 1 or not belongs_to_entry_before(entry, receive_time_ns):
                    continue
            if entry.case_event.HasField("attachment"):
                kept.copy_from(files, [entry.case_event.attachment.sha256])
            waiting.append(value)
            written.update(_delimit(value))
            last, receive_time_ns = entry.sequence, entry.receive_time_ns
            if len(waiting) >= ENTRIES_PER_READ * 16:
                store.extend_journal(waiting)
                waiting.clear()
                if progress is not None:
                    progress(last, to_sequence)
        if waiting:
            store.extend_journal(waiting)
        replay(store, on_replay)
        store.flush()
    finally:
        store.close()
    store = NativeStore(str(place), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=2**20, read_only=True)
    try:
        read = hashlib.sha256()
        for value in _read_journal(store, 0, store.durable_sequence):
            read.update(_delimit(value))
        if store.durable_sequence != last or read.digest() != written.digest():
            raise DataLoss(f"{place} does not hold what was written into it; check this disk")
    finally:
        store.close()
    return RestoreReport(last, _say_time(receive_time_ns))


def _cut(manifest: Manifest, to_sequence: int) -> Manifest:
    """The manifest without the segments that lie behind an entry."""
    segments = tuple(s for s in manifest.segments if s.first_sequence <= to_sequence)
    return replace(manifest, segments=segments)


# --- Bytes --------------------------------------------------------------------------------------


def _parse(value: bytes) -> journal_pb2.JournalEntry:
    try:
        return journal_pb2.JournalEntry.FromString(value)
    except DecodeError:
        raise DataLoss(f"an entry of {len(value)} bytes cannot be read; use another backup") from None


def _delimit(value: bytes) -> bytes:
    """A message behind its length, as every protobuf library reads it."""
    size, head = len(value), bytearray()
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + value


def _read_length(file: BinaryIO) -> tuple[bytes, int]:
    """The bytes of a length and the length; none at the end of the file or where there is no length."""
    head = bytearray()
    size = 0
    while len(head) < 5:
        byte = file.read(1)
        if not byte:
            break
        head += byte
        size |= (byte[0] & 0x7F) << 7 * (len(head) - 1)
        if byte[0] < 0x80:
            return bytes(head), size
    return b"", 0


def _begin_hash(before: str) -> _Hash:
    return hashlib.sha256(bytes.fromhex(before))


def _checksum(manifest: Manifest) -> str:
    return hashlib.sha256(json.dumps(asdict(manifest), sort_keys=True).encode()).hexdigest()


def _write_manifest(manifest: Manifest) -> bytes:
    content = {**asdict(manifest), "checksum": _checksum(manifest)}
    return json.dumps(content, indent=1).encode() + b"\n"


def _say_time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // NS, UTC).isoformat().replace("+00:00", "Z")


def _sync(directory: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
