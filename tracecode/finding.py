"""Findings: what may be noticed, how grave it is, and what people are told about it.

The registry is the one place for the meaning, texts and legal basis of every finding; the numbers are
those of proto/tracecode/v1/finding.proto and are for life. This file does not know when a finding fires
(tracecode/rules) nor what a region makes of it (tracecode/rule_base.py).

A finding is a suspicion about records, never a verdict about a person or a box. The texts say what was
seen and what helps; most findings have an honest explanation, and the texts say so first.

`python -m tracecode.finding` prints the registry as docs/findings.md.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Literal

from google.protobuf.timestamp_pb2 import Timestamp

from tracecode.v1 import finding_pb2

PROVISIONAL_SECONDS = 172_800
"""A verdict is provisional for 48 h after the latest of its effective time. NHSA tells citizens to wait two
days before a sale shows ("建议等两天再次扫码"); that it is also our wait is ours."""

RETURN_WAIT_SECONDS = 259_200
"""A return waits 72 h for its sale: a till that stops a pending upload may send the return alone. Ours."""


class Severity(IntEnum):
    """How grave a finding is; the numbers order them."""

    INFO = 1
    WARN = 2
    ALERT = 3
    BLOCK = 4


class Mode(IntEnum):
    """What is made of a finding: observe records it, advise shows it, enforce also lets a BLOCK refuse."""

    OBSERVE = 1
    ADVISE = 2
    ENFORCE = 3


class FindingType(IntEnum):
    """What was noticed. Numbers are for life and equal those of the contract."""

    PASS = 1
    CODE_EMPTY = 2
    CODE_MALFORMED = 3
    CODE_NOT_TRACE = 4
    CODE_AMBIGUOUS = 5
    CODE_PLACEHOLDER = 6
    CODE_ALIASED = 7
    LEVEL_NOT_UNIT = 8
    PRODUCT_UNKNOWN = 9
    DUP_RETRY = 10
    DUP_IN_DOC = 11
    DUP_CHANNEL = 12
    DUP_SALE_SAME_ORG = 13
    DUP_SALE_CROSS_ORG = 14
    DUP_CROSS_REGION = 15
    RESALE_AFTER_SETTLE = 16
    SPLIT_OVER = 17
    SPLIT_CROSS_ORG = 18
    SPLIT_NOT_ALLOWED = 19
    SPLIT_AFTER_WHOLE = 20
    SWAP_PACK = 21
    SWAP_MAKER = 22
    SWAP_FORM = 23
    SWAP_PRODUCT = 24
    SWAP_ATTR = 25
    STOCK_NEVER_RECEIVED = 26
    STOCK_NOT_HERE = 27
    STOCK_ALREADY_OUT = 28
    STOCK_NEGATIVE = 29
    SALES_EXCEED_PURCHASE = 30
    STOCKTAKE_DIFF = 31
    EXPIRED_SALE = 32
    RECALLED = 33
    NOT_ACTIVATED = 34
    PLATFORM_UNKNOWN = 35
    FORGERY_SUSPECT = 36
    RETURN_NO_SALE = 37
    RETURN_OTHER_ORG = 38
    RETURN_RESOLD = 39
    DELETE_AFTER_FLAG = 40
    LATE_UPLOAD = 41
    CLOCK_SKEW = 42
    ORDER_VIOLATION = 43
    ORG_INVALID = 44
    PERSON_OVERBUY = 45
    PRESCRIBER_CONC = 46
    QTY_CODE_MISMATCH = 47
    EXEMPT_HERB = 48
    EXEMPT_INPATIENT_SPLIT = 49
    EXEMPT_LEGACY_STOCK = 50
    EXEMPT_LOCAL = 51
    UNVERIFIED_OFFLINE = 52


@dataclass(frozen=True, slots=True)
class Evidence:
    """A fact that a finding rests on, such as name "earlier_sale".

    `sequence` is the journal entry it was read from, 0 = not an entry. `time` is a business time in seconds
    since 1970 UTC, None = has none. The rest is empty where it says nothing.
    """

    name: str
    value: str
    sequence: int = 0
    time: int | None = None
    institution_code: str = ""
    division_code: str = ""
    document_number: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing noticed about a document, a line or a code.

    `severity` is what it weighs once the verdict is final; `stand` says what it weighs until then.
    `line_number` 0 = the document. `code` is canonical text, empty = the line. `grade` is the degree of a
    swapped drug, 0 to 5 as in the contract.
    """

    type: FindingType
    severity: Severity
    line_number: int = 0
    code: str = ""
    grade: int = 0
    evidence: tuple[Evidence, ...] = ()


DecidedBy = Literal["document", "line", "chain", "stock", "reply"]
"""What decides a finding: the document's own fields, a line and the catalogue, the chain of a code, the
quantity ledger, or nothing but the answer being given."""


@dataclass(frozen=True, slots=True)
class FindingKind:
    """A row of the registry.

    `severity` is what the finding weighs at full weight and `mode` what is made of it, both unless the rule
    base says otherwise; a rule may weigh a case milder, and `meaning_en` says which. A `curable` finding may
    be cleared by a document that has not arrived yet: for `wait_seconds` after the effective time it stands
    at most at WARN (0 = not curable). `curable_when_asked` False limits that to sales that were reported
    rather than asked before settlement. `legal_basis` is a document, or "ours". `judged` False means that no
    rule gives this finding yet: its number is kept for sources we do not ask so far. No rule base may raise
    the finding above `severity_max`.
    """

    type: FindingType
    title_zh: str
    title_en: str
    severity: Severity
    mode: Mode
    decided_by: DecidedBy
    meaning_en: str
    remedy_zh: str
    remedy_en: str
    legal_basis: str = "ours"
    curable: bool = False
    curable_when_asked: bool = True
    wait_seconds: int = 0
    judged: bool = True
    severity_max: Severity = Severity.BLOCK


