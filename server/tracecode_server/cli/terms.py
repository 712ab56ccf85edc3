"""The words of the command line in both languages, and the contract's names as people say them."""

from __future__ import annotations

from tracecode.names import NAMES_ZH
from tracecode_server.cli.screen import Language

# Chinese, English.
TERMS = {
    "accepted": ("已受理", "accepted"),
    "act": ("办理", "what was done"),
    "active_sales": ("在效销售", "sales in force"),
    "actor": ("经办人", "by"),
    "amount": ("金额", "amount"),
    "answer": ("答复", "answer"),
    "attachment": ("附件", "attachment"),
    "basis": ("依据", "basis"),
    "business_time": ("业务时间", "business time"),
    "case": ("案件编号", "case"),
    "check": ("检查项", "check"),
    "class": ("类别", "class"),
    "cleared": ("已消除", "cleared"),
    "code": ("追溯码", "code"),
    "columns": ("列", "columns"),
    "confirmed": ("确认", "confirmed"),
    "conflict": ("记录互相矛盾, 全部保留", "reports contradict each other; all are kept"),
    "created": ("新增", "created"),
    "day": ("业务日", "day"),
    "deleted": ("已删除", "deleted"),
    "dismissed": ("误报", "dismissed"),
    "document": ("单据", "document"),
    "due": ("期限", "due"),
    "error": ("错误", "error"),
    "errors": ("未受理", "not taken"),
    "etag": ("版本", "etag"),
    "expiry": ("有效期", "expiry"),
    "final": ("最终", "final"),
    "finding": ("疑点", "finding"),
    "findings": ("疑点", "findings"),
    "findings_first": ("最初疑点", "found at first"),
    "findings_now": ("现有疑点", "standing now"),
    "hint": ("提示", "hint"),
    "holder": ("现持有机构", "held by"),
    "identifier": ("标识码", "identifier"),
    "complaint": ("投诉", "complaint"),
    "institution": ("机构", "institution"),
    "line": ("行", "line"),
    "looked_for": ("已查找的反证", "Looked for"),
    "lot": ("批号", "lot"),
    "no_events": ("没有任何记录", "nothing was ever reported of it"),
    "no_findings": ("没有符合条件的疑点", "no finding is as asked for"),
    "none_found": ("未发现", "none"),
    "not_searched": ("未能查找", "not looked for"),
    "note": ("说明", "note"),
    "nothing_found": ("未发现疑点", "nothing found"),
    "nothing_listed": ("没有符合条件的案件", "no case is as asked for"),
    "open": ("待核", "open"),
    "operation": ("操作", "operation"),
    "origin": ("来源", "origin"),
    "outcome": ("结果", "outcome"),
    "owner": ("责任人", "owner"),
    "precision": ("准确率", "precision"),
    "provisional": ("待定", "provisional"),
    "raised": ("累计", "raised"),
    "refused": ("已拒绝", "refused"),
    "remedy": ("处理", "what to do"),
    "repairs": ("已修正", "repaired"),
    "repeats": ("重传", "repeats"),
    "result": ("结果", "result"),
    "scan": ("扫码内容", "scan"),
    "seen": ("实际情况", "seen"),
    "sequence": ("序号", "entry"),
    "severity": ("级别", "severity"),
    "state": ("状态", "state"),
    "state_after": ("之后状态", "state after"),
    "time": ("时间", "time"),
    "title": ("案由", "title"),
    "unchanged": ("未变", "unchanged"),
    "units": ("拆零数量", "units"),
    "units_left": ("剩余拆零数量", "units left"),
    "updated": ("更新", "updated"),
    "would_refuse": ("将被拒绝", "would be refused"),
    "written": ("已写入", "written"),
}

_PREFIXES = (
    "CASE_ORIGIN_",
    "COMPLAINT_KIND_",
    "CASE_OUTCOME_TYPE_",
    "CASE_STATE_",
    "CODE_CLASS_",
    "CODE_STATE_",
    "COUNTER_EVIDENCE_TYPE_",
    "DOCUMENT_KIND_",
    "FINDING_DECISION_",
    "FINDING_EVENT_TYPE_",
    "FINDING_STATE_",
    "FINDING_TYPE_",
    "OPERATION_",
    "OUTCOME_",
    "SEVERITY_",
    "SUSPICION_",
)


def term(key: str, language: Language) -> str:
    """A word of the command line in this language."""
    return TERMS[key][0 if language is Language.ZH else 1]


def say_name(name: str, language: Language) -> str:
    """An enum's name in the contract, such as CODE_STATE_IN_STOCK, as people say it.

    Names of findings are said as they are: they are what one looks up.
    """
    if language is Language.ZH and name in NAMES_ZH:
        return NAMES_ZH[name]
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            bare = name.removeprefix(prefix)
            shouted = prefix in ("FINDING_TYPE_", "OUTCOME_", "SEVERITY_")
            return bare if shouted else bare.lower().replace("_", " ")
    return name
