"""The edge's parts, each by itself: limits, windows, threads, texts, options, and the table of statuses."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from pydantic import ValidationError
from tracecode_server import errors as edge_errors
from tracecode_server.company import DOCUMENTS_MAX, Company
from tracecode_server.crossing import Crossing
from tracecode_server.envelope import count_requests, wrap_request, wrap_results, wrap_verdict
from tracecode_server.errors import PeerOverLimit
from tracecode_server.limits import PEERS_BEFORE_SWEEP, PeerLimits, name_peer
from tracecode_server.log import LibraryLog, build_log, clip, escape
from tracecode_server.metrics import Metrics
from tracecode_server.read_pool import WAITING_MAX, ReadPool
from tracecode_server.server import read_person_key
from tracecode_server.settings import Settings
from tracecode_server.status import MESSAGE_CHARS_MAX, TABLE, refuse, to_document_error, to_status
from tracecode_server.window import Taken, Window

from tracecode import errors
from tracecode.answer import plain_verdict
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import document_pb2, finding_pb2, ledger_service_pb2


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


# --- limits ---------------------------------------------------------------------------------------


def test_a_peer_is_held_to_its_own_limits_only() -> None:
    """Pins that calls and streams are counted apart, by peer, and given back."""
    limits = PeerLimits(calls_max=2, streams_max=1, calls_per_second_max=100, clock=Clock())
    limits.enter("a", stream=False)
    limits.enter("a", stream=False)
    limits.enter("a", stream=True)

    with pytest.raises(PeerOverLimit, match="2 calls"):
        limits.enter("a", stream=False)
    with pytest.raises(PeerOverLimit, match="1 streams"):
        limits.enter("a", stream=True)
    limits.enter("b", stream=False)
    limits.leave("a", stream=False)
    limits.enter("a", stream=False)


def test_a_peer_may_start_so_many_calls_in_a_second() -> None:
    """Pins the rate: a second's worth at once, then as fast as time refills it."""
    clock = Clock()
    limits = PeerLimits(calls_max=100, streams_max=1, calls_per_second_max=10, clock=clock)

    def count() -> int:
        admitted = 0
        for _ in range(50):
            try:
                limits.enter("a", stream=False)
            except PeerOverLimit:
                break
            limits.leave("a", stream=False)
            admitted += 1
        return admitted

    at_once = count()
    clock.seconds += 0.5
    after_a_while = count()
    clock.seconds += 60
    after_a_minute = count()

    assert (at_once, after_a_while, after_a_minute) == (10, 5, 10)


def test_peers_that_went_away_are_forgotten() -> None:
    """Pins that a scan from many hosts cannot fill the memory, and forgets nobody who has a call open."""
    clock = Clock()
    limits = PeerLimits(calls_max=1, streams_max=1, calls_per_second_max=1, clock=clock)
    limits.enter("stays", stream=False)
    for number in range(PEERS_BEFORE_SWEEP * 3):
        clock.seconds += 0.01
        limits.enter(f"peer {number}", stream=False)
        limits.leave(f"peer {number}", stream=False)

    assert len(limits._peers) <= PEERS_BEFORE_SWEEP + 1
    with pytest.raises(PeerOverLimit):
        limits.enter("stays", stream=False)


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        pytest.param("ipv4:127.0.0.1:40112", "ipv4:127.0.0.1", id="version 4"),
        pytest.param("ipv6:%5B::1%5D:40112", "ipv6:%5B::1%5D", id="version 6"),
        pytest.param("unix:", "unix:", id="a socket file"),
    ],
)
def test_a_peer_is_a_host(peer: str, host: str) -> None:
    """Pins that many connections of one host are one peer."""
    assert name_peer(peer) == host


# --- windows and threads --------------------------------------------------------------------------


