"""One card that buys more often in a week than nearly all others of its division."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="frequent_purchases",
    version=1,
    kind=Kind.PERSON,
    title_zh="频繁购药",
    title_en="frequent purchases",
    inputs=("sale",),
    # The ledger knows no ages: the peers are all who bought in the division where the person mostly buys.
    sql="""
    WITH visit AS (
        SELECT person_token, institution_code, settlement, any_value(division_code) AS division,
               min(business_day) AS day
        FROM sale WHERE in_period AND insured AND person_token <> ''
        GROUP BY person_token, institution_code, settlement
    ), running AS (
        SELECT person_token, day, count(*) OVER (
                   PARTITION BY person_token ORDER BY day
                   RANGE BETWEEN INTERVAL 6 DAY PRECEDING AND CURRENT ROW) AS visits
        FROM visit
    ), most AS (
        SELECT person_token, max(visits) AS visits, arg_max(day, visits) AS until
        FROM running GROUP BY person_token
    ), home AS (
        SELECT person_token, mode(division) AS division, count(DISTINCT institution_code) AS institutions
        FROM visit GROUP BY person_token
    ), compared AS (
        SELECT division, count(*) AS peer_count, median(visits) AS peer_median,
               mad(visits) * 1.4826 AS peer_deviation, quantile_disc(visits, $peer_share) AS peer_limit
        FROM most JOIN home USING (person_token) GROUP BY division
    )
    SELECT person_token AS subject, visits::DOUBLE AS value, visits AS support, peer_count, peer_median,
           peer_deviation, 'division ' || division AS peer_group, peer_limit, institutions,
           (until - 6)::VARCHAR AS since, until::VARCHAR AS until
    FROM most JOIN home USING (person_token) JOIN compared USING (division)
    WHERE visits > peer_limit * $limit_factor AND visits >= $visits_min AND peer_count >= $peers_min
    """,
    evidence="""
    SELECT subject, institution_code, sequence, code FROM led
    JOIN sale ON person_token = subject AND business_day BETWEEN since::DATE AND until::DATE
    WHERE in_period AND insured
    """,
    why_zh=(
        "{since} 至 {until} 七天内医保购药 {support} 次，期间涉及机构 {institutions} 家；本区划 {peers} "
        "人中绝大多数每周最多 {peer_limit} 次，中位数 {peer_median:.0f} 次，z 值 {z:.1f}"
    ),
    why_en=(
        "{support} insured purchases in the seven days from {since} to {until}; {institutions} institutions "
        "in the period; nearly all {peers} persons of the division come at most {peer_limit} times a week, "
        "the median is {peer_median:.0f}, robust z {z:.1f}"
    ),
    excluded_zh="已排除：退货、删除、双通道同一结算；同一结算的多行计一次",
    excluded_en=(
        "Left out: returns, deletions, two channels of one settlement; lines of one settlement count once"
    ),
)
