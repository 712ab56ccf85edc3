"""A service that works for long: its memory, descriptors and reader slots stay what they were."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

import lmdb
import pytest
from running_server import ServerProcess, register_institutions
from wire import DRUG, IDENTIFIER, INSTITUTION, make_code, make_sale

from tracecode.client import LedgerClient
from tracecode.v1 import catalogue_pb2, document_pb2, ledger_service_pb2
from trust.conftest import Effort
from trust.table import Row

AddRow = Callable[[Row], None]
TILLS = 3
SAMPLES = 40
# A document leaves records in memory until they are written back, about so many bytes; docs/operations.md.
RECORD_BYTES_MAX = 1_500
GROWTH_BYTES_MAX = 16 * 2**20
# gRPC and its threads reach their size in this share of the run.
WARM_UP = 0.3
# In a run of seconds the processes that follow the journal begin to read only after that, each with places of
# its own in the tables of readers; of what calls do not give back there would be a thousand.
LATE_READERS_MAX_SHORT = 8

SMALL_CACHE = """
import tracecode.engine.index

tracecode.engine.index.CACHED_BYTES_MAX = 2**20
"""
"""What python imports at its start if it stands in its path: the cache of documents, which takes longer than
this to come to its bound, is full at the end of the warm-up; what grows then is a leak."""

LEAKS = """
import os
import time

import tracecode.ledger

kept, info, last = [], tracecode.ledger.Ledger.service_info, 0.0


def leak(ledger):
    global last
    if time.monotonic() > last + 0.1:
        last = time.monotonic()
        kept.append((os.dup(0), b"x" * 3_000_000))
    return info(ledger)


tracecode.ledger.Ledger.service_info = leak
"""
"""The control's, besides: calls keep a descriptor and 3 MB, ten times a second at most, so that a quick
machine does not run out of either."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A process at one moment."""

    seconds: float
    documents: int
    anonymous_bytes: int
    descriptors: int
    readers: int


@dataclass(frozen=True, slots=True)
class Growth:
    """What grew between warm-up and end, and whether that is too much."""

    bytes: float
    """Fitted; without what the documents recorded meanwhile may leave in memory."""
    descriptors: int
    readers: int

    def count_faults(self, late_readers_max: int) -> int:
        """How many of the three are not flat, when so many readers may come late."""
        return (self.bytes > GROWTH_BYTES_MAX) + (self.descriptors > 2) + (self.readers > late_readers_max)


def look(process: ServerProcess, directory: Path, begin: float, documents: int) -> Sample:
    """What the process holds now."""
    folder = Path(f"/proc/{process.process.pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    readers = sum(count_readers(directory / name) for name in ("journal", "index"))
    return Sample(
        time.monotonic() - begin,
        documents,
        int(status["RssAnon"].split()[0]) * 1024,
        len(os.listdir(folder / "fd")),
        readers,
    )


def count_readers(environment: Path) -> int:
    """The places that are taken in the table of readers."""
    with lmdb.open(str(environment), readonly=True, lock=True, max_dbs=0) as env:
        return int(env.info()["num_readers"])


def measure_growth(samples: Sequence[Sample]) -> Growth:
    """From the samples after the warm-up: the fitted line for bytes, first against last for the rest."""
    warm = samples[int(len(samples) * WARM_UP) :]
    slope, _ = linear_regression([s.seconds for s in warm], [float(s.anonymous_bytes) for s in warm])
    recorded = warm[-1].documents - warm[0].documents
    grown = slope * (warm[-1].seconds - warm[0].seconds)
    return Growth(
        grown - recorded * RECORD_BYTES_MAX,
        warm[-1].descriptors - warm[0].descriptors,
        warm[-1].readers - warm[0].readers,
    )


def soak(directory: Path, seconds: float) -> tuple[list[Sample], int]:
    """Let tills sell, ask, look up histories and repeat for so long; the samples and failed calls."""
    counts = [0] * TILLS
    failures: list[BaseException] = []
    end = threading.Event()
    samples = []
    with ServerProcess(data_directory=directory) as process:
        register_institutions(process.address, INSTITUTION)
        # Sales of a product that nobody knows are judged in Python.
        product = catalogue_pb2.Product(
            identifier=IDENTIFIER, package_level=1, drug_codes=[DRUG], units_per_package=1
        )
        with LedgerClient(process.address) as client:
            client.import_products([product])

        def work(till: int) -> None:
            with LedgerClient(process.address, deadline_seconds=30, seed=till) as client:
                for count in itertools.count():
                    if end.is_set():
                        return
                    try:
                        visit(client, f"soak-{till}-{count}")
                    except BaseException as error:
                        failures.append(error)
                        return
                    counts[till] += 1

        tills = [threading.Thread(target=work, args=(till,)) for till in range(TILLS)]
        for till in tills:
            till.start()
        begin = time.monotonic()
        try:
            for number in range(SAMPLES):
                end.wait(max(0.0, begin + seconds * (number + 1) / SAMPLES - time.monotonic()))
                samples.append(look(process, directory, begin, sum(counts)))
        finally:
            end.set()
            for till in tills:
                till.join()
        assert process.stop() == 0
    return samples, len(failures)


def visit(client: LedgerClient, number: str) -> None:
    """One customer: asked, sold, sent again, looked at."""
    box = make_code()
    sale = make_sale(box, number)
    question = ledger_service_pb2.CodeQuestion(code=box, drug_code=sale.lines[0].drug_code)
    client.verify(ledger_service_pb2.VerifyCodesRequest(institution_code=INSTITUTION, codes=[question]))
    first = client.record(sale)
    again = client.record(sale)
    assert (first.sequence, again.repeat) == (again.sequence, True)
    assert len(list(client.list_code_events(box))) == 1
    client.get_document(INSTITUTION, document_pb2.DOCUMENT_KIND_SALE, number)
    client.service_info()


@pytest.mark.timeout(2400)
def test_a_service_that_works_for_long_stays_as_large_as_it_was(
    tmp_path: Path, effort: Effort, add_row: AddRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins flat memory, descriptors and reader slots: over a tenth of the minutes of `make trust`, over half
    an hour with `make soak`. A service that keeps descriptors and bytes of its calls is found out."""
    seconds = effort.soak_seconds

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text(SMALL_CACHE, encoding="utf-8")
    samples, failures = soak(tmp_path / "ledger", seconds)
    growth = measure_growth(samples)
    (tmp_path / "sitecustomize.py").write_text(SMALL_CACHE + LEAKS, encoding="utf-8")
    leaked, _ = soak(tmp_path / "leaking", min(seconds, 15.0))
    seen = measure_growth(leaked)

    add_row(
        Row(
            fault="long work",
            how=f"{TILLS} tills sell, ask and look up for {seconds:.0f} s",
            tries=samples[-1].documents,
            lost=failures,
            wrong=growth.count_faults(LATE_READERS_MAX_SHORT if effort.is_short else 0),
            control="a descriptor and 3 MB kept of calls",
            control_failed=seen.descriptors > 2 and seen.bytes > GROWTH_BYTES_MAX,
            note=f"{growth}; control {seen}",
        )
    )
