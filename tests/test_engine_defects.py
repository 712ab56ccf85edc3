"""What once went wrong in the engine, each told as the case that showed it.

Failures in the middle of a batch, questions nobody expected, lists that arrive in another order than usual,
and input whose size is somebody else's choice.
"""

from __future__ import annotations

import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from documents import (
    DAY,
    DRUG,
    HOUR,
    INSTITUTIONS,
    ITEM,
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
)

from tracecode.code import read_scan
from tracecode.engine import records
from tracecode.engine.contract import Submission, Submissions
from tracecode.engine.index import (
    UNKNOWN_DOCUMENTS_MAX,
    UNKNOWN_DRUG_CODES_MAX,
    UNKNOWN_INSTITUTIONS_MAX,
)
from tracecode.engine.lmdb import LmdbEngine
from tracecode.engine.store_engine import StoreEngine
from tracecode.errors import DocumentRejected, FieldInvalid
from tracecode.evidence import FACTS_MAX
from tracecode.finding import FindingType
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.rule_base import RuleBase
from tracecode.v1 import catalogue_pb2, document_pb2, finding_pb2, journal_pb2, ledger_service_pb2

KEY = PersonKey(b"k" * 32)


def open_ledger(name: str, directory: Path) -> Ledger:
    """A ledger with a catalogue; its clock stands a day after noon."""
    place = directory / "ledger" if name == "lmdb" else None
    return Ledger.open(place, engine=name, person_key=KEY, clock_ns=lambda: (NOON + DAY) * NS)