def test_a_window_is_full_by_documents_or_by_bytes() -> None:
    """Pins both bounds, and that one message always fits or a large one would wait for ever."""

    async def check() -> list[bool]:
        async def has_room(window: Window[str], documents: int, size: int) -> bool:
            try:
                await asyncio.wait_for(window.wait_for_room(documents, size), 0.05)
            except TimeoutError:
                return False
            return True

        by_documents: Window[str] = Window(10, 1000)
        by_bytes: Window[str] = Window(100, 10)
        seen = [await has_room(by_bytes, 1, 11), await has_room(by_documents, 11, 1)]
        by_documents.put("a", 6, 1)
        by_bytes.put("a", 1, 9)
        seen += [await has_room(by_documents, 4, 1), await has_room(by_documents, 5, 1)]
        seen += [await has_room(by_bytes, 1, 1), await has_room(by_bytes, 1, 2)]
        by_documents.put("b", 4, 1)
        seen.append(await has_room(by_documents, 1, 1))
        taken = await by_documents.take()
        assert taken == Taken("a", 6, 1)
        seen.append(await has_room(by_documents, 1, 1))
        by_documents.release(taken)
        seen += [await has_room(by_documents, 6, 1), await has_room(by_documents, 7, 1)]
        return seen

    assert asyncio.run(check()) == [True, True, True, False, True, False, False, False, True, False]


def test_a_window_gives_back_in_order_and_then_ends() -> None:
    """Pins that a reader and a writer side by side neither lose, swap nor wait for ever."""

    async def check() -> list[int]:
        window: Window[int] = Window(3, 100)

        async def write() -> None:
            for number in range(200):
                await window.wait_for_room(1, 1)
                window.put(number, 1, 1)
                if number % 7 == 0:
                    await asyncio.sleep(0)
            window.end()

        task = asyncio.create_task(write())
        taken = []
        while (message := await asyncio.wait_for(window.take(), 5)) is not None:
            taken.append(message.item)
            if message.item % 5 == 0:
                await asyncio.sleep(0)
            window.release(message)
        await task
        return taken

    assert asyncio.run(check()) == list(range(200))


def test_questions_that_nobody_waits_for_are_dropped_and_too_many_refused() -> None:
    """Pins the bound before the threads, and that it counts what is really there."""
    asked: list[int] = []
    go = threading.Event()

    def ask(number: int) -> int:
        asked.append(number)
        go.wait(10)
        return number

    async def check() -> None:
        pool = ReadPool(1)
        questions = [asyncio.create_task(pool.run(ask, n)) for n in range(1 + WAITING_MAX)]
        await asyncio.sleep(0.05)
        with pytest.raises(errors.Overloaded):
            await pool.run(ask, 1000)
        for question in questions[1:]:
            question.cancel()
        await asyncio.sleep(0.05)
        last = asyncio.create_task(pool.run(ask, 2000))
        await asyncio.sleep(0.05)
        go.set()
        assert await asyncio.wait_for(last, 5) == 2000
        pool.close()

    asyncio.run(check())

    assert asked == [0, 2000]


