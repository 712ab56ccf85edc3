"""One engine thread, and one durable commit for all who wait.

Whoever submits while the last commit syncs is in the next one: no timer, nothing to tune. A lone document
pays one commit; a burst shares it. Sources take turns: one that sends much waits for itself.
"""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

from tracecode.engine.contract import Engine, Recorded, Submissions
from tracecode.errors import EngineStopped, Overloaded, StorageFull
from tracecode.fair_share import FairShare, TimeShare, Turns

BATCH_DOCUMENTS_MAX = 2_000
"""Documents in one commit: bounds how long the first of them waits."""

TURN_DOCUMENTS = 1_000
"""Documents of one source before another has its turn: a gateway's message counts as many tills' calls."""

BATCH_SECONDS_MAX = 0.02
"""What documents may add to a commit, as far as that is known before: whoever comes next waits for it.
Cleared documents are far below."""

JUDGED_SECONDS = 0.0002
JUDGED_BATCH_SECONDS_MAX = 0.008
"""What costs more was judged in Python, which the whole process waits for: less of it is in one commit."""

DEAR_SECONDS = 0.002
"""A source whose documents cost so much each has commits of its own: others need not wait in them."""

SOURCES_SECONDS = 0.5
"""Of each second, what sources may use while several come, before those that use most of it wait."""

LONG_SECONDS = 0.005
LONG_CHARGE_MAX = 1.0
"""A document that takes longer keeps others waiting, and counts for more than its time, up to so much."""

NEWCOMER_DOCUMENTS = 4
NEWCOMER_SECONDS = 0.005
"""Where a source's documents were not seen lately, each of more than so many is taken to cost so much."""

AHEAD_SECONDS_MAX = 1.0
"""A source of which so much work is waiting is not read from."""

WAIT_SECONDS = 0.02
COSTS_MAX = 1_024
COST_SECONDS_MIN = 1e-6
COST_SECONDS_MAX = 10.0

WAITING_DOCUMENTS_MAX = 20_000
"""Documents that may wait. Beyond it the ledger pushes back, on those sources that have more than their
share waiting, and keeps nothing of the document."""

RecordedFuture = Future[list[Recorded | Exception]]


@dataclass(frozen=True, slots=True)
class _Waiting:
    source: str
    submissions: Submissions
    future: RecordedFuture
    # Of those before these that came with them.
    answers: list[Recorded | Exception] = field(default_factory=list)


