"""One prescriber behind most prescriptions of a pharmacy, or more an hour than anybody can write."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="prescriber_concentration",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="处方集中",
    title_en="prescriber concentration",
    inputs=("sale",),
    sql="""
    WITH prescribed AS (
        SELECT institution_code, prescriber_token, settlement, min(business_time) AS time, count(*) AS lines
        FROM sale WHERE in_period AND prescriber_token <> '' GROUP BY ALL
    ), hourly AS (
        SELECT institution_code, prescriber_token, sum(lines)::BIGINT AS lines, max(prescriptions) AS peak
        FROM (
            SELECT institution_code, prescriber_token, date_trunc('hour', time) AS hour, sum(lines) AS lines,
                   count(*) AS prescriptions
            FROM prescribed GROUP BY ALL
        ) GROUP BY ALL
    ), counted AS (
        SELECT institution_code, sum(lines)::BIGINT AS lines, max(lines) AS most,
               arg_max(prescriber_token, lines) AS prescriber, max(peak) AS peak,
               sum(lines * lines)::DOUBLE AS squares, count(*) AS prescribers
        FROM hourly GROUP BY institution_code
    )
    SELECT institution_code AS subject,
           CASE WHEN peak > $peak_max THEN 1 WHEN institution_code LIKE 'P%' THEN most / lines ELSE 0 END
               AS value, most / lines AS share, lines AS support, prescriber, peak,
           squares / (lines * lines) AS concentration, prescribers
    FROM counted
    """,
    evidence="""
    SELECT subject, institution_code, sequence, '' AS code FROM led
    JOIN sale ON institution_code = subject AND prescriber_token = prescriber
    WHERE in_period
    """,
    why_zh=(
        "{support} 行处方药中一名处方者占 {share:.0%}（共 {prescribers} 名处方者，集中度 HHI "
        "{concentration:.2f}），最高每小时 {peak} 张；同类中位数 {peer_median:.0%}"
    ),
    why_en=(
        "one prescriber stands behind {share:.0%} of {support} prescribed lines "
        "({prescribers} prescribers, HHI {concentration:.2f}), at most {peak} "
        "prescriptions in an hour; the peers' median is {peer_median:.0%}"
    ),
    excluded_zh="卫生院、诊所自有医生在合理速度内不计（一村一医）",
    excluded_en=("A clinic's own doctors at a human pace are left out: a village has one"),
)
