"""A program that damages the files of a ledger under a running service, and asks it over gRPC.

Arguments: the folder of the ledger, a folder for copies, how many tries of each kind of damage (JSON), which
share of them this process has, and of how many. It prints how the tries ended, as JSON.

Each try: a service is started on a copy, bytes of journal or index are changed through another descriptor, so
that its memory map shows them at once, everything is asked and new sales are told; then it is stopped (or has
ended by itself) and a successor is started. What was asked is compared with what a service on the undamaged
copy answers.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from socket import socketpair
from typing import Any

import grpc
from documents import HOUR, NOON, OTHER, PRODUCTS, SHOP, code, line, sale
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tracecode_server import server
from tracecode_server.settings import Settings

from tracecode import _native
from tracecode.code import read_scan
from tracecode.fsck import check, repair
from tracecode.v1 import catalogue_service_pb2, document_pb2, ledger_service_pb2
from tracecode.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from tracecode.v1.ledger_service_pb2_grpc import LedgerServiceStub
from trust.rot import DAMAGES, FILES, OLDER, PAGE_BYTES, copy
from trust.small_ledger import SERIALS, list_documents, read_clock

SECONDS_MAX = 120
"""More than any call, start or stop takes; what takes longer has hung."""
NEW_SALES = 16
FORGED = "forged"
"""The kind of damage that no check can find: the control."""
FORGED_SERIAL = 3
LOSS = "DATA_LOSS"
STOPPED = "ENGINE_STOPPED"
NAMED = frozenset({LOSS, STOPPED, "DRAINING"})
"""The reasons by which a call may be refused where files are damaged."""
FILES_NAMED = ("/journal", "/index")
"""What a process says that ends with another status than 0."""
SUMS = ("ListStock", "VerifyCodes")
"""Questions about more than one box."""


# --- The service, in processes of its own ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended."""

    signal: int
    status: int
    log: str


class Starter:
    """A process that has loaded everything and starts services, each a child that it forks. It is forked
    itself before this process has used gRPC, which does not survive a fork."""

    def __init__(self) -> None:
        ours, theirs = socketpair()
        self.process = os.fork()
        if self.process == 0:
            ours.close()
            try:
                _start_told(theirs.makefile("rw"))
            finally:
                os._exit(0)
        theirs.close()
        self._socket = ours
        self._told = ours.makefile("rw")

    def tell(self, **what: Any) -> Any:
        """Tell it what to do; its answer."""
        self._told.write(json.dumps(what) + "\n")
        self._told.flush()
        return json.loads(self._told.readline())

    def close(self) -> None:
        """End it."""
        self._told.close()
        self._socket.close()
        os.waitpid(self.process, 0)


def _start_told(told: Any) -> None:
    for order in told:
        what = json.loads(order)
        if "wait" in what:
            _, status = os.waitpid(what["wait"], 0)
            answer = (os.WTERMSIG(status), -1) if os.WIFSIGNALED(status) else (0, os.WEXITSTATUS(status))
            told.write(json.dumps(answer) + "\n")
        else:
            child = os.fork()
            if child == 0:
                _run_child(Path(what["folder"]), Path(what["log"]), what["work"])
            told.write(json.dumps(child) + "\n")
        told.flush()


def _run_child(folder: Path, log: Path, work: str) -> None:
    status = 99
    try:
        signal.alarm(2 * SECONDS_MAX)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 2)
        os.dup2(descriptor, 1)
        status = WORKS[work](folder)
    except BaseException as error:
        print(json.dumps({"event": "failed", "message": repr(error)}), file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)


def _serve(folder: Path) -> int:
    # By a clock that stands still twins give the same bytes.
    server.open_ledger = partial(server.open_ledger, clock_ns=read_clock)  # type: ignore[assignment]
    return server.serve(
        Settings(
            data_directory=folder,
            listen="127.0.0.1:0",
            views=False,
            drain_seconds=10.0,
            disk_free_bytes_low=0,
            disk_free_bytes_min=0,
            person_key_file=folder.with_name("person-key"),
        )
    )


