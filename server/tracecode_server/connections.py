"""What one peer may do with connections, which gRPC bounds only for all peers together.

gRPC accepts whoever comes, and answers frames that are no calls as fast as they come. So the process looks at
its own sockets some times a second. Of a peer that has too many connections it ends the newest: those that
were there before stay. A peer that goes on calling when it was told to wait, or whose bytes are no calls, is
put out: its connections are ended, and for some seconds a filter on the listening socket lets the system drop
its greetings, which costs us nothing. Who comes back to do the same is put out for longer. Linux only; where
the system refuses the filter, connections are ended all the same.
"""

from __future__ import annotations

import ctypes
import math
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from tracecode._native import list_connections

SCAN_SECONDS = 0.1
# Calls of a peer that were refused: so many a second pass, and so many at once. Callers who heed RetryInfo
# stay below it, however many they are, see limits.py; those that called before anybody could be told to wait
# are not counted, up to a bound; nor is a peer told to wait any more once it was not refused for a while.
REFUSED_PER_SECOND = 150
REFUSED_MAX = 200
# Of a host that was put out lately, without regard to who could have been told.
REFUSED_AGAIN_MAX = 40
TOLD_SECONDS = 0.5
UNTOLD_MAX = 2000
QUIET_SECONDS = 5.0
# What a call's headers and frames may take beside its messages, and a message's frames beside it.
CALL_BYTES = 1024
FRAMES_SHARE = 1.01
# Calls of all hosts of which nothing came but the headers: so many a second pass, and so many at once. Beyond
# that the host of most bytes that were no calls is put out, if they are so many: more than the bodies that
# others have on their way.
BODYLESS_PER_SECOND = 500
BODYLESS_MAX = 2000
BODYLESS_BYTES_MIN = 512 * 1024
# Bytes that were no calls are forgotten in so many seconds.
WASTE_SECONDS = 8.0
# Put out again within this time after it was let in: for twice as long as the last time.
MEMORY_SECONDS = 90.0
PUT_OUT_DOUBLINGS_MAX = 4
FILTERED_MAX = 64
SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
# Classic BPF: load the source address of an IPv4 packet, compare, return.
LOAD_SOURCE = struct.pack("=HBBI", 0x20, 0, 0, 0x100000000 - 0x100000 + 12)
PASS = struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF)
DROP = struct.pack("=HBBI", 0x06, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class _Connection:
    descriptor: int
    host: str
    port: int
    """The peer's."""


@dataclass(slots=True)
class _Calls:
    """What was counted of a host since it was first seen; written by the event loop alone."""

    bytes: int = 0
    refused: int = 0
    streams: int = 0
    # When it was first told to wait, and last.
    told_at: float = -math.inf
    # How many were refused since it was first told.
    untold: int = 0
    refused_at: float = -math.inf


@dataclass(slots=True)
class _Account:
    # Of `_Calls`, as of the last scan.
    bytes: int = 0
    refused: int = 0
    # Levels of leaking buckets; of the bytes that came all, and those that were no calls.
    came_level: float = 0.0
    waste_level: float = 0.0
    refused_level: float = 0.0
    ended_level: float = 0.0


@dataclass(slots=True)
class _Ban:
    until: float
    seconds: float


@dataclass(slots=True)
class _Seen:
    """What one scan finds."""

    listeners: list[int]
    by_host: defaultdict[str, list[_Connection]] = field(default_factory=lambda: defaultdict(list))
    read: dict[_Connection, int] = field(default_factory=dict)


class Connections:
    """Looks after the connections to one port. One scan at a time, in whatever thread."""

    def __init__(
        self,
        port: int,
        peer_connections_max: int,
        log: structlog.typing.FilteringBoundLogger,
        *,
        put_out_seconds: float = 0.0,
        waste_bytes_max: int = 16 * 2**20,
        message_bytes_max: int = 4 * 2**20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """With `put_out_seconds` 0 nobody is put out. `waste_bytes_max` are the bytes of a host that became
        no calls, besides a message for each of its streams."""
        self._port = port
        self._connections_max = peer_connections_max
        self._log = log
        self._put_out_seconds = put_out_seconds
        self._waste_bytes_max = waste_bytes_max
        self._message_bytes_max = message_bytes_max
        self._clock = clock
        self._stopped = threading.Event()
        self._scanned_at = clock()
        self._calls: defaultdict[str, _Calls] = defaultdict(_Calls)
        self._accounts: defaultdict[str, _Account] = defaultdict(_Account)
        # Calls that were opened and those that had their message, of all hosts; the event loop alone writes.
        self._opened = 0
        self._begun = 0
        # Of the difference, as of the last scan, and the level of its leaking bucket.
        self._bodyless = 0
        self._bodyless_level = 0.0
        # The host that is to blame for them.
        self._blamed = ""
        # Bytes read from each connection as of the last scan, which are those that were there before.
        self._read: dict[_Connection, int] = {}
        self._bans: dict[str, _Ban] = {}
        self._filtered: tuple[tuple[str, ...], tuple[int, ...]] = ((), ())

    def count_opened(self) -> None:
        """A call of somebody was opened; whose it is, is known when its message is there."""
        self._opened += 1

    def count_begun(self) -> None:
        """A call that was opened has its message, or needs none yet."""
        self._begun += 1

    def count_call(self, host: str, size: int) -> None:
        """A call of this host came, or a message of a stream, of so many bytes."""
        self._calls[host].bytes += int(size * FRAMES_SHARE) + CALL_BYTES

    def count_refusal(self, host: str) -> None:
        """A call of this host was told to come later."""
        calls, now = self._calls[host], self._clock()
        if now - calls.refused_at > QUIET_SECONDS:
            calls.told_at, calls.untold = now, 0
        calls.refused_at = now
        calls.untold += 1
        if now - calls.told_at >= TOLD_SECONDS or calls.untold > UNTOLD_MAX or host in self._bans:
            calls.refused += 1

    def count_stream(self, host: str, change: int) -> None:
        """So many more streams of this host are open."""
        self._calls[host].streams += change

    def watch(self) -> None:
        """Scan until `stop` is called; in a thread of its own, for the event loop is late when it matters."""
        failed = ""
        while not self._stopped.wait(SCAN_SECONDS):
            try:
                self.scan()
                failed = ""
            except Exception as error:
                # Without it we serve as before; that it is missing has to be seen, once.
                if failed != type(error).__name__:
                    failed = type(error).__name__
                    self._log.error("connections_not_watched", error=failed, message=str(error))

    def stop(self) -> None:
        """End `watch`."""
        self._stopped.set()

    def scan(self) -> None:
        """Look at all sockets of this process; end what is too much, put out who does too much."""
        now = self._clock()
        passed, self._scanned_at = now - self._scanned_at, now
        seen = self._look()
        self._blamed = self._find_bodyless(passed)
        for host in {*self._accounts, *seen.by_host, *list(self._calls)}:
            self._judge(host, seen, passed, now)
        self._read = seen.read
        self._filter(seen.listeners, now)

    def _look(self) -> _Seen:
        listeners, connections = list_connections(self._port)
        seen = _Seen(listeners)
        for descriptor, host, port, read in connections:
            connection = _Connection(descriptor, host, port)
            seen.read[connection] = read
            seen.by_host[host].append(connection)
        return seen

    def _find_bodyless(self, passed: float) -> str:
        """The host whose bytes are to blame for calls without a body, if there are too many."""
        bodyless = self._opened - self._begun
        came, self._bodyless = bodyless - self._bodyless, bodyless
        leaked = passed * BODYLESS_PER_SECOND
        self._bodyless_level = max(0.0, self._bodyless_level + came - leaked)
        if self._bodyless_level <= BODYLESS_MAX:
            return ""
        # A stream may have a message on its way, and who sends much that becomes calls has much on its way.
        excess = {
            host: account.waste_level - self._calls[host].streams * self._message_bytes_max
            for host, account in self._accounts.items()
            if account.waste_level > account.came_level / 2
        }
        host = max(excess, key=excess.__getitem__, default="")
        return host if excess.get(host, 0.0) > BODYLESS_BYTES_MIN else ""

    def _judge(self, host: str, seen: _Seen, passed: float, now: float) -> None:
        connections = seen.by_host.get(host, [])
        # Those that were there before stay.
        connections.sort(key=lambda connection: connection not in self._read)
        over = connections[self._connections_max :]
        account = self._accounts[host]
        reason = self._find_reason(host, account, seen, len(over), passed) if self._put_out_seconds else ""
        ban = self._bans.get(host)
        if reason and not (ban is not None and now < ban.until):
            again = ban is not None and now < ban.until + MEMORY_SECONDS
            longest = self._put_out_seconds * 2**PUT_OUT_DOUBLINGS_MAX
            seconds = min(2 * ban.seconds, longest) if ban is not None and again else self._put_out_seconds
            ban = self._bans[host] = _Ban(now + seconds, seconds)
            account.waste_level = account.refused_level = account.ended_level = 0.0
            self._log.warning(
                "peer_put_out", peer=host, connections=len(connections), reason=reason, seconds=seconds
            )
        if ban is not None and now < ban.until:
            over = connections
        elif over:
            self._log.warning("connections_ended", peer=host, connections=len(over))
        for connection in over:
            end(connection.descriptor, connection.port)
            seen.read.pop(connection, None)
        if not connections and not (account.waste_level or account.refused_level or account.ended_level):
            # Once the buckets are empty, forgetting them changes nothing.
            del self._accounts[host]
            if not self._calls[host].streams:
                del self._calls[host]

    def _find_reason(self, host: str, account: _Account, seen: _Seen, ended: int, passed: float) -> str:
        """Why this host is to be put out; empty if it is not."""
        calls = self._calls[host]
        called, account.bytes = calls.bytes - account.bytes, calls.bytes
        refused, account.refused = calls.refused - account.refused, calls.refused
        # Less than before is a new connection in the place of an old one.
        came = sum(max(0, seen.read[one] - self._read.get(one, 0)) for one in seen.by_host.get(host, ()))
        # What is on its way to become a call is read before it is counted as one: it is among the waste until
        # then, and never more than a message of each stream and what the host may send in a second.
        waste_max = self._waste_bytes_max + calls.streams * self._message_bytes_max
        leaked = passed * self._waste_bytes_max / WASTE_SECONDS
        account.came_level = max(0.0, account.came_level + came - leaked)
        account.waste_level = max(0.0, account.waste_level + came - called - leaked)
        account.refused_level = max(0.0, account.refused_level + refused - passed * REFUSED_PER_SECOND)
        account.ended_level = max(0.0, account.ended_level + ended - passed * self._connections_max / 4)
        if account.refused_level > (REFUSED_AGAIN_MAX if host in self._bans else REFUSED_MAX):
            return "calls after it was told to wait"
        if account.waste_level > waste_max:
            return "bytes that are no calls"
        if account.ended_level > self._connections_max:
            return "connections again and again"
        if host == self._blamed:
            self._bodyless_level = 0.0
            return "calls without a body"
        return ""

    def _filter(self, listeners: Iterable[int], now: float) -> None:
        self._bans = {host: ban for host, ban in self._bans.items() if now < ban.until + MEMORY_SECONDS}
        out = [host for host, ban in self._bans.items() if now < ban.until and ":" not in host]
        wanted = tuple(out[:FILTERED_MAX]), tuple(listeners)
        if wanted == self._filtered:
            return
        self._filtered = wanted
        for descriptor in wanted[1]:
            refuse_connections(descriptor, wanted[0])


def end(descriptor: int, port: int) -> None:
    """End a connection, if the descriptor is still that of the peer's port."""
    try:
        seen = socket.socket(fileno=descriptor)
    except OSError:
        return
    try:
        if seen.family in (socket.AF_INET, socket.AF_INET6) and seen.getpeername()[1] == port:
            seen.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        seen.detach()


def refuse_connections(descriptor: int, hosts: tuple[str, ...]) -> None:
    """Let the system drop what these hosts (IPv4) send to a listening socket; none = nobody's."""
    try:
        listener = socket.socket(fileno=descriptor)
    except OSError:
        return
    try:
        if not hosts:
            listener.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
            return
        compare = [
            # Equal: jump over the other comparisons and PASS.
            struct.pack("=HBBI", 0x15, len(hosts) - at, 0, int.from_bytes(socket.inet_aton(host), "big"))
            for at, host in enumerate(hosts)
        ]
        program = LOAD_SOURCE + b"".join(compare) + PASS + DROP
        buffer = ctypes.create_string_buffer(program, len(program))
        fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)
    except OSError:
        pass
    finally:
        listener.detach()
