"""What counts now, as joins over the lines relation: the one place where they are written.

The docstring of tracecode/views/lines.py says in words what stands here as SQL for DuckDB. Each function
gives a SELECT over relations with the columns of LINES, FINDINGS and DELETIONS, named by the caller: tables,
views or CTEs of his own, never a text from outside. A relation that is cut to some entries (`sequence <= n`,
of findings `entry <= n`) gives what counted when n was the last.
"""

from __future__ import annotations

from tracecode.document import DELETED_TYPES, DocumentKind
from tracecode.v1 import document_pb2

SALE = int(DocumentKind.SALE)
SETTLEMENT = int(document_pb2.CHANNEL_SETTLEMENT)


def select_standing_findings(findings: str = "findings") -> str:
    """The findings that stand: of each document those of its last revision."""
    return (
        f"SELECT * FROM (SELECT * FROM {findings} "
        "QUALIFY revision = max(revision) OVER (PARTITION BY sequence)) WHERE type <> 0"
    )


def deleted_type(kind: str = "kind") -> str:
    """The type under which documents of a kind are deleted, as an SQL expression."""
    cases = " ".join(f"WHEN {int(each)} THEN {number}" for each, number in DELETED_TYPES.items())
    return f"CASE {kind} {cases} END"


def select_taken_back(lines: str = "lines", deletions: str = "deletions") -> str:
    """The rows of LINES that were taken back, each once for every deletion that did: which it is
    (`deleted_by_sequence`), when it was made (`deletion_time`), and whether it named the document
    (`by_number`) or a batch."""

    def join(by_number: bool, condition: str) -> str:
        return (
            f"SELECT l.*, d.sequence AS deleted_by_sequence, d.business_time AS deletion_time, "
            f"{str(by_number).lower()} AS by_number FROM {lines} AS l JOIN {deletions} AS d "
            f"ON d.institution_code = l.institution_code AND d.deleted_type = {deleted_type('l.kind')} "
            f"AND {condition} AND l.corrects_document_number = '' AND l.business_time <= d.business_time"
        )

    number = join(True, "l.document_number = d.deleted_document_number AND d.deleted_document_number <> ''")
    batch = join(
        False, "l.batch_serial = d.batch_serial AND d.deleted_document_number = '' AND d.batch_serial <> ''"
    )
    return f"{number} UNION ALL {batch}"


def select_deleted(lines: str = "lines", deletions: str = "deletions") -> str:
    """The documents that were taken back (`sequence`), and the first deletion that did
    (`deleted_by_sequence`)."""
    return (
        "SELECT sequence, min(deleted_by_sequence) AS deleted_by_sequence FROM "
        f"({select_taken_back(lines, deletions)}) GROUP BY sequence"
    )


def select_second_reports(lines: str = "lines", deleted: str = "deleted") -> str:
    """The documents (`sequence`) in which the settlement channel reports a sale that stands by a document of
    the inventory channel: no other sale.

    `deleted` has the sequences of documents that were taken back.
    """
    sales = f"FROM {lines} WHERE kind = {SALE} AND settlement_id <> ''"
    return f"""
        SELECT DISTINCT sequence FROM (
            SELECT sequence, institution_code, settlement_id {sales} AND channel = {SETTLEMENT}
        ) SEMI JOIN (
            SELECT institution_code, settlement_id {sales} AND channel <> {SETTLEMENT} AND NOT refused
            AND sequence NOT IN (SELECT sequence FROM {deleted})
        ) USING (institution_code, settlement_id)"""


def took_place(deleted: str = "deleted", second_reports: str = "second_report") -> str:
    """Whether a row of LINES took place and is no second report of a sale, as an SQL condition.

    `deleted` has what `select_deleted` gives, `second_reports` what `select_second_reports` does.
    """
    return (
        f"NOT refused AND sequence NOT IN (SELECT sequence FROM {deleted}) "
        f"AND sequence NOT IN (SELECT sequence FROM {second_reports})"
    )


def select_row_findings(lines: str = "lines", standing: str = "standing") -> str:
    """For each row about which something stands, by `sequence`, `line_number` and `line_row`: the types
    (`findings_now`, in ascending order) and the greatest final severity (`severity_now`).

    `standing` has what `select_standing_findings` gives. A finding about a document stands on all its rows,
    and one about a line, or about something on it that is no row of its own, on all rows of the line.
    """
    return f"""
        SELECT l.sequence, l.line_number, l.line_row,
               list(s.type ORDER BY s.type) AS findings_now, max(s.final_severity) AS severity_now
        FROM (
            SELECT sequence, line_number, line_row, coalesce(code, scan, '') AS code,
                   list(coalesce(code, scan, '')) OVER (PARTITION BY sequence, line_number) AS codes
            FROM {lines} WHERE sequence IN (SELECT sequence FROM {standing})
        ) AS l
        JOIN {standing} AS s ON s.sequence = l.sequence AND s.line_number IN (0, l.line_number)
         AND (s.code = '' OR s.code = l.code
              OR (s.line_number = l.line_number AND NOT list_contains(l.codes, s.code)))
        GROUP BY l.sequence, l.line_number, l.line_row"""