class GroupCommit:
    """Feeds an engine from any number of threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turns: Turns[_Waiting] = Turns(TURN_DOCUMENTS)
        self._work = TimeShare(SOURCES_SECONDS)
        self._share = FairShare(WAITING_DOCUMENTS_MAX)
        # What a document costs: of any source, and of each that came lately.
        self._document_seconds = 0.0
        self._costs: dict[str, float] = {}
        self._stopped = False
        self.refusal = ""
        """Why no document is taken now; empty while they are."""
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)
        self._thread = threading.Thread(target=self._run, name="tracecode-engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Documents that wait for the engine."""
        return self._share.total

    def is_behind(self, source: str) -> bool:
        """Whether so much of this source waits that it is better not read on."""
        with self._lock:
            documents = self._share.held(source)
            return documents * self._find_cost(source, documents) > AHEAD_SECONDS_MAX

    def submit(self, submissions: Submissions, source: str = "") -> RecordedFuture:
        """A future of what the engine says of each document, or why it could not be asked; resolved when
        they are durable. What one source submits is recorded in its order. Raises Overloaded when too many of
        this source wait, StorageFull, EngineStopped.
        """
        future: RecordedFuture = Future()
        with self._lock:
            if self._stopped:
                raise EngineStopped("the ledger is closed")
            if self.refusal:
                raise StorageFull(self.refusal)
            if not self._share.take(source, len(submissions)):
                raise Overloaded(f"{self._share.total} documents are waiting; send it again in a second")
            self._turns.put(source, _Waiting(source, submissions, future), len(submissions))
            self._came.notify()
        return future

    def close(self) -> None:
        """Finish what waits and stop the thread. Safe to call twice."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            self._came.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._take_batch():
            # Of this thread's processor: that the disk is slow is no reason for more commits.
            begin = time.thread_time()
            self._record(batch)
            with self._lock:
                self._charge(batch, time.thread_time() - begin)

    def _take_batch(self) -> list[_Waiting]:
        """What is recorded next, once there is something; empty when the ledger is closed."""
        batch: list[_Waiting] = []
        documents, seconds = 0, 0.0
        with self._lock:
            while not self._turns and not self._stopped:
                self._came.wait()
            # Who waits for others waits no longer than there may be others; nobody does at the end.
            while self._turns and self._turns.find_source(self._has_to_wait) is None:
                self._came.wait(WAIT_SECONDS)
            while self._turns and documents < BATCH_DOCUMENTS_MAX and seconds < BATCH_SECONDS_MAX:
                source = self._turns.find_source(self._has_to_wait)
                if source is None:
                    break
                waiting = self._turns.take()
                count = len(waiting.submissions)
                cost = self._find_cost(source, count)
                seconds_max = BATCH_SECONDS_MAX if cost < JUDGED_SECONDS else JUDGED_BATCH_SECONDS_MAX
                affordable = max(0, int((seconds_max - seconds) / cost)) if cost else count
                if batch and (count > affordable or cost > DEAR_SECONDS):
                    self._turns.put_back(source, waiting, count)
                    break
                if count > affordable:
                    waiting = self._cut(waiting, max(1, affordable))
                    count = len(waiting.submissions)
                self._share.give_back(source, count)
                documents += count
                seconds += count * cost
                batch.append(waiting)
                if cost > DEAR_SECONDS:
                    # Also who has just come, and of whose time nothing is known, waits for these alone.
                    self._turns.end_turn(source)
                    break
        return batch

    def _cut(self, waiting: _Waiting, count: int) -> _Waiting:
        """The first of these documents, the others being put back."""
        first, rest = waiting.submissions[:count], waiting.submissions[count:]
        part: RecordedFuture = RecordedFuture()
        left = _Waiting(waiting.source, rest, waiting.future, waiting.answers)
        self._turns.put_back(waiting.source, left, len(rest))
        part.add_done_callback(lambda done: left.answers.extend(done.result()))
        return _Waiting(waiting.source, first, part)

    def _has_to_wait(self, source: str) -> bool:
        return not self._stopped and self._work.is_spent(source)

    def _find_cost(self, source: str, documents: int = 0) -> float:
        """What a document of this source is taken to cost, when so many of them came together."""
        cost = self._costs.get(source)
        if cost is not None:
            return cost
        return max(self._document_seconds, NEWCOMER_SECONDS * (documents > NEWCOMER_DOCUMENTS))

    def _charge(self, batch: list[_Waiting], seconds: float) -> None:
        """Learn what documents cost. The last commits count most: what comes now is likely what came then."""
        documents = sum(len(waiting.submissions) for waiting in batch)
        if not documents:
            return
        # A clock that does not move, or that leaps, must teach nothing that cannot be reckoned with.
        mean = min(max(seconds / documents, COST_SECONDS_MIN), COST_SECONDS_MAX)
        self._document_seconds += (mean - self._document_seconds) / 2
        if len(self._costs) > COSTS_MAX:
            self._costs.clear()
        counts: dict[str, int] = {}
        for waiting in batch:
            counts[waiting.source] = counts.get(waiting.source, 0) + len(waiting.submissions)
        # Each source's share is as its documents were taken to cost, however many messages they came in.
        expected = sum(count * self._find_cost(source) for source, count in counts.items())
        for source, count in counts.items():
            cost = self._find_cost(source) * seconds / expected
            cost = min(max(cost, COST_SECONDS_MIN), COST_SECONDS_MAX)
            spent = count * cost
            dear = min(spent * max(1.0, cost / LONG_SECONDS), LONG_CHARGE_MAX)
            self._work.charge(source, max(spent, dear))
            self._costs[source] = (self._find_cost(source) + cost) / 2

    def _record(self, batch: list[_Waiting]) -> None:
        together = Submissions([], [], [])
        for waiting in batch:
            together.extend(waiting.submissions)
        answers = self._record_parts(together)
        begin = 0
        for waiting in batch:
            end = begin + len(waiting.submissions)
            # A caller that gave up has cancelled its future; the documents are kept all the same.
            with contextlib.suppress(InvalidStateError):
                waiting.future.set_result(waiting.answers + answers[begin:end])
            begin = end

    def _record_parts(self, submissions: Submissions) -> list[Recorded | Exception]:
        try:
            return [*self._engine.record(submissions)]
        except Exception as error:
            if len(submissions) <= 1 or isinstance(error, EngineStopped | StorageFull):
                # Nobody may be left waiting; what the engine could not do, each of them learns.
                return [error] * len(submissions)
            # Nothing was kept. One document must not take its neighbours with it, and what is too much
            # at once may not be too much in parts: halve.
            half = len(submissions) // 2
            return self._record_parts(submissions[:half]) + self._record_parts(submissions[half:])
