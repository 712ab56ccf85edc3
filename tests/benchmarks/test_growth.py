"""What becomes of cost, size and start as a ledger grows, and as the history of one box does."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import lmdb
from google.protobuf.timestamp_pb2 import Timestamp

from benchmarks.conftest import PERSON_KEY, Loads, Plan
from benchmarks.load.servers import ledger_server
from benchmarks.page_cache import read_files
from benchmarks.results import Results, name_scale
from benchmarks.test_record import sell
from benchmarks.test_verify import CODES_PER_REQUEST, is_plain, open_ledger, verify_codes
from benchmarks.workload import CODES_PER_RECEIPT, LINES_PER_SALE, Till, Workload, check_silent, group, record
from tracecode.engine.contract import Recorded
from tracecode.engine.lmdb import LmdbEngine
from tracecode.errors import DocumentRejected
from tracecode.ledger import Ledger
from tracecode.v1 import document_pb2

TESTS = Path(__file__).parent.parent
SALES_PER_GROUP = 667
REQUESTS = 300
RECEIPTS = 200
LIVE_BYTES_PER_CODE_MAX = 150
PRODUCTS = 20_000
PRODUCTS_PER_MESSAGE = 1_000
REPLAYS = (100, 20_000, 200_000)
REPLAY_SECONDS_MAX = 30
HISTORIES = (0, 4, 16, 48)
"""Times that a box was sold and taken back before."""


def test_cost_by_size(plan: Plan, results: Results, loads: Loads) -> None:
    """CPU of all threads a line and a verified code, and bytes, from 10^5 codes up: those in use, and those
    of the file, which keeps as many free pages as a flush replaced. Pins a sane bound of those in use."""
    verified: dict[str, float] = {}
    live: dict[str, float] = {}
    for codes in plan.growth:
        scale, loaded = name_scale(codes), loads.load(codes)
        folder, workload = loads.copy(codes)
        ledger = open_ledger(folder)
        requests, _ = workload.questions(REQUESTS, CODES_PER_REQUEST)
        read_files(folder)
        if is_plain(ledger, requests[0]):
            verify_codes(ledger, requests)
            begin = time.process_time()
            verify_codes(ledger, requests)
            verified[scale] = (time.process_time() - begin) / REQUESTS / CODES_PER_REQUEST * 1e6
        results.add_figure(f"verify_cpu_us_per_code_{scale}", verified.get(scale))
        till, engine = Till(workload), ledger.engine
        assert isinstance(engine, LmdbEngine)
        sales = min(30_000, till.left // 2)
        sell(engine, till.sell(sales), SALES_PER_GROUP, files=folder)
        engine.native.flush()
        journal_bytes, documents = engine.native.memory()["journal_bytes"], till.sell(sales)
        begin = time.process_time()
        sell(engine, documents, SALES_PER_GROUP)
        engine.native.flush()
        cpu = time.process_time() - begin
        journal_bytes = engine.native.memory()["journal_bytes"] - journal_bytes
        ledger.close()
        loads.drop(folder)
        results.add_figure(f"record_cpu_us_per_line_{scale}", cpu / len(documents) / LINES_PER_SALE * 1e6)
        results.add_figure(f"bytes_per_entry_{scale}", journal_bytes / len(documents))
        live[scale] = live_bytes(loaded.folder / "index") / codes
        results.add_figure(f"bytes_per_code_live_{scale}", live[scale])
        results.add_figure(f"bytes_per_code_file_{scale}", loaded.index_bytes / codes)
        results.add_figure(f"load_codes_per_second_{scale}", codes / loaded.load_seconds)
    for scale in ("1e7", "1e8"):
        if {"1e6", scale} <= verified.keys():
            results.add_ratio(f"cost_{scale}_vs_1e6", verified[scale], verified["1e6"])
    # Last, so that what was measured is written down all the same.
    assert max(live.values()) <= LIVE_BYTES_PER_CODE_MAX, live


def live_bytes(index: Path) -> int:
    """Of a closed index, the pages that hold anything: leaves, branches and overflow."""
    # A map smaller than the file would end the process at a page behind it.
    size = (index / "data.mdb").stat().st_size
    with lmdb.open(str(index), readonly=True, lock=False, create=False, map_size=size) as env:
        pages = env.stat()
    return int(pages["psize"] * (pages["leaf_pages"] + pages["branch_pages"] + pages["overflow_pages"]))


def test_imports(plan: Plan, results: Results, loads: Loads) -> None:
    """Products and receipts a second, over what is loaded. Pins that each product is new, each receipt in
    order."""
    folder, workload = loads.copy(plan.codes)
    ledger = open_ledger(folder)
    (first, *_), products = workload.list_products(), []
    for number in range(PRODUCTS):
        product = type(first)()
        product.CopyFrom(first)
        product.identifier = f"{8_200_000 + number}"
        products.append(product)
    read_files(folder)
    begin, created = time.perf_counter(), 0
    for at in range(0, PRODUCTS, PRODUCTS_PER_MESSAGE):
        created += ledger.import_products(products[at : at + PRODUCTS_PER_MESSAGE]).created
    results.add_figure(f"import_products_per_second_{plan.scale}", PRODUCTS / (time.perf_counter() - begin))
    assert created == PRODUCTS

    first_new = workload.codes // CODES_PER_RECEIPT
    documents = [some for part in workload.receipts(first_new, RECEIPTS) for some in part]
    groups = group(documents, 10)
    answers: list[Recorded] = []
    begin = time.perf_counter()
    for submissions in groups:
        answers += record(ledger.engine, submissions)
    seconds = time.perf_counter() - begin
    check_silent(answers)
    ledger.close()
    loads.drop(folder)
    results.add_figure(f"receipts_per_second_{plan.scale}", RECEIPTS / seconds)
    results.add_figure(f"receipt_codes_per_second_{plan.scale}", RECEIPTS * CODES_PER_RECEIPT / seconds)


def test_start(plan: Plan, results: Results, loads: Loads) -> None:
    """From the command to the first answer that is possible; and after a kill, entries applied again a
    second."""
    folder, workload = loads.copy(plan.codes)
    starts = []
    for _ in range(plan.rounds):
        begin = time.perf_counter()
        with ledger_server(folder):
            starts.append(time.perf_counter() - begin)
    results.add_figure(f"start_seconds_{plan.scale}", median(starts))

    opens = []
    for _ in range(plan.rounds):
        begin = time.perf_counter()
        ledger = open_ledger(folder)
        opens.append(time.perf_counter() - begin)
        ledger.close()
    results.add_figure(f"open_seconds_{plan.scale}", median(opens))

    rate = 0.0
    for sales in REPLAYS:
        # The larger count tells more, where it can be waited for.
        if not rate or sales / rate < REPLAY_SECONDS_MAX:
            rate = replay_after_kill(folder, workload, sales, median(opens))
            shutil.rmtree(folder)
            shutil.copytree(loads.load(plan.codes).folder, folder)
    loads.drop(folder)
    results.add_figure(f"replay_entries_per_second_{plan.scale}", rate)


def replay_after_kill(folder: Path, workload: Workload, sales: int, opening_seconds: float) -> float:
    """Entries applied again a second, by an engine that opens after so many sales of which the index had
    none; opening alone takes `opening_seconds`."""
    killed = subprocess.run(
        [sys.executable, "-m", "benchmarks.load.stopped", folder, str(workload.codes), str(sales)],
        cwd=TESTS,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    read_files(folder)
    told: list[tuple[int, int]] = []
    begin = time.perf_counter()
    engine = LmdbEngine(
        folder, None, time.time_ns(), on_replay=lambda done, total: told.append((done, total))
    )
    seconds = max(1e-6, time.perf_counter() - begin - opening_seconds)
    engine.close()
    assert told[-1] == (sales, sales)
    return sales / seconds


def test_memory(plan: Plan, results: Results, loads: Loads) -> None:
    """Resident memory of a process whose overlay was as full as it gets: its own, and that of files."""
    folder, workload = loads.copy(plan.codes)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.load.filled",
            folder,
            str(workload.codes),
            str(workload.sales_max),
        ],
        cwd=TESTS,
        check=True,
        capture_output=True,
        text=True,
    )
    loads.drop(folder)
    told = json.loads(done.stdout)
    assert 0 < told["overlay_bytes"]
    assert told["rss_before_bytes"] < told["rss_bytes"]
    results.add_figure(f"overlay_bytes_{plan.scale}", told["overlay_bytes"])
    results.add_figure(f"rss_before_bytes_{plan.scale}", told["rss_before_bytes"])
    results.add_figure(f"rss_overlay_full_bytes_{plan.scale}", told["rss_bytes"])
    results.add_figure(f"rss_mapped_bytes_{plan.scale}", told["mapped_bytes"])


def test_cost_by_history(plan: Plan, results: Results, passing: Path) -> None:
    """What one more sale costs of a box that was sold and taken back so many times. A box like that is judged
    by the rules, and every one of its documents is taken."""
    boxes = 20 if plan.quick else 100
    workload = Workload.of(1_000)
    ledger = Ledger.open(
        passing / "history",
        engine="lmdb",
        person_key=PERSON_KEY,
        clock_ns=lambda: workload.received_time * 10**9,
    )
    ledger.import_products(workload.list_products())
    ledger.import_institutions(workload.list_institutions())
    for documents in workload.receipts():
        for submissions in group(documents, 10):
            check_silent(record(ledger.engine, submissions))
    at, cycles = workload.received_time + 60, 0
    for history in HISTORIES:
        while cycles < history:
            tell(ledger, workload, boxes, "XS", cycles, at)
            tell(ledger, workload, boxes, "XT", cycles, at + 60)
            cycles, at = cycles + 1, at + 120
        seconds = tell(ledger, workload, boxes, "XS", cycles, at)
        results.add_figure(f"history_{history}_us_per_sale", seconds / boxes * 1e6)
        tell(ledger, workload, boxes, "XT", cycles, at + 60)
        cycles, at = cycles + 1, at + 120
    ledger.close()


def tell(ledger: Ledger, workload: Workload, boxes: int, prefix: str, cycle: int, at: int) -> float:
    """A sale (XS) of each box by itself, or its return (XT); the seconds it took."""
    documents = []
    for box in range(boxes):
        document = workload.read_sale(box, at + 3_600)
        del document.lines[1:]
        document.document_number = f"{prefix}{cycle:04d}{box:08d}"
        document.business_time.CopyFrom(Timestamp(seconds=at))
        document.sale.settlement_id = f"{prefix}{cycle:04d}{box:08d}"
        if prefix == "XT":
            document.sale_return.CopyFrom(
                document_pb2.SaleReturn(sale_document_number=f"XS{cycle:04d}{box:08d}")
            )
        documents.append(document.SerializeToString(deterministic=True))
    (submissions,) = group(documents, boxes)
    begin = time.perf_counter()
    answers = record(ledger.engine, submissions)
    seconds = time.perf_counter() - begin
    assert not any(isinstance(answer, DocumentRejected) for answer in answers), answers[0]
    return seconds
