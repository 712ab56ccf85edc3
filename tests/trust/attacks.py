"""What bad neighbours do to the service, each a coroutine; run as a program, one of them until told to stop.

    python -m trust.attacks NAME HOST:PORT SOURCE[,SOURCE...] [SCALE]

From loopback addresses of its own (the service's peer is the host), with the least priority of the machine,
until its standard input ends. Then it says on one line of JSON what came back.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

import uvloop
from wire import make_batch, make_sale

from tracecode.v1 import document_pb2, ledger_service_pb2
from trust.raw_http2 import (
    LEDGER,
    PREFACE,
    RawConnection,
    encode_headers,
    frame_message,
    read_retry_seconds,
    write_data,
    write_headers,
    write_ping,
    write_reset,
    write_settings,
)

# Those that are no attacks, and how long they wait for the last answers.
PATIENT = ("load_at_peak", "load_at_ten_times_peak", "busy_gateway")
PATIENCE_SECONDS = 3.0
MEBIBYTE = 1024 * 1024
# A code whose history the harness has made long.
LONG_CODE = "81234569999999999999"


def make_question(codes: Iterable[str]) -> bytes:
    """A VerifyCodesRequest."""
    questions = [ledger_service_pb2.CodeQuestion(code=code) for code in codes]
    return ledger_service_pb2.VerifyCodesRequest(
        institution_code="P37020304446", codes=questions
    ).SerializeToString()


STREAM_BLOCK = encode_headers(LEDGER + "RecordDocuments")
VERIFY_BLOCK = encode_headers(LEDGER + "VerifyCodes")
# Odd codes, which Python has to judge: what costs the service most for each byte.
ODD_QUESTION = make_question(f"8123456{n:013d}" for n in range(50))
SHORT_QUESTION = make_question(["81234560000000000001"])
LARGE_QUESTION = SHORT_QUESTION + SHORT_QUESTION[14:] * 170_000
HISTORY_QUESTION = ledger_service_pb2.ListCodeEventsRequest(
    code=LONG_CODE, page_size=1000
).SerializeToString()


class Attacker:
    """Opens connections from its addresses in turn, and knows what came back."""

    def __init__(self, address: str, sources: Iterable[str], scale: float) -> None:
        host, _, port = address.rpartition(":")
        self.host, self.port = host, int(port)
        self.sources = itertools.cycle(sources)
        self.scale = scale
        self.seen: Counter[str] = Counter()
        self.connections: list[RawConnection] = []
        # Told to stop: who is patient finishes what is under way.
        self.stopping = False

    def count(self, number: int) -> int:
        """So many, or fewer in the short form."""
        return max(1, round(number * self.scale))

    async def connect(self, *, greet: bool = True, reads: bool = True, window: int = 2**24) -> RawConnection:
        """A connection from the next address; it stays open until the end."""
        connection = RawConnection(self.seen, greets=greet, reads=reads, window=window)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(5):
                await loop.create_connection(
                    lambda: connection, self.host, self.port, local_addr=(next(self.sources), 0)
                )
        except OSError as error:
            self.seen[f"not connected: {type(error).__name__}"] += 1
            await asyncio.sleep(0.05)
        self.connections.append(connection)
        return connection

    async def reconnect(self, connection: RawConnection) -> RawConnection:
        """The same connection while it is open, else a new one."""
        if connection.open:
            return connection
        with contextlib.suppress(ValueError):
            self.connections.remove(connection)
        await asyncio.sleep(0.02)
        return await self.connect()

    async def each(self, number: int, act: Callable[[RawConnection], Awaitable[None]]) -> None:
        """Do the same on so many connections side by side, again wherever one was cut."""

        async def keep() -> None:
            connection = await self.connect()
            while not self.stopping:
                connection = await self.reconnect(connection)
                await act(connection)

        await asyncio.gather(*(keep() for _ in range(number)))


Attack = Callable[[Attacker], Awaitable[None]]
ATTACKS: dict[str, Attack] = {}


def attack(run: Attack) -> Attack:
    """Enters it by its name."""
    ATTACKS[run.__name__] = run
    return run


async def open_streams(attacker: Attacker, connections: int, streams: int, block: bytes) -> None:
    """HEADERS and nothing more, on so many connections, and again where they were cut."""

    async def act(connection: RawConnection) -> None:
        for number in range(streams):
            if not connection.open:
                return
            connection.write(write_headers(connection.next_stream(), block))
            if not number % 64:
                await asyncio.sleep(0)
                await connection.writable.wait()
        while connection.open:
            await asyncio.sleep(0.05)

    await attacker.each(connections, act)


@attack
async def bodyless_8(attacker: Attacker) -> None:
    """8 calls without a body on one connection."""
    await open_streams(attacker, 1, 8, VERIFY_BLOCK)


@attack
async def bodyless_100(attacker: Attacker) -> None:
    """100 calls without a body on one connection."""
    await open_streams(attacker, 1, 100, VERIFY_BLOCK)


@attack
async def bodyless_4000(attacker: Attacker) -> None:
    """4,000 calls without a body on one connection."""
    await open_streams(attacker, 1, 4000, VERIFY_BLOCK)


@attack
async def bodyless_200_connections(attacker: Attacker) -> None:
    """4,000 calls without a body on 200 connections, twenty on each."""
    await open_streams(attacker, 200, 20, VERIFY_BLOCK)


@attack
async def bodyless_4000_on_200_connections(attacker: Attacker) -> None:
    """4,000 calls without a body on each of 200 connections."""
    await open_streams(attacker, attacker.count(200), 4000, VERIFY_BLOCK)


@attack
async def idle_streams(attacker: Attacker) -> None:
    """Streams of documents on which nothing is ever sent: 100 on each of 40 connections."""
    await open_streams(attacker, 40, 100, STREAM_BLOCK)


@attack
async def idle_watches(attacker: Attacker) -> None:
    """Watchers of the health service: 100 on each of 40 connections."""
    block = encode_headers("/grpc.health.v1.Health/Watch")

    async def act(connection: RawConnection) -> None:
        for _ in range(100):
            stream = connection.next_stream()
            connection.write(write_headers(stream, block) + write_data(stream, frame_message(b"")))
        while connection.open:
            await asyncio.sleep(0.05)

    await attacker.each(40, act)


async def connect_only(attacker: Attacker, first_bytes: bytes, number: int) -> None:
    """Connections that say so much and nothing more; they are opened again where they are cut."""

    async def keep() -> None:
        while True:
            connection = await attacker.connect(greet=False)
            connection.write(first_bytes)
            while connection.open:
                await asyncio.sleep(0.05)
            attacker.connections.remove(connection)
            await asyncio.sleep(0.05)

    await asyncio.gather(*(keep() for _ in range(number)))


@attack
async def no_preface(attacker: Attacker) -> None:
    """1,500 connections that say nothing: more than a process may have files open by default."""
    await connect_only(attacker, b"", 1500)


@attack
async def half_preface(attacker: Attacker) -> None:
    """1,500 connections that stop in the middle of their greeting."""
    await connect_only(attacker, PREFACE[:12], 1500)


@attack
async def half_headers(attacker: Attacker) -> None:
    """100 connections with HEADERS that never end."""
    block = VERIFY_BLOCK
    headers = write_headers(1, block)
    await connect_only(attacker, PREFACE + write_settings() + headers[: len(headers) // 2], 100)


@attack
async def one_byte_a_second(attacker: Attacker) -> None:
    """60 connections with a call each, whose bytes come one a second."""
    body = write_data(1, frame_message(SHORT_QUESTION))

    async def act(connection: RawConnection) -> None:
        connection.write(write_headers(connection.next_stream(), VERIFY_BLOCK))
        for at in range(len(body)):
            if not connection.open:
                return
            connection.write(body[at : at + 1])
            await asyncio.sleep(1)

    await attacker.each(60, act)


@attack
async def slow_readers(attacker: Attacker) -> None:
    """Long histories asked for by those who never read, 100 calls on each of 20 connections."""
    block = encode_headers(LEDGER + "ListCodeEvents")
    body = frame_message(HISTORY_QUESTION)

    async def keep() -> None:
        while True:
            connection = await attacker.connect(window=0)
            for _ in range(100):
                stream = connection.next_stream()
                connection.write(write_headers(stream, block) + write_data(stream, body))
            while connection.open:
                await asyncio.sleep(0.05)

    await asyncio.gather(*(keep() for _ in range(20)))


@attack
async def rapid_resets(attacker: Attacker) -> None:
    """Calls that are given up in the same breath, as fast as they are taken, on 10 connections."""
    body = frame_message(SHORT_QUESTION)

    async def act(connection: RawConnection) -> None:
        while connection.open:
            out = []
            for _ in range(50):
                stream = connection.next_stream()
                out += [write_headers(stream, VERIFY_BLOCK), write_data(stream, body), write_reset(stream)]
                attacker.seen["resets"] += 1
            connection.write(b"".join(out))
            await connection.writable.wait()
            await asyncio.sleep(0)

    await attacker.each(10, act)


@attack
async def pings(attacker: Attacker) -> None:
    """PINGs as fast as they are taken, on 10 connections."""
    burst = write_ping() * 100

    async def act(connection: RawConnection) -> None:
        while connection.open:
            connection.write(burst)
            attacker.seen["pings"] += 100
            await connection.writable.wait()
            await asyncio.sleep(0)

    await attacker.each(10, act)


@attack
async def settings(attacker: Attacker) -> None:
    """SETTINGS as fast as they are taken, on 10 connections."""
    burst = write_settings({3: 100, 4: 65_535}) * 100

    async def act(connection: RawConnection) -> None:
        while connection.open:
            connection.write(burst)
            attacker.seen["settings"] += 100
            await connection.writable.wait()
            await asyncio.sleep(0)

    await attacker.each(10, act)


async def send_messages(
    attacker: Attacker,
    connections: int,
    method: str,
    message: bytes,
    *more: tuple[str, str],
    streams: int = 8,
    patient: bool = False,
) -> None:
    """The same call again and again, several at once on each connection; `patient` ones heed RetryInfo."""
    block = encode_headers(LEDGER + method, *more)
    body = frame_message(message, compressed=bool(more))

    async def act(connection: RawConnection) -> None:
        await connection.settings_came.wait()
        answered: dict[int, asyncio.Future[float]] = {}

        def hear(stream: int) -> None:
            waiting = answered.get(stream)
            if waiting is not None and not waiting.done():
                refused = patient and connection.status == 8
                waiting.set_result(read_retry_seconds(connection.trailers) if refused else 0.0)

        connection.on_answer = hear

        async def call() -> None:
            while connection.open and not attacker.stopping:
                stream = connection.next_stream()
                answer = answered[stream] = asyncio.get_running_loop().create_future()
                connection.write(write_headers(stream, block))
                if len(body) <= 16_384:
                    connection.send_window -= len(body)
                    connection.write(write_data(stream, body))
                else:
                    await connection.send_body(stream, body)
                attacker.seen["sent"] += 1
                wait = 0.0
                with contextlib.suppress(TimeoutError):
                    # A patient caller waits as long as a till does, others call again.
                    async with asyncio.timeout(10 if patient else 1):
                        wait = await answer
                del answered[stream]
                if wait:
                    await asyncio.sleep(wait * random.uniform(1, 1.5))

        await asyncio.gather(*(call() for _ in range(streams)))

    await attacker.each(connections, act)


@attack
async def large_messages(attacker: Attacker) -> None:
    """Messages of almost 4 MiB, each of 190,000 codes, 8 at once on 8 connections."""
    await send_messages(attacker, 8, "VerifyCodes", LARGE_QUESTION)


@attack
async def too_large_messages(attacker: Attacker) -> None:
    """Messages of 5 MiB, 8 at once on 8 connections."""
    await send_messages(attacker, 8, "VerifyCodes", b"\x0a" + bytes(5 * MEBIBYTE))


@attack
async def gzip_bombs(attacker: Attacker) -> None:
    """Messages of 100 MiB that gzip made small, 8 at once on 8 connections."""
    bomb = gzip.compress(bytes(100 * MEBIBYTE))
    await send_messages(attacker, 8, "VerifyCodes", bomb, ("grpc-encoding", "gzip"))


@attack
async def small_gzip_bombs(attacker: Attacker) -> None:
    """Messages of almost 4 MiB that gzip made small, 32 at once on 8 connections."""
    bomb = gzip.compress(LARGE_QUESTION)
    await send_messages(attacker, 8, "VerifyCodes", bomb, ("grpc-encoding", "gzip"), streams=32)


@attack
async def large_metadata(attacker: Attacker) -> None:
    """64 KiB of metadata with each call, on 10 connections."""
    block = encode_headers(LEDGER + "VerifyCodes", *((f"x-{n}", "v" * 8000) for n in range(8)))
    body = write_data

    async def act(connection: RawConnection) -> None:
        while connection.open:
            for _ in range(10):
                stream = connection.next_stream()
                connection.write(write_headers(stream, block) + body(stream, frame_message(SHORT_QUESTION)))
                attacker.seen["sent"] += 1
            await connection.writable.wait()
            await asyncio.sleep(0.005)

    await attacker.each(10, act)


@attack
async def connection_churn(attacker: Attacker) -> None:
    """Connections that greet and go, 50 at a time, as fast as they can."""

    async def keep() -> None:
        while True:
            connection = await attacker.connect()
            await connection.settings_came.wait()
            if connection.open:
                connection.transport.abort()
            attacker.connections.remove(connection)

    await asyncio.gather(*(keep() for _ in range(50)))


@attack
async def questions_flood(attacker: Attacker) -> None:
    """Honest-looking questions, 1,600 at once on 32 connections."""
    await send_messages(attacker, 32, "VerifyCodes", SHORT_QUESTION, streams=50)


@attack
async def load_at_peak(attacker: Attacker) -> None:
    """Honest load: 32 patient callers on 4 connections."""
    await send_messages(attacker, 4, "VerifyCodes", SHORT_QUESTION, streams=8, patient=True)


@attack
async def load_at_ten_times_peak(attacker: Attacker) -> None:
    """Ten times as many callers, who wait where they are told to."""
    await send_messages(attacker, 40, "VerifyCodes", SHORT_QUESTION, streams=8, patient=True)


@attack
async def busy_gateway(attacker: Attacker) -> None:
    """No attack: 64 calls in flight on 4 connections of a gateway that waits when it is told to."""
    await send_messages(attacker, 4, "VerifyCodes", SHORT_QUESTION, streams=16, patient=True)


@attack
async def odd_questions_flood(attacker: Attacker) -> None:
    """Questions of 50 odd codes, which Python judges, 64 at once on 8 connections."""
    await send_messages(attacker, 8, "VerifyCodes", ODD_QUESTION)


@attack
async def histories_flood(attacker: Attacker) -> None:
    """Long histories, 400 at once on 8 connections."""
    await send_messages(attacker, 8, "ListCodeEvents", HISTORY_QUESTION, streams=50)


@attack
async def documents_flood(attacker: Attacker) -> None:
    """Streams full of documents that Python has to judge, 4 on each of 8 connections."""
    numbers = itertools.count()

    async def act(connection: RawConnection) -> None:
        await connection.settings_came.wait()

        async def stream_documents() -> None:
            stream = connection.next_stream()
            ended = asyncio.Event()
            before = connection.on_answer
            connection.on_answer = lambda number: (before(number), ended.set() if number == stream else None)[
                0
            ]
            connection.write(write_headers(stream, STREAM_BLOCK))
            while connection.open and not ended.is_set():
                documents = [
                    make_sale(
                        LONG_CODE, f"F{os.getpid()}-{next(numbers)}", stage=document_pb2.SALE_STAGE_REPORTED
                    )
                    for _ in range(20)
                ]
                body = frame_message(make_batch(*documents).SerializeToString())
                await send_part(connection, stream, body)
                attacker.seen["documents"] += len(documents)
            await asyncio.sleep(0.05)

        await asyncio.gather(*(stream_documents() for _ in range(4)))

    await attacker.each(8, act)


async def send_part(connection: RawConnection, stream: int, body: bytes) -> None:
    """DATA of a stream that goes on, as far as the connection's window allows."""
    while connection.open and connection.send_window < len(body):
        await asyncio.sleep(0.01)
    connection.send_window -= len(body)
    connection.write(write_data(stream, body, end=False))
    await connection.writable.wait()
    await asyncio.sleep(0.001)


