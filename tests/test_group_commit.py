"""Commits that are shared: whoever sends what is dear to judge waits for itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from tracecode.engine.contract import Engine, Recorded, Submission, Submissions
from tracecode.group_commit import AHEAD_SECONDS_MAX, JUDGED_BATCH_SECONDS_MAX, GroupCommit

DEAR = b"dear"
DEAR_SECONDS = 0.03
SOME = b"some"
SOME_SECONDS = 0.00002
RULED = b"rule"
RULED_SECONDS = 0.001


class SlowEngine:
    """Takes the processor's time for dear documents; knows what it recorded together."""

    def __init__(self) -> None:
        self.commits: list[list[bytes]] = []
        self.may_record = threading.Event()
        self.may_record.set()

    def record(self, submissions: Submissions) -> list[Recorded]:
        """Answers each document with its own bytes."""
        self.may_record.wait(30)
        self.commits.append(list(submissions.documents))
        for document in submissions.documents:
            begin = time.thread_time()
            cost = {DEAR: DEAR_SECONDS, SOME: SOME_SECONDS, RULED: RULED_SECONDS}.get(document[:4], 0.0)
            while time.thread_time() - begin < cost:
                pass
        return list(submissions.documents)


def submit(*documents: bytes) -> Submissions:
    """These documents, as a stream's message brings them."""
    return Submissions.of(*(Submission(document, 0, "") for document in documents))


@pytest.fixture
def engine() -> SlowEngine:
    """An engine of its own."""
    return SlowEngine()


@pytest.fixture
def commits(engine: SlowEngine) -> Iterator[GroupCommit]:
    """Commits of that engine."""
    made = GroupCommit(cast(Engine, cast(Any, engine)))
    yield made
    made.close()


def test_dear_documents_are_cut_and_answered_in_their_order(commits: GroupCommit, engine: SlowEngine) -> None:
    """Pins that a message of dear documents takes several commits and gets all its answers, once."""
    documents = [DEAR + b"%d" % number for number in range(12)]

    answers = commits.submit(submit(*documents), "flood").result(30)

    assert answers == documents
    assert [document for commit in engine.commits for document in commit] == documents
    assert len(engine.commits) > 4


def test_a_till_waits_for_few_documents_of_who_sends_many_dear_ones(
    commits: GroupCommit, engine: SlowEngine
) -> None:
    """Pins that it is before what was sent long before it, and that who has much waiting is not read on."""
    flood = [
        commits.submit(submit(*(DEAR + b"%d-%d" % (part, number) for number in range(20))), "flood")
        for part in range(4)
    ]
    commits.submit(submit(b"first"), "till").result(30)
    assert commits.is_behind("flood")
    assert not commits.is_behind("till")
    for number in range(5):
        time.sleep(0.05)
        answer = commits.submit(submit(b"till%d" % number), "till")
        # Counted once it waits: what is recorded before this thread goes on, it has not waited for.
        before = sum(map(len, engine.commits))
        answer.result(30)
        assert sum(map(len, engine.commits)) - before <= 3
    assert AHEAD_SECONDS_MAX < 80 * DEAR_SECONDS
    assert [part.result(30) for part in flood] == [
        [DEAR + b"%d-%d" % (part, number) for number in range(20)] for part in range(4)
    ]


def test_documents_cost_the_same_in_one_message_and_in_many(commits: GroupCommit, engine: SlowEngine) -> None:
    """Pins that of what comes together in many messages no more is believed to be dear than it was."""
    for turn in range(20):
        engine.may_record.clear()
        # As many, so that what a commit costs by itself counts for as little.
        first = commits.submit(submit(*(b"first",) * 400), "gateway")
        messages = [
            commits.submit(submit(*((SOME if turn % 2 else b"%d" % number),) * 10), "gateway")
            for number in range(40)
        ]
        engine.commits.clear()
        engine.may_record.set()
        for message in (first, *messages):
            message.result(30)
        # The first by itself, and what had come meanwhile together, or nearly so.
        assert len(engine.commits) <= 6


def test_what_python_judges_is_recorded_in_short_commits(commits: GroupCommit, engine: SlowEngine) -> None:
    """Pins that once it is known what such documents take, a commit of them takes no longer than it may."""
    commits.submit(submit(*(RULED,) * 20), "clinic").result(30)
    engine.commits.clear()

    commits.submit(submit(*(RULED,) * 100), "clinic").result(30)

    assert max(map(len, engine.commits)) * RULED_SECONDS <= JUDGED_BATCH_SECONDS_MAX


def test_one_that_is_alone_does_not_wait_for_anybody(commits: GroupCommit, engine: SlowEngine) -> None:
    """Pins that the engine never rests while only one source sends."""
    begin = time.monotonic()
    busy = threading.Event()

    commits.submit(submit(*(DEAR + b"%d" % number for number in range(20))), "gateway").add_done_callback(
        lambda _done: busy.set()
    )

    assert busy.wait(30)
    assert sum(map(len, engine.commits)) == 20
    assert time.monotonic() - begin < 30
