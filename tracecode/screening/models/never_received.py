"""Codes sold that never came in, where the institution uploads what comes in."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="never_received",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="无入库销售占比",
    title_en="never-received share",
    inputs=(
        "sale",
        "inbound",
        "lines",
        "size",
    ),
    sql="""
    WITH coverage AS (
        SELECT institution_code, avg((code IS NOT NULL)::INT) AS coverage FROM lines
        WHERE kind IN (3, 5) AND operation IN (1, 7) AND line_row = 0
          AND NOT is_exempt(findings, drug_code)
        GROUP BY institution_code
    ), sold AS (
        SELECT DISTINCT institution_code, code FROM sale
        WHERE in_period AND code IS NOT NULL AND product IS NOT NULL
    )
    SELECT s.institution_code AS subject, avg((i.code IS NULL)::INT) AS value,
           count(*) FILTER (i.code IS NULL) AS support, count(*) AS codes_sold,
           any_value(c.coverage) AS coverage,
           list(s.code ORDER BY s.code) FILTER (i.code IS NULL)[:5] AS examples
    FROM sold AS s JOIN coverage AS c USING (institution_code)
    LEFT JOIN inbound AS i ON i.institution_code = s.institution_code AND i.code = s.code
    WHERE c.coverage >= $coverage_min
    GROUP BY s.institution_code
    """,
    evidence="""
    SELECT s.institution_code AS subject, s.institution_code, s.sequence, s.code FROM sale AS s
    LEFT JOIN inbound AS i ON i.institution_code = s.institution_code AND i.code = s.code
    WHERE s.institution_code IN (SELECT subject FROM led) AND s.in_period AND s.code IS NOT NULL
      AND s.product IS NOT NULL AND i.code IS NULL
    """,
    why_zh=(
        "所售 {codes_sold} 个追溯码中 {support} 个没有入库记录，占 {value:.1%}；本机构入库扫码覆盖率 "
        "{coverage:.0%}；同类中位数 {peer_median:.1%}"
    ),
    why_en=(
        "{support} of {codes_sold} codes sold here never came in, {value:.1%}; "
        "{coverage:.0%} of what comes in is uploaded with codes; the peers' median is "
        "{peer_median:.1%}"
    ),
    counts_codes=True,
    excluded_zh="已计入：期初、调入、迟到的入库、整件内的小码；入库覆盖率不足的机构不比较",
    excluded_en=(
        "Counted: opening stock, transfers, late receipts, boxes inside cartons; "
        "institutions that do not upload receipts are not compared"
    ),
)