def test_all_that_a_commit_finished_crosses_at_one_wake() -> None:
    """Pins one wake for many futures, each ending as its source did, and that each end is counted once,
    also of a call that was given up."""

    class Loop(asyncio.SelectorEventLoop):
        wakes = 0

        def call_soon_threadsafe(self, *arguments: Any, **named: Any) -> asyncio.Handle:
            self.wakes += 1
            return super().call_soon_threadsafe(*arguments, **named)

    async def check() -> tuple[list[object], list[Future[int]], int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        counted: list[Future[int]] = []
        crossing = Crossing()
        sources: list[Future[int]] = [Future() for _ in range(100)]
        targets = [crossing.bring(source, counted.append) for source in sources]
        targets[7].cancel()

        def finish() -> None:
            for number, source in enumerate(sources):
                if number == 50:
                    source.set_exception(errors.EngineStopped("stopped"))
                else:
                    source.set_result(number)

        before = loop.wakes
        engine = threading.Thread(target=finish)
        engine.start()
        # The loop is away meanwhile, as it is when it answers others.
        engine.join()
        ends = await asyncio.gather(*targets, return_exceptions=True)
        assert counted == sources
        return ends, counted, loop.wakes - before

    with asyncio.Runner(loop_factory=Loop) as runner:
        ends, counted, wakes = runner.run(check())

    assert wakes == 1
    assert len(counted) == 100
    assert isinstance(ends[7], asyncio.CancelledError)
    assert isinstance(ends[50], errors.EngineStopped)
    assert [end for number, end in enumerate(ends) if number not in (7, 50)] == [
        number for number in range(100) if number not in (7, 50)
    ]


def test_nothing_stays_behind_when_threads_and_loop_race() -> None:
    """Pins the flag between the engine's thread and the loop: every future ends, whoever comes first."""

    async def check() -> list[int]:
        crossing = Crossing()
        counted: list[Future[int]] = []
        sources: list[Future[int]] = [Future() for _ in range(3000)]

        def finish(part: list[Future[int]]) -> None:
            for source in part:
                source.set_result(id(source))

        targets = [crossing.bring(source, counted.append) for source in sources]
        threads = [threading.Thread(target=finish, args=(sources[begin::3],)) for begin in range(3)]
        for thread in threads:
            thread.start()
        ends = await asyncio.wait_for(asyncio.gather(*targets), 10)
        assert len(counted) == len(sources)
        return [end - id(source) for end, source in zip(ends, sources, strict=True)]

    assert asyncio.run(check()) == [0] * 3000


# --- bytes around bytes ---------------------------------------------------------------------------

texts = st.text(max_size=20)
verdicts = st.builds(
    finding_pb2.Verdict,
    sequence=st.integers(0, 2**64 - 1),
    outcome=st.sampled_from(finding_pb2.Outcome.values()),
    findings=st.lists(
        st.builds(
            finding_pb2.Finding,
            type=st.sampled_from(finding_pb2.FindingType.values()),
            severity=st.sampled_from(finding_pb2.Severity.values()),
            legal_basis=st.text(max_size=300),
        ),
        max_size=3,
    ),
    rule_base_version=texts,
    repeat=st.booleans(),
)
document_errors = st.builds(
    ledger_service_pb2.DocumentError, reason=texts, field=texts, message=texts, retryable=st.booleans()
)


@given(
    position=st.one_of(st.integers(0, 300), st.integers(0, 2**63)),
    results=st.lists(st.one_of(verdicts, document_errors), max_size=6),
)
def test_results_are_written_as_protobuf_writes_them(
    position: int, results: list[finding_pb2.Verdict | ledger_service_pb2.DocumentError]
) -> None:
    """Pins the response of a stream byte for byte, position 0 and empty messages included."""
    expected = ledger_service_pb2.RecordDocumentsResponse()
    for place, result in enumerate(results, position):
        if isinstance(result, finding_pb2.Verdict):
            expected.results.add(position=place, verdict=result)
        else:
            expected.results.add(position=place, error=result)

    written = wrap_results(
        position,
        [
            result.SerializeToString() if isinstance(result, finding_pb2.Verdict) else result
            for result in results
        ],
    )

    assert written == expected.SerializeToString(deterministic=True)


@given(verdict=verdicts, memo=st.text(max_size=20), times=st.sampled_from([0, 1, 10, 5000]))
def test_a_lone_request_and_its_verdict_are_wrapped_as_protobuf_does(
    verdict: finding_pb2.Verdict, memo: str, times: int
) -> None:
    """Pins the two small envelopes of a unary call, for short and long contents."""
    response = ledger_service_pb2.RecordSaleResponse(verdict=verdict)
    document = document_pb2.Document(memo=memo * times)
    request = ledger_service_pb2.RecordSaleRequest(document=document, request_id=memo)
    batch = ledger_service_pb2.RecordDocumentsRequest(
        requests=[ledger_service_pb2.RecordDocumentRequest(document=document, request_id=memo)]
    )

    assert wrap_verdict(verdict.SerializeToString()) == response.SerializeToString()
    assert wrap_request(request.SerializeToString()) == batch.SerializeToString()


@given(
    requests=st.lists(st.binary(max_size=300), max_size=8), cut=st.integers(0, 20), tail=st.binary(max_size=4)
)
def test_requests_are_counted_as_protobuf_counts_them(requests: list[bytes], cut: int, tail: bytes) -> None:
    """Pins that a whole message is counted, and a cut or spoilt one only as protobuf would, or not."""
    whole = b"".join(wrap_request(request) for request in requests)
    assert count_requests(whole) == len(requests)

    message = whole[: max(0, len(whole) - cut)] + tail

    count = count_requests(message)
    try:
        seen = len(ledger_service_pb2.RecordDocumentsRequest.FromString(message).requests)
    except DecodeError:
        return
    assert count in (None, seen)


@pytest.fixture(scope="module")
def ledger() -> Iterator[Ledger]:
    """A ledger for figures that ask one."""
    with closing(Ledger.open(None, engine="memory", person_key=PersonKey(bytes(32)))) as ledger:
        yield ledger


def list_counts(metrics: Metrics) -> list[str]:
    """What is scraped of the documents and findings that were counted."""
    return [
        line
        for line in generate_latest(metrics.registry).decode().splitlines()
        if line.startswith(("tracecode_documents_total", "tracecode_findings_total"))
    ]


@settings(max_examples=50, deadline=None)
@given(
    answered=st.lists(
        st.one_of(
            verdicts,
            st.builds(
                plain_verdict,
                st.integers(1, 2**40),
                st.integers(0, 2**34),
                st.integers(0, 2**63 - 1),
                st.sampled_from(["1", "2026.1"]),
            ),
        ),
        max_size=8,
    ),
    repeats=st.sets(st.integers(0, 8)),
)
def test_replies_are_counted_as_the_verdicts_they_are(
    ledger: Ledger, answered: list[finding_pb2.Verdict], repeats: set[int]
) -> None:
    """Pins that documents and findings are counted alike whether a verdict was read or only looked at."""
    for at in repeats & set(range(len(answered))):
        answered[at].repeat = True

    read, looked_at = Metrics(ledger), Metrics(ledger)
    read.count_verdicts(answered)
    looked_at.count_replies(verdict.SerializeToString() for verdict in answered)

    assert sorted(list_counts(looked_at)) == sorted(list_counts(read))


# --- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        pytest.param("P37020304446", "P37020304446", id="plain"),
        pytest.param("药品 追溯码", "药品 追溯码", id="Chinese is text"),
        pytest.param("a\nb\r\t", "a\\u000ab\\u000d\\u0009", id="line ends"),
        pytest.param("\u202e123\u200f", "\\u202e123\\u200f", id="direction marks"),
        pytest.param("\x1b[31m", "\\u001b[31m", id="terminal colours"),
        pytest.param("\u2028\u3000", "\\u2028\\u3000", id="other blanks and line ends"),
        pytest.param("\U000e0041", "\\U000e0041", id="invisible tags"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, escaped: str) -> None:
    """Pins that a scan cannot forge a line, nor turn the reading direction, where people read."""
    assert escape(text) == escaped


@given(st.text())
def test_an_escaped_text_is_one_visible_line(text: str) -> None:
    """Pins it for any text."""
    assert all(character == " " or character.isprintable() for character in escape(text))
    assert len(escape(text).splitlines()) <= 1


def test_a_line_of_the_log_is_json_without_a_callers_line_ends() -> None:
    """Pins one object a line, escaped and clipped values, and the level as a filter."""
    stream = io.StringIO()
    log = build_log("info", stream)

    log.debug("unseen")
    log.info("seen", peer="a\n{}", long="x" * 5000, count=3)

    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert (line["event"], line["level"], line["peer"], line["count"]) == ("seen", "info", "a\\u000a{}", 3)
    assert len(line["long"]) < 400
    assert line["time"].endswith("Z")


def test_what_a_library_says_comes_without_the_values_it_was_said_of() -> None:
    """Pins that gRPC's own warnings reach the log and a person in their arguments does not."""
    stream = io.StringIO()
    logger = logging.getLogger("tests.other")
    handler = LibraryLog(build_log("info", stream))
    logger.addHandler(handler)
    logger.propagate = False
    try:
        try:
            raise ValueError("person-9")
        except ValueError:
            logger.exception("cannot send %s", "person-8")
    finally:
        logger.removeHandler(handler)

    line = json.loads(stream.getvalue())
    assert (line["library"], line["message"], line["error"]) == (
        "tests.other",
        "cannot send %s",
        "ValueError",
    )
    assert line["frames"]
    assert "person" not in stream.getvalue()


def test_a_long_text_is_clipped_and_says_so() -> None:
    """Pins that a log line or a status stays readable, and tells that something is missing."""
    assert clip("x" * 10, 10) == "x" * 10
    assert clip("x" * 11, 10) == "xxxxxxxxxx... (11 characters)"


# --- the table of statuses ------------------------------------------------------------------------


def list_errors() -> list[type[BaseException]]:
    """Every error that the library or the edge raises on purpose while it answers a call."""
    kinds = [
        kind
        for module in (errors, edge_errors)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, errors.TracecodeError)
    ]
    # What is only a kind of others, and what no call asks for.
    not_answered = (errors.TracecodeError, errors.DeskRefused, errors.BackupRefused)
    return [kind for kind in dict.fromkeys(kinds) if kind not in not_answered]


