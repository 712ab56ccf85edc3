"""Reports: every figure is what the journal says, and no file of one does more than show it.

Goal: a report may be published. Method: a small simulated city, sales at the edges of the month and cases
that people followed are counted a second time here, entry by entry, without views, SQL or the index; files
are read back by other programs.
"""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import openpyxl
import pyarrow.parquet as pq
import pytest
from documents import DAY, HOUR, INSTITUTIONS, NS, OTHER, PRODUCTS, SHOP, code, deletion, line, receipt, sale

from tracecode._native import Store, read_scan
from tracecode.cases.case import fold
from tracecode.city.score import import_catalogue, read_documents, read_start
from tracecode.city.simulate import simulate
from tracecode.document import CHINA_SECONDS, EPOCH, freeze_document
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.reports import FORMATS, Period, Report, export_report, make_report
from tracecode.reports.export import spreadsheet_text
from tracecode.v1 import case_pb2, case_service_pb2, catalogue_pb2, document_pb2, journal_pb2
from tracecode.views.projector import Projector, rebuild

MARCH = Period.parse("2026-03")
MONTH_END = 1_774_972_800
"""2026-04-01 00:00 in China."""
EVIL_NAME = '=HYPERLINK("http://example.com","甲店")'
EVIL_NUMBER = "+SUM(1,1)"
WARN = 2

SALE, RECEIPT = 1, 3


@dataclass
class Clock:
    """Says when people at the desk act."""

    seconds: int = 0

    def __call__(self) -> int:
        return self.seconds * NS


