"""More of a drug than anybody could take in the time."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="over_supply",
    version=1,
    kind=Kind.PERSON,
    title_zh="超量购药",
    title_en="over-supply",
    inputs=("sale",),
    sql="""
    WITH bought AS (
        SELECT person_token, drug_code, sum(quantity)::DOUBLE AS packs, min(business_day) AS first_bought,
               max(business_day) AS last_bought, count(DISTINCT institution_code) AS institutions,
               count(DISTINCT settlement) AS visits,
               list_has_any([any_value(drug_code)[:3], any_value(drug_code)[:4], any_value(drug_code)[:5],
                             any_value(drug_code)[:6]], CAST($chronic_list AS VARCHAR[])) AS chronic
        FROM sale WHERE insured AND NOT split AND quantity IS NOT NULL AND person_token <> ''
          AND NOT exempt AND quantity <= $bulk_packs
        GROUP BY person_token, drug_code HAVING sum(quantity) >= $packs_min
    ), kept AS (
        SELECT *, packs * $pack_days - date_diff('day', first_bought, last_day())
                  - CASE WHEN chronic THEN $chronic_days ELSE 0 END AS surplus
        FROM bought
    )
    SELECT person_token AS subject, max(surplus)::DOUBLE AS value, arg_max(visits, surplus) AS support,
           arg_max(drug_code, surplus) AS drug, arg_max(packs, surplus) AS packs,
           arg_max(institutions, surplus) AS institutions
    FROM kept WHERE surplus > 0 GROUP BY person_token
    """,
    why_zh=(
        "药品 {drug} 在 {institutions} 家机构 {support} 次共购 {packs:.0f} 盒，扣除已过天数后仍超出 "
        "{value:.0f} 天用量"
    ),
    why_en=(
        "{packs:.0f} packs of {drug} in {support} visits to {institutions} institutions: "
        "{value:.0f} days more than the time that has passed"
    ),
    excluded_zh="慢性病长期处方放宽上限",
    excluded_en="For drugs of long illness 90 days may be prescribed at once",
)
