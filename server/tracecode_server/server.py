"""The service as a process: start, listen, drain, stop.

`Edge` is the running service inside an event loop; `serve` is the whole process around it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import grpc
import structlog
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tracecode.errors import RuleBaseInvalid, TracecodeError
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.rule_base import RuleBase, RuleBaseFile
from tracecode.v1 import catalogue_service_pb2, ledger_service_pb2
from tracecode_server.catalogue_service import CatalogueService
from tracecode_server.ledger_service import LedgerService
from tracecode_server.limits import PeerLimits
from tracecode_server.log import LibraryLog, build_log
from tracecode_server.method import Methods
from tracecode_server.metrics import Metrics
from tracecode_server.read_pool import ReadPool
from tracecode_server.settings import Settings, split_address

LEDGER_SERVICE = ledger_service_pb2.DESCRIPTOR.services_by_name["LedgerService"]
CATALOGUE_SERVICE = catalogue_service_pb2.DESCRIPTOR.services_by_name["CatalogueService"]
# What a watcher of the health service may take to hear that we are going, before we go anyway.
HEALTH_NOTICE_SECONDS = 1.0
# What answers may take to leave after the last call has finished.
ANSWERS_OUT_SECONDS = 2.0
# A connection that has not finished its HTTP/2 greeting by then is closed.
HANDSHAKE_SECONDS = 5.0
METADATA_BYTES_MAX = 8 * 1024
RULE_BASE_POLL_SECONDS = 1.0


class Edge:
    """The gRPC service over an open ledger. Belongs to the event loop that starts it."""

    def __init__(
        self, ledger: Ledger, settings: Settings, log: structlog.typing.FilteringBoundLogger | None = None
    ) -> None:
        """The ledger stays the caller's: draining the edge does not close it. The log goes to stderr."""
        self.address = ""
        self.metrics_address = ""
        # Set when the ledger says that it cannot go on; the process should then end and be restarted.
        self.engine_stopped = asyncio.Event()
        self._settings = settings
        self._log = log if log is not None else build_log(settings.log_level, sys.stderr)
        self._reads = ReadPool(settings.read_threads)
        self._metrics = Metrics(ledger)
        self._methods = Methods(
            PeerLimits(
                settings.peer_calls_max, settings.peer_streams_max, settings.peer_calls_per_second_max
            ),
            self._metrics,
            self._log,
            self.engine_stopped.set,
        )
        self._ledger_service = LedgerService(
            ledger, self._reads, self._metrics, settings.stream_documents_max, settings.stream_bytes_max
        )
        self._catalogue_service = CatalogueService(ledger, self._reads)
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=list_options(settings))

    async def start(self) -> str:
        """Listen; returns the bound address, such as "127.0.0.1:3505". Raises OSError if it is taken."""
        names = [LEDGER_SERVICE.full_name, CATALOGUE_SERVICE.full_name, health.SERVICE_NAME]
        self._server.add_generic_rpc_handlers(
            (
                self._methods.build(LEDGER_SERVICE, self._ledger_service),
                self._methods.build(CATALOGUE_SERVICE, self._catalogue_service),
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for name in ("", LEDGER_SERVICE.full_name, CATALOGUE_SERVICE.full_name):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        if self._settings.reflection:
            reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], self._server)
        self.address = self._bind()
        if self._settings.metrics_listen:
            self.metrics_address = self._metrics.start(*split_address(self._settings.metrics_listen))
        await self._server.start()
        self._log.info("serving", address=self.address, metrics_address=self.metrics_address)
        return self.address

    async def drain(self, grace_seconds: float) -> None:
        """Say NOT_SERVING, take no new call, finish those in flight; cut what is left after the grace."""
        self._log.info("draining", grace_seconds=grace_seconds)
        # A watcher that does not read must not keep us from going.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._health.enter_graceful_shutdown(), HEALTH_NOTICE_SECONDS)
        self._methods.drain()
        self._ledger_service.drain()
        stopping = asyncio.create_task(self._server.stop(grace_seconds))
        idle = asyncio.create_task(self._methods.wait_idle())
        await asyncio.wait({stopping, idle}, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        # A call that has finished may still have its answer on the way. Watchers of the health service never
        # finish; once the answers had their time, they are cut.
        await asyncio.wait({stopping}, timeout=ANSWERS_OUT_SECONDS)
        await self._server.stop(None)
        await stopping
        self._metrics.stop()
        self._reads.close()
        self._log.info("drained")

    def _bind(self) -> str:
        host, port = split_address(self._settings.listen)
        host = f"[{host}]" if ":" in host else host
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(f"cannot listen on {host}:{port}: {error}") from None
        return f"{host}:{bound}"


def list_options(settings: Settings) -> list[tuple[str, int]]:
    """gRPC's own bounds on a connection."""
    keepalive_ms = int(settings.keepalive_seconds * 1000)
    return [
        # Else two services can bind one port and share the calls without either noticing.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.message_bytes_max),
        # An answer is bounded by its question, and must not be lost after the document was kept.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.max_concurrent_streams", settings.connection_calls_max),
        ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_SECONDS * 1000)),
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", min(keepalive_ms, 10_000)),
        ("grpc.keepalive_permit_without_calls", 1),
        # A client may look for a sign of life, too, but not make a flood of it.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.max_connection_age_ms", int(settings.connection_age_max_seconds * 1000)),
        ("grpc.max_connection_age_grace_ms", int(settings.connection_age_max_seconds * 1000)),
    ]


