"""A service that is restarted again and again under load: nobody who calls it through the client notices."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from running_server import ServerProcess, register_institutions
from wire import INSTITUTION, make_sale

from tracecode.client import LedgerClient
from tracecode.client.errors import CallFailed
from tracecode.v1 import document_pb2
from trust.conftest import Effort
from trust.table import Row

AddRow = Callable[[Row], None]
TILLS = 4
# Between two restarts every till has sold something.
SALES_BETWEEN = 2 * TILLS
PATIENCE_SECONDS = 120.0


@dataclass(slots=True)
class Tills:
    """Tills that sell until they are stopped, and what became of it."""

    attempts: int
    deadline_seconds: float
    sequences: dict[str, int] = field(default_factory=dict)
    failures: list[CallFailed] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, address: str) -> None:
        """Open the shops."""
        self._threads = [threading.Thread(target=self._sell, args=(address, n)) for n in range(TILLS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Close them when the last sale has its answer."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def wait_for_sales(self, more: int) -> None:
        """Until so many more sales have their answers. Raises TimeoutError."""
        expected, deadline = len(self.sequences) + more, time.monotonic() + PATIENCE_SECONDS
        while len(self.sequences) < expected:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.sequences)} of {expected} sales within {PATIENCE_SECONDS} s")
            time.sleep(0.005)

    def _sell(self, address: str, till: int) -> None:
        with LedgerClient(
            address, deadline_seconds=self.deadline_seconds, attempts=self.attempts, seed=till
        ) as client:
            for count in itertools.count():
                if self._end.is_set():
                    return
                number = f"restart-{till}-{count}"
                try:
                    self.sequences[number] = client.record(make_sale(number=number)).sequence
                except CallFailed as error:
                    self.failures.append(error)
                    # A till without patience has a person who tries again.
                    self._end.wait(0.01)


def restart(process: ServerProcess, directory: Path, edges: int) -> tuple[ServerProcess, int]:
    """Stop a service as an operator would, and start its successor; the exit status of the first."""
    status = process.stop()
    return ServerProcess(data_directory=directory, listen=process.address, edges=edges), status


@pytest.mark.timeout(900)
def test_rolling_restarts_under_load_are_not_noticed(tmp_path: Path, effort: Effort, add_row: AddRow) -> None:
    """Pins SIGTERM, drain and start, again and again, every tenth time to a service of two edges: no call of
    the client fails, every sale is there once with its entry. A service that is killed, and tills that ask
    once only, are noticed."""
    tries = effort.count(2, 100)
    tills = Tills(attempts=40, deadline_seconds=30)
    process = ServerProcess(data_directory=tmp_path / "ledger")
    statuses = []
    try:
        register_institutions(process.address, INSTITUTION)
        tills.start(process.address)
        tills.wait_for_sales(SALES_BETWEEN)
        for number in range(1, tries + 1):
            process, status = restart(process, tmp_path / "ledger", 2 if number % 10 == 0 else 1)
            statuses.append(status)
            tills.wait_for_sales(SALES_BETWEEN)
        tills.stop()
        kept = read_sequences(process.address, tills.sequences)

        impatient = Tills(attempts=1, deadline_seconds=5)
        impatient.start(process.address)
        impatient.wait_for_sales(SALES_BETWEEN)
        process.signal(signal.SIGKILL)
        process.wait()
        process.stop()
        process = ServerProcess(data_directory=tmp_path / "ledger", listen=process.address)
        impatient.wait_for_sales(1)
        impatient.stop()
    finally:
        tills.stop()
        process.stop()

    assert tills.failures == []
    assert statuses == [0] * tries
    add_row(
        Row(
            fault="rolling restart under load",
            how=f"SIGTERM, drain, start; {TILLS} tills go on",
            tries=tries,
            lost=len(set(tills.sequences) - set(kept)),
            doubled=len(kept) - len(set(kept.values())),
            wrong=sum(kept.get(number) != sequence for number, sequence in tills.sequences.items()),
            aborts=sum(status != 0 for status in statuses),
            control="killed in place of drained, tills that ask once",
            control_failed=bool(impatient.failures),
            note=f"{len(tills.sequences)} sales, {len(tills.failures)} failed",
        )
    )


def read_sequences(address: str, numbers: dict[str, int]) -> dict[str, int]:
    """The entries that the service has of these sales."""
    kept = {}
    with LedgerClient(address, deadline_seconds=30) as client:
        for number in numbers:
            document = client.get_document(INSTITUTION, document_pb2.DOCUMENT_KIND_SALE, number)
            kept[number] = document.verdict_first.sequence
    return kept
