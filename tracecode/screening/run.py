"""One screening: a period, maybe a division, all models, leads and scores; it can be broken off and resumed.

What a model said is kept beside the run under a digest of everything it depends on. A run that is started
again takes from there what is still true, so a screening that was killed goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tracecode.screening.base import BASE, Relations, make_macros
from tracecode.screening.judge import judge, list_peers, suspect
from tracecode.screening.model import Evidence, Kind, Lead, Level, Model, State
from tracecode.screening.models import MODELS
from tracecode.screening.score import ClosedCase, Point, SubjectScore, score_subjects
from tracecode.screening.thresholds import Thresholds
from tracecode.spill import SPILL_BYTES_MAX, bound_spill

__all__ = ["MEMORY_LIMIT", "RunSummary", "read_leads", "read_scores", "run_screening"]

MEMORY_LIMIT = "2GB"
"""What DuckDB may hold in memory; the rest goes to its folder on disk."""

Progress = Callable[[int, int, str], object]

_BASE_BY_NAME = {table.name: table for table in BASE}


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run found, and where it was written."""

    directory: Path
    first: date
    last: date
    division: str
    leads: tuple[Lead, ...]
    scores: tuple[SubjectScore, ...]
    """Of all institutions that sold something, and of persons with a lead."""
    seconds: Mapping[str, float]
    """How long each model took; 0 = taken from an earlier run."""
    resumed: tuple[str, ...]


def run_screening(
    relations: Relations,
    out: Path,
    first: date,
    last: date,
    *,
    division: str = "",
    thresholds: Thresholds | None = None,
    cases: Sequence[ClosedCase] = (),
    models: Iterable[Model] = MODELS,
    memory_limit: str = MEMORY_LIMIT,
    spill_bytes_max: int = SPILL_BYTES_MAX,
    threads: int | None = None,
    progress: Progress | None = None,
) -> RunSummary:
    """Screen a period, both days included, and write leads and scores into the directory `out`.

    `division` is the beginning of a division code, such as 4404; empty = everywhere. `progress` is told
    (steps done, steps, what is being done). Writes run.json, leads.json, leads.parquet and scores.json;
    what is under `out`/models is there for resuming.

    Raises ValueError for a period or a division that cannot be, FileNotFoundError where no lines lie,
    RuleBaseInvalid for a model without thresholds, duckdb.Error when memory does not suffice,
    SpillFull when the disk that it may take does not.
    """
    if last < first:
        raise ValueError(f"the period ends on {last}, before it begins on {first}")
    if division and not (division.isascii() and division.isdigit() and len(division) <= 6):
        raise ValueError(f"a division is up to six digits, not {division!r}")
    if not relations.lines:
        where = relations.institutions.parent
        raise FileNotFoundError(
            f"no lines lie under {where}; is the ledger's directory right, and the period?"
        )
    for path in (relations.institutions, relations.products):
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is missing; tracecode.screening.write.write_register_of makes it"
            )
    chosen = tuple(models)
    limits = thresholds or Thresholds.default()
    missing = [model.name for model in chosen if model.name not in limits.models]
    if missing:
        raise ValueError(f"thresholds: nothing is said of {', '.join(missing)}")
    (out / "models").mkdir(parents=True, exist_ok=True)
    depends = _digest(relations, first, last, division, limits)
    steps = len(BASE) + len(chosen)
    seconds: dict[str, float] = {}
    resumed = []
    leads: list[Lead] = []
    spill = out / "spill"
    with duckdb.connect(":memory:") as connection, bound_spill(connection, spill, spill_bytes_max):
        connection.execute("SET memory_limit = ?", [memory_limit])
        connection.execute("SET preserve_insertion_order = false")
        # Else what takes seconds is shown on stdout, where a caller may speak to a program.
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET TimeZone = 'UTC'")
        if threads is not None:
            connection.execute("SET threads = ?", [threads])
        make_macros(
            connection,
            relations,
            first,
            last,
            limits.lookback_days,
            division,
            limits.exempt_findings,
            limits.exempt_drugs,
        )
        kept = {model.name: _read_kept(out, model, depends) for model in chosen}
        # The sizes are needed for peers and scores even where every model is there already.
        wanted = {"size"}.union(*(model.inputs for model in chosen if kept[model.name] is None))
        for step, table in enumerate(BASE):
            if table.name in _with_inputs(wanted):
                _tell(progress, step, steps, table.name)
                begun = time.perf_counter()
                table.make(connection, relations)
                seconds[table.name] = time.perf_counter() - begun
        peers = list_peers(connection, limits)
        for step, model in enumerate(chosen, start=len(BASE)):
            _tell(progress, step, steps, model.name)
            found = kept[model.name]
            if found is None:
                begun = time.perf_counter()
                measured = model.measure(connection, limits.models[model.name].parameters)
                found = judge(model, measured, peers, limits)
                evidence = model.find_evidence(
                    connection,
                    measured,
                    [lead.subject for lead in found],
                    limits.models[model.name].parameters,
                )
                found = [replace(lead, evidence=evidence.get(lead.subject, ())) for lead in found]
                seconds[model.name] = time.perf_counter() - begun
                _keep(out, model, depends, found)
            else:
                resumed.append(model.name)
                seconds[model.name] = 0.0
            leads += found
        coverage = dict(
            connection.execute(
                "SELECT institution_code, avg((code IS NOT NULL)::INT) FROM sale WHERE in_period "
                "GROUP BY institution_code"
            ).fetchall()
        )
    leads = suspect(leads, {model.name: model for model in chosen}, limits)
    subjects = [(Kind.INSTITUTION, code) for code in sorted(peers)]
    scores = score_subjects(leads, subjects, limits, cases, coverage)
    summary = RunSummary(out, first, last, division, tuple(leads), tuple(scores), seconds, tuple(resumed))
    _write(summary, limits, chosen)
    _tell(progress, steps, steps, "")
    return summary


