"""What a process occupies."""

from __future__ import annotations

from pathlib import Path


def memory_bytes(process: int, field: str = "VmRSS") -> int:
    """Resident memory of a process, now or (VmHWM) at its highest."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"the system does not tell {field}")
