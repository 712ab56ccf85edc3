"""What all tests share: their examples, how long they may take, and a folder to which everybody comes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, and none of them fails because the machine was busy. Who looks for new ones
# says --hypothesis-profile=default.
settings.register_profile(
    "seeded", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("seeded")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of `make trust`."""
    parser.addoption(
        "--minutes",
        type=float,
        default=0.0,
        help="how long tests/trust may take in all; 0 = their short form",
    )
    parser.addoption(
        "--soak-minutes", type=float, default=0.0, help="how long to soak; 0 = a tenth of --minutes"
    )
    parser.addoption("--trust-results", default="", help="where tests/trust write what they found, as JSON")
    parser.addoption(
        "--trust-continue",
        action="store_true",
        help="the table begins with the rows that an earlier run wrote to --trust-results",
    )


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder to which, unlike to `tmp_path`, everybody on the machine comes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
