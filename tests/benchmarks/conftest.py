"""How large the run is, the folders that it works on, and where its results go.

The environment decides: QUICK=1 loads 10^6 codes in place of 10^7, SCALE=1e8 adds 10^8 to what grows.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from benchmarks.load.clients import Client, build
from benchmarks.results import ROOT, Results, name_scale, render_table, write_table
from benchmarks.workload import Workload, check_silent, group, record
from tracecode.engine.lmdb import LmdbEngine
from tracecode.ledger import Ledger
from tracecode.person import PersonKey

BENCH = ROOT / ".bench"
PERSON_KEY = PersonKey(b"bench" * 8)
RECEIPTS_PER_COMMIT = 10


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the results are written; without it they are only shown."""
    parser.addoption("--results", type=Path, help="write results.json here, and the table into the README")


def pytest_configure() -> None:
    """Who ends the run by SIGTERM ends what it started, too, as by Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. Times are seconds of one turn; what is warmed up with is not counted."""

    quick: bool
    codes: int
    growth: tuple[int, ...]
    rounds: int
    seconds: float
    warm_up_seconds: float
    tuning_seconds: float
    sustained_seconds: float

    @classmethod
    def read(cls) -> Plan:
        """The plan that the environment asks for."""
        if os.environ.get("QUICK", "") not in ("", "0"):
            return cls(True, 10**6, (10**5, 10**6), 3, 1.0, 0.25, 0.4, 10)
        growth = [10**5, 10**6, 10**7]
        largest = int(float(os.environ.get("SCALE") or "1e7"))
        if largest > growth[-1]:
            name_scale(largest)
            growth.append(largest)
        return cls(False, 10**7, tuple(growth), 5, 4.0, 1.0, 3.0, 60)

    @property
    def scale(self) -> str:
        """Of the main load, such as 1e7."""
        return name_scale(self.codes)

    def key(self, name: str) -> str:
        """A ratio's key that bears no size in a full run, and the size in a smaller one."""
        return f"{name}_{self.scale}" if self.quick else name


@dataclass(frozen=True, slots=True)
class Loaded:
    """A ledger that received all its codes, closed; and what that took."""

    folder: Path
    workload: Workload
    load_seconds: float
    journal_bytes: int
    index_bytes: int


class Loads:
    """Loaded ledgers. They are kept between full runs, until the code that made them changes."""

    def __init__(self, passing: Path, keep: bool) -> None:
        self._passing = passing
        self._kept = BENCH / "loaded" / name_version() if keep else passing / "loaded"
        if keep:
            for other in self._kept.parent.glob("*"):
                if other != self._kept:
                    shutil.rmtree(other)

    def load(self, codes: int) -> Loaded:
        """The loaded ledger of so many codes. Nobody writes to it: see `copy`."""
        folder = self._kept / name_scale(codes)
        told = folder.with_suffix(".json")
        if not told.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            loaded = load(folder, Workload.of(codes))
            told.write_text(json.dumps({**asdict(loaded), "folder": ""}), encoding="utf-8")
        content = json.loads(told.read_text(encoding="utf-8"))
        return Loaded(**{**content, "folder": folder, "workload": Workload(**content["workload"])})

    def copy(self, codes: int) -> tuple[Path, Workload]:
        """A ledger of one's own, as it was after loading."""
        loaded = self.load(codes)
        folder = Path(tempfile.mkdtemp(prefix="ledger-", dir=self._passing)) / "ledger"
        shutil.copytree(loaded.folder, folder)
        # What the copy left to be written must not be written while somebody is measured.
        os.sync()
        return folder, loaded.workload

    def drop(self, folder: Path) -> None:
        """Give the room of a copy back."""
        shutil.rmtree(folder.parent)


def load(folder: Path, workload: Workload) -> Loaded:
    """Make a ledger with the catalogue, the register and all receipts."""
    begin_ns = workload.received_time * 10**9
    with closing(
        Ledger.open(folder, engine="lmdb", person_key=PERSON_KEY, clock_ns=lambda: begin_ns)
    ) as ledger:
        engine = ledger.engine
        assert isinstance(engine, LmdbEngine)
        ledger.import_products(workload.list_products())
        ledger.import_institutions(workload.list_institutions())
        begin = time.perf_counter()
        for documents in workload.receipts():
            for submissions in group(documents, RECEIPTS_PER_COMMIT):
                check_silent(record(engine, submissions))
        engine.native.flush()
        seconds = time.perf_counter() - begin
        memory = engine.native.memory()
    return Loaded(folder, workload, seconds, memory["journal_bytes"], memory["index_bytes"])


def name_version() -> str:
    """Of all that decides what a loaded folder holds: the commit, and what differs from it."""
    digest = hashlib.sha256()
    for command in (
        ["rev-parse", "HEAD"],
        ["diff", "HEAD", "--", "native", "tracecode", "proto", "tests/benchmarks"],
    ):
        digest.update(subprocess.run(["git", "-C", ROOT, *command], check=False, capture_output=True).stdout)
    for name in ("codes.py", "workload.py", "conftest.py"):
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:12]


@pytest.fixture(scope="session")
def plan() -> Plan:
    """How much is measured."""
    return Plan.read()


@pytest.fixture(scope="session")
def passing() -> Iterator[Path]:
    """A folder for this run, on the disk of the project; gone afterwards."""
    BENCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=BENCH) as folder:
        # The peers' own users must find their folders in it.
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def loads(plan: Plan, passing: Path) -> Loads:
    """Where loaded ledgers come from."""
    return Loads(passing, keep=not plan.quick)


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of the C programs, compiled for this machine."""
    build(BENCH / "bin")
    return BENCH / "bin"


@pytest.fixture(scope="session")
def client(programs: Path, passing: Path) -> Client:
    """The load generator of the edge."""
    return Client(programs / "calls", passing)


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, plan: Plan) -> Iterator[Results]:
    """Collects what is measured; at the end it is written down."""
    collected = Results(scale=plan.scale)
    yield collected
    content = collected.to_json()
    print("\n" + render_table(content))
    path = request.config.getoption("--results")
    if path is not None:
        # A small run tells whether all works; what is published is what a full one found.
        if not plan.quick:
            write_table(ROOT / "README.md", content)


@pytest.fixture(autouse=True)
def _tell(request: pytest.FixtureRequest, results: Results) -> Iterator[None]:
    """Shows and writes down what each test found as it ends, so that a run that is cut keeps it."""
    yield
    for line in results.list_news():
        print("\n    " + line, end="")
    path = request.config.getoption("--results")
    if path is not None:
        results.write_json(path)
