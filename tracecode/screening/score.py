"""Risk, credit and grade of an institution or person, with a reason for every point."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tracecode.screening.model import Kind, Lead
from tracecode.screening.thresholds import Grade, Thresholds

__all__ = ["ClosedCase", "Point", "SubjectScore", "score_subjects"]


@dataclass(frozen=True, slots=True)
class ClosedCase:
    """A case that was confirmed and closed; `outcome` is a name of score.case_points in thresholds.toml."""

    kind: Kind
    subject: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Point:
    """Some points of risk, penalty or bonus, and why; points of credit with their sign."""

    source: str
    points: float
    why_zh: str
    why_en: str


@dataclass(frozen=True, slots=True)
class SubjectScore:
    """风险分、信用分与等级. `risk_points` add up to `risk`, and `credit_points` to `credit` - 100."""

    kind: Kind
    subject: str
    risk: float
    credit: float
    grade: str
    inspection_factor: float
    effect_zh: str
    effect_en: str
    risk_points: tuple[Point, ...]
    credit_points: tuple[Point, ...]


def score_subjects(
    leads: Iterable[Lead],
    subjects: Iterable[tuple[Kind, str]],
    thresholds: Thresholds,
    cases: Sequence[ClosedCase] = (),
    coverage: Mapping[str, float] | None = None,
    self_reported: Iterable[str] = (),
) -> list[SubjectScore]:
    """The scores of `subjects` and of everybody with a lead or a case, the riskiest first.

    `coverage` is the share of an institution's lines that carry a code.
    """
    by_subject: dict[tuple[Kind, str], list[Lead]] = {subject: [] for subject in subjects}
    for lead in leads:
        by_subject.setdefault((lead.kind, lead.subject), []).append(lead)
    closed: dict[tuple[Kind, str], list[ClosedCase]] = defaultdict(list)
    for case in cases:
        closed[case.kind, case.subject].append(case)
        by_subject.setdefault((case.kind, case.subject), [])
    reported = set(self_reported)
    scores = [
        _score(
            kind,
            subject,
            some,
            closed[kind, subject],
            (coverage or {}).get(subject, 0.0),
            subject in reported,
            thresholds,
        )
        for (kind, subject), some in by_subject.items()
    ]
    return sorted(scores, key=lambda each: (-each.risk, each.credit, each.kind, each.subject))


def _score(
    kind: Kind,
    subject: str,
    leads: list[Lead],
    cases: list[ClosedCase],
    coverage: float,
    self_reported: bool,
    thresholds: Thresholds,
) -> SubjectScore:
    numbers = thresholds.score
    # risk = 100 (1 - prod(1 - weight x strength)), told lead by lead: each takes its share of what is left.
    left = 100.0
    risk_points = []
    shares = sorted(leads, key=lambda each: -thresholds.models[each.model].weight * each.strength)
    for lead in shares:
        points = left * thresholds.models[lead.model].weight * lead.strength
        left -= points
        risk_points.append(Point(lead.model, points, lead.why_zh, lead.why_en))
    risk = 100.0 - left
    credit_points = []
    if risk:
        lost = min(numbers.penalty_max, risk * numbers.risk_share)
        credit_points.append(Point("risk", -lost, f"风险分 {risk:.1f} 折减", f"for a risk of {risk:.1f}"))
    for number, case in enumerate(cases):
        points = numbers.case_points[case.outcome] * (1 + (numbers.repeat_share if number else 0))
        again = ("（屡查屡犯）", " (repeated)") if number else ("", "")
        credit_points.append(
            Point(
                "case",
                -points,
                f"已查实案件：{case.outcome}{again[0]}",
                f"a confirmed case: {case.outcome}{again[1]}",
            )
        )
    if self_reported:
        credit_points.append(
            Point("self_report", numbers.self_report_bonus, "主动自查报告", "reported by itself")
        )
    if coverage >= numbers.coverage_min:
        credit_points.append(
            Point(
                "coverage",
                numbers.coverage_bonus,
                f"追溯码采集率 {coverage:.1%}",
                f"{coverage:.1%} of lines carry a code",
            )
        )
    credit = 100.0 + sum(point.points for point in credit_points)
    if not 0 <= credit <= 100:
        bounded = max(0.0, min(100.0, credit))
        credit_points.append(Point("bounds", bounded - credit, "分值限于 0 至 100", "kept within 0 to 100"))
        credit = bounded
    grade = _find_grade(credit, thresholds.grades)
    return SubjectScore(
        kind,
        subject,
        risk,
        credit,
        grade.grade,
        grade.inspection_factor,
        grade.effect_zh,
        grade.effect_en,
        tuple(risk_points),
        tuple(credit_points),
    )


def _find_grade(credit: float, grades: Sequence[Grade]) -> Grade:
    # The worst grade begins at 0, so there is always one.
    return next(grade for grade in grades if credit >= grade.credit_min)
