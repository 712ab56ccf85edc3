"""Every number of a report: its name, its definition for people, and how it is counted.

A figure's SQL gives one row: the number itself, or numerator and denominator. Tables are those of source.py.
Amounts are fen. "Took place" means: not refused, not taken back by a deletion, and a sale that both channels
reported once.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum

import duckdb

from tracecode.cases.moves import OutcomeType


class Unit(StrEnum):
    """What a number means."""

    COUNT = "count"
    FEN = "fen"
    SHARE = "share"
    """0 to 1."""
    PER_10000 = "per_10000"
    SECONDS = "seconds"
    DAYS = "days"


class Group(StrEnum):
    """Under which heading a figure stands."""

    COVERAGE = "coverage"
    SALES = "sales"
    FUNNEL = "funnel"
    CASES = "cases"
    TIMELINESS = "timeliness"
    ACCURACY = "accuracy"


GROUP_TITLES = {
    Group.COVERAGE: ("覆盖", "Coverage"),
    Group.SALES: ("扫码与销售", "Scans and sales"),
    Group.FUNNEL: ("疑点处置漏斗", "From finding to confirmation"),
    Group.CASES: ("案件与金额", "Cases and money"),
    Group.TIMELINESS: ("及时性", "Timeliness"),
    Group.ACCURACY: ("准确性", "Accuracy"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a report."""

    name: str
    group: Group
    unit: Unit
    title_zh: str
    title_en: str
    definition_zh: str
    definition_en: str
    sql: str


@dataclass(frozen=True, slots=True)
class FigureValue:
    """A figure as it was counted; `denominator` is None where the figure is the number itself."""

    figure: Figure
    numerator: int
    denominator: int | None

    @property
    def value(self) -> Decimal | int | None:
        """The number; None where there is nothing to divide by."""
        return divide(self.figure.unit, self.numerator, self.denominator)


def divide(unit: Unit, numerator: int, denominator: int | None) -> Decimal | int | None:
    """Six decimals of a quotient, in its unit; the number itself where the denominator is None."""
    if denominator is None:
        return numerator
    if not denominator:
        return None
    scale = 10_000 if unit is Unit.PER_10000 else 1
    return (Decimal(numerator * scale) / denominator).quantize(Decimal("0.000001"), ROUND_HALF_EVEN)


def count_figures(connection: duckdb.DuckDBPyConnection) -> tuple[FigureValue, ...]:
    """All figures, in their order."""
    values = []
    for figure in FIGURES:
        row = connection.execute(figure.sql).fetchone()
        assert row is not None
        numerator, denominator = (*row, None)[:2]
        values.append(
            FigureValue(figure, int(numerator or 0), None if denominator is None else int(denominator))
        )
    return tuple(values)


def _money(name: str, title_zh: str, title_en: str, outcome: OutcomeType) -> Figure:
    return Figure(
        name,
        Group.CASES,
        Unit.FEN,
        title_zh,
        title_en,
        f"本期案件办理中登记的{title_zh}，按登记当日计。",
        "What moves of cases in the period say of it, by the day of the move.",
        "SELECT coalesce(sum(amount_fen), 0) FROM case_outcome "
        f"WHERE type = {int(outcome)} AND day BETWEEN first_day() AND last_day()",
    )


def _decided(name: str, title_zh: str, title_en: str, *outcomes: OutcomeType) -> Figure:
    kinds = ", ".join(str(int(outcome)) for outcome in outcomes)
    return Figure(
        name,
        Group.CASES,
        Unit.COUNT,
        title_zh,
        title_en,
        f"本期登记处理结果为{title_zh}的案件数。",
        "Cases of which a move in the period says so.",
        "SELECT count(DISTINCT case_number) FROM case_outcome "
        f"WHERE type IN ({kinds}) AND day BETWEEN first_day() AND last_day()",
    )


