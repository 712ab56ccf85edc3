"""The views of the ledger that is served, as the projector left them last: read by any thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracecode.errors import NotFound, Overloaded, TracecodeError
from tracecode.views.projector import DIRECTORY
from tracecode.views.store import Reader, ViewStore

RETRY_SECONDS = 1.0


class OpenViews:
    """Opens the environment when it is first asked, and another one that has taken its place."""

    def __init__(self, directory: Path | None) -> None:
        """`directory` is the data folder, None = the ledger is in memory and has no views."""
        self._path = None if directory is None else directory / DIRECTORY
        self._lock = threading.Lock()
        self._store: ViewStore | None = None
        self._file = 0
        # Somebody may be reading them yet.
        self._replaced: list[ViewStore] = []

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """A snapshot; let it go soon. Raises NotFound where there are no views, Overloaded where there are
        none yet."""
        if self._path is None:
            raise NotFound("this service keeps no views; give it a data folder")
        try:
            with self._lock:
                # Views that were thrown away lie in another file than those that took their place.
                file = (self._path / "data.mdb").stat().st_ino
                if self._store is None or file != self._file:
                    if self._store is not None:
                        self._replaced.append(self._store)
                        self._store = None
                    self._store, self._file = ViewStore(self._path, read_only=True), file
                store = self._store
        except (TracecodeError, OSError):
            # Not EngineStopped: the ledger itself goes on.
            raise Overloaded("the views are not there yet; ask again in a second", RETRY_SECONDS) from None
        with store.read() as reader:
            yield reader

    def close(self) -> None:
        """Look no more; nobody may be reading. Safe to call twice."""
        with self._lock:
            for store in (*self._replaced, *([self._store] if self._store is not None else [])):
                store.close()
            self._replaced.clear()
            self._store = None
