"""A connection of an attacker: HTTP/2 frames as one likes, from an address of one's choice.

No library sends what a broken client sends, so frames are made one by one and written as they are; what comes
back is only counted. Header blocks use no dynamic table in either direction: one that was
encoded once fits any stream, and statuses can be read without a decoder's state.
"""

from __future__ import annotations

import asyncio
import base64
import re
import struct
from collections import Counter
from collections.abc import Callable
from typing import cast

from google.rpc import error_details_pb2, status_pb2
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from hyperframe.frame import PingFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES_MAX = 16_384
LEDGER = "/tracecode.v1.LedgerService/"
# Names of frames' types that are counted when they come.
TYPES = {3: "RST_STREAM", 7: "GOAWAY"}
STATUS = re.compile(rb"grpc-status[\x01\x02](\d+)")


def encode_headers(path: str, *more: tuple[str, str]) -> bytes:
    """The header block of a gRPC call."""
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    ]
    return Encoder().encode([NeverIndexedHeaderTuple(*header) for header in headers], huffman=False)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Any frame."""
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def frame_message(message: bytes, *, compressed: bool = False) -> bytes:
    """A message as gRPC puts it into DATA."""
    return struct.pack(">BI", compressed, len(message)) + message


def write_headers(stream: int, block: bytes, *, end: bool = False) -> bytes:
    """HEADERS of a stream, with CONTINUATION where a block is too large for one frame."""
    parts = []
    for begin in range(0, len(block), FRAME_BYTES_MAX):
        part = block[begin : begin + FRAME_BYTES_MAX]
        flags = 4 * (begin + FRAME_BYTES_MAX >= len(block)) + (end and not begin)
        parts.append(frame(9 if begin else 1, flags, stream, part))
    return b"".join(parts)


def write_data(stream: int, body: bytes, *, end: bool = True) -> bytes:
    """DATA of a stream, cut into frames."""
    parts = []
    for begin in range(0, len(body) or 1, FRAME_BYTES_MAX):
        last = begin + FRAME_BYTES_MAX >= len(body)
        parts.append(frame(0, int(end and last), stream, body[begin : begin + FRAME_BYTES_MAX]))
    return b"".join(parts)


def write_reset(stream: int) -> bytes:
    """RST_STREAM: the caller gives up."""
    return RstStreamFrame(stream, error_code=8).serialize()


def write_ping() -> bytes:
    """PING."""
    return PingFrame(0, opaque_data=b"tracecod").serialize()


def write_settings(values: dict[int, int] | None = None) -> bytes:
    """SETTINGS."""
    return SettingsFrame(0, settings=values or {}).serialize()


def write_window(stream: int, size: int) -> bytes:
    """WINDOW_UPDATE."""
    return WindowUpdateFrame(stream, window_increment=size).serialize()


def read_retry_seconds(block: bytes) -> float:
    """When a refused caller may come back, as RetryInfo in the trailers of the answer says; 0 = not said."""
    trailers = dict(Decoder().decode(block))
    details = str(trailers.get("grpc-status-details-bin", ""))
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    for detail in status.details:
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return info.retry_delay.seconds + info.retry_delay.nanos / 1e9
    return 0.0


class RawConnection(asyncio.Protocol):
    """One connection: writes what it is told, and counts what comes back."""

    def __init__(
        self, seen: Counter[str], *, greets: bool = True, reads: bool = True, window: int = 2**24
    ) -> None:
        """Frames, ends and statuses are counted in `seen`; with `reads` false nothing is ever read."""
        self.seen = seen
        self.greets = greets
        self.reads = reads
        self.window = window
        self.open = False
        self.streams = -1
        # Called with the number of a stream whose answer has ended.
        self.on_answer: Callable[[int], None] = lambda _stream: None
        # Of the last answer.
        self.status = 0
        self.trailers = b""
        # What the server lets us send: of the connection, and at first of a stream.
        self.send_window = 65_535
        self.stream_window = 65_535
        self.writable = asyncio.Event()
        self.writable.set()
        self.settings_came = asyncio.Event()
        self._buffer = b""
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        self.transport = cast(asyncio.Transport, transport)
        self.open = True
        self.seen["connected"] += 1
        if not self.reads:
            transport.pause_reading()
        # Before anything is heard: the server's settings may come first, and what acknowledges them would
        # stand where the preface has to.
        if self.greets:
            self.greet()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the server closed it."""
        self.open = False
        self.seen["closed"] += 1
        self.writable.set()
        self.settings_came.set()
        self._changed.set()

    def pause_writing(self) -> None:
        """asyncio: the server does not read."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """asyncio: it reads again."""
        self.writable.set()

    def greet(self) -> None:
        """The preface, no dynamic table, and room for answers."""
        settings = write_settings({1: 0, 4: self.window})
        wider = write_window(0, self.window) if self.window else b""
        self.write(PREFACE + settings + wider)

    def write(self, data: bytes) -> None:
        """Send bytes, unless the connection is gone."""
        if self.open:
            self.transport.write(data)

    def next_stream(self) -> int:
        """The number of the next stream."""
        self.streams += 2
        return self.streams

    async def send_body(self, stream: int, body: bytes) -> None:
        """DATA as the server's window of the connection allows, in pieces; streams have a window as large."""
        at, stream_window = 0, self.stream_window
        while at < len(body) and self.open:
            room = min(self.send_window, FRAME_BYTES_MAX, len(body) - at)
            if room <= 0:
                self._changed.clear()
                await self._changed.wait()
                continue
            stream_window -= room
            self.send_window -= room
            self.write(write_data(stream, body[at : at + room], end=at + room == len(body)))
            at += room
            await self.writable.wait()

    def data_received(self, data: bytes) -> None:
        """asyncio: frames came."""
        buffer = self._buffer + data
        at, end = 0, len(buffer)
        while end - at >= 9:
            size = int.from_bytes(buffer[at : at + 3], "big")
            if end - at < 9 + size:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream = int.from_bytes(buffer[at + 5 : at + 9], "big") & 0x7FFFFFFF
            self._take(kind, flags, stream, buffer[at + 9 : at + 9 + size])
            at += 9 + size
        self._buffer = buffer[at:]

    def _take(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == 1:
            status = STATUS.search(body)
            if status is not None:
                self.status = int(status[1])
                self.trailers = body
                self.seen[f"status {self.status}"] += 1
                if b"grpc-status-details-bin" in body:
                    self.seen[f"details {self.status}"] += 1
            if flags & 1:
                self.on_answer(stream)
        elif kind == 0:
            if self.window and body:
                self.write(write_window(0, len(body)))
        elif kind == 4 and not flags & 1:
            for begin in range(0, len(body), 6):
                name, value = struct.unpack_from(">HI", body, begin)
                if name == 4:
                    self.stream_window = value
            self.write(frame(4, 1, 0, b""))
            self.settings_came.set()
        elif kind == 6 and not flags & 1:
            self.write(frame(6, 1, 0, body))
        elif kind == 8:
            if stream == 0:
                self.send_window += int.from_bytes(body, "big")
                self._changed.set()
        elif kind in TYPES:
            self.seen[TYPES[kind]] += 1
            if kind == 3:
                self.on_answer(stream)
