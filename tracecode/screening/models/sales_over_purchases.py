"""Drugs of which more goes out than ever came in: 销大于进."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="sales_over_purchases",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="销大于进",
    title_en="sales over purchases",
    inputs=(
        "sale",
        "lines",
        "deleted",
    ),
    sql="""
    WITH moved AS (
        SELECT institution_code, drug_code,
               sum(CASE operation WHEN 1 THEN quantity WHEN 7 THEN quantity WHEN 3 THEN 0
                   WHEN 4 THEN quantity WHEN 8 THEN -quantity WHEN 6 THEN -quantity
                   WHEN 9 THEN -quantity WHEN 11 THEN -quantity ELSE 0 END) AS units_in,
               min(CASE WHEN operation IN (1, 7) THEN business_time END) AS first_in
        FROM lines
        WHERE kind <> 1 AND quantity IS NOT NULL AND NOT refused AND NOT split
          AND sequence NOT IN (SELECT sequence FROM deleted)
        GROUP BY institution_code, drug_code
    ), sold AS (
        SELECT institution_code, drug_code, sum(quantity) AS units_sold, min(business_time) AS first_sold
        FROM sale WHERE quantity IS NOT NULL AND NOT exempt
        GROUP BY institution_code, drug_code
        HAVING NOT bool_or(split) AND bool_or(in_period)
    ), ratio AS (
        SELECT institution_code, drug_code, units_sold, coalesce(units_in, 0) AS units_in,
               units_sold / greatest(coalesce(units_in, 0), 1) AS ratio,
               units_sold - greatest(coalesce(units_in, 0), 0) AS excess
        FROM sold LEFT JOIN moved USING (institution_code, drug_code)
        WHERE units_sold >= $units_min
          AND (first_in IS NULL OR first_in <= first_sold + INTERVAL 2 DAY)
    )
    SELECT institution_code AS subject, max(ratio)::DOUBLE AS value, sum(excess)::BIGINT AS support,
           count(*) AS drugs, arg_max(drug_code, ratio) AS worst_drug,
           arg_max(units_sold, ratio)::DOUBLE AS worst_sold, arg_max(units_in, ratio)::DOUBLE AS worst_in
    FROM ratio WHERE ratio > $ratio_min
    GROUP BY institution_code
    """,
    evidence="""
    SELECT subject, institution_code, sequence, code FROM led
    JOIN sale ON institution_code = subject AND drug_code = worst_drug
    """,
    why_zh=(
        "{drugs} 种药品销大于进，共多销 {support} 盒；最突出的 {worst_drug} 售出 {worst_sold:.0f} "
        "盒，购入（含期初、调入、退货）仅 {worst_in:.0f} 盒，比值 {value:.2f}"
    ),
    why_en=(
        "{drugs} drugs went out more than came in, {support} packs too many; worst is "
        "{worst_drug}: {worst_sold:.0f} sold, {worst_in:.0f} came in (opening stock, "
        "transfers and returns counted), ratio {value:.2f}"
    ),
    absent=1.0,
    excluded_zh="已计入：期初库存、调拨、退货、退供、报损；拆零药品不计",
    excluded_en=(
        "Counted: opening stock, transfers, returns, goods sent back and destroyed; drugs"
        " sold split are left out"
    ),
)
