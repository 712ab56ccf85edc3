"""Whose boxes turn up again: codes bought first by a person and later sold to somebody else."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="resale_source",
    version=2,
    kind=Kind.PERSON,
    title_zh="回流来源",
    title_en="resale source",
    inputs=("resold",),
    sql="""
    SELECT origin_person AS subject, count(DISTINCT code)::DOUBLE AS value, count(DISTINCT code) AS support,
           count(DISTINCT origin) AS bought_at, count(DISTINCT institution_code) AS resold_at,
           list(DISTINCT code ORDER BY code)[:5] AS examples
    FROM resold
    WHERE origin_person <> '' AND origin_person <> person_token AND origin_insured
    GROUP BY origin_person
    """,
    evidence="""
    SELECT origin_person AS subject, origin AS institution_code, origin_sequence AS sequence, code
    FROM resold WHERE origin_person <> person_token AND origin_insured
    UNION ALL
    SELECT origin_person, institution_code, sequence, code
    FROM resold WHERE origin_person <> person_token AND origin_insured
    """,
    why_zh=(
        "该人员在 {bought_at} 家机构首次购得的 {support} 个追溯码，后来在 {resold_at} 家无"
        "入库记录的机构售予他人"
    ),
    why_en=(
        "{support} codes this person bought first, at {bought_at} institutions, were "
        "later sold to others at {resold_at} institutions where they never came in"
    ),
    counts_codes=True,
    excluded_zh="已排除：退货、同一机构留码、连锁调拨",
    excluded_en=("Left out: returns, codes kept at the same till, transfers in a chain"),
)
