"""Which share of a city's documents is cleared without Python; of a simulated city, with its frauds and
honest oddities."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from benchmarks.conftest import PERSON_KEY, Plan
from benchmarks.results import Results
from tracecode.city.score import import_catalogue, read_documents, read_start
from tracecode.city.simulate import simulate
from tracecode.errors import DocumentRejected
from tracecode.ledger import Ledger
from tracecode.v1 import document_pb2, journal_pb2

DOCUMENTS_PER_CALL = 500


def test_share_cleared_in_a_city(plan: Plan, results: Results, passing: Path) -> None:
    """Pins that some, but not all, sales are cleared, and that no document of the city is refused as
    malformed."""
    city = passing / "city"
    institutions, days = (6, 3) if plan.quick else (20, 10)
    simulate(1, institutions, days, city)
    start = read_start(city)
    ledger = Ledger.open(passing / "city-ledger", person_key=PERSON_KEY, clock_ns=lambda: start)
    import_catalogue(city, ledger)
    rows = list(read_documents(city))
    lines = sum(len(document.lines) for _, document in rows)
    begin, rejected = time.perf_counter(), 0
    for at in range(0, len(rows), DOCUMENTS_PER_CALL):
        some = rows[at : at + DOCUMENTS_PER_CALL]
        answers = ledger.record([document for _, document in some], [received for received, _ in some])
        rejected += sum(isinstance(answer, DocumentRejected) for answer in answers)
    seconds = time.perf_counter() - begin
    seen: Counter[str | None] = Counter()
    cleared: Counter[str | None] = Counter()
    for at in range(0, ledger.engine.sequence, 1_000):
        for value in ledger.engine.entries(at, 1_000):
            entry = journal_pb2.JournalEntry.FromString(value)
            if entry.HasField("document"):
                kind = document_pb2.Document.FromString(entry.document.document).WhichOneof("content")
                seen[kind] += 1
                cleared[kind] += entry.document.cleared
    ledger.close()

    assert rejected < len(rows) / 100
    assert 0 < cleared["sale"] < seen["sale"]
    results.add_figure("cleared_share", cleared["sale"] / seen["sale"])
    results.add_figure("cleared_share_of_all_documents", cleared.total() / seen.total())
    results.add_figure("city_lines_per_second", lines / seconds)
