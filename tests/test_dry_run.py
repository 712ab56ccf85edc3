"""What a dry run says would change is what does change when the same documents are told to the candidate.

Method: random days and told stories are recorded into a ledger on disk under the shipped rule base; the same
documents are recorded into the memory engine, which clears nothing, under the candidate. What stands there in
the end is counted without any code of the dry run.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from documents import (
    DRUG,
    HOUR,
    INSTITUTIONS,
    ITEM,
    NOON,
    NS,
    OTHER,
    PRODUCTS,
    QUIET,
    SHOP,
    code,
    line,
    receipt,
    sale,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_rows import write_row
from test_clearing import documents

from tracecode.dry_run import dry_run
from tracecode.engine.contract import Engine, Submission, Submissions
from tracecode.engine.lmdb import LmdbEngine
from tracecode.engine.memory import MemoryEngine
from tracecode.finding import FindingType
from tracecode.rule_base import RuleBase
from tracecode.v1 import document_pb2, finding_pb2, journal_pb2

SHIPPED = RuleBase.default()
TEXT = SHIPPED.text.replace('version = "2026.1"', 'version = "candidate"')


def candidate(rows: str = "", **thresholds: object) -> RuleBase:
    """The shipped rule base with other thresholds and more rows."""
    lines = [
        f"{name} = {thresholds[name]}" if (name := each.split(" ")[0]) in thresholds else each
        for each in TEXT.split("\n")
    ]
    return RuleBase.parse("\n".join(lines) + "\n" + rows, "candidate")


def row(findings: str, says: str, division: str = "") -> str:
    """An override."""
    where = f'divisions = ["{division}"]\n' if division else ""
    return write_row("override", f'findings = ["{findings}"]\n{where}{says}')


CANDIDATES = {
    "the same rules": candidate(),
    "milder": candidate(row("DUP_SALE_CROSS_ORG", 'severity = "WARN"')),
    "nothing is refused": candidate(row("ALL", 'mode = "observe"')),
    "off": candidate(row("STOCK_NEVER_RECEIVED", 'severity = "OFF"', "1305")),
    "exempt": candidate(
        write_row(
            "exemption",
            'kind = "EXEMPT_LOCAL"\nfindings = ["STOCK_NEVER_RECEIVED", "SWAP_PRODUCT"]\n'
            f'drug_codes = ["{DRUG}"]\nstart_date = 2026-01-01',
        )
    ),
    "other numbers": candidate(
        late_info_hours=72, future_skew_minutes=1, legacy_stock_until="2026-03-17", same_org_block_minutes=90
    ),
    "learns sooner": candidate(learn_sales=1, learn_institutions=1),
    "other numbers for some": candidate(
        write_row("threshold", f'late_info_hours = 1\ninstitution_codes = ["{SHOP}"]')
        + write_row("threshold", f'legacy_stock_until = 2026-06-01\ndrug_codes = ["{DRUG}"]')
        + write_row(
            "threshold", f'same_org_block_minutes = 90\nidentifiers = ["{ITEM}"]\ndivisions = ["1305"]'
        )
    ),
    "conditions of drugs": candidate(
        write_row("drug_condition", f'code_required = false\nsplit_units_max = 0\ndrug_codes = ["{DRUG}"]')
    ),
}


def tell(engine: Engine, told: list[Submission]) -> None:
    """A day with its catalogue."""
    engine.import_products(PRODUCTS, NOON * NS)
    engine.import_institutions(INSTITUTIONS, NOON * NS)
    for submission in told:
        engine.record(Submissions.of(submission))


def standing(engine: Engine) -> tuple[Counter[tuple[FindingType, int]], list[object]]:
    """Findings that stand, by type and severity; and each document's outcome with what stands of it."""
    first: dict[int, journal_pb2.JournalEntry] = {}
    findings: dict[int, list[finding_pb2.Finding]] = {}
    for value in engine.entries(0, engine.sequence):
        entry = journal_pb2.JournalEntry.FromString(value)
        if entry.HasField("document"):
            first[entry.sequence] = entry
            findings[entry.sequence] = list(entry.document.findings)
        elif entry.HasField("revision"):
            findings[entry.revision.revised_sequence] = list(entry.revision.findings)
    counts = Counter(
        (FindingType(message.type), message.final_severity) for each in findings.values() for message in each
    )
    each_document = [
        (
            entry.document.outcome,
            sorted((m.line_number, m.code, m.type, m.final_severity, m.mode) for m in findings[sequence]),
        )
        for sequence, entry in first.items()
    ]
    return counts, each_document


