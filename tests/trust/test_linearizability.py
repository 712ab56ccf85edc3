"""Eight clients and a server that is killed under them: every code's history is one of single operations."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Self, TypeVar

import pytest
from documents import DRUG, ITEM, OTHER_MAKER, OTHER_PACK, code
from google.protobuf.timestamp_pb2 import Timestamp
from running_server import ServerProcess, register_institutions

from tracecode.client import LedgerClient, OutcomeUnknown, Unanswered
from tracecode.finding import FindingType
from tracecode.fsck import check
from tracecode.v1 import catalogue_pb2, code_pb2, document_pb2, finding_pb2, ledger_service_pb2
from trust.conftest import Effort
from trust.conservation import Account, Stock, find_on_hand, read_stocks, read_view, sum_operations
from trust.linearizability import (
    NEVER,
    QUESTIONS,
    Kind,
    Market,
    Operation,
    follows_sequences,
    is_linearizable,
    shelve,
    trade,
)
from trust.table import NotInjected, Row

AddRow = Callable[[Row | NotInjected], None]
A, B = "P1", "P2"


def sell(begin: float, end: float, answer: bool | None, shop: str = A, sequence: int = 0) -> Operation:
    """A sale asked at the second in which it began."""
    return Operation(Kind.SELL, begin, end, answer, int(begin), shop, f"S{begin}", sequence)


def give_back(begin: float, end: float, answer: bool | None, shop: str = A) -> Operation:
    """A return at the second in which it began."""
    return Operation(Kind.RETURN, begin, end, answer, int(begin), shop, f"T{begin}")


def look(begin: float, end: float, answer: bool | None) -> Operation:
    """A question."""
    return Operation(Kind.LOOK, begin, end, answer)


GOOD = {
    "nothing": [],
    "one sale": [sell(1, 2, True)],
    "one after the other": [sell(1, 2, True), sell(3, 4, False, B)],
    "either of two at once": [replace(sell(1, 9, False, B), second=2), sell(2, 8, True)],
    "sold, returned, sold": [sell(1, 2, True), give_back(3, 4, True), sell(5, 6, True, B)],
    "seen while it happens": [sell(1, 9, True), look(2, 3, False), look(4, 5, True)],
    "kept without an answer": [
        sell(1, NEVER, None),
        look(3, 4, False),
        look(5, 6, True),
        sell(7, 8, False, B),
    ],
    "never kept": [sell(1, NEVER, None), sell(3, 4, True, B)],
    "of an earlier second, later": [sell(2.5, 5, True, B), replace(sell(2.6, 9, False), second=1)],
}
BAD = {
    "sold twice": [sell(1, 2, True), sell(3, 4, True, B)],
    "sold twice by a slow clock": [sell(2.5, 5, True, B), replace(sell(6, 9, True), second=1)],
    "refused unsold": [sell(1, 2, False)],
    "sale forgotten": [sell(1, 2, True), look(3, 4, False)],
    "seen before it began": [look(1, 2, True), sell(3, 4, True)],
    "seen and gone again": [sell(1, 9, True), look(2, 3, True), look(4, 5, False)],
    "returned twice": [sell(1, 2, True), give_back(3, 4, True), give_back(5, 6, True)],
    "refused after its return": [sell(1, 2, True), give_back(3, 4, True), sell(5, 6, False, B)],
    "lost without an answer": [sell(1, NEVER, None), look(3, 4, True), look(5, 6, False)],
}


def receive(begin: float, end: float, answer: bool | None) -> Operation:
    """Goods in at the second in which it began."""
    return Operation(Kind.RECEIVE, begin, end, answer, int(begin), A, f"R{begin}")


def send_back(begin: float, end: float, answer: bool | None) -> Operation:
    """Out at the second in which it began."""
    return Operation(Kind.SEND_BACK, begin, end, answer, int(begin), A, f"B{begin}")


def find(begin: float, end: float, answer: bool | None) -> Operation:
    """The question whether it is there."""
    return Operation(Kind.FIND, begin, end, answer)


GOOD_SHELVES = {
    "one life": [receive(1, 2, True), find(3, 4, True), sell(5, 6, True), find(7, 8, False)],
    "taken back and sent back": [
        receive(1, 2, True),
        sell(3, 4, True),
        give_back(5, 6, True),
        send_back(7, 8, True),
        find(9, 10, False),
    ],
    "gone": [receive(1, 2, True), send_back(3, 4, True), sell(5, 6, False), look(7, 8, False)],
    "in again": [receive(1, 2, True), send_back(3, 4, True), receive(5, 6, True), sell(7, 8, True)],
    "in again, told late": [send_back(1, 2, True), receive(5, 6, True), replace(sell(7, 8, True), second=3)],
    "out and in, told at once": [
        receive(1, 9, True),
        replace(send_back(2, 8, True), second=0),
        find(10, 11, True),
    ],
    "sold is not sent back": [receive(1, 2, True), sell(3, 4, True), send_back(5, 6, False)],
    "sold twice, taken back twice": [
        sell(1, 2, True),
        sell(3, 4, True),
        give_back(5, 6, True),
        look(7, 8, True),
        give_back(9, 10, True),
        find(11, 12, True),
    ],
    "sold or gone": [receive(1, 2, True), sell(3, 9, False), replace(send_back(4, 8, True), second=2)],
}
BAD_SHELVES = {
    "receipt forgotten": [receive(1, 2, True), find(3, 4, False)],
    "sold though gone": [receive(1, 2, True), send_back(3, 4, True), sell(5, 6, True)],
    "sent back though sold": [receive(1, 2, True), sell(3, 4, True), send_back(5, 6, True)],
    "refused though there": [receive(1, 2, True), sell(3, 4, False)],
    "there though sold": [receive(1, 2, True), sell(3, 4, True), find(5, 6, True)],
    "gone and there again": [receive(1, 2, True), send_back(3, 9, True), find(4, 5, False), find(6, 7, True)],
    "in twice, the sale unseen": [receive(1, 2, True), sell(3, 4, True), receive(5, 6, True)],
    "taken back twice": [sell(1, 2, True), give_back(3, 4, True), give_back(5, 6, True)],
}


@pytest.mark.parametrize(
    ("market", "history"),
    [pytest.param(trade, history, id=name) for name, history in GOOD.items()]
    + [pytest.param(shelve, history, id=name) for name, history in GOOD_SHELVES.items()],
)
def test_histories_that_can_have_happened_are_found_good(market: Market, history: list[Operation]) -> None:
    """Pins that the checker accuses nobody."""
    assert is_linearizable(history, market)


@pytest.mark.parametrize(
    ("market", "history"),
    [pytest.param(trade, history, id=name) for name, history in BAD.items()]
    + [pytest.param(shelve, history, id=name) for name, history in BAD_SHELVES.items()],
)
def test_histories_that_cannot_have_happened_are_found_bad(market: Market, history: list[Operation]) -> None:
    """Pins that the checker sees each way of being wrong."""
    assert not is_linearizable(history, market)


def test_sequences_follow_the_clock_of_the_clients() -> None:
    """Pins that entries may change places only where their calls overlapped, and belong to one document."""
    first, second = sell(1, 2, True, sequence=7), sell(3, 4, True, sequence=8)
    assert follows_sequences([first, second])
    assert follows_sequences([replace(first, sequence=9, end=3.5), second])
    assert not follows_sequences([replace(first, sequence=9), second])
    assert not follows_sequences([first, replace(second, sequence=7)])
    # One document became two entries, and another shares one of them: as many of each, and all overlap.
    first, second = replace(first, end=9), replace(second, end=9)
    assert follows_sequences([first, second])
    assert not follows_sequences([first, replace(first, sequence=8), second])


def test_a_dropped_or_doubled_entry_spoils_the_account() -> None:
    """Pins the sums of each kind of operation, refused sales and questions left out."""
    box, drugs = code(1), {ITEM: DRUG}
    told = [
        receive(1, 2, True),
        receive(3, 4, True),
        sell(5, 6, True),
        sell(7, 8, False),
        give_back(9, 10, False),
        send_back(11, 12, True),
        look(13, 14, False),
    ]
    assert sum_operations({box: told}, drugs) == {(A, DRUG): Stock(received=2, sold=1, returned=1, out=1)}
    assert Stock(received=2, sold=1, returned=1, out=1).on_hand == 1


CLIENTS = 8
SHOPS = [f"P1305000{n:04d}" for n in range(CLIENTS)]
STORE = "P13050008888"
"""Where all clients work on one shelf."""
TRADED, SHELVED = "8206235", "8206234"
"""Products that shops sell to and fro without receipts, and that come and go in the store."""
DRUGS = {ITEM: DRUG, SHELVED: OTHER_PACK, TRADED: OTHER_MAKER}
HOT_CODES = 6
"""Boxes that all clients sell at the same time."""
RECEIVED, SOLD, RETURNED, SENT_BACK = 20, 10, 3, 3
"""Boxes of a receipt at a shop of its own; of these sold; of these taken back; and others that go out."""
OLD_BOXES, NEW_BOXES = 10, 990
"""Of one question: boxes whose life is known, and boxes of which nobody heard."""
OPERATIONS_MIN = 1_050_000


class Restarted:
    """A server on one port and folder, killed and started again while clients go on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = ServerProcess(data_directory=folder, drain_seconds=1)
        self.address = self.server.address
        self.kills = 0

    def kill(self) -> None:
        """kill -9, and start again."""
        self.server.signal(signal.SIGKILL)
        self.server.wait()
        self.server.stop()
        self.kills += 1
        self.start()

    def start(self) -> None:
        """Serve what lies in the folder, where it was served before."""
        self.server = ServerProcess(data_directory=self.folder, listen=self.address, drain_seconds=1)
        assert self.server.address == self.address, self.server.other

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.server.stop()


