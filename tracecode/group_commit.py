"""One engine thread, and one durable commit for all who wait.

Whoever submits while the last commit syncs is in the next one: no timer, nothing to tune. A lone document
pays one commit; a burst shares it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from concurrent.futures import Future, InvalidStateError

from tracecode.engine.contract import Engine, Recorded, Submissions
from tracecode.errors import EngineStopped, Overloaded, StorageFull

BATCH_DOCUMENTS_MAX = 2_000
"""Documents in one commit: bounds how long the first of them waits."""

WAITING_DOCUMENTS_MAX = 20_000
"""Documents that may wait. Beyond it the ledger pushes back and keeps nothing of the document."""

RecordedFuture = Future[list[Recorded | Exception]]
_Waiting = tuple[Submissions, RecordedFuture]


class GroupCommit:
    """Feeds an engine from any number of threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._waiting_documents = 0
        self._stopped = False
        self.refusal = ""
        """Why no document is taken now; empty while they are."""
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="tracecode-engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Documents that wait for the engine."""
        return self._waiting_documents

    def submit(self, submissions: Submissions) -> RecordedFuture:
        """A future of what the engine says of each document, or why it could not be asked; resolved when
        they are durable. Raises Overloaded when too many wait, StorageFull, EngineStopped.
        """
        future: RecordedFuture = Future()
        with self._lock:
            if self._stopped:
                raise EngineStopped("the ledger is closed")
            if self.refusal:
                raise StorageFull(self.refusal)
            if self._waiting_documents >= WAITING_DOCUMENTS_MAX:
                raise Overloaded(f"{WAITING_DOCUMENTS_MAX} documents are waiting; send it again in a second")
            self._waiting_documents += len(submissions)
            self._waiting.put((submissions, future))
        return future

    def close(self) -> None:
        """Finish what waits and stop the thread. Safe to call twice."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            first = self._waiting.get()
            if first is None:
                return
            batch = [first]
            documents = len(first[0])
            last = False
            while documents < BATCH_DOCUMENTS_MAX:
                try:
                    following = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    last = True
                    break
                batch.append(following)
                documents += len(following[0])
            with self._lock:
                self._waiting_documents -= documents
            self._record(batch)
            if last:
                return

    def _record(self, batch: list[_Waiting]) -> None:
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
