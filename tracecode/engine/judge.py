"""From a document to its verdict: what every engine does with a document that is not plainly in order.

Read `Judge.judge` top to bottom: check, repeat, read, gather, then one line after which nothing can fail,
then the findings, the outcome and the revisions. It reads the index and writes nothing; the engine
appends the entries it returns and applies them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tracecode.code import key_text
from tracecode.document import NS, Document, DocumentKind, Operation, china_day, day_date, read_document
from tracecode.engine.contract import Submission
from tracecode.engine.document_codes import KEYED, LineReadings, ReadDocument
from tracecode.engine.index import Index, StoredDocument, deletion_event, identifier_of
from tracecode.engine.records import U64, document_key, request_key
from tracecode.engine.rule_bases import RuleBases
from tracecode.errors import DocumentReused, RequestReused
from tracecode.evidence import Chain, ChainEvidence, DeletedDocument, DocumentEvidence, LineEvidence
from tracecode.finding import (
    PROVISIONAL_SECONDS,
    Evidence,
    Finding,
    FindingType,
    Mode,
    Severity,
    from_message,
    stand,
    to_message,
)
from tracecode.life_cycle import SALES, Event, Step, fold
from tracecode.rule_base import RuleBase
from tracecode.rules import CHAIN_RULES, DOCUMENT_RULES, LINE_RULES
from tracecode.rules.delete_after_flag import find as find_delete_after_flag
from tracecode.scope import RowPlace
from tracecode.v1 import catalogue_pb2, finding_pb2, journal_pb2

STEPS_JUDGED_ALL = 64
"""Up to so many events of a code, a new one may change the verdict of each (ours). A code that more name is
a constant of some till, or a bottle that is sold by the tablet: judging it must not grow with its square."""

STEPS_AROUND = 16
"""Beyond that, a new event changes the verdicts of so many before it and behind it in the chain (ours)."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """The document had been recorded before, as entry `sequence`."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be written: the document's entry and the revisions it brings, in order."""

    entries: tuple[journal_pb2.JournalEntry, ...]
    read: ReadDocument
    steps: Mapping[bytes, tuple[Step, ...]]


@dataclass(frozen=True, slots=True)
class _Chain:
    """One code's chain with the new document in it, and what is found of each entry's event."""

    key: bytes
    code: str
    """Canonical text under which its findings stand."""
    steps: tuple[Step, ...]
    findings: Mapping[int, list[finding_pb2.Finding]]
    """By entry judged; one with nothing found is there with an empty list."""

    def found_of(self, sequence: int) -> list[finding_pb2.Finding]:
        """The findings of one entry."""
        return self.findings.get(sequence, [])


