"""A short day at three pharmacies, over the wire: what a till sees, and what a regulator reads of it.

The service, the ledger and the disk are the real ones, on a folder that goes away at the end. Each scene
promises a verdict and the promise is checked, so that the demo cannot show what the rules do not do.
Institutions, products and makers are made up.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import TypeVar

import uvloop
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.text import Text

from tracecode.client import LedgerClient
from tracecode.ledger import Ledger
from tracecode.v1.catalogue_pb2 import Institution, Product
from tracecode.v1.code_pb2 import CodeState
from tracecode.v1.document_pb2 import (
    Document,
    FeeSettlementType,
    Line,
    Receipt,
    Sale,
    SaleReturn,
    SaleStage,
    SettlementType,
)
from tracecode.v1.finding_pb2 import Finding, FindingType, Outcome, Severity, Verdict
from tracecode.v1.ledger_service_pb2 import CodeQuestion, ListCodeEventsResponse, VerifyCodesRequest
from tracecode_server.cli.findings import SEVERITY_STYLES, say_evidence, say_severity, sort_findings
from tracecode_server.cli.read import print_history
from tracecode_server.cli.screen import Language, open_screen, remark, show, show_time
from tracecode_server.cli.terms import say_name
from tracecode_server.log import build_log
from tracecode_server.server import Edge, open_ledger
from tracecode_server.settings import Settings, split_address

WAIT_SECONDS_MAX = 30.0
DEADLINE_SECONDS = 5.0
DRAIN_SECONDS = 1.0

T = TypeVar("T")

EAST = Institution(
    institution_code="P37020399001",
    name="示范大药房东风店",
    division_code="370203",
    uploads_receipt_codes=True,
)
WEST = Institution(
    institution_code="P37028199002",
    name="示范康民药店",
    division_code="370281",
    uploads_receipt_codes=True,
)
SOUTH = Institution(
    institution_code="P32010299003",
    name="示范惠民诊所药房",
    division_code="320102",
    uploads_receipt_codes=False,
)
CAPSULES = Product(
    identifier="8399001",
    package_level=1,
    name="阿莫西林胶囊（示范）",
    manufacturer_name="示范制药有限公司",
    strength="0.25g",
    pack="0.25g×24粒",
    approval_number="国药准字H00000001",
    drug_codes=["XJ01CAA040E001010199001"],
    units_per_package=1,
    splittable_units=24,
    smallest_unit=True,
)
TABLETS = Product(
    identifier="8399002",
    package_level=1,
    name="维生素C片（示范）",
    manufacturer_name="示范制药有限公司",
    strength="0.1g",
    pack="0.1g×100片",
    approval_number="国药准字H00000002",
    drug_codes=["XA11GAW012A001010199001"],
    units_per_package=1,
    splittable_units=100,
    smallest_unit=True,
)
# The box that is sold twice is BOX[0]; each scene has boxes of its own.
BOX = [
    "83990010002718284173",
    "83990010002718285906",
    "83990010002718286352",
    "83990010002718287581",
    "83990010002718288249",
]
VITAMINS = "83990020003141592617"
NEVER_RECEIVED = "83990010009999010846"


@dataclass(frozen=True, slots=True)
class Promise:
    """What a verdict must be. Findings beside those named may stand, but none graver than `severity_max`."""

    outcome: Outcome.ValueType = Outcome.OUTCOME_ACCEPTED
    # Each with the severity it has once nothing can clear it any more, and the degree of a swap.
    findings: tuple[tuple[FindingType.ValueType, Severity.ValueType, int], ...] = ()
    severity_max: Severity.ValueType = Severity.SEVERITY_INFO
    repeat: bool = False

    def find_breach(self, verdict: Verdict, sequence_before: int) -> str:
        """What of the promise the verdict breaks, empty if nothing."""
        if verdict.outcome != self.outcome:
            return f"{Outcome.Name(self.outcome)} was promised"
        if verdict.repeat != self.repeat:
            return f"repeat={self.repeat} was promised"
        if self.repeat != (verdict.sequence == sequence_before):
            return (
                f"entry {sequence_before} was promised" if self.repeat else "an entry of its own was promised"
            )
        for finding_type, severity, grade in self.findings:
            if not any(
                (finding.type, finding.final_severity, finding.grade) == (finding_type, severity, grade)
                for finding in verdict.findings
            ):
                return f"{FindingType.Name(finding_type)} at {Severity.Name(severity)} was promised"
        for finding in verdict.findings:
            if max(finding.severity, finding.final_severity) > self.severity_max:
                return f"nothing graver than {Severity.Name(self.severity_max)} was promised"
        return ""


@dataclass(frozen=True, slots=True)
class Scene:
    """One exchange: what happens, the document, and what must come of it."""

    title_zh: str
    title_en: str
    document: Document
    promise: Promise


@dataclass(slots=True)
class Day:
    """Writes the day's documents, each a minute after the one before and the last one just now."""

    begin: datetime
    documents: int = 0
    settlements: int = 0
    numbers: dict[str, int] = field(default_factory=dict)

    def receive(self, institution: Institution, boxes: list[tuple[Product, list[str]]]) -> Document:
        """Goods in, every box scanned."""
        document = self._write(institution, "RK", boxes)
        document.receipt.CopyFrom(Receipt(supplier_name="示范医药公司", delivery_note_number="SH-20260001"))
        return document

    def sell(
        self,
        institution: Institution,
        product: Product,
        code: str,
        person: str,
        *,
        units: int = 0,
        billed: Product | None = None,
    ) -> Document:
        """An insured sale of one box, or of units of it, asked before settlement."""
        document = self._write(institution, "XS", [(product, [code])], units=units, billed=billed)
        self.settlements += 1
        document.sale.CopyFrom(
            Sale(
                stage=SaleStage.SALE_STAGE_BEFORE_SETTLEMENT,
                settlement_id=f"JS{self.settlements:06}",
                visit_number=f"MZ{self.settlements:06}",
                settlement_type=SettlementType.SETTLEMENT_TYPE_INSURED,
                fee_settlement_type=FeeSettlementType.FEE_SETTLEMENT_TYPE_LOCAL,
                person_token=person,
            )
        )
        return document

    def take_back(self, sale: Document, institution: Institution, product: Product, code: str) -> Document:
        """The box of a sale returned by its buyer."""
        document = self._write(institution, "TH", [(product, [code])])
        document.sale_return.CopyFrom(
            SaleReturn(
                sale_document_number=sale.document_number,
                settlement_id=sale.sale.settlement_id,
                visit_number=sale.sale.visit_number,
                settlement_type=SettlementType.SETTLEMENT_TYPE_INSURED,
                person_token=sale.sale.person_token,
            )
        )
        return document

    def _write(
        self,
        institution: Institution,
        prefix: str,
        boxes: list[tuple[Product, list[str]]],
        *,
        units: int = 0,
        billed: Product | None = None,
    ) -> Document:
        self.documents += 1
        self.numbers[prefix] = self.numbers.get(prefix, 0) + 1
        time = Timestamp()
        time.FromDatetime(self.begin + timedelta(minutes=self.documents))
        return Document(
            institution_code=institution.institution_code,
            document_number=f"{prefix}{self.begin:%y%m%d}{self.numbers[prefix]:04}",
            business_time=time,
            terminal_id="T1",
            operator_token="示范收银员",
            lines=[
                Line(
                    line_number=number,
                    drug_code=(billed or product).drug_codes[0],
                    codes=codes,
                    quantity=str(units or len(codes)),
                    split=bool(units),
                    lot_number="A2601",
                    expiry_date=f"{self.begin.year + 2}-12-31",
                    institution_drug_name=(billed or product).name,
                )
                for number, (product, codes) in enumerate(boxes, 1)
            ],
        )


