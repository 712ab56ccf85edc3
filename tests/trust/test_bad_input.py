"""Bad input: bytes that nobody meant, to the native readers and to every method of a running service.

Goal: whatever comes is read right or refused by name; nothing is read beyond its end, nobody else notices,
and the log shows none of it. Method: libFuzzer over the native readers with the address and undefined
sanitizers, from the corpora kept here; the same readers against the Python parser, protobuf and the judge;
and damaged messages, made from the contract's descriptors, to a process that must be the same one afterwards.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from documents import DRUG, HOUR, INSTITUTIONS, PRODUCTS, code, line, receipt, sale
from google.protobuf.message import DecodeError
from running_server import ServerProcess, ServerThread
from test_clearing import compare
from tracecode_server import ledger_service
from wire import GRANTS, METHODS

from tracecode import _native
from tracecode.client import LedgerClient
from tracecode.document import NS
from tracecode.errors import TracecodeError
from tracecode.ledger import Ledger
from tracecode.v1 import catalogue_pb2, finding_pb2, ledger_service_pb2
from trust import oracle
from trust.bad_calls import Tally, call_all, find_leaks
from trust.conftest import Effort
from trust.fuzzing import CORPORA, TARGETS, FuzzRun, fuzz
from trust.messages import MARK, PERSONS, Messages
from trust.native_fuzz.build import PLANTS
from trust.table import Row

Add = Callable[[Row], None]
SEED = 20261122
# Inputs of libFuzzer in ten minutes; a scan is read whole and at up to seven cuts.
FUZZ_RUNS = {"scan": 1_320_000, "document": 400_000, "question": 300_000, "requests": 350_000}
# The oracle looks at one scan in 400, for it costs a hundred times what it judges; of messages at all that
# are taken as plain, which are few, and half of the requests.
EVERY = {"scan": 400, "document": 1, "question": 1, "requests": 2}
CONTROL_RUNS = 200_000
RSS_GROWTH_MAX_BYTES = 400 * 2**20
SHOP = "P99887700001"
"""Of no damaged message: what it does is as honest afterwards as before."""


# --- The native readers -----------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpora_hold_what_was_once_found(target: str, tmp_path: Path) -> None:
    """Pins that every kept input is still read as the oracle reads it, by the code that is shipped."""
    ledger = oracle.open_stocked_ledger(tmp_path / "ledger")
    kept = sorted((CORPORA / target).iterdir())
    for path in kept:
        read_native(ledger, target, path.read_bytes())
    ledger.close()

    assert len(kept) > 10


def test_native_readers_agree_with_their_oracles(effort: Effort, add_row: Add, tmp_path: Path) -> None:
    """Inputs of the corpora, damaged, are read by the shipped code and by the oracle: every one of them."""
    tries = effort.count(4_000, 100_000)
    ledger = oracle.open_stocked_ledger(tmp_path / "ledger")
    seen = [
        (target, path.read_bytes()) for target in TARGETS for path in sorted((CORPORA / target).iterdir())
    ]
    noise = random.Random(SEED)
    wrong = 0
    for number in range(tries):
        target, raw = seen[number % len(seen)]
        try:
            read_native(ledger, target, damage(noise, raw, seen[noise.randrange(len(seen))][1]))
        except AssertionError:
            wrong += 1

    found = 0
    for doctored in (b"N" + b"\x11" * 10, b""):
        try:
            oracle.compare_scan(oracle.SEED_SCANS[0].encode(), doctored)
        except AssertionError:
            found += 1
    ledger.close()
    add_row(
        Row(
            fault="bytes that are read two ways",
            how="damaged corpora through the native readers, protobuf, the Python parser and the judge",
            tries=tries,
            wrong=wrong,
            control="a reading with another key",
            control_failed=found == 2,
        )
    )


def read_native(ledger: Ledger, target: str, raw: bytes) -> None:
    """Read bytes as the target does and let the oracle look at what was read."""
    if target == "scan":
        oracle.compare_scan(raw, _native.read_plain_key(raw))
    elif target == "document":
        store = ledger.engine.native
        verdicts = store.clear([raw], [""], [oracle.NOW_NS], 0)
        store.rollback()
        oracle.compare_document(raw, verdicts[0] if verdicts else None)
    elif target == "question":
        answer = ledger.verify_plain(raw)
        if answer is not None:
            oracle.compare_question(ledger, raw, answer)
    else:
        read = _native.read_requests(raw, 0, oracle.KEY.hash)
        if read is not None:
            oracle.compare_requests(raw, read[0])


def damage(noise: random.Random, raw: bytes, other: bytes) -> bytes:
    """Bytes with some changed, cut out, put in, or taken from another input."""
    content = bytearray(raw)
    for _ in range(noise.choice((1, 1, 2, 4))):
        at = noise.randrange(len(content) + 1)
        match noise.randrange(5):
            case 0 if content:
                content[at % len(content)] = noise.randrange(256)
            case 1 if content:
                content[at % len(content)] ^= 1 << noise.randrange(8)
            case 2:
                del content[at : at + noise.choice((1, 2, 5))]
            case 3:
                begin = noise.randrange(len(other) + 1)
                content[at:at] = other[begin : begin + noise.choice((1, 4, 20))]
            case _:
                content[at:at] = noise.choice(
                    (b"\x1d", b"(21)", b"0", b"%", b"https://", b"\xe2\x80\xae", b",")
                )
    return bytes(content)


def test_sanitized_readers_survive_libfuzzer(effort: Effort, add_row: Add, tmp_path: Path) -> None:
    """Ten million scans and a million messages, guided by coverage, each in memory of exactly its size.

    The sanitized build takes clang and minutes: the short form reads the corpora with the shipped code,
    above, and holds only that the faults of the controls can still be planted.
    """
    assert all(plant.fits() for plant in PLANTS)
    if effort.is_short:
        return
    share = effort.count(0, 1_000_000) / 1_000_000

    def run(target: str) -> FuzzRun:
        return fuzz(
            target, tmp_path / target, round(FUZZ_RUNS[target] * share), seed=SEED, every=EVERY[target]
        )

    def run_messages() -> list[FuzzRun]:
        return [run(target) for target in TARGETS[1:]]

    # On both cores: scans beside the messages.
    with ThreadPoolExecutor(2) as pool:
        scanned, others = pool.submit(run, "scan"), pool.submit(run_messages)
        runs = dict(zip(TARGETS, [scanned.result(), *others.result()], strict=True))
        controls = dict(
            zip(
                ("scan", "requests"),
                pool.map(
                    lambda target: fuzz(
                        target,
                        tmp_path / f"{target}-control",
                        CONTROL_RUNS,
                        seed=SEED,
                        every=10**9,
                        planted=True,
                    ),
                    ("scan", "requests"),
                ),
                strict=True,
            )
        )

    for fault, targets, control in (
        ("scans of any bytes", TARGETS[:1], "scan"),
        ("messages of any bytes", TARGETS[1:], "requests"),
    ):
        add_row(
            Row(
                fault=fault,
                how="libFuzzer, address and undefined sanitizers",
                tries=sum(runs[target].reads for target in targets),
                aborts=sum(runs[target].status != 0 for target in targets),
                control="a bound that is one byte too far",
                control_failed="heap-buffer-overflow" in controls[control].fault,
                note="; ".join(describe(target, runs[target]) for target in targets),
            )
        )


def describe(target: str, run: FuzzRun) -> str:
    """What a row says of one target."""
    return run.fault or f"{target}: {run.taken:,} plain, {run.compared:,} compared with the oracle"


# --- The judge --------------------------------------------------------------------------------------


def test_damaged_messages_are_judged_alike_with_and_without_native_code(
    effort: Effort, add_row: Add, tmp_path: Path
) -> None:
    """A message goes as bytes to the ledger that clears, and parsed to one that judges all of it in Python:
    the same answers, the same errors, and in the end the same journal and the same index."""
    tries = effort.count(200, 6_000)
    messages = Messages(SEED, oracle.NOW_NS // NS)
    wrong = tell_both(messages, tries, tmp_path / "ledger")
    seen = [
        tell_otherwise(Messages(SEED, oracle.NOW_NS // NS), tmp_path / one, one)
        for one in ("native", "judging")
    ]
    add_row(
        Row(
            fault="messages that are judged two ways",
            how="damaged documents to both engines",
            tries=tries,
            wrong=wrong,
            control="either of both is told something else",
            control_failed=all(seen),
        )
    )


def tell_otherwise(messages: Messages, directory: Path, otherwise: str) -> bool:
    """Whether it is seen, in answers or in what is kept, that one of two ledgers is told something else."""
    try:
        return tell_both(messages, 40, directory, otherwise) > 0
    except AssertionError:
        return True


def tell_both(messages: Messages, tries: int, directory: Path, otherwise: str = "") -> int:
    """Tell two ledgers the same; how often they answered differently. What they keep must be the same.
    `otherwise` names the one that is told another memo, "native" or "judging"."""
    wrong = 0
    native = oracle.open_stocked_ledger(directory)
    judging = oracle.open_stocked_ledger(None, "memory")
    method = METHODS["RecordDocuments"]
    for number in range(tries):
        message = messages.good(method)
        if number % 3:
            messages.damage_field(message)
        raw = messages.damage_bytes(message.SerializeToString()) if number % 4 == 0 else write(message)
        try:
            parsed = ledger_service_pb2.RecordDocumentsRequest.FromString(raw)
        except DecodeError:
            wrong += native.submit_requests(raw) is not None
            continue
        other = ledger_service_pb2.RecordDocumentsRequest.FromString(raw)
        for request in other.requests:
            request.document.memo += "x"
        future = native.submit_requests(write(other) if otherwise == "native" else raw)
        parsed = other if otherwise == "judging" else parsed
        judged = [submit(judging, request) for request in parsed.requests]
        if future is None:
            told = (
                other if otherwise == "native" else ledger_service_pb2.RecordDocumentsRequest.FromString(raw)
            )
            ours = [submit(native, request) for request in told.requests]
        else:
            ours = [reply if isinstance(reply, bytes) else repr(reply) for reply in future.result()]
        wrong += ours != judged
    compare(native.engine, judging.engine)
    native.close()
    judging.close()
    return wrong


def write(message: Any) -> bytes:
    """As every encoder writes it."""
    return bytes(message.SerializeToString(deterministic=True))


def submit(ledger: Ledger, request: ledger_service_pb2.RecordDocumentRequest) -> bytes | str:
    """The verdict's bytes, or the error."""
    try:
        verdict = ledger.submit(request.document, request.request_id).result(60)
    except TracecodeError as error:
        return repr(error)
    return verdict.SerializeToString(deterministic=True)


