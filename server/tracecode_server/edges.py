"""The service in several processes: edges that speak gRPC on one port, in front of the one with the ledger.

The system spreads connections over the edges (SO_REUSEPORT); what they are asked crosses their links as bytes
and is answered here. An edge that dies is started again: its callers do not know what became of their calls,
nobody else notices. Edges do not outlive this process.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tracecode.ledger import Ledger
from tracecode_server.call_figures import CallFigures
from tracecode_server.edge_link import Desk, EdgeLink
from tracecode_server.listener import ANSWERS_OUT_SECONDS, HEALTH_NOTICE_SECONDS, build_limits
from tracecode_server.services import Services
from tracecode_server.settings import Settings, split_address

# What an edge may take until it listens, also on a loaded machine.
START_SECONDS_MAX = 60.0
# An edge that cannot live is not started more often than this.
RESTART_SECONDS_MIN = 1.0
# What an edge that was told to drain may take to leave after its last call.
LEAVE_SECONDS_MAX = 5.0
# What a scrape waits for the edges; of one that is too busy the last figures count.
FIGURES_SECONDS_MAX = 1.0


class _EdgeProcess:
    """One edge process, from its start to its end."""

    def __init__(self, number: int, desk: Desk) -> None:
        self.number = number
        self.figures: dict[str, Any] = CallFigures().write()
        self.answered = asyncio.Event()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.link = EdgeLink(desk, self._hear)

    async def start(self, settings: Settings) -> None:
        """Start it; `ready` says when it listens, or raises OSError."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "tracecode_server.edge_process", str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                # Else Ctrl-C in a terminal would reach it before it listens to nobody but us.
                start_new_session=True,
            )
        self.link.on_lost = self._lose
        await asyncio.get_running_loop().create_unix_connection(lambda: self.link, sock=ours)
        self.link.tell(start={"edge": self.number, "settings": settings.model_dump(mode="json")})

    def _hear(self, told: dict[str, Any]) -> None:
        if "figures" in told:
            self.figures = told["figures"]
            self.answered.set()
        elif not self.ready.done():
            if "failed" in told:
                self.ready.set_exception(OSError(told["failed"]))
            else:
                self.ready.set_result(None)

    def _lose(self) -> None:
        self.answered.set()
        if not self.ready.done():
            self.ready.set_exception(OSError(f"edge {self.number} ended before it listened"))
            # Where nobody waits for it, its end is told all the same.
            self.ready.exception()


