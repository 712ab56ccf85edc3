"""A basket of what resellers pay for: nearly all that a person buys are watched drugs, of many kinds."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="high_value_basket",
    version=1,
    kind=Kind.PERSON,
    title_zh="重点药品集中购买",
    title_en="basket of watched drugs",
    inputs=("sale",),
    # Who is ill for long rightly buys the same watched drugs again and again, mostly at one place: it takes
    # many different ones, from several.
    sql="""
    WITH bought AS (
        SELECT person_token, institution_code, settlement, drug_code, amount, quantity,
               is_of(drug_code, $watch_list) AS watched
        FROM sale WHERE in_period AND insured AND person_token <> '' AND amount IS NOT NULL AND NOT exempt
    ), basket AS (
        SELECT person_token, (sum(amount) FILTER (watched) / sum(amount))::DOUBLE AS share,
               coalesce(sum(quantity) FILTER (watched), 0)::BIGINT AS packs,
               sum(amount) FILTER (watched)::DOUBLE AS watched_amount, sum(amount)::DOUBLE AS amount,
               count(DISTINCT drug_code) FILTER (watched) AS drugs,
               count(DISTINCT institution_code) FILTER (watched) AS institutions
        FROM bought GROUP BY person_token
        HAVING count(DISTINCT (institution_code, settlement)) >= $visits_min AND sum(amount) > 0
    ), compared AS (
        SELECT count(*) AS peer_count, median(coalesce(share, 0)) AS peer_median,
               mad(coalesce(share, 0)) * 1.4826 AS peer_deviation
        FROM basket
    )
    SELECT person_token AS subject, share AS value, packs AS support, drugs, institutions, watched_amount,
           amount, peer_count, peer_median, peer_deviation, 'persons who bought as often' AS peer_group
    FROM basket, compared
    WHERE drugs >= $drugs_min AND institutions >= $institutions_min AND peer_count >= $peers_min
    """,
    evidence="""
    SELECT subject, institution_code, sequence, code FROM led
    JOIN sale ON person_token = subject
    WHERE in_period AND insured AND sale.amount IS NOT NULL AND NOT exempt
      AND is_of(drug_code, $watch_list)
    """,
    why_zh=(
        "在 {institutions} 家机构购买 {drugs} 种重点药品共 {support} 盒、{watched_amount:.0f} 元，"
        "占本人购药金额 {amount:.0f} 元的 {value:.0%}；"
        "{peers} 名购药次数相当的参保人中位数 {peer_median:.0%}，z 值 {z:.1f}"
    ),
    why_en=(
        "{support} packs of {drugs} different watched drugs from {institutions} institutions for "
        "{watched_amount:.0f} yuan, {value:.0%} of the {amount:.0f} spent; the median of {peers} persons who "
        "bought as often is {peer_median:.0%}, robust z {z:.1f}"
    ),
    excluded_zh="长期只用少数几种重点药品的慢性病患者不构成线索",
    excluded_en="Who takes one or a few watched drugs for a long illness is no lead",
)
