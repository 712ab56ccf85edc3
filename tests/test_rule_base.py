"""Pins the rule base: what a file may say, which row holds, whom it exempts, and how it is reloaded."""

import os
import re
import timeit
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import rule_rows
from hypothesis import given
from hypothesis import strategies as st
from rule_rows import WHO

from tracecode import rule_base as rule_base_module
from tracecode.errors import RuleBaseInvalid
from tracecode.finding import REGISTRY, FindingType, Mode, Severity
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.rule_base import (
    TEXT_BYTES_MAX,
    Override,
    RuleBase,
    RuleBaseFile,
    Thresholds,
    render_thresholds,
)
from tracecode.scope import RowPlace

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = (ROOT / "tracecode/rule_base.toml").read_text(encoding="utf-8")
DAY = date(2026, 3, 1)


def parse(rows: str) -> RuleBase:
    """A rule base of these rows."""
    return RuleBase.parse('version = "1"\n' + rows, "rules.toml")


def write_override(**values: str) -> str:
    """A row in TOML; the values are TOML themselves."""
    return write_row("override", **values)


def write_exemption(**values: str) -> str:
    """A row in TOML; the values are TOML themselves."""
    return write_row("exemption", **{"kind": '"EXEMPT_LOCAL"', "start_date": "2026-01-01", **values})


def write_row(kind: str, /, **values: str) -> str:
    """A row of any kind in TOML; the values are TOML themselves."""
    return rule_rows.write_row(kind, "\n".join(f"{name} = {value}" for name, value in values.items()))


# --- what is shipped ----------------------------------------------------------------------------


def test_the_shipped_file_shows_every_threshold_with_its_default() -> None:
    """Pins that a reader of rule_base.toml sees all numbers there are, as they are."""
    rule_base = RuleBase.default()

    written = dict(re.findall(r"^(\w+) = (\S+)", SHIPPED.split("[thresholds]")[1].split("\n[[")[0], re.M))
    assert written == {field.name: str(getattr(Thresholds(), field.name)) for field in fields(Thresholds)}
    assert rule_base.thresholds == Thresholds()
    assert rule_base.text == SHIPPED
    assert rule_base is RuleBase.default()


def test_the_shipped_file_changes_no_severity_and_no_mode() -> None:
    """Pins that the registry's defaults hold everywhere, so docs/findings.md tells the truth."""
    rule_base = RuleBase.default()

    for kind in REGISTRY.values():
        assert rule_base.severity(kind.type, kind.severity, "130503", DAY) is kind.severity
        assert rule_base.mode(kind.type, "130503", DAY) is kind.mode


@pytest.mark.parametrize(
    ("drug_code", "institution_code", "split", "finding", "kind"),
    [
        ("T001500001", "P13050300001", False, "CODE_EMPTY", "EXEMPT_HERB"),
        ("T001500001", "P13050300001", False, "STOCK_NEVER_RECEIVED", "EXEMPT_HERB"),
        ("T001500001", "P13050300001", False, "DUP_SALE_CROSS_ORG", None),
        ("XJ01CAA040A001010102699", "P13050300001", False, "CODE_EMPTY", None),
        ("XJ01CAA040A001010102699", "P13050300001", True, "CODE_EMPTY", None),
        ("XJ01CAA040A001010102699", "H13050300001", True, "CODE_PLACEHOLDER", "EXEMPT_INPATIENT_SPLIT"),
        ("XJ01CAA040A001010102699", "H13050300001", False, "CODE_PLACEHOLDER", None),
        ("", "P13050300001", False, "CODE_EMPTY", None),
    ],
)
def test_whom_the_shipped_file_exempts(
    drug_code: str, institution_code: str, split: bool, finding: str, kind: str | None
) -> None:
    """Pins the two exemptions of the national collection and their limits."""
    exemption = RuleBase.default().exemption(
        drug_code, institution_code, "130503", DAY, FindingType[finding], split=split
    )

    assert (exemption.kind.name if exemption else None) == kind


def test_the_page_of_the_rule_base_shows_the_thresholds() -> None:
    """Pins docs/rule-base.md; on failure replace its table by what `render_thresholds` returns."""
    page = (ROOT / "docs/rule-base.md").read_text(encoding="utf-8")

    assert page.endswith("\n\n" + render_thresholds())


@pytest.mark.parametrize(
    "example",
    re.findall(r"```toml\n(.*?)```", (ROOT / "docs/rule-base.md").read_text(encoding="utf-8"), re.S),
)
def test_the_examples_of_the_page_are_good(example: str) -> None:
    """Pins that what the page shows can be copied."""
    rule_base = parse(example)
    assert rule_base.overrides + rule_base.exemptions + rule_base.threshold_rows + rule_base.drug_conditions


def test_the_examples_in_the_shipped_file_are_good() -> None:
    """Pins that a commented row works once its signs are taken off and the dots filled in."""
    uncommented = "".join(
        line.removeprefix("# ").removeprefix("#") + "\n"
        for line in SHIPPED.splitlines()
        if re.match(r"# (\[\[|\w+ = )", line)
    ).replace("# ...\n", "")
    uncommented = uncommented.rstrip() + '\nstart_date = 2026-01-01\napprover = "a"\nreason = "r"\n'

    rule_base = parse(uncommented)

    assert [row.mode or row.severity for row in rule_base.overrides] == [Mode.ADVISE, Severity.WARN]
    assert [row.kind.name for row in rule_base.exemptions] == ["EXEMPT_LEGACY_STOCK", "EXEMPT_LOCAL"]
    assert [row.values for row in rule_base.threshold_rows] == [{"transit_days": 14, "rebill_hours": 72}]
    assert [row.code_required for row in rule_base.drug_conditions] == [True]
    assert [row.split_units_max for row in rule_base.drug_conditions] == [10]


# --- what a file may say ------------------------------------------------------------------------


def test_what_is_left_out_has_its_default() -> None:
    """Pins that the smallest file is a version, and that numbers are read as what they are."""
    assert parse("").thresholds == Thresholds()
    assert parse("").overrides == ()

    thresholds = parse(
        "[thresholds]\nlate_info_hours = 24\nsales_exceed_alert = 2\nstocktake_share = 0.1\n"
    ).thresholds

    assert thresholds.late_info_hours == 24
    assert thresholds.sales_exceed_alert == Decimal(2)
    # Not the float nearest to it: two engines must compare alike.
    assert thresholds.stocktake_share == Decimal("0.1")