# The notice by which the fund refuses a sale that was not scanned, or scanned again.
_NOTICE = "医保发〔2025〕7号"
# The coding standard: one code for one sales package, never used again.
_CODING = "NMPAB/T 1002-2019"

_KINDS = (
    FindingKind(
        type=FindingType.PASS,
        title_zh="通过",
        title_en="Nothing found",
        severity=Severity.INFO,
        mode=Mode.ADVISE,
        decided_by="reply",
        meaning_en="No rule found anything. Said in answers only; the journal keeps an empty list instead.",
        remedy_zh="无需处理。",
        remedy_en="Nothing to do.",
        severity_max=Severity.INFO,
    ),
    FindingKind(
        type=FindingType.CODE_EMPTY,
        title_zh="未采集追溯码",
        title_en="No traceability code scanned",
        severity=Severity.BLOCK,
        mode=Mode.ENFORCE,
        decided_by="line",
        meaning_en=(
            "A line of an insured sale carries no code, and the rule base exempts neither the drug nor the "
            "institution. A sale the person pays alone is not asked for codes."
        ),
        remedy_zh="请扫描药盒上的药品追溯码后再结算。盒上确无追溯码的，请核对是否属于豁免范围或无码库药品。",
        remedy_en=(
            "Scan the traceability code on the box, then settle. If the box truly bears none, check whether "
            "the drug is exempt or in the list of stock without codes."
        ),
        legal_basis=_NOTICE,
    ),
    FindingKind(
        type=FindingType.CODE_MALFORMED,
        title_zh="追溯码格式无法识别",
        title_en="Scan cannot be read as a code",
        severity=Severity.BLOCK,
        mode=Mode.ENFORCE,
        decided_by="line",
        meaning_en=(
            "After the repairs for what scanners are known to do, the scan reads as no class of code: not as "
            "20 digits, not as GS1, not as a code of an enterprise. Most often the scanner's doing (caps "
            "lock, an input method, a lost separator, a cut or glued scan); it says nothing about the box."
        ),
        remedy_zh=(
            "多为扫码枪或输入法所致（大写锁定、中文输入法、分隔符丢失、漏扫半截），并不说明药品有问题。"
            "请关闭大写锁定、切换英文输入法后重扫；仍不能识别时可手工录入盒上印刷的追溯码。"
        ),
        remedy_en=(
            "This is usually the scanner or the input method (caps lock, a Chinese input method, a lost "
            "separator, half a scan) and says nothing against the box. Turn caps lock off, switch to English "
            "input and scan again; if that fails, type the code printed on the box."
        ),
        legal_basis=_CODING,
    ),
    FindingKind(
        type=FindingType.CODE_NOT_TRACE,
        title_zh="扫到的是商品码或本位码",
        title_en="Another barcode was scanned",
        severity=Severity.WARN,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en=(
            "The scan is an EAN-13 barcode (69...), a national drug code of 14 digits (本位码), or a web "
            "address without a code in it."
        ),
        remedy_zh="盒上不止一个条码，刚才扫到的是商品条码。请改扫标有“药品追溯码”的条码或二维码。",
        remedy_en=(
            "The box bears more than one barcode and this was another one. Scan the barcode or square code "
            "marked 药品追溯码."
        ),
        legal_basis=_CODING,
    ),
    FindingKind(
        type=FindingType.CODE_AMBIGUOUS,
        title_zh="追溯码无法唯一识别",
        title_en="Scan can be read in two ways",
        severity=Severity.WARN,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en=("The scan fits two readings, as when a GS1 code lost its separators."),
        remedy_zh="扫码枪可能丢失了分隔符。请重扫一次，或请供应商为扫码枪开启 GS1 分隔符（GS）输出。",
        remedy_en=(
            "The scanner may have dropped a separator. Scan once more, or have the scanner set to send the "
            "GS1 separator."
        ),
    ),
    FindingKind(
        type=FindingType.CODE_PLACEHOLDER,
        title_zh="占位码",
        title_en="Placeholder instead of a code",
        severity=Severity.WARN,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en=(
            "The code is a known placeholder, such as 20 nines, which stands for no box and is never counted "
            "as sold twice. INFO on a split line or where an exemption covers it."
        ),
        remedy_zh="请扫描实际药盒上的追溯码。拆零药品请扫原包装追溯码并标记拆零。",
        remedy_en=(
            "Scan the code of the box itself. For a split pack scan the code of the original pack and mark "
            "the line as split."
        ),
    ),
    FindingKind(
        type=FindingType.CODE_ALIASED,
        title_zh="追溯码已更换",
        title_en="Code was replaced",
        severity=Severity.INFO,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en="The platform replaced this code by another (单码替换); it was judged under the new one.",
        remedy_zh="无需处理，系统已按新码处理。",
        remedy_en="Nothing to do: the new code was used.",
        severity_max=Severity.INFO,
    ),
    FindingKind(
        type=FindingType.LEVEL_NOT_UNIT,
        title_zh="扫到的是中包装或大包装码",
        title_en="Code of an outer package",
        severity=Severity.BLOCK,
        mode=Mode.ENFORCE,
        decided_by="line",
        meaning_en=(
            "A sale line carries the code of a middle or outer package, which is not the smallest unit that "
            "bears a code, and the quantity is not that of the whole package."
        ),
        remedy_zh="请扫描单盒（最小销售包装）上的追溯码。整箱销售时请按箱内盒数填写数量。",
        remedy_en=(
            "Scan the code on the single box. When a whole carton is sold, give the number of boxes in it as "
            "the quantity."
        ),
    ),
    FindingKind(
        type=FindingType.PRODUCT_UNKNOWN,
        title_zh="药品标识码无对照",
        title_en="Product not in the catalogue",
        severity=Severity.WARN,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en=(
            "The code's identifier (7 digits or GTIN) is not in the catalogue, so neither the drug nor the "
            "package level could be compared. INFO while the product is being learnt from consistent sales."
        ),
        remedy_zh="请核对所扫药品与所选药品一致后继续。目录补全对照后提示会消失，可联系医保部门补录。",
        remedy_en=(
            "Check that the box is the drug on the screen, then go on. The note disappears once the "
            "catalogue knows the product; it can be reported for completion."
        ),
    ),
    FindingKind(
        type=FindingType.DUP_RETRY,
        title_zh="同一单据重传",
        title_en="Sent again",
        severity=Severity.INFO,
        mode=Mode.ADVISE,
        decided_by="chain",
        meaning_en=(
            "The same document with the same content came before: its first answer is given and nothing is "
            "written. Also the same sale under another document number by the same channel: it is counted "
            "once."
        ),
        remedy_zh="无需处理，已按首次结果答复，不会重复计算。",
        remedy_en="Nothing to do: the first answer holds and the sale counts once.",
        severity_max=Severity.INFO,
    ),
    FindingKind(
        type=FindingType.DUP_IN_DOC,
        title_zh="单内重复追溯码",
        title_en="Code stands twice on the document",
        severity=Severity.WARN,
        mode=Mode.ADVISE,
        decided_by="document",
        meaning_en=(
            "The same code stands on more than one line, or twice on one line, of a document. Usually the "
            "till's software. INFO when all its lines are split."
        ),
        remedy_zh="请核对每盒是否各扫一次。若软件把同一码写到多行，请联系软件供应商。",
        remedy_en=(
            "Check that each box was scanned once. If the software writes one code to several lines, tell "
            "its supplier."
        ),
    ),
    FindingKind(
        type=FindingType.DUP_CHANNEL,
        title_zh="同一销售经两个通道上报",
        title_en="Same sale by the other channel",
        severity=Severity.INFO,
        mode=Mode.ADVISE,
        decided_by="chain",
        meaning_en=(
            "The settlement and the inventory upload report one sale: they share the settlement, visit or "
            "fee detail number. It is counted once."
        ),
        remedy_zh="无需处理，已合并为一次销售。",
        remedy_en="Nothing to do: both reports are joined to one sale.",
        severity_max=Severity.INFO,
    ),
    FindingKind(
        type=FindingType.DUP_SALE_SAME_ORG,
        title_zh="本店重复销售该码",
        title_en="Sold here before",
        severity=Severity.ALERT,
        mode=Mode.ENFORCE,
        decided_by="chain",
        meaning_en=(
            "A whole pack is sold while an earlier sale of it at the same institution stands. BLOCK when it "
            "is asked before settlement and the earlier sale is older than 10 minutes. INFO when the sale "
            "was cancelled and billed again: the earlier one is returned at most 24 h after this one."
        ),
        remedy_zh="请核对手中药盒并重新扫描实物。若先前一笔已退货或录错，请先上报退货或删除，再重新结算。",
        remedy_en=(
            "Check the box in hand and scan it again. If the earlier sale was returned or entered by "
            "mistake, report the return or deletion first, then settle again."
        ),
        legal_basis=_NOTICE,
        curable=True,
        curable_when_asked=False,
        wait_seconds=PROVISIONAL_SECONDS,
    ),
    FindingKind(
        type=FindingType.DUP_SALE_CROSS_ORG,
        title_zh="该码已在其他机构销售",
        title_en="Sold at another institution",
        severity=Severity.BLOCK,
        mode=Mode.ENFORCE,
        decided_by="chain",
        meaning_en=(
            "A whole pack stands sold at two institutions. Of the two sales the one of lower custody is odd, "
            "at equal custody the later one; the odd one carries the finding at full severity. The other "
            "carries it at WARN if it is the later, at INFO if it is the earlier. Not after a return, "
            "deletion or transfer between the two."
        ),
        remedy_zh=(
            "请核对手中药盒并重新扫描实物。若码与实物一致，请留存该盒及进货凭证并联系医保部门核实；"
            "也可能是对方录错，您可先销售另一盒。"
        ),
        remedy_en=(
            "Check the box in hand and scan it again. If code and box agree, keep the box and its purchase "
            "papers and ask the insurer to look into it; the other institution may have made a mistake. "
            "Another box can be sold meanwhile."
        ),
        legal_basis=_NOTICE,
    ),
    FindingKind(
        type=FindingType.DUP_CROSS_REGION,
        title_zh="跨统筹区重复",
        title_en="Sold in another pooling area",
        severity=Severity.ALERT,
        mode=Mode.ADVISE,
        decided_by="chain",
        meaning_en=(
            "Stands with DUP_SALE_CROSS_ORG on the odd sale when the two institutions lie in different "
            "pooling areas (first four digits of the division)."
        ),
        remedy_zh="请留存药盒与进货凭证，等待两地医保部门核对。",
        remedy_en="Keep the box and its purchase papers; the two areas' insurers will compare their records.",
    ),
    FindingKind(
        type=FindingType.RESALE_AFTER_SETTLE,
        title_zh="疑似回流",
        title_en="Suspected resale of a settled box",
        severity=Severity.ALERT,
        mode=Mode.ADVISE,
        decided_by="chain",
        meaning_en=(
            "Stands on the odd sale when the earlier sale elsewhere was insured, the box was never received "
            "here and at least one day lies between. Not when both sales name the same person."
        ),
        remedy_zh="请核对该盒的进货来源并补传入库记录。来源清楚的，提供随货单或发票即可说明。",
        remedy_en=(
            "Check where the box came from and upload its receipt if that is missing. A delivery note or "
            "invoice explains it."
        ),
    ),
    FindingKind(
        type=FindingType.SPLIT_OVER,
        title_zh="拆零数量超过包装量",
        title_en="More units split than the pack holds",
        severity=Severity.ALERT,
        mode=Mode.ADVISE,
        decided_by="chain",
        meaning_en=(
            "The units of the split sales of one code, less those returned, exceed what the pack can be "
            "split into. WARN when the units of the pack are unknown and more than three split sales stand."
        ),
        remedy_zh="请核对拆零数量和单位（片、支等最小单位）。旧盒用完后请改扫新盒的追溯码。",
        remedy_en=(
            "Check the split quantity and its unit (tablets, vials). When a pack is used up, scan the code "
            "of the next one."
        ),
    ),
    FindingKind(
        type=FindingType.SPLIT_CROSS_ORG,
        title_zh="拆零跨机构",
        title_en="Split at two institutions",
        severity=Severity.ALERT,
        mode=Mode.ADVISE,
        decided_by="chain",
        meaning_en=(
            "A split sale while a split sale of the same code stands at another institution and no transfer "
            "lies between. WARN within one group."
        ),
        remedy_zh="请核对手中药盒并重新扫描。若由其他门店调入，请补传调拨记录。",
        remedy_en=("Check the box in hand and scan it again. If it came from a branch, upload the transfer."),
    ),
    FindingKind(
        type=FindingType.SPLIT_NOT_ALLOWED,
        title_zh="该药品不可拆零",
        title_en="Pack cannot be split",
        severity=Severity.WARN,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en="A line is marked as split, and the catalogue knows the pack as not splittable.",
        remedy_zh="请核对拆零标志；整盒销售请取消拆零标记。若该包装确可拆零，请反馈更新目录。",
        remedy_en=(
            "Check the split mark and take it off when the whole box is sold. If the pack can be split after "
            "all, have the catalogue corrected."
        ),
    ),
    FindingKind(
        type=FindingType.SPLIT_AFTER_WHOLE,
        title_zh="整盒与拆零销售并存",
        title_en="Sold both whole and split",
        severity=Severity.ALERT,
        mode=Mode.ADVISE,
        decided_by="chain",
        meaning_en=(
            "A split sale while a whole sale of the code stands, or a whole sale after a split one at the "
            "same institution; elsewhere: WARN. Not between two reports of one sale."
        ),
        remedy_zh="请核对拆零标志与所扫药盒。拆零使用请扫正在使用的那一盒。",
        remedy_en="Check the split mark and the box that was scanned: split sales take the open pack's code.",
    ),
    FindingKind(
        type=FindingType.SWAP_PACK,
        title_zh="包装规格与计费药品不同",
        title_en="Other pack than billed",
        severity=Severity.INFO,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en=(
            "Grade 1: the code's product has the billed product, form and maker, in another pack. One "
            "maker's drug often has several pack codes."
        ),
        remedy_zh="请核对所选药品的包装规格是否与实物一致。",
        remedy_en="Check that the pack size on the screen is that of the box.",
    ),
    FindingKind(
        type=FindingType.SWAP_MAKER,
        title_zh="生产企业与计费药品不同",
        title_en="Other maker than billed",
        severity=Severity.WARN,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en="Grade 2: the code's product has the billed product and form, by another maker.",
        remedy_zh="请核对所选药品的生产企业是否与实物一致，按实物选择后再结算。",
        remedy_en="Check the maker on the box and choose that drug on the screen before settling.",
    ),
    FindingKind(
        type=FindingType.SWAP_FORM,
        title_zh="剂型与计费药品不同",
        title_en="Other form than billed",
        severity=Severity.WARN,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en="Grade 3: the code's product is the billed product in another form.",
        remedy_zh="请核对所选药品的剂型是否与实物一致，按实物选择后再结算。",
        remedy_en="Check the form on the box and choose that drug on the screen before settling.",
    ),
    FindingKind(
        type=FindingType.SWAP_PRODUCT,
        title_zh="所扫药品与计费药品不一致",
        title_en="Other drug than billed",
        severity=Severity.BLOCK,
        mode=Mode.ENFORCE,
        decided_by="line",
        meaning_en=(
            "Grade 4: the code's product is another product than the billed one. Grade 5: the billed code is "
            "not a drug of any kind that the code's product is mapped to. A mapping can be wrong or old: one "
            "level milder while the product is being learnt."
        ),
        remedy_zh="请确认扫的是本行药品，并按实物选择药品后再结算。若目录对照有误，请反馈更正。",
        remedy_en=(
            "Make sure the box scanned belongs to this line and choose the drug of the box before settling. "
            "If the catalogue is wrong, have it corrected."
        ),
    ),
    FindingKind(
        type=FindingType.SWAP_ATTR,
        title_zh="批号或有效期不符",
        title_en="Lot or expiry differs",
        severity=Severity.WARN,
        mode=Mode.ADVISE,
        decided_by="chain",
        meaning_en=(
            "The lot or expiry of the sale line differs from what was received here under the code, or from "
            "what the GS1 code itself says. INFO when one character differs."
        ),
        remedy_zh="请按药盒上的批号和有效期更正单据，多为手工录入笔误。",
        remedy_en="Correct lot and expiry from the box; mostly a slip of the keyboard.",
    ),
    FindingKind(
        type=FindingType.STOCK_NEVER_RECEIVED,
        title_zh="无入库记录",
        title_en="No receipt of this box",
        severity=Severity.ALERT,
        mode=Mode.ADVISE,
        decided_by="chain",
        meaning_en=(
            "A sale of a box that the institution never received, by its code or by a package that holds it, "
            "and that nobody else holds. INFO where the institution does not upload the codes it receives. "
            "Stock from before the cut-off date is EXEMPT_LEGACY_STOCK instead."
        ),
        remedy_zh="请补传该药品的入库追溯码（含整箱码）。入库记录到达后本提示自动消除。",
        remedy_en=(
            "Upload the codes of the receipt, the carton's included. The note clears itself once the receipt "
            "arrives."
        ),
        curable=True,
        wait_seconds=PROVISIONAL_SECONDS,
    ),
    FindingKind(
        type=FindingType.STOCK_NOT_HERE,
        title_zh="记录显示不在本店库存",
        title_en="Held by another institution",
        severity=Severity.ALERT,
        mode=Mode.ADVISE,
        decided_by="chain",
        meaning_en=(
            "A sale of a box that another institution holds, whole or split. WARN within one group, and for "
            "a receipt of a box that somebody else holds. Silent while a transfer to here is at most 7 days "
            "old."
        ),
        remedy_zh="若由其他门店调入，请双方补传调拨出库和调拨入库。否则请核对手中药盒并重新扫描。",
        remedy_en=(
            "If it came from another branch, both sides upload the transfer. Otherwise check the box in hand "
            "and scan it again."
        ),
        curable=True,
        wait_seconds=PROVISIONAL_SECONDS,
    ),
    FindingKind(
        type=FindingType.STOCK_ALREADY_OUT,
        title_zh="该盒已退供、销毁或调出",
        title_en="Box had already left",
        severity=Severity.BLOCK,
        mode=Mode.ENFORCE,
        decided_by="chain",
        meaning_en=(
            "A sale of a box that this institution sent back to the supplier, destroyed or moved out; moved "
            "out to nobody: WARN. Not once that document is taken back."
        ),
        remedy_zh="请核对手中药盒。若先前的退供、销毁或调拨录错，请先删除该单据；应销毁的药品请勿销售。",
        remedy_en=(
            "Check the box in hand. If the earlier return, destruction or transfer was entered by mistake, "
            "delete that document first; do not sell what was to be destroyed."
        ),
    ),
    FindingKind(
        type=FindingType.STOCK_NEGATIVE,
        title_zh="账面库存为负",
        title_en="Stock below zero",
        severity=Severity.WARN,
        mode=Mode.ADVISE,
        decided_by="stock",
        meaning_en=(
            "More packs of a drug left an institution than came in, by quantity. Often the opening stock or "
            "a purchase is not uploaded yet."
        ),
        remedy_zh="请补传期初库存、入库或调入记录，或做一次盘点。",
        remedy_en="Upload the opening stock and missing receipts or transfers, or count the shelf.",
        severity_max=Severity.ALERT,
    ),
    FindingKind(
        type=FindingType.SALES_EXCEED_PURCHASE,
        title_zh="销售数量大于购进数量",
        title_en="More sold than bought",
        severity=Severity.ALERT,
        mode=Mode.ADVISE,
        decided_by="stock",
        meaning_en=(
            "Units sold of a drug over all that came in (opening, receipts, transfers, returns, less what "
            "went out otherwise) exceed 1.2, with more than 10 units sold. WARN above 1.02."
        ),
        remedy_zh="请核对购进记录是否上传完整（期初、赠品、调入、拆零单位），并补传缺失单据。",
        remedy_en=(
            "Check that all that came in is uploaded (opening stock, gifts, transfers) and that split units "
            "are marked, and upload what is missing."
        ),
        severity_max=Severity.ALERT,
    ),
    FindingKind(
        type=FindingType.STOCKTAKE_DIFF,
        title_zh="盘存差异",
        title_en="Count differs from the books",
        severity=Severity.WARN,
        mode=Mode.ADVISE,
        decided_by="stock",
        meaning_en=(
            "A count of the shelf differs from the computed stock by more than 5 % and by more than 3 units."
        ),
        remedy_zh="请复盘一次；确认差异后上报盘盈或盘损。",
        remedy_en="Count once more; if the difference stays, report it as surplus or loss.",
        severity_max=Severity.ALERT,
    ),
    FindingKind(
        type=FindingType.EXPIRED_SALE,
        title_zh="药品已过有效期",
        title_en="Past its expiry date",
        severity=Severity.BLOCK,
        mode=Mode.ENFORCE,
        decided_by="chain",
        meaning_en=(
            "The sale's date is after the expiry on the line, in the GS1 code, or as received. Day 00 means "
            "the end of the month."
        ),
        remedy_zh="请核对药盒上的有效期。确已过期的请勿销售并移至不合格区；若为录入笔误请更正。",
        remedy_en=(
            "Check the expiry on the box. If it is past, do not sell it and set it aside; if the date was a "
            "slip, correct it."
        ),
    ),
    FindingKind(
        type=FindingType.RECALLED,
        title_zh="召回或停用",
        title_en="Recalled or on hold",
        severity=Severity.BLOCK,
        mode=Mode.ENFORCE,
        decided_by="chain",
        meaning_en=(
            "The code, or its product and lot, is on a hold list at that date. Returns to the supplier, sale "
            "returns and destruction of such boxes are right and carry nothing."
        ),
        remedy_zh="请勿销售，单独存放，按召回通知退回供应商。",
        remedy_en="Do not sell it; set it aside and send it back as the recall notice says.",
    ),
    FindingKind(
        type=FindingType.NOT_ACTIVATED,
        title_zh="平台显示未激活",
        title_en="Not activated on the platform",
        severity=Severity.ALERT,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en=(
            "The traceability platform knows the code as applied for but not activated. Not judged: the "
            "platform is not asked."
        ),
        remedy_zh="可能是生产企业尚未上传激活信息。请留存药盒与进货凭证，并向供应商核实。",
        remedy_en=(
            "The maker may not have uploaded the activation yet. Keep the box and its papers and ask the "
            "supplier."
        ),
        judged=False,
    ),
    FindingKind(
        type=FindingType.PLATFORM_UNKNOWN,
        title_zh="平台查无此码",
        title_en="Not known to the platform",
        severity=Severity.ALERT,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en=(
            "The traceability platform answers that the code was never applied for or that its last four "
            "digits do not fit. Not judged: the platform is not asked."
        ),
        remedy_zh="请重新扫描，核对是否手工录错。仍查无的，请留存药盒与进货凭证，并向供应商核实。",
        remedy_en=(
            "Scan again and check for a typing slip. If it stays unknown, keep the box and its papers and "
            "ask the supplier."
        ),
        judged=False,
    ),
    FindingKind(
        type=FindingType.FORGERY_SUSPECT,
        title_zh="疑似非原厂编号",
        title_en="Suspected not to be the maker's numbering",
        severity=Severity.ALERT,
        mode=Mode.OBSERVE,
        decided_by="line",
        meaning_en=(
            "The serial lies outside all ranges seen for its lot, and the last four digits of at least 30 "
            "codes of the product at the institution are not spread as genuine ones are. A statistical lead "
            "about many codes, never about one box. Not judged yet."
        ),
        remedy_zh="请留存药盒与进货凭证，配合核实来源。",
        remedy_en="Keep the boxes and their purchase papers and help to establish where they came from.",
        judged=False,
        severity_max=Severity.ALERT,
    ),
    FindingKind(
        type=FindingType.RETURN_NO_SALE,
        title_zh="退货未找到对应销售",
        title_en="Return without a sale",
        severity=Severity.WARN,
        mode=Mode.ADVISE,
        decided_by="chain",
        meaning_en=(
            "A sale return of a code of which no sale stands anywhere. The sale is waited for 72 h, because "
            "a till that stops a pending upload sends the return alone."
        ),
        remedy_zh="请补传对应的销售记录；若销售当时未上传且已退货，可不再处理。",
        remedy_en=(
            "Upload the sale it belongs to. If the sale was cancelled before its upload, nothing more is "
            "needed."
        ),
        curable=True,
        wait_seconds=RETURN_WAIT_SECONDS,
    ),
    FindingKind(
        type=FindingType.RETURN_OTHER_ORG,
        title_zh="异店退货",
        title_en="Returned at another institution",
        severity=Severity.ALERT,
        mode=Mode.ADVISE,
        decided_by="chain",
        meaning_en=(
            "A sale return here while the only standing sale of the code is elsewhere. WARN within one group."
        ),
        remedy_zh="请核对退回的药盒是否为本店所售；应由原销售门店办理退货。",
        remedy_en="Check that the box was sold here; the institution that sold it should take it back.",
    ),
    FindingKind(
        type=FindingType.RETURN_RESOLD,
        title_zh="退货后再次销售",
        title_en="Sold again after a return",
        severity=Severity.INFO,
        mode=Mode.ADVISE,
        decided_by="chain",
        meaning_en=(
            "A sale after a return of the same code at the same institution. Once is legitimate: INFO. WARN "
            "from the second cycle, ALERT from three cycles in 90 days."
        ),
        remedy_zh="偶尔一次属正常。多次出现请核对退货是否真实发生、药品是否符合再售条件。",
        remedy_en=(
            "Once is normal. If it repeats, check that the returns took place and that the drug may be sold "
            "again."
        ),
    ),
    FindingKind(
        type=FindingType.DELETE_AFTER_FLAG,
        title_zh="有疑点后删除",
        title_en="Deleted after a doubt was raised",
        severity=Severity.ALERT,
        mode=Mode.ADVISE,
        decided_by="chain",
        meaning_en=(
            "A deletion takes back a document that carries an ALERT or BLOCK, or does so more than 7 days "
            "after it. Not when the same code is sold again by a correction to the same person within 24 h. "
            "INFO when the box was only scanned twice here and the second sale is deleted within 24 h."
        ),
        remedy_zh="若为更正，请尽快上传更正后的单据并注明原单号；否则请保留原始凭证备查。",
        remedy_en=(
            "If this was a correction, upload the corrected document naming the old number; otherwise keep "
            "the original papers."
        ),
    ),
    FindingKind(
        type=FindingType.LATE_UPLOAD,
        title_zh="上传延迟",
        title_en="Uploaded late",
        severity=Severity.INFO,
        mode=Mode.ADVISE,
        decided_by="document",
        meaning_en=(
            "The document arrived more than 48 h after its business time. WARN after more than 30 days."
        ),
        remedy_zh="请检查网络和定时上传任务。延迟不影响本单判断，仍按业务时间处理。",
        remedy_en=(
            "Check the network and the upload job. Lateness changes nothing in how the document is judged: "
            "it is placed at its business time."
        ),
    ),
    FindingKind(
        type=FindingType.CLOCK_SKEW,
        title_zh="时间异常",
        title_en="Clock looks wrong",
        severity=Severity.WARN,
        mode=Mode.ADVISE,
        decided_by="document",
        meaning_en=(
            "The business time lies more than 5 minutes in the future, or a sale precedes its own receipt by "
            "more than 48 h, or it precedes the production date."
        ),
        remedy_zh="请校准终端时钟，并核对单据的业务时间和生产日期。",
        remedy_en="Set the terminal's clock, and check the document's time and the production date.",
    ),
    FindingKind(
        type=FindingType.ORDER_VIOLATION,
        title_zh="业务顺序异常",
        title_en="Out of order",
        severity=Severity.WARN,
        mode=Mode.ADVISE,
        decided_by="chain",
        meaning_en=(
            "The operation is not allowed from the state the box was in, and no other finding says it "
            "better. Usually a document is missing or a system sends 101 and 102 the wrong way round; never "
            "more than WARN."
        ),
        remedy_zh="请补传中间缺失的单据，或核对库存变更类型（调入101、调出102）是否填反。",
        remedy_en=(
            "Upload the document in between, or check that the stock change types (in 101, out 102) are not "
            "exchanged."
        ),
        curable=True,
        wait_seconds=PROVISIONAL_SECONDS,
        severity_max=Severity.WARN,
    ),
    FindingKind(
        type=FindingType.ORG_INVALID,
        title_zh="机构编码无效或协议未生效",
        title_en="Institution unknown or not in service",
        severity=Severity.BLOCK,
        mode=Mode.ENFORCE,
        decided_by="document",
        meaning_en=(
            "The institution's code is not one letter and eleven digits, is not registered, or its insurance "
            "service agreement was not in force at the business time."
        ),
        remedy_zh="请核对机构编码设置；如协议状态有误，请联系医保经办机构。",
        remedy_en=(
            "Check the institution code in the settings; if the agreement's dates are wrong, tell the "
            "insurer."
        ),
    ),
    FindingKind(
        type=FindingType.PERSON_OVERBUY,
        title_zh="购药量偏高",
        title_en="More bought than needed for the time",
        severity=Severity.WARN,
        mode=Mode.OBSERVE,
        decided_by="document",
        meaning_en=(
            "A person's supply of a drug runs far ahead of its daily dose. Long prescriptions for chronic "
            "illness explain most. Not judged yet."
        ),
        remedy_zh="请核对处方天数；慢病长处方属正常情况。",
        remedy_en="Check the days on the prescription; long prescriptions for chronic illness are normal.",
        judged=False,
        severity_max=Severity.ALERT,
    ),
    FindingKind(
        type=FindingType.PRESCRIBER_CONC,
        title_zh="处方来源集中",
        title_en="Prescriptions from few prescribers",
        severity=Severity.WARN,
        mode=Mode.OBSERVE,
        decided_by="document",
        meaning_en=(
            "One prescriber stands behind most of an institution's prescription lines. A village with one "
            "doctor explains it. Not judged yet."
        ),
        remedy_zh="请留存处方备查；单医师村卫生室属正常情况。",
        remedy_en="Keep the prescriptions at hand; a practice with one doctor is normal.",
        judged=False,
        severity_max=Severity.ALERT,
    ),
    FindingKind(
        type=FindingType.QTY_CODE_MISMATCH,
        title_zh="数量与追溯码数量不符",
        title_en="Quantity and number of codes differ",
        severity=Severity.WARN,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en=(
            "The codes of a line, times the units they stand for, give the line's quantity neither in the "
            "billed unit nor in the registered one."
        ),
        remedy_zh="请核对每盒是否都已扫码，以及数量单位（盒或片）是否正确。",
        remedy_en="Check that each box was scanned and that the unit (boxes or tablets) is right.",
    ),
    FindingKind(
        type=FindingType.EXEMPT_HERB,
        title_zh="豁免：中药饮片、中药颗粒",
        title_en="Exempt: herbal slices and granules",
        severity=Severity.INFO,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en="A row of the rule base for herbal slices and granules excused another finding.",
        remedy_zh="无需处理。",
        remedy_en="Nothing to do.",
        severity_max=Severity.INFO,
    ),
    FindingKind(
        type=FindingType.EXEMPT_INPATIENT_SPLIT,
        title_zh="豁免：住院拆零",
        title_en="Exempt: split doses of inpatients",
        severity=Severity.INFO,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en="A row of the rule base for split doses of inpatients excused another finding.",
        remedy_zh="无需处理。",
        remedy_en="Nothing to do.",
        severity_max=Severity.INFO,
    ),
    FindingKind(
        type=FindingType.EXEMPT_LEGACY_STOCK,
        title_zh="豁免：无码库存",
        title_en="Exempt: stock from before the codes",
        severity=Severity.INFO,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en=(
            "A sale before the cut-off date of a box without a receipt, or a row of the rule base for stock "
            "bought before it bore codes (无码库), stands in place of another finding."
        ),
        remedy_zh="暂可结算。请尽快清点并消化期初库存。",
        remedy_en="May be settled for now. Record the opening stock and use it up.",
        legal_basis=_NOTICE,
        severity_max=Severity.INFO,
    ),
    FindingKind(
        type=FindingType.EXEMPT_LOCAL,
        title_zh="豁免：地方规定",
        title_en="Exempt: local arrangement",
        severity=Severity.INFO,
        mode=Mode.ADVISE,
        decided_by="line",
        meaning_en="A row of the rule base with its own approver and dates excused another finding.",
        remedy_zh="无需处理。",
        remedy_en="Nothing to do.",
        severity_max=Severity.INFO,
    ),
    FindingKind(
        type=FindingType.UNVERIFIED_OFFLINE,
        title_zh="离线销售，上传后判定",
        title_en="Sold offline, judged on upload",
        severity=Severity.INFO,
        mode=Mode.ADVISE,
        decided_by="document",
        meaning_en=(
            "The terminal had no connection and sold on its own; the document was judged when it arrived."
        ),
        remedy_zh="请检查网络；恢复后及时上传离线单据。",
        remedy_en="Check the network, and upload offline documents soon after it is back.",
        severity_max=Severity.INFO,
    ),
)

