"""PostgreSQL: a table with the code as its key; INSERT ... SELECT unnest ... ON CONFLICT DO NOTHING
RETURNING, a thousand codes a transaction, prepared, through libpq itself, in 1, 2, 4 or 8 client processes,
whichever does best. synchronous_commit on, 4 GB of shared buffers, WAL large enough that no checkpoint falls
into the time, loaded by COPY and indexed afterwards. Run as a module it is one of the clients."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import psycopg
from psycopg import pq

from benchmarks.codes import list_codes, write_codes
from benchmarks.peers import CLAIMS_PER_BATCH, Claims
from benchmarks.peers.clients import CONNECTIONS, Clients, answer

SETTINGS = {
    "shared_buffers": "4GB",
    "max_wal_size": "32GB",
    "checkpoint_timeout": "1h",
    "synchronous_commit": "on",
    "fsync": "on",
    "wal_compression": "lz4",
    "wal_buffers": "64MB",
    "huge_pages": "try",
    "max_connections": "32",
    "listen_addresses": "''",
}
CLAIMS_PER_SECOND_MAX = 400_000
INSERT = (
    b"""INSERT INTO claims SELECT unnest($1::text[]), $2, $3, now() ON CONFLICT DO NOTHING RETURNING code"""
)


def find_programs() -> Path:
    """The folder of initdb and postgres. Raises RuntimeError when there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        raise RuntimeError("there is no PostgreSQL on this machine; as root: apt-get install postgresql")
    return Path(on_path).resolve().parent


class PostgreSQL:
    """See the module."""

    name = "postgresql"

    def __init__(self, folder: Path, codes: int, tuning_seconds: float, warm_up_seconds: float) -> None:
        self._start(folder, SETTINGS)
        self._load(codes)
        self._clients = Clients(
            "benchmarks.peers.postgresql", self._address, codes, CLAIMS_PER_SECOND_MAX, files=folder / "data"
        )
        self.rates = self._clients.tune(tuning_seconds, warm_up_seconds)
        self.how = f"best of {', '.join(map(str, CONNECTIONS))} connections: {self._clients.connections}"

    def _start(self, folder: Path, settings: Mapping[str, str]) -> None:
        """Make a database in a new folder and start its server on a socket there."""
        folder.mkdir(parents=True)
        # PostgreSQL refuses root.
        self._user = "postgres" if os.geteuid() == 0 else ""
        if self._user:
            shutil.chown(folder, self._user)
        data, programs = folder / "data", find_programs()
        self._run(
            [programs / "initdb", "-D", data, "-A", "trust", "-U", "bench", "-E", "UTF8", "--no-locale"]
        )
        with (data / "postgresql.conf").open("a", encoding="utf-8") as file:
            settings = {**settings, "unix_socket_directories": f"'{folder}'"}
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            self._as_user([programs / "postgres", "-D", data]), stdout=self._log, stderr=self._log, cwd=folder
        )
        self._address = f"host={folder} user=bench dbname=postgres"

    def _as_user(self, command: list[str | Path]) -> list[str | Path]:
        # setpriv becomes the program, so that the process we end is the server itself.
        switch = ["setpriv", f"--reuid={self._user}", f"--regid={self._user}", "--init-groups"]
        return [*switch, *command] if self._user else command

    def _run(self, command: list[str | Path]) -> None:
        subprocess.run(self._as_user(command), check=True, stdout=subprocess.DEVNULL, cwd="/")

    def _connect(self) -> psycopg.Connection:
        for _ in range(200):
            try:
                return psycopg.connect(self._address, autocommit=True)
            except psycopg.OperationalError:
                if self._process.poll() is not None:
                    raise
                time.sleep(0.1)
        raise TimeoutError("PostgreSQL did not start within 20 s")

    def _load(self, codes: int) -> None:
        with self._connect() as connection:
            connection.execute(
                'CREATE TABLE claims (code text COLLATE "C", institution text, document text,'
                " sold_at timestamptz)"
            )
            with connection.cursor().copy("COPY claims FROM STDIN") as copy:
                rest = np.frombuffer(b"\tP31010000001\tXS1\t2026-01-01 00:00:00+08\n", np.uint8)
                for first in range(0, codes, 100_000):
                    rows = write_codes(np.arange(first, min(first + 100_000, codes), dtype=np.int64))
                    tails = np.tile(rest, (len(rows), 1))
                    copy.write(np.concatenate([rows, tails], axis=1).tobytes())
            connection.execute("ALTER TABLE claims ADD PRIMARY KEY (code)")
            connection.execute("VACUUM ANALYZE claims")
            connection.execute("CHECKPOINT")

    def claim(self, seconds: float, warm_up_seconds: float) -> Claims:
        """Claim unseen codes for so long, after the warm-up."""
        return self._clients.claim(seconds, warm_up_seconds)

    def stop(self) -> None:
        """Fast shutdown (SIGINT), as its manual names it."""
        self._clients.stop()
        self._stop()

    def _stop(self) -> None:
        self._process.send_signal(2)
        self._process.wait(120)
        self._log.close()


def write_batches(first: int, count: int) -> list[bytes]:
    """Arrays of a thousand codes, as PostgreSQL reads them from text."""
    codes = list_codes(np.arange(first, first + count, dtype=np.int64))
    return [
        b"{" + ",".join(codes[at : at + CLAIMS_PER_BATCH]).encode() + b"}"
        for at in range(0, count, CLAIMS_PER_BATCH)
    ]


def main(address: str) -> None:
    """One client."""
    connection = pq.PGconn.connect(address.encode())
    prepared = connection.prepare(b"claim", INSERT)
    assert prepared.status == pq.ExecStatus.COMMAND_OK, prepared.error_message

    def claim(batch: bytes) -> int:
        result = connection.exec_prepared(b"claim", [batch, b"P31010000001", b"XS2"])
        assert result.status == pq.ExecStatus.TUPLES_OK, result.error_message
        return result.ntuples

    answer(write_batches, claim)


if __name__ == "__main__":
    main(sys.argv[1])
