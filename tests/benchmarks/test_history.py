"""How long a regulator waits for a code's life: of any box in a large journal, and of one that no box has."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import grpc
import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from running_server import ServerProcess

from benchmarks.codes import list_codes
from benchmarks.conftest import PERSON_KEY, Loads, Plan
from benchmarks.page_cache import read_files
from benchmarks.results import Results
from benchmarks.workload import DRUG_CODES, Till, Workload, check_silent, group, record
from tracecode.engine.lmdb import LmdbEngine
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import (
    document_pb2,
    history_service_pb2,
    history_service_pb2_grpc,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
)

CODES = 2_000
SALES = 20_000
SALES_PER_GROUP = 667
EVENTS = 10_000
DOCUMENTS_PER_COMMIT = 250
PAGES = 20
STARTS = 5
FILL_PER_COMMIT = 20_000


def ask(ledger: Ledger, code: str, page_token: str = "") -> tuple[float, str]:
    """Milliseconds for one page, and the token of the next."""
    begin = time.perf_counter()
    page = ledger.list_code_events(ledger_service_pb2.ListCodeEventsRequest(code=code, page_token=page_token))
    return (time.perf_counter() - begin) * 1e3, page.next_page_token


def rank(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[int(share * (len(values) - 1))]


def fill_journal(engine: LmdbEngine, workload: Workload, entries: int) -> None:
    """Record receipts without codes until the journal has so many entries."""
    mark = b"FILL00000000"
    form = document_pb2.Document(
        institution_code=workload.list_institutions()[0].institution_code,
        document_number=mark.decode(),
        business_time=Timestamp(seconds=int(time.time()) - 3600),
        lines=[document_pb2.Line(line_number=1, drug_code=DRUG_CODES[0], quantity="1", lot_number="A1")],
        receipt=document_pb2.Receipt(supplier_name="国药控股", delivery_note_number="SHD-2026"),
    ).SerializeToString()
    head, _, tail = form.partition(mark)
    first = engine.sequence
    for begin in range(first, entries, FILL_PER_COMMIT):
        numbers = range(begin, min(begin + FILL_PER_COMMIT, entries))
        [submissions] = group([head + b"FILL%08d" % number + tail for number in numbers], FILL_PER_COMMIT)
        answers = record(engine, submissions)
        check_silent(answers[:1])
    assert engine.sequence >= entries


def test_history_of_any_code(plan: Plan, results: Results, loads: Loads) -> None:
    """A box's life, of boxes drawn from all received, some of them sold, in a journal of as many entries as
    there are codes.

    Pins the promised 5 ms of 99 in 100."""
    folder, workload = loads.copy(plan.codes)
    with closing(Ledger.open(folder, person_key=PERSON_KEY)) as ledger:
        engine, till = ledger.engine, Till(workload)
        assert isinstance(engine, LmdbEngine)
        documents = till.sell(min(SALES, till.left // 2))
        for submissions in group(documents, SALES_PER_GROUP):
            record(engine, submissions)
        fill_journal(engine, workload, plan.codes)
        results.add_figure(plan.key("history_entries"), engine.sequence)
        read_files(folder)
        rng = random.Random(1)
        sold = [
            line.codes[0]
            for document in rng.sample(documents, CODES // 2)
            for line in document_pb2.Document.FromString(document).lines[:1]
        ]
        received = list_codes(np.array(rng.sample(range(workload.codes), CODES // 2)))
        codes = rng.sample([*sold, *received], CODES)
        gc.collect()
        gc.freeze()
        times = [ask(ledger, code)[0] for code in codes]
        gc.unfreeze()
    loads.drop(folder)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        results.add_figure(plan.key(f"history_ms_{name}"), rank(times, share))
    assert rank(times, 0.99) < 5, f"{rank(times, 0.99):.1f} ms"


def test_history_of_a_long_chain(tmp_path: Path, results: Results) -> None:
    """The first page of a code that 10,000 documents name, as two services tell it over a socket: of one that
    has just started and remembers nothing, again, and the pages behind.

    Pins the promised 10 ms of a first page, of a server that has just started and of one that was asked
    before: the median of the starts, and of all that were asked again."""
    folder, key_file, grants = tmp_path / "ledger", tmp_path / "key", tmp_path / "grants.toml"
    grants.write_text('[actors.bench]\ndivisions = [""]\n')
    workload = Workload.of(1_000)
    moment = workload.received_time + 86_400
    [code] = list_codes(np.array([7]))
    with closing(
        Ledger.open(folder, person_key=PersonKey.read_or_create(key_file), clock_ns=lambda: moment * 10**9)
    ) as ledger:
        ledger.import_products(workload.list_products())
        institutions = workload.list_institutions()
        ledger.import_institutions(institutions)
        for begin in range(0, EVENTS, DOCUMENTS_PER_COMMIT):
            ledger.record(
                [
                    make_sale(institutions[at % len(institutions)].institution_code, at, moment, code)
                    for at in range(begin, begin + DOCUMENTS_PER_COMMIT)
                ]
            )
    cold: dict[str, list[float]] = {}
    warm: dict[str, list[float]] = {}
    later: dict[str, list[float]] = {}
    for _ in range(STARTS):
        for service, make_asker in ASKERS.items():
            with (
                ServerProcess(data_directory=folder, person_key_file=key_file, grants_file=grants) as process,
                grpc.insecure_channel(process.address) as channel,
            ):
                # The connection and the first of all calls are no part of a page.
                ledger_service_pb2_grpc.LedgerServiceStub(channel).GetServiceInfo(
                    ledger_service_pb2.GetServiceInfoRequest()
                )
                ask_page = make_asker(channel, code)
                read_files(folder)
                milliseconds, first = ask_page("")
                cold.setdefault(service, []).append(milliseconds)
                warm.setdefault(service, []).extend(ask_page("")[0] for _ in range(PAGES))
                token = first
                for _ in range(PAGES):
                    milliseconds, token = ask_page(token)
                    later.setdefault(service, []).append(milliseconds)
    for service in ASKERS:
        results.add_figure(f"long_{service}_first_page_cold_ms", rank(cold[service], 0.5))
        results.add_figure(f"long_{service}_first_page_ms", rank(warm[service], 0.5))
        results.add_figure(f"long_{service}_later_page_ms", rank(later[service], 0.5))
    for service in ASKERS:
        for when, times in (("cold", cold[service]), ("warm", warm[service])):
            assert rank(times, 0.5) < 10, f"{service}, {when}: {rank(times, 0.5):.1f} ms"


AskPage = Callable[[str], tuple[float, str]]
"""Milliseconds for the page of a token, and the token of the next."""


def list_events(channel: grpc.Channel, code: str) -> AskPage:
    """By LedgerService."""
    stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)

    def ask_page(token: str) -> tuple[float, str]:
        request = ledger_service_pb2.ListCodeEventsRequest(code=code, page_token=token)
        begin = time.perf_counter()
        page = stub.ListCodeEvents(request)
        return (time.perf_counter() - begin) * 1e3, page.next_page_token

    return ask_page


def tell_history(channel: grpc.Channel, code: str) -> AskPage:
    """By HistoryService, which keeps each look."""
    stub = history_service_pb2_grpc.HistoryServiceStub(channel)

    def ask_page(token: str) -> tuple[float, str]:
        request = history_service_pb2.GetCodeHistoryRequest(code=code, page_token=token)
        begin = time.perf_counter()
        page = stub.GetCodeHistory(request, metadata=(("tracecode-actor", "bench"),))
        return (time.perf_counter() - begin) * 1e3, page.next_page_token

    return ask_page


ASKERS: Final[Mapping[str, Callable[[grpc.Channel, str], AskPage]]] = {
    "events": list_events,
    "history": tell_history,
}


def make_sale(institution_code: str, number: int, moment: int, code: str) -> document_pb2.Document:
    """One of very many sales of one code."""
    return document_pb2.Document(
        institution_code=institution_code,
        document_number=f"LONG{number}",
        business_time=Timestamp(seconds=moment - EVENTS + number),
        sale=document_pb2.Sale(stage=document_pb2.SALE_STAGE_REPORTED),
        lines=[document_pb2.Line(codes=[code], quantity="1")],
    )
