"""How long a regulator waits for a code's life: of any box in a large journal, and of one that no box has."""

from __future__ import annotations

import gc
import random
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from benchmarks.codes import list_codes
from benchmarks.conftest import PERSON_KEY, Loads, Plan
from benchmarks.page_cache import read_files
from benchmarks.results import Results
from benchmarks.workload import Till, Workload, group, record
from tracecode.engine.lmdb import LmdbEngine
from tracecode.ledger import Ledger
from tracecode.v1 import document_pb2, ledger_service_pb2

CODES = 2_000
SALES = 20_000
SALES_PER_GROUP = 667
EVENTS = 10_000
DOCUMENTS_PER_COMMIT = 250
PAGES = 20


def ask(ledger: Ledger, code: str, page_token: str = "") -> tuple[float, str]:
    """Milliseconds for one page, and the token of the next."""
    begin = time.perf_counter()
    page = ledger.list_code_events(ledger_service_pb2.ListCodeEventsRequest(code=code, page_token=page_token))
    return (time.perf_counter() - begin) * 1e3, page.next_page_token


def rank(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[int(share * (len(values) - 1))]


def test_history_of_any_code(plan: Plan, results: Results, loads: Loads) -> None:
    """A box's life, of boxes drawn from all received, some of them sold, in a journal of so many codes.

    Pins the promised 5 ms of 99 in 100."""
    folder, workload = loads.copy(plan.codes)
    with closing(Ledger.open(folder, person_key=PERSON_KEY)) as ledger:
        engine, till = ledger.engine, Till(workload)
        assert isinstance(engine, LmdbEngine)
        documents = till.sell(min(SALES, till.left // 2))
        for submissions in group(documents, SALES_PER_GROUP):
            record(engine, submissions)
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
    """The first page of a code that 10,000 documents name: with nothing remembered, again, and those behind.

    Pins the promised 10 ms for all but the very first."""
    workload = Workload.of(1_000)
    moment = workload.received_time + 86_400
    [code] = list_codes(np.array([7]))

    def open_it() -> Ledger:
        return Ledger.open(tmp_path / "ledger", person_key=PERSON_KEY, clock_ns=lambda: moment * 10**9)

    with closing(open_it()) as ledger:
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
    with closing(open_it()) as ledger:
        cold, token = ask(ledger, code)
        warm = [ask(ledger, code)[0] for _ in range(PAGES)]
        later: list[float] = []
        while token and len(later) < PAGES:
            milliseconds, token = ask(ledger, code, token)
            later.append(milliseconds)
    results.add_figure("long_history_first_page_cold_ms", cold)
    results.add_figure("long_history_first_page_ms", rank(warm, 0.5))
    results.add_figure("long_history_later_page_ms", rank(later, 0.5))
    assert rank(warm, 0.5) < 10, f"{rank(warm, 0.5):.1f} ms"


def make_sale(institution_code: str, number: int, moment: int, code: str) -> document_pb2.Document:
    """One of very many sales of one code."""
    return document_pb2.Document(
        institution_code=institution_code,
        document_number=f"LONG{number}",
        business_time=Timestamp(seconds=moment - EVENTS + number),
        sale=document_pb2.Sale(stage=document_pb2.SALE_STAGE_REPORTED),
        lines=[document_pb2.Line(codes=[code], quantity="1")],
    )
