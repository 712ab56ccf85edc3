"""The ledger in plain dicts: the readable oracle that every other engine must agree with.

Nothing survives the process. There is no native code here: each document is judged by the Python rules.
"""

from __future__ import annotations

from tracecode.engine import records
from tracecode.engine.store_engine import StoreEngine
from tracecode.rule_base import RuleBase


class MemoryStore:
    """A store (see tracecode.engine.index.Store) in two dicts and a list."""

    def __init__(self) -> None:
        self._records: dict[bytes, bytes] = {}
        self._groups: dict[bytes, dict[bytes, bytes]] = {}
        self._entries: list[bytes] = []
        self._durable = 0
        self._before: list[tuple[bytes, bytes | None]] = []
        """What was changed since the last commit, as it was, in order."""

    @property
    def sequence(self) -> int:
        """The last entry, pending ones included."""
        return len(self._entries)

    @property
    def durable_sequence(self) -> int:
        """The last entry that was committed."""
        return self._durable

    def get(self, key: bytes) -> bytes | None:
        """The record, or None."""
        return self._records.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Create or replace a record."""
        self._before.append((key, self._records.get(key)))
        self._set(key, value)

    def delete(self, key: bytes) -> None:
        """Forget a record; no error if there is none."""
        self._before.append((key, self._records.get(key)))
        self._set(key, None)

    def _set(self, key: bytes, value: bytes | None) -> None:
        group = records.group(key)
        for table in (self._records, None if group is None else self._groups.setdefault(group, {})):
            if table is None:
                continue
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """All records of one records.group, in key order."""
        return sorted(self._groups.get(prefix, {}).items())

    def append(self, entry: bytes) -> int:
        """Add the entry sequence + 1; returns its number."""
        self._entries.append(entry)
        return len(self._entries)

    def entry(self, sequence: int) -> bytes | None:
        """An entry, or None."""
        return self._entries[sequence - 1] if 0 < sequence <= len(self._entries) else None

    def entries(self, after: int, limit: int) -> list[bytes]:
        """Committed entries after+1 .. after+limit as far as they exist."""
        return self._entries[after : min(after + limit, self._durable)]

    def commit(self) -> None:
        """As durable as memory is."""
        self._durable = len(self._entries)
        self._before.clear()

    def rollback(self) -> None:
        """Forget what was appended, put or deleted since the last commit."""
        del self._entries[self._durable :]
        for key, value in reversed(self._before):
            self._set(key, value)
        self._before.clear()

    def close(self) -> None:
        """Nothing to release."""

    def dump(self) -> dict[bytes, bytes]:
        """Every record of the index, to be compared with another store's."""
        return dict(self._records)


class MemoryEngine(StoreEngine):
    """The engine contract over a MemoryStore."""

    name = "memory"

    def __init__(self, rule_base: RuleBase | None, now_ns: int) -> None:
        self.memory = MemoryStore()
        super().__init__(self.memory, rule_base, now_ns)
