"""All that a case rests on in one zip, which `sha256sum -c MANIFEST.sha256` checks without anything of ours.

case.json, events.json      the case, and what was done with it by whom and when
entries/N.entry             serialized JournalEntry messages, byte for byte as they stand in the journal
verdicts/N.json             of each document with a finding: the verdict first given, and as it stands
chains/N.json               of each code: its whole life
attachments/NAME            the files of the case, as they came
report.html                 the same for a person to read
MANIFEST.sha256             the SHA-256 of every other file
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from importlib import resources
from types import TracebackType
from typing import Any, Self

import jinja2
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tracecode.document import NS
from tracecode.finding import REGISTRY, FindingType
from tracecode.ledger import Ledger
from tracecode.names import NAMES_ZH, say_fen
from tracecode.v1 import (
    case_pb2,
    code_pb2,
    document_pb2,
    finding_pb2,
    journal_pb2,
    ledger_service_pb2,
)

MANIFEST = "MANIFEST.sha256"
PART_BYTES = 512 * 1024
"""Bytes of the zip that are handed out at once."""

CHAIN_EVENTS_MAX = 10_000
"""Events of one code that a bundle shows; the file says how many there are."""

CHINA = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class _Chain:
    code: str
    events: list[code_pb2.CodeEvent]
    event_count: int


@dataclass(frozen=True, slots=True)
class _FoundDocument:
    sequence: int
    receive_time_ns: int
    document: document_pb2.Document
    verdict_first: finding_pb2.Verdict
    verdict: finding_pb2.Verdict | None
    """None: the document's number belongs to a correction by now."""


class _Parts(io.RawIOBase):
    """Takes what a zip is written to and gives it out in parts."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        self._waiting += part
        return len(part)

    def take(self, least_bytes: int = 1) -> Iterator[bytes]:
        """What came, as long as there are so many bytes of it."""
        while len(self._waiting) >= least_bytes:
            yield bytes(self._waiting[:PART_BYTES])
            del self._waiting[:PART_BYTES]


class _Bundle:
    """A zip that is being written, with the sums of its files."""

    def __init__(self, time: datetime) -> None:
        self._time = time.timetuple()[:6]
        self._sums: list[tuple[str, str]] = []
        self._parts = _Parts()
        self._zip = zipfile.ZipFile(self._parts, "w", zipfile.ZIP_DEFLATED)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Of one that was cut short nothing more is given out.
        self._zip.close()

    def add(self, name: str, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Add a file; gives out what there is of the zip."""
        sum_ = hashlib.sha256()
        info = zipfile.ZipInfo(name, self._time)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        with self._zip.open(info, "w") as file:
            for part in parts:
                sum_.update(part)
                file.write(part)
                yield from self._parts.take(PART_BYTES)
        self._sums.append((name, sum_.hexdigest()))
        yield from self._parts.take(PART_BYTES)

    def finish(self) -> Iterator[bytes]:
        """Add the manifest; gives out the rest."""
        text = "".join(f"{sum_}  {name}\n" for name, sum_ in self._sums)
        yield from self.add(MANIFEST, [text.encode()])
        self._zip.close()
        yield from self._parts.take()


def write_bundle(ledger: Ledger, case_number: str) -> Iterator[bytes]:
    """The bytes of the bundle of a case, part by part. Raises NotFound and FieldInvalid before the first of
    them; DataLoss where an entry or an attachment is not what was kept."""
    case = ledger.desk.get_case(case_number)
    return _write(ledger, case)


def _write(ledger: Ledger, case: case_pb2.Case) -> Iterator[bytes]:
    events = ledger.desk.list_case_events(case.case_number)
    documents = [_read_document(ledger, sequence) for sequence in _sequences(case)]
    chains = [_read_chain(ledger, code) for code in dict.fromkeys(f.code for f in case.findings if f.code)]
    entries = {event.sequence for event in events} | {found.sequence for found in documents}
    for reference in case.findings:
        entries.add(ledger.engine.finding_standing(reference).act_sequence)
    for chain in chains:
        entries |= {event.sequence for event in chain.events}
    info = ledger.service_info()
    with _Bundle(datetime.fromtimestamp(events[-1].time.seconds, CHINA)) as bundle:
        yield from bundle.add("case.json", [_json(case)])
        yield from bundle.add("events.json", [_json_list(events)])
        for sequence in sorted(entries - {0}):
            (value,) = ledger.engine.entries(sequence - 1, 1)
            yield from bundle.add(f"entries/{sequence:012}.entry", [value])
        for found in documents:
            yield from bundle.add(f"verdicts/{found.sequence:012}.json", [_json_verdicts(found)])
        for number, chain in enumerate(chains, 1):
            response = ledger_service_pb2.ListCodeEventsResponse(
                events=chain.events, status=ledger.get_code(chain.code).status, as_of=_as_of(info)
            )
            yield from bundle.add(f"chains/{number:04}.json", [_json(response)])
        for attachment in case.attachments:
            parts = ledger.desk.attachments.read(attachment.sha256)
            yield from bundle.add(f"attachments/{attachment.name}", parts)
        report = _render(case, events, documents, chains, info)
        yield from bundle.add("report.html", [report.encode()])
        yield from bundle.finish()