def _fsck(folder: Path, work: Callable[[Path], Any]) -> int:
    report = work(folder)
    print(json.dumps({"event": "fsck", "ok": report.ok, "damaged": report.damaged, "lines": report.lines}))
    sys.stdout.flush()
    return 0


WORKS: dict[str, Callable[[Path], int]] = {
    "serve": _serve,
    "check": partial(_fsck, work=check),
    "repair": partial(_fsck, work=repair),
}


def read_log(log: Path) -> list[dict[str, Any]]:
    """The log's lines, as far as they are written."""
    events = []
    for text in log.read_text(errors="replace").splitlines() if log.exists() else ():
        try:
            events.append(json.loads(text))
        except ValueError:
            events.append({"event": "", "message": text})
    return events


class Served:
    """A service on a folder; `address` is empty if it did not come to serve."""

    def __init__(self, starter: Starter, folder: Path) -> None:
        self._starter = starter
        self._log = folder.with_name("log")
        self._log.unlink(missing_ok=True)
        self.process: int = starter.tell(folder=str(folder), log=str(self._log), work="serve")
        self.address = ""
        deadline = time.monotonic() + SECONDS_MAX
        while not self.address and not self.has_ended:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no service within {SECONDS_MAX} s")
            time.sleep(0.005)
            self.address = next(
                (event["address"] for event in read_log(self._log) if event["event"] == "serving"), ""
            )
        self.channel = grpc.insecure_channel(self.address) if self.address else None

    @property
    def has_ended(self) -> bool:
        """Whether it has ended by itself; its parent has not waited for it."""
        with open(f"/proc/{self.process}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"

    def stop(self) -> End:
        """Stop it, and how it ended."""
        if self.channel is not None:
            self.channel.close()
        os.kill(self.process, signal.SIGTERM)
        number, status = self._starter.tell(wait=self.process)
        return End(number, status, self._log.read_text(errors="replace"))


def run_fsck(starter: Starter, folder: Path, work: str) -> dict[str, Any] | None:
    """What fsck says of a folder; None: it failed."""
    log = folder.with_name("log")
    process = starter.tell(folder=str(folder), log=str(log), work=work)
    starter.tell(wait=process)
    return next((event for event in read_log(log) if event["event"] == "fsck"), None)


# --- What is asked, and what is told ---------------------------------------------------------------

Answer = bytes | str
"""The bytes of an answer, or the reason of a refusal; "GONE" where the service ended."""
GONE = "GONE"
MOVING = frozenset({"as_of", "sequence", "repeat"})


def strip(message: Message) -> None:
    """Leave out where a ledger stood when it answered, and where what it was told went: a sale that was
    refused moves what comes behind it."""
    for field_, value in message.ListFields():
        if field_.name in MOVING:
            message.ClearField(field_.name)
        elif field_.message_type is not None:
            for part in value if field_.is_repeated else (value,):
                strip(part)


def ask(call: Callable[[], Message]) -> Answer:
    """What is answered, stripped."""
    try:
        said = call()
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)
        info = error_details_pb2.ErrorInfo()
        if status is not None and any(detail.Unpack(info) for detail in status.details):
            return f"{info.reason}: {status.message}"
        return f"{GONE}: {error.code().name} {error.details()}"
    strip(said)
    return said.SerializeToString(deterministic=True)


