"""The ledger on LMDB: the native store under the judge.

The native store keeps the journal and the index and clears plain documents without Python; everything it
cannot clear is judged by the rules, in the same order and the same commit. On opening, entries that the
index does not hold yet are applied again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from datetime import date
from itertools import accumulate, product
from pathlib import Path

from tracecode import _native
from tracecode._native import Store as NativeStore
from tracecode.answer import pass_finding
from tracecode.document import EPOCH, FUTURE_SKEW_SECONDS, NS
from tracecode.engine.contract import Submissions
from tracecode.engine.index import Index
from tracecode.engine.rule_bases import Period
from tracecode.engine.store_engine import StoreEngine
from tracecode.finding import PROVISIONAL_SECONDS, REGISTRY, Finding, FindingType, Severity, dress, to_message
from tracecode.rule_base import RuleBase
from tracecode.scope import split_pattern
from tracecode.v1 import finding_pb2, journal_pb2

MAP_SIZE_BYTES = 256 * 2**30
"""Address space, not memory: the files grow as they are written."""

OVERLAY_BYTES_MAX = 1 * 2**30
"""Index records that may wait to be written back; also bounds how much is replayed after a crash."""

REPLAY_STEP = 100_000
REPLAY_JUDGED_STEP = 16


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
        sync: bool = True,
    ) -> None:
        """Open or create. `on_replay` is told (entries done, entries in all) while the index catches up.
        `sync=False` gives up durability, for a ledger that is thrown away.

        Raises EngineStopped (another process has it), DataLoss.
        """
        self.native = NativeStore(
            str(directory), map_size_bytes=map_size_bytes, overlay_bytes_max=overlay_bytes_max, sync=sync
        )
        self._period: Period | None = None
        try:
            replay(self.native, on_replay)
            super().__init__(self.native, rule_base, now_ns)
            self._turn(self._receive_time_ns // NS)
        except BaseException:
            self.native.close()
            raise

    def _turn(self, time: int, *, anew: bool = False) -> None:
        if not anew and self._period is not None and self._period.holds(time):
            return
        self._period = self.rule_bases.period(time)
        self._configure()

    def _configure(self) -> None:
        """Tell the clearing code what its guards need of the rule base that judges now."""
        assert self._period is not None
        rule_base = self._period.rule_base
        thresholds = rule_base.thresholds
        self.native.configure(
            rule_base_version=rule_base.version,
            pass_finding=pass_finding().SerializeToString(deterministic=True),
            provisional_seconds=PROVISIONAL_SECONDS,
            late_seconds=thresholds.late_info_hours * 3600,
            legacy_stock_until_day=(thresholds.legacy_stock_until - EPOCH).days,
            never_received=(
                _never_received() if rule_base.leaves_alone(FindingType.STOCK_NEVER_RECEIVED) else None
            ),
            future_skew_seconds=min(FUTURE_SKEW_SECONDS, thresholds.future_skew_minutes * 60),
            scoped=_scoped_guards(rule_base),
        )

    def _clearing(self, submissions: Submissions) -> Callable[[int], list[bytes]]:
        asked = accumulate(submissions.receive_times_ns, max, initial=self._receive_time_ns)
        times = list(asked)[1:]

        def clear(start: int) -> list[bytes]:
            self._turn(times[start] // NS)
            end = len(times)
            if self._period is not None and times[-1] // NS >= self._period.end:
                end = bisect_left(times, self._period.end * NS)
            if end == len(times):
                documents, request_ids, until = submissions.documents, submissions.request_ids, times
            else:
                # Another rule base judges the rest.
                documents, request_ids = submissions.documents[:end], submissions.request_ids[:end]
                until = times[:end]
            verdicts = self.native.clear(documents, request_ids, until, start)
            if verdicts:
                self._receive_time_ns = times[start + len(verdicts) - 1]
            return verdicts

        return clear

    def _tell_plain(
        self, key: bytes, codes: Collection[str], sequences: Sequence[int]
    ) -> Sequence[bytes | None]:
        return self.native.code_events(key, [code.encode() for code in codes], list(sequences))

    def free_dead_readers(self) -> int:
        """Free what processes hold that died while they read; how many there were."""
        return self.native.reader_check()

    def verify_plain(self, request: bytes, now_ns: int) -> bytes | None:
        """The answer to a question of which every code is plainly in order, else None."""
        period = self._period
        if period is None or not period.holds(now_ns // NS):
            return None
        return self.native.verify(request, now_ns)


def end_on_damaged_map() -> None:
    """From now on this process says which file it was and ends with status 1, and not by a signal, where a
    page of a file that it has mapped makes no sense any more. For the programs that have a ledger open."""
    _native.end_on_damaged_map()


def open_to_read(directory: Path) -> NativeStore:
    """A ledger that is only read, beside the process that has it open. Raises EngineStopped, DataLoss."""
    return NativeStore(str(directory), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=2**20, read_only=True)


def _scoped_guards(rule_base: RuleBase) -> tuple[tuple[str, str, int, int, int, int, int], ...]:
    """Of the rows that could make a rule fire on a document that is plain otherwise: for whom, by the
    beginning of institution and division, from which day to which, and the guards. Whom a row names more
    narrowly, by drug or pattern, the rules look at."""
    guards = set()
    for row in rule_base.threshold_rows:
        values = rule_base.thresholds.with_values(row.values)
        if not {"late_info_hours", "future_skew_minutes", "legacy_stock_until"} & set(row.values):
            continue
        start, end = row.scope.start_date or EPOCH, row.scope.end_date or date.max
        for institution_code, division in product(
            row.scope.institution_codes or ("*",), row.scope.divisions or ("",)
        ):
            guards.add(
                (
                    split_pattern(institution_code)[0],
                    division,
                    (start - EPOCH).days,
                    (end - EPOCH).days,
                    values.late_info_hours * 3600,
                    min(FUTURE_SKEW_SECONDS, values.future_skew_minutes * 60),
                    (values.legacy_stock_until - EPOCH).days,
                )
            )
    return tuple(sorted(guards))


def _never_received() -> tuple[bytes, bytes, bytes]:
    """STOCK_NEVER_RECEIVED at INFO, serialized: up to its line, and behind its evidence, stored and answered.
    In between stand line, code and evidence, which the native code writes."""
    finding = to_message(
        Finding(FindingType.STOCK_NEVER_RECEIVED, Severity.INFO),
        REGISTRY[FindingType.STOCK_NEVER_RECEIVED].mode,
    )
    head = finding.SerializeToString(deterministic=True)
    stored = finding_pb2.Finding(revisable=True)
    dress(finding, 0, 0)
    answered = finding_pb2.Finding(
        title=finding.title, remedy=finding.remedy, legal_basis=finding.legal_basis, revisable=True
    )
    return (
        head,
        stored.SerializeToString(deterministic=True),
        answered.SerializeToString(deterministic=True),
    )


def replay(store: NativeStore, on_replay: Callable[[int, int], None] | None = None) -> None:
    """Apply the entries that the index does not hold yet."""
    index = Index(store)
    applied = store.applied_sequence
    total = store.durable_sequence - applied
    done = 0
    while done < total:
        cleared = store.replay_cleared(REPLAY_STEP)
        done += cleared
        # What the rules judged is applied by what it means; so are its neighbours, a few at a time.
        for value in store.entries(applied + done, REPLAY_JUDGED_STEP):
            entry = journal_pb2.JournalEntry.FromString(value)
            index.apply(entry)
            store.replayed(entry.sequence)
            done += 1
            if entry.document.cleared and cleared:
                break
        if on_replay is not None:
            on_replay(done, total)
