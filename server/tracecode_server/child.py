"""A process that the service starts, and that ends with it."""

from __future__ import annotations

import ctypes
import os
import signal

# Of prctl: the signal that the system sends this process when its parent ends.
_PR_SET_PDEATHSIG = 1

NICENESS = 10
"""Of one that gives way: whoever sells goes first."""


def end_with_parent() -> None:
    """From now on the system kills this process when the one that started it ends, however that does."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The system says nothing of one that had ended before.
    if os.getppid() != parent:
        raise SystemExit(1)