REGISTRY: Mapping[FindingType, FindingKind] = MappingProxyType({kind.type: kind for kind in _KINDS})
"""Every finding there is, in the order of its number."""


def stand(
    type: FindingType,
    severity: Severity,
    as_of_seconds: int,
    final_seconds: int,
    *,
    asked: bool = False,
    return_extra_seconds: int = RETURN_WAIT_SECONDS - PROVISIONAL_SECONDS,
) -> Severity:
    """What a finding weighs at a moment: a curable one at most WARN until its wait is over. Ours.

    `severity` is what it weighs when final. `final_seconds` is when the verdict becomes final, in seconds
    since 1970 UTC; RETURN_NO_SALE waits `return_extra_seconds` longer. `asked` says that the sale was asked
    before settlement, where what already stands sold here is not given the benefit of the doubt.
    """
    kind = REGISTRY[type]
    if severity <= Severity.WARN or not kind.curable or (asked and not kind.curable_when_asked):
        return severity
    if kind.wait_seconds > PROVISIONAL_SECONDS:
        final_seconds += return_extra_seconds
    return Severity.WARN if as_of_seconds < final_seconds else severity


def to_message(finding: Finding, mode: Mode, *, revisable: bool = False) -> finding_pb2.Finding:
    """The finding as the journal keeps it: without texts, and both severities what it weighs when final.

    `revisable` says that the code's chain decided it.
    """
    severity = finding_pb2.Severity.ValueType(finding.severity)
    return finding_pb2.Finding(
        type=finding_pb2.FindingType.ValueType(finding.type),
        severity=severity,
        final_severity=severity,
        mode=finding_pb2.Mode.ValueType(mode),
        line_number=finding.line_number,
        code=finding.code,
        grade=finding.grade,
        revisable=revisable,
        evidence=[
            finding_pb2.Evidence(
                name=evidence.name,
                value=evidence.value,
                sequence=evidence.sequence,
                business_time=None if evidence.time is None else Timestamp(seconds=evidence.time),
                institution_code=evidence.institution_code,
                division_code=evidence.division_code,
                document_number=evidence.document_number,
            )
            for evidence in finding.evidence
        ],
    )


