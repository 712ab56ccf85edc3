"""The rule base 规则库: what a region makes of findings, from when, whom it exempts, and every threshold.

A rule base is a TOML file that people write and auditors read; it is kept in the journal as it was loaded,
so a verdict can be judged again by the rules of its day. It changes what a finding weighs and what is made
of it, never what it means (tracecode/finding.py) nor when it fires (tracecode/rules).

Lookups are made for every finding of every document, so all of them are prepared when a file is parsed: a
lookup costs a few dictionary look-ups however many rows the file has.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from functools import lru_cache
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, NoReturn, TypeVar, get_type_hints

from tracecode.errors import RuleBaseInvalid
from tracecode.finding import REGISTRY, FindingType, Mode, Severity
from tracecode.scope import RowPlace, Scope, ScopeIndex, find_overlap

TEXT_BYTES_MAX = 4 * 1024 * 1024
"""Size of a file: one entry of the journal holds it whole (ours)."""

COMBINATIONS_MAX = 10_000
"""Drugs × products × institutions × divisions that one row may name one by one (ours)."""

FILE_COMBINATIONS_MAX = 200_000
"""Of all rows of a file, each counted for every threshold or finding that it speaks of: each of them is
entered in an index, so this bounds the memory of a version, then about 350 MB (ours)."""

THRESHOLDS_KEPT = 10_000
"""Combinations of [[threshold]] rows whose numbers are kept ready (ours)."""

EXEMPTION_KINDS: Final[tuple[FindingType, ...]] = (
    FindingType.EXEMPT_HERB,
    FindingType.EXEMPT_INPATIENT_SPLIT,
    FindingType.EXEMPT_LEGACY_STOCK,
    FindingType.EXEMPT_LOCAL,
)

EXCUSED_BY_DEFAULT: Final[tuple[FindingType, ...]] = (
    FindingType.CODE_EMPTY,
    FindingType.CODE_PLACEHOLDER,
    FindingType.STOCK_NEVER_RECEIVED,
)
"""What an exemption excuses when its row does not say: a box that needs no code has none, and so was never
received by one (ours)."""


class Judged(Enum):
    """What a threshold is compared on, and so what a [[threshold]] row for it may name."""

    EVENT = "one code on one line"
    """A row may name drugs, products, institutions, divisions."""
    DOCUMENT = "a whole document, which may be of many drugs"
    """Institutions and divisions."""
    STOCK = "an institution's stock of a drug"
    """Drugs, institutions and divisions."""
    CATALOGUE = "what all institutions sold together"
    """Nothing: there is one catalogue."""


_SCOPE_KEYS: Final[Mapping[Judged, tuple[str, ...]]] = {
    Judged.EVENT: ("drug_codes", "identifiers", "institution_codes", "divisions"),
    Judged.DOCUMENT: ("institution_codes", "divisions"),
    Judged.STOCK: ("drug_codes", "institution_codes", "divisions"),
    Judged.CATALOGUE: (),
}


class _Note(NamedTuple):
    """What a threshold means, its bounds where it is a number, whose number it is, and what it judges."""

    meaning: str
    least: int = 0
    most: int = 10_000
    source: str = "ours"
    judged: Judged = Judged.EVENT


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Every number that rules compare with; the unit is the last word of the name.

    Meaning and source of each stand beside it and are printed by `render_thresholds`.
    """

    late_info_hours: Annotated[
        int, _Note("LATE_UPLOAD is INFO when a document comes later than this.", judged=Judged.DOCUMENT)
    ] = 48
    late_warn_days: Annotated[
        int, _Note("LATE_UPLOAD is WARN when a document comes later than this.", judged=Judged.DOCUMENT)
    ] = 30
    future_skew_minutes: Annotated[
        int,
        _Note(
            "A business time further in the receiver's future is impossible: CLOCK_SKEW.",
            most=1_440,
            judged=Judged.DOCUMENT,
        ),
    ] = 5
    receipt_late_hours: Annotated[
        int, _Note("A receipt up to this long after a sale still gives custody; later it is CLOCK_SKEW.")
    ] = 48
    same_org_block_minutes: Annotated[
        int, _Note("DUP_SALE_SAME_ORG blocks when asked before settlement and the earlier sale is older.")
    ] = 10
    rebill_hours: Annotated[
        int, _Note("DUP_SALE_SAME_ORG is INFO when the earlier sale is returned this soon after the new one.")
    ] = 24
    join_hours: Annotated[
        int, _Note("Reports of one visit without a common settlement are one sale up to this far apart.")
    ] = 24
    resale_gap_days: Annotated[
        int, _Note("RESALE_AFTER_SETTLE needs at least this long between the two sales.")
    ] = 1
    transit_days: Annotated[
        int, _Note("A box on its way here for at most this long may be sold without STOCK_NOT_HERE.")
    ] = 7
    split_tolerance_units: Annotated[
        int, _Note("SPLIT_OVER fires when split units exceed those of the pack by more than this.")
    ] = 0
    split_unknown_sales: Annotated[
        int,
        _Note("Where the units of a pack are unknown, more split sales than this are SPLIT_OVER at WARN.", 1),
    ] = 3
    return_cycles_warn: Annotated[
        int, _Note("RETURN_RESOLD is WARN from this many times returned and sold again.", 1)
    ] = 2
    return_cycles_alert: Annotated[
        int, _Note("RETURN_RESOLD is ALERT from this many times within return_cycle_days.", 1)
    ] = 3
    return_cycle_days: Annotated[int, _Note("The days in which return_cycles_alert are counted.", 1)] = 90
    delete_late_days: Annotated[
        int,
        _Note("DELETE_AFTER_FLAG fires on a deletion this long after its document.", judged=Judged.DOCUMENT),
    ] = 7
    correction_hours: Annotated[
        int,
        _Note(
            "A deletion followed this soon by the same code and person is a correction.",
            judged=Judged.DOCUMENT,
        ),
    ] = 24
    product_learning_days: Annotated[
        int,
        _Note(
            "PRODUCT_UNKNOWN is INFO, and a swap one grade milder, this long after first sight.",
            judged=Judged.CATALOGUE,
        ),
    ] = 30
    learn_sales: Annotated[
        int, _Note("Consistent sales after which a product is learnt.", 1, judged=Judged.CATALOGUE)
    ] = 5
    learn_institutions: Annotated[
        int, _Note("Different institutions those sales must come from.", 1, judged=Judged.CATALOGUE)
    ] = 3
    legacy_stock_until: Annotated[
        date,
        _Note(
            "A sale before this day of a box without a receipt is EXEMPT_LEGACY_STOCK.",
            source="from this day all institutions collect and upload all codes (医保发〔2025〕7号)",
        ),
    ] = date(2026, 1, 1)
    sales_exceed_warn: Annotated[
        Decimal,
        _Note(
            "SALES_EXCEED_PURCHASE is WARN when sold over bought exceeds this ratio.", 1, judged=Judged.STOCK
        ),
    ] = Decimal("1.02")
    sales_exceed_alert: Annotated[
        Decimal,
        _Note(
            "SALES_EXCEED_PURCHASE is ALERT when sold over bought exceeds this ratio.", 1, judged=Judged.STOCK
        ),
    ] = Decimal("1.2")
    sales_exceed_units_min: Annotated[
        int, _Note("SALES_EXCEED_PURCHASE is silent up to this many packs sold.", judged=Judged.STOCK)
    ] = 10
    stocktake_share: Annotated[
        Decimal,
        _Note(
            "STOCKTAKE_DIFF needs a difference above this share of the computed stock.",
            most=1,
            judged=Judged.STOCK,
        ),
    ] = Decimal("0.05")
    stocktake_units: Annotated[
        int, _Note("STOCKTAKE_DIFF needs a difference of more packs than this.", judged=Judged.STOCK)
    ] = 3
    slip_characters: Annotated[
        int, _Note("SWAP_ATTR is INFO when lot or expiry differ by at most this many characters.", most=10)
    ] = 1

    def with_values(self, values: Mapping[str, Any]) -> Thresholds:
        """These, but for some by name."""
        return replace(self, **values)


