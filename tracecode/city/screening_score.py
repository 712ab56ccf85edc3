"""How well a screening finds those of a city who do wrong, and whom it suspects wrongly.

The city's documents become a journal, the journal the lines relation, and that is screened; then the leads of
each model are compared with the labels. Models rest on what was reported, not on verdicts, so by default
nothing is judged, which takes a tenth of the time; `judged` puts a ledger in between.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from csv import DictReader
from dataclasses import asdict, dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb

from tracecode.catalogue import read_institutions, read_products
from tracecode.city.score import import_catalogue, read_documents, read_start
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.screening import run_screening
from tracecode.screening.base import Relations
from tracecode.screening.model import Kind
from tracecode.screening.models import MODELS
from tracecode.screening.run import MEMORY_LIMIT, Progress, RunSummary
from tracecode.screening.thresholds import Thresholds
from tracecode.screening.write import write_relations
from tracecode.v1 import journal_pb2

__all__ = ["ModelScore", "ScreeningScore", "score_screening"]

BATCH = 1_000


@dataclass(frozen=True, slots=True)
class ModelScore:
    """One model against its labels.

    `labelled` subjects must have a lead, `found` have one, `leads` were given and `right` of them stand on a
    fraud that the model may speak of. `worst_place` is the last place of a labelled subject in the model's
    list: it equals `labelled` where all of them are at its top.
    """

    model: str
    labelled: int
    found: int
    leads: int
    right: int
    worst_place: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True, slots=True)
class ScreeningScore:
    """What came of screening a city. `honest` has the grades of those who only look like a fraud."""

    models: tuple[ModelScore, ...]
    recall: float | None
    precision: float | None
    honest: dict[str, dict[str, int]]
    """Label of a double, and how many of them have which grade."""
    honest_worst: str
    fraud_grades: dict[str, int]
    other_grades: dict[str, int]
    """Grades of institutions without any label."""
    misses: tuple[str, ...]
    false_leads: tuple[str, ...]
    lines: int
    summary: RunSummary

    def to_json(self) -> dict[str, Any]:
        """The score as JSON's types, without the leads."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name != "summary"
        }  # fmt: skip

    def to_markdown(self) -> str:
        """The table that docs/screening.md shows."""
        rows = [
            "| model | labelled | found | recall | leads | right | precision | lowest place |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for row in self.models:
            recall, precision = ("-" if x is None else f"{x:.3f}" for x in (row.recall, row.precision))
            rows.append(
                f"| {row.model} | {row.labelled} | {row.found} | {recall} | {row.leads} | {row.right} "
                f"| {precision} | {row.worst_place or '-'} |"
            )
        rows += ["", "| honest look-alike | grades |", "|---|---|"]
        for name, grades in self.honest.items():
            rows.append(f"| {name} | {', '.join(f'{count} × {grade}' for grade, count in grades.items())} |")
        return "\n".join(rows)


def score_screening(
    directory: Path,
    out: Path,
    *,
    judged: bool = False,
    thresholds: Thresholds | None = None,
    memory_limit: str = MEMORY_LIMIT,
    progress: Progress | None = None,
) -> ScreeningScore:
    """Screen the city of a directory and compare with its labels; relations and results go under `out`.

    `out` must be empty or hold this city's relations already. Raises ValueError where a file is not the
    simulator's, and as `run_screening`.
    """
    person_key = PersonKey(b"a city's persons are made up.....")
    relations = out / "relations"
    if not (relations / "products.parquet").exists():
        written = _write(directory, out, person_key, judged, progress)
    else:
        written = 0
    homes = out / "care_homes.csv"
    _hide_care_homes(directory / "care_homes.csv", homes, person_key)
    found = Relations.under(relations, homes)
    first, last = _read_period(found)
    summary = run_screening(
        found,
        out / "screening",
        first,
        last,
        thresholds=thresholds,
        memory_limit=memory_limit,
        progress=progress,
    )
    return _compare(directory, person_key, summary, written)


def _write(directory: Path, out: Path, person_key: PersonKey, judged: bool, progress: Progress | None) -> int:
    def tell(entries: int) -> None:
        if progress is not None:
            progress(0, 1, f"{entries:,} entries")

    if not judged:
        return write_relations(_make_journal(directory, person_key), out / "relations", tell)
    start = read_start(directory)
    with closing(
        Ledger.open(out / "ledger", engine="lmdb", person_key=person_key, clock_ns=lambda: start)
    ) as ledger:
        import_catalogue(directory, ledger)
        documents = iter(read_documents(directory))
        while batch := list(islice(documents, BATCH)):
            ledger.record([document for _, document in batch], [received for received, _ in batch])
        return write_relations(_read_journal(ledger), out / "relations", tell)


def _read_journal(ledger: Ledger) -> Iterator[bytes]:
    after = 0
    while entries := ledger.engine.entries(after, BATCH):
        after += len(entries)
        yield from entries


def _make_journal(directory: Path, person_key: PersonKey) -> Iterator[bytes]:
    """The entries a ledger would write, without verdicts: persons hidden, repeats left out."""
    start = read_start(directory)
    sequence = 1
    catalogue = journal_pb2.JournalEntry(sequence=sequence, receive_time_ns=start)
    catalogue.product_import.products.extend(read_products(directory / "products.csv"))
    yield catalogue.SerializeToString()
    sequence += 1
    catalogue = journal_pb2.JournalEntry(sequence=sequence, receive_time_ns=start)
    catalogue.institution_import.institutions.extend(read_institutions(directory / "institutions.csv"))
    yield catalogue.SerializeToString()
    seen: set[int] = set()
    for received, document in read_documents(directory):
        identity = hash((document.institution_code, document.WhichOneof("content"), document.document_number))
        if identity in seen:
            continue
        seen.add(identity)
        sequence += 1
        person_key.hide(document)
        entry = journal_pb2.JournalEntry(sequence=sequence, receive_time_ns=received)
        entry.document.document = document.SerializeToString()
        yield entry.SerializeToString()


def _read_period(relations: Relations) -> tuple[date, date]:
    """The city's first day in China and its last; what a clock that is wrong says is left aside."""
    with duckdb.connect() as connection:
        first, last = connection.sql(
            "SELECT min(business_day), max(business_day) FROM read_parquet($files) "
            "WHERE abs(date_diff('hour', business_time, receive_time)) < 24",
            params={"files": [str(path) for path in relations.lines]},
        ).fetchall()[0]
    return first, last


def _hide_care_homes(source: Path, target: Path, person_key: PersonKey) -> None:
    with source.open(encoding="utf-8", newline="") as file:
        rows = [(row["name"], person_key.hash(row["person_token"])) for row in DictReader(file)]
    text = "name,person_token\n" + "".join(f"{name},{person}\n" for name, person in rows)
    if not target.exists() or target.read_text("utf-8") != text:
        target.write_text(text, "utf-8")


# --- comparing ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Label:
    label: str
    fraud: bool
    expected: frozenset[str]
    allowed: frozenset[str]


def _read_labels(directory: Path, person_key: PersonKey) -> dict[tuple[Kind, str], list[_Label]]:
    labels: dict[tuple[Kind, str], list[_Label]] = defaultdict(list)
    with (directory / "labels.jsonl").open(encoding="utf-8") as file:
        for text in file:
            row = json.loads(text)
            if "level" not in row:
                continue
            kind = Kind(row["level"].lower())
            subject = person_key.hash(row["subject"]) if kind is Kind.PERSON else row["subject"]
            expected = frozenset(row["expected"])
            labels[kind, subject].append(
                _Label(row["label"], row["fraud"], expected, expected | frozenset(row["related"]))
            )
    if not labels:
        raise ValueError(
            f"{directory / 'labels.jsonl'}: says nothing of institutions; simulate with --frauds institution"
        )
    return labels


def _compare(directory: Path, person_key: PersonKey, summary: RunSummary, lines: int) -> ScreeningScore:
    labels = _read_labels(directory, person_key)
    places = {(lead.model, lead.kind, lead.subject): lead.rank for lead in summary.leads}
    rows, misses, false_leads = [], [], []
    for model in MODELS:
        wanted = {who for who, some in labels.items() if any(model.name in each.expected for each in some)}
        wanted = {who for who in wanted if who[0] is model.kind}
        leads = [lead for lead in summary.leads if lead.model == model.name]
        found = {who for who in wanted if (model.name, *who) in places}
        right = 0
        for lead in leads:
            some = labels.get((lead.kind, lead.subject), [])
            if any(model.name in each.allowed for each in some):
                right += 1
            else:
                names = ", ".join(each.label for each in some) or "no label"
                false_leads.append(f"{model.name} {lead.subject} ({names}): {lead.why_en}")
        for who in sorted(wanted - found):
            misses.append(f"{model.name} {who[1]} ({', '.join(each.label for each in labels[who])})")
        rows.append(
            ModelScore(
                model.name,
                len(wanted),
                len(found),
                len(leads),
                right,
                max((places[model.name, *who] for who in found), default=0),
                _share(len(found), len(wanted)),
                _share(right, len(leads)),
            )
        )
    grades = {(score.kind, score.subject): score.grade for score in summary.scores}
    honest: dict[str, dict[str, int]] = {}
    frauds: dict[str, int] = {}
    others: dict[str, int] = {}
    worst = "A"
    for who, some in labels.items():
        # Nothing was found of whom no score speaks of: that is the best grade.
        grade = grades.get(who, "A")
        if any(each.fraud for each in some):
            frauds[grade] = frauds.get(grade, 0) + 1
            continue
        worst = max(worst, grade)
        for each in some:
            counts = honest.setdefault(each.label, {})
            counts[grade] = counts.get(grade, 0) + 1
    for who, grade in grades.items():
        if who not in labels and who[0] is Kind.INSTITUTION:
            others[grade] = others.get(grade, 0) + 1
    return ScreeningScore(
        models=tuple(rows),
        recall=_share(sum(row.found for row in rows), sum(row.labelled for row in rows)),
        precision=_share(sum(row.right for row in rows), sum(row.leads for row in rows)),
        honest={name: dict(sorted(counts.items())) for name, counts in sorted(honest.items())},
        honest_worst=worst,
        fraud_grades=dict(sorted(frauds.items())),
        other_grades=dict(sorted(others.items())),
        misses=tuple(misses),
        false_leads=tuple(false_leads),
        lines=lines,
        summary=summary,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
