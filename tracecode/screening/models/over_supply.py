"""More of a drug than anybody could take in the time."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="over_supply",
    version=3,
    kind=Kind.PERSON,
    title_zh="超量购药",
    title_en="over-supply",
    inputs=("sale",),
    sql="""
    WITH visit AS (
        SELECT person_token, drug_code, settlement, any_value(institution_code) AS institution_code,
               min(business_day) AS day, sum(quantity)::DOUBLE AS packs
        FROM sale WHERE insured AND NOT split AND quantity IS NOT NULL AND person_token <> ''
          AND NOT exempt AND quantity <= $bulk_packs
          AND (person_token, drug_code) IN (
              SELECT (person_token, drug_code) FROM sale WHERE quantity IS NOT NULL AND person_token <> ''
              GROUP BY person_token, drug_code HAVING sum(quantity) >= $packs_min)
        GROUP BY person_token, drug_code, settlement
    ), held AS (
        SELECT *, date_diff('day', min(day) OVER before, day) AS passed,
               coalesce(sum(packs) OVER (before ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS had
        FROM visit WINDOW before AS (PARTITION BY person_token, drug_code ORDER BY day, settlement)
    ), kept AS (
        SELECT person_token, drug_code, count(*) AS visits, sum(packs) AS packs,
               count(DISTINCT institution_code) AS institutions,
               max(had * $pack_days - passed)
                   - CASE WHEN is_of(drug_code, $chronic_list) THEN $chronic_days ELSE 0 END AS surplus
        FROM held GROUP BY person_token, drug_code HAVING sum(packs) >= $packs_min
    )
    SELECT person_token AS subject, max(surplus)::DOUBLE AS value, arg_max(visits, surplus) AS support,
           arg_max(drug_code, surplus) AS drug, arg_max(packs, surplus) AS packs,
           arg_max(institutions, surplus) AS institutions
    FROM kept WHERE surplus > 0 GROUP BY person_token
    """,
    evidence="""
    SELECT subject, institution_code, sequence, code FROM led
    JOIN sale ON person_token = subject AND drug_code = drug
    WHERE insured AND NOT split
    """,
    why_zh=(
        "药品 {drug} 在 {institutions} 家机构 {support} 次共购 {packs:.0f} 盒，再次购药时手中按天数推算仍余 "
        "{value:.0f} 天用量"
    ),
    why_en=(
        "{packs:.0f} packs of {drug} in {support} visits to {institutions} institutions: bought again with "
        "{value:.0f} days' supply still in hand"
    ),
    excluded_zh="慢性病长期处方放宽上限",
    excluded_en="For drugs of long illness 90 days may be prescribed at once",
)
