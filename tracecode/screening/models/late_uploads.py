"""Sales uploaded days after they were made."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="late_uploads",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="迟报占比",
    title_en="late uploads",
    inputs=("sale",),
    sql="""
    SELECT institution_code AS subject, avg(late::INT) AS value, count(*) FILTER (late) AS support,
           count(*) AS documents, median(hours) FILTER (late) AS hours
    FROM (
        SELECT institution_code, sequence, any_value(date_diff('hour', business_time, receive_time)) AS hours,
               any_value(date_diff('hour', business_time, receive_time)) >= $late_hours AS late
        FROM sale WHERE in_period GROUP BY institution_code, sequence
    ) GROUP BY institution_code
    """,
    evidence="""
    SELECT institution_code AS subject, institution_code, sequence, '' AS code FROM sale
    WHERE institution_code IN (SELECT subject FROM led) AND in_period
      AND date_diff('hour', business_time, receive_time) >= $late_hours
    """,
    why_zh=(
        "{documents} 份销售单据中 {support} 份迟报（中位数 {hours:.0f} 小时），占 {value:.1%}；同类中位数 "
        "{peer_median:.1%}，z 值 {z:.1f}"
    ),
    why_en=(
        "{support} of {documents} sales were uploaded late (median {hours:.0f} hours), "
        "{value:.1%}; the peers' median is {peer_median:.1%}, robust z {z:.1f}"
    ),
)
