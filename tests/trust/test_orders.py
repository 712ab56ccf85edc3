"""Honest days end in the same verdicts in whatever order they arrive, and accuse nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from documents import DAY, HOUR, INSTITUTIONS, NOON, NS, PRODUCTS, QUIET, code

from tracecode.engine.lmdb import LmdbEngine
from tracecode.errors import DocumentRejected
from tracecode.finding import FindingType, Severity
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import document_pb2, ledger_service_pb2
from trust.conftest import Effort
from trust.honest_days import TWICE, Happened, draw_arrivals, draw_happenings
from trust.table import NotInjected, Row

AddRow = Callable[[Row | NotInjected], None]
PERSON_KEY = PersonKey(b"k" * 32)
WORKERS = 2
ORDERS_PER_SEED = 3

Identity = tuple[str, str, str]
"""Of a document: institution, kind, number."""
Standing = dict[Identity, tuple[tuple[str, str, int, str], ...]]
"""What stands of each document in the end: finding, severity, line and code."""


def name_document(document: document_pb2.Document) -> Identity:
    """What a document is known by."""
    return document.institution_code, str(document.WhichOneof("content")), document.document_number


def read_standing(ledger: Ledger, told: Sequence[Happened]) -> Standing:
    """What stands of all documents."""
    found: Standing = {}
    for institution, kind, number in {name_document(happened.document) for happened in told}:
        verdict = ledger.get_document(
            ledger_service_pb2.GetDocumentRequest(
                institution_code=institution,
                kind=document_pb2.DocumentKind.Value(f"DOCUMENT_KIND_{kind.upper()}"),
                document_number=number,
            )
        ).verdict
        found[institution, kind, number] = tuple(
            sorted(
                (FindingType(one.type).name, Severity(one.final_severity).name, one.line_number, one.code)
                for one in verdict.findings
            )
        )
    return found


def tell_in_order(told: Sequence[Happened], order: int, *, fast_at_once: bool = False) -> Standing:
    """Record what happened as it arrives in this order; what stands in the end."""
    with TemporaryDirectory() as folder:
        begin = (NOON - 40 * DAY) * NS
        engine = LmdbEngine(Path(folder) / "ledger", None, begin, map_size_bytes=2**28)
        # Every verdict is final by then.
        ledger = Ledger(engine, PERSON_KEY, clock_ns=lambda: (NOON + 90 * DAY) * NS)
        engine.import_products(PRODUCTS, begin)
        engine.import_institutions(INSTITUTIONS, begin)
        times, documents = zip(*draw_arrivals(list(told), order, fast_at_once=fast_at_once), strict=True)
        answers = ledger.record(documents, times)
        assert not any(isinstance(answer, DocumentRejected) for answer in answers)
        standing = read_standing(ledger, told)
        ledger.close()
    return standing


def try_seed(seed: int, leave_out: str = "") -> tuple[int, int, int]:
    """One seed in some orders: how many, how many ended otherwise than the first of their kind, and how many
    accusations are of anybody but the second seller of the one box, or missing of him. `leave_out` names a
    document that is never sent.

    In half of the orders what a fast clock wrote comes late, as all else does. Its effective time is then
    that of its arrival, so what is said of it may differ if nobody is accused; in the other half it comes
    at once, and all must be the same.
    """
    told = [one for one in draw_happenings(seed) if one.document.document_number != leave_out]
    late = [tell_in_order(told, order) for order in range(ORDERS_PER_SEED)]
    at_once = [tell_in_order(told, order, fast_at_once=True) for order in range(ORDERS_PER_SEED)]
    ends = [*late, *at_once]
    accused = 0
    for end in ends:
        grave = {
            (identity, name)
            for identity, findings in end.items()
            for name, severity, _, _ in findings
            if Severity[severity] >= Severity.ALERT
        }
        expected = ((QUIET, "sale", "TWICE"), "DUP_SALE_CROSS_ORG")
        accused += (expected not in grave) + len({one for one in grave if one[0] != expected[0]})
    fast = {one.document.institution_code for one in told if one.is_fast}
    sure = [{one: end[one] for one in end if one[0] not in fast and one[2] != "TWICE"} for end in late]
    differ = sum(end != sure[0] for end in sure) + sum(end != at_once[0] for end in at_once)
    return len(ends), differ, accused


def test_any_order_of_arrival_ends_in_the_same_verdicts_and_accuses_nobody(
    effort: Effort, add_row: AddRow
) -> None:
    """Pins, with clocks off by up to 30 days, repeats and documents up to 40 hours late, that the verdicts
    are the same in all orders, that no honest document is accused, and that the box sold twice is found. The
    control leaves out a receipt, which must accuse somebody."""
    seeds = range(effort.count(2, 12))
    # Not forked: other tests of this process have threads.
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as workers:
        results = list(workers.map(try_seed, seeds))
        (control,) = workers.map(partial(try_seed, leave_out="R0001"), [0])

    add_row(
        Row(
            fault="another order of arrival",
            how="honest days, 40 h late, sent twice, clocks slow and fast by 30 days; one box sold twice",
            tries=sum(tries for tries, _, _ in results),
            wrong=sum(differ + accused for _, differ, accused in results),
            control="a receipt is never sent",
            control_failed=control[2] > 0,
        )
    )


def test_the_box_that_is_sold_twice_is_among_what_happens() -> None:
    """Pins that what is looked for is there, once, and that clocks are off."""
    told = draw_happenings(0)

    sales = [one for one in told if any(code(TWICE) in each.codes for each in one.document.lines)]
    off = [one.document.business_time.seconds - one.time for one in told]
    assert [one.document.WhichOneof("content") for one in sales] == ["receipt", "sale", "sale"]
    assert min(off) < -HOUR
    assert max(off) > HOUR