class Edges(Collector):
    """The running service over an open ledger. Belongs to the event loop that starts it."""

    def __init__(
        self, ledger: Ledger, settings: Settings, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        """The ledger stays the caller's: draining does not close it."""
        self.address = ""
        self.metrics_address = ""
        # Set when the ledger says that it cannot go on; the process should then end and be restarted.
        self.engine_stopped = asyncio.Event()
        self._settings = settings
        self._log = log
        self._services = Services(ledger, settings, self, log)
        self._desk = Desk(self._services.by_name, build_limits(settings), self.engine_stopped.set)
        self._edges: dict[int, _EdgeProcess] = {}
        self._keepers: set[asyncio.Task[None]] = set()
        # Of the edges that are gone.
        self._figures = CallFigures()
        self._loop = asyncio.get_running_loop()
        self._port: socket.socket | None = None

    async def start(self) -> str:
        """Start the edges; returns the address, such as "127.0.0.1:3505". Raises OSError if it is taken."""
        self._port = reserve_port(self._settings.listen)
        host, port = self._port.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._settings = self._settings.model_copy(update={"listen": self.address})
        try:
            edges = [await self._start_edge(number) for number in range(1, self._settings.edges + 1)]
            await wait_ready(edges)
            self.metrics_address = self._services.metrics.start(self._settings.metrics_listen)
            self._services.start()
        except BaseException:
            await self._leave(0.0)
            raise
        self._log.info(
            "serving", address=self.address, metrics_address=self.metrics_address, edges=len(edges)
        )
        return self.address

    async def drain(self, grace_seconds: float) -> None:
        """Let every edge take no new call and finish those in flight; cut what is left after the grace."""
        self._log.info("draining", grace_seconds=grace_seconds)
        self._desk.draining = True
        for edge in self._edges.values():
            edge.link.tell(drain={"grace_seconds": grace_seconds})
        self._services.stop_reading()
        await self._leave(grace_seconds + HEALTH_NOTICE_SECONDS + ANSWERS_OUT_SECONDS + LEAVE_SECONDS_MAX)
        self._log.info("drained")

    def collect(self) -> Iterable[Metric]:
        """The calls of all edges, those that are gone included; asked in the thread of the scrape."""
        try:
            total = asyncio.run_coroutine_threadsafe(self._ask_figures(), self._loop).result(
                2 * FIGURES_SECONDS_MAX
            )
        except TimeoutError:
            # The event loop is at its end, or as good as that.
            total = self._add_figures()
        yield GaugeMetricFamily("tracecode_edges", "Edge processes that run.", value=len(self._edges))
        yield from total.collect()

    async def _ask_figures(self) -> CallFigures:
        edges = list(self._edges.values())
        for edge in edges:
            edge.answered.clear()
            edge.link.tell(figures=True)
        waits = [asyncio.create_task(edge.answered.wait()) for edge in edges]
        if waits:
            _, late = await asyncio.wait(waits, timeout=FIGURES_SECONDS_MAX)
            for wait in late:
                wait.cancel()
        return self._add_figures()

    def _add_figures(self) -> CallFigures:
        total = CallFigures()
        total.add(self._figures.write())
        for edge in list(self._edges.values()):
            total.add(edge.figures)
        return total

    async def _start_edge(self, number: int) -> _EdgeProcess:
        edge = _EdgeProcess(number, self._desk)
        await edge.start(self._settings)
        self._edges[number] = edge
        if self._desk.draining:
            # Too late to be told with the others.
            edge.process.kill()
        keeper = asyncio.create_task(self._keep(edge, time.monotonic()))
        self._keepers.add(keeper)
        keeper.add_done_callback(self._keepers.discard)
        return edge

    async def _keep(self, edge: _EdgeProcess, begin_seconds: float) -> None:
        """Wait for an edge's end; start another in its place, unless all are to end."""
        status = await edge.process.wait()
        del self._edges[edge.number]
        self._figures.add({**edge.figures, "in_flight": 0})
        if self._desk.draining:
            return
        self._log.error("edge_ended", edge=edge.number, process=edge.process.pid, status=status)
        await asyncio.sleep(RESTART_SECONDS_MIN - (time.monotonic() - begin_seconds))
        if not self._desk.draining:
            again = await self._start_edge(edge.number)
            try:
                await wait_ready([again])
            except OSError as error:
                self._log.error("edge_not_listening", edge=edge.number, message=str(error))
                if again.process.returncode is None:
                    again.process.kill()
            else:
                self._log.info("edge_listening", edge=edge.number, process=again.process.pid)

    async def _leave(self, seconds_max: float) -> None:
        """Wait for the edges to end, end those that do not, and give up what is shared."""
        self._desk.draining = True
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=seconds_max)
        for edge in list(self._edges.values()):
            edge.process.kill()
        while self._keepers:
            await asyncio.wait(self._keepers)
        self._services.close()
        if self._port is not None:
            self._port.close()


async def wait_ready(edges: Iterable[_EdgeProcess]) -> None:
    """Returns when all edges listen. Raises OSError when one does not."""
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            await asyncio.gather(*(edge.ready for edge in edges))
    except TimeoutError:
        raise OSError(f"an edge did not listen within {START_SECONDS_MAX:.0f} s") from None


def reserve_port(listen: str) -> socket.socket:
    """A socket that keeps the port for our edges without listening. Raises OSError if it is taken."""
    host, port = split_address(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Bound without SO_REUSEPORT first, which tells whether another service listens there: with it, two
        # services could share the port without either noticing.
        with socket.socket(family, socket.SOCK_STREAM) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((host, port))
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((host, port))
    except OSError as error:
        reserved.close()
        raise OSError(f"cannot listen on {listen}: {error.strerror}") from None
    return reserved