def test_rows_become_values() -> None:
    """Pins every key of both kinds of row."""
    rule_base = parse(
        "\n"
        '[[override]]\nfindings = ["LATE_UPLOAD", "CLOCK_SKEW"]\nseverity = "OFF"\nmode = "observe"\n'
        'divisions = ["13", "6107"]\nstart_date = 2026-01-01\nend_date = 2026-02-01\n' + WHO + "\n"
        '[[exemption]]\nkind = "EXEMPT_LOCAL"\nfindings = ["CODE_EMPTY"]\ndrug_codes = ["ZA?2*"]\n'
        'institution_codes = ["P13050300001"]\ndivisions = ["130503"]\nsplit = true\n'
        "start_date = 2026-01-01\nend_date = 2026-12-31\n" + WHO
    )

    assert rule_base.overrides == (
        Override(
            findings=(FindingType.LATE_UPLOAD, FindingType.CLOCK_SKEW),
            severity=None,
            off=True,
            mode=Mode.OBSERVE,
            divisions=("13", "6107"),
            start_date=date(2026, 1, 1),
            end_date=date(2026, 2, 1),
            approver="a",
            reason="r",
            line=3,
        ),
    )
    exemption = rule_base.exemptions[0]
    assert (exemption.kind, exemption.findings) == (FindingType.EXEMPT_LOCAL, (FindingType.CODE_EMPTY,))
    assert (exemption.drug_codes, exemption.institution_codes) == (("ZA?2*",), ("P13050300001",))
    assert (exemption.divisions, exemption.split, exemption.line) == (("130503",), True, 13)
    assert (exemption.start_date, exemption.end_date) == (date(2026, 1, 1), date(2026, 12, 31))
    assert (exemption.approver, exemption.reason) == ("a", "r")


def test_two_rule_bases_are_equal_when_their_texts_are() -> None:
    """Pins what an engine compares to see whether a file is already in force."""
    assert parse("") == parse("")
    assert parse("") != parse("# Another remark.\n")


