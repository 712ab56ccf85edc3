"""One card, one drug, many pharmacies; or two regions on one day."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="many_pharmacies",
    version=3,
    kind=Kind.PERSON,
    title_zh="多店购药",
    title_en="many pharmacies",
    inputs=("sale",),
    # A pooling area is the first four digits of a division: two of them are farther apart than a walk.
    sql="""
    WITH often AS (
        SELECT person_token, drug_code FROM sale
        WHERE insured AND person_token <> '' AND business_day > last_day() - 180
        GROUP BY person_token, drug_code HAVING count(*) >= least($institutions_min, 2 * $far_days_min)
    ), bought AS (
        SELECT DISTINCT person_token, drug_code, institution_code, left(division_code, 4) AS area,
               business_day
        FROM sale SEMI JOIN often USING (person_token, drug_code)
        WHERE insured AND business_day > last_day() - 180
    ), several AS (
        SELECT person_token, drug_code FROM bought GROUP BY person_token, drug_code
        HAVING count(DISTINCT institution_code) >= $institutions_min
            OR (min(area) <> max(area) AND count(*) >= 2 * $far_days_min)
    ), looked_at AS (
        SELECT bought.* FROM bought JOIN several USING (person_token, drug_code)
    ), wide AS (
        SELECT a.person_token, a.drug_code, a.business_day,
               count(DISTINCT b.institution_code) AS institutions
        FROM looked_at AS a JOIN looked_at AS b
          ON a.person_token = b.person_token AND a.drug_code = b.drug_code
         AND b.business_day BETWEEN a.business_day AND a.business_day + CAST($window_days AS INTEGER)
        GROUP BY ALL
    ), far AS (
        SELECT person_token, drug_code, count(*) AS far_days FROM (
            SELECT person_token, drug_code, business_day FROM looked_at
            GROUP BY ALL HAVING min(area) <> max(area)
        ) GROUP BY ALL
    ), drug AS (
        SELECT person_token, drug_code, max(institutions) AS institutions,
               arg_max(business_day, institutions) AS since, any_value(coalesce(far_days, 0)) AS far_days
        FROM wide LEFT JOIN far USING (person_token, drug_code) GROUP BY person_token, drug_code
    )
    SELECT person_token AS subject, institutions::DOUBLE AS value, far_days AS support, drug_code AS drug,
           since::VARCHAR AS since
    FROM drug WHERE institutions >= $institutions_min OR far_days >= $far_days_min
    QUALIFY row_number() OVER (PARTITION BY person_token
        ORDER BY institutions >= $institutions_min DESC, far_days DESC, institutions DESC, drug_code) = 1
    """,
    evidence="""
    SELECT subject, institution_code, sequence, code FROM led
    JOIN sale ON person_token = subject AND drug_code = drug
    WHERE insured
    """,
    why_zh=(
        "自 {since} 起 30 天内在 {value:.0f} 家机构购买同一药品 {drug}；"
        "同一天在两个统筹区购买同一药品共 {support} 天"
    ),
    why_en=(
        "bought {drug} at {value:.0f} institutions within 30 days from {since}; on {support} days the same "
        "drug in two pooling areas"
    ),
)
