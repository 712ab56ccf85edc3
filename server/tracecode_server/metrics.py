"""What Prometheus may ask: rates, latencies, findings and how far behind we are. No code, no person."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from tracecode.ledger import Ledger
from tracecode.v1 import finding_pb2

# A till waits for 5 ms on a good day; after 2.5 s it has given up.
LATENCY_BUCKETS_SECONDS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip


class Metrics:
    """The figures of one edge, in a registry of their own."""

    def __init__(self, ledger: Ledger) -> None:
        """The ledger is asked at every scrape for its last entry and for what waits."""
        self.registry = CollectorRegistry()
        self._calls = Histogram(
            "tracecode_call_seconds",
            "Time from a call's start to its answer, by method and status code.",
            ("method", "code"),
            buckets=LATENCY_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._findings = Counter(
            "tracecode_findings",
            "Findings of recorded documents, by type and severity.",
            ("type", "severity"),
            registry=self.registry,
        )
        self._documents = Counter(
            "tracecode_documents",
            "Documents answered, by outcome: ACCEPTED, REFUSED, REPEAT, or the reason they were not taken.",
            ("outcome",),
            registry=self.registry,
        )
        waiting = Gauge(
            "tracecode_documents_waiting", "Documents that wait for the engine.", registry=self.registry
        )
        waiting.set_function(lambda: ledger.waiting)
        self._in_flight = Gauge(
            "tracecode_calls_in_flight", "Calls being answered, streams included.", registry=self.registry
        )
        sequence = Gauge(
            "tracecode_sequence", "The last entry written to the journal.", registry=self.registry
        )
        sequence.set_function(lambda: ledger.engine.sequence)
        self._server: tuple[WSGIServer, Thread] | None = None

    def start(self, host: str, port: int) -> str:
        """Serve the figures over HTTP; returns the bound address. Raises OSError if it is taken."""
        server, thread = start_http_server(port, host, self.registry)
        self._server = server, thread
        return f"[{host}]:{server.server_port}" if ":" in host else f"{host}:{server.server_port}"

    def stop(self) -> None:
        """Stop serving the figures. Safe to call twice."""
        if self._server is not None:
            server, thread = self._server
            self._server = None
            server.shutdown()
            server.server_close()
            thread.join()

    def count_call(self, method: str, code: str, duration_seconds: float) -> None:
        """A call was answered."""
        self._calls.labels(method, code).observe(duration_seconds)

    def enter_call(self) -> None:
        """A call began."""
        self._in_flight.inc()

    def leave_call(self) -> None:
        """A call is over."""
        self._in_flight.dec()

    def count_verdict(self, verdict: finding_pb2.Verdict) -> None:
        """A document got its verdict. A repeat counts as such and its findings are not counted again."""
        if verdict.repeat:
            self._documents.labels("REPEAT").inc()
            return
        self._documents.labels(finding_pb2.Outcome.Name(verdict.outcome).removeprefix("OUTCOME_")).inc()
        self._count_findings(verdict.findings)

    def count_rejection(self, reason: str) -> None:
        """A document was not taken."""
        self._documents.labels(reason).inc()

    def _count_findings(self, findings: Iterable[finding_pb2.Finding]) -> None:
        for finding in findings:
            self._findings.labels(
                finding_pb2.FindingType.Name(finding.type).removeprefix("FINDING_TYPE_"),
                finding_pb2.Severity.Name(finding.severity).removeprefix("SEVERITY_"),
            ).inc()
