"""What would a candidate rule base make of the documents that a journal holds? Nothing is put in force.

The journal is told again, document by document in its order and with its receive times, to a ledger in a
passing folder that judges by the candidate. What stands of each document in the end, there and in the
journal, is compared: what would be found more, what would be gone, what would weigh otherwise, what would be
refused or no more. What the candidate cannot affect (tracecode/affected.py) is not told. The journal is only
read, beside the service if one has it open.

Memory grows with the journal by some thirty bytes an entry, and some hundred for each document that was ever
revised or would be judged otherwise.
"""

from __future__ import annotations

import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path

from tracecode.affected import Affected, find_affected
from tracecode.code import read_scan
from tracecode.document import NS
from tracecode.engine.contract import Submissions
from tracecode.engine.index import Store
from tracecode.engine.lmdb import LmdbEngine, open_to_read
from tracecode.errors import DataLoss, DocumentRejected, TracecodeError
from tracecode.finding import FindingType, Mode, Severity
from tracecode.rule_base import Activation, RuleBase
from tracecode.v1 import document_pb2, finding_pb2, journal_pb2, rule_base_service_pb2

DOCUMENTS_PER_STEP = 2_000
"""Told to the passing ledger at once."""
OVERLAY_BYTES = 256 * 2**20
INSTITUTIONS_TOLD_MAX = 1_000
SAMPLES_MAX = 3
"""Documents shown of each finding and kind of change."""

Progress = Callable[[int, int], None]


class DryRunStopped(TracecodeError):
    """A dry run was stopped before it had told everything."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One document that would be judged otherwise, and what of one finding on it.

    `before` and `after` are the severities, empty where the finding is not there.
    """

    sequence: int
    institution_code: str
    document_number: str
    line_number: int
    code: str
    before: str
    after: str


