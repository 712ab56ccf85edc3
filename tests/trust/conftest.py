"""How much a harness may try, and the table that its row goes into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from trust.table import NotInjected, Row, read_json, render, write_json

_FULL_MINUTES = 10.0
SOAK_SECONDS_MAX = 1800.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How much the harnesses try: their short form, or as much as the minutes allow."""

    minutes: float
    soak_minutes: float = 0.0
    """Of the one harness that soaks; 0 = a tenth of all minutes."""

    @property
    def is_short(self) -> bool:
        """Whether this is part of `make test`."""
        return self.minutes == 0

    def count(self, short: int, full: int) -> int:
        """Tries: `short` of them in the short form, `full` in ten minutes."""
        return short if self.is_short else max(short, round(full * self.minutes / _FULL_MINUTES))

    @property
    def soak_seconds(self) -> float:
        """How long a service works before it is asked whether it grew."""
        return min(SOAK_SECONDS_MAX, 60 * self.soak_minutes or max(5.0, 6 * self.minutes))


@pytest.fixture(scope="session")
def effort(pytestconfig: pytest.Config) -> Effort:
    """What `--minutes` and `--soak-minutes` allow."""
    return Effort(pytestconfig.getoption("--minutes"), pytestconfig.getoption("--soak-minutes"))


@pytest.fixture
def add_row(request: pytest.FixtureRequest) -> Callable[[Row | NotInjected], None]:
    """Puts a row into the table, and fails the test if it is not as it should be."""

    def add(row: Row | NotInjected) -> None:
        # The report of a test carries its properties to the process that writes the table.
        request.node.user_properties.append((type(row).__name__, asdict(row)))
        assert not isinstance(row, Row) or row.ok, row

    return add


class TableWriter:
    """Gathers the rows of all reports, of those too that come from several processes, and writes the table
    when the run ends."""

    def __init__(self, minutes: float, path: str, *, goes_on: bool = False) -> None:
        self.minutes = minutes
        self.path = path
        self.rows: list[Row] = []
        self.missing: list[NotInjected] = []
        if goes_on:
            self.rows, self.missing = read_json(Path(path))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The rows that a test added."""
        if report.when == "call":
            self.rows += [Row(**value) for name, value in report.user_properties if name == "Row"]
            self.missing += [
                NotInjected(**value) for name, value in report.user_properties if name == "NotInjected"
            ]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table, below the tests; only `make trust` asks for it."""
        if self.path and (self.rows or self.missing):
            terminalreporter.write_line(render(self.rows, self.missing))
            write_json(Path(self.path), self.rows, self.missing, self.minutes)


def pytest_configure(config: pytest.Config) -> None:
    """One table a run."""
    if hasattr(config, "workerinput"):
        # Its reports go to the process that started it.
        return
    writer = TableWriter(
        config.getoption("--minutes"),
        config.getoption("--trust-results"),
        goes_on=config.getoption("--trust-continue"),
    )
    config.pluginmanager.register(writer)