def write_scenes(now: datetime) -> list[Scene]:
    """The day that ends now."""
    day = Day(now - timedelta(minutes=20))
    block, alert, info = Severity.SEVERITY_BLOCK, Severity.SEVERITY_ALERT, Severity.SEVERITY_INFO
    refused = Outcome.OUTCOME_REFUSED
    receipt = day.receive(EAST, [(CAPSULES, BOX), (TABLETS, [VITAMINS])])
    sale = day.sell(EAST, CAPSULES, BOX[0], "示范参保人甲")
    second_sale = day.sell(WEST, CAPSULES, BOX[0], "示范参保人乙")
    swapped = day.sell(EAST, TABLETS, VITAMINS, "示范参保人丙", billed=CAPSULES)
    unknown = day.sell(EAST, CAPSULES, NEVER_RECEIVED, "示范参保人丙")
    first_units = day.sell(EAST, CAPSULES, BOX[2], "示范参保人甲", units=8)
    other_units = day.sell(EAST, CAPSULES, BOX[2], "示范参保人乙", units=16)
    regretted = day.sell(EAST, CAPSULES, BOX[3], "示范参保人丁")
    taken_back = day.take_back(regretted, EAST, CAPSULES, BOX[3])
    resold = day.sell(EAST, CAPSULES, BOX[3], "示范参保人戊")
    return [
        Scene("收货：逐盒扫码入库", "Goods in: every box is scanned", receipt, Promise()),
        Scene(
            "正常销售",
            "A plain sale",
            sale,
            Promise(findings=((FindingType.FINDING_TYPE_PASS, info, 0),)),
        ),
        Scene(
            "网络超时，同一单据重传：同一答复，不作疑点",
            "The till timed out and sends the same document again: the same answer, no suspicion",
            sale,
            Promise(findings=((FindingType.FINDING_TYPE_DUP_RETRY, info, 0),), repeat=True),
        ),
        Scene(
            "同一盒药在另一家店再次销售：结算前拒绝",
            "The same box is sold once more, at another pharmacy: refused before settlement",
            second_sale,
            Promise(refused, ((FindingType.FINDING_TYPE_DUP_SALE_CROSS_ORG, block, 0),), block),
        ),
        Scene(
            "扫的是维生素C，报的是阿莫西林：串换",
            "Vitamin C is scanned, amoxicillin is billed: a swapped drug",
            swapped,
            Promise(refused, ((FindingType.FINDING_TYPE_SWAP_PRODUCT, block, 4),), block),
        ),
        Scene(
            "从未入库的药：48 小时内入库单仍可能补到，先提醒，之后转疑点",
            "A box that never came in: a warning while its receipt may still come, a doubt after 48 h",
            unknown,
            Promise(
                findings=((FindingType.FINDING_TYPE_STOCK_NEVER_RECEIVED, alert, 0),), severity_max=alert
            ),
        ),
        Scene("拆零：24 粒的盒先卖 8 粒", "A split pack: 8 capsules of a box of 24", first_units, Promise()),
        Scene(
            "同一盒再卖 16 粒给另一人：未超量，不作疑点",
            "The other 16 to somebody else, under the same code: within the pack, no suspicion",
            other_units,
            Promise(),
        ),
        Scene("销售一盒……", "A box is sold …", regretted, Promise()),
        Scene("……退货……", "… taken back …", taken_back, Promise()),
        Scene(
            "……再卖给另一人：退货后再销，不作疑点",
            "… and sold to somebody else: no suspicion",
            resold,
            Promise(findings=((FindingType.FINDING_TYPE_RETURN_RESOLD, info, 0),)),
        ),
    ]