# Each row: the text, the line at fault, and what the message says of it.
BAD = [
    ("", 1, "version: missing; a text is needed here"),
    ("version = 1\n", 1, 'version: 1 is not a text; put it in "quotes"'),
    ('version = " "\n', 1, "version: missing"),
    ('version = "a b"\n', 1, "without blanks, such as 2026.03-xingtai"),
    ('version = "' + "a" * 65 + '"\n', 1, "longer than 64 characters; shorten it"),
    # Not TOML.
    ('version = "1"\n\nlate = \n', 3, 'not TOML: Invalid value; texts stand in "quotes"'),
    ('version = "1"\n[thresholds]\njoin_hours = 1\njoin_hours = 2\n', 4, "it stands there already"),
    ('version = "1"\n[thresholds]\n[override]\n[override]\n', 4, "a further row begins with [[override]]"),
    ('version = "1"\n[[override]]\nfindings = ["A"\n', 3, "check quotes, commas and brackets"),
    ('version = "1"\nlegacy = 2026-02-30\n', 2, "Invalid date or datetime"),
    ("x = " + "[" * 5_000, 1, "a number or nesting of brackets beyond all measure"),
    ("x = 1" + "0" * 5_000, 1, "a number or nesting of brackets beyond all measure"),
    # Names that are not known.
    ('version = "1"\nthreshhold = 1\n', 2, "threshhold: not known here; did you mean threshold?"),
    ('version = "1"\n[threshold]\njoin_hours = 1\n', 2, "in double brackets; numbers for everybody stand in"),
    ('version = "1"\n[colour]\na = 1\n', 2, "colour: not known here; known are version, thresholds"),
    ('version = "1"\n[thresholds]\nlate_hours = 1\n', 3, "thresholds.late_hours: not known here"),
    ('version = "1"\n[thresholds]\njoin_hour = 1\n', 3, "did you mean join_hours?"),
    # Thresholds.
    ('version = "1"\nthresholds = 3\n', 2, "thresholds: a table: [thresholds] and a line for each number"),
    ('version = "1"\n[thresholds]\n\njoin_hours = "24"\n', 4, '"24" is not a whole number; use one from 0'),
    ('version = "1"\n[thresholds]\njoin_hours = true\n', 3, "true is not a whole number"),
    ('version = "1"\n[thresholds]\njoin_hours = 1.5\n', 3, "1.5 is not a whole number"),
    (
        'version = "1"\n[thresholds]\njoin_hours = -1\n',
        3,
        "-1 is out of bounds; use a number from 0 to 10000",
    ),
    ('version = "1"\n[thresholds]\nlearn_sales = 0\n', 3, "use a number from 1 to 10000, such as 5"),
    ('version = "1"\n[thresholds]\nstocktake_share = 5\n', 3, "use a number from 0 to 1, such as 0.05"),
    ('version = "1"\n[thresholds]\nstocktake_share = nan\n', 3, "use a number from 0 to 1, such as 0.05"),
    ('version = "1"\n[thresholds]\nstocktake_share = "5%"\n', 3, '"5%" is not a number'),
    (
        'version = "1"\n[thresholds]\nlegacy_stock_until = "2026-01-01"\n',
        3,
        '"2026-01-01" is not a date; write it without quotes, such as 2026-01-01',
    ),
    ('version = "1"\n[thresholds]\nlegacy_stock_until = 2026-01-01T00:00:00Z\n', 3, "is not a date"),
    (
        'version = "1"\n[thresholds]\nlate_warn_days = 1\n',
        3,
        "1 is below late_info_hours; raise it or lower that",
    ),
    ('version = "1"\n[thresholds]\nsales_exceed_alert = 1.01\n', 3, "1.01 is below sales_exceed_warn"),
    ('version = "1"\n[thresholds]\nreturn_cycles_alert = 1\n', 3, "1 is below return_cycles_warn"),
    ('version = "1"\nthresholds.join_hours = -1\n', 2, "thresholds.join_hours: -1 is out of bounds"),
    # Overrides.
    (
        'version = "1"\n[override]\nmode = "advise"\n',
        2,
        "begin each row with [[override]], in double brackets",
    ),
    (
        'version = "1"\n[[override]]\nmode = "advise"\n' + WHO,
        2,
        'findings: missing; name them, such as ["LATE_',
    ),
    (
        'version = "1"\n[[override]]\nfindings = ["LATE_UPLAOD"]\nmode = "advise"\n' + WHO,
        3,
        'override[0].findings: "LATE_UPLAOD" is not known; did you mean LATE_UPLOAD?',
    ),
    (
        'version = "1"\n[[override]]\nfindings = ["?"]\nmode = "advise"\n' + WHO,
        3,
        "docs/findings.md lists the findings",
    ),
    ('version = "1"\n[[override]]\nfindings = "LATE_UPLOAD"\n', 3, 'is not a list of texts; write ["..."]'),
    (
        'version = "1"\n[[override]]\nfindings = ["PASS", "PASS"]\nmode = "advise"\n' + WHO,
        3,
        '"PASS" stands twice; take one out',
    ),
    (
        'version = "1"\n[[override]]\nfindings = ["LATE_UPLOAD"]\n' + WHO,
        2,
        "changes nothing; give severity, mode",
    ),
    (
        'version = "1"\n[[override]]\nfindings = ["LATE_UPLOAD"]\nseverity = "HIGH"\n' + WHO,
        4,
        'override[0].severity: "HIGH" is not known; use one of INFO, WARN, ALERT, BLOCK, OFF',
    ),
    (
        'version = "1"\n[[override]]\nfindings = ["LATE_UPLOAD"]\nseverity = "info"\n' + WHO,
        4,
        "did you mean INFO?",
    ),
    (
        'version = "1"\n[[override]]\nfindings = ["LATE_UPLOAD"]\nmode = "Enforced"\n' + WHO,
        4,
        "did you mean enforce?",
    ),
    (
        'version = "1"\n[[override]]\nfindings = ["ALL"]\nseverity = "WARN"\n' + WHO,
        4,
        "ALL takes a mode only; name the findings to be weighed anew",
    ),
    (
        'version = "1"\n[[override]]\nfindings = ["DUP_RETRY"]\nseverity = "WARN"\n' + WHO,
        4,
        "DUP_RETRY never weighs more than INFO, for an honest pharmacy may cause it; use INFO or less",
    ),
    (
        'version = "1"\n[[override]]\nfindings = ["ORDER_VIOLATION"]\nseverity = "ALERT"\n' + WHO,
        4,
        "ORDER_VIOLATION never weighs more than WARN",
    ),
    (
        'version = "1"\n[[override]]\nfindings = ["LATE_UPLOAD"]\nmode = "advise"\ndivisions = ["130"]\n'
        + WHO,
        5,
        '"130" is no division; use 2 digits for a province, 4 for a pooling area, 6 for a county',
    ),
    (
        'version = "1"\n[[override]]\nfindings = ["LATE_UPLOAD"]\nmode = "advise"\nstart_date = 2026-02-01\n'
        "end_date = 2026-01-31\n" + WHO,
        6,
        "end_date: 2026-01-31 is before start_date 2026-02-01; exchange them",
    ),
    (
        'version = "1"\n[[override]]\nfindings = ["LATE_UPLOAD"]\nmode = "advise"\nreason = "r"\n',
        2,
        "override[0].approver: missing; a text is needed here",
    ),
    (
        'version = "1"\n[[override]]\nfindings = ["LATE_UPLOAD"]\nmode = "advise"\napprover = "a"\n',
        2,
        "override[0].reason: missing",
    ),
    (
        'version = "1"\n'
        + write_override(findings='["LATE_UPLOAD"]', mode='"advise"')
        + write_override(findings='["CLOCK_SKEW", "LATE_UPLOAD"]', mode='"observe"'),
        9,
        "override[1].mode: the row of line 2 says it too for LATE_UPLOAD in the same division",
    ),
    # Exemptions.
    (
        'version = "1"\n[[exemption]]\n',
        2,
        "exemption[0].kind: missing; one of EXEMPT_HERB, EXEMPT_INPATIENT_SPLIT",
    ),
    ('version = "1"\n[[exemption]]\nkind = "HERB"\n', 3, '"HERB" is not one of EXEMPT_HERB'),
    ('version = "1"\n[[exemption]]\nkind = "PASS"\n', 3, '"PASS" is not one of EXEMPT_HERB'),
    (
        'version = "1"\n[[exemption]]\nkind = "EXEMPT_HERB"\ndrug_codes = ["T*"]\n' + WHO,
        2,
        "exemption[0].start_date: missing; the day from which it holds, such as 2026-01-01",
    ),
    ('version = "1"\n' + write_exemption(), 2, "exempts everybody; give drug_codes, institution_codes"),
    ('version = "1"\n' + write_exemption(drug_codes='["*"]'), 5, '"*" is no code; use letters and digits'),
    ('version = "1"\n' + write_exemption(drug_codes='["X*01"]'), 5, '"X*01" is no code'),
    ('version = "1"\n' + write_exemption(institution_codes='["P 1"]'), 5, '"P 1" is no code'),
    ('version = "1"\n' + write_exemption(split='"yes"'), 5, '"yes" is neither true nor false'),
    ('version = "1"\n' + write_exemption(findings="[]", split="true"), 5, "excuses nothing; name findings"),
    (
        'version = "1"\n' + write_exemption(findings='["EXEMPT_HERB"]', split="true"),
        5,
        "EXEMPT_HERB is no complaint and needs no excuse; take it out",
    ),
    (
        'version = "1"\n'
        + write_exemption(
            drug_codes=str([f"X{n}" for n in range(101)]),
            institution_codes=str([f"P{n}" for n in range(100)]),
        ),
        2,
        "names 10100 combinations of drugs, institutions and divisions, at most 10000 are taken",
    ),
    # Thresholds of some.
    (
        'version = "1"\n' + write_row("threshold", divisions='["13"]'),
        2,
        "threshold[0]: changes nothing; give a threshold, such as transit_days = 14",
    ),
    (
        'version = "1"\n' + write_row("threshold", divisions='["13"]', transit_day="3"),
        4,
        "threshold[0].transit_day: not known here; did you mean transit_days?",
    ),
    (
        'version = "1"\n' + write_row("threshold", divisions='["13"]', transit_days="-3"),
        4,
        "threshold[0].transit_days: -3 is out of bounds; use a number from 0 to 10000, such as 7",
    ),
    (
        'version = "1"\n' + write_row("threshold", transit_days="3", start_date="2026-01-01"),
        2,
        "threshold[0]: holds for everybody; give drug_codes, identifiers, institution_codes, divisions, or",
    ),
    (
        'version = "1"\n' + write_row("threshold", learn_sales="3", divisions='["13"]'),
        3,
        "threshold[0].learn_sales: is about what all institutions sold together, so no row can change it",
    ),
    (
        'version = "1"\n' + write_row("threshold", late_info_hours="3", drug_codes='["X*"]'),
        4,
        "threshold[0].drug_codes: late_info_hours is about a whole document, which may be of many drugs; "
        "name institution_codes or divisions, or give it a row of its own",
    ),
    (
        'version = "1"\n' + write_row("threshold", stocktake_units="3", identifiers='["8206233"]'),
        4,
        "threshold[0].identifiers: stocktake_units is about an institution's stock of a drug; name",
    ),
    (
        'version = "1"\n' + write_row("threshold", transit_days="3", identifiers='["820623"]'),
        4,
        'threshold[0].identifiers: "820623" is no product; use the first 7 digits of a code of 20, or the 14',
    ),
    (
        'version = "1"\n' + write_row("threshold", return_cycles_alert="1", divisions='["13"]'),
        3,
        "threshold[0].return_cycles_alert: 1 is below return_cycles_warn; raise it or lower that",
    ),
    (
        'version = "1"\n' + write_row("threshold", return_cycles_warn="9", divisions='["13"]'),
        3,
        "threshold[0].return_cycles_warn: 9 is above return_cycles_alert; lower it, or give",
    ),
    (
        'version = "1"\n'
        + write_row("threshold", transit_days="3", divisions='["13"]', end_date="2026-03-31")
        + write_row("threshold", transit_days="4", divisions='["14", "13"]', start_date="2026-03-31"),
        9,
        "threshold[1].transit_days: the row of line 2 says it already for the same drug, product",
    ),
    (
        'version = "1"\n[[threshold]]\ntransit_days = 3\ndivisions = ["13"]\nreason = "r"\n',
        2,
        "threshold[0].approver: missing",
    ),
    # Conditions of drugs.
    (
        'version = "1"\n' + write_row("drug_condition", drug_codes='["X*"]'),
        2,
        "drug_condition[0]: says nothing of the drug; give code_required, split_units_max or both",
    ),
    (
        'version = "1"\n' + write_row("drug_condition", split_units_max="6", divisions='["13"]'),
        2,
        "drug_condition[0]: is of no drug; give drug_codes, or identifiers of products",
    ),
    (
        'version = "1"\n' + write_row("drug_condition", split_units_max='"6"', drug_codes='["X*"]'),
        3,
        'drug_condition[0].split_units_max: "6" is not a whole number; use one from 0 to 10000',
    ),
    (
        'version = "1"\n' + write_row("drug_condition", code_required='"no"', drug_codes='["X*"]'),
        3,
        'drug_condition[0].code_required: "no" is neither true nor false',
    ),
    (
        'version = "1"\n' + write_row("drug_condition", code_required="true", identifiers='["8206233"]'),
        4,
        "drug_condition[0].identifiers: a line without a code tells no product, so code_required goes by",
    ),
    (
        'version = "1"\n'
        + write_row("drug_condition", code_required="true", split_units_max="6", drug_codes='["X1"]')
        + write_row("drug_condition", split_units_max="7", drug_codes='["X1"]'),
        9,
        "drug_condition[1].split_units_max: the row of line 2 says it already",
    ),
    ("#" * (TEXT_BYTES_MAX + 1), 1, "longer than 4194304 bytes"),
]


