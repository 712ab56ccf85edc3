"""What the harnesses of this folder found: one row a fault."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.results import name_commit, name_machine

HEADINGS = ("fault", "how injected", "tries", "lost", "doubled", "wrong", "aborts", "control")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A fault, what came of it, and whether the harness sees what it is there to see."""

    fault: str
    how: str
    """How it is injected."""
    tries: int
    lost: int = 0
    """Acknowledged and not there."""
    doubled: int = 0
    """Counted twice."""
    wrong: int = 0
    """Answers that are false, alarms on honest documents among them."""
    aborts: int = 0
    """Processes that died, where they were not killed."""
    control: str
    """What was sabotaged so that the harness had to fail."""
    control_failed: bool
    """Whether it did."""
    note: str = ""

    @property
    def ok(self) -> bool:
        """Nothing is wrong with us, nor with the harness."""
        return (
            self.tries > 0
            and self.control_failed
            and not (self.lost or self.doubled or self.wrong or self.aborts)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NotInjected:
    """A fault that this machine cannot inject, and why."""

    fault: str
    reason: str


def render(rows: Iterable[Row], missing: Iterable[NotInjected]) -> str:
    """The table, for a terminal."""
    cells = [HEADINGS]
    for row in rows:
        verdict = f"{row.control}: {'failed as it should' if row.control_failed else 'WAS NOT FOUND OUT'}"
        counts = (f"{n:,}" for n in (row.tries, row.lost, row.doubled, row.wrong, row.aborts))
        cells.append((row.fault, row.how, *counts, verdict))
    widths = [max(len(line[at]) for line in cells) for at in range(len(HEADINGS))]
    lines = [
        "  ".join(
            cell.rjust(width) if 2 <= at <= 6 else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    lines += [f"not injected on this machine: {one.fault}: {one.reason}" for one in missing]
    return "\n".join(lines)


def read_json(path: Path) -> tuple[list[Row], list[NotInjected]]:
    """What write_json wrote of an earlier part of the same table."""
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = [Row(**{name: value for name, value in row.items() if name != "ok"}) for row in content["rows"]]
    return rows, [NotInjected(**one) for one in content["not_injected"]]


def write_json(path: Path, rows: Iterable[Row], missing: Iterable[NotInjected], minutes: float) -> None:
    """Write trust.json whole or not at all."""
    content = {
        "machine": name_machine(),
        "commit": name_commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "minutes": minutes,
        "rows": [{**asdict(row), "ok": row.ok} for row in rows],
        "not_injected": [asdict(one) for one in missing],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)
