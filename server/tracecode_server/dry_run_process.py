"""A dry run in a process of its own, so that no till waits for it.

The candidate comes on stdin. What is said on stdout is messages of tracecode.v1.DryRun, each behind its
length in four bytes: how far it is, and last what it found or why not. SIGTERM ends it and takes its files
away, and so does a service that reads no more.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from tracecode.dry_run import dry_run, to_message
from tracecode.errors import TracecodeError
from tracecode.rule_base import RuleBase
from tracecode.v1 import rule_base_service_pb2
from tracecode_server.child import NICENESS

SAY_SECONDS = 0.2


def main() -> None:
    """Run, and say so. Arguments: the data folder, the first entry that the candidate judges."""
    os.nice(NICENESS)

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    said = 0.0

    def show(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= SAY_SECONDS:
            said = now
            _say(
                rule_base_service_pb2.DryRun(
                    state=rule_base_service_pb2.DRY_RUN_STATE_RUNNING, entries_done=done, entries_total=total
                )
            )

    try:
        candidate = RuleBase.parse(sys.stdin.buffer.read().decode(), "text")
        report = dry_run(Path(sys.argv[1]), candidate, since=int(sys.argv[2]), progress=show)
    except BrokenPipeError:
        return
    except (TracecodeError, OSError) as error:
        _say(
            rule_base_service_pb2.DryRun(
                state=rule_base_service_pb2.DRY_RUN_STATE_FAILED, error=f"{type(error).__name__}: {error}"
            )
        )
        return
    _say(
        rule_base_service_pb2.DryRun(
            state=rule_base_service_pb2.DRY_RUN_STATE_DONE,
            entries_done=report.entries,
            entries_total=report.entries,
            report=to_message(report),
        )
    )


def _say(message: rule_base_service_pb2.DryRun) -> None:
    content = message.SerializeToString()
    sys.stdout.buffer.write(len(content).to_bytes(4, "big") + content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
