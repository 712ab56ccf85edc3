"""Pins the registry of findings: its numbers, its texts, and what a finding weighs over time."""

import re
import subprocess
import sys
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import findings

from tracecode.finding import (
    PROVISIONAL_SECONDS,
    REGISTRY,
    RETURN_WAIT_SECONDS,
    Evidence,
    Finding,
    FindingType,
    Mode,
    Severity,
    dress,
    from_message,
    render_registry,
    stand,
    to_message,
)
from tracecode.v1 import finding_pb2

ROOT = Path(__file__).resolve().parent.parent
KINDS = list(REGISTRY.values())
HOUR = 3_600
FINAL = 1_767_225_600


def find_texts() -> list[tuple[str, str]]:
    """Every text a person may read, with its place."""
    return [
        (f"{kind.type.name}.{name}", getattr(kind, name))
        for kind in KINDS
        for name in ("title_zh", "title_en", "meaning_en", "remedy_zh", "remedy_en")
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (FindingType, finding_pb2.FindingType, "FINDING_TYPE_"),
        (Severity, finding_pb2.Severity, "SEVERITY_"),
        (Mode, finding_pb2.Mode, "MODE_"),
    ],
)
def test_names_and_numbers_are_those_of_the_contract(ours: type[IntEnum], theirs: Any, prefix: str) -> None:
    """Pins that no member is missing, renamed or renumbered on either side."""
    contract = {name.removeprefix(prefix): number for name, number in theirs.items() if number}

    assert {member.name: member.value for member in ours} == contract


def test_numbers_are_for_life() -> None:
    """Pins numbers that journals already hold: written out here, so that changing both sides shows."""
    assert {type.name: type.value for type in FindingType} == {
        name: number
        for number, name in enumerate(
            """
            PASS CODE_EMPTY CODE_MALFORMED CODE_NOT_TRACE CODE_AMBIGUOUS CODE_PLACEHOLDER CODE_ALIASED
            LEVEL_NOT_UNIT PRODUCT_UNKNOWN DUP_RETRY DUP_IN_DOC DUP_CHANNEL DUP_SALE_SAME_ORG
            DUP_SALE_CROSS_ORG DUP_CROSS_REGION RESALE_AFTER_SETTLE SPLIT_OVER SPLIT_CROSS_ORG
            SPLIT_NOT_ALLOWED SPLIT_AFTER_WHOLE SWAP_PACK SWAP_MAKER SWAP_FORM SWAP_PRODUCT SWAP_ATTR
            STOCK_NEVER_RECEIVED STOCK_NOT_HERE STOCK_ALREADY_OUT STOCK_NEGATIVE SALES_EXCEED_PURCHASE
            STOCKTAKE_DIFF EXPIRED_SALE RECALLED NOT_ACTIVATED PLATFORM_UNKNOWN FORGERY_SUSPECT
            RETURN_NO_SALE RETURN_OTHER_ORG RETURN_RESOLD DELETE_AFTER_FLAG LATE_UPLOAD CLOCK_SKEW
            ORDER_VIOLATION ORG_INVALID PERSON_OVERBUY PRESCRIBER_CONC QTY_CODE_MISMATCH EXEMPT_HERB
            EXEMPT_INPATIENT_SPLIT EXEMPT_LEGACY_STOCK EXEMPT_LOCAL UNVERIFIED_OFFLINE
            """.split(),
            1,
        )
    }
    assert [(member.name, member.value) for member in (*Severity, *Mode)] == [
        ("INFO", 1),
        ("WARN", 2),
        ("ALERT", 3),
        ("BLOCK", 4),
        ("OBSERVE", 1),
        ("ADVISE", 2),
        ("ENFORCE", 3),
    ]


def test_every_finding_has_its_row_in_the_order_of_its_number() -> None:
    """Pins that a number without a meaning, or two meanings of one number, cannot be shipped."""
    assert list(REGISTRY) == sorted(FindingType)
    assert [kind.type for kind in KINDS] == list(REGISTRY)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type.name)
def test_a_row_tells_people_what_it_is_and_what_helps(kind: Any) -> None:
    """Pins texts in both languages, sentences where sentences belong, and a basis."""
    assert re.search(r"[\u4e00-\u9fff]", kind.title_zh)
    assert len(kind.title_zh) <= 20
    assert re.search(r"[\u4e00-\u9fff]", kind.remedy_zh)
    assert kind.remedy_zh.endswith("。")
    for text in (kind.title_en, kind.meaning_en, kind.remedy_en.split("药品追溯码")[0]):
        assert text[0].isupper()
        assert "  " not in text
    assert not re.search(r"[\u4e00-\u9fff]", kind.title_en)
    assert len(kind.title_en) <= 60
    assert kind.meaning_en.endswith(".")
    assert kind.remedy_en.endswith(".")
    assert kind.legal_basis in {"ours", "医保发〔2025〕7号", "NMPAB/T 1002-2019"}
    assert kind.severity <= kind.severity_max


