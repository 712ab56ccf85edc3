"""Judged codes a second, in one thread, beside a bare mdb_get of the same keys in the same file.

Before each turn the file is read into memory, and all keys are looked up once without counting."""

from __future__ import annotations

import json
import struct
import subprocess
import time
from pathlib import Path
from statistics import median

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.codes import list_codes
from benchmarks.conftest import PERSON_KEY, Loads, Plan
from benchmarks.page_cache import read_files
from benchmarks.results import Results
from benchmarks.workload import name_findings
from tracecode._native import keys_of
from tracecode.ledger import Ledger
from tracecode.v1 import ledger_service_pb2

CODES_PER_REQUEST = 1_000
REQUESTS_PER_ROUND = 100


def open_ledger(folder: Path) -> Ledger:
    """The ledger in a loaded folder."""
    return Ledger.open(folder, engine="lmdb", person_key=PERSON_KEY)


def verify_codes(ledger: Ledger, requests: list[bytes]) -> float:
    """Codes a second; every request was answered."""
    begin, unanswered = time.perf_counter(), 0
    for request in requests:
        unanswered += ledger.verify_plain(request) is None
    seconds = time.perf_counter() - begin
    assert not unanswered, f"{unanswered} of {len(requests)} requests were left to the ordinary path"
    return CODES_PER_REQUEST * len(requests) / seconds


def is_plain(ledger: Ledger, request: bytes) -> bool:
    """Whether such a request is answered without Python; and if so, the answer is the judge's own."""
    answer = ledger.verify_plain(request)
    if answer is None:
        return False
    ours = ledger_service_pb2.VerifyCodesResponse.FromString(answer)
    judged = ledger.verify(ledger_service_pb2.VerifyCodesRequest.FromString(request))
    assert ours.answers == judged.answers
    assert not any(name_findings(answer.findings) for answer in ours.answers)
    return True


def test_verify_beside_raw_lmdb(
    benchmark: BenchmarkFixture, plan: Plan, results: Results, loads: Loads, programs: Path, passing: Path
) -> None:
    """Pins that answers are the judge's own; a request that native code does not take yet gives no ratio."""
    folder, workload = loads.copy(plan.codes)
    requests, numbers = workload.questions(REQUESTS_PER_ROUND * 10, CODES_PER_REQUEST)
    keys = passing / "keys"
    with keys.open("wb") as file:
        for key in keys_of(list_codes(numbers)):
            file.write(struct.pack("B", 1 + len(key)) + b"c" + key)
    look_up = [str(programs / "look_up"), str(folder / "index"), str(keys), str(plan.seconds)]
    ours, raw = [], []
    for _ in range(plan.rounds):
        with_ledger = open_ledger(folder)
        read_files(folder)
        plain = is_plain(with_ledger, requests[0])
        if plain:
            verify_codes(with_ledger, requests)
            ours.append(verify_codes(with_ledger, requests))
        with_ledger.close()
        read_files(folder)
        done = json.loads(subprocess.run(look_up, check=True, capture_output=True, text=True).stdout)
        raw.append(done["looked_up"] / done["seconds"])
    results.add_figure(f"raw_lmdb_keys_per_second_{plan.scale}", median(raw))
    results.add_figure(f"verify_codes_per_second_{plan.scale}", median(ours) if ours else None)
    if ours:
        results.add_ratio(f"verify_vs_raw_lmdb_{plan.scale}", median(ours), median(raw))

    ledger = open_ledger(folder)
    some = requests[:10] if plain else requests[:1]
    request = ledger_service_pb2.VerifyCodesRequest.FromString(some[0])
    benchmark.group = f"verify {CODES_PER_REQUEST} codes"
    if plain:
        benchmark.pedantic(ledger.verify_plain, (some[0],), rounds=20)
    else:
        benchmark.pedantic(ledger.verify, (request,), rounds=3)
    ledger.close()
    loads.drop(folder)