def list_questions(channel: grpc.Channel) -> dict[str, Callable[[], Message]]:
    """Everything that a till may ask, by name."""
    ledger, catalogue = LedgerServiceStub(channel), CatalogueServiceStub(channel)
    questions: dict[str, Callable[[], Message]] = {}

    def put(name: str, rpc: Any, request: Message) -> None:
        questions[f"{type(request).__name__.removesuffix('Request')} {name}"] = partial(
            rpc, request, timeout=SECONDS_MAX
        )

    serials = [*range(0, SERIALS + 12, 3), 10_000, 10_149]
    for serial in serials:
        put(str(serial), ledger.GetCode, ledger_service_pb2.GetCodeRequest(code=code(serial)))
    for serial in serials[::6]:
        events = ledger_service_pb2.ListCodeEventsRequest(code=code(serial))
        put(str(serial), ledger.ListCodeEvents, events)
    for at in range(0, len(serials), 4):
        asked = [ledger_service_pb2.CodeQuestion(code=code(serial)) for serial in serials[at : at + 4]]
        verify = ledger_service_pb2.VerifyCodesRequest(institution_code=SHOP, codes=asked)
        put(str(at), ledger.VerifyCodes, verify)
    for document in list_documents()[::3]:
        content = document.WhichOneof("content")
        put(
            f"{content} {document.document_number}",
            ledger.GetDocument,
            ledger_service_pb2.GetDocumentRequest(
                institution_code=document.institution_code,
                kind=document_pb2.DocumentKind.Value(f"DOCUMENT_KIND_{str(content).upper()}"),
                document_number=document.document_number,
            ),
        )
    for institution in (SHOP, OTHER):
        stock = ledger_service_pb2.ListStockRequest(institution_code=institution)
        put(institution, ledger.ListStock, stock)
        about = catalogue_service_pb2.GetInstitutionRequest(institution_code=institution)
        put(institution, catalogue.GetInstitution, about)
    for product in PRODUCTS:
        put(
            product.identifier,
            catalogue.GetProduct,
            catalogue_service_pb2.GetProductRequest(identifier=product.identifier),
        )
    return questions


def list_new_sales() -> list[document_pb2.Document]:
    """Sales that no service has seen, no two of one box: of boxes on the shelf, sold before, and unknown."""
    sales = []
    for number in range(NEW_SALES):
        first = 6 * number
        serial = {0: first + 3, 1: first, 2: first + 4}.get(number % 4, 50_000 + number)
        shop = (SHOP, OTHER)[number % 2]
        sales.append(sale(shop, f"NEW{number}", NOON + 6 * HOUR + number, line(code(serial))))
    return sales


def tell(channel: grpc.Channel, document: document_pb2.Document) -> tuple[Answer, int]:
    """Record a sale: what was said of it but its place in the journal, and that; 0 = refused."""
    ledger = LedgerServiceStub(channel)
    sequence = 0

    def record() -> Message:
        nonlocal sequence
        request = ledger_service_pb2.RecordSaleRequest(document=document)
        said: ledger_service_pb2.RecordSaleResponse = ledger.RecordSale(request, timeout=SECONDS_MAX)
        sequence = said.verdict.sequence
        return said

    return ask(record), sequence


def list_told_questions(channel: grpc.Channel) -> list[tuple[Callable[[], Message], Callable[[], Message]]]:
    """Of each new sale: the document, and its box."""
    ledger = LedgerServiceStub(channel)
    questions = []
    for document in list_new_sales():
        get = ledger_service_pb2.GetDocumentRequest(
            institution_code=document.institution_code,
            kind=document_pb2.DOCUMENT_KIND_SALE,
            document_number=document.document_number,
        )
        box = ledger_service_pb2.GetCodeRequest(code=document.lines[0].codes[0])
        questions.append(
            (
                partial(ledger.GetDocument, get, timeout=SECONDS_MAX),
                partial(ledger.GetCode, box, timeout=SECONDS_MAX),
            )
        )
    return questions


# --- A try -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Twin:
    """What a service says whose files nobody touched."""

    before: dict[str, Answer]
    verdicts: list[Answer]
    after: dict[str, Answer]
    told: list[tuple[Answer, Answer]]


def meet_twin(starter: Starter, folder: Path) -> Twin:
    """Let the undamaged copy answer."""
    served = Served(starter, folder)
    assert served.channel is not None, read_log(folder.with_name("log"))
    before = {name: ask(call) for name, call in list_questions(served.channel).items()}
    verdicts = [tell(served.channel, document)[0] for document in list_new_sales()]
    assert served.stop().status == 0
    served = Served(starter, folder)
    assert served.channel is not None
    after = {name: ask(call) for name, call in list_questions(served.channel).items()}
    told = [(ask(document), ask(box)) for document, box in list_told_questions(served.channel)]
    assert served.stop().status == 0
    assert all(isinstance(verdict, bytes) for verdict in verdicts)
    return Twin(before, verdicts, after, told)