async def run(name: str, address: str, sources: list[str], scale: float) -> None:
    """The attack until standard input ends; then what came back, on one line."""
    random.seed(1)
    attacker = Attacker(address, sources, scale)
    stop = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    begin = time.monotonic()
    attacking = asyncio.create_task(ATTACKS[name](attacker))  # type: ignore[arg-type]
    print("attacking", flush=True)
    await asyncio.wait({asyncio.ensure_future(stop), attacking}, return_when=asyncio.FIRST_COMPLETED)
    error, seconds, seen = "", time.monotonic() - begin, dict(attacker.seen)
    if attacking.done():
        error = repr(attacking.exception())
    attacker.stopping = True
    if name in PATIENT:
        await asyncio.wait({attacking}, timeout=PATIENCE_SECONDS)
    attacking.cancel()
    open_now = sum(connection.open for connection in attacker.connections)
    for connection in attacker.connections:
        if connection.open:
            connection.transport.abort()
    said = {
        "seconds": seconds,
        "open": open_now,
        "seen": seen,
        "error": error,
    }
    print(json.dumps(said), flush=True)
    await stop


def main() -> None:
    """See the module."""
    os.nice(10)
    name, address, sources = sys.argv[1:4]
    scale = float(sys.argv[4]) if len(sys.argv) > 4 else 1.0
    uvloop.run(run(name, address, sources.split(","), scale))


if __name__ == "__main__":
    main()
