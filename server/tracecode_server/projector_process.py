"""The program that keeps the views of a ledger that is served; it gives way to the tills.

Its one argument is the data folder. It says on stderr, one JSON object a line, why it ends; it ends with the
service, and when it is told to.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from tracecode.engine.lmdb import end_on_damaged_map
from tracecode.errors import TracecodeError
from tracecode.views.projector import Projector
from tracecode_server.child import NICENESS, end_with_parent
from tracecode_server.log import build_log


def main() -> int:
    """Follow until told to end; returns the exit status."""
    end_with_parent()
    # Ctrl-C in a terminal is the service's business; it tells this process when its calls are answered.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    os.nice(NICENESS)
    end_on_damaged_map()
    log = build_log("info", sys.stderr).bind(process="projector")
    try:
        with Projector(Path(sys.argv[1])) as projector:
            projector.follow(lambda seconds: ended.wait(seconds))
    except (TracecodeError, OSError) as error:
        log.error("views_not_kept", error=type(error).__name__, message=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
