"""Days on which far more is settled than on the same weekday before: 年末突击划卡."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="year_end_burst",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="年末突击",
    title_en="year-end burst",
    inputs=("sale",),
    sql="""
    WITH daily AS (
        SELECT institution_code, business_day, sum(amount)::DOUBLE AS amount
        FROM sale WHERE insured AND amount IS NOT NULL GROUP BY institution_code, business_day
    ), compared AS (
        SELECT d.institution_code, d.business_day, any_value(d.amount) AS amount,
               median(b.amount) FILTER (dayofweek(b.business_day) = dayofweek(d.business_day))
                   AS weekday_median,
               count(*) FILTER (dayofweek(b.business_day) = dayofweek(d.business_day)) AS weekdays,
               median(b.amount) AS any_median, count(b.amount) AS days
        FROM daily AS d JOIN daily AS b ON b.institution_code = d.institution_code
         AND b.business_day < d.business_day
         AND b.business_day >= d.business_day - CAST($baseline_days AS INTEGER)
        WHERE d.business_day >= first_day()
          AND list_contains(CAST($season_months AS INTEGER[]), month(d.business_day)::INTEGER)
        GROUP BY d.institution_code, d.business_day
    ), ratio AS (
        SELECT institution_code, business_day, amount,
               amount / CASE WHEN weekdays >= $weekdays_min THEN weekday_median ELSE any_median END AS ratio
        FROM compared WHERE days >= $days_min
    )
    SELECT institution_code AS subject, coalesce(list_reverse_sort(list(ratio))[3], 0) AS value,
           count(*) FILTER (ratio >= $ratio_min) AS support, max(ratio) AS worst,
           arg_max(business_day, ratio)::VARCHAR AS worst_day,
           coalesce(sum(amount) FILTER (ratio >= $ratio_min), 0) AS amount
    FROM ratio GROUP BY institution_code
    """,
    evidence="""
    SELECT subject, institution_code, sequence, code FROM led
    JOIN sale ON institution_code = subject AND business_day = worst_day::DATE
    WHERE insured
    """,
    why_zh=(
        "{support} 天的医保结算额达到此前同一星期日中位数的数倍，最高为 {worst_day} 的 {worst:.1f}"
        " 倍，这些天共 "
        "{amount:.0f} 元；同类机构第三高日中位数 {peer_median:.1f} 倍，z 值 {z:.1f}"
    ),
    why_en=(
        "on {support} days far more was settled than the median of the same weekday "
        "before, at most {worst:.1f} times as much on {worst_day}, {amount:.0f} yuan on "
        "these days; the peers' third day is {peer_median:.1f} times, robust z {z:.1f}"
    ),
    excluded_zh="单日促销不构成线索（至少三天）",
    excluded_en="One day of promotion is no lead: it takes three",
)
