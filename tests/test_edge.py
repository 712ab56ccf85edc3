"""The edge's parts, each by itself: limits, windows, threads, texts, options, and the table of statuses."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import logging
import threading
import time
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tracecode_server import errors as edge_errors
from tracecode_server.errors import PeerOverLimit
from tracecode_server.limits import PEERS_BEFORE_SWEEP, PeerLimits, name_peer
from tracecode_server.log import LibraryLog, build_log, clip, escape
from tracecode_server.read_pool import WAITING_PER_THREAD_MAX, ReadPool
from tracecode_server.server import read_person_key
from tracecode_server.settings import Settings
from tracecode_server.status import MESSAGE_CHARS_MAX, TABLE, refuse, to_document_error, to_status
from tracecode_server.window import Window

from tracecode import errors


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


def test_a_window_is_full_by_items_or_by_bytes() -> None:
    """Pins both bounds, and that one item always fits or a large document would wait for ever."""

    async def check() -> list[bool]:
        async def has_room(window: Window[str], size: int) -> bool:
            try:
                await asyncio.wait_for(window.wait_for_room(size), 0.05)
            except TimeoutError:
                return False
            return True

        by_items: Window[str] = Window(2, 1000)
        by_bytes: Window[str] = Window(100, 10)
        seen = [await has_room(by_bytes, 11)]
        by_items.put("a", 1)
        by_bytes.put("a", 9)
        seen += [await has_room(by_items, 1), await has_room(by_bytes, 1), await has_room(by_bytes, 2)]
        by_items.put("b", 1)
        seen.append(await has_room(by_items, 1))
        assert await by_items.take() == ("a", 1)
        seen.append(await has_room(by_items, 1))
        by_items.release(1)
        seen.append(await has_room(by_items, 1))
        return seen

    assert asyncio.run(check()) == [True, True, True, False, False, False, True]


def test_a_window_gives_back_in_order_and_then_ends() -> None:
    """Pins that a reader and a writer side by side neither lose, swap nor wait for ever."""

    async def check() -> list[int]:
        window: Window[int] = Window(3, 100)

        async def write() -> None:
            for number in range(200):
                await window.wait_for_room(1)
                window.put(number, 1)
                if number % 7 == 0:
                    await asyncio.sleep(0)
            window.end()

        task = asyncio.create_task(write())
        taken = []
        while (item := await asyncio.wait_for(window.take(), 5)) is not None:
            taken.append(item[0])
            if item[0] % 5 == 0:
                await asyncio.sleep(0)
            window.release(item[1])
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
        questions = [asyncio.create_task(pool.run(ask, n)) for n in range(1 + WAITING_PER_THREAD_MAX)]
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
    # The first is the root; the second ends the start of the service, before there are calls.
    return [
        kind for kind in dict.fromkeys(kinds) if kind not in (errors.TracecodeError, errors.RuleBaseInvalid)
    ]


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