@pytest.mark.parametrize(("text", "line", "message"), BAD, ids=[row[2][:40] for row in BAD])
def test_a_mistake_is_told_with_its_line_and_its_remedy(text: str, line: int, message: str) -> None:
    """Pins that whoever edits the file is led to the place and told what would be right."""
    with pytest.raises(RuleBaseInvalid) as caught:
        RuleBase.parse(text, "rules.toml")

    assert str(caught.value).startswith(f"rules.toml, line {line}: ")
    assert message in str(caught.value)


def test_a_line_is_found_behind_long_texts_lists_and_remarks() -> None:
    """Pins the line numbers where a value runs over several lines or looks like a key."""
    text = (
        'version = "1"  # [[override]]\n'
        "[[override]]\n"
        'reason = """\n'
        "[[exemption]]\n"
        'severity = "HIGH"\n'
        '"""\n'
        "findings = [\n"
        '  "LATE_UPLOAD",  # ]\n'
        '  "CLOCK_SKEW",\n'
        "]\n"
        "approver = 'a # [b'\n"
        "[[override]]\n"
        'findings = ["LATE_UPLOAD"]\n'
        '"severity" = "HIGH"\n'
    )

    with pytest.raises(RuleBaseInvalid, match=r"^rules.toml, line 2: override\[0\]: changes nothing"):
        RuleBase.parse(text, "rules.toml")
    with pytest.raises(RuleBaseInvalid, match=r'^rules.toml, line 15: override\[1\].severity: "HIGH"'):
        RuleBase.parse(text.replace("[[override]]\nf", 'mode = "advise"\n[[override]]\nf'), "rules.toml")


@given(st.text(max_size=200) | st.text(list("[]{}\"'=.,#\n 1aé*-:TF"), max_size=200))
def test_no_text_brings_anything_but_an_error_with_a_line(text: str) -> None:
    """Pins that a broken file never ends in a traceback."""
    with pytest.raises(RuleBaseInvalid, match=r"^rules.toml, line [1-9]\d*: .*; "):
        RuleBase.parse("a = 1\n" + text, "rules.toml")


# --- which row holds ----------------------------------------------------------------------------

PRECEDENCE = (
    write_override(findings='["STOCK_NOT_HERE"]', severity='"BLOCK"')
    + write_override(findings='["STOCK_NOT_HERE"]', severity='"INFO"', divisions='["1305", "61"]')
    + write_override(
        findings='["STOCK_NOT_HERE"]',
        severity='"WARN"',
        divisions='["1305"]',
        start_date="2026-03-01",
        end_date="2026-03-31",
    )
    + write_override(
        findings='["STOCK_NOT_HERE"]', severity='"OFF"', divisions='["130503"]', start_date="2026-02-01"
    )
    + write_override(findings='["ALL"]', mode='"observe"', divisions='["13"]')
    + write_override(findings='["STOCK_NOT_HERE"]', mode='"enforce"', divisions='["13"]')
    + write_override(findings='["ALL"]', mode='"advise"', divisions='["13"]', start_date="2026-06-01")
)


@pytest.mark.parametrize(
    ("division", "day", "severity"),
    [
        ("", date(2026, 3, 15), "BLOCK"),
        ("440100", date(2026, 3, 15), "BLOCK"),
        ("610700", date(2026, 3, 15), "INFO"),
        ("130500", date(2026, 2, 28), "INFO"),
        ("130500", date(2026, 3, 1), "WARN"),
        ("130500", date(2026, 3, 31), "WARN"),
        ("130500", date(2026, 4, 1), "INFO"),
        ("130503", date(2026, 1, 31), "INFO"),
        ("130503", date(2026, 2, 1), None),
        ("130503", date(2026, 3, 15), None),
        ("13", date(2026, 3, 15), "BLOCK"),
    ],
)
def test_the_longest_division_holds_then_the_latest_start(
    division: str, day: date, severity: str | None
) -> None:
    """Pins which of several rows holds, on the first and last of their days too."""
    weighed = parse(PRECEDENCE).severity(FindingType.STOCK_NOT_HERE, Severity.ALERT, division, day)

    assert (weighed.name if weighed else None) == severity


@pytest.mark.parametrize(
    ("type", "division", "day", "mode"),
    [
        ("STOCK_NOT_HERE", "130503", date(2026, 5, 31), "ENFORCE"),
        ("STOCK_NOT_HERE", "130503", date(2026, 6, 1), "ADVISE"),
        ("EXPIRED_SALE", "130503", date(2026, 5, 31), "OBSERVE"),
        ("EXPIRED_SALE", "130503", date(2026, 6, 1), "ADVISE"),
        ("EXPIRED_SALE", "140000", date(2026, 6, 1), "ENFORCE"),
        ("STOCK_NOT_HERE", "", date(2026, 6, 1), "ADVISE"),
    ],
)
def test_mode_is_looked_up_apart_from_severity(type: str, division: str, day: date, mode: str) -> None:
    """Pins that a row about severity hides no row about mode, and a named finding goes before ALL."""
    assert parse(PRECEDENCE).mode(FindingType[type], division, day) is Mode[mode]


@pytest.mark.parametrize(
    ("given_by_rule", "row", "weighed"),
    [
        # DUP_SALE_CROSS_ORG is BLOCK at full weight; WARN and INFO stand on the honest holder.
        ("BLOCK", "ALERT", "ALERT"),
        ("WARN", "ALERT", "WARN"),
        ("INFO", "ALERT", "INFO"),
        ("WARN", "INFO", "INFO"),
        ("BLOCK", "OFF", None),
        ("INFO", "OFF", None),
    ],
)
def test_a_row_does_not_raise_what_the_rule_weighed_milder(
    given_by_rule: str, row: str, weighed: str | None
) -> None:
    """Pins that the holder of a box is not accused together with who reported it elsewhere."""
    rule_base = parse(write_override(findings='["DUP_SALE_CROSS_ORG"]', severity=f'"{row}"'))

    found = rule_base.severity(FindingType.DUP_SALE_CROSS_ORG, Severity[given_by_rule], "130503", DAY)

    assert (found.name if found else None) == weighed


def test_a_row_holds_for_what_the_rule_weighed_graver() -> None:
    """Pins that ALERT for DUP_SALE_SAME_ORG also holds where its rule says BLOCK."""
    rule_base = parse(write_override(findings='["DUP_SALE_SAME_ORG"]', severity='"ALERT"'))

    found = rule_base.severity(FindingType.DUP_SALE_SAME_ORG, Severity.BLOCK, "130503", DAY)

    assert found is Severity.ALERT


