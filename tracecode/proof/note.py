"""Signed notes (C2SP signed-note): text that ends in a newline, an empty line, and a line a signature.

    — <name> base64(4 bytes of key id, then the signature)

A key is written as a line of text, as Go's sumdb/note writes it: a verifier's is `name+id+base64(type, key)`.
Ed25519 is the one algorithm here. A signer is anything that keeps the promise of `Signer`; an SM2/SM3 signer
would be one more, and there is none yet.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519 = 1
"""Type of a key that signs the text of a note."""
COSIGNATURE = 4
"""Type of a witness's key: Ed25519 over the time and the text (C2SP tlog-cosignature, cosignature/v1)."""

NOTE_BYTES_MAX = 64 * 1024
SIGNATURES_MAX = 64
_DASH = "\u2014"
_TIME_BYTES = 8
_ID_BYTES = 4
_ED25519_BYTES = 32


class NoteInvalid(ValueError):
    """Bytes that are no signed note, or a note that the keys at hand do not vouch for."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One line below a note. `value` is what follows the key's id."""

    name: str
    key_id: bytes
    value: bytes

    @property
    def line(self) -> str:
        """As it stands in the note, without its newline."""
        return f"{_DASH} {self.name} {base64.b64encode(self.key_id + self.value).decode()}"


@dataclass(frozen=True, slots=True)
class Note:
    """A text and its signatures, of which nothing is believed before they are verified."""

    text: str
    signatures: tuple[Signature, ...]

    def write(self) -> bytes:
        """The note as it is kept and sent."""
        return (self.text + "\n" + "".join(one.line + "\n" for one in self.signatures)).encode()


class Signer(Protocol):
    """Signs texts. The name and id say which key it was."""

    @property
    def name(self) -> str:
        """Of the key; no space and no plus sign in it."""

    @property
    def key_id(self) -> bytes:
        """Four bytes that follow from name, algorithm and public key."""

    def sign(self, text: str) -> bytes:
        """The signature of a text, the same each time it is asked for."""


