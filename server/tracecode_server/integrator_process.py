"""The program of the process that keeps the log: it follows the journal, and nobody waits for it.

The service starts it and writes the settings to its stdin as one line; when stdin ends, it publishes what is
there and leaves. It lives no longer than the service.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import closing

import structlog

from tracecode.errors import TracecodeError
from tracecode.proof import key
from tracecode.proof.audit import open_journal
from tracecode.proof.integrator import STEP_ENTRIES, Integrator, LogRefused
from tracecode.proof.note import NoteInvalid
from tracecode_server.child import NICENESS, end_with_parent
from tracecode_server.log import build_log
from tracecode_server.settings import Settings

# How often the journal is looked at for new entries: seldom, since to look at many at once is cheap.
POLL_SECONDS = 0.2
REFUSED = 2
"""Exit status: to be started again would change nothing."""


def follow(settings: Settings, log: structlog.typing.FilteringBoundLogger) -> int:
    """Integrate and publish until stdin ends; returns the exit status."""
    assert settings.data_directory is not None
    assert settings.proof_folder is not None
    assert settings.proof_key_file is not None
    path = settings.proof_key_file
    try:
        signers = key.read(path)
        with (
            closing(open_journal(settings.data_directory)) as journal,
            closing(
                Integrator(
                    journal,
                    settings.proof_folder,
                    signers,
                    path.with_name(path.name + ".last"),
                    bundles=settings.proof_bundles,
                )
            ) as integrator,
        ):
            log.info("log_open", origin=integrator.origin, published=integrator.published)
            _follow(integrator, settings)
    except (LogRefused, NoteInvalid) as error:
        log.error("log_refused", message=str(error))
        return REFUSED
    except (TracecodeError, OSError) as error:
        log.error("log_stopped", error=type(error).__name__, message=str(error))
        return 1
    return 0


def _follow(integrator: Integrator, settings: Settings) -> None:
    published_at = time.monotonic()
    ended = False
    while True:
        count = integrator.integrate()
        waiting = integrator.size - integrator.published
        due = time.monotonic() - published_at >= settings.proof_checkpoint_seconds
        if waiting and (due or waiting >= settings.proof_checkpoint_entries or (ended and not count)):
            integrator.publish()
            published_at = time.monotonic()
        if ended and not count:
            return
        if not ended:
            ended = bool(select.select([sys.stdin], [], [], 0 if count == STEP_ENTRIES else POLL_SECONDS)[0])


def main() -> int:
    """Follow; returns the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    os.nice(NICENESS)
    settings = Settings.model_validate_json(sys.stdin.readline())
    return follow(settings, build_log(settings.log_level, sys.stderr))


if __name__ == "__main__":
    sys.exit(main())
