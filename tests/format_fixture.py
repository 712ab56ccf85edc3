"""Writes the fixture of the format that this release writes: `python tests/format_fixture.py`.

It is run once, when a release with a new format number is made, and its files are never written again:
tests/test_format_fixtures.py opens those of every format there was. Beside a ledger as it lies on disk stand
a backup of it, and what is said of its documents and of what people did at the desk.
"""

from __future__ import annotations

import json
import tarfile
import tempfile
from pathlib import Path

from backed_up import fill_ledger, read_desk, read_entries, read_verdicts

from tracecode.backup import back_up
from tracecode.engine.records import FORMAT

FIXTURES = Path(__file__).parent / "fixtures"
BOXES = 16


def write(place: Path) -> None:
    """A ledger, its backup and its verdicts in a new folder."""
    place.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder) / "ledger"
        fill_ledger(ledger, BOXES, desk=True)
        back_up(ledger, place / "backup")
        said = {
            "entries": len(read_entries(ledger)),
            "verdicts": [verdict.hex() for verdict in read_verdicts(ledger, BOXES)],
            "desk": [told.hex() for told in read_desk(ledger)],
        }
        (place / "said.json").write_text(json.dumps(said, indent=0) + "\n", encoding="utf-8")
        for path in ledger.glob("*/lock.mdb"):
            path.unlink()
        (ledger / "lock").write_bytes(b"")
        with tarfile.open(place / "ledger.tar.xz", "w:xz") as archive:
            archive.add(ledger, "ledger")


if __name__ == "__main__":
    write(FIXTURES / f"format_{FORMAT}")
