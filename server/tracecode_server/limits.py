"""What one peer may hold open and how often it may call.

Bounds are per peer (the host of a connection): a bound over all peers would itself be a weapon, since
whoever fills it shuts everybody else out. Bytes, connections' streams and ages are bounded by gRPC's own
options, see `server.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from tracecode.fair_share import TimeShare
from tracecode_server.errors import PeerOverLimit

PEERS_BEFORE_SWEEP = 1024
# How much of the event loop's time may be asked for before those who ask for most of it have to wait.
LOOP_SHARE = 0.7
# What a call is taken to cost the event loop until that was measured, and the bounds of what is believed.
CALL_SECONDS = 0.0003
CALL_SECONDS_MIN = 0.0001
CALL_SECONDS_MAX = 0.001
# Fewer calls than this say nothing about what one costs.
MEASURED_CALLS_MIN = 20
# Who is refused comes back after so long; later where so many of one host are refused in a second that they
# would be more than this a second when they come back.
RETRY_SECONDS = 0.5
RETRY_SECONDS_MAX = 5.0
RETRIES_PER_SECOND = 100


@dataclass(slots=True)
class _Peer:
    calls: int
    streams: int
    # Calls it may start at once, refilled by time up to a second's worth.
    tokens: float
    # Bytes it may still send; a message that is there is taken while this is positive.
    bytes: float
    refilled_at: float
    # How many of its calls were refused lately.
    refused: float = 0.0


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
        self._work = TimeShare(LOOP_SHARE, clock)
        self._call_seconds = CALL_SECONDS
        self._calls = 0

    def measure(self, seconds: float) -> None:
        """The event loop has worked for so long since this was last said."""
        if self._calls >= MEASURED_CALLS_MIN:
            cost = min(max(seconds / self._calls, CALL_SECONDS_MIN), CALL_SECONDS_MAX)
            self._call_seconds += (cost - self._call_seconds) / 4
        self._calls = 0

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
        if entry.refused:
            entry.refused *= math.exp(-(now - entry.refilled_at))
        try:
            self._enter(peer, entry, now, stream, size)
        except PeerOverLimit as refusal:
            entry.refused += 1
            steps = math.ceil(entry.refused / RETRIES_PER_SECOND / RETRY_SECONDS)
            refusal.retry_after_seconds = min(steps * RETRY_SECONDS, RETRY_SECONDS_MAX)
            raise

    def _enter(self, peer: str, entry: _Peer, now: float, stream: bool, size: int) -> None:
        # Also a call that is refused takes its time.
        self._calls += 1
        spent = self._work.charge(peer, self._call_seconds)
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
        if spent:
            raise PeerOverLimit("others wait, and this host calls more often than they leave time for")

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


def name_host(peer: str) -> str:
    """The address of a peer, as a socket names it, without a zone: that of "ipv6:%5B::1%5D" is "::1"."""
    return unquote(peer.partition(":")[2]).strip("[]").partition("%")[0]
