"""Insured lines without a code, or with a placeholder for one."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="no_code_share",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="无码占比",
    title_en="no-code share",
    inputs=("sale",),
    sql="""
    SELECT institution_code AS subject,
           avg((code IS NULL OR code_class = 5)::INT) AS value,
           count(*) FILTER (code IS NULL OR code_class = 5) AS support,
           count(*) AS lines, count(*) FILTER (code_class = 5) AS placeholders
    FROM sale
    WHERE in_period AND insured AND NOT split AND line_row = 0
      AND NOT exempt
    GROUP BY institution_code
    """,
    evidence="""
    SELECT institution_code AS subject, institution_code, sequence, code FROM sale
    WHERE institution_code IN (SELECT subject FROM led) AND (code IS NULL OR code_class = 5)
      AND in_period AND insured AND NOT split AND line_row = 0 AND NOT exempt
    """,
    why_zh=(
        "{lines} 行医保销售中 {support} 行未采集有效追溯码（其中占位码 {placeholders} 行）"
        "，占 {value:.1%}；同类中位数 "
        "{peer_median:.1%}，z 值 {z:.1f}"
    ),
    why_en=(
        "{support} of {lines} insured lines carry no code ({placeholders} a placeholder),"
        " {value:.1%}; the peers' median is {peer_median:.1%}, robust z {z:.1f}"
    ),
    excluded_zh="已排除：豁免药品、自费、拆零",
    excluded_en="Left out: exempt drugs, self-paid sales, split packs",
)
