"""How long to wait before the same is sent again."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential, with jitter: tills that lost a server together must not all come back together."""

    first_seconds: float = 0.05
    max_seconds: float = 2.0

    def choose_pause_seconds(self, failures: int, retry_after_seconds: float | None, random: Random) -> float:
        """The pause after so many failures (from 1); at least what the server asked for."""
        pause = min(self.max_seconds, self.first_seconds * 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)
        if retry_after_seconds is None:
            return pause
        return max(pause, retry_after_seconds * random.uniform(1.0, 1.25))
