"""A code that hundreds of entries name: a constant of some till, or an attack. It stays cheap, and whole."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from documents import (
    DAY,
    HOUR,
    INSTITUTIONS,
    NOON,
    NS,
    OTHER,
    PRODUCTS,
    SHOP,
    code,
    deletion,
    line,
    receipt,
    sale,
)

from tracecode import fsck
from tracecode._native import Store as NativeStore
from tracecode.engine import chain_order, index, judge, records, store_engine
from tracecode.engine.lmdb import LmdbEngine, open_to_read
from tracecode.engine.memory import MemoryEngine, MemoryStore
from tracecode.errors import DocumentRejected, EngineStopped
from tracecode.finding import FindingType
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import code_pb2, document_pb2, finding_pb2, journal_pb2, ledger_service_pb2

KEY = PersonKey(b"k" * 32)
NOW_NS = (NOON + 3 * DAY) * NS
EVENTS_MAX = 24
FIRST_EVENTS = 8
STEPS_JUDGED_ALL = 12
STEPS_AROUND = 3
SALES = 60


@pytest.fixture(autouse=True)
def short_chains_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dozens of events instead of hundreds, so that a test takes a second."""
    monkeypatch.setattr(index, "EVENTS_MAX", EVENTS_MAX)
    monkeypatch.setattr(index, "FIRST_EVENTS", FIRST_EVENTS)
    monkeypatch.setattr(judge, "STEPS_JUDGED_ALL", STEPS_JUDGED_ALL)
    monkeypatch.setattr(judge, "STEPS_AROUND", STEPS_AROUND)
    monkeypatch.setattr(store_engine, "EVENTS_AT_ONCE", 7)
    monkeypatch.setattr(chain_order, "PLACES_MAX", 8)


def open_ledger(name: str, directory: Path) -> Ledger:
    """With a catalogue."""
    place = directory if name == "lmdb" else None
    ledger = Ledger.open(place, engine=name, person_key=KEY, clock_ns=lambda: NOW_NS)
    ledger.import_institutions(INSTITUTIONS)
    ledger.import_products(PRODUCTS)
    return ledger


def long_day(seed: int = 1) -> list[document_pb2.Document]:
    """One box, received once and sold again and again at two pharmacies, out of order; some taken back."""
    chance = random.Random(seed)
    sales = [
        sale(chance.choice((SHOP, OTHER)), f"S{n}", NOON + HOUR + 60 * n, line(code(1)), person=f"p{n}")
        for n in range(SALES)
    ]
    taken = [
        deletion(one.institution_code, f"D{at}", NOON + DAY + at, deletes=one.document_number)
        for at, one in enumerate(chance.sample(sales, 5))
    ]
    told = [*sales, *taken]
    # Mostly as it happened, some of it late.
    told.sort(key=lambda one: one.business_time.seconds + chance.choice((0, 0, 0, 600)))
    return [receipt(SHOP, "R1", NOON, line(code(1))), *told]


def tell(ledger: Ledger, documents: list[document_pb2.Document]) -> list[finding_pb2.Verdict]:
    """Record one by one."""
    verdicts = []
    for document in documents:
        (verdict,) = ledger.record([document], [NOW_NS])
        assert not isinstance(verdict, DocumentRejected)
        verdicts.append(verdict)
    return verdicts


def list_all(ledger: Ledger, page_size: int) -> list[code_pb2.CodeEvent]:
    """The history of the box, page by page."""
    events: list[code_pb2.CodeEvent] = []
    token = ""
    while True:
        request = ledger_service_pb2.ListCodeEventsRequest(
            code=code(1), page_size=page_size, page_token=token
        )
        page = ledger.list_code_events(request)
        events += page.events
        token = page.next_page_token
        if not token:
            return events


def names(verdict: finding_pb2.Verdict) -> set[str]:
    """The findings of a verdict."""
    return {FindingType(finding.type).name for finding in verdict.findings}


