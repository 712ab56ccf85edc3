"""Days that are told to a ledger in a process that may die at any moment, and what must hold afterwards.

All times are given, so an undisturbed telling and one that was cut off and told again from its first
document must end in the same bytes: every answer, every entry of the journal, every record of the index.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from documents import (
    FAR,
    HOUR,
    INSTITUTIONS,
    NOON,
    NS,
    OTHER,
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

from tracecode import fsck
from tracecode._native import JournalRemains, Store
from tracecode.engine import lmdb
from tracecode.engine.lmdb import OVERLAY_BYTES_MAX, LmdbEngine
from tracecode.errors import DocumentRejected, Overloaded
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import document_pb2, finding_pb2, journal_pb2

NOW_NS = (NOON + 3 * HOUR) * NS
PERSON_KEY = PersonKey(b"k" * 32)
MAP_SIZE_BYTES = 2**28
OVERLAY_BYTES_SMALL = 4 * 2**20
"""The least that a store takes; from half of it records are written back."""

CODES_PER_LINE = 50
CODES_PER_RECEIPT = 1_000
BIG_RECEIPTS = 22
"""Of a thousand codes each, fill more than half of the least overlay."""

Documents = tuple[document_pb2.Document, ...]
Acknowledge = Callable[["Answer"], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the ledger said of the document at a position of the day."""

    position: int
    sequence: int
    digest: str
    """Of the verdict, but for what a retry is told besides."""

    def __str__(self) -> str:
        return f"{self.position} {self.sequence} {self.digest}\n"

    @classmethod
    def parse(cls, text: str) -> Answer:
        """Of a line that a recording process wrote."""
        position, sequence, digest = text.split()
        return cls(int(position), int(sequence), digest)


@dataclass(frozen=True, slots=True)
class Day:
    """Documents in the groups in which they are recorded, and how: by which ledger, and how it ends."""

    name: str
    groups: tuple[Documents, ...]
    told_before: int = 0
    """So many groups are in the folder before the process starts."""
    index_kept: bool = True
    """Whether the folder has an index then, or one that is to be made anew."""
    overlay_bytes_max: int = OVERLAY_BYTES_MAX
    flushed: bool = False
    """Whether the ledger is closed at the end, which writes its index back."""

    @property
    def documents(self) -> Documents:
        """All of them."""
        return tuple(document for group in self.groups for document in group)


