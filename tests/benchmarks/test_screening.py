"""Screening of a month: all models with bounded memory, and the same SQL in PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import duckdb

from benchmarks.conftest import Plan
from benchmarks.lines import DAYS, FIRST, write_lines
from benchmarks.peers.postgresql_lines import PostgreSQLLines
from benchmarks.results import ROOT, Results, name_scale

MEMORY_LIMIT = "2GB"
PEAK_BYTES_MAX = 4 * 2**30

QUERIES = (
    # Codes sold twice, by who sold them later.
    """
    WITH several AS (
        SELECT code FROM lines WHERE kind = 1 AND code IS NOT NULL GROUP BY code
        HAVING count(DISTINCT settlement_id) > 1
    ), placed AS (
        SELECT institution_code, code, person_token, row_number() OVER (
            PARTITION BY code ORDER BY business_time, sequence, institution_code) AS place
        FROM lines WHERE kind = 1 AND code IN (SELECT code FROM several)
    )
    SELECT institution_code, count(DISTINCT code) AS codes, count(DISTINCT person_token) AS persons
    FROM placed WHERE place > 1 GROUP BY institution_code ORDER BY institution_code
    """,
    # Sold, never received.
    """
    WITH received AS (
        SELECT DISTINCT institution_code, code FROM lines WHERE operation IN (1, 7) AND code IS NOT NULL
    ), sold AS (
        SELECT DISTINCT institution_code, code FROM lines WHERE kind = 1 AND code IS NOT NULL
    )
    SELECT sold.institution_code, count(*) AS codes,
           sum(CASE WHEN received.code IS NULL THEN 1 ELSE 0 END) AS missing
    FROM sold LEFT JOIN received
      ON received.institution_code = sold.institution_code AND received.code = sold.code
    GROUP BY sold.institution_code ORDER BY sold.institution_code
    """,
    # More sold than bought, drug by drug.
    """
    WITH moved AS (
        SELECT institution_code, drug_code,
               sum(CASE WHEN kind = 1 THEN quantity ELSE 0 END) AS units_sold,
               sum(CASE WHEN operation IN (1, 7) THEN quantity ELSE 0 END) AS units_in
        FROM lines GROUP BY institution_code, drug_code
    )
    SELECT institution_code, count(*) AS drugs, sum(units_sold - units_in) AS excess
    FROM moved WHERE units_sold > 1.02 * units_in GROUP BY institution_code ORDER BY institution_code
    """,
    # A day against the month.
    """
    WITH daily AS (
        SELECT institution_code, business_day, sum(amount) AS amount FROM lines WHERE kind = 1
        GROUP BY institution_code, business_day
    ), compared AS (
        SELECT institution_code, business_day, amount,
               avg(amount) OVER (PARTITION BY institution_code) AS usual
        FROM daily
    )
    SELECT institution_code, count(*) AS days FROM compared WHERE amount > 1.2 * usual
    GROUP BY institution_code ORDER BY institution_code
    """,
    # How concentrated prescribers are.
    """
    WITH prescribed AS (
        SELECT institution_code, prescriber_token, count(*) AS lines FROM lines
        WHERE kind = 1 AND prescriber_token <> '' GROUP BY institution_code, prescriber_token
    ), total AS (
        SELECT institution_code, CAST(sum(lines) AS bigint) AS lines FROM prescribed GROUP BY institution_code
    )
    SELECT institution_code, max(prescribed.lines) AS top, max(total.lines) AS all_lines
    FROM prescribed JOIN total USING (institution_code) GROUP BY institution_code ORDER BY institution_code
    """,
    # What a person takes of one drug, and where.
    """
    WITH bought AS (
        SELECT person_token, drug_code, sum(quantity) AS packs, count(DISTINCT institution_code) AS places
        FROM lines WHERE kind = 1 GROUP BY person_token, drug_code
    )
    SELECT person_token, drug_code, packs, places FROM bought WHERE packs >= 4 OR places >= 4
    ORDER BY person_token, drug_code
    """,
)
"""The hearts of the models, in the SQL that both understand."""

RUN = """
import json, resource, sys, time
from datetime import date
from pathlib import Path
from tracecode.screening import run_screening
from tracecode.screening.base import Relations
begin = time.perf_counter()
summary = run_screening(
    Relations.under(Path(sys.argv[1])), Path(sys.argv[2]), date.fromisoformat(sys.argv[3]),
    date.fromisoformat(sys.argv[4]), memory_limit=sys.argv[5])
print(json.dumps({
    "seconds": time.perf_counter() - begin, "leads": len(summary.leads), "parts": dict(summary.seconds),
    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def test_screening(plan: Plan, results: Results, passing: Path) -> None:
    """All models over a month of lines, and six of their queries against PostgreSQL's.

    Pins that both find the same rows, and that the memory stays within its setting and what Python needs.
    """
    lines, scale = plan.codes, name_scale(plan.codes)
    files = list(write_lines(passing / "lines", lines))
    last = FIRST + timedelta(days=DAYS - 1)
    arguments = [passing / "lines", passing / "screening", FIRST, last, MEMORY_LIMIT]
    answer = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)], check=True, capture_output=True, cwd=ROOT
    )
    told = json.loads(answer.stdout)
    results.add_figure(f"screening_seconds_{scale}", told["seconds"])
    results.add_figure(f"screening_peak_bytes_{scale}", told["peak_bytes"])
    results.add_figure(f"screening_leads_{scale}", told["leads"])
    assert told["leads"] > 0
    assert told["peak_bytes"] < PEAK_BYTES_MAX

    ours: list[float] = []
    with duckdb.connect() as connection:
        connection.execute("SET memory_limit = ?", [MEMORY_LIMIT])
        connection.execute("SET temp_directory = ?", [str(passing / "spill")])
        # As run_screening has it: the queries order their rows themselves.
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET enable_progress_bar = false")
        connection.execute(
            f"CREATE VIEW lines AS SELECT * FROM read_parquet('{passing}/lines/lines/**/*.parquet')"
        )
        for _ in range(plan.rounds):
            begin = time.perf_counter()
            found = [connection.execute(query).fetchall() for query in QUERIES]
            ours.append(time.perf_counter() - begin)
    peer = PostgreSQLLines(passing / "postgresql-lines", files)
    try:
        peer.run(QUERIES[:1])
        theirs, seconds = peer.run(QUERIES)
    finally:
        peer.stop()
    assert [sorted(map(repr, rows)) for rows in found] == [sorted(map(repr, rows)) for rows in theirs]
    # The peer is given one warm run; we are given our median.
    results.add_ratio(
        plan.key("screening_vs_postgresql"),
        len(QUERIES) / sorted(ours)[len(ours) // 2],
        len(QUERIES) / seconds,
    )