def from_message(message: finding_pb2.Finding) -> Finding:
    """The finding of a message, at what it weighs when final; mode, texts and `revisable` stay behind.

    Raises ValueError when type or severity is a number that this version does not know.
    """
    return Finding(
        type=FindingType(message.type),
        severity=Severity(message.final_severity or message.severity),
        line_number=message.line_number,
        code=message.code,
        grade=message.grade,
        evidence=tuple(
            Evidence(
                name=evidence.name,
                value=evidence.value,
                sequence=evidence.sequence,
                time=evidence.business_time.seconds if evidence.HasField("business_time") else None,
                institution_code=evidence.institution_code,
                division_code=evidence.division_code,
                document_number=evidence.document_number,
            )
            for evidence in message.evidence
        ),
    )


def dress(
    message: finding_pb2.Finding,
    as_of_seconds: int,
    final_seconds: int,
    *,
    asked: bool = False,
    return_extra_seconds: int = RETURN_WAIT_SECONDS - PROVISIONAL_SECONDS,
) -> None:
    """Make a stored finding ready to be answered: fill its texts and what it weighs at `as_of_seconds`.

    The other arguments are those of `stand`. Dressing again, also for another moment, is harmless. Raises
    ValueError when type or severity is a number that this version does not know.
    """
    # A page of a code's life has hundreds of them.
    kind = _KIND_OF_NUMBER.get(message.type) or REGISTRY[FindingType(message.type)]
    final = Severity(message.final_severity or message.severity)
    standing = final
    if kind.curable and final > Severity.WARN:
        standing = stand(
            kind.type,
            final,
            as_of_seconds,
            final_seconds,
            asked=asked,
            return_extra_seconds=return_extra_seconds,
        )
    message.final_severity = _SEVERITIES[final]
    message.severity = _SEVERITIES[standing]
    message.MergeFromString(_TEXTS[kind.type])


