"""What a dry run skips, nothing that the candidate changes affects.

Method: the same dry run is made with skipping and without. Random journals have some twenty boxes at a few
institutions, so that most things that tie documents occur, but not all documents hang together.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
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
    code,
    deletion,
    line,
    purchase_return,
    receipt,
    sale,
    sale_return,
    stock_change,
    stock_count,
)
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from test_clearing import CONDITION_ROWS, SCOPED_ROWS, UNREGISTERED, mostly, write_row
from test_dry_run import row, submission

from tracecode.dry_run import DryRunReport, dry_run
from tracecode.engine.contract import Submission, Submissions
from tracecode.engine.lmdb import LmdbEngine
from tracecode.errors import RuleBaseInvalid
from tracecode.rule_base import RuleBase
from tracecode.v1 import catalogue_pb2, document_pb2

SHOPS = (SHOP, OTHER, FAR, QUIET, UNREGISTERED)
UNKNOWN = "8999999"
"""A product that comes into the catalogue only in the middle of some journals."""

ROWS = (
    row("DUP_SALE_CROSS_ORG", 'severity = "WARN"'),
    row("DUP_SALE_CROSS_ORG", 'mode = "observe"', "1305"),
    row("DUP_SALE_CROSS_ORG", 'severity = "OFF"', "51"),
    row("DUP_SALE_SAME_ORG", 'severity = "WARN"\nmode = "enforce"\nstart_date = 2026-03-16'),
    row("ALL", 'mode = "advise"', "51"),
    row("ALL", 'mode = "enforce"\nend_date = 2026-03-16', "130500"),
    row("STOCK_NEVER_RECEIVED", 'severity = "OFF"', "1305"),
    row("STOCK_NEVER_RECEIVED", 'severity = "INFO"', "99"),
    row("STOCK_NOT_HERE", 'severity = "BLOCK"\nmode = "enforce"'),
    row("LATE_UPLOAD", 'severity = "OFF"\nstart_date = 2026-03-17'),
    row("PRODUCT_UNKNOWN", 'severity = "OFF"'),
    row("ORG_INVALID", 'severity = "INFO"'),
    row("DUP_IN_DOC", 'severity = "INFO"', "13"),
    row("DELETE_AFTER_FLAG", 'severity = "OFF"', "1305"),
    row("EXEMPT_LOCAL", 'mode = "observe"'),
    row("ORDER_VIOLATION", 'severity = "INFO"'),
    *(
        write_row("exemption", f'kind = "EXEMPT_LOCAL"\nstart_date = 2026-01-01\n{says}')
        for says in (
            f'findings = ["SWAP_PRODUCT", "DUP_SALE_CROSS_ORG"]\ndrug_codes = ["{OTHER_DRUG}"]',
            f'findings = ["STOCK_NEVER_RECEIVED", "DUP_SALE_SAME_ORG"]\ninstitution_codes = ["{SHOP}"]',
            'findings = ["QTY_CODE_MISMATCH", "STOCK_NOT_HERE"]\ndivisions = ["51"]\nend_date = 2026-03-16',
            'findings = ["ORG_INVALID", "RETURN_NO_SALE"]\ninstitution_codes = ["P9?9*"]',
        )
    ),
    *(write_row("threshold", says) for says in SCOPED_ROWS),
    *(write_row("drug_condition", says) for says in CONDITION_ROWS),
    write_row("threshold", f'stocktake_units = 5\ninstitution_codes = ["{SHOP}"]'),
)


@st.composite
def rule_bases(draw: st.DrawFn) -> tuple[RuleBase, RuleBase, RuleBase]:
    """The first of a journal, a second one that may be put in force later, and a candidate: like the second
    but for a few rows, or the order of all, or a number."""

    def make(version: str, rows: list[str], numbers: dict[str, int]) -> RuleBase:
        lines = [f'version = "{version}"', "[thresholds]", *(f"{name} = {numbers[name]}" for name in numbers)]
        try:
            return RuleBase.parse("\n".join([*lines, *rows]), version)
        except RuleBaseInvalid:
            assume(False)
            raise

    some = st.lists(st.sampled_from(ROWS), max_size=4, unique=True)
    numbers = draw(st.sampled_from([{}, {"learn_sales": 2, "learn_institutions": 1}]))
    rows = draw(some)
    changed = draw(st.lists(st.sampled_from(ROWS), min_size=1, max_size=2, unique=True))
    other = [each for each in rows if each not in changed] + [each for each in changed if each not in rows]
    if draw(st.integers(0, 5)) == 0:
        other = draw(st.permutations(other))
    more = draw(
        mostly(
            {},
            {"late_info_hours": 1},
            {"late_info_hours": 72, "late_warn_days": 40},
            {"future_skew_minutes": 1},
            {"stocktake_units": 9},
            {"transit_days": 1},
        )
    )
    assert isinstance(more, dict)
    return (
        make("first", draw(some) if draw(st.booleans()) else rows, numbers),
        make("second", rows, numbers),
        make("candidate", other, {**numbers, **more}),
    )


@st.composite
def lines(draw: st.DrawFn, *, most: int = 2) -> document_pb2.Line:
    """A line of some of twenty boxes."""
    serials = draw(
        st.lists(st.integers(1, 20), min_size=0 if draw(st.integers(0, 9)) == 0 else 1, max_size=most)
    )
    identifier = str(draw(mostly(ITEM, UNKNOWN, MIDDLE)))
    made = line(
        *(code(serial, identifier) for serial in serials),
        drug=str(draw(mostly(DRUG, OTHER_PACK, OTHER_DRUG))),
        split=bool(draw(mostly(False, True))),
        batch=str(draw(mostly("", "B1"))),
    )
    if draw(st.integers(0, 9)) == 0:
        made.packages.add(
            code=code(draw(st.integers(1, 3)), MIDDLE),
            child_codes=[code(each) for each in draw(st.lists(st.integers(1, 20), max_size=3, unique=True))],
        )
    return made


@st.composite
def documents(draw: st.DrawFn) -> Submission:
    """Anything that an institution sends."""
    shop, number = draw(st.sampled_from(SHOPS)), str(draw(st.integers(1, 40)))
    time = NOON + draw(st.integers(0, 60)) * HOUR
    kind = draw(st.integers(0, 15))
    rows = draw(st.lists(lines(most=6 if kind <= 3 else 2), min_size=1, max_size=2))
    if kind <= 3:
        made = receipt(shop, "R" + number, time, *rows)
    elif kind <= 10:
        made = sale(
            shop,
            "S" + number,
            time,
            *rows,
            asked=draw(st.booleans()),
            settlement=str(draw(mostly("", "T1"))),
            insured=draw(st.booleans()),
            person=str(draw(mostly("", "A"))),
            corrects="S" + number if draw(st.integers(0, 5)) == 0 else "",
        )
    elif kind == 11:
        made = sale_return(shop, "T" + number, time, *rows)
    elif kind == 12:
        made = stock_change(shop, "X" + number, time, draw(st.sampled_from([101, 102, 107])), *rows)
    elif kind == 13:
        made = draw(
            st.sampled_from(
                [purchase_return(shop, "B" + number, time, *rows), stock_count(shop, "C", time, *rows)]
            )
        )
    elif kind == 14:
        made = deletion(shop, "D" + number, time + HOUR, deletes="S" + str(draw(st.integers(1, 40))))
    else:
        made = deletion(shop, "D" + number, time + 9 * DAY, batch="B1", kind=draw(st.sampled_from([3, 4])))
    return submission(made, int(str(draw(mostly(60, 49 * HOUR, -600, 40 * DAY)))))


MOVED = [
    catalogue_pb2.Institution(institution_code=UNREGISTERED, division_code="130500"),
    catalogue_pb2.Institution(institution_code=QUIET, division_code="510100", uploads_receipt_codes=True),
]
LEARNT = [catalogue_pb2.Product(identifier=UNKNOWN, package_level=1, drug_codes=[DRUG])]
HOLDS = [
    catalogue_pb2.Hold(hold_id="H1", code=code(3), start_date="2026-01-01"),
    catalogue_pb2.Hold(hold_id="H2", code=code(2, MIDDLE), start_date="2026-01-01"),
]
REPLACED = [catalogue_pb2.CodeReplacement(old_code=code(5), new_code=code(6))]


def report(folder: Path, candidate: RuleBase, since: int, *, skip: bool) -> DryRunReport:
    """A dry run, without what must differ between the whole journal and some of it."""
    made = dry_run(folder / "ledger", candidate, since=since, scratch=folder, skip=skip)
    return replace(made, seconds=0, judged=0, skipped=0, whole="")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(documents(), min_size=4, max_size=24),
    rule_bases(),
    st.dictionaries(
        st.sampled_from(["second", "moved", "learnt", "holds", "replaced"]), st.integers(0, 20), max_size=3
    ),
    st.sampled_from([1, 1, 8]),
)
def test_what_is_skipped_changes_no_count(
    told: list[Submission], three: tuple[RuleBase, RuleBase, RuleBase], acts: dict[str, int], since: int
) -> None:
    """Pins that counts, samples and institutions are those of the whole journal, whatever ties its documents
    and whatever becomes of rule base, catalogue and institutions on the way."""
    first, second, candidate = three
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine = LmdbEngine(folder / "ledger", first, NOON * NS, map_size_bytes=2**28)
        engine.import_products(PRODUCTS, NOON * NS)
        engine.import_institutions(INSTITUTIONS, NOON * NS)
        for number, each in enumerate(told):
            now_ns = max(NOON * NS, *(before.receive_time_ns for before in told[: number + 1]))
            for act in (act for act, at in acts.items() if at == number):
                match act:
                    case "second":
                        engine.change_rule_base(second, now_ns)
                    case "moved":
                        engine.import_institutions(MOVED, now_ns)
                    case "learnt":
                        engine.import_products(LEARNT, now_ns)
                    case "holds":
                        engine.import_holds(HOLDS, now_ns)
                    case "replaced":
                        engine.import_code_replacements(REPLACED, now_ns)
            engine.record(Submissions.of(each))
        engine.close()
        made = dry_run(folder / "ledger", candidate, since=since, scratch=folder)
        event("whole" if made.whole else "some skipped" if made.skipped else "none skipped")
        event("changes" if made.documents_changed else "no change")
        whole = report(folder, candidate, since, skip=False)
        assert report(folder, candidate, since, skip=True) == whole


TOUCHED = row("DUP_SALE_CROSS_ORG", 'severity = "WARN"')
EARLY = write_row("threshold", f'late_info_hours = 0\ninstitution_codes = ["{FAR}"]')
"""Everything that FAR sends is late, also what native code cleared."""

APART = [
    submission(receipt(SHOP, "R9", NOON, line(*map(code, range(91, 99))))),
    *(submission(sale(SHOP, f"S{serial}", NOON + HOUR, line(code(serial)))) for serial in range(91, 99)),
    submission(sale(QUIET, "S90", NOON + HOUR, line(code(90), split=True))),
]
TIES = {
    "a code": (
        [
            submission(receipt(OTHER, "R1", NOON, line(code(1), code(2)))),
            submission(sale(FAR, "S1", NOON + HOUR, line(code(1)))),
            submission(sale(OTHER, "S2", NOON + 2 * HOUR, line(code(1)))),
        ],
        EARLY,
    ),
    "a receipt that came first": (
        [
            submission(receipt(FAR, "R1", NOON, line(code(1), code(2)))),
            submission(sale(FAR, "S1", NOON + HOUR, line(code(1)))),
        ],
        EARLY,
    ),
    "a deletion": (
        [
            submission(receipt(FAR, "R1", NOON, line(code(1)))),
            submission(sale(FAR, "S1", NOON + HOUR, line(code(1)))),
            submission(sale(OTHER, "S2", NOON + 2 * HOUR, line(code(1)))),
            submission(deletion(OTHER, "D1", NOON + 3 * HOUR, deletes="S2")),
        ],
        TOUCHED,
    ),
    "an unknown product": (
        [
            submission(sale((FAR, OTHER, QUIET)[i % 3], f"S{i}", NOON + i * HOUR, line(code(i, UNKNOWN))))
            for i in range(1, 9)
        ],
        EARLY,
    ),
    "a package": (
        [
            submission(
                receipt(
                    SHOP,
                    "R1",
                    NOON,
                    document_pb2.Line(
                        drug_code=DRUG,
                        codes=[code(1, MIDDLE)],
                        quantity="1",
                        packages=[document_pb2.Package(code=code(1, MIDDLE), child_codes=[code(1), code(2)])],
                    ),
                )
            ),
            submission(sale(OTHER, "S1", NOON + HOUR, line(code(1, MIDDLE)))),
            submission(sale(FAR, "S2", NOON + 2 * HOUR, line(code(2)))),
        ],
        EARLY,
    ),
}


@pytest.mark.parametrize("tie", TIES)
def test_what_is_tied_to_a_changed_document_is_told_and_what_is_not_is_skipped(
    tie: str, tmp_path: Path
) -> None:
    """Pins for each tie that the change is found whole, and that documents apart from it are left out."""
    story, changed = TIES[tie]
    engine = LmdbEngine(tmp_path / "ledger", RuleBase.parse('version = "1"', "1"), NOON * NS)
    engine.import_products(PRODUCTS, NOON * NS)
    engine.import_institutions(INSTITUTIONS, NOON * NS)
    for each in [*APART, *story]:
        engine.record(Submissions.of(each))
    engine.close()
    candidate = RuleBase.parse('version = "2"\n' + changed, "2")
    made = dry_run(tmp_path / "ledger", candidate, scratch=tmp_path)
    assert not made.whole
    assert made.skipped == len(APART) - 1
    assert made.documents_changed
    whole = report(tmp_path, candidate, 1, skip=False)
    assert report(tmp_path, candidate, 1, skip=True) == whole


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("[thresholds]\ntransit_days = 9", "transit_days is another for everybody"),
        (
            "".join(row("LATE_UPLOAD", f'mode = "observe"\nstart_date = 2{n:03}-01-01') for n in range(101)),
            "101 rows",
        ),
    ],
    ids=["a threshold", "many rows"],
)
def test_what_cannot_be_bounded_is_told_whole_with_the_reason(says: str, why: str, tmp_path: Path) -> None:
    """Pins that nothing is skipped then, and that the report says why."""
    engine = LmdbEngine(tmp_path / "ledger", RuleBase.parse('version = "1"', "1"), NOON * NS)
    for each in APART:
        engine.record(Submissions.of(each))
    engine.close()
    made = dry_run(tmp_path / "ledger", RuleBase.parse(f'version = "2"\n{says}', "2"), scratch=tmp_path)
    assert why in made.whole
    assert made.skipped == 0
    assert made.documents == len(APART)
