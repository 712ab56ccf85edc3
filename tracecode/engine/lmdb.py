"""The ledger on LMDB: the native store under the judge.

The native store keeps the journal and the index and clears plain documents without Python; everything it
cannot clear is judged by the rules, in the same order and the same commit. On opening, entries that the
index does not hold yet are applied again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from tracecode._native import Store as NativeStore
from tracecode.document import FUTURE_SKEW_SECONDS, NS
from tracecode.engine.contract import Submission
from tracecode.engine.index import Index
from tracecode.engine.store_engine import StoreEngine
from tracecode.finding import PROVISIONAL_SECONDS
from tracecode.rule_base import RuleBase
from tracecode.v1 import document_pb2, finding_pb2, journal_pb2

MAP_SIZE_BYTES = 256 * 2**30
"""Address space, not memory: the files grow as they are written."""

OVERLAY_BYTES_MAX = 1 * 2**30
"""Index records that may wait to be written back; also bounds how much is replayed after a crash."""

REPLAY_STEP = 1_000


class LmdbEngine(StoreEngine):
    """The engine contract over a native store in a directory."""

    name = "lmdb"

    def __init__(
        self,
        directory: Path,
        rule_base: RuleBase | None,
        now_ns: int,
        *,
        map_size_bytes: int = MAP_SIZE_BYTES,
        overlay_bytes_max: int = OVERLAY_BYTES_MAX,
        on_replay: Callable[[int, int], None] | None = None,
    ) -> None:
        """Open or create. `on_replay` is told (entries done, entries in all) while the index catches up.

        Raises EngineStopped (another process has it), DataLoss.
        """
        self.native = NativeStore(
            str(directory), map_size_bytes=map_size_bytes, overlay_bytes_max=overlay_bytes_max
        )
        try:
            replay(self.native, on_replay)
            super().__init__(self.native, rule_base, now_ns)
            self._configure()
        except BaseException:
            self.native.close()
            raise

    def change_rule_base(self, rule_base: RuleBase, now_ns: int) -> int:
        """Put a rule base in force from now; returns the entry's sequence."""
        # Under the lock: the guards must be those of the entry before the next document is cleared.
        with self._lock:
            sequence = super().change_rule_base(rule_base, now_ns)
            self._configure()
        return sequence

    def _configure(self) -> None:
        """Tell the clearing code what its guards need of the rule base in force."""
        thresholds = self.rule_base.thresholds
        self.native.configure(
            rule_base_version=self.rule_base.version,
            late_seconds=thresholds.late_info_hours * 3600,
            future_skew_seconds=min(FUTURE_SKEW_SECONDS, thresholds.future_skew_minutes * 60),
        )

    def _clearing(self, submissions: Sequence[Submission]) -> Callable[[int], list[finding_pb2.Verdict]]:
        documents = [submission.document for submission in submissions]
        request_ids = [submission.request_id for submission in submissions]
        asked = accumulate((s.receive_time_ns for s in submissions), max, initial=self._receive_time_ns)
        times = list(asked)[1:]

        def clear(start: int) -> list[finding_pb2.Verdict]:
            first = self.store.sequence + 1
            cleared = self.native.clear(documents, request_ids, times, start)
            if cleared:
                self._receive_time_ns = times[start + cleared - 1]
            return [
                self._cleared_verdict(first + offset, documents[start + offset], times[start + offset])
                for offset in range(cleared)
            ]

        return clear

    def _cleared_verdict(self, sequence: int, document: bytes, receive_time_ns: int) -> finding_pb2.Verdict:
        business_time = document_pb2.Document.FromString(document).business_time.seconds
        seconds, nanos = divmod(receive_time_ns, NS)
        return finding_pb2.Verdict(
            sequence=sequence,
            outcome=finding_pb2.OUTCOME_ACCEPTED,
            final_time=Timestamp(seconds=business_time + PROVISIONAL_SECONDS),
            rule_base_version=self.rule_base.version,
            as_of=finding_pb2.AsOf(sequence=sequence, time=Timestamp(seconds=seconds, nanos=nanos)),
        )


def replay(store: NativeStore, on_replay: Callable[[int, int], None] | None = None) -> None:
    """Apply the entries that the index does not hold yet."""
    index = Index(store)
    applied = store.applied_sequence
    total = store.durable_sequence - applied
    done = 0
    while values := store.entries(applied + done, REPLAY_STEP):
        for value in values:
            entry = journal_pb2.JournalEntry.FromString(value)
            index.apply(entry)
            store.replayed(entry.sequence)
            done += 1
        if on_replay is not None:
            on_replay(done, total)
