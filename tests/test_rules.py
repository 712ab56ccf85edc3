"""The rules as a whole: one file a finding, none missing, none that fails on a chain it did not expect.

Goal: what every rule promises, also a new one. Method: the registry, the files and the functions compared;
hypothesis for what must hold of all chain rules together.
"""

import importlib
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from strategies import CHAIN_INSTITUTIONS, chains

from tracecode import rules
from tracecode.document import Operation
from tracecode.evidence import FACTS_MAX, Chain, ChainEvidence
from tracecode.finding import REGISTRY, Finding, FindingType, Severity
from tracecode.life_cycle import Event, InstitutionFacts, fold
from tracecode.rule_base import EXEMPTION_KINDS, Thresholds
from tracecode.rules import CHAIN_RULES, DOCUMENT_RULES, LINE_RULES
from tracecode.v1.catalogue_pb2 import Hold, Product

FOLDER = Path(rules.__file__).parent
TESTS = Path(__file__).parent / "rules"
MODULES = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
BY_ROW = {kind for kind in EXEMPTION_KINDS if kind is not FindingType.EXEMPT_LEGACY_STOCK}
"""Given by the rule base, in place of what a row of it excuses."""
JUDGED = {kind.type.name.lower() for kind in REGISTRY.values() if kind.judged and kind.type not in BY_ROW}
HOLD = Hold(hold_id="R1", identifier="8206233", lot_number="L1")
PRODUCT = Product(identifier="8206233", splittable_units=12)


def facts(code: str) -> InstitutionFacts:
    """The institutions of the chains that hypothesis makes."""
    return CHAIN_INSTITUTIONS[code]


def judge(events: list[Event]) -> dict[tuple[object, ...], list[Finding]]:
    """What all chain rules say of each event."""
    steps = fold(events, facts)
    chain = Chain(steps)
    found = {}
    for step in steps:
        here = facts(step.event.institution)
        evidence = ChainEvidence(step, chain, "code", PRODUCT, here, facts, (HOLD,), Thresholds())
        found[step.event.order] = [finding for rule in CHAIN_RULES for finding in rule(evidence)]
    return found


def test_every_finding_that_is_judged_has_its_file() -> None:
    """Pins one finding, one file, and that no file judges what the registry does not know."""
    assert {name for name in JUDGED if name != "pass"} == MODULES


def test_every_rule_is_asked_once() -> None:
    """Pins that no rule of a document, a line or a chain was forgotten in the tuples."""
    asked = [rule.__module__.rsplit(".", 1)[1] for rule in (*DOCUMENT_RULES, *LINE_RULES, *CHAIN_RULES)]
    stock = {kind.type.name.lower() for kind in REGISTRY.values() if kind.decided_by == "stock"}

    assert sorted(asked) == sorted([*(MODULES - stock), "clock_skew"])


def test_every_rule_says_what_it_means_and_whose_it_is() -> None:
    """Pins the head of each file: the finding's name, and a source that is a document or "ours"."""
    for name in MODULES:
        doc = importlib.import_module(f"tracecode.rules.{name}").__doc__ or ""
        assert doc.startswith(name.upper()), name
        assert re.search(r"^Source: \S", doc, re.MULTILINE), name


def test_every_rule_of_a_document_a_line_or_a_chain_has_its_table() -> None:
    """Pins that a new rule comes with its test."""
    stock = {kind.type.name.lower() for kind in REGISTRY.values() if kind.decided_by == "stock"}

    assert (
        sorted(MODULES - stock - {path.stem.removeprefix("test_") for path in TESTS.glob("test_*.py")}) == []
    )


def crowd(count: int, *told: dict[str, object]) -> list[Event]:
    """One code named by so many events, ten minutes apart, that do and say in turn what is told."""
    codes = sorted(CHAIN_INSTITUTIONS)
    return [
        Event(
            **{
                "operation": Operation.SALE,
                "institution": codes[number % len(codes)],
                **told[number % len(told)],
                **{"time": 600 * number, "business_time": 600 * number, "receive_time": 600 * number},
                **{"document_kind": 1, "document_number": f"d{number}", "sequence": number, "line_number": 1},
            }  # type: ignore[arg-type]
        )
        for number in range(count)
    ]


