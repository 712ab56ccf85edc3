"""How far the log of the ledger that is served is published: for metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tracecode.errors import TracecodeError
from tracecode.proof import checkpoint as checkpoints
from tracecode.proof import note
from tracecode.proof.note import NoteInvalid
from tracecode.proof.tiles import CHECKPOINT
from tracecode.v1 import journal_pb2


class LogStatus(Collector):
    """Looks when asked, in any thread."""

    def __init__(
        self, folder: Path, last: Callable[[], int], entries: Callable[[int, int], list[bytes]]
    ) -> None:
        """`folder` is the log's; `last` gives the last entry, `entries` some behind one."""
        self._folder = folder
        self._last = last
        self._entries = entries

    def read(self) -> tuple[int, float]:
        """The last entry that a checkpoint covers, and the age of the oldest that none does."""
        try:
            published = checkpoints.parse(note.parse((self._folder / CHECKPOINT).read_bytes()).text).size
        except (OSError, NoteInvalid):
            # None yet, or one that nobody can use.
            published = 0
        try:
            oldest = self._entries(published, 1) if published < self._last() else []
        except TracecodeError:
            oldest = []
        if not oldest:
            return published, 0.0
        entry = journal_pb2.JournalEntry.FromString(oldest[0])
        return published, max(0.0, (time.time_ns() - entry.receive_time_ns) / 1e9)

    def collect(self) -> Iterable[Metric]:
        """Figures for a scrape."""
        published, lag = self.read()
        for name, meaning, value in (
            ("published", "The last entry that a checkpoint of the log covers.", published),
            ("lag_seconds", "Age of the oldest entry that no checkpoint covers, 0 when none is.", lag),
        ):
            yield GaugeMetricFamily(f"tracecode_proof_{name}", meaning, value=value)