def submission(document: document_pb2.Document, delay: int = 60, request_id: str = "") -> Submission:
    """As a gateway hands it over."""
    return Submission(
        document.SerializeToString(deterministic=True),
        (document.business_time.seconds + delay) * NS,
        request_id,
    )


def assert_said(told: list[Submission], rule_base: RuleBase, folder: Path) -> None:
    """The dry run says what the oracle counts."""
    engine = LmdbEngine(folder / "ledger", SHIPPED, NOON * NS, map_size_bytes=2**28)
    tell(engine, told)
    before, documents_before = standing(engine)
    engine.close()
    oracle = MemoryEngine(rule_base, NOON * NS)
    tell(oracle, told)
    after, documents_after = standing(oracle)
    report = dry_run(folder / "ledger", rule_base, scratch=folder)
    for type in {type for type, _ in before | after} | set(report.findings):
        change = report.findings[type]
        assert change.before == sum(count for (each, _), count in before.items() if each is type)
        assert change.after == sum(count for (each, _), count in after.items() if each is type)
        assert change.after - change.before == change.new - change.gone
    pairs = list(zip(documents_before, documents_after, strict=True))
    assert report.documents == len(pairs)
    assert report.documents_changed == sum(was != now for was, now in pairs)
    assert report.documents_changed == sum(each.documents for each in report.institutions.values())
    refused = finding_pb2.OUTCOME_REFUSED
    assert report.newly_refused == sum(was[0] != refused == now[0] for was, now in pairs)
    assert report.no_longer_refused == sum(was[0] == refused != now[0] for was, now in pairs)


@settings(max_examples=20, deadline=None)
@given(st.lists(documents(), min_size=3, max_size=14), st.sampled_from(sorted(CANDIDATES)))
def test_what_a_dry_run_counts_is_what_the_candidate_would_have_said(
    told: list[tuple[document_pb2.Document, int, str]], name: str
) -> None:
    """Pins every count of the report against a second ledger, on random days near every guard."""
    with tempfile.TemporaryDirectory() as folder:
        assert_said([submission(*each) for each in told], CANDIDATES[name], Path(folder))


STORY = [
    submission(receipt(SHOP, "R1", NOON, line(code(1), code(2)))),
    submission(sale(SHOP, "S1", NOON + HOUR, line(code(1)))),
    submission(sale(OTHER, "S2", NOON + 3 * HOUR, line(code(1)), asked=True)),
    submission(sale(QUIET, "S3", NOON + 4 * HOUR, line(code(3)))),
    submission(sale(SHOP, "S4", NOON + 5 * HOUR, line(code(2))), delay=60 * HOUR),
    submission(sale(OTHER, "S5", NOON + 6 * HOUR, line(code(1)))),
]


@pytest.mark.parametrize("name", CANDIDATES)
def test_each_kind_of_change_is_counted(name: str, tmp_path: Path) -> None:
    """Pins the counts for each kind of change on a story in which each makes a difference."""
    assert_said(STORY, CANDIDATES[name], tmp_path)


def test_a_refusal_that_would_not_be_is_told_with_its_document(tmp_path: Path) -> None:
    """Pins outcome, sample and institution of a sale that a milder candidate would let pass."""
    engine = LmdbEngine(tmp_path / "ledger", SHIPPED, NOON * NS, map_size_bytes=2**28)
    tell(engine, STORY)
    engine.close()
    done: list[tuple[int, int]] = []
    report = dry_run(
        tmp_path / "ledger", CANDIDATES["nothing is refused"], progress=lambda *at: done.append(at)
    )
    assert report.no_longer_refused == 1
    assert report.institutions[OTHER].documents >= 1
    samples = report.findings[FindingType.DUP_SALE_CROSS_ORG].samples
    (sample,) = [each for each in samples if each.document_number == "S2"]
    assert (sample.institution_code, sample.code) == (OTHER, code(1))
    assert (sample.before, sample.after) == ("BLOCK enforce", "BLOCK observe")
    assert done[-1] == (report.until_sequence, report.until_sequence)


def test_nothing_is_left_behind_and_nothing_is_written(tmp_path: Path) -> None:
    """Pins that the ledger keeps every byte, and that a run that is stopped leaves no passing ledger."""
    engine = LmdbEngine(tmp_path / "ledger", SHIPPED, NOON * NS, map_size_bytes=2**28)
    tell(engine, STORY)
    engine.close()
    before = (tmp_path / "ledger" / "journal" / "data.mdb").read_bytes()
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        dry_run(tmp_path / "ledger", CANDIDATES["milder"], progress=stop, scratch=scratch)
    assert list(scratch.iterdir()) == []
    assert (tmp_path / "ledger" / "journal" / "data.mdb").read_bytes() == before
