"""What every engine promises. An engine keeps the journal and answers from it; rules judge.

Duties, in the words of RFC 2119:

* An answer of `record` MUST NOT be given before its entries are durable. An engine that cannot tell
  whether they are MUST stop (EngineStopped); it MUST NOT answer.
* Submissions of one call, and calls, are judged strictly one after another. Two engines given the
  same submissions, imports and receive times MUST give byte-equal entries.
* A repeat (same identity, same content) MUST be answered with the first verdict's sequence, also
  after a restart, and MUST be as durable as a first write.
* A document that is rejected MUST leave no trace; the others of the call are not affected.
* `verify` writes nothing.
* An act at the desk is judged against what the acts before it left, in the order of its entries: of two that
  name the same last event, one is kept. It MUST NOT change what is thought of a document.
* An engine MUST NOT guess: bytes that fail their checksum raise DataLoss.

The contract is batch-oriented and knows nothing of get and put, so a distributed engine can fulfil it
with its own primitives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tracecode import _native
from tracecode.cases.papers import Paper
from tracecode.engine.rule_bases import RuleBases
from tracecode.errors import DocumentRejected
from tracecode.life_cycle import Event, InstitutionFacts
from tracecode.rule_base import FROM_FILE, Activation, RuleBase
from tracecode.v1 import (
    case_pb2,
    catalogue_pb2,
    code_pb2,
    complaint_pb2,
    document_pb2,
    finding_pb2,
    journal_pb2,
    ledger_service_pb2,
)


@dataclass(frozen=True, slots=True)
class Submission:
    """A document to record. `document` is a serialized tracecode.v1.Document whose persons are
    already keyed hashes; `receive_time_ns` is when it reached us, ns since 1970 UTC."""

    document: bytes
    receive_time_ns: int
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Submissions:
    """Documents to record in one commit, in order: the columns of as many `Submission`s, equally long."""

    documents: list[bytes]
    receive_times_ns: list[int]
    request_ids: list[str]

    @classmethod
    def of(cls, *submissions: Submission) -> Submissions:
        """The columns of submissions."""
        return cls(
            [submission.document for submission in submissions],
            [submission.receive_time_ns for submission in submissions],
            [submission.request_id for submission in submissions],
        )

    @classmethod
    def read(
        cls, message: bytes, kind: int, hide: Callable[[str], str], receive_time_ns: int
    ) -> Submissions | None:
        """The documents of a serialized RecordDocumentsRequest, their person tokens hidden by `hide`.

        None where a document is not a sale or receipt in the form that every encoder writes (known fields
        in their order, none of them empty), or not of the `kind` (a DocumentKind, 0 = both) asked for.
        """
        read = _native.read_requests(message, kind, hide)
        if read is None:
            return None
        documents, request_ids = read
        return cls(documents, [receive_time_ns] * len(documents), request_ids)

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, part: slice) -> Submissions:
        return Submissions(self.documents[part], self.receive_times_ns[part], self.request_ids[part])

    def at(self, position: int) -> Submission:
        """One of them."""
        return Submission(
            self.documents[position], self.receive_times_ns[position], self.request_ids[position]
        )

    def extend(self, more: Submissions) -> None:
        """Add others behind these."""
        self.documents.extend(more.documents)
        self.receive_times_ns.extend(more.receive_times_ns)
        self.request_ids.extend(more.request_ids)


Recorded = finding_pb2.Verdict | bytes | DocumentRejected
"""What `record` says of a document: its verdict as stored, without texts; or, of one that native code
cleared, the serialized verdict as it is answered; or why it was rejected."""


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """What an import did; `sequence` is the entry it became (the last entry if nothing changed)."""

    created: int
    updated: int
    unchanged: int
    sequence: int


@dataclass(frozen=True, slots=True)
class DeskAnswer:
    """What became of an act at the desk: its entry, and what it changed as that entry left it.

    `repeat`: it had been kept before, as entry `sequence`; what it changed is told as it is now.
    """

    sequence: int
    case: case_pb2.Case | None = None
    finding: case_pb2.FindingStanding | None = None
    paper: Paper | None = None
    repeat: bool = False


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A document the ledger knows, with the verdict first given and the one standing now."""

    document: document_pb2.Document
    receive_time_ns: int
    verdict_first: finding_pb2.Verdict
    verdict: finding_pb2.Verdict
    deleted_by_sequence: int


