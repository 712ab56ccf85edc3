"""Codes billed from a list: one lot, card after card within a minute, in the order of the carton."""

from tracecode.screening.model import Kind, Model

MODEL = Model(
    name="photographed_codes",
    version=2,
    kind=Kind.INSTITUTION,
    title_zh="拍照留码",
    title_en="photographed codes",
    inputs=(
        "sale",
        "lines",
    ),
    sql="""
    WITH timed AS (
        SELECT institution_code, product, lot, list_sort(list(epoch_us(business_time) // 1000000)) AS seconds
        FROM sale WHERE in_period AND code IS NOT NULL AND product IS NOT NULL AND lot <> '' AND NOT split
        GROUP BY institution_code, product, lot HAVING count(*) >= $run_codes
    ), close AS (
        -- Times alone show of most lots that they have neither signal of time; the order of all codes of a
        -- month need not be asked.
        SELECT institution_code, product, lot FROM timed
        WHERE $signals_min < 2 OR $gap_share_min <= 0
           OR list_min(list_transform(range(1, CAST(len(seconds) - $run_codes + 2 AS BIGINT)),
                  lambda place: seconds[place + CAST($run_codes AS INTEGER) - 1] - seconds[place]))
              <= $run_seconds_max
           OR len(list_filter(range(1, len(seconds)),
                  lambda place: seconds[place + 1] - seconds[place] <= $gap_seconds_max))
              >= $gap_share_min * ($run_codes - 1)
    ), sold AS (
        SELECT hash(institution_code, product, lot) AS lot_key, institution_code, lot, code,
               min(business_time) AS time, min(sequence) AS sequence, min(hash(settlement)) AS bill
        FROM sale SEMI JOIN close USING (institution_code, product, lot)
        WHERE in_period AND code IS NOT NULL AND NOT split
        GROUP BY institution_code, product, lot, code
    ), paced AS (
        SELECT lot_key, code, bill, time, sequence, lag(code) OVER lot_order AS previous_code,
               date_diff('second', lag(time) OVER lot_order, time) AS gap,
               bill <> lag(bill) OVER lot_order AS other_bill
        FROM sold WINDOW lot_order AS (PARTITION BY lot_key ORDER BY time, sequence)
    ), billed AS (
        SELECT lot_key, date_diff('second', time, lead(time, CAST($run_codes AS INTEGER) - 1) OVER (
                   PARTITION BY lot_key ORDER BY time)) AS run_seconds
        FROM (SELECT lot_key, min(time) AS time FROM sold GROUP BY lot_key, bill)
    ), run AS (
        SELECT lot_key, min(run_seconds) <= $run_seconds_max AS in_a_run FROM billed GROUP BY lot_key
    ), fast AS (
        SELECT lot_key, coalesce(avg((gap <= $gap_seconds_max AND other_bill)::INT), 0) >= $gap_share_min
                   AS too_fast
        FROM paced GROUP BY lot_key HAVING count(*) >= $run_codes
    ), suspect AS (
        -- Of two signals one is of time: only such lots are compared with how they came.
        SELECT lot_key, coalesce(in_a_run, false) AS in_a_run, too_fast FROM fast JOIN run USING (lot_key)
        WHERE in_a_run OR too_fast OR $signals_min < 2
    ), looked_at AS (
        SELECT s.lot_key, s.institution_code, s.lot, s.code FROM sold AS s JOIN suspect USING (lot_key)
    ), received AS (
        SELECT l.institution_code, l.code, min(sequence * 1000000 + line_number * 1000 + line_row) AS place
        FROM lines AS l
        WHERE operation IN (1, 7) AND l.code IS NOT NULL AND NOT refused AND line_row < 1000
          AND l.code IN (SELECT code FROM looked_at)
        GROUP BY l.institution_code, l.code
    ), ordered AS (
        SELECT p.lot_key, coalesce(avg((now.place - before.place = 1 AND p.other_bill)::INT)
                   FILTER (now.place IS NOT NULL AND before.place IS NOT NULL), 0) >= $order_share_min
                   AS in_carton_order
        FROM paced AS p JOIN looked_at AS s ON s.lot_key = p.lot_key AND s.code = p.code
        LEFT JOIN received AS now ON now.institution_code = s.institution_code AND now.code = p.code
        LEFT JOIN received AS before
          ON before.institution_code = s.institution_code AND before.code = p.previous_code
        GROUP BY p.lot_key
    ), lots AS (
        SELECT lot_key, any_value(institution_code) AS institution_code, any_value(lot) AS lot,
               count(*) AS codes
        FROM looked_at GROUP BY lot_key
    )
    SELECT institution_code AS subject, count(*)::DOUBLE AS value, sum(codes)::BIGINT AS support,
           count(*) FILTER (in_a_run) AS runs, count(*) FILTER (in_carton_order) AS ordered,
           count(*) FILTER (too_fast) AS fast, list(lot ORDER BY lot)[:5] AS examples
    FROM lots JOIN suspect USING (lot_key) JOIN ordered USING (lot_key)
    WHERE in_a_run::INT + too_fast::INT + in_carton_order::INT >= $signals_min
    GROUP BY institution_code
    """,
    evidence="""
    SELECT subject, institution_code, sequence, code FROM led
    JOIN sale ON institution_code = subject AND list_contains(examples, lot)
    WHERE in_period AND code IS NOT NULL AND product IS NOT NULL AND NOT split
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