@pytest.mark.parametrize("kind", list_errors(), ids=lambda kind: kind.__name__)
def test_every_error_has_its_status(kind: type[BaseException]) -> None:
    """Pins that a new error is given a row, or its callers would be told INTERNAL."""
    assert kind in TABLE


def test_a_row_has_its_own_reason_and_a_chinese_sentence() -> None:
    """Pins that reasons tell the errors apart, and that only what may pass is to be tried again."""
    reasons = [row.reason for row in TABLE.values()]

    assert len(set(reasons)) == len(reasons)
    assert all(reason == reason.upper() and reason.isidentifier() for reason in reasons)
    assert all(any("\u4e00" <= character <= "\u9fff" for character in row.zh_cn) for row in TABLE.values())
    retryable = {row.code for row in TABLE.values() if row.retry_after_seconds is not None}
    assert retryable == {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_a_status_fits_the_headers_it_travels_in() -> None:
    """Pins that a sentence quoting a huge input does not make the answer unreadable for the client."""
    status = to_status(refuse(errors.FieldInvalid("document." + "x" * 9000, "\u202e" * 9000)))

    assert len(status.SerializeToString()) < 4096
    assert "\u202e" not in status.message
    assert len(status.message) < 2 * MESSAGE_CHARS_MAX


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        pytest.param(errors.FieldInvalid("document.lines", "is missing"), False, id="its own fault"),
        pytest.param(errors.Overloaded("full", 2.5), True, id="no room"),
    ],
)
def test_a_document_of_a_stream_knows_whether_to_come_again(error: Exception, retryable: bool) -> None:
    """Pins the flag by which a gateway decides."""
    assert to_document_error(refuse(error)).retryable is retryable