FIGURES = (
    # --- coverage
    Figure(
        "institutions_registered",
        Group.COVERAGE,
        Unit.COUNT,
        "登记机构数",
        "Registered institutions",
        "登记册内的定点医药机构数。",
        "Institutions of the register.",
        "SELECT count(*) FROM register",
    ),
    Figure(
        "institutions_reporting",
        Group.COVERAGE,
        Unit.COUNT,
        "上传机构数",
        "Institutions reporting",
        "本期至少有一张单据的机构数。",
        "Institutions with at least one document of the period, registered or not.",
        "SELECT count(DISTINCT institution_code) FROM document",
    ),
    Figure(
        "institutions_reporting_share",
        Group.COVERAGE,
        Unit.SHARE,
        "机构接入率",
        "Share of institutions reporting",
        "登记机构中本期有单据的比例。",
        "Registered institutions with a document of the period, of all registered ones.",
        "SELECT count(*) FILTER (institution_code IN (SELECT institution_code FROM document)), count(*) "
        "FROM register",
    ),
    Figure(
        "sale_lines_coded_share",
        Group.COVERAGE,
        Unit.SHARE,
        "销售行采集率",
        "Sale lines with codes",
        "有效销售行中读出追溯码的比例。",
        "Lines of sales that took place on which a code was read, of all of them.",
        "SELECT count(*) FILTER (coded), count(*) FROM sale_line",
    ),
    Figure(
        "insured_lines_coded_share",
        Group.COVERAGE,
        Unit.SHARE,
        "医保结算行采集率",
        "Insured lines with codes",
        "有效医保结算销售行中读出追溯码的比例。",
        "The same, of lines that the insurance pays.",
        "SELECT count(*) FILTER (coded AND insured), count(*) FILTER (insured) FROM sale_line",
    ),
    Figure(
        "receipt_lines_coded_share",
        Group.COVERAGE,
        Unit.SHARE,
        "入库行采集率",
        "Receipt lines with codes",
        "有效采购入库行中读出追溯码的比例。",
        "Lines of receipts that stand on which a code was read, of all of them.",
        "SELECT count(*) FILTER (coded), count(*) FROM (SELECT bool_or(code IS NOT NULL) AS coded "
        "FROM counted WHERE kind = 3 GROUP BY sequence, line_number)",
    ),
    # --- sales
    Figure(
        "documents",
        Group.SALES,
        Unit.COUNT,
        "单据数",
        "Documents",
        "本期业务日的全部单据，含被拒绝和被删除的。",
        "All documents whose business day lies in the period, refused and deleted ones too.",
        "SELECT count(*) FROM document",
    ),
    Figure(
        "documents_refused",
        Group.SALES,
        Unit.COUNT,
        "拦截单据数",
        "Documents refused",
        "结算前被拒绝的单据。",
        "Asked before settlement and refused.",
        "SELECT count(*) FROM document WHERE refused",
    ),
    Figure(
        "documents_deleted",
        Group.SALES,
        Unit.COUNT,
        "被删除单据数",
        "Documents taken back",
        "被删除单（3507）撤回的本期单据。",
        "Documents of the period that a deletion (3507) took back.",
        "SELECT count(*) FROM document WHERE deleted",
    ),
    Figure(
        "sales",
        Group.SALES,
        Unit.COUNT,
        "有效销售单数",
        "Sales",
        "发生了的销售：未拒绝、未删除，双通道上报只计一次。",
        "Sales that took place.",
        "SELECT count(DISTINCT sequence) FROM sale_line",
    ),
    Figure(
        "sale_lines",
        Group.SALES,
        Unit.COUNT,
        "有效销售行数",
        "Sale lines",
        "有效销售单的行数。",
        "Lines of sales that took place.",
        "SELECT count(*) FROM sale_line",
    ),
    Figure(
        "sale_amount",
        Group.SALES,
        Unit.FEN,
        "销售金额",
        "Amount of sales",
        "有效销售行的数量乘单价之和；未报单价的行不计。",
        "Quantity times price of these lines; lines without a price count nothing.",
        "SELECT coalesce(sum(amount_fen), 0) FROM sale_line",
    ),
    Figure(
        "scans",
        Group.SALES,
        Unit.COUNT,
        "扫码次数",
        "Scans",
        "本期单据上扫到内容的次数，不论能否读出追溯码。",
        "Rows of the period's lines on which something was scanned, readable or not.",
        "SELECT count(*) FROM line WHERE in_period AND code_class <> 0",
    ),
    Figure(
        "scans_read_share",
        Group.SALES,
        Unit.SHARE,
        "扫码识读率",
        "Share of scans read",
        "扫码次数中读出追溯码的比例。",
        "Of these, the ones that gave a code.",
        "SELECT count(*) FILTER (code IS NOT NULL), count(*) FROM line WHERE in_period AND code_class <> 0",
    ),
    Figure(
        "codes_sold",
        Group.SALES,
        Unit.COUNT,
        "售出追溯码数",
        "Codes sold",
        "有效销售中不同追溯码的个数。",
        "Different codes on sales that took place.",
        "SELECT count(DISTINCT code) FROM counted WHERE kind = 1",
    ),
    Figure(
        "codes_received",
        Group.SALES,
        Unit.COUNT,
        "入库追溯码数",
        "Codes received",
        "有效采购入库中不同追溯码的个数。",
        "Different codes on receipts that stand.",
        "SELECT count(DISTINCT code) FROM counted WHERE kind = 3",
    ),
    # --- funnel
    Figure(
        "findings_found",
        Group.FUNNEL,
        Unit.COUNT,
        "发现疑点数",
        "Found",
        "本期单据上曾达到提醒及以上级别的疑点，初判或复判。",
        "Findings of the period's documents that ever weighed WARN or more, at first or when revised.",
        "SELECT count(*) FROM found",
    ),
    Figure(
        "findings_cleared",
        Group.FUNNEL,
        Unit.COUNT,
        "后续单据解除数",
        "Cleared by later entries",
        "后到单据使其不再成立的疑点。",
        "Of these, the ones that no longer stand because of entries that came later.",
        "SELECT count(*) FROM found WHERE NOT standing",
    ),
    Figure(
        "findings_suspected",
        Group.FUNNEL,
        Unit.COUNT,
        "疑似违规数",
        "Suspected",
        "仍成立且未判误报，并且同一单据有两种以上疑点，或同一机构本期三个以上追溯码有同种疑点；"
        "已立案的和已确认的也计入。",
        "Stands, is not dismissed, and: its document has two different findings, or its institution three "
        "codes with this finding in the period. What is in a case or confirmed is suspected, too.",
        "SELECT count(*) FROM found WHERE suspected",
    ),
    Figure(
        "documents_suspected",
        Group.FUNNEL,
        Unit.COUNT,
        "疑似违规单据数（人次）",
        "Documents suspected",
        "有疑似违规的单据数。",
        "Documents with a suspected finding.",
        "SELECT count(DISTINCT sequence) FROM found WHERE suspected",
    ),
    Figure(
        "findings_in_cases",
        Group.FUNNEL,
        Unit.COUNT,
        "立案疑点数",
        "Taken into cases",
        "已列入案件的疑点。",
        "Findings that are in a case.",
        "SELECT count(*) FROM found WHERE in_case",
    ),
    Figure(
        "findings_confirmed",
        Group.FUNNEL,
        Unit.COUNT,
        "确认违规数",
        "Confirmed",
        "人员确认（含办结）的疑点，或其案件以违规销号且未判误报的疑点。",
        "Confirmed by people, or in a case that was closed with a violation and not dismissed.",
        "SELECT count(*) FROM found WHERE confirmed",
    ),
    Figure(
        "amount_suspected",
        Group.FUNNEL,
        Unit.FEN,
        "疑似违规金额",
        "Amount suspected",
        "有疑似违规的有效销售行金额之和，每行计一次。",
        "What lines of sales with a suspected finding cost, each line once.",
        "SELECT coalesce(sum(amount_fen), 0) FROM doubtful_line",
    ),
    Figure(
        "amount_confirmed",
        Group.FUNNEL,
        Unit.FEN,
        "检出违规金额",
        "Amount confirmed",
        "有确认违规的有效销售行金额之和，每行计一次。",
        "What lines of sales with a confirmed finding cost, each line once.",
        "SELECT coalesce(sum(amount_fen), 0) FROM doubtful_line WHERE confirmed",
    ),
    # --- cases
    Figure(
        "cases_opened",
        Group.CASES,
        Unit.COUNT,
        "立案数",
        "Cases opened",
        "本期立案的案件。",
        "Cases opened in the period.",
        "SELECT count(*) FROM case_file WHERE open_day BETWEEN first_day() AND last_day()",
    ),
    Figure(
        "cases_closed",
        Group.CASES,
        Unit.COUNT,
        "销号数",
        "Cases closed",
        "本期销号且至今未重启的案件。",
        "Cases whose last closing lies in the period, and that were not taken up again.",
        "SELECT count(*) FROM case_file WHERE close_day BETWEEN first_day() AND last_day()",
    ),
    Figure(
        "cases_closed_with_violation",
        Group.CASES,
        Unit.COUNT,
        "查实销号数",
        "Cases closed with a violation",
        "其中认定有违规的。",
        "Of these, the ones with an outcome other than NO_VIOLATION.",
        "SELECT count(*) FROM case_file WHERE violation AND close_day BETWEEN first_day() AND last_day()",
    ),
    Figure(
        "cases_open",
        Group.CASES,
        Unit.COUNT,
        "期末在办案件数",
        "Cases open at the end",
        "期末尚未销号的案件。",
        "Cases that were open at the end of the period's last day.",
        "SELECT count(*) FROM stay_at_end WHERE state <> 6",
    ),
    _money("amount_recovered", "追回金额", "Amount recovered", OutcomeType.RECOVERED),
    _money("amount_deducted", "拒付扣款金额", "Amount deducted", OutcomeType.DEDUCTED),
    _money("amount_fined", "罚款金额", "Amount fined", OutcomeType.FINE),
    Figure(
        "amount_rewarded",
        Group.CASES,
        Unit.FEN,
        "举报奖励金额",
        "Amount of rewards",
        "本期发放的举报奖励。",
        "Paid in the period for tip-offs.",
        "SELECT coalesce(sum(amount_fen), 0) FROM case_reward WHERE day BETWEEN first_day() AND last_day()",
    ),
    _decided("cases_suspended", "暂停协议", "Agreements suspended", OutcomeType.SUSPENSION),
    _decided("cases_terminated", "解除协议", "Agreements terminated", OutcomeType.TERMINATION),
    _decided(
        "cases_handed_over",
        "移送",
        "Cases handed over",
        OutcomeType.POLICE,
        OutcomeType.DISCIPLINE,
        OutcomeType.MARKET_SUPERVISION,
        OutcomeType.TAX,
    ),
    # --- timeliness
    Figure(
        "documents_late_share",
        Group.TIMELINESS,
        Unit.SHARE,
        "迟报率",
        "Share of late documents",
        "收到时距业务时间超过48小时的单据比例。",
        "Documents received more than 48 hours after they happened, of all.",
        "SELECT count(*) FILTER (delay_seconds > 172800), count(*) FROM document",
    ),
    Figure(
        "documents_very_late_share",
        Group.TIMELINESS,
        Unit.SHARE,
        "严重迟报率",
        "Share of very late documents",
        "收到时距业务时间超过30天的单据比例。",
        "Documents received more than 30 days after they happened, of all.",
        "SELECT count(*) FILTER (delay_seconds > 2592000), count(*) FROM document",
    ),
    Figure(
        "delay_median_seconds",
        Group.TIMELINESS,
        Unit.SECONDS,
        "上传延迟中位数",
        "Median delay",
        "从业务时间到收到，按单据的中位数。",
        "From the business time to the receipt, the median of documents.",
        "SELECT quantile_disc(delay_seconds, 0.5) FROM document",
    ),
    Figure(
        "delay_p95_seconds",
        Group.TIMELINESS,
        Unit.SECONDS,
        "上传延迟第95百分位",
        "95th percentile of delays",
        "95%的单据在此时间内收到。",
        "95 of 100 documents came in this time.",
        "SELECT quantile_disc(delay_seconds, 0.95) FROM document",
    ),
    Figure(
        "stays_in_time_share",
        Group.TIMELINESS,
        Unit.SHARE,
        "限期环节按时完成率",
        "Case states left in time",
        "本期结束的有期限环节（整改、复查）中，不晚于期限的比例。",
        "Of the case states with a due date that were left in the period, those left by that day.",
        "SELECT count(*) FILTER (end_day <= due_day), count(*) FROM case_stay "
        "WHERE due_day IS NOT NULL AND end_day BETWEEN first_day() AND last_day()",
    ),
    Figure(
        "cases_overdue",
        Group.TIMELINESS,
        Unit.COUNT,
        "期末超期案件数",
        "Cases overdue at the end",
        "期末所处环节已过期限的案件。",
        "Cases whose state at the end of the period's last day should have been left before.",
        "SELECT count(*) FROM stay_at_end WHERE state <> 6 AND due_day < last_day()",
    ),
    Figure(
        "days_to_close",
        Group.TIMELINESS,
        Unit.DAYS,
        "平均办结天数",
        "Mean days to close",
        "本期销号案件从立案到销号的平均天数。",
        "Days from opening to closing, the mean of the cases closed in the period.",
        "SELECT coalesce(sum(close_day - open_day), 0), count(*) FROM case_file "
        "WHERE close_day BETWEEN first_day() AND last_day()",
    ),
    # --- accuracy
    Figure(
        "findings_dismissed",
        Group.ACCURACY,
        Unit.COUNT,
        "人工判误报数",
        "Dismissed by people",
        "人员判为误报的疑点。",
        "Findings that people said are not what they say.",
        "SELECT count(*) FROM found WHERE dismissed",
    ),
    Figure(
        "false_alarms_per_10000",
        Group.ACCURACY,
        Unit.PER_10000,
        "每万笔销售误报数",
        "False alarms per 10,000 sales",
        "销售单据上判误报的和后续单据解除的疑点数，除以有效销售单数，乘一万；已立案或已确认的不算。",
        "Findings of sales that were dismissed, or cleared by later entries and neither in a case nor "
        "confirmed, per 10,000 sales that took place.",
        "SELECT (SELECT count(*) FROM found WHERE false_alarm AND kind = 1), "
        "(SELECT count(DISTINCT sequence) FROM sale_line)",
    ),
    Figure(
        "dismissed_per_10000",
        Group.ACCURACY,
        Unit.PER_10000,
        "每万笔销售人工判误报数",
        "Dismissed per 10,000 sales",
        "销售单据上人工判误报的疑点数，除以有效销售单数，乘一万。",
        "The same, of what people dismissed alone.",
        "SELECT (SELECT count(*) FROM found WHERE dismissed AND kind = 1), "
        "(SELECT count(DISTINCT sequence) FROM sale_line)",
    ),
    Figure(
        "precision",
        Group.ACCURACY,
        Unit.SHARE,
        "预警准确率",
        "Precision of what people judged",
        "人员已判定的疑点中确认违规的比例。",
        "Of the findings that people confirmed or dismissed, the confirmed ones.",
        "SELECT count(*) FILTER (confirmed), count(*) FILTER (confirmed OR dismissed) FROM found",
    ),
)
"""In the order of the report."""
