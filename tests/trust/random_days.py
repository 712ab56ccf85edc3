"""Random days among few boxes and few shops: most of what they tell is odd, and all of it is legal to tell.

The days are made to collide: cartons inside cartons, boxes with two codes, one deletion for many documents, a
correction before what it corrects. So they meet what no story was written for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from documents import (
    DRUG,
    HOUR,
    INSTITUTIONS,
    ITEM,
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

from tracecode.engine.contract import Engine, Submission, Submissions
from tracecode.rule_base import RuleBase
from tracecode.v1 import catalogue_pb2, document_pb2

Catalogue = (
    catalogue_pb2.Product | catalogue_pb2.Institution | catalogue_pb2.Hold | catalogue_pb2.CodeReplacement
)
Told = Submission | Catalogue | RuleBase
"""One thing that an engine is told."""

SHOPS = (SHOP, SHOP, OTHER, QUIET, SISTER)
UNKNOWN_ITEM = "8777777"
"""In no catalogue: enough sales teach it."""

RULE_BASES = (
    RuleBase.default(),
    RuleBase.parse('version = "2"\n[thresholds]\nlearn_sales = 2\nlearn_institutions = 1\n', "a test"),
    RuleBase.parse('version = "3"\n[thresholds]\nlate_info_hours = 1\n', "a test"),
)


@dataclass(frozen=True, slots=True)
class Habits:
    """What one run of days likes to do: a few boxes or many, and each kind of trouble more or less often."""

    boxes: int
    cartons: int
    numbers: int
    """Document numbers in use: few of them make repeats, corrections and deletions meet."""
    packed: float
    split: float
    deleted: float
    corrected: float
    asked: float
    catalogue: float
    """How often the catalogue, a list or the rule base changes between documents."""


def draw_habits(rng: random.Random) -> Habits:
    """Habits that differ from run to run, so that each trouble is met both alone and in a crowd."""
    return Habits(
        boxes=rng.choice((2, 4, 8, 40)),
        cartons=rng.choice((1, 2, 4)),
        numbers=rng.choice((3, 10, 200)),
        packed=rng.choice((0.0, 0.1, 0.5)),
        split=rng.choice((0.0, 0.1, 0.4)),
        deleted=rng.choice((0.0, 0.1, 0.3)),
        corrected=rng.choice((0.0, 0.2)),
        asked=rng.choice((0.0, 0.3)),
        catalogue=rng.choice((0.0, 0.1)),
    )


def draw_days(seed: int, *, days: int = 3, documents: int = 12) -> list[list[Told]]:
    """Days of things to tell, the same for the same seed."""
    rng = random.Random(seed)
    habits = draw_habits(rng)
    told: list[list[Told]] = []
    for day in range(days):
        told.append([])
        for _ in range(rng.randint(1, documents)):
            if rng.random() < habits.catalogue:
                told[-1].append(_draw_change(rng, habits))
                continue
            submission = draw_submission(rng, habits, day)
            told[-1].append(submission)
            if (again := _draw_second_deletion(rng, habits, submission)) is not None:
                told[-1].append(again)
    return told


def _draw_second_deletion(rng: random.Random, habits: Habits, submission: Submission) -> Submission | None:
    """Half of the deletions are followed by one more of the same document or batch, dated before or after."""
    document = document_pb2.Document.FromString(submission.document)
    if not document.HasField("deletion") or rng.random() < 0.5:
        return None
    document.document_number = f"E{rng.randint(1, habits.numbers)}"
    document.business_time.seconds += rng.choice((-30 * HOUR, -60, 0, 60, HOUR))
    return Submission(
        document.SerializeToString(deterministic=True), submission.receive_time_ns + 60 * NS, ""
    )


def draw_submission(rng: random.Random, habits: Habits, day: int) -> Submission:
    """A document of a day, received in the course of it; late, and now and then by a clock that is ahead."""
    received = NOON + day * 24 * HOUR + rng.randint(1, 12 * HOUR)
    happened = received - rng.choice((60, 60, HOUR, 30 * HOUR, 60 * HOUR, -3 * HOUR))
    # A few round times, so that things happen in the same second.
    happened -= happened % rng.choice((1, 60, HOUR, 12 * HOUR))
    content = draw_document(rng, habits, happened).SerializeToString(deterministic=True)
    return Submission(content, received * NS, rng.choice(("",) * 9 + ("q1",)))


def draw_document(rng: random.Random, habits: Habits, time: int) -> document_pb2.Document:
    """A document of any kind."""
    shop, number = rng.choice(SHOPS), str(rng.randint(1, habits.numbers))
    rows = [_draw_line(rng, habits) for _ in range(rng.choice((1, 1, 1, 2)))]
    if rng.random() < habits.deleted:
        kind = rng.choice((1, 2, 3, 3, 4, 4))
        if rng.random() < 0.4:
            return deletion(shop, "D" + number, time, batch=rng.choice(("B1", "B2")), kind=kind)
        deleted = rng.choice("RSXCBT") + str(rng.randint(1, habits.numbers))
        return deletion(shop, "D" + number, time, deletes=deleted, kind=kind)
    made = _draw_movement(rng, habits, shop, number, time, rows)
    if rng.random() < habits.corrected:
        made.corrects_document_number = made.document_number
    return made


def _draw_movement(
    rng: random.Random,
    habits: Habits,
    shop: str,
    number: str,
    time: int,
    rows: Sequence[document_pb2.Line],
) -> document_pb2.Document:
    makers: list[tuple[int, Callable[[], document_pb2.Document]]] = [
        (30, lambda: receipt(shop, "R" + number, time, *rows)),
        (
            35,
            lambda: sale(
                shop,
                "S" + number,
                time,
                *rows,
                asked=rng.random() < habits.asked,
                settlement=rng.choice(("", "", "T1", "T2")),
                visit=rng.choice(("", "", "V1")),
                person=rng.choice(("", "A", "B")),
                channel=rng.randint(0, 2),
            ),
        ),
        (10, lambda: sale_return(shop, "T" + number, time, *rows, of=rng.choice(("", "S" + number)))),
        (5, lambda: stock_count(shop, "C" + number, time, *rows)),
        (
            15,
            lambda: stock_change(
                shop,
                "X" + number,
                time,
                rng.choice((101, 102, 103, 104, 106, 107, 108)),
                *rows,
                counterparty=rng.choice(("", OTHER, SHOP, QUIET)),
            ),
        ),
        (8, lambda: purchase_return(shop, "B" + number, time, *rows)),
    ]
    return rng.choices([make for _, make in makers], [weight for weight, _ in makers])[0]()


def _draw_scan(rng: random.Random, habits: Habits) -> str:
    box = rng.randint(1, habits.boxes)
    kind = rng.random()
    if kind < 0.78:
        return code(box)
    if kind < 0.84:
        return f"]d2010690123456789221S{box}\x1d10L1\x1d17{rng.choice(('270700', '270630', '260430'))}"
    if kind < 0.94:
        return code(rng.randint(1, habits.cartons), MIDDLE)
    if kind < 0.98:
        return code(box, UNKNOWN_ITEM)
    return code(box) + code(box + 1)


def _draw_line(rng: random.Random, habits: Habits) -> document_pb2.Line:
    split = rng.random() < habits.split
    made = line(
        *(_draw_scan(rng, habits) for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 3)))),
        drug=rng.choice((DRUG,) * 6 + (OTHER_DRUG,)),
        split=split,
        quantity=rng.choice(("1", "10", "20")) if split else "",
        lot=rng.choice(("", "", "L1", "L2")),
        expiry=rng.choice(("", "", "2027-06-30", "2027-06-00", "2026-03-00")),
        batch=rng.choice(("", "B1", "B2")),
    )
    while rng.random() < habits.packed:
        parent = rng.choice((code(rng.randint(1, habits.cartons), MIDDLE), "00" + "1" * 18))
        children = [
            code(rng.randint(1, habits.boxes))
            if rng.random() < 0.8
            else code(rng.randint(1, habits.cartons), MIDDLE)
            for _ in range(rng.randint(0, 3))
        ]
        made.packages.add(code=parent, child_codes=children)
    return made


def _draw_change(rng: random.Random, habits: Habits) -> Catalogue | RuleBase:
    kind = rng.random()
    if kind < 0.45:
        old, new = rng.sample(range(1, habits.boxes + 2), 2)
        return catalogue_pb2.CodeReplacement(old_code=code(old), new_code=code(new))
    if kind < 0.65:
        hold = catalogue_pb2.Hold(
            hold_id=f"H{rng.randint(1, 2)}", reason=1, start_date="2026-03-01", authority="x"
        )
        if rng.random() < 0.6:
            hold.code = rng.choice((code(rng.randint(1, habits.boxes)), code(1, MIDDLE)))
        else:
            hold.identifier, hold.lot_number = ITEM, "L1"
        return hold
    if kind < 0.8:
        institution = catalogue_pb2.Institution()
        institution.CopyFrom(rng.choice(INSTITUTIONS))
        institution.uploads_receipt_codes = rng.random() < 0.5
        return institution
    if kind < 0.9:
        product = catalogue_pb2.Product()
        product.CopyFrom(rng.choice(PRODUCTS))
        product.splittable_units = rng.choice((0, 24, 30))
        return product
    return rng.choice(RULE_BASES)


def tell(engine: Engine, told: Sequence[Told]) -> None:
    """Tell an engine all of it, in order; documents that follow each other go in one call."""
    waiting: list[Submission] = []
    for one in told:
        if isinstance(one, Submission):
            waiting.append(one)
            continue
        if waiting:
            engine.record(Submissions.of(*waiting))
            waiting = []
        now = NOON * NS
        if isinstance(one, RuleBase):
            engine.change_rule_base(one, now)
        elif isinstance(one, catalogue_pb2.Product):
            engine.import_products([one], now)
        elif isinstance(one, catalogue_pb2.Institution):
            engine.import_institutions([one], now)
        elif isinstance(one, catalogue_pb2.Hold):
            engine.import_holds([one], now)
        else:
            engine.import_code_replacements([one], now)
    if waiting:
        engine.record(Submissions.of(*waiting))


def shrink(told: Sequence[Told], fails: Callable[[Sequence[Told]], bool]) -> list[Told]:
    """The fewest things that still fail, found by leaving out halves, quarters and single ones."""
    kept = list(told)
    size = max(1, len(kept) // 2)
    while True:
        at = 0
        smaller = False
        while at < len(kept):
            tried = kept[:at] + kept[at + size :]
            if fails(tried):
                kept, smaller = tried, True
            else:
                at += size
        if size == 1 and not smaller:
            return kept
        size = max(1, size // 2)


def describe(told: Sequence[Told]) -> Iterator[str]:
    """One line for each thing told, for the message of a failing test."""
    for one in told:
        if isinstance(one, Submission):
            document = document_pb2.Document.FromString(one.document)
            yield f"received {one.receive_time_ns // NS - NOON:+} s: {' '.join(str(document).split())}"
        else:
            yield f"{type(one).__name__}: {' '.join(str(one).split())}"[:400]