@pytest.fixture(params=["memory", "lmdb"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger on each engine."""
    opened = open_ledger(request.param, tmp_path)
    opened.import_institutions(INSTITUTIONS)
    opened.import_products(PRODUCTS)
    yield opened
    opened.close()


def engine_of(ledger: Ledger) -> StoreEngine:
    """The engine, as the tests may look into it."""
    assert isinstance(ledger.engine, StoreEngine)
    return ledger.engine


def tell(ledger: Ledger, *documents: document_pb2.Document) -> list[finding_pb2.Verdict]:
    """Record documents a minute after their business time; all must be taken."""
    times = [(document.business_time.seconds + 60) * NS for document in documents]
    answers = ledger.record(documents, times)
    assert not [answer for answer in answers if isinstance(answer, DocumentRejected)]
    return [answer for answer in answers if isinstance(answer, finding_pb2.Verdict)]


def names(verdict: finding_pb2.Verdict) -> set[str]:
    """The findings of a verdict."""
    return {FindingType(finding.type).name for finding in verdict.findings}


def fail_at(engine: StoreEngine, number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on applying the entry of one document fails half-way."""
    apply = engine.index.apply

    def failing(entry: journal_pb2.JournalEntry, *rest: Any) -> None:
        if number.encode() in entry.document.document:
            engine.store.put(records.code_key(b"half"), b"a record of which the other half is missing")
            raise KeyError("a defect that nobody knows of")
        apply(entry, *rest)

    monkeypatch.setattr(engine.index, "apply", failing)


def split(*codes: str, quantity: str = "1", drug: str = DRUG) -> document_pb2.Line:
    """A line of smallest units."""
    return line(*codes, quantity=quantity, split=True, drug=drug)


def test_a_failure_in_the_middle_of_a_batch_leaves_no_trace(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries that were appended before the failure must not become durable with the next commit."""
    engine = engine_of(ledger)
    before = engine.sequence
    batch = Submissions.of(
        *(
            Submission(document.SerializeToString(deterministic=True), (NOON + DAY) * NS)
            for document in (
                sale(SHOP, "S1", NOON, line(code(1))),
                sale(SHOP, "S2-FAILS", NOON + 1, line(code(2))),
            )
        )
    )
    with monkeypatch.context() as patch:
        fail_at(engine, "S2-FAILS", patch)
        with pytest.raises(KeyError):
            engine.record(batch)

    assert engine.store.sequence == engine.sequence == before
    assert engine.store.get(records.code_key(b"half")) is None
    assert not engine.history(read_scan(code(1))[0].key)
    first, second = engine.record(batch)
    assert isinstance(first, finding_pb2.Verdict)
    assert isinstance(second, finding_pb2.Verdict)
    assert (first.sequence, second.sequence, first.repeat) == (before + 1, before + 2, False)


def test_a_document_that_cannot_be_judged_does_not_take_its_neighbours_with_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who shares a commit with it is recorded; it alone learns of the failure."""
    fail_at(engine_of(ledger), "POISON", monkeypatch)
    numbers = [f"S{number}" if number != 5 else "POISON" for number in range(12)]
    with engine_of(ledger)._lock:  # Everything is waiting when the engine begins.
        futures = [
            ledger.submit(sale(SHOP, number, NOON, line(code(1 + at)))) for at, number in enumerate(numbers)
        ]
    for number, future in zip(numbers, futures, strict=True):
        if number == "POISON":
            assert isinstance(future.exception(), KeyError)
        else:
            assert future.result().sequence
    assert engine_of(ledger).sequence == engine_of(ledger).store.sequence


def test_the_last_entry_that_is_told_is_durable(ledger: Ledger) -> None:
    """An answer "as of" an entry that may yet be lost would be a promise nobody keeps."""
    engine = engine_of(ledger)
    before = engine.sequence
    with engine._lock:
        engine._append(journal_pb2.JournalEntry(sequence=before + 1))
        assert engine.sequence == ledger.service_info().sequence == before
        assert not engine.entries(before, 10)
        engine.store.rollback()


def test_a_rule_base_is_put_in_force_between_two_documents_and_not_beside_one(ledger: Ledger) -> None:
    """The entry, the judge and the guards of the native code change together, under the engine's lock."""
    engine = engine_of(ledger)
    changed = RuleBase.parse(
        RuleBase.default().text.replace("late_info_hours", "# \nlate_info_hours"), "changed"
    )
    before = engine.sequence
    with engine._lock:
        thread = threading.Thread(target=ledger.change_rule_base, args=(changed,))
        thread.start()
        time.sleep(0.05)
        assert engine.rule_base is not changed
        assert engine.sequence == before
    thread.join()
    assert engine.rule_base is changed


def test_guards_are_configured_while_no_document_is_being_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store refuses to be configured by one thread while another is in commit or clear."""
    ledger = open_ledger("lmdb", tmp_path)
    engine = ledger.engine
    assert isinstance(engine, LmdbEngine)
    held: list[bool] = []
    configure: Callable[[], None] = engine._configure

    def note() -> None:
        held.append(engine._lock._is_owned())  # type: ignore[attr-defined]
        configure()

    monkeypatch.setattr(engine, "_configure", note)
    ledger.change_rule_base(RuleBase.default())
    ledger.close()
    assert held == [True]


@pytest.mark.parametrize("kind", [0, 8, 300, -1])
def test_a_kind_of_document_that_does_not_exist_is_an_invalid_field(ledger: Ledger, kind: int) -> None:
    """Enums of proto3 are open: any number may stand there."""
    request = ledger_service_pb2.GetDocumentRequest(institution_code=SHOP, document_number="S1")
    request.kind = document_pb2.DocumentKind.ValueType(kind)
    with pytest.raises(FieldInvalid, match="kind"):
        ledger.get_document(request)


def test_a_quantity_beyond_32_bits_does_not_close_the_history_of_its_code(ledger: Ledger) -> None:
    """Twelve digits are taken, and the history of the code must still be told."""
    tell(ledger, sale(SHOP, "S1", NOON, split(code(1), quantity="999999999999")))
    (event,) = ledger.list_code_events(ledger_service_pb2.ListCodeEventsRequest(code=code(1))).events
    assert event.units == 2**32 - 1


def test_a_recall_that_is_known_before_its_product_blocks_a_sale(tmp_path: Path) -> None:
    """Lists arrive in any order."""
    for name in ("memory", "lmdb"):
        ledger = open_ledger(name, tmp_path)
        ledger.import_institutions(INSTITUTIONS)
        hold = catalogue_pb2.Hold(
            hold_id="H1",
            reason=catalogue_pb2.HOLD_REASON_RECALL,
            identifier=ITEM,
            lot_number="L1",
            start_date="2026-01-01",
        )
        ledger.import_holds([hold])
        early, late = (
            sale(SHOP, "S0", NOON, line(code(9), lot="L1")),
            sale(OTHER, "S1", NOON, line(code(1), lot="L1")),
        )
        assert "RECALLED" in names(tell(ledger, early)[0])
        ledger.import_products(PRODUCTS)
        tell(ledger, receipt(OTHER, "R1", NOON - DAY, line(code(1), lot="L1")))
        assert "RECALLED" in names(tell(ledger, late)[0])
        ledger.close()


def test_a_hold_that_is_imported_again_lets_go_of_what_it_no_longer_names(ledger: Ledger) -> None:
    """A hold typed for the wrong box is corrected by importing it again."""
    hold = catalogue_pb2.Hold(
        hold_id="H1", reason=catalogue_pb2.HOLD_REASON_RECALL, code=code(1), start_date="2026-01-01"
    )
    ledger.import_holds([hold])
    hold.code = code(2)
    ledger.import_holds([hold])
    wrong, right = tell(ledger, sale(SHOP, "S1", NOON, line(code(1))), sale(SHOP, "S2", NOON, line(code(2))))
    assert "RECALLED" not in names(wrong)
    assert "RECALLED" in names(right)
    hold.code, hold.identifier, hold.lot_number = "", ITEM, "L1"
    ledger.import_holds([hold])
    hold.lot_number = "L2"
    ledger.import_holds([hold])
    lots = tell(
        ledger,
        *(
            sale(SHOP, f"S-{lot}", NOON + 5, line(code(10 + at), lot=lot))
            for at, lot in enumerate(("L1", "L2"))
        ),
    )
    assert ["RECALLED" in names(verdict) for verdict in lots] == [False, True]


def test_unknown_fields_are_neither_kept_nor_part_of_what_a_repeat_is(ledger: Ledger) -> None:
    """A person's name in a field of a later release would be stored unhashed; another gateway drops it."""
    plain = sale(SHOP, "S1", NOON, line(code(1)))
    # Field 1000, a string that this release does not know.
    more = document_pb2.Document.FromString(
        plain.SerializeToString() + b"\xc2\x3e\x06\xe5\xbc\xa0\xe4\xb8\x89"
    )
    first, again = tell(ledger, more, plain)
    assert again.repeat
    assert again.sequence == first.sequence
    assert "张三".encode() not in b"".join(ledger.engine.entries(0, 100))


def test_a_request_id_of_half_a_character_is_an_invalid_field(ledger: Ledger) -> None:
    """A lone surrogate is no text in any encoding."""
    with pytest.raises(FieldInvalid, match="request_id"):
        ledger.submit(sale(SHOP, "S1", NOON, line(code(1))), request_id="\ud800")


def test_asking_for_products_that_do_not_exist_is_not_remembered(ledger: Ledger) -> None:
    """Anybody may ask for as many identifiers as there are numbers, of any length."""
    engine = engine_of(ledger)
    for number in range(100):
        assert engine.product(f"{number:014}") is None
    assert len(engine.index._products) <= len(PRODUCTS)


def test_what_is_remembered_of_an_unknown_product_is_bounded() -> None:
    """Every sale rewrites it; without a bound, popular contradictory ones would fill the disk, and judging
    what came before it was learnt would hold everybody up."""
    ledger = Ledger.open(None, engine="memory", person_key=KEY, clock_ns=lambda: (NOON + DAY) * NS)
    tell(
        ledger,
        *(
            sale(
                f"P1305{number:07}",
                f"S{number}",
                NOON + number,
                line(code(number, "8999999"), drug=f"X{number % 40}"),
            )
            for number in range(2 * UNKNOWN_DOCUMENTS_MAX)
        ),
    )
    documents = len(engine_of(ledger).index.unknown_documents(["8999999"]))
    value = engine_of(ledger).store.get(records.unknown_product_key("8999999"))
    ledger.close()
    assert value is not None
    assert len(value) < UNKNOWN_DRUG_CODES_MAX * UNKNOWN_INSTITUTIONS_MAX * 20
    assert documents == UNKNOWN_DOCUMENTS_MAX


@pytest.mark.parametrize("codes", [1, 50])
def test_what_is_kept_read_is_bounded_by_its_bytes(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, codes: int
) -> None:
    """Pins that neither many short documents nor few long ones take more memory than is theirs."""
    monkeypatch.setattr("tracecode.engine.index.CACHED_BYTES_MAX", 2**20)
    index = engine_of(ledger).index
    told = tell(ledger, sale(SHOP, "S1", NOON, *(line(code(n)) for n in range(codes))))
    read = index.stored(told[0].sequence)
    tries = 2_000 // codes
    tracemalloc.start()
    for sequence in range(1_000, 1_000 + tries):
        entry = journal_pb2.JournalEntry()
        entry.CopyFrom(read.entry)
        entry.sequence = sequence
        kept = index._remember(entry).read
        assert [kept.events[key] for key in kept.events]
        assert len(kept.lines) == codes
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 1 < len(index._documents) < tries
    assert 2**18 < grown <= 2**20


def test_institutions_and_products_are_read_anew_when_many_are_kept(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that anybody's made-up institutions do not fill the memory, and are known all the same."""
    monkeypatch.setattr("tracecode.engine.index.INSTITUTIONS_KEPT", 10)
    monkeypatch.setattr("tracecode.engine.index.PRODUCTS_KEPT", 2)
    index = engine_of(ledger).index
    told = [sale(f"P1305{n:07}", f"S{n}", NOON + n, line(code(n))) for n in range(30)]
    tell(ledger, *told)
    numbers = [index.institution_number(document.institution_code) for document in told]
    assert len(set(numbers)) == len(told)
    assert all(index.facts(document.institution_code).division == "130500" for document in told)
    assert {index.product(product.identifier).identifier for product in PRODUCTS} == {  # type: ignore[union-attr]
        product.identifier for product in PRODUCTS
    }
    assert len(index._institutions) <= 10
    assert len(index._facts) <= 10
    assert len(index._products) <= 2


def test_of_two_deletions_that_wait_for_a_document_the_later_one_counts(ledger: Ledger) -> None:
    """Told in this order the second deletion covers the sale; it does so in every other order."""
    tell(
        ledger,
        deletion(SHOP, "D1", NOON, deletes="S1"),
        deletion(SHOP, "D2", NOON + 2 * HOUR, deletes="S1"),
        sale(SHOP, "S1", NOON + HOUR, line(code(1))),
    )
    (event,) = (
        event
        for event in ledger.list_code_events(ledger_service_pb2.ListCodeEventsRequest(code=code(1))).events
        if event.document_number == "S1"
    )
    assert event.deleted_by_sequence


def test_a_pack_sold_in_sevenths_leaves_no_crumbs(ledger: Ledger) -> None:
    """Sevenths have no last decimal: what rounding leaves behind is not stock, and never negative stock."""
    product = catalogue_pb2.Product(
        identifier="8777777",
        package_level=1,
        drug_codes=[OTHER_DRUG],
        units_per_package=1,
        splittable_units=7,
    )
    ledger.import_products([product])
    tell(
        ledger,
        receipt(SHOP, "R1", NOON, line(code(1, "8777777"), drug=OTHER_DRUG)),
        *(sale(SHOP, f"S{n}", NOON + 1 + n, split(code(1, "8777777"), drug=OTHER_DRUG)) for n in range(7)),
    )
    (stock,) = ledger.list_stock(
        ledger_service_pb2.ListStockRequest(institution_code=SHOP, drug_code=OTHER_DRUG)
    ).stocks
    assert (stock.sold, stock.balance, list(stock.findings)) == ("1", "0", [])


def test_quantity_stock_does_not_depend_on_when_it_was_first_asked_for(ledger: Ledger) -> None:
    """A product that is imported later counts for what was sold before, after a restart and without one."""
    request = ledger_service_pb2.ListStockRequest(institution_code=SHOP, drug_code=OTHER_DRUG)
    tell(ledger, sale(SHOP, "S1", NOON, split(code(1, "8777777"), quantity="14", drug=OTHER_DRUG)))
    assert ledger.list_stock(request).stocks[0].sold == "14"
    product = catalogue_pb2.Product(
        identifier="8777777",
        package_level=1,
        drug_codes=[OTHER_DRUG],
        units_per_package=1,
        splittable_units=7,
    )
    ledger.import_products([product])
    assert ledger.list_stock(request).stocks[0].sold == "2"


def test_the_parts_of_a_long_sale_are_all_sold(ledger: Ledger) -> None:
    """Parts share the settlement and the drug; a second report of one of them shares its codes too."""
    tell(
        ledger,
        sale(SHOP, "X_1", NOON, line(code(1)), settlement="SET", channel=2),
        sale(SHOP, "X_2", NOON, line(code(2)), settlement="SET", channel=2),
        sale(SHOP, "X_1-AGAIN", NOON, line(code(1)), settlement="SET", channel=2),
    )
    request = ledger_service_pb2.ListStockRequest(institution_code=SHOP, drug_code=DRUG)
    assert ledger.list_stock(request).stocks[0].sold == "2"


def test_judging_a_code_that_many_sold_takes_the_square_of_the_sales_at_most() -> None:
    """One invented code, typed by a hundred pharmacies, must not stop the ledger for all others.

    Function calls are counted, since time on a busy machine proves nothing: twice the sales may take four
    times the calls (every sale is judged again beside every other), not eight.
    """
    ledger = Ledger.open(None, engine="memory", person_key=KEY, clock_ns=lambda: (NOON + DAY) * NS)
    ledger.import_products(PRODUCTS)
    calls = []
    for serial, count in ((1, 40), (2, 80)):
        tell(
            ledger,
            *(sale(f"P1305{n:07}", f"{serial}-{n}", NOON + n, line(code(serial))) for n in range(count)),
        )
        last = sale("P13059999999", f"{serial}-last", NOON + HOUR, line(code(serial)))
        calls.append(0)

        def note(_frame: object, event: str, _argument: object) -> None:
            calls[-1] += event == "call"

        submission = Submission(last.SerializeToString(deterministic=True), (NOON + DAY) * NS)
        sys.setprofile(note)
        try:
            ledger.engine.record(Submissions.of(submission))
        finally:
            sys.setprofile(None)
    ledger.close()
    assert calls[1] < 5 * calls[0]


def test_what_many_institutions_did_is_shown_in_part() -> None:
    """A finding names at most some of a thousand rivals, and says how many it does not name."""
    ledger = Ledger.open(None, engine="memory", person_key=KEY, clock_ns=lambda: (NOON + DAY) * NS)
    ledger.import_products(PRODUCTS)
    verdicts = tell(
        ledger,
        *(sale(f"P1305{n:07}", f"S{n}", NOON + n, line(code(1))) for n in range(FACTS_MAX + 10)),
    )
    (finding,) = (
        finding for finding in verdicts[-1].findings if finding.type == FindingType.DUP_SALE_CROSS_ORG
    )
    ledger.close()
    assert len(finding.evidence) == FACTS_MAX + 1
    assert (finding.evidence[-1].name, finding.evidence[-1].value) == ("more", "9")


def test_deleting_a_document_of_many_codes_looks_at_each_code_a_few_times(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at each code for each other code."""
    codes = [code(n) for n in range(300)]
    tell(ledger, sale(SHOP, "S1", NOON, line(*codes)))
    engine = engine_of(ledger)
    asked = 0
    aliases = engine.index.aliases

    def count(key: bytes) -> tuple[bytes, ...]:
        nonlocal asked
        asked += 1
        return aliases(key)

    monkeypatch.setattr(engine.index, "aliases", count)
    tell(ledger, deletion(SHOP, "D1", NOON + HOUR, deletes="S1"))
    assert asked < 20 * len(codes)
