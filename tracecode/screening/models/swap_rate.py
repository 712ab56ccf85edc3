"""Money billed for another drug than the code's: 串换, weighed by how far and how dear."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="swap_rate",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="串换率",
    title_en="swap rate",
    inputs=(
        "sale",
        "graded",
    ),
    sql="""
    WITH priced AS (
        SELECT product, median(price) AS price FROM sale
        WHERE price IS NOT NULL AND product IS NOT NULL
          AND (product, drug_code) NOT IN (SELECT (product, drug_code) FROM graded)
        GROUP BY product
    ), billed AS (
        SELECT s.institution_code, s.amount, g.grade, s.drug_code,
               list_extract(CAST($grade_weights AS INTEGER[]), g.grade) AS weight,
               CASE WHEN g.grade IS NOT NULL AND s.price > p.price
                    THEN (s.price - p.price) * s.quantity ELSE 0 END AS gain
        FROM sale AS s LEFT JOIN graded AS g ON g.product = s.product AND g.drug_code = s.drug_code
        LEFT JOIN priced AS p ON p.product = s.product
        WHERE s.in_period AND s.amount IS NOT NULL
    )
    SELECT institution_code AS subject, (sum(coalesce(weight, 0) * gain) / sum(amount))::DOUBLE AS value,
           count(*) FILTER (weight > 0 AND gain > 0) AS support, sum(gain)::DOUBLE AS gain,
           sum(amount)::DOUBLE AS amount, max(grade) AS grade
    FROM billed GROUP BY institution_code HAVING support > 0
    """,
    evidence="""
    SELECT institution_code AS subject, institution_code, sequence, code FROM sale
    JOIN graded USING (product, drug_code)
    WHERE institution_code IN (SELECT subject FROM led) AND in_period AND amount IS NOT NULL
      AND list_extract(CAST($grade_weights AS INTEGER[]), grade) > 0
    """,
    why_zh=(
        "{support} 行以追溯码对应药品以外的药品计费且价高，多计 {gain:.2f} 元（计费总额 {amount:.0f}"
        " 元），加权串换率 "
        "{value:.2%}；同类中位数 {peer_median:.2%}，z 值 {z:.1f}；最高串换级别 L{grade}"
    ),
    why_en=(
        "{support} lines were billed as another and dearer drug than the code's, "
        "{gain:.2f} yuan too much of {amount:.0f}; the weighted rate is {value:.2%}, the "
        "peers' median {peer_median:.2%}, robust z {z:.1f}; the worst grade is L{grade}"
    ),
    absent=0.0,
    excluded_zh="已排除：同品规换包装（L1）、价格不高于实物",
    excluded_en=("Left out: another pack of the same product (L1), billed prices that are no higher"),
)
