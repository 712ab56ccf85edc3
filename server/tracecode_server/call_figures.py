"""How many calls there were, how they ended and how long they took. No code, no person."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

# A till waits for 5 ms on a good day; after 2.5 s it has given up.
LATENCY_BUCKETS_SECONDS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip


class CallFigures(Collector):
    """Durations of calls, counted by one event loop: the library's own Histogram takes two locks."""

    def __init__(self) -> None:
        # Kept by who answers, as calls come and go.
        self.in_flight = 0
        # By method and code: how many in each bucket, the last without a bound, and the sum of seconds.
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._seconds: dict[tuple[str, str], float] = {}

    def observe(self, method: str, code: str, duration_seconds: float) -> None:
        """One call ended."""
        key = method, code
        counts = self._counts.get(key)
        if counts is None:
            counts = self._begin(key)
        counts[bisect_left(LATENCY_BUCKETS_SECONDS, duration_seconds)] += 1
        self._seconds[key] += duration_seconds

    def write(self) -> dict[str, Any]:
        """All of it as JSON knows it, to be `add`ed in another process."""
        ended = [[*key, counts, self._seconds[key]] for key, counts in self._counts.items()]
        return {"in_flight": self.in_flight, "ended": ended}

    def add(self, written: dict[str, Any]) -> None:
        """Count what another has counted, too."""
        self.in_flight += written["in_flight"]
        for method, code, counts, seconds in written["ended"]:
            key = method, code
            ours = self._counts.get(key)
            if ours is None:
                ours = self._begin(key)
            ours[:] = map(sum, zip(ours, counts, strict=True))
            self._seconds[key] += seconds

    def collect(self) -> Iterable[Metric]:
        """What is scraped, in the thread of the scrape."""
        yield GaugeMetricFamily(
            "tracecode_calls_in_flight", "Calls being answered, streams included.", value=self.in_flight
        )
        calls = HistogramMetricFamily(
            "tracecode_call_seconds",
            "Time from a call's start to its answer, by method and status code.",
            labels=("method", "code"),
        )
        bounds = [*map(str, LATENCY_BUCKETS_SECONDS), "+Inf"]
        for key, counts in list(self._counts.items()):
            calls.add_metric(key, list(zip(bounds, accumulate(counts), strict=True)), self._seconds[key])
        yield calls

    def _begin(self, key: tuple[str, str]) -> list[int]:
        self._seconds[key] = 0.0
        counts = self._counts[key] = [0] * (len(LATENCY_BUCKETS_SECONDS) + 1)
        return counts
