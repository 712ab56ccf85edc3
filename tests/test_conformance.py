"""What every engine promises, run on each of them: the contract's duties as stories of documents."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from documents import (
    DAY,
    DRUG,
    FAR,
    HOUR,
    INSTITUTIONS,
    ITEM,
    MIDDLE,
    NOON,
    NS,
    OTHER,
    OTHER_DRUG,
    OTHER_PACK,
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
)

from tracecode.errors import DocumentRejected, DocumentReused, FieldInvalid, RequestReused
from tracecode.finding import FindingType, Severity
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import catalogue_pb2, document_pb2, finding_pb2, ledger_service_pb2

BEFORE = NOON - DAY
"""When the catalogue is imported: receive times never run backwards."""
ENGINES = ("memory", "lmdb")


class Story:
    """A ledger, and documents told to it in order with their receive times."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        ledger.import_products(PRODUCTS)
        ledger.import_institutions(INSTITUTIONS)

    def tell(self, *documents: document_pb2.Document, delay: int = 60) -> list[finding_pb2.Verdict]:
        """Record documents `delay` seconds after their business time; all must be taken."""
        times = [(document.business_time.seconds + delay) * NS for document in documents]
        verdicts = []
        for answer in self.ledger.record(documents, times):
            assert not isinstance(answer, DocumentRejected), answer
            verdicts.append(answer)
        return verdicts

    def refuse(self, document: document_pb2.Document) -> DocumentRejected:
        """Record a document that must not be taken."""
        (answer,) = self.ledger.record([document], [(document.business_time.seconds + 60) * NS])
        assert isinstance(answer, DocumentRejected), answer
        return answer

    def standing(self, document: document_pb2.Document) -> dict[str, str]:
        """What stands of a document at the end: finding -> severity when final, the gravest of each."""
        kind = next(
            number
            for name, number in (
                ("sale", document_pb2.DOCUMENT_KIND_SALE),
                ("sale_return", document_pb2.DOCUMENT_KIND_SALE_RETURN),
                ("receipt", document_pb2.DOCUMENT_KIND_RECEIPT),
                ("purchase_return", document_pb2.DOCUMENT_KIND_PURCHASE_RETURN),
                ("stock_change", document_pb2.DOCUMENT_KIND_STOCK_CHANGE),
                ("stock_count", document_pb2.DOCUMENT_KIND_STOCK_COUNT),
                ("deletion", document_pb2.DOCUMENT_KIND_DELETION),
            )
            if document.HasField(name)
        )
        verdict = self.ledger.get_document(
            ledger_service_pb2.GetDocumentRequest(
                institution_code=document.institution_code,
                kind=kind,
                document_number=document.document_number,
            )
        ).verdict
        found: dict[str, Severity] = {}
        for finding in verdict.findings:
            name = FindingType(finding.type).name
            found[name] = max(found.get(name, Severity.INFO), Severity(finding.final_severity))
        return {name: severity.name for name, severity in sorted(found.items()) if name != "PASS"}


@pytest.fixture(params=ENGINES)
def story(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Story]:
    """A story on each engine."""
    directory = tmp_path / "ledger"
    ledger = Ledger.open(
        directory, engine=request.param, person_key=PersonKey(b"k" * 32), clock_ns=lambda: BEFORE * NS
    )
    yield Story(ledger)
    ledger.close()


def names(verdict: finding_pb2.Verdict) -> set[str]:
    """The findings of a verdict."""
    return {FindingType(finding.type).name for finding in verdict.findings}


def stocked(*serials: int, shop: str = SHOP, number: str = "R1", time: int = NOON) -> document_pb2.Document:
    """A receipt of boxes."""
    return receipt(shop, number, time, line(*(code(serial) for serial in serials)))


def test_a_plain_sale_of_a_received_box_passes(story: Story) -> None:
    """The common case has one finding, PASS, and the box is sold."""
    story.tell(stocked(1))

    (verdict,) = story.tell(sale(SHOP, "S1", NOON + HOUR, line(code(1))))

    assert names(verdict) == {"PASS"}
    assert verdict.outcome == finding_pb2.OUTCOME_ACCEPTED
    assert story.ledger.get_code(code(1)).status.state == 4


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(("here", "there"), [(SHOP, OTHER), (QUIET, "P13050000099")])
def test_a_slow_clock_does_not_sell_a_box_twice(story: Story, here: str, there: str, asked: bool) -> None:
    """Who asks before settlement when a sale elsewhere is recorded is refused, although by his clock he was
    first; the other sale stays what it was, and a question is answered the same."""
    first = sale(here, "S1", NOON + HOUR, line(code(1)), asked=asked)
    second = sale(there, "S2", NOON + HOUR - 120, line(code(1)), asked=True)
    story.ledger.import_institutions(
        [catalogue_pb2.Institution(institution_code="P13050000099", name="戊店", division_code="130500")]
    )

    (accepted,), (refused,) = story.tell(first), story.tell(second, delay=240)

    assert accepted.outcome == finding_pb2.OUTCOME_ACCEPTED
    assert refused.outcome == finding_pb2.OUTCOME_REFUSED
    assert "DUP_SALE_CROSS_ORG" in names(refused)
    assert "DUP_SALE_CROSS_ORG" not in story.standing(first)
    assert story.standing(second)["DUP_SALE_CROSS_ORG"] == "BLOCK"
    question = ledger_service_pb2.VerifyCodesRequest(
        institution_code=there, business_time=second.business_time
    )
    question.codes.add(code=code(1))
    assert story.ledger.verify(question).answers[0].would_refuse
    story.tell(sale_return(here, "T1", NOON + 2 * HOUR, line(code(1)), of="S1"))
    assert story.standing(second)["DUP_SALE_CROSS_ORG"] == "BLOCK"