# Drawn from few, so that rows meet.
_days = st.dates(date(2026, 1, 1), date(2026, 1, 8))
_divisions = st.sampled_from(["", "13", "1305", "130503", "130504", "61"])
_rows = st.lists(
    st.tuples(
        st.sampled_from(
            [(), (FindingType.EXPIRED_SALE,), (FindingType.LATE_UPLOAD, FindingType.EXPIRED_SALE)]
        ),
        st.sampled_from(Mode),
        _divisions,
        st.none() | _days,
        st.none() | st.integers(0, 5),
    ),
    max_size=8,
    unique_by=lambda row: (bool(row[0]), row[2], row[3]),
)


@given(_rows, _divisions, _days)
def test_the_index_agrees_with_reading_all_rows(
    rows: list[tuple[tuple[FindingType, ...], Mode, str, date | None, int | None]], division: str, day: date
) -> None:
    """Pins the prepared lookup against the sentence of docs/rule-base.md, told plainly."""
    text = ""
    holding = []
    for types, mode, prefix, start, days in rows:
        end = (start or date(2026, 1, 1)) + timedelta(days) if days is not None else None
        text += write_override(
            findings=str([type.name for type in types] or ["ALL"]).replace("'", '"'),
            mode=f'"{mode.name.lower()}"',
            **({"divisions": f'["{prefix}"]'} if prefix else {}),
            **({"start_date": str(start)} if start else {}),
            **({"end_date": str(end)} if end else {}),
        )
        fits = (not types or FindingType.EXPIRED_SALE in types) and division.startswith(prefix)
        if fits and (start or date.min) <= day <= (end or date.max):
            holding.append((len(prefix), start or date.min, bool(types), mode))

    expected = max(holding)[3] if holding else Mode.ENFORCE
    assert parse(text).mode(FindingType.EXPIRED_SALE, division, day) is expected


# --- whom it exempts ----------------------------------------------------------------------------

EXEMPTIONS = (
    write_exemption(drug_codes='["XA10ABA?2*", "ZA12HAY0555010100326"]', end_date="2026-06-30")
    + write_exemption(institution_codes='["P13050300001"]', findings='["SPLIT_OVER"]')
    + write_exemption(drug_codes='["X*"]', divisions='["1306"]', kind='"EXEMPT_LEGACY_STOCK"')
    + write_exemption(drug_codes='["XA*"]', institution_codes='["H*"]', split="true")
    + write_exemption(drug_codes='["XA10*"]', divisions='["1305"]')
)


@pytest.mark.parametrize(
    ("drug_code", "institution_code", "division", "day", "finding", "split", "line"),
    [
        ("XA10ABA12", "P1", "440100", date(2026, 1, 1), "CODE_EMPTY", False, 2),
        ("XA10ABA92ZZZ", "P1", "440100", date(2026, 6, 30), "CODE_PLACEHOLDER", False, 2),
        ("XA10ABA13", "P1", "440100", DAY, "CODE_EMPTY", False, None),
        ("XA10ABA", "P1", "440100", DAY, "CODE_EMPTY", False, None),
        ("XA10ABA12", "P1", "440100", date(2026, 7, 1), "CODE_EMPTY", False, None),
        ("XA10ABA12", "P1", "440100", date(2025, 12, 31), "CODE_EMPTY", False, None),
        ("ZA12HAY0555010100326", "P1", "", DAY, "STOCK_NEVER_RECEIVED", False, 2),
        ("ZA12HAY05550101003267", "P1", "", DAY, "STOCK_NEVER_RECEIVED", False, None),
        ("ZA12HAY055501010032", "P1", "", DAY, "STOCK_NEVER_RECEIVED", False, None),
        ("", "P13050300001", "", DAY, "SPLIT_OVER", False, 9),
        ("", "P13050300001", "", DAY, "CODE_EMPTY", False, None),
        ("", "P13050300002", "", DAY, "SPLIT_OVER", False, None),
        ("X", "P1", "130600", DAY, "CODE_EMPTY", False, 16),
        ("X", "P1", "13", DAY, "CODE_EMPTY", False, None),
        ("", "P1", "130600", DAY, "CODE_EMPTY", False, None),
        ("XA20", "H1", "440100", DAY, "CODE_EMPTY", True, 23),
        ("XA20", "H1", "440100", DAY, "CODE_EMPTY", False, None),
        ("XA20", "P1", "440100", DAY, "CODE_EMPTY", True, None),
        # Of several that fit the first of the file is named.
        ("XA10ABA12", "H1", "130503", DAY, "CODE_EMPTY", True, 2),
        ("XA10B", "H1", "130503", DAY, "CODE_EMPTY", True, 23),
        ("XA10B", "H1", "130503", DAY, "CODE_EMPTY", False, 31),
        ("XA10B", "H1", "130503", DAY, "EXPIRED_SALE", True, None),
    ],
)
def test_an_exemption_excuses_only_what_all_its_keys_fit(
    drug_code: str,
    institution_code: str,
    division: str,
    day: date,
    finding: str,
    split: bool,
    line: int | None,
) -> None:
    """Pins patterns, dates, regions, split lines and the first row of several."""
    exemption = parse(EXEMPTIONS).exemption(
        drug_code, institution_code, division, day, FindingType[finding], split=split
    )

    assert (exemption.line if exemption else None) == line


_codes = st.text("XA1?", max_size=4)
_patterns = st.lists(
    st.tuples(_codes, st.sampled_from(["", "*"])).map("".join).filter(lambda text: text.strip("*")),
    max_size=2,
    unique=True,
)
_exemptions = st.lists(
    st.tuples(
        _patterns, _patterns, st.lists(_divisions.filter(bool), max_size=2, unique=True), st.booleans()
    ).filter(any),
    max_size=6,
)


def fits_any(patterns: list[str], code: str) -> bool:
    """What the page says of patterns, by regular expression."""
    return not patterns or any(
        re.fullmatch(pattern.replace("?", ".").replace("*", ".*"), code) for pattern in patterns
    )


@given(_exemptions, st.text("XA1", max_size=5), st.text("XA1", max_size=5), _divisions, st.booleans())
def test_the_index_of_exemptions_agrees_with_reading_all_rows(
    rows: list[tuple[list[str], list[str], list[str], bool]],
    drug_code: str,
    institution_code: str,
    division: str,
    split: bool,
) -> None:
    """Pins the prepared lookup against trying each row in turn."""
    text = ""
    expected = None
    for number, (drugs, institutions, divisions, split_only) in enumerate(rows):
        values = {"drug_codes": drugs, "institution_codes": institutions, "divisions": divisions}
        text += write_exemption(
            **{name: str(value).replace("'", '"') for name, value in values.items() if value},
            **({"split": "true"} if split_only else {}),
        )
        fits = fits_any(drugs, drug_code) and fits_any(institutions, institution_code)
        fits = fits and (not divisions or any(division.startswith(prefix) for prefix in divisions))
        if expected is None and fits and (split or not split_only):
            expected = number

    rule_base = parse(text)
    found = rule_base.exemption(
        drug_code, institution_code, division, DAY, FindingType.CODE_EMPTY, split=split
    )

    assert (rule_base.exemptions.index(found) if found else None) == expected


