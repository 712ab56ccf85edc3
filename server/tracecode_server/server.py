"""The service as a process: start, listen, drain, stop.

`Edge` is the running service inside an event loop, `Edges` the same in several processes; `serve` is the
whole process around either.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
import uvloop

from tracecode.cases.area_grid import AreaGrid
from tracecode.engine.lmdb import end_on_damaged_map
from tracecode.errors import RuleBaseInvalid, TracecodeError
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.rule_base import RuleBase, RuleBaseFile
from tracecode_server.call_figures import CallFigures
from tracecode_server.disk_space import DiskSpace
from tracecode_server.edges import Edges
from tracecode_server.integration import Integration
from tracecode_server.listener import Listener
from tracecode_server.log import LibraryLog, build_log
from tracecode_server.permissions import find_openings
from tracecode_server.projection import Projection
from tracecode_server.services import Services
from tracecode_server.settings import Settings

RULE_BASE_POLL_SECONDS = 1.0
SWITCH_SECONDS = 0.0005


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
        calls = CallFigures()
        self._services = Services(ledger, settings, calls, self._log)
        self._listener = Listener(settings, self._services.by_name, calls, self._log, self.engine_stopped.set)

    async def start(self) -> str:
        """Listen; returns the bound address, such as "127.0.0.1:3505". Raises OSError if it is taken."""
        self.address = await self._listener.start()
        self.metrics_address = self._services.metrics.start(self._settings.metrics_listen)
        self._services.start()
        self._log.info("serving", address=self.address, metrics_address=self.metrics_address)
        return self.address

    async def drain(self, grace_seconds: float) -> None:
        """Say NOT_SERVING, take no new call, finish those in flight; cut what is left after the grace."""
        self._log.info("draining", grace_seconds=grace_seconds)
        await self._listener.drain(grace_seconds, self._services.stop_reading)
        self._services.close()
        self._log.info("drained")


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
    end_on_damaged_map()
    _look_at_folder(settings, log)
    # What a process may have open by default, a peer's connections use up. Edges inherit it.
    _, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))
    # A thread that judges in Python hands over in time for a till that waits.
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        ledger = open_ledger(settings)
    except (TracecodeError, ValueError, OSError) as error:
        log.error("ledger_not_opened", error=type(error).__name__, message=str(error))
        return 1
    for sentence in ledger.engine.rule_base.left_out:
        log.warning("rule_base_left_out", message=sentence)
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
    directory = settings.data_directory
    for opening in find_openings(directory) if directory is not None else ():
        if opening.is_writable:
            raise ValueError(f"{opening.seen}; run: {opening.remedy}")
    rule_base = RuleBase.load(settings.rule_base_file) if settings.rule_base_file is not None else None
    area_grid = (
        AreaGrid.read(settings.area_grid_file) if settings.area_grid_file is not None else AreaGrid({})
    )
    ledger = Ledger.open(
        settings.data_directory,
        engine=settings.engine,
        person_key=read_person_key(settings),
        rule_base=rule_base,
        clock_ns=clock_ns,
    )
    ledger.desk.area_grid = area_grid
    return ledger


def read_person_key(settings: Settings) -> PersonKey:
    """The key by which persons are hashed; a ledger that forgets has one that is forgotten with it.

    Raises ValueError when the file is no key or others can read it, OSError when it cannot be read.
    """
    path = _person_key_path(settings)
    if path is None:
        return PersonKey(secrets.token_bytes(32))
    key = PersonKey.read_or_create(path)
    mode = path.stat().st_mode
    if mode & 0o077:
        raise ValueError(f"{path} can be read by others than its owner; run: chmod 600 {path}")
    return key


def _person_key_path(settings: Settings) -> Path | None:
    """Where the key is or will be; None for one that is forgotten."""
    if settings.person_key_file is not None or settings.data_directory is None:
        return settings.person_key_file
    directory = settings.data_directory.absolute()
    return directory.with_name(directory.name + ".person-key")


def _look_at_folder(settings: Settings, log: structlog.typing.FilteringBoundLogger) -> None:
    """Tell the operator what does not keep the service from starting and should not stay."""
    directory, path = settings.data_directory, _person_key_path(settings)
    if directory is None:
        return
    for opening in find_openings(directory):
        if not opening.is_writable:
            log.warning("data_directory_readable", message=f"{opening.seen}; run: {opening.remedy}")
    if path is not None and not path.exists() and (directory / "format").exists():
        log.warning(
            "person_key_missing",
            message=f"the ledger has entries and {path} is not there; a new one is made, and a document with "
            "a person in it that was recorded before and is sent again will be refused; put the old key back",
        )


async def _serve(ledger: Ledger, settings: Settings, log: structlog.typing.FilteringBoundLogger) -> int:
    edge = Edge(ledger, settings, log) if settings.edges == 1 else Edges(ledger, settings, log)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    waits = {asyncio.create_task(told.wait()), asyncio.create_task(edge.engine_stopped.wait())}
    disk = DiskSpace(ledger, settings, log)
    watch_disk = asyncio.create_task(disk.watch())
    starting = asyncio.create_task(edge.start())
    await asyncio.wait({starting, *waits}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
        return 1 if edge.engine_stopped.is_set() else 0
    try:
        starting.result()
    except OSError as error:
        log.error("not_listening", message=str(error))
        return 1
    # What is there now stays: a collection that walked through it would stop all calls for 50 ms each time.
    gc.collect()
    gc.freeze()
    integration = Integration(settings, log)
    integration.start()
    watch = asyncio.create_task(_watch_rule_base(ledger, settings, log))
    projection = None
    if settings.views and settings.data_directory is not None:
        projection = Projection(settings.data_directory, log)
        projection.start()
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in (watch, watch_disk, *waits):
        task.cancel()
    await edge.drain(settings.drain_seconds)
    if projection is not None:
        await projection.stop()
    await integration.stop()
    # What is frozen when the interpreter ends looks to extensions as if it had leaked, and they say so.
    gc.unfreeze()
    return 1 if edge.engine_stopped.is_set() else 0


async def _watch_rule_base(
    ledger: Ledger, settings: Settings, log: structlog.typing.FilteringBoundLogger
) -> None:
    """Put the rule base file in force whenever it changes; a bad one is told once and changes nothing."""
    if settings.rule_base_file is None:
        return
    file = RuleBaseFile(settings.rule_base_file, ledger.engine.rule_bases.from_file())
    while True:
        await asyncio.sleep(RULE_BASE_POLL_SECONDS)
        try:
            rule_base = file.poll()
        except RuleBaseInvalid as error:
            log.error("rule_base_refused", message=str(error))
            continue
        if rule_base is not None:
            try:
                sequence = await asyncio.to_thread(ledger.change_rule_base, rule_base)
            except TracecodeError as error:
                log.error("rule_base_not_changed", error=type(error).__name__, message=str(error))
                continue
            log.info("rule_base_changed", version=rule_base.version, sequence=sequence)
