"""How well a ledger judges the city: what it found of the frauds, and whom it accused wrongly.

The city's documents are recorded into a fresh ledger, with the receive times of the file as its clock.
Then what stands of every document, once nothing is awaited any more, is compared with the labels.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, TypeVar, cast

from google.protobuf.json_format import ParseDict, ParseError

from tracecode.catalogue import read_holds, read_institutions, read_products
from tracecode.document import DocumentKind
from tracecode.errors import DocumentRejected
from tracecode.finding import REGISTRY, FindingType, Severity
from tracecode.ledger import Ledger
from tracecode.v1 import document_pb2, finding_pb2, journal_pb2, ledger_service_pb2

__all__ = ["FindingScore", "Score", "read_documents", "read_start", "score", "shuffle", "verdict_digest"]

NS = 1_000_000_000
SHUFFLE_SECONDS = 48 * 3600
"""Documents that came within this time of their business time may come in any order: that long a verdict
waits for what is missing."""

BATCH_DOCUMENTS = 1_000
ENTRIES_PER_READ = 1_000
IMPORT_ROWS = 1_000
EXAMPLES_MAX = 20

Identity = tuple[str, int, str]
"""Institution, kind and number of a document."""

Dated = tuple[int, document_pb2.Document]
"""A document and its receive time, ns since 1970 UTC."""

Row = TypeVar("Row")

_WANTED = 'not {"receiveTime": …, "document": …} as the simulator writes it'


@dataclass(frozen=True, slots=True)
class FindingScore:
    """One finding: labels that expect it, how many of them have it, alarms raised by it, how many rightly.

    An alarm is a finding that stands at ALERT or BLOCK. Found means found as an alarm, unless the kind is
    lighter by nature (a swapped pack, a box returned and sold again). Recall and precision are None where
    nothing was expected or raised.
    """

    expected: int
    found: int
    alarms: int
    right: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """What came of recording a city.

    `recall` is the share of expected findings that stand, `precision` the share of alarms that stand on a
    labelled fraud. A false alarm is a line (or a document, or a drug's stock) with an alarm and no fraud;
    its cause is the honest label that covers it, or "unlabelled". `seconds` is the time that recording
    took, without reading the file. `rejected` counts documents that could not be taken, by reason.
    """

    recall: float | None
    precision: float | None
    false_alarms: int
    false_alarms_per_10000_lines: float
    false_alarm_causes: Mapping[str, int]
    documents: int
    lines: int
    seconds: float
    lines_per_second: float
    rejected: Mapping[str, int]
    per_finding: Mapping[str, FindingScore]
    misses: tuple[str, ...]
    """The first expected findings that do not stand, each with its document, line and code."""
    false_alarm_examples: tuple[str, ...]
    """The first false alarms, likewise."""
    digest: str
    """`verdict_digest` of the ledger: equal for every order of arrival and every engine."""

    def to_json(self) -> dict[str, Any]:
        """The score as JSON's types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Label:
    line_number: int
    code: str
    label: str
    fraud: bool
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Standing:
    """What stands of one document: type, line, code and final severity of each finding."""

    identity: Identity
    findings: tuple[tuple[int, int, str, int], ...]


# --- the documents ------------------------------------------------------------------------------


def read_documents(directory: Path) -> Iterator[Dated]:
    """The city's documents in the order of the file.

    Raises ValueError naming the line that is no document, OSError when there is no such file.
    """
    path = directory / "documents.jsonl"
    with path.open("rb") as file:
        for number, row in enumerate(file, start=1):
            yield _read_row(path, number, row)


def read_start(directory: Path) -> int:
    """The receive time of the city's first document, ns since 1970 UTC.

    A ledger for the city is opened with `clock_ns=lambda: read_start(directory)`: its journal begins with
    the rule base of that moment, and never goes back in time. Raises as `read_documents`.
    """
    first = next(read_documents(directory), None)
    if first is None:
        raise ValueError(f"{directory / 'documents.jsonl'}: holds no document; simulate the city anew")
    return first[0]


def shuffle(directory: Path, seed: int) -> Iterator[Dated]:
    """The city's documents in another order of arrival.

    A document that came within 48 h of its business time comes at another moment of those 48 h. What came
    later than that, or before its business time (a clock that is ahead), keeps its receive time, because
    that is part of what is judged. Repeats stay repeats.

    Raises as `read_documents`.
    """
    rng = Random(seed)
    path = directory / "documents.jsonl"
    order: list[tuple[int, int, int]] = []
    with path.open("rb") as file:
        offset = 0
        for number, row in enumerate(file, start=1):
            record = _read_json(path, number, row)
            received, business = (
                _read_time(record["receiveTime"]),
                _read_time(record["document"]["businessTime"]),
            )
            if 0 <= received - business < SHUFFLE_SECONDS:
                received = business + rng.randrange(SHUFFLE_SECONDS)
            order.append((received, number, offset))
            offset += len(row)
        order.sort()
        for received, number, offset in order:
            file.seek(offset)
            yield received * NS, _read_row(path, number, file.readline())[1]


def _read_row(path: Path, number: int, row: bytes) -> Dated:
    record = _read_json(path, number, row)
    try:
        return _read_time(record["receiveTime"]) * NS, ParseDict(record["document"], document_pb2.Document())
    except ParseError as error:
        raise ValueError(f"{path}, line {number}: {_WANTED}: {error}") from None


def _read_json(path: Path, number: int, row: bytes) -> dict[str, Any]:
    try:
        record = json.loads(row)
        _read_time(record["receiveTime"])
        _read_time(record["document"]["businessTime"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}, line {number}: {_WANTED}: {error!r}") from None
    return cast(dict[str, Any], record)


def _read_time(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp())


# --- recording and reading ----------------------------------------------------------------------


def score(
    directory: Path,
    ledger: Ledger,
    *,
    shuffle_seed: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Score:
    """Record the city of a directory into a fresh ledger and compare what stands with the labels.

    The ledger must have been opened with a clock that stands at `read_start`. `shuffle_seed` records the
    city in another order of arrival. `progress` is told (documents done, documents).

    Raises ValueError when the ledger is not fresh, is ahead of the city, or a file is not the
    simulator's; ImportInvalid, OSError.
    """
    _check_fresh(ledger, read_start(directory))
    import_catalogue(directory, ledger)
    labels, stock_labels = _read_labels(directory)
    with (directory / "documents.jsonl").open("rb") as file:
        total = sum(1 for _ in file)
    documents = iter(read_documents(directory) if shuffle_seed is None else shuffle(directory, shuffle_seed))
    counts: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    seconds = 0.0
    while batch := list(islice(documents, BATCH_DOCUMENTS)):
        begun = time.perf_counter()
        answers = ledger.record([document for _, document in batch], [received for received, _ in batch])
        seconds += time.perf_counter() - begun
        for answer in answers:
            if isinstance(answer, DocumentRejected):
                rejected[f"{answer.reason}: {answer}"] += 1
        counts["documents"] += len(batch)
        counts["lines"] += sum(len(document.lines) for _, document in batch)
        if progress is not None:
            progress(counts["documents"], total)
    tally = _Tally()
    for standing in _read_standing(ledger):
        tally.add_document(standing, labels.pop(standing.identity, ()))
    for (institution_code, kind, number), left in labels.items():
        tally.add_document(_Standing((institution_code, kind, number), ()), left)
    for institution in read_institutions(directory / "institutions.csv"):
        tally.add_stock(ledger, institution.institution_code, stock_labels)
    digest = verdict_digest(ledger, directory)
    return tally.sum_up(counts["documents"], counts["lines"], seconds, rejected, digest)


def _check_fresh(ledger: Ledger, start_ns: int) -> None:
    """A fresh journal holds the rule base it began with, and nothing else."""
    for stored in ledger.engine.entries(0, 2):
        entry = journal_pb2.JournalEntry.FromString(stored)
        if not entry.HasField("rule_base_change"):
            raise ValueError("the ledger holds entries already; score a city in a fresh one")
        if entry.receive_time_ns > start_ns:
            raise ValueError(
                "the ledger's journal begins after the city; open it with a clock_ns that gives read_start"
            )


def import_catalogue(directory: Path, ledger: Ledger) -> None:
    """Import the city's products, institutions and holds."""
    for products in _split(read_products(directory / "products.csv")):
        ledger.import_products(products)
    for institutions in _split(read_institutions(directory / "institutions.csv")):
        ledger.import_institutions(institutions)
    for holds in _split(read_holds(directory / "holds.csv")):
        ledger.import_holds(holds)


def _split(rows: Iterable[Row]) -> Iterator[list[Row]]:
    source = iter(rows)
    while some := list(islice(source, IMPORT_ROWS)):
        yield some


def _read_labels(directory: Path) -> tuple[dict[Identity, list[_Label]], dict[tuple[str, str], list[_Label]]]:
    """The labels of documents by identity, and those of stocks by institution and drug code."""
    labels: dict[Identity, list[_Label]] = defaultdict(list)
    stocks: dict[tuple[str, str], list[_Label]] = defaultdict(list)
    with (directory / "labels.jsonl").open(encoding="utf-8") as file:
        for number, row in enumerate(file, start=1):
            try:
                record = json.loads(row)
                if "level" in record:
                    # About an institution or a person as a whole: what a screening says, not a verdict.
                    continue
                label = _Label(
                    record["lineNumber"],
                    record["code"],
                    record["label"],
                    record["fraud"],
                    tuple(record["expected"]),
                )
                if record["kind"]:
                    kind = int(DocumentKind[record["kind"]])
                    labels[record["institutionCode"], kind, record["documentNumber"]].append(label)
                else:
                    stocks[record["institutionCode"], record["drugCode"]].append(label)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"labels.jsonl, line {number}: no label of the simulator: {error}") from None
    return dict(labels), dict(stocks)


def _read_standing(ledger: Ledger) -> Iterator[_Standing]:
    """What stands of every document of the journal: its entry's findings, or those of its last revision."""
    standing: dict[int, _Standing] = {}
    after = 0
    while entries := ledger.engine.entries(after, ENTRIES_PER_READ):
        after += len(entries)
        for stored in entries:
            entry = journal_pb2.JournalEntry.FromString(stored)
            if entry.HasField("document"):
                document = document_pb2.Document.FromString(entry.document.document)
                standing[entry.sequence] = _Standing(_identify(document), _freeze(entry.document.findings))
            elif entry.HasField("revision"):
                revised = entry.revision.revised_sequence
                standing[revised] = _Standing(standing[revised].identity, _freeze(entry.revision.findings))
    yield from standing.values()


_KINDS = {
    "sale": DocumentKind.SALE,
    "sale_return": DocumentKind.SALE_RETURN,
    "receipt": DocumentKind.RECEIPT,
    "purchase_return": DocumentKind.PURCHASE_RETURN,
    "stock_change": DocumentKind.STOCK_CHANGE,
    "stock_count": DocumentKind.STOCK_COUNT,
    "deletion": DocumentKind.DELETION,
}


def _identify(document: document_pb2.Document) -> Identity:
    kind = _KINDS[document.WhichOneof("content") or "sale"]
    return document.institution_code, int(kind), document.document_number


def _freeze(findings: Iterable[finding_pb2.Finding]) -> tuple[tuple[int, int, str, int], ...]:
    return tuple(
        (finding.type, finding.line_number, finding.code, finding.final_severity or finding.severity)
        for finding in findings
    )


def verdict_digest(ledger: Ledger, directory: Path) -> str:
    """A sha256 (hex) over what stands of all documents of the city's institutions.

    It does not depend on the order in which they were recorded, nor on sequence numbers: two ledgers that
    think the same of the same documents have the same digest.
    """
    codes = {row.institution_code for row in read_institutions(directory / "institutions.csv")}
    digest = hashlib.sha256()
    for standing in sorted(_read_standing(ledger), key=lambda each: each.identity):
        if standing.identity[0] in codes:
            digest.update(repr((standing.identity, sorted(standing.findings))).encode())
    return digest.hexdigest()


# --- comparing ----------------------------------------------------------------------------------


class _Tally:
    """Counts what stands against what was labelled."""

    def __init__(self) -> None:
        self._expected: Counter[str] = Counter()
        self._found: Counter[str] = Counter()
        self._alarms: Counter[str] = Counter()
        self._right: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        # The smallest by text, so that two runs show the same ones.
        self._misses: list[str] = []
        self._false: list[str] = []

    def add_document(self, standing: _Standing, labels: Iterable[_Label]) -> None:
        labels = list(labels)
        place = " ".join(
            (standing.identity[0], DocumentKind(standing.identity[1]).name, standing.identity[2])
        )
        for label in labels:
            for name in label.expected:
                self._expect(
                    name,
                    any(
                        _stands(name, kind, severity) and _covers(label, line, code)
                        for kind, line, code, severity in standing.findings
                    ),
                    f"{place} line {label.line_number} {label.code} {label.label}",
                )
        accused: dict[int, str] = {}
        for kind, line, code, severity in standing.findings:
            if severity < Severity.ALERT:
                continue
            name = FindingType(kind).name
            right = any(label.fraud and _covers(label, line, code) for label in labels)
            self._raise(name, right)
            if not right and line not in accused:
                honest = [label for label in labels if not label.fraud and _covers(label, line, code)]
                accused[line] = min(honest, key=_rank).label if honest else "unlabelled"
                self._false.append(f"{name} {place} line {line} {code} {accused[line]}")
        self._causes.update(accused.values())

    def add_stock(
        self, ledger: Ledger, institution_code: str, labels: Mapping[tuple[str, str], list[_Label]]
    ) -> None:
        found: dict[str, list[tuple[int, int]]] = {}
        request = ledger_service_pb2.ListStockRequest(institution_code=institution_code, page_size=1_000)
        while True:
            response = ledger.list_stock(request)
            for stock in response.stocks:
                found[stock.drug_code] = [
                    (finding.type, finding.final_severity or finding.severity) for finding in stock.findings
                ]
            if not response.next_page_token:
                break
            request.page_token = response.next_page_token
        for (labelled_code, drug_code), rows in labels.items():
            for name in (
                {name for label in rows for name in label.expected}
                if labelled_code == institution_code
                else ()
            ):
                hit = any(_stands(name, kind, severity) for kind, severity in found.get(drug_code, ()))
                self._expect(name, hit, f"{institution_code} stock of {drug_code} {rows[0].label}")
        for drug_code, findings in found.items():
            alarms = [FindingType(kind).name for kind, severity in findings if severity >= Severity.ALERT]
            right = any(label.fraud for label in labels.get((institution_code, drug_code), ()))
            for name in alarms:
                self._raise(name, right)
            if alarms and not right:
                self._causes["stock"] += 1
                self._false.append(f"{alarms[0]} {institution_code} stock of {drug_code}")

    def _expect(self, name: str, hit: bool, place: str) -> None:
        self._expected[name] += 1
        if hit:
            self._found[name] += 1
        else:
            self._misses.append(f"{name} {place}")

    def _raise(self, name: str, right: bool) -> None:
        self._alarms[name] += 1
        self._right[name] += right

    def sum_up(
        self, documents: int, lines: int, seconds: float, rejected: Mapping[str, int], digest: str
    ) -> Score:
        false_alarms = sum(self._causes.values())
        return Score(
            recall=_share(sum(self._found.values()), sum(self._expected.values())),
            precision=_share(sum(self._right.values()), sum(self._alarms.values())),
            false_alarms=false_alarms,
            false_alarms_per_10000_lines=round(false_alarms * 10_000 / max(1, lines), 4),
            false_alarm_causes=dict(sorted(self._causes.items())),
            documents=documents,
            lines=lines,
            seconds=round(seconds, 3),
            lines_per_second=round(lines / max(seconds, 1e-9), 1),
            rejected=dict(sorted(rejected.items())),
            per_finding={
                name: FindingScore(
                    self._expected[name],
                    self._found[name],
                    self._alarms[name],
                    self._right[name],
                    _share(self._found[name], self._expected[name]),
                    _share(self._right[name], self._alarms[name]),
                )
                for name in sorted(set(self._expected) | set(self._alarms))
            },
            misses=tuple(heapq.nsmallest(EXAMPLES_MAX, self._misses)),
            false_alarm_examples=tuple(heapq.nsmallest(EXAMPLES_MAX, self._false)),
            digest=digest,
        )


def _stands(name: str, kind: int, severity: int) -> bool:
    """Whether a finding is the expected one, and an alarm if its kind can be one."""
    found = FindingType(kind)
    return found.name == name and (severity >= Severity.ALERT or REGISTRY[found].severity < Severity.ALERT)


def _rank(label: _Label) -> tuple[bool, bool, str]:
    """The label of a code tells more than that of its line, and that more than the document's."""
    return not label.code, not label.line_number, label.label


def _covers(label: _Label, line: int, code: str) -> bool:
    """Whether a label and a finding are about the same thing: 0 and empty stand for all there is."""
    return (not label.line_number or not line or label.line_number == line) and (
        not label.code or not code or label.code == code
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
