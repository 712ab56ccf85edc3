"""The few bytes of protobuf around requests and verdicts that pass the edge as bytes.

A message object for each document would cost the edge more than judging it costs the engine. What stands
inside is not looked at here. Field numbers are those of proto/tracecode/v1/ledger_service.proto.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracecode.v1 import ledger_service_pb2

# Tag bytes: field number x 8 + wire type 2 (a length and so many bytes), or 0 (a varint).
REQUEST = b"\x0a"
RESULTS = b"\x0a"
VERDICT = b"\x0a"
POSITION = b"\x08"
RESULT_VERDICT = b"\x12"
RESULT_ERROR = b"\x1a"


def wrap_request(request: bytes) -> bytes:
    """A RecordDocumentsRequest of one request: a RecordDocumentRequest or a message of its shape."""
    return REQUEST + write_varint(len(request)) + request


def wrap_verdict(verdict: bytes) -> bytes:
    """A RecordSaleResponse, or any other response that holds a Verdict alone."""
    return VERDICT + write_varint(len(verdict)) + verdict


def wrap_results(position: int, results: Sequence[bytes | ledger_service_pb2.DocumentError]) -> bytes:
    """A RecordDocumentsResponse with the results from a position on: serialized Verdicts, or errors."""
    parts: list[bytes] = []
    for place, result in enumerate(results, position):
        if isinstance(result, bytes):
            tag, content = RESULT_VERDICT, result
        else:
            tag, content = RESULT_ERROR, result.SerializeToString()
        head = tag + write_varint(len(content))
        if place:
            head = POSITION + write_varint(place) + head
        parts += (RESULTS, write_varint(len(head) + len(content)), head, content)
    return b"".join(parts)


def count_requests(message: bytes) -> int | None:
    """How many requests a RecordDocumentsRequest holds; None if that takes a real parser to say.

    What the requests hold may still be nonsense.
    """
    count = at = 0
    end = len(message)
    while at < end:
        if message[at] != REQUEST[0]:
            return None
        size = shift = 0
        at += 1
        while True:
            if at >= end or shift > 28:
                return None
            byte = message[at]
            size |= (byte & 0x7F) << shift
            shift += 7
            at += 1
            if byte < 0x80:
                break
        at += size
        count += 1
    return count if at == end else None


def write_varint(number: int) -> bytes:
    """A number that is not negative, as protobuf writes it."""
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
