"""Boxes that are sold, taken back and sold again, round after round."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="return_cycles",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="退货循环",
    title_en="return cycles",
    inputs=(
        "sale",
        "lines",
        "deleted",
        "size",
    ),
    sql="""
    WITH returned AS (
        SELECT institution_code, code, count(DISTINCT sequence) AS returns FROM lines
        WHERE kind = 2 AND code IS NOT NULL AND NOT split AND business_day >= first_day()
          AND sequence NOT IN (SELECT sequence FROM deleted)
        GROUP BY institution_code, code HAVING count(DISTINCT sequence) >= $returns_min
    )
    SELECT r.institution_code AS subject, 1000 * sum(r.returns) / any_value(z.settlements) AS value,
           count(*) AS support, sum(r.returns)::BIGINT AS returns, max(r.returns) AS worst,
           any_value(z.settlements) AS settlements, list(r.code ORDER BY r.code)[:5] AS examples
    FROM returned AS r JOIN size AS z USING (institution_code)
    GROUP BY r.institution_code
    """,
    evidence="""
    SELECT subject, institution_code, sequence, code FROM led
    JOIN lines ON institution_code = subject AND list_contains(examples, code)
    WHERE kind IN (1, 2) AND business_day >= first_day() AND NOT refused
    """,
    why_zh=(
        "{support} 个追溯码反复退货再销（最多 {worst} 次），共 {returns} 次，每千笔结算 {value:.1f}"
        " 次；同类中位数 "
        "{peer_median:.1f}，z 值 {z:.1f}"
    ),
    why_en=(
        "{support} codes were returned and sold again repeatedly (at most {worst} times),"
        " {returns} returns, {value:.1f} per 1,000 settlements; the peers' median is "
        "{peer_median:.1f}, robust z {z:.1f}"
    ),
    absent=0.0,
    counts_codes=True,
    excluded_zh="一次退货后再销属正常",
    excluded_en="One return and one more sale is nothing",
)
