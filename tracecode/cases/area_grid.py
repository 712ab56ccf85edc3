"""Who answers for which area 片区、网格: the person responsible for an institution.

A table that the authority keeps as CSV. Whom it names is written into the case when it is opened; a table
that changes later changes no case.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from tracecode.cases.case import ACTOR_BYTES_MAX, check_text
from tracecode.document import check_institution_code
from tracecode.errors import FieldInvalid, ImportInvalid

COLUMNS = ("area", "owner")
"""`area`: the beginning of a division code (two to six digits), or an institution's code."""

BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class AreaGrid:
    """From an area to the person responsible for it."""

    owners: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> AreaGrid:
        """The table in a CSV file. Raises ImportInvalid, which names the row; OSError."""
        content = path.read_bytes()
        if len(content) > BYTES_MAX:
            raise ImportInvalid(0, "", f"more than {BYTES_MAX} bytes")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ImportInvalid(0, "", "is not UTF-8; save it as CSV UTF-8") from None
        return cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> AreaGrid:
        """The table in CSV text with the columns `area` and `owner`. Raises ImportInvalid."""
        rows = csv.DictReader(io.StringIO(text))
        if rows.fieldnames is None or set(COLUMNS) - set(rows.fieldnames):
            raise ImportInvalid(1, "", f"needs the columns {', '.join(COLUMNS)}")
        owners: dict[str, str] = {}
        for number, row in enumerate(rows, 2):
            area, owner = (row["area"] or "").strip(), (row["owner"] or "").strip()
            try:
                if not (area.isascii() and area.isdigit() and 2 <= len(area) <= 6):
                    check_institution_code("area", area)
                check_text("owner", owner, ACTOR_BYTES_MAX, required=True)
            except FieldInvalid as invalid:
                raise ImportInvalid(number, invalid.field, invalid.message) from None
            if area in owners:
                raise ImportInvalid(number, "area", f"{area} has an owner already")
            owners[area] = owner
        return cls(owners)

    def owner_of(self, institution_code: str, division_code: str) -> str:
        """The person responsible: the institution's own, else that of the smallest area; empty if none."""
        if institution_code in self.owners:
            return self.owners[institution_code]
        for size in range(len(division_code), 1, -1):
            owner = self.owners.get(division_code[:size])
            if owner is not None:
                return owner
        return ""
