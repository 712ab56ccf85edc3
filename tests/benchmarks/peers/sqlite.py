"""SQLite: one table without row ids, WAL, synchronous=FULL, a thousand claims a transaction, one connection
(it has one writer). A cache that holds the table, and checkpoints of 200 MB, which are part of the time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.codes import list_codes
from benchmarks.peers import CLAIMS_PER_BATCH, Claims, Unseen, claim_batches

CLAIMS_PER_SECOND_MAX = 400_000
Row = tuple[str, str, str, int]


class SQLite:
    """See the module."""

    name = "sqlite"
    how = "one connection"

    def __init__(self, folder: Path, codes: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._unseen = Unseen(codes)
        self._connection = sqlite3.connect(folder / "claims.sqlite", isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=OFF", "cache_size=-2000000", "mmap_size=17179869184"):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        self._connection.execute(
            "CREATE TABLE claims (code TEXT PRIMARY KEY, institution TEXT, document TEXT, sold_at INTEGER)"
            " WITHOUT ROWID"
        )
        # In key order, which is how one loads a B-tree.
        loaded = sorted(list_codes(np.arange(codes, dtype=np.int64)))
        self._connection.execute("BEGIN")
        self._insert((code, "P31010000001", "XS1", 0) for code in loaded)
        self._connection.execute("COMMIT")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._connection.execute("PRAGMA wal_autocheckpoint=50000").fetchall()
        self._connection.execute("PRAGMA synchronous=FULL")

    def _insert(self, rows: Iterable[Row]) -> int:
        return self._connection.executemany("INSERT OR IGNORE INTO claims VALUES (?, ?, ?, ?)", rows).rowcount

    def claim(self, seconds: float, warm_up_seconds: float) -> Claims:
        """Claim unseen codes for so long, after the warm-up."""
        count = (
            int(CLAIMS_PER_SECOND_MAX * (seconds + warm_up_seconds)) // CLAIMS_PER_BATCH * CLAIMS_PER_BATCH
        )
        first = self._unseen.take(count)
        codes = list_codes(np.arange(first, first + count, dtype=np.int64))
        rows = [(code, "P31010000001", "XS2", 1) for code in codes]
        batches = [rows[at : at + CLAIMS_PER_BATCH] for at in range(0, count, CLAIMS_PER_BATCH)]
        return claim_batches(batches, self._commit, seconds, warm_up_seconds, self._folder)

    def _commit(self, rows: list[Row]) -> int:
        self._connection.execute("BEGIN IMMEDIATE")
        claimed = self._insert(rows)
        self._connection.execute("COMMIT")
        return claimed

    def stop(self) -> None:
        """Close the file."""
        self._connection.close()
