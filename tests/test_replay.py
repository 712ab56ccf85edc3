"""The index follows from the journal alone: what was written live is what the journal tells again.

Found by random days; each story once left another index after a replay than while it happened.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from documents import (
    HOUR,
    INSTITUTIONS,
    MIDDLE,
    NOON,
    NS,
    OTHER,
    OTHER_DRUG,
    PRODUCTS,
    QUIET,
    SHOP,
    SISTER,
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

from tracecode.engine.contract import Submission, Submissions
from tracecode.engine.index import Index
from tracecode.engine.lmdb import LmdbEngine
from tracecode.engine.memory import MemoryEngine
from tracecode.engine.records import CodeRecord, Table
from tracecode.fsck import check
from tracecode.rule_base import RuleBase
from tracecode.v1 import catalogue_pb2, document_pb2, journal_pb2

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


def cartons_in_cartons() -> Documents:
    """One document names a carton and the pallet that it is on; the box in it is known to be inside."""
    pallet = "00" + "1" * 18
    packed = line(code(1))
    packed.packages.add(code=pallet, child_codes=[code(9)])
    named = line(code(9, MIDDLE), expiry="2027-06-00")
    named.packages.add(code=pallet, child_codes=[code(8)])
    returned = line(code(7))
    returned.packages.add(code=code(9, MIDDLE), child_codes=[code(5)])
    counted = line(code(6), lot="L1")
    counted.packages.add(code=pallet, child_codes=[code(9, MIDDLE)])
    return [
        receipt(QUIET, "R1", NOON - 50 * HOUR, packed, named),
        sale_return(QUIET, "T1", NOON + HOUR, returned),
        stock_count(SISTER, "C1", NOON + 2 * HOUR, counted),
    ]


def a_deletion_of_a_box_and_of_a_carton_named_later() -> Documents:
    """A deletion took back a sale of a box and one of a carton; then the box is said to lie in the carton."""
    packed = line(code(5))
    packed.packages.add(code=code(1, MIDDLE), child_codes=[code(1)])
    return [
        sale(SHOP, "S1", NOON - HOUR, line(code(1), batch="B1")),
        sale(SHOP, "S2", NOON - HOUR, line(code(1, MIDDLE), batch="B1")),
        deletion(SHOP, "D1", NOON, batch="B1"),
        receipt(SHOP, "R1", NOON - 2 * HOUR, packed),
    ]


def a_correction_beside_what_it_corrects() -> Documents:
    """Both stand, for nothing deletes the first, and both are of the same second."""
    return [
        stock_change(SHOP, "X1", NOON, 101, line(code(3), lot="L1")),
        stock_change(OTHER, "X1", NOON, 102, line(code(4))),
        sale(SHOP, "S1", NOON, line(code(3), lot="L2"), settlement="T1"),
        sale(SHOP, "S1", NOON, line(code(3), quantity="10", split=True), settlement="T2", corrects="S1"),
    ]


def open_engine(directory: Path) -> LmdbEngine:
    """An engine on a small map."""
    return LmdbEngine(directory, RULE_BASE, NOON * NS, map_size_bytes=2**28)


@pytest.mark.parametrize(
    "story",
    [
        box_and_package,
        both_codes_of_a_box,
        a_plain_day,
        cartons_in_cartons,
        a_deletion_of_a_box_and_of_a_carton_named_later,
        a_correction_beside_what_it_corrects,
    ],
)
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


def no_codes_and_its_deletion() -> Documents:
    """A sale without codes is deleted: nothing but the sale itself tells the deletion that it comes late."""
    return [
        sale(SHOP, "S1", NOON - 72 * HOUR, line(batch="B1"), channel=1),
        deletion(SHOP, "D1", NOON, batch="B1"),
    ]


def a_receipt_and_its_deletion() -> Documents:
    """What was taken back leaves no lot and no day behind."""
    return [
        receipt(SHOP, "R1", NOON, line(code(1), lot="L1", expiry="2027-06-30", batch="B1")),
        deletion(SHOP, "D1", NOON + HOUR, batch="B1", kind=3),
    ]


def a_carton_after_a_sale_that_was_counted_later() -> Documents:
    """A count after the sale is no receipt, so the carton that may have brought the box still matters."""
    return [
        stock_change(SHOP, "X1", NOON - HOUR, 103, line(code(1, MIDDLE))),
        sale(SHOP, "S1", NOON, line(code(1))),
        stock_count(SHOP, "C1", NOON + HOUR, line(code(1))),
    ]


def a_carton_and_a_deleted_sale() -> Documents:
    """What was deleted keeps its findings, and they too know of the carton."""
    return [
        stock_change(SHOP, "X1", NOON - HOUR, 108, line(code(1, MIDDLE))),
        sale(SHOP, "S1", NOON, line(code(1), batch="B1")),
        deletion(SHOP, "D1", NOON + HOUR, batch="B1"),
    ]


@pytest.mark.parametrize(
    "story",
    [
        no_codes_and_its_deletion,
        a_receipt_and_its_deletion,
        a_carton_after_a_sale_that_was_counted_later,
        a_carton_and_a_deleted_sale,
        a_correction_beside_what_it_corrects,
    ],
)
def test_the_end_does_not_tell_in_which_order_it_came(story: Callable[[], Documents]) -> None:
    """Pins standing findings and the states of codes, in every order of arrival."""
    ends = []
    for order in itertools.permutations(story()):
        engine = MemoryEngine(RULE_BASE, NOON * NS)
        engine.import_products(PRODUCTS, NOON * NS)
        engine.import_institutions(INSTITUTIONS, NOON * NS)
        stands = {}
        for document in order:
            content = document.SerializeToString(deterministic=True)
            engine.record(Submissions.of(Submission(content, (NOON + 3 * HOUR) * NS)))
        for document in order:
            name = document.SerializeToString(deterministic=True)
            sequence = next(
                sequence
                for sequence in range(1, engine.sequence + 1)
                if journal_pb2.JournalEntry.FromString(engine.store.entry(sequence) or b"").document.document
                == name
            )
            standing, _ = engine.index.standing_findings(engine.index.stored(sequence))
            stands[name] = [
                (each.line_number, each.code, each.type, each.final_severity) for each in standing
            ]
        codes = {
            key: replace(CodeRecord.from_bytes(value), head=0, institution=0)
            for key, value in engine.memory.dump().items()
            if key[0] == Table.CODE
        }
        ends.append((stands, codes))
    assert all(end == ends[0] for end in ends)
