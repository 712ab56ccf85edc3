"""From what a model measured to leads: who is compared with whom, how far off, and why that is too much."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import duckdb
import pyarrow as pa

from tracecode.screening.model import Kind, Lead, Level, Model, State
from tracecode.screening.thresholds import Thresholds

__all__ = ["Peer", "judge", "list_peers", "suspect"]

MAD_TO_DEVIATION = 1.4826
Z_MAX = 1_000.0


@dataclass(frozen=True, slots=True)
class Peer:
    """One institution's place among its peers: region grade × type × size decile."""

    institution_code: str
    letter: str
    grade: int
    decile: int


def list_peers(connection: duckdb.DuckDBPyConnection, thresholds: Thresholds) -> dict[str, Peer]:
    """All institutions that sold something, by code."""
    rows = connection.execute(
        "SELECT institution_code, letter, division_code, "
        "ntile(10) OVER (PARTITION BY letter ORDER BY sale_rows, institution_code) FROM size"
    ).fetchall()
    return {
        code: Peer(
            code,
            letter,
            thresholds.region_grades.get(division, thresholds.region_grade_default),
            decile,
        )
        for code, letter, division, decile in rows
    }


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    count: int
    median: float
    deviation: float


_SAID_ELSEWHERE = frozenset(
    ("subject", "value", "support", "peer_group", "peer_count", "peer_median", "peer_deviation")
)
"""Columns that a lead has fields for."""


def judge(model: Model, measured: pa.Table, peers: Mapping[str, Peer], thresholds: Thresholds) -> list[Lead]:
    """The leads of one model, the gravest first."""
    limits = thresholds.models[model.name]
    rows = {row["subject"]: row for row in measured.to_pylist()}
    groups = _compare(model, rows, peers, thresholds) if model.kind is Kind.INSTITUTION else {}
    leads = []
    for subject, row in rows.items():
        value, support = float(row["value"] or 0), int(row["support"] or 0)
        group = groups.get(subject) or _read_group(row)
        z = None
        if group is not None:
            deviation = max(group.deviation, limits.mad_floor)
            z = (
                (value - group.median) / deviation
                if deviation
                else math.copysign(Z_MAX, value - group.median)
            )
            z = max(-Z_MAX, min(Z_MAX, z))
        met = next(
            (
                (level, condition)
                for level in (Level.ALERT, Level.WARN)
                for condition in limits.levels[level]
                if condition.holds(value, support, z)
            ),
            None,
        )
        if met is None:
            continue
        level, condition = met
        numbers = {name: cell for name, cell in row.items() if name not in _SAID_ELSEWHERE}
        said = {
            **{name: 0 if cell is None else cell for name, cell in numbers.items()},
            "value": value,
            "support": support,
            "z": 0.0 if z is None else z,
            "peers": group.count if group else 0,
            "peer_median": group.median if group else 0.0,
        }
        leads.append(
            Lead(
                model=model.name,
                version=model.version,
                kind=model.kind,
                subject=subject,
                level=level,
                state=State.LEAD,
                value=value,
                support=support,
                z=z,
                peer_group=group.name if group else "",
                peer_count=group.count if group else 0,
                peer_median=group.median if group else None,
                threshold=f"{level}: {condition}",
                strength=_weigh(level, z, condition.z is not None, thresholds),
                rank=0,
                why_zh=model.why_zh.format(**said),
                why_en=model.why_en.format(**said),
                numbers=numbers,
            )
        )
    leads.sort(key=lambda each: (each.level is not Level.ALERT, -each.strength, -each.value, each.subject))
    return [replace(lead, rank=place) for place, lead in enumerate(leads, start=1)]


def _read_group(row: Mapping[str, Any]) -> _Group | None:
    """The peers that the model found by itself: persons are too many to be compared here."""
    if "peer_deviation" not in row:
        return None
    return _Group(
        row["peer_group"],
        int(row["peer_count"]),
        float(row["peer_median"] or 0),
        float(row["peer_deviation"] or 0),
    )


def _weigh(level: Level, z: float | None, by_peers: bool, thresholds: Thresholds) -> float:
    score = thresholds.score
    given = score.alert_strength if level is Level.ALERT else score.warn_strength
    if z is None or not by_peers:
        return given
    return max(given, min(1.0, (z - score.z_from) / score.z_span)) if level is Level.ALERT else given


def _compare(
    model: Model, rows: Mapping[str, Mapping[str, Any]], peers: Mapping[str, Peer], thresholds: Thresholds
) -> dict[str, _Group]:
    """For each subject its peer group: the narrowest that has enough members."""
    keys = ("grade", "letter", "decile"), ("grade", "letter"), ("letter",), ()
    values: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for code, peer in peers.items():
        if code in rows:
            value = float(rows[code]["value"] or 0)
        elif model.absent is not None:
            value = model.absent
        else:
            continue
        for key in keys:
            values[key, *(getattr(peer, name) for name in key)].append(value)
    found: dict[tuple[Any, ...], _Group] = {}
    for place, some in values.items():
        if len(some) >= thresholds.members_min:
            middle = median(some)
            mad = median(abs(value - middle) for value in some)
            name = " × ".join(f"{what} {which}" for what, which in zip(place[0], place[1:], strict=True))
            found[place] = _Group(name or "all", len(some), middle, MAD_TO_DEVIATION * mad)
    groups = {}
    for code in rows:
        if code not in peers:
            continue
        peer = peers[code]
        for key in keys:
            group = found.get((key, *(getattr(peer, name) for name in key)))
            if group is not None:
                groups[code] = group
                break
    return groups


def suspect(leads: Sequence[Lead], models: Mapping[str, Model], thresholds: Thresholds) -> list[Lead]:
    """线索 becomes 疑点 where two independent models agree, or one rests on enough codes."""
    signals: dict[tuple[Kind, str], set[str]] = defaultdict(set)
    for lead in leads:
        signals[lead.kind, lead.subject].add(lead.model)
    return [
        replace(lead, state=State.SUSPECTED)
        if len(signals[lead.kind, lead.subject]) >= thresholds.suspected_models
        or (models[lead.model].counts_codes and lead.support >= thresholds.suspected_codes)
        else lead
        for lead in leads
    ]
