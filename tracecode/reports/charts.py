"""Pictures of a report, as SVG or PNG.

An SVG keeps its texts as texts, so that a reader's own Chinese fonts show them; nothing is installed for
that. A PNG is drawn with the font that comes with matplotlib, which has no Chinese: its texts are English.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import matplotlib
from matplotlib.figure import Figure as Drawing

from tracecode.reports.report import Report

FONT = "DejaVu Sans"
FONTS_OF_READERS = (
    "'Noto Sans CJK SC', 'Microsoft YaHei', 'PingFang SC', 'WenQuanYi Micro Hei', 'DejaVu Sans', sans-serif"
)
BARS_MAX = 15
FUNNEL = ("findings_found", "findings_suspected", "findings_in_cases", "findings_confirmed")
COLOURS = ("#1f5f99", "#d9822b", "#6b8e23", "#999999")


def draw_charts(report: Report, language: str, picture: str) -> Iterator[tuple[str, bytes]]:
    """Every chart: its name, and its file in the format `picture`, svg or png."""
    zh = language == "zh"
    tables = {table.name: table for table in report.tables}

    def read(name: str, columns: Sequence[str], rows_max: int) -> list[list[Any]]:
        names = [column.name for column in tables[name].columns]
        places = [names.index(column) for column in columns]
        rows = [[row[place] for place in places] for row in islice(report.rows(tables[name]), rows_max)]
        return [list(values) for values in zip(*rows, strict=True)] or [[] for _ in columns]

    def title(name: str, column: str) -> str:
        found = next(each for each in tables[name].columns if each.name == column)
        return found.title_zh if zh else found.title_en

    with matplotlib.rc_context(
        {
            "font.family": FONT,
            "svg.fonttype": "none",
            # Names inside an SVG are made from this instead of by chance.
            "svg.hashsalt": "tracecode",
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    ):
        days = read("days", ("day", "sales", "codes_sold", "found", "suspected"), 100)
        labels = [f"{day:%m-%d}" for day in days[0]]
        for name, columns, values in (
            ("sales", ("sales", "codes_sold"), days[1:3]),
            ("findings_by_day", ("found", "suspected"), days[3:5]),
        ):
            drawing, axes = _begin()
            for column, numbers, colour in zip(columns, values, COLOURS, strict=False):
                axes.plot(labels, numbers, label=title("days", column), color=colour)
            axes.set_ylim(bottom=0)
            axes.set_xticks(labels[:: max(1, len(labels) // 12)])
            axes.legend(frameon=False)
            yield name, _finish(drawing, picture)
        figures = {value.figure.name: value for value in report.figures}
        steps = [figures[name] for name in FUNNEL]
        names = [step.figure.title_zh if zh else step.figure.title_en for step in steps]
        yield (
            "funnel",
            _draw_bars(names, [("", [step.numerator for step in steps])], picture, said=True),
        )
        parts = ("confirmed", "dismissed", "cleared")
        causes = read("causes", ("title_zh" if zh else "title_en", *parts), BARS_MAX)
        series = [(title("causes", part), values) for part, values in zip(parts, causes[1:], strict=True)]
        yield "causes", _draw_bars(causes[0], series, picture)
        divisions = read("divisions", ("division_code", "suspected"), BARS_MAX)
        yield (
            "divisions",
            _draw_bars(divisions[0], [(title("divisions", "suspected"), divisions[1])], picture, said=True),
        )


def _begin() -> tuple[Drawing, Any]:
    drawing = Drawing(figsize=(9, 3.4), layout="constrained")
    return drawing, drawing.subplots()


def _draw_bars(
    names: Sequence[str], series: Sequence[tuple[str, list[int]]], picture: str, *, said: bool = False
) -> bytes:
    drawing, axes = _begin()
    places = range(len(names))
    left = [0] * len(names)
    for (label, values), colour in zip(series, COLOURS, strict=False):
        bars = axes.barh(places, values, left=left, label=label, color=colour)
        if said:
            axes.bar_label(bars, padding=3)
        left = [before + value for before, value in zip(left, values, strict=True)]
    # A dollar sign would begin a formula of the library's own.
    axes.set_yticks(places, [name.replace("$", r"\$") for name in names])
    axes.invert_yaxis()
    # What is counted has no halves.
    axes.xaxis.get_major_locator().set_params(integer=True)
    if any(label for label, _ in series):
        axes.legend(frameon=False)
    return _finish(drawing, picture)


def _finish(drawing: Drawing, picture: str) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings():
        # Chinese is measured with a font that lacks it; the reader's font draws it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        metadata = {"Date": None, "Creator": None} if picture == "svg" else {"Software": None}
        drawing.savefig(content, format=picture, metadata=metadata, dpi=120)
    if picture == "png":
        return content.getvalue()
    return content.getvalue().replace(f"'{FONT}'".encode(), FONTS_OF_READERS.encode())
