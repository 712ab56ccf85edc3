"""thresholds.toml, read and checked: a misspelt or missing number is an error, never a default."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tracecode.errors import RuleBaseInvalid
from tracecode.screening.model import Level, Parameter

__all__ = ["Condition", "Grade", "ModelThresholds", "Score", "Thresholds"]


@dataclass(frozen=True, slots=True)
class Condition:
    """What must be reached at once; None = whatever it is."""

    value: float | None = None
    support: float | None = None
    z: float | None = None

    def holds(self, value: float, support: float, z: float | None) -> bool:
        """Whether all that is asked for is reached."""
        if self.value is not None and value < self.value:
            return False
        if self.support is not None and support < self.support:
            return False
        return self.z is None or (z is not None and z >= self.z)

    def __str__(self) -> str:
        asked = (("value", self.value), ("support", self.support), ("z", self.z))
        return ", ".join(f"{name} >= {number:g}" for name, number in asked if number is not None)


@dataclass(frozen=True, slots=True)
class ModelThresholds:
    """What is too much for one model."""

    weight: float
    mad_floor: float
    levels: Mapping[Level, tuple[Condition, ...]]
    parameters: Mapping[str, Parameter]


@dataclass(frozen=True, slots=True)
class Grade:
    """信用等级 and what follows from it."""

    grade: str
    credit_min: float
    inspection_factor: float
    effect_zh: str
    effect_en: str


@dataclass(frozen=True, slots=True)
class Score:
    """How leads become points."""

    z_from: float
    z_span: float
    warn_strength: float
    alert_strength: float
    risk_share: float
    penalty_max: float
    case_points: Mapping[str, float]
    repeat_share: float
    self_report_bonus: float
    coverage_bonus: float
    coverage_min: float


@dataclass(frozen=True, slots=True)
class Thresholds:
    """All numbers of one file."""

    version: str
    digest: str
    lookback_days: int
    exempt_findings: tuple[int, ...]
    exempt_drugs: tuple[str, ...]
    members_min: int
    region_grade_default: int
    region_grades: Mapping[str, int]
    suspected_models: int
    suspected_codes: int
    score: Score
    grades: tuple[Grade, ...]
    """Best first."""
    models: Mapping[str, ModelThresholds]

    @classmethod
    def default(cls) -> Thresholds:
        """The file that comes with the library."""
        return cls.parse((resources.files("tracecode.screening") / "thresholds.toml").read_text("utf-8"))

    @classmethod
    def load(cls, path: Path) -> Thresholds:
        """A region's own file. Raises RuleBaseInvalid, OSError."""
        return cls.parse(path.read_text(encoding="utf-8"))

    @classmethod
    def parse(cls, text: str) -> Thresholds:
        """Raises RuleBaseInvalid naming what is wrong."""
        try:
            table = tomllib.loads(text)
            peers, state = table.pop("peers"), table.pop("state")
            found = cls(
                version=str(table.pop("version")),
                digest=hashlib.sha256(text.encode()).hexdigest(),
                lookback_days=int(table.pop("lookback_days")),
                exempt_findings=tuple(int(each) for each in table.pop("exempt_findings")),
                exempt_drugs=tuple(str(each) for each in table.pop("exempt_drugs")),
                members_min=int(peers.pop("members_min")),
                region_grade_default=int(peers.pop("region_grade_default")),
                region_grades={str(key): int(grade) for key, grade in peers.pop("region_grades").items()},
                suspected_models=int(state.pop("suspected_models")),
                suspected_codes=int(state.pop("suspected_codes")),
                score=Score(**table.pop("score")),
                grades=tuple(Grade(**row) for row in table.pop("grades")),
                models={name: _model(row) for name, row in table.pop("models").items()},
            )
        except KeyError as error:
            raise RuleBaseInvalid(f"thresholds: {error} is missing") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise RuleBaseInvalid(f"thresholds: {error}") from None
        left = [*table, *(f"peers.{name}" for name in peers), *(f"state.{name}" for name in state)]
        if left:
            raise RuleBaseInvalid(f"thresholds: nobody knows {', '.join(left)}")
        if [grade.credit_min for grade in found.grades] != sorted(
            {grade.credit_min for grade in found.grades}, reverse=True
        ):
            raise RuleBaseInvalid("thresholds: grades must stand best first, each with its own credit_min")
        return found


def _model(row: Mapping[str, Any]) -> ModelThresholds:
    rest = dict(row)
    found = ModelThresholds(
        weight=float(rest.pop("weight")),
        mad_floor=float(rest.pop("mad_floor", 0.0)),
        levels={
            Level.ALERT: tuple(Condition(**each) for each in rest.pop("alert")),
            Level.WARN: tuple(Condition(**each) for each in rest.pop("warn")),
        },
        parameters=rest.pop("parameters", {}),
    )
    if rest:
        raise ValueError(f"nobody knows {', '.join(rest)} of a model")
    if not 0 < found.weight <= 1:
        raise ValueError(f"weight must be above 0 and at most 1, not {found.weight:g}")
    return found
