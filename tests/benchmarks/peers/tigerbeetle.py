"""TigerBeetle, where TIGERBEETLE names its binary: one replica; a claim is a transfer whose id is the code,
in batches of 8,189, as many as one message takes; an id that exists is refused. One client, as it batches
best. The client of the `tigerbeetle` package must not be newer than the binary."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import tigerbeetle

from benchmarks.codes import Numbers, products_of, scatter
from benchmarks.peers import Claims, Unseen

TRANSFERS_PER_BATCH = 8_189
CLAIMS_PER_SECOND_MAX = 250_000
PACKS, SOLD = 1, 2


def write_ids(numbers: Numbers) -> list[int]:
    """An id for each code, in random order as the codes are: product and serial number."""
    return [int(number) + 1 for number in products_of(numbers) * 2**29 + scatter(numbers)]


class TigerBeetle:
    """See the module."""

    name = "tigerbeetle"
    how = "one client"

    def __init__(self, binary: str, folder: Path, codes: int) -> None:
        folder.mkdir(parents=True)
        self._unseen = Unseen(codes)
        file = str(folder / "0_0.tigerbeetle")
        made = [binary, "format", "--cluster=0", "--replica=0", "--replica-count=1", file]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [binary, "start", f"--addresses={address}", file], stdout=log, stderr=log
            )
        self._client = tigerbeetle.ClientSync(cluster_id=0, replica_addresses=address)
        self._client.create_accounts(
            [tigerbeetle.Account(id=account, ledger=1, code=1) for account in (PACKS, SOLD)]
        )
        for first in range(0, codes, 100 * TRANSFERS_PER_BATCH):
            self._send(self._list_batches(first, min(100 * TRANSFERS_PER_BATCH, codes - first)), 3_600)

    def _list_batches(self, first: int, count: int) -> list[list[tigerbeetle.Transfer]]:
        ids = write_ids(np.arange(first, first + count, dtype=np.int64))
        transfers = [
            tigerbeetle.Transfer(
                id=number, debit_account_id=PACKS, credit_account_id=SOLD, amount=1, ledger=1, code=1
            )
            for number in ids
        ]
        return [transfers[at : at + TRANSFERS_PER_BATCH] for at in range(0, count, TRANSFERS_PER_BATCH)]

    def _send(self, batches: list[list[tigerbeetle.Transfer]], seconds: float) -> Claims:
        before = self._count_sold()
        claimed, begin = 0, time.perf_counter()
        for batch in batches:
            self._client.create_transfers(batch)
            claimed += len(batch)
            if time.perf_counter() - begin > seconds:
                break
        taken = time.perf_counter() - begin
        # Whatever form a release gives its answers, an account tells what stood.
        assert self._count_sold() - before == claimed
        return Claims(claimed, taken)

    def _count_sold(self) -> int:
        (sold,) = self._client.lookup_accounts([SOLD])
        return sold.credits_posted

    def claim(self, seconds: float, warm_up_seconds: float) -> Claims:
        """Claim unseen codes for so long, after the warm-up. Its file is read past the page cache."""
        count = int(CLAIMS_PER_SECOND_MAX * warm_up_seconds)
        self._send(self._list_batches(self._unseen.take(count), count), warm_up_seconds)
        count = int(CLAIMS_PER_SECOND_MAX * seconds)
        return self._send(self._list_batches(self._unseen.take(count), count), seconds)

    def stop(self) -> None:
        """End it; nothing of it is kept."""
        self._client.close()
        self._process.terminate()
        self._process.wait(60)
