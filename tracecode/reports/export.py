"""Files of a report: tables for spreadsheets and programs, a page and pictures for people.

Each file appears whole or not at all. The same report gives the same bytes: nothing tells when or by whom a
file was made, only up to which entry it counts.
"""

from __future__ import annotations

import csv
import importlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter

from tracecode.names import say_fen
from tracecode.reports.figures import GROUP_TITLES, FigureValue, Unit
from tracecode.reports.report import Report
from tracecode.reports.tables import ARROW, ROWS_AT_ONCE, Column, Kind, Table

FORMATS = ("csv", "xlsx", "parquet", "json", "html", "svg", "png")
LANGUAGES = ("zh", "en")

PAGE_ROWS_MAX = 100
"""Rows of a list on the page for people; spreadsheets have all."""
SHEET_ROWS_MAX = 1_048_575
"""What a sheet of a workbook holds below its heading."""
DIGITS_EXACT_MAX = 11
"""A spreadsheet shows longer numbers rounded."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

_FIGURE_COLUMNS = (
    Column("name", Kind.TEXT, "指标代码", "Name"),
    Column("group", Kind.TEXT, "类别", "Group"),
    Column("title", Kind.TEXT, "指标", "Figure"),
    Column("value", Kind.TEXT, "数值", "Value"),
    Column("unit", Kind.TEXT, "单位", "Unit"),
    Column("numerator", Kind.COUNT, "分子", "Numerator"),
    Column("denominator", Kind.COUNT, "分母", "Denominator"),
    Column("definition", Kind.TEXT, "口径", "Definition"),
)
_UNITS_ZH = {
    Unit.COUNT: "个",
    Unit.FEN: "元",
    Unit.SHARE: "比例",
    Unit.PER_10000: "每万笔",
    Unit.SECONDS: "秒",
    Unit.DAYS: "天",
}


def export_report(
    report: Report, out: Path, formats: Sequence[str] = FORMATS, *, language: str = "zh"
) -> list[Path]:
    """Write the report in these formats into the folder `out`; returns the files, in order.

    Raises ValueError for a format or a language that there is not.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no format; choose from {', '.join(FORMATS)}")
    if language not in LANGUAGES:
        raise ValueError(f"{language!r} is no language of a report; choose from {', '.join(LANGUAGES)}")
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name in FORMATS:
        if name in formats:
            written += _WRITERS[name](report, out, language)
    return written


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A place to write to, which becomes `path` at the end."""
    begun = path.with_name(f".{path.name}-begun")
    try:
        yield begun
        os.replace(begun, path)
    finally:
        begun.unlink(missing_ok=True)


def _title(thing: Column | Table, language: str) -> str:
    return thing.title_zh if language == "zh" else thing.title_en


def figure_row(value: FigureValue, language: str) -> tuple[str, str, str, Any, str, int, int | None, str]:
    """A figure as a row: name, group, title, value (money in yuan), unit, the two counts, meaning."""
    figure, zh = value.figure, language == "zh"
    number = value.value
    if figure.unit is Unit.FEN and number is not None:
        number = Decimal(number) / 100
    return (
        figure.name,
        GROUP_TITLES[figure.group][not zh],
        figure.title_zh if zh else figure.title_en,
        number,
        _UNITS_ZH[figure.unit] if zh else "yuan" if figure.unit is Unit.FEN else figure.unit.value,
        value.numerator,
        value.denominator,
        figure.definition_zh if zh else figure.definition_en,
    )


def about(report: Report, language: str) -> list[tuple[str, str]]:
    """What a reader must know of a report, as pairs of heading and text."""
    first, last = report.period.first, report.period.last
    if language == "zh":
        return [
            ("报告期", f"{report.period.name}（{first} 至 {last}）"),
            ("行政区划", report.division or "全部"),
            ("数据截至", f"日志第 {report.as_of} 条，{report.as_of_time}（北京时间）"),
            ("报告期状态", "已结束" if report.closed else "尚未结束，数据不完整"),
            ("说明", "疑点是系统根据记录作出的提示，不是结论；结论以案件办理为准。"),
        ]
    return [
        ("Period", f"{report.period.name} ({first} to {last})"),
        ("Division", report.division or "all"),
        ("Counted up to", f"entry {report.as_of} of the journal, {report.as_of_time} in China"),
        ("State", "over" if report.closed else "not over yet: the figures are not complete"),
        ("Note", "Findings are hints that records give, not conclusions; cases conclude."),
    ]


# --- Comma-separated ----------------------------------------------------------------------------


def spreadsheet_text(text: str, *, code: bool = False) -> str:
    """Text that no spreadsheet takes for a formula or, if it is a code, for a number.

    A formula is disarmed by an apostrophe; before digits that would be rounded, or would lose their zeros,
    stands a tab, which is not shown.
    """
    if text.startswith(_FORMULA):
        return f"'{text}"
    if code and _looks_like_number(text):
        return f"\t{text}"
    return text


def _looks_like_number(text: str) -> bool:
    if not text.isascii() or not text[:1].isdigit():
        return False
    if text.isdigit():
        return len(text) > DIGITS_EXACT_MAX or (text.startswith("0") and len(text) > 1)
    # 1E5 is a number, 2026-03 and 3/4 are dates to a spreadsheet.
    return all(character in "0123456789.eE+-/:" for character in text)


def _csv_cell(value: Any, kind: Kind) -> str:
    if value is None:
        return ""
    if kind is Kind.FEN:
        return f"{Decimal(value) / 100:.2f}"
    if kind in (Kind.SHARE, Kind.PER_10000, Kind.DAYS):
        return f"{value:.6f}"
    if kind in (Kind.TEXT, Kind.CODE):
        return spreadsheet_text(str(value), code=kind is Kind.CODE)
    return str(value)


def _write_csv(report: Report, out: Path, language: str) -> list[Path]:
    def write(name: str, columns: Sequence[Column], rows: Iterator[Sequence[Any]]) -> Path:
        path = out / f"{report.name}-{name}.csv"
        # The byte order mark tells a spreadsheet that this is UTF-8.
        with _whole(path) as begun, begun.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([_title(column, language) for column in columns])
            kinds = [column.kind for column in columns]
            for row in rows:
                writer.writerow([_csv_cell(*cell) for cell in zip(row, kinds, strict=True)])
        return path

    heading = (Column("name", Kind.TEXT, "项目", "Item"), Column("text", Kind.TEXT, "内容", "Text"))
    return [
        write("about", heading, iter(about(report, language))),
        write("figures", _FIGURE_COLUMNS, (_figure_cells(each, language) for each in report.figures)),
        *(write(table.name, table.columns, report.rows(table)) for table in report.tables),
    ]


def _figure_cells(value: FigureValue, language: str) -> tuple[Any, ...]:
    row = list(figure_row(value, language))
    number = row[3]
    row[3] = "" if number is None else str(number)
    # A negative number here is a number.
    return tuple(row)


# --- Workbook -----------------------------------------------------------------------------------


def _write_xlsx(report: Report, out: Path, language: str) -> list[Path]:
    path = out / f"{report.name}.xlsx"
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_numbers": False,
        "strings_to_urls": False,
    }
    with _whole(path) as begun, xlsxwriter.Workbook(str(begun), options) as book:
        book.set_properties({"title": report.name, "author": "tracecode", "created": report.as_of_time})
        formats = {
            Kind.TEXT: book.add_format({"num_format": "@"}),
            Kind.CODE: book.add_format({"num_format": "@"}),
            Kind.COUNT: book.add_format({"num_format": "#,##0"}),
            Kind.FEN: book.add_format({"num_format": "#,##0.00"}),
            Kind.SHARE: book.add_format({"num_format": "0.00%"}),
            Kind.PER_10000: book.add_format({"num_format": "0.0000"}),
            Kind.DAYS: book.add_format({"num_format": "0.0"}),
            Kind.DAY: book.add_format({"num_format": "yyyy-mm-dd"}),
        }
        bold = book.add_format({"bold": True})
        sheet = book.add_worksheet("about")
        for row, pair in enumerate(about(report, language)):
            sheet.write_string(row, 0, pair[0], bold)
            sheet.write_string(row, 1, pair[1])
        sheet.set_column(0, 0, 16)
        sheet.set_column(1, 1, 80)
        _put_figures(book, report, language, formats, bold)
        counts = {
            table.name: _put_table(book, report, table, language, formats, bold) for table in report.tables
        }
        charts = book.add_worksheet("charts")
        _put_chart(book, charts, 0, report, language, "days", ("sales", "codes_sold"), "line", counts)
        _put_chart(book, charts, 18, report, language, "days", ("found", "suspected"), "line", counts)
        _put_chart(
            book, charts, 36, report, language, "causes", ("cleared", "dismissed", "confirmed"), "bar", counts
        )
        _put_chart(book, charts, 54, report, language, "divisions", ("suspected", "confirmed"), "bar", counts)
    return [path]


def _put_figures(book: Any, report: Report, language: str, formats: dict[Kind, Any], bold: Any) -> None:
    sheet = book.add_worksheet("figures")
    sheet.freeze_panes(1, 0)
    for column, about_column in enumerate(_FIGURE_COLUMNS):
        sheet.write_string(0, column, _title(about_column, language), bold)
    for row, value in enumerate(report.figures, start=1):
        for column, cell in enumerate(figure_row(value, language)):
            if isinstance(cell, str):
                sheet.write_string(row, column, cell, formats[Kind.TEXT])
            elif cell is not None:
                kind = _UNIT_KINDS[value.figure.unit] if column == 3 else Kind.COUNT
                sheet.write_number(row, column, float(cell), formats[kind])
    sheet.set_column(0, 2, 24)
    sheet.set_column(3, 6, 14)
    sheet.set_column(7, 7, 90)


_UNIT_KINDS = {
    Unit.COUNT: Kind.COUNT,
    Unit.FEN: Kind.FEN,
    Unit.SHARE: Kind.SHARE,
    Unit.PER_10000: Kind.PER_10000,
    Unit.SECONDS: Kind.COUNT,
    Unit.DAYS: Kind.DAYS,
}


def _put_table(
    book: Any, report: Report, table: Table, language: str, formats: dict[Kind, Any], bold: Any
) -> int:
    """Put a list on a sheet, and on further ones where one is full; how many rows the first has."""
    rows = report.rows(table)
    first = 0
    for part in range(1, 1_000):
        sheet = book.add_worksheet(table.name if part == 1 else f"{table.name} {part}")
        sheet.freeze_panes(1, 0)
        for column, about_column in enumerate(table.columns):
            sheet.write_string(0, column, _title(about_column, language), bold)
            sheet.set_column(column, column, 24 if about_column.kind in (Kind.TEXT, Kind.CODE) else 14)
        count = 0
        for count, row in enumerate(islice(rows, SHEET_ROWS_MAX), start=1):
            for column, (cell, about_column) in enumerate(zip(row, table.columns, strict=True)):
                _put_cell(sheet, count, column, cell, about_column.kind, formats)
        first = first or count
        if count < SHEET_ROWS_MAX:
            break
    return first


def _put_cell(sheet: Any, row: int, column: int, cell: Any, kind: Kind, formats: dict[Kind, Any]) -> None:
    if cell is None:
        return
    if kind in (Kind.TEXT, Kind.CODE):
        sheet.write_string(row, column, str(cell), formats[kind])
    elif kind is Kind.DAY:
        sheet.write_datetime(row, column, cell, formats[kind])
    else:
        sheet.write_number(row, column, cell / 100 if kind is Kind.FEN else float(cell), formats[kind])


def _put_chart(
    book: Any,
    sheet: Any,
    row: int,
    report: Report,
    language: str,
    name: str,
    series: Sequence[str],
    shape: str,
    counts: dict[str, int],
) -> None:
    table = next(each for each in report.tables if each.name == name)
    count = min(counts[name], 31 * 3 if name == "days" else 20)
    if not count:
        return
    names = [column.name for column in table.columns]
    label = {"days": 0, "causes": 1 if language == "zh" else 2, "divisions": 1}[name]
    chart = book.add_chart({"type": shape, **({"subtype": "stacked"} if shape == "bar" else {})})
    for each in series:
        at = names.index(each)
        chart.add_series(
            {
                "name": [name, 0, at],
                "categories": [name, 1, label, count, label],
                "values": [name, 1, at, count, at],
            }
        )
    chart.set_title({"name": _title(table, language)})
    if shape == "bar":
        chart.set_y_axis({"reverse": True})
    chart.set_size({"width": 900, "height": 340})
    sheet.insert_chart(row, 0, chart)


# --- For programs -------------------------------------------------------------------------------


def _write_parquet(report: Report, out: Path, _language: str) -> list[Path]:
    figures = pa.table(
        {
            "name": [each.figure.name for each in report.figures],
            "unit": [each.figure.unit.value for each in report.figures],
            "numerator": pa.array([each.numerator for each in report.figures], pa.int64()),
            "denominator": pa.array([each.denominator for each in report.figures], pa.int64()),
        }
    )
    paths = [out / f"{report.name}-figures.parquet"]
    with _whole(paths[0]) as begun:
        pq.write_table(figures.replace_schema_metadata(_metadata(report)), begun, compression="zstd")
    for table in report.tables:
        path = out / f"{report.name}-{table.name}.parquet"
        schema = table.schema.with_metadata(_metadata(report))
        rows = report.rows(table)
        with _whole(path) as begun, pq.ParquetWriter(begun, schema, compression="zstd") as writer:
            while block := list(islice(rows, ROWS_AT_ONCE)):
                columns = zip(*block, strict=True)
                arrays = [
                    pa.array(values, ARROW[column.kind])
                    for values, column in zip(columns, table.columns, strict=True)
                ]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
        paths.append(path)
    return paths


def _metadata(report: Report) -> dict[str, str]:
    return {"period": report.period.name, "division": report.division, "as_of": str(report.as_of)}


def _write_json(report: Report, out: Path, _language: str) -> list[Path]:
    path = out / f"{report.name}.json"
    with _whole(path) as begun, begun.open("w", encoding="utf-8") as file:
        head = {
            "period": report.period.name,
            "first_day": report.period.first.isoformat(),
            "last_day": report.period.last.isoformat(),
            "division": report.division,
            "as_of": report.as_of,
            "as_of_time": report.as_of_time.isoformat() + "+08:00",
            "closed": report.closed,
            "figures": [_figure_json(each) for each in report.figures],
        }
        file.write(json.dumps(head, ensure_ascii=False, indent=1)[:-2] + ',\n "tables": {')
        for number, table in enumerate(report.tables):
            file.write(("," if number else "") + f"\n  {json.dumps(table.name)}: [")
            names = [column.name for column in table.columns]
            for count, row in enumerate(report.rows(table)):
                document = dict(zip(names, map(_json_cell, row), strict=True))
                file.write(("," if count else "") + "\n   " + json.dumps(document, ensure_ascii=False))
            file.write("]")
        file.write("}\n}\n")
    return [path]


def _figure_json(value: FigureValue) -> dict[str, Any]:
    figure, number = value.figure, value.value
    return {
        "name": figure.name,
        "group": figure.group.value,
        "unit": figure.unit.value,
        "value": float(number) if isinstance(number, Decimal) else number,
        "numerator": value.numerator,
        "denominator": value.denominator,
        "title_zh": figure.title_zh,
        "title_en": figure.title_en,
        "definition_zh": figure.definition_zh,
        "definition_en": figure.definition_en,
    }


def _json_cell(cell: Any) -> Any:
    return cell.isoformat() if isinstance(cell, date) else cell


# --- For people ---------------------------------------------------------------------------------


def _draw(report: Report, language: str, picture: str) -> Iterator[tuple[str, bytes]]:
    # Only whoever wants pictures waits for the library that draws them.
    draw = importlib.import_module("tracecode.reports.charts").draw_charts
    yield from draw(report, language, picture)


def _write_svg(report: Report, out: Path, language: str) -> list[Path]:
    return _write_pictures(report, out, language, "svg")


def _write_png(report: Report, out: Path, _language: str) -> list[Path]:
    # The font that comes with the library has no Chinese.
    return _write_pictures(report, out, "en", "png")


def _write_pictures(report: Report, out: Path, language: str, picture: str) -> list[Path]:
    paths = []
    for name, content in _draw(report, language, picture):
        path = out / f"{report.name}-{name}.{picture}"
        with _whole(path) as begun:
            begun.write_bytes(content)
        paths.append(path)
    return paths


def show_cell(cell: Any, kind: Kind) -> str:
    """A cell as the page shows it."""
    if cell is None:
        return "—"
    match kind:
        case Kind.FEN:
            return say_fen(int(cell))
        case Kind.SHARE:
            return f"{cell:.2%}"
        case Kind.PER_10000:
            return f"{cell:,.4f}"
        case Kind.DAYS:
            return f"{cell:,.1f}"
        case Kind.COUNT:
            return f"{cell:,}"
    return str(cell)


def _write_html(report: Report, out: Path, language: str) -> list[Path]:
    path = out / f"{report.name}.html"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    groups = [
        (
            GROUP_TITLES[group][language != "zh"],
            [
                (*figure_row(each, language), show_cell(each.value, _UNIT_KINDS[each.figure.unit]))
                for each in report.figures
                if each.figure.group is group
            ],
        )
        for group in GROUP_TITLES
    ]
    tables = []
    for table in report.tables:
        rows = [
            [
                (show_cell(cell, column.kind), column.kind)
                for cell, column in zip(row, table.columns, strict=True)
            ]
            for row in islice(report.rows(table), PAGE_ROWS_MAX + 1)
        ]
        titles = [_title(column, language) for column in table.columns]
        tables.append((_title(table, language), titles, rows[:PAGE_ROWS_MAX], len(rows) > PAGE_ROWS_MAX))
    # Without the declaration that a file of its own begins with.
    pictures = [
        content.decode()[content.decode().index("<svg") :] for _, content in _draw(report, language, "svg")
    ]
    page = environment.get_template("report.html").render(
        language="zh-CN" if language == "zh" else "en",
        zh=language == "zh",
        report=report,
        about=about(report, language),
        groups=groups,
        tables=tables,
        pictures=pictures,
        rows_max=PAGE_ROWS_MAX,
        texts={Kind.TEXT, Kind.CODE, Kind.DAY},
    )
    with _whole(path) as begun:
        begun.write_text(page, encoding="utf-8")
    return [path]


_WRITERS: dict[str, Callable[[Report, Path, str], list[Path]]] = {
    "csv": _write_csv,
    "xlsx": _write_xlsx,
    "parquet": _write_parquet,
    "json": _write_json,
    "html": _write_html,
    "svg": _write_svg,
    "png": _write_png,
}
