"""One card, one drug, many pharmacies; or two regions on one day."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="many_pharmacies",
    version=2,
    kind=Kind.PERSON,
    title_zh="多店购药",
    title_en="many pharmacies",
    inputs=("sale",),
    sql="""
    WITH bought AS (
        SELECT DISTINCT person_token, drug_code, institution_code, division_code, business_day FROM sale
        WHERE insured AND person_token <> '' AND business_day > last_day() - 180
    ), wide AS (
        SELECT a.person_token, a.drug_code, a.business_day,
               count(DISTINCT b.institution_code) AS institutions,
               count(DISTINCT b.division_code) FILTER (a.business_day = b.business_day)
                   AS divisions_a_day
        FROM bought AS a JOIN bought AS b ON a.person_token = b.person_token AND a.drug_code = b.drug_code
         AND b.business_day BETWEEN a.business_day AND a.business_day + CAST($window_days AS INTEGER)
        WHERE (a.person_token, a.drug_code) IN (
            SELECT (person_token, drug_code) FROM bought GROUP BY person_token, drug_code
            HAVING count(DISTINCT institution_code) >= $institutions_min)
        GROUP BY ALL
    )
    SELECT person_token AS subject, max(institutions)::DOUBLE AS value, max(institutions) AS support,
           arg_max(drug_code, institutions) AS drug, arg_max(business_day, institutions)::VARCHAR AS since,
           max(divisions_a_day) AS divisions_a_day
    FROM wide GROUP BY person_token HAVING max(institutions) >= $institutions_min
    """,
    evidence="""
    SELECT subject, institution_code, sequence, code FROM led
    JOIN sale ON person_token = subject AND drug_code = drug
    WHERE insured
    """,
    why_zh=(
        "自 {since} 起 30 天内在 {support} 家机构购买同一药品 {drug}；同日最多涉及 {divisions_a_day}"
        " 个统筹区划"
    ),
    why_en=(
        "bought {drug} at {support} institutions within 30 days from {since}; at most "
        "{divisions_a_day} divisions on one day"
    ),
)