def test_a_retry_gets_the_first_answer_and_changes_nothing(story: Story) -> None:
    """The same document again, also later, is the same entry."""
    document = sale(SHOP, "S1", NOON + HOUR, line(code(1)))
    story.tell(stocked(1))

    first, second, third = [story.tell(document, delay=delay)[0] for delay in (60, 60, 9 * DAY)]

    assert first.sequence == second.sequence == third.sequence
    assert (first.repeat, second.repeat, third.repeat) == (False, True, True)
    assert names(second) == {"PASS", "DUP_RETRY"}
    assert story.ledger.get_code(code(1)).status.event_count == 2


def test_a_used_number_with_other_content_is_refused_and_leaves_no_trace(story: Story) -> None:
    """DOCUMENT_REUSED; the other document's code was never sold."""
    story.tell(stocked(1, 2), sale(SHOP, "S1", NOON + HOUR, line(code(1))))
    before = story.ledger.engine.sequence

    rejected = story.refuse(sale(SHOP, "S1", NOON + HOUR, line(code(2))))

    assert isinstance(rejected, DocumentReused)
    assert story.ledger.engine.sequence == before
    assert story.ledger.get_code(code(2)).status.active_sales == 0


def test_a_request_id_belongs_to_one_document(story: Story) -> None:
    """AIP-155: the same request again is a repeat, another document under it is an error."""
    story.tell(stocked(1, 2))
    first = story.ledger.submit(sale(SHOP, "S1", NOON + HOUR, line(code(1))), "req-1").result()

    again = story.ledger.submit(sale(SHOP, "S1", NOON + HOUR, line(code(1))), "req-1").result()
    other = story.ledger.submit(sale(SHOP, "S2", NOON + HOUR, line(code(2))), "req-1")

    assert again.sequence == first.sequence
    assert isinstance(other.exception(), RequestReused)


def test_institutions_number_their_requests_without_asking_each_other(story: Story) -> None:
    """A request_id is its institution's own: the same one elsewhere is another request."""
    story.tell(stocked(1), stocked(2, shop=OTHER))
    ours = story.ledger.submit(sale(SHOP, "S1", NOON + HOUR, line(code(1))), "1").result()

    theirs = story.ledger.submit(sale(OTHER, "S1", NOON + HOUR, line(code(2))), "1").result()

    assert not theirs.repeat
    assert ours.sequence != theirs.sequence


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_correction_under_the_same_number_may_come_in_any_order(
    story: Story, order: tuple[int, ...]
) -> None:
    """Sale, its deletion and its correction share a number; one sale stands, and each may be sent again."""
    documents = [
        sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"),
        deletion(SHOP, "D1", NOON + HOUR + 600, deletes="S1"),
        sale(SHOP, "S1", NOON + HOUR + 900, line(code(1)), person="A", corrects="S1"),
    ]
    story.tell(stocked(1))
    told = [documents[at] for at in order]

    first = story.tell(*told, delay=2 * HOUR)
    again = story.tell(*told, delay=3 * HOUR)

    assert [verdict.sequence for verdict in first] == [verdict.sequence for verdict in again]
    assert all(verdict.repeat for verdict in again)
    assert story.standing(documents[2]) == {}
    assert story.standing(documents[1]) == {}
    assert story.ledger.get_code(code(1)).status.active_sales == 1
    rejected = story.refuse(sale(SHOP, "S1", NOON + HOUR, line(code(2)), person="A"))
    assert isinstance(rejected, DocumentReused)


def test_a_document_that_an_earlier_deletion_takes_back_is_told_so(story: Story) -> None:
    """Uploaded again under the deleted batch serial without saying what it corrects: the answer names why."""
    story.tell(stocked(1))
    (gone,) = story.tell(deletion(SHOP, "D1", NOON + 2 * HOUR, batch="B7"))

    late = sale(SHOP, "S1", NOON + HOUR, line(code(1), batch="B7"))
    (verdict,) = story.tell(late, delay=3 * HOUR)

    assert verdict.deleted_by_sequence == gone.sequence
    assert story.ledger.get_code(code(1)).status.active_sales == 0


