"""Engines: where the journal and the index live. `contract` says what each of them promises."""

from __future__ import annotations

from pathlib import Path

from tracecode.engine.contract import Engine
from tracecode.engine.lmdb import LmdbEngine
from tracecode.engine.memory import MemoryEngine
from tracecode.rule_base import RuleBase


def open_engine(name: str, directory: Path | None, rule_base: RuleBase | None, now_ns: int) -> Engine:
    """Open an engine by name: "memory" or "lmdb". Raises ValueError for another name."""
    if name == "memory":
        return MemoryEngine(rule_base, now_ns)
    if name == "lmdb":
        if directory is None:
            raise ValueError("the lmdb engine needs a directory")
        return LmdbEngine(directory, rule_base, now_ns)
    raise ValueError(f"no engine is called {name!r}; use lmdb or memory")


__all__ = ["Engine", "open_engine"]
