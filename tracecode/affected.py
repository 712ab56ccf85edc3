"""What a candidate rule base affects in a journal: the documents that it could judge otherwise, and all
that must be told again so that those are judged rightly.

A document is *met* by a changed row if the row's scope holds for it and the document ever carried a finding
that the row speaks of. Where a row decides whether a rule fires at all (thresholds, conditions of drugs, what
was OFF), a document in its scope is affected if it is tied to one that the rules judged: on what native code
clears every rule is silent whatever such rows say. Three thresholds guard the clearing; rows of theirs meet
all in their scope.

What becomes of a document is handed on along what ties documents: their codes, packages that are reported by
themselves, deletions, and what is learnt of a product that no catalogue knows. So of the documents that are
tied, directly or not, all are affected or none. Papers of goods, which may name a thousand codes, tie only if
they are met, in a scope, taken back, or not the first that was heard of each of their codes. Else they are
background, which is told, too: they cannot be refused, so what they say of a code does not depend on rules.

Where this bounds nothing, the whole journal is affected, with the reason.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Final, TypeVar

from tracecode.document import (
    DELETED_TYPES,
    KINDS,
    NS,
    DocumentKind,
    china_day,
    day_date,
    effective_time,
    freeze_document,
)
from tracecode.engine.document_codes import ReadDocument, keys_of_scans
from tracecode.engine.index import Store, identifier_of
from tracecode.engine.memory import MemoryStore
from tracecode.engine.rule_bases import RuleBases
from tracecode.errors import DataLoss
from tracecode.finding import FindingType, Severity
from tracecode.rule_base import (
    EXCUSED_BY_DEFAULT,
    EXEMPTION_KINDS,
    DrugCondition,
    Exemption,
    Judged,
    Override,
    RuleBase,
    ThresholdRow,
    judged_of,
)
from tracecode.scope import Scope
from tracecode.v1 import document_pb2, finding_pb2, journal_pb2

ENTRIES_PER_STEP = 5_000
ROWS_MAX = 100
"""Changed rows that each document is held against; with more of them the whole journal is told (ours)."""

CLEARING_THRESHOLDS: Final = frozenset(("late_info_hours", "future_skew_minutes", "legacy_stock_until"))
"""Those that native code goes by; see LmdbEngine."""

LAG_SECONDS: Final = {"late_info_hours": 3_600, "late_warn_days": 86_400, "future_skew_minutes": -60}
"""Thresholds that only compare when a document came with when it happened, and a unit of each."""

_ALL: Final = frozenset(FindingType)
_EXEMPT: Final = frozenset(EXEMPTION_KINDS)

# What is noted of an entry.
_TIED, _MET, _IN_SCOPE, _JUDGED, _BACKGROUND, _AFFECTED = 1, 2, 4, 8, 16, 32

Look = Callable[[int], None]


class _Unbounded(Exception):
    """The candidate may affect any document; says why."""


@dataclass(frozen=True, slots=True)
class Affected:
    """What of a journal is to be told again."""

    whole: str
    """Why all of it; empty = not all."""
    _notes: bytearray = field(default_factory=bytearray, repr=False)

    def is_affected(self, sequence: int) -> bool:
        """The candidate might judge this document otherwise; all that touches it is told."""
        return bool(self.whole) or bool(self._notes[sequence] & _AFFECTED)

    def is_told(self, sequence: int) -> bool:
        """This document must be told again, for its own sake or for that of others."""
        return bool(self.whole) or bool(self._notes[sequence] & (_AFFECTED | _BACKGROUND))


def find_affected(source: Store, until: int, since: int, candidate: RuleBase, look: Look) -> Affected:
    """Read the entries up to `until` twice. `look` is told how many of both were read, and may raise."""
    divisions: dict[str, set[str]] = {}
    try:
        while True:
            notes = _Notes(source, until, since, candidate, divisions)
            notes.read(look)
            if not notes.moved:
                break
            # An institution turned out to lie elsewhere later on: once more, with all that is known.
    except _Unbounded as unbounded:
        return Affected(str(unbounded))
    notes.tie(lambda done: look(until + done))
    return Affected("", notes.spread())


# --- what differs between two rule bases ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _ChangedRow:
    """A row that only one of two rule bases has.

    `types` are the findings that it weighs; empty = it decides what fires. `hidden`: what it weighs may have
    been switched off, and so never written down. `excuses`: it weighs nothing that is INFO. `clears`: native
    code goes by it.
    """

    scope: Scope
    types: frozenset[FindingType] = frozenset()
    hidden: bool = False
    excuses: bool = False
    clears: bool = False

    def is_carried(self, findings: Iterable[finding_pb2.Finding]) -> bool:
        """One of the findings may be one that it weighs: what was excused does not say by which row."""
        for message in findings:
            type = FindingType(message.type)
            weighed = type in self.types and not (self.excuses and message.final_severity <= Severity.INFO)
            if weighed or type in _EXEMPT:
                return True
        return False


class _Difference:
    """What a candidate changes for the documents that one rule base judged."""

    def __init__(self, before: RuleBase, candidate: RuleBase) -> None:
        self.whole = ""
        self.lags: list[int] = []
        """Seconds from when a document happened to when it came, beyond which it may be judged otherwise."""
        self.leads: list[int] = []
        """The other way round."""
        for threshold in fields(before.thresholds):
            values = [getattr(each.thresholds, threshold.name) for each in (before, candidate)]
            if values[0] == values[1] or judged_of(threshold.name) is Judged.STOCK:
                continue
            unit = LAG_SECONDS.get(threshold.name, 0)
            if not unit:
                self.whole = f"{threshold.name} is another for everybody"
            (self.lags if unit > 0 else self.leads).append(min(values) * abs(unit) if unit else 0)
        off = frozenset(
            type for row in before.overrides if row.off for type in row.findings or tuple(FindingType)
        )
        self.rows = [
            *(_of_override(row, off) for row in _changed(before.overrides, candidate.overrides)),
            *(_of_exemption(row, off) for row in _changed(before.exemptions, candidate.exemptions)),
            *(
                _ChangedRow(row.scope, clears=not CLEARING_THRESHOLDS.isdisjoint(row.values))
                for row in _changed(before.threshold_rows, candidate.threshold_rows)
                if any(judged_of(name) is not Judged.STOCK for name in row.values)
            ),
            *(
                changed
                for row in _changed(before.drug_conditions, candidate.drug_conditions)
                for changed in _of_condition(row, off)
            ),
        ]
        if len(self.rows) > ROWS_MAX:
            self.whole = f"{len(self.rows)} rows are others"


def _of_override(row: Override, off: frozenset[FindingType]) -> _ChangedRow:
    types = frozenset(row.findings) or _ALL
    scope = Scope(divisions=row.divisions, start_date=row.start_date, end_date=row.end_date)
    return _ChangedRow(scope, types, hidden=not off.isdisjoint(types))


def _of_exemption(row: Exemption, off: frozenset[FindingType]) -> _ChangedRow:
    types = frozenset(row.findings)
    return _ChangedRow(row.scope, types, hidden=not off.isdisjoint(types), excuses=True)


def _of_condition(row: DrugCondition, off: frozenset[FindingType]) -> list[_ChangedRow]:
    rows = []
    if row.code_required is not None:
        types = frozenset(EXCUSED_BY_DEFAULT)
        rows.append(_ChangedRow(row.scope, types, hidden=not off.isdisjoint(types), excuses=True))
    if row.split_units_max is not None:
        rows.append(_ChangedRow(row.scope))
    return rows


_Row = TypeVar("_Row", bound=Override | Exemption | ThresholdRow | DrugCondition)


def _changed(before: Sequence[_Row], after: Sequence[_Row]) -> list[_Row]:
    """The rows that only one side has; all, where those of both do not stand in one order: the first that
    fits holds."""
    sides = [{_name(row): row for row in rows} for rows in (before, after)]
    both = [[name for name in side if name in other] for side, other in (sides, sides[::-1])]
    if both[0] != both[1] or [len(side) for side in sides] != [len(before), len(after)]:
        return [*before, *after]
    return [row for side, other in (sides, sides[::-1]) for name, row in side.items() if name not in other]


def _name(row: Override | Exemption | ThresholdRow | DrugCondition) -> str:
    """What a row says; where it stands in its file, who decided it and why make no difference."""
    return repr(replace(row, line=0, approver="", reason=""))


# --- the journal, entry by entry -----------------------------------------------------------------

_Group = tuple[str, int, bool, str]
"""What a deletion names: institution, type, whether it is a number or a batch serial, and that."""


class _Notes:
    """What is noted of each entry, by its number: ten bytes an entry, and more for what ties by name."""

    def __init__(
        self, source: Store, until: int, since: int, candidate: RuleBase, divisions: dict[str, set[str]]
    ) -> None:
        self.source = source
        self.until = until
        self.since = since
        self.candidate = candidate
        self.divisions = divisions
        """Of institutions, all that the journal ever names."""
        self.moved = False
        """A division was learnt after a document that may be of it."""
        self._reported: set[str] = set()
        self._notes = bytearray(until + 1)
        self._above = array("Q", range(until + 1))
        self._rule_bases = RuleBases(MemoryStore())
        self._differences: dict[int, _Difference] = {}
        self._known: set[str] = set()
        self._unknown: dict[str, int] = {}
        """The first document of each identifier that no catalogue knew."""
        self._packages: set[bytes] = set()
        self._deleted: set[_Group] = set()

    def read(self, look: Look) -> None:
        """Note what each entry says of itself. Raises _Unbounded."""
        for entry in self._entries(look):
            match entry.WhichOneof("content"):
                case "document":
                    self._note(entry)
                case "revision":
                    self._note_revision(entry)
                case "rule_base_change":
                    text = entry.rule_base_change.text
                    before = RuleBase.parse_kept(text, f"journal entry {entry.sequence}")
                    self._rule_bases.add(entry, before)
                    self._differences[entry.sequence] = _Difference(before, self.candidate)
                case "product_import":
                    products = entry.product_import.products
                    self._known |= {each.identifier for each in products if not each.learned}
                case "institution_import":
                    for each in entry.institution_import.institutions:
                        code = each.institution_code
                        known = self._divisions_of(code)
                        if each.division_code not in known:
                            known.add(each.division_code)
                            self.moved |= code in self._reported
                case "code_replacement_import":
                    raise _Unbounded("codes were replaced")

    def tie(self, look: Look) -> None:
        """Put together what hangs together, now that it is known what ties."""
        notes = self._notes
        first: dict[_Group, int] = {}
        for entry in self._entries(look):
            if not entry.HasField("document"):
                continue
            sequence = entry.sequence
            if self._deleted:
                message = document_pb2.Document.FromString(entry.document.document)
                for group in _groups_of(message) & self._deleted:
                    self._join(sequence, first.setdefault(group, sequence))
            if notes[sequence] & _TIED:
                for previous in entry.document.previous_sequences:
                    if notes[previous] & _TIED:
                        self._join(sequence, previous)

    def spread(self) -> bytearray:
        """Everything is affected that hangs together with what is."""
        notes, together = self._notes, bytearray(self.until + 1)
        for sequence, note in enumerate(notes):
            if note & (_MET | _IN_SCOPE | _JUDGED):
                together[self._find(sequence)] |= note
        for sequence, note in enumerate(notes):
            whole = together[self._find(sequence)]
            if note & _TIED and (whole & _MET or (whole & _IN_SCOPE and whole & _JUDGED)):
                notes[sequence] |= _AFFECTED
        return notes

    def _entries(self, look: Look) -> Iterator[journal_pb2.JournalEntry]:
        done = 0
        while done < self.until:
            values = self.source.entries(done, min(ENTRIES_PER_STEP, self.until - done))
            if not values:
                raise DataLoss(f"entry {done + 1} cannot be read; run tracecode fsck")
            yield from map(journal_pb2.JournalEntry.FromString, values)
            done += len(values)
            look(done)

    def _note(self, entry: journal_pb2.JournalEntry) -> None:
        sequence, content = entry.sequence, entry.document
        message = document_pb2.Document.FromString(content.document)
        kind = KINDS[message.WhichOneof("content") or ""]
        keys = self._keys_of(message, entry)
        note = 0 if content.cleared else _JUDGED
        if kind in (DocumentKind.SALE, DocumentKind.SALE_RETURN, DocumentKind.DELETION):
            note |= _TIED
        elif keys:
            note |= _TIED | _BACKGROUND if any(content.previous_sequences) else _BACKGROUND
        self._notes[sequence] |= note
        for key, previous in zip(keys, content.previous_sequences, strict=True):
            # A package tells of all that is inside it.
            if previous and key in self._packages:
                self._join(sequence, previous)
        for identifier in {identifier_of(key) for key in keys} - {""}:
            if identifier in self._unknown or identifier not in self._known:
                self._join(sequence, self._unknown.setdefault(identifier, sequence))
        if kind is DocumentKind.DELETION:
            self._deleted.add(_named_by(message))
        self._reported.add(message.institution_code)
        self._hold_against(entry, message, keys, content.findings)

    def _note_revision(self, entry: journal_pb2.JournalEntry) -> None:
        sequence = entry.revision.revised_sequence
        self._notes[sequence] |= _JUDGED
        value = self.source.entry(sequence)
        if value is None:
            raise DataLoss(f"entry {sequence} cannot be read; run tracecode fsck")
        revised = journal_pb2.JournalEntry.FromString(value)
        message = document_pb2.Document.FromString(revised.document.document)
        self._hold_against(revised, message, self._keys_of(message, revised), entry.revision.findings)

    def _hold_against(
        self,
        entry: journal_pb2.JournalEntry,
        message: document_pb2.Document,
        keys: Sequence[bytes],
        findings: Sequence[finding_pb2.Finding],
    ) -> None:
        """Note how what changed concerns a document that carried these findings."""
        if entry.sequence < self.since:
            return
        received = entry.receive_time_ns // NS
        difference = self._differences[self._rule_bases.change_at(received, entry.sequence).sequence]
        if difference.whole:
            raise _Unbounded(difference.whole)
        happened = message.business_time.seconds
        note = 0
        if any(received - happened > lag for lag in difference.lags):
            note = _MET
        if any(happened - received > lead for lead in difference.leads):
            note = _MET
        asked = message.sale.stage == document_pb2.SALE_STAGE_BEFORE_SETTLEMENT
        refused = entry.document.outcome == finding_pb2.OUTCOME_REFUSED
        for row in difference.rows:
            carried = row.clears or (
                bool(row.types)
                and (
                    row.is_carried(findings)
                    # What was found before it was refused is not all written down,
                    or refused
                    # nor is what would refuse it because of a sale that is dated later, where it does not.
                    or (asked and not entry.document.cleared and FindingType.DUP_SALE_CROSS_ORG in row.types)
                )
            )
            if (carried or row.hidden or not row.types) and row.scope.meets(
                message.institution_code,
                self._divisions_of(message.institution_code),
                # Such a sale is also judged as if it came later.
                None if asked else day_date(china_day(effective_time(happened, received))),
                [line.drug_code for line in message.lines],
                {identifier_of(key) for key in keys},
            ):
                note |= _MET if carried else _IN_SCOPE
        if note:
            self._notes[entry.sequence] |= note | _TIED

    def _keys_of(self, message: document_pb2.Document, entry: journal_pb2.JournalEntry) -> list[bytes]:
        """The codes of a document, in the order of previous_sequences."""
        if any(line.packages for line in message.lines):
            read = ReadDocument(freeze_document(message), entry.sequence, entry.receive_time_ns // NS)
            self._packages.update(parent for parent, _ in read.relations)
            return list(read.events)
        scans = [scan for line in message.lines for scan in line.codes]
        return list(dict.fromkeys(key for _, key in keys_of_scans(scans)))

    def _divisions_of(self, institution_code: str) -> set[str]:
        known = self.divisions.get(institution_code)
        if known is None:
            # As long as it is not registered.
            known = self.divisions[institution_code] = {institution_code[1:7]}
        return known

    def _join(self, one: int, other: int) -> None:
        self._notes[one] |= _TIED
        self._notes[other] |= _TIED
        self._above[self._find(one)] = self._find(other)

    def _find(self, sequence: int) -> int:
        above = self._above
        while above[sequence] != sequence:
            above[sequence] = sequence = above[above[sequence]]
        return sequence


def _groups_of(message: document_pb2.Document) -> set[_Group]:
    """How a deletion may name a document; how it does, if it is one."""
    kind = KINDS[message.WhichOneof("content") or ""]
    institution_code = message.institution_code
    if kind is DocumentKind.DELETION:
        return {_named_by(message)}
    type = DELETED_TYPES[kind]
    serials = {line.batch_serial for line in message.lines} - {""}
    return {
        (institution_code, type, True, message.document_number),
        *((institution_code, type, False, serial) for serial in serials),
    }


def _named_by(deletion: document_pb2.Document) -> _Group:
    content, number = deletion.deletion, deletion.deletion.deleted_document_number
    return (deletion.institution_code, content.type, bool(number), number or content.batch_serial)