class CountedStore:
    """A store that notes which entries are read."""

    def __init__(self, store: NativeStore, reads: set[int]) -> None:
        self._store = store
        self._reads = reads

    def entry(self, sequence: int) -> bytes | None:
        """As the store has it."""
        self._reads.add(sequence)
        return self._store.entry(sequence)

    def code_events(self, key: bytes, codes: list[bytes], sequences: list[int]) -> list[bytes | None]:
        """As the store tells of them."""
        self._reads.update(sequences)
        return self._store.code_events(key, codes, sequences)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_engines_agree_on_a_long_chain_and_replay_gives_the_same_index(tmp_path: Path) -> None:
    """Pins that what is read of the chain is the same before and after an entry is in the journal, and its
    pages the same by both."""
    memory = open_ledger("memory", tmp_path)
    lmdb = open_ledger("lmdb", tmp_path / "ledger")
    for seed in range(3):
        day = long_day(seed)
        for document in day:
            document.document_number += f"-{seed}"
            if document.HasField("deletion"):
                document.deletion.deleted_document_number += f"-{seed}"
        assert tell(memory, day) == tell(lmdb, day)
    assert memory.engine.entries(0, 10_000) == lmdb.engine.entries(0, 10_000)
    # One tells of plain entries natively, the other of none.
    assert list_all(memory, 9) == list_all(lmdb, 9)
    lmdb.close()

    report = fsck.check(tmp_path / "ledger")

    assert report.ok, report.lines


def test_the_last_sale_of_a_long_chain_is_still_found_out(tmp_path: Path) -> None:
    """Pins that the first sales are among what is read: evidence names one of them."""
    ledger = open_ledger("memory", tmp_path)

    verdicts = tell(ledger, [document for document in long_day() if not document.HasField("deletion")])

    last = verdicts[-1]
    assert names(last) & {"DUP_SALE_SAME_ORG", "DUP_SALE_CROSS_ORG"}
    shown = {fact.sequence for finding in last.findings for fact in finding.evidence} - {0}
    assert min(shown) <= verdicts[FIRST_EVENTS].sequence


def test_the_history_of_a_long_chain_is_whole_and_in_order(tmp_path: Path) -> None:
    """Pins paging, also where late entries come between two calls, and that a deletion is told."""
    ledger = open_ledger("memory", tmp_path)
    documents = long_day()
    tell(ledger, documents[:50])
    assert len(list_all(ledger, 9)) >= 40
    tell(ledger, documents[50:])

    events = list_all(ledger, 9)

    own = [event for event in events if event.operation != code_pb2.OPERATION_DELETE]
    assert sorted(event.document_number for event in own) == sorted(
        document.document_number for document in documents if not document.HasField("deletion")
    )
    times = [event.effective_time.seconds for event in events]
    assert times == sorted(times)
    assert sum(event.deleted_by_sequence > 0 for event in own) == 5
    assert events == list_all(ledger, 1_000)
    assert ledger.get_code(code(1)).status.event_count >= SALES


