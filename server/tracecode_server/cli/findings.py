"""Findings as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from tracecode.v1.finding_pb2 import Evidence, Finding, FindingType, Severity
from tracecode_server.cli.screen import Language, choose_text, show, show_day, show_time
from tracecode_server.cli.terms import say_name, term

SEVERITY_STYLES = {
    Severity.SEVERITY_UNSPECIFIED: "dim",
    Severity.SEVERITY_INFO: "dim",
    Severity.SEVERITY_WARN: "yellow",
    Severity.SEVERITY_ALERT: "bold magenta",
    Severity.SEVERITY_BLOCK: "bold red",
}


def say_severity(severity: Severity.ValueType, language: Language) -> str:
    """A severity in one word; empty if there is none."""
    return say_name(Severity.Name(severity), language) if severity else ""


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, gravest first."""
    return sorted(findings, key=lambda finding: -finding.severity)


def say_finding(finding: Finding, language: Language) -> Text:
    """A finding's severity, name and title, and what it becomes if nothing clears it."""
    text = Text()
    text.append(f"{say_severity(finding.severity, language)} ", SEVERITY_STYLES[finding.severity])
    text.append(say_name(FindingType.Name(finding.type), language))
    title = choose_text(finding.title, language)
    if title:
        text.append(f"  {show(title)}")
    if finding.grade:
        text.append(f" (L{finding.grade})")
    if finding.final_severity > finding.severity:
        text.append(f" ({term('final', language)} {say_severity(finding.final_severity, language)})", "dim")
    return text


def say_evidence(evidence: Evidence) -> str:
    """A fact on one line: what, its value, where, when."""
    parts = [evidence.name]
    for value in (
        evidence.value,
        evidence.institution_code,
        evidence.division_code if not evidence.institution_code else "",
        evidence.document_number,
        # Of another institution a pharmacy is told the day, not the time.
        show_time(evidence.business_time) if evidence.institution_code else show_day(evidence.business_time),
    ):
        if value:
            parts.append(show(value))
    return " ".join(parts)


def say_remedies(findings: Iterable[Finding], language: Language) -> list[str]:
    """What to do about these findings, each remedy once."""
    remedies = (show(choose_text(finding.remedy, language), 600) for finding in sort_findings(findings))
    return list(dict.fromkeys(remedy for remedy in remedies if remedy))
