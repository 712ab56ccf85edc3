"""The log: one JSON object a line. What came from outside is escaped, clipped and never a person.

Callers name what they log, field by field. Documents, tokens and messages of errors, which may quote
them, are not logged at all: the field and the reason tell an operator enough to ask the till.
"""

from __future__ import annotations

import logging
import traceback
import unicodedata
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

VALUE_CHARS_MAX = 300


def escape(text: str) -> str:
    """The text with everything invisible (control, direction, surrogate, unassigned) as \\uXXXX.

    A scan may carry a newline or a right-to-left mark, and either can make a log line or an error
    message say what it does not say.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character == " " or unicodedata.category(character)[0] not in "CZ"
        else (f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}")
        for character in text
    )


def clip(text: str, chars_max: int = VALUE_CHARS_MAX) -> str:
    """The text, or its beginning and its length if it is longer than `chars_max` characters."""
    return text if len(text) <= chars_max else f"{text[:chars_max]}... ({len(text)} characters)"


def _escape_values(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = clip(escape(value))
    return event


def build_log(level: str, stream: TextIO) -> structlog.typing.FilteringBoundLogger:
    """A log that writes lines of at least this level to the stream. Nothing global is configured."""
    log: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _escape_values,
            structlog.processors.JSONRenderer(ensure_ascii=True),
        ],
    )
    return log


def list_frames(error: BaseException) -> list[str]:
    """Where an exception came from, innermost last: file, line and function, without any value."""
    return [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]


class LibraryLog(logging.Handler):
    """Turns what libraries say through `logging` into lines of our log, without tracebacks' values."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._log.warning(
            "library_warning",
            library=record.name,
            # The format without its arguments: they may hold what a client sent.
            message=str(record.msg) if record.args else record.getMessage(),
            error=type(error).__name__ if error else "",
            frames=list_frames(error) if error else [],
        )
