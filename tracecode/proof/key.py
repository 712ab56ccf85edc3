"""The key by which a log signs: a file of its owner's, outside the data folder.

One line a key, as Go's sumdb/note writes a signer's: `PRIVATE+KEY+name+id+base64(type, seed)`. All keys of a
file have the name of the log, and all of them sign: to exchange one, a second is added, its public half is
told to all who verify, and the first is retired.
"""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

from tracecode.proof.note import ED25519, Ed25519Signer, NoteInvalid, is_key_name

_HEAD = "PRIVATE+KEY+"


def create(path: Path, origin: str) -> Ed25519Signer:
    """Make a key file, readable by its owner only, for a log of this name. Raises FileExistsError, OSError,
    and NoteInvalid for a name that no key may have."""
    if not is_key_name(origin):
        raise NoteInvalid(f"{origin!r} names no log: no space, no plus sign; for example example.org/journal")
    signer = Ed25519Signer(origin, secrets.token_bytes(32))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(path, [signer])
    return signer


def read(path: Path) -> list[Ed25519Signer]:
    """The signers of a key file, oldest first. Raises NoteInvalid, and OSError when it cannot be read."""
    mode = path.stat().st_mode
    if mode & 0o077:
        raise NoteInvalid(f"{path} can be read by others than its owner; run: chmod 600 {path}")
    signers = [_parse(line, path) for line in path.read_text().splitlines() if line]
    if not signers or len({signer.name for signer in signers}) != 1:
        raise NoteInvalid(f"{path} must hold keys of one log; make it with: tracecode proof-key new")
    return signers


def add(path: Path) -> Ed25519Signer:
    """Put a new key beside the old ones; from the next start on all of them sign. Raises as `read` does."""
    signers = read(path)
    signer = Ed25519Signer(signers[0].name, secrets.token_bytes(32))
    _replace(path, [*signers, signer])
    return signer


def retire(path: Path, key_id: str) -> None:
    """Take away the key of this id, 8 hex digits. Raises NoteInvalid when it is not there or the last one."""
    signers = read(path)
    left = [signer for signer in signers if signer.key_id.hex() != key_id.lower()]
    if len(left) == len(signers):
        raise NoteInvalid(f"{path} has no key {key_id}; it has {_list(signers)}")
    if not left:
        raise NoteInvalid(f"{key_id} is the only key of {path}; add another one first")
    _replace(path, left)


def _list(signers: list[Ed25519Signer]) -> str:
    return ", ".join(signer.key_id.hex() for signer in signers)


def _parse(line: str, path: Path) -> Ed25519Signer:
    # Never quote the line: it is the secret.
    parts = line.strip().removeprefix(_HEAD).split("+", 2)
    try:
        name, key_id, material = parts
        data = base64.b64decode(material, validate=True)
    except ValueError:
        raise NoteInvalid(f"{path} holds a line that is no signing key") from None
    if not line.startswith(_HEAD) or len(data) != 33 or data[0] != ED25519 or not is_key_name(name):
        raise NoteInvalid(f"{path} holds a line that is no Ed25519 signing key")
    signer = Ed25519Signer(name, data[1:])
    if signer.key_id.hex() != key_id:
        raise NoteInvalid(f"a key of {path} was changed: its id is not {key_id}")
    return signer


def _format(signer: Ed25519Signer) -> str:
    material = base64.b64encode(bytes([ED25519]) + signer.seed).decode()
    return f"{_HEAD}{signer.name}+{signer.key_id.hex()}+{material}\n"


def _write(path: Path, signers: list[Ed25519Signer]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(_format(signer) for signer in signers)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, signers: list[Ed25519Signer]) -> None:
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    _write(new, signers)
    new.replace(path)
