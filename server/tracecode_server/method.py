"""How a call is taken: admitted, parsed, answered, timed, and logged when it fails.

Handlers are registered for raw bytes, because gRPC answers INTERNAL to bytes that its own deserializer
cannot parse, and malformed bytes are the caller's fault. The services see messages and raise errors; here
is the one place where an error becomes a status.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from tracecode.errors import DataLoss, EngineStopped
from tracecode.v1 import (
    case_service_pb2,
    catalogue_service_pb2,
    consumer_service_pb2,
    finding_service_pb2,
    history_service_pb2,
    inspection_service_pb2,
    ledger_service_pb2,
    proof_service_pb2,
    report_service_pb2,
    rule_base_service_pb2,
    screening_service_pb2,
)
from tracecode_server.call_figures import CallFigures
from tracecode_server.connections import Connections
from tracecode_server.errors import Draining, MessageMalformed
from tracecode_server.limits import PeerLimits, name_host, name_peer
from tracecode_server.status import refuse, to_grpc_status

Request = TypeVar("Request", bound=Message)
Answerer = TypeVar("Answerer", bound=Callable[..., Awaitable[bytes] | AsyncGenerator[bytes, None]])
Context = grpc.aio.ServicerContext[bytes, bytes]

# The contract.
SERVICES: tuple[ServiceDescriptor, ...] = (
    ledger_service_pb2.DESCRIPTOR.services_by_name["LedgerService"],
    catalogue_service_pb2.DESCRIPTOR.services_by_name["CatalogueService"],
    consumer_service_pb2.DESCRIPTOR.services_by_name["ConsumerService"],
    rule_base_service_pb2.DESCRIPTOR.services_by_name["RuleBaseService"],
    case_service_pb2.DESCRIPTOR.services_by_name["CaseService"],
    inspection_service_pb2.DESCRIPTOR.services_by_name["InspectionService"],
    screening_service_pb2.DESCRIPTOR.services_by_name["ScreeningService"],
    proof_service_pb2.DESCRIPTOR.services_by_name["ProofService"],
    history_service_pb2.DESCRIPTOR.services_by_name["HistoryService"],
    finding_service_pb2.DESCRIPTOR.services_by_name["FindingService"],
    report_service_pb2.DESCRIPTOR.services_by_name["ReportService"],
)

# A peer over its limits is told each time; the log is told so often.
REFUSAL_LOG_SECONDS = 1.0
# Connections of which it is remembered whose they are: a text that gRPC makes anew for each call.
CALLERS_MAX = 4_096

# The host whose call is being answered, for those behind the services who ask.
PEER: ContextVar[str] = ContextVar("PEER")
# Who asks and why, as he says, with a zero byte between; empty where the call has no such metadata. Set for
# the methods that let nobody look unnamed, and for those of tills by which a regulator looks, too.
ASKER: ContextVar[str] = ContextVar("ASKER")
NAMED_SERVICES = ("HistoryService", "FindingService", "ReportService")
NAMED_METHODS = frozenset(
    method.full_name
    for service in SERVICES
    for method in service.methods
    if service.name in NAMED_SERVICES
    or (service.name == "CaseService" and method.name in ("OpenCase", "ListComplaints"))
    or (
        service.name == "LedgerService"
        and method.name in ("GetCode", "ListCodeEvents", "GetDocument", "ListStock")
    )
)
ACTOR_KEY, REASON_KEY = "tracecode-actor", "tracecode-reason"
ASKER_BYTES_MAX = 8_000


def parse(message_class: type[Request], raw: bytes) -> Request:
    """The message in the bytes. Raises MessageMalformed."""
    try:
        return message_class.FromString(raw)
    except DecodeError:
        # Its text is about the parser's state and may quote bytes; the name is what helps.
        raise MessageMalformed(message_class.DESCRIPTOR.full_name) from None


def read_asker(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Who asks and why, from percent-encoded metadata; empty without. What is no text is nobody."""
    told = dict.fromkeys((ACTOR_KEY, REASON_KEY), "")
    named = False
    for key, value in metadata:
        if key not in told:
            continue
        named = True
        if isinstance(value, str):
            told[key] = unquote(value, errors="replace")[:ASKER_BYTES_MAX].replace("\0", "\ufffd")
    return f"{told[ACTOR_KEY]}\0{told[REASON_KEY]}" if named else ""


def from_bytes(answer: Answerer) -> Answerer:
    """Marks a method with one response that takes bytes, or an iterator of them, and returns bytes.

    For the methods that a till waits for: what it sends is usually plain and answered without a message
    object.
    """
    answer.__dict__["from_bytes"] = True
    return answer


@dataclass(frozen=True, slots=True)
class _Caller:
    """Whose connection it is: the host as gRPC names a peer, and as a socket names it."""

    peer: str
    host: str


@dataclass(slots=True)
class _Call:
    method: str
    peer: str
    host: str
    stream: bool
    begin_seconds: float
    admitted: bool = False
    # What it ends with when nobody says otherwise: the client gave up or its deadline passed.
    code: str = "CANCELLED"


