"""The city's papers: documents in the order in which they arrive, and the labels that say what was done."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Arrivals", "Labels", "write_time"]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_days: dict[int, str] = {}


def write_time(seconds: int) -> str:
    """Seconds since 1970 UTC as protobuf's JSON writes a timestamp, such as 2026-03-01T08:00:00Z."""
    day, rest = divmod(seconds, 86_400)
    text = _days.get(day)
    if text is None:
        text = _days[day] = datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%dT")
    return f"{text}{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}Z"


class Arrivals:
    """documents.jsonl: one document a line, sorted by receive time.

    Documents wait in a heap until the clock has passed their arrival, so the memory holds the late ones
    and one day's others, whatever the city's size.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._waiting: list[tuple[int, int, str]] = []
        self._count = 0
        self.documents = 0
        self.lines = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, document: dict[str, Any], receive_times: Sequence[int]) -> None:
        """Let a document arrive at these times, seconds since 1970 UTC; more than one is a retry."""
        text = _encode(document)
        for time in receive_times:
            self._count += 1
            row = f'{{"receiveTime":"{write_time(time)}","document":{text}}}\n'
            heapq.heappush(self._waiting, (time, self._count, row))
            self.documents += 1
            self.lines += len(document.get("lines", ()))

    def write(self, until: int) -> None:
        """Write out what arrives before this time; nothing earlier may be added afterwards."""
        rows = []
        while self._waiting and self._waiting[0][0] < until:
            rows.append(heapq.heappop(self._waiting)[2])
        self._file.writelines(rows)


class Labels:
    """labels.jsonl: what was done, where it stands, and the findings that must say so."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self.counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(
        self,
        institution_code: str,
        kind: str,
        document_number: str,
        label: str,
        *,
        line_number: int = 0,
        code: str = "",
        fraud: bool = False,
        expected: Sequence[str] = (),
        drug_code: str = "",
    ) -> None:
        """Label a document (line 0), a line (no code), a code on a line, or a drug's stock (no kind)."""
        row = {
            "institutionCode": institution_code,
            "kind": kind,
            "documentNumber": document_number,
            "lineNumber": line_number,
            "code": code,
            "label": label,
            "fraud": fraud,
            "expected": list(expected),
        }
        if drug_code:
            row["drugCode"] = drug_code
        self.counts[fraud][label] += 1
        self._file.write(_encode(row) + "\n")

    def add_subject(
        self,
        level: str,
        token: str,
        label: str,
        *,
        fraud: bool,
        expected: Sequence[str] = (),
        related: Sequence[str] = (),
    ) -> None:
        """Label an institution or a person as a whole: `expected` names the models that must point there.

        `related` names models that may point there too and are right.
        """
        self.counts[fraud][label] += 1
        row = {
            "level": level,
            "subject": token,
            "label": label,
            "fraud": fraud,
            "expected": list(expected),
            "related": list(related),
        }
        self._file.write(_encode(row) + "\n")
