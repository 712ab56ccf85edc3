"""How far behind the views of the ledger that is served are: for metrics and GetServiceInfo."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tracecode.errors import TracecodeError
from tracecode.v1 import journal_pb2, ledger_service_pb2
from tracecode_server.open_views import OpenViews


class ViewStatus(Collector):
    """Looks when asked, in any thread."""

    def __init__(
        self,
        views: OpenViews,
        last: Callable[[], int],
        entries: Callable[[int, int], list[bytes]],
    ) -> None:
        """`last` gives the last entry, `entries` some behind one."""
        self._views = views
        self._last = last
        self._entries = entries

    def read(self) -> ledger_service_pb2.ViewStatus | None:
        """How far they are, or None where there are none (yet)."""
        try:
            with self._views.read() as reader:
                sequence, files_sequence = reader.sequence, reader.files_sequence
        except TracecodeError:
            return None
        behind = max(0, self._last() - sequence)
        oldest = self._entries(sequence, 1) if behind else []
        lag = 0.0
        if oldest:
            entry = journal_pb2.JournalEntry.FromString(oldest[0])
            lag = max(0.0, (time.time_ns() - entry.receive_time_ns) / 1e9)
        return ledger_service_pb2.ViewStatus(
            sequence=sequence, entries_behind=behind, lag_seconds=lag, files_sequence=files_sequence
        )

    def collect(self) -> Iterable[Metric]:
        """Figures for a scrape; none where there are no views."""
        status = self.read()
        if status is None:
            return
        for name, meaning, value in (
            ("sequence", "The entry up to which views are complete.", status.sequence),
            ("entries_behind", "Entries of the journal that views lack.", status.entries_behind),
            ("lag_seconds", "Age of the oldest entry that views lack, 0 when none is.", status.lag_seconds),
            ("files_sequence", "The entry up to which Parquet files go.", status.files_sequence),
        ):
            yield GaugeMetricFamily(f"tracecode_views_{name}", meaning, value=value)