@dataclass(frozen=True, slots=True)
class Told:
    """What a day that nobody disturbed ends in."""

    answers: tuple[Answer, ...]
    journal: tuple[bytes, ...]
    index: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """How a ledger differs from the one that nobody disturbed."""

    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    aborts: int = 0
    reasons: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether it does not."""
        return not (self.lost or self.doubled or self.wrong or self.aborts)

    def __add__(self, other: Checked) -> Checked:
        return Checked(
            self.lost + other.lost,
            self.doubled + other.doubled,
            self.wrong + other.wrong,
            self.aborts + other.aborts,
            self.reasons + other.reasons,
        )


# --- days ---------------------------------------------------------------------------------------


def stock(institution: str, number: str, serials: range) -> document_pb2.Document:
    """A receipt of these boxes, fifty on a line."""
    lines = [
        line(*(code(serial) for serial in serials[at : at + CODES_PER_LINE]), lot="L1", expiry="2027-06-30")
        for at in range(0, len(serials), CODES_PER_LINE)
    ]
    return receipt(institution, number, NOON, *lines)


def sell(institution: str, serial: int, number: str = "") -> document_pb2.Document:
    """A sale of one box, reported an hour later."""
    return sale(institution, number or f"XS{serial}", NOON + HOUR, line(code(serial)), person=f"p{serial}")


def plain_day(sales: int = 6) -> Day:
    """Sales that the native code clears: each in a commit of its own, then some that share one."""
    alone = [(sell(SHOP, serial),) for serial in range(sales)]
    together = tuple(sell(SHOP, serial) for serial in range(sales, 2 * sales))
    return Day("plain", ((stock(SHOP, "RK1", range(2 * sales)),), *alone, together), told_before=1)


def judged_documents() -> Documents:
    """Sold twice, swapped, taken back, deleted, received late: what rules judge, what revises verdicts."""
    return (
        sell(SHOP, 1),
        sell(FAR, 1),
        sell(OTHER, 2),
        sale(SHOP, "XS3", NOON + HOUR, line(code(3), drug=OTHER_DRUG)),
        sale_return(SHOP, "TH1", NOON + HOUR + 60, line(code(1)), of="XS1"),
        sell(SHOP, 1, "XS9"),
        receipt(OTHER, "RK2", NOON + 60, line(code(2), lot="L1", expiry="2027-06-30")),
        deletion(SHOP, "SC1", NOON + 2 * HOUR, deletes="XS3"),
    )


def judged_day() -> Day:
    """The same: each in a commit of its own, then again of other boxes in one."""
    return Day(
        "judged",
        (
            (stock(SHOP, "RK1", range(10)),),
            *((document,) for document in judged_documents()),
            tuple(sale(OTHER, f"Q{n}", NOON + HOUR, line(code(n)), person="q") for n in range(4, 9)),
        ),
        told_before=1,
    )


def first_day() -> Day:
    """The first documents of a ledger, which is made for them and closed behind them."""
    return Day("creation", ((stock(SHOP, "RK1", range(4)),), (sell(SHOP, 0), sell(FAR, 0))), flushed=True)


def closing_day() -> Day:
    """All is in the journal already: the ledger replays it, writes its index back, and closes."""
    groups = (
        (stock(SHOP, "RK1", range(1_000)),),
        (stock(OTHER, "RK3", range(1_000, 2_000)),),
        judged_documents(),
    )
    return Day("closing", groups, told_before=3, flushed=True)


def flushed_day() -> Day:
    """So many boxes that records are written back while sales of them go on."""
    groups = []
    for number in range(BIG_RECEIPTS):
        serials = range(number * CODES_PER_RECEIPT, (number + 1) * CODES_PER_RECEIPT)
        groups.append((stock(SHOP, f"RK{number}", serials), sell(SHOP, serials[0])))
    groups.append((sell(FAR, 0),))
    return Day("flush", tuple(groups), overlay_bytes_max=OVERLAY_BYTES_SMALL, flushed=True)


def replayed_day() -> Day:
    """So many boxes that the index, which is made anew, is written back while it is replayed."""
    groups = (*flushed_day().groups, (sell(SHOP, 1), sell(FAR, 1)))
    return Day(
        "replay",
        groups,
        told_before=len(groups) - 1,
        index_kept=False,
        overlay_bytes_max=OVERLAY_BYTES_SMALL,
        flushed=True,
    )


DAYS = {day().name: day for day in (first_day, plain_day, judged_day, closing_day, flushed_day, replayed_day)}


# --- telling ------------------------------------------------------------------------------------


def open_ledger(folder: Path, overlay_bytes_max: int = OVERLAY_BYTES_MAX) -> Ledger:
    """Open or create, at the one time at which all of this happens, with the catalogue of the days."""
    engine = LmdbEngine(
        folder, None, NOW_NS, map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=overlay_bytes_max
    )
    ledger = Ledger(engine, PERSON_KEY, lambda: NOW_NS)
    ledger.import_products(PRODUCTS)
    ledger.import_institutions(INSTITUTIONS)
    return ledger


def native_of(ledger: Ledger) -> Store:
    """Its store."""
    engine = ledger.engine
    assert isinstance(engine, LmdbEngine)
    return engine.native


def give_up_durability() -> None:
    """Sabotage, for controls: stores that this process opens from now on never sync."""

    def open_unsynced(*arguments: Any, **named: Any) -> Store:
        return Store(*arguments, **{**named, "sync": False})

    lmdb.NativeStore = open_unsynced  # type: ignore[misc, assignment]


def tell(ledger: Ledger, documents: Sequence[document_pb2.Document], first: int) -> list[Answer]:
    """Record documents, whose positions begin with `first`, in one call."""
    answers = []
    for position, verdict in enumerate(_record(ledger, documents), first):
        assert not isinstance(verdict, DocumentRejected), verdict
        answers.append(_answer(position, verdict))
    return answers


def _record(
    ledger: Ledger, documents: Sequence[document_pb2.Document]
) -> list[finding_pb2.Verdict | DocumentRejected]:
    while True:
        try:
            return ledger.record(documents, [NOW_NS] * len(documents))
        except Overloaded:
            # Records are written back more slowly than they are made: what a till does then.
            time.sleep(0.01)


def _answer(position: int, verdict: finding_pb2.Verdict) -> Answer:
    same = finding_pb2.Verdict()
    same.CopyFrom(verdict)
    same.repeat = False
    same.deleted_by_sequence = 0
    kept = [finding for finding in verdict.findings if finding.type != finding_pb2.FINDING_TYPE_DUP_RETRY]
    del same.findings[:]
    same.findings.extend(kept)
    return Answer(position, verdict.sequence, sha256(same.SerializeToString(deterministic=True)).hexdigest())


def prepare(day: Day, folder: Path) -> None:
    """What is in the folder before the process starts that may die. Nothing of it is flushed."""
    if day.told_before:
        ledger = open_ledger(folder)
        for group in day.groups[: day.told_before]:
            tell(ledger, group, 0)
        # Not closed: as after a crash, the index lacks all of it.
        os._exit(0)


def record(day: Day, folder: Path, acknowledge: Acknowledge, *, early: bool = False) -> None:
    """Open the ledger and tell it what is not in the folder yet. `early` is sabotage: each answer is given
    before it is durable."""
    ledger = open_ledger(folder, day.overlay_bytes_max)
    position = sum(map(len, day.groups[: day.told_before]))
    for group in day.groups[day.told_before :]:
        if early:
            for at in range(position, position + len(group)):
                acknowledge(Answer(at, 0, "early"))
        answers = tell(ledger, group, position)
        for answer in answers if not early else ():
            acknowledge(answer)
        position += len(group)
    if day.flushed:
        ledger.close()


def read_told(day: Day, folder: Path) -> Told:
    """Tell the whole day, of which some may be told already, and read what it ends in."""
    ledger = open_ledger(folder)
    answers = tell(ledger, day.documents, 0)
    native = native_of(ledger)
    native.flush()
    told = Told(tuple(answers), tuple(native.entries(0, native.sequence)), tuple(native.scan(b"")))
    ledger.close()
    return told


def doctor(folder: Path) -> None:
    """Sabotage, for controls: change a record of the index as no entry calls for."""
    native = native_of(open_ledger(folder))
    key, value = native.scan(b"c", 1)[0]
    native.put(key, value[:-1] + bytes([value[-1] ^ 1]))
    native.flush()


# --- checking -----------------------------------------------------------------------------------


def check(
    day: Day, folder: Path, told: Told, acknowledged: Iterable[Answer], *, whole: bool = False
) -> Checked:
    """Open what a process left behind, hold it against what it acknowledged, tell it the day again, and hold
    it against the day that nobody disturbed. `whole` runs fsck besides."""
    checked = _check_kept(folder, told, acknowledged)
    if not checked.ok:
        return checked
    again = read_told(day, folder)
    if again.answers != told.answers:
        odd = [new for new, old in zip(again.answers, told.answers, strict=True) if new != old]
        checked += Checked(wrong=len(odd), reasons=(f"answered otherwise: {odd[0]}",))
    if again.journal != told.journal:
        more = len(again.journal) - len(told.journal)
        checked += Checked(doubled=max(0, more), wrong=int(more <= 0), reasons=("another journal",))
    if again.index != told.index:
        odd_keys = {key for key, _ in set(again.index) ^ set(told.index)}
        checked += Checked(wrong=len(odd_keys), reasons=(f"another index: {min(odd_keys).hex()}",))
    if whole:
        report = fsck.check(folder)
        if not report.ok:
            checked += Checked(wrong=1, reasons=report.lines[:1])
    return checked


def _check_kept(folder: Path, told: Told, acknowledged: Iterable[Answer]) -> Checked:
    """What is kept is the beginning of the undisturbed journal, and all that was acknowledged is in it."""
    acknowledged = list(acknowledged)
    if not folder.is_dir() or not (folder / "format").exists():
        lost = len(acknowledged)
        return Checked(lost=lost, reasons=("no ledger",) if lost else ())
    # The journal alone: an index may just have been begun anew.
    with JournalRemains(str(folder / "journal" / "data.mdb")) as journal:
        kept = tuple(journal.entry(number) for number in range(1, journal.entries_said + 1))
    if kept != told.journal[: len(kept)]:
        return Checked(wrong=1, reasons=("what was kept is not the beginning of the journal",))
    documents = count_documents(kept)
    lost = sum(answer.position >= documents for answer in acknowledged)
    wrong = sum(answer != told.answers[answer.position] for answer in acknowledged if answer.sequence)
    reasons = [f"{lost} lost"] * bool(lost) + [f"{wrong} acknowledged otherwise"] * bool(wrong)
    return Checked(lost=lost, wrong=wrong, reasons=tuple(reasons))


def count_documents(entries: Iterable[bytes]) -> int:
    """How many of the entries are documents."""
    return sum(journal_pb2.JournalEntry.FromString(entry).HasField("document") for entry in entries)


@contextmanager
def scratch_folder(otherwise: Path) -> Iterator[Path]:
    """A folder in memory where there is one, for what a kill or an image leaves does not depend on a disk."""
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else otherwise
    with TemporaryDirectory(prefix="tracecode-", dir=where) as name:
        yield Path(name)
