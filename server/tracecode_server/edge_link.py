"""The engine process's end of a link: what an edge process asks, the services answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any

from tracecode.errors import EngineStopped
from tracecode_server import link
from tracecode_server.errors import Draining
from tracecode_server.limits import PeerLimits
from tracecode_server.link import Link, Stream, read_call
from tracecode_server.method import ASKER, PEER, SERVICES, answer_bytes
from tracecode_server.status import refuse, write_refusal

Answer = Callable[[Any], Any]


class Desk:
    """Where the calls of all edges come together. Belongs to one event loop."""

    def __init__(
        self, services: Mapping[str, object], limits: PeerLimits, on_engine_stopped: Callable[[], None]
    ) -> None:
        """`limits` are over all edges; each edge holds every peer to the same, too."""
        self.answers: list[Answer] = []
        self.streaming: list[bool] = []
        self.server_streaming: list[bool] = []
        for descriptor in SERVICES:
            for method in descriptor.methods:
                self.answers.append(answer_bytes(method, services[descriptor.full_name]))
                # A stream either way is one on the link.
                self.streaming.append(method.client_streaming or method.server_streaming)
                self.server_streaming.append(method.server_streaming)
        self.draining = False
        self.limits = limits
        self.on_engine_stopped = on_engine_stopped


class EdgeLink(Link):
    """Answers the calls of one edge process, and gives up those that it gives up, or leaves behind."""

    def __init__(self, desk: Desk, on_tell: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(on_tell)
        self._desk = desk
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._streams: dict[int, Stream] = {}

    def take(self, kind: int, number: int, body: bytes) -> None:
        """A record of the edge."""
        if kind == link.CALL:
            method, peer, request, asker = read_call(body)
            answer: Coroutine[Any, Any, None]
            if self._desk.streaming[method]:
                stream = self._streams[number] = Stream(self, number)
                answer = self._converse(number, method, peer, stream, asker)
            else:
                answer = self._answer(number, method, peer, request, asker)
            self._tasks[number] = self._loop.create_task(answer)
            return
        if kind == link.CANCEL:
            task = self._tasks.pop(number, None)
            self._streams.pop(number, None)
            if task is not None:
                task.cancel()
            return
        stream_ = self._streams.get(number)
        if stream_ is None:
            return
        if kind == link.MESSAGE:
            stream_.put(body)
        elif kind == link.TAKEN:
            stream_.give_room(body)
        else:
            stream_.put(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the edge is gone, and with it those who asked."""
        super().connection_lost(exc)
        for task in self._tasks.values():
            task.cancel()

    def pause_writing(self) -> None:
        """asyncio: the edge does not read its answers. It is not read from either."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """asyncio: the edge has read most of its answers."""
        if self._transport is not None:
            self._transport.resume_reading()

    async def _answer(self, number: int, method: int, peer: str, request: bytes, asker: str) -> None:
        admitted = False
        try:
            PEER.set(peer)
            ASKER.set(asker)
            self._admit(peer, stream=False, size=len(request))
            admitted = True
            self.write(link.ANSWER, number, await self._desk.answers[method](request))
        except Exception as error:
            self._refuse(number, error)
        finally:
            self._tasks.pop(number, None)
            if admitted:
                self._desk.limits.leave(peer, stream=False)

    async def _converse(self, number: int, method: int, peer: str, stream: Stream, asker: str) -> None:
        admitted = False
        answer = self._desk.answers[method]
        try:
            PEER.set(peer)
            ASKER.set(asker)
            self._admit(peer, stream=True)
            admitted = True
            if self._desk.server_streaming[method]:
                async with aclosing(answer(stream)) as responses:
                    async for response in responses:
                        await stream.send(response)
                self.write(link.END, number)
            else:
                self.write(link.ANSWER, number, await answer(stream))
        except Exception as error:
            self._refuse(number, error)
        finally:
            self._tasks.pop(number, None)
            self._streams.pop(number, None)
            if admitted:
                self._desk.limits.leave(peer, stream=True)

    def _admit(self, peer: str, *, stream: bool, size: int = 0) -> None:
        if self._desk.draining:
            raise Draining("the service is stopping; send the same again")
        self._desk.limits.enter(peer, stream=stream, size=size)

    def _refuse(self, number: int, error: Exception) -> None:
        self.write(link.REFUSAL, number, write_refusal(refuse(error)))
        if isinstance(error, EngineStopped):
            self._desk.on_engine_stopped()