Life = tuple[code_pb2.CodeState, int]
"""State and sales in force of a box."""
UNHEARD: Life = (code_pb2.CODE_STATE_UNKNOWN, 0)
IN_STOCK: Life = (code_pb2.CODE_STATE_IN_STOCK, 0)
IS_SOLD: Life = (code_pb2.CODE_STATE_SOLD, 1)
IS_OUT: Life = (code_pb2.CODE_STATE_RETURNED_TO_SUPPLIER, 0)


@dataclass(slots=True)
class Recording:
    """What one client did: its operations by code, and how many."""

    rng: Random
    shop: str
    numbers: count[int] = field(default_factory=lambda: count(1))
    histories: dict[str, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    rounds: int = 0
    looks: int = 0
    """Boxes of its own that it asked about: only it knows them, so there is one right answer."""
    wrong: int = 0
    """Such answers that were others."""
    serials: count[int] = field(default_factory=lambda: count(0))
    lives: dict[str, Life] = field(default_factory=dict)
    """The boxes of its own, oldest first."""
    sold: set[str] = field(default_factory=set)
    returned: set[str] = field(default_factory=set)
    """Never sold here again: who has a box in hand is in the right against all others, which is for the
    judge's own tests."""

    def write(self, kind: Kind, *boxes: str, shop: str = "") -> document_pb2.Document:
        """A document of these boxes, now, a line for each product."""
        document = document_pb2.Document(
            institution_code=shop or self.shop,
            # All write for the store.
            document_number=f"{kind.name[:3]}{self.shop[-2:]}-{next(self.numbers):06d}",
            business_time=Timestamp(seconds=int(time.time())),
        )
        for product, drug in DRUGS.items():
            if codes := [box for box in boxes if box.startswith(product)]:
                document.lines.add(drug_code=drug, codes=codes, quantity=str(len(codes)))
        match kind:
            case Kind.RECEIVE:
                document.receipt.SetInParent()
            case Kind.SELL:
                document.sale.stage = document_pb2.SALE_STAGE_BEFORE_SETTLEMENT
            case Kind.RETURN:
                document.sale_return.SetInParent()
            case _:
                document.purchase_return.SetInParent()
        return document

    def record(self, client: LedgerClient, kind: Kind, box: str, *, shop: str = "") -> bool:
        """Record a document; after a kill the same one is sent until there is an answer, which is told."""
        document = self.write(kind, box, shop=shop)
        begin = time.monotonic()
        return self.keep(kind, begin, document, insist(lambda: client.record(document)))

    def look(self, client: LedgerClient, box: str) -> None:
        """Ask for its state."""
        begin = time.monotonic()
        status = insist(lambda: client.get_code(box)).status
        end = time.monotonic()
        kind = Kind.FIND if box.startswith(SHELVED) and self.rng.random() < 0.5 else Kind.LOOK
        answer = (
            status.active_sales > 0 if kind is Kind.LOOK else status.state == code_pb2.CODE_STATE_IN_STOCK
        )
        self.histories[box].append(Operation(kind, begin, end, answer))

    def trade(self, client: LedgerClient) -> None:
        """Sell, take back or look at boxes that other shops sell at the same time."""
        for _ in range(4):
            box = code(self.rng.randrange(HOT_CODES) + self.rounds // 4, TRADED)
            if self.rng.random() < 0.4 or box in self.returned:
                self.look(client, box)
            elif box in self.sold:
                self.record(client, Kind.RETURN, box)
                self.sold.discard(box)
                self.returned.add(box)
            elif self.record(client, Kind.SELL, box):
                self.sold.add(box)

    def shelve(self, client: LedgerClient) -> None:
        """Do to boxes of the store what others do to them at the same time."""
        for _ in range(4):
            box = code(self.rng.randrange(HOT_CODES) + self.rounds, SHELVED)
            kind = self.rng.choices((*Kind,)[:5], (4, 5, 3, 3, 5))[0]
            if kind is Kind.LOOK:
                self.look(client, box)
            else:
                self.record(client, kind, box, shop=STORE)

    def stock(self, client: LedgerClient) -> None:
        """A stream: goods of its own come in, most are sold, some come back and some go out."""
        first = (1 + int(self.shop[-4:])) * 1_000_000
        boxes = [code(first + next(self.serials), (ITEM, SHELVED)[n % 2]) for n in range(RECEIVED)]
        plan = [(Kind.RECEIVE, boxes, IN_STOCK)]
        plan += [(Kind.SELL, [box], IS_SOLD) for box in boxes[:SOLD]]
        plan += [(Kind.RETURN, [box], IN_STOCK) for box in boxes[:RETURNED]]
        plan += [(Kind.SEND_BACK, boxes[-SENT_BACK:], IS_OUT)]
        documents = [self.write(kind, *moved) for kind, moved, _ in plan]
        begin = time.monotonic()
        verdicts = insist(lambda: list(client.record_stream(documents)))
        for document, verdict, (kind, moved, life) in zip(documents, verdicts, plan, strict=True):
            assert isinstance(verdict, finding_pb2.Verdict)
            self.keep(kind, begin, document, verdict)
            self.lives.update(dict.fromkeys(moved, life))

    def look_at_own(self, client: LedgerClient) -> None:
        """Ask for a thousand boxes that are nobody else's: each of the answers is an operation."""
        first = (100 + int(self.shop[-4:])) * 1_000_000 + self.looks % 50_000
        asked = [(code(first + n), UNHEARD) for n in range(NEW_BOXES)]
        known = list(self.lives)
        asked += [(box, self.lives[box]) for box in self.rng.sample(known, min(OLD_BOXES, len(known)))]
        request = ledger_service_pb2.VerifyCodesRequest(institution_code=self.shop)
        for box, _ in asked:
            request.codes.add(code=box, drug_code=DRUGS[box[:7]])
        answers = insist(lambda: client.verify(request)).answers
        self.looks += len(answers)
        for answer, (_, life) in zip(answers, asked, strict=True):
            status = answer.status
            refused = life in (UNHEARD, IN_STOCK) and answer.would_refuse
            self.wrong += refused or (status.state or UNHEARD[0], status.active_sales) != life

    def keep(
        self, kind: Kind, begin: float, document: document_pb2.Document, verdict: finding_pb2.Verdict
    ) -> bool:
        """Note what the verdict says of each box of the document; whether that is yes of all."""
        odd = {FindingType.ORDER_VIOLATION, FindingType.RETURN_NO_SALE, FindingType.RETURN_OTHER_ORG}
        answer = not any(finding.type in odd for finding in verdict.findings)
        if kind is Kind.SELL:
            answer = verdict.outcome == finding_pb2.OUTCOME_ACCEPTED
        end = time.monotonic()
        operation = Operation(
            kind,
            begin,
            end,
            answer,
            document.business_time.seconds,
            document.institution_code,
            document.document_number,
            verdict.sequence,
        )
        for line in document.lines:
            for box in line.codes:
                self.histories[box].append(operation)
        return answer


Answer = TypeVar("Answer")


def insist(call: Callable[[], Answer]) -> Answer:
    """The answer, however often the server is killed before it gives one."""
    while True:
        try:
            return call()
        except (OutcomeUnknown, Unanswered):
            time.sleep(0.02)


def work(recording: Recording, address: str, stop: threading.Event) -> None:
    """One client, until it is told to stop."""
    with LedgerClient(address, deadline_seconds=10, attempts=2, seed=1) as client:
        while not stop.is_set():
            recording.look_at_own(client)
            recording.stock(client)
            # All clients move on to other boxes at about the same pace.
            recording.rounds += 1
            recording.trade(client)
            recording.shelve(client)


Histories = dict[str, list[Operation]]


def gather(recordings: list[Recording]) -> Histories:
    """All operations by code."""
    histories: Histories = defaultdict(list)
    for recording in recordings:
        for box, operations in recording.histories.items():
            histories[box] += operations
    return histories


def count_operations(recordings: list[Recording]) -> int:
    """All that was done to a box, and all answers about one."""
    return sum(recording.looks + sum(map(len, recording.histories.values())) for recording in recordings)


def count_wrong(histories: Histories) -> int:
    """Codes whose history cannot have happened, and one more if the entries are out of order."""
    everything = [one for operations in histories.values() for one in operations]
    bad = sum(
        not is_linearizable(operations, trade if box.startswith(TRADED) else shelve)
        for box, operations in histories.items()
    )
    return bad + (not follows_sequences(everything))


def count_unconserved(
    histories: Mapping[str, Sequence[Operation]],
    told: Mapping[Account, Stock],
    on_hand: Mapping[Account, int],
) -> int:
    """Institutions and drugs of which more or less is received than was sold, went out and is on hand: by
    what was recorded and is told of them, and by the boxes that are on hand."""
    recorded = sum_operations(histories, DRUGS)
    wrong = sum(recorded.get(account) != told.get(account) for account in {*recorded, *told})
    return wrong + sum(recorded[account].on_hand != boxes for account, boxes in on_hand.items())


def find_stocks(address: str, recordings: list[Recording]) -> tuple[dict[Account, Stock], Counter[Account]]:
    """What the ledger says of all stocks, and how many of the boxes that came into a shop are there."""
    on_hand: Counter[Account] = Counter()
    with LedgerClient(address, deadline_seconds=60) as client:
        told = read_stocks(client, (*SHOPS, STORE))
        for recording in recordings:
            for box in find_on_hand(client, recording.shop, list(recording.lives)):
                on_hand[recording.shop, DRUGS[box[:7]]] += 1
    return told, on_hand


def spoil(histories: Histories, product: str) -> Histories:
    """The same with one answer about each box of a product told wrongly: that to its first document."""
    spoiled = {box: list(operations) for box, operations in histories.items() if box.startswith(product)}
    for operations in spoiled.values():
        written = [at for at, one in enumerate(operations) if one.kind not in QUESTIONS]
        if written:
            at = min(written, key=lambda at: operations[at].begin)
            operations[at] = replace(operations[at], answer=not operations[at].answer)
    return spoiled


def change_entries(histories: Histories) -> list[Histories]:
    """The same once without one entry of each kind, and once with it twice."""
    changed = []
    for kind in set(Kind) - QUESTIONS:
        box = next(
            box for box, told in histories.items() if any(one.kind is kind and one.answer for one in told)
        )
        at = next(at for at, one in enumerate(histories[box]) if one.kind is kind and one.answer)
        rest = histories[box][:at] + histories[box][at + 1 :]
        changed.append({**histories, box: rest})
        changed.append({**histories, box: [*histories[box], histories[box][at]]})
    return changed


@pytest.mark.timeout(600)
def test_codes_are_moved_one_at_a_time_and_stock_is_conserved(
    effort: Effort, add_row: AddRow, tmp_path: Path
) -> None:
    """Pins that every code's history can have happened, that entries follow the clients' clock, and that
    received = sold - returned + out + on hand at every institution and for every product, with the server
    killed in between.

    Controls edit one answer, drop or double one entry of each kind in what was recorded, double one in the
    ledger, and put back an older copy of it behind the clients' backs.
    """
    kills = effort.count(2, 50)
    operations_min = effort.count(10_000, OPERATIONS_MIN)
    recordings = [Recording(Random(n), shop) for n, shop in enumerate(SHOPS)]
    folder = tmp_path / "ledger"
    with Restarted(folder) as service:
        register_institutions(service.address, *SHOPS, STORE)
        with LedgerClient(service.address, deadline_seconds=20) as client:
            products = [
                catalogue_pb2.Product(
                    identifier=product, package_level=1, name="药", drug_codes=[drug], units_per_package=1
                )
                for product, drug in DRUGS.items()
            ]
            client.import_products(products)
        while service.kills < kills:
            run(service, recordings)
        # A slow machine does less between two kills.
        while count_operations(recordings) < operations_min:
            run(service, recordings, kill=False)
        tries = count_operations(recordings)
        told, on_hand = find_stocks(service.address, recordings)
        histories = {box: list(operations) for box, operations in gather(recordings).items()}
        wrong = count_wrong(histories) + sum(recording.wrong for recording in recordings)
        unconserved = count_unconserved(histories, told, on_hand)

        service.server.stop()
        unconserved += count_unconserved(histories, read_view(folder), {})
        shutil.copytree(folder, tmp_path / "older")

        # Controls: the ledger has an entry more than the clients know, and is then as it was some sales ago.
        service.start()
        doubled = recordings[0].write(Kind.RECEIVE, *list(recordings[0].lives)[:RECEIVED])
        with LedgerClient(service.address) as client:
            client.record(doubled)
        seen = count_unconserved(histories, *find_stocks(service.address, recordings)) > 0
        run(service, recordings, kill=False)
        service.server.stop()
        shutil.rmtree(folder)
        (tmp_path / "older").rename(folder)
        service.start()
        run(service, recordings, kill=False)
        later = gather(recordings)
        seen = seen and count_wrong(later) > 0
        seen = seen and count_unconserved(later, *find_stocks(service.address, recordings)) > 0
    seen = seen and all(count_wrong(spoil(histories, product)) > 0 for product in (TRADED, SHELVED))
    seen = seen and all(
        count_unconserved(changed, told, on_hand) > 0 for changed in change_entries(histories)
    )
    moved = list(told.values())
    add_row(
        Row(
            fault="operations that do not fit one order",
            how=f"{CLIENTS} clients, {service.kills} kills -9; histories searched code by code; stock summed",
            tries=tries,
            lost=unconserved,
            wrong=wrong,
            control="an answer edited; an entry dropped, doubled; an older copy of the ledger",
            control_failed=seen,
            note=(
                f"{sum(map(len, histories.values())):,} recorded documents and states, the rest single "
                f"answers about own boxes; {sum(one.received for one in moved):,} received, "
                f"{sum(one.sold for one in moved):,} sold, {sum(one.returned for one in moved):,} returned, "
                f"{sum(one.out for one in moved):,} out; {sum(on_hand.values()):,} boxes found on hand"
            ),
        )
    )
    assert check(folder).ok


def run(service: Restarted, recordings: list[Recording], *, kill: bool = True) -> None:
    """All clients at once for a second, a kill among what they do."""
    stop = threading.Event()
    with ThreadPoolExecutor(CLIENTS) as threads:
        clients = [threads.submit(work, recording, service.address, stop) for recording in recordings]
        time.sleep(0.5)
        if kill:
            service.kill()
            time.sleep(0.3)
        stop.set()
        for client in clients:
            client.result()
