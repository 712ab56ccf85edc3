"""Days that are nearly plain: most documents fit what went before, and some are one change away from it.

test_clearing throws documents at random, so few of its sales are of boxes in stock. Here a small model says
where each box is, and a document mostly goes on from there: most are cleared, and those that must not be
are just beyond one guard. Both engines are told the same and must keep the same.
"""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from documents import (
    DRUG,
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
    answered,
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
from hypothesis import given, settings
from hypothesis import strategies as st
from test_clear import NOT_PLAIN, PLAIN, SALE_NOT_PLAIN, Change
from test_clearing import LEFT_ROW, RULE_BASE, compare

from tracecode.engine.contract import Submission, Submissions
from tracecode.engine.lmdb import LmdbEngine
from tracecode.engine.memory import MemoryEngine
from tracecode.errors import DocumentRejected
from tracecode.v1 import catalogue_pb2, document_pb2, journal_pb2

CHANGES: list[Change] = [*PLAIN.values(), *NOT_PLAIN.values(), *SALE_NOT_PLAIN.values()]
BOXES = range(1, 10)
GTIN = "06901234567892"

Told = Submission | catalogue_pb2.Hold | catalogue_pb2.CodeReplacement


def make_line(draw: st.DrawFn, serial: int, known: dict[int, tuple[str, str]]) -> document_pb2.Line:
    """A line with one box; it mostly says of lot and expiry what was said before, or nothing. The boxes 7 to
    9 are GS1, printed with lot and expiry or without."""
    said = st.tuples(st.sampled_from(["L1", "L2"]), st.sampled_from(["2027-06-30", "2026-03-16"]))
    lot, expiry = known.setdefault(serial, draw(st.one_of(st.just(("", "")), said)))
    if draw(st.integers(0, 7)) == 0:
        lot, expiry = draw(said)
    printed = ""
    if serial >= 7:
        printed += draw(st.sampled_from(["", f"\x1d10{lot or 'L1'}"]))
        printed += draw(st.sampled_from(["", f"\x1d17{expiry.replace('-', '')[2:] or '270630'}"]))
    return line(
        code(serial) if serial < 7 else f"01{GTIN}21S{serial}{printed}",
        drug=DRUG if serial < 7 else OTHER_DRUG,
        lot=draw(st.sampled_from(["", lot])),
        expiry=draw(st.sampled_from(["", expiry])),
        batch=draw(st.sampled_from(["", "", "B1", "B2"])),
    )


@st.composite
def days(draw: st.DrawFn) -> list[Told]:
    """What reaches the ledger, in order."""
    told: list[Told] = []
    known: dict[int, tuple[str, str]] = {}
    where: dict[int, str] = {}
    sold: dict[int, str] = {}
    time, number = NOON, 0
    for _ in range(draw(st.integers(4, 24))):
        number += 1
        time += draw(st.sampled_from([1, 60, 60, HOUR, HOUR, HOUR, HOUR, HOUR, 0, -2 * HOUR]))
        shop = draw(st.sampled_from([SHOP] * 8 + [OTHER, QUIET]))
        act = draw(st.sampled_from(["sell"] * 6 + ["receive"] * 4 + ["other"] * 2 + ["import"]))
        serials = draw(st.lists(st.sampled_from(BOXES), min_size=1, max_size=3, unique=True))
        if draw(st.integers(0, 7)):
            in_stock = [serial for serial in BOXES if where.get(serial) == shop]
            unseen = [serial for serial in BOXES if serial not in where]
            if not in_stock and act == "sell":
                act = "receive"
            fitting = unseen if act == "receive" else in_stock
            serials = [serial for serial in serials if serial in fitting] or fitting[:2] or serials
        rows = [make_line(draw, serial, known) for serial in serials]
        if act == "sell":
            made = sale(
                shop,
                f"S{number}",
                time,
                *rows,
                asked=draw(st.booleans()),
                settlement=f"T{number // draw(st.sampled_from([1, 1, 4]))}",
                channel=draw(st.integers(0, 2)),
                person="A" * 32,
            )
            made.lines[0].split = draw(st.integers(0, 11)) == 0
            sold |= dict.fromkeys(serials, shop)
            where |= dict.fromkeys(serials, "sold")
        elif act == "receive":
            made = receipt(shop, f"R{number}", time, *rows)
            if draw(st.integers(0, 5)) == 0:
                package = made.lines[0].packages.add(code=code(number, MIDDLE))
                package.child_codes.extend(made.lines[0].codes)
            where |= dict.fromkeys(serials, shop)
        elif act == "import":
            told.append(
                draw(
                    st.sampled_from(
                        [
                            catalogue_pb2.Hold(hold_id="H1", code=code(serials[0]), start_date="2026-01-01"),
                            catalogue_pb2.Hold(
                                hold_id="H2", code=code(number - 1, MIDDLE), start_date="2026-01-01"
                            ),
                            catalogue_pb2.Hold(
                                hold_id="H3", identifier=GTIN, lot_number="L1", start_date="2026-01-01"
                            ),
                            catalogue_pb2.CodeReplacement(old_code=code(serials[0]), new_code=code(50)),
                        ]
                    )
                )
            )
            continue
        else:
            made = draw(
                st.sampled_from(
                    [
                        sale_return(sold.get(serials[0], shop), f"T{number}", time, *rows),
                        purchase_return(shop, f"P{number}", time, *rows),
                        stock_change(shop, f"X{number}", time, 102, *rows, counterparty=OTHER),
                        stock_change(OTHER, f"X{number}", time, 101, *rows, counterparty=SHOP),
                        stock_change(shop, f"X{number}", time, 107, *rows),
                        stock_count(shop, f"C{number}", time, *rows),
                        deletion(shop, f"D{number}", time, deletes=f"S{number - 1}"),
                        deletion(shop, f"D{number}", time, deletes=f"S{number + 1}"),
                        deletion(shop, f"D{number}", time, batch="B1"),
                        deletion(shop, f"D{number}", time, batch="B2", kind=3),
                    ]
                )
            )
            where |= dict.fromkeys(serials, draw(st.sampled_from([shop, "elsewhere"])))
        if made.lines and draw(st.integers(0, 5)) == 0:
            draw(st.sampled_from(CHANGES))(made)
        delay = draw(st.sampled_from([60] * 10 + [49 * HOUR, -301]))
        request_id = draw(st.sampled_from([""] * 10 + ["q1"]))
        content = made.SerializeToString(deterministic=True)
        told.append(Submission(content, max(1, (time + delay)) * NS, request_id))
        if draw(st.integers(0, 15)) == 0:
            told.append(told[-1])
    return told


def test_nearly_plain_days_are_kept_the_same_by_both_engines() -> None:
    """Pins, where much is cleared, that answers, journals (but for the mark) and indexes are equal; and that
    much was cleared, for the property would hold for a clearing that clears nothing."""
    seen: Counter[str] = Counter()

    @settings(max_examples=60, deadline=None)
    @given(days())
    def keep(told: list[Told]) -> None:
        with tempfile.TemporaryDirectory() as directory:
            lmdb = LmdbEngine(Path(directory) / "ledger", RULE_BASE, NOON * NS, map_size_bytes=2**28)
            memory = MemoryEngine(RULE_BASE, NOON * NS)
            tell(lmdb, memory, told)
            compare(lmdb, memory)
            for value in lmdb.entries(0, 1_000):
                entry = journal_pb2.JournalEntry.FromString(value)
                kind = document_pb2.Document.FromString(entry.document.document).WhichOneof("content")
                seen[f"{kind} {'cleared' if entry.document.cleared else 'judged'}"] += 1
            lmdb.close()

    keep()

    assert seen["receipt cleared"] > 20
    assert seen["sale cleared"] > 20
    assert seen["sale judged"] > 20


def tell(lmdb: LmdbEngine, memory: MemoryEngine, told: list[Told]) -> None:
    """Tell both engines the same, documents between two imports in one call; their answers must be equal."""
    for engine in (lmdb, memory):
        engine.import_products(PRODUCTS, NOON * NS)
        engine.import_institutions([*INSTITUTIONS, LEFT_ROW], NOON * NS)
    for is_document, group in itertools.groupby(told, key=lambda one: isinstance(one, Submission)):
        row = list(group)
        if is_document:
            for ours, judged in zip(
                *(engine.record(Submissions.of(*row)) for engine in (lmdb, memory)), strict=True
            ):
                if isinstance(judged, DocumentRejected):
                    assert type(ours) is type(judged)
                    assert str(ours) == str(judged)
                else:
                    assert answered(ours) == answered(judged)
            continue
        for engine in (lmdb, memory):
            engine.import_holds([one for one in row if isinstance(one, catalogue_pb2.Hold)], NOON * NS)
            engine.import_code_replacements(
                [one for one in row if isinstance(one, catalogue_pb2.CodeReplacement)], NOON * NS
            )


@pytest.mark.parametrize(
    "said", [{"lot": "L2"}, {"expiry": "2027-07-31"}, {"lot": "L1", "expiry": "2027-06-30"}]
)
def test_a_receipt_that_contradicts_the_print_sends_the_sale_to_the_rules(
    tmp_path: Path, said: dict[str, str]
) -> None:
    """Pins that a sale that repeats a receipt's line is not cleared where the box says otherwise (SWAP_ATTR):
    a record keeps one lot and one day only."""
    lmdb = LmdbEngine(tmp_path / "ledger", RULE_BASE, NOON * NS, map_size_bytes=2**28)
    memory = MemoryEngine(RULE_BASE, NOON * NS)
    box = f"01{GTIN}21S1"
    told: list[Told] = [
        Submission(made.SerializeToString(deterministic=True), (made.business_time.seconds + 60) * NS)
        for made in (
            receipt(SHOP, "R1", NOON, line(box + "\x1d10L1\x1d17270630", drug=OTHER_DRUG, **said)),
            sale(SHOP, "S1", NOON + HOUR, line(box, drug=OTHER_DRUG, **said)),
        )
    ]

    tell(lmdb, memory, told)

    compare(lmdb, memory)
    sold = journal_pb2.JournalEntry.FromString(lmdb.entries(0, 100)[-1])
    assert sold.document.cleared == (len(said) == 2)
    lmdb.close()