_SPLIT_UNITS: Final = _Note("Units of one pack that may be sold split.")

_NOTES: Final[Mapping[str, _Note]] = {
    name: annotation.__metadata__[0]
    for name, annotation in get_type_hints(Thresholds, include_extras=True).items()
}


def judged_of(threshold: str) -> Judged:
    """What a threshold is compared on, by its name."""
    return _NOTES[threshold].judged


def render_thresholds() -> str:
    """The thresholds with defaults, meaning and source as a table in Markdown."""
    lines = ["| threshold | default | meaning | source | compared of |", "|---|---|---|---|---|"]
    for threshold in fields(Thresholds):
        note = _NOTES[threshold.name]
        lines.append(
            f"| `{threshold.name}` | {threshold.default} | {note.meaning} | {note.source} | "
            f"{note.judged.name.lower()} |"
        )
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Override:
    """A row that changes severity or mode of findings in some regions for some time.

    `findings` empty = all. `divisions` are prefixes of the division code (2, 4 or 6 digits), empty =
    everywhere. Dates are business days in China, both inclusive, None = open. `severity` and `mode` None =
    as they are; `off` switches the findings off. `line` is where the row begins in the file.
    """

    findings: tuple[FindingType, ...]
    severity: Severity | None
    off: bool
    mode: Mode | None
    divisions: tuple[str, ...]
    start_date: date | None
    end_date: date | None
    approver: str
    reason: str
    line: int


@dataclass(frozen=True, slots=True)
class Exemption:
    """A row that excuses findings; the finding of its `kind` is said instead.

    In `drug_codes` and `institution_codes` a `?` stands for one character and a `*` at the end for any rest;
    `divisions` are prefixes of the division code; each empty = any. `split` True = only lines marked as
    split. Dates are business days in China, both inclusive, `end_date` None = open. `line` is where the row
    begins in the file.
    """

    kind: FindingType
    findings: tuple[FindingType, ...]
    drug_codes: tuple[str, ...]
    institution_codes: tuple[str, ...]
    divisions: tuple[str, ...]
    split: bool
    start_date: date
    end_date: date | None
    approver: str
    reason: str
    line: int

    @property
    def scope(self) -> Scope:
        """For whom it holds, but for the mark of split lines."""
        return Scope(
            self.drug_codes, (), self.institution_codes, self.divisions, self.start_date, self.end_date
        )


@dataclass(frozen=True, slots=True)
class ThresholdRow:
    """A row that gives thresholds other values for some lines, documents or stocks.

    `values` by the threshold's name. `line` is where the row begins in the file.
    """

    values: Mapping[str, int | Decimal | date]
    scope: Scope
    approver: str
    reason: str
    line: int


@dataclass(frozen=True, slots=True)
class DrugCondition:
    """A row that says what holds for drugs or products.

    `code_required` True: no exemption excuses that a code is missing; False: that it is missing is excused;
    None: says nothing of it. `split_units_max`: how many units of one pack may be sold split, 0 = it must not
    be split, None = as the catalogue has it. `line` is where the row begins in the file.
    """

    code_required: bool | None
    split_units_max: int | None
    scope: Scope
    approver: str
    reason: str
    line: int


@dataclass(frozen=True, slots=True)
class Activation:
    """Who puts a rule base in force, from when, and why.

    `effective_time` in seconds, 0 = at once. `restored_sequence` is the entry of the change whose text it is
    again. Without an author the service took it from its file.
    """

    author: str = ""
    approver: str = ""
    notes: str = ""
    effective_time: int = 0
    restored_sequence: int = 0


FROM_FILE: Final = Activation()


class Excuse(NamedTuple):
    """The finding that is said instead, and who decided it."""

    kind: FindingType
    approver: str


_Value = TypeVar("_Value")

# What rows of one finding say of severity or mode: by division prefix, the rows that may hold there,
# the one that takes precedence first.
_Timed = tuple[date, date, _Value]
_ByDivision = dict[str, tuple[_Timed[_Value], ...]]


