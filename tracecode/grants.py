"""Who may look at which divisions: his own, and those that somebody granted him for a time.

A TOML file, read by whoever answers:

    [actors."zhang.wei"]
    divisions = ["3702"]

    [[actors."zhang.wei".granted]]
    divisions = ["3301", "3302"]
    from = 2026-03-01
    to = 2026-05-31
    granted_by = "li.na"
    reason = "联合检查 2026-07 号"

A division is named by the digits with which it begins: "37" is a province, "370203" a district, "" all of
the country.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from tracecode.errors import AccessDenied, GrantsInvalid

ACTOR_BYTES_MAX = 200
_DIVISION = re.compile(r"[0-9]{0,6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Grant:
    """Divisions that somebody may look at from a day to a day, both included."""

    divisions: tuple[str, ...]
    first: date
    last: date
    granted_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or program that asks."""

    divisions: tuple[str, ...]
    granted: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """What an actor may see on a day."""

    actor: str
    divisions: tuple[str, ...]
    """How the codes of these divisions begin; none is covered by another."""

    def covers(self, division_code: str) -> bool:
        """Whether a division lies within."""
        return division_code.startswith(self.divisions)

    def check(self, division_code: str) -> None:
        """Raises AccessDenied where a division does not lie within."""
        if not self.covers(division_code):
            raise AccessDenied(f"{self.actor!r} may not see division {division_code!r}")

    def check_all_of(self, beginning: str) -> None:
        """Raises AccessDenied where not all divisions that begin so lie within."""
        if not self.covers(beginning):
            raise AccessDenied(f"{self.actor!r} may not see all of division {beginning or 'the country'!r}")

    @property
    def covers_all(self) -> bool:
        """Whether it is all of the country."""
        return "" in self.divisions


class Grants:
    """A file of grants as it was read."""

    def __init__(self, actors: Mapping[str, Actor]) -> None:
        self._actors = actors

    @classmethod
    def parse(cls, text: str, source: str) -> Grants:
        """Raises GrantsInvalid, which names the place."""
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise GrantsInvalid(f"{source}: {error}") from None
        actors = content.pop("actors", {})
        if content or not isinstance(actors, dict):
            raise GrantsInvalid(f'{source}: holds tables [actors."NAME"], and nothing else')
        return cls({name: _read_actor(f"{source}: {name}", rows) for name, rows in actors.items()})

    def reach(self, actor: str, day: date) -> Reach:
        """What an actor may see on a day. Raises AccessDenied where that is nothing."""
        known = self._actors.get(actor)
        if known is None:
            who = f"{actor[:ACTOR_BYTES_MAX]!r} is not in the file of grants" if actor else "nobody is named"
            raise AccessDenied(f"{who}; name who asks in the metadata tracecode-actor")
        divisions = set(known.divisions)
        for grant in known.granted:
            if grant.first <= day <= grant.last:
                divisions.update(grant.divisions)
        if not divisions:
            raise AccessDenied(f"{actor!r} may see no division on {day}")
        shortest = sorted(
            each
            for each in divisions
            if not any(each != other and each.startswith(other) for other in divisions)
        )
        return Reach(actor, tuple(shortest))


class GrantsFile:
    """Grants that change while they are asked. Any thread may ask."""

    def __init__(self, path: Path | None) -> None:
        """Raises GrantsInvalid if the file is there and cannot be used."""
        self._path = path
        self._lock = Lock()
        self._seen: tuple[int, int, int] | None = None
        self._grants: Grants | None = None
        if path is not None:
            self._read(path)

    def reach(self, actor: str, day: date) -> Reach:
        """As `Grants.reach`. A file that became unusable gives nothing: what it meant to take back stays
        taken back. Raises AccessDenied, GrantsInvalid."""
        if self._path is None:
            raise AccessDenied("this service has no file of grants; its operator sets grants_file")
        return self._read(self._path).reach(actor, day)

    def _read(self, path: Path) -> Grants:
        with self._lock:
            try:
                status = path.stat()
                seen = (status.st_ino, status.st_mtime_ns, status.st_size)
                if self._grants is None or seen != self._seen:
                    self._grants = None
                    self._grants = Grants.parse(path.read_text(encoding="utf-8"), str(path))
                    self._seen = seen
            except (OSError, UnicodeDecodeError) as error:
                self._grants = None
                raise GrantsInvalid(f"{path}: {error}") from None
            return self._grants


def _read_actor(place: str, rows: Any) -> Actor:
    if not isinstance(rows, dict):
        raise GrantsInvalid(f"{place}: is no table")
    unknown = set(rows) - {"divisions", "granted"}
    if unknown:
        raise GrantsInvalid(f"{place}: {min(unknown)!r} is not known; there are divisions and granted")
    granted = rows.get("granted", [])
    if not isinstance(granted, list):
        raise GrantsInvalid(f"{place}: granted is a list of tables")
    return Actor(
        _read_divisions(place, rows.get("divisions", [])),
        tuple(_read_grant(f"{place}: granted[{position}]", each) for position, each in enumerate(granted)),
    )


def _read_grant(place: str, rows: Any) -> Grant:
    wanted = {"divisions", "from", "to", "granted_by", "reason"}
    if not isinstance(rows, dict) or set(rows) != wanted:
        raise GrantsInvalid(f"{place}: has {', '.join(sorted(wanted))}, and nothing else")
    first, last = rows["from"], rows["to"]
    for day in (first, last):
        if not isinstance(day, date) or isinstance(day, datetime):
            raise GrantsInvalid(f"{place}: from and to are days, such as 2026-03-01")
    if last < first:
        raise GrantsInvalid(f"{place}: ends before it begins")
    for name in ("granted_by", "reason"):
        if not isinstance(rows[name], str) or not rows[name].strip():
            raise GrantsInvalid(f"{place}: {name} is required")
    return Grant(_read_divisions(place, rows["divisions"]), first, last, rows["granted_by"], rows["reason"])


def _read_divisions(place: str, rows: Any) -> tuple[str, ...]:
    if not isinstance(rows, list) or not all(isinstance(each, str) for each in rows):
        raise GrantsInvalid(f"{place}: divisions is a list of texts")
    for each in rows:
        if not _DIVISION.fullmatch(each):
            raise GrantsInvalid(f"{place}: {each!r} is no division; write its first digits, at most six")
    return tuple(rows)
