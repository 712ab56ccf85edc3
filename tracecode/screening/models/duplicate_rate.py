"""Codes sold again here while an earlier sale stands: a kept code, or a box that came back."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="duplicate_rate",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="重复销售率",
    title_en="duplicate rate",
    inputs=(
        "repeated_sale",
        "size",
    ),
    sql="""
    SELECT s.institution_code AS subject, count(DISTINCT s.code) / any_value(z.codes_sold) AS value,
           count(DISTINCT s.code) AS support, any_value(z.codes_sold) AS codes_sold,
           count(*) AS repeat_sales, count(DISTINCT s.person_token) AS persons,
           list(DISTINCT s.code ORDER BY s.code)[:5] AS examples
    FROM repeated_sale AS s JOIN size AS z USING (institution_code)
    WHERE s.place > 1 AND s.in_period
    GROUP BY s.institution_code
    """,
    evidence="""
    SELECT institution_code AS subject, institution_code, sequence, code FROM repeated_sale
    WHERE place > 1 AND in_period
    """,
    why_zh=(
        "{support} 个追溯码在本机构再次销售（此前的销售仍有效），占所售 {codes_sold} 个码"
        "的 {value:.2%}；同类机构中位数 "
        "{peer_median:.2%}，稳健 z 值 {z:.1f}；涉及 {persons} 名参保人"
    ),
    why_en=(
        "{support} codes were sold here again while an earlier sale stands, {value:.2%} "
        "of {codes_sold} codes sold; the peers' median is {peer_median:.2%}, robust z "
        "{z:.1f}; {persons} persons bought them"
    ),
    absent=0.0,
    counts_codes=True,
    excluded_zh="已排除：退货、删除、双通道同一结算、拆零、同一单据",
    excluded_en=("Left out: returns, deletions, two channels of one settlement, split packs, one document"),
)
