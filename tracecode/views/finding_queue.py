"""The finding queue 疑点: what stands now, from entries and the revisions of them.

Findings that weigh WARN or more when the verdict is final. Numbers in keys are big-endian.

`f` document's sequence u64, place u16 -> a Standing (see `_HEAD`; then institution, division, code, with 00
    between them): place is its place among the findings of the entry that is in force
`g` 255 - final severity u8, 2^32 - 1 - day u32, sequence u64, place u16 -> nothing: the gravest, then
    the latest
`h` institution, sequence u64, place u16 -> nothing: by institution
`e` entry u64, document's sequence u64 -> revision u32: entry by entry, of whose document the findings changed
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from struct import Struct
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tracecode.document import NS, china_day, effective_time
from tracecode.v1 import document_pb2, finding_pb2, journal_pb2
from tracecode.views.batch import Batch
from tracecode.views.store import Reader, Writer

SEVERITY_MIN = int(finding_pb2.SEVERITY_WARN)

_ID = Struct(">QH")
_ORDER = Struct(">BIQH")
_EVENT = Struct(">QQ")
_REVISION = Struct("<I")
_HEAD = Struct("<HBBBB?IQQI")
"""type, severity, final severity, mode, grade, revisable, revision, entry in force, line number, day."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A finding that stands."""

    sequence: int
    """The document's entry."""
    place: int
    type: int
    severity: int
    """While the verdict is provisional."""
    final_severity: int
    mode: int
    grade: int
    revisable: bool
    revision: int
    entry: int
    """In which it stands: the document's own, or the revision's."""
    line_number: int
    day: int
    """Business day of the document, days since 1970-01-01."""
    institution_code: str
    division_code: str
    code: str


@dataclass(frozen=True, slots=True)
class Change:
    """Of a document the findings changed, or were given."""

    entry: int
    sequence: int
    revision: int


class FindingQueueView:
    """Keeps what stands."""

    tables = b"efgh"

    def apply(self, batch: Batch, write: Writer) -> None:
        """Put findings in, and change what revisions change, entry by entry."""
        findings = pa.Table.from_batches([batch.findings])
        findings = findings.filter(
            pc.or_(
                pc.greater_equal(findings["final_severity"], SEVERITY_MIN),
                pc.greater(findings["revision"], 0),
            )
        )
        for _, rows in groupby(findings.to_pylist(), itemgetter("entry")):
            _replace(list(rows), write)


def list_standing(
    reader: Reader,
    *,
    severity_min: int = SEVERITY_MIN,
    types: Collection[int] = (),
    institution_code: str = "",
    division_prefix: str = "",
    days: tuple[int, int] | None = None,
    page_size: int = 100,
    page_token: str = "",
) -> tuple[list[Standing], str]:
    """What stands, the gravest and latest first (of one institution: in the order of arrival), and the token
    of the next page, empty at the end. `days` are the first and the last. Raises ValueError for a token of
    something else."""
    prefix = b"h" + institution_code.encode() + b"\0" if institution_code else b"g"
    start = bytes.fromhex(page_token)
    if not start.startswith(prefix[: len(start)]) or (page_token and len(start) < len(prefix) + _ID.size):
        raise ValueError("the page_token belongs to another question; begin again without one")
    found: list[Standing] = []
    for key, _ in reader.scan(prefix, start):
        if prefix == b"g" and 255 - key[1] < severity_min:
            break
        standing = _read(reader, key[-_ID.size :])
        if standing.final_severity < severity_min or (types and standing.type not in types):
            continue
        if not standing.division_code.startswith(division_prefix):
            continue
        if days is not None and not days[0] <= standing.day <= days[1]:
            continue
        if len(found) == page_size:
            return found, key.hex()
        found.append(standing)
    return found, ""


def read_standing(reader: Reader, sequence: int) -> list[Standing]:
    """What stands of one document."""
    return [_parse(key[1:], value) for key, value in reader.scan(b"f" + sequence.to_bytes(8, "big"))]