# --- company --------------------------------------------------------------------------------------


def gather_company(
    requests: list[bytes], submit: Callable[[bytes, int], asyncio.Future[list[bytes | Exception]] | None]
) -> list[object]:
    """What unary calls that come in the same turn are answered."""

    async def call_all() -> list[object]:
        company = Company(submit)
        return [*await asyncio.gather(*(company.add(request) for request in requests))]

    return asyncio.run(call_all())


def finish(replies: list[bytes | Exception]) -> asyncio.Future[list[bytes | Exception]]:
    """A future that has its result."""
    future: asyncio.Future[list[bytes | Exception]] = asyncio.get_running_loop().create_future()
    future.set_result(replies)
    return future


def test_calls_that_come_together_are_one_message() -> None:
    """Pins that a burst shares its commits, up to the bound, and that each gets its own reply."""
    messages: list[tuple[bytes, int]] = []

    def submit(message: bytes, documents: int) -> asyncio.Future[list[bytes | Exception]]:
        messages.append((message, documents))
        return finish([bytes([octet]).upper() for octet in message])

    requests = [bytes([ord("a") + number % 26]) for number in range(DOCUMENTS_MAX + 3)]

    assert gather_company(requests, submit) == [request.upper() for request in requests]
    assert messages == [
        (b"".join(requests[:DOCUMENTS_MAX]), DOCUMENTS_MAX),
        (b"".join(requests[DOCUMENTS_MAX:]), 3),
    ]


