"""Persons are keyed hashes before anything is stored or logged.

The key lives outside the data directory: whoever holds the data alone can link the purchases of one
person, but cannot say or test who it is; destroying the key makes that permanent.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from tracecode.v1 import document_pb2

KEY_BYTES = 32
HASH_BYTES = 16


class PersonKey:
    """Turns opaque person tokens into keyed hashes (HMAC-SHA-256, first 16 bytes, hex)."""

    def __init__(self, key: bytes) -> None:
        """Raises ValueError unless the key has at least 32 bytes."""
        if len(key) < KEY_BYTES:
            raise ValueError(f"a person key has at least {KEY_BYTES} bytes, this one has {len(key)}")
        self._key = key

    @classmethod
    def read_or_create(cls, path: Path) -> PersonKey:
        """The key of a file, made with permissions 0600 if there is none yet.

        Raises ValueError when the file is no key, OSError when it cannot be read or made.
        """
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(KEY_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
        text = path.read_text().strip()
        try:
            return cls(bytes.fromhex(text))
        except ValueError as error:
            raise ValueError(f"{path} is no person key: {KEY_BYTES * 2} hex digits are expected") from error

    def hash(self, token: str) -> str:
        """The keyed hash of a token; an empty token stays empty."""
        if not token:
            return ""
        digest = hmac.digest(self._key, token.encode(), hashlib.sha256)
        return digest[:HASH_BYTES].hex()

    def hide(self, document: document_pb2.Document) -> None:
        """Replace every person token of a document by its keyed hash, in place."""
        document.operator_token = self.hash(document.operator_token)
        match document.WhichOneof("content"):
            case "sale":
                sale = document.sale
                sale.person_token = self.hash(sale.person_token)
                sale.prescriber_token = self.hash(sale.prescriber_token)
                sale.pharmacist_token = self.hash(sale.pharmacist_token)
            case "sale_return":
                document.sale_return.person_token = self.hash(document.sale_return.person_token)
