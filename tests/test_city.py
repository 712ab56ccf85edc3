"""The city: its files are what they promise to be, and a ledger that records them judges as labelled."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tracecode.catalogue import read_holds, read_institutions, read_products
from tracecode.city.frauds import FRAUDS
from tracecode.city.score import (
    FindingScore,
    Score,
    read_documents,
    read_start,
    score,
    shuffle,
    verdict_digest,
)
from tracecode.city.simulate import CitySummary, simulate
from tracecode.code import read_scan
from tracecode.document import DELETED_TYPES, Document, DocumentKind, Line, Operation, read_document
from tracecode.errors import ImportInvalid
from tracecode.finding import FindingType
from tracecode.ledger import Ledger
from tracecode.person import PersonKey

FILES = ("products.csv", "institutions.csv", "holds.csv", "documents.jsonl", "labels.jsonl")
HOUR = 3600

# Of the findings that the city's frauds must draw, those that the chain of a code decides.
CHAIN_DECIDED = {
    "DUP_SALE_SAME_ORG",
    "DUP_SALE_CROSS_ORG",
    "DUP_CROSS_REGION",
    "RESALE_AFTER_SETTLE",
    "SPLIT_OVER",
    "SPLIT_CROSS_ORG",
    "SPLIT_AFTER_WHOLE",
    "STOCK_NEVER_RECEIVED",
    "STOCK_ALREADY_OUT",
    "EXPIRED_SALE",
    "RECALLED",
    "RETURN_OTHER_ORG",
    "RETURN_RESOLD",
    "DELETE_AFTER_FLAG",
}

# Honest labels that every city of some size must hold, so that a quiet ledger is quiet for a reason.
HONEST = {
    "address_scan",
    "both_channels",
    "cancel_and_rebill",
    "carton_received",
    "carton_sold_whole",
    "chain_transfer",
    "clock_ahead",
    "code_used_by_other",
    "corrected_receipt",
    "corrected_sale",
    "customer_return",
    "destroyed",
    "document_parts",
    "enterprise_code",
    "every_line_all_codes",
    "full_width_scan",
    "gs1_code",
    "herb_without_code",
    "joined_scan",
    "label_typed",
    "last_day_of_validity",
    "late_upload",
    "loss",
    "lost_and_found",
    "lot_mistyped",
    "month_end_expiry",
    "moved_within_chain",
    "offline_till",
    "other_out",
    "placeholder_of_split_pack",
    "product_barcode_scanned",
    "purchase_return",
    "receipt_entered_late",
    "receipt_uploaded_late",
    "resold_by_supplier",
    "returned_box_resold",
    "scanned_twice",
    "self_paid_without_scan",
    "smallest_unit_carton",
    "spaced_scan",
    "split_pack",
    "split_return",
    "surplus",
    "till_retry",
    "transfer_entered_late",
    "transfer_in_missing",
    "transfer_out_missing",
    "unmapped_product",
}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> CitySummary:
    """A small city, as it is demonstrated."""
    return simulate(3, 8, 4, tmp_path_factory.mktemp("city"))


@pytest.fixture(scope="module")
def large_city(tmp_path_factory: pytest.TempPathFactory) -> CitySummary:
    """A city in which there is room and time for everything."""
    return simulate(4, 12, 10, tmp_path_factory.mktemp("large_city"))


Rows = list[tuple[int, Document]]


@pytest.fixture(scope="module")
def large_rows(large_city: CitySummary) -> Rows:
    """The large city's documents, checked."""
    return read_rows(large_city)


@pytest.fixture(scope="module")
def scored(city: CitySummary) -> Iterator[tuple[Ledger, Score]]:
    """A ledger that recorded the small city, and its score."""
    ledger = open_ledger(city)
    yield ledger, score(city.directory, ledger)
    ledger.close()


def open_ledger(city: CitySummary) -> Ledger:
    """A fresh ledger in memory whose clock stands at the city's beginning."""
    start = read_start(city.directory)
    return Ledger.open(None, engine="memory", person_key=PersonKey(b"k" * 32), clock_ns=lambda: start)


def read_labels(city: CitySummary) -> list[dict[str, Any]]:
    """The rows of labels.jsonl."""
    with (city.directory / "labels.jsonl").open(encoding="utf-8") as file:
        return [json.loads(row) for row in file]