def list_changes(reader: Reader, after: int, limit: int = 1_000) -> list[Change]:
    """Whose findings changed in the entries behind `after`: what a watch goes on with."""
    changes: list[Change] = []
    for key, value in reader.scan(b"e", b"e" + _EVENT.pack(after + 1, 0)):
        if len(changes) == limit:
            break
        entry, sequence = _EVENT.unpack_from(key, 1)
        changes.append(Change(entry, sequence, _REVISION.unpack(value)[0]))
    return changes


def _replace(rows: list[dict[str, Any]], write: Writer) -> None:
    """Put what one entry says of a document in the place of what stood."""
    first = rows[0]
    sequence: int = first["sequence"]
    before = write.scan(b"f" + sequence.to_bytes(8, "big"))
    about = _read_about(before[0][1] if before else None, sequence, write)
    for key, value in before:
        standing = _parse(key[1:], value)
        write.delete(key)
        for index in _indexes(standing):
            write.delete(index)
    kept = [row for row in rows if row["final_severity"] >= SEVERITY_MIN]
    if not kept and not before:
        return
    day, institution_code, division_code = about
    for place, row in enumerate(kept):
        standing = Standing(
            sequence=sequence,
            place=place,
            type=row["type"],
            severity=row["severity"],
            final_severity=row["final_severity"],
            mode=row["mode"],
            grade=row["grade"],
            revisable=row["revisable"],
            revision=row["revision"],
            entry=row["entry"],
            line_number=row["line_number"],
            day=day,
            institution_code=institution_code,
            division_code=division_code,
            code=row["code"],
        )
        write.put(b"f" + _ID.pack(sequence, place), _write(standing))
        for index in _indexes(standing):
            write.put(index, b"")
    write.put(b"e" + _EVENT.pack(first["entry"], sequence), _REVISION.pack(first["revision"]))


def _read_about(known: bytes | None, sequence: int, write: Writer) -> tuple[int, str, str]:
    """Business day, institution and division of a document: from what stands of it, else from its entry."""
    if known is not None:
        standing = _parse(_ID.pack(sequence, 0), known)
        return standing.day, standing.institution_code, standing.division_code
    entry = journal_pb2.JournalEntry.FromString(write.entry(sequence) or b"")
    document = document_pb2.Document.FromString(entry.document.document)
    day = china_day(effective_time(document.business_time.seconds, entry.receive_time_ns // NS))
    return day, document.institution_code, document.institution_code[1:7]


def _indexes(standing: Standing) -> Iterator[bytes]:
    yield b"g" + _ORDER.pack(
        255 - standing.final_severity, 2**32 - 1 - standing.day, standing.sequence, standing.place
    )
    yield b"h" + standing.institution_code.encode() + b"\0" + _ID.pack(standing.sequence, standing.place)


def _write(standing: Standing) -> bytes:
    head = _HEAD.pack(
        standing.type,
        standing.severity,
        standing.final_severity,
        standing.mode,
        standing.grade,
        standing.revisable,
        standing.revision,
        standing.entry,
        standing.line_number,
        standing.day,
    )
    return head + "\0".join((standing.institution_code, standing.division_code, standing.code)).encode()


def _read(reader: Reader, identity: bytes) -> Standing:
    return _parse(identity, reader.get(b"f" + identity) or b"")


def _parse(identity: bytes, value: bytes) -> Standing:
    sequence, place = _ID.unpack(identity)
    kind, severity, final_severity, mode, grade, revisable, revision, entry, line_number, day = (
        _HEAD.unpack_from(value)
    )
    institution_code, division_code, code = value[_HEAD.size :].decode().split("\0", 2)
    return Standing(
        sequence=sequence,
        place=place,
        type=kind,
        severity=severity,
        final_severity=final_severity,
        mode=mode,
        grade=grade,
        revisable=revisable,
        revision=revision,
        entry=entry,
        line_number=line_number,
        day=day,
        institution_code=institution_code,
        division_code=division_code,
        code=code,
    )
