"""Between an edge process and the engine's: calls as bytes, over one Unix socket.

What is written within one turn of the event loop leaves in one piece, so under load one system call carries
the calls or answers of many: nothing waits for company, and there is nothing to tune. A record is its size,
the number of its call, its kind, and its bytes.
"""

from __future__ import annotations

import asyncio
import json
import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, cast

HEADER = struct.Struct("<IQB")

# Kinds of records. The engine's process answers a call with ANSWER or REFUSAL, or, where the answers are a
# stream, with MESSAGEs and END.
CALL = 1  # A method's number and a peer, see `write_call`; the request, if it is no stream.
CANCEL = 2  # Nobody waits for this call's answer any more.
ANSWER = 3
REFUSAL = 4  # As `status.write_refusal` writes it.
MESSAGE = 5  # Of a stream, in either direction.
END = 6  # No message of the stream follows.
TAKEN = 7  # So many bytes of the stream's messages are done with over there.
TELL = 8  # Between the processes themselves: JSON, of no call.

# What one side of a stream may be ahead of the other; one message may always be on the way.
AHEAD_BYTES_MAX = 256 * 1024
# An empty message takes room, too.
MESSAGE_BYTES_MIN = 64

COUNT = struct.Struct("<Q")
# Of a CALL: its method, and how long the peer and the asker are.
CALL_HEADER = struct.Struct("<BBH")
ASKER_BYTES_MAX = 2**16 - 1


class Link(asyncio.Protocol, ABC):
    """One end. Belongs to one event loop."""

    def __init__(self, on_tell: Callable[[dict[str, Any]], None]) -> None:
        """`on_tell` is called with what the other process tells of itself."""
        # Called when the other process is gone.
        self.on_lost: Callable[[], None] = lambda: None
        self._on_tell = on_tell
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._in: list[bytes] = []
        self._in_bytes = 0
        self._in_bytes_wanted = HEADER.size

    def tell(self, **told: Any) -> None:
        """Tell the other process."""
        self.write(TELL, 0, json.dumps(told).encode())

    def write(self, kind: int, number: int, body: bytes = b"") -> None:
        """Send a record. To a link that is lost it goes nowhere."""
        out = self._out
        if not out:
            self._loop.call_soon(self._flush)
        out.append(HEADER.pack(len(body), number, kind))
        if body:
            out.append(body)

    def close(self) -> None:
        """End the link once all is sent."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    @abstractmethod
    def take(self, kind: int, number: int, body: bytes) -> None:
        """A record came."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the link is there."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the other process is gone, or its end was closed."""
        self._transport = None
        self.on_lost()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        self._in.append(data)
        self._in_bytes += len(data)
        if self._in_bytes < self._in_bytes_wanted:
            return
        buffer = data if len(self._in) == 1 else b"".join(self._in)
        at = 0
        left = len(buffer)
        wanted = HEADER.size
        while left >= HEADER.size:
            size, number, kind = HEADER.unpack_from(buffer, at)
            wanted = HEADER.size + size
            if left < wanted:
                break
            body = buffer[at + HEADER.size : at + wanted]
            at += wanted
            left -= wanted
            wanted = HEADER.size
            if kind == TELL:
                self._on_tell(json.loads(body))
            else:
                self.take(kind, number, body)
        self._in = [buffer[at:]] if left else []
        self._in_bytes = left
        self._in_bytes_wanted = wanted

    def _flush(self) -> None:
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
        self._out.clear()


class Stream:
    """One end of a call whose messages cross the link one by one.

    Iterating gives the messages that come. What was given is done with when the next is asked for; until
    then it counts as what the other end is ahead, and the other end waits when that is too much.
    """

    def __init__(self, link: Link, number: int) -> None:
        self._link = link
        self._number = number
        self._ahead = 0
        self._done_with = 0
        self._came: deque[bytes | Exception | None] = deque()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    async def send(self, message: bytes) -> None:
        """Send a message, once the other end has done with enough of those before."""
        size = max(len(message), MESSAGE_BYTES_MIN)
        while self._ahead and self._ahead + size > AHEAD_BYTES_MAX:
            self._room.clear()
            await self._room.wait()
        self._ahead += size
        self._link.write(MESSAGE, self._number, message)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        if self._done_with:
            self._link.write(TAKEN, self._number, COUNT.pack(self._done_with))
            self._done_with = 0
        while not self._came:
            self._changed.clear()
            await self._changed.wait()
        came = self._came.popleft()
        if isinstance(came, bytes):
            self._done_with = max(len(came), MESSAGE_BYTES_MIN)
            return came
        # Whoever asks again is told the same.
        self._came.appendleft(came)
        if came is None:
            raise StopAsyncIteration
        raise came

    def put(self, came: bytes | Exception | None) -> None:
        """A message came, or the error that ends them, or None after the last."""
        self._came.append(came)
        self._changed.set()

    def give_room(self, body: bytes) -> None:
        """The other end says what it has done with."""
        self._ahead -= COUNT.unpack(body)[0]
        self._room.set()


def write_call(method: int, peer: str, request: bytes, asker: str = "") -> bytes:
    """The body of a CALL."""
    host = peer.encode()[:255]
    who = asker.encode(errors="replace")[:ASKER_BYTES_MAX]
    return CALL_HEADER.pack(method, len(host), len(who)) + host + who + request


def read_call(body: bytes) -> tuple[int, str, bytes, str]:
    """Method, peer, request and asker of a CALL."""
    method, host_size, who_size = CALL_HEADER.unpack_from(body)
    who = CALL_HEADER.size + host_size
    begin = who + who_size
    host = body[CALL_HEADER.size : who].decode(errors="replace")
    return method, host, body[begin:], body[who:begin].decode(errors="replace")
