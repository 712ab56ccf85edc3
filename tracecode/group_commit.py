"""One engine thread, and one durable commit for all who wait.

Whoever submits while the last commit syncs is in the next one: no timer, nothing to tune. A lone document
pays one commit; a burst shares it. Sources take turns: one that sends much waits for itself.
"""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import Future, InvalidStateError

from tracecode.engine.contract import Engine, Recorded, Submissions
from tracecode.errors import EngineStopped, Overloaded, StorageFull
from tracecode.fair_share import FairShare, Turns

BATCH_DOCUMENTS_MAX = 2_000
"""Documents in one commit: bounds how long the first of them waits."""

TURN_DOCUMENTS = 1_000
"""Documents of one source before another has its turn: a gateway's message counts as many tills' calls."""

BATCH_DOCUMENTS_MIN = 64
BATCH_SECONDS_MAX = 0.03
"""What documents may add to a commit, where they cost so much that fewer of them are as good: whoever comes
next waits for it. Cleared documents are far below. A message of a stream is not split."""

WAITING_DOCUMENTS_MAX = 20_000
"""Documents that may wait. Beyond it the ledger pushes back, on those sources that have more than their
share waiting, and keeps nothing of the document."""

RecordedFuture = Future[list[Recorded | Exception]]
_Waiting = tuple[Submissions, RecordedFuture]


class GroupCommit:
    """Feeds an engine from any number of threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turns: Turns[tuple[str, _Waiting]] = Turns(TURN_DOCUMENTS)
        self._share = FairShare(WAITING_DOCUMENTS_MAX)
        self._document_seconds = 0.0
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
            self._turns.put(source, (source, (submissions, future)), len(submissions))
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
            documents = self._record(batch)
            # The last commits count most: what comes now is likely what came just before.
            self._document_seconds += ((time.thread_time() - begin) / documents - self._document_seconds) / 2

    def _take_batch(self) -> list[_Waiting]:
        """What is recorded next, once there is something; empty when the ledger is closed."""
        batch: list[_Waiting] = []
        documents = 0
        with self._lock:
            while not self._turns and not self._stopped:
                self._came.wait()
            documents_max = BATCH_DOCUMENTS_MAX
            if self._document_seconds:
                affordable = int(BATCH_SECONDS_MAX / self._document_seconds)
                documents_max = min(documents_max, max(BATCH_DOCUMENTS_MIN, affordable))
            while self._turns and documents < documents_max:
                source, waiting = self._turns.take()
                self._share.give_back(source, len(waiting[0]))
                documents += len(waiting[0])
                batch.append(waiting)
        return batch

    def _record(self, batch: list[_Waiting]) -> int:
        together = Submissions([], [], [])
        for submissions, _ in batch:
            together.extend(submissions)
        answers = self._record_parts(together)
        begin = 0
        for submissions, future in batch:
            end = begin + len(submissions)
            # A caller that gave up has cancelled its future; the documents are kept all the same.
            with contextlib.suppress(InvalidStateError):
                future.set_result(answers[begin:end])
            begin = end
        return max(1, begin)

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
