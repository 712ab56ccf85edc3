"""What a run found: figures, ratios to peers, and where they are written down.

The keys carry the number of codes that were loaded, such as `record_vs_postgresql_1e7`; a smaller run writes
other keys, never these.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
BEGIN: Final = "<!-- bench:begin -->"
END: Final = "<!-- bench:end -->"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: a ratio's key without its size, what is above and below the line, and the goal."""

    key: str
    ours: str
    peer: str
    goal: float
    at_most: bool = False


ROWS: Final = (
    Row("record_vs_postgresql", "judged durable sale lines/s", "PostgreSQL, claims/s", 1.0),
    Row("record_vs_redis", "judged durable sale lines/s", "Redis, appendfsync always, claims/s", 0.5),
    Row("record_vs_sqlite", "judged durable sale lines/s", "SQLite, WAL, FULL, claims/s", 2),
    Row("record_vs_pylmdb", "judged durable sale lines/s", "py-lmdb, claims/s", 3),
    Row("record_vs_tigerbeetle", "judged durable sale lines/s", "TigerBeetle, one replica, claims/s", 1.5),
    Row("record_uncleared_vs_postgresql", "lines/s, all judged in Python", "PostgreSQL, claims/s", 0.2),
    Row(
        "record_sustained_vs_burst", "lines/s over a minute, flush included", "lines/s of the first 2 s", 0.8
    ),
    Row("rules_2000_vs_0", "sales/s with 2,000 rows in the rule base", "the same sales/s with none", 0.97),
    Row(
        "rules_worst_vs_0",
        "sales/s with 2,000 rows, late_info_hours = 0 in some",
        "the same sales/s with none",
        0.85,
    ),
    Row("stream_vs_engine", "durable lines/s through a gRPC stream", "lines/s in process", 0.6),
    Row("verify_vs_raw_lmdb", "judged codes/s, 1,000 a request", "bare mdb_get in C, keys/s", 0.8),
    Row("unary_verify_vs_echo", "VerifyCodes of 5 codes, calls/s", "bare grpc.aio echo, calls/s", 0.8),
    Row(
        "unary_record_vs_echo", "RecordSale of 3 lines, durable, calls/s", "bare grpc.aio echo, calls/s", 0.6
    ),
    Row("views_on_vs_off", "durable lines/s by stream, views kept", "no views kept", 0.9),
    Row("proof_on_vs_off", "durable lines/s through streams, a log kept", "the same without a log", 0.95),
    Row("edges_2_vs_1", "VerifyCodes, 2 edges, calls/s", "1 edge, calls/s", 1.3),
    Row(
        "parse20_vs_gs1encoder",
        "20-digit scans read/s, in batches",
        "gs1encoder, taken as 180,000 scans/s",
        50,
    ),
    Row("parse_gs1_vs_biip", "GS1 strings read/s, in batches", "biip, strings/s", 300),
    Row(
        "screening_vs_postgresql", "queries/s, DuckDB over Parquet", "PostgreSQL, the same SQL, queries/s", 5
    ),
    Row("cost_1e7_vs_1e6", "µs of CPU a verified code, 10^7 codes", "the same, 10^6 codes", 2, at_most=True),
    Row("cost_1e8_vs_1e6", "µs of CPU a verified code, 10^8 codes", "the same, 10^6 codes", 4, at_most=True),
)


def name_scale(codes: int) -> str:
    """1000000 is "1e6". Raises ValueError for what is no power of ten."""
    name = f"1e{len(str(codes)) - 1}"
    if int(float(name)) != codes:
        raise ValueError(f"{codes} codes: give a power of ten, such as 1e7")
    return name


