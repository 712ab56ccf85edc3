"""A service's children, and the CPU time they took."""

from __future__ import annotations

import os
from pathlib import Path


def child_of(parent: int, module: str) -> int:
    """The child that runs a module. Raises ProcessLookupError if there is none."""
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in (task / "children").read_text().split():
            if module.encode() in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise ProcessLookupError(f"process {parent} has no child that runs {module}")


def cpu_of(process: int) -> float:
    """The seconds of CPU that a process has taken, in its own code and in the kernel."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
