"""Which rule base judges which document: the changes that a journal holds, by the time from which each holds.

A document is judged by the rule base that was in force when it was received, then and whenever later entries
make it judged again. So a change makes nothing of what was received before it. Of the changes that stand in
the journal before the document's entry, the one with the latest effective second not after the second of
receipt holds; of those of one second, the last entry.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracecode.document import NS
from tracecode.engine import records
from tracecode.errors import DataLoss
from tracecode.rule_base import RuleBase
from tracecode.v1 import journal_pb2

if TYPE_CHECKING:
    # The contract names the rule bases, and an index is read through it.
    from tracecode.engine.index import Store

PARSED_MAX = 8
"""Rule bases kept ready; the last ones asked for (ours)."""
NO_TIME = 2**62
ENTRIES_PER_STEP = 10_000


@dataclass(frozen=True, slots=True, order=True)
class KeptRuleBase:
    """A change of the rule base as the journal has it. `effective_time` in seconds."""

    effective_time: int
    sequence: int
    version: str
    author: str
    approver: str
    notes: str
    receive_time_ns: int
    restored_sequence: int


@dataclass(frozen=True, slots=True)
class Period:
    """A rule base and the seconds in which it judges what is received: from `start`, before `end`."""

    rule_base: RuleBase
    start: int
    end: int

    def holds(self, time: int) -> bool:
        """That second is one of them."""
        return self.start <= time < self.end


class RuleBases:
    """The rule bases of a journal. Lookups may be made by any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changes: list[KeptRuleBase] = []
        self._parsed: OrderedDict[int, RuleBase] = OrderedDict()
        self._lock = threading.Lock()
        value = store.get(records.meta_key("rule_base"))
        if value is not None:
            self._read_all(records.U64.unpack(value)[0])

    def _read_all(self, last: int) -> None:
        sequence = last
        while sequence:
            entry = self._entry(sequence)
            insort(self._changes, _keep(entry))
            previous = entry.rule_base_change.previous_sequence
            if not previous and sequence > 1:
                # Releases before 0.1 did not note it.
                self._search(sequence)
                return
            sequence = previous

    def _search(self, before: int) -> None:
        for after in range(0, before - 1, ENTRIES_PER_STEP):
            for value in self._store.entries(after, min(ENTRIES_PER_STEP, before - 1 - after)):
                entry = journal_pb2.JournalEntry.FromString(value)
                if entry.HasField("rule_base_change"):
                    insort(self._changes, _keep(entry))

    def _entry(self, sequence: int) -> journal_pb2.JournalEntry:
        value = self._store.entry(sequence)
        if value is None:
            raise DataLoss(f"journal entry {sequence} is missing; restore the journal from a backup")
        return journal_pb2.JournalEntry.FromString(value)

    def add(self, entry: journal_pb2.JournalEntry, rule_base: RuleBase) -> None:
        """Note a change that is in the journal now."""
        changes = self._changes.copy()
        insort(changes, _keep(entry))
        with self._lock:
            self._remember(entry.sequence, rule_base)
        self._changes = changes

    @property
    def changes(self) -> list[KeptRuleBase]:
        """All changes, by the time from which they hold."""
        return list(self._changes)

    @property
    def last_sequence(self) -> int:
        """The last change's entry, 0 = none."""
        return max((change.sequence for change in self._changes), default=0)

    def at(self, time: int, sequence: int = 0) -> RuleBase:
        """What judges a document received in that second as that entry; 0 = as the next one.

        What is older than all changes is judged by the first.
        """
        return self.rule_base(self.change_at(time, sequence).sequence)

    def change_at(self, time: int, sequence: int = 0) -> KeptRuleBase:
        """The change that `at` goes by."""
        changes = self._changes
        for change in reversed(changes):
            if change.effective_time <= time and (not sequence or change.sequence < sequence):
                return change
        return changes[0]

    def period(self, time: int) -> Period:
        """What judges the next document if it is received in that second, and how long it does."""
        start, end, sequence = 0, NO_TIME, self._changes[0].sequence
        for change in self._changes:
            if change.effective_time > time:
                end = change.effective_time
                break
            start, sequence = change.effective_time, change.sequence
        return Period(self.rule_base(sequence), start, end)

    def rule_base(self, sequence: int) -> RuleBase:
        """The rule base of a change."""
        with self._lock:
            found = self._parsed.get(sequence)
            if found is not None:
                self._parsed.move_to_end(sequence)
                return found
        text = self._entry(sequence).rule_base_change.text
        found = RuleBase.parse_kept(text, f"journal entry {sequence}")
        with self._lock:
            self._remember(sequence, found)
        return found

    def _remember(self, sequence: int, rule_base: RuleBase) -> None:
        self._parsed[sequence] = rule_base
        if len(self._parsed) > PARSED_MAX:
            self._parsed.popitem(last=False)

    def from_file(self) -> RuleBase | None:
        """What the service last took from its file, None if it never did."""
        sequence = max((each.sequence for each in self._changes if not each.author), default=0)
        return self.rule_base(sequence) if sequence else None


def _keep(entry: journal_pb2.JournalEntry) -> KeptRuleBase:
    change = entry.rule_base_change
    return KeptRuleBase(
        effective_time=change.effective_time_seconds or entry.receive_time_ns // NS,
        sequence=entry.sequence,
        version=change.version,
        author=change.author,
        approver=change.approver,
        notes=change.notes,
        receive_time_ns=entry.receive_time_ns,
        restored_sequence=change.restored_sequence,
    )