def play_demo(listen: str, *, stop: bool) -> bool:
    """Serve, play the scenes, and serve on until SIGINT or SIGTERM unless `stop`.

    Returns whether every scene showed what it promises. Raises OSError when the address cannot be bound.
    """
    with (
        tempfile.TemporaryDirectory(prefix="tracecode-demo-") as folder,
        _serve(listen, Path(folder)) as address,
    ):
        with LedgerClient(address, deadline_seconds=DEADLINE_SECONDS) as client:
            stage = _Stage(client, open_screen())
            stage.say(f"tracecode {client.service_info().version} @ {address}, {folder}", "dim")
            stage.prepare()
            for scene in write_scenes(datetime.now(UTC)):
                stage.play(scene)
            stage.ask()
            stage.read_history()
        if stage.breaches:
            stage.say(f"✗ {stage.breaches} promises were broken", "bold red")
            return False
        stage.say(f"✓ {stage.number} scenes, each as promised", "bold green")
        if not stop:
            stage.invite(address)
            _wait_for_signal()
        return True


class _Stage:
    """Plays scenes and prints them as a till would see them."""

    def __init__(self, client: LedgerClient, screen: Console) -> None:
        self.number = 0
        self.breaches = 0
        self._client = client
        self._screen = screen
        self._names = {place.institution_code: place.name for place in (EAST, WEST, SOUTH)}
        self._sequence = 0

    def say(self, text: str, style: str = "") -> None:
        """One line."""
        self._screen.print(Text(text, style), soft_wrap=True)

    def prepare(self) -> None:
        """Import the catalogue of the day."""
        products = self._client.import_products([CAPSULES, TABLETS])
        institutions = self._client.import_institutions([EAST, WEST, SOUTH])
        self.say(f"ImportProducts {products.created}, ImportInstitutions {institutions.created}", "dim")

    def play(self, scene: Scene) -> None:
        """Send the document, show the answer, keep the promise."""
        self._announce(scene.title_zh, scene.title_en)
        self._print_request(scene.document)
        begin = time.perf_counter()
        verdict = self._client.record(scene.document)
        self._print_verdict(verdict, (time.perf_counter() - begin) * 1000)
        self._settle(scene.promise.find_breach(verdict, self._sequence))
        self._sequence = verdict.sequence

    def ask(self) -> None:
        """What a till asks before it sells: nothing is written."""
        self._announce(
            "销售前询问：第三家店扫到已售出的那盒（事前提醒，不写入）",
            "Asked before selling: a third pharmacy scans the sold box (nothing is written)",
        )
        request = VerifyCodesRequest(
            institution_code=SOUTH.institution_code,
            codes=[CodeQuestion(code=BOX[0], drug_code=CAPSULES.drug_codes[0])],
        )
        self.say(
            f"  → VerifyCodes  {self._names[SOUTH.institution_code]} {SOUTH.institution_code}  {BOX[0]}",
            "cyan",
        )
        answer = self._client.verify(request).answers[0]
        self._print_findings(list(answer.findings))
        found = {finding.type for finding in answer.findings}
        asked = FindingType.FINDING_TYPE_DUP_SALE_CROSS_ORG
        self._settle(
            "" if answer.would_refuse and asked in found else f"{FindingType.Name(asked)} was promised"
        )

    def read_history(self) -> None:
        """The sold box as a regulator reads it."""
        self._announce("监管人员查看这盒药的全部记录", "What a regulator reads of that box")
        response = ListCodeEventsResponse(
            events=self._client.list_code_events(BOX[0]), status=self._client.get_code(BOX[0]).status
        )
        for language in (Language.ZH, Language.EN):
            print_history(response, language)
        shown = [(event.institution_code, event.refused) for event in response.events]
        expected = [
            (EAST.institution_code, False),
            (EAST.institution_code, False),
            (WEST.institution_code, True),
        ]
        kept = shown == expected and response.status.state == CodeState.CODE_STATE_SOLD
        self._settle("" if kept else "a receipt, a sale and a refused sale were promised")

    def invite(self, address: str) -> None:
        """How to go on from another terminal."""
        command = shlex.quote(_find_command())
        at = f"--server {address}"
        document = Day(datetime.now(UTC)).sell(SOUTH, CAPSULES, BOX[1], "示范参保人己")
        line = json.dumps(json_format.MessageToDict(document), ensure_ascii=False, separators=(",", ":"))
        self.say("\n现在可在另一个终端试 / Now try from another terminal:", "bold")
        self.say(
            f"  {command} verify {BOX[0]} --institution {WEST.institution_code} "
            f"--drug {CAPSULES.drug_codes[0]} {at}"
        )
        self.say(f"  {command} history {BOX[2]} {at}")
        self.say(f"  {command} parse {BOX[0]} 6924561884074 ']d201069245618840742112345'")
        self.say(f"  echo {shlex.quote(line)} | {command} record - {at}")
        self.say(f"\n服务运行于 {address}，按 Ctrl-C 结束 / Serving on {address} until Ctrl-C", "bold")

    def _announce(self, title_zh: str, title_en: str) -> None:
        self.number += 1
        self.say(f"\n{self.number}. {title_zh}", "bold")
        self.say(f"   {title_en}", "bold")

    def _print_request(self, document: Document) -> None:
        content = document.WhichOneof("content") or ""
        asked = document.sale.stage == SaleStage.SALE_STAGE_BEFORE_SETTLEMENT
        self.say(
            f"  → Record{content.title().replace('_', '')}  {self._names[document.institution_code]} "
            f"{document.institution_code}  {document.document_number}  {show_time(document.business_time)}"
            + ("  BEFORE_SETTLEMENT" if asked else ""),
            "cyan",
        )
        for line in document.lines:
            codes = line.codes[0] + (f" … ({len(line.codes)} codes)" if len(line.codes) > 1 else "")
            quantity = f"{line.quantity} units of the pack" if line.split else f"×{line.quantity}"
            self.say(f"      {codes}  {quantity}  {line.drug_code} {line.institution_drug_name}", "cyan")

    def _print_verdict(self, verdict: Verdict, took_ms: float) -> None:
        name = Outcome.Name(verdict.outcome)
        text = Text(
            f"  ← {say_name(name, Language.ZH)} {say_name(name, Language.EN)}",
            "bold red" if verdict.outcome == Outcome.OUTCOME_REFUSED else "bold green",
        )
        text.append(
            f"  #{verdict.sequence}{' (repeat)' if verdict.repeat else ''}  {took_ms:.1f} ms", "not bold dim"
        )
        if verdict.provisional:
            text.append(f"  provisional until {show_time(verdict.final_time)}", "not bold dim")
        self._screen.print(text, soft_wrap=True)
        self._print_findings(list(verdict.findings))

    def _print_findings(self, findings: list[Finding]) -> None:
        for finding in sort_findings(findings):
            severities = (say_severity(finding.severity, language) for language in (Language.ZH, Language.EN))
            words = Text("      ")
            words.append(" ".join(severities), SEVERITY_STYLES[finding.severity])
            if finding.final_severity > finding.severity:
                words.append(f" → {say_severity(finding.final_severity, Language.EN)}", "dim")
            words.append(f"  {say_name(FindingType.Name(finding.type), Language.EN)}")
            words.append(f"  {show(finding.title.zh_cn)} / {show(finding.title.en)}")
            if finding.grade:
                words.append(f"  (L{finding.grade})")
            self._screen.print(words, soft_wrap=True)
            if finding.severity <= Severity.SEVERITY_INFO:
                continue
            for evidence in finding.evidence:
                self.say(f"        {say_evidence(evidence)}", "dim")
            self.say(f"        处理：{show(finding.remedy.zh_cn, 600)}")
            self.say(f"        {show(finding.remedy.en, 600)}")

    def _settle(self, breach: str) -> None:
        if breach:
            self.breaches += 1
            self.say(f"  ✗ {breach}", "bold red")
        else:
            self.say("  ✓", "green")