def read_rows(city: CitySummary) -> Rows:
    """The city's documents as the ledger would take them, with their receive times in seconds."""
    return [
        (received // 10**9, read_document(document)) for received, document in read_documents(city.directory)
    ]


def read_codes(line: Line) -> list[str]:
    """The canonical codes of a line, those inside its packages included."""
    scans = [*line.scans, *(scan for package in line.packages for scan in package.child_scans)]
    return [reading.text for scan in scans for reading in read_scan(scan) if reading.key]


# --- the files ----------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(city: CitySummary, tmp_path: Path) -> None:
    """Pins that a city is its seed: no clock, no hash order, nothing of the machine gets in."""
    simulate(3, 8, 4, tmp_path / "same")
    simulate(5, 8, 4, tmp_path / "other")

    for name in FILES:
        written = (city.directory / name).read_bytes()
        assert written == (tmp_path / "same" / name).read_bytes(), name
        assert written != (tmp_path / "other" / name).read_bytes(), name


def test_the_summary_says_what_the_files_hold(city: CitySummary) -> None:
    """Pins that the numbers a demonstration prints are those of the files."""
    rows = read_rows(city)
    labels = read_labels(city)

    assert city.documents == len(rows)
    assert city.lines == sum(len(document.lines) for _, document in rows)
    assert sum(city.frauds.values()) == sum(label["fraud"] for label in labels)
    assert sum(city.honest.values()) == sum(not label["fraud"] for label in labels)


def test_a_city_has_about_170_lines_an_institution_and_day(large_city: CitySummary) -> None:
    """Pins the scale: 200 institutions and 30 days are a million lines."""
    assert 150 < large_city.lines / large_city.institutions / large_city.days < 190


def test_the_catalogue_can_be_imported(city: CitySummary) -> None:
    """Pins that products, institutions and holds pass the checks of an import."""
    institutions = list(read_institutions(city.directory / "institutions.csv"))

    assert len(list(read_products(city.directory / "products.csv"))) == city.products
    assert len(institutions) == 8
    assert len({row.division_code[:4] for row in institutions}) >= 2
    assert {row.uploads_receipt_codes for row in institutions} == {True, False}
    assert any(row.group_code for row in institutions)
    assert any(len(row.service_periods) == 2 for row in institutions)
    assert list(read_holds(city.directory / "holds.csv"))


def test_real_drug_codes_are_used_when_they_are_given(tmp_path: Path) -> None:
    """Pins that a catalogue of drug codes is read, and that a file of another kind is refused by row."""
    codes = [f"XJ01CAA{number:03d}A001010{number % 7}00001" for number in range(120)]
    catalogue = tmp_path / "drugs.csv"
    catalogue.write_text("med_list_codg,generic_name\n" + "".join(f"{code},某药\n" for code in codes))

    city = simulate(1, 6, 3, tmp_path / "city", catalogue)

    sold = {code for row in read_products(city.directory / "products.csv") for code in row.drug_codes}
    assert sold <= set(codes)
    catalogue.write_text("code,name\n1,2\n")
    with pytest.raises(ImportInvalid, match=r"row 1, med_list_codg: is missing"):
        simulate(1, 6, 3, tmp_path / "city", catalogue)
    catalogue.write_text("med_list_codg,generic_name\nQ1,某药\n")
    with pytest.raises(ImportInvalid, match=r"row 2, med_list_codg"):
        simulate(1, 6, 3, tmp_path / "city", catalogue)


@pytest.mark.parametrize(("institutions", "days"), [(5, 5), (12, 2), (0, 0), (100_000, 3)])
def test_a_city_that_cannot_live_is_refused(tmp_path: Path, institutions: int, days: int) -> None:
    """Pins a sentence instead of an empty city."""
    with pytest.raises(ValueError, match=r"a city (of|needs|has)|institutions are too many"):
        simulate(1, institutions, days, tmp_path / "city")


def test_documents_arrive_in_order_and_can_be_taken(large_rows: Rows) -> None:
    """Pins the order of the file, and that an identity stands twice only as an exact repeat."""
    seen: dict[tuple[str, int, str], Document] = {}
    before = 0
    repeats = 0
    for received, document in large_rows:
        assert received >= before
        before = received
        identity = (document.institution_code, document.kind, document.number)
        repeats += identity in seen
        assert seen.setdefault(identity, document) == document

    assert repeats > 10


def test_progress_is_told_by_the_day(tmp_path: Path) -> None:
    """Pins that a caller can show how far the city is."""
    told: list[tuple[int, int]] = []

    simulate(1, 6, 3, tmp_path, progress=lambda done, total: told.append((done, total)))

    assert told == [(1, 3), (2, 3), (3, 3)]


# --- the labels ---------------------------------------------------------------------------------


def test_every_kind_of_fraud_and_of_honest_oddity_is_there(large_city: CitySummary) -> None:
    """Pins that a score over a city speaks of all kinds."""
    assert {fraud.label for fraud in FRAUDS} <= set(large_city.frauds)
    assert set(large_city.honest) >= HONEST
    expected = {name for label in read_labels(large_city) for name in label["expected"]}
    assert expected >= CHAIN_DECIDED
    assert expected <= set(FindingType.__members__)


def test_labels_point_at_documents_lines_and_codes_that_exist(
    large_city: CitySummary, large_rows: Rows
) -> None:
    """Pins that no label misses what it is about: a miss would be counted as the ledger's."""
    documents = {
        (document.institution_code, document.kind.name, document.number): document
        for _, document in large_rows
    }
    drugs = {
        (document.institution_code, line.drug_code)
        for document in documents.values()
        for line in document.lines
    }
    for label in read_labels(large_city):
        if not label["kind"]:
            assert (label["institutionCode"], label["drugCode"]) in drugs, label
            continue
        document = documents[label["institutionCode"], label["kind"], label["documentNumber"]]
        lines = {line.number: line for line in document.lines}
        assert not label["lineNumber"] or label["lineNumber"] in lines, label
        if label["code"]:
            assert label["code"] in read_codes(lines[label["lineNumber"]]), label
        assert label["fraud"] or not label["expected"], label


def test_what_no_label_names_is_in_order(large_city: CitySummary, large_rows: Rows) -> None:
    """Pins the simulator itself: an unlabelled box came in before it was sold, once, by those who sold it.

    Follows the boxes with a model of its own that knows no rule: a false alarm in the scores below is the
    ledger's fault, not the city's.
    """
    frauds = {
        (label["institutionCode"], label["kind"], label["documentNumber"], label["code"])
        for label in read_labels(large_city)
        if label["fraud"] or label["label"] in ("both_channels", "scanned_twice", "cancel_and_rebill")
    }
    accused = {code for *_, code in frauds if code}
    lent = {
        (label["institutionCode"], label["documentNumber"])
        for label in read_labels(large_city)
        if label["label"] in ("moved_within_chain", "transfer_in_missing")
    }
    uploads = {
        row.institution_code
        for row in read_institutions(large_city.directory / "institutions.csv")
        if row.uploads_receipt_codes
    }
    rows = {
        (document.institution_code, document.kind, document.number): document for _, document in large_rows
    }
    deleted = find_deleted(list(rows.values()))
    received: dict[tuple[str, str], int] = {}
    moves: dict[str, list[tuple[int, str, Operation]]] = defaultdict(list)
    sales = []
    for identity, document in rows.items():
        if identity in deleted:
            continue
        # A code on two lines of one document is still one box.
        carried = {code: document.operation(line) for line in document.lines for code in read_codes(line)}
        for code, operation in carried.items():
            if operation in (Operation.RECEIVE, Operation.TRANSFER_IN):
                place = (document.institution_code, code)
                received[place] = min(received.get(place, document.business_time), document.business_time)
            if operation is Operation.SALE and not is_labelled(document, code, frauds):
                sales.append((document, code))
            moves[code].append((document.business_time, document.institution_code, operation))
    assert len(sales) > 10_000
    for document, code in sales:
        here = document.institution_code
        if here in uploads and (here, document.number) not in lent:
            assert received[here, code] <= document.business_time + 48 * HOUR, (here, document.number, code)
        if code in accused:
            continue
        sold = 0
        for _, _, operation in sorted(moves[code]):
            sold += {Operation.SALE: 1, Operation.SALE_RETURN: -1}.get(operation, 0)
            assert sold <= 1, (here, document.number, code)


def find_deleted(documents: list[Document]) -> set[tuple[str, DocumentKind, str]]:
    """The identities of the documents that deletions take back."""
    named = {
        (document.institution_code, document.deleted_type, document.deleted_document_number)
        for document in documents
        if document.kind is DocumentKind.DELETION
    }
    serials = {
        (document.institution_code, document.deleted_type, document.deleted_batch_serial)
        for document in documents
        if document.kind is DocumentKind.DELETION and document.deleted_batch_serial
    }
    return {
        (document.institution_code, document.kind, document.number)
        for document in documents
        if document.kind is not DocumentKind.DELETION and not document.corrects
        if (document.institution_code, DELETED_TYPES[document.kind], document.number) in named
        or any(
            (document.institution_code, DELETED_TYPES[document.kind], line.batch_serial) in serials
            for line in document.lines
        )
    }


def is_labelled(document: Document, code: str, labels: set[tuple[str, str, str, str]]) -> bool:
    """Whether a label names the document, or the code on it."""
    identity = (document.institution_code, document.kind.name, document.number)
    return (*identity, "") in labels or (*identity, code) in labels


# --- another order ------------------------------------------------------------------------------


def test_shuffling_changes_when_documents_arrive_and_nothing_else(city: CitySummary) -> None:
    """Pins what an order of arrival may change: the receive time of what came within 48 hours."""
    before = list(read_documents(city.directory))
    after = list(shuffle(city.directory, 9))

    assert sorted(document.SerializeToString(deterministic=True) for _, document in before) == sorted(
        document.SerializeToString(deterministic=True) for _, document in after
    )
    assert [received for received, _ in after] == sorted(received for received, _ in after)
    assert [document.document_number for _, document in after] != [
        document.document_number for _, document in before
    ]
    kept = {
        (received, document.SerializeToString(deterministic=True))
        for received, document in before
        if not 0 <= received // 10**9 - document.business_time.seconds < 48 * HOUR
    }
    assert kept
    assert kept <= {
        (received, document.SerializeToString(deterministic=True)) for received, document in after
    }
    assert list(shuffle(city.directory, 9)) == after


# --- the score ----------------------------------------------------------------------------------


def test_a_ledger_finds_the_frauds_and_accuses_nobody_else(
    city: CitySummary, scored: tuple[Ledger, Score]
) -> None:
    """Pins the judgement as a whole: every planted fraud is found, and no honest line draws an alarm."""
    _, result = scored

    assert result.rejected == {}
    assert result.false_alarm_examples == ()
    assert result.misses == ()
    assert (result.recall, result.precision, result.false_alarms) == (1, 1, 0)
    assert set(result.per_finding) >= CHAIN_DECIDED - {"RETURN_RESOLD"}
    assert (result.documents, result.lines) == (city.documents, city.lines)
    assert json.loads(json.dumps(result.to_json()))["per_finding"]["DUP_SALE_CROSS_ORG"]["recall"] == 1


def test_another_order_of_arrival_ends_in_the_same_verdicts(
    city: CitySummary, scored: tuple[Ledger, Score]
) -> None:
    """Pins that what stands at last does not depend on who uploaded first."""
    ledger, first = scored
    told: list[tuple[int, int]] = []
    other = open_ledger(city)
    try:
        second = score(
            city.directory, other, shuffle_seed=1, progress=lambda done, total: told.append((done, total))
        )

        assert verdict_digest(other, city.directory) == verdict_digest(ledger, city.directory)
        assert second.per_finding == first.per_finding
        assert told[-1] == (city.documents, city.documents)
    finally:
        other.close()


def test_a_digest_tells_other_verdicts_apart(city: CitySummary, scored: tuple[Ledger, Score]) -> None:
    """Pins that equal digests mean something: one more document, and they differ."""
    ledger, _ = scored
    before = verdict_digest(ledger, city.directory)
    received, document = next(iter(read_documents(city.directory)))
    document.document_number = "ANOTHER"

    ledger.record([document], [received])

    assert verdict_digest(ledger, city.directory) != before


def test_a_labelled_fraud_that_is_not_found_is_a_miss(city: CitySummary, tmp_path: Path) -> None:
    """Pins that a score can be bad: labels of another world give misses and false alarms."""
    for name in FILES:
        (tmp_path / name).write_bytes((city.directory / name).read_bytes())
    first = next(label for label in read_labels(city) if "CODE_EMPTY" in label["expected"])
    honest = {**first, "fraud": False, "expected": [], "label": "honest"}
    missing = {**first, "documentNumber": "NOWHERE", "label": "missing"}
    with (tmp_path / "labels.jsonl").open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in (honest, missing))
    rows = [
        row
        for row in (tmp_path / "documents.jsonl").read_text().splitlines(keepends=True)
        if first["documentNumber"] in row and first["institutionCode"] in row
    ]
    (tmp_path / "documents.jsonl").write_text("".join(rows))
    ledger = open_ledger(city)
    try:
        result = score(tmp_path, ledger)
    finally:
        ledger.close()

    assert result.per_finding["CODE_EMPTY"] == FindingScore(1, 0, 1, 0, 0.0, 0.0)
    assert result.false_alarm_causes == {"honest": 1}
    assert "NOWHERE" in result.misses[0]


def test_a_ledger_that_is_in_use_is_not_scored(city: CitySummary, scored: tuple[Ledger, Score]) -> None:
    """Pins that a score is never mixed with what was there before, nor recorded into the past."""
    with pytest.raises(ValueError, match="fresh"):
        score(city.directory, scored[0])
    late = Ledger.open(None, engine="memory", person_key=PersonKey(b"k" * 32), clock_ns=lambda: 2**62)
    try:
        with pytest.raises(ValueError, match="begins after the city"):
            score(city.directory, late)
    finally:
        late.close()


def test_a_file_that_is_not_the_simulators_is_named_by_line(tmp_path: Path) -> None:
    """Pins that a damaged file is an error with a place, not a traceback out of a parser."""
    (tmp_path / "documents.jsonl").write_text('{"receiveTime":"2026-03-01T00:00:00Z","document":{"no":1}}\n')

    with pytest.raises(ValueError, match=r"documents\.jsonl, line 1: not"):
        list(read_documents(tmp_path))
