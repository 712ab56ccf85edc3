"""Redis: SET key value NX, pipelined by a thousand, appendfsync always, so that an answer means that it is on
disk; 1, 2, 4 or 8 client processes, whichever does best. The commands are put into bytes before the time
begins, so that Python costs the peer little. All of it is in memory. Run as a module it is one of the
clients."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import redis

from benchmarks.codes import write_codes
from benchmarks.peers import CLAIMS_PER_BATCH, Claims
from benchmarks.peers.clients import CONNECTIONS, Clients, answer

CLAIMS_PER_SECOND_MAX = 1_000_000
CLAIM = b"P31010000001/XS00000002"
COMMAND = (b"*4\r\n$3\r\nSET\r\n$20\r\n", b"\r\n$%d\r\n%b\r\n$2\r\nNX\r\n" % (len(CLAIM), CLAIM))
OCTETS_PER_ANSWER = 5  # "+OK\r\n", or "$-1\r\n" for a code that was claimed before


def write_commands(first: int, count: int) -> bytes:
    """SET NX of so many codes."""
    codes = write_codes(np.arange(first, first + count, dtype=np.int64))
    head, tail = (np.tile(np.frombuffer(part, np.uint8), (count, 1)) for part in COMMAND)
    return np.concatenate([head, codes, tail], axis=1).tobytes()


def send(connection: socket.socket, commands: bytes, count: int) -> int:
    """Send commands and wait for their answers; how many claims stood."""
    connection.sendall(commands)
    missing, stood = OCTETS_PER_ANSWER * count, 0
    rest = b""
    while missing:
        answer = connection.recv(1 << 20)
        assert answer, "Redis closed the connection"
        missing -= len(answer)
        rest += answer
        whole = len(rest) - len(rest) % OCTETS_PER_ANSWER
        stood += rest[:whole].count(b"+OK\r\n")
        rest = rest[whole:]
    return stood


class Redis:
    """See the module."""

    name = "redis"

    def __init__(self, folder: Path, codes: int, tuning_seconds: float, warm_up_seconds: float) -> None:
        folder.mkdir(parents=True)
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError("there is no Redis on this machine; as root: apt-get install redis-server")
        self._socket = str(folder / "redis.sock")
        options = {
            "port": "0",
            "unixsocket": self._socket,
            "dir": str(folder),
            "save": "",
            "appendonly": "no",
        }
        options |= {"appendfsync": "always", "auto-aof-rewrite-percentage": "0", "daemonize": "no"}
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [program, *(text for name, value in options.items() for text in (f"--{name}", value))],
                stdout=log,
                stderr=log,
            )
        self._control = redis.Redis(unix_socket_path=self._socket)
        self._load(codes)
        self._clients = Clients("benchmarks.peers.redis", self._socket, codes, CLAIMS_PER_SECOND_MAX, None)
        self.rates = self._clients.tune(tuning_seconds, warm_up_seconds)
        self.how = f"best of {', '.join(map(str, CONNECTIONS))} connections: {self._clients.connections}"

    def _load(self, codes: int) -> None:
        for _ in range(200):
            if Path(self._socket).exists():
                break
            time.sleep(0.1)
        with connect(self._socket) as connection:
            for first in range(0, codes, 100_000):
                count = min(100_000, codes - first)
                assert send(connection, write_commands(first, count), count) == count
        self._control.config_set("appendonly", "yes")
        time.sleep(0.2)
        while True:
            info = self._control.info("persistence")
            if not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]:
                break
            time.sleep(0.1)
        assert self._control.config_get("appendfsync") == {"appendfsync": "always"}
        assert info["aof_enabled"]
        assert info["aof_last_bgrewrite_status"] == "ok"

    def claim(self, seconds: float, warm_up_seconds: float) -> Claims:
        """Claim unseen codes for so long, after the warm-up."""
        return self._clients.claim(seconds, warm_up_seconds)

    def stop(self) -> None:
        """End it; nothing of it is kept."""
        self._clients.stop()
        self._control.close()
        self._process.terminate()
        self._process.wait(60)


def connect(path: str) -> socket.socket:
    """A connection over a Unix socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection


def main(path: str) -> None:
    """One client."""
    with connect(path) as connection:

        def make_batches(first: int, count: int) -> list[bytes]:
            return [
                write_commands(at, CLAIMS_PER_BATCH) for at in range(first, first + count, CLAIMS_PER_BATCH)
            ]

        answer(make_batches, lambda batch: send(connection, batch, CLAIMS_PER_BATCH))


if __name__ == "__main__":
    main(sys.argv[1])