@dataclass(slots=True)
class Found:
    """What a try came to; a sentence for each thing that must not be."""

    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    aborts: list[str] = field(default_factory=list)
    losses: int = 0
    stops: int = 0
    stopped: bool = False
    """The first service, which was running, ended by itself."""

    def compare(self, question: str, said: Answer, *right: Answer) -> None:
        """An answer of a service whose files are damaged."""
        if isinstance(said, str) and said.split(":")[0] in NAMED:
            self.losses += 1
        elif isinstance(said, str) and said.startswith(GONE):
            # Whether it may be gone its end tells.
            return
        elif said not in right:
            shown = said if isinstance(said, str) else f"{len(said)} other bytes"
            self.wrong.append(f"{question}: {shown}")

    def judge_end(self, end: End) -> None:
        """A process that ended: told to, or with a sentence that names the file."""
        if end.signal:
            self.aborts.append(f"signal {end.signal} {end.log[-300:]}")
        elif end.status != 0:
            self.stops += 1
            errors = [line for line in end.log.splitlines() if '"level": "error"' in line]
            if not any(name in line for line in errors for name in FILES_NAMED):
                self.aborts.append(f"status {end.status} names no file: {end.log[-300:]}")


def run_try(
    starter: Starter,
    twin: Twin,
    folder: Path,
    damage: Callable[[], None],
    *,
    while_running: bool,
    is_control: bool,
) -> Found:
    """One service, damaged, and its successors."""
    found = Found()
    acknowledged = [0] * NEW_SALES
    if not while_running:
        damage()
    served = Served(starter, folder)
    if while_running:
        assert served.channel is not None
        damage()
    rotten = {name: (folder / name).read_bytes() for name in FILES}
    if served.channel is not None:
        for name, call in list_questions(served.channel).items():
            if not served.has_ended:
                found.compare(name, ask(call), twin.before[name])
        for number, document in enumerate(list_new_sales()):
            if not served.has_ended:
                said, acknowledged[number] = tell(served.channel, document)
                found.compare(f"new sale {number}", said, twin.verdicts[number])
    found.judge_end(served.stop())
    found.stopped = while_running and found.stops > 0
    if is_control:
        return found
    meet_successor(starter, twin, folder, acknowledged, found, mended=False)
    report = run_fsck(starter, folder, "repair")
    if report is None:
        found.aborts.append(f"fsck: {folder.with_name('log').read_text()[-300:]}")
    elif report["damaged"]:
        judge_damage(starter, folder, rotten, acknowledged, report, found)
    else:
        meet_successor(starter, twin, folder, acknowledged, found, mended=True)
    return found


def meet_successor(
    starter: Starter, twin: Twin, folder: Path, acknowledged: list[int], found: Found, *, mended: bool
) -> None:
    """What the next service on the folder says; after repair it must say all of it."""
    served = Served(starter, folder)
    losses = found.losses
    if served.channel is None and mended:
        found.lost.append(f"not opened after repair: {folder.with_name('log').read_text()[-300:]}")
    elif served.channel is not None:
        refused = not all(acknowledged)
        for name, call in list_questions(served.channel).items():
            if refused and name.startswith(SUMS):
                # Some of the sales are in it and some are not: no twin has said that.
                continue
            also = (twin.before[name],) if refused else ()
            found.compare(f"then {name}", ask(call), twin.after[name], *also)
        for number, (document, box) in enumerate(list_told_questions(served.channel)):
            if acknowledged[number]:
                found.compare(f"then document {number}", ask(document), twin.told[number][0])
                found.compare(f"then box {number}", ask(box), twin.told[number][1])
        if mended and found.losses > losses:
            found.lost.append(f"{found.losses - losses} answers after repair")
    found.judge_end(served.stop())


