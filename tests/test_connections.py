"""What a peer may do with connections: real sockets, looked after as those of the service are."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator

import pytest
from tracecode_server import connections
from tracecode_server.connections import BAN_SECONDS, IDLE_BYTES_MAX, REFUSED_MAX, Connections
from tracecode_server.log import build_log

ATTACKER = "127.0.0.2"
HONEST = "127.0.0.1"
CONNECTIONS_MAX = 3


class Port:
    """A listening port with connections to it, and a clock that stands."""

    def __init__(self) -> None:
        self.listener = socket.create_server((HONEST, 0), backlog=64)
        self.number: int = self.listener.getsockname()[1]
        self.now = 100.0
        self.log = io.StringIO()
        self.connections = Connections(
            self.number, CONNECTIONS_MAX, build_log("info", self.log), clock=lambda: self.now
        )
        self.accepted: list[socket.socket] = []
        self.clients: list[socket.socket] = []

    def connect(self, host: str) -> socket.socket:
        """A connection from this host. Raises TimeoutError when nobody hears."""
        client = socket.socket()
        self.clients.append(client)
        client.settimeout(0.3)
        client.bind((host, 0))
        client.connect((HONEST, self.number))
        self.accepted.append(self.listener.accept()[0])
        return client

    def scan(self, passed_seconds: float = 0.25) -> None:
        """Look, some time later."""
        self.now += passed_seconds
        self.connections.scan()

    def reasons(self) -> list[tuple[str, int, str]]:
        """What the log says was cut."""
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [(line["peer"], line["connections"], line["reason"]) for line in lines]

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


def is_cut(client: socket.socket) -> bool:
    """Whether the other end has closed it."""
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False


def test_connections_beyond_a_peers_allowance_are_cut_and_the_first_ones_stay(port: Port) -> None:
    """Pins that the newest go, and that another host's are not touched."""
    first = [port.connect(ATTACKER) for _ in range(CONNECTIONS_MAX)]
    port.scan()
    late = [port.connect(ATTACKER) for _ in range(2)]
    honest = port.connect(HONEST)

    port.scan()

    assert [is_cut(one) for one in (*first, honest, *late)] == [False] * 4 + [True] * 2
    assert port.reasons() == [(ATTACKER, 2, "too many connections")]


def test_who_comes_again_and_again_is_not_heard_for_a_while(port: Port) -> None:
    """Pins that the system drops its greetings, those of no other host, and only for some time."""
    for _ in range(2 * CONNECTIONS_MAX + 1):
        port.connect(ATTACKER)
    port.scan()

    for one in port.accepted:
        one.close()

    with pytest.raises(TimeoutError):
        port.connect(ATTACKER)
    port.connect(HONEST)
    port.scan(BAN_SECONDS)
    port.scan(BAN_SECONDS)

    port.connect(ATTACKER)


def test_bytes_that_are_no_calls_end_a_peers_connections(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins that what came in calls does not count, and what did not does."""
    monkeypatch.setattr(connections, "IDLE_BYTES_MAX", 100_000)
    monkeypatch.setattr(connections, "IDLE_BYTES_PER_SECOND", 1000)
    honest, attacker = port.connect(HONEST), port.connect(ATTACKER)
    for _ in range(3):
        for client, taken in zip((honest, attacker), port.accepted, strict=True):
            client.sendall(bytes(50_000))
            while taken.recv(65_536, socket.MSG_DONTWAIT) and not taken.recv(0):
                break
        port.connections.count_call(HONEST, 50_000)
        port.scan()

    assert IDLE_BYTES_MAX > 4 * 4 * 1024 * 1024
    assert [is_cut(honest), is_cut(attacker)] == [False, True]
    assert port.reasons() == [(ATTACKER, 1, "bytes that are no calls")]


def test_who_goes_on_calling_after_a_refusal_is_cut(port: Port) -> None:
    """Pins that so many refusals in little time are needed, and that they are forgotten."""
    attacker = port.connect(ATTACKER)
    for _ in range(REFUSED_MAX):
        port.connections.count_refusal(ATTACKER)
    port.scan()
    assert not is_cut(attacker)

    for _ in range(REFUSED_MAX):
        port.connections.count_refusal(ATTACKER)
    port.scan()

    assert is_cut(attacker)
    assert port.reasons() == [(ATTACKER, 1, "calls after it was told to wait")]


def test_hosts_that_went_away_are_forgotten(port: Port) -> None:
    """Pins that what is known of hosts does not grow without end."""
    for number in range(50):
        port.connections.count_call(f"127.0.1.{number}", 100)
    port.connect(ATTACKER).close()
    port.accepted[0].close()

    port.scan()

    assert not port.connections._accounts
