"""A page of rows that are all at hand, and the token of the next one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from tracecode.paging import page_size, read_page_token, write_page_token

Row = TypeVar("Row")


def cut_page(rows: Sequence[Row], request: Any) -> tuple[Sequence[Row], str]:
    """The page that a request with page_size and page_token asks for; its token is bound to all else that it
    asks. Raises FieldInvalid."""
    start, size, binding = read_page(request)
    end = start + size
    return rows[start:end], write_page_token(end, binding) if end < len(rows) else ""


def read_page(request: Any) -> tuple[int, int, bytes]:
    """Where the page begins, its size, and what its token is bound to. Raises FieldInvalid."""
    size = page_size(request.page_size)
    question = type(request)()
    question.CopyFrom(request)
    question.ClearField("page_size")
    question.ClearField("page_token")
    binding = hashlib.sha256(question.SerializeToString(deterministic=True)).hexdigest().encode()
    return read_page_token(request.page_token, binding), size, binding


def write_time(time: datetime) -> Timestamp:
    """A time as the contract has it."""
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
