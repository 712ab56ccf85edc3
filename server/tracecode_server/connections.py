"""How many connections one peer may have, which gRPC bounds only for all peers together.

gRPC accepts whoever comes. So the process looks at its own sockets a few times a second, and of a peer that
has too many it ends the newest: those that were there before stay. Linux only.
"""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from dataclasses import dataclass

import structlog

SCAN_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class _Connection:
    descriptor: int
    host: str
    port: int
    """The peer's."""


class Connections:
    """Looks after the connections to one port. One scan at a time, in whatever thread."""

    def __init__(
        self, port: int, peer_connections_max: int, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._port = port
        self._connections_max = peer_connections_max
        self._log = log
        self._known: set[_Connection] = set()

    def scan(self) -> None:
        """Look at all sockets of this process; end what is too much."""
        by_host: defaultdict[str, list[_Connection]] = defaultdict(list)
        for name in os.listdir("/proc/self/fd"):
            connection = self._find_connection(int(name))
            if connection is not None:
                by_host[connection.host].append(connection)
        for host, connections in by_host.items():
            # Those that were there before stay.
            connections.sort(key=lambda connection: connection not in self._known)
            over = connections[self._connections_max :]
            for connection in over:
                end(connection.descriptor, connection.port)
            if over:
                self._log.warning("connections_ended", peer=host, connections=len(over))
        self._known = {
            connection
            for connections in by_host.values()
            for connection in connections[: self._connections_max]
        }

    def _find_connection(self, descriptor: int) -> _Connection | None:
        # gRPC may close the descriptor at any moment, and another connection take its number: what is then
        # ended in its place connects again.
        try:
            seen = socket.socket(fileno=descriptor)
        except OSError:
            return None
        try:
            if seen.family not in (socket.AF_INET, socket.AF_INET6) or seen.type != socket.SOCK_STREAM:
                return None
            if seen.getsockname()[1] != self._port:
                return None
            # A listening socket has no peer.
            host, port = seen.getpeername()[:2]
        except OSError:
            return None
        finally:
            seen.detach()
        return _Connection(descriptor, str(host), int(port))


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