class Judge:
    """Judges documents by an index and the rule bases of their time."""

    def __init__(self, index: Index, rule_bases: RuleBases) -> None:
        self.index = index
        self.rule_bases = rule_bases

    def _rule_base_of(self, read: ReadDocument | Event) -> RuleBase:
        """What was in force when it was received."""
        return self.rule_bases.at(read.receive_time, read.sequence)

    def judge(self, submission: Submission, sequence: int) -> Judgement | Repeat:
        """Judge a document that would become entry `sequence`.

        Raises DocumentRejected (FieldInvalid, DocumentReused, RequestReused).
        """
        document = read_document(submission.document)
        repeat = self._find_repeat(document, submission)
        if repeat is not None:
            return repeat
        receive_time = submission.receive_time_ns // NS
        read = ReadDocument(document, sequence, receive_time)
        targets = self.index.taken_back(read) if document.kind is DocumentKind.DELETION else []
        # After this point nothing can fail: the document is taken.

        pending = 0
        if document.kind is not DocumentKind.DELETION:
            pending = self.index.pending_deletion(read)
        findings = self._judge_alone(read)
        chains = self._chains(read, targets, pending, refused=False)
        own = [message for chain in chains for message in chain.found_of(sequence)]
        refused = document.before_settlement and any(
            refuses(message, receive_time, read.time + PROVISIONAL_SECONDS) for message in findings + own
        )
        too_late = [] if refused else self._judge_as_asked(read, chains)
        if refused or too_late:
            refused = True
            chains = self._chains(read, targets, pending, refused=True)
            read = read.as_refused()
        if too_late:
            # Beside the one who counts, the attempt would have been the earlier sale.
            own = [message for chain in chains for message in chain.found_of(sequence)] + too_late
        findings += own
        if targets:
            taken = [(target.read, self.index.standing_findings(target)[0]) for target in targets]
            findings += self._judge_deletion(read, taken, chains)
        entry = journal_pb2.JournalEntry(
            sequence=sequence,
            receive_time_ns=submission.receive_time_ns,
            document=journal_pb2.DocumentEntry(
                document=submission.document,
                request_id=submission.request_id,
                outcome=finding_pb2.OUTCOME_REFUSED if refused else finding_pb2.OUTCOME_ACCEPTED,
                findings=_sorted(findings),
                rule_base_version=self._rule_base_of(read).version,
                previous_sequences=[self.index.head(key) for key in read.events],
            ),
        )
        revisions = self._revise(entry, read, targets, pending, chains)
        steps = {chain.key: chain.steps for chain in chains}
        return Judgement((entry, *revisions), read, steps)

    def judge_question(self, document: Document, now: int) -> tuple[list[finding_pb2.Finding], ReadDocument]:
        """The findings a sale would have if it were recorded now; writes nothing. `now` in seconds."""
        read = ReadDocument(document, 0, now)
        findings = self._judge_alone(read)
        chains = self._chains(read, [], 0, refused=False)
        for chain in chains:
            findings += chain.found_of(0)
        return _sorted(findings + self._judge_as_asked(read, chains)), read

    def _judge_as_asked(self, read: ReadDocument, chains: Sequence[_Chain]) -> list[finding_pb2.Finding]:
        """What refuses a sale that is asked before settlement because of a sale elsewhere that was recorded
        by then, although it is dated later.

        By its business time such a sale may be the first. But settlement waits for the answer: it takes place
        after all that was recorded, whatever the till's clock says, or a slow clock would have one box paid
        twice. What is found is a fact of the moment, which no later entry revises. Ours.
        """
        if not read.document.before_settlement:
            return []
        dated_later = [
            step.event.time
            for chain in chains
            for step in chain.steps
            if step.event.operation in SALES
            and step.event.counted
            and step.event.time >= read.time
            and step.event.institution != read.document.institution_code
        ]
        if not dated_later:
            return []
        asked = read.at(max(read.receive_time, *dated_later) + 1)
        found = [
            message
            for chain in self._chains(asked, [], 0, refused=False)
            for message in chain.found_of(read.sequence)
            if FindingType(message.type) is FindingType.DUP_SALE_CROSS_ORG
            and refuses(message, read.receive_time, asked.time + PROVISIONAL_SECONDS)
        ]
        for message in found:
            message.revisable = False
        return found

    def _judge_alone(self, read: ReadDocument) -> list[finding_pb2.Finding]:
        """What the document and its lines say without any code's past."""
        findings = self._judge_document(read)
        for line in read.lines:
            findings += self._judge_line(read, line)
        return findings

    # Repeats.

    def _find_repeat(self, document: Document, submission: Submission) -> Repeat | None:
        number = self.index.institution_number(document.institution_code)
        if not number:
            return None
        if submission.request_id:
            value = self.index.store.get(request_key(number, submission.request_id))
            if value is not None:
                sequence = U64.unpack(value)[0]
                if self._content(sequence) == submission.document:
                    return Repeat(sequence)
                raise RequestReused(
                    "request_id", "was used for another document; make a new one for each document"
                )
        known = self.index.sequences_of(document_key(number, document.kind, document.number))
        for sequence in known:
            if self._content(sequence) == submission.document:
                return Repeat(sequence)
        corrections = [
            sequence
            for sequence in known
            if self.index.stored(sequence).read.document.corrects == document.number
        ]
        # Under one number there may be one original and one correction of it, whichever comes first.
        if document.corrects == document.number and not corrections:
            return None
        if document.corrects != document.number and len(corrections) == len(known):
            return None
        raise DocumentReused(
            "document.document_number",
            f"{document.number} was recorded with other content as entry {known[0]}; give a changed "
            "document a new number, or delete the first and name it in corrects_document_number",
        )

    def _content(self, sequence: int) -> bytes:
        return self.index.stored(sequence).entry.document.document

    # The three rounds.

    def _judge_document(self, read: ReadDocument) -> list[finding_pb2.Finding]:
        evidence = self._document_evidence(read, ())
        found = [finding for rule in DOCUMENT_RULES for finding in rule(evidence)]
        return self._weigh(
            found, read, read.document.institution_code, china_day(read.time), "", revisable=False
        )

    def _place(self, institution_code: str, time: int, drug_code: str = "", identifier: str = "") -> RowPlace:
        """Where rows of the rule base are asked for."""
        division = self.index.facts(institution_code).division
        return RowPlace(institution_code, division, day_date(china_day(time)), drug_code, identifier)

    def _document_evidence(
        self, read: ReadDocument, deleted: tuple[DeletedDocument, ...]
    ) -> DocumentEvidence:
        code = read.document.institution_code
        return DocumentEvidence(
            document=read.document,
            receive_time=read.receive_time,
            institution=self.index.facts(code),
            in_service=self.index.in_service(code, china_day(read.time)),
            thresholds=self._rule_base_of(read).thresholds_at(self._place(code, read.time)),
            deleted=deleted,
        )

    def _judge_line(self, read: ReadDocument, read_line: LineReadings) -> list[finding_pb2.Finding]:
        line, readings = read_line.line, read_line.readings
        products: dict[str, catalogue_pb2.Product] = {}
        unknown_since: dict[str, int] = {}
        replaced: dict[bytes, str] = {}
        for reading in readings:
            if reading.code_class not in KEYED:
                continue
            new = self.index.replaced_by(reading.key)
            if new is not None:
                replaced[reading.key] = key_text(new)
            if not reading.identifier:
                continue
            product = self.index.product(reading.identifier)
            if product is None:
                unknown_since[reading.identifier] = self.index.unknown_since(reading.identifier, read.time)
            else:
                products[reading.identifier] = product
        rule_base = self._rule_base_of(read)
        split_units_max: dict[str, int] = {}
        if line.split:
            for identifier in (*products, *unknown_since):
                place = self._place(read.document.institution_code, read.time, line.drug_code, identifier)
                units = rule_base.split_units_max(place)
                if units is not None:
                    split_units_max[identifier] = units
        evidence = LineEvidence(
            document=read.document,
            line=line,
            readings=readings,
            products=products,
            unknown_since=unknown_since,
            lines_of_code=read.lines_of_code,
            replaced=replaced,
            thresholds=rule_base.thresholds,
            split_units_max=split_units_max,
        )
        found = [finding for rule in LINE_RULES for finding in rule(evidence)]
        return self._weigh(
            found,
            read,
            read.document.institution_code,
            china_day(read.time),
            line.drug_code,
            revisable=False,
            split=line.split,
        )

    def _chains(
        self, read: ReadDocument, targets: Sequence[StoredDocument], pending: int, *, refused: bool
    ) -> list[_Chain]:
        """Fold and judge every chain that the document touches, with the document in it.

        `targets` are what it deletes, `pending` is the deletion that came before it, 0 = none.
        """
        own = read.events
        if refused or pending:
            own = {key: replace(event, refused=refused, deleted_by=pending) for key, event in own.items()}
        packages: dict[bytes, list[bytes]] = {}
        for parent, child in read.relations:
            packages.setdefault(child, []).append(parent)
        deleted = {target.sequence for target in targets}
        boxed = {(read.document.institution_code, each) for each in self.index.boxes(read)}
        touched = (
            *own,
            *(key for target in targets for key in target.read.events),
            *(key for institution, each in boxed for key in self.index.unreceived(institution, each)),
        )
        chains: dict[bytes, _Chain] = {}
        for key in self.index.covered(touched):
            aliases = self.index.aliases(key)
            if any(alias in chains for alias in aliases):
                continue
            around = self.index.packages_around(aliases, packages)
            events = self.index.events(key, packages, own)
            for event in events[:]:
                if event.deletes in deleted:
                    # A deletion that arrived before and stands behind this one: it took back nothing.
                    events.remove(event)
                elif event.sequence in deleted:
                    events[events.index(event)] = replace(event, deleted_by=read.sequence)
                    events.append(deletion_event(read, event))
            for event in _own_events(aliases, around, own):
                events.append(event)
                if event.deleted_by:
                    events.append(deletion_event(self.index.stored(pending).read, event))
            steps = fold(events, self.index.facts)
            judged = _near(steps, {read.sequence, *deleted})
            chains[key] = self._judge_chain(key, around, steps, judged, boxed)
        return list(chains.values())

    def _judge_chain(
        self,
        key: bytes,
        around: Sequence[bytes],
        steps: tuple[Step, ...],
        judged: Sequence[Step],
        boxed: set[tuple[str, str]],
    ) -> _Chain:
        """`around`: the packages around it. `judged`: the steps to look at. `boxed`: institution and product
        of outer packages that the document itself receives."""
        new = self.index.replaced_by(key)
        code = key_text(new or key)
        identifier = identifier_of(new or key)
        product = self.index.product(identifier) if identifier else None
        lots = [lot for step in steps for lot in (step.event.lot_number, step.event.scan_lot_number)]
        holds = self.index.holds(key, identifier, lots)
        for parent in around:
            holds += self.index.holds(parent, "", ())
        chain = Chain(steps)
        found: dict[int, list[finding_pb2.Finding]] = {}
        for step in judged:
            event = step.event
            if event.operation is Operation.DELETE or event.package:
                continue
            rule_base = self._rule_base_of(event)
            place = self._place(event.institution, event.time, event.drug_code, identifier)
            evidence = ChainEvidence(
                step=step,
                chain=chain,
                code=code,
                product=product,
                institution=self.index.facts(event.institution),
                registry=self.index.facts,
                holds=holds,
                thresholds=rule_base.thresholds_at(place),
                split_units_max=rule_base.split_units_max(place),
                boxed=(event.institution, identifier) in boxed
                or self.index.received_boxed(event.institution, identifier),
            )
            findings = [finding for rule in CHAIN_RULES for finding in rule(evidence)]
            day = china_day(event.time)
            found[event.sequence] = self._weigh(
                findings,
                event,
                event.institution,
                day,
                event.drug_code,
                revisable=True,
                split=event.units > 0,
            )
        return _Chain(key, code, steps, found)

    def _judge_deletion(
        self,
        deletion: ReadDocument,
        taken: Iterable[tuple[ReadDocument, list[finding_pb2.Finding]]],
        chains: Sequence[_Chain],
    ) -> list[finding_pb2.Finding]:
        """DELETE_AFTER_FLAG looks at what the deleted documents carry, so it comes last.

        `taken` are the documents taken back, each with the findings that stood of it.
        """
        deleted = tuple(self._deleted(deletion, target, stood, chains) for target, stood in taken)
        document = deletion.document
        found = find_delete_after_flag(self._document_evidence(deletion, deleted))
        day = china_day(deletion.time)
        return self._weigh(found, deletion, document.institution_code, day, "", revisable=True)

    def _deleted(
        self,
        deletion: ReadDocument,
        target: ReadDocument,
        stood: list[finding_pb2.Finding],
        chains: Sequence[_Chain],
    ) -> DeletedDocument:
        now = {chain.code: chain.found_of(target.sequence) for chain in chains}
        findings = [message for message in stood if not (message.revisable and message.code in now)]
        findings += [message for messages in now.values() for message in messages]
        place = self._place(deletion.document.institution_code, deletion.time)
        thresholds = self._rule_base_of(deletion).thresholds_at(place)
        until = deletion.time + thresholds.correction_hours * 3600
        folded = {chain.key: chain.steps for chain in chains}
        sold_again = any(
            step.event.operation in SALES
            and step.event.counted
            and step.event.sequence != target.sequence
            and step.event.institution == target.document.institution_code
            and step.event.person == target.document.person
            and target.time <= step.event.time <= until
            for key in target.events
            for step in self._steps_of(key, folded)
        )
        return DeletedDocument(
            sequence=target.sequence,
            document=target.document,
            time=target.time,
            findings=tuple(from_message(message) for message in findings),
            sold_again=sold_again,
        )

    def _steps_of(self, key: bytes, folded: Mapping[bytes, tuple[Step, ...]]) -> tuple[Step, ...]:
        for alias in self.index.aliases(key):
            if alias in folded:
                return folded[alias]
        return self.index.steps(key)

    # What the rule base makes of it.

    def _weigh(
        self,
        found: Sequence[Finding],
        read: ReadDocument | Event,
        institution_code: str,
        day: int,
        drug_code: str,
        *,
        revisable: bool,
        split: bool = False,
    ) -> list[finding_pb2.Finding]:
        """Severity, mode and exemptions of the region and the day; what is switched off is dropped."""
        if not found:
            return []
        rule_base = self._rule_base_of(read)
        division = self.index.facts(institution_code).division
        date = day_date(day)
        weighed = []
        for finding in found:
            severity = rule_base.severity(finding.type, finding.severity, division, date)
            if severity is None:
                continue
            finding = replace(finding, severity=severity)
            if severity > Severity.INFO:
                excuse = rule_base.excuse(
                    finding.type, RowPlace(institution_code, division, date, drug_code), split=split
                )
                if excuse is not None:
                    excused = Evidence("excused", finding.type.name, document_number=excuse.approver)
                    finding = Finding(
                        excuse.kind,
                        Severity.INFO,
                        line_number=finding.line_number,
                        code=finding.code,
                        evidence=(excused, *finding.evidence),
                    )
            message = to_message(finding, rule_base.mode(finding.type, division, date))
            message.revisable = revisable
            weighed.append(message)
        return weighed

    # What it changes for others.

    def _revise(
        self,
        entry: journal_pb2.JournalEntry,
        read: ReadDocument,
        targets: Sequence[StoredDocument],
        pending: int,
        chains: Sequence[_Chain],
    ) -> list[journal_pb2.JournalEntry]:
        """One revision for each earlier document whose findings the new events changed; arguments as those of
        `_chains`."""
        judged: dict[int, dict[str, list[finding_pb2.Finding]]] = {}
        named: dict[int, bytes] = {}
        for chain in chains:
            for sequence, found in chain.findings.items():
                judged.setdefault(sequence, {})[chain.code] = found
                named[sequence] = chain.key
        judged.pop(entry.sequence, None)
        changed: dict[int, list[finding_pb2.Finding]] = {}
        for sequence, by_code in judged.items():
            stored = self.index.stored_for(sequence, named[sequence])
            standing, _ = self.index.standing_findings(stored)
            now = [message for found in by_code.values() for message in found]
            before = [m for m in standing if m.revisable and m.code in by_code]
            if _essence(before) != _essence(now):
                kept = [m for m in standing if not (m.revisable and m.code in by_code)]
                changed[sequence] = _sorted([*kept, *now])
        # A deletion is judged by what it took back, so it is judged anew with it.
        deletions = {step.event.deleted_by for chain in chains for step in chain.steps} | {pending}
        # As is one that a deletion before it in the chain leaves with nothing, or with less.
        deletions |= {self.index.record_of(target).deleted_by for target in targets}
        now_taken = {target.sequence for target in targets}
        for sequence in deletions - {0, entry.sequence}:
            deletion = self.index.stored(sequence)
            taken = [
                (target.read, self.index.standing_findings(target)[0])
                for target in self.index.targets(deletion.read.document)
                if self.index.record_of(target).deleted_by == sequence and target.sequence not in now_taken
            ]
            if pending == sequence:
                taken.append((read, list(entry.document.findings)))
            found = self._judge_deletion(deletion.read, taken, chains)
            standing, _ = self.index.standing_findings(deletion)
            if _essence(m for m in standing if m.revisable) != _essence(found):
                changed[sequence] = _sorted([*(m for m in standing if not m.revisable), *found])
        return [
            self._revision(revised, findings, entry, entry.sequence + 1 + position)
            for position, (revised, findings) in enumerate(sorted(changed.items()))
        ]

    def judge_again(
        self, revised: int, cause: journal_pb2.JournalEntry, sequence: int
    ) -> journal_pb2.JournalEntry | None:
        """The revision, as entry `sequence`, of what a document's lines say by the catalogue as it is now."""
        stored = self.index.stored(revised)
        standing, _ = self.index.standing_findings(stored)
        now = self._judge_alone(stored.read)
        if _essence(m for m in standing if not m.revisable) == _essence(now):
            return None
        findings = _sorted([*now, *(m for m in standing if m.revisable)])
        return self._revision(revised, findings, cause, sequence)

    def _revision(
        self,
        revised: int,
        findings: list[finding_pb2.Finding],
        cause: journal_pb2.JournalEntry,
        sequence: int,
    ) -> journal_pb2.JournalEntry:
        stored = self.index.stored(revised)
        _, revision = self.index.standing_findings(stored)
        return journal_pb2.JournalEntry(
            sequence=sequence,
            receive_time_ns=cause.receive_time_ns,
            revision=journal_pb2.Revision(
                revised_sequence=revised,
                revision=revision + 1,
                cause_sequence=cause.sequence,
                findings=findings,
                rule_base_version=self._rule_base_of(stored.read).version,
            ),
        )


