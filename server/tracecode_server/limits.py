"""What one peer may hold open and how often it may call.

Bounds are per peer (the host of a connection): a bound over all peers would itself be a weapon, since
whoever fills it shuts everybody else out. Bytes, connections' streams and ages are bounded by gRPC's own
options, see `server.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tracecode_server.errors import PeerOverLimit

PEERS_BEFORE_SWEEP = 1024


@dataclass(slots=True)
class _Peer:
    calls: int
    streams: int
    # Calls it may start at once, refilled by time up to a second's worth.
    tokens: float
    # Bytes it may still send; a message that is there is taken while this is positive.
    bytes: float
    refilled_at: float


class PeerLimits:
    """Counts calls by peer. Belongs to one event loop, so it needs no lock."""

    def __init__(
        self,
        calls_max: int,
        streams_max: int,
        calls_per_second_max: int,
        bytes_per_second_max: int = 2**40,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls_max = calls_max
        self._streams_max = streams_max
        self._calls_per_second_max = calls_per_second_max
        self._bytes_per_second_max = bytes_per_second_max
        self._clock = clock
        self._peers: dict[str, _Peer] = {}

    def enter(self, peer: str, *, stream: bool, size: int = 0) -> None:
        """Admit one call, to be given back by `leave`. Raises PeerOverLimit; then nothing is to give back.

        `size` is that of its message in bytes.
        """
        now = self._clock()
        entry = self._peers.get(peer)
        if entry is None:
            if len(self._peers) >= PEERS_BEFORE_SWEEP:
                self._forget_idle(now)
            entry = self._peers[peer] = _Peer(
                0, 0, self._calls_per_second_max, self._bytes_per_second_max, now
            )
        passed = now - entry.refilled_at
        entry.tokens = min(self._calls_per_second_max, entry.tokens + passed * self._calls_per_second_max)
        entry.bytes = min(self._bytes_per_second_max, entry.bytes + passed * self._bytes_per_second_max)
        entry.refilled_at = now

        if stream and entry.streams >= self._streams_max:
            raise PeerOverLimit(
                f"{self._streams_max} streams of this host are open already; close one, or use fewer"
            )
        if not stream and entry.calls >= self._calls_max:
            raise PeerOverLimit(
                f"{self._calls_max} calls of this host are waiting for answers already; send fewer at once"
            )
        if entry.tokens < 1:
            raise PeerOverLimit(
                f"this host started more than {self._calls_per_second_max} calls in a second; "
                "send many codes or documents in one call instead"
            )

        if entry.bytes <= 0:
            raise PeerOverLimit(
                f"this host sent more than {self._bytes_per_second_max} bytes in a second; wait a moment"
            )

        entry.tokens -= 1
        entry.bytes -= size
        if stream:
            entry.streams += 1
        else:
            entry.calls += 1

    def leave(self, peer: str, *, stream: bool) -> None:
        """The call is over, its answer sent or given up."""
        entry = self._peers[peer]
        if stream:
            entry.streams -= 1
        else:
            entry.calls -= 1

    def _is_full(self, entry: _Peer, passed: float) -> bool:
        return passed >= 1 and entry.bytes + passed * self._bytes_per_second_max >= self._bytes_per_second_max

    def _forget_idle(self, now: float) -> None:
        # Once the buckets are full again, forgetting them changes nothing.
        for peer in [
            peer
            for peer, entry in self._peers.items()
            if not entry.calls and not entry.streams and self._is_full(entry, now - entry.refilled_at)
        ]:
            del self._peers[peer]


def name_peer(peer: str) -> str:
    """The host of what gRPC calls a peer: "ipv4:127.0.0.1:40112" is "ipv4:127.0.0.1"."""
    return peer.rpartition(":")[0] if peer.startswith("ip") else peer
