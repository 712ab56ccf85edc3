"""The engine contract over any store: the judge decides, the journal keeps, the index follows.

One document after another: judge (reads only), append the entries, apply them; one commit for the whole
call. A store that can clear plain documents by itself does so before the judge is asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from math import ceil
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from tracecode.cases.papers import Paper
from tracecode.code import HINT_TEXTS, Reading, key_text
from tracecode.document import (
    BUSINESS_TIME_MAX,
    BUSINESS_TIME_MIN,
    NS,
    SCAN_BYTES_MAX,
    Document,
    DocumentKind,
    Line,
    Operation,
    check_institution_code,
)
from tracecode.engine import desk, records
from tracecode.engine.contract import (
    DeskAnswer,
    DocumentRecord,
    ImportCounts,
    Recorded,
    Submission,
    Submissions,
)
from tracecode.engine.index import Index, Store, StoredDocument, identifier_of
from tracecode.engine.judge import Judge, Repeat, refuses
from tracecode.engine.records import CodeFlag, CodeRecord
from tracecode.engine.rule_bases import RuleBases
from tracecode.errors import DeskRefused, DocumentRejected, FieldInvalid, NotFound
from tracecode.finding import PROVISIONAL_SECONDS
from tracecode.life_cycle import Event, InstitutionFacts, State, Step
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

QUESTIONS_MAX = 1_000
EVENTS_AT_ONCE = 128
"""Of a page of a long chain, so many are read before those who record get their turn."""
UINT32_MAX = 2**32 - 1
"""A quantity may be larger than the units of an event that is answered."""

M = TypeVar(
    "M", catalogue_pb2.Product, catalogue_pb2.Institution, catalogue_pb2.Hold, catalogue_pb2.CodeReplacement
)


class StoreEngine:
    """See tracecode.engine.contract.Engine for what each method promises."""

    name = ""

    def __init__(self, store: Store, rule_base: RuleBase | None, now_ns: int) -> None:
        """Open on a store whose index is complete. An empty journal begins with the rule base; a
        given rule base that is not the one in force is put in force."""
        self.store = store
        self.index = Index(store)
        self._lock = threading.RLock()
        self.rule_bases = RuleBases(store)
        self._judge = Judge(self.index, self.rule_bases)
        self._receive_time_ns = self._last_receive_time_ns()
        taken = self.rule_bases.from_file()
        if not self.rule_bases.changes:
            self.change_rule_base(rule_base or RuleBase.default(), now_ns)
        elif rule_base is not None and (taken is None or rule_base.text != taken.text):
            # A file that stayed as it was takes back nothing that was put in force since.
            self.change_rule_base(rule_base, now_ns)

    def _last_receive_time_ns(self) -> int:
        value = self.store.entry(self.store.sequence)
        return 0 if value is None else journal_pb2.JournalEntry.FromString(value).receive_time_ns

    @property
    def rule_base(self) -> RuleBase:
        """What judges the next document, by the time of the last one."""
        return self.rule_bases.at(self._receive_time_ns // NS)

    @property
    def sequence(self) -> int:
        """The last durable entry."""
        return self.store.durable_sequence

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """The engine's lock; what fails on the way to the commit leaves no trace."""
        with self._lock:
            try:
                yield
            except BaseException:
                self.index.forget()
                self.store.rollback()
                raise

    # Documents.

    def record(self, submissions: Submissions) -> list[Recorded]:
        """Judge and keep documents in order; one answer for each, durable on return."""
        answers: list[Recorded] = []
        with self._writing():
            clear = self._clearing(submissions)
            while len(answers) < len(submissions):
                cleared = clear(len(answers))
                if cleared:
                    answers += cleared
                else:
                    answers.append(self._record_one(submissions.at(len(answers))))
            self.store.commit()
        return answers

    def _clearing(self, submissions: Submissions) -> Callable[[int], list[bytes]]:
        """What gives, from a position on, the verdicts of the plain documents that the store cleared."""
        return lambda start: []

    def _record_one(self, submission: Submission) -> finding_pb2.Verdict | DocumentRejected:
        # The clock never runs backwards, whatever becomes of the document.
        self._receive_time_ns = receive_time_ns = max(submission.receive_time_ns, self._receive_time_ns)
        submission = Submission(submission.document, receive_time_ns, submission.request_id)
        try:
            judgement = self._judge.judge(submission, self.store.sequence + 1)
        except DocumentRejected as rejected:
            return rejected
        if isinstance(judgement, Repeat):
            verdict = self._first_answer(judgement.sequence)
            verdict.repeat = True
            return verdict
        read, steps = judgement.read, judgement.steps
        for entry in judgement.entries:
            self._append(entry)
            if entry.HasField("document"):
                self.index.apply(entry, read, steps)
            else:
                self.index.apply(entry)
        first = judgement.entries[0]
        self._learn(first)
        return self._first_answer(first.sequence)

    def _first_answer(self, sequence: int) -> finding_pb2.Verdict:
        stored = self.index.stored(sequence)
        verdict = first_verdict(stored)
        verdict.deleted_by_sequence = self.index.record_of(stored).deleted_by
        return verdict

    def _append(self, entry: journal_pb2.JournalEntry) -> None:
        self.store.append(entry.SerializeToString(deterministic=True))

    def _learn(self, cause: journal_pb2.JournalEntry) -> None:
        """Append what enough consistent sales have taught of products that no catalogue knows, and judge
        again the documents that came before it (PRODUCT_UNKNOWN; thresholds are ours)."""
        read = self.index.stored(cause.sequence).read
        thresholds = self.rule_bases.at(read.receive_time, read.sequence).thresholds
        products = self.index.learnable(read, thresholds.learn_sales, thresholds.learn_institutions)
        if products:
            entry = journal_pb2.JournalEntry(
                sequence=self.store.sequence + 1,
                receive_time_ns=cause.receive_time_ns,
                product_import=journal_pb2.ProductImport(products=products),
            )
            self._append(entry)
            self.index.apply(entry)
        changed = {product.identifier for product in products}
        changed |= set(self.index.aged(read, thresholds.product_learning_days * 86_400))
        for sequence in self.index.unknown_documents(changed):
            revision = self._judge.judge_again(sequence, cause, self.store.sequence + 1)
            if revision is not None:
                self._append(revision)
                self.index.apply(revision)

    def document(
        self, institution_code: str, kind: document_pb2.DocumentKind.ValueType, document_number: str
    ) -> DocumentRecord | None:
        """A document by its identity, or None."""
        with self._lock:
            number = self.index.institution_number(institution_code)
            value = self.store.get(records.document_key(number, kind, document_number))
            if not number or value is None:
                return None
            record = records.DocumentIndexRecord.from_bytes(value)
            if not record.sequence:
                return None
            stored = self.index.stored(record.sequence)
            verdict = first_verdict(stored)
            findings, revision = self.index.standing_findings(stored)
            standing = finding_pb2.Verdict()
            standing.CopyFrom(verdict)
            del standing.findings[:]
            standing.findings.extend(findings)
            standing.revision = revision
            standing.deleted_by_sequence = record.deleted_by
            return DocumentRecord(
                document=document_pb2.Document.FromString(stored.entry.document.document),
                receive_time_ns=stored.entry.receive_time_ns,
                verdict_first=verdict,
                verdict=standing,
                deleted_by_sequence=record.deleted_by,
            )

    # Codes.

    def verify(
        self, request: ledger_service_pb2.VerifyCodesRequest, now_ns: int
    ) -> ledger_service_pb2.VerifyCodesResponse:
        """Judge codes as one sale that is asked before settlement; writes nothing."""
        now = now_ns // NS
        document = _question(request, now)
        with self._lock:
            self._turn(now)
            findings, read = self._judge.judge_question(document, now)
            answers = []
            for line in read.lines:
                own = [m for m in findings if m.line_number in (0, line.line.number)]
                status = None
                if len(line.readings) == 1 and line.readings[0].key:
                    status = self.code(line.readings[0].key)
                answers.append(
                    ledger_service_pb2.CodeAnswer(
                        readings=[reading_message(reading) for reading in line.readings],
                        status=status,
                        findings=own,
                        would_refuse=any(refuses(m, now, read.time + PROVISIONAL_SECONDS) for m in own),
                    )
                )
            return ledger_service_pb2.VerifyCodesResponse(
                answers=answers,
                rule_base_version=self.rule_bases.at(now).version,
                as_of=self._as_of(now_ns),
            )

    def verify_plain(self, request: bytes, now_ns: int) -> bytes | None:
        """Nothing is cleared here: ask `verify`."""
        return None

    def _as_of(self, now_ns: int) -> finding_pb2.AsOf:
        return finding_pb2.AsOf(
            sequence=self.store.sequence, time=Timestamp(seconds=now_ns // NS, nanos=now_ns % NS)
        )

    def code(self, key: bytes) -> code_pb2.CodeStatus:
        """What is known of a code now."""
        with self._lock:
            record = self.index.code_record(key) or CodeRecord()
            holds = record.state in (State.IN_STOCK, State.SPLIT)
            return code_pb2.CodeStatus(
                code=key_text(key),
                state=code_pb2.CodeState.ValueType(record.state),
                holder_institution_code=self.index.institution_code(record.institution) if holds else "",
                units_left=record.units_left,
                active_sales=record.active_sales,
                return_cycles=record.return_cycles,
                conflict=bool(record.flags & CodeFlag.CONFLICT),
                event_count=record.event_count,
                identifier=identifier_of(key),
            )

    def history(
        self,
        key: bytes,
        start: int = 0,
        limit: int = 2**31,
        make: Callable[[], code_pb2.CodeEvent] = code_pb2.CodeEvent,
    ) -> list[code_pb2.CodeEvent]:
        """The chain in effective order, with findings first and now: `limit` events from `start` on."""
        with self._lock:
            if not self.index.is_long(key):
                codes = self.index.codes_text(key)
                steps = self.index.steps(key)[start : start + limit]
                return [self._write_step(make(), step, key, codes) for step in steps]
            sequences = self.index.long_chain(key, start, limit)
        return self._long_history(key, sequences, make)

    def _long_history(
        self, key: bytes, sequences: Sequence[int], make: Callable[[], code_pb2.CodeEvent]
    ) -> list[code_pb2.CodeEvent]:
        """Of a chain that is too long to fold. A deletion is told with what it takes back. Sales go on while
        a thousand are read."""
        events: list[code_pb2.CodeEvent] = []
        for begin in range(0, len(sequences), EVENTS_AT_ONCE):
            with self._lock:
                codes = self.index.codes_text(key)
                some = sequences[begin : begin + EVENTS_AT_ONCE]
                for sequence, plain in zip(some, self._tell_plain(key, codes, some), strict=True):
                    event = make()
                    if plain is None:
                        tell_entry(self.index, sequence, key, codes, event)
                    else:
                        event.MergeFromString(plain)
                    events.append(event)
        return events

    def _tell_plain(
        self, key: bytes, codes: Collection[str], sequences: Sequence[int]
    ) -> Sequence[bytes | None]:
        """What `tell_entry` would write of each entry, serialized, of those that the store can tell of by
        itself; None of any other."""
        return [None] * len(sequences)

    def _write_step(
        self, message: code_pb2.CodeEvent, step: Step, key: bytes, codes: frozenset[str]
    ) -> code_pb2.CodeEvent:
        # Nothing is ever found about a receipt that could be cut, and it may name a thousand other codes.
        is_receipt = step.event.document_kind == DocumentKind.RECEIPT
        sequence = step.event.sequence
        stored = self.index.stored_for(sequence, key) if is_receipt else self.index.stored(sequence)
        standing, _ = self.index.standing_findings(stored)
        _write_event(message, step.event, stored, standing, codes)
        message.state_after = code_pb2.CodeState.ValueType(step.after.state)
        message.joined_sequence = step.joined.sequence if step.joined is not None else 0
        return message

    def standing_sales(self, key: bytes) -> list[Event]:
        """The sales of a code that stand now, by time."""
        with self._lock:
            return self.index.standing_sales(key)

    def facts(self, institution_code: str) -> InstitutionFacts:
        """What rules ask of an institution, registered or not."""
        with self._lock:
            return self.index.facts(institution_code)

    # The catalogue and the lists.

    def product(self, identifier: str) -> catalogue_pb2.Product | None:
        """A product by 7-digit identifier or GTIN-14, or None."""
        with self._lock:
            return self.index.product(identifier)

    def institution(self, institution_code: str) -> catalogue_pb2.Institution | None:
        """A registered institution by its code, or None."""
        with self._lock:
            return self.index.institution(institution_code)

    def import_products(self, products: Sequence[catalogue_pb2.Product], now_ns: int) -> ImportCounts:
        """Create or update products; all or nothing, one entry."""
        rows = {p.identifier: p for p in products}
        with self._writing():
            changed, counts = _compare(rows, {key: self.index.product(key) for key in rows})
            content = journal_pb2.ProductImport(products=changed)
            return self._import(journal_pb2.JournalEntry(product_import=content), counts, now_ns)

    def import_institutions(
        self, institutions: Sequence[catalogue_pb2.Institution], now_ns: int
    ) -> ImportCounts:
        """Create or update institutions; all or nothing, one entry."""
        rows = {i.institution_code: i for i in institutions}
        with self._writing():
            changed, counts = _compare(rows, {code: self.index.institution(code) for code in rows})
            content = journal_pb2.InstitutionImport(institutions=changed)
            return self._import(journal_pb2.JournalEntry(institution_import=content), counts, now_ns)

    def import_holds(self, holds: Sequence[catalogue_pb2.Hold], now_ns: int) -> ImportCounts:
        """Create or update holds; all or nothing, one entry."""
        rows = {h.hold_id: h for h in holds}
        with self._writing():
            changed, counts = _compare(rows, {hold_id: self.index.hold(hold_id) for hold_id in rows})
            content = journal_pb2.HoldImport(holds=changed)
            return self._import(journal_pb2.JournalEntry(hold_import=content), counts, now_ns)

    def import_code_replacements(
        self, replacements: Sequence[catalogue_pb2.CodeReplacement], now_ns: int
    ) -> ImportCounts:
        """Create or update code replacements; all or nothing, one entry."""
        rows = {r.old_code: r for r in replacements}
        with self._writing():
            changed, counts = _compare(rows, {old: self.index.replacement(old) for old in rows})
            content = journal_pb2.CodeReplacementImport(code_replacements=changed)
            return self._import(journal_pb2.JournalEntry(code_replacement_import=content), counts, now_ns)

    def change_rule_base(self, rule_base: RuleBase, now_ns: int, activation: Activation = FROM_FILE) -> int:
        """Put a rule base in force, at once or from a time to come; returns the entry's sequence."""
        with self._writing():
            # A time that is over by the journal's clock is at once.
            effective = activation.effective_time
            if effective <= max(now_ns, self._receive_time_ns) // NS:
                effective = 0
            entry = journal_pb2.JournalEntry(
                rule_base_change=journal_pb2.RuleBaseChange(
                    version=rule_base.version,
                    text=rule_base.text,
                    author=activation.author,
                    approver=activation.approver,
                    notes=activation.notes,
                    effective_time_seconds=effective,
                    previous_sequence=self.rule_bases.last_sequence,
                    restored_sequence=activation.restored_sequence,
                )
            )
            counts = self._import(entry, [0, 1, 0], now_ns)
            self.rule_bases.add(entry, rule_base)
            self._turn(self._receive_time_ns // NS, anew=True)
        return counts.sequence

    def _turn(self, time: int, *, anew: bool = False) -> None:
        """What is received from that second on may be judged by another rule base; `anew` also if not."""

    def _import(self, entry: journal_pb2.JournalEntry, counts: list[int], now_ns: int) -> ImportCounts:
        created, updated, unchanged = counts
        if created or updated:
            self._receive_time_ns = max(now_ns, self._receive_time_ns)
            entry.sequence = self.store.sequence + 1
            entry.receive_time_ns = self._receive_time_ns
            self._append(entry)
            self.index.apply(entry)
            self.store.commit()
        return ImportCounts(created, updated, unchanged, self.store.sequence)

    # The desk.

    def act(self, acts: Sequence[journal_pb2.JournalEntry], now_ns: int) -> list[DeskAnswer | Exception]:
        """Judge and keep what people do at the desk, in one commit; an answer for each."""
        answers: list[DeskAnswer | Exception] = []
        with self._writing():
            self._receive_time_ns = max(now_ns, self._receive_time_ns)
            for act in acts:
                try:
                    answers.append(self._act_one(act))
                except (DeskRefused, FieldInvalid, NotFound) as refused:
                    # Nothing was written for it.
                    answers.append(refused)
            self.store.commit()
        return answers

    def _act_one(self, act: journal_pb2.JournalEntry) -> DeskAnswer:
        entry = journal_pb2.JournalEntry()
        entry.CopyFrom(act)
        entry.sequence = self.store.sequence + 1
        entry.receive_time_ns = self._receive_time_ns
        earlier = desk.judge(self.index, entry)
        if earlier:
            return desk.answer(self.store, desk.read_entry(self.store, earlier), repeat=True)
        self._append(entry)
        self.index.apply(entry)
        return desk.answer(self.store, entry)

    def case(self, case_number: str) -> case_pb2.Case | None:
        """A case as it stands, or None."""
        with self._lock:
            return desk.find_case(self.store, case_number)

    def cases(self, before: int, limit: int) -> list[tuple[int, case_pb2.Case]]:
        """The cases with ordinals below `before`, the newest first."""
        with self._lock:
            return desk.list_cases(self.store, before, limit)

    def case_events(self, case_number: str) -> list[journal_pb2.JournalEntry]:
        """The entries of a case, the first first."""
        with self._lock:
            return desk.list_events(self.store, case_number)

    def complaints(self, before: int, limit: int) -> list[tuple[int, complaint_pb2.ComplaintRecord]]:
        """The complaints with ordinals below `before`, the newest first."""
        with self._lock:
            return desk.list_complaints(self.store, before, limit)

    def complaints_of(self, key: bytes) -> list[complaint_pb2.ComplaintRecord]:
        """The newest complaints about a code, the newest first."""
        with self._lock:
            return desk.list_complaints_of(self.store, key)

    def paper(self, number: str) -> Paper | None:
        """A draw, a self-check or an inspection as it stands, or None."""
        with self._lock:
            return desk.find_paper(self.store, number)

    def paper_events(self, number: str) -> list[journal_pb2.JournalEntry]:
        """The entries of a paper, the first first."""
        with self._lock:
            return desk.list_paper_events(self.store, number)

    def finding_standing(self, reference: case_pb2.FindingReference) -> case_pb2.FindingStanding:
        """What people have made of a finding."""
        with self._lock:
            return desk.find_standing(self.store, reference)

    # The journal.

    def entries(self, after: int, limit: int) -> list[bytes]:
        """Serialized JournalEntry of the sequences after+1 .. after+limit, as far as they exist."""
        return self.store.entries(after, limit)

    def free_dead_readers(self) -> int:
        """Nobody else reads it."""
        return 0

    def close(self) -> None:
        """Release the store. Safe to call twice."""
        with self._lock:
            self.store.close()


def tell_entry(
    index: Index, sequence: int, key: bytes, codes: frozenset[str], message: code_pb2.CodeEvent
) -> None:
    """What an entry tells of a code, without what only a fold knows, into an empty message. The native code,
    which tells of plain entries, writes the same bytes (native/code_events.pxi)."""
    stored = index.stored_for(sequence, key)
    record = index.record_of(stored)
    event = index.event(sequence, key, record)
    standing, _ = index.standing_findings(stored, record)
    _write_event(message, event, stored, standing, codes)


def _write_event(
    message: code_pb2.CodeEvent,
    event: Event,
    stored: StoredDocument,
    standing: list[finding_pb2.Finding],
    codes: frozenset[str],
) -> code_pb2.CodeEvent:
    """What an entry tells of a code, with what was found first and what stands of it; in place."""
    deletion = event.operation is Operation.DELETE

    def of_code(messages: Iterable[finding_pb2.Finding]) -> list[finding_pb2.Finding]:
        return [m for m in messages if deletion or m.code in codes or not m.line_number]

    message.sequence = event.sequence
    message.line_number = event.line_number
    message.operation = code_pb2.Operation.ValueType(event.operation)
    message.institution_code = event.institution
    message.document_kind = document_pb2.DocumentKind.ValueType(event.document_kind)
    message.document_number = event.document_number
    message.business_time.seconds = event.business_time
    message.receive_time.seconds = event.receive_time
    message.effective_time.seconds = event.time
    message.units = min(ceil(event.units), UINT32_MAX)
    message.refused = event.refused
    message.deleted_by_sequence = event.deleted_by
    message.package_code = key_text(event.package) if event.package else ""
    message.findings_first.extend(of_code(stored.entry.document.findings))
    message.findings.extend(of_code(standing))
    message.channel = document_pb2.Channel.ValueType(event.channel)
    message.settlement_id = event.settlement_id
    message.counterparty = event.counterparty
    message.lot_number = event.lot_number or event.scan_lot_number
    message.drug_code = event.drug_code
    message.corrects_document_number = stored.read.document.corrects
    return message


def first_verdict(stored: StoredDocument) -> finding_pb2.Verdict:
    """The verdict as it was first given, without texts."""
    entry = stored.entry
    seconds, nanos = divmod(entry.receive_time_ns, NS)
    return finding_pb2.Verdict(
        sequence=entry.sequence,
        outcome=entry.document.outcome,
        findings=entry.document.findings,
        final_time=Timestamp(seconds=stored.read.time + PROVISIONAL_SECONDS),
        rule_base_version=entry.document.rule_base_version,
        as_of=finding_pb2.AsOf(sequence=entry.sequence, time=Timestamp(seconds=seconds, nanos=nanos)),
    )


def reading_message(reading: Reading) -> code_pb2.Reading:
    """What a scan was read as, with the hint for the clerk."""
    hint = HINT_TEXTS.get(reading.hint)
    return code_pb2.Reading(
        scan=reading.raw,
        code_class=code_pb2.CodeClass.ValueType(reading.code_class),
        code=reading.text if reading.key else "",
        identifier=reading.identifier,
        lot_number=reading.lot,
        expiry_date=reading.expiry.isoformat() if reading.expiry else "",
        repairs=[repair.name for repair in reading.repairs if repair.name],
        hint=None if hint is None else finding_pb2.LocalizedText(zh_cn=hint.zh_cn, en=hint.en),
    )


def _compare(rows: Mapping[str, M], known: Mapping[str, M | None]) -> tuple[list[M], list[int]]:
    """The rows that are new or changed, and how many were created, updated and unchanged."""
    changed, counts = [], [0, 0, 0]
    for key, row in rows.items():
        before = known[key]
        counts[0 if before is None else 1 if before != row else 2] += 1
        if before is None or before != row:
            changed.append(row)
    return changed, counts


def _question(request: ledger_service_pb2.VerifyCodesRequest, now: int) -> Document:
    """The sale that a question is about. Raises FieldInvalid."""
    check_institution_code("institution_code", request.institution_code)
    if not request.codes:
        raise FieldInvalid("codes", "at least one code is required")
    if len(request.codes) > QUESTIONS_MAX:
        raise FieldInvalid("codes", f"more than {QUESTIONS_MAX} codes; ask in several calls")
    lines = []
    for position, question in enumerate(request.codes):
        if len(question.code.encode()) > SCAN_BYTES_MAX:
            raise FieldInvalid(
                f"codes[{position}].code", f"longer than {SCAN_BYTES_MAX} bytes; scan one code at a time"
            )
        if len(question.drug_code.encode()) > 50:
            raise FieldInvalid(f"codes[{position}].drug_code", "longer than 50 bytes (med_list_codg)")
        lines.append(
            Line(
                number=position + 1,
                drug_code=question.drug_code,
                scans=(question.code,) if question.code else (),
                quantity=Decimal(question.split_units or 1),
                split=bool(question.split_units),
                batch_serial="",
                lot_number="",
                manufacture_day=None,
                expiry_day=None,
                packages=(),
            )
        )
    time = request.business_time.seconds if request.HasField("business_time") else now
    if not BUSINESS_TIME_MIN <= time < BUSINESS_TIME_MAX:
        raise FieldInvalid("business_time", "must be between 2000 and 2099; set the till's clock")
    return Document(
        institution_code=request.institution_code,
        kind=DocumentKind.SALE,
        number="",
        business_time=time,
        lines=tuple(lines),
        channel=0,
        offline=False,
        corrects="",
        before_settlement=True,
        insured=request.settlement_type != document_pb2.SETTLEMENT_TYPE_SELF_PAID,
        settlement_id="",
        visit_number="",
        person=request.person_token,
        sale_document_number="",
        change_type=0,
        counterparty="",
        deleted_type=0,
        deleted_document_number="",
        deleted_batch_serial="",
    )
