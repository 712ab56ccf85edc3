"""The edge process's end of the link: services that ask the engine's process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from google.protobuf.descriptor import MethodDescriptor

from tracecode.errors import Overloaded
from tracecode.fair_share import FairShare
from tracecode_server import link
from tracecode_server.link import Link, Stream, write_call
from tracecode_server.method import ASKER, PEER, SERVICES, from_bytes
from tracecode_server.status import Refused, read_refusal

# What may be on the way to the engine's process or wait for its answer, streams' messages aside: those are
# bounded by each stream. Beyond it the edge pushes back on the peers that have more than their share.
OPEN_CALLS_MAX = 4_096
OPEN_BYTES_MAX = 64 * 1024 * 1024


class EngineLink(Link):
    """Asks for answers. Raises Refused with what the engine's process says, Overloaded before asking."""

    def __init__(self, on_tell: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(on_tell)
        self._numbers = itertools.count(1)
        self._futures: dict[int, asyncio.Future[bytes]] = {}
        self._streams: dict[int, Stream] = {}
        self._calls = FairShare(OPEN_CALLS_MAX)
        self._bytes = FairShare(OPEN_BYTES_MAX)

    async def ask(self, method: int, request: bytes) -> bytes:
        """The response to a request."""
        peer = PEER.get()
        self._enter(peer, len(request))
        number = next(self._numbers)
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._futures[number] = future
        self.write(link.CALL, number, write_call(method, peer, request, ASKER.get("")))
        try:
            return await future
        except asyncio.CancelledError:
            self.write(link.CANCEL, number)
            raise
        finally:
            del self._futures[number]
            self._leave(peer, len(request))

    async def gather(self, method: int, messages: AsyncIterator[bytes]) -> bytes:
        """The one response to a stream of messages."""
        (response,) = [response async for response in self.converse(method, messages)]
        return response

    async def converse(self, method: int, messages: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """The stream of responses to a stream of messages."""
        peer = PEER.get()
        self._enter(peer, 0)
        number = next(self._numbers)
        stream = self._streams[number] = Stream(self, number)
        self.write(link.CALL, number, write_call(method, peer, b"", ASKER.get("")))
        sender = asyncio.create_task(self._send(number, stream, messages))
        try:
            async for response in stream:
                yield response
        finally:
            del self._streams[number]
            self._leave(peer, 0)
            sender.cancel()
            # To a call that has ended it means nothing.
            self.write(link.CANCEL, number)

    def take(self, kind: int, number: int, body: bytes) -> None:
        """A record of the engine's process. One to a call that was given up is for nobody."""
        future = self._futures.get(number)
        if future is not None:
            if future.done():
                return
            if kind == link.ANSWER:
                future.set_result(body)
            else:
                future.set_exception(Refused(read_refusal(body)))
            return
        stream = self._streams.get(number)
        if stream is None:
            return
        if kind == link.MESSAGE:
            stream.put(body)
        elif kind == link.TAKEN:
            stream.give_room(body)
        elif kind == link.REFUSAL:
            stream.put(Refused(read_refusal(body)))
        else:
            if kind == link.ANSWER:
                stream.put(body)
            stream.put(None)

    def _enter(self, peer: str, size: int) -> None:
        if self._calls.take(peer, 1):
            if self._bytes.take(peer, size):
                return
            self._calls.give_back(peer, 1)
        raise Overloaded(f"{self._calls.total} calls are waiting for the ledger; send it again in a second")

    def _leave(self, peer: str, size: int) -> None:
        self._calls.give_back(peer, 1)
        self._bytes.give_back(peer, size)

    async def _send(self, number: int, stream: Stream, messages: AsyncIterator[bytes]) -> None:
        try:
            async for message in messages:
                await stream.send(message)
        except Exception as error:
            stream.put(error)
            return
        self.write(link.END, number)


class RemoteService:
    """A service of the contract that asks the engine's process for every answer."""

    def __init__(self, methods: dict[str, Callable[[Any], Any]]) -> None:
        """`methods` has the answer to each method by the method's name."""
        self.__dict__.update(methods)


def build_services(engine: EngineLink) -> dict[str, object]:
    """The services of the contract by their full names. Methods go by their number in the contract."""
    numbers = itertools.count()
    return {
        descriptor.full_name: RemoteService(
            {method.name: _ask(engine, next(numbers), method) for method in descriptor.methods}
        )
        for descriptor in SERVICES
    }


def _ask(engine: EngineLink, number: int, method: MethodDescriptor) -> Callable[[Any], Any]:
    if method.server_streaming:

        def converse(messages: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
            return engine.converse(number, messages)

        # Its one request too travels as it came.
        converse.__dict__["from_bytes"] = True
        return converse
    if method.client_streaming:

        async def gather(messages: AsyncIterator[bytes]) -> bytes:
            return await engine.gather(number, messages)

        return from_bytes(gather)

    def ask(request: bytes) -> Awaitable[bytes]:
        return engine.ask(number, request)

    return from_bytes(ask)