def judge_damage(
    starter: Starter,
    folder: Path,
    rotten: dict[str, bytes],
    acknowledged: list[int],
    report: dict[str, Any],
    found: Found,
) -> None:
    """Entries of the journal are gone: those that rot took, and no others."""
    aside = folder.with_name("rotten")
    copy(folder, aside, rotten)
    first = run_fsck(starter, aside, "check")
    assert first is not None
    taken = {entry for begin, end in first["damaged"] for entry in range(begin, end + 1)}
    gone = {entry for begin, end in report["damaged"] for entry in range(begin, end + 1)}
    for entry in sorted(gone - taken)[:5]:
        word = "acknowledged since" if entry in acknowledged else "that was whole"
        found.lost.append(f"entry {entry} {word}")


# --- Damage ----------------------------------------------------------------------------------------


def write_changed(path: Path, before: bytes, after: bytes) -> None:
    """Change the bytes of a file in its place, through a descriptor of our own."""
    with path.open("r+b", buffering=0) as file:
        for at in range(0, len(after), PAGE_BYTES):
            page = after[at : at + PAGE_BYTES]
            if page != before[at : at + PAGE_BYTES]:
                os.pwrite(file.fileno(), page, at)
        if len(after) < len(before):
            file.truncate(len(after))


def forge(data: bytearray, serial: int) -> None:
    """Change what a record says of a box, and its checksum with it: what no check of ours can find."""
    key = b"c" + read_scan(code(serial))[0].key
    at = data.find(key)
    assert at >= 0
    while at >= 0:
        value = bytearray(data[at + len(key) + 4 : at + len(key) + 38])
        (crc,) = struct.unpack_from("<I", data, at + len(key))
        if _native.crc32c(key + bytes(value)) == crc:
            value[12] ^= 1
            struct.pack_into("<I", data, at + len(key), _native.crc32c(key + bytes(value)))
            data[at + len(key) + 4 : at + len(key) + 38] = value
        at = data.find(key, at + 1)


def run(ledger: Path, scratch: Path, kinds: dict[str, int], share: int, shares: int) -> dict[str, int]:
    """How this share of so many tries of each kind ended, by kind."""
    # Before anything of gRPC is used.
    starter = Starter()
    contents = {name: (ledger / name).read_bytes() for name in FILES}
    older = {
        name: [path.read_bytes() for path in sorted((ledger.parent / OLDER).glob(f"*/{name}"))]
        for name in FILES
    }
    folder = scratch / "ledger"
    copy(ledger, folder, contents)
    twin = meet_twin(starter, folder)
    ends: Counter[str] = Counter()
    tries = [(kind, number) for kind, most in kinds.items() for number in range(most)]
    for kind, number in tries[share::shares]:
        # Each try is its own, whoever has it: it can be repeated alone.
        rng = random.Random(f"served {kind} {number}")
        forged = kind == FORGED
        name = FILES[1] if forged else rng.choice(FILES)
        while_running = forged or number % 4 != 3
        copy(ledger, folder, contents)

        def damage(
            name: str = name, kind: str = kind, rng: random.Random = rng, forged: bool = forged
        ) -> None:
            before = (folder / name).read_bytes()
            data = bytearray(before)
            while data == before:
                if forged:
                    forge(data, FORGED_SERIAL)
                else:
                    rng.choice(DAMAGES[kind])(rng, data, older[name])
            write_changed(folder / name, before, bytes(data))

        found = run_try(starter, twin, folder, damage, while_running=while_running, is_control=forged)
        ends[f"{kind} tries"] += 1
        ends[f"{kind} wrong"] += bool(found.wrong)
        ends[f"{kind} lost"] += bool(found.lost)
        ends[f"{kind} aborts"] += bool(found.aborts)
        ends[f"{kind} named"] += bool(found.losses or found.stops)
        ends[f"{kind} stopped"] += found.stopped
        if not forged and (found.wrong or found.lost or found.aborts):
            when = "while it ran" if while_running else "before it started"
            print(f"{kind} {number} of {name} {when}: {found}", file=sys.stderr)
    starter.close()
    return dict(ends)


if __name__ == "__main__":
    folder, copies, counts, number, of = sys.argv[1:]
    print(json.dumps(run(Path(folder), Path(copies), json.loads(counts), int(number), int(of))))