@dataclass(frozen=True, slots=True)
class RuleBase:
    """One version of the rule base. Two are equal when their texts are.

    Made by `default`, `load` or `parse`. Methods take the division code of the institution ("" = not known)
    and the business day in China, and are safe to call from several threads.
    """

    version: str = field(compare=False)
    text: str = field(repr=False)
    thresholds: Thresholds = field(compare=False)
    overrides: tuple[Override, ...] = field(compare=False, repr=False)
    exemptions: tuple[Exemption, ...] = field(compare=False, repr=False)
    threshold_rows: tuple[ThresholdRow, ...] = field(default=(), compare=False, repr=False)
    drug_conditions: tuple[DrugCondition, ...] = field(default=(), compare=False, repr=False)
    left_out: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """What `parse_kept` could not take over as it stands, a sentence each."""
    _severities: Mapping[FindingType, _ByDivision[Severity | None]] = field(
        init=False, compare=False, repr=False
    )
    _modes: Mapping[FindingType, _ByDivision[Mode]] = field(init=False, compare=False, repr=False)
    _excuses: Mapping[FindingType, ScopeIndex[Exemption]] = field(init=False, compare=False, repr=False)
    _scoped: Mapping[str, ScopeIndex[ThresholdRow]] = field(init=False, compare=False, repr=False)
    _combined: dict[tuple[int, ...], Thresholds] = field(init=False, compare=False, repr=False)
    _codes_required: ScopeIndex[DrugCondition] = field(init=False, compare=False, repr=False)
    _split_units: ScopeIndex[DrugCondition] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        severities = [
            (override, None if override.off else override.severity)
            for override in self.overrides
            if override.off or override.severity is not None
        ]
        modes = [(override, override.mode) for override in self.overrides if override.mode is not None]
        excuses: dict[FindingType, ScopeIndex[Exemption]] = {}
        for number, exemption in enumerate(self.exemptions):
            for type in exemption.findings:
                excuses.setdefault(type, ScopeIndex()).add(
                    number, exemption, exemption.scope, split=exemption.split
                )
        scoped: dict[str, ScopeIndex[ThresholdRow]] = {}
        for number, row in enumerate(self.threshold_rows):
            for name in row.values:
                scoped.setdefault(name, ScopeIndex()).add(number, row, row.scope)
        codes_required: ScopeIndex[DrugCondition] = ScopeIndex()
        split_units: ScopeIndex[DrugCondition] = ScopeIndex()
        for number, condition in enumerate(self.drug_conditions):
            if condition.code_required is not None:
                codes_required.add(number, condition, condition.scope)
            if condition.split_units_max is not None:
                split_units.add(number, condition, condition.scope)
        for each in excuses.values():
            each.seal()
        for other in scoped.values():
            other.seal()
        codes_required.seal()
        split_units.seal()
        # A frozen value is filled this way once, before anybody else can see it.
        object.__setattr__(self, "_severities", _index_overrides(severities))
        object.__setattr__(self, "_modes", _index_overrides(modes))
        object.__setattr__(self, "_excuses", excuses)
        object.__setattr__(self, "_scoped", scoped)
        object.__setattr__(self, "_combined", {})
        object.__setattr__(self, "_codes_required", codes_required)
        object.__setattr__(self, "_split_units", split_units)

    @classmethod
    def default(cls) -> RuleBase:
        """The rule base that comes with tracecode."""
        return _read_default()

    @classmethod
    def load(cls, path: Path) -> RuleBase:
        """The rule base in a file. Raises RuleBaseInvalid, naming the line."""
        return cls.parse(_decode(_read(path), str(path)), str(path))

    @classmethod
    def parse(cls, text: str, source: str) -> RuleBase:
        """The rule base that a TOML text says; `source` is what errors call it.

        Raises RuleBaseInvalid, which names the line at fault and what would be right.
        """
        return _Reader(text, source).read()

    @classmethod
    def parse_field(cls, text: str, field: str) -> RuleBase:
        """The rule base in a field of a request. Raises RuleBaseInvalid, which names the field and, in what
        it says, the line."""
        try:
            return cls.parse(text, "")
        except RuleBaseInvalid as invalid:
            raise RuleBaseInvalid(invalid.message, field) from None

    @classmethod
    def parse_kept(cls, text: str, source: str) -> RuleBase:
        """The rule base of a text that an earlier or later release took and a journal kept.

        What this release does not know it leaves out, and a number beyond its bounds takes the nearest one:
        a journal must open for as long as it can be read. `left_out` says so, sentence by sentence. Raises
        RuleBaseInvalid only for a text that is not TOML or has no version.
        """
        return _KeptReader(text, source).read()

    def severity(self, type: FindingType, default: Severity, division: str, day: date) -> Severity | None:
        """What a finding weighs there and then when final; None = switched off. Ours.

        `default` is what its rule gave. A row changes what the finding weighs at full weight; a rule that
        weighed a case milder than the registry is not overruled upwards, so that the holder of a box that
        somebody else reported is never raised with the reporter.
        """
        by_division = self._severities.get(type)
        if by_division is None:
            return default
        found = _pick(by_division, division, day)
        if found is None:
            return default
        severity = found[2]
        if severity is None or default >= REGISTRY[type].severity:
            return severity
        return min(default, severity)

    def leaves_alone(self, type: FindingType) -> bool:
        """No row says anything of a finding, anywhere and at any time: it is as the registry has it."""
        return type not in self._severities and type not in self._modes

    def mode(self, type: FindingType, division: str, day: date) -> Mode:
        """What is made of a finding there and then: the registry's mode unless a row says otherwise."""
        by_division = self._modes.get(type)
        found = _pick(by_division, division, day) if by_division is not None else None
        return REGISTRY[type].mode if found is None else found[2]

    def exemption(
        self,
        drug_code: str,
        institution_code: str,
        division: str,
        day: date,
        finding: FindingType,
        *,
        split: bool = False,
    ) -> Exemption | None:
        """The row that excuses a finding on a line, the first of the file if several do; None = none.

        `drug_code` is the NHSA code as billed, "" if the line has none; `split` is the line's own mark.
        """
        index = self._excuses.get(finding)
        if index is None:
            return None
        found = index.first(RowPlace(institution_code, division, day, drug_code), split=split)
        return found[1] if found is not None else None

    def thresholds_at(self, place: RowPlace) -> Thresholds:
        """The numbers that hold for one code on a line; without drug and product for a document, without
        product for a stock. Of several rows that fit, the first of the file gives a threshold its value."""
        if not self._scoped:
            return self.thresholds
        found = {name: row for name, index in self._scoped.items() if (row := index.first(place)) is not None}
        if not found:
            return self.thresholds
        # Which names have rows is the same for each lookup but for those without any that fits.
        key = tuple(found[name][0] if name in found else -1 for name in self._scoped)
        combined = self._combined.get(key)
        if combined is None:
            combined = self.thresholds.with_values(
                {name: row.values[name] for name, (_, row) in found.items()}
            )
            if len(self._combined) >= THRESHOLDS_KEPT:
                self._combined.clear()
            self._combined[key] = combined
        return combined

    def excuse(self, type: FindingType, place: RowPlace, *, split: bool = False) -> Excuse | None:
        """What excuses a finding on a line of the billed drug; None = nothing.

        Of the findings that a missing code leads to, a drug condition decides before any exemption: a drug
        whose code is required is excused by none.
        """
        if type in EXCUSED_BY_DEFAULT:
            found = self._codes_required.first(place)
            if found is not None:
                condition = found[1]
                if condition.code_required:
                    return None
                return Excuse(FindingType.EXEMPT_LOCAL, condition.approver)
        exemption = self.exemption(
            place.drug_code, place.institution_code, place.division, place.day, type, split=split
        )
        return Excuse(exemption.kind, exemption.approver) if exemption is not None else None

    def split_units_max(self, place: RowPlace) -> int | None:
        """How many units of a pack may be sold split, if a row says so; 0 = none."""
        found = self._split_units.first(place)
        return found[1].split_units_max if found is not None else None


