"""Complaints of those who hold boxes, as a ledger takes them: checked, hashed, and listed for the desk."""

from __future__ import annotations

import hashlib
from types import MappingProxyType

from tracecode.answer import DAY_SECONDS
from tracecode.cases.case import REQUEST_ID_BYTES_MAX, check_text
from tracecode.code import key_text
from tracecode.desk import DIVISION_DIGITS, Desk
from tracecode.document import NS, check_institution_code
from tracecode.engine.contract import Engine
from tracecode.errors import FieldInvalid
from tracecode.grants import Reach
from tracecode.masks import mask_complaint
from tracecode.paging import page_size, read_page_token, write_page_token
from tracecode.v1 import (
    case_service_pb2,
    complaint_pb2,
    consumer_service_pb2,
    journal_pb2,
)
from tracecode.v1.finding_pb2 import LocalizedText

SCAN_COMPLAINTS = 100
"""Complaints read at a time: the engine waits for them."""
SCANNED_COMPLAINTS_MAX = 20_000
"""Complaints looked at for one page: it may come back short, with a token to go on from."""

ADVICE = MappingProxyType(
    {
        complaint_pb2.COMPLAINT_KIND_SALE_NOT_MINE: LocalizedText(
            zh_cn="已转医保部门核查。请保留药盒、小票和付款记录；核查前不代表任何机构违规。",
            en="The desk will look into it. Keep the box, the slip and the proof of payment; nobody is held "
            "guilty for it until then.",
        ),
        complaint_pb2.COMPLAINT_KIND_NO_SALE_KNOWN: LocalizedText(
            zh_cn="已转医保部门核查该药品为何没有销售记录。请保留药盒和小票；药店补传后记录会更新。",
            en="The desk will look into why no sale is known. Keep the box and the slip; the "
            "record may still be sent.",
        ),
    }
)


class Complaints:
    """What was complained of over an engine. Any thread may call its methods; they wait for the commit."""

    def __init__(self, engine: Engine, desk: Desk) -> None:
        self._engine = engine
        self._desk = desk

    def file(
        self, request: consumer_service_pb2.FileComplaintRequest, key: bytes, person_hash: str, now: int
    ) -> consumer_service_pb2.FileComplaintResponse:
        """Keep a complaint about the code with this key; `now` is in seconds since 1970 UTC. Raises
        FieldInvalid, ComplaintRefused."""
        check_text("request_id", request.request_id, REQUEST_ID_BYTES_MAX, required=True)
        if request.kind not in ADVICE:
            raise FieldInvalid("kind", "say SALE_NOT_MINE or NO_SALE_KNOWN")
        if request.institution_code:
            check_institution_code("institution_code", request.institution_code)
        bought = request.bought_time.seconds if request.HasField("bought_time") else 0
        if not 0 <= bought < now + DAY_SECONDS or not 0 <= request.bought_time.nanos < NS:
            raise FieldInvalid("bought_time", "lies in the future; give the time on the slip")
        if request.kind == complaint_pb2.COMPLAINT_KIND_NO_SALE_KNOWN and not bought:
            raise FieldInvalid("bought_time", "is required: pharmacies may report for two days")
        complaint = complaint_pb2.Complaint(
            code=key_text(key),
            kind=request.kind,
            person_token=person_hash,
            request_id=request.request_id,
            bought_time=request.bought_time if request.HasField("bought_time") else None,
            institution_code=request.institution_code,
        )
        answer = self._desk.keep(journal_pb2.JournalEntry(complaint=complaint))
        return consumer_service_pb2.FileComplaintResponse(
            complaint_sequence=answer.sequence, repeat=answer.repeat, advice=ADVICE[request.kind]
        )

    def find(
        self, request: case_service_pb2.ListComplaintsRequest, reach: Reach
    ) -> case_service_pb2.ListComplaintsResponse:
        """A page of the complaints that the request lets through, the newest first, each as far as the reach
        may see it. Raises FieldInvalid."""
        prefix = request.division_prefix
        if prefix and not (prefix.isascii() and prefix.isdigit() and len(prefix) <= DIVISION_DIGITS):
            raise FieldInvalid("division_prefix", f"must be at most {DIVISION_DIGITS} digits, such as 1305")
        if request.institution_code:
            check_institution_code("institution_code", request.institution_code)
        size = page_size(request.page_size)
        filtered = bool(prefix or request.institution_code or request.without_case)
        asked = f"{prefix}/{request.institution_code}/{request.without_case}"
        binding = hashlib.sha256(asked.encode()).hexdigest().encode()
        before = read_page_token(request.page_token, binding)
        found: list[complaint_pb2.ComplaintRecord] = []
        looked_at = 0
        more = True
        while more and len(found) < size and looked_at < SCANNED_COMPLAINTS_MAX:
            count = SCAN_COMPLAINTS if filtered else min(SCAN_COMPLAINTS, size - len(found))
            rows = self._engine.complaints(before, count)
            more = len(rows) == count
            for ordinal, record in rows:
                if len(found) == size:
                    more = True
                    break
                before = ordinal
                looked_at += 1
                # Before it is looked at: a filter must not tell what is hidden.
                mask_complaint(record, reach)
                if _lets_through(request, record):
                    found.append(record)
        return case_service_pb2.ListComplaintsResponse(
            complaints=found,
            next_page_token=write_page_token(before, binding) if more and before > 1 else "",
        )

    def of_code(self, key: bytes) -> list[complaint_pb2.ComplaintRecord]:
        """The newest complaints about a code, at most 100, the newest first."""
        return self._engine.complaints_of(key)


def _lets_through(
    request: case_service_pb2.ListComplaintsRequest, record: complaint_pb2.ComplaintRecord
) -> bool:
    codes = record.complaint.institution_codes
    if request.without_case and record.case_numbers:
        return False
    if request.institution_code and request.institution_code not in codes:
        return False
    prefix = request.division_prefix
    return not prefix or any(code[1:7].startswith(prefix) for code in codes)