@asynccontextmanager
async def start(ledger: Ledger, settings: Settings) -> AsyncIterator[Edge]:
    """A started edge (`edge.address` says where), drained when the block ends."""
    edge = Edge(ledger, settings)
    await edge.start()
    try:
        yield edge
    finally:
        await edge.drain(settings.drain_seconds)


def serve(settings: Settings) -> int:
    """Open the ledger, serve until SIGTERM or SIGINT, drain, close.

    Prints nothing; the log says on stderr what happens. Returns the exit status: 0 after a signal, 1 when
    the ledger could not be opened, the address was taken, or the engine stopped.
    """
    log = build_log(settings.log_level, sys.stderr)
    logging.getLogger().addHandler(LibraryLog(log))
    try:
        ledger = open_ledger(settings)
    except (TracecodeError, ValueError, OSError) as error:
        log.error("ledger_not_opened", error=type(error).__name__, message=str(error))
        return 1
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(ledger, settings, log))
    finally:
        ledger.close()
        log.info("stopped")


def open_ledger(settings: Settings, clock_ns: Callable[[], int] = time.time_ns) -> Ledger:
    """The ledger that the settings name, with the keys and the rule base they name.

    Raises TracecodeError, ValueError or OSError; each says what is wrong with which file.
    """
    rule_base = RuleBase.load(settings.rule_base_file) if settings.rule_base_file is not None else None
    return Ledger.open(
        settings.data_directory,
        engine=settings.engine,
        person_key=read_person_key(settings),
        rule_base=rule_base,
        clock_ns=clock_ns,
    )


def read_person_key(settings: Settings) -> PersonKey:
    """The key by which persons are hashed; a ledger that forgets has one that is forgotten with it.

    Raises ValueError when the file is no key or others can read it, OSError when it cannot be read.
    """
    path = settings.person_key_file
    if path is None:
        if settings.data_directory is None:
            return PersonKey(secrets.token_bytes(32))
        directory = settings.data_directory.absolute()
        path = directory.with_name(directory.name + ".person-key")
    key = PersonKey.read_or_create(path)
    mode = path.stat().st_mode
    if mode & 0o077:
        raise ValueError(f"{path} can be read by others than its owner; run: chmod 600 {path}")
    return key


async def _serve(ledger: Ledger, settings: Settings, log: structlog.typing.FilteringBoundLogger) -> int:
    edge = Edge(ledger, settings, log)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    try:
        await edge.start()
    except OSError as error:
        log.error("not_listening", message=str(error))
        return 1
    watch = asyncio.create_task(_watch_rule_base(ledger, settings, log))
    waits = {asyncio.create_task(told.wait()), asyncio.create_task(edge.engine_stopped.wait())}
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in (watch, *waits):
        task.cancel()
    await edge.drain(settings.drain_seconds)
    return 1 if edge.engine_stopped.is_set() else 0


async def _watch_rule_base(
    ledger: Ledger, settings: Settings, log: structlog.typing.FilteringBoundLogger
) -> None:
    """Put the rule base file in force whenever it changes; a bad one is told once and changes nothing."""
    if settings.rule_base_file is None:
        return
    file = RuleBaseFile(settings.rule_base_file, ledger.engine.rule_base)
    while True:
        await asyncio.sleep(RULE_BASE_POLL_SECONDS)
        try:
            rule_base = file.poll()
        except RuleBaseInvalid as error:
            log.error("rule_base_refused", message=str(error))
            continue
        if rule_base is not None:
            sequence = await asyncio.to_thread(ledger.change_rule_base, rule_base)
            log.info("rule_base_changed", version=rule_base.version, sequence=sequence)
