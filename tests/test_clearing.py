"""What the native code clears, every rule is silent on, and it folds the same.

Goal: random days of a few shops and boxes, with every field near its guard, are told to both engines. Method:
the lmdb engine clears what it can; the memory engine judges everything by the Python rules. Journal entries
must be equal but for the mark `cleared`, a cleared entry must accuse of nothing, and the two indexes must be
equal byte for byte.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from documents import (
    DAY,
    DRUG,
    FAR,
    HOUR,
    INSTITUTIONS,
    ITEM,
    MIDDLE,
    NOON,
    NS,
    OTHER,
    OTHER_DRUG,
    OTHER_PACK,
    PRODUCTS,
    QUIET,
    SHOP,
    answered,
    code,
    deletion,
    line,
    purchase_return,
    receipt,
    sale,
    sale_return,
    stock_change,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_rows import write_row

from tracecode.document import day_date
from tracecode.engine import records
from tracecode.engine.contract import Submission, Submissions
from tracecode.engine.lmdb import LmdbEngine
from tracecode.engine.memory import MemoryEngine
from tracecode.errors import DocumentRejected
from tracecode.finding import FindingType, Severity
from tracecode.fsck import OWN_OF_STORE
from tracecode.rule_base import RuleBase
from tracecode.v1 import catalogue_pb2, document_pb2, finding_pb2, journal_pb2

RULE_BASE = RuleBase.default()
UNREGISTERED = "P99999900009"
LEFT = "P13050000077"
"""Its agreement ended before the day."""

LEFT_ROW = catalogue_pb2.Institution(
    institution_code=LEFT,
    division_code="130500",
    uploads_receipt_codes=True,
    service_periods=[catalogue_pb2.ServicePeriod(start_date="2024-01-01", end_date="2025-12-31")],
)

serials = st.integers(1, 6)
usually = st.sampled_from


def mostly(value: object, *others: object) -> st.SearchStrategy[object]:
    """A value three times in four, else something near a guard."""
    return st.sampled_from([value] * (3 * len(others)) + list(others))


@st.composite
def scans(draw: st.DrawFn) -> str:
    """A box of the small pool as a scanner may deliver it."""
    serial = draw(serials)
    plain = code(serial)
    gs1 = f"]d2010690123456789221S{serial}\x1d10L1\x1d17270{serial % 9 + 1}00"
    return str(
        draw(
            mostly(
                plain,
                gs1,
                " " + plain,
                "８" + plain[1:],
                plain + "\r\n",
                plain + code(serial + 1),
                code(serial, MIDDLE),
                code(serial, "8999999"),
                "99999999999999999999",
                "6924561884074",
                "",
            )
        )
    )


@st.composite
def lines(draw: st.DrawFn) -> document_pb2.Line:
    """A line whose fields are mostly plain."""
    codes = draw(st.lists(scans(), min_size=0 if draw(st.integers(0, 9)) == 0 else 1, max_size=3))
    made = line(
        *codes,
        drug=str(draw(mostly(DRUG, OTHER_PACK, OTHER_DRUG, ""))),
        quantity=str(draw(mostly("", "2", "1.0", "0.5", "01"))),
        split=bool(draw(mostly(False, True))),
        lot=str(draw(mostly("", "L1", "L2", "批号"))),
        expiry=str(draw(mostly("", "2027-06-30", "2026-03-01", "2027-06-00"))),
        batch=str(draw(mostly("", "B1"))),
    )
    made.manufacture_date = str(draw(mostly("", "2025-01-01", "2026-12-01")))
    made.memo = str(draw(mostly("", "备注")))
    return made


@st.composite
def documents(draw: st.DrawFn) -> tuple[document_pb2.Document, int, str]:
    """A document, its delay in seconds, its request_id."""
    shop = str(draw(mostly(SHOP, OTHER, QUIET, UNREGISTERED, LEFT)))
    number = str(draw(st.integers(1, 12)))
    time = NOON + draw(st.integers(0, 60)) * HOUR
    rows = draw(st.lists(lines(), min_size=1, max_size=3))
    kind = draw(st.integers(0, 11))
    if kind <= 3:
        made = receipt(shop, "R" + number, time, *rows)
    elif kind <= 8:
        made = sale(
            shop,
            "S" + number,
            time,
            *rows,
            asked=draw(st.booleans()),
            settlement=str(draw(mostly("", "T1", "T2"))),
            channel=draw(st.integers(0, 2)),
            insured=draw(st.booleans()),
            person=str(draw(mostly("", "A"))),
        )
    elif kind == 9:
        made = sale_return(shop, "T" + number, time, *rows)
    elif kind == 10:
        made = draw(
            st.sampled_from(
                [
                    purchase_return(shop, "B" + number, time, *rows),
                    stock_change(shop, "X" + number, time, 102, *rows, counterparty=OTHER),
                    stock_change(shop, "X" + number, time, 101, *rows, counterparty=SHOP),
                ]
            )
        )
    else:
        made = draw(
            st.sampled_from(
                [
                    deletion(shop, "D" + number, time + HOUR, deletes="S" + number),
                    deletion(shop, "D" + number, time + HOUR, batch="B1"),
                ]
            )
        )
    made.offline = bool(draw(mostly(False, True)))
    delay = int(str(draw(mostly(60, 49 * HOUR, -600, -120, 40 * DAY))))
    request_id = str(draw(mostly("", "q1", "q2")))
    return made, delay, request_id


def write_rows(count: int, *, late_info_hours: int = 24) -> str:
    """So many rows of a rule base, a quarter of each kind: exemptions and conditions of drugs, overrides of
    divisions, thresholds of each of them. The first of them concern the shops and drugs of the tests; among
    the others are such as move the guards of clearing, for institutions that are not there. Hours are as a
    province would have them; with 0 no document is so early that rows need not be looked up for it."""
    rows = count // 4
    drugs = [DRUG, OTHER_DRUG, *(f"XZ{number:018d}" for number in range(rows))]
    text = ""
    for row, drug in enumerate(drugs[:rows]):
        text += write_row(
            "exemption",
            'kind = "EXEMPT_LOCAL"\nfindings = ["CODE_EMPTY", "SWAP_PRODUCT"]\n'
            f'drug_codes = ["{drug}"]\nstart_date = 2026-01-01',
        )
        text += write_row(
            "override",
            'findings = ["LATE_UPLOAD", "DUP_SALE_SAME_ORG"]\ndivisions = ["1305"]\n'
            f"start_date = {day_date(18_000 + row).isoformat()}\n"
            f'severity = "{"WARN" if row % 2 else "INFO"}"\nmode = "observe"',
        )
        text += write_row(
            "threshold",
            (
                f'transit_days = 1\nrebill_hours = 1\ndrug_codes = ["{drug}"]',
                f"late_info_hours = {late_info_hours}\nfuture_skew_minutes = 2\n"
                f'divisions = ["{990_000 + row}"]',
                f'legacy_stock_until = 2026-07-01\ninstitution_codes = ["P99{row:09d}"]',
                f'return_cycles_warn = 1\nidentifiers = ["{9_000_000 + row}"]\ndivisions = ["13"]',
            )[row % 4],
        )
        text += write_row(
            "drug_condition",
            f'code_required = {("true", "false")[row % 2]}\nsplit_units_max = {row}\ndrug_codes = ["{drug}"]',
        )
    return text


MANY_ROWS = RuleBase.parse('version = "many"\n' + write_rows(2_000), "a test")
WORST_ROWS = RuleBase.parse('version = "many"\n' + write_rows(2_000, late_info_hours=0), "a test")


SCOPED_ROWS = [
    # Each on the other side of a guard for some of the documents.
    'late_info_hours = 0\ndivisions = ["1305"]\nend_date = 2026-03-16',
    'late_info_hours = 60\ndivisions = ["1305"]\nstart_date = 2026-03-17',
    f'future_skew_minutes = 0\nlate_info_hours = 1\ninstitution_codes = ["{OTHER}"]',
    'future_skew_minutes = 60\ninstitution_codes = ["P1305?0000001"]',
    f'legacy_stock_until = 2026-03-17\ndrug_codes = ["{DRUG}"]\ninstitution_codes = ["{QUIET}"]',
    f'legacy_stock_until = 2026-06-01\nidentifiers = ["{ITEM}"]\nstart_date = 2026-03-17',
    'legacy_stock_until = 2020-01-01\ndivisions = ["13"]',
    f'receipt_late_hours = 0\nsame_org_block_minutes = 0\nidentifiers = ["{ITEM}"]',
    f'rebill_hours = 0\nresale_gap_days = 0\ntransit_days = 0\ndrug_codes = ["{DRUG}", "Z*"]',
    'return_cycles_warn = 1\nreturn_cycles_alert = 1\nslip_characters = 0\ndivisions = ["13"]',
    'correction_hours = 0\ndelete_late_days = 0\ndivisions = ["1305"]',
]
CONDITION_ROWS = [
    f'code_required = true\nsplit_units_max = 0\ndrug_codes = ["{DRUG}"]',
    f'code_required = false\ndrug_codes = ["{OTHER_DRUG}"]',
    f'split_units_max = 1\nidentifiers = ["{ITEM}"]',
]


@st.composite
def rule_bases(draw: st.DrawFn) -> RuleBase:
    """The shipped one with some rows for some, in any order that is no contradiction."""
    rows = draw(st.lists(st.sampled_from(SCOPED_ROWS), max_size=6, unique=True))
    conditions = draw(st.lists(st.sampled_from(CONDITION_ROWS), max_size=2, unique=True))
    text = RULE_BASE.text.replace('version = "2026.1"', 'version = "scoped"')
    text += "\n" + "".join(write_row("threshold", row) for row in rows)
    return RuleBase.parse(text + "".join(write_row("drug_condition", row) for row in conditions), "a test")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(documents(), min_size=1, max_size=14),
    st.booleans(),
    st.sampled_from([RULE_BASE, MANY_ROWS, WORST_ROWS]) | rule_bases(),
)
def test_what_is_cleared_is_silent_and_folds_the_same(
    told: list[tuple[document_pb2.Document, int, str]], one_call: bool, rule_base: RuleBase
) -> None:
    """Byte-equal journals (but for the mark) and indexes, whatever the day, with 2,000 rows, and with rows
    that move each guard for some institutions, drugs and days."""
    submissions = [
        Submission(
            document.SerializeToString(deterministic=True),
            (document.business_time.seconds + delay) * NS,
            request_id,
        )
        for document, delay, request_id in told
    ]
    with tempfile.TemporaryDirectory() as directory:
        lmdb = LmdbEngine(Path(directory) / "ledger", rule_base, NOON * NS, map_size_bytes=2**28)
        memory = MemoryEngine(rule_base, NOON * NS)
        for engine in (lmdb, memory):
            engine.import_products(PRODUCTS, NOON * NS)
            engine.import_institutions([*INSTITUTIONS, LEFT_ROW], NOON * NS)
        if one_call:
            answers = tuple(engine.record(Submissions.of(*submissions)) for engine in (lmdb, memory))
        else:
            answers = tuple(
                [engine.record(Submissions.of(submission))[0] for submission in submissions]
                for engine in (lmdb, memory)
            )
        for ours, judged in zip(*answers, strict=True):
            if isinstance(judged, DocumentRejected):
                assert type(ours) is type(judged)
                assert str(ours) == str(judged)
            else:
                assert answered(ours) == answered(judged)
        compare(lmdb, memory)
        lmdb.close()
        # What the journal tells again is what stood in the index.
        reopened = LmdbEngine(Path(directory) / "ledger", None, NOON * NS, map_size_bytes=2**28)
        compare(reopened, memory)
        reopened.close()


def is_notice(finding: finding_pb2.Finding) -> bool:
    """The one thing that native code says itself: nobody has seen the box, where receipts carry no codes."""
    return (finding.type, finding.severity, finding.final_severity) == (
        FindingType.STOCK_NEVER_RECEIVED,
        Severity.INFO,
        Severity.INFO,
    )


def compare(lmdb: LmdbEngine, memory: MemoryEngine) -> None:
    """Entries equal but for the mark; a cleared one accuses of nothing; records equal."""
    ours, judged = lmdb.entries(0, 10_000), memory.entries(0, 10_000)
    assert len(ours) == len(judged)
    for our_bytes, judged_bytes in zip(ours, judged, strict=True):
        entry = journal_pb2.JournalEntry.FromString(our_bytes)
        if entry.document.cleared:
            assert all(is_notice(finding) for finding in entry.document.findings)
            entry.document.cleared = False
            assert entry.SerializeToString(deterministic=True) == judged_bytes
        else:
            assert our_bytes == judged_bytes
    dump = {
        key: value
        for table in records.Table
        for key, value in lmdb.native.scan(bytes([table]))
        if key not in OWN_OF_STORE
    }
    assert dump == memory.memory.dump()


def test_a_plain_day_is_cleared_whole(tmp_path: Path) -> None:
    """The property above would hold for a clearing that clears nothing: a plain day must be cleared."""
    engine = LmdbEngine(tmp_path / "ledger", RULE_BASE, NOON * NS, map_size_bytes=2**28)
    engine.import_products(PRODUCTS, NOON * NS)
    engine.import_institutions(INSTITUTIONS, NOON * NS)
    day = [receipt(SHOP, "R1", NOON, line(*(code(i) for i in range(1, 101)), lot="L1", expiry="2027-06-30"))]
    day += [
        sale(
            SHOP, f"S{i}", NOON + HOUR + i, line(code(i)), settlement=f"T{i}", person="A" * 32, visit=f"V{i}"
        )
        for i in range(1, 101)
    ]

    answers = engine.record(
        Submissions.of(
            *(
                Submission(d.SerializeToString(deterministic=True), (d.business_time.seconds + 5) * NS)
                for d in day
            )
        )
    )

    assert all(not isinstance(answer, DocumentRejected) for answer in answers)
    entries = [journal_pb2.JournalEntry.FromString(value) for value in engine.entries(0, 1_000)]
    assert sum(entry.document.cleared for entry in entries) == 101
    engine.close()


def test_sales_where_receipts_carry_no_codes_are_cleared_with_their_notice(tmp_path: Path) -> None:
    """The box was never seen, and that proves nothing. Not so for what was seen before,
    nor where the rule base has its own mind about the finding."""
    engine = LmdbEngine(tmp_path / "ledger", RULE_BASE, NOON * NS, map_size_bytes=2**28)
    memory = MemoryEngine(RULE_BASE, NOON * NS)
    stricter = RuleBase.parse(
        'version = "2"\n[[override]]\nfindings = ["STOCK_NEVER_RECEIVED"]\nmode = "observe"\n'
        'approver = "a"\nreason = "b"\n',
        "a test",
    )
    gs1 = "01069012345678922110A\x1d17270630"
    day = [
        sale(QUIET, "S1", NOON, line(code(2), code(1)), line(gs1, drug=OTHER_DRUG), person="A"),
        sale(QUIET, "S2", NOON + HOUR, line(code(1)), person="B"),
        sale(SHOP, "S1", NOON, line(code(3)), person="A"),
    ]
    later = sale(QUIET, "S3", NOON, line(code(4)), person="A")
    for told in (engine, memory):
        told.import_products(PRODUCTS, NOON * NS)
        told.import_institutions(INSTITUTIONS, NOON * NS)
        for document in day:
            told.record(Submissions.of(Submission(document.SerializeToString(deterministic=True), NOON * NS)))
        told.change_rule_base(stricter, NOON * NS)
        told.record(Submissions.of(Submission(later.SerializeToString(deterministic=True), NOON * NS)))

    entries = [journal_pb2.JournalEntry.FromString(value) for value in engine.entries(0, 100)]
    compare(engine, memory)
    engine.close()
    documents = [entry.document for entry in entries if entry.HasField("document")]
    assert [document.cleared for document in documents] == [True, False, False, False]
    assert [(f.line_number, f.code) for f in documents[0].findings] == [
        (1, code(1)),
        (1, code(2)),
        (2, "(01)06901234567892(21)10A"),
    ]


@pytest.mark.parametrize("many", [MANY_ROWS, WORST_ROWS], ids=["many", "worst"])
def test_two_thousand_rows_change_no_decision_about_what_they_do_not_name(
    many: RuleBase, tmp_path: Path
) -> None:
    """Pins that the same documents are cleared, to the same bytes, with rows of each kind and with none."""
    few = RuleBase.parse('version = "many"', "a test")
    assert len(many.threshold_rows) == len(many.drug_conditions) == 500
    day = [receipt(SHOP, "R1", NOON, line(*(code(i) for i in range(1, 61)), lot="L1", expiry="2027-06-30"))]
    for i in range(1, 61):
        # Some are late, some of a box that nobody saw: each near a guard that rows move elsewhere.
        made = sale((SHOP, QUIET)[i % 7 == 0], f"S{i}", NOON + HOUR + i, line(code(i)), person="A")
        day.append(made)
    delays = [60, *((5, 20 * HOUR, 47 * HOUR, 49 * HOUR)[i // 16] for i in range(60))]
    entries = []
    for name, rule_base in (("few", few), ("many", many)):
        engine = LmdbEngine(tmp_path / name, rule_base, NOON * NS, map_size_bytes=2**28)
        engine.import_products(PRODUCTS, NOON * NS)
        engine.import_institutions(INSTITUTIONS, NOON * NS)
        for made, delay in zip(day, delays, strict=True):
            received = (made.business_time.seconds + delay) * NS
            engine.record(Submissions.of(Submission(made.SerializeToString(deterministic=True), received)))
        entries.append([journal_pb2.JournalEntry.FromString(each) for each in engine.entries(0, 1_000)])
        engine.close()

    cleared = [
        [each.SerializeToString(deterministic=True) for each in told if each.document.cleared]
        for told in entries
    ]
    assert cleared[0] == cleared[1]
    assert len(cleared[0]) == 1 + 48 - 6


def test_a_row_for_some_leaves_clearing_to_all_others(tmp_path: Path) -> None:
    """Pins that a guard moves for those whom a row names, on its days, and for nobody else."""
    rows = [
        'late_info_hours = 1\ndivisions = ["130500"]\nend_date = 2026-03-15',
        f'future_skew_minutes = 0\ninstitution_codes = ["{OTHER}"]',
        f'legacy_stock_until = 2026-06-01\ninstitution_codes = ["{SHOP}"]',
    ]
    rule_base = RuleBase.parse(
        'version = "1"\n' + "".join(write_row("threshold", row) for row in rows), "a test"
    )
    engine = LmdbEngine(tmp_path / "ledger", rule_base, NOON * NS, map_size_bytes=2**28)
    engine.import_products(PRODUCTS, NOON * NS)
    engine.import_institutions(INSTITUTIONS, NOON * NS)
    told = [
        (receipt(SHOP, "R1", NOON, line(code(1))), 1 * HOUR, True),
        (receipt(SHOP, "R2", NOON, line(code(2))), 2 * HOUR, False),
        (receipt(FAR, "R3", NOON, line(code(3))), 2 * HOUR, True),
        (receipt(OTHER, "R4", NOON + 3 * HOUR, line(code(4))), -60, False),
        (receipt(FAR, "R5", NOON + 4 * HOUR, line(code(5))), -60, True),
        (sale(QUIET, "S1", NOON + 4 * HOUR, line(code(6)), person="A"), 60, True),
        (receipt(SHOP, "R6", NOON + DAY, line(code(7))), 2 * HOUR, True),
    ]
    for document, delay, _ in told:
        received = (document.business_time.seconds + delay) * NS
        engine.record(Submissions.of(Submission(document.SerializeToString(deterministic=True), received)))

    entries = [journal_pb2.JournalEntry.FromString(value) for value in engine.entries(0, 100)]
    engine.close()
    cleared = [entry.document.cleared for entry in entries if entry.HasField("document")]
    assert cleared == [plain for _, _, plain in told]


def test_identifiers_of_the_pool_are_on_both_sides_of_the_guards() -> None:
    """The pool names a known item, a known package and an unknown identifier."""
    known = {product.identifier for product in PRODUCTS}

    assert {ITEM, MIDDLE} <= known
    assert "8999999" not in known
