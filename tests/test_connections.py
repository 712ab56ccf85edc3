"""What a peer may do with connections: real sockets, looked after as those of the service are."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator

import pytest
from tracecode_server.connections import (
    BODYLESS_BYTES_MIN,
    BODYLESS_MAX,
    MEMORY_SECONDS,
    PUT_OUT_DOUBLINGS_MAX,
    REFUSED_AGAIN_MAX,
    REFUSED_MAX,
    SCAN_SECONDS,
    TOLD_SECONDS,
    Connections,
)
from tracecode_server.log import build_log

ATTACKER = "127.0.0.2"
HONEST = "127.0.0.1"
CONNECTIONS_MAX = 3
PUT_OUT_SECONDS = 5.0
MESSAGE_BYTES_MAX = 100_000
WASTE_BYTES_MAX = 200_000


class Port:
    """A listening port with connections to it, and a clock that stands."""

    def __init__(
        self, put_out_seconds: float = PUT_OUT_SECONDS, waste_bytes_max: int = WASTE_BYTES_MAX
    ) -> None:
        # As gRPC listens: one socket for both families.
        self.listener = socket.create_server(
            ("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64
        )
        self.number: int = self.listener.getsockname()[1]
        self.now = 100.0
        self.log = io.StringIO()
        self.connections = Connections(
            self.number,
            CONNECTIONS_MAX,
            build_log("info", self.log),
            put_out_seconds=put_out_seconds,
            waste_bytes_max=waste_bytes_max,
            message_bytes_max=MESSAGE_BYTES_MAX,
            clock=lambda: self.now,
        )
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

    def scan(self, passed_seconds: float = SCAN_SECONDS) -> None:
        """Look, some time later."""
        self.now += passed_seconds
        self.connections.scan()

    def send(self, client: socket.socket, size: int) -> None:
        """So many bytes of this client are read here."""
        taken = self.accepted[self.clients.index(client)]
        client.sendall(bytes(size))
        while size:
            size -= len(taken.recv(size))

    def refuse(self, host: str, calls: int, told_seconds: float = TOLD_SECONDS) -> None:
        """So many calls of this host were told to come later, so long after the first one was."""
        self.connections.count_refusal(host)
        self.now += told_seconds
        for _ in range(calls):
            self.connections.count_refusal(host)

    def ended(self) -> list[tuple[str, int]]:
        """What the log says was ended."""
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [(line["peer"], line["connections"]) for line in lines]

    def put_out(self) -> list[tuple[str, str, float]]:
        """Who the log says was put out, why, and for how long."""
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [
            (line["peer"], line["reason"], line["seconds"])
            for line in lines
            if line["event"] == "peer_put_out"
        ]

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


@pytest.fixture
def roomy() -> Iterator[Port]:
    """A port where the waste alone puts nobody out."""
    made = Port(waste_bytes_max=8 * BODYLESS_BYTES_MIN)
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


def test_who_calls_on_after_a_refusal_is_put_out_and_let_in_again(port: Port) -> None:
    """Pins that the system drops its greetings, those of no other host, and only for some time."""
    attacker, honest = port.connect(ATTACKER), port.connect(HONEST)
    port.refuse(ATTACKER, 2 * REFUSED_MAX)

    port.scan()

    assert (is_ended(attacker), is_ended(honest)) == (True, False)
    assert port.put_out() == [(ATTACKER, "calls after it was told to wait", PUT_OUT_SECONDS)]
    with pytest.raises(TimeoutError):
        port.connect(ATTACKER)
    port.connect(HONEST)
    port.scan(PUT_OUT_SECONDS)
    assert not is_ended(port.connect(ATTACKER))


def test_who_does_it_again_is_put_out_for_longer(port: Port) -> None:
    """Pins that the time doubles up to a bound, and that it is forgotten who behaves for a while."""
    seconds = PUT_OUT_SECONDS
    for _ in range(PUT_OUT_DOUBLINGS_MAX + 2):
        port.refuse(ATTACKER, 2 * REFUSED_MAX)
        port.scan()
        port.scan(16 * PUT_OUT_SECONDS + 1)
    times = [put_out[2] for put_out in port.put_out()]
    port.scan(MEMORY_SECONDS)
    port.refuse(ATTACKER, 2 * REFUSED_MAX)
    port.scan()

    assert times == [min(seconds * 2**n, 16 * seconds) for n in range(PUT_OUT_DOUBLINGS_MAX + 2)]
    assert port.put_out()[-1][2] == PUT_OUT_SECONDS


def test_who_was_put_out_lately_is_put_out_sooner(port: Port) -> None:
    """Pins that a flood that comes back is known for one at once."""
    port.refuse(ATTACKER, 2 * REFUSED_MAX)
    port.scan()
    port.scan(PUT_OUT_SECONDS)
    port.refuse(ATTACKER, 2 * REFUSED_AGAIN_MAX, told_seconds=0.0)

    port.scan()

    assert [put_out[2] for put_out in port.put_out()] == [PUT_OUT_SECONDS, 2 * PUT_OUT_SECONDS]


def test_who_heeds_what_it_is_told_is_never_put_out(port: Port) -> None:
    """Pins that a hundred refusals a second, what many patient callers of one host get, are no reason, nor
    any number of calls before the first was told to wait."""
    client = port.connect(HONEST)
    port.refuse(HONEST, 2000, told_seconds=0.0)
    for _ in range(600):
        port.refuse(HONEST, 10, told_seconds=0.0)
        port.scan()

    assert not is_ended(client)
    assert not port.put_out()


def test_bytes_that_are_no_calls_put_a_host_out(port: Port) -> None:
    """Pins that what became calls does not count, what is not read yet does not, and what else came does."""
    honest, slow, attacker = port.connect(HONEST), port.connect("127.0.0.3"), port.connect(ATTACKER)
    slow.sendall(bytes(2 * WASTE_BYTES_MAX))
    for _ in range(5):
        port.send(honest, 50_000)
        port.connections.count_call(HONEST, 50_000)
        port.send(attacker, 50_000)
        port.scan()

    assert [is_ended(one) for one in (honest, slow, attacker)] == [False, False, True]
    assert port.put_out() == [(ATTACKER, "bytes that are no calls", PUT_OUT_SECONDS)]


def test_large_messages_of_streams_that_are_on_their_way_are_no_waste(port: Port) -> None:
    """Pins that each open stream may have a message that was read and has not become a call yet."""
    client = port.connect(HONEST)
    for _ in range(3):
        port.connections.count_stream(HONEST, 1)
    for _ in range(20):
        port.send(client, 450_000)
        port.scan()
        port.connections.count_call(HONEST, 450_000)
        port.scan()

    assert not is_ended(client)
    for _ in range(3):
        port.connections.count_stream(HONEST, -1)
    port.send(client, 450_000)
    port.scan()
    assert is_ended(client)


def test_calls_without_a_body_put_the_host_out_that_sends_what_becomes_no_calls(roomy: Port) -> None:
    """Pins that too many are laid to whose bytes are most of the waste, beyond what others send."""
    honest, attacker = roomy.connect(HONEST), roomy.connect(ATTACKER)
    for _ in range(2 * BODYLESS_MAX):
        roomy.connections.count_opened()
    roomy.scan()
    for _ in range(BODYLESS_MAX):
        roomy.connections.count_opened()
    assert not roomy.put_out()
    for _ in range(30):
        # More is on its way than the attacker sends, and four times as much has become calls.
        roomy.send(honest, 5 * BODYLESS_BYTES_MIN // 20)
        roomy.connections.count_call(HONEST, 4 * BODYLESS_BYTES_MIN // 20)
        roomy.send(attacker, BODYLESS_BYTES_MIN // 22)

    roomy.scan()
    roomy.scan()

    assert (is_ended(honest), is_ended(attacker)) == (False, True)
    assert roomy.put_out() == [(ATTACKER, "calls without a body", PUT_OUT_SECONDS)]


def test_calls_that_have_their_message_are_no_reason(roomy: Port) -> None:
    """Pins that any number of whole calls is fine, whatever other bytes there are."""
    client = roomy.connect(HONEST)
    for _ in range(5):
        for _ in range(2 * BODYLESS_MAX):
            roomy.connections.count_opened()
            roomy.connections.count_begun()
        for _ in range(4):
            roomy.send(client, BODYLESS_BYTES_MIN // 10)
        roomy.scan()

    assert not is_ended(client)


def test_connections_again_and_again_put_a_host_out(port: Port) -> None:
    """Pins that who opens more than it may, and again when they are ended, is not heard for a while."""
    for _ in range(3 * CONNECTIONS_MAX):
        port.connect(ATTACKER)

    port.scan()

    assert port.put_out() == [(ATTACKER, "connections again and again", PUT_OUT_SECONDS)]


def test_nobody_is_put_out_where_the_operator_says_so() -> None:
    """Pins the setting of those who stand behind a proxy, from whose one address everybody comes."""
    port = Port(put_out_seconds=0.0)
    try:
        client = port.connect(ATTACKER)
        port.refuse(ATTACKER, 10 * REFUSED_MAX)
        port.send(client, 10 * WASTE_BYTES_MAX)

        port.scan()

        assert not is_ended(client)
    finally:
        port.close()


def test_hosts_that_went_away_are_forgotten(port: Port) -> None:
    """Pins that what is known of hosts does not grow without end."""
    for number in range(50):
        port.connections.count_call(f"127.0.1.{number}", 100)

    port.scan()

    assert not port.connections._accounts
    assert not port.connections._calls