def _write_texts(kind: FindingKind) -> bytes:
    return finding_pb2.Finding(
        title=finding_pb2.LocalizedText(zh_cn=kind.title_zh, en=kind.title_en),
        remedy=finding_pb2.LocalizedText(zh_cn=kind.remedy_zh, en=kind.remedy_en),
        legal_basis=kind.legal_basis,
    ).SerializeToString()


_KIND_OF_NUMBER: Mapping[int, FindingKind] = {int(type): kind for type, kind in REGISTRY.items()}
_SEVERITIES = {severity: finding_pb2.Severity.ValueType(severity) for severity in Severity}
# Five texts that are set one by one take five times as long.
_TEXTS = {kind.type: _write_texts(kind) for kind in REGISTRY.values()}


def render_registry() -> str:
    """The registry as a page in Markdown, with its newline at the end."""
    lines = [
        "# Findings",
        "",
        "Printed by `python -m tracecode.finding > docs/findings.md`; edit the registry in",
        "`tracecode/finding.py` instead.",
        "",
        "A finding is a suspicion about records, never a verdict about a person or a box. Severity and",
        "mode are the defaults; a rule base may change them by region and date. A *curable* finding",
        "stands at most at WARN until the hours given have passed since the latest of the events, because",
        'a document still on its way may clear it. A basis of "ours" means that no published text asks',
        "for the finding.",
        "",
        "| no. | finding | 中文 | severity | mode | decided by | curable | basis |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in REGISTRY.values():
        curable = f"{kind.wait_seconds // 3600} h" if kind.curable else ""
        if kind.curable and not kind.curable_when_asked:
            curable += ", reported sales"
        name = kind.type.name
        cells = (
            str(kind.type.value),
            f"[{name}](#{name.lower()})",
            kind.title_zh,
            kind.severity.name,
            kind.mode.name.lower(),
            kind.decided_by if kind.judged else "not judged",
            curable,
            kind.legal_basis,
        )
        lines.append(f"| {' | '.join(cells)} |")
    for kind in REGISTRY.values():
        lines += [
            "",
            f"## {kind.type.name}",
            f"**{kind.title_zh} · {kind.title_en}**",
            "",
            kind.meaning_en,
            "",
            f"- {kind.remedy_zh}",
            f"- {kind.remedy_en}",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(render_registry().encode())
