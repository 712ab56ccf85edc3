"""Who but its owner can get at a ledger: the folder, what is in it, and the person key beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What others could change, they could make say anything; what they can read, they can only know.
WRITABLE = 0o022
READABLE = 0o055
PASSABLE = 0o011


@dataclass(frozen=True, slots=True)
class Opening:
    """A folder or file that others than its owner can get at."""

    path: Path
    is_writable: bool
    mode: str
    """What it should have, as chmod takes it."""

    @property
    def seen(self) -> str:
        """What is wrong."""
        return f"{self.path} can be {'changed' if self.is_writable else 'read'} by others than its owner"

    @property
    def remedy(self) -> str:
        """What to do."""
        return f"chmod {self.mode} {self.path}"


def find_openings(directory: Path) -> list[Opening]:
    """Where a ledger's folder is open to others, what can be changed first; nothing if there is none, or if
    it lies in a folder that lets nobody else pass."""
    if not _is_passed(directory):
        return []
    return sorted(_look(directory), key=lambda opening: not opening.is_writable)


def _is_passed(directory: Path) -> bool:
    """Whether others come as far as the folder."""
    for above in directory.resolve().parents:
        try:
            if not above.stat().st_mode & PASSABLE:
                return False
        except OSError:
            # Not to be looked at by us, so it may let others pass.
            continue
    return True


def _look(directory: Path) -> Iterator[Opening]:
    for path in (directory, *(directory / name for name in ("journal", "index"))):
        files = sorted(path.glob("*.mdb")) if path.is_dir() else []
        for place, mode in ((path, "700"), *((file, "600") for file in files)):
            try:
                bits = place.stat().st_mode
            except OSError:
                continue
            if bits & (WRITABLE | READABLE):
                yield Opening(place, bool(bits & WRITABLE), mode)
