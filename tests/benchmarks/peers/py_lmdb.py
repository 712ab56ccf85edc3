"""py-lmdb: one database, one write transaction for a thousand claims, the batch sorted and put by one cursor
(putmulti, overwrite=False, so that a claim that stands is kept), synced to disk by the commit."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np

from benchmarks.codes import list_codes
from benchmarks.peers import CLAIMS_PER_BATCH, Claims, Unseen, claim_batches

CLAIMS_PER_SECOND_MAX = 400_000
CLAIM = bytes(40)
"""Institution, document, time: of the size of our own record of a code."""


class PyLmdb:
    """See the module."""

    name = "pylmdb"
    how = "one writer"

    def __init__(self, folder: Path, codes: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._unseen = Unseen(codes)
        self._env = lmdb.open(str(folder), map_size=64 * 2**30)
        loaded = sorted(list_codes(np.arange(codes, dtype=np.int64)))
        with self._env.begin(write=True) as txn, txn.cursor() as cursor:
            cursor.putmulti(((code.encode(), CLAIM) for code in loaded), append=True)

    def claim(self, seconds: float, warm_up_seconds: float) -> Claims:
        """Claim unseen codes for so long, after the warm-up."""
        count = (
            int(CLAIMS_PER_SECOND_MAX * (seconds + warm_up_seconds)) // CLAIMS_PER_BATCH * CLAIMS_PER_BATCH
        )
        first = self._unseen.take(count)
        items = [
            (code.encode(), CLAIM) for code in list_codes(np.arange(first, first + count, dtype=np.int64))
        ]
        batches = [items[at : at + CLAIMS_PER_BATCH] for at in range(0, count, CLAIMS_PER_BATCH)]
        return claim_batches(batches, self._commit, seconds, warm_up_seconds, self._folder)

    def _commit(self, items: list[tuple[bytes, bytes]]) -> int:
        with self._env.begin(write=True) as txn, txn.cursor() as cursor:
            return int(cursor.putmulti(sorted(items), overwrite=False)[1])

    def stop(self) -> None:
        """Close the file."""
        self._env.close()
