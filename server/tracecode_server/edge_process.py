"""The program of an edge process. The engine's process starts it and is at the other end of its link.

Its one argument is the number of the link's file descriptor. It lives no longer than the engine's process,
and leaves signals to that one: whoever stops the service by a signal to all its processes gets one drain.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from typing import Any

import uvloop

from tracecode_server.call_figures import CallFigures
from tracecode_server.child import end_with_parent
from tracecode_server.engine_link import EngineLink, build_services
from tracecode_server.listener import Listener
from tracecode_server.log import LibraryLog, build_log
from tracecode_server.settings import Settings


async def serve(descriptor: int) -> int:
    """Serve until the engine's process says to drain; returns the exit status."""
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    calls = CallFigures()

    def hear(message: dict[str, Any]) -> None:
        if "figures" in message:
            engine.tell(figures=calls.write())
        else:
            told.put_nowait(message)

    engine = EngineLink(hear)
    # Not in a task of the service: nothing that it does may keep us listening without an engine.
    engine.on_lost = lambda: os._exit(1)
    await loop.create_unix_connection(lambda: engine, sock=socket.socket(fileno=descriptor))
    start = (await told.get())["start"]
    settings = Settings(**start["settings"])
    log = build_log(settings.log_level, sys.stderr).bind(edge=start["edge"])
    logging.getLogger().addHandler(LibraryLog(log))
    listener = Listener(settings, build_services(engine), calls, log, lambda: None)
    try:
        await listener.start()
    except OSError as error:
        engine.tell(failed=str(error))
        engine.close()
        return 1
    # What is there now stays: a collection that walked through it would stop all calls for 50 ms each time.
    gc.collect()
    gc.freeze()
    engine.tell(ready=True)
    drain = (await told.get())["drain"]
    await listener.drain(drain["grace_seconds"], lambda: None)
    engine.on_lost = lambda: None
    engine.close()
    return 0


def main() -> int:
    """Serve; returns the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Even when it can no longer see the link close.
    end_with_parent()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(main())
