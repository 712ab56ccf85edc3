"""How fast a dry run goes through a stored journal: as many entries as there are codes, of which a fifth of
the documents, as in the simulated city, has to be judged in Python if they are told again."""

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
ROW = """version = "row"
[[threshold]]
late_info_hours = 0
institution_codes = ["P3101000001?"]
approver = "a"
reason = "r"
"""
"""The dearest kind of row: all documents of its institutions, a fiftieth of all in a full run, are told and
judged, for it makes a rule fire on what native code cleared."""

THRESHOLD = 'version = "threshold"\n[thresholds]\ntransit_days = 9\n'
"""May be compared on any chain: nothing is skipped."""


def test_dry_run(plan: Plan, results: Results, loads: Loads, passing: Path) -> None:
    """Entries a second through a dry run of a changed row, and of a threshold that is another for everybody;
    and what share of the documents Python had to judge. A day's million entries arrive at twelve a second."""
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

    for name, text in (("row", ROW), ("threshold", THRESHOLD)):
        report = dry_run(folder, RuleBase.parse(text, name), scratch=passing)

        assert report.entries >= plan.codes
        results.add_figure(plan.key(f"dry_run_{name}_entries_per_second"), report.entries_per_second)
        results.add_figure(plan.key(f"dry_run_{name}_judged_share"), report.judged / report.documents)
        if name == "row":
            assert not report.whole
            assert 0 < report.documents - report.skipped < report.documents
            # All that was sold there came minutes after it happened.
            assert report.documents_changed
        else:
            assert report.whole
            assert report.judged >= judged
