"""A real service over a real socket, in a thread of this process or as a process of its own."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import uvloop
from tracecode_server.log import build_log
from tracecode_server.server import Edge, open_ledger
from tracecode_server.settings import Settings

from tracecode.client import LedgerClient
from tracecode.ledger import Ledger
from tracecode.v1.catalogue_pb2 import Institution

# A machine that is busy with other things takes its time.
START_SECONDS = 60.0


def register_institutions(address: str, *institution_codes: str) -> None:
    """Make the institutions known to the service, so that its rules let them sell."""
    institutions = [
        Institution(institution_code=code, name=f"测试药店 {code}", division_code=code[1:7])
        for code in institution_codes
    ]
    with LedgerClient(address, deadline_seconds=10) as client:
        client.import_institutions(institutions)


class ServerThread:
    """An edge and its ledger on a port of loopback that was free; `log` holds the lines it wrote."""

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns, **settings: Any) -> None:
        values = {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0", **settings}
        self.settings = Settings(**values)
        self.ledger: Ledger = open_ledger(self.settings, clock_ns)
        self._log_text = io.StringIO()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracecode-edge")
        self._thread.start()
        if not self._started.wait(START_SECONDS):
            raise TimeoutError(f"the service did not start within {START_SECONDS} s")

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.edge = Edge(self.ledger, self.settings, build_log("debug", self._log_text))
        self.address = await self.edge.start()
        self.metrics_address = self.edge.metrics_address
        self._started.set()
        await self._stop.wait()
        await self.edge.drain(self.settings.drain_seconds)

    @property
    def log(self) -> list[dict[str, Any]]:
        """The log's lines so far, read as JSON."""
        return [json.loads(line) for line in self._log_text.getvalue().splitlines()]

    def begin_drain(self) -> None:
        """Tell the service to stop; returns at once."""
        self._loop.call_soon_threadsafe(self._stop.set)

    def stop(self) -> None:
        """Drain the service and close its ledger."""
        self.begin_drain()
        self._thread.join(self.settings.drain_seconds + START_SECONDS)
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


class ServerProcess:
    """`tracecode_server.server.serve` as a process of its own, set by the environment alone."""

    def __init__(self, **settings: object) -> None:
        # Views take a process of their own, which only their tests need.
        values = {"listen": "127.0.0.1:0", "views": False, **settings}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TRACECODE_")}
        environment.update({f"TRACECODE_{name.upper()}": str(value) for name, value in values.items()})
        program = (
            "import sys; from tracecode_server.server import serve; "
            "from tracecode_server.settings import Settings; sys.exit(serve(Settings()))"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            env=environment,
            cwd=Path(__file__).parent,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.log: list[dict[str, Any]] = []
        self.other: list[str] = []
        self.address = ""
        self._started = threading.Event()
        self._reader = threading.Thread(target=self._read, name="tracecode-log")
        self._reader.start()
        self._started.wait(START_SECONDS)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                event = json.loads(line)
            except ValueError:
                self.other.append(line)
                continue
            self.log.append(event)
            if event["event"] == "serving":
                self.address = event["address"]
                self._started.set()
        self._started.set()

    def wait_for(self, event: str, timeout_seconds: float = START_SECONDS) -> dict[str, Any]:
        """The first line of the log with this event, once it is there."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            for line in list(self.log):
                if line["event"] == event:
                    return line
            time.sleep(0.02)
        raise TimeoutError(
            f"no {event} within {timeout_seconds} s, only {[line['event'] for line in self.log]}"
        )

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the process a signal; returns at once."""
        self.process.send_signal(number)

    def wait(self, timeout_seconds: float = START_SECONDS) -> int:
        """The exit status of the process, once it ends."""
        status = self.process.wait(timeout_seconds)
        self._reader.join()
        return status

    def stop(self) -> int:
        """Drain the process; returns its exit status."""
        if self.process.poll() is None:
            self.signal()
        try:
            status = self.wait()
        finally:
            self.process.kill()
            self._reader.join()
            assert self.process.stdout is not None
            assert self.process.stderr is not None
            self.process.stdout.close()
            self.process.stderr.close()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()