@contextmanager
def _serve(listen: str, folder: Path) -> Iterator[str]:
    """A real service on an event loop of its own; yields its address, a free one where that one is taken."""
    settings = Settings(
        data_directory=folder / "data",
        engine="lmdb",
        listen=listen,
        metrics_listen="",
        person_key_file=None,
        rule_base_file=None,
        log_level="warning",
    )
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="tracecode-demo", daemon=True)
    thread.start()

    def wait(work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(WAIT_SECONDS_MAX)

    try:
        ledger = open_ledger(settings)
        try:
            try:
                edge = wait(_start(ledger, settings))
            except OSError as error:
                remark(f"{error}; taking a free port instead")
                host, _ = split_address(listen)
                free = f"[{host}]:0" if ":" in host else f"{host}:0"
                edge = wait(_start(ledger, settings.model_copy(update={"listen": free})))
            try:
                yield edge.address
            finally:
                wait(edge.drain(DRAIN_SECONDS))
        finally:
            ledger.close()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(ledger: Ledger, settings: Settings) -> Edge:
    edge = Edge(ledger, settings, build_log(settings.log_level, sys.stderr))
    await edge.start()
    return edge


def _wait_for_signal() -> None:
    told = threading.Event()

    def tell(_number: int, _frame: FrameType | None) -> None:
        told.set()

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        # In steps: a lock that waits for ever would keep the signal from being seen.
        while not told.wait(0.5):
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _find_command() -> str:
    """What to type in this folder for the program that is running."""
    program = Path(sys.argv[0])
    if program.name != "tracecode":
        return "tracecode"
    found = shutil.which("tracecode")
    if found and Path(found).resolve() == program.resolve():
        return "tracecode"
    return os.path.relpath(program) if program.is_relative_to(Path.cwd()) else str(program)
