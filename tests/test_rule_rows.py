"""Rows for some: what is judged by a threshold or a drug condition is judged by the row of its own place.

Method: documents are told to the memory engine, and what stands of them is read from its journal.
"""

from __future__ import annotations

import pytest
from documents import (
    DAY,
    DRUG,
    FAR,
    HOUR,
    INSTITUTIONS,
    NOON,
    NS,
    OTHER_DRUG,
    PRODUCTS,
    SHOP,
    code,
    deletion,
    line,
    receipt,
    sale,
    sale_return,
)
from rule_rows import write_row

from tracecode.engine.contract import Submission, Submissions
from tracecode.engine.memory import MemoryEngine
from tracecode.finding import FindingType
from tracecode.rule_base import RuleBase
from tracecode.v1 import document_pb2, journal_pb2, ledger_service_pb2
from tracecode.views.quantity import QuantityView

Told = list[tuple[document_pb2.Document, int]]


def write_base(*rows: str) -> RuleBase:
    """The shipped rule base with rows; each begins with its kind."""
    text = RuleBase.default().text.replace('version = "2026.1"', 'version = "rows"')
    for row in rows:
        text += "\n" + write_row(*row.split("\n", 1))
    return RuleBase.parse(text, "a test")


def tell(rule_base: RuleBase, told: Told) -> MemoryEngine:
    """An engine that was told documents, each so many seconds after its business time."""
    engine = MemoryEngine(rule_base, NOON * NS)
    engine.import_products(PRODUCTS, NOON * NS)
    engine.import_institutions(INSTITUTIONS, NOON * NS)
    for document, delay in told:
        received = (document.business_time.seconds + delay) * NS
        engine.record(Submissions.of(Submission(document.SerializeToString(deterministic=True), received)))
    return engine


def read_findings(engine: MemoryEngine, number: str) -> set[str]:
    """What stands of a document in the end, type and severity."""
    stands: dict[int, set[str]] = {}
    named: dict[int, str] = {}
    for value in engine.entries(0, engine.sequence):
        entry = journal_pb2.JournalEntry.FromString(value)
        of = entry.sequence if entry.HasField("document") else entry.revision.revised_sequence
        findings = entry.document.findings if entry.HasField("document") else entry.revision.findings
        if entry.HasField("document"):
            named[of] = document_pb2.Document.FromString(entry.document.document).document_number
        stands[of] = {f"{FindingType(m.type).name} {m.final_severity}" for m in findings}
    return set().union(*(stands[sequence] for sequence, name in named.items() if name == number))


def came_back(drug: str) -> Told:
    """A box is sold, comes back and is sold again."""
    return [
        (receipt(SHOP, "R1", NOON, line(code(1))), 60),
        (sale(SHOP, "S1", NOON + HOUR, line(code(1), drug=drug)), 60),
        (sale_return(SHOP, "T1", NOON + 2 * HOUR, line(code(1), drug=drug)), 60),
        (sale(SHOP, "S2", NOON + 3 * HOUR, line(code(1), drug=drug)), 60),
    ]


COLD = f'threshold\nreturn_cycles_warn = 1\ndrug_codes = ["{DRUG}"]'


@pytest.mark.parametrize(("drug", "said"), [(DRUG, True), (OTHER_DRUG, False)])
def test_an_event_is_judged_by_the_row_of_its_billed_drug(drug: str, said: bool) -> None:
    """Pins that a drug that must not be sold again is told the first time, and no other drug."""
    assert ("RETURN_RESOLD 2" in read_findings(tell(write_base(COLD), came_back(drug)), "S2")) is said


@pytest.mark.parametrize(
    ("identifier", "day", "said"),
    [("8206233", "2026-03-15", True), ("8206234", "2026-03-15", False), ("8206233", "2026-03-16", False)],
)
def test_an_event_is_judged_by_the_row_of_its_product_on_its_day(
    identifier: str, day: str, said: bool
) -> None:
    """Pins the product that the code names, and the days of a row."""
    row = f'threshold\nreturn_cycles_warn = 1\nidentifiers = ["{identifier}"]\nstart_date = {day}'
    assert ("RETURN_RESOLD 2" in read_findings(tell(write_base(row), came_back(DRUG)), "S2")) is said


