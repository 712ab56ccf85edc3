"""How a command ends: one table of exit codes, and the one place that turns an error into one of them."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import typer
from pydantic import ValidationError

from tracecode import errors
from tracecode.client import CallFailed, OutcomeUnknown, ServerFault, Unanswered
from tracecode_server.cli.screen import complain


class ExitCode(IntEnum):
    """What a program may conclude from how a command ended. Numbers are for life."""

    OK = 0
    FINDINGS = 1
    BAD_INPUT = 2
    UNREACHABLE = 3
    DATA_LOSS = 4
    STOPPED = 5
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """One line of help."""
        return MEANINGS[self]


MEANINGS = {
    ExitCode.OK: "done, and nothing asks for attention",
    ExitCode.FINDINGS: "done; something was found that asks for attention, or a check failed",
    ExitCode.BAD_INPUT: "an argument, a file or a document cannot be used; the message names it",
    ExitCode.UNREACHABLE: "the service did not answer; the same command may be run again",
    ExitCode.DATA_LOSS: "stored bytes are not what was written",
    ExitCode.STOPPED: "the ledger could not be opened, or stopped itself; see the message or the log",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C",
}


def list_meanings() -> str:
    """The exit codes with their meanings, for help pages."""
    return "\n\n".join(f"exit {code:d}: {code.meaning}" for code in ExitCode)


@contextmanager
def end_with_exit_code() -> Iterator[None]:
    """Turn every error that is somebody's to mend into a sentence on stderr and an exit code.

    What nobody foresaw is left alone: a traceback is then the right thing to send to us.
    """
    try:
        yield
    except ValidationError as error:
        for fault in error.errors():
            complain(": ".join([*map(str, fault["loc"]), fault["msg"].removeprefix("Value error, ")]))
        raise typer.Exit(ExitCode.BAD_INPUT) from None
    except OutcomeUnknown as error:
        complain(f"{error} (run the same command again: what was recorded is not recorded twice)")
        raise typer.Exit(ExitCode.UNREACHABLE) from None
    except (Unanswered, errors.Overloaded) as error:
        complain(f"{error} (is the service running? start it with: tracecode serve --data DIR)")
        raise typer.Exit(ExitCode.UNREACHABLE) from None
    except ServerFault as error:
        complain(str(error))
        raise typer.Exit(ExitCode.DATA_LOSS if error.reason == "DATA_LOSS" else ExitCode.STOPPED) from None
    except CallFailed as error:
        complain(f"{error.field}: {error.message}" if error.field else str(error))
        raise typer.Exit(ExitCode.BAD_INPUT) from None
    except errors.DataLoss as error:
        complain(str(error))
        raise typer.Exit(ExitCode.DATA_LOSS) from None
    except errors.EngineStopped as error:
        complain(str(error))
        raise typer.Exit(ExitCode.STOPPED) from None
    except errors.TracecodeError as error:
        complain(str(error))
        raise typer.Exit(ExitCode.BAD_INPUT) from None
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough; Python would complain at its end.
        sys.stdout = sys.stderr
        raise typer.Exit(ExitCode.OK) from None
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        complain(f"{place}{error.strerror or error}")
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
        raise typer.Exit(ExitCode.STOPPED if full else ExitCode.BAD_INPUT) from None