# --- thresholds and conditions of some -----------------------------------------------------------

THRESHOLD_ROWS = (
    write_row("threshold", transit_days="1", identifiers='["8206233"]', divisions='["1305"]')
    + write_row("threshold", transit_days="2", split_tolerance_units="5", drug_codes='["XA10*"]')
    + write_row("threshold", transit_days="3", institution_codes='["H*"]', end_date="2026-03-31")
    + write_row("threshold", transit_days="4", institution_codes='["H*"]', start_date="2026-04-01")
    + write_row("threshold", split_tolerance_units="9", divisions='["13"]')
)


@pytest.mark.parametrize(
    ("place", "transit_days", "split_tolerance_units"),
    [
        (RowPlace("P1", "130503", DAY, "XA10B", "8206233"), 1, 5),
        (RowPlace("P1", "130503", DAY, "XB", "8206233"), 1, 9),
        (RowPlace("P1", "140100", DAY, "XA10B", "8206233"), 2, 5),
        (RowPlace("H1", "140100", DAY, "XA10B"), 2, 5),
        (RowPlace("H1", "140100", DAY, "XB"), 3, 0),
        (RowPlace("H1", "140100", date(2026, 3, 31)), 3, 0),
        (RowPlace("H1", "130100", date(2026, 4, 1)), 4, 9),
        (RowPlace("P1", "140100", DAY), 7, 0),
        (RowPlace("P1", "", DAY), 7, 0),
    ],
)
def test_the_first_row_that_fits_gives_a_threshold_its_value(
    place: RowPlace, transit_days: int, split_tolerance_units: int
) -> None:
    """Pins that each threshold is looked up apart, by all that a row names and on its days."""
    thresholds = parse(THRESHOLD_ROWS).thresholds_at(place)

    assert thresholds == replace(
        Thresholds(), transit_days=transit_days, split_tolerance_units=split_tolerance_units
    )


_scopes = st.tuples(
    _patterns,
    st.lists(st.sampled_from(["8206233", "8021762"]), max_size=2, unique=True),
    _patterns,
    st.lists(_divisions.filter(bool), max_size=2, unique=True),
).filter(any)


@given(
    st.lists(st.tuples(_scopes, st.sampled_from(["transit_days", "rebill_hours"])), max_size=6),
    st.text("XA1", max_size=5),
    st.sampled_from(["", "8206233", "8021762", "8999999"]),
    st.text("XA1", max_size=5),
    _divisions,
)
def test_the_index_of_thresholds_agrees_with_reading_all_rows(
    rows: list[tuple[tuple[list[str], list[str], list[str], list[str]], str]],
    drug_code: str,
    identifier: str,
    institution_code: str,
    division: str,
) -> None:
    """Pins the prepared lookup against trying each row in turn, of drug conditions, too."""
    text = ""
    expected: dict[str, int] = {}
    units_max = None
    for number, ((drugs, products, institutions, divisions), name) in enumerate(rows):
        values = {
            "drug_codes": drugs,
            "identifiers": products,
            "institution_codes": institutions,
            "divisions": divisions,
            # No two rows hold on one day, so none is refused; all but this day's hold for the other years.
            "start_date": DAY,
        }
        written = {key: str(value).replace("'", '"') for key, value in values.items() if value}
        fits = fits_any(drugs, drug_code) and fits_any(institutions, institution_code)
        fits = fits and (not products or identifier in products)
        fits = fits and (not divisions or any(division.startswith(prefix) for prefix in divisions))
        row = write_row("threshold", **{name: str(100 + number)}, **written)
        if drugs or products:
            row += write_row("drug_condition", split_units_max=str(number), **written)
        try:
            parse(text + row)
        except RuleBaseInvalid:
            # It says again what a row before it says.
            continue
        text += row
        if fits:
            expected.setdefault(name, 100 + number)
            if units_max is None and (drugs or products):
                units_max = number

    place = RowPlace(institution_code, division, DAY, drug_code, identifier)
    assert parse(text).thresholds_at(place) == Thresholds().with_values(expected)
    assert parse(text).split_units_max(place) == units_max
    before = place._replace(day=DAY - timedelta(1))
    assert parse(text).thresholds_at(before) == Thresholds()


@pytest.mark.parametrize(
    ("drug_code", "institution_code", "finding", "kind"),
    [
        ("T0015", "P1", "CODE_EMPTY", None),
        ("T0015", "P1", "STOCK_NEVER_RECEIVED", None),
        # The exemption names it, and it is not about a missing code.
        ("T0015", "P1", "SPLIT_OVER", "EXEMPT_HERB"),
        ("T0016", "P1", "CODE_EMPTY", "EXEMPT_HERB"),
        ("XA01", "P1", "CODE_PLACEHOLDER", "EXEMPT_LOCAL"),
        ("XA01", "P1", "SPLIT_OVER", None),
        ("XA01", "H1", "CODE_EMPTY", None),
    ],
)
def test_a_drug_condition_decides_about_missing_codes_before_any_exemption(
    drug_code: str, institution_code: str, finding: str, kind: str | None
) -> None:
    """Pins that one drug of an exempt kind can be asked for its code, and another be excused by one row."""
    rule_base = parse(
        write_exemption(
            kind='"EXEMPT_HERB"',
            drug_codes='["T*"]',
            findings='["CODE_EMPTY", "STOCK_NEVER_RECEIVED", "SPLIT_OVER"]',
        )
        + write_row("drug_condition", code_required="true", drug_codes='["T0015"]')
        + write_row("drug_condition", code_required="false", drug_codes='["XA*"]', institution_codes='["P*"]')
    )

    excuse = rule_base.excuse(FindingType[finding], RowPlace(institution_code, "130503", DAY, drug_code))

    assert (excuse.kind.name if excuse else None) == kind


# --- speed --------------------------------------------------------------------------------------


def write_rows(count: int) -> str:
    """As many overrides and exemptions, spread over regions, drugs and institutions."""
    return "".join(
        write_override(
            findings='["STOCK_NOT_HERE", "EXPIRED_SALE"]',
            severity='"WARN"',
            mode='"advise"',
            divisions=f'["{100_000 + n}"]',
        )
        + write_exemption(drug_codes=f'["XA{n:05}*"]')
        + write_exemption(institution_codes=f'["P{n:05}*"]', divisions='["1305"]')
        + write_exemption(drug_codes='["T*"]', institution_codes=f'["H{n:011}"]')
        + write_row("threshold", transit_days="9", drug_codes=f'["XA{n:05}*"]', divisions='["13"]')
        + write_row("threshold", late_info_hours="9", institution_codes=f'["P{n:011}"]')
        + write_row("drug_condition", split_units_max="9", identifiers=f'["{n:07}"]')
        for n in range(count)
    )


