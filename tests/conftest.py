"""What all tests share: how long they may take."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of `make trust`."""
    parser.addoption(
        "--minutes",
        type=float,
        default=0.0,
        help="how long tests/trust may take in all; 0 = their short form",
    )
    parser.addoption("--trust-results", default="", help="where tests/trust write what they found, as JSON")
