"""Small ledgers for tests of backups: a few institutions' days, with repeats, findings and revisions."""

from __future__ import annotations

from pathlib import Path

from documents import (
    DAY,
    HOUR,
    INSTITUTIONS,
    ITEM,
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
    sale_return,
)
from google.protobuf.message import Message

from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import (
    case_pb2,
    case_service_pb2,
    catalogue_pb2,
    complaint_pb2,
    consumer_service_pb2,
    document_pb2,
    finding_pb2,
    inspection_pb2,
    inspection_service_pb2,
    journal_pb2,
    ledger_service_pb2,
    rule_base_service_pb2,
)

PERSON_KEY = PersonKey(b"k" * 32)
PERSON = "370203195001011234"


def tell_days(count: int) -> list[document_pb2.Document]:
    """Documents of so many boxes: sold, returned, sold twice, received late, deleted."""
    told = []
    for number in range(count):
        box, time = code(number), NOON + number * HOUR
        told.append(receipt(SHOP, f"R{number}", time, line(box)))
        told.append(sale(SHOP, f"S{number}", time + 60, line(box), person=PERSON))
        match number % 4:
            case 0:
                told.append(sale(OTHER, f"D{number}", time + 120, line(box)))
                told.append(receipt(OTHER, f"L{number}", time + 30, line(code(1000 + number))))
            case 1:
                told.append(sale_return(SHOP, f"B{number}", time + 180, line(box), of=f"S{number}"))
            case 2:
                late = code(2000 + number)
                told.append(sale(OTHER, f"E{number}", time + 60, line(late)))
                # Clears what its absence raised: a revision.
                told.append(receipt(OTHER, f"F{number}", time - DAY, line(late)))
            case 3:
                told.append(deletion(SHOP, f"X{number}", time + 240, deletes=f"S{number}"))
    return told


def fill_ledger(directory: Path, count: int, *, catalogue: bool = True, desk: bool = False) -> None:
    """A ledger of these documents, closed; with `desk` also of what people do there, each kind of it."""
    clock = [NOON - DAY]
    ledger = Ledger.open(directory, person_key=PERSON_KEY, clock_ns=lambda: clock[0] * NS)
    try:
        if catalogue:
            ledger.import_products(PRODUCTS)
        ledger.import_institutions(INSTITUTIONS)
        for document in tell_days(count):
            ledger.record([document], [(document.business_time.seconds + 5) * NS])
        if desk:
            work_at_desk(ledger, clock)
    finally:
        ledger.close()


def work_at_desk(ledger: Ledger, clock: list[int]) -> None:
    """A case from two findings to its closing and one that stays open, acts on findings, a look, a complaint,
    a draw, a self-check, an inspection, lists, and rule bases up to one that is taken back. `clock` goes on
    with it."""
    held = catalogue_pb2.Hold(
        hold_id="H1",
        code=code(7_000),
        reason=catalogue_pb2.HOLD_REASON_RECALL,
        start_date="2026-01-01",
    )
    ledger.import_holds([held])
    ledger.import_code_replacements(
        [catalogue_pb2.CodeReplacement(old_code=code(7_001), new_code=code(7_002))]
    )
    findings = [
        case_pb2.FindingReference(
            sequence=entry.sequence,
            type=finding.type,
            line_number=finding.line_number,
            code=finding.code,
        )
        for value in ledger.engine.entries(0, 1_000_000)
        if (entry := journal_pb2.JournalEntry.FromString(value)).HasField("document")
        for finding in entry.document.findings[:1]
        if finding.final_severity >= finding_pb2.SEVERITY_WARN
    ]
    assert len(findings) >= 5
    recovered = case_pb2.CaseOutcome(type=case_pb2.CASE_OUTCOME_TYPE_RECOVERED, amount_fen=12_345)
    clock[0] = NOON + 30 * DAY
    case = _open_case(ledger, "重复结算", *findings[:2])
    for state in case_pb2.CaseState.values()[2:]:
        clock[0] += DAY
        rectified = state == case_pb2.CASE_STATE_RECTIFICATION
        case = ledger.desk.advance_case(
            case_service_pb2.AdvanceCaseRequest(
                case_number=case.case_number,
                etag=case.etag,
                actor="张三",
                approver="李四",
                note="已核对",
                to_state=case_pb2.CaseState.ValueType(state),
                outcomes=[recovered] if rectified else [],
            )
        )
    assert case.state == case_pb2.CASE_STATE_CLOSED
    _open_case(ledger, "无入库记录", findings[2])
    for finding, decision in zip(
        findings[3:],
        (case_pb2.FINDING_DECISION_CONFIRMED, case_pb2.FINDING_DECISION_DISMISSED),
        strict=False,
    ):
        ledger.desk.act_on_finding(
            case_service_pb2.ActOnFindingRequest(
                finding=finding, decision=decision, actor="张三", reason="已到店核实"
            )
        )
    question = ledger_service_pb2.ListCodeEventsRequest(code=code(1))
    ledger.desk.note_access(
        "王芳", "127.0.0.1", "tracecode.v1.LedgerService.ListCodeEvents", question, "举报"
    )
    ledger.file_complaint(
        consumer_service_pb2.FileComplaintRequest(
            request_id="R1",
            code=findings[0].code,
            kind=complaint_pb2.COMPLAINT_KIND_SALE_NOT_MINE,
            person_token="310101199001011234",
        )
    )
    _inspect(ledger)
    first, _ = (
        ledger.activate_rule_base(
            rule_base_service_pb2.ActivateRuleBaseRequest(
                text=f'version = "{number}"\n[thresholds]\njoin_hours = {number}\n',
                author="张三",
                approver="李四",
                notes="试行",
            )
        )
        for number in (24, 25)
    )
    ledger.activate_rule_base(
        rule_base_service_pb2.ActivateRuleBaseRequest(
            restored_sequence=first.sequence, author="张三", approver="李四", notes="退回"
        )
    )


