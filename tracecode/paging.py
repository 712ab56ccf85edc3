"""Pages of an answer: their size, and tokens bound to the question that they belong to."""

from __future__ import annotations

import base64

from tracecode.document import check_size
from tracecode.errors import FieldInvalid

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1_000
PAGE_TOKEN_BYTES_MAX = 512


def page_size(asked: int) -> int:
    """How many rows a page has. Raises FieldInvalid."""
    if asked < 0:
        raise FieldInvalid("page_size", "must not be negative; 0 takes the default")
    return min(asked or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def write_page_token(start: int, binding: bytes) -> str:
    """A position, bound to the question so that a token of another question is refused (AIP-158)."""
    return base64.urlsafe_b64encode(str(start).encode() + b":" + binding).decode()


def read_page_token(token: str, binding: bytes) -> int:
    """The position in a token, 0 for none. Raises FieldInvalid for a token of another question."""
    if not token:
        return 0
    check_size("page_token", token, PAGE_TOKEN_BYTES_MAX)
    try:
        start, _, bound = base64.urlsafe_b64decode(token.encode()).partition(b":")
        if bound == binding and start.isdigit():
            return int(start)
    except ValueError:
        pass
    raise FieldInvalid("page_token", "is not from an answer to this question; start from the first page")
