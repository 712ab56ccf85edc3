"""Damaged messages to every method of a running service, many at once, and what its log then says."""

from __future__ import annotations

import asyncio
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tracecode_server.status import DOMAIN, TABLE
from wire import ENDLESS, METHODS, name_asker

from tracecode.v1 import ledger_service_pb2
from trust.messages import MARK, Messages

TIMEOUT_SECONDS = 60.0
STREAM_MESSAGES = (1, 5, 50, 150)
IMPORT_MESSAGES = (1, 1, 2, 5)
POOL_SIZE = 40
STATUS_LOST = "Internal error from Core"
"""What grpc.aio says, now and then, of a call that was refused while it still wrote: the client's own word
for a status it did not keep. An INTERNAL of the service stands in the service's log, which is looked at."""
# A service that is whole has no reason to say these.
BROKEN = {"DATA_LOSS", "ENGINE_STOPPED", "DRAINING"}
REASONS = {(row.code.name, row.reason) for row in TABLE.values() if row.reason not in BROKEN}
DOCUMENT_REASONS = {reason for _, reason in REASONS}
WHOLE_CODE = re.compile(r"[0-9]{20}")


@dataclass(slots=True)
class Tally:
    """What the calls came to."""

    tries: int = 0
    """Messages sent."""
    answers: Counter[str] = field(default_factory=Counter)
    """By status, or the reason in place of a document's verdict."""
    wrong: list[str] = field(default_factory=list)
    """Statuses that are not defined, each with its method."""
    methods: Counter[str] = field(default_factory=Counter)


class Caller:
    """Calls methods with damaged messages; about one in five is left whole."""

    def __init__(self, messages: Messages, tally: Tally) -> None:
        self._messages = messages
        self._tally = tally
        self._pools: dict[str, list[Message]] = {}

    def make(self, method: MethodDescriptor) -> bytes:
        """The next message for a method. Most are a used one damaged anew, which costs less than another."""
        pool = self._pools.setdefault(method.name, [])
        if len(pool) < POOL_SIZE or self._messages.pick(range(8)) == 0:
            message = self._messages.good(method)
            if len(pool) < POOL_SIZE:
                pool.append(message)
            else:
                pool[self._messages.pick(range(POOL_SIZE))] = message
        else:
            message = self._messages.pick(pool)
        return self._messages.damage(self._messages.copy(message))

    async def call(self, channel: grpc.aio.Channel, method: MethodDescriptor) -> None:
        """One call, unary or of a stream of messages."""
        path = f"/{method.containing_service.full_name}/{method.name}"
        counts = STREAM_MESSAGES if method.server_streaming else IMPORT_MESSAGES
        count = self._messages.pick(counts) if method.client_streaming else 1
        raws = [self.make(method) for _ in range(count)]
        self._tally.tries += count
        self._tally.methods[method.name] += count
        try:
            if not method.client_streaming and method.server_streaming:
                told = channel.unary_stream(path)(
                    raws[0], timeout=TIMEOUT_SECONDS, metadata=name_asker(method)
                )
                async for _ in told:
                    if method.name in ENDLESS:
                        told.cancel()
                        break
            elif not method.client_streaming:
                await channel.unary_unary(path)(raws[0], timeout=TIMEOUT_SECONDS, metadata=name_asker(method))
            elif not method.server_streaming:
                await channel.stream_unary(path)(_iterate(raws), timeout=TIMEOUT_SECONDS)
            else:
                answers = 0
                async for raw in channel.stream_stream(path)(_iterate(raws), timeout=TIMEOUT_SECONDS):
                    self._note_results(raw)
                    answers += 1
                if answers != count:
                    self._tally.wrong.append(f"{method.name}: {answers} answers to {count} messages")
        except grpc.aio.AioRpcError as error:
            if method.client_streaming and error.details() == STATUS_LOST:
                self._tally.answers["status lost"] += 1
            else:
                self._note_error(method.name, error)
        else:
            self._tally.answers["OK"] += 1

    def _note_results(self, raw: bytes) -> None:
        for result in ledger_service_pb2.RecordDocumentsResponse.FromString(raw).results:
            if result.WhichOneof("result") == "error":
                self._tally.answers[result.error.reason] += 1
                if result.error.reason not in DOCUMENT_REASONS or find_invisible(result.error.message):
                    self._tally.wrong.append(
                        f"RecordDocuments: {result.error.reason} {result.error.message!r}"
                    )

    def _note_error(self, name: str, error: grpc.aio.AioRpcError) -> None:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        info = error_details_pb2.ErrorInfo()
        for detail in status.details if status else ():
            detail.Unpack(info)
        told = (error.code().name, info.reason)
        self._tally.answers[info.reason or error.code().name] += 1
        if info.domain != DOMAIN or told not in REASONS or find_invisible(error.details() or ""):
            self._tally.wrong.append(f"{name}: {told} {error.details()!r}")


async def _iterate(raws: Iterable[bytes]) -> AsyncIterator[bytes]:
    for raw in raws:
        yield raw


async def call_all(address: str, messages: Messages, tries: int, at_once: int = 48) -> Tally:
    """Send at least so many damaged messages to all methods in turn, `at_once` calls on a few connections."""
    tally = Tally()
    caller = Caller(messages, tally)
    methods = [METHODS[name] for name in sorted(METHODS)]
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(4)
    ]

    turns = itertools.count()

    async def work(number: int) -> None:
        # One turn for all: however much the long streams take, each method comes as often as any other.
        while tally.tries < tries or len(tally.methods) < len(methods):
            await caller.call(channels[number % 4], methods[next(turns) % len(methods)])

    try:
        await asyncio.gather(*(work(number) for number in range(at_once)))
    finally:
        for channel in channels:
            await channel.close()
    return tally


def find_invisible(text: str) -> str:
    """The first character of a text that can make it look like another, or a terminal act."""
    return next((sign for sign in text if sign != " " and unicodedata.category(sign)[0] in "CZ"), "")


def find_leaks(lines: Iterable[dict[str, Any]]) -> list[str]:
    """What a log shows of its callers' input and must not: marks of hostile texts and persons, whole codes,
    control and direction signs; and every line that tells of something unexpected."""
    leaks = []
    for line in lines:
        for text in _list_texts(line):
            if find_invisible(text) or MARK in text or WHOLE_CODE.search(text):
                leaks.append(f"{line['event']}: {text!r}")
        if line["event"] == "call_failed" or line.get("level") in ("warning", "error", "critical"):
            leaks.append(repr(line))
    return leaks


def _list_texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield name
            yield from _list_texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _list_texts(part)
