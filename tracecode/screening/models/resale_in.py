"""Codes sold here that were sold elsewhere before and never came in: 回流药."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="resale_in",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="回流购入",
    title_en="resale in",
    inputs=(
        "resold",
        "size",
    ),
    sql="""
    SELECT r.institution_code AS subject, count(DISTINCT r.code) / any_value(z.codes_sold) AS value,
           count(DISTINCT r.code) AS support, any_value(z.codes_sold) AS codes_sold,
           count(DISTINCT r.origin) AS origins, count(DISTINCT r.origin_person) AS origin_persons,
           median(date_diff('day', r.origin_time, r.business_time)) AS gap_days,
           list(DISTINCT r.code ORDER BY r.code)[:5] AS examples
    FROM resold AS r JOIN size AS z USING (institution_code)
    WHERE r.origin_insured
    GROUP BY r.institution_code
    """,
    evidence="""
    SELECT institution_code AS subject, institution_code, sequence, code FROM resold WHERE origin_insured
    """,
    why_zh=(
        "{support} 个追溯码此前已在其他 {origins} 家机构医保结算，本机构无入库记录却再次销"
        "售，占所售码的 {value:.2%}；间隔中位数 "
        "{gap_days:.0f} 天，首次购药者 {origin_persons} 人"
    ),
    why_en=(
        "{support} codes had been settled at {origins} other institutions and were sold "
        "here without ever coming in, {value:.2%} of codes sold; the median gap is "
        "{gap_days:.0f} days, {origin_persons} persons bought them first"
    ),
    absent=0.0,
    counts_codes=True,
    excluded_zh="已排除：同一连锁、调拨入库、退货后再销",
    excluded_en=("Left out: branches of one chain, transfers that came in, boxes returned before"),
)