class Engine(Protocol):
    """Judges, keeps and answers. Calls are made by one thread at a time, except that `verify`, `code`,
    `history`, `standing_sales`, `facts`, `document`, `product`, `institution`, `case`, `cases`,
    `case_events`, `complaints`, `complaints_of`, `paper`, `paper_events`, `finding_standing` and `entries`
    MUST be safe beside `record`."""

    name: str

    def record(self, submissions: Submissions) -> list[Recorded]:
        """Judge and keep documents in order; one answer for each."""

    def verify(
        self, request: ledger_service_pb2.VerifyCodesRequest, now_ns: int
    ) -> ledger_service_pb2.VerifyCodesResponse:
        """Judge codes as if they were sold now (or at the request's business time)."""

    def verify_plain(self, request: bytes, now_ns: int) -> bytes | None:
        """The serialized VerifyCodesResponse, as it is answered, to a serialized request of which every
        code is plainly in order, or None. MUST NOT wait for a commit, nor tell what is not durable."""

    def code(self, key: bytes) -> code_pb2.CodeStatus:
        """What is known of a code now; state UNKNOWN if it was never seen."""

    def history(
        self,
        key: bytes,
        start: int = 0,
        limit: int = 2**31,
        make: Callable[[], code_pb2.CodeEvent] = code_pb2.CodeEvent,
    ) -> list[code_pb2.CodeEvent]:
        """The code's chain in effective order, with findings first and now: `limit` events from `start` on.

        Each is written into what `make` gives, such as the next of an answer, where copies would cost most.
        Of a code that hundreds of entries name, MAY leave out the state after each event.
        """

    def standing_sales(self, key: bytes) -> list[Event]:
        """The sales of a code that stand now, by time: not returned, deleted or refused, each once however
        often it was reported. Of split sales the units that were not given back."""

    def facts(self, institution_code: str) -> InstitutionFacts:
        """What rules ask of an institution, registered or not."""

    def document(
        self, institution_code: str, kind: document_pb2.DocumentKind.ValueType, document_number: str
    ) -> DocumentRecord | None:
        """A document by its identity, or None."""

    def product(self, identifier: str) -> catalogue_pb2.Product | None:
        """A product by 7-digit identifier or GTIN-14, or None."""

    def institution(self, institution_code: str) -> catalogue_pb2.Institution | None:
        """An institution by its code, or None."""

    def import_products(self, products: Sequence[catalogue_pb2.Product], now_ns: int) -> ImportCounts:
        """Create or update products; all or nothing, one entry."""

    def import_institutions(
        self, institutions: Sequence[catalogue_pb2.Institution], now_ns: int
    ) -> ImportCounts:
        """Create or update institutions; all or nothing, one entry."""

    def import_holds(self, holds: Sequence[catalogue_pb2.Hold], now_ns: int) -> ImportCounts:
        """Create or update holds; all or nothing, one entry."""

    def import_code_replacements(
        self, replacements: Sequence[catalogue_pb2.CodeReplacement], now_ns: int
    ) -> ImportCounts:
        """Create or update code replacements; all or nothing, one entry."""

    def change_rule_base(self, rule_base: RuleBase, now_ns: int, activation: Activation = FROM_FILE) -> int:
        """Put a rule base in force, at once or from a time to come; returns the entry's sequence. It judges
        what is received from then on, and MUST NOT change a verdict of what was received before."""

    @property
    def rule_bases(self) -> RuleBases:
        """All rule bases of the journal, and which one judges when."""

    def act(self, acts: Sequence[journal_pb2.JournalEntry], now_ns: int) -> list[DeskAnswer | Exception]:
        """Judge and keep in order, in one commit, what people do at the desk; an answer for each, or why it
        was refused. An act is an entry with its content alone."""

    def case(self, case_number: str) -> case_pb2.Case | None:
        """A case as it stands, or None."""

    def cases(self, before: int, limit: int) -> list[tuple[int, case_pb2.Case]]:
        """The cases with ordinals below `before` (0 = all), the newest first, at most `limit`, each with its
        ordinal."""

    def case_events(self, case_number: str) -> list[journal_pb2.JournalEntry]:
        """The entries of a case, the first first; empty if there is no such case."""

    def complaints(self, before: int, limit: int) -> list[tuple[int, complaint_pb2.ComplaintRecord]]:
        """The complaints with ordinals below `before` (0 = all), the newest first, at most `limit`, each with
        its ordinal."""

    def complaints_of(self, key: bytes) -> list[complaint_pb2.ComplaintRecord]:
        """The newest complaints about a code, at most 100, the newest first."""

    def paper(self, number: str) -> Paper | None:
        """A draw, a self-check or an inspection as it stands, or None."""

    def paper_events(self, number: str) -> list[journal_pb2.JournalEntry]:
        """The entries of a paper, the first first; empty if there is none."""

    def finding_standing(self, reference: case_pb2.FindingReference) -> case_pb2.FindingStanding:
        """What people have made of a finding."""

    @property
    def rule_base(self) -> RuleBase:
        """What judges the next document, by the time of the last one."""

    @property
    def sequence(self) -> int:
        """The last durable entry, 0 = none."""

    def entries(self, after: int, limit: int) -> list[bytes]:
        """Serialized JournalEntry of the sequences after+1 .. after+limit, as far as they exist."""

    def free_dead_readers(self) -> int:
        """Free what processes hold that died while they read; how many there were. Any thread may ask."""

    def close(self) -> None:
        """Write back what is worth keeping and release the files. Safe to call twice."""
