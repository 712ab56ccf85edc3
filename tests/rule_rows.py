"""Rows of a rule base as its file has them, for tests that do not care who agreed to them."""

from __future__ import annotations

WHO = 'approver = "a"\nreason = "r"\n'


def write_row(kind: str, says: str) -> str:
    """A row of any kind; `says` is TOML, one key a line."""
    return f"[[{kind}]]\n{says}\n{WHO}"