def test_one_that_needs_another_way_does_not_take_its_company_along() -> None:
    """Pins that a document which cannot be taken as bytes costs the others a reading and nothing else."""

    def submit(message: bytes, documents: int) -> asyncio.Future[list[bytes | Exception]] | None:
        return None if b"x" in message else finish([message] * documents)

    assert gather_company([b"a", b"x", b"b"], submit) == [b"a", None, b"b"]


def test_what_becomes_of_all_is_told_to_all() -> None:
    """Pins that nobody waits for ever when the ledger pushes back or stops."""
    full, rejected = errors.Overloaded("full"), errors.DocumentRejected("field", "why")

    def push_back(message: bytes, documents: int) -> asyncio.Future[list[bytes | Exception]]:
        raise full

    def stop(message: bytes, documents: int) -> asyncio.Future[list[bytes | Exception]]:
        future: asyncio.Future[list[bytes | Exception]] = asyncio.get_running_loop().create_future()
        future.set_exception(full)
        return future

    assert gather_company([b"a", b"b"], push_back) == [full] * 2
    assert gather_company([b"a", b"b"], stop) == [full] * 2
    assert gather_company([b"a", b"b"], lambda *_: finish([b"A", rejected])) == [b"A", rejected]


# --- options --------------------------------------------------------------------------------------


def test_every_option_is_documented_and_set_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins that no option is without a sentence, and how it is named outside."""
    monkeypatch.setenv("TRACECODE_ENGINE", "memory")
    monkeypatch.setenv("TRACECODE_LISTEN", "localhost:4711")

    settings = Settings()

    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
    assert (settings.engine, settings.listen) == ("memory", "localhost:4711")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        pytest.param({"engine": "lmdb"}, "data_directory", id="lmdb without a directory"),
        pytest.param({"engine": "memory", "data_directory": "x"}, "nothing on disk", id="memory with one"),
        pytest.param({"engine": "memory", "liste": "127.0.0.1:1"}, "liste", id="an option that is none"),
        pytest.param({"engine": "memory", "read_threads": 0}, "read_threads", id="no threads"),
    ],
)
def test_options_that_contradict_are_refused(values: dict[str, object], word: str) -> None:
    """Pins that the service does not start on a guess."""
    with pytest.raises(ValidationError, match=word):
        Settings(**values)  # type: ignore[arg-type]


def test_a_person_key_is_made_once_beside_the_data_and_kept_private(tmp_path: Path) -> None:
    """Pins that the key survives a restart, lies outside the data, and is refused when others can read it."""
    settings = Settings(data_directory=tmp_path / "ledger")

    first = read_person_key(settings).hash("person")
    again = read_person_key(settings).hash("person")

    path = tmp_path / "ledger.person-key"
    assert first == again
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        read_person_key(settings)


def test_a_ledger_that_forgets_has_a_key_that_is_forgotten() -> None:
    """Pins that the engine memory writes no key anywhere."""
    settings = Settings(engine="memory")

    assert read_person_key(settings).hash("person") != read_person_key(settings).hash("person")


def test_the_clock_of_a_limit_is_the_one_that_never_goes_back() -> None:
    """Pins that setting the machine's time locks nobody out."""
    assert inspect.signature(PeerLimits).parameters["clock"].default is time.monotonic