@dataclass(slots=True)
class FindingChange:
    """What would become of one type of finding, counted in findings that stand."""

    before: int = 0
    """That stand now."""
    after: int = 0
    """That would stand."""
    new: int = 0
    gone: int = 0
    severity_changed: int = 0
    mode_changed: int = 0
    severities: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often which severity would become which other one."""
    samples: list[Sample] = field(default_factory=list)


@dataclass(slots=True)
class InstitutionChange:
    """What would change for one institution."""

    documents: int = 0
    new: int = 0
    gone: int = 0
    severity_changed: int = 0


@dataclass(frozen=True, slots=True)
class DryRunReport:
    """What a candidate would change; sequences are those of the journal."""

    version: str
    since_sequence: int
    """The candidate judges from this entry on."""
    until_sequence: int
    documents: int
    """That it judged."""
    documents_changed: int
    newly_refused: int
    no_longer_refused: int
    findings: dict[FindingType, FindingChange]
    institutions: dict[str, InstitutionChange]
    entries: int
    seconds: float
    judged: int
    """Documents that were judged by the rules; the native code cleared the others that were told."""
    skipped: int
    """Documents that were not told, since nothing that the candidate changes affects them."""
    whole: str
    """Why the whole journal was told; empty = it was not."""

    @property
    def entries_per_second(self) -> float:
        """How fast the journal was told again."""
        return self.entries / self.seconds if self.seconds else 0.0


def dry_run(
    directory: Path,
    candidate: RuleBase,
    *,
    since: int = 1,
    progress: Progress | None = None,
    scratch: Path | None = None,
    samples_max: int = SAMPLES_MAX,
    skip: bool = True,
) -> DryRunReport:
    """Judge the documents of a data folder from entry `since` on by a candidate; what came before is judged
    as it stands. `progress` is told (entries done, entries in all) and may raise to stop. `scratch` is where
    the passing ledger is kept, as large as the data folder itself; None = where temporary files are.
    `skip=False` tells all documents, also those that nothing the candidate changes affects.

    Raises DataLoss, FileNotFoundError where there is no ledger, StorageFull.
    """
    if not (directory / "journal").is_dir():
        raise FileNotFoundError(f"{directory} holds no ledger")
    started = time.monotonic()
    with (
        open_to_read(directory) as source,
        tempfile.TemporaryDirectory(prefix="tracecode-dry-run-", dir=scratch) as folder,
    ):
        since, until = max(since, 1), source.durable_sequence

        def show(done: int) -> None:
            # The journal is read twice and told once.
            if progress is not None:
                progress(min(done // 3, until), until)

        affected = find_affected(source, until, since, candidate, show) if skip else Affected("asked for")
        telling = _Telling(source, directory, Path(folder) / "ledger", candidate, since, until, affected)
        try:
            telling.run(lambda done: show(3 * done if affected.whole else 2 * until + done))
            changes = _Changes(samples_max)
            for sequence in sorted(telling.touched):
                telling.first.subtract(telling.first_of(sequence))
                changes.compare(sequence, *telling.standing(sequence))
            changes.count_unchanged(telling.first)
        finally:
            telling.engine.close()
        return DryRunReport(
            version=candidate.version,
            since_sequence=telling.since,
            until_sequence=telling.until,
            documents=telling.documents,
            documents_changed=changes.documents,
            newly_refused=changes.newly_refused,
            no_longer_refused=changes.no_longer_refused,
            findings={
                type: change
                for type, change in sorted(changes.findings.items())
                if change.before or change.after
            },
            institutions=dict(
                sorted(
                    changes.institutions.items(),
                    key=lambda item: (-(item[1].new + item[1].gone + item[1].severity_changed), item[0]),
                )
            ),
            entries=telling.until,
            seconds=time.monotonic() - started,
            judged=telling.judged,
            skipped=telling.skipped,
            whole=telling.affected.whole,
        )


def to_message(report: DryRunReport) -> rule_base_service_pb2.DryRunReport:
    """The report for another program; of the institutions, those with the most changes."""
    findings = [
        rule_base_service_pb2.FindingChange(
            type=finding_pb2.FindingType.ValueType(type),
            before=change.before,
            after=change.after,
            new=change.new,
            gone=change.gone,
            severity_changed=change.severity_changed,
            mode_changed=change.mode_changed,
            severities=[
                rule_base_service_pb2.SeverityChange(before=before, after=after, count=count)
                for (before, after), count in sorted(change.severities.items())
            ],
            samples=[rule_base_service_pb2.ChangeSample(**asdict(sample)) for sample in change.samples],
        )
        for type, change in report.findings.items()
    ]
    institutions = [
        rule_base_service_pb2.InstitutionChange(institution_code=code, **asdict(change))
        for code, change in list(report.institutions.items())[:INSTITUTIONS_TOLD_MAX]
    ]
    return rule_base_service_pb2.DryRunReport(
        version=report.version,
        since_sequence=report.since_sequence,
        until_sequence=report.until_sequence,
        documents=report.documents,
        documents_changed=report.documents_changed,
        newly_refused=report.newly_refused,
        no_longer_refused=report.no_longer_refused,
        findings=findings,
        institutions=institutions,
        entries=report.entries,
        seconds=report.seconds,
        judged=report.judged,
        skipped=report.skipped,
        whole=report.whole,
    )


@dataclass(frozen=True, slots=True)
class _Standing:
    """What stands of a document on one side."""

    outcome: int
    findings: Sequence[finding_pb2.Finding]


class _Telling:
    """A journal that is told again to a ledger that judges by the candidate."""

    def __init__(
        self,
        source: Store,
        data: Path,
        directory: Path,
        candidate: RuleBase,
        since: int,
        until: int,
        affected: Affected,
    ) -> None:
        self.source = source
        self.data = data
        self.since = since
        self.until = until
        self.affected = affected
        self.candidate = candidate
        first = self._entry(1)
        if not first.HasField("rule_base_change"):
            raise DataLoss(f"{data} does not begin with a rule base; run tracecode fsck")
        self._since_time = self._entry(min(since, self.until)).receive_time_ns // NS
        self.engine = LmdbEngine(
            directory,
            candidate if since <= 1 else _kept(first),
            first.receive_time_ns,
            overlay_bytes_max=OVERLAY_BYTES,
            sync=False,
        )
        self.documents = self.judged = self.skipped = 0
        self.first: Counter[FindingType] = Counter()
        """Findings that documents were first given in the journal."""
        self.touched: dict[int, list[int]] = {}
        """Documents that may stand otherwise: their last revision in the journal and here, 0 = none."""
        # Both grow by eight bytes an entry.
        self._here_of = array("Q", [0, 1])
        self._source_of = array("Q", [0, 1])
        self._batch: list[journal_pb2.JournalEntry] = []
        self._whole: dict[str, bool] = {}

    def run(self, look: Callable[[int], None]) -> None:
        """Tell every entry that is to be told. What `look` raises goes through."""
        done = 1
        while done < self.until:
            values = self.source.entries(done, min(DOCUMENTS_PER_STEP, self.until - done))
            if not values:
                raise DataLoss(f"entry {done + 1} of {self.data} cannot be read")
            for value in values:
                self._tell(journal_pb2.JournalEntry.FromString(value))
            self._record()
            done += len(values)
            look(done)

    def standing(self, sequence: int) -> tuple[document_pb2.Document, _Standing, _Standing]:
        """A touched document, what stands of it in the journal, and what would."""
        there, here = self.touched[sequence]
        entry = self._entry(sequence)
        document = document_pb2.Document.FromString(entry.document.document)
        findings = self._entry(there).revision.findings if there else entry.document.findings
        before = _Standing(entry.document.outcome, findings)
        if not self.affected.is_told(sequence):
            return document, before, before
        own = self.engine.store.entry(self._here_of[sequence])
        told = journal_pb2.JournalEntry.FromString(own or b"").document
        revised = journal_pb2.JournalEntry.FromString((self.engine.store.entry(here) if here else b"") or b"")
        after = _Standing(told.outcome, revised.revision.findings if here else told.findings)
        if not self.affected.is_affected(sequence):
            # It was told for the sake of some of its codes: of the others not all was told.
            kept = [message for message in before.findings if not self._is_whole(message)]
            now = [message for message in after.findings if self._is_whole(message)]
            after = _Standing(before.outcome, kept + now)
        return document, before, after

    def _is_whole(self, message: finding_pb2.Finding) -> bool:
        """The finding comes from the chain of a code that was told as a whole."""
        if not message.revisable:
            return False
        whole = self._whole.get(message.code)
        if whole is None:
            events = self.engine.index.events(read_scan(message.code)[0].key)
            whole = any(self.affected.is_affected(self._source_of[event.sequence]) for event in events)
            self._whole[message.code] = whole
        return whole

    def first_of(self, sequence: int) -> Counter[FindingType]:
        """What a document was first given in the journal."""
        return Counter(FindingType(message.type) for message in self._entry(sequence).document.findings)

    def _entry(self, sequence: int) -> journal_pb2.JournalEntry:
        value = self.source.entry(sequence)
        if value is None:
            raise DataLoss(f"entry {sequence} of {self.data} cannot be read")
        return journal_pb2.JournalEntry.FromString(value)

    def _tell(self, entry: journal_pb2.JournalEntry) -> None:
        self._here_of.append(0)
        if entry.sequence == self.since and self.since > 1:
            self._record()
            self.engine.change_rule_base(self.candidate, entry.receive_time_ns)
        content = entry.WhichOneof("content")
        if content == "document":
            self.documents += entry.sequence >= self.since
            for message in entry.document.findings:
                self.first[FindingType(message.type)] += 1
            if self.affected.is_told(entry.sequence):
                self._batch.append(entry)
            else:
                self.skipped += 1
            return
        if content == "revision":
            # Here it comes by itself, or not.
            self._touch(entry.revision.revised_sequence)[0] = entry.sequence
            return
        self._record()
        now_ns = entry.receive_time_ns
        match content:
            case "product_import":
                # What is learnt is learnt again.
                products = [each for each in entry.product_import.products if not each.learned]
                if products:
                    self.engine.import_products(products, now_ns)
            case "institution_import":
                self.engine.import_institutions(entry.institution_import.institutions, now_ns)
            case "hold_import":
                self.engine.import_holds(entry.hold_import.holds, now_ns)
            case "code_replacement_import":
                self.engine.import_code_replacements(entry.code_replacement_import.code_replacements, now_ns)
            case "rule_base_change" if entry.sequence < self.since:
                effective = entry.rule_base_change.effective_time_seconds
                # What would have come in force later than the candidate is not told.
                if effective <= self._since_time:
                    self.engine.change_rule_base(_kept(entry), now_ns, Activation(effective_time=effective))

    def _touch(self, sequence: int) -> list[int]:
        found = self.touched.get(sequence)
        if found is None:
            found = self.touched[sequence] = [0, 0]
        return found

    def _record(self) -> None:
        """Tell the documents that were gathered, and look at what they were given."""
        batch, self._batch = self._batch, []
        if not batch:
            return
        before = self.engine.sequence
        answers = self.engine.record(
            Submissions(
                [entry.document.document for entry in batch],
                [entry.receive_time_ns for entry in batch],
                [entry.document.request_id for entry in batch],
            )
        )
        self._source_of.extend([0] * (self.engine.sequence + 1 - len(self._source_of)))
        for entry, answer in zip(batch, answers, strict=True):
            if isinstance(answer, DocumentRejected):
                raise DataLoss(f"entry {entry.sequence} is not taken a second time: {answer}")
            here = _sequence_of(answer) if isinstance(answer, bytes) else answer.sequence
            if here > before + 1:
                self._look_between(before, here)
            before = here
            self._here_of[entry.sequence] = here
            self._source_of[here] = entry.sequence
            self._compare(entry, answer)
        self._look_between(before, self.engine.sequence + 1)

    def _look_between(self, after: int, before: int) -> None:
        """Revisions that came here between two documents."""
        for value in self.engine.entries(after, before - after - 1):
            entry = journal_pb2.JournalEntry.FromString(value)
            if entry.HasField("revision"):
                self._touch(self._source_of[entry.revision.revised_sequence])[1] = entry.sequence

    def _compare(self, entry: journal_pb2.JournalEntry, answer: finding_pb2.Verdict | bytes) -> None:
        cleared = isinstance(answer, bytes)
        self.judged += not cleared and entry.sequence >= self.since
        if cleared and entry.document.cleared:
            # Then every rule is silent there and here, and the one notice of clearing is the same.
            return
        verdict = finding_pb2.Verdict.FromString(answer) if isinstance(answer, bytes) else answer
        given = [message for message in verdict.findings if FindingType(message.type) is not FindingType.PASS]
        same = _essence(given) == _essence(entry.document.findings)
        if not same or verdict.outcome != entry.document.outcome:
            self._touch(entry.sequence)


def _kept(entry: journal_pb2.JournalEntry) -> RuleBase:
    return RuleBase.parse_kept(entry.rule_base_change.text, f"journal entry {entry.sequence}")


def _sequence_of(verdict: bytes) -> int:
    """The first field of a verdict as native code writes it."""
    value = shift = 0
    for octet in verdict[1:11]:
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            break
        shift += 7
    return value


_Key = tuple[int, str, int]


def _essence(findings: Iterable[finding_pb2.Finding]) -> list[tuple[_Key, int, int]]:
    return sorted(((m.line_number, m.code, m.type), m.final_severity, m.mode) for m in findings)


class _Changes:
    """What is different, counted."""

    def __init__(self, samples_max: int) -> None:
        self.samples_max = samples_max
        self.findings: dict[FindingType, FindingChange] = {}
        self.institutions: dict[str, InstitutionChange] = {}
        self.documents = self.newly_refused = self.no_longer_refused = 0

    def count_unchanged(self, first: Counter[FindingType]) -> None:
        """Findings that stand on both sides as they were first given."""
        for type, count in first.items():
            change = self.findings.setdefault(type, FindingChange())
            change.before += count
            change.after += count

    def compare(
        self, sequence: int, document: document_pb2.Document, before: _Standing, after: _Standing
    ) -> None:
        """Count what is different of one document."""
        changed = before.outcome != after.outcome
        self.newly_refused += changed and after.outcome == finding_pb2.OUTCOME_REFUSED
        self.no_longer_refused += changed and before.outcome == finding_pb2.OUTCOME_REFUSED
        institution = InstitutionChange()
        for key, was, now in _match(before.findings, after.findings):
            type = FindingType(key[2])
            change = self.findings.setdefault(type, FindingChange())
            change.before += was is not None
            change.after += now is not None
            if was is None:
                change.new += 1
                institution.new += 1
            elif now is None:
                change.gone += 1
                institution.gone += 1
            elif was[0] != now[0]:
                change.severity_changed += 1
                institution.severity_changed += 1
                change.severities[_name(was), _name(now)] += 1
            if was is not None and now is not None:
                change.mode_changed += was[1] != now[1]
            if was == now:
                continue
            changed = True
            if len(change.samples) < self.samples_max:
                change.samples.append(
                    Sample(
                        sequence=sequence,
                        institution_code=document.institution_code,
                        document_number=document.document_number,
                        line_number=key[0],
                        code=key[1],
                        before=_name(was),
                        after=_name(now),
                    )
                )
        if changed:
            self.documents += 1
            total = self.institutions.setdefault(document.institution_code, InstitutionChange())
            total.documents += 1
            total.new += institution.new
            total.gone += institution.gone
            total.severity_changed += institution.severity_changed


_Weight = tuple[int, int]


def _match(
    before: Iterable[finding_pb2.Finding], after: Iterable[finding_pb2.Finding]
) -> Iterator[tuple[_Key, _Weight | None, _Weight | None]]:
    """The findings of both sides in pairs: severity and mode of each, None where a side lacks it."""
    sides: tuple[dict[_Key, list[_Weight]], dict[_Key, list[_Weight]]] = ({}, {})
    for side, findings in zip(sides, (before, after), strict=True):
        for key, severity, mode in _essence(findings):
            side.setdefault(key, []).append((severity, mode))
    for key in sorted(sides[0].keys() | sides[1].keys()):
        yield from ((key, was, now) for was, now in zip_longest(*(side.get(key, ()) for side in sides)))


def _name(weight: _Weight | None) -> str:
    """Severity and, where it is not the usual advice, what is made of it."""
    if weight is None:
        return ""
    severity, mode = Severity(weight[0]).name, Mode(weight[1])
    return severity if mode is Mode.ADVISE else f"{severity} {mode.name.lower()}"