def test_the_second_sale_elsewhere_is_refused_when_asked(story: Story) -> None:
    """A box sold at SHOP is asked for at OTHER: BLOCK, REFUSED, and nothing moves."""
    story.tell(stocked(1), sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"))

    (verdict,) = story.tell(sale(OTHER, "S1", NOON + 3 * DAY, line(code(1)), asked=True, person="B"))

    assert verdict.outcome == finding_pb2.OUTCOME_REFUSED
    assert {"DUP_SALE_CROSS_ORG", "RESALE_AFTER_SETTLE"} <= names(verdict)
    assert verdict.severity == finding_pb2.SEVERITY_BLOCK
    assert story.ledger.get_code(code(1)).status.active_sales == 1


def test_other_institutions_are_masked_for_a_pharmacy(story: Story) -> None:
    """The till learns region and day; the regulator's document view names institution and number."""
    story.tell(stocked(1), sale(SHOP, "S1", NOON + HOUR, line(code(1))))
    document = sale(OTHER, "S1", NOON + 3 * DAY, line(code(1)))

    (verdict,) = story.tell(document)

    shown = [e for f in verdict.findings for e in f.evidence if e.division_code == "130500"]
    assert shown
    assert all(e.institution_code in ("", OTHER) for f in verdict.findings for e in f.evidence)
    assert SHOP not in str(verdict)


def packed(parent: str, *children: str) -> document_pb2.Line:
    """A line of one package and what is inside it."""
    return document_pb2.Line(
        drug_code=DRUG,
        quantity=str(len(children)),
        packages=[document_pb2.Package(code=parent, child_codes=children)],
    )


Told = Callable[[], list[document_pb2.Document]]

STORIES: dict[str, tuple[list[document_pb2.Document], dict[int, dict[str, str]]]] = {
    "sold at two places: the one without custody is odd": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"),
            sale(OTHER, "S2", NOON + 3 * DAY, line(code(1)), person="B"),
        ],
        {
            1: {"DUP_SALE_CROSS_ORG": "INFO"},
            2: {
                "DUP_SALE_CROSS_ORG": "BLOCK",
                "RESALE_AFTER_SETTLE": "ALERT",
                "STOCK_NEVER_RECEIVED": "ALERT",
            },
        },
    ),
    "two pooling areas": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"),
            sale(FAR, "S2", NOON + 3 * DAY, line(code(1)), person="B"),
        ],
        {
            2: {
                "DUP_CROSS_REGION": "ALERT",
                "DUP_SALE_CROSS_ORG": "BLOCK",
                "RESALE_AFTER_SETTLE": "ALERT",
                "STOCK_NEVER_RECEIVED": "ALERT",
            },
        },
    ),
    "a false report elsewhere does not block the holder": (
        [
            stocked(1),
            sale(OTHER, "S1", NOON + HOUR, line(code(1)), person="A"),
            sale(SHOP, "S2", NOON + 2 * HOUR, line(code(1)), person="B"),
        ],
        {1: {"DUP_SALE_CROSS_ORG": "BLOCK", "STOCK_NOT_HERE": "ALERT"}, 2: {"DUP_SALE_CROSS_ORG": "WARN"}},
    ),
    "sold twice at one shop": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"),
            sale(SHOP, "S2", NOON + DAY, line(code(1)), person="B"),
        ],
        {1: {}, 2: {"DUP_SALE_SAME_ORG": "ALERT"}},
    ),
    "a double scan that was returned": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"),
            sale(SHOP, "S2", NOON + HOUR + 60, line(code(1)), person="B"),
            sale_return(SHOP, "T1", NOON + HOUR + 600, line(code(1)), of="S2"),
        ],
        {1: {}, 2: {"DUP_SALE_SAME_ORG": "INFO"}, 3: {}},
    ),
    "returned and sold again": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"),
            sale_return(SHOP, "T1", NOON + DAY, line(code(1)), of="S1"),
            sale(SHOP, "S2", NOON + 2 * DAY, line(code(1)), person="B"),
        ],
        {1: {}, 2: {}, 3: {"RETURN_RESOLD": "INFO"}},
    ),
    "one sale by both channels": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1)), settlement="X", channel=1),
            sale(SHOP, "K1", NOON + HOUR + 300, line(code(1)), settlement="X", channel=2),
        ],
        {1: {}, 2: {"DUP_CHANNEL": "INFO"}},
    ),
    "a split pack within its units": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1), split=True, quantity="12"), person="A"),
            sale(SHOP, "S2", NOON + DAY, line(code(1), split=True, quantity="12"), person="B"),
        ],
        {1: {}, 2: {}},
    ),
    "a split pack beyond its units": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1), split=True, quantity="12"), person="A"),
            sale(SHOP, "S2", NOON + DAY, line(code(1), split=True, quantity="13"), person="B"),
        ],
        {1: {}, 2: {"SPLIT_OVER": "ALERT"}},
    ),
    "half tablets within the pack": (
        [
            stocked(1),
            *(
                sale(
                    SHOP,
                    f"S{at}",
                    NOON + at * HOUR,
                    line(code(1), split=True, quantity="7.5"),
                    person=str(at),
                )
                for at in (1, 2, 3)
            ),
        ],
        {1: {}, 2: {}, 3: {}},
    ),
    "half tablets beyond the pack": (
        [
            stocked(1),
            *(
                sale(
                    SHOP,
                    f"S{at}",
                    NOON + at * HOUR,
                    line(code(1), split=True, quantity="8.5"),
                    person=str(at),
                )
                for at in (1, 2, 3)
            ),
        ],
        {1: {}, 2: {}, 3: {"SPLIT_OVER": "ALERT"}},
    ),
    "two opened packs on one line, of which one was nearly empty": (
        [
            stocked(1, 2),
            sale(SHOP, "S1", NOON + HOUR, line(code(1), split=True, quantity="20"), person="A"),
            sale(SHOP, "S2", NOON + DAY, line(code(1), code(2), split=True, quantity="20"), person="B"),
        ],
        {1: {}, 2: {"SPLIT_OVER": "WARN"}},
    ),
    "never received at an institution that uploads its receipts": (
        [sale(SHOP, "S1", NOON + HOUR, line(code(1)))],
        {0: {"STOCK_NEVER_RECEIVED": "ALERT"}},
    ),
    "never received where receipts are not uploaded": (
        [sale(QUIET, "S1", NOON + HOUR, line(code(1)))],
        {0: {"STOCK_NEVER_RECEIVED": "INFO"}},
    ),
    "received by its package": (
        [
            receipt(
                SHOP,
                "R1",
                NOON,
                document_pb2.Line(
                    drug_code=DRUG,
                    quantity="10",
                    packages=[
                        document_pb2.Package(
                            code=code(5, MIDDLE), child_codes=[code(i) for i in range(1, 11)]
                        )
                    ],
                ),
            ),
            sale(SHOP, "S1", NOON + HOUR, line(code(1))),
        ],
        {0: {}, 1: {}},
    ),
    "received in a carton whose contents nobody named": (
        [
            receipt(SHOP, "R1", NOON, line(code(5, MIDDLE), quantity="10")),
            sale(SHOP, "S1", NOON + HOUR, line(code(1))),
            sale(OTHER, "S2", NOON + HOUR, line(code(2))),
        ],
        {0: {}, 1: {"STOCK_NEVER_RECEIVED": "WARN"}, 2: {"STOCK_NEVER_RECEIVED": "ALERT"}},
    ),
    "a transfer inside a chain": (
        [
            stocked(1),
            stock_change(SHOP, "X1", NOON + HOUR, 102, line(code(1)), counterparty=SISTER),
            stock_change(SISTER, "X2", NOON + 5 * HOUR, 101, line(code(1)), counterparty=SHOP),
            sale(SISTER, "S1", NOON + DAY, line(code(1))),
        ],
        {1: {}, 2: {}, 3: {}},
    ),
    "sold after it went back to the supplier": (
        [
            stocked(1),
            purchase_return(SHOP, "B1", NOON + HOUR, line(code(1))),
            sale(SHOP, "S1", NOON + DAY, line(code(1))),
        ],
        {2: {"STOCK_ALREADY_OUT": "BLOCK"}},
    ),
    "swapped drugs by grade": (
        [
            stocked(1, 2, 3, 4, 5),
            sale(SHOP, "S1", NOON + HOUR, line(code(1), drug=OTHER_PACK)),
            sale(SHOP, "S2", NOON + HOUR, line(code(2), drug="XJ01CAA040A001010109999")),
            sale(SHOP, "S3", NOON + HOUR, line(code(3), drug="XJ01CAA040B002010102699")),
            sale(SHOP, "S4", NOON + HOUR, line(code(4), drug=OTHER_DRUG)),
            sale(SHOP, "S5", NOON + HOUR, line(code(5), drug="C0101010010100100001")),
        ],
        {
            1: {"SWAP_PACK": "INFO"},
            2: {"SWAP_MAKER": "WARN"},
            3: {"SWAP_FORM": "WARN"},
            4: {"SWAP_PRODUCT": "BLOCK"},
            5: {"SWAP_PRODUCT": "BLOCK"},
        },
    ),
    "a deletion of a flagged sale": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1), drug=OTHER_DRUG), person="A"),
            deletion(SHOP, "D1", NOON + 2 * DAY, deletes="S1"),
        ],
        {1: {"SWAP_PRODUCT": "BLOCK"}, 2: {"DELETE_AFTER_FLAG": "ALERT"}},
    ),
    "two deletions of a flagged sale": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1), drug=OTHER_DRUG), person="A"),
            deletion(SHOP, "D2", NOON + 2 * DAY, deletes="S1"),
            deletion(SHOP, "D1", NOON + DAY, deletes="S1"),
        ],
        {1: {"SWAP_PRODUCT": "BLOCK"}, 2: {}, 3: {"DELETE_AFTER_FLAG": "ALERT"}},
    ),
    "a deletion of a day of which one sale was deleted before": (
        [
            sale(SHOP, "S1", NOON + HOUR, line(code(1), drug=OTHER_DRUG, batch="B1"), person="A"),
            sale(SHOP, "S2", NOON + HOUR, line(code(2), drug=OTHER_DRUG, batch="B1"), person="A"),
            deletion(SHOP, "D1", NOON + 2 * DAY, batch="B1"),
            deletion(SHOP, "D2", NOON + DAY, deletes="S2"),
        ],
        {2: {"DELETE_AFTER_FLAG": "ALERT"}, 3: {"DELETE_AFTER_FLAG": "ALERT"}},
    ),
    "moved within a chain before the receipt was entered": (
        [
            sale(SISTER, "S1", NOON + HOUR, line(code(1))),
            stocked(1, time=NOON + 3 * HOUR),
        ],
        {0: {"STOCK_NEVER_RECEIVED": "WARN"}},
    ),
    "sent back before its receipt was entered, and sold by the next": (
        [
            purchase_return(SHOP, "B1", NOON + HOUR, line(code(1))),
            stocked(1, time=NOON + 9 * HOUR),
            sale(QUIET, "S1", NOON + 2 * DAY, line(code(1))),
        ],
        {1: {}, 2: {"STOCK_NEVER_RECEIVED": "INFO"}},
    ),
    "lost, found and sold where receipts bear no codes": (
        [
            stock_change(QUIET, "L1", NOON + HOUR, 104, line(code(1))),
            stock_change(QUIET, "F1", NOON + 9 * HOUR, 103, line(code(1))),
            sale(QUIET, "S1", NOON + DAY, line(code(1))),
        ],
        {2: {}},
    ),
    "a plain correction": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"),
            deletion(SHOP, "D1", NOON + HOUR + 600, deletes="S1"),
            sale(SHOP, "S2", NOON + HOUR + 900, line(code(1)), person="A", corrects="S1"),
        ],
        {1: {}, 2: {}, 3: {}},
    ),
    "a carton sold as one box": (
        [
            receipt(SHOP, "R1", NOON, line(code(5, MIDDLE), quantity="10")),
            sale(SHOP, "S1", NOON + HOUR, line(code(5, MIDDLE), quantity="1")),
        ],
        {1: {"LEVEL_NOT_UNIT": "BLOCK"}},
    ),
    "an insured sale without a code": (
        [sale(SHOP, "S1", NOON + HOUR, line(quantity="1"))],
        {0: {"CODE_EMPTY": "BLOCK"}},
    ),
    "a return at another institution": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1))),
            sale_return(OTHER, "T1", NOON + DAY, line(code(1))),
        ],
        {2: {"RETURN_OTHER_ORG": "ALERT"}},
    ),
    "a return without a sale": (
        [stocked(1), sale_return(SHOP, "T1", NOON + DAY, line(code(1)))],
        {1: {"RETURN_NO_SALE": "WARN"}},
    ),
    "expired": (
        [
            receipt(SHOP, "R1", NOON, line(code(1), expiry="2026-02-28")),
            sale(SHOP, "S1", NOON + HOUR, line(code(1))),
        ],
        {1: {"EXPIRED_SALE": "BLOCK"}},
    ),
    # the fold
    "a package learnt to be inside another, after both moved": (
        [
            receipt(SHOP, "R1", NOON, packed(code(7, MIDDLE), code(5, MIDDLE))),
            stock_change(SHOP, "X1", NOON + DAY, 102, line(code(7, MIDDLE)), counterparty=OTHER),
            stock_change(
                OTHER, "X2", NOON + DAY + HOUR, 101, packed(code(5, MIDDLE), code(1)), counterparty=SHOP
            ),
            sale(OTHER, "S1", NOON + 2 * DAY, line(code(1))),
        ],
        {1: {}, 2: {}, 3: {}},
    ),
    "two packages around a box, sent and received together": (
        [
            receipt(SHOP, "R1", NOON, packed(code(7, MIDDLE), code(5, MIDDLE))),
            receipt(SHOP, "R2", NOON + 60, packed(code(5, MIDDLE), code(1))),
            stock_change(
                SHOP, "X1", NOON + DAY, 102, line(code(7, MIDDLE), code(5, MIDDLE)), counterparty=OTHER
            ),
            sale(SHOP, "S1", NOON + 2 * DAY, line(code(1))),
        ],
        {3: {"STOCK_ALREADY_OUT": "BLOCK"}},
    ),
    "a third report ties two": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1)), visit="V", channel=1, person="A"),
            sale(SHOP, "S2", NOON + HOUR + 60, line(code(1)), settlement="X", channel=1, person="A"),
            sale(
                SHOP, "K1", NOON + HOUR + 120, line(code(1)), settlement="X", visit="V", channel=2, person="A"
            ),
        ],
        {1: {}, 2: {"DUP_RETRY": "INFO"}, 3: {"DUP_CHANNEL": "INFO"}},
    ),
    "one settlement number for two persons": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1)), settlement="0", channel=1, person="A"),
            sale(SHOP, "S2", NOON + DAY, line(code(1)), settlement="0", channel=1, person="B"),
        ],
        {1: {}, 2: {"DUP_SALE_SAME_ORG": "ALERT"}},
    ),
    "one settlement number for ever": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1)), settlement="0", channel=1),
            sale(SHOP, "S2", NOON + 9 * DAY, line(code(1)), settlement="0", channel=1),
        ],
        {1: {}, 2: {"DUP_SALE_SAME_ORG": "ALERT"}},
    ),
    "billed again, each by both channels": (
        [
            stocked(1),
            sale(SHOP, "K1", NOON + HOUR, line(code(1)), visit="V", channel=2),
            sale(SHOP, "S1", NOON + HOUR + 5, line(code(1)), settlement="X", visit="V", channel=1),
            sale_return(SHOP, "T1", NOON + 2 * HOUR, line(code(1)), of="S1"),
            sale(SHOP, "S2", NOON + 3 * HOUR, line(code(1)), settlement="Z", visit="V", channel=1),
            sale(SHOP, "K2", NOON + 3 * HOUR + 60, line(code(1)), visit="V", channel=2),
        ],
        {2: {"DUP_CHANNEL": "INFO"}, 3: {}, 4: {"RETURN_RESOLD": "INFO"}, 5: {"DUP_CHANNEL": "INFO"}},
    ),
    "one split sale cut differently by the channels": (
        [
            stocked(1),
            sale(
                SHOP, "S1", NOON + HOUR, line(code(1), split=True, quantity="20"), settlement="X", channel=1
            ),
            sale(
                SHOP, "K1", NOON + HOUR, line(code(1), split=True, quantity="10"), settlement="X", channel=2
            ),
            sale(
                SHOP, "K2", NOON + HOUR, line(code(1), split=True, quantity="10"), settlement="X", channel=2
            ),
            sale(SHOP, "S2", NOON + DAY, line(code(1), split=True, quantity="5")),
        ],
        # At one second the document number says which report is the first.
        {
            1: {"DUP_CHANNEL": "INFO"},
            2: {},
            3: {"DUP_RETRY": "INFO"},
            4: {"SPLIT_OVER": "ALERT"},
        },
    ),
    "whole by one channel, split by the other": (
        [
            stocked(1),
            sale(
                SHOP, "S1", NOON + HOUR, line(code(1), split=True, quantity="24"), settlement="X", channel=1
            ),
            sale(SHOP, "K1", NOON + HOUR + 60, line(code(1)), settlement="X", channel=2),
            sale_return(SHOP, "T1", NOON + 2 * HOUR, line(code(1))),
            sale(SHOP, "S2", NOON + 3 * DAY, line(code(1))),
        ],
        {1: {}, 2: {"DUP_CHANNEL": "INFO"}, 3: {}, 4: {"RETURN_RESOLD": "INFO"}},
    ),
    "a carton sold and returned, then a box of it": (
        [
            receipt(SHOP, "R1", NOON, packed(code(5, MIDDLE), code(1), code(2))),
            sale(SHOP, "S1", NOON + HOUR, line(code(5, MIDDLE), quantity="10")),
            sale_return(SHOP, "T1", NOON + 2 * HOUR, line(code(5, MIDDLE), quantity="10")),
            sale(SHOP, "S2", NOON + DAY, line(code(1))),
        ],
        {2: {}, 3: {"RETURN_RESOLD": "INFO"}},
    ),
    "a carton that only the receiver reports": (
        [
            receipt(SHOP, "R1", NOON, packed(code(5, MIDDLE), code(1), code(2))),
            stock_change(OTHER, "X1", NOON + DAY, 101, line(code(5, MIDDLE)), counterparty=SHOP),
            sale(OTHER, "S1", NOON + 2 * DAY, line(code(1))),
        ],
        {1: {"STOCK_NOT_HERE": "WARN"}, 2: {}},
    ),
    "a carton sent back by one who never said it had come": (
        [
            receipt(SHOP, "R1", NOON, packed(code(5, MIDDLE), code(1), code(2))),
            stock_change(SHOP, "X1", NOON + DAY, 102, line(code(5, MIDDLE)), counterparty=OTHER),
            stock_change(OTHER, "X2", NOON + 5 * DAY, 102, line(code(5, MIDDLE)), counterparty=SHOP),
            sale(SHOP, "S1", NOON + 6 * DAY, line(code(1))),
        ],
        {1: {}, 2: {"ORDER_VIOLATION": "WARN"}, 3: {}},
    ),
    "sent on by one who never said it had come": (
        [
            stocked(1),
            stock_change(SHOP, "X1", NOON + DAY, 102, line(code(1)), counterparty=OTHER),
            stock_change(OTHER, "X2", NOON + 2 * DAY, 102, line(code(1)), counterparty=FAR),
            stock_change(FAR, "X3", NOON + 3 * DAY, 101, line(code(1)), counterparty=OTHER),
            sale(FAR, "S1", NOON + 4 * DAY, line(code(1))),
        ],
        {1: {}, 2: {"ORDER_VIOLATION": "WARN"}, 3: {}, 4: {}},
    ),
    "old stock sold in 2025 and again elsewhere": (
        [
            sale(SHOP, "S1", NOON - 80 * DAY, line(code(1)), person="A"),
            stocked(1, shop=OTHER, time=NOON),
            sale(OTHER, "S2", NOON + DAY, line(code(1)), person="B"),
        ],
        {
            0: {"DUP_SALE_CROSS_ORG": "INFO", "EXEMPT_LEGACY_STOCK": "INFO"},
            2: {"DUP_SALE_CROSS_ORG": "BLOCK"},
        },
    ),
    "one return of two split sales": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1), split=True, quantity="12")),
            sale(SHOP, "S2", NOON + 2 * HOUR, line(code(1), split=True, quantity="12")),
            sale_return(SHOP, "T1", NOON + 3 * HOUR, line(code(1), split=True, quantity="20"), of="S1"),
            sale(SHOP, "S3", NOON + DAY, line(code(1), split=True, quantity="20")),
            sale(SHOP, "S4", NOON + 2 * DAY, line(code(1), split=True, quantity="1")),
        ],
        {2: {}, 3: {}, 4: {}, 5: {"SPLIT_OVER": "ALERT"}},
    ),
    "a split sale returned as a whole one": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1), split=True, quantity="24")),
            sale_return(SHOP, "T1", NOON + 2 * HOUR, line(code(1)), of="S1"),
        ],
        {1: {}, 2: {}},
    ),
    "a whole sale returned as a split one": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1))),
            sale_return(SHOP, "T1", NOON + 2 * HOUR, line(code(1), split=True, quantity="24"), of="S1"),
            stock_change(SHOP, "X1", NOON + DAY, 102, line(code(1)), counterparty=OTHER),
        ],
        {1: {}, 2: {}, 3: {}},
    ),
    "split units back by other in": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1), split=True, quantity="24")),
            stock_change(SHOP, "X1", NOON + 2 * HOUR, 106, line(code(1))),
        ],
        {1: {}, 2: {}},
    ),
    # the rules
    "a return never told of, then back to the supplier and in elsewhere": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"),
            purchase_return(SHOP, "B1", NOON + DAY, line(code(1))),
            stocked(1, shop=OTHER, number="R2", time=NOON + 3 * DAY),
            sale(OTHER, "S2", NOON + 4 * DAY, line(code(1)), person="B"),
        ],
        {1: {}, 2: {"ORDER_VIOLATION": "WARN"}, 3: {"ORDER_VIOLATION": "WARN"}, 4: {}},
    ),
    "a transfer told a day after the sale there": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"),
            sale(OTHER, "S2", NOON + 2 * DAY, line(code(1)), person="B"),
            stock_change(SHOP, "X1", NOON + 3 * DAY, 102, line(code(1)), counterparty=OTHER),
        ],
        {1: {}, 2: {"STOCK_NEVER_RECEIVED": "ALERT"}},
    ),
    "a clinic system that books returns as 102": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"),
            stock_change(SHOP, "C1", NOON + 2 * HOUR, 102, line(code(1))),
            sale(SHOP, "S2", NOON + 5 * HOUR, line(code(1)), person="B"),
        ],
        {1: {}, 2: {"ORDER_VIOLATION": "WARN"}, 3: {"DUP_SALE_SAME_ORG": "WARN"}},
    ),
    "a clinic system that books returns as 102, and the sale return before it": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"),
            sale_return(SHOP, "T1", NOON + 2 * HOUR, line(code(1)), of="S1"),
            stock_change(SHOP, "C1", NOON + 2 * HOUR + 60, 102, line(code(1))),
            sale(SHOP, "S2", NOON + 5 * HOUR, line(code(1)), person="B"),
        ],
        {4: {"RETURN_RESOLD": "INFO", "STOCK_ALREADY_OUT": "WARN"}},
    ),
    "a box scanned twice, deleted as the clerk was told": (
        [
            stocked(1),
            sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"),
            sale(SHOP, "S2", NOON + HOUR + 300, line(code(1)), person="B"),
            deletion(SHOP, "D1", NOON + 2 * HOUR, deletes="S2"),
        ],
        {1: {}, 3: {"DELETE_AFTER_FLAG": "INFO"}},
    ),
    "a kept code taken back by 106 each time": (
        [
            stocked(1),
            *(
                document
                for day in range(3)
                for document in (
                    sale(SHOP, f"S{day}", NOON + day * DAY + HOUR, line(code(1)), person=str(day)),
                    stock_change(SHOP, f"T{day}", NOON + day * DAY + 2 * HOUR, 106, line(code(1))),
                )
            ),
            sale(SHOP, "S3", NOON + 3 * DAY + HOUR, line(code(1)), person="Z"),
        ],
        {
            1: {},
            3: {"RETURN_RESOLD": "INFO"},
            5: {"RETURN_RESOLD": "WARN"},
            7: {"RETURN_RESOLD": "ALERT"},
        },
    ),
    "split elsewhere, then sold whole": (
        [
            stocked(1, shop=QUIET),
            sale(QUIET, "S1", NOON + HOUR, line(code(1), split=True, quantity="24"), person="A"),
            stocked(1, number="R2", time=NOON + 2 * DAY),
            sale(SHOP, "S2", NOON + 3 * DAY, line(code(1)), person="B"),
        ],
        {3: {"SPLIT_AFTER_WHOLE": "WARN"}},
    ),
    "an expiry mistyped on the receipt": (
        [
            receipt(SHOP, "R1", NOON, line(code(1), expiry="2025-06-30")),
            sale(SHOP, "S1", NOON + HOUR, line(code(1), expiry="2027-06-30")),
        ],
        {1: {"EXPIRED_SALE": "WARN", "SWAP_ATTR": "INFO"}},
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_in_the_same_verdicts_in_every_order_of_arrival(story: Story, name: str) -> None:
    """Findings that stand at the end are those of the table, whatever arrives first (at most 24 orders)."""
    documents, expected = STORIES[name]
    newest = max(document.business_time.seconds for document in documents)
    orders = list(itertools.permutations(range(len(documents))))[:24]

    story.ledger.record(documents, [(newest + 60) * NS] * len(documents))

    for at, findings in expected.items():
        stands = story.standing(documents[at])
        stands.pop("LATE_UPLOAD", None)
        assert stands == findings, f"in the told order, document {at}"
    for order in orders[1:]:
        told = Ledger.open(
            None, engine="memory", person_key=PersonKey(b"k" * 32), clock_ns=lambda: BEFORE * NS
        )
        other = Story(told)
        told.record([documents[at] for at in order], [(newest + 60) * NS] * len(documents))
        for at, findings in expected.items():
            stands = other.standing(documents[at])
            stands.pop("LATE_UPLOAD", None)
            assert stands == findings, f"in the order {order}, document {at}"
        told.close()


def test_a_product_is_learnt_alike_whatever_arrives_first(story: Story) -> None:
    """Pins that a receipt and sales from before the fifth sale are judged again when it has come; that a
    swap among them is found, one level milder; and that late sales make others too old to be let pass."""
    unknown, ageing = "8999999", "8999998"
    shops = (SHOP, OTHER, SISTER, FAR, SHOP, OTHER)
    sales = [
        sale(shop, f"S{n}", NOON + n * HOUR, line(code(n, unknown)), person=f"P{n}")
        for n, shop in enumerate(shops)
    ]
    delivered = receipt(SHOP, "R1", NOON - HOUR, line(code(0, unknown), code(4, unknown)))
    swapped = sale(FAR, "S9", NOON + HOUR, line(code(9, unknown), drug=OTHER_DRUG), person="P9")
    first = sale(QUIET, "S1", NOON - 31 * DAY, line(code(1, ageing)), person="P1")
    later = sale(QUIET, "S2", NOON, line(code(2, ageing)), person="P2")
    documents = [*sales, delivered, swapped, first, later]
    receive_times = [(NOON + DAY) * NS] * len(documents)
    story.ledger.record(documents, receive_times)
    ends = [story.standing(document) for document in documents]

    assert not any("PRODUCT_UNKNOWN" in end for end in ends[:-2])
    assert ends[7]["SWAP_PRODUCT"] == "ALERT"
    assert [end["PRODUCT_UNKNOWN"] for end in ends[-2:]] == ["INFO", "WARN"]
    for seed in range(20):
        shuffled = random.Random(seed).sample(documents, len(documents))
        told = Ledger.open(
            None, engine="memory", person_key=PersonKey(b"k" * 32), clock_ns=lambda: BEFORE * NS
        )
        other = Story(told)
        told.record(shuffled, receive_times)
        assert [other.standing(document) for document in documents] == ends, f"shuffled by {seed}"
        told.close()


def test_a_late_receipt_clears_what_its_absence_raised(story: Story) -> None:
    """Until 48 h a missing receipt weighs WARN at most; when it comes the finding is gone, by a revision."""
    bought = sale(SHOP, "S1", NOON + HOUR, line(code(1)))
    (verdict,) = story.tell(bought)
    (finding,) = [f for f in verdict.findings if f.type == FindingType.STOCK_NEVER_RECEIVED]

    assert (finding.severity, finding.final_severity) == (Severity.WARN, Severity.ALERT)
    assert verdict.provisional
    assert story.standing(bought) == {"STOCK_NEVER_RECEIVED": "ALERT"}

    story.tell(stocked(1), delay=DAY)

    assert story.standing(bought) == {}


def test_a_recalled_lot_blocks_a_sale(story: Story) -> None:
    """A hold on identifier and lot stops a sale of a box received with that lot."""
    story.ledger.import_holds(
        [catalogue_pb2.Hold(hold_id="H1", reason=1, identifier=ITEM, lot_number="L9", authority="药监")]
    )
    story.tell(receipt(SHOP, "R1", NOON, line(code(1), lot="L9")))

    (verdict,) = story.tell(sale(SHOP, "S1", NOON + HOUR, line(code(1)), asked=True))

    assert "RECALLED" in names(verdict)
    assert verdict.outcome == finding_pb2.OUTCOME_REFUSED


def test_a_box_whose_code_was_replaced_twice_is_one_box(story: Story) -> None:
    """Sold under the first code, asked for elsewhere under the third: the same box, BLOCK."""
    first, second, third = code(1), code(2), code(3)
    story.tell(stocked(1), sale(SHOP, "S1", NOON + HOUR, line(first), person="A"))
    for old, new in ((first, second), (second, third)):
        story.ledger.import_code_replacements([catalogue_pb2.CodeReplacement(old_code=old, new_code=new)])

    (verdict,) = story.tell(sale(OTHER, "S1", NOON + 3 * DAY, line(third), asked=True, person="B"))

    assert verdict.outcome == finding_pb2.OUTCOME_REFUSED
    assert "DUP_SALE_CROSS_ORG" in names(verdict)


def test_verify_writes_nothing_and_says_what_a_sale_would(story: Story) -> None:
    """The question's findings are those of the sale, and the ledger has not moved."""
    story.tell(stocked(1), sale(SHOP, "S1", NOON + HOUR, line(code(1)), person="A"))
    before = story.ledger.engine.sequence

    response = story.ledger.verify(
        ledger_service_pb2.VerifyCodesRequest(
            institution_code=OTHER,
            codes=[ledger_service_pb2.CodeQuestion(code=code(1), drug_code=DRUG)],
        )
    )

    (answer,) = response.answers
    assert answer.would_refuse
    assert FindingType.DUP_SALE_CROSS_ORG in {f.type for f in answer.findings}
    assert story.ledger.engine.sequence == before == response.as_of.sequence


BAD = {
    "no institution": (lambda d: d.ClearField("institution_code"), "document.institution_code"),
    "institution in small letters": (
        lambda d: setattr(d, "institution_code", "p13050000001"),
        "document.institution_code",
    ),
    "no number": (lambda d: d.ClearField("document_number"), "document.document_number"),
    "no time": (lambda d: d.ClearField("business_time"), "document.business_time"),
    "no lines": (lambda d: d.ClearField("lines"), "document.lines"),
    "no kind": (lambda d: d.ClearField("sale"), "document.content"),
    "no stage": (lambda d: d.sale.ClearField("stage"), "document.sale.stage"),
    "quantity in words": (
        lambda d: setattr(d.lines[0], "quantity", "one"),
        "document.lines[0].quantity",
    ),
    "quantity zero": (lambda d: setattr(d.lines[0], "quantity", "0"), "document.lines[0].quantity"),
    "no such day": (
        lambda d: setattr(d.lines[0], "expiry_date", "2026-02-30"),
        "document.lines[0].expiry_date",
    ),
    "no such month": (
        lambda d: setattr(d.lines[0], "manufacture_date", "2026-13-00"),
        "document.lines[0].manufacture_date",
    ),
    "a scan without end": (
        lambda d: d.lines[0].codes.append("8" * 300),
        "document.lines[0].codes[1]",
    ),
    "control characters": (lambda d: setattr(d, "memo", "a\x00b"), "document.memo"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_names_the_field_and_leaves_no_trace(story: Story, name: str) -> None:
    """Each bad field is refused by its path; nothing of the document is kept."""
    spoil, field = BAD[name]
    document = sale(SHOP, "S1", NOON, line(code(1)))
    spoil(document)
    before = story.ledger.engine.sequence

    (rejected,) = story.ledger.record([document], [NOON * NS])

    assert isinstance(rejected, FieldInvalid)
    assert rejected.field == field
    assert story.ledger.engine.sequence == before


def test_both_engines_write_the_same_bytes(tmp_path: Path) -> None:
    """All stories told to both engines leave byte-equal journals and indexes."""
    key = PersonKey(b"k" * 32)
    ledgers = [
        Ledger.open(tmp_path / "ledger", engine="lmdb", person_key=key, clock_ns=lambda: BEFORE * NS),
        Ledger.open(None, engine="memory", person_key=key, clock_ns=lambda: BEFORE * NS),
    ]
    for ledger in ledgers:
        told = Story(ledger)
        for at, (documents, _) in enumerate(STORIES.values()):
            for document in documents:
                renumbered = document_pb2.Document()
                renumbered.CopyFrom(document)
                renumbered.document_number = f"{at}-{document.document_number}"
                for row in renumbered.lines:
                    moved = [
                        scan[:7] + f"{int(scan[7:16]) + 1000 * at:09d}" + scan[16:] for scan in row.codes
                    ]
                    del row.codes[:]
                    row.codes.extend(moved)
                told.tell(renumbered, delay=10 * DAY + at)

    lmdb, memory = ledgers
    assert _without_clearing(lmdb.engine.entries(0, 10_000)) == memory.engine.entries(0, 10_000)
    for ledger in ledgers:
        ledger.close()


def _without_clearing(entries: list[bytes]) -> list[bytes]:
    """Entries as they would stand if nothing had been cleared natively: only the mark differs."""
    from tracecode.v1 import journal_pb2  # noqa: PLC0415

    plain = []
    for value in entries:
        entry = journal_pb2.JournalEntry.FromString(value)
        entry.document.cleared = False
        if not entry.HasField("document") or not entry.document.document:
            entry = journal_pb2.JournalEntry.FromString(value)
        plain.append(entry.SerializeToString(deterministic=True))
    return plain
