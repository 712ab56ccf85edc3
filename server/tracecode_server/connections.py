"""What one peer may do with connections, which gRPC bounds only for all peers together.

gRPC accepts whoever comes and answers frames that are no calls (PING, SETTINGS, resets) as fast as they come.
So the process looks at its own sockets a few times a second and cuts connections of a peer that has too many,
or whose bytes are not calls, or that goes on calling after it was told to wait. A peer that is cut again and
again opens no new one for a while: a filter on the listening socket lets the system drop its greetings, which
costs us nothing. Linux only; where the system refuses the filter, connections are cut all the same.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import structlog

SCAN_SECONDS = 0.25
# Bytes of a peer that were no calls: so many a second pass, and so many at once, for large messages that are
# still on their way are among them.
IDLE_BYTES_PER_SECOND = 2 * 1024 * 1024
IDLE_BYTES_MAX = 32 * 1024 * 1024
# What a call's headers and frames take beside its messages.
CALL_BYTES = 1024
# Calls of a peer that were refused within two seconds or so: whoever heeds RetryInfo is far below.
REFUSED_MAX = 4_000
# For so long a peer that was cut opens no new connection.
BAN_SECONDS = 2.0
BANNED_MAX = 64
# struct tcp_info: where tcpi_bytes_received stands.
TCP_INFO_BYTES = 136
BYTES_RECEIVED_AT = 128
SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
# Classic BPF: load the source address of an IPv4 packet, compare, return.
LOAD_SOURCE = struct.pack("=HBBI", 0x20, 0, 0, 0x100000000 - 0x100000 + 12)
PASS = struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF)
DROP = struct.pack("=HBBI", 0x06, 0, 0, 0)


@dataclass(slots=True)
class _Account:
    # What it has sent in calls since the last scan, and how many calls were refused.
    call_bytes: int = 0
    refused: int = 0
    # Levels of leaking buckets.
    idle_level: float = 0.0
    refused_level: float = 0.0
    cut_level: float = 0.0


class Connections:
    """Looks after the connections to one port. Belongs to one event loop."""

    def __init__(
        self,
        port: int,
        peer_connections_max: int,
        log: structlog.typing.FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._port = port
        self._connections_max = peer_connections_max
        self._log = log
        self._clock = clock
        self._scanned_at = clock()
        self._accounts: defaultdict[str, _Account] = defaultdict(_Account)
        # By file descriptor and the peer's port: bytes received as of the last scan.
        self._received: dict[tuple[int, str, int], int] = {}
        self._banned: dict[str, float] = {}
        self._filtered: tuple[str, ...] = ()

    def count_call(self, host: str, size: int) -> None:
        """A call of this host came, or a message of a stream, of so many bytes."""
        self._accounts[host].call_bytes += size + CALL_BYTES

    def count_refusal(self, host: str) -> None:
        """A call of this host was told to come later."""
        self._accounts[host].refused += 1

    def scan(self) -> None:
        """Look at all sockets of this process; cut and ban as the module says."""
        now = self._clock()
        passed, self._scanned_at = now - self._scanned_at, now
        listeners: list[int] = []
        by_host: defaultdict[str, list[tuple[int, str, int]]] = defaultdict(list)
        received: dict[tuple[int, str, int], int] = {}
        for name in os.listdir("/proc/self/fd"):
            self._look(int(name), listeners, by_host, received)
        for host in self._accounts.keys() | by_host.keys():
            self._judge(host, by_host.get(host, []), received, passed, now)
        self._received = received
        self._filter(listeners, now)

    def _look(
        self,
        descriptor: int,
        listeners: list[int],
        by_host: defaultdict[str, list[tuple[int, str, int]]],
        received: dict[tuple[int, str, int], int],
    ) -> None:
        # gRPC may close the descriptor at any moment, and another connection take its number: what is then
        # cut in its place connects again.
        try:
            seen = socket.socket(fileno=descriptor)
        except OSError:
            return
        try:
            if seen.family not in (socket.AF_INET, socket.AF_INET6) or seen.type != socket.SOCK_STREAM:
                return
            if seen.getsockname()[1] != self._port:
                return
            if seen.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listeners.append(descriptor)
                return
            host, port = seen.getpeername()[:2]
            info = seen.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        except OSError:
            return
        finally:
            seen.detach()
        key = descriptor, str(host), int(port)
        received[key] = int.from_bytes(info[BYTES_RECEIVED_AT:TCP_INFO_BYTES], "little")
        by_host[key[1]].append(key)

    def _judge(
        self,
        host: str,
        connections: list[tuple[int, str, int]],
        received: dict[tuple[int, str, int], int],
        passed: float,
        now: float,
    ) -> None:
        account = self._accounts[host]
        came = sum(received[key] - self._received.get(key, 0) for key in connections)
        level = account.idle_level + came - account.call_bytes - passed * IDLE_BYTES_PER_SECOND
        account.idle_level = max(0.0, level)
        account.refused_level = max(0.0, account.refused_level + account.refused - passed * REFUSED_MAX / 2)
        account.call_bytes = account.refused = 0
        reason = ""
        # Those that were there before stay.
        over = sorted(connections, key=lambda key: key not in self._received)[self._connections_max :]
        if account.idle_level > IDLE_BYTES_MAX:
            reason, over = "bytes that are no calls", connections
            account.idle_level = 0.0
        elif account.refused_level > REFUSED_MAX:
            reason, over = "calls after it was told to wait", connections
            account.refused_level = 0.0
        elif over:
            reason = "too many connections"
        for descriptor, _, port in over:
            cut(descriptor, port)
        account.cut_level = max(0.0, account.cut_level + len(over) - passed * self._connections_max / 4)
        if reason and (len(over) == len(connections) or account.cut_level > self._connections_max):
            self._banned[host] = now + BAN_SECONDS
        if reason:
            self._log.warning("connections_cut", peer=host, connections=len(over), reason=reason)
        if not connections and not (account.idle_level or account.refused_level or account.cut_level):
            del self._accounts[host]

    def _filter(self, listeners: list[int], now: float) -> None:
        self._banned = {host: until for host, until in self._banned.items() if until > now}
        banned = tuple(host for host in self._banned if ":" not in host)[:BANNED_MAX]
        if banned == self._filtered:
            return
        self._filtered = banned
        for descriptor in listeners:
            refuse_connections(descriptor, banned)


def cut(descriptor: int, port: int) -> None:
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