def _index_overrides(
    rows: Iterable[tuple[Override, _Value]],
) -> dict[FindingType, _ByDivision[_Value]]:
    """Rows by finding and division prefix: the later start first, then a named finding before all."""
    gathered: dict[FindingType, dict[str, list[tuple[date, bool, date, _Value]]]] = {}
    for override, value in rows:
        named = bool(override.findings)
        start, end = override.start_date or date.min, override.end_date or date.max
        for type in override.findings or FindingType:
            for division in override.divisions or ("",):
                by_division = gathered.setdefault(type, {})
                by_division.setdefault(division, []).append((start, named, end, value))
    return {
        type: {
            division: tuple(
                (start, end, value)
                for start, _, end, value in sorted(timed, key=lambda row: row[:2], reverse=True)
            )
            for division, timed in by_division.items()
        }
        for type, by_division in gathered.items()
    }


def _pick(by_division: _ByDivision[_Value], division: str, day: date) -> _Timed[_Value] | None:
    """The row that holds: that of the longest division prefix, then the one that began last."""
    for length in (6, 4, 2, 0):
        for timed in by_division.get(division[:length], ()):
            if timed[0] <= day <= timed[1]:
                return timed
    return None


@lru_cache(maxsize=1)
def _read_default() -> RuleBase:
    text = resources.files("tracecode").joinpath("rule_base.toml").read_text(encoding="utf-8")
    return RuleBase.parse(text, "rule_base.toml")


class RuleBaseFile:
    """A rule base file that may be changed while the service runs.

    `in_force` is the last version that was good; a bad file never replaces it. Not for use by several
    threads at once.
    """

    def __init__(self, path: Path, in_force: RuleBase | None = None) -> None:
        self.path = path
        self.in_force = in_force
        # A file is read when its stamp changes and taken when its bytes do: touching it is no change.
        self._stamp: tuple[int, ...] | None = None
        self._digest = hashlib.sha256(in_force.text.encode()).digest() if in_force else b""

    def poll(self) -> RuleBase | None:
        """The rule base of the file if it changed since the last poll, else None.

        Raises RuleBaseInvalid when a change cannot be used, once for each such change: what was in force
        stays. A changed text needs a new version, since verdicts name the version only.
        """
        stamp = self._look()
        if stamp == self._stamp:
            return None
        # The stamp was taken before the bytes: what is written meanwhile shows at the next poll.
        self._stamp = stamp
        content = _read(self.path)
        text = _decode(content, str(self.path))
        digest = hashlib.sha256(text.encode()).digest()
        if digest == self._digest:
            return None
        self._digest = digest
        rule_base = RuleBase.parse(text, str(self.path))
        if self.in_force and rule_base == self.in_force:
            return None
        if self.in_force and rule_base.version == self.in_force.version:
            line = _index_lines(text).get(("version",), 1)
            raise RuleBaseInvalid(
                f"{self.path}, line {line}: version: the text changed but the version is still "
                f'"{rule_base.version}"; give it a new one, since verdicts name only the version'
            )
        self.in_force = rule_base
        return rule_base

    def _look(self) -> tuple[int, ...]:
        """What changes when the file is written. A file that is gone is told once, then waited for."""
        try:
            status = self.path.stat()
        except OSError as error:
            if self._stamp == ():
                return ()
            self._stamp = ()
            raise _unreadable(self.path, error) from None
        return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def _unreadable(path: Path, error: OSError) -> RuleBaseInvalid:
    return RuleBaseInvalid(f"{path}: cannot be read ({error.strerror}); check the path and its permissions")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(TEXT_BYTES_MAX + 1)
    except OSError as error:
        raise _unreadable(path, error) from None


def _place(source: str, line: int) -> str:
    return f"{source}, line {line}" if source else f"line {line}"


def _limit(content: bytes, source: str) -> None:
    if len(content) > TEXT_BYTES_MAX:
        raise RuleBaseInvalid(
            f"{_place(source, 1)}: longer than {TEXT_BYTES_MAX} bytes; use patterns instead of lists"
        )


def _decode(content: bytes, source: str) -> str:
    _limit(content, source)
    try:
        # Windows editors put a byte order mark first, which TOML does not know.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RuleBaseInvalid(f"{_place(source, line)}: not UTF-8; save the file in that encoding") from None


# --- from TOML to values ------------------------------------------------------------------------

_Path = tuple[str | int, ...]

# Strings, comments and brackets: what a line may hold that decides whether the next one continues it.
_TOKEN = re.compile(r'"""|\'\'\'|"(?:[^"\\]|\\.)*"|\'[^\']*\'|#.*|[\[\]{}]')
_NAME = r"(?:[A-Za-z0-9_-]+|\"(?:[^\"\\]|\\.)*\"|'[^']*')"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*\]")
_KEY = re.compile(rf"\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*=")


def _split_name(name: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(_NAME, name)]


