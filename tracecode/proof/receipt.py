"""A receipt of an entry that was published (C2SP tlog-proof): what a pharmacy keeps and checks by itself.

c2sp.org/tlog-proof@v1
extra <base64 of the entry; left out where whoever checks has it>
index <sequence - 1>
<base64 of each hash of the audit path, the leaf's sibling first>

<the checkpoint, with its signatures>
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from tracecode.proof.checkpoint import SIZE_MAX
from tracecode.proof.note import NOTE_BYTES_MAX
from tracecode.proof.tree import HASH_BYTES, LEVELS_MAX

HEAD = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
RECEIPT_BYTES_MAX = 16 * 2**20


class ReceiptInvalid(ValueError):
    """Bytes that are no receipt, or one that does not prove what it should."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """An entry's place in the log. Nothing of it is believed before it is verified."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    """The note, as the log signed it."""
    entry: bytes = b""

    @property
    def sequence(self) -> int:
        """Of the entry in the journal."""
        return self.index + 1

    def write(self) -> bytes:
        """The receipt as it is kept."""
        lines = [HEAD]
        if self.entry:
            lines.append(f"extra {base64.b64encode(self.entry).decode()}")
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(one).decode() for one in self.path]
        return "".join(line + "\n" for line in [*lines, ""]).encode() + self.checkpoint


def parse(data: bytes) -> Receipt:
    """The receipt in the bytes. Raises ReceiptInvalid."""
    if len(data) > RECEIPT_BYTES_MAX:
        raise ReceiptInvalid(f"a receipt has at most {RECEIPT_BYTES_MAX} bytes, this one has {len(data)}")
    proof, blank, checkpoint = data.partition(b"\n\n")
    try:
        lines = proof.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise ReceiptInvalid("a receipt is ASCII up to its checkpoint") from None
    if not blank or lines.pop(0) != HEAD or len(checkpoint) > NOTE_BYTES_MAX:
        raise ReceiptInvalid(f"a receipt begins with {HEAD} and ends with a checkpoint")
    entry = b""
    if lines and lines[0].startswith("extra "):
        entry = _decode(lines.pop(0).removeprefix("extra "))
    index = re.fullmatch(r"index (0|[1-9]\d{0,18})", lines.pop(0) if lines else "", re.ASCII)
    if index is None or int(index[1]) > SIZE_MAX:
        raise ReceiptInvalid("a receipt has a line: index, and the number of the entry from 0")
    if len(lines) > LEVELS_MAX:
        raise ReceiptInvalid(f"an audit path has at most {LEVELS_MAX} hashes")
    path = tuple(_decode(line) for line in lines)
    if any(len(one) != HASH_BYTES for one in path):
        raise ReceiptInvalid(f"a line of an audit path is {HASH_BYTES} bytes in base64")
    return Receipt(int(index[1]), path, checkpoint, entry)


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if not data or base64.b64encode(data).decode() != text:
        raise ReceiptInvalid(f"{text[:60]!r} is no base64")
    return data
