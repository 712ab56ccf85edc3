"""The gRPC server itself: its options, health, reflection, and how it begins and ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tracecode_server.call_figures import CallFigures
from tracecode_server.connections import Connections
from tracecode_server.limits import PeerLimits
from tracecode_server.method import SERVICES, Methods
from tracecode_server.settings import Settings, split_address

# What a watcher of the health service may take to hear that we are going, before we go anyway.
HEALTH_NOTICE_SECONDS = 1.0
# What answers may take to leave after the last call has finished.
ANSWERS_OUT_SECONDS = 4.0
# A connection that has not finished its HTTP/2 greeting by then is closed.
HANDSHAKE_SECONDS = 5.0
METADATA_BYTES_MAX = 8 * 1024
MEASURE_SECONDS = 0.1
PENDING_CALLS_MAX = 1_000_000


class Listener:
    """Listens for calls and hands them to the services. Belongs to the event loop that starts it."""

    def __init__(
        self,
        settings: Settings,
        services: Mapping[str, object],
        calls: CallFigures,
        log: structlog.typing.FilteringBoundLogger,
        on_engine_stopped: Callable[[], None],
    ) -> None:
        """`services` has those of the contract by their full names."""
        self._settings = settings
        self._services = services
        self._limits = build_limits(settings)
        self._methods = Methods(self._limits, calls, log, on_engine_stopped)
        self._log = log
        self._guard: asyncio.Task[None] | None = None
        self._connections: Connections | None = None
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=list_options(settings))

    async def start(self) -> str:
        """Listen; returns the bound address, such as "127.0.0.1:3505". Raises OSError if it is taken."""
        names = [service.full_name for service in SERVICES]
        self._server.add_generic_rpc_handlers(
            tuple(
                self._methods.build(descriptor, self._services[descriptor.full_name])
                for descriptor in SERVICES
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for name in ("", *names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        if self._settings.reflection:
            reflection.enable_server_reflection(
                [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
            )
        address = self._bind()
        await self._server.start()
        connections = Connections(
            split_address(address)[1],
            self._settings.peer_connections_max,
            self._log,
            put_out_seconds=self._settings.peer_put_out_seconds,
            waste_bytes_max=self._settings.peer_bytes_per_second_max // 2,
            message_bytes_max=self._settings.message_bytes_max,
        )
        self._methods.connections = connections
        self._connections = connections
        threading.Thread(target=connections.watch, name="tracecode-connections", daemon=True).start()
        self._guard = asyncio.create_task(self._measure())
        return address

    async def drain(self, grace_seconds: float, stop_reading: Callable[[], None]) -> None:
        """Say NOT_SERVING, take no new call, finish those in flight; cut what is left after the grace.

        `stop_reading` is called once no call is taken any more, to end what would otherwise never end.
        """
        # A watcher that does not read must not keep us from going.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._health.enter_graceful_shutdown(), HEALTH_NOTICE_SECONDS)
        self._methods.drain()
        stop_reading()
        stopping = asyncio.create_task(self._server.stop(grace_seconds))
        idle = asyncio.create_task(self._methods.wait_idle())
        await asyncio.wait({stopping, idle}, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        # A call that has finished may still have its answer on the way. Watchers of the health service never
        # finish; once the answers had their time, they are cut.
        await asyncio.wait({stopping}, timeout=ANSWERS_OUT_SECONDS)
        await self._server.stop(None)
        await stopping
        if self._guard is not None:
            self._guard.cancel()
        if self._connections is not None:
            self._connections.stop()

    async def _measure(self) -> None:
        """Tell the limits what calls cost this thread."""
        worked = time.thread_time()
        while True:
            await asyncio.sleep(MEASURE_SECONDS)
            worked, before = time.thread_time(), worked
            self._limits.measure(worked - before)

    def _bind(self) -> str:
        host, port = split_address(self._settings.listen)
        host = f"[{host}]" if ":" in host else host
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(f"cannot listen on {host}:{port}: {error}") from None
        return f"{host}:{bound}"


def build_limits(settings: Settings) -> PeerLimits:
    """What one peer may do, as the settings say."""
    return PeerLimits(
        settings.peer_calls_max,
        settings.peer_streams_max,
        settings.peer_calls_per_second_max,
        settings.peer_bytes_per_second_max,
    )


def list_options(settings: Settings) -> list[tuple[str, int]]:
    """gRPC's own bounds on a connection."""
    keepalive_ms = int(settings.keepalive_seconds * 1000)
    return [
        # Else two services can bind one port and share the calls without either noticing; edges of one
        # service do just that.
        ("grpc.so_reuseport", int(settings.edges > 1)),
        ("grpc.max_receive_message_length", settings.message_bytes_max),
        # An answer is bounded by its question, and must not be lost after the document was kept.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.max_concurrent_streams", settings.connection_calls_max),
        ("grpc.experimental.tcp_max_read_chunk_size", 64 * 1024),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.absolute_max_metadata_size", 2 * METADATA_BYTES_MAX),
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.http2.max_requests_per_read", 8),
        ("grpc.http2.max_ping_strikes", 0),
        # Calls that nobody has looked at yet are bounded by their peer's connections: gRPC's own bound is
        # over all peers.
        ("grpc.server.max_pending_requests", PENDING_CALLS_MAX),
        ("grpc.server.max_pending_requests_hard_limit", PENDING_CALLS_MAX),
        ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_SECONDS * 1000)),
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", min(keepalive_ms, 10_000)),
        ("grpc.keepalive_permit_without_calls", 1),
        # A client may look for a sign of life, too, but not make a flood of it.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.max_connection_age_ms", int(settings.connection_age_max_seconds * 1000)),
        ("grpc.max_connection_age_grace_ms", int(settings.connection_age_max_seconds * 1000)),
    ]
