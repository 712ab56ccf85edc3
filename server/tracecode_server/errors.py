"""What the edge itself refuses, before the ledger is asked. `status.py` says how each is answered."""

from __future__ import annotations

from tracecode.errors import TracecodeError


class MessageMalformed(TracecodeError, ValueError):
    """The bytes of a request are not the message that the method takes."""

    def __init__(self, message_name: str) -> None:
        super().__init__(f"the bytes are not a {message_name}; generate the client from proto/tracecode/v1")


class PeerOverLimit(TracecodeError):
    """One peer has too much open or calls too often; nothing was done. Send the same again after
    `retry_after_seconds`."""

    retry_after_seconds: float = 0.5


class LogNotKept(TracecodeError):
    """A proof is asked for, and this service keeps no transparency log; its operator may switch it on."""


class Draining(TracecodeError):
    """The service is stopping and takes nothing new; send the same again, to its successor."""
