"""The tables that models read, made once in a run from the Parquet files of the lines relation.

What was refused or taken back is no longer there, and a sale that both channels reported is there once: a
model need not know of either. Sales before the period are kept as `in_period` = false, for who sold first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

from tracecode.product import GRADE_SAME, swap_grade
from tracecode.views.lines import DELETIONS, FINDINGS, LINES
from tracecode.views.standing import select_deleted, select_second_reports, select_taken_back, took_place

__all__ = ["BASE", "BaseTable", "Relations", "find_year_before", "lies_in", "make_macros"]

YEAR_DAYS = 364
"""Whole weeks, so that a day is compared with the same weekday of the year before."""
BASELINE_DAYS = 56
"""Days before the period a year ago that are read with it."""

_DAY = re.compile(r"/day=([0-9-]{10})/")

_SCHEMAS = {"lines": LINES, "findings": FINDINGS, "deletions": DELETIONS}


@dataclass(frozen=True, slots=True)
class Relations:
    """Where the relations lie: the Parquet files of each, and files of one table."""

    lines: tuple[Path, ...]
    findings: tuple[Path, ...]
    deletions: tuple[Path, ...]
    institutions: Path
    """institution_code, name, division_code, group_code, uploads."""
    products: Path
    """identifier, drug_codes."""
    care_homes: Path | None = None
    """CSV: name, person_token. Registered homes 养老机构, whose residents rightly buy together."""

    @classmethod
    def under(cls, directory: Path, care_homes: Path | None = None) -> Relations:
        """All files of a folder that nobody writes to any more, as write.py lays them out."""
        return cls(
            lines=tuple(sorted(directory.glob("lines/**/*.parquet"))),
            findings=tuple(sorted(directory.glob("findings/**/*.parquet"))),
            deletions=tuple(sorted(directory.glob("deletions/**/*.parquet"))),
            institutions=directory / "institutions.parquet",
            products=directory / "products.parquet",
            care_homes=care_homes,
        )


@dataclass(frozen=True, slots=True)
class BaseTable:
    """One table: its name, what it is for, and how it is made."""

    name: str
    meaning: str
    sql: str
    fill: Callable[[duckdb.DuckDBPyConnection, Relations], None] | None = None
    """Adds the rows where that takes more than SQL."""

    def make(self, connection: duckdb.DuckDBPyConnection, relations: Relations) -> None:
        """Make the table."""
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {self.name} AS {self.sql}")
        if self.fill is not None:
            self.fill(connection, relations)


def make_macros(
    connection: duckdb.DuckDBPyConnection,
    relations: Relations,
    first: date,
    last: date,
    lookback_days: int,
    division: str,
    exempt_findings: Sequence[int],
    exempt_drugs: Sequence[str],
) -> None:
    """Name the files and the period so that the tables' SQL is the same in every run."""
    where = f"business_day BETWEEN DATE '{first}' - {lookback_days} AND DATE '{last}'"
    if division:
        where += f" AND division_code LIKE '{int(division)}%'"
    for name in ("lines", "findings", "deletions"):
        paths = getattr(relations, name)
        if not paths:
            # Nothing was ever found, or deleted: the relation is there, and empty.
            connection.register(name, _SCHEMAS[name].empty_table())
            continue
        files = ", ".join(_quote(path) for path in paths)
        within = "" if name == "findings" else f" WHERE {where}"
        connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {name} AS "
            f"SELECT * FROM read_parquet([{files}], hive_partitioning = false){within}"
        )
    before = [
        _quote(path)
        for path in relations.lines
        if lies_in(path, *find_year_before(first, last, lookback_days))
    ]
    source = f"read_parquet([{', '.join(before)}], hive_partitioning = false)" if before else "lines"
    begin, end = find_year_before(first, last, lookback_days)
    within = f" AND division_code LIKE '{int(division)}%'" if division else ""
    # What was deleted of it may have been so at any time since, which `deletions` does not reach back to.
    deletions = ", ".join(_quote(path) for path in relations.deletions)
    deletions = f"read_parquet([{deletions}], hive_partitioning = false)" if deletions else "deletions"
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW lines_year_before AS WITH "
        f"told AS (SELECT * FROM {source} "
        f"WHERE business_day BETWEEN DATE '{begin}' AND DATE '{end}'{within}), "
        f"since AS (SELECT * FROM {deletions} "
        f"WHERE business_day BETWEEN DATE '{begin}' AND DATE '{last}'{within}) "
        f"SELECT * FROM told WHERE sequence NOT IN (SELECT sequence FROM ({select_deleted('told', 'since')}))"
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE institution AS SELECT *, left(institution_code, 1) AS letter "
        f"FROM read_parquet({_quote(relations.institutions)})"
    )
    if relations.care_homes is None:
        connection.execute("CREATE OR REPLACE TEMP TABLE care_home (name VARCHAR, person_token VARCHAR)")
    else:
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE care_home AS SELECT name, person_token "
            f"FROM read_csv({_quote(relations.care_homes)}, header = true, all_varchar = true)"
        )
    connection.execute(f"CREATE OR REPLACE TEMP MACRO first_day() AS DATE '{first}'")
    connection.execute(f"CREATE OR REPLACE TEMP MACRO last_day() AS DATE '{last}'")
    findings = ", ".join(f"{int(each)}::SMALLINT" for each in exempt_findings)
    drugs = " OR ".join(["false", *(f"drug_code LIKE '{each}%'" for each in exempt_drugs if each.isalnum())])
    connection.execute(
        "CREATE OR REPLACE TEMP MACRO is_exempt(findings, drug_code) AS "
        f"list_has_any(findings, [{findings}]) OR {drugs}"
    )
    # Whether a drug is of a list that names drugs by up to seven first letters.
    beginnings = ", ".join(f"drug_code[:{length}]" for length in range(1, 8))
    connection.execute(
        "CREATE OR REPLACE TEMP MACRO is_of(drug_code, list) AS "
        f"list_has_any([{beginnings}], CAST(list AS VARCHAR[]))"
    )


