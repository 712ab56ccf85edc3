"""What a call can end with, for a caller who decides by type and reason, never by text.

CallFailed
 +-- CallInvalid (ValueError)         the question cannot be taken; mend it, never send it again as it is
 +-- DocumentConflict (ValueError)    document number or request_id was used with other content
 +-- StateConflict (ValueError)       as things stand it cannot be done; look again and decide anew
 +-- NotKnown (LookupError)           the ledger does not know what was asked for
 +-- Unanswered (TimeoutError)        no answer within all attempts; asking again is safe
 |    +-- OutcomeUnknown              ... and whether the document was recorded is not known
 +-- ServerFault                      the server could not, and asking again will not help
"""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tracecode.errors import TracecodeError


class CallFailed(TracecodeError):
    """A call had no answer.

    `reason` is UPPER_SNAKE, such as FIELD_INVALID (or gRPC's own code where the server gave none);
    `field` a path such as "document.lines[0].quantity" or empty; `message` is for developers and
    `message_zh_cn` for the clerk, empty if the server gave none. `retry_after_seconds` is None unless
    the server asked to wait and come back.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        field: str = "",
        message_zh_cn: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.field = field
        self.message_zh_cn = message_zh_cn
        self.retry_after_seconds = retry_after_seconds


class CallInvalid(CallFailed, ValueError):
    """The request cannot be taken: `field` says where, `message` what would be right."""


class DocumentConflict(CallFailed, ValueError):
    """DOCUMENT_REUSED or REQUEST_REUSED: the number stands for another content already."""


class StateConflict(CallFailed, ValueError):
    """ETAG_STALE, MOVE_REFUSED, FINDING_IN_CASE, COMPLAINT_REFUSED, LOG_NOT_KEPT: not as the caller saw it,
    or not allowed from there."""


class NotKnown(CallFailed, LookupError):
    """The ledger does not know what was asked for."""


class Unanswered(CallFailed, TimeoutError):
    """No attempt was answered. Nothing is wrong with the question; ask again later."""


class OutcomeUnknown(Unanswered):
    """The document may or may not have been recorded.

    Send the same document again, with the same number, until there is an answer: if it had been
    recorded, that answer is the first one, marked `repeat`. Never send it under a new number: that would
    be a second sale.
    """


class ServerFault(CallFailed):
    """The server failed in a way that asking again does not mend; `message` names an incident for support."""


_KINDS: dict[grpc.StatusCode, type[CallFailed]] = {
    grpc.StatusCode.INVALID_ARGUMENT: CallInvalid,
    grpc.StatusCode.OUT_OF_RANGE: CallInvalid,
    grpc.StatusCode.PERMISSION_DENIED: CallInvalid,
    grpc.StatusCode.ALREADY_EXISTS: DocumentConflict,
    grpc.StatusCode.ABORTED: StateConflict,
    grpc.StatusCode.FAILED_PRECONDITION: StateConflict,
    grpc.StatusCode.NOT_FOUND: NotKnown,
    grpc.StatusCode.UNAVAILABLE: Unanswered,
    grpc.StatusCode.DEADLINE_EXCEEDED: Unanswered,
    # The client cancels only what it has given up on: a server that goes down has cut the call.
    grpc.StatusCode.CANCELLED: Unanswered,
}


def read_failure(error: grpc.RpcError) -> CallFailed:
    """What a gRPC error means, with what its details say."""
    code: grpc.StatusCode = error.code()
    reason, message, field, message_zh_cn = code.name, error.details() or code.name, "", ""
    retry_after_seconds: float | None = None
    for detail in _read_status(error).details:
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        localized = error_details_pb2.LocalizedMessage()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad_request) and bad_request.field_violations:
            field = bad_request.field_violations[0].field
            message = bad_request.field_violations[0].description
        elif detail.Unpack(retry):
            retry_after_seconds = retry.retry_delay.ToMilliseconds() / 1000
        elif detail.Unpack(localized) and localized.locale == "zh-CN":
            message_zh_cn = localized.message
    kind = _KINDS.get(code, ServerFault)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after_seconds is not None:
        # Without RetryInfo it is a message that is too large, which no patience makes smaller.
        kind = Unanswered
    return kind(reason, message, field, message_zh_cn, retry_after_seconds)


def _read_status(error: grpc.RpcError) -> status_pb2.Status:
    # A proxy may send an error of its own, with details that contradict its code or none at all.
    try:
        status = rpc_status.from_call(error) if isinstance(error, grpc.Call) else None
    except ValueError:
        status = None
    return status if status is not None else status_pb2.Status()