def time_lookups(rule_base: RuleBase) -> float:
    """Seconds of the quickest of many rounds of lookups of each kind."""

    def look_up() -> None:
        rule_base.severity(FindingType.STOCK_NOT_HERE, Severity.ALERT, "100003", DAY)
        rule_base.mode(FindingType.EXPIRED_SALE, "100003", DAY)
        rule_base.exemption("TA00007A", "H00000000007", "130503", DAY, FindingType.CODE_EMPTY)
        rule_base.thresholds_at(RowPlace("P00000000003", "130503", DAY, "XA00004", "0000005"))
        rule_base.split_units_max(RowPlace("P00000000003", "130503", DAY, "XA00004", "0000005"))

    return min(timeit.repeat(look_up, number=100, repeat=30)) / 100


def test_two_thousand_rows_are_as_quick_as_eight() -> None:
    """Pins that a lookup does not walk the rows: a rule base may have thousands."""
    few, many = parse(write_rows(8)), parse(write_rows(2_000))

    assert many.exemption("TA00007A", "H00000000007", "130503", DAY, FindingType.CODE_EMPTY)
    assert time_lookups(many) < 4 * time_lookups(few)


# --- the file while the service runs ------------------------------------------------------------


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A rule base file that may be written to."""
    path = tmp_path / "rules.toml"
    path.write_text('version = "1"\n', encoding="utf-8")
    return path


def test_a_file_is_taken_once_and_again_when_it_changes(rules: Path) -> None:
    """Pins that a change is seen without a restart, and that nothing is told when nothing changed."""
    file = RuleBaseFile(rules)

    first = file.poll()
    unchanged = file.poll()
    rules.write_text('version = "2"\n', encoding="utf-8")
    second = file.poll()

    assert first
    assert second
    assert (first.version, unchanged, second.version) == ("1", None, "2")
    assert file.in_force is second
    assert file.poll() is None


def test_a_bad_file_is_refused_once_and_the_one_in_force_stays(rules: Path) -> None:
    """Pins that a mistake never takes the rules away, and that the log is not flooded with it."""
    file = RuleBaseFile(rules)
    first = file.poll()

    rules.write_text('version = "2"\n\nlate = \n', encoding="utf-8")
    with pytest.raises(RuleBaseInvalid, match=rf"^{re.escape(str(rules))}, line 3: "):
        file.poll()
    silent = file.poll()
    stayed = file.in_force
    rules.write_text('version = "2"\n', encoding="utf-8")
    mended = file.poll()

    assert silent is None
    assert stayed is first
    assert mended
    assert mended.version == "2"


def test_a_changed_text_needs_a_new_version(rules: Path) -> None:
    """Pins that a version names one text for ever: verdicts say no more than the version."""
    file = RuleBaseFile(rules)
    file.poll()

    rules.write_text('# More.\nversion = "1"\n', encoding="utf-8")
    with pytest.raises(
        RuleBaseInvalid, match='line 2: version: the text changed but the version is still "1"'
    ):
        file.poll()
    rules.write_text('version = "1"\n', encoding="utf-8")

    assert file.poll() is None


def test_touching_a_file_changes_nothing(rules: Path) -> None:
    """Pins that the content decides, not the time of the file; a mistake is not told again either."""
    file = RuleBaseFile(rules)
    file.poll()

    os.utime(rules, (0, 0))
    good = file.poll()
    rules.write_text("late = 1\n", encoding="utf-8")
    with pytest.raises(RuleBaseInvalid, match="line 1: late: not known here"):
        file.poll()
    os.utime(rules, (1, 1))

    assert good is None
    assert file.poll() is None


def test_what_the_journal_holds_is_not_loaded_again(rules: Path) -> None:
    """Pins a restart: the file that is in force already is no change, another one is."""
    in_force = RuleBase.load(rules)

    assert RuleBaseFile(rules, in_force).poll() is None
    assert RuleBaseFile(rules, RuleBase.default()).poll() == in_force


def test_a_file_may_be_replaced_whole_or_vanish_for_a_while(rules: Path, tmp_path: Path) -> None:
    """Pins what editors and configuration tools do: rename over, remove, put back."""
    file = RuleBaseFile(rules)
    first = file.poll()

    rules.unlink()
    with pytest.raises(
        RuleBaseInvalid, match=r"cannot be read \(No such file or directory\); check the path"
    ):
        file.poll()
    silent = file.poll()
    stayed = file.in_force
    (tmp_path / "new").write_text('version = "2"\n', encoding="utf-8")
    (tmp_path / "new").rename(rules)
    second = file.poll()

    assert silent is None
    assert stayed is first
    assert second
    assert second.version == "2"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "cannot be read (No such file or directory); check the path"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read (Is a directory)"),
        (
            lambda path: path.write_bytes(b"\n\nversion = '\xb4'"),
            "line 3: not UTF-8; save the file in that enc",
        ),
        (
            lambda path: path.write_bytes(b"#" * (TEXT_BYTES_MAX + 1)),
            "longer than 4194304 bytes; use patterns",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_told(
    rules: Path, spoil: Callable[[Path], object], message: str
) -> None:
    """Pins that what the disk holds instead of a rule base is an error with a remedy."""
    spoil(rules)

    with pytest.raises(RuleBaseInvalid, match=re.escape(message)):
        RuleBase.load(rules)
    with pytest.raises(RuleBaseInvalid, match=re.escape(message)):
        RuleBaseFile(rules).poll()


def test_a_file_saved_on_windows_is_read(rules: Path) -> None:
    """Pins that a byte order mark and CRLF are no mistakes, and that lines are still counted right."""
    rules.write_bytes(b'\xef\xbb\xbfversion = "1"\r\n[thresholds]\r\njoin_hours = 12\r\n')
    assert RuleBase.load(rules).thresholds.join_hours == 12

    rules.write_bytes(b'\xef\xbb\xbfversion = "1"\r\n[thresholds]\r\njoin_hours = -12\r\n')
    with pytest.raises(RuleBaseInvalid, match=r"line 3: thresholds.join_hours: -12"):
        RuleBase.load(rules)


# --- what a journal kept ------------------------------------------------------------------------


def test_what_this_release_takes_is_kept_as_it_is() -> None:
    """Pins that the reader of journals differs from the strict one only where that one refuses."""
    kept = RuleBase.parse_kept(SHIPPED, "journal entry 1")

    assert kept == RuleBase.default()
    assert (kept.version, kept.thresholds) == (RuleBase.default().version, RuleBase.default().thresholds)
    assert (kept.overrides, kept.exemptions) == (RuleBase.default().overrides, RuleBase.default().exemptions)
    assert kept.left_out == ()


COUNTED_ROWS: list[tuple[str, int]] = [
    # What the rows name, times what they say of it: findings, thresholds or conditions.
    (
        write_override(
            findings='["LATE_UPLOAD", "EXPIRED_SALE"]', mode='"observe"', divisions='["13", "14"]'
        ),
        4,
    ),
    (write_override(findings='["LATE_UPLOAD"]', mode='"observe"', severity='"WARN"', divisions='["13"]'), 2),
    (write_override(findings='["ALL"]', mode='"observe"'), len(FindingType)),
    (write_exemption(drug_codes='["XA", "XB"]', institution_codes='["P1", "P2"]'), 12),
    (write_exemption(findings='["CODE_EMPTY"]', split="true"), 1),
    (write_row("threshold", transit_days="9", join_hours="9", divisions='["13", "14", "15"]'), 6),
    (write_row("drug_condition", code_required="true", split_units_max="1", drug_codes='["X", "Y"]'), 4),
    (
        write_row("drug_condition", split_units_max="1", identifiers='["8206233"]', divisions='["13", "14"]'),
        2,
    ),
]


@pytest.mark.parametrize(("row", "combinations"), COUNTED_ROWS)
def test_what_a_row_names_counts_for_each_thing_it_says(
    monkeypatch: pytest.MonkeyPatch, row: str, combinations: int
) -> None:
    """Pins the count of each kind of row: a file that names as many as it may is taken, one more is told, and
    a journal that holds it opens with the row."""
    monkeypatch.setattr(rule_base_module, "FILE_COMBINATIONS_MAX", combinations)
    assert parse(row)

    monkeypatch.setattr(rule_base_module, "FILE_COMBINATIONS_MAX", combinations - 1)
    told = f"with this row the file names {combinations} combinations of drugs, institutions and divisions"
    with pytest.raises(RuleBaseInvalid, match=rf"^rules.toml, line 2: .*\[0\]: {told}"):
        parse(row)
    kept = RuleBase.parse_kept('version = "1"\n' + row, "journal entry 7")
    assert kept.left_out == ()
    assert kept.overrides or kept.exemptions or kept.threshold_rows or kept.drug_conditions


def test_a_small_file_that_names_more_than_memory_holds_is_told_at_its_row() -> None:
    """Pins that rows of all kinds are counted together, and that the row that exceeds is named before
    anything is made of the others."""
    lists = {
        "drug_codes": str([f"X{number}" for number in range(100)]),
        "institution_codes": str([f"P{number}" for number in range(100)]),
    }
    rows = [
        write_exemption(**lists),  # three findings
        *(write_row("threshold", transit_days="9", join_hours="9", **lists) for _ in range(8)),
        write_row("drug_condition", split_units_max="9", **lists),
        write_row("drug_condition", code_required="true", **lists),
    ]
    begins = [2 + "".join(rows[:row]).count("\n") for row in range(len(rows))]

    told = rf"^rules.toml, line {begins[10]}: drug_condition\[1\]: "
    with pytest.raises(RuleBaseInvalid, match=told) as caught:
        parse("".join(rows))

    assert "the file names 210000 combinations" in str(caught.value)
    assert "at most 200000 are taken; use patterns and prefixes instead of lists" in str(caught.value)


OTHER_RELEASES: list[tuple[str, str, Callable[[RuleBase], object], object]] = [
    ("[thresholds]\ngone_days = 3\njoin_hours = 12", "gone_days", lambda b: b.thresholds.join_hours, 12),
    ("[thresholds]\nsplit_unknown_sales = 0", "out of bounds", lambda b: b.thresholds.split_unknown_sales, 1),
    ("[thresholds]\njoin_hours = 10001", "out of bounds", lambda b: b.thresholds.join_hours, 10_000),
    ('[thresholds]\njoin_hours = "a day"', "not a whole number", lambda b: b.thresholds.join_hours, 24),
    ("[thresholds]\nstocktake_share = 2", "bounds", lambda b: b.thresholds.stocktake_share, Decimal(1)),
    ("[thresholds]\nlate_info_hours = 9000", "late_warn_days", lambda b: b.thresholds.late_info_hours, 9000),
    ("thresholds = 3", "a table", lambda b: b.thresholds, Thresholds()),
    ("override = 3", "begin each row", lambda b: b.overrides, ()),
    ("[retired]\nx = 1", "retired", lambda b: b.version, "1"),
    (
        write_override(findings='["GONE", "LATE_UPLOAD"]', severity='"WARN"'),
        "GONE",
        lambda b: b.overrides[0].findings,
        (FindingType.LATE_UPLOAD,),
    ),
    (write_override(findings='["GONE"]', severity='"WARN"'), "names nothing", lambda b: b.overrides, ()),
    (
        write_override(findings='["STOCK_NEGATIVE"]', severity='"BLOCK"'),
        "never weighs more",
        lambda b: b.overrides[0].severity,
        REGISTRY[FindingType.STOCK_NEGATIVE].severity_max,
    ),
    (
        write_override(findings='["LATE_UPLOAD"]', severity='"INFO"', gone="1"),
        "gone",
        lambda b: b.overrides[0].severity,
        Severity.INFO,
    ),
    (
        write_exemption(findings='["CODE_EMPTY", "GONE"]', divisions='["13"]'),
        "GONE",
        lambda b: b.exemptions[0].findings,
        (FindingType.CODE_EMPTY,),
    ),
    (write_exemption(kind='"EXEMPT_GONE"', divisions='["13"]'), "EXEMPT_GONE", lambda b: b.exemptions, ()),
    # Without the key that is not known it would hold for more than was meant.
    (
        write_row("threshold", transit_days="3", divisions='["13"]', gone="1"),
        "gone",
        lambda b: b.threshold_rows,
        (),
    ),
    (
        write_row("drug_condition", split_units_max="3", drug_codes='["X"]', gone="1"),
        "gone",
        lambda b: b.drug_conditions,
        (),
    ),
    (
        write_row("threshold", future_skew_minutes="9000", divisions='["13"]'),
        "out of bounds",
        lambda b: [row.values for row in b.threshold_rows],
        [{"future_skew_minutes": 1_440}],
    ),
]


@pytest.mark.parametrize(("rows", "said", "look", "expected"), OTHER_RELEASES)
def test_what_another_release_took_does_not_keep_a_journal_from_opening(
    rows: str, said: str, look: Callable[[RuleBase], object], expected: object
) -> None:
    """Pins, row by row, that the strict reader refuses it, and what the reader of journals makes of it."""
    with pytest.raises(RuleBaseInvalid):
        parse(rows)

    kept = RuleBase.parse_kept('version = "1"\n' + rows, "journal entry 7")

    assert look(kept) == expected
    assert said in " ".join(kept.left_out)
    assert all(sentence.startswith("journal entry 7, line ") for sentence in kept.left_out)


@pytest.mark.parametrize("text", ["version = nothing", "", "version = 3"])
def test_a_kept_text_that_is_no_rule_base_is_still_told(text: str) -> None:
    """Pins that leniency ends where there is nothing to take over."""
    with pytest.raises(RuleBaseInvalid, match="journal entry 7"):
        RuleBase.parse_kept(text, "journal entry 7")


def test_a_ledger_opens_on_a_rule_base_of_another_release(tmp_path: Path) -> None:
    """Pins that a threshold this release does not know keeps no journal from opening, and adds no entry."""
    text = 'version = "2"\n[thresholds]\ngone_days = 3\nlate_info_hours = 12\n'
    other = replace(RuleBase.default(), version="2", text=text)
    ledger = Ledger.open(tmp_path / "ledger", person_key=PersonKey(b"k" * 32))
    ledger.change_rule_base(other)
    ledger.close()

    opened = Ledger.open(tmp_path / "ledger", person_key=PersonKey(b"k" * 32))
    in_force, sequence = opened.engine.rule_base, opened.engine.sequence
    opened.close()

    assert (in_force.version, in_force.text) == ("2", text)
    assert in_force.thresholds == Thresholds(late_info_hours=12)
    assert len(in_force.left_out) == 1
    assert sequence == 2
