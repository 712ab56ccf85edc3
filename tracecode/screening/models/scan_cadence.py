"""Insured sales in the night, when the shop is shut."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="scan_cadence",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="夜间结算",
    title_en="sales at night",
    inputs=("sale",),
    sql="""
    SELECT institution_code AS subject, avg(night::INT) AS value, count(*) FILTER (night) AS support,
           count(*) AS settlements
    FROM (
        SELECT institution_code, settlement,
               hour(min(business_time) + INTERVAL 8 HOUR) >= $night_from
               OR hour(min(business_time) + INTERVAL 8 HOUR) < $night_to AS night
        FROM sale WHERE in_period AND insured GROUP BY institution_code, settlement
    ) GROUP BY institution_code
    """,
    evidence="""
    SELECT institution_code AS subject, institution_code, sequence, code FROM sale
    WHERE institution_code IN (SELECT subject FROM led) AND in_period AND insured
      AND (hour(business_time + INTERVAL 8 HOUR) >= $night_from
           OR hour(business_time + INTERVAL 8 HOUR) < $night_to)
    """,
    why_zh=(
        "{settlements} 笔医保结算中 {support} 笔发生在夜间，占 {value:.1%}；同类中位数 {peer_median:.1%}"
        "，z 值 "
        "{z:.1f}"
    ),
    why_en=(
        "{support} of {settlements} insured settlements were made in the night, "
        "{value:.1%}; the peers' median is {peer_median:.1%}, robust z {z:.1f}"
    ),
)
