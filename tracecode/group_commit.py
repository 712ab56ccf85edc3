"""One engine thread, and one durable commit for all who wait.

Whoever submits while the last commit syncs is in the next one: no timer, nothing to tune. A lone document
pays one commit; a burst shares it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from concurrent.futures import Future, InvalidStateError

from tracecode.engine.contract import Engine, Submission
from tracecode.errors import DocumentRejected, EngineStopped, Overloaded
from tracecode.v1 import finding_pb2

BATCH_DOCUMENTS_MAX = 2_000
"""Documents in one commit: bounds how long the first of them waits."""

WAITING_DOCUMENTS_MAX = 20_000
"""Documents that may wait. Beyond it the ledger pushes back and keeps nothing of the document."""

VerdictFuture = Future[finding_pb2.Verdict]
_Waiting = tuple[Submission, VerdictFuture]


class GroupCommit:
    """Feeds an engine from any number of threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._stopped = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="tracecode-engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Documents that wait for the engine."""
        return self._waiting.qsize()

    def submit(self, submission: Submission) -> VerdictFuture:
        """A future of the verdict, resolved when it is durable.

        The future raises DocumentRejected or EngineStopped. Raises Overloaded when too many wait.
        """
        future: VerdictFuture = Future()
        with self._lock:
            if self._stopped:
                raise EngineStopped("the ledger is closed")
            if self._waiting.qsize() >= WAITING_DOCUMENTS_MAX:
                raise Overloaded(f"{WAITING_DOCUMENTS_MAX} documents are waiting; send it again in a second")
            self._waiting.put((submission, future))
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
            last = False
            while len(batch) < BATCH_DOCUMENTS_MAX:
                try:
                    following = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    last = True
                    break
                batch.append(following)
            self._record(batch)
            if last:
                return

    def _record(self, batch: list[_Waiting]) -> None:
        try:
            answers = self._engine.record([submission for submission, _ in batch])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, EngineStopped):
                # Nothing was kept. One document must not take its neighbours with it, and what is too much
                # at once may not be too much in parts: halve.
                half = len(batch) // 2
                self._record(batch[:half])
                self._record(batch[half:])
                return
            # Nobody may be left waiting; what the engine could not do, each of them learns.
            for _, future in batch:
                with contextlib.suppress(InvalidStateError):
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            # A caller that gave up has cancelled its future; the document is kept all the same.
            with contextlib.suppress(InvalidStateError):
                if isinstance(answer, DocumentRejected):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