class Verifier(Protocol):
    """Knows the public half of a key."""

    @property
    def name(self) -> str:
        """Of the key."""

    @property
    def key_id(self) -> bytes:
        """Of the key."""

    def is_signed(self, text: str, signature: bytes) -> bool:
        """Whether the signature is that key's over the text."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 verifier: of a log (type 1) or of a witness (type 4)."""

    name: str
    type: int
    key: bytes

    @classmethod
    def parse(cls, line: str) -> PublicKey:
        """The key of a line `name+id+base64`. Raises NoteInvalid."""
        name, first, rest = line.strip().partition("+")
        said_id, second, material = rest.partition("+")
        data = _decode(material)
        if not first or not second or not is_key_name(name) or not data:
            raise NoteInvalid(f"{line.strip()!r} is no verifier key; it is written name+id+base64")
        if data[0] not in (ED25519, COSIGNATURE) or len(data) != 1 + _ED25519_BYTES:
            raise NoteInvalid(f"the key {name} has type {data[0]}; known are 1 and 4, both Ed25519")
        key = cls(name, data[0], data[1:])
        if said_id != key.key_id.hex():
            raise NoteInvalid(f"the key {name} says id {said_id} and has {key.key_id.hex()}: it was changed")
        return key

    @property
    def line(self) -> str:
        """The key as others are told it."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([self.type]) + self.key).decode()}"

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256 over name, newline, type and key."""
        return sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.key).digest()[:_ID_BYTES]

    def is_signed(self, text: str, signature: bytes) -> bool:
        """Whether the signature is this key's over the text."""
        message = text.encode()
        if self.type == COSIGNATURE:
            if len(signature) != _TIME_BYTES + 64 or signature[0] & 0x80:
                return False
            message = _cosigned(text, int.from_bytes(signature[:_TIME_BYTES], "big"))
            signature = signature[_TIME_BYTES:]
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Ed25519Signer:
    """Signs as a log does. `seed` is the private key; it stays out of every text about the signer."""

    name: str
    seed: bytes

    def __repr__(self) -> str:
        return f"Ed25519Signer({self.name!r})"

    @property
    def public(self) -> PublicKey:
        """The half that others verify with."""
        return PublicKey(self.name, ED25519, _public_bytes(self.seed))

    @property
    def key_id(self) -> bytes:
        """Of the public half."""
        return self.public.key_id

    def sign(self, text: str) -> bytes:
        """Ed25519 over the text."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())


@dataclass(frozen=True, slots=True)
class Witness:
    """Signs as a witness does: that at this time it saw the log append only."""

    name: str
    seed: bytes
    time_seconds: int

    def __repr__(self) -> str:
        return f"Witness({self.name!r})"

    @property
    def public(self) -> PublicKey:
        """The half that others verify with."""
        return PublicKey(self.name, COSIGNATURE, _public_bytes(self.seed))

    @property
    def key_id(self) -> bytes:
        """Of the public half."""
        return self.public.key_id

    def sign(self, text: str) -> bytes:
        """The time and Ed25519 over time and text."""
        signed = Ed25519PrivateKey.from_private_bytes(self.seed).sign(_cosigned(text, self.time_seconds))
        return self.time_seconds.to_bytes(_TIME_BYTES, "big") + signed


def is_key_name(name: str) -> bool:
    """Whether a key may have this name."""
    return bool(name) and "+" not in name and not any(char.isspace() or char < " " for char in name)


def sign(text: str, signers: Iterable[Signer]) -> Note:
    """A note with one signature of each signer."""
    if not text.endswith("\n"):
        raise ValueError("the text of a note ends in a newline")
    return Note(text, tuple(Signature(one.name, one.key_id, one.sign(text)) for one in signers))


def parse(data: bytes) -> Note:
    """The note in the bytes, not verified. Raises NoteInvalid."""
    if len(data) > NOTE_BYTES_MAX:
        raise NoteInvalid(f"a note has at most {NOTE_BYTES_MAX} bytes, this one has {len(data)}")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise NoteInvalid("a note is UTF-8") from None
    if any(char < " " and char != "\n" for char in whole):
        raise NoteInvalid("a note has no control characters but newlines")
    text, blank, lines = whole.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise NoteInvalid("a note is a text, an empty line, and signatures, each line ended by a newline")
    signatures = tuple(_parse_signature(line) for line in lines[:-1].split("\n"))
    if len(signatures) > SIGNATURES_MAX:
        raise NoteInvalid(f"a note has at most {SIGNATURES_MAX} signatures")
    return Note(text + "\n", signatures)


def verify(note: Note, verifiers: Sequence[Verifier]) -> tuple[Signature, ...]:
    """The signatures of known keys, each verified; others are left out.

    Raises NoteInvalid when one of a known key is wrong or stands twice, or when there is none.
    """
    known = {(one.name, one.key_id): one for one in verifiers}
    found: dict[tuple[str, bytes], Signature] = {}
    for signature in note.signatures:
        which = (signature.name, signature.key_id)
        verifier = known.get(which)
        if verifier is None:
            continue
        if which in found:
            raise NoteInvalid(f"the key {signature.name} signed twice")
        if not verifier.is_signed(note.text, signature.value):
            raise NoteInvalid(f"the signature of {signature.name} is not over this text")
        found[which] = signature
    if not found:
        raise NoteInvalid(f"no key that is trusted signed it; signed have: {_name_signers(note)}")
    return tuple(found.values())


def cosigned_at_seconds(signature: Signature) -> int:
    """When a witness signed, by its own clock."""
    return int.from_bytes(signature.value[:_TIME_BYTES], "big")


def _parse_signature(line: str) -> Signature:
    match = re.fullmatch(rf"{_DASH} ([^ ]+) ([A-Za-z0-9+/=]+)", line)
    data = _decode(match[2]) if match else b""
    if match is None or not is_key_name(match[1]) or len(data) <= _ID_BYTES:
        raise NoteInvalid(f"{line[:100]!r} is no signature")
    return Signature(match[1], data[:_ID_BYTES], data[_ID_BYTES:])


def _decode(text: str) -> bytes:
    """The bytes of base64 as its encoder writes it, b"" for anything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if base64.b64encode(data).decode() == text else b""


def _name_signers(note: Note) -> str:
    return ", ".join(f"{one.name}+{one.key_id.hex()}" for one in note.signatures)


def _cosigned(text: str, time_seconds: int) -> bytes:
    return f"cosignature/v1\ntime {time_seconds}\n{text}".encode()


def _public_bytes(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
