"""Files of cases, kept once each by the SHA-256 of their bytes.

The journal holds the hash, so a file that was changed is found out, whoever changed it. A file is durable
before the entry that names it is written; one that no entry names was left by a caller who gave up.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from tracecode.errors import DataLoss, FieldInvalid

ATTACHMENTS = "attachments"
"""The folder's name in that of a ledger."""

INCOMING = "incoming-"
READ_BYTES = 256 * 1024


class Attachments:
    """A folder of files by their hash; in a folder that passes with the process where none is given."""

    def __init__(self, directory: Path | None) -> None:
        self._passing = directory is None
        # Made when the first file comes.
        passing = Path(tempfile.gettempdir()) / f"tracecode-attachments-{secrets.token_hex(8)}"
        self._root = directory if directory is not None else passing

    def close(self) -> None:
        """Forget what nothing on disk was asked for. Safe to call twice."""
        if self._passing:
            shutil.rmtree(self._root, ignore_errors=True)

    def forget_incoming(self) -> None:
        """Remove what was cut short. For the process that writes, before anything comes."""
        for path in self._root.glob(INCOMING + "*"):
            path.unlink()

    def hashes(self) -> list[str]:
        """Every file that is kept."""
        return sorted(path.name for path in self._root.glob("??/*"))

    def copy_from(self, other: Attachments, hashes: Iterable[str]) -> int:
        """Keep files that another folder has, and this one lacks; how many bytes came. Raises DataLoss."""
        size = 0
        for sha256 in hashes:
            if self.path_of(sha256).exists():
                continue
            with self.begin(sys.maxsize) as upload:
                for part in other.read(sha256):
                    upload.write(part)
                upload.finish(sha256)
                size += upload.size_bytes
        return size

    def begin(self, bytes_max: int) -> Upload:
        """A file that is coming; of no more bytes than that."""
        self._root.mkdir(mode=0o700, exist_ok=True)
        return Upload(self._root, bytes_max)

    def path_of(self, sha256: str) -> Path:
        """Where a file is, or would be."""
        return _place(self._root, sha256)

    def read(self, sha256: str) -> Iterator[bytes]:
        """The bytes of a file, part by part. Raises DataLoss, at the latest behind the last part, where they
        are not those that were attached."""
        seen = hashlib.sha256()
        try:
            with self.path_of(sha256).open("rb") as file:
                while part := file.read(READ_BYTES):
                    seen.update(part)
                    yield part
        except FileNotFoundError:
            raise DataLoss(f"attachment {sha256} is missing; restore it from a backup") from None
        if seen.hexdigest() != sha256:
            raise DataLoss(f"attachment {sha256} is not what was attached; restore it from a backup")


class Upload:
    """A file that is coming. Left without `finish`, it was never there."""

    def __init__(self, root: Path, bytes_max: int) -> None:
        self._root = root
        self._bytes_max = bytes_max
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        descriptor, name = tempfile.mkstemp(prefix=INCOMING, dir=root)
        self._path: Path | None = Path(name)
        self._file: BinaryIO = os.fdopen(descriptor, "wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def write(self, part: bytes) -> None:
        """Add bytes. Raises FieldInvalid where they are too many."""
        self.size_bytes += len(part)
        if self.size_bytes > self._bytes_max:
            raise FieldInvalid("content", f"more than {self._bytes_max} bytes")
        self._hash.update(part)
        self._file.write(part)

    def finish(self, sha256: str = "") -> str:
        """Keep the file, durable on return; returns its SHA-256. Raises FieldInvalid where another one was
        announced, or there is nothing."""
        seen = self._hash.hexdigest()
        if not self.size_bytes:
            raise FieldInvalid("content", "the file is empty")
        if sha256 and sha256 != seen:
            raise FieldInvalid("sha256", f"the bytes that came have {seen}; send the file again")
        self._file.flush()
        os.fsync(self._file.fileno())
        assert self._path is not None
        place = _place(self._root, seen)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        self._path.rename(place)
        self._path = None
        for folder in (place.parent, self._root, self._root.parent):
            _sync(folder)
        return seen


def _place(root: Path, sha256: str) -> Path:
    return root / sha256[:2] / sha256


def _sync(directory: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