def _index_lines(text: str) -> dict[_Path, int]:
    """Where each table and key of a valid TOML text stands, lines from 1; a row of tables by its number."""
    lines: dict[_Path, int] = {}
    table: _Path = ()
    counts: dict[_Path, int] = {}
    depth = 0
    closing = ""
    for number, line in enumerate(text.split("\n"), 1):
        rest = line
        if not closing and depth == 0:
            if header := _HEADER.match(line):
                table = tuple(_split_name(header[2]))
                if header[1] == "[[":
                    counts[table] = counts.get(table, -1) + 1
                    table = (*table, counts[table])
                lines.setdefault(table, number)
                continue
            if key := _KEY.match(line):
                lines.setdefault((*table, *_split_name(key[1])), number)
                rest = line[key.end() :]
        while rest:
            if closing:
                _, found, rest = rest.partition(closing)
                closing = "" if found else closing
                continue
            token = _TOKEN.search(rest)
            if token is None:
                break
            if token[0] in ('"""', "'''"):
                closing = token[0]
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
            rest = rest[token.end() :]
    return lines


class _Reader:
    """Turns one text into a rule base, and whatever is wrong with it into an error with its line."""

    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        self.lines: dict[_Path, int] = {}
        self.left_out: list[str] = []
        self.combinations = 0

    def fail(self, path: _Path, message: str) -> NoReturn:
        """Raise the error for a place; a key that is missing is told at the table that lacks it."""
        where = path
        while where and where not in self.lines:
            where = where[:-1]
        name = ""
        for part in path:
            name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
        raise RuleBaseInvalid(f"{_place(self.source, self.lines.get(where, 1))}: {name}: {message}")

    def read(self) -> RuleBase:
        """The rule base of the text."""
        self._limit()
        try:
            content = tomllib.loads(self.text, parse_float=Decimal)
        except tomllib.TOMLDecodeError as error:
            raise self._explain(str(error)) from None
        except (ValueError, RecursionError):
            # tomllib lets through what int() and its own depth raise, without a line.
            raise self._explain("a number or nesting of brackets beyond all measure") from None
        self.lines = _index_lines(self.text)
        self._refuse_unknown(
            (), content, ("version", "thresholds", "override", "exemption", "threshold", "drug_condition")
        )
        version = self._read_version(content)
        overrides = self._read_rows(content, "override", self._read_override)
        exemptions = self._read_rows(content, "exemption", self._read_exemption)
        thresholds = self._read_thresholds(content.get("thresholds", {}))
        threshold_rows = self._read_rows(
            content, "threshold", lambda path, table: self._read_threshold_row(path, table, thresholds)
        )
        drug_conditions = self._read_rows(content, "drug_condition", self._read_drug_condition)
        # All rows are counted before any is compared with the others: the count bounds what that takes.
        self._refuse_ambiguous(overrides)
        for name in _NOTES:
            self._refuse_overlap(
                "threshold", name, [(row.scope, row.line, name in row.values) for row in threshold_rows]
            )
        for name in ("code_required", "split_units_max"):
            self._refuse_overlap(
                "drug_condition",
                name,
                [(row.scope, row.line, getattr(row, name) is not None) for row in drug_conditions],
            )
        return RuleBase(
            version=version,
            text=self.text,
            thresholds=thresholds,
            overrides=overrides,
            exemptions=exemptions,
            threshold_rows=threshold_rows,
            drug_conditions=drug_conditions,
            left_out=tuple(self.left_out),
        )

    def _limit(self) -> None:
        _limit(self.text.encode(), self.source)

    def _read_version(self, content: Mapping[str, Any]) -> str:
        version = self._read_text((), content, "version", characters_max=64)
        if not re.fullmatch(r"[\x21-\x7e]+", version):
            self.fail(("version",), "letters, digits and signs without blanks, such as 2026.03-xingtai")
        return version

    def _explain(self, message: str) -> RuleBaseInvalid:
        """tomllib's error with the line first, and the remedy for what people get wrong most."""
        found = re.search(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$", message)
        what = message[: found.start()] if found else message
        line = int(found[1]) if found and found[1] else self.text.rstrip("\n").count("\n") + 1
        remedy = "check quotes, commas and brackets on this line and the one before"
        if "overwrite" in what or "twice" in what:
            remedy = "it stands there already; a further row begins with [[override]] or [[exemption]]"
        elif "Invalid value" in what:
            remedy = 'texts stand in "quotes", dates without (2026-01-01), numbers plain (48), true or false'
        return RuleBaseInvalid(f"{_place(self.source, line)}: not TOML: {what}; {remedy}")

    def _refuse_unknown(self, path: _Path, table: Mapping[str, Any], names: Sequence[str]) -> None:
        for name in table:
            if name not in names:
                close = difflib.get_close_matches(name, names, 1)
                hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"
                self.fail((*path, name), f"not known here; {hint}")

    def _rows(self, content: Mapping[str, Any], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        rows = content.get(name, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            general = "; numbers for everybody stand in [thresholds]" if name == "threshold" else ""
            self.fail((name,), f"begin each row with [[{name}]], in double brackets{general}")
        yield from enumerate(rows)

    def _read_rows(
        self, content: Mapping[str, Any], name: str, read: Callable[[_Path, Mapping[str, Any]], _Row]
    ) -> tuple[_Row, ...]:
        return tuple(read((name, row), table) for row, table in self._rows(content, name))

    def _read_thresholds(self, table: Any) -> Thresholds:
        if not isinstance(table, dict):
            self.fail(("thresholds",), "a table: [thresholds] and a line for each number")
        defaults = {threshold.name: threshold.default for threshold in fields(Thresholds)}
        self._refuse_unknown(("thresholds",), table, tuple(defaults))
        read = Thresholds(
            **{
                name: self._read_threshold(("thresholds", name), value, defaults[name], _NOTES[name])
                for name, value in table.items()
                if name in defaults
            }
        )
        self._check_thresholds(("thresholds",), read)
        return read

    def _read_threshold_row(
        self, path: _Path, table: Mapping[str, Any], thresholds: Thresholds
    ) -> ThresholdRow:
        """`thresholds` are those of the file, which hold where the row does not name them."""
        defaults = {threshold.name: threshold.default for threshold in fields(Thresholds)}
        keys = (*_SCOPE_KEYS[Judged.EVENT], "start_date", "end_date", "approver", "reason")
        # Of another release, too, a row is taken whole or not: without a key it would hold for more.
        _Reader._refuse_unknown(self, path, table, (*defaults, *keys))
        values = {
            name: self._read_threshold((*path, name), table[name], default, _NOTES[name])
            for name, default in defaults.items()
            if name in table
        }
        if not values:
            self.fail(path, "changes nothing; give a threshold, such as transit_days = 14")
        scope = self._read_scope(path, table)
        self._limit_combinations(path, scope.combinations, len(values))
        for name in values:
            judged = _NOTES[name].judged
            allowed = _SCOPE_KEYS[judged]
            if not allowed:
                self.fail(
                    (*path, name), f"is about {judged.value}, so no row can change it; set it in [thresholds]"
                )
            for key in _SCOPE_KEYS[Judged.EVENT]:
                if key in table and key not in allowed:
                    self.fail(
                        (*path, key),
                        f"{name} is about {judged.value}; name {' or '.join(allowed)}, or give it a row of "
                        "its own",
                    )
        if scope.names_nobody:
            self.fail(path, f"holds for everybody; give {', '.join(keys[:4])}, or set it in [thresholds]")
        self._check_thresholds(path, thresholds.with_values(values), values)
        return ThresholdRow(
            values=values,
            scope=scope,
            approver=self._read_text(path, table, "approver"),
            reason=self._read_text(path, table, "reason"),
            line=self.lines.get(path, 1),
        )

    def _read_drug_condition(self, path: _Path, table: Mapping[str, Any]) -> DrugCondition:
        keys = (*_SCOPE_KEYS[Judged.EVENT], "start_date", "end_date", "approver", "reason")
        _Reader._refuse_unknown(self, path, table, ("code_required", "split_units_max", *keys))
        code_required = table.get("code_required")
        if code_required is not None and not isinstance(code_required, bool):
            self.fail((*path, "code_required"), f"{_show(code_required)} is neither true nor false")
        split_units_max = None
        if "split_units_max" in table:
            split_units_max = self._read_threshold(
                (*path, "split_units_max"), table["split_units_max"], 0, _SPLIT_UNITS
            )
        if code_required is None and split_units_max is None:
            self.fail(path, "says nothing of the drug; give code_required, split_units_max or both")
        scope = self._read_scope(path, table)
        says = (code_required is not None) + (split_units_max is not None)
        self._limit_combinations(path, scope.combinations, says)
        if not (scope.drug_codes or scope.identifiers):
            self.fail(path, "is of no drug; give drug_codes, or identifiers of products")
        if code_required is not None and scope.identifiers:
            self.fail(
                (*path, "identifiers"),
                "a line without a code tells no product, so code_required goes by drug_codes alone; take it "
                "out",
            )
        return DrugCondition(
            code_required=code_required,
            split_units_max=split_units_max,
            scope=scope,
            approver=self._read_text(path, table, "approver"),
            reason=self._read_text(path, table, "reason"),
            line=self.lines.get(path, 1),
        )

    def _read_scope(self, path: _Path, table: Mapping[str, Any]) -> Scope:
        identifiers = self._read_texts(path, table, "identifiers")
        for identifier in identifiers:
            if not re.fullmatch(r"[0-9]{7}|[0-9]{14}", identifier):
                self.fail(
                    (*path, "identifiers"),
                    f"{_show(identifier)} is no product; use the first 7 digits of a code of 20, or the 14 "
                    "digits of a GTIN",
                )
        start_date, end_date = self._read_dates(path, table)
        return Scope(
            self._read_patterns(path, table, "drug_codes"),
            identifiers,
            self._read_patterns(path, table, "institution_codes"),
            self._read_divisions(path, table),
            start_date,
            end_date,
        )

    def _limit_combinations(self, path: _Path, combinations: int, says: int) -> None:
        """A row names so many combinations, and says so many things of each."""
        if combinations > COMBINATIONS_MAX:
            self.fail(
                path,
                f"names {combinations} combinations of drugs, institutions and divisions, at most "
                f"{COMBINATIONS_MAX} are taken; use patterns and prefixes instead of lists",
            )
        self._limit_file(path, combinations * says)

    def _limit_file(self, path: _Path, combinations: int) -> None:
        self.combinations += combinations
        if self.combinations > FILE_COMBINATIONS_MAX:
            self.fail(
                path,
                f"with this row the file names {self.combinations} combinations of drugs, institutions and "
                "divisions, each counted for every threshold or finding that its row speaks of, at most "
                f"{FILE_COMBINATIONS_MAX} are taken; use patterns and prefixes instead of lists",
            )

    def _refuse_overlap(self, table: str, name: str, rows: Sequence[tuple[Scope, int, bool]]) -> None:
        """Two rows that say one thing of one combination on one day; `rows`: scope, line, whether it does."""
        saying = [row for row, (_, _, says) in enumerate(rows) if says]
        found = find_overlap(rows[row][0] for row in saying)
        if found is not None:
            first, second = (saying[each] for each in found)
            self.fail(
                (table, second, name),
                f"the row of line {rows[first][1]} says it already for the same drug, product, institution "
                "or division on some of these days; take one out, or end one before the other starts",
            )

    def _read_threshold(self, path: _Path, value: Any, default: Any, note: _Note) -> Any:
        if isinstance(default, date):
            return self._check_date(path, value)
        bounds = f"from {note.least} to {note.most}"
        if isinstance(default, Decimal):
            if isinstance(value, bool) or not isinstance(value, int | Decimal):
                self.fail(path, f"{_show(value)} is not a number; use one {bounds}, such as {default}")
            value = Decimal(value)
            if not value.is_finite():
                self.fail(path, f"use a number {bounds}, such as {default}")
        elif isinstance(value, bool) or not isinstance(value, int):
            self.fail(path, f"{_show(value)} is not a whole number; use one {bounds}, such as {default}")
        if not note.least <= value <= note.most:
            self.fail(path, f"{value} is out of bounds; use a number {bounds}, such as {default}")
        return value

    def _check_thresholds(self, path: _Path, read: Thresholds, given: Container[str] = ()) -> None:
        """What is graver must not come before what is milder; `given` are those that the row at `path` names,
        none for the table of all."""
        for name, other, wrong in (
            ("late_warn_days", "late_info_hours", read.late_warn_days * 24 < read.late_info_hours),
            ("return_cycles_alert", "return_cycles_warn", read.return_cycles_alert < read.return_cycles_warn),
            ("sales_exceed_alert", "sales_exceed_warn", read.sales_exceed_alert < read.sales_exceed_warn),
        ):
            if wrong and (not given or name in given):
                self.fail((*path, name), f"{getattr(read, name)} is below {other}; raise it or lower that")
            if wrong and other in given:
                self.fail(
                    (*path, other),
                    f"{getattr(read, other)} is above {name}; lower it, or give {name} in this row, too",
                )

    def _read_override(self, path: _Path, table: Mapping[str, Any]) -> Override:
        self._refuse_unknown(
            path,
            table,
            ("findings", "severity", "mode", "divisions", "start_date", "end_date", "approver", "reason"),
        )
        texts = self._read_texts(path, table, "findings")
        if not texts:
            self.fail((*path, "findings"), 'missing; name them, such as ["LATE_UPLOAD"], or say ["ALL"]')
        every = texts == ("ALL",)
        findings = () if every else self._read_findings((*path, "findings"), texts)
        if "severity" not in table and "mode" not in table:
            self.fail(path, "changes nothing; give severity, mode or both")
        severity, off = None, False
        if "severity" in table:
            if every:
                self.fail((*path, "severity"), "ALL takes a mode only; name the findings to be weighed anew")
            off = table["severity"] == "OFF"
            if not off:
                severity = self._read_name((*path, "severity"), table["severity"], Severity, ("OFF",))
                severity = self._limit_severity((*path, "severity"), severity, findings)
        mode = None
        if "mode" in table:
            mode = self._read_name((*path, "mode"), table["mode"], Mode, ())
        start_date, end_date = self._read_dates(path, table)
        divisions = self._read_divisions(path, table)
        says = ("severity" in table) + ("mode" in table)
        self._limit_file(path, (len(divisions) or 1) * (len(findings) or len(FindingType)) * says)
        return Override(
            findings=findings,
            severity=severity,
            off=off,
            mode=mode,
            divisions=divisions,
            start_date=start_date,
            end_date=end_date,
            approver=self._read_text(path, table, "approver"),
            reason=self._read_text(path, table, "reason"),
            line=self.lines.get(path, 1),
        )

    def _read_exemption(self, path: _Path, table: Mapping[str, Any]) -> Exemption:
        self._refuse_unknown(
            path,
            table,
            (
                "kind",
                "findings",
                "drug_codes",
                "institution_codes",
                "divisions",
                "split",
                "start_date",
                "end_date",
                "approver",
                "reason",
            ),
        )
        kinds = ", ".join(kind.name for kind in EXEMPTION_KINDS)
        if "kind" not in table:
            self.fail((*path, "kind"), f"missing; one of {kinds}")
        kind = next((kind for kind in EXEMPTION_KINDS if kind.name == table["kind"]), None)
        if kind is None:
            self.fail((*path, "kind"), f"{_show(table['kind'])} is not one of {kinds}")
        findings = EXCUSED_BY_DEFAULT
        if "findings" in table:
            findings = self._read_findings((*path, "findings"), self._read_texts(path, table, "findings"))
            if not findings:
                self.fail((*path, "findings"), "excuses nothing; name findings, or leave the key out")
            for type in findings:
                if type in EXEMPTION_KINDS or type is FindingType.PASS:
                    self.fail(
                        (*path, "findings"), f"{type.name} is no complaint and needs no excuse; take it out"
                    )
        split = table.get("split", False)
        if not isinstance(split, bool):
            self.fail((*path, "split"), f"{_show(split)} is neither true nor false")
        if "start_date" not in table:
            self.fail((*path, "start_date"), "missing; the day from which it holds, such as 2026-01-01")
        start_date, end_date = self._read_dates(path, table)
        exemption = Exemption(
            kind=kind,
            findings=findings,
            drug_codes=self._read_patterns(path, table, "drug_codes"),
            institution_codes=self._read_patterns(path, table, "institution_codes"),
            divisions=self._read_divisions(path, table),
            split=split,
            start_date=start_date or date.min,
            end_date=end_date,
            approver=self._read_text(path, table, "approver"),
            reason=self._read_text(path, table, "reason"),
            line=self.lines.get(path, 1),
        )
        if not (exemption.drug_codes or exemption.institution_codes or exemption.divisions or split):
            self.fail(path, "exempts everybody; give drug_codes, institution_codes, divisions or split")
        self._limit_combinations(path, exemption.scope.combinations, len(findings))
        return exemption

    def _refuse_ambiguous(self, overrides: Sequence[Override]) -> None:
        """Two rows that begin on one day for one finding and region would take precedence by chance."""
        seen: dict[tuple[str, FindingType | None, str, date | None], Override] = {}
        for row, override in enumerate(overrides):
            changed = [
                name
                for name, said in (
                    ("severity", override.off or override.severity is not None),
                    ("mode", override.mode is not None),
                )
                if said
            ]
            for name, type, division in product(
                changed, override.findings or (None,), override.divisions or ("",)
            ):
                other = seen.setdefault((name, type, division, override.start_date), override)
                if other is not override:
                    self.fail(
                        ("override", row, name),
                        f"the row of line {other.line} says it too for {type.name if type else 'ALL'} in the "
                        "same division from the same start_date; take one out, or let one start later",
                    )

    def _read_text(
        self, path: _Path, table: Mapping[str, Any], name: str, characters_max: int = 1_000
    ) -> str:
        value = table.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            self.fail((*path, name), "missing; a text is needed here")
        if not isinstance(value, str):
            self.fail((*path, name), f'{_show(value)} is not a text; put it in "quotes"')
        if len(value) > characters_max:
            self.fail((*path, name), f"longer than {characters_max} characters; shorten it")
        return value

    def _read_texts(self, path: _Path, table: Mapping[str, Any], name: str) -> tuple[str, ...]:
        values = table.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            self.fail((*path, name), f'{_show(values)} is not a list of texts; write ["..."]')
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            self.fail((*path, name), f"{_show(twice[0])} stands twice; take one out")
        return tuple(values)

    def _read_findings(self, path: _Path, texts: Iterable[str]) -> tuple[FindingType, ...]:
        return tuple(self._check_finding(path, text) for text in texts)

    def _check_finding(self, path: _Path, text: str) -> FindingType:
        return self._read_name(path, text, FindingType, ())

    def _limit_severity(self, path: _Path, severity: Severity, findings: Iterable[FindingType]) -> Severity:
        for type in findings:
            if severity > (most := REGISTRY[type].severity_max):
                self.fail(
                    path,
                    f"{type.name} never weighs more than {most.name}, for an honest pharmacy may cause it; "
                    f"use {most.name} or less",
                )
        return severity

    def _read_name(self, path: _Path, value: Any, names: type[_Enum], also: tuple[str, ...]) -> _Enum:
        """A member of an enum by its name: modes are written small, the rest in capitals."""
        spelled = {
            (member.name.lower() if isinstance(member, Mode) else member.name): member for member in names
        }
        if not isinstance(value, str) or value not in spelled:
            known = {name.upper(): name for name in (*spelled, *also)}
            close = difflib.get_close_matches(value.upper(), known, 1) if isinstance(value, str) else []
            if close:
                hint = f"did you mean {known[close[0]]}?"
            elif names is FindingType:
                hint = "docs/findings.md lists the findings"
            else:
                hint = f"use one of {', '.join(known.values())}"
            self.fail(path, f"{_show(value)} is not known; {hint}")
        return spelled[value]

    def _read_divisions(self, path: _Path, table: Mapping[str, Any]) -> tuple[str, ...]:
        divisions = self._read_texts(path, table, "divisions")
        for division in divisions:
            if not re.fullmatch(r"(?:[0-9]{2}){1,3}", division):
                self.fail(
                    (*path, "divisions"),
                    f"{_show(division)} is no division; use 2 digits for a province, 4 for a pooling area, "
                    "6 for a county",
                )
        return divisions

    def _read_patterns(self, path: _Path, table: Mapping[str, Any], name: str) -> tuple[str, ...]:
        patterns = self._read_texts(path, table, name)
        for pattern in patterns:
            if not re.fullmatch(r"[0-9A-Za-z?._-]{1,50}\*?", pattern):
                self.fail(
                    (*path, name),
                    f"{_show(pattern)} is no code; use letters and digits, ? for one character, * at the "
                    "end for any rest, or leave the key out for any code",
                )
        return patterns

    def _read_dates(self, path: _Path, table: Mapping[str, Any]) -> tuple[date | None, date | None]:
        start, end = (
            self._check_date((*path, name), table[name]) if name in table else None
            for name in ("start_date", "end_date")
        )
        if start and end and end < start:
            self.fail((*path, "end_date"), f"{end} is before start_date {start}; exchange them")
        return start, end

    def _check_date(self, path: _Path, value: Any) -> date:
        if isinstance(value, datetime) or not isinstance(value, date):
            self.fail(path, f"{_show(value)} is not a date; write it without quotes, such as 2026-01-01")
        return value


class _KeptReader(_Reader):
    """Reads a text that was in force once, by whatever release: takes what it knows and says what not.

    Where two readings are possible it takes the milder one, lest an upgrade accuse somebody.
    """

    def _leave_out(self, error: RuleBaseInvalid) -> None:
        self.left_out.append(str(error))

    def _limit(self) -> None:
        """The size was looked at when it was taken."""

    def _limit_file(self, path: _Path, combinations: int) -> None:
        """Likewise; to leave rows out of it would excuse nobody any more whom they excused."""

    def _read_version(self, content: Mapping[str, Any]) -> str:
        return self._read_text((), content, "version", characters_max=TEXT_BYTES_MAX)

    def _refuse_unknown(self, path: _Path, table: Mapping[str, Any], names: Sequence[str]) -> None:
        for name in table:
            try:
                super()._refuse_unknown(path, {name: None}, names)
            except RuleBaseInvalid as error:
                self._leave_out(error)

    def _rows(self, content: Mapping[str, Any], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            yield from super()._rows(content, name)
        except RuleBaseInvalid as error:
            self._leave_out(error)

    def _read_rows(
        self, content: Mapping[str, Any], name: str, read: Callable[[_Path, Mapping[str, Any]], _Row]
    ) -> tuple[_Row, ...]:
        rows = []
        for row, table in self._rows(content, name):
            try:
                rows.append(read((name, row), table))
            except RuleBaseInvalid as error:
                self._leave_out(error)
        return tuple(rows)

    def _read_thresholds(self, table: Any) -> Thresholds:
        try:
            return super()._read_thresholds(table)
        except RuleBaseInvalid as error:
            self._leave_out(error)
            return Thresholds()

    def _read_threshold(self, path: _Path, value: Any, default: Any, note: _Note) -> Any:
        try:
            return super()._read_threshold(path, value, default, note)
        except RuleBaseInvalid as error:
            self._leave_out(error)
        numbers = int | Decimal if isinstance(default, Decimal) else int
        if isinstance(value, bool) or not isinstance(value, numbers) or not Decimal(value).is_finite():
            return default
        return type(default)(min(max(value, note.least), note.most))

    def _check_thresholds(self, path: _Path, read: Thresholds, given: Container[str] = ()) -> None:
        try:
            super()._check_thresholds(path, read, given)
        except RuleBaseInvalid as error:
            self._leave_out(error)

    def _refuse_overlap(self, table: str, name: str, rows: Sequence[tuple[Scope, int, bool]]) -> None:
        try:
            super()._refuse_overlap(table, name, rows)
        except RuleBaseInvalid as error:
            self._leave_out(error)

    def _read_findings(self, path: _Path, texts: Iterable[str]) -> tuple[FindingType, ...]:
        findings = []
        for text in texts:
            try:
                findings.append(self._check_finding(path, text))
            except RuleBaseInvalid as error:
                self._leave_out(error)
        if not findings:
            self.fail(path, "names nothing that is known here; the row is left out")
        return tuple(findings)

    def _limit_severity(self, path: _Path, severity: Severity, findings: Iterable[FindingType]) -> Severity:
        try:
            return super()._limit_severity(path, severity, findings)
        except RuleBaseInvalid as error:
            self._leave_out(error)
        return min(severity, *(REGISTRY[type].severity_max for type in findings))

    def _refuse_ambiguous(self, overrides: Sequence[Override]) -> None:
        try:
            super()._refuse_ambiguous(overrides)
        except RuleBaseInvalid as error:
            self._leave_out(error)


_Enum = TypeVar("_Enum", bound=IntEnum)
_Row = TypeVar("_Row", Override, Exemption, ThresholdRow, DrugCondition)


def _show(value: Any) -> str:
    """A value as it might stand in the file, shortened."""
    text = (
        f'"{value}"'
        if isinstance(value, str)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
    return text if len(text) <= 60 else text[:57] + "..."
