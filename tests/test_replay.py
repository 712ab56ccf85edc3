"""The index follows from the journal alone: what was written live is what the journal tells again.

Found by random days; each story once left another index after a replay than while it happened.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from documents import (
    HOUR,
    INSTITUTIONS,
    MIDDLE,
    NOON,
    NS,
    OTHER_DRUG,
    PRODUCTS,
    QUIET,
    SHOP,
    code,
    deletion,
    line,
    purchase_return,
    receipt,
    sale,
)

from tracecode.engine.contract import Submission, Submissions
from tracecode.engine.index import Index
from tracecode.engine.lmdb import LmdbEngine
from tracecode.engine.memory import MemoryEngine
from tracecode.fsck import check
from tracecode.rule_base import RuleBase
from tracecode.v1 import catalogue_pb2, document_pb2

RULE_BASE = RuleBase.default()
Documents = list[document_pb2.Document]


def box_and_package() -> Documents:
    """One deletion takes back a document that names a box and another that names only its package."""
    packed = line(code(1, MIDDLE), batch="B1")
    packed.packages.add(code=code(1, MIDDLE), child_codes=[code(1)])
    return [
        receipt(SHOP, "R1", NOON, packed),
        purchase_return(SHOP, "B1", NOON + 10, line(code(1, MIDDLE), batch="B1")),
        deletion(SHOP, "D1", NOON + 20, batch="B1", kind=3),
    ]


def both_codes_of_a_box() -> Documents:
    """One document names the old and the new code of a box."""
    return [sale(SHOP, "S1", NOON, line(code(1)), line(code(2)))]


def a_plain_day() -> Documents:
    """Cleared receipts and sales, with and without the notice, among judged ones."""
    return [
        receipt(SHOP, "R1", NOON, line(*(code(n) for n in range(3, 300)), lot="L1", expiry="2027-06-00")),
        *(sale(SHOP, f"S{n}", NOON + HOUR, line(code(n)), person="A") for n in range(3, 200)),
        sale(SHOP, "S2", NOON + 2 * HOUR, line(code(3)), person="B"),
        *(sale(QUIET, f"S{n}", NOON + HOUR, line(code(n)), person="A") for n in range(300, 400)),
        sale(SHOP, "S300", NOON + 2 * HOUR, line(code(4), drug=OTHER_DRUG), person="B"),
    ]


def open_engine(directory: Path) -> LmdbEngine:
    """An engine on a small map."""
    return LmdbEngine(directory, RULE_BASE, NOON * NS, map_size_bytes=2**28)


@pytest.mark.parametrize("story", [box_and_package, both_codes_of_a_box, a_plain_day])
def test_the_journal_tells_again_what_was_written(story: Callable[[], Documents], tmp_path: Path) -> None:
    """By the rules in memory (fsck), and by the native replay when the index is gone."""
    engine = open_engine(tmp_path / "ledger")
    engine.import_products(PRODUCTS, NOON * NS)
    engine.import_institutions(INSTITUTIONS, NOON * NS)
    replaced = catalogue_pb2.CodeReplacement(old_code=code(1), new_code=code(2))
    engine.import_code_replacements([replaced], NOON * NS)
    for document in story():
        content = document.SerializeToString(deterministic=True)
        engine.record(Submissions.of(Submission(content, (NOON + 3 * HOUR) * NS)))
    written = engine.native.scan(b"")
    engine.close()
    assert check(tmp_path / "ledger").ok

    shutil.rmtree(tmp_path / "ledger" / "index")
    replayed = open_engine(tmp_path / "ledger")
    told = [row for row in replayed.native.scan(b"") if row[0] != b"mapplied_sequence"]
    replayed.close()

    assert told == [row for row in written if row[0] != b"mapplied_sequence"]


def test_thresholds_that_change_teach_both_engines_alike(tmp_path: Path) -> None:
    """A plain sale of a learnt product is cleared: it must not teach what it would not teach natively."""
    eager = RuleBase.parse('version = "2"\n[thresholds]\nlearn_sales = 1\nlearn_institutions = 1\n', "a test")
    shops = [institution.institution_code for institution in INSTITUTIONS[:3]]
    unknown = [code(n, "8999999") for n in range(10)]
    day = [sale(shops[n % 3], f"S{n}", NOON + n, line(unknown[n])) for n in range(5)]
    day.insert(2, sale(SHOP, "S9", NOON, line(unknown[9], drug=OTHER_DRUG)))
    lmdb, memory = open_engine(tmp_path / "ledger"), MemoryEngine(RULE_BASE, NOON * NS)
    for engine in (lmdb, memory):
        engine.import_products(PRODUCTS, NOON * NS)
        engine.import_institutions(INSTITUTIONS, NOON * NS)
        received = receipt(SHOP, "R1", NOON, line(unknown[6], unknown[7]))
        for document in [*day, received, sale(SHOP, "S6", NOON + HOUR, line(unknown[6]))]:
            if document.document_number == "S6":
                engine.change_rule_base(eager, NOON * NS)
            content = document.SerializeToString(deterministic=True)
            engine.record(Submissions.of(Submission(content, (NOON + 3 * HOUR) * NS)))
    products = [engine.product("8999999") for engine in (lmdb, memory)]
    lmdb.close()

    assert products[0] is not None
    assert products[0] == products[1]


def test_a_long_receipt_is_read_for_one_code_as_it_is_read_whole(tmp_path: Path) -> None:
    """Pins event and predecessor of every code, on lines with and without numbers, 20 digits and GS1."""
    rows = [
        line(*(code(n) for n in range(row * 50, row * 50 + 50)), lot=f"L{row}", expiry="2027-06-30")
        for row in range(6)
    ]
    rows.append(line("01069012345678922110A\x1d17270630", drug=OTHER_DRUG))
    numbered = receipt(SHOP, "R2", NOON, line(*(code(n) for n in range(300, 400))), line(code(400)))
    for number, row in enumerate(numbered.lines):
        row.line_number = 7 + number
    engine = open_engine(tmp_path / "ledger")
    engine.import_products(PRODUCTS, NOON * NS)
    engine.import_institutions(INSTITUTIONS, NOON * NS)
    for document in (receipt(SHOP, "R1", NOON, *rows), numbered):
        content = document.SerializeToString(deterministic=True)
        engine.record(Submissions.of(Submission(content, NOON * NS)))
    for sequence in (engine.sequence - 1, engine.sequence):
        whole = Index(engine.store).stored(sequence)
        index = Index(engine.store)
        for key in whole.read.events:
            part = index.stored_for(sequence, key)
            assert part.read.document.lines != whole.read.document.lines
            assert part.read.events[key] == whole.read.events[key]
            assert part.previous[key] == whole.previous[key]
            assert index.standing_findings(part) == index.standing_findings(whole)
    engine.close()
