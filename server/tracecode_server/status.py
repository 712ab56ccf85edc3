"""How an error is answered: one table, from the domain's errors to gRPC statuses.

Every status carries google.rpc details: ErrorInfo (reason, domain "tracecode"), BadRequest where a field
is at fault, RetryInfo where sending the same again may help, and a LocalizedMessage in Chinese. A client
decides by the reason, never by the text.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from functools import lru_cache

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tracecode import errors
from tracecode.v1 import ledger_service_pb2
from tracecode_server.errors import Draining, LogNotKept, MessageMalformed, PeerOverLimit
from tracecode_server.log import clip, escape, list_frames

DOMAIN = "tracecode"
# A status travels in headers, of which many clients take 8 KiB in all.
MESSAGE_CHARS_MAX = 600
FIELD_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Row:
    """How one kind of error is answered. With `retry_after_seconds` the same may be sent again."""

    code: grpc.StatusCode
    reason: str
    zh_cn: str
    retry_after_seconds: float | None = None


TABLE: dict[type[BaseException], Row] = {
    MessageMalformed: Row(
        grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_MALFORMED", "请求报文无法解析，请检查接口版本和编码"
    ),
    errors.FieldInvalid: Row(
        grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", "请求中的字段填写有误，请修改后重新上传"
    ),
    errors.DocumentReused: Row(
        grpc.StatusCode.ALREADY_EXISTS,
        "DOCUMENT_REUSED",
        "该单据号已用于内容不同的单据，请更换单据号或先删除原单据",
    ),
    errors.RequestReused: Row(
        grpc.StatusCode.ALREADY_EXISTS, "REQUEST_REUSED", "该请求编号已用于另一张单据，请更换请求编号"
    ),
    errors.DocumentRejected: Row(
        grpc.StatusCode.INVALID_ARGUMENT, "DOCUMENT_REJECTED", "单据无法受理，请修改后重新上传"
    ),
    errors.ImportInvalid: Row(
        grpc.StatusCode.INVALID_ARGUMENT, "IMPORT_INVALID", "导入数据有误，整批未导入，请修改后重新导入"
    ),
    errors.RuleBaseInvalid: Row(
        grpc.StatusCode.INVALID_ARGUMENT,
        "RULE_BASE_INVALID",
        "规则库文件有误，原规则库继续有效，请按提示修改",
    ),
    errors.EtagStale: Row(grpc.StatusCode.ABORTED, "ETAG_STALE", "该事项已被他人更新，请刷新后重新操作"),
    errors.MoveRefused: Row(
        grpc.StatusCode.FAILED_PRECONDITION, "MOVE_REFUSED", "当前状态下不能进行此操作，请核对办理流程"
    ),
    errors.ComplaintRefused: Row(
        grpc.StatusCode.FAILED_PRECONDITION,
        "COMPLAINT_REFUSED",
        "按现有销售记录不能受理此投诉，请先查询该追溯码的销售记录",
    ),
    errors.FindingInCase: Row(
        grpc.StatusCode.FAILED_PRECONDITION, "FINDING_IN_CASE", "该疑点已在其他未销号的案件中"
    ),
    errors.AccessDenied: Row(
        grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED", "无权查询，请确认查询人及其授权的区划和期限"
    ),
    errors.GrantsInvalid: Row(
        grpc.StatusCode.FAILED_PRECONDITION, "GRANTS_INVALID", "授权文件有误，暂不提供查询，请联系运维人员"
    ),
    LogNotKept: Row(
        grpc.StatusCode.FAILED_PRECONDITION, "LOG_NOT_KEPT", "本服务未启用存证日志，请联系运维人员配置密钥"
    ),
    errors.NotFound: Row(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "未找到所查询的内容"),
    PeerOverLimit: Row(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "PEER_OVER_LIMIT", "本机请求过于频繁，请稍后重试", 0.5
    ),
    errors.StorageFull: Row(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "STORAGE_FULL",
        "服务器存储空间不足，单据未受理，请稍后用原单据重试并通知运维人员",
        10.0,
    ),
    errors.SpillFull: Row(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "SPILL_FULL",
        "中间数据超过磁盘限额，请缩短期间或缩小区域，或由运维人员放宽限额",
    ),
    errors.Overloaded: Row(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", "系统繁忙，请稍后用原单据重试", 1.0
    ),
    Draining: Row(grpc.StatusCode.UNAVAILABLE, "DRAINING", "系统正在重启，请稍后用原单据重试", 1.0),
    errors.EngineStopped: Row(
        grpc.StatusCode.UNAVAILABLE, "ENGINE_STOPPED", "系统已停止受理，请稍后用原单据重试", 5.0
    ),
    errors.DataLoss: Row(
        grpc.StatusCode.DATA_LOSS, "DATA_LOSS", "存储数据校验失败，系统未作判断，请联系运维人员"
    ),
}

UNEXPECTED = Row(grpc.StatusCode.INTERNAL, "INTERNAL", "系统内部错误，请将错误编号提供给运维人员")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error ready to be answered. `incident_id` is set for what nobody expected, else empty.

    `error` and `frames` say what that was and where, for the log.
    """

    row: Row
    field: str
    message: str
    retry_after_seconds: float | None
    incident_id: str
    error: str = ""
    frames: tuple[str, ...] = ()