def _sequences(case: case_pb2.Case) -> list[int]:
    return sorted({reference.sequence for reference in case.findings})


def _read_document(ledger: Ledger, sequence: int) -> _FoundDocument:
    (value,) = ledger.engine.entries(sequence - 1, 1)
    entry = journal_pb2.JournalEntry.FromString(value)
    document = document_pb2.Document.FromString(entry.document.document)
    kind = document_pb2.DocumentKind.Value(f"DOCUMENT_KIND_{(document.WhichOneof('content') or '').upper()}")
    answer = ledger.get_document(
        ledger_service_pb2.GetDocumentRequest(
            institution_code=document.institution_code,
            kind=kind,
            document_number=document.document_number,
        )
    )
    if answer.verdict.sequence == sequence:
        return _FoundDocument(sequence, entry.receive_time_ns, document, answer.verdict_first, answer.verdict)
    first = finding_pb2.Verdict(
        sequence=sequence,
        outcome=entry.document.outcome,
        findings=entry.document.findings,
        rule_base_version=entry.document.rule_base_version,
    )
    return _FoundDocument(sequence, entry.receive_time_ns, document, first, None)


def _read_chain(ledger: Ledger, code: str) -> _Chain:
    events: list[code_pb2.CodeEvent] = []
    request = ledger_service_pb2.ListCodeEventsRequest(code=code, page_size=1_000)
    while len(events) < CHAIN_EVENTS_MAX:
        page = ledger.list_code_events(request)
        events.extend(page.events)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    return _Chain(code, events[:CHAIN_EVENTS_MAX], page.status.event_count)


def _as_of(info: ledger_service_pb2.GetServiceInfoResponse) -> finding_pb2.AsOf:
    return finding_pb2.AsOf(sequence=info.sequence, time=info.time)


def _json(message: Message) -> bytes:
    return (json_format.MessageToJson(message, indent=1, ensure_ascii=False) + "\n").encode()


def _json_list(messages: Iterable[Message]) -> bytes:
    rows = [json_format.MessageToDict(message) for message in messages]
    return (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode()


def _json_verdicts(found: _FoundDocument) -> bytes:
    shown: dict[str, Any] = {
        "sequence": str(found.sequence),
        "document": json_format.MessageToDict(found.document),
        "verdictFirst": json_format.MessageToDict(found.verdict_first),
    }
    if found.verdict is not None:
        shown["verdict"] = json_format.MessageToDict(found.verdict)
    return (json.dumps(shown, indent=1, ensure_ascii=False) + "\n").encode()


# --- The report for people ----------------------------------------------------------------------


def _render(
    case: case_pb2.Case,
    events: list[case_pb2.CaseEventRecord],
    documents: list[_FoundDocument],
    chains: list[_Chain],
    info: ledger_service_pb2.GetServiceInfoResponse,
) -> str:
    template = resources.files("tracecode").joinpath("evidence_bundle.html").read_text(encoding="utf-8")
    # Whatever a till or a person wrote is text here, never markup.
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {
        "time": _say_time,
        "time_ns": lambda ns: _say_time(Timestamp(seconds=ns // NS)),
        "fen": say_fen,
        "finding": _say_finding,
        "state": lambda number: NAMES_ZH[case_pb2.CaseState.Name(number)],
        "origin": lambda number: NAMES_ZH[case_pb2.CaseOrigin.Name(number)],
        "outcome": lambda number: NAMES_ZH[case_pb2.CaseOutcomeType.Name(number)],
        "operation": lambda number: NAMES_ZH[code_pb2.Operation.Name(number)],
        "code_state": lambda number: NAMES_ZH[code_pb2.CodeState.Name(number)],
    }
    return environment.from_string(template).render(
        case=case, events=events, documents=documents, chains=chains, info=info
    )


def _say_time(time: Timestamp) -> str:
    moment = datetime.fromtimestamp(time.seconds, UTC).astimezone(CHINA)
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _say_finding(number: int) -> str:
    kind = FindingType(number)
    return f"{REGISTRY[kind].title_zh}（{kind.name}）"