def test_a_page_of_a_long_chain_reads_the_entries_on_it_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins what a page costs of a ledger just opened: its own entries and their revisions, wherever it is."""
    ledger = open_ledger("lmdb", tmp_path)
    tell(ledger, long_day())
    ledger.close()
    size, token, costs = 5, "", []
    while token or not costs:
        ledger = open_ledger("lmdb", tmp_path)
        engine = ledger.engine
        assert isinstance(engine, LmdbEngine)
        reads: set[int] = set()
        entry = engine.native.entry
        counted = CountedStore(engine.native, reads)
        monkeypatch.setattr(engine.index, "store", counted)
        monkeypatch.setattr(engine, "native", counted)
        page = ledger.list_code_events(
            ledger_service_pb2.ListCodeEventsRequest(code=code(1), page_size=size, page_token=token)
        )
        own = {event.sequence for event in page.events}
        revised = {
            at for at in reads if journal_pb2.JournalEntry.FromString(entry(at) or b"").HasField("revision")
        }
        deleted = {event.deleted_by_sequence for event in page.events}
        # One more tells whether there is another page.
        assert own <= reads
        assert len(reads - own - revised - deleted) <= 1
        costs.append(len(reads))
        token = page.next_page_token
        ledger.close()

    assert len(costs) > SALES // size
    assert max(costs) <= 2 * (size + 1)


@pytest.mark.parametrize("size", [1, 3, 7, 40, 1_000])
def test_an_order_is_kept_whatever_the_arrivals(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Pins the order's parts against sorting, and that its bytes do not depend on when it began."""
    monkeypatch.setattr(chain_order, "PLACES_MAX", size)
    chance = random.Random(size)
    for late in (0, 5, 1_000):
        places = [
            chain_order.place(NOON + n + chance.randrange(-late, late + 1), chance.randrange(3), n + 1)
            for n in range(200)
        ]
        store, at_once = MemoryStore(), MemoryStore()
        for begin in range(0, 200, 8):
            chain_order.insert(store, b"NCODE", places[begin : begin + 8])
        chain_order.insert(at_once, b"NCODE", places)

        assert store.dump() == at_once.dump()
        assert chain_order.newest(store, b"NCODE") == 200
        expected = [int.from_bytes(each[-8:], "big") for each in sorted(places)]
        for start in range(0, 201, 13):
            for limit in (1, 2, 50, 300):
                found = chain_order.list_sequences(store, b"NCODE", start, limit)
                assert found == expected[start : start + limit]


def test_only_a_long_chain_has_records_of_its_order(tmp_path: Path) -> None:
    """Pins that an ordinary code is kept in no more bytes than before."""
    ledger = open_ledger("memory", tmp_path)
    engine = ledger.engine
    assert isinstance(engine, MemoryEngine)
    day = [document for document in long_day() if not document.HasField("deletion")]

    tell(ledger, [*day[: EVENTS_MAX - 1], receipt(SHOP, "R2", NOON, line(code(2)))])
    before = [key for key in engine.memory.dump() if key[:1] in b"eE"]
    tell(ledger, day[EVENTS_MAX - 1 :])
    after = {key[:1] for key in engine.memory.dump() if key[:1] in b"eE"}

    assert not before
    assert after == {b"e", b"E"}


def test_an_index_of_an_earlier_layout_is_rebuilt(tmp_path: Path) -> None:
    """Pins an upgrade: what an index lacks is made again from the journal, and a reader is told to wait."""
    ledger = open_ledger("lmdb", tmp_path)
    tell(ledger, long_day())
    events = list_all(ledger, 100)
    engine = ledger.engine
    assert isinstance(engine, LmdbEngine)
    for key, _ in [*engine.native.scan(b"e"), *engine.native.scan(b"E")]:
        engine.native.delete(key)
    engine.native.put(records.meta_key("format"), records.U64.pack(records.INDEX_FORMAT - 1))
    engine.native.flush()
    ledger.close()

    with pytest.raises(EngineStopped, match=r"has layout 1 .* the next start rebuilds it"):
        open_to_read(tmp_path)
    ledger = open_ledger("lmdb", tmp_path)
    assert list_all(ledger, 100) == events
    ledger.close()

    assert fsck.check(tmp_path).ok


def test_the_thousandth_event_costs_no_more_than_the_hundredth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that the work of judging does not grow with the chain: by reads of it, which no clock disturbs."""
    ledger = open_ledger("memory", tmp_path)
    engine = ledger.engine
    assert isinstance(engine, store_engine.StoreEngine)
    reads = 0
    event = engine.index.event

    def count(sequence: int, key: bytes) -> object:
        nonlocal reads
        reads += 1
        return event(sequence, key)

    monkeypatch.setattr(engine.index, "event", count)
    costs = []
    for number in range(200):
        reads = 0
        tell(ledger, [sale(SHOP, f"S{number}", NOON + 60 * number, line(code(1)), person=f"p{number}")])
        costs.append(reads)

    assert max(costs[100:]) <= max(costs[: EVENTS_MAX + 1])
