"""What the log costs whoever sells, how far it lags, and how fast entries are integrated and proved."""

from __future__ import annotations

import os
import random
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median, quantiles

from benchmarks.conftest import PERSON_KEY, Loads, Plan
from benchmarks.load.clients import Client
from benchmarks.load.processes import child_of, cpu_of
from benchmarks.load.servers import ledger_server, port_of
from benchmarks.page_cache import read_files
from benchmarks.results import Results, name_scale
from benchmarks.test_edge import RECORD_DOCUMENTS, sequence_of, write_messages
from benchmarks.workload import LINES_PER_SALE, Till
from tracecode._native import Store
from tracecode.client import NotKnown, ProofClient
from tracecode.engine.lmdb import MAP_SIZE_BYTES
from tracecode.ledger import Ledger
from tracecode.proof import key, verify
from tracecode.proof.audit import open_journal
from tracecode.proof.integrator import Integrator
from tracecode.proof.tiles import TileReader, fetch_from
from tracecode.proof.tree import hash_leaf, is_included, prove_inclusion
from tracecode.v1 import journal_pb2

ENTRY_BYTES = 250
"""About those of a sale of three lines."""
ENTRIES_PER_COMMIT = 20_000
ENTRIES_PER_CHECKPOINT = 65_536
PROOFS = 1_000
POLL_SECONDS = 0.02
LAG_SECONDS_MAX = 60
INTEGRATION_SECONDS_MAX = 600
STREAMS = 4
LOG = "bench.example/journal"


