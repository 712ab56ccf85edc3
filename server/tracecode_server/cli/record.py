"""The command that records documents, from a file or a pipe."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from tracecode.v1.document_pb2 import Document
from tracecode.v1.finding_pb2 import FindingType, Outcome, Severity, Verdict
from tracecode.v1.ledger_service_pb2 import DocumentError
from tracecode_server.cli.exit_code import ExitCode
from tracecode_server.cli.findings import SEVERITY_STYLES, say_severity
from tracecode_server.cli.screen import (
    JsonOption,
    Language,
    LanguageOption,
    choose_language,
    open_screen,
    remark,
    show,
    to_json,
    track,
    write_json,
)
from tracecode_server.cli.target import (
    Answer,
    ClockOption,
    DataOption,
    LocalLedger,
    ServerOption,
    Submission,
    open_target,
)
from tracecode_server.cli.terms import say_name, term

# A document of 3,500 lines with all its fields is a few MB as JSON; longer is no document.
LINE_BYTES_MAX = 32 * 1024 * 1024
MESSAGE_CHARACTERS_MAX = 400


@dataclass(slots=True)
class _Run:
    """What became of the lines so far."""

    taken: int = 0
    refused: int = 0
    repeats: int = 0
    errors: int = 0
    # Severity -> documents whose gravest finding it is.
    severities: dict[Severity.ValueType, int] = field(default_factory=dict)


def record(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Documents, one a line; - reads stdin.")],
    server: ServerOption = None,
    data: DataOption = None,
    clock: ClockOption = None,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Record documents: one protobuf JSON document a line.

    A line is a tracecode.v1.Document, or {"receiveTime": "…", "document": {…}} as the simulator writes
    it; receiveTime holds with --data and --clock, while a service has a clock of its own. A line that
    cannot be taken is reported with its number and the run goes on. Recording a file again does no
    harm: every document gets its first answer.

    Exit 0: all taken. 1: a sale was refused. 2: a line was not taken.
    """
    language = choose_language(language)
    reporter = _Reporter(as_json, language)
    with open_target(server, data, clock) as target, _open_lines(file) as (stream, bytes_total):
        with track("documents", bytes_total) as bar:
            lines = _Lines(stream, reporter, bar.show)
            if isinstance(target, LocalLedger):
                answers = target.record(lines.read_submissions())
            else:
                answers = target.record_stream(lines.read_documents())
            try:
                for answer in answers:
                    lines.answer(answer)
            finally:
                lines.flush()
                reporter.finish()
    if lines.receive_times_dropped:
        remark("receiveTime was left to the service's own clock; with --data and --clock it holds")
    if reporter.run.errors:
        raise typer.Exit(ExitCode.BAD_INPUT)
    if reporter.run.refused:
        raise typer.Exit(ExitCode.FINDINGS)


class _Lines:
    """The lines of the input and their answers, brought back into the order of the lines.

    Answers come later than their lines, and a line that cannot be read has none: what is not yet
    answered waits here, with the faults that stand behind it.
    """

    def __init__(self, stream: BinaryIO, reporter: _Reporter, report_position: Callable[[int], None]) -> None:
        self.receive_times_dropped = False
        self._stream = stream
        self._reporter = reporter
        self._report_position = report_position
        # Line number and document (without its lines: only the identity is shown), or the line's fault.
        self._waiting: deque[tuple[int, Document | DocumentError]] = deque()

    def read_documents(self) -> Iterator[Document]:
        """The documents of all lines that can be read."""
        for submission in self.read_submissions():
            self.receive_times_dropped |= submission.receive_time_ns is not None
            yield submission.document

    def read_submissions(self) -> Iterator[Submission]:
        """The same, each with its receive time."""
        number = 0
        position = 0
        while line := self._stream.readline(LINE_BYTES_MAX + 1):
            number += 1
            position += len(line)
            try:
                if len(line) > LINE_BYTES_MAX:
                    while line and not line.endswith(b"\n"):
                        line = self._stream.readline(LINE_BYTES_MAX)
                        position += len(line)
                    raise ValueError(f"is longer than {LINE_BYTES_MAX:,} bytes; write one document a line")
                if not line.strip():
                    continue
                submission = read_submission(line)
            except ValueError as error:
                fault = DocumentError(reason="LINE_INVALID", message=show(str(error), MESSAGE_CHARACTERS_MAX))
                self._waiting.append((number, fault))
                self._report_faults()
                continue
            finally:
                self._report_position(position)
            self._waiting.append((number, _identify(submission.document)))
            yield submission

    def answer(self, answer: Answer) -> None:
        """Report the next answer, and the faults up to the next unanswered line."""
        self._report_faults()
        number, document = self._waiting.popleft()
        assert isinstance(document, Document)
        self._reporter.report(number, document, answer)
        self._report_faults()

    def flush(self) -> None:
        """Report the faults that are left; documents without an answer are left out."""
        self._waiting = deque(item for item in self._waiting if isinstance(item[1], DocumentError))
        self._report_faults()

    def _report_faults(self) -> None:
        while self._waiting and isinstance(self._waiting[0][1], DocumentError):
            number, fault = self._waiting.popleft()
            assert isinstance(fault, DocumentError)
            self._reporter.report(number, Document(), fault)


