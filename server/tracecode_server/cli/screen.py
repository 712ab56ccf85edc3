"""What a person sees: the language of the texts, the two streams, and how a value is shown on them.

Answers go to stdout, everything else (progress, warnings, errors) to stderr, so that a pipe carries
answers only. Whatever came from outside is escaped: a scan may hold a terminal's control characters.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tracecode.document import CHINA_SECONDS
from tracecode.v1.finding_pb2 import LocalizedText
from tracecode_server.log import clip, escape

# Wide enough for a table with Chinese remedies when there is no terminal to ask for its width.
PIPED_COLUMNS = 200


class Language(StrEnum):
    """The language of texts for people."""

    ZH = "zh"
    EN = "en"


LanguageOption = Annotated[
    Language | None,
    typer.Option(
        "--lang",
        envvar="TRACECODE_LANG",
        help="Language of the texts; else what LC_ALL, LC_MESSAGES or LANG say.",
        show_default=False,
    ),
]
SpillOption = Annotated[
    int,
    typer.Option(
        "--spill-bytes-max", metavar="BYTES", min=1, help="What it may take of the disk beside its memory."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document a line, for programs.")]


def choose_language(asked: Language | None) -> Language:
    """The language asked for, or the one of the environment's locale."""
    if asked is not None:
        return asked
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        locale = os.environ.get(name, "")
        if locale:
            return Language.ZH if locale.lower().startswith("zh") else Language.EN
    return Language.EN


def open_screen() -> Console:
    """The console of stdout as it is now."""
    return _open(sys.stdout.isatty(), stderr=False)


def open_margin() -> Console:
    """The console of stderr as it is now."""
    return _open(sys.stderr.isatty(), stderr=True)


def _open(terminal: bool, *, stderr: bool) -> Console:
    width = None if terminal or "COLUMNS" in os.environ else PIPED_COLUMNS
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def complain(sentence: str) -> None:
    """Say on stderr what is wrong."""
    open_margin().print(Text("tracecode: ", "bold red") + Text(show(sentence, 2_000)), soft_wrap=True)


def remark(sentence: str) -> None:
    """Say on stderr what a person might want to know."""
    open_margin().print(Text(show(sentence, 2_000), "dim"), soft_wrap=True)


def show(text: str, characters_max: int = 300) -> str:
    """Text from outside, made safe to look at."""
    return clip(escape(text), characters_max)


def show_time(time: Timestamp) -> str:
    """A time in the clock of this machine, to the second; empty if it is not set."""
    if not time.seconds and not time.nanos:
        return ""
    return datetime.fromtimestamp(time.seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def show_day(time: Timestamp) -> str:
    """The business day of a time, which is a day in China; empty if it is not set."""
    if not time.seconds and not time.nanos:
        return ""
    return datetime.fromtimestamp(time.seconds + CHINA_SECONDS, UTC).strftime("%Y-%m-%d")


def choose_text(text: LocalizedText, language: Language) -> str:
    """The text in this language, or in the other one where this one is missing."""
    first, second = (text.zh_cn, text.en) if language is Language.ZH else (text.en, text.zh_cn)
    return first or second


def write_json(document: object) -> None:
    """One JSON document on a line of stdout."""
    typer.echo(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


def to_json(message: Message) -> dict[str, object]:
    """A message as protobuf JSON: lowerCamelCase names, 64-bit numbers as strings, unset fields left out."""
    document: dict[str, object] = json_format.MessageToDict(message)
    return document


def build_table(columns: Iterable[str]) -> Table:
    """An empty table with these headings."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


class Track:
    """A bar on stderr, shown only where somebody looks at it."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def show(self, done: int, total: int | None = None) -> None:
        """So much is done, of so much where that is known by now."""
        self._progress.update(self._task, completed=done, total=total)


@contextmanager
def track(description: str, total: int | None = None) -> Iterator[Track]:
    """A bar that goes away at the end of the block."""
    margin = open_margin()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=margin, transient=True, disable=not margin.is_terminal) as progress:
        yield Track(progress, progress.add_task(description, total=total))
