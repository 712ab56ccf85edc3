"""Draws, self-checks and inspections over an engine: what is beside cases at the regulator's desk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from tracecode.cases.case import CASE_NUMBER_BYTES_MAX, check_text
from tracecode.cases.draw import draw
from tracecode.cases.papers import KINDS, Paper, check_paper_event
from tracecode.code import key_text, read_scan
from tracecode.desk import Desk
from tracecode.document import check_institution_code
from tracecode.engine.contract import Engine
from tracecode.engine.index import identifier_of
from tracecode.errors import FieldInvalid, MoveRefused, NotFound
from tracecode.v1 import (
    code_pb2,
    document_pb2,
    inspection_pb2,
    inspection_service_pb2,
    journal_pb2,
)

ENTRIES_PER_STEP = 1_000

Kept = TypeVar("Kept", inspection_pb2.Draw, inspection_pb2.SelfCheck, inspection_pb2.Inspection)

_NUMBERS = {kind.paper: kind.number for kind in KINDS.values()}

_HELD = (code_pb2.CODE_STATE_IN_STOCK, code_pb2.CODE_STATE_SPLIT)


class Inspections:
    """What is announced, asked and scanned. Any thread may call its methods; they wait for the commit."""

    def __init__(self, engine: Engine, desk: Desk) -> None:
        self._engine = engine
        self._desk = desk

    # Draws.

    def announce_draw(self, request: inspection_service_pb2.AnnounceDrawRequest) -> inspection_pb2.Draw:
        """Keep what will be drawn from, before the seed is known. Raises FieldInvalid."""
        announcement = inspection_pb2.Draw(
            division_code=request.division_code,
            title=request.title,
            candidates=request.candidates,
            count=request.count,
            inspectors=request.inspectors,
            seed_source=request.seed_source,
        )
        event = inspection_pb2.DrawEvent(
            actor=request.actor, request_id=request.request_id, announcement=announcement
        )
        return self._keep(journal_pb2.JournalEntry(draw_event=event), inspection_pb2.Draw)

    def perform_draw(self, request: inspection_service_pb2.PerformDrawRequest) -> inspection_pb2.Draw:
        """Draw by the seed. Raises NotFound, EtagStale, MoveRefused, FieldInvalid."""
        event = inspection_pb2.DrawEvent(
            draw_number=request.draw_number,
            previous_sequence=_read_etag(request.etag),
            actor=request.actor,
            result=inspection_pb2.DrawResult(seed=request.seed),
        )
        check_paper_event(event)
        announced = self.find(request.draw_number, inspection_pb2.Draw)
        event.result.drawn.extend(
            draw(request.seed, announced.candidates, announced.count, announced.inspectors)
        )
        return self._keep(journal_pb2.JournalEntry(draw_event=event), inspection_pb2.Draw)

    # Self-checks.

    def issue_self_check(
        self, request: inspection_service_pb2.IssueSelfCheckRequest
    ) -> inspection_pb2.SelfCheck:
        """Ask an institution about itself. Raises FieldInvalid."""
        issue = inspection_pb2.SelfCheck(
            institution_code=request.institution_code,
            division_code=self._division_of(request.institution_code),
            title=request.title,
            questions=request.questions,
            due_date=request.due_date,
        )
        event = inspection_pb2.SelfCheckEvent(actor=request.actor, request_id=request.request_id, issue=issue)
        return self._keep(journal_pb2.JournalEntry(self_check_event=event), inspection_pb2.SelfCheck)

    def answer_self_check(
        self, request: inspection_service_pb2.AnswerSelfCheckRequest
    ) -> inspection_pb2.SelfCheck:
        """Keep an institution's answers, all at once. Raises NotFound, EtagStale, FieldInvalid."""
        _check_number(request.self_check_number, inspection_pb2.SelfCheck)
        event = inspection_pb2.SelfCheckEvent(
            self_check_number=request.self_check_number,
            previous_sequence=_read_etag(request.etag),
            actor=request.actor,
            answers=inspection_pb2.SelfCheckAnswers(answers=request.answers),
        )
        return self._keep(journal_pb2.JournalEntry(self_check_event=event), inspection_pb2.SelfCheck)

    # Inspections.

    def open_inspection(
        self, request: inspection_service_pb2.OpenInspectionRequest
    ) -> inspection_pb2.Inspection:
        """Begin to scan an institution's shelf. Raises FieldInvalid, NotFound (the case)."""
        opening = inspection_pb2.Inspection(
            institution_code=request.institution_code,
            division_code=self._division_of(request.institution_code),
            case_number=request.case_number,
            inspectors=request.inspectors,
            identifiers=request.identifiers,
        )
        event = inspection_pb2.InspectionEvent(
            actor=request.actor, request_id=request.request_id, opening=opening
        )
        check_paper_event(event)
        if request.case_number:
            self._desk.get_case(request.case_number)
        return self._keep(journal_pb2.JournalEntry(inspection_event=event), inspection_pb2.Inspection)

    def scan_shelf(self, request: inspection_service_pb2.ScanShelfRequest) -> inspection_pb2.Inspection:
        """Keep scans of what stands there. Raises NotFound, EtagStale, MoveRefused, FieldInvalid."""
        _check_number(request.inspection_number, inspection_pb2.Inspection)
        event = inspection_pb2.InspectionEvent(
            inspection_number=request.inspection_number,
            previous_sequence=_read_etag(request.etag),
            actor=request.actor,
            scans=inspection_pb2.ShelfScans(scans=request.scans),
        )
        return self._keep(journal_pb2.JournalEntry(inspection_event=event), inspection_pb2.Inspection)

    def close_inspection(
        self, request: inspection_service_pb2.CloseInspectionRequest
    ) -> inspection_pb2.Inspection:
        """Compare the shelf with the ledger and keep the result. Raises NotFound, EtagStale, MoveRefused."""
        event = inspection_pb2.InspectionEvent(
            inspection_number=request.inspection_number,
            previous_sequence=_read_etag(request.etag),
            actor=request.actor,
            result=inspection_pb2.InspectionResult(),
        )
        check_paper_event(event)
        opened = self.find(request.inspection_number, inspection_pb2.Inspection)
        if opened.HasField("close_time"):
            raise MoveRefused(f"{opened.inspection_number} is closed; open another one")
        event.result.CopyFrom(self._compare(opened))
        return self._keep(journal_pb2.JournalEntry(inspection_event=event), inspection_pb2.Inspection)

    def _compare(self, opened: inspection_pb2.Inspection) -> inspection_pb2.InspectionResult:
        result = inspection_pb2.InspectionResult(as_of_sequence=self._engine.sequence)
        scans: dict[str, None] = {}
        for entry in self._engine.paper_events(opened.inspection_number):
            scans |= dict.fromkeys(entry.inspection_event.scans.scans)
        seen: set[bytes] = set()
        for scan in scans:
            readings = read_scan(scan)
            if len(readings) != 1 or not readings[0].key:
                result.unread_scans.append(scan)
                continue
            key = readings[0].key
            if key in seen:
                continue
            seen.add(key)
            status = self._engine.code(key)
            if status.state in _HELD and status.holder_institution_code == opened.institution_code:
                result.present_count += 1
            elif status.state == code_pb2.CODE_STATE_SOLD:
                result.sold_codes.append(status.code)
            else:
                result.extra_codes.append(status.code)
        identifiers = set(opened.identifiers)
        if identifiers:
            missing = set()
            for key in self._codes_of(opened.institution_code, result.as_of_sequence):
                if key in seen or identifier_of(key) not in identifiers:
                    continue
                status = self._engine.code(key)
                if status.state in _HELD and status.holder_institution_code == opened.institution_code:
                    missing.add(key_text(key))
            result.missing_codes.extend(sorted(missing))
        return result

    def _codes_of(self, institution_code: str, last: int) -> set[bytes]:
        """Every code on the institution's own documents up to an entry."""
        keys: set[bytes] = set()
        for document in self._documents_of(institution_code, last):
            content = document.WhichOneof("content")
            if content is None:
                continue
            for line in document.lines:
                for scan in line.codes:
                    readings = read_scan(scan)
                    if len(readings) == 1 and readings[0].key:
                        keys.add(readings[0].key)
                for package in line.packages:
                    for scan in package.child_codes:
                        readings = read_scan(scan)
                        if len(readings) == 1 and readings[0].key:
                            keys.add(readings[0].key)
        return keys

    def _documents_of(self, institution_code: str, last: int) -> Iterator[document_pb2.Document]:
        named = institution_code.encode()
        after = 0
        while after < last:
            for value in self._engine.entries(after, min(ENTRIES_PER_STEP, last - after)):
                after += 1
                # Looked for in the bytes first: nearly all entries are other institutions'.
                if named not in value:
                    continue
                entry = journal_pb2.JournalEntry.FromString(value)
                document = document_pb2.Document.FromString(entry.document.document)
                if document.institution_code == institution_code:
                    yield document

    # What they share.

    def find(self, number: str, kind: type[Kept]) -> Kept:
        """A paper by its number. Raises NotFound, FieldInvalid."""
        _check_number(number, kind)
        paper = self._engine.paper(number)
        if not isinstance(paper, kind):
            raise NotFound(f"there is no {number!r}")
        return paper

    def _keep(self, act: journal_pb2.JournalEntry, kind: type[Kept]) -> Kept:
        paper: Paper | None = self._desk.keep(act).paper
        assert isinstance(paper, kind)
        return paper

    def _division_of(self, institution_code: str) -> str:
        check_institution_code("institution_code", institution_code)
        institution = self._engine.institution(institution_code)
        return institution_code[1:7] if institution is None else institution.division_code


def _check_number(number: str, kind: type[Paper]) -> None:
    check_text(_NUMBERS[kind], number, CASE_NUMBER_BYTES_MAX, required=True)


def _read_etag(etag: str) -> int:
    if not (etag.isascii() and etag.isdigit() and len(etag) <= 19):
        raise FieldInvalid("etag", "is that of what you saw; get it first")
    return int(etag)
