"""What a peer may do with connections: real sockets, looked after as those of the service are."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator

import pytest
from tracecode_server.connections import Connections
from tracecode_server.log import build_log

ATTACKER = "127.0.0.2"
HONEST = "127.0.0.1"
CONNECTIONS_MAX = 3


class Port:
    """A listening port with connections to it."""

    def __init__(self) -> None:
        self.listener = socket.create_server((HONEST, 0), backlog=64)
        self.number: int = self.listener.getsockname()[1]
        self.log = io.StringIO()
        self.connections = Connections(self.number, CONNECTIONS_MAX, build_log("info", self.log))
        self.accepted: list[socket.socket] = []
        self.clients: list[socket.socket] = []

    def connect(self, host: str) -> socket.socket:
        """A connection from this host."""
        client = socket.socket()
        self.clients.append(client)
        client.settimeout(0.3)
        client.bind((host, 0))
        client.connect((HONEST, self.number))
        self.accepted.append(self.listener.accept()[0])
        return client

    def ended(self) -> list[tuple[str, int]]:
        """What the log says was ended."""
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [(line["peer"], line["connections"]) for line in lines]

    def close(self) -> None:
        """Give up all sockets."""
        for one in (self.listener, *self.accepted, *self.clients):
            one.close()


@pytest.fixture
def port() -> Iterator[Port]:
    """A port of its own."""
    made = Port()
    yield made
    made.close()


def is_ended(client: socket.socket) -> bool:
    """Whether the other end has closed it."""
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False


def test_connections_beyond_a_peers_allowance_are_ended_and_the_first_ones_stay(port: Port) -> None:
    """Pins that the newest go, and that another host's are not touched."""
    first = [port.connect(ATTACKER) for _ in range(CONNECTIONS_MAX)]
    port.connections.scan()
    late = [port.connect(ATTACKER) for _ in range(2)]
    honest = port.connect(HONEST)

    port.connections.scan()

    assert [is_ended(one) for one in (*first, honest, *late)] == [False] * 4 + [True] * 2
    assert port.ended() == [(ATTACKER, 2)]