# --- the ledger ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ledger_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of four days of a city, of sales around the end of March, and of cases; nobody has it open."""
    city, data = tmp_path_factory.mktemp("city"), tmp_path_factory.mktemp("data")
    simulate(5, 6, 4, city, busyness=0.2)
    clock = Clock(read_start(city) // NS)
    ledger = Ledger.open(data, engine="lmdb", person_key=PersonKey(b"k" * 32), clock_ns=clock)
    try:
        import_catalogue(city, ledger)
        ledger.import_products(PRODUCTS)
        evil = catalogue_pb2.Institution()
        evil.CopyFrom(INSTITUTIONS[1])
        evil.name = EVIL_NAME
        ledger.import_institutions([INSTITUTIONS[0], evil, *INSTITUTIONS[2:]])
        told = list(read_documents(city))
        ledger.record([document for _, document in told], [received for received, _ in told])
        for received, document in tell_month_end():
            ledger.record([document], [received * NS])
        act(ledger, clock)
    finally:
        ledger.close()
    return data


def priced(*codes: str, price: str = "12.345", batch: str = "") -> document_pb2.Line:
    """A line that says what it costs."""
    told = line(*codes, batch=batch)
    told.final_price = price
    return told


def tell_month_end() -> Iterator[tuple[int, document_pb2.Document]]:
    """Receive times and documents around the end of March: on both sides of midnight, twice, taken back."""
    begun = MONTH_END - 10 * DAY
    for number in range(12):
        yield begun + number, receipt(SHOP, f"R{number}", begun - DAY + number, priced(code(number)))
    for number in range(12):
        time = begun + number * HOUR
        yield time + 5, sale(SHOP, f"S{number}", time, priced(code(number)))
    for number in range(6):
        # Somebody else sells the same boxes: five codes are more than a suspicion needs.
        time = begun + DAY + number * HOUR
        name = EVIL_NUMBER if number == 0 else f"D{number}"
        yield time + 5, sale(OTHER, name, time, priced(code(number), code(300 + number)))
    asked = begun + 2 * DAY
    yield asked, sale(SHOP, "Q1", asked, priced(code(3)), asked=True)
    yield asked + 60, deletion(SHOP, "X1", asked + 60, deletes="S9")
    yield asked + 70, sale(SHOP, "B1", asked + 70, priced(code(700), batch="BATCH1"))
    yield asked + 80, deletion(SHOP, "X2", asked + 80, batch="BATCH1")
    for channel in (1, 2):
        # The settlement channel's copy before midnight, the inventory channel's behind it.
        time = MONTH_END - 2 + channel
        twice = sale(SHOP, f"C{channel}", time, priced(code(500)), settlement="SETL1", channel=channel)
        yield MONTH_END + channel, twice
    yield MONTH_END + 10, sale(SHOP, "N1", MONTH_END - 1, priced(code(501)))
    yield MONTH_END + 11, sale(SHOP, "N2", MONTH_END, priced(code(502)))
    yield MONTH_END + 12, sale(SHOP, "E1", MONTH_END - 3, line(""))
    late = MONTH_END + 4 * DAY
    yield late, sale(OTHER, "L1", MONTH_END - DAY, priced(code(601)))
    yield late + 1, receipt(OTHER, "L2", MONTH_END - 2 * DAY, priced(code(601)))


def act(ledger: Ledger, clock: Clock) -> None:
    """Three cases and four acts; some lie before the end of March, as days of the desk must."""
    found = [
        case_pb2.FindingReference(
            sequence=entry.sequence,
            type=finding.type,
            line_number=finding.line_number,
            code=finding.code,
        )
        for entry in read_journal(ledger.engine.entries(0, 1_000_000))
        if entry.HasField("document")
        for finding in entry.document.findings
        if finding.final_severity >= WARN and in_march(entry)
    ]
    assert len(found) > 20
    clock.seconds = MONTH_END + 5 * DAY

    def open_case(*findings: case_pb2.FindingReference, title: str) -> case_pb2.Case:
        return ledger.desk.open_case(
            case_service_pb2.OpenCaseRequest(
                actor="张三", title=title, origin=case_pb2.CASE_ORIGIN_FINDINGS, findings=findings
            )
        )

    def advance(case: case_pb2.Case, state: int, *outcomes: tuple[int, int], days: int = 1) -> case_pb2.Case:
        clock.seconds += days * DAY
        return ledger.desk.advance_case(
            case_service_pb2.AdvanceCaseRequest(
                case_number=case.case_number,
                etag=case.etag,
                actor="张三",
                approver="李四",
                note="已核对",
                to_state=case_pb2.CaseState.ValueType(state),
                outcomes=[
                    case_pb2.CaseOutcome(
                        type=case_pb2.CaseOutcomeType.ValueType(kind), amount_fen=fen, reference="公安"
                    )
                    for kind, fen in outcomes
                ],
            )
        )

    mine = [each for each in found if each.sequence > found[-1].sequence - 40]
    closed = open_case(*mine[:3], title="重复结算")
    for state in (2, 3):
        closed = advance(closed, state)
    closed = advance(closed, 4, (3, 12_345), (5, 50_000), (4, 777))
    # Past the 30 days of 整改, and within the 15 of 复查.
    closed = advance(closed, 5, days=40)
    overdue = open_case(mine[3], title="无入库记录")
    for state in (2, 3):
        overdue = advance(overdue, state)
    advance(overdue, 4, (6, 0), (8, 0))
    closed = advance(closed, 6, days=5)
    innocent = open_case(found[0], title="串换")
    advance(advance(innocent, 2), 6, (1, 0))

    def decide(finding: case_pb2.FindingReference, decision: int, previous: int = 0) -> int:
        clock.seconds += 60
        return ledger.desk.act_on_finding(
            case_service_pb2.ActOnFindingRequest(
                actor="王五",
                finding=finding,
                decision=case_pb2.FindingDecision.ValueType(decision),
                reason="已核实",
                previous_sequence=previous,
            )
        ).act_sequence

    decide(found[1], 2)
    decide(found[2], 3, decide(found[2], 1))
    decide(found[4], 4, decide(found[4], 2))
    decide(mine[0], 2)


def read_journal(values: list[bytes]) -> list[journal_pb2.JournalEntry]:
    """Entries as messages."""
    return [journal_pb2.JournalEntry.FromString(value) for value in values]


def in_march(entry: journal_pb2.JournalEntry) -> bool:
    """Whether a document's business day lies in March."""
    document = document_pb2.Document.FromString(entry.document.document)
    return MARCH.first <= day_of(business_seconds(entry, document)) <= MARCH.last


def business_seconds(entry: journal_pb2.JournalEntry, document: document_pb2.Document) -> int:
    """When it happened; what lies more than 5 minutes in the future happened when it came."""
    received = entry.receive_time_ns // NS
    told = document.business_time.seconds
    return received if told > received + 300 else told


def day_of(seconds: int) -> date:
    """The day in China."""
    return EPOCH + timedelta(days=(seconds + CHINA_SECONDS) // DAY)


# --- the second count ---------------------------------------------------------------------------


@dataclass
class Told:
    """A document of the journal, read again."""

    sequence: int
    message: document_pb2.Document
    kind: int
    time: int
    day: date
    received: int
    refused: bool
    division: str
    revisions: dict[int, list[Any]]
    lines: list[tuple[int, list[str | None], Decimal]] = field(default_factory=list)
    """Number, codes read (None = not readable), fen."""


def recount(entries: list[journal_pb2.JournalEntry], period: Period, division: str) -> dict[str, Any]:
    """Every figure's numerator and denominator, from entries alone."""
    register: dict[str, str] = {}
    for entry in entries:
        for row in entry.institution_import.institutions:
            register[row.institution_code] = row.division_code or row.institution_code[1:7]
    told: dict[int, Told] = {}
    for entry in entries:
        if entry.HasField("document"):
            document = read_document(entry, register)
            told[document.sequence] = document
        elif entry.HasField("revision"):
            revision = entry.revision
            told[revision.revised_sequence].revisions[revision.revision] = list(revision.findings)
    back = {
        each.sequence
        for by in told.values()
        if by.kind == 7
        for each in told.values()
        if takes_back(by.message.deletion, by, each)
    }
    sales_told = [each for each in told.values() if each.kind == SALE and not each.refused]
    settled = {
        (each.message.institution_code, each.message.sale.settlement_id)
        for each in sales_told
        if each.message.channel != 1 and each.sequence not in back and each.message.sale.settlement_id
    }
    mine = [
        each
        for each in told.values()
        if period.first <= each.day <= period.last
        and each.division.startswith(division)
        and (each.lines or each.kind == 7)
    ]

    def stands(each: Told) -> bool:
        copied = each.kind == SALE and each.message.channel == 1 and each.message.sale.settlement_id
        key = (each.message.institution_code, each.message.sale.settlement_id)
        return not each.refused and each.sequence not in back and not (copied and key in settled)

    sales = [each for each in mine if each.kind == SALE and stands(each)]
    receipts = [each for each in mine if each.kind == RECEIPT and stands(each)]
    lines = [(each, *row) for each in sales for row in each.lines]
    insured = [row for row in lines if row[0].message.sale.settlement_type == 1]
    receipt_lines = [row for each in receipts for row in each.lines]
    scans = [code for each in mine for _, codes, _ in each.lines for code in codes]
    places = {each.message.institution_code for each in mine}
    registered = {place for place, where in register.items() if where.startswith(division)}
    delays = sorted(each.received - each.time for each in mine)
    figures: dict[str, Any] = {
        "institutions_registered": len(registered),
        "institutions_reporting": len(places),
        "institutions_reporting_share": (len(places & registered), len(registered)),
        "sale_lines_coded_share": (sum(any(row[2]) for row in lines), len(lines)),
        "insured_lines_coded_share": (sum(any(row[2]) for row in insured), len(insured)),
        "receipt_lines_coded_share": (sum(any(row[1]) for row in receipt_lines), len(receipt_lines)),
        "documents": len(mine),
        "documents_refused": sum(each.refused for each in mine),
        "documents_deleted": sum(each.sequence in back for each in mine),
        "sales": len(sales),
        "sale_lines": len(lines),
        "sale_amount": int(sum(row[3] for row in lines)),
        "scans": len(scans),
        "scans_read_share": (sum(map(bool, scans)), len(scans)),
        "codes_sold": len({code for row in lines for code in row[2] if code}),
        "codes_received": len({code for row in receipt_lines for code in row[1] if code}),
        "documents_late_share": (sum(delay > 48 * HOUR for delay in delays), len(delays)),
        "documents_very_late_share": (sum(delay > 30 * DAY for delay in delays), len(delays)),
        "delay_median_seconds": delays[-(-len(delays) // 2) - 1] if delays else 0,
        "delay_p95_seconds": delays[-(-len(delays) * 95 // 100) - 1] if delays else 0,
    }
    return figures | recount_findings(entries, mine, sales) | recount_cases(entries, period, division)


def read_document(entry: journal_pb2.JournalEntry, register: dict[str, str]) -> Told:
    """A document with what was read on its lines, and what they cost."""
    message = document_pb2.Document.FromString(entry.document.document)
    time = business_seconds(entry, message)
    frozen = freeze_document(message)
    told = Told(
        sequence=entry.sequence,
        message=message,
        kind=int(frozen.kind),
        time=time,
        day=day_of(time),
        received=entry.receive_time_ns // NS,
        refused=entry.document.outcome == 2,
        division=register.get(message.institution_code) or message.institution_code[1:7],
        revisions={0: list(entry.document.findings)},
    )
    for place, (row, known) in enumerate(zip(message.lines, frozen.lines, strict=True), start=1):
        texts = [*row.codes]
        for package in row.packages:
            texts += [package.code, *package.child_codes]
        codes = [reading.text if reading.key else None for text in texts for reading in read_scan(text)]
        price = row.final_price or row.unit_price
        fen = Decimal(0)
        if price:
            fen = (known.quantity * Decimal(price)).quantize(Decimal("0.01"), ROUND_HALF_UP) * 100
        told.lines.append((row.line_number or place, codes, fen))
    return told


def takes_back(by: document_pb2.Deletion, deletion_told: Told, each: Told) -> bool:
    """Whether a deletion takes a document back."""
    kinds = {1: (6,), 2: (5,), 3: (3, 4), 4: (1, 2)}[by.type]
    message = each.message
    if each.kind not in kinds or message.institution_code != deletion_told.message.institution_code:
        return False
    if message.corrects_document_number or each.time > deletion_told.time:
        return False
    if by.deleted_document_number:
        return message.document_number == by.deleted_document_number
    return any(row.batch_serial == by.batch_serial for row in message.lines)


Key = tuple[int, int, int, str]


def recount_findings(
    entries: list[journal_pb2.JournalEntry], mine: list[Told], sales: list[Told]
) -> dict[str, Any]:
    """The funnel and the false alarms."""
    decisions: dict[Key, int] = {}
    for entry in entries:
        if entry.HasField("finding_act"):
            decisions[key_of(entry.finding_act.finding)] = entry.finding_act.decision
    in_case: dict[Key, case_pb2.Case] = {}
    for case in fold_cases(entries).values():
        in_case |= {key_of(each): case for each in case.findings}
    kinds = {each.sequence: each.kind for each in mine}
    places = {each.sequence: each.message.institution_code for each in mine}
    found: set[Key] = set()
    standing: set[Key] = set()
    for each in mine:
        for revision, findings in each.revisions.items():
            keys = {
                (each.sequence, int(finding.type), finding.line_number, finding.code)
                for finding in findings
                if finding.final_severity >= WARN
            }
            found |= keys
            if revision == max(each.revisions):
                standing |= keys
    dismissed = {key for key in found if decisions.get(key) == 2}
    confirmed = {
        key
        for key in found - dismissed
        if decisions.get(key) in (1, 3) or (key in in_case and is_violation(in_case[key]))
    }

    def doubtful(key: Key) -> bool:
        types = {other[1] for other in standing if other[0] == key[0]}
        codes = {
            other[3]
            for other in standing
            if other[3] and other[1] == key[1] and places[other[0]] == places[key[0]]
        }
        return len(types) >= 2 or len(codes) >= 3

    suspected = {key for key in standing - dismissed if doubtful(key)}
    suspected |= {key for key in found - dismissed if key in in_case} | confirmed
    wrong = dismissed | {key for key in found - standing if key not in in_case and key not in confirmed}

    def amount(keys: set[Key]) -> int:
        total = Decimal(0)
        for each in sales:
            for number, _, fen in each.lines:
                if any(key[0] == each.sequence and key[2] in (0, number) for key in keys):
                    total += fen
        return int(total)

    judged = len(confirmed) + len(dismissed)
    return {
        "findings_found": len(found),
        "findings_cleared": len(found - standing),
        "findings_suspected": len(suspected),
        "documents_suspected": len({key[0] for key in suspected}),
        "findings_in_cases": len(found & in_case.keys()),
        "findings_confirmed": len(confirmed),
        "amount_suspected": amount(suspected),
        "amount_confirmed": amount(confirmed),
        "findings_dismissed": len(dismissed),
        "false_alarms_per_10000": (sum(kinds[key[0]] == SALE for key in wrong), len(sales)),
        "dismissed_per_10000": (sum(kinds[key[0]] == SALE for key in dismissed), len(sales)),
        "precision": (len(confirmed), judged),
    }


def key_of(reference: case_pb2.FindingReference) -> Key:
    """A finding by where it stands."""
    return (reference.sequence, int(reference.type), reference.line_number, reference.code)


def fold_cases(entries: list[journal_pb2.JournalEntry]) -> dict[str, case_pb2.Case]:
    """Cases after these entries."""
    cases: dict[str, case_pb2.Case] = {}
    for entry in entries:
        if entry.HasField("case_event"):
            number = entry.case_event.case_number
            cases[number] = fold(cases.get(number), entry.case_event, entry.sequence, entry.receive_time_ns)
    return cases


def is_violation(case: case_pb2.Case) -> bool:
    """Whether it is closed, and with something else than NO_VIOLATION."""
    return case.state == 6 and any(outcome.type != 1 for outcome in case.outcomes)


def recount_cases(entries: list[journal_pb2.JournalEntry], period: Period, division: str) -> dict[str, Any]:
    """Cases, money and due dates."""
    cases = {
        number: case
        for number, case in fold_cases(entries).items()
        if case.division_code.startswith(division)
    }
    events = [
        (day_of(entry.receive_time_ns // NS), entry.case_event)
        for entry in entries
        if entry.HasField("case_event") and entry.case_event.case_number in cases
    ]
    past = fold_cases([each for each in entries if day_of(each.receive_time_ns // NS) <= period.last])
    at_end = [past[number] for number in cases if number in past and past[number].state != 6]
    within = [(day, event) for day, event in events if period.first <= day <= period.last]
    outcomes = [
        (event.case_number, outcome)
        for _, event in within
        if event.HasField("move")
        for outcome in event.move.outcomes
    ]
    due: dict[str, str] = {}
    left = []
    for day, event in events:
        if event.HasField("move"):
            if due.get(event.case_number) and period.first <= day <= period.last:
                left.append(day.isoformat() <= due[event.case_number])
            due[event.case_number] = event.move.due_date
    opened = {event.case_number: day for day, event in events if event.HasField("opening")}
    closed = {number: day_of(case.state_time.seconds) for number, case in cases.items() if case.state == 6}
    closed = {number: day for number, day in closed.items() if period.first <= day <= period.last}

    def money(kind: int) -> int:
        return sum(outcome.amount_fen for _, outcome in outcomes if outcome.type == kind)

    def decided(*kinds: int) -> int:
        return len({number for number, outcome in outcomes if outcome.type in kinds})

    return {
        "cases_opened": sum(period.first <= day <= period.last for day in opened.values()),
        "cases_closed": len(closed),
        "cases_closed_with_violation": sum(is_violation(cases[number]) for number in closed),
        "cases_open": len(at_end),
        "amount_recovered": money(3),
        "amount_deducted": money(4),
        "amount_fined": money(5),
        "amount_rewarded": 0,
        "cases_suspended": decided(6),
        "cases_terminated": decided(7),
        "cases_handed_over": decided(8, 9, 10, 11),
        "stays_in_time_share": (sum(left), len(left)),
        "cases_overdue": sum(
            bool(case.due_date) and case.due_date < period.last.isoformat() for case in at_end
        ),
        "days_to_close": (sum((day - opened[number]).days for number, day in closed.items()), len(closed)),
    }


def read_entries(directory: Path) -> list[journal_pb2.JournalEntry]:
    """The whole journal."""
    with Store(str(directory), map_size_bytes=1 << 30, overlay_bytes_max=0, read_only=True) as store:
        return read_journal(store.entries(0, 1_000_000))


def counted(report: Report) -> dict[str, Any]:
    """Every figure's numerator, with the denominator where there is one."""
    return {
        each.figure.name: each.numerator if each.denominator is None else (each.numerator, each.denominator)
        for each in report.figures
    }


# --- figures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period", "division", "share"),
    [
        ("2026-03", "", 1.0),
        ("2026-03", "1305", 1.0),
        ("2026-03", "", 0.6),
        ("2026Q2", "", 1.0),
        ("2026-05", "13", 1.0),
        ("2026-04", "", 0.995),
    ],
)
def test_every_figure_is_what_the_journal_says(
    ledger_directory: Path, period: str, division: str, share: float
) -> None:
    """Pins each figure, numerator and denominator, to a count by hand: of months, places and earlier days."""
    entries = read_entries(ledger_directory)
    as_of = int(len(entries) * share)
    asked = Period.parse(period)

    with make_report(ledger_directory, asked, division=division, as_of=as_of) as report:
        figures = counted(report)

    assert figures == recount(entries[:as_of], asked, division)


def test_the_story_reaches_every_kind_of_figure(ledger_directory: Path) -> None:
    """Pins that the counts compared here are no zeros, with which any figure would agree."""
    with (
        make_report(ledger_directory, MARCH) as march,
        make_report(ledger_directory, Period.parse("2026Q2")) as quarter,
    ):
        figures = counted(march)
        later = counted(quarter)

    never = {"cases_terminated", "amount_rewarded", "documents_very_late_share"}
    zero = {
        name
        for name in figures
        if name not in never
        and not any(
            (value[0] if isinstance(value, tuple) else value) for value in (figures[name], later[name])
        )
    }
    assert zero == {"documents_refused"} or not zero, zero


def test_views_only_make_a_report_faster(ledger_directory: Path, tmp_path: Path) -> None:
    """Pins that no views, half of them, and all of them give the same bytes."""

    def write(name: str) -> bytes:
        with make_report(ledger_directory, MARCH) as report:
            (path,) = export_report(report, tmp_path / name, ["json"])
        return path.read_bytes()

    without = write("without")
    entries = len(read_entries(ledger_directory))
    with Projector(ledger_directory) as projector:
        projector.step(entries_max=entries // 2)
        projector.write_files(whole=True)
        half = projector.store.files_sequence
    some = write("half")
    rebuild(ledger_directory)

    assert half > 100
    assert some == without
    assert write("all") == without


def test_lists_add_up_to_the_figures(ledger_directory: Path) -> None:
    """Pins that institutions, divisions, days and causes are parts of the same whole, and how they are
    ranked."""
    with make_report(ledger_directory, MARCH) as report:
        figures = counted(report)
        lists = {
            table.name: [
                dict(zip([column.name for column in table.columns], row, strict=True))
                for row in report.rows(table)
            ]
            for table in report.tables
        }

    for name in ("days", "institutions", "divisions"):
        assert sum(row["documents"] for row in lists[name]) == figures["documents"], name
        assert sum(row["sales"] for row in lists[name]) == figures["sales"], name
    for name in ("days", "institutions", "divisions", "causes"):
        assert sum(row["found"] for row in lists[name]) == figures["findings_found"], name
        assert sum(row["suspected"] for row in lists[name]) == figures["findings_suspected"], name
    assert sum(row["sale_amount_fen"] for row in lists["institutions"]) == figures["sale_amount"]
    assert sum(row["dismissed"] for row in lists["causes"]) == figures["findings_dismissed"]
    assert len(lists["findings"]) == figures["findings_suspected"]
    assert len(lists["days"]) == 31
    ranks = [(-row["confirmed"], -row["suspected"], -row["found"]) for row in lists["institutions"]]
    assert ranks == sorted(ranks)
    assert [row["rank"] for row in lists["institutions"]] == list(range(1, len(ranks) + 1))


# --- files --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(ledger_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of March in every format, by the names of its files."""
    out = tmp_path_factory.mktemp("report")
    with make_report(ledger_directory, MARCH) as report:
        return {path.name: path for path in export_report(report, out)}


def test_the_same_ledger_gives_the_same_bytes(
    ledger_directory: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    """Pins that a report can be made again by anybody, in every format, and that the ledger is only read."""
    with make_report(ledger_directory, MARCH, threads=1) as report:
        again = {path.name: path for path in export_report(report, tmp_path)}

    assert {path.suffix[1:] for path in files.values()} == set(FORMATS)
    assert {name: hash_file(path) for name, path in again.items()} == {
        name: hash_file(path) for name, path in files.items()
    }
    assert not list(tmp_path.glob(".*"))


def hash_file(path: Path) -> str:
    """Of its bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_report_changes_nothing_in_the_data_folder(ledger_directory: Path) -> None:
    """Pins that whoever reports needs the data folder for reading alone."""

    def hashes() -> dict[str, str]:
        # LMDB notes its readers in the lock files.
        return {
            str(path): hash_file(path)
            for path in sorted(ledger_directory.rglob("*"))
            if path.is_file() and "lock" not in path.name
        }

    before = hashes()
    with make_report(ledger_directory, MARCH):
        pass

    assert hashes() == before


def test_spreadsheets_read_names_as_text_and_never_run_them(files: dict[str, Path]) -> None:
    """Pins byte order mark, codes as text, and that an institution's name or a document's number is no
    formula."""
    raw = files["report-2026-03-findings.csv"].read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    cells = set()
    for name, path in files.items():
        if name.endswith(".csv"):
            with path.open(encoding="utf-8-sig", newline="") as file:
                cells |= {cell for row in csv.reader(file) for cell in row}

    assert not {cell for cell in cells if cell.startswith(("=", "+", "-", "@"))}
    assert f"'{EVIL_NAME}" in cells
    assert f"'{EVIL_NUMBER}" in cells
    # Twenty digits would be rounded to fifteen.
    assert f"\t{code(1)}" in cells
    assert not {cell for cell in cells if cell.isdigit() and len(cell) > 15}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+86", "'+86"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("＝1+1", "'＝1+1"),
        ("0012", "\t0012"),
        ("1E5", "\t1E5"),
        ("3-4", "\t3-4"),
        ("130500", "130500"),
        ("P13050000001", "P13050000001"),
        ("", ""),
    ],
)
def test_what_a_spreadsheet_would_change_is_disarmed(text: str, shown: str) -> None:
    """Pins what is put before a text, and that other texts stay as they are."""
    assert spreadsheet_text(text, code=True) == shown


def test_a_workbook_has_the_figures_as_numbers_and_codes_as_text(files: dict[str, Path]) -> None:
    """Pins types of cells, charts, and that the workbook says what the JSON says."""
    told = json.loads(files["report-2026-03.json"].read_text(encoding="utf-8"))
    book = openpyxl.load_workbook(files["report-2026-03.xlsx"])

    rows = list(book["figures"].iter_rows(min_row=2, values_only=True))
    names = [column["name"] for column in told["figures"]]
    assert [row[0] for row in rows] == names
    for row, figure in zip(rows, told["figures"], strict=True):
        value = figure["value"]
        scale = 100 if figure["unit"] == "fen" else 1
        assert row[3] == (None if value is None else pytest.approx(value / scale)), row[0]
    types = {cell.data_type for sheet in book for row in sheet.iter_rows() for cell in row}
    assert types <= {"s", "n", "d"}
    codes = [row[5] for row in book["findings"].iter_rows(min_row=2, values_only=True)]
    assert code(1) in codes
    assert EVIL_NUMBER in [row[3] for row in book["findings"].iter_rows(min_row=2, values_only=True)]
    assert len(codes) == len(told["tables"]["findings"])
    assert len(book["charts"]._charts) == 4


def test_programs_read_the_same_rows_from_parquet_and_json(files: dict[str, Path]) -> None:
    """Pins both formats for programs to each other, and the entry that both name."""
    told = json.loads(files["report-2026-03.json"].read_text(encoding="utf-8"))

    for name, rows in told["tables"].items():
        table = pq.read_table(files[f"report-2026-03-{name}.parquet"])
        read = [
            {key: value.isoformat() if isinstance(value, date) else value for key, value in row.items()}
            for row in table.to_pylist()
        ]
        assert read == rows, name
        assert table.schema.metadata[b"as_of"] == str(told["as_of"]).encode()


def test_the_page_shows_charts_and_runs_nothing(files: dict[str, Path]) -> None:
    """Pins that names of institutions are escaped, charts are inside, and Chinese stays text in them."""
    page = files["report-2026-03.html"].read_text(encoding="utf-8")
    pictures = [path for name, path in files.items() if name.endswith(".svg")]

    assert page.count("<svg") == len(pictures) == 5
    assert "<script" not in page
    assert "=HYPERLINK(&#34;" in page
    texts = "".join(
        node.text or ""
        for path in pictures
        for node in ElementTree.parse(path).iter()
        if node.tag.endswith("text")
    )
    assert "发现疑点数" in texts
    for name, path in files.items():
        if name.endswith(".png"):
            assert path.read_bytes().startswith(b"\x89PNG")


# --- the command --------------------------------------------------------------------------------


@pytest.mark.timeout(240)
def test_a_report_counts_what_people_just_did_while_the_ledger_is_open(tmp_path: Path) -> None:
    """Pins that acts which the index on disk does not have yet are read from the journal."""
    clock = Clock(MONTH_END)
    ledger = Ledger.open(tmp_path / "data", engine="lmdb", person_key=PersonKey(b"k" * 32), clock_ns=clock)
    try:
        ledger.import_institutions(INSTITUTIONS)
        ledger.desk.open_case(
            case_service_pb2.OpenCaseRequest(
                actor="张三",
                title="举报",
                origin=case_pb2.CASE_ORIGIN_TIP_OFF,
                institution_code=SHOP,
                tip_off=case_pb2.TipOff(summary="有人举报"),
            )
        )
        told = run("--quarter", "2026Q2", "--format", "json,csv", directory=tmp_path)
    finally:
        ledger.close()

    assert told["figures"]["cases_opened"] == 1
    assert told["figures"]["institutions_registered"] == len(INSTITUTIONS)
    assert [Path(path).suffix for path in told["files"]] == [".csv"] * 9 + [".json"]


def run(*options: str, directory: Path) -> dict[str, Any]:
    """What `tracecode report` says, as a program reads it."""
    done = subprocess.run(
        [
            Path(sys.executable).with_name("tracecode"),
            "report",
            directory / "data",
            *options,
            "--out",
            directory / "out",
            "--json",
        ],
        capture_output=True,
        check=True,
        timeout=200,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("text", ["2026-13", "2026Q5", "2026", "26-03", "2026-3", "0000-01", "２０２６-03"])
def test_a_period_that_cannot_be_is_refused(text: str) -> None:
    """Pins that a mistyped month is no empty report."""
    with pytest.raises(ValueError, match=r"2026|year"):
        Period.parse(text)


def test_a_quarter_is_its_three_months() -> None:
    """Pins the first and last days, over the end of the year too."""
    assert (MARCH.first, MARCH.last) == (date(2026, 3, 1), date(2026, 3, 31))
    last = Period.parse("2026Q4")
    assert (last.first, last.last) == (date(2026, 10, 1), date(2026, 12, 31))


def test_what_cannot_be_reported_is_said(ledger_directory: Path, tmp_path: Path) -> None:
    """Pins the mistakes of whoever asks: a place, an entry, a format that there is not."""
    with pytest.raises(ValueError, match="division"), make_report(ledger_directory, MARCH, division="13'"):
        pass
    with pytest.raises(ValueError, match="is not there"), make_report(ledger_directory, MARCH, as_of=10**9):
        pass
    with make_report(ledger_directory, MARCH) as report, pytest.raises(ValueError, match="no format"):
        export_report(report, tmp_path, ["docx"])
