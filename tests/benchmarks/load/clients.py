"""Starts the C programs beside this file."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CALLS_SECONDS_MAX = 300


def build(folder: Path) -> None:
    """Compile the programs into `folder`. Raises CalledProcessError when that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, library in (("calls", "nghttp2"), ("look_up", "lmdb")):
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-o", str(folder / name), str(HERE / f"{name}.c")]
        subprocess.run([*command, f"-l{library}"], check=True)


@dataclass(frozen=True, slots=True)
class Calls:
    """What the client counted. Latencies are of all calls, times of the client's own clock."""

    calls: int
    ok: int
    in_time: int
    seconds: float
    until_last: float
    cpu_seconds: float
    bytes_received: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @property
    def failed_share(self) -> float:
        """Of all calls, those that did not succeed."""
        return 1 - self.ok / self.calls

    @property
    def per_second(self) -> float:
        """Calls that were answered before the time, or the messages, were at an end; by the second."""
        return self.in_time / min(self.seconds, self.until_last)


@dataclass(frozen=True, slots=True)
class Client:
    """Makes calls with messages that were serialized before."""

    program: Path
    folder: Path
    """Where the messages are put."""

    def call(
        self,
        port: int,
        method: str,
        messages: Sequence[bytes],
        *,
        connections: int = 4,
        flight: int = 64,
        seconds: float,
        rate: float = 0,
        repeat: bool = False,
        cores: Iterable[int] = (),
        failures: bool = False,
    ) -> Calls:
        """See calls.c. `cores` are where the client runs, none = anywhere. Every call must succeed, unless
        the caller looks at the `failures` itself."""
        bodies = self.folder / "messages"
        with bodies.open("wb") as file:
            for message in messages:
                file.write(struct.pack("<I", len(message)))
                file.write(message)
        command = [str(self.program), str(port), method, str(bodies), str(connections)]
        command += [str(-flight if repeat else flight), str(seconds), str(rate)]
        if cores:
            command = ["taskset", "--cpu-list", ",".join(map(str, cores)), *command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=CALLS_SECONDS_MAX, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        calls = Calls(**json.loads(done.stdout))
        assert failures or calls.ok == calls.calls, f"{calls.calls - calls.ok} of {calls.calls} calls failed"
        assert calls.in_time > 0
        return calls

    def stream(
        self, port: int, method: str, messages: Sequence[bytes], *, streams: int, seconds_max: float = 120
    ) -> float:
        """Seconds that so many streams took, one a connection, until all messages were answered."""
        calls = self.call(port, method, messages, connections=streams, seconds=seconds_max, rate=-1)
        assert calls.calls == streams
        return calls.until_last
