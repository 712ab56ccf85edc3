"""The words of the command line in both languages, and the contract's names as people say them."""

from __future__ import annotations

from tracecode_server.cli.screen import Language

# Chinese, English.
TERMS = {
    "accepted": ("已受理", "accepted"),
    "active_sales": ("在效销售", "sales in force"),
    "answer": ("答复", "answer"),
    "basis": ("依据", "basis"),
    "business_time": ("业务时间", "business time"),
    "check": ("检查项", "check"),
    "class": ("类别", "class"),
    "code": ("追溯码", "code"),
    "columns": ("列", "columns"),
    "conflict": ("记录互相矛盾, 全部保留", "reports contradict each other; all are kept"),
    "created": ("新增", "created"),
    "deleted": ("已删除", "deleted"),
    "document": ("单据", "document"),
    "error": ("错误", "error"),
    "errors": ("未受理", "not taken"),
    "expiry": ("有效期", "expiry"),
    "final": ("最终", "final"),
    "finding": ("疑点", "finding"),
    "findings": ("疑点", "findings"),
    "findings_first": ("最初疑点", "found at first"),
    "findings_now": ("现有疑点", "standing now"),
    "hint": ("提示", "hint"),
    "holder": ("现持有机构", "held by"),
    "identifier": ("标识码", "identifier"),
    "institution": ("机构", "institution"),
    "line": ("行", "line"),
    "lot": ("批号", "lot"),
    "no_events": ("没有任何记录", "nothing was ever reported of it"),
    "nothing_found": ("未发现疑点", "nothing found"),
    "operation": ("操作", "operation"),
    "outcome": ("结果", "outcome"),
    "provisional": ("待定", "provisional"),
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
    "unchanged": ("未变", "unchanged"),
    "units": ("拆零数量", "units"),
    "units_left": ("剩余拆零数量", "units left"),
    "updated": ("更新", "updated"),
    "would_refuse": ("将被拒绝", "would be refused"),
}

_NAMES_ZH = {
    "CODE_CLASS_EMPTY": "未扫码",
    "CODE_CLASS_TWENTY_DIGIT": "20位追溯码",
    "CODE_CLASS_GS1": "GS1追溯码",
    "CODE_CLASS_ENTERPRISE": "企业自编码",
    "CODE_CLASS_PLACEHOLDER": "占位码",
    "CODE_CLASS_PRODUCT_BARCODE": "商品码",
    "CODE_CLASS_STANDARD_DRUG_CODE": "本位码",
    "CODE_CLASS_LOGISTIC_UNIT": "物流单元码",
    "CODE_CLASS_AMBIGUOUS": "无法唯一解析",
    "CODE_CLASS_MALFORMED": "格式错误",
    "CODE_STATE_UNKNOWN": "未见过",
    "CODE_STATE_IN_STOCK": "在库",
    "CODE_STATE_SPLIT": "拆零在用",
    "CODE_STATE_SOLD": "已售出",
    "CODE_STATE_IN_TRANSIT": "调拨在途",
    "CODE_STATE_RETURNED_TO_SUPPLIER": "已退供应商",
    "CODE_STATE_DESTROYED": "已销毁",
    "OPERATION_RECEIVE": "入库",
    "OPERATION_SALE": "销售",
    "OPERATION_SPLIT_SALE": "拆零销售",
    "OPERATION_SALE_RETURN": "销售退货",
    "OPERATION_SPLIT_RETURN": "拆零退货",
    "OPERATION_TRANSFER_OUT": "调出",
    "OPERATION_TRANSFER_IN": "调入",
    "OPERATION_SUPPLIER_RETURN": "退供应商",
    "OPERATION_DESTROY": "销毁",
    "OPERATION_COUNT": "盘存",
    "OPERATION_ISSUE": "其他出库",
    "OPERATION_DELETE": "删除",
    "OUTCOME_ACCEPTED": "受理",
    "OUTCOME_REFUSED": "拒绝",
    "SEVERITY_INFO": "提示",
    "SEVERITY_WARN": "提醒",
    "SEVERITY_ALERT": "疑点",
    "SEVERITY_BLOCK": "拦截",
    "DOCUMENT_KIND_SALE": "销售单",
    "DOCUMENT_KIND_SALE_RETURN": "销售退货单",
    "DOCUMENT_KIND_RECEIPT": "采购入库单",
    "DOCUMENT_KIND_PURCHASE_RETURN": "采购退货单",
    "DOCUMENT_KIND_STOCK_CHANGE": "库存变更单",
    "DOCUMENT_KIND_STOCK_COUNT": "盘存单",
    "DOCUMENT_KIND_DELETION": "删除单",
}

_PREFIXES = (
    "CODE_CLASS_",
    "CODE_STATE_",
    "DOCUMENT_KIND_",
    "FINDING_TYPE_",
    "OPERATION_",
    "OUTCOME_",
    "SEVERITY_",
)


def term(key: str, language: Language) -> str:
    """A word of the command line in this language."""
    return TERMS[key][0 if language is Language.ZH else 1]


def say_name(name: str, language: Language) -> str:
    """An enum's name in the contract, such as CODE_STATE_IN_STOCK, as people say it.

    Names of findings are said as they are: they are what one looks up.
    """
    if language is Language.ZH and name in _NAMES_ZH:
        return _NAMES_ZH[name]
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            bare = name.removeprefix(prefix)
            shouted = prefix in ("FINDING_TYPE_", "OUTCOME_", "SEVERITY_")
            return bare if shouted else bare.lower().replace("_", " ")
    return name