def test_integration(plan: Plan, results: Results, passing: Path) -> None:
    """Entries integrated and published a second, in one process, and the time of a proof of any of them."""
    count, scale = plan.codes, name_scale(plan.codes)
    folder = passing / "proof"
    fill_journal(folder / "ledger", count)
    read_files(folder / "ledger")
    signer = key.create(folder / "key", LOG)
    with (
        closing(open_journal(folder / "ledger")) as journal,
        closing(Integrator(journal, folder / "log", [signer], folder / "key.last")) as integrator,
    ):
        begin, cpu = time.perf_counter(), time.process_time()
        while integrator.integrate():
            if integrator.size - integrator.published >= ENTRIES_PER_CHECKPOINT:
                integrator.publish()
        integrator.publish()
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        root, size = integrator.root(), integrator.size
        assert size == count
        times, rng = [], random.Random(1)
        for _ in range(PROOFS):
            index = rng.randrange(size)
            begin = time.perf_counter()
            # A reader of its own, as each call of the service has: nothing is kept from the proof before.
            path = prove_inclusion(index, size, TileReader(fetch_from(folder / "log"), size).node)
            times.append((time.perf_counter() - begin) * 1e3)
            assert is_included(hash_leaf(journal.entries(index, 1)[0]), index, size, path, root)
    results.add_figure(f"proof_integrated_entries_per_second_{scale}", count / seconds)
    results.add_figure(f"proof_integration_cpu_us_per_entry_{scale}", cpu / count * 1e6)
    results.add_figure(f"proof_of_an_entry_p50_ms_{scale}", median(times))
    results.add_figure(f"proof_of_an_entry_p99_ms_{scale}", quantiles(times, n=100)[98])
    results.add_figure("proof_integrator_rss_kb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def test_proof_over_grpc(plan: Plan, results: Results, passing: Path) -> None:
    """The time of a receipt of any entry, asked of a service whose log has so many, one at a time."""
    count, scale = plan.codes, name_scale(plan.codes)
    folder = passing / "asked" / "ledger"
    fill_ledger(folder, count)
    signer = key.create(passing / "asked" / "key", LOG)
    policy, times, rng = verify.Policy((signer.public,)), [], random.Random(2)
    with ledger_server(folder, views=False, proof_key_file=passing / "asked" / "key") as server:
        wait_until_published(server.address, INTEGRATION_SECONDS_MAX)
        with ProofClient(server.address, deadline_seconds=LAG_SECONDS_MAX) as client:
            for _ in range(PROOFS):
                sequence = rng.randint(1, count)
                begin = time.perf_counter()
                answer = client.get_inclusion_proof(sequence)
                times.append((time.perf_counter() - begin) * 1e3)
                report = verify.check_receipt(answer.receipt, policy)
                assert (report.sequence, report.checkpoint.size) == (sequence, count)
    results.add_figure(f"proof_over_grpc_p50_ms_{scale}", median(times))
    results.add_figure(f"proof_over_grpc_p99_ms_{scale}", quantiles(times, n=100)[98])


def test_log_beside_a_stream(
    plan: Plan, results: Results, loads: Loads, client: Client, passing: Path
) -> None:
    """Lines a second through streams with a log kept and without one, and how long what is sequenced waits
    to be published. All turns are of one service: without a log its integrator is stopped by a signal. Before
    each measured part a part of the same kind does not count, so that what waits for the integrator when a
    turn ends waited, too, when it began."""
    folder, workload = loads.copy(plan.codes)
    till = Till(workload)
    key_file = passing / "stream-key"
    key.create(key_file, LOG)
    found: dict[bool, list[float]] = {False: [], True: []}
    lags: list[float] = []
    cpu_seconds, integrated = 0.0, 0
    pairs = 2 * plan.rounds
    share = min(till.left // (2 * pairs + 2), int(100_000 * plan.seconds))
    warm_up = int(share * plan.warm_up_seconds / plan.seconds)
    # Views are measured elsewhere; what they have to catch up with would be another amount in each turn.
    with ledger_server(folder, views=False, proof_key_file=key_file) as server:
        read_files(folder)
        port = port_of(server)
        client.stream(port, RECORD_DOCUMENTS, write_messages(till.sell(share)), streams=STREAMS)
        wait_until_published(server.address)
        process = child_of(server.process.pid, "integrator_process")
        for turn in range(2 * pairs):
            on = turn % 4 in (0, 3)
            first, documents = write_messages(till.sell(warm_up)), till.sell(share - warm_up)
            messages, before = write_messages(documents), sequence_of(port)
            cpu_before = cpu_of(process)
            if not on:
                os.kill(process, signal.SIGSTOP)
            try:
                client.stream(port, RECORD_DOCUMENTS, first, streams=STREAMS)
                seconds = client.stream(port, RECORD_DOCUMENTS, messages, streams=STREAMS)
            finally:
                os.kill(process, signal.SIGCONT)
            found[on].append(LINES_PER_SALE * len(documents) / seconds)
            wait_until_published(server.address)
            assert sequence_of(port) - before == share
            if on:
                cpu_seconds += cpu_of(process) - cpu_before
                integrated += share
        # The looking costs calls: of this turn only the lag counts.
        messages = write_messages(till.sell(share))
        with watching(server.address, lags):
            client.stream(port, RECORD_DOCUMENTS, messages, streams=STREAMS)
            wait_until_published(server.address)
    loads.drop(folder)
    scale = plan.scale
    results.add_figure(f"proof_on_lines_per_second_{scale}", median(found[True]))
    results.add_figure(f"proof_beside_a_stream_cpu_us_per_entry_{scale}", cpu_seconds / integrated * 1e6)
    results.add_figure(f"proof_lag_p50_seconds_{scale}", median(lags))
    results.add_figure(f"proof_lag_p99_seconds_{scale}", quantiles(lags, n=100)[98])
    results.add_ratio(plan.key("proof_on_vs_off"), median(found[True]), median(found[False]))


def fill_journal(ledger: Path, count: int) -> None:
    """A journal of so many entries of a sale's size."""
    rng = random.Random(0)
    filler = rng.randbytes(ENTRY_BYTES - 8)
    with closing(Store(str(ledger), map_size_bytes=2**40, overlay_bytes_max=2**22, sync=False)) as store:
        for first in range(0, count, ENTRIES_PER_COMMIT):
            last = min(count, first + ENTRIES_PER_COMMIT)
            store.extend_journal([number.to_bytes(8, "big") + filler for number in range(first, last)])


def fill_ledger(folder: Path, count: int) -> None:
    """A ledger that a service opens, of so many entries of a sale's size that change nothing: looks."""
    with closing(Ledger.open(folder, engine="lmdb", person_key=PERSON_KEY)) as ledger:
        first, time_ns = ledger.engine.sequence + 1, time.time_ns()
    look = journal_pb2.JournalEntry(
        receive_time_ns=time_ns,
        access_record={"actor": "bench", "peer": "::1", "method": "/x.Y/Z", "question": "q" * 200},
    ).SerializeToString(deterministic=True)
    with closing(
        Store(str(folder), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=2**22, sync=False)
    ) as store:
        for begin in range(first, count + 1, ENTRIES_PER_COMMIT):
            numbers = range(begin, min(count + 1, begin + ENTRIES_PER_COMMIT))
            store.extend_journal(
                [journal_pb2.JournalEntry(sequence=n).SerializeToString() + look for n in numbers]
            )
    with closing(
        Store(str(folder), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=2**22, sync=False)
    ) as store:
        for sequence in range(first, count + 1):
            store.replayed(sequence)
        store.flush()


def wait_until_published(address: str, seconds_max: float = LAG_SECONDS_MAX) -> None:
    """Returns when a checkpoint covers all that is sequenced."""
    deadline = time.monotonic() + seconds_max
    with ProofClient(address, deadline_seconds=LAG_SECONDS_MAX) as client:
        while time.monotonic() < deadline:
            try:
                now = client.get_checkpoint()
            except NotKnown:
                pass
            else:
                if now.published == now.sequenced:
                    return
            time.sleep(POLL_SECONDS)
    raise TimeoutError(f"not published within {seconds_max} s")


@contextmanager
def watching(address: str, lags: list[float]) -> Iterator[None]:
    """Adds how long what was sequenced at each look had to wait for its checkpoint."""
    looks: list[tuple[float, int, int]] = []
    end = threading.Event()

    def look() -> None:
        with ProofClient(address, deadline_seconds=LAG_SECONDS_MAX) as client:
            while not end.wait(POLL_SECONDS):
                now = client.get_checkpoint()
                looks.append((time.monotonic(), now.sequenced, now.published))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    at = 0
    for seen, sequenced, _ in looks:
        while at < len(looks) and looks[at][2] < sequenced:
            at += 1
        if at < len(looks):
            lags.append(max(0.0, looks[at][0] - seen))
