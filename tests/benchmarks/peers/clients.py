"""Clients of a peer, each a process with a connection of its own, that begin a turn together."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.page_cache import read_files
from benchmarks.peers import CLAIMS_PER_BATCH, Claims, Unseen, claim_batches

TESTS = Path(__file__).parent.parent.parent
CONNECTIONS = (1, 2, 4, 8)


class Clients:
    """Runs `module` in as many processes as there may be connections; each calls `answer`.

    `files`, the server's, are read into the page cache before each turn; None where all is in memory."""

    def __init__(
        self, module: str, address: str, codes: int, claims_per_second_max: int, files: Path | None
    ) -> None:
        self._module, self._files = module, files
        self._claims_per_second_max = claims_per_second_max
        self._unseen = Unseen(codes)
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", module, address],
                cwd=TESTS,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(max(CONNECTIONS))
        ]
        self.connections = 0

    def tune(self, seconds: float, warm_up_seconds: float) -> dict[int, float]:
        """Find the number of connections that does best, and keep to it; claims a second by number."""
        rates = {}
        for self.connections in CONNECTIONS:
            rates[self.connections] = self.claim(seconds, warm_up_seconds).per_second
        self.connections = max(rates, key=rates.__getitem__)
        return rates

    def claim(self, seconds: float, warm_up_seconds: float) -> Claims:
        """Claim unseen codes for so long, over all connections, after the warm-up."""
        share = int(self._claims_per_second_max * (seconds + warm_up_seconds)) // self.connections
        count = max(1, share // CLAIMS_PER_BATCH) * CLAIMS_PER_BATCH
        used = self._processes[: self.connections]
        for process in used:
            _write(process, f"{self._unseen.take(count)} {count} {seconds} {warm_up_seconds}")
        for process in used:
            if _read(process) != "ready":
                raise RuntimeError(f"a client of {self._module} did not begin")
        if self._files is not None:
            read_files(self._files)
        for process in used:
            _write(process, "go")
        counts = [Claims(*json.loads(_read(process))) for process in used]
        return Claims(sum(count.claims for count in counts), max(count.seconds for count in counts))

    def stop(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.communicate()


def answer(make_batches: Callable[[int, int], Sequence[bytes]], claim: Callable[[bytes], int]) -> None:
    """A client's side: makes batches from a first code and a count, and claims them when all are ready."""
    for line in sys.stdin:
        first, count, seconds, warm_up_seconds = line.split()
        batches = make_batches(int(first), int(count))
        print("ready", flush=True)
        sys.stdin.readline()
        claims = claim_batches(batches, claim, float(seconds), float(warm_up_seconds))
        print(json.dumps([claims.claims, claims.seconds]), flush=True)


def _write(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")
