"""Sales deleted after an alarm or long after they were made, with nothing in their place."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="deletions",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="事后删除",
    title_en="deletions afterwards",
    inputs=(
        "deleted",
        "size",
    ),
    sql="""
    SELECT d.institution_code AS subject, count(DISTINCT d.sequence) / any_value(z.settlements) AS value,
           count(DISTINCT d.sequence) AS support, any_value(z.settlements) AS settlements,
           count(DISTINCT d.sequence) FILTER (d.severity >= 3) AS flagged,
           median(date_diff('day', d.business_time, d.deletion_time)) AS days
    FROM deleted AS d JOIN size AS z USING (institution_code)
    WHERE NOT d.corrected
      AND (d.severity >= 3 OR d.deletion_time - d.business_time > to_days(CAST($late_days AS INTEGER)))
    GROUP BY d.institution_code
    """,
    evidence="""
    SELECT institution_code AS subject, institution_code, sequence, '' AS code FROM deleted
    WHERE NOT corrected
      AND (severity >= 3 OR deletion_time - business_time > to_days(CAST($late_days AS INTEGER)))
    """,
    why_zh=(
        "{support} 份单据在报警后或事后中位数 {days:.0f} 天被删除（其中 {flagged} 份已报警"
        "）且未更正，相当于结算的 "
        "{value:.2%}"
    ),
    why_en=(
        "{support} documents were deleted after an alarm ({flagged}) or a median of "
        "{days:.0f} days later, and not corrected: {value:.2%} of settlements"
    ),
    absent=0.0,
    excluded_zh="已排除：更正后重报",
    excluded_en="Left out: corrections that were sent anew",
)
