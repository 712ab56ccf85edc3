"""Simulated cities that several tests read, each made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracecode.city.simulate import Frauds, simulate

_made: dict[str, Path] = {}


def make_fraud_city(factory: pytest.TempPathFactory) -> Path:
    """The folder of a small city with every scheme of institutions and persons in it; nobody writes to it."""
    if "city" not in _made:
        out = factory.mktemp("fraud-city")
        simulate(1, 40, 20, out, frauds=Frauds.INSTITUTION, busyness=0.25)
        _made["city"] = out
    return _made["city"]