def _tell(progress: Progress | None, done: int, steps: int, what: str) -> None:
    if progress is not None:
        progress(done, steps, what)


def _with_inputs(wanted: set[str]) -> set[str]:
    """Tables and those that they read, by looking for their names in the SQL."""
    found: set[str] = set()
    left = [name for name in wanted if name in _BASE_BY_NAME]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            words = set(_BASE_BY_NAME[name].sql.replace(",", " ").replace(")", " ").split())
            left += [other for other in _BASE_BY_NAME if other in words]
    return found


def _digest(relations: Relations, first: date, last: date, division: str, limits: Thresholds) -> str:
    """Over everything a model's leads depend on but the model: the files by name, size and time."""
    digest = hashlib.sha256(f"{first} {last} {division} {limits.digest}\n".encode())
    for path in (*relations.lines, *relations.findings, *relations.deletions):
        status = path.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    for table in (relations.institutions, relations.products, relations.care_homes):
        digest.update(table.read_bytes() if table is not None else b"-")
    return digest.hexdigest()


# --- what is kept -------------------------------------------------------------------------------


def _key(model: Model, depends: str) -> str:
    return hashlib.sha256(
        f"{depends} {model.name} {model.version} {model.sql} {model.evidence}".encode()
    ).hexdigest()


def _keep(out: Path, model: Model, depends: str, leads: Sequence[Lead]) -> None:
    _write_json(
        out / "models" / f"{model.name}.json",
        {"key": _key(model, depends), "leads": [asdict(lead) for lead in leads]},
    )


def _read_kept(out: Path, model: Model, depends: str) -> list[Lead] | None:
    try:
        kept = json.loads((out / "models" / f"{model.name}.json").read_text("utf-8"))
        return [_read_lead(row) for row in kept["leads"]] if kept["key"] == _key(model, depends) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _read_lead(row: Mapping[str, Any]) -> Lead:
    return Lead(
        **{
            **row,
            "kind": Kind(row["kind"]),
            "level": Level(row["level"]),
            "state": State(row["state"]),
            "evidence": tuple(Evidence(**place) for place in row["evidence"]),
        }
    )


def read_leads(out: Path) -> list[Lead]:
    """The leads of a finished run. Raises FileNotFoundError where there is none."""
    return [_read_lead(row) for row in json.loads((out / "leads.json").read_text("utf-8"))]


def read_scores(out: Path) -> list[SubjectScore]:
    """The scores of a finished run. Raises FileNotFoundError where there is none."""
    rows = json.loads((out / "scores.json").read_text("utf-8"))
    return [
        SubjectScore(
            **{
                **row,
                "kind": Kind(row["kind"]),
                "risk_points": tuple(Point(**point) for point in row["risk_points"]),
                "credit_points": tuple(Point(**point) for point in row["credit_points"]),
            }
        )
        for row in rows
    ]


def _write(summary: RunSummary, limits: Thresholds, models: Sequence[Model]) -> None:
    out = summary.directory
    leads = [asdict(lead) for lead in summary.leads]
    _write_json(out / "leads.json", leads)
    _write_json(out / "scores.json", [asdict(score) for score in summary.scores])
    flat = [{**lead, "numbers": json.dumps(lead["numbers"], default=_say)} for lead in leads]
    temporary = out / "leads.parquet.new"
    pq.write_table(pa.Table.from_pylist(flat, _LEADS), temporary)
    temporary.replace(out / "leads.parquet")
    _write_json(
        out / "run.json",
        {
            "from": summary.first,
            "to": summary.last,
            "division": summary.division,
            "thresholds_version": limits.version,
            "thresholds_digest": limits.digest,
            "models": {model.name: model.version for model in models},
            "leads": len(leads),
            "seconds": dict(summary.seconds),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


_EVIDENCE = (("sequence", pa.int64()), ("code", pa.string()), ("institution_code", pa.string()))
_LEADS = pa.schema(
    [
        ("model", pa.string()),
        ("version", pa.int32()),
        ("kind", pa.string()),
        ("subject", pa.string()),
        ("level", pa.string()),
        ("state", pa.string()),
        ("value", pa.float64()),
        ("support", pa.int64()),
        ("z", pa.float64()),
        ("peer_group", pa.string()),
        ("peer_count", pa.int32()),
        ("peer_median", pa.float64()),
        ("threshold", pa.string()),
        ("strength", pa.float64()),
        ("rank", pa.int32()),
        ("why_zh", pa.string()),
        ("why_en", pa.string()),
        ("numbers", pa.string()),
        ("evidence", pa.list_(pa.struct(list(_EVIDENCE)))),
    ]
)


def _write_json(path: Path, value: Any) -> None:
    """Whole or not at all: a run may be killed while it writes."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(value, ensure_ascii=False, indent=1, default=_say), "utf-8")
    temporary.replace(path)


def _say(value: Any) -> Any:
    return float(value) if hasattr(value, "as_tuple") else str(value)
