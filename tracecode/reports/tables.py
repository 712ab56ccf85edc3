"""Every list of a report: its columns with their titles, and how its rows are counted.

Rows are read one block at a time and are never all in memory. Each list has an order in which no two rows
are equal, so that the same ledger gives the same list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import duckdb
import pyarrow as pa

ROWS_AT_ONCE = 10_000


class Kind(StrEnum):
    """What stands in a column."""

    TEXT = "text"
    CODE = "code"
    """Digits that are a name and no number."""
    COUNT = "count"
    FEN = "fen"
    SHARE = "share"
    PER_10000 = "per_10000"
    DAYS = "days"
    DAY = "day"


ARROW = {
    Kind.TEXT: pa.string(),
    Kind.CODE: pa.string(),
    Kind.COUNT: pa.int64(),
    Kind.FEN: pa.int64(),
    Kind.SHARE: pa.float64(),
    Kind.PER_10000: pa.float64(),
    Kind.DAYS: pa.float64(),
    Kind.DAY: pa.date32(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str
    kind: Kind
    title_zh: str
    title_en: str


@dataclass(frozen=True, slots=True)
class Table:
    """One list: its SQL gives the columns in their order."""

    name: str
    title_zh: str
    title_en: str
    columns: tuple[Column, ...]
    sql: str

    @property
    def schema(self) -> pa.Schema:
        """The columns as Arrow has them."""
        return pa.schema([pa.field(column.name, ARROW[column.kind]) for column in self.columns])


def read_rows(connection: duckdb.DuckDBPyConnection, table: Table) -> Iterator[Sequence[Any]]:
    """The rows of a list, in order. Of one connection, one list at a time."""
    found = connection.execute(table.sql)
    while rows := found.fetchmany(ROWS_AT_ONCE):
        yield from rows


def _by_place(place: str) -> str:
    """What is counted of institutions or divisions: documents, sales, findings, cases."""
    return f"""
    WITH d AS (
        SELECT {place} AS place, count(*) AS documents,
               count(*) FILTER (delay_seconds > 172800) AS late
        FROM document GROUP BY ALL
    ), s AS (
        SELECT {place} AS place, count(DISTINCT sequence) AS sales, count(*) AS lines,
               count(*) FILTER (coded) AS coded, sum(amount_fen)::BIGINT AS amount_fen
        FROM sale_line GROUP BY ALL
    ), f AS (
        SELECT {place} AS place, count(*) AS found, count(*) FILTER (suspected) AS suspected,
               count(*) FILTER (confirmed) AS confirmed, count(*) FILTER (false_alarm) AS false_alarms
        FROM found GROUP BY ALL
    ), m AS (
        SELECT {place} AS place, sum(amount_fen)::BIGINT AS suspected_fen FROM doubtful_line GROUP BY ALL
    ), c AS (
        SELECT {place} AS place,
               count(*) FILTER (open_day BETWEEN first_day() AND last_day()) AS opened
        FROM case_file GROUP BY ALL
    ), o AS (
        SELECT {place} AS place, sum(o.amount_fen)::BIGINT AS decided_fen
        FROM case_outcome AS o JOIN case_file USING (case_number)
        WHERE o.day BETWEEN first_day() AND last_day() GROUP BY ALL
    ), places AS (SELECT place FROM d UNION SELECT place FROM c)
    SELECT place, coalesce(documents, 0) AS documents, coalesce(sales, 0) AS sales,
           coalesce(lines, 0) AS lines, coded / nullif(lines, 0) AS coded_share,
           late / nullif(documents, 0) AS late_share, coalesce(found, 0) AS found,
           coalesce(suspected, 0) AS suspected, coalesce(confirmed, 0) AS confirmed,
           coalesce(false_alarms, 0) AS false_alarms, coalesce(amount_fen, 0) AS amount_fen,
           coalesce(suspected_fen, 0) AS suspected_fen, coalesce(opened, 0) AS opened,
           coalesce(decided_fen, 0) AS decided_fen
    FROM places LEFT JOIN d USING (place) LEFT JOIN s USING (place) LEFT JOIN f USING (place)
    LEFT JOIN m USING (place) LEFT JOIN c USING (place) LEFT JOIN o USING (place)
    """


_COUNTED = (
    Column("documents", Kind.COUNT, "单据数", "Documents"),
    Column("sales", Kind.COUNT, "有效销售单数", "Sales"),
    Column("sale_lines", Kind.COUNT, "有效销售行数", "Sale lines"),
    Column("coded_share", Kind.SHARE, "采集率", "Lines with codes"),
    Column("late_share", Kind.SHARE, "迟报率", "Late"),
    Column("found", Kind.COUNT, "发现疑点数", "Found"),
    Column("suspected", Kind.COUNT, "疑似违规数", "Suspected"),
    Column("confirmed", Kind.COUNT, "确认违规数", "Confirmed"),
    Column("false_alarms", Kind.COUNT, "误报数", "False alarms"),
    Column("sale_amount_fen", Kind.FEN, "销售金额", "Amount of sales"),
    Column("suspected_amount_fen", Kind.FEN, "疑似违规金额", "Amount suspected"),
    Column("cases_opened", Kind.COUNT, "立案数", "Cases opened"),
    Column("decided_amount_fen", Kind.FEN, "追回扣款罚款金额", "Recovered, deducted, fined"),
)
_ORDER = "confirmed DESC, suspected DESC, found DESC, suspected_fen DESC, place"

TABLES = (
    Table(
        "days",
        "逐日",
        "Days",
        (
            Column("day", Kind.DAY, "业务日", "Business day"),
            Column("documents", Kind.COUNT, "单据数", "Documents"),
            Column("sales", Kind.COUNT, "有效销售单数", "Sales"),
            Column("codes_sold", Kind.COUNT, "售出追溯码数", "Codes sold"),
            Column("late", Kind.COUNT, "迟报单据数", "Late documents"),
            Column("found", Kind.COUNT, "发现疑点数", "Found"),
            Column("suspected", Kind.COUNT, "疑似违规数", "Suspected"),
        ),
        """
        SELECT day, coalesce(documents, 0), coalesce(sales, 0), coalesce(codes, 0), coalesce(late, 0),
               coalesce(found, 0), coalesce(suspected, 0)
        FROM (SELECT CAST(unnest(generate_series(first_day(), last_day(), INTERVAL 1 DAY)) AS DATE) AS day)
        LEFT JOIN (SELECT business_day AS day, count(*) AS documents,
                          count(*) FILTER (delay_seconds > 172800) AS late
                   FROM document GROUP BY ALL) USING (day)
        LEFT JOIN (SELECT business_day AS day, count(DISTINCT sequence) AS sales,
                          count(DISTINCT code) AS codes
                   FROM counted WHERE kind = 1 GROUP BY ALL) USING (day)
        LEFT JOIN (SELECT business_day AS day, count(*) AS found, count(*) FILTER (suspected) AS suspected
                   FROM found GROUP BY ALL) USING (day)
        ORDER BY day
        """,
    ),
    Table(
        "causes",
        "疑点与误报（按原因）",
        "Findings and false alarms by cause",
        (
            Column("type", Kind.TEXT, "疑点类型", "Finding"),
            Column("title_zh", Kind.TEXT, "疑点名称", "Chinese title"),
            Column("title_en", Kind.TEXT, "英文名称", "Title"),
            Column("found", Kind.COUNT, "发现", "Found"),
            Column("cleared", Kind.COUNT, "后续单据解除", "Cleared by later entries"),
            Column("dismissed", Kind.COUNT, "人工判误报", "Dismissed by people"),
            Column("suspected", Kind.COUNT, "疑似违规", "Suspected"),
            Column("confirmed", Kind.COUNT, "确认违规", "Confirmed"),
            Column("false_alarms_per_10000", Kind.PER_10000, "每万笔销售误报数", "False alarms per 10,000"),
            Column("precision", Kind.SHARE, "准确率", "Precision"),
        ),
        """
        SELECT coalesce(t.name, f.type::VARCHAR) AS name, coalesce(t.title_zh, ''), coalesce(t.title_en, ''),
               count(*) AS found, count(*) FILTER (NOT standing), count(*) FILTER (dismissed),
               count(*) FILTER (suspected), count(*) FILTER (confirmed),
               count(*) FILTER (false_alarm AND kind = 1) * 10000
                   / nullif((SELECT count(DISTINCT sequence) FROM sale_line), 0),
               count(*) FILTER (confirmed) / nullif(count(*) FILTER (confirmed OR dismissed), 0)
        FROM found AS f LEFT JOIN finding_type AS t USING (type)
        GROUP BY f.type, t.name, t.title_zh, t.title_en ORDER BY found DESC, name
        """,
    ),
    Table(
        "case_states",
        "案件环节",
        "Case states",
        (
            Column("state", Kind.TEXT, "环节", "State"),
            Column("title_zh", Kind.TEXT, "名称", "Chinese name"),
            Column("cases_at_end", Kind.COUNT, "期末案件数", "Cases at the end"),
            Column("overdue_at_end", Kind.COUNT, "期末超期", "Overdue at the end"),
            Column("left_count", Kind.COUNT, "本期完成", "Left in the period"),
            Column("left_late_count", Kind.COUNT, "其中超期", "Of these late"),
            Column("mean_days", Kind.DAYS, "平均天数", "Mean days"),
            Column("days_max", Kind.COUNT, "最长天数", "Most days"),
        ),
        """
        SELECT c.name, c.title_zh, coalesce(at_end, 0), coalesce(overdue, 0), coalesce(gone, 0),
               coalesce(gone_late, 0), days / nullif(gone, 0), longest
        FROM case_state AS c
        LEFT JOIN (SELECT state, count(*) AS at_end,
                          count(*) FILTER (state <> 6 AND due_day < last_day()) AS overdue
                   FROM stay_at_end GROUP BY state) AS e ON e.state = c.number
        LEFT JOIN (SELECT state, count(*) AS gone, count(*) FILTER (end_day > due_day) AS gone_late,
                          sum(end_day - begin_day) AS days, max(end_day - begin_day) AS longest
                   FROM case_stay WHERE end_day BETWEEN first_day() AND last_day()
                   GROUP BY state) AS s ON s.state = c.number
        ORDER BY c.number
        """,
    ),
    Table(
        "outcomes",
        "处理结果",
        "Outcomes",
        (
            Column("outcome", Kind.TEXT, "结果", "Outcome"),
            Column("title_zh", Kind.TEXT, "名称", "Chinese name"),
            Column("cases", Kind.COUNT, "案件数", "Cases"),
            Column("amount_fen", Kind.FEN, "金额", "Amount"),
        ),
        """
        SELECT t.name, t.title_zh, count(DISTINCT o.case_number), coalesce(sum(o.amount_fen), 0)::BIGINT
        FROM outcome_type AS t LEFT JOIN case_outcome AS o
          ON o.type = t.number AND o.day BETWEEN first_day() AND last_day()
        GROUP BY t.number, t.name, t.title_zh ORDER BY t.number
        """,
    ),
    Table(
        "divisions",
        "区划排名",
        "Divisions",
        (
            Column("rank", Kind.COUNT, "名次", "Rank"),
            Column("division_code", Kind.CODE, "行政区划", "Division"),
            *_COUNTED,
        ),
        f"SELECT row_number() OVER (ORDER BY {_ORDER}) AS rank, * "
        f"FROM ({_by_place('division_code')}) ORDER BY rank",
    ),
    Table(
        "institutions",
        "机构排名",
        "Institutions",
        (
            Column("rank", Kind.COUNT, "名次", "Rank"),
            Column("institution_code", Kind.CODE, "机构编码", "Institution"),
            Column("institution_name", Kind.TEXT, "机构名称", "Name"),
            Column("division_code", Kind.CODE, "行政区划", "Division"),
            *_COUNTED,
        ),
        f"""
        SELECT row_number() OVER (ORDER BY {_ORDER}) AS rank, place, coalesce(r.name, ''),
               coalesce(nullif(r.division_code, ''), substr(place, 2, 6)), p.* EXCLUDE (place)
        FROM ({_by_place("institution_code")}) AS p
        LEFT JOIN registered AS r ON r.institution_code = place ORDER BY rank
        """,
    ),
    Table(
        "findings",
        "疑似违规清单",
        "Suspected findings",
        (
            Column("business_day", Kind.DAY, "业务日", "Business day"),
            Column("institution_code", Kind.CODE, "机构编码", "Institution"),
            Column("institution_name", Kind.TEXT, "机构名称", "Name"),
            Column("document_number", Kind.CODE, "单据号", "Document"),
            Column("line_number", Kind.COUNT, "行号", "Line"),
            Column("code", Kind.CODE, "追溯码", "Code"),
            Column("type", Kind.TEXT, "疑点类型", "Finding"),
            Column("title_zh", Kind.TEXT, "疑点名称", "Chinese title"),
            Column("stage", Kind.TEXT, "阶段", "Stage"),
            Column("case_number", Kind.CODE, "案件编号", "Case"),
            Column("sequence", Kind.COUNT, "日志序号", "Entry"),
        ),
        """
        SELECT f.business_day, f.institution_code, coalesce(r.name, ''), f.document_number, f.line_number,
               f.code, coalesce(t.name, f.type::VARCHAR), coalesce(t.title_zh, ''),
               CASE WHEN f.confirmed THEN 'confirmed' ELSE 'suspected' END, f.case_number, f.sequence
        FROM found AS f LEFT JOIN finding_type AS t USING (type)
        LEFT JOIN registered AS r USING (institution_code)
        WHERE f.suspected ORDER BY f.sequence, f.line_number, f.code, f.type
        """,
    ),
)
"""In the order of the report."""
