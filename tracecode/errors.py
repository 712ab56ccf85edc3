"""What could not be done. Findings are data and never stand here.

TracecodeError
 +-- DocumentRejected (ValueError)     a document that cannot be taken; nothing of it is kept
 |    +-- FieldInvalid                 a field is missing, too long, not a number, ...
 |    +-- DocumentReused               same identity, other content
 |    +-- RequestReused                same request_id, other document
 +-- DeskRefused (ValueError)          what a person at the desk wants, as things stand, cannot be done
 |    +-- EtagStale                    somebody else changed it in between; look again
 |    +-- MoveRefused                  not from this state, or something is missing that it asks for
 |    +-- FindingInCase                another open case has the finding
 +-- NotFound (LookupError)            asked for something the ledger does not know
 +-- AccessDenied (PermissionError)    who asks may not see it, or is nobody we know
 +-- GrantsInvalid (ValueError)        a file of grants that cannot be used; names the place
 +-- Overloaded                        the engine pushes back; wait and send again
 |    +-- StorageFull                  no room on the disk or in the map; questions are answered on
 +-- DataLoss                          stored bytes are not what was written
 +-- EngineStopped                     the engine is closed, or stopped after a write error
 +-- RuleBaseInvalid (ValueError)      a rule base file that cannot be used; names the line
 +-- ImportInvalid (ValueError)        a row of an import that cannot be used; names the row
 +-- SpillFull                         a report or a screening that takes more disk than it may
 +-- BackupRefused (ValueError)        a backup or a restore that would not be what was meant
"""

from __future__ import annotations


class TracecodeError(Exception):
    """Anything this library raises on purpose."""


class DocumentRejected(TracecodeError, ValueError):
    """A document cannot be taken. `field` is a path such as "document.lines[0].quantity"."""

    reason = "DOCUMENT_REJECTED"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


class FieldInvalid(DocumentRejected):
    """A field is missing or its value cannot be used; the message says what would be right."""

    reason = "FIELD_INVALID"


class DocumentReused(DocumentRejected):
    """The document's identity was used before with other content."""

    reason = "DOCUMENT_REUSED"


class RequestReused(DocumentRejected):
    """The request_id was used before for another document."""

    reason = "REQUEST_REUSED"


class DeskRefused(TracecodeError, ValueError):
    """As things stand it cannot be done; nothing was. Look again, then decide anew."""


class EtagStale(DeskRefused):
    """The case is no longer as the caller saw it."""


class MoveRefused(DeskRefused):
    """The table of moves, or a bound, does not allow it."""


class ComplaintRefused(DeskRefused):
    """The ledger knows better than who complains: no such sale, or none that is not his own."""


class FindingInCase(DeskRefused):
    """A finding belongs to one open case at a time; the message names it."""


class NotFound(TracecodeError, LookupError):
    """The ledger does not know what was asked for."""


class AccessDenied(TracecodeError, PermissionError):
    """Who asks may not see it. Nothing was told."""


class GrantsInvalid(TracecodeError, ValueError):
    """A file of grants cannot be used, so that nobody is granted anything."""


class Overloaded(TracecodeError):
    """Too much is waiting; nothing was done. Send the same again after `retry_after_seconds`."""

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class StorageFull(Overloaded):
    """There is no room for another document; nothing was done. It goes on by itself once there is."""

    def __init__(self, message: str, retry_after_seconds: float = 10.0) -> None:
        super().__init__(message, retry_after_seconds)


class DataLoss(TracecodeError):
    """Stored bytes are not what was written. The message names the record and the remedy."""


class EngineStopped(TracecodeError):
    """The engine was closed, or stopped itself after a write error; restart the service."""


class RuleBaseInvalid(TracecodeError, ValueError):
    """A rule base cannot be used; the one in force stays. The message names line and remedy; `field` is that
    of a request, empty for a file."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


class ImportInvalid(TracecodeError, ValueError):
    """A row of an import cannot be used. `row` counts from 1 with the header as row 1; 0 = no row."""

    def __init__(self, row: int, field: str, message: str) -> None:
        place = ", ".join(part for part in (f"row {row}" if row else "", field) if part)
        super().__init__(f"{place}: {message}" if place else message)
        self.row = row
        self.field = field
        self.message = message


class SpillFull(TracecodeError):
    """What does not fit into memory takes more disk than it may. The message names the remedy."""


class BackupRefused(TracecodeError, ValueError):
    """A backup or a restore that would mix two ledgers or overwrite one; nothing was changed."""
