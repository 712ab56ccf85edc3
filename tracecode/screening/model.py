"""What a model is, and what it says: a lead, with its reasons and numbers.

A model knows how to measure; it does not know what is too much. That stands in thresholds.toml.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["EVIDENCE_MAX", "Evidence", "Kind", "Lead", "Level", "Model", "Parameter", "State"]

Parameter = float | int | str | list[str] | list[int]

EVIDENCE_MAX = 100
"""Places that a lead names; its support says how many there are."""

_PARAMETER = re.compile(r"\$(\w+)")


class Kind(StrEnum):
    """Who is looked at."""

    INSTITUTION = "institution"
    PERSON = "person"


class Level(StrEnum):
    """How strong a lead is."""

    WARN = "warn"
    ALERT = "alert"


class State(StrEnum):
    """How far a lead has come by itself; only people confirm and close (线索 → 疑点)."""

    LEAD = "lead"
    SUSPECTED = "suspected"


@dataclass(frozen=True, slots=True)
class Model:
    """One pattern that is looked for.

    `sql` reads the tables of base.py and gives one row for each subject in which it sees anything: `subject`,
    `value` (the statistic), `support` (how many codes, lines or days it rests on) and further columns, which
    are numbers for the reason. Persons are compared with others by the SQL itself, which then gives their
    `peer_group`, `peer_count`, `peer_median` and `peer_deviation`. `$name` in it is a parameter
    of the model's table in thresholds.toml.
    """

    name: str
    version: int
    kind: Kind
    title_zh: str
    title_en: str
    inputs: tuple[str, ...]
    """Tables of base.py it reads."""
    sql: str
    evidence: str
    """SQL of what a lead rests on: rows of `subject`, `institution_code`, `sequence` (the entry) and `code`
    (empty = the document). It reads those tables and `led`: the rows of the statistic that led to a lead."""
    why_zh: str
    why_en: str
    """Templates of the reason; names in braces are columns of the result, and z, peers, peer_median."""
    absent: float | None = None
    """What the statistic is where `sql` gives no row; None = such subjects are nobody's peers."""
    counts_codes: bool = False
    """`support` counts codes: three of them make a lead a suspicion."""
    excluded_zh: str = ""
    excluded_en: str = ""
    """Counter-evidence 反证 that was looked for and is not in the figures."""
    refine: Callable[[duckdb.DuckDBPyConnection, pa.Table, Mapping[str, Any]], pa.Table] | None = None
    """Works on the rows of `sql` where SQL is not enough, as on graphs; the rest holds of what it returns."""

    def measure(self, connection: duckdb.DuckDBPyConnection, parameters: Mapping[str, Any]) -> pa.Table:
        """The rows of all subjects in which the model sees anything."""
        wanted = {name: parameters[name] for name in set(_PARAMETER.findall(self.sql))}
        table = connection.sql(self.sql, params=wanted).to_arrow_table()
        return self.refine(connection, table, parameters) if self.refine is not None else table

    def find_evidence(
        self,
        connection: duckdb.DuckDBPyConnection,
        measured: pa.Table,
        subjects: Iterable[str],
        parameters: Mapping[str, Any],
    ) -> dict[str, tuple[Evidence, ...]]:
        """What the leads to these subjects rest on, at most EVIDENCE_MAX each, the first entries first."""
        chosen = pa.array(list(subjects), pa.string())
        if not len(chosen):
            return {}
        led = measured.filter(pc.is_in(measured["subject"], chosen))
        connection.register("led", led)
        wanted = {name: parameters[name] for name in set(_PARAMETER.findall(self.evidence))}
        rows = connection.execute(
            "SELECT DISTINCT subject, sequence, coalesce(code, '') AS code, institution_code "
            f"FROM ({self.evidence}) WHERE subject IN (SELECT subject FROM led) "
            "QUALIFY dense_rank() OVER (PARTITION BY subject ORDER BY sequence, coalesce(code, '')) "
            f"<= {EVIDENCE_MAX} ORDER BY subject, sequence, code",
            wanted,
        ).fetchall()
        connection.unregister("led")
        found: dict[str, list[Evidence]] = {}
        for subject, sequence, code, institution_code in rows:
            found.setdefault(subject, []).append(Evidence(sequence, code, institution_code))
        return {subject: tuple(some) for subject, some in found.items()}


@dataclass(frozen=True, slots=True)
class Evidence:
    """A place in the journal that a lead rests on."""

    sequence: int
    """The entry."""
    code: str
    """Canonical; empty = the document."""
    institution_code: str


@dataclass(frozen=True, slots=True)
class Lead:
    """线索: a model says that somebody should be looked at. It is no verdict and has no consequence."""

    model: str
    version: int
    kind: Kind
    subject: str
    level: Level
    state: State
    value: float
    support: int
    z: float | None
    """Robust z against the peer group; None = compared with nobody."""
    peer_group: str
    peer_count: int
    peer_median: float | None
    threshold: str
    """The condition of thresholds.toml that was met."""
    strength: float
    """0 to 1: what the score makes of it."""
    rank: int
    """Its place in the model's list, from 1."""
    why_zh: str
    why_en: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