def find_year_before(first: date, last: date, lookback_days: int) -> tuple[date, date]:
    """The days that `lines_year_before` holds: the period a year ago and what it is compared with then, but
    none that `lines` holds. The second lies before the first where there are none."""
    begin = first - timedelta(days=YEAR_DAYS + BASELINE_DAYS)
    return begin, min(last - timedelta(days=YEAR_DAYS), first - timedelta(days=lookback_days + 1))


def lies_in(path: Path, first: date, last: date) -> bool:
    """Whether a file of lines may hold rows of these days, by the day that its folder names."""
    named = _DAY.search(str(path))
    return named is None or first <= date.fromisoformat(named[1]) <= last


def _quote(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _grade(connection: duckdb.DuckDBPyConnection, relations: Relations) -> None:
    pairs = connection.execute(
        "SELECT DISTINCT product, drug_code, drug_codes FROM "
        "(SELECT DISTINCT product, drug_code FROM sale WHERE drug_code <> '') "
        f"JOIN read_parquet({_quote(relations.products)}) ON identifier = product"
    ).fetchall()
    rows = [
        (product, billed, grade)
        for product, billed, mapped in pairs
        if (grade := swap_grade(billed, mapped)) != GRADE_SAME
    ]
    if rows:
        connection.executemany("INSERT INTO graded VALUES (?, ?, ?)", rows)


BASE = (
    BaseTable(
        "deleted",
        "Documents that were taken back, and by whose deletion.",
        f"""
        SELECT document.sequence, document.institution_code, document.business_time,
               max(document.severity) AS severity, bool_or(document.corrected) AS corrected,
               max(document.deletion_time) AS deletion_time
        FROM (
            SELECT sequence, institution_code, business_time, severity, deletion_time,
                   NOT by_number OR (institution_code, document_number) IN (
                       SELECT (institution_code, corrects_document_number) FROM lines
                       WHERE corrects_document_number <> '') AS corrected
            FROM ({select_taken_back()}) WHERE NOT refused
        ) AS document GROUP BY ALL
        """,
    ),
    BaseTable(
        "second_report",
        "Documents of the settlement channel whose sale the inventory channel reported, too: no other sale.",
        select_second_reports(),
    ),
    BaseTable(
        "sale",
        "Rows of sales that took place, each once.",
        f"""
        SELECT l.sequence, l.receive_time, l.business_time, l.business_day, l.institution_code,
               l.division_code, l.settlement_type = 1 AS insured,
               coalesce(nullif(l.settlement_id, ''), nullif(l.visit_number, ''), l.document_number)
                   AS settlement,
               l.person_token, l.prescriber_token, l.terminal_id, l.line_number, l.line_row, l.drug_code,
               l.quantity, l.split, l.price, l.amount, l.lot, l.code, l.product, l.code_class,
               is_exempt(l.findings, l.drug_code) AS exempt, l.severity,
               l.business_day >= first_day() AS in_period
        FROM lines AS l
        WHERE kind = 1 AND {took_place()}
        """,
    ),
    BaseTable(
        "graded",
        "Pairs of product and billed drug that differ, by how far (tracecode.product.swap_grade).",
        """
        SELECT product, drug_code, 0 AS grade FROM sale WHERE false
        """,
        _grade,
    ),
    BaseTable(
        "repeated",
        "Codes of which more whole sales stand than were returned.",
        """
        WITH several AS (
            SELECT code FROM sale WHERE code IS NOT NULL AND NOT split GROUP BY code
            HAVING min(hash(institution_code, settlement)) <> max(hash(institution_code, settlement))
        ), sold AS (
            SELECT code, count(DISTINCT (institution_code, settlement)) AS sales FROM sale
            WHERE code IN (SELECT code FROM several) AND NOT split GROUP BY code
        ), returned AS (
            SELECT code, count(DISTINCT sequence) AS returns FROM lines
            WHERE kind = 2 AND code IS NOT NULL AND NOT split AND code IN (SELECT code FROM sold)
              AND sequence NOT IN (SELECT sequence FROM deleted)
            GROUP BY code
        )
        SELECT code, sales, coalesce(returns, 0) AS returns FROM sold LEFT JOIN returned USING (code)
        WHERE sales - coalesce(returns, 0) >= 2
        """,
    ),
    BaseTable(
        "repeated_sale",
        "The sales of such codes, numbered in order of time.",
        """
        SELECT *, row_number() OVER (PARTITION BY code ORDER BY business_time, sequence) AS place FROM (
            SELECT code, institution_code, settlement, min(business_time) AS business_time,
                   min(sequence) AS sequence, any_value(person_token) AS person_token,
                   bool_or(insured) AS insured, bool_or(in_period) AS in_period,
                   any_value(terminal_id) AS terminal_id
            FROM sale WHERE code IN (SELECT code FROM repeated) AND NOT split
            GROUP BY code, institution_code, settlement
        )
        """,
    ),
    BaseTable(
        "inbound",
        "Codes that came in at an institution: delivered, moved there, or found there at the beginning.",
        """
        SELECT DISTINCT institution_code, code FROM lines
        WHERE operation IN (1, 7) AND code IS NOT NULL AND NOT refused
        """,
    ),
    BaseTable(
        "resold",
        "Codes sold at an institution after a sale elsewhere and without coming in: how they may have come.",
        """
        SELECT later.code, later.institution_code, later.business_time, later.person_token,
               later.sequence, earlier.sequence AS origin_sequence,
               earlier.institution_code AS origin, earlier.person_token AS origin_person,
               earlier.business_time AS origin_time, earlier.insured AS origin_insured
        FROM repeated_sale AS later JOIN repeated_sale AS earlier
          ON earlier.code = later.code AND earlier.place = 1 AND later.place > 1
        LEFT JOIN inbound AS i ON i.code = later.code AND i.institution_code = later.institution_code
        LEFT JOIN institution AS a ON a.institution_code = later.institution_code
        LEFT JOIN institution AS b ON b.institution_code = earlier.institution_code
        WHERE later.institution_code <> earlier.institution_code AND i.code IS NULL AND later.in_period
          AND NOT (coalesce(a.group_code, '') <> '' AND a.group_code = b.group_code)
        """,
    ),
    BaseTable(
        "size",
        "How much an institution sells: by this its peers are found.",
        """
        SELECT institution_code, any_value(division_code) AS division_code,
               left(institution_code, 1) AS letter,
               count(*) AS sale_rows, count(DISTINCT code) AS codes_sold,
               count(DISTINCT settlement) AS settlements, sum(amount) AS amount
        FROM sale WHERE in_period GROUP BY institution_code
        """,
    ),
)
"""In the order in which they are made; each may read those before it."""