@dataclass(slots=True)
class Results:
    """Collects what the benchmarks measure."""

    scale: str = ""
    """Of the run's main load, such as "1e7"."""
    figures: dict[str, float | str | None] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    sides: dict[str, tuple[float, float]] = field(default_factory=dict)
    """What each ratio is made of: ours, and the peer's."""
    _told: set[str] = field(default_factory=set)

    def add_figure(self, key: str, value: float | str | None) -> None:
        """Note one measured value; None where this build does not do that yet. A key is given once."""
        if key in self.figures:
            raise ValueError(f"the figure {key} was given before")
        self.figures[key] = _round(value)

    def add_ratio(self, key: str, ours: float, peer: float) -> None:
        """Note ours over the peer's. The key is one of ROWS, with the size behind it where it has one."""
        if key in self.ratios:
            raise ValueError(f"the ratio {key} was given before")
        find_row(key)
        if peer <= 0:
            raise ValueError(f"the peer's side of {key} is {peer}: it was not measured")
        self.ratios[key] = round(ours / peer, 3)
        self.sides[key] = (ours, peer)

    def list_news(self) -> list[str]:
        """A line for each figure and ratio that was added since the last time."""
        found = {**self.figures, **self.ratios}
        news = [f"{key} = {value}" for key, value in found.items() if key not in self._told]
        self._told.update(found)
        return news

    def to_json(self) -> dict[str, object]:
        """The content of results.json."""
        return {
            "machine": name_machine(),
            "commit": name_commit(),
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "scale": self.scale,
            "figures": dict(sorted(self.figures.items())),
            "ratios": dict(sorted(self.ratios.items())),
            "sides": {key: [_round(side) for side in sides] for key, sides in sorted(self.sides.items())},
        }

    def write_json(self, path: Path) -> None:
        """Write results.json whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(path)


def find_row(key: str) -> Row:
    """The row of a ratio's key. Raises ValueError for a key that no row has."""
    for row in ROWS:
        if row.key == key or re.fullmatch(re.escape(row.key) + r"_1e\d", key):
            return row
    raise ValueError(f"{key} is no ratio of the table")


def render_table(content: Mapping[str, object]) -> str:
    """What stands between the markers of the README: the table, and where and when it was measured."""
    ratios, sides = content["ratios"], content["sides"]
    assert isinstance(ratios, Mapping)
    assert isinstance(sides, Mapping)
    lines = ["| ours ÷ peer, in one run | ours | peer | ratio | goal |", "|---|---|---|---|---|"]
    for row in ROWS:
        for key in sorted(key for key in ratios if find_row(key) is row):
            ours, peer = sides[key]
            goal = f"{'≤' if row.at_most else '≥'} {row.goal:g}"
            rates = f"{_count(ours)} | {_count(peer)} | **{ratios[key]:.2f}**"
            lines.append(f"| {row.ours} ÷ {row.peer} | {rates} | {goal} |")
    lines += ["", _render_figures(content)] if content["figures"] else []
    lines += ["", FOOTNOTE]
    where = f"{content['machine']}; commit {content['commit']}; {content['date']}."
    return "\n".join([*lines, "", where])


def write_table(readme: Path, content: Mapping[str, object]) -> None:
    """Put the table between the README's markers. Raises ValueError when it has no such place."""
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{readme.name} needs the lines {BEGIN} and {END}, once each and in this order")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    readme.write_text(f"{head}{BEGIN}\n{render_table(content)}\n{END}{tail}", encoding="utf-8")


FOOTNOTE: Final = (
    "The files of each are read into memory before its turn, and it then works for about a second that does"
    " not count."
)
FIGURES: Final = (
    ("record_sale_p50_ms", "p50 of RecordSale at 70% of peak", "ms"),
    ("record_sale_p95_ms", "p95", "ms"),
    ("record_sale_p99_ms", "p99", "ms"),
    ("record_sale_failed_share", "share of them that failed", ""),
    ("start_seconds", "start", "s"),
    ("replay_entries_per_second", "replay after a kill", "entries/s"),
    ("bytes_per_code_live", "index bytes a code in use", ""),
    ("bytes_per_code_file", "index bytes a code with free pages", ""),
    ("bytes_per_entry", "journal bytes a sale", ""),
    ("rss_overlay_full_bytes", "memory of its own with a full overlay", "bytes"),
    ("receipt_codes_per_second", "received codes", "/s"),
    ("history_ms_p99", "p99 of a code's history page", "ms"),
    ("long_history_first_page_cold_ms", "first page of a code with 10,000 events, just started", "ms"),
    ("long_history_first_page_ms", "again", "ms"),
    ("cleared_share", "sales of a simulated city cleared without Python", ""),
)


def _render_figures(content: Mapping[str, object]) -> str:
    figures = content["figures"]
    assert isinstance(figures, Mapping)
    parts = []
    for key, title, unit in FIGURES:
        value = figures.get(f"{key}_{content['scale']}", figures.get(key))
        if isinstance(value, int | float):
            parts.append(f"{title} {_count(value)} {unit}".rstrip())
    return "; ".join(parts) + "." if parts else ""


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _round(value: float | str | None) -> float | str | None:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def name_machine() -> str:
    """Processor, cores, memory and system."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {memory:.0f} GiB, Linux {platform.release()}"


def name_commit() -> str:
    """The commit of the working tree, with + where files differ from it; "unknown" outside a checkout."""
    try:
        head = _git("rev-parse", "--short", "HEAD").strip()
        changed = _git("status", "--porcelain", "--untracked-files=no").strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + "+" * bool(changed)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True, text=True).stdout