class _Handlers(grpc.GenericRpcHandler):
    """Finds a method's handler, and says that a call was opened before its message is waited for."""

    def __init__(
        self, handlers: Mapping[str, grpc.RpcMethodHandler[bytes, bytes]], tell: Callable[[], None]
    ) -> None:
        """`handlers` by what gRPC calls a method: "/", the service's full name, "/", the method's name."""
        self._handlers = handlers
        self._tell = tell

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        handler = self._handlers.get(handler_call_details.method)
        if handler is not None:
            self._tell()
        return handler


class Methods:
    """Builds the handlers of the services and knows what is in flight. Belongs to one event loop."""

    def __init__(
        self,
        limits: PeerLimits,
        calls: CallFigures,
        log: structlog.typing.FilteringBoundLogger,
        on_engine_stopped: Callable[[], None],
    ) -> None:
        """`on_engine_stopped` is called when the ledger says that it cannot go on."""
        self._limits = limits
        self._calls = calls
        self._log = log
        self._on_engine_stopped = on_engine_stopped
        self._callers: dict[str, _Caller] = {}
        self._failure_told = ""
        self._open = 0
        self._draining = False
        # Told what each peer sends, once somebody looks after the connections.
        self.connections: Connections | None = None
        # Refusals of peers over their limits since one was logged, and when that was.
        self._refusals_unlogged = 0
        self._refusal_logged_at = 0.0
        self._idle = asyncio.Event()
        self._idle.set()

    def build(self, descriptor: ServiceDescriptor, service: object) -> grpc.GenericRpcHandler:
        """Handlers for every method of the descriptor, answered as `answer_bytes` says."""
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
        for method in descriptor.methods:
            answer = answer_bytes(method, service)
            path = f"/{descriptor.full_name}/{method.name}"
            if method.server_streaming:
                handlers[path] = grpc.stream_stream_rpc_method_handler(self._converse(method, answer))
            elif method.client_streaming:
                handlers[path] = grpc.stream_unary_rpc_method_handler(self._gather(method, answer))
            else:
                handlers[path] = grpc.unary_unary_rpc_method_handler(self._unary(method, answer))
        return _Handlers(handlers, self._open_call)

    def _open_call(self) -> None:
        if self.connections is not None:
            self.connections.count_opened()

    def drain(self) -> None:
        """From now on every new call is answered UNAVAILABLE."""
        self._draining = True

    async def wait_idle(self) -> None:
        """Returns when the last call in flight was answered."""
        await self._idle.wait()

    def _unary(
        self, method: MethodDescriptor, answer: Callable[[bytes], Awaitable[bytes]]
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        name = method.full_name

        async def take(raw: bytes, context: Context) -> bytes:
            call = self._begin(name, context, stream=False)
            try:
                self._admit(call, len(raw))
                response = await answer(raw)
                call.code = "OK"
                return response
            except Exception as error:
                await self._refuse(call, context, error)
                raise

        return take

    def _gather(
        self, method: MethodDescriptor, answer: Callable[[AsyncIterator[bytes]], Awaitable[bytes]]
    ) -> Callable[[AsyncIterator[bytes], Context], Awaitable[bytes]]:
        name = method.full_name

        async def take(messages: AsyncIterator[bytes], context: Context) -> bytes:
            call = self._begin(name, context, stream=True)
            try:
                self._admit(call)
                response = await answer(self._count_messages(call, messages))
                call.code = "OK"
                return response
            except Exception as error:
                await self._refuse(call, context, error)
                raise

        return take

    def _converse(
        self,
        method: MethodDescriptor,
        answer: Callable[[AsyncIterator[bytes]], AsyncGenerator[bytes, None]],
    ) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]:
        async def take(messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            call = self._begin(method.full_name, context, stream=True)
            try:
                self._admit(call)
                async with aclosing(answer(self._count_messages(call, messages))) as responses:
                    async for response in responses:
                        yield response
                call.code = "OK"
            except Exception as error:
                await self._refuse(call, context, error)

        return take

    def _begin(self, method: str, context: Context, *, stream: bool) -> _Call:
        begin_seconds = time.perf_counter()
        caller = self._find_caller(context.peer())
        PEER.set(caller.peer)
        if method in NAMED_METHODS:
            ASKER.set(read_asker(context.invocation_metadata() or ()))
        if self.connections is not None:
            self.connections.count_begun()
        call = _Call(method, caller.peer, caller.host, stream, begin_seconds)
        if not self._open:
            self._idle.clear()
        self._open += 1
        self._calls.in_flight = self._open
        # gRPC calls back when the status is sent: a slow reader holds its place until then.
        context.add_done_callback(lambda _context: self._end(call))  # type: ignore[arg-type]
        return call

    def _find_caller(self, name: str) -> _Caller:
        caller = self._callers.get(name)
        if caller is None:
            if len(self._callers) >= CALLERS_MAX:
                self._callers.clear()
            caller = self._callers[name] = _Caller(name_peer(name), name_host(name_peer(name)))
        return caller

    def _admit(self, call: _Call, size: int = 0) -> None:
        if self._draining:
            raise Draining("the service is stopping; send the same again")
        if self.connections is not None:
            self.connections.count_call(call.host, size)
        self._limits.enter(call.peer, stream=call.stream, size=size)
        call.admitted = True
        if call.stream and self.connections is not None:
            self.connections.count_stream(call.host, 1)

    async def _count_messages(self, call: _Call, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for message in messages:
            if self.connections is not None:
                self.connections.count_call(call.host, len(message))
            yield message

    def _end(self, call: _Call) -> None:
        if call.admitted:
            self._limits.leave(call.peer, stream=call.stream)
            if call.stream and self.connections is not None:
                self.connections.count_stream(call.host, -1)
        if call.code == "CANCELLED" and not call.stream and self.connections is not None:
            # One that was given up costs as much as one that is refused.
            self.connections.count_refusal(call.host)
        self._calls.observe(call.method, call.code, time.perf_counter() - call.begin_seconds)
        self._open -= 1
        self._calls.in_flight = self._open
        if not self._open:
            self._idle.set()

    def _is_logged(self, code: grpc.StatusCode) -> bool:
        """Whether a refusal is worth a line: of a flood one a second is, which says how many there were."""
        if code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            return True
        now = time.monotonic()
        if now - self._refusal_logged_at < REFUSAL_LOG_SECONDS:
            self._refusals_unlogged += 1
            return False
        self._refusal_logged_at = now
        return True

    async def _refuse(self, call: _Call, context: Context, error: Exception) -> None:
        refusal = refuse(error)
        call.code = refusal.row.code.name
        if refusal.row.code is grpc.StatusCode.RESOURCE_EXHAUSTED and self.connections is not None:
            self.connections.count_refusal(call.host)
        if refusal.incident_id:
            self._log.error(
                "call_failed",
                incident_id=refusal.incident_id,
                method=call.method,
                peer=call.peer,
                error=refusal.error,
                frames=list(refusal.frames),
            )
        elif self._is_logged(refusal.row.code):
            self._log.info(
                "call_refused",
                method=call.method,
                peer=call.peer,
                code=call.code,
                reason=refusal.row.reason,
                field=refusal.field,
                unlogged=self._refusals_unlogged,
            )
            self._refusals_unlogged = 0
        if isinstance(error, EngineStopped | DataLoss) and refusal.message != self._failure_told:
            # Which file it is, and what to do about it, an operator must not have to ask a client.
            self._failure_told = refusal.message
            self._log.error("ledger_failed", error=type(error).__name__, message=refusal.message)
        if isinstance(error, EngineStopped):
            self._on_engine_stopped()
        await context.abort_with_status(to_grpc_status(refusal))


def answer_bytes(method: MethodDescriptor, service: object) -> Callable[[Any], Any]:
    """The service's answer to a method, bytes for bytes. The service has a method of the same name.

    A unary method takes a message and returns one; a method with a stream of requests and one response takes
    an async iterator of messages. Either may be marked `from_bytes`. A method with one request and a stream
    of responses takes a message and gives an iterator of them. A method with two streams takes and gives an
    iterator of bytes, so that it may answer a malformed message and go on.
    """
    answer: Callable[[Any], Any] = getattr(service, method.name)
    if getattr(answer, "from_bytes", False):
        return answer
    if method.server_streaming:
        return answer if method.client_streaming else _parse_one(method, answer)
    return _parse_each(method, answer) if method.client_streaming else _parse_first(method, answer)


def _parse_first(
    method: MethodDescriptor, answer: Callable[[Message], Awaitable[Message]]
) -> Callable[[bytes], Awaitable[bytes]]:
    request_class = GetMessageClass(method.input_type)

    async def parse_and_answer(raw: bytes) -> bytes:
        return (await answer(parse(request_class, raw))).SerializeToString()

    return parse_and_answer


def _parse_one(
    method: MethodDescriptor, answer: Callable[[Message], AsyncGenerator[Message, None]]
) -> Callable[[AsyncIterator[bytes]], AsyncGenerator[bytes, None]]:
    request_class = GetMessageClass(method.input_type)

    async def parse_and_answer(messages: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        # A client that ends its stream without a request has sent bytes that are none.
        raw = await anext(aiter(messages), None)
        if raw is None:
            raise MessageMalformed(method.input_type.full_name)
        async with aclosing(answer(parse(request_class, raw))) as responses:
            async for response in responses:
                yield response.SerializeToString()

    return parse_and_answer


def _parse_each(
    method: MethodDescriptor, answer: Callable[[AsyncIterator[Message]], Awaitable[Message]]
) -> Callable[[AsyncIterator[bytes]], Awaitable[bytes]]:
    request_class = GetMessageClass(method.input_type)

    async def parse_and_answer(messages: AsyncIterator[bytes]) -> bytes:
        response = await answer(parse(request_class, raw) async for raw in messages)
        return response.SerializeToString()

    return parse_and_answer