# --- The service ------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A service with a catalogue and views, which lets one host call as much as it likes."""
    (tmp_path / "grants.toml").write_text(GRANTS)
    with ServerProcess(
        data_directory=tmp_path / "ledger",
        views=True,
        grants_file=tmp_path / "grants.toml",
        peer_calls_per_second_max=1_000_000,
        peer_calls_max=100_000,
        peer_streams_max=1_000,
    ) as server:
        with LedgerClient(server.address) as client:
            client.import_institutions(
                [
                    *INSTITUTIONS,
                    catalogue_pb2.Institution(
                        institution_code=SHOP, division_code="130500", uploads_receipt_codes=True
                    ),
                ]
            )
            client.import_products(PRODUCTS)
        yield server


def test_damaged_messages_to_every_method(
    server: ServerProcess, effort: Effort, add_row: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only statuses that are defined, each with its reason; the same process, whose memory is bounded; a log
    that shows nothing of what came; and an honest sale goes as before."""
    tries = effort.count(1_500, 100_000)
    pid = server.process.pid
    warmed = asyncio.run(call_all(server.address, Messages(SEED, int(time.time())), tries // 5))
    before = read_private_bytes(pid)
    tally = asyncio.run(call_all(server.address, Messages(SEED + 1, int(time.time())), tries - tries // 5))
    grown = read_private_bytes(pid) - before
    honest = sell_honestly(server.address)
    dead = server.process.poll() is not None
    leaks = find_leaks(list(server.log)) + server.other

    tally.tries += warmed.tries
    wrong = [*warmed.wrong, *tally.wrong, *leaks]
    if grown > RSS_GROWTH_MAX_BYTES:
        wrong.append(f"{grown:,} bytes more")
    if not honest:
        wrong.append("the honest sale was not accepted")
    control = call_sabotaged(monkeypatch)
    add_row(
        Row(
            fault="damaged messages to every method",
            how=f"{len(METHODS)} methods, from their descriptors",
            tries=tally.tries,
            wrong=len(wrong),
            aborts=dead,
            control="a method that fails now and then, and log lines that quote",
            control_failed=any("INTERNAL" in line for line in control.wrong) and sees_leaks(),
            note=f"{grown / 2**20:.0f} MiB more; {dict(tally.answers.most_common())}; {wrong[:5]}",
        )
    )
    assert set(warmed.methods) | set(tally.methods) == set(METHODS)
    assert server.process.pid == pid


def read_private_bytes(pid: int) -> int:
    """Memory of a process that is not a file's."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))


def sell_honestly(address: str) -> bool:
    """Import a product, receive a box of it and sell it; whether nothing was found."""
    now = int(time.time())
    box = line(code(1, "8777777"), lot="L1")
    with LedgerClient(address) as client:
        client.import_products(
            [
                catalogue_pb2.Product(
                    identifier="8777777", package_level=1, drug_codes=[DRUG], units_per_package=1
                )
            ]
        )
        verdicts = [
            client.record(receipt(SHOP, "R1", now - HOUR, box)),
            client.record(sale(SHOP, "S1", now - 60, box, asked=True)),
        ]
    return all(
        verdict.outcome == finding_pb2.OUTCOME_ACCEPTED
        and [finding.type for finding in verdict.findings] == [finding_pb2.FINDING_TYPE_PASS]
        for verdict in verdicts
    )


def call_sabotaged(monkeypatch: pytest.MonkeyPatch) -> Tally:
    """Call a service of which a method fails on one document in three in a way that nobody expected."""
    check = ledger_service.check_content
    calls = iter(range(10**9))

    def fail_now_and_then(*arguments: Any) -> None:
        if next(calls) % 3 == 0:
            raise KeyError("planted")
        check(*arguments)

    with monkeypatch.context() as patched, ServerThread(engine="memory") as sabotaged:
        patched.setattr(ledger_service, "check_content", fail_now_and_then)
        return asyncio.run(call_all(sabotaged.address, Messages(SEED, int(time.time())), 400))


def sees_leaks() -> bool:
    """Whether each way in which a log may show what came is seen, and a line as it should be is not."""
    quiet = {"event": "call_refused", "field": "document.lines[0].codes[1]", "level": "info", "time": "1"}
    loud: list[dict[str, Any]] = [
        {**quiet, "field": f"memo {MARK}"},
        {**quiet, "person": PERSONS[0]},
        {**quiet, "code": "82062330000000017919"},
        {**quiet, "field": "a\u202eb"},
        {**quiet, "detail": ["a\x1b[2J"]},
        {**quiet, "event": "call_failed"},
    ]
    return not find_leaks([quiet]) and all(find_leaks([line]) for line in loud)