class _Reporter:
    """Shows each answer as it comes: JSON, or rows of a table whose widths are known beforehand."""

    WIDTHS = (7, 42, 10, 10)

    def __init__(self, as_json: bool, language: Language) -> None:
        self.run = _Run()
        self._as_json = as_json
        self._language = language
        self._screen: Console = open_screen()
        self._headed = False

    def report(self, number: int, document: Document, answer: Answer) -> None:
        """One line's answer."""
        if isinstance(answer, DocumentError):
            self.run.errors += 1
        else:
            self.run.taken += answer.outcome != Outcome.OUTCOME_REFUSED
            self.run.refused += answer.outcome == Outcome.OUTCOME_REFUSED
            self.run.repeats += answer.repeat
            self.run.severities[answer.severity] = self.run.severities.get(answer.severity, 0) + 1
        if self._as_json:
            name = "error" if isinstance(answer, DocumentError) else "verdict"
            write_json({"line": number, name: to_json(answer)})
        else:
            self._print(number, document, answer)

    def finish(self) -> None:
        """The sums, on stderr when stdout is for a program."""
        sums = ", ".join(
            f"{count:,} {term(key, self._language)}"
            for key, count in (
                ("accepted", self.run.taken),
                ("refused", self.run.refused),
                ("repeats", self.run.repeats),
                ("errors", self.run.errors),
            )
        )
        gravest = ", ".join(
            f"{count:,} {say_severity(severity, self._language)}"
            for severity, count in sorted(self.run.severities.items(), reverse=True)
            if severity
        )
        sums = f"{sums}; {gravest}" if gravest else sums
        if self._as_json:
            remark(sums)
        else:
            self._screen.print(Text(sums, "bold"), soft_wrap=True)

    def _print(self, number: int, document: Document, answer: Answer) -> None:
        if not self._headed:
            heads = ("line", "document", "outcome", "severity", "findings")
            self._screen.print(self._join([Text(term(key, self._language), "bold") for key in heads]))
            self._headed = True
        name = f"{document.institution_code} {document.document_number}".strip()
        cells = [Text(str(number)), Text(show(name, 60))]
        if isinstance(answer, DocumentError):
            cells.append(Text(term("error", self._language), "bold red"))
            cells.append(Text())
            place = f"{answer.field}: " if answer.field else ""
            cells.append(Text(f"{answer.reason} {place}{show(answer.message, MESSAGE_CHARACTERS_MAX)}"))
        else:
            refused = answer.outcome == Outcome.OUTCOME_REFUSED
            outcome = say_name(Outcome.Name(answer.outcome), self._language)
            cells.append(Text(outcome, "bold red" if refused else ""))
            cells.append(
                Text(say_severity(answer.severity, self._language), SEVERITY_STYLES[answer.severity])
            )
            cells.append(Text(self._say_findings(answer)))
        self._screen.print(self._join(cells), soft_wrap=True)

    def _say_findings(self, verdict: Verdict) -> str:
        counts: dict[str, int] = {}
        for finding in sorted(verdict.findings, key=lambda finding: -finding.severity):
            name = say_name(FindingType.Name(finding.type), self._language)
            counts[name] = counts.get(name, 0) + 1
        return ", ".join(name if count == 1 else f"{name} ×{count}" for name, count in counts.items())

    def _join(self, cells: Sequence[Text]) -> Text:
        line = Text()
        for cell, width in zip(cells, (*self.WIDTHS, 0), strict=True):
            line.append_text(cell)
            line.append(" " * max(1, width - cell_len(cell.plain)))
        line.rstrip()
        return line


def read_submission(line: bytes) -> Submission:
    """A document from one line of JSON.

    Raises ValueError with a sentence: not UTF-8, not JSON, a field that the contract does not have, a
    value of the wrong kind.
    """
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 at byte {error.start + 1}") from None
    try:
        content = json.loads(text, object_pairs_hook=_refuse_twice)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON at character {error.pos + 1}: {error.msg}") from None
    except RecursionError:
        raise ValueError("is nested too deeply for a document") from None
    if not isinstance(content, dict):
        raise ValueError("is not a JSON object; write one document {…} a line")
    receive_time_ns = None
    if "document" in content:
        time = content.pop("receiveTime", content.pop("receive_time", None))
        document = content.pop("document")
        if content:
            raise ValueError(f"has {', '.join(map(repr, content))} beside receiveTime and document")
        receive_time_ns = None if time is None else _read_time(time)
        content = document
    if not isinstance(content, dict):
        raise ValueError("has no document: {…} is expected there")
    try:
        parsed = json_format.ParseDict(content, Document())
    except json_format.ParseError as error:
        raise ValueError(f"is not a document: {error}") from None
    except (RecursionError, AttributeError, TypeError):
        raise ValueError("is not a document: a value has the wrong kind") from None
    return Submission(parsed, receive_time_ns)


def _read_time(time: object) -> int:
    stamp = Timestamp()
    try:
        stamp.FromJsonString(str(time))
    except ValueError:
        raise ValueError(f"receiveTime {time!r} is no time; write it as 2026-03-01T08:00:00Z") from None
    return stamp.ToNanoseconds()


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"has the field {twice!r} twice")
    return content


def _identify(document: Document) -> Document:
    return Document(institution_code=document.institution_code, document_number=document.document_number)


@contextmanager
def _open_lines(file: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The input and its length in bytes, None where it has none."""
    if file == "-":
        yield sys.stdin.buffer, None
    else:
        with Path(file).open("rb") as stream:
            yield stream, Path(file).stat().st_size or None