def test_the_fund_refuses_what_the_notice_names_and_nothing_else_rests_on_it() -> None:
    """Pins the published basis: not scanned, or scanned again; and stock from before the codes."""
    assert {kind.type for kind in KINDS if kind.legal_basis == "医保发〔2025〕7号"} == {
        FindingType.CODE_EMPTY,
        FindingType.DUP_SALE_SAME_ORG,
        FindingType.DUP_SALE_CROSS_ORG,
        FindingType.EXEMPT_LEGACY_STOCK,
    }


# What accuses somebody. A text may speak of it only as a suspicion, in the words listed below it.
ACCUSING = re.compile(
    r"fake|counterfeit|forge|fraud|cheat|illegal|illicit|criminal|offen[cd]|guilt|launder|traffick|stolen|"
    r"假药|假冒|伪造|造假|作假|骗|倒卖|串换|回流|违法|违规|犯罪|非法|作弊|贩卖|盗",
    re.IGNORECASE,
)
AS_A_SUSPICION = ("疑似回流",)


def test_no_text_accuses_anybody() -> None:
    """Pins the wording: a suspicion about records, with an honest explanation first."""
    accusing = []
    for place, text in find_texts():
        for suspicion in AS_A_SUSPICION:
            text = text.replace(suspicion, "")
        accusing += [f"{place}: {word[0]}" for word in ACCUSING.finditer(text)]

    assert accusing == []


def test_the_check_of_the_wording_can_fail() -> None:
    """Pins that the list of words above finds what it is for."""
    assert ACCUSING.search("This box is Fake.")
    assert ACCUSING.search("可能存在假药")
    assert not ACCUSING.search("Scan the box again. 请重新扫描。")


def test_a_scan_that_cannot_be_read_is_the_scanners_doing() -> None:
    """Pins that caps lock and lost separators are named, and that the box is cleared."""
    kind = REGISTRY[FindingType.CODE_MALFORMED]

    for word in ("大写锁定", "输入法", "分隔符", "并不说明药品有问题"):
        assert word in kind.remedy_zh
    for word in ("caps lock", "input method", "separator", "nothing against the box"):
        assert word in kind.remedy_en


def test_only_what_blocks_is_enforced() -> None:
    """Pins the default modes: what may block is enforced, leads from statistics are only observed."""
    enforced = {kind.type for kind in KINDS if kind.mode is Mode.ENFORCE}
    blocking = {kind.type for kind in KINDS if kind.severity is Severity.BLOCK}
    observed = {kind.type for kind in KINDS if kind.mode is Mode.OBSERVE}

    # Sold here before is an ALERT when reported and a BLOCK when asked before settlement.
    assert enforced == blocking | {FindingType.DUP_SALE_SAME_ORG}
    assert observed == {
        FindingType.FORGERY_SUSPECT,
        FindingType.PERSON_OVERBUY,
        FindingType.PRESCRIBER_CONC,
    }


def test_what_no_rule_gives_yet_says_so() -> None:
    """Pins the rows that are kept for later, so that nobody waits for them."""
    unjudged = {kind.type for kind in KINDS if not kind.judged}

    assert unjudged == {
        FindingType.NOT_ACTIVATED,
        FindingType.PLATFORM_UNKNOWN,
        FindingType.FORGERY_SUSPECT,
        FindingType.PERSON_OVERBUY,
        FindingType.PRESCRIBER_CONC,
    }
    assert all("Not judged" in REGISTRY[type].meaning_en for type in unjudged)


def test_what_a_late_document_may_clear_is_curable() -> None:
    """Pins the list of docs/judging.md and how long each waits."""
    assert {kind.type: kind.wait_seconds for kind in KINDS if kind.curable} == {
        FindingType.STOCK_NEVER_RECEIVED: 48 * HOUR,
        FindingType.STOCK_NOT_HERE: 48 * HOUR,
        FindingType.RETURN_NO_SALE: 72 * HOUR,
        FindingType.ORDER_VIOLATION: 48 * HOUR,
        FindingType.DUP_SALE_SAME_ORG: 48 * HOUR,
    }
    assert [kind.type for kind in KINDS if not kind.curable and kind.wait_seconds] == []
    assert (PROVISIONAL_SECONDS, RETURN_WAIT_SECONDS) == (48 * HOUR, 72 * HOUR)


