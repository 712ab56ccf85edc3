"""What counts now, as joins over the lines relation: the one place where they are written.

The docstring of tracecode/views/lines.py says in words what stands here as SQL for DuckDB. Each function
gives a SELECT over relations with the columns of LINES, FINDINGS and DELETIONS, named by the caller: tables,
views or CTEs of his own, never a text from outside. A relation that is cut to some entries (`sequence <= n`,
of findings `entry <= n`) gives what counted when n was the last.
"""

from __future__ import annotations

from tracecode.document import DELETED_TYPES


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


def select_deleted(lines: str = "lines", deletions: str = "deletions") -> str:
    """The documents that were taken back (`sequence`), and the first deletion that did
    (`deleted_by_sequence`)."""

    def join(condition: str) -> str:
        return (
            f"SELECT l.sequence, d.sequence AS deletion FROM {deletions} AS d JOIN {lines} AS l "
            f"ON l.institution_code = d.institution_code AND {deleted_type('l.kind')} = d.deleted_type "
            f"AND {condition} AND l.corrects_document_number = '' AND l.business_time <= d.business_time"
        )

    by_number = join("l.document_number = d.deleted_document_number AND d.deleted_document_number <> ''")
    by_batch = join(
        "l.batch_serial = d.batch_serial AND d.deleted_document_number = '' AND d.batch_serial <> ''"
    )
    return (
        "SELECT sequence, min(deletion) AS deleted_by_sequence FROM "
        f"({by_number} UNION ALL {by_batch}) GROUP BY sequence"
    )


def select_took_place(lines: str = "lines", deletions: str = "deletions") -> str:
    """The rows of LINES that took place: neither refused nor taken back."""
    return (
        f"SELECT * FROM {lines} WHERE NOT refused "
        f"AND sequence NOT IN (SELECT sequence FROM ({select_deleted(lines, deletions)}))"
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
