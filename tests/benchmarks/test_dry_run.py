"""How fast a stored journal is told to a candidate rule base: as many entries as there are codes, of which a
fifth of the documents, as in the simulated city, has to be judged in Python."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from benchmarks.conftest import PERSON_KEY, Loads, Plan
from benchmarks.page_cache import read_files
from benchmarks.results import Results
from benchmarks.test_history import fill_journal
from benchmarks.workload import Till, group, record
from tracecode.dry_run import dry_run
from tracecode.engine.lmdb import LmdbEngine
from tracecode.ledger import Ledger
from tracecode.rule_base import RuleBase

JUDGED_PER_ENTRY = 0.2
SALES_PER_GROUP = 2_000
CANDIDATE = 'version = "candidate"\n[thresholds]\nlate_info_hours = 240\n'


def test_dry_run(plan: Plan, results: Results, loads: Loads, passing: Path) -> None:
    """Entries a second through a dry run of a changed threshold, and how many of the documents Python had to
    judge. A day's million entries arrive at twelve a second."""
    folder, workload = loads.copy(plan.codes)
    with closing(Ledger.open(folder, person_key=PERSON_KEY)) as ledger:
        engine, till = ledger.engine, Till(workload)
        assert isinstance(engine, LmdbEngine)
        judged = min(int(JUDGED_PER_ENTRY * plan.codes), till.left // 2)
        for plain, count in ((False, judged), (True, till.left // 4)):
            for submissions in group(till.sell(count, plain=plain), SALES_PER_GROUP):
                record(engine, submissions)
        fill_journal(engine, workload, plan.codes)
    read_files(folder)

    report = dry_run(folder, RuleBase.parse(CANDIDATE, "candidate"), scratch=passing)

    assert report.entries >= plan.codes
    assert report.judged >= judged
    results.add_figure(plan.key("dry_run_entries_per_second"), report.entries_per_second)
    results.add_figure(plan.key("dry_run_judged_share"), report.judged / report.documents)