def _open_case(ledger: Ledger, title: str, *findings: case_pb2.FindingReference) -> case_pb2.Case:
    return ledger.desk.open_case(
        case_service_pb2.OpenCaseRequest(
            actor="张三", title=title, origin=case_pb2.CASE_ORIGIN_FINDINGS, findings=findings
        )
    )


def _inspect(ledger: Ledger) -> None:
    """A draw of institutions, a self-check with its answer, and an inspection with a shelf."""
    desk = ledger.inspections
    draw = desk.announce_draw(
        inspection_service_pb2.AnnounceDrawRequest(
            actor="张三",
            title="双随机",
            division_code="130500",
            candidates=[
                inspection_pb2.DrawCandidate(institution_code=institution_code)
                for institution_code in sorted((SHOP, OTHER))
            ],
            count=1,
            inspectors=["甲", "乙"],
            seed_source="双色球",
        )
    )
    desk.perform_draw(
        inspection_service_pb2.PerformDrawRequest(
            draw_number=draw.draw_number, etag=draw.etag, actor="李四", seed="03 11 18"
        )
    )
    asked = desk.issue_self_check(
        inspection_service_pb2.IssueSelfCheckRequest(
            actor="张三",
            institution_code=SHOP,
            title="自查",
            questions=["是否逐盒扫码"],
            due_date="2026-05-31",
        )
    )
    desk.answer_self_check(
        inspection_service_pb2.AnswerSelfCheckRequest(
            self_check_number=asked.self_check_number,
            etag=asked.etag,
            actor="甲店店长",
            answers=[
                inspection_pb2.SelfCheckAnswer(
                    result=inspection_pb2.SELF_CHECK_RESULT_COMPLIANT, note="逐盒扫码"
                )
            ],
        )
    )
    opened = desk.open_inspection(
        inspection_service_pb2.OpenInspectionRequest(
            actor="张三", institution_code=SHOP, inspectors=["甲", "乙"], identifiers=[ITEM]
        )
    )
    scanned = desk.scan_shelf(
        inspection_service_pb2.ScanShelfRequest(
            inspection_number=opened.inspection_number,
            etag=opened.etag,
            actor="张三",
            scans=[code(0), code(900)],
        )
    )
    desk.close_inspection(
        inspection_service_pb2.CloseInspectionRequest(
            inspection_number=opened.inspection_number, etag=scanned.etag, actor="张三"
        )
    )


def read_desk(directory: Path) -> list[bytes]:
    """Cases with what was done, papers, what stands of findings, and rule bases, in order."""
    ledger = Ledger.open(directory, person_key=PERSON_KEY, clock_ns=lambda: (NOON + 60 * DAY) * NS)
    try:
        rule_bases = ledger.list_rule_bases(rule_base_service_pb2.ListRuleBasesRequest())
        read: list[Message] = [*rule_bases.rule_bases]
        for _, case in ledger.engine.cases(0, 1_000):
            read += [case, *ledger.desk.list_case_events(case.case_number)]
        for value in ledger.engine.entries(0, 1_000_000):
            entry = journal_pb2.JournalEntry.FromString(value)
            if entry.HasField("finding_act"):
                read.append(ledger.engine.finding_standing(entry.finding_act.finding))
            number = (
                entry.draw_event.draw_number
                or entry.self_check_event.self_check_number
                or entry.inspection_event.inspection_number
            )
            if number and (paper := ledger.engine.paper(number)) is not None:
                read.append(paper)
            if not (entry.HasField("document") or entry.HasField("revision")):
                read.append(entry)
        return [message.SerializeToString(deterministic=True) for message in read]
    finally:
        ledger.close()


def read_entries(directory: Path) -> list[bytes]:
    """The whole journal of a ledger that nobody has open."""
    ledger = Ledger.open(directory, person_key=PERSON_KEY, clock_ns=lambda: NOON * NS)
    try:
        return ledger.engine.entries(0, 1_000_000)
    finally:
        ledger.close()


def read_verdicts(directory: Path, count: int) -> list[bytes]:
    """What stands of each of the documents, and what was first said, in order."""
    ledger = Ledger.open(directory, person_key=PERSON_KEY, clock_ns=lambda: NOON * NS)
    try:
        read = []
        for document in tell_days(count):
            kind = document_pb2.DocumentKind.Value(f"DOCUMENT_KIND_{document.WhichOneof('content').upper()}")
            record = ledger.engine.document(document.institution_code, kind, document.document_number)
            if record is None:
                read.append(b"")
                continue
            for verdict in (record.verdict_first, record.verdict):
                read.append(verdict.SerializeToString(deterministic=True))
        return read
    finally:
        ledger.close()
