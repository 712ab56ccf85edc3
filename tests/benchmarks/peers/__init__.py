"""What we are measured against. A peer only claims: "was this code sold? mark it". It parses and judges
nothing.

Each is set up as its own community would for this work, on the same disk, durable before it answers, with the
same codes loaded, and claims codes that it has not seen, in random places among them. Before each turn its
files, where it reads any, are read into the page cache, and it claims for about a second that does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from benchmarks.page_cache import read_files

Batch = TypeVar("Batch")
CLAIMS_PER_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims that were made durable, and the time it took."""

    claims: int
    seconds: float

    @property
    def per_second(self) -> float:
        """The rate."""
        return self.claims / self.seconds


class Peer(Protocol):
    """A store that was started and loaded with codes 0 .. codes - 1."""

    name: str
    how: str
    """How its best rate was found, in a few words."""

    def claim(self, seconds: float, warm_up_seconds: float) -> Claims:
        """Claim unseen codes for so long, after as long as is told that does not count."""

    def stop(self) -> None:
        """End what was started; its files are the caller's."""


class Unseen:
    """Numbers of codes that nobody has claimed yet."""

    def __init__(self, codes: int) -> None:
        self._next = codes

    def take(self, count: int) -> int:
        """The first of the next `count` numbers."""
        first = self._next
        self._next += count
        return first


def claim_batches(
    batches: Sequence[Batch],
    claim: Callable[[Batch], int],
    seconds: float,
    warm_up_seconds: float,
    files: Path | None = None,
) -> Claims:
    """Claim batch after batch until the time, or the batches, are at an end; what comes within the warm-up
    does not count. `claim` returns how many of a batch stood, once they are durable. `files` is the folder
    that is read into the page cache first, now that all batches are made."""
    if files is not None:
        read_files(files)
    rest, begin = iter(batches), time.perf_counter()
    while time.perf_counter() - begin < warm_up_seconds and (batch := next(rest, None)) is not None:
        claim(batch)
    claimed, begin = 0, time.perf_counter()
    for batch in rest:
        claimed += claim(batch)
        if time.perf_counter() - begin > seconds:
            break
    return Claims(claimed, time.perf_counter() - begin)
