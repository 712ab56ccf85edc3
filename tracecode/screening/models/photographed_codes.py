"""Codes billed from a list: one lot, card after card within a minute, in the order of the carton."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="photographed_codes",
    version=1,
    kind=Kind.INSTITUTION,
    title_zh="拍照留码",
    title_en="photographed codes",
    inputs=(
        "sale",
        "lines",
    ),
    sql="""
    WITH sold AS (
        SELECT institution_code, product, lot, code, min(business_time) AS time, min(sequence) AS sequence,
               any_value(person_token) AS person_token, any_value(settlement) AS settlement
        FROM sale WHERE in_period AND code IS NOT NULL AND product IS NOT NULL AND lot <> '' AND NOT split
        GROUP BY institution_code, product, lot, code
    ), paced AS (
        SELECT *, date_diff('second', lag(time) OVER lot_order, time) AS gap,
               date_diff('second', time, lead(time, CAST($run_codes AS INTEGER) - 1) OVER lot_order)
                   AS run_seconds,
               count(DISTINCT settlement) OVER (
                   PARTITION BY institution_code, product, lot ORDER BY time, sequence
                   ROWS BETWEEN CURRENT ROW AND 4 FOLLOWING) AS run_settlements,
               lag(code) OVER lot_order AS previous_code,
               lag(settlement) OVER lot_order AS previous_settlement
        FROM sold
        WINDOW lot_order AS (PARTITION BY institution_code, product, lot ORDER BY time, sequence)
    ), received AS (
        SELECT institution_code, code, min(sequence * 1000000 + line_number * 1000 + line_row) AS place
        FROM lines WHERE operation IN (1, 7) AND code IS NOT NULL AND NOT refused AND line_row < 1000
          AND (institution_code, code) IN (SELECT (institution_code, code) FROM sold)
        GROUP BY institution_code, code
    ), compared AS (
        SELECT p.*, now.place - before.place AS step FROM paced AS p
        LEFT JOIN received AS now ON now.institution_code = p.institution_code AND now.code = p.code
        LEFT JOIN received AS before
          ON before.institution_code = p.institution_code AND before.code = p.previous_code
    ), lots AS (
        SELECT institution_code, product, lot, count(*) AS codes,
               bool_or(run_seconds <= $run_seconds_max AND run_settlements >= $run_codes) AS in_a_run,
               coalesce(avg((gap <= $gap_seconds_max AND settlement <> previous_settlement)::INT), 0)
                   >= $gap_share_min AS too_fast,
               coalesce(avg((step = 1 AND settlement <> previous_settlement)::INT)
                        FILTER (step IS NOT NULL), 0) >= $order_share_min AS in_carton_order
        FROM compared GROUP BY institution_code, product, lot HAVING count(*) >= $run_codes
    )
    SELECT institution_code AS subject, count(*)::DOUBLE AS value, sum(codes)::BIGINT AS support,
           count(*) FILTER (in_a_run) AS runs, count(*) FILTER (in_carton_order) AS ordered,
           count(*) FILTER (too_fast) AS fast, list(lot ORDER BY lot)[:5] AS examples
    FROM lots WHERE in_a_run::INT + too_fast::INT + in_carton_order::INT >= $signals_min
    GROUP BY institution_code
    """,
    why_zh=(
        "{value:.0f} 个批号的 {support} 个追溯码疑似照单结算：{runs} 个批号一分钟内连续多人结算，{ordered} "
        "个批号与入库顺序一致，{fast} 个批号扫码间隔过短"
    ),
    why_en=(
        "{support} codes of {value:.0f} lots look billed from a list: {runs} lots were "
        "settled for several persons within a minute, {ordered} in the very order of "
        "receipt, {fast} faster than a hand scans"
    ),
    absent=0.0,
    counts_codes=True,
    excluded_zh="已排除：一人一单多盒、拆零",
    excluded_en="Left out: several boxes on one bill, split packs",
)
