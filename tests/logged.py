"""A journal in memory with its log, for tests of proofs; and ledgers of which a log is kept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tracecode.proof import key
from tracecode.proof.integrator import Integrator
from tracecode.proof.note import Ed25519Signer
from tracecode.proof.tree import hash_leaf

LOG = "example.org/journal"


class MemoryJournal:
    """Entries that a test may alter; keeps the promise of tracecode.proof.integrator.Journal."""

    def __init__(self, values: Iterable[bytes] = ()) -> None:
        self.values = list(values)

    @property
    def durable_sequence(self) -> int:
        """The last of them."""
        return len(self.values)

    def leaf_hashes(self, after: int, limit: int) -> bytes:
        """The leaf hashes of some."""
        return b"".join(hash_leaf(value) for value in self.values[after : after + limit])

    def entries(self, after: int, limit: int) -> list[bytes]:
        """Some of them."""
        return self.values[after : after + limit]


def make_entries(count: int, mark: str = "") -> list[bytes]:
    """Bytes that are like entries: the sequence, then something of its own."""
    return [_field(number + 1) + f" entry {number} {mark}".encode() for number in range(count)]


def _field(sequence: int) -> bytes:
    written = bytearray(b"\x08")
    while sequence > 0x7F:
        written.append(sequence & 0x7F | 0x80)
        sequence >>= 7
    written.append(sequence)
    return bytes(written)


def make_key(folder: Path) -> Ed25519Signer:
    """The key of a log, in `folder`/key; the one that is there, if one is."""
    path = folder / "key"
    return key.read(path)[0] if path.exists() else key.create(path, LOG)


def open_integrator(journal: object, folder: Path, **options: bool) -> Integrator:
    """The integrator of `folder`/log, by the keys of `folder`/key."""
    make_key(folder)
    return Integrator(
        journal,  # type: ignore[arg-type]
        folder / "log",
        key.read(folder / "key"),
        folder / "key.last",
        **options,
    )


def publish(journal: object, folder: Path, **options: bool) -> int:
    """Bring the log up to the journal; its size."""
    integrator = open_integrator(journal, folder, **options)
    try:
        while integrator.integrate():
            pass
        integrator.publish()
        return integrator.published
    finally:
        integrator.close()