def refuses(message: finding_pb2.Finding, now: int, final_time: int) -> bool:
    """Whether a finding refuses a sale asked before settlement: it stands at BLOCK and is enforced."""
    if Mode(message.mode) is not Mode.ENFORCE:
        return False
    finding_type, severity = FindingType(message.type), Severity(message.final_severity)
    return stand(finding_type, severity, now, final_time, asked=True) is Severity.BLOCK


def _near(steps: tuple[Step, ...], sequences: set[int]) -> Sequence[Step]:
    """The steps that new events can change: all, or in a long chain those around these entries."""
    if len(steps) <= STEPS_JUDGED_ALL:
        return steps
    near: set[int] = set()
    for at, step in enumerate(steps):
        if step.event.sequence in sequences:
            near.update(range(max(0, at - STEPS_AROUND), min(len(steps), at + STEPS_AROUND + 1)))
    # What comes in around the box has no place in its chain.
    return [steps[at] for at in sorted(near)] or steps[-STEPS_AROUND:]


def _own_events(aliases: Sequence[bytes], around: Sequence[bytes], own: Mapping[bytes, Event]) -> list[Event]:
    """What a document says of a code: by itself, else through the packages around it."""
    for alias in aliases:
        if alias in own:
            return [own[alias]]
    return [replace(own[parent], package=parent) for parent in around if parent in own]


def _essence(findings: Iterable[finding_pb2.Finding]) -> list[tuple[int, str, int, int, int, int]]:
    """What makes two lists of findings say the same; evidence may be told differently."""
    return sorted((m.line_number, m.code, m.type, m.final_severity, m.grade, m.mode) for m in findings)


def _sorted(findings: Iterable[finding_pb2.Finding]) -> list[finding_pb2.Finding]:
    """Gravest first, then by line, code and number: the same whatever the order of judging."""
    return sorted(findings, key=lambda m: (-m.final_severity, m.line_number, m.code, m.type))