class Refused(Exception):
    """A call that another process of the service has refused; `refuse` gives what it said."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refuse(error: BaseException) -> Refusal:
    """What to answer to an error. One that is not in the table tells nothing but an id to ask with."""
    if isinstance(error, Refused):
        return error.refusal
    row = next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), None)
    if row is None:
        incident_id = secrets.token_hex(8)
        message = f"an unexpected error; ask the operator about incident {incident_id}"
        frames = tuple(list_frames(error))
        return Refusal(UNEXPECTED, "", message, None, incident_id, type(error).__name__, frames)
    retry_after_seconds = row.retry_after_seconds
    if isinstance(error, errors.Overloaded | PeerOverLimit):
        retry_after_seconds = error.retry_after_seconds
    return Refusal(
        row,
        clip(escape(getattr(error, "field", "")), FIELD_CHARS_MAX),
        clip(escape(getattr(error, "message", "") or str(error)), MESSAGE_CHARS_MAX),
        retry_after_seconds,
        "",
    )


def write_refusal(refusal: Refusal) -> bytes:
    """The refusal for another process."""
    row = {**asdict(refusal.row), "code": refusal.row.code.name}
    return json.dumps({**asdict(refusal), "row": row}).encode()


def read_refusal(written: bytes) -> Refusal:
    """The refusal of another process."""
    parts = json.loads(written)
    row = Row(**{**parts["row"], "code": grpc.StatusCode[parts["row"]["code"]]})
    return Refusal(**{**parts, "row": row, "frames": tuple(parts["frames"])})


def to_status(refusal: Refusal) -> status_pb2.Status:
    """The refusal as google.rpc.Status with its details."""
    message = f"{refusal.field}: {refusal.message}" if refusal.field else refusal.message
    info = error_details_pb2.ErrorInfo(reason=refusal.row.reason, domain=DOMAIN)
    if refusal.field:
        info.metadata["field"] = refusal.field
    if refusal.incident_id:
        info.metadata["incident_id"] = refusal.incident_id
    zh_cn = refusal.row.zh_cn
    zh_cn += f"（{refusal.field or refusal.incident_id}）" if refusal.field or refusal.incident_id else ""
    details: list[any_pb2.Any] = [_pack(info)]
    if refusal.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=refusal.field, description=refusal.message, reason=refusal.row.reason
        )
        details.append(_pack(error_details_pb2.BadRequest(field_violations=[violation])))
    if refusal.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(refusal.retry_after_seconds * 1000))
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    details.append(_pack(error_details_pb2.LocalizedMessage(locale="zh-CN", message=zh_cn)))
    return status_pb2.Status(code=refusal.row.code.value[0], message=message, details=details)


@lru_cache(maxsize=256)
def to_grpc_status(refusal: Refusal) -> grpc.Status:
    """The refusal as gRPC wants it to end a call."""
    return rpc_status.to_status(to_status(refusal))


def to_document_error(refusal: Refusal) -> ledger_service_pb2.DocumentError:
    """The refusal of one document of a stream that goes on."""
    return ledger_service_pb2.DocumentError(
        reason=refusal.row.reason,
        field=refusal.field,
        message=refusal.message,
        retryable=refusal.retry_after_seconds is not None,
    )


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