@pytest.mark.parametrize(
    ("type", "final", "offset_seconds", "asked", "standing"),
    [
        ("STOCK_NOT_HERE", "ALERT", -1, False, "WARN"),
        ("STOCK_NOT_HERE", "ALERT", 0, False, "ALERT"),
        ("STOCK_NOT_HERE", "ALERT", -1, True, "WARN"),
        ("STOCK_NOT_HERE", "INFO", -1, False, "INFO"),
        ("STOCK_NEVER_RECEIVED", "BLOCK", -48 * HOUR, False, "WARN"),
        ("RETURN_NO_SALE", "ALERT", 24 * HOUR - 1, False, "WARN"),
        ("RETURN_NO_SALE", "ALERT", 24 * HOUR, False, "ALERT"),
        ("RETURN_NO_SALE", "WARN", -1, False, "WARN"),
        ("DUP_SALE_SAME_ORG", "ALERT", -1, False, "WARN"),
        ("DUP_SALE_SAME_ORG", "ALERT", 0, False, "ALERT"),
        # Before settlement nothing is on its way that could explain it.
        ("DUP_SALE_SAME_ORG", "BLOCK", -1, True, "BLOCK"),
        ("DUP_SALE_CROSS_ORG", "BLOCK", -1, False, "BLOCK"),
        ("EXPIRED_SALE", "BLOCK", -1, True, "BLOCK"),
    ],
)
def test_what_a_finding_weighs_until_its_verdict_is_final(
    type: str, final: str, offset_seconds: int, asked: bool, standing: str
) -> None:
    """Pins the arithmetic of provisional verdicts, to the second, in `stand` and in what is answered."""
    message = to_message(Finding(FindingType[type], Severity[final]), Mode.ADVISE)

    weighed = stand(FindingType[type], Severity[final], FINAL + offset_seconds, FINAL, asked=asked)
    dress(message, FINAL + offset_seconds, FINAL, asked=asked)

    assert weighed is Severity[standing]
    assert (Severity(message.severity).name, Severity(message.final_severity).name) == (standing, final)


def test_a_rule_base_may_let_returns_wait_otherwise() -> None:
    """Pins that the wait for returns is not fixed at 72 h."""
    arguments = (FindingType.RETURN_NO_SALE, Severity.ALERT, FINAL + HOUR, FINAL)

    assert stand(*arguments) is Severity.WARN
    assert stand(*arguments, return_extra_seconds=HOUR) is Severity.ALERT


@given(findings, st.sampled_from(Mode), st.booleans())
def test_a_finding_survives_its_message(finding: Finding, mode: Mode, revisable: bool) -> None:
    """Pins that nothing of a finding is lost in the journal, and that both severities are the final one."""
    message = to_message(finding, mode, revisable=revisable)
    stored = finding_pb2.Finding.FromString(message.SerializeToString(deterministic=True))

    assert from_message(stored) == finding
    assert (stored.mode, stored.revisable) == (mode, revisable)
    assert stored.severity == stored.final_severity == finding.severity
    assert not stored.HasField("title")
    assert not stored.HasField("remedy")
    assert not stored.legal_basis


@given(findings, st.sampled_from(Mode), st.integers(-100, 100), st.booleans())
def test_dressing_adds_texts_and_takes_nothing(
    finding: Finding, mode: Mode, offset_hours: int, asked: bool
) -> None:
    """Pins that an answer says what was stored, with its texts, however often it is dressed."""
    once = to_message(finding, mode)
    dress(once, FINAL + offset_hours * HOUR, FINAL, asked=asked)
    twice = finding_pb2.Finding()
    twice.CopyFrom(once)
    dress(twice, FINAL - 1, FINAL)
    dress(twice, FINAL + offset_hours * HOUR, FINAL, asked=asked)

    kind = REGISTRY[finding.type]
    assert once == twice
    assert from_message(once) == finding
    assert once.severity <= once.final_severity == finding.severity
    assert (once.title.zh_cn, once.title.en) == (kind.title_zh, kind.title_en)
    assert (once.remedy.zh_cn, once.remedy.en) == (kind.remedy_zh, kind.remedy_en)
    assert once.legal_basis == kind.legal_basis


def test_midnight_of_1970_is_a_time() -> None:
    """Pins that evidence at second 0 is not taken for evidence without a time."""
    at_zero = Finding(FindingType.PASS, Severity.INFO, evidence=(Evidence("sale", "", time=0),))
    without = Finding(FindingType.PASS, Severity.INFO, evidence=(Evidence("sale", ""),))

    assert from_message(to_message(at_zero, Mode.ADVISE)).evidence[0].time == 0
    assert from_message(to_message(without, Mode.ADVISE)).evidence[0].time is None


def test_a_number_of_the_future_is_told() -> None:
    """Pins that a finding this version does not know is an error, never another finding."""
    with pytest.raises(ValueError, match="4711 is not a valid FindingType"):
        from_message(finding_pb2.Finding(type=4711, severity=1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="4711 is not a valid FindingType"):
        dress(finding_pb2.Finding(type=4711, severity=1), FINAL, FINAL)  # type: ignore[arg-type]


def test_the_page_of_findings_is_the_registry() -> None:
    """Pins docs/findings.md; on failure run `python -m tracecode.finding > docs/findings.md`."""
    printed = subprocess.run(
        [sys.executable, "-m", "tracecode.finding"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()

    assert printed == render_registry()
    assert (ROOT / "docs/findings.md").read_text(encoding="utf-8") == printed
