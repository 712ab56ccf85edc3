"""Settlements as round as money: cash for the card."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="round_amounts",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="整额结算",
    title_en="round amounts",
    inputs=("sale",),
    sql="""
    SELECT institution_code AS subject, avg(round::INT) AS value, count(*) FILTER (round) AS support,
           count(*) AS settlements, sum(amount) FILTER (round)::DOUBLE AS amount
    FROM (
        SELECT institution_code, settlement, sum(amount) AS amount,
               sum(amount) > 0 AND sum(amount) % CAST($multiple AS INTEGER) = 0 AS round
        FROM sale WHERE in_period AND insured AND amount IS NOT NULL GROUP BY institution_code, settlement
    ) GROUP BY institution_code
    """,
    evidence="""
    SELECT institution_code AS subject, institution_code, unnest(entries) AS sequence, '' AS code FROM (
        SELECT institution_code, settlement, list(DISTINCT sequence) AS entries FROM sale
        WHERE institution_code IN (SELECT subject FROM led) AND in_period AND insured AND amount IS NOT NULL
        GROUP BY institution_code, settlement
        HAVING sum(amount) > 0 AND sum(amount) % CAST($multiple AS INTEGER) = 0
    )
    """,
    why_zh=(
        "{settlements} 笔医保结算中 {support} 笔为整百金额，占 {value:.1%}，共 {amount:.0f} 元；同类中位数 "
        "{peer_median:.1%}，z 值 {z:.1f}"
    ),
    why_en=(
        "{support} of {settlements} insured settlements are multiples of a hundred yuan, "
        "{value:.1%}, {amount:.0f} yuan in all; the peers' median is {peer_median:.1%}, "
        "robust z {z:.1f}"
    ),
)
