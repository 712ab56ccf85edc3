"""What Prometheus may ask: rates, latencies, findings and how far behind we are. No code, no person."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
from prometheus_client.registry import Collector

from tracecode.answer import pass_finding
from tracecode.ledger import Ledger
from tracecode.v1 import finding_pb2
from tracecode_server.call_figures import CallFigures
from tracecode_server.disk_space import count_free_bytes
from tracecode_server.settings import split_address
from tracecode_server.status import refuse

# What a verdict of nothing found says, but for its entry and times, and how its bytes begin: fields are
# written in the order of their numbers, so what follows a standing severity is final_time. `repeat` comes
# later; bytes that merely look like it cost a reading and no error.
PLAIN = finding_pb2.Verdict(
    outcome=finding_pb2.OUTCOME_ACCEPTED, findings=[pass_finding()], severity=finding_pb2.SEVERITY_INFO
)
PLAIN_BEGINNING = re.compile(
    rb"\x08[\x80-\xff]*[\x00-\x7f]" + re.escape(PLAIN.SerializeToString() + b"\x2a"), re.DOTALL
)
REPEAT = finding_pb2.Verdict(repeat=True).SerializeToString()


class Metrics:
    """The figures of one service, in a registry of their own."""

    def __init__(
        self, ledger: Ledger, calls: Collector | None = None, data_directory: Path | None = None
    ) -> None:
        """The ledger is asked at every scrape for its last entry and for what waits.

        `calls` has the figures of the calls; without it nobody has called.
        """
        self.registry = CollectorRegistry()
        self.registry.register(CallFigures() if calls is None else calls)
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
        self._plain_documents = self._documents.labels("ACCEPTED")
        self._plain_findings = self._findings.labels(*name_finding(PLAIN.findings[0]))
        waiting = Gauge(
            "tracecode_documents_waiting", "Documents that wait for the engine.", registry=self.registry
        )
        waiting.set_function(lambda: ledger.waiting)
        sequence = Gauge(
            "tracecode_sequence", "The last entry written to the journal.", registry=self.registry
        )
        sequence.set_function(lambda: ledger.engine.sequence)
        writing = Gauge(
            "tracecode_writing",
            "1 while documents are taken, 0 while the disk has too little room for them.",
            registry=self.registry,
        )
        writing.set_function(lambda: not ledger.refusal)
        if data_directory is not None:
            free = Gauge(
                "tracecode_disk_free_bytes", "Room on the disk of the ledger.", registry=self.registry
            )
            free.set_function(partial(count_free_bytes, data_directory))
        self._server: tuple[WSGIServer, Thread] | None = None

    def start(self, listen: str) -> str:
        """Serve the figures over HTTP; returns the bound address. Raises OSError if it is taken.

        An empty address serves them nowhere.
        """
        if not listen:
            return ""
        host, port = split_address(listen)
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

    def count_verdicts(self, verdicts: Iterable[finding_pb2.Verdict]) -> None:
        """Documents got their verdicts. A repeat counts as such and its findings are not counted again."""
        for verdict in verdicts:
            if verdict.repeat:
                self._documents.labels("REPEAT").inc()
                continue
            self._documents.labels(finding_pb2.Outcome.Name(verdict.outcome).removeprefix("OUTCOME_")).inc()
            for finding in verdict.findings:
                self._findings.labels(*name_finding(finding)).inc()

    def count_replies(self, replies: Iterable[bytes]) -> None:
        """Documents got these serialized verdicts; only those with something to say are read for it."""
        plain = 0
        for reply in replies:
            beginning = PLAIN_BEGINNING.match(reply)
            if beginning is not None and reply.find(REPEAT, beginning.end()) < 0:
                plain += 1
            else:
                self.count_verdicts([finding_pb2.Verdict.FromString(reply)])
        if plain:
            self._plain_documents.inc(plain)
            self._plain_findings.inc(plain)

    def count_rejections(self, errors: Iterable[BaseException]) -> None:
        """Documents were not taken."""
        for error in errors:
            self._documents.labels(refuse(error).row.reason).inc()


def name_finding(finding: finding_pb2.Finding) -> tuple[str, str]:
    """Type and severity as labels."""
    return (
        finding_pb2.FindingType.Name(finding.type).removeprefix("FINDING_TYPE_"),
        finding_pb2.Severity.Name(finding.severity).removeprefix("SEVERITY_"),
    )
