"""Drugs that resellers pay for, sold ever faster."""

from tracecode.screening.model import Kind, Model

_WATCHED = """SELECT drug_code FROM sale GROUP BY drug_code
        HAVING is_of(min(drug_code), $watch_list)"""
"""A condition on an aggregate is asked of each drug; DuckDB would ask one on the drug itself of each line."""

MODEL = Model(
    name="watch_list_growth",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="重点药品增长",
    title_en="watch-list growth",
    inputs=("sale",),
    sql=f"""
    WITH drugs AS (
        {_WATCHED}
    ), watched AS (
        SELECT institution_code,
               business_day >= last_day() - CAST((last_day() - first_day()) // 2 AS INTEGER) AS recent,
               sum(amount)::DOUBLE AS amount, count(*) AS lines
        FROM sale SEMI JOIN drugs USING (drug_code)
        WHERE in_period AND amount IS NOT NULL
        GROUP BY ALL
    )
    SELECT institution_code AS subject,
           (coalesce(sum(amount) FILTER (recent), 0) + $amount_floor)
           / (coalesce(sum(amount) FILTER (NOT recent), 0) + $amount_floor) AS value,
           coalesce(sum(lines) FILTER (recent), 0)::BIGINT AS support,
           coalesce(sum(amount) FILTER (recent), 0) AS recent_amount,
           coalesce(sum(amount) FILTER (NOT recent), 0) AS before_amount
    FROM watched GROUP BY institution_code
    """,
    evidence=f"""
    SELECT institution_code AS subject, institution_code, sequence, code FROM sale
    WHERE institution_code IN (SELECT subject FROM led) AND in_period AND amount IS NOT NULL
      AND business_day >= last_day() - CAST((last_day() - first_day()) // 2 AS INTEGER)
      AND drug_code IN ({_WATCHED})
    """,
    why_zh=(
        "重点药品销售额由前半期 {before_amount:.0f} 元升至后半期 {recent_amount:.0f} 元，为 {value:.1f} "
        "倍；同类中位数 {peer_median:.1f} 倍，z 值 {z:.1f}"
    ),
    why_en=(
        "sales of watched drugs went from {before_amount:.0f} to {recent_amount:.0f} yuan"
        " between the halves of the period, {value:.1f} times; the peers' median is "
        "{peer_median:.1f} times, robust z {z:.1f}"
    ),
    excluded_zh="金额很小的增长已被起点抵消",
    excluded_en="A floor keeps growth of small sums small",
)
