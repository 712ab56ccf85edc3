"""Where a command finds its ledger: a running service, or a data folder that no service has open."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Protocol

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import ValidationError

from tracecode.client import LedgerClient
from tracecode.errors import DocumentRejected, TracecodeError
from tracecode.ledger import Ledger
from tracecode.v1.catalogue_pb2 import CodeReplacement, Hold, Institution, Product
from tracecode.v1.catalogue_service_pb2 import ImportResult
from tracecode.v1.code_pb2 import CodeEvent
from tracecode.v1.document_pb2 import Document
from tracecode.v1.finding_pb2 import Verdict
from tracecode.v1.ledger_service_pb2 import (
    DocumentError,
    GetCodeResponse,
    ListCodeEventsRequest,
    VerifyCodesRequest,
    VerifyCodesResponse,
)
from tracecode.v1.rule_base_service_pb2 import ActivateRuleBaseRequest, ListRuleBasesRequest, RuleBase
from tracecode_server.server import open_ledger
from tracecode_server.settings import Settings
from tracecode_server.status import refuse, to_document_error

SERVER_DEFAULT: str = Settings.model_fields["listen"].default
# A person waits for these, not a till: a late answer is better than none.
DEADLINE_SECONDS = 10.0
PROBE_SECONDS = 3.0
PAGE_EVENTS = 500
# One commit for so many documents, and so many held in memory at once.
BATCH_DOCUMENTS = 256

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="TRACECODE_SERVER",
        metavar="HOST:PORT",
        help=f"The service to ask. Default: {SERVER_DEFAULT}.",
        show_default=False,
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Open this data folder instead of asking a service; no service may have it open.",
        show_default=False,
    ),
]

ClockOption = Annotated[
    str | None,
    typer.Option(
        "--clock",
        metavar="TIME",
        help="With --data: let the ledger's clock stand at this time (2026-03-01T00:00:00Z), to replay the "
        "past into a new folder. Give the same time to import.",
        show_default=False,
    ),
]

Answer = Verdict | DocumentError


@dataclass(frozen=True, slots=True)
class Submission:
    """A document, and when it was received in ns since 1970 UTC; None = now."""

    document: Document
    receive_time_ns: int | None = None


class Target(Protocol):
    """What commands ask of a ledger, near or far. `LedgerClient` says what each promises and raises."""

    def verify(self, request: VerifyCodesRequest) -> VerifyCodesResponse:
        """Judge codes as if they were sold now."""

    def get_code(self, code: str) -> GetCodeResponse:
        """What is known of a code."""

    def list_code_events(self, code: str) -> Iterator[CodeEvent]:
        """A code's whole history."""

    def import_products(self, products: Sequence[Product]) -> ImportResult:
        """Create or update products."""

    def import_institutions(self, institutions: Sequence[Institution]) -> ImportResult:
        """Create or update institutions."""

    def import_holds(self, holds: Sequence[Hold]) -> ImportResult:
        """Create or update holds."""

    def import_code_replacements(self, code_replacements: Sequence[CodeReplacement]) -> ImportResult:
        """Create or update code replacements."""

    def list_rule_bases(self) -> Iterator[RuleBase]:
        """All rule bases, the one that holds last first."""

    def activate_rule_base(self, request: ActivateRuleBaseRequest) -> RuleBase:
        """Put a rule base in force."""


class LocalLedger:
    """A ledger opened by the command itself, asked as `LedgerClient` is asked."""

    def __init__(self, ledger: Ledger, clock_ns: Callable[[], int]) -> None:
        """The ledger stays the caller's to close."""
        self._ledger = ledger
        self._clock_ns = clock_ns
        self.verify = ledger.verify
        self.get_code = ledger.get_code
        self.import_products = ledger.import_products
        self.import_institutions = ledger.import_institutions
        self.import_holds = ledger.import_holds
        self.import_code_replacements = ledger.import_code_replacements
        self.activate_rule_base = ledger.activate_rule_base

    def list_code_events(self, code: str) -> Iterator[CodeEvent]:
        """A code's whole history, oldest first."""
        request = ListCodeEventsRequest(code=code, page_size=PAGE_EVENTS)
        while True:
            page = self._ledger.list_code_events(request)
            yield from page.events
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def list_rule_bases(self) -> Iterator[RuleBase]:
        """All rule bases, the one that holds last first."""
        request = ListRuleBasesRequest()
        while True:
            page = self._ledger.list_rule_bases(request)
            yield from page.rule_bases
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def record(self, submissions: Iterable[Submission]) -> Iterator[Answer]:
        """Record documents with the times at which they were received; one answer for each, in order."""
        source = iter(submissions)
        while batch := list(islice(source, BATCH_DOCUMENTS)):
            documents = [submission.document for submission in batch]
            times = [submission.receive_time_ns or self._clock_ns() for submission in batch]
            for answer in self._ledger.record(documents, times):
                if isinstance(answer, DocumentRejected):
                    yield to_document_error(refuse(answer))
                else:
                    yield answer


@contextmanager
def open_target(
    server: str | None, data: Path | None, clock: str | None = None, *, actor: str = "", reason: str = ""
) -> Iterator[LedgerClient | LocalLedger]:
    """The ledger that the options name; the service at its usual address if they name none. A service is
    asked by `actor`, if somebody is named."""
    if data is None:
        if clock is not None:
            raise typer.BadParameter("--clock goes with --data; a service has a clock of its own")
        address = server or SERVER_DEFAULT
        # Asked once and briefly: a command should say at once that nobody listens, while the calls after
        # it may outlast a restart.
        with LedgerClient(address, deadline_seconds=PROBE_SECONDS, attempts=1) as client:
            client.service_info()
        with LedgerClient(address, actor=actor, reason=reason, deadline_seconds=DEADLINE_SECONDS) as client:
            yield client
        return
    if not data.is_dir():
        raise typer.BadParameter(
            f"there is no folder {data}; make it, or start tracecode serve --data {data}"
        )
    clock_ns = time.time_ns if clock is None else partial(_read_time, clock)
    clock_ns()
    try:
        ledger = open_ledger(Settings(data_directory=data, engine="lmdb"), clock_ns)
    except (TracecodeError, ValidationError):
        raise
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    try:
        yield LocalLedger(ledger, clock_ns)
    finally:
        ledger.close()


def _read_time(text: str) -> int:
    """A time as protobuf JSON writes it, ns since 1970 UTC."""
    time_stamp = Timestamp()
    try:
        time_stamp.FromJsonString(text)
    except ValueError:
        raise typer.BadParameter(f"--clock {text!r} is no time; write it as 2026-03-01T00:00:00Z") from None
    return time_stamp.ToNanoseconds()
