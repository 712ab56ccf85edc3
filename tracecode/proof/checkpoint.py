"""A checkpoint (C2SP tlog-checkpoint): what the log is, how large it is, and its root, in a signed note.

There is no time in it, so one size has one checkpoint, byte for byte, as long as the keys stay.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tracecode.proof import note
from tracecode.proof.note import Note, NoteInvalid, Signature, Signer, Verifier
from tracecode.proof.tree import HASH_BYTES

SIZE_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head. `extensions` are lines that others may have added; we write none."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What is signed."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(line + "\n" for line in lines)

    def sign(self, signers: Iterable[Signer]) -> Note:
        """The checkpoint as a note."""
        return note.sign(self.text, signers)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint of which a signature of the log was verified, and those of witnesses that were."""

    checkpoint: Checkpoint
    note: Note
    cosignatures: tuple[Signature, ...] = ()


def parse(text: str) -> Checkpoint:
    """The checkpoint in the text of a note. Raises NoteInvalid."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise NoteInvalid("a checkpoint is at least three lines: origin, size, root")
    origin, size, root, *extensions = lines[:-1]
    if not (size.isascii() and size.isdigit()) or str(int(size[:20])) != size or int(size) > SIZE_MAX:
        raise NoteInvalid(f"{size[:40]!r} is no size of a tree")
    try:
        root_bytes = base64.b64decode(root, validate=True)
    except ValueError:
        root_bytes = b""
    if len(root_bytes) != HASH_BYTES or base64.b64encode(root_bytes).decode() != root:
        raise NoteInvalid(f"{root[:60]!r} is no root hash")
    return Checkpoint(origin, int(size), root_bytes, tuple(extensions))


def verify(
    data: bytes, log_keys: Sequence[Verifier], witness_keys: Sequence[Verifier] = (), *, origin: str = ""
) -> SignedCheckpoint:
    """The checkpoint in the bytes of a note that one of the log's keys signed.

    `origin` is that of the log, by default the name of its first key. Raises NoteInvalid when it is another
    log's, when no key of the log signed it, or when a signature of a known key is wrong.
    """
    read = note.parse(data)
    note.verify(read, log_keys)
    checkpoint = parse(read.text)
    expected = origin or log_keys[0].name
    if checkpoint.origin != expected:
        raise NoteInvalid(f"it is a checkpoint of {checkpoint.origin}, not of {expected}")
    ids = {(one.name, one.key_id) for one in witness_keys}
    cosignatures: tuple[Signature, ...] = ()
    if any((one.name, one.key_id) in ids for one in read.signatures):
        cosignatures = note.verify(read, witness_keys)
    return SignedCheckpoint(checkpoint, read, cosignatures)
