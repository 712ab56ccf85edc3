"""Days on which far more is settled than on the same weekday before: 年末突击划卡."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="year_end_burst",
    version=4,
    kind=Kind.INSTITUTION,
    title_zh="年末突击",
    title_en="year-end burst",
    inputs=("sale", "lines_year_before"),
    # What was reported by both channels a year ago counts twice there, on the day and in what it is compared
    # with: a ratio does not feel it.
    sql="""
    WITH daily AS (
        SELECT institution_code, business_day, sum(amount)::DOUBLE AS amount
        FROM sale WHERE insured AND amount IS NOT NULL GROUP BY institution_code, business_day
        UNION ALL
        SELECT institution_code, business_day, sum(amount)::DOUBLE FROM lines_year_before
        WHERE kind = 1 AND NOT refused AND settlement_type = 1 AND amount IS NOT NULL
        GROUP BY institution_code, business_day
    ), looked_at AS (
        SELECT *, business_day >= first_day() AS now FROM daily
        WHERE list_contains(CAST($season_months AS INTEGER[]), month(business_day)::INTEGER)
          AND (business_day >= first_day()
               OR business_day BETWEEN first_day() - CAST($year_days AS INTEGER)
                                   AND last_day() - CAST($year_days AS INTEGER))
    ), compared AS (
        SELECT d.institution_code, d.business_day, d.now, any_value(d.amount) AS amount,
               median(b.amount) FILTER (dayofweek(b.business_day) = dayofweek(d.business_day))
                   AS weekday_median,
               count(*) FILTER (dayofweek(b.business_day) = dayofweek(d.business_day)) AS weekdays,
               median(b.amount) AS any_median, count(b.amount) AS days
        FROM looked_at AS d JOIN daily AS b ON b.institution_code = d.institution_code
         AND b.business_day < d.business_day
         AND b.business_day >= d.business_day - CAST($baseline_days AS INTEGER)
        GROUP BY d.institution_code, d.business_day, d.now
    ), ratio AS (
        SELECT institution_code, business_day, now, amount,
               amount / CASE WHEN weekdays >= $weekdays_min THEN weekday_median ELSE any_median END AS ratio
        FROM compared WHERE days >= $days_min
    ), year_before AS (
        SELECT institution_code, list_reverse_sort(list(ratio))[3] AS third
        FROM ratio WHERE NOT now GROUP BY institution_code
    ), risen AS (
        SELECT r.*, coalesce(y.third, 0) AS before_third,
               ratio / least(greatest(coalesce(y.third, 1), 1), $year_before_max) AS rise
        FROM ratio AS r LEFT JOIN year_before AS y USING (institution_code) WHERE now
    )
    SELECT institution_code AS subject, coalesce(list_reverse_sort(list(rise))[3], 0) AS value,
           count(*) FILTER (rise >= $ratio_min) AS support, max(ratio) AS worst,
           arg_max(business_day, ratio)::VARCHAR AS worst_day, any_value(before_third) AS year_before,
           coalesce(sum(amount) FILTER (rise >= $ratio_min), 0) AS amount
    FROM risen GROUP BY institution_code
    """,
    evidence="""
    SELECT subject, institution_code, sequence, code FROM led
    JOIN sale ON institution_code = subject AND business_day = worst_day::DATE
    WHERE insured
    """,
    why_zh=(
        "{support} 天的医保结算额达到此前同一星期日中位数的数倍，最高为 {worst_day} 的 {worst:.1f} 倍，"
        "这些天共 {amount:.0f} 元；本机构上年同期第三高日为 {year_before:.1f} 倍（0 表示无上年数据）；"
        "同类机构第三高日中位数 {peer_median:.1f} 倍，z 值 {z:.1f}"
    ),
    why_en=(
        "on {support} days far more was settled than the median of the same weekday before, at most "
        "{worst:.1f} times as much on {worst_day}, {amount:.0f} yuan on these days; its own third day a year "
        "ago was {year_before:.1f} times (0 = nothing is known of that year); the peers' third day is "
        "{peer_median:.1f} times, robust z {z:.1f}"
    ),
    excluded_zh="单日促销不构成线索（至少三天）；上年同期已有的季节性增长最多按两倍扣除",
    excluded_en=(
        "One day of promotion is no lead: it takes three. What the season brought a year ago is taken off, "
        "up to twofold"
    ),
)