CROWDS: dict[str, tuple[dict[str, object], ...]] = {
    "sales": ({},),
    "sales and refused attempts": ({}, {"refused": True}),
    "whole and split sales": ({}, {"operation": Operation.SPLIT_SALE, "units": 1}),
    "receipts and sales": ({"operation": Operation.RECEIVE}, {}),
    "sales and returns": ({}, {"operation": Operation.SALE_RETURN}),
    "sales and transfers": ({}, {"operation": Operation.TRANSFER_OUT}, {"operation": Operation.TRANSFER_IN}),
}


@pytest.mark.parametrize("told", CROWDS.values(), ids=CROWDS)
def test_a_code_that_a_crowd_uses_is_judged_in_time(told: tuple[dict[str, object], ...]) -> None:
    """Pins that one constant code in a till's demonstration does not hold up everybody else.

    Judging all of a chain looks at so many places of the chain for each event, however long it is.
    """
    events = crowd(400, *told)
    start = time.process_time()

    findings = judge(events)

    assert time.process_time() - start < 2
    assert all(
        len(finding.evidence) <= 2 * (FACTS_MAX + 1) for found in findings.values() for finding in found
    )


def test_the_last_of_a_crowd_is_odd_and_so_is_the_one_whose_box_it_is_not() -> None:
    """Pins that comparing few of many sales leaves the verdicts: only who had the box is not accused."""
    codes = sorted(CHAIN_INSTITUTIONS)
    box = replace(crowd(1, {})[0], operation=Operation.RECEIVE, institution=codes[0], document_number="r")
    others = [replace(event, institution=codes[1 + event.sequence % 2]) for event in crowd(200, {})]
    mine = replace(others[100], time=others[100].time + 1, institution=codes[0], document_number="mine")

    found = judge([box, *others, mine])

    said = {
        order: {finding.severity for finding in findings if finding.type is FindingType.DUP_SALE_CROSS_ORG}
        for order, findings in found.items()
    }
    assert said.pop(mine.order) == {Severity.WARN}
    assert said.pop(box.order) == set()
    assert set(map(frozenset, said.values())) == {frozenset({Severity.BLOCK})}


@given(chains())
def test_every_rule_can_be_asked_about_every_step(events: list[Event]) -> None:
    """Pins that rules never fail, name their own line and code, and stay within the registry."""
    for order, findings in judge(events).items():
        event = next(event for event in events if event.order == order)
        types = [finding.type for finding in findings]
        assert len(set(types)) == len(types)
        for finding in findings:
            assert (finding.line_number, finding.code) == (event.line_number, "code")
            assert finding.severity <= REGISTRY[finding.type].severity_max
            assert finding.severity <= max(REGISTRY[finding.type].severity, Severity.BLOCK)


@given(chains())
def test_what_moves_inside_a_package_and_deletions_carry_nothing(events: list[Event]) -> None:
    """Pins that a package's event is judged on the package's own chain only."""
    for order, findings in judge(events).items():
        event = next(event for event in events if event.order == order)
        if event.package or event.operation.name == "DELETE":
            assert findings == []


@settings(max_examples=300)
@given(chains(5, (Operation.SALE, Operation.SALE, Operation.RECEIVE, Operation.SALE_RETURN)))
def test_what_refused_a_sale_keeps_standing_once_it_is_refused(events: list[Event]) -> None:
    """Pins that an attempt is judged as it was when it was asked, though nobody sees it any more.

    A sale is judged before its outcome is known, so as one that counts; if that refuses it, the same
    finding must come out of the chain in which it counts no longer.
    """
    for event in events:
        if event.operation.name not in ("SALE", "SPLIT_SALE") or not event.counted:
            continue
        asked = judge(events)[event.order]
        others = [other for other in events if other is not event]
        refused = judge([*others, replace(event, refused=True)])[event.order]
        blocks = {finding.type for finding in asked if finding.severity is Severity.BLOCK}
        assert blocks <= {finding.type for finding in refused if finding.severity is Severity.BLOCK}


@given(chains())
def test_a_sale_is_odd_for_one_reason_of_stock_only(events: list[Event]) -> None:
    """Pins that a box is said to be elsewhere, to have left or never to have come, not two of them."""
    reasons = {
        FindingType.STOCK_NEVER_RECEIVED,
        FindingType.EXEMPT_LEGACY_STOCK,
        FindingType.STOCK_NOT_HERE,
        FindingType.STOCK_ALREADY_OUT,
    }
    for findings in judge(events).values():
        given = {finding.type for finding in findings} & reasons
        assert len(given) <= 1 or given == {
            FindingType.STOCK_ALREADY_OUT,
            FindingType.STOCK_NEVER_RECEIVED,
        }