@pytest.mark.parametrize(("shop", "said"), [(SHOP, {"LATE_UPLOAD 1"}), (FAR, set())])
def test_a_document_is_judged_by_the_row_of_its_institution(shop: str, said: set[str]) -> None:
    """Pins thresholds of documents: one division is asked to be quicker."""
    rule_base = write_base('threshold\nlate_info_hours = 1\ndivisions = ["1305"]')
    told = [(receipt(shop, "R1", NOON, line(code(1))), 2 * HOUR)]
    assert read_findings(tell(rule_base, told), "R1") == said


@pytest.mark.parametrize(("row", "said"), [("", True), ("threshold\ndelete_late_days = 30", False)])
def test_a_deletion_is_judged_by_the_row_of_its_institution(row: str, said: bool) -> None:
    """Pins what is looked at when a deletion takes a sale back."""
    rule_base = write_base(*([f'{row}\ninstitution_codes = ["{SHOP}"]'] if row else []))
    told = [
        (receipt(SHOP, "R1", NOON, line(code(1))), 60),
        (sale(SHOP, "S1", NOON + HOUR, line(code(1))), 60),
        (deletion(SHOP, "D1", NOON + 10 * DAY, deletes="S1"), 60),
    ]
    assert ("DELETE_AFTER_FLAG 3" in read_findings(tell(rule_base, told), "D1")) is said


@pytest.mark.parametrize(("drug", "said"), [(DRUG, False), (OTHER_DRUG, True)])
def test_a_stock_is_judged_by_the_row_of_its_drug(drug: str, said: bool) -> None:
    """Pins that sums of quantities go by rows, too: twenty packs sold and none bought."""
    rule_base = write_base(f'threshold\nsales_exceed_units_min = 1000\ndrug_codes = ["{DRUG}"]')
    told = [(sale(SHOP, f"S{n}", NOON + n, line(code(n), drug=drug)), 60) for n in range(1, 21)]
    (stock,) = read_stocks(tell(rule_base, told), drug)
    assert (FindingType.SALES_EXCEED_PURCHASE in {m.type for m in stock.findings}) is said


def read_stocks(engine: MemoryEngine, drug: str) -> list[ledger_service_pb2.Stock]:
    """The stock of one drug."""
    view = QuantityView(engine)
    view.catch_up()
    return view.stocks(SHOP, [drug])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], {"CODE_EMPTY 4"}),
        ([f'drug_condition\ncode_required = false\ndrug_codes = ["{DRUG}"]'], {"EXEMPT_LOCAL 1"}),
        (
            [
                f'drug_condition\ncode_required = true\ndrug_codes = ["{DRUG}"]',
                'exemption\nkind = "EXEMPT_LOCAL"\ndrug_codes = ["X*"]\nstart_date = 2026-01-01',
            ],
            {"CODE_EMPTY 4"},
        ),
        (
            ['exemption\nkind = "EXEMPT_LOCAL"\ndrug_codes = ["X*"]\nstart_date = 2026-01-01'],
            {"EXEMPT_LOCAL 1"},
        ),
    ],
)
def test_whether_a_code_is_asked_for_is_a_condition_of_the_drug(rows: list[str], said: set[str]) -> None:
    """Pins that a condition excuses a missing code, and that it takes back what an exemption excuses."""
    told = [(sale(SHOP, "S1", NOON, line(quantity="1"), insured=True), 60)]
    assert read_findings(tell(write_base(*rows), told), "S1") == said


@pytest.mark.parametrize(
    ("units_max", "said"),
    [("", set()), ("0", {"SPLIT_NOT_ALLOWED 2"}), ("5", {"SPLIT_OVER 3"}), ("6", set())],
)
def test_how_much_may_be_split_is_a_condition_of_the_drug(units_max: str, said: set[str]) -> None:
    """Pins the units that one pack may be split into, on a pack of which the catalogue says 24."""
    rows = [f'drug_condition\nsplit_units_max = {units_max}\ndrug_codes = ["{DRUG}"]'] if units_max else []
    told = [
        (receipt(SHOP, "R1", NOON, line(code(1))), 60),
        (sale(SHOP, "S1", NOON + HOUR, line(code(1), quantity="6", split=True)), 60),
    ]
    assert read_findings(tell(write_base(*rows), told), "S1") == said
