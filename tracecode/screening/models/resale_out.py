"""Codes first sold here that reappear elsewhere: whom the market is fed by."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="resale_out",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="回流流出",
    title_en="resale out",
    inputs=(
        "resold",
        "size",
    ),
    sql="""
    SELECT r.origin AS subject, count(DISTINCT r.code) / any_value(z.codes_sold) AS value,
           count(DISTINCT r.code) AS support, any_value(z.codes_sold) AS codes_sold,
           count(DISTINCT r.institution_code) AS sellers, count(DISTINCT r.origin_person) AS persons,
           list(DISTINCT r.code ORDER BY r.code)[:5] AS examples
    FROM resold AS r JOIN size AS z ON z.institution_code = r.origin
    WHERE r.origin_insured
    GROUP BY r.origin
    """,
    evidence="""
    SELECT origin AS subject, origin AS institution_code, origin_sequence AS sequence, code FROM resold
    WHERE origin_insured
    """,
    why_zh=(
        "本机构首次销售的 {support} 个追溯码后来在其他 {sellers} 家机构再次销售，占所售码"
        "的 {value:.2%}；同类中位数 "
        "{peer_median:.2%}，z 值 {z:.1f}；首次购药者 {persons} 人"
    ),
    why_en=(
        "{support} codes first sold here were sold again at {sellers} other institutions,"
        " {value:.2%} of codes sold; the peers' median is {peer_median:.2%}, robust z "
        "{z:.1f}; {persons} persons bought them here"
    ),
    absent=0.0,
    counts_codes=True,
    excluded_zh="已排除：同一连锁、有入库记录的机构",
    excluded_en=("Left out: branches of one chain, institutions where the code came in"),
)
