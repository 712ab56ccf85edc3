"""What a process occupies."""

from __future__ import annotations

from pathlib import Path


def memory_bytes(process: int, field: str = "VmRSS") -> int:
    """Resident memory of a process: all of it now (VmRSS) or at its highest (VmHWM), what is its own
    (RssAnon), or pages of mapped files (RssFile), which the system takes back when it needs them."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"the system does not tell {field}")
