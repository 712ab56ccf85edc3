"""Views beside sales: what keeping them costs the stream, and how far behind they are meanwhile.

The same stream of sales goes to a service that keeps views and to one that does not, in turns; client,
service and projector share all cores of the machine. Before a turn with views they have caught up.
"""

from __future__ import annotations

import threading
import time
from statistics import median

import grpc
from tracecode_server.settings import Settings

from benchmarks.conftest import Loads, Plan
from benchmarks.load.clients import Client
from benchmarks.load.servers import ledger_server, port_of
from benchmarks.page_cache import read_files
from benchmarks.results import Results
from benchmarks.test_edge import RECORD_DOCUMENTS, STREAMS, sequence_of, write_messages
from benchmarks.workload import LINES_PER_SALE, Till
from tracecode.v1 import ledger_service_pb2, ledger_service_pb2_grpc
from tracecode.views.projector import rebuild

LOOK_SECONDS = 0.1
CATCH_UP_SECONDS_MAX = 600.0


class Watch:
    """Asks a service again and again how old the oldest entry is that its views lack."""

    def __init__(self, port: int) -> None:
        self.lags: list[float] = []
        self._port = port
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="views-watch")

    def _look(self) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self._port}") as channel:
            stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
            while not self._ended.wait(LOOK_SECONDS):
                info = stub.GetServiceInfo(ledger_service_pb2.GetServiceInfoRequest(), timeout=30)
                self.lags.append(info.views.lag_seconds)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def wait_until_complete(port: int) -> None:
    """Wait until the views lack nothing."""
    until = time.monotonic() + CATCH_UP_SECONDS_MAX
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        while True:
            info = stub.GetServiceInfo(ledger_service_pb2.GetServiceInfoRequest(), timeout=30)
            if info.HasField("views") and info.views.sequence == info.sequence:
                return
            assert time.monotonic() < until, f"views are {info.views.entries_behind} entries behind"
            time.sleep(LOOK_SECONDS)


def test_views(plan: Plan, results: Results, loads: Loads, client: Client) -> None:
    """Pins that views lack nothing in the end; says what they cost, and their lag."""
    assert "views" in Settings.model_fields
    folder, workload = loads.copy(plan.codes)
    till = Till(workload)
    begun = time.perf_counter()
    rebuild(folder)
    rebuilt = workload.codes / (time.perf_counter() - begun)
    found: dict[bool, list[float]] = {False: [], True: []}
    lags: list[float] = []
    share = min(till.left // (3 * plan.rounds), int(100_000 * plan.seconds))
    warm_up = int(share * plan.warm_up_seconds / plan.seconds)
    for _ in range(plan.rounds):
        for views, kept in found.items():
            first, messages = write_messages(till.sell(warm_up)), write_messages(till.sell(share))
            with ledger_server(folder, views=views) as server:
                port = port_of(server)
                if views:
                    wait_until_complete(port)
                read_files(folder)
                client.stream(port, RECORD_DOCUMENTS, first, streams=max(STREAMS))
                before = sequence_of(port)
                with Watch(port) as watch:
                    seconds = client.stream(port, RECORD_DOCUMENTS, messages, streams=max(STREAMS))
                assert sequence_of(port) - before == share
                kept.append(LINES_PER_SALE * share / seconds)
                if views:
                    lags += watch.lags
                    wait_until_complete(port)
    loads.drop(folder)

    scale = plan.scale
    results.add_figure(f"views_rebuild_codes_per_second_{scale}", rebuilt)
    results.add_figure(f"stream_with_views_lines_per_second_{scale}", median(found[True]))
    results.add_figure(f"views_lag_p99_seconds_{scale}", sorted(lags)[int(0.99 * len(lags))])
    results.add_figure(f"views_lag_max_seconds_{scale}", max(lags))
    results.add_ratio(plan.key("views_on_vs_off"), median(found[True]), median(found[False]))
