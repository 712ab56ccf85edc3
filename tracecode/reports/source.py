"""The tables that figures and lists are counted from, made once for a report in a DuckDB of its own.

Rows come from the Parquet files of the views, and behind them from the journal itself, up to the report's
entry: so a report needs no views that are up to date, nor any at all; without them it only takes longer.
Nothing is written into the data folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from tracecode._native import Store
from tracecode.errors import EngineStopped
from tracecode.finding import REGISTRY
from tracecode.names import NAMES_ZH
from tracecode.reports.desk import DeskRecord
from tracecode.reports.period import Period
from tracecode.v1 import case_pb2
from tracecode.views.lines import DELETIONS, ENTRIES_MAX, FINDINGS, LINES, read_lines
from tracecode.views.projector import DIRECTORY
from tracecode.views.standing import select_deleted, select_second_reports, took_place
from tracecode.views.store import ViewStore

LOOK_AROUND = timedelta(days=1)
"""Two channels may report one sale on both sides of midnight, and so of the period."""
TRIES = 5
"""While files are made into larger ones, those of the list may be gone when they are read."""

_LINE_COLUMNS = (
    "sequence, receive_time, business_time, business_day, institution_code, division_code, kind, channel, "
    "document_number, corrects_document_number, settlement_id, settlement_type, batch_serial, line_number, "
    "line_row, amount, code, code_class, refused"
)
_FINDING_COLUMNS = "sequence, revision, type, final_severity, line_number, code"

SEVERITY_WARN = 2
SIGNALS_MIN = 2
"""Independent signals that make a suspicion: different findings of one document."""
CODES_MIN = 3
"""Codes with the same finding at one institution in the period that make a suspicion."""


@dataclass(frozen=True, slots=True)
class Derived:
    """A table made of others: its name, what its rows are, and how it is made."""

    name: str
    meaning: str
    sql: str


DERIVED = (
    Derived(
        "register",
        "Registered institutions of the division that is reported on.",
        "SELECT * FROM registered WHERE starts_with(division_code, asked_division())",
    ),
    Derived(
        "stay_at_end",
        "In which state each case was at the end of the period's last day.",
        """
        SELECT * FROM case_stay WHERE begin_day <= last_day()
          AND (end_day IS NULL OR end_day > last_day())
        """,
    ),
    Derived("deleted", "Documents that were taken back.", select_deleted("line", "deletion")),
    Derived(
        "second_report",
        "Documents of the settlement channel whose sale the inventory channel reported, too: no other sale.",
        select_second_reports("line"),
    ),
    Derived(
        "counted",
        "Rows of the period's lines that took place, each sale once.",
        f"SELECT * FROM line WHERE in_period AND {took_place()}",
    ),
    Derived(
        "document",
        "The period's documents as they were received, deletions too (kind 7).",
        """
        SELECT sequence, any_value(institution_code) AS institution_code,
               any_value(division_code) AS division_code, any_value(business_day) AS business_day,
               any_value(document_number) AS document_number, any_value(kind) AS kind,
               bool_or(refused) AS refused,
               sequence IN (SELECT sequence FROM deleted) AS deleted,
               CAST(date_diff('second', any_value(business_time), any_value(receive_time)) AS BIGINT)
                   AS delay_seconds
        FROM line WHERE in_period GROUP BY sequence
        UNION ALL
        SELECT sequence, institution_code, division_code, business_day, document_number, 7, false, false,
               CAST(date_diff('second', business_time, receive_time) AS BIGINT)
        FROM deletion WHERE in_period
        """,
    ),
    Derived(
        "latest",
        "How often a document's findings were revised: the greatest revision counts.",
        """
        SELECT sequence, max(revision) AS revision FROM finding_row
        WHERE sequence IN (SELECT sequence FROM document) GROUP BY sequence
        """,
    ),
    Derived(
        "alarm",
        "Each finding of the period's documents that ever weighed WARN or more, and whether it still stands.",
        f"""
        SELECT sequence, f.type, f.line_number, f.code, bool_or(f.revision = l.revision) AS standing,
               max(f.final_severity) AS severity
        FROM finding_row AS f JOIN latest AS l USING (sequence)
        WHERE f.final_severity >= {SEVERITY_WARN}
        GROUP BY sequence, f.type, f.line_number, f.code
        """,
    ),
    Derived(
        "several_signals",
        "Documents with several different findings that stand.",
        f"""
        SELECT sequence FROM alarm WHERE standing GROUP BY sequence
        HAVING count(DISTINCT type) >= {SIGNALS_MIN}
        """,
    ),
    Derived(
        "several_codes",
        "Institutions and findings that stand about several codes in the period.",
        f"""
        SELECT d.institution_code, a.type FROM alarm AS a JOIN document AS d USING (sequence)
        WHERE a.standing AND a.code <> '' GROUP BY d.institution_code, a.type
        HAVING count(DISTINCT a.code) >= {CODES_MIN}
        """,
    ),
    Derived(
        "found",
        "Every alarm with what became of it: cleared, dismissed, suspected, in a case, confirmed.",
        """
        SELECT *, (standing AND NOT dismissed AND (
                      sequence IN (SELECT sequence FROM several_signals)
                      OR (institution_code, type) IN (SELECT (institution_code, type) FROM several_codes))
                  ) OR in_case AND NOT dismissed OR confirmed AS suspected,
               dismissed OR (NOT standing AND NOT in_case AND NOT confirmed) AS false_alarm
        FROM (
            SELECT a.*, d.institution_code, d.division_code, d.business_day, d.document_number, d.kind,
                   coalesce(x.decision = 2, false) AS dismissed,
                   c.case_number IS NOT NULL AS in_case, coalesce(c.case_number, '') AS case_number,
                   coalesce(x.decision IN (1, 3), false)
                       OR (coalesce(c.violation, false) AND coalesce(x.decision, 0) <> 2) AS confirmed
            FROM alarm AS a JOIN document AS d USING (sequence)
            LEFT JOIN decision AS x ON (x.sequence, x.type, x.line_number, x.code)
                                     = (a.sequence, a.type, a.line_number, a.code)
            LEFT JOIN case_finding AS c ON (c.sequence, c.type, c.line_number, c.code)
                                         = (a.sequence, a.type, a.line_number, a.code)
        )
        """,
    ),
    Derived(
        "sale_line",
        "Lines of sales that took place: whether a code was read on one, and what it costs.",
        """
        SELECT sequence, line_number, any_value(institution_code) AS institution_code,
               any_value(division_code) AS division_code, any_value(business_day) AS business_day,
               bool_or(settlement_type = 1) AS insured, bool_or(code IS NOT NULL) AS coded,
               CAST(coalesce(sum(amount), 0) * 100 AS BIGINT) AS amount_fen
        FROM counted WHERE kind = 1 GROUP BY sequence, line_number
        """,
    ),
    Derived(
        "doubtful_line",
        "Lines of sales with a suspicion: about the line, one of its codes, or the whole document.",
        """
        SELECT s.sequence, s.line_number, any_value(s.institution_code) AS institution_code,
               any_value(s.division_code) AS division_code, any_value(s.amount_fen) AS amount_fen,
               bool_or(f.confirmed) AS confirmed
        FROM sale_line AS s JOIN found AS f
          ON f.sequence = s.sequence AND (f.line_number = 0 OR f.line_number = s.line_number)
        WHERE f.suspected GROUP BY s.sequence, s.line_number
        """,
    ),
)
"""In the order in which they are made; each reads those before it."""


def fill_source(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    desk: DeskRecord,
    period: Period,
    division: str,
    as_of: int,
) -> None:
    """Make all tables of a report. Raises DataLoss, EngineStopped where files cannot be read."""
    _put_desk(connection, desk, period, division)
    for attempt in range(TRIES):
        try:
            _put_rows(connection, store, period, division, as_of)
            break
        except (duckdb.IOException, FileNotFoundError):
            if attempt == TRIES - 1:
                raise EngineStopped("the files of the views change too fast to be read; try again") from None
    for table in DERIVED:
        connection.execute(f"CREATE TABLE {table.name} AS {table.sql}")


def _put_rows(
    connection: duckdb.DuckDBPyConnection, store: Store, period: Period, division: str, as_of: int
) -> None:
    first, last = period.first - LOOK_AROUND, period.last + LOOK_AROUND
    days = f"business_day BETWEEN DATE '{first}' AND DATE '{last}' AND sequence <= {as_of}"
    # What weighs less is in no figure, but a revision that leaves only such clears what stood before.
    until = f"entry <= {as_of} AND (final_severity >= {SEVERITY_WARN} OR revision > 0)"
    deleted = f"sequence <= {as_of}"
    files, after = list_view_files(Path(store.directory), store)
    for table, schema, columns in (
        ("raw_line", LINES, _LINE_COLUMNS),
        ("finding_row", FINDINGS, _FINDING_COLUMNS),
        ("raw_deletion", DELETIONS, "*"),
    ):
        connection.register("empty", schema.empty_table())
        connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT {columns} FROM empty")
        connection.unregister("empty")

    def put(table: str, columns: str, source: str, where: str) -> None:
        connection.execute(f"INSERT INTO {table} SELECT {columns} FROM {source} WHERE {where}")

    lines = [path for path in files["lines"] if first.isoformat() <= path.parts[-3][4:] <= last.isoformat()]
    for table, columns, paths, where in (
        ("raw_line", _LINE_COLUMNS, lines, days),
        ("finding_row", _FINDING_COLUMNS, files["findings"], until),
        ("raw_deletion", "*", files["deletions"], deleted),
    ):
        if paths:
            names = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
            put(table, columns, f"read_parquet([{names}], hive_partitioning = false)", where)
    while after < as_of:
        extract = read_lines(store, after, min(ENTRIES_MAX, as_of - after))
        for table, columns, batch, where in (
            ("raw_line", _LINE_COLUMNS, extract.lines, days),
            ("finding_row", _FINDING_COLUMNS, extract.findings, until),
            ("raw_deletion", "*", extract.deletions, deleted),
        ):
            if batch.num_rows:
                connection.register("batch", pa.Table.from_batches([batch]))
                put(table, columns, "batch", where)
                connection.unregister("batch")
        after = extract.sequence
    within = f"BETWEEN DATE '{period.first}' AND DATE '{period.last}'"
    for table, raw in (("line", "raw_line"), ("deletion", "raw_deletion")):
        connection.execute(
            f"CREATE OR REPLACE TABLE {table} AS SELECT r.* REPLACE "
            "(coalesce(nullif(i.division_code, ''), r.division_code) AS division_code), "
            f"r.business_day {within} AS in_period FROM {raw} AS r "
            "LEFT JOIN registered AS i USING (institution_code) "
            "WHERE starts_with(coalesce(nullif(i.division_code, ''), r.division_code), ?)",
            [division],
        )
        connection.execute(f"DROP TABLE {raw}")


def list_view_files(directory: Path, store: Store) -> tuple[dict[str, list[Path]], int]:
    """The Parquet files that count of each relation, and the entry up to which they go; no files, and 0,
    where there are no views of this journal."""
    files: dict[str, list[Path]] = {"lines": [], "findings": [], "deletions": []}
    try:
        views = ViewStore(directory / DIRECTORY, read_only=True)
    except EngineStopped:
        return files, 0
    with views:
        if not views.follows(store.entry):
            return files, 0
        with views.read() as reader:
            for path in reader.files():
                files[path.partition("/")[0]].append(directory / DIRECTORY / path)
            return files, reader.files_sequence


def _put_desk(connection: duckdb.DuckDBPyConnection, desk: DeskRecord, period: Period, division: str) -> None:
    within = [case for case in desk.cases if case.division_code.startswith(division)]
    numbers = {case.case_number for case in within}

    def put(name: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
        names = columns.split(", ")
        connection.execute(f"CREATE TABLE {name} ({columns})")
        values = list(zip(*rows, strict=True))
        if values:
            kinds = dict(zip(("VARCHAR", "BIGINT", "DATE", "BOOLEAN"), _ARROW, strict=True))
            arrays = [
                pa.array(column, kinds[text.split()[1]]) for column, text in zip(values, names, strict=True)
            ]
            connection.register("rows", pa.Table.from_arrays(arrays, [text.split()[0] for text in names]))
            connection.execute(f"INSERT INTO {name} SELECT * FROM rows")
            connection.unregister("rows")

    put(
        "registered",
        "institution_code VARCHAR, name VARCHAR, division_code VARCHAR",
        ((code, name, place or code[1:7]) for code, (name, place) in sorted(desk.register.items())),
    )
    put(
        "case_file",
        "case_number VARCHAR, institution_code VARCHAR, division_code VARCHAR, open_day DATE, "
        "close_day DATE, violation BOOLEAN",
        (
            (
                case.case_number,
                case.institution_code,
                case.division_code,
                desk.open_days[case.case_number],
                desk.close_days.get(case.case_number),
                case.case_number in desk.violations,
            )
            for case in within
        ),
    )
    put(
        "case_stay",
        "case_number VARCHAR, state BIGINT, begin_day DATE, end_day DATE, due_day DATE",
        (
            (stay.case_number, stay.state, stay.begin_day, stay.end_day, stay.due_date)
            for stay in desk.stays
            if stay.case_number in numbers
        ),
    )
    put(
        "case_outcome",
        "case_number VARCHAR, day DATE, type BIGINT, amount_fen BIGINT",
        (
            (each.case_number, each.day, each.type, each.amount_fen)
            for each in desk.outcomes
            if each.case_number in numbers
        ),
    )
    put(
        "case_reward",
        "case_number VARCHAR, day DATE, amount_fen BIGINT",
        (each for each in desk.rewards if each[0] in numbers),
    )
    # A finding may be in a second case once the first is closed: the last one says where it stands.
    latest = {
        (each.sequence, each.type, each.line_number, each.code): case
        for case in sorted(desk.cases, key=lambda case: (case.open_time.ToNanoseconds(), case.case_number))
        for each in case.findings
    }
    put(
        "case_finding",
        "sequence BIGINT, type BIGINT, line_number BIGINT, code VARCHAR, case_number VARCHAR, "
        "violation BOOLEAN",
        (
            (*key, case.case_number, case.case_number in desk.violations)
            for key, case in sorted(latest.items(), key=lambda item: item[0])
        ),
    )
    put(
        "decision",
        "sequence BIGINT, type BIGINT, line_number BIGINT, code VARCHAR, decision BIGINT",
        ((*key, decision) for key, decision in sorted(desk.decisions.items())),
    )
    put(
        "finding_type",
        "type BIGINT, name VARCHAR, title_zh VARCHAR, title_en VARCHAR",
        ((int(kind.type), kind.type.name, kind.title_zh, kind.title_en) for kind in REGISTRY.values()),
    )
    for name, enum, prefix in (
        ("case_state", case_pb2.CaseState, "CASE_STATE_"),
        ("outcome_type", case_pb2.CaseOutcomeType, "CASE_OUTCOME_TYPE_"),
    ):
        put(
            name,
            "number BIGINT, name VARCHAR, title_zh VARCHAR",
            ((number, text.removeprefix(prefix), NAMES_ZH[text]) for text, number in enum.items() if number),
        )
    connection.execute(f"CREATE MACRO asked_division() AS '{division}'")
    connection.execute(f"CREATE MACRO first_day() AS DATE '{period.first}'")
    connection.execute(f"CREATE MACRO last_day() AS DATE '{period.last}'")


_ARROW = (pa.string(), pa.int64(), pa.date32(), pa.bool_())
