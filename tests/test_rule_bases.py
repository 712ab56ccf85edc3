"""Which rule base judges what: the one in force when a document was received, on every engine, for ever.

Stories are told to both engines; the journal of the one on disk is then closed, opened and derived anew.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from documents import (
    HOUR,
    INSTITUTIONS,
    NOON,
    NS,
    OTHER,
    PRODUCTS,
    SHOP,
    code,
    line,
    receipt,
    sale,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_rows import write_row
from test_clearing import LEFT_ROW, compare, documents

from tracecode.engine.contract import Engine, Submission, Submissions
from tracecode.engine.lmdb import LmdbEngine
from tracecode.engine.memory import MemoryEngine
from tracecode.engine.rule_bases import RuleBases
from tracecode.finding import FindingType, Severity
from tracecode.fsck import check
from tracecode.rule_base import Activation, RuleBase
from tracecode.v1 import document_pb2, journal_pb2, ledger_service_pb2

FIRST = RuleBase.default()


def rule_base(version: str, severity: str, **thresholds: int) -> RuleBase:
    """A version that weighs late uploads so, and has these numbers."""
    numbers = "".join(f"{name} = {value}\n" for name, value in thresholds.items())
    return RuleBase.parse(
        f'version = "{version}"\n[thresholds]\n{numbers}'
        + write_row("override", f'findings = ["LATE_UPLOAD", "DUP_SALE_CROSS_ORG"]\nseverity = "{severity}"'),
        version,
    )


MILD = rule_base("mild", "INFO")
STRICT = rule_base("strict", "WARN", late_info_hours=1)


def begin(engine: Engine) -> Engine:
    """With a catalogue."""
    engine.import_products(PRODUCTS, NOON * NS)
    engine.import_institutions(INSTITUTIONS, NOON * NS)
    return engine


@pytest.fixture(params=["memory", "lmdb"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Engine]]:
    """Gives the engine, each time as a restart would leave it; memory is what it is."""
    if request.param == "memory":
        memory = begin(MemoryEngine(FIRST, NOON * NS))
        yield lambda: memory
        return
    begin(LmdbEngine(tmp_path / "ledger", FIRST, NOON * NS, map_size_bytes=2**28)).close()
    opened: list[LmdbEngine] = []

    def again() -> Engine:
        if opened:
            opened.pop().close()
        opened.append(LmdbEngine(tmp_path / "ledger", FIRST, NOON * NS, map_size_bytes=2**28))
        return opened[0]

    yield again
    opened.pop().close()
    assert check(tmp_path / "ledger").ok


def told(document: document_pb2.Document, receive_time: int) -> Submission:
    """A document that is received in that second."""
    return Submission(document.SerializeToString(deterministic=True), receive_time * NS)


def late(number: int, receive_time: int) -> Submission:
    """A receipt that comes two hours late."""
    return told(receipt(SHOP, f"R{number}", receive_time - 2 * HOUR, line(code(number))), receive_time)


def versions(engine: Engine) -> list[str]:
    """By which each document of the journal was judged, in order."""
    entries = [journal_pb2.JournalEntry.FromString(value) for value in engine.entries(0, 1_000)]
    return [entry.document.rule_base_version for entry in entries if entry.HasField("document")]


def found(engine: Engine, institution: str, kind: int, number: str) -> list[tuple[FindingType, Severity]]:
    """What stands of a document."""
    record = engine.document(institution, document_pb2.DocumentKind.ValueType(kind), number)
    assert record is not None
    return [(FindingType(m.type), Severity(m.final_severity)) for m in record.verdict.findings]


def test_a_version_judges_from_its_effective_second_on(reopen: Callable[[], Engine]) -> None:
    """Pins the second before, the second itself, both in one call, and the same after a restart."""
    engine = reopen()
    engine.change_rule_base(
        STRICT, NOON * NS, Activation("author", "approver", "notes", effective_time=NOON + 100)
    )
    assert engine.rule_base.version == FIRST.version
    engine.record(Submissions.of(*(late(i, NOON + 97 + i) for i in range(1, 6))))
    assert versions(engine) == [FIRST.version] * 2 + ["strict"] * 3
    engine = reopen()
    engine.record(Submissions.of(late(6, NOON + 106)))
    assert versions(engine)[-1] == "strict"
    assert found(engine, SHOP, document_pb2.DOCUMENT_KIND_RECEIPT, "R2") == []
    assert found(engine, SHOP, document_pb2.DOCUMENT_KIND_RECEIPT, "R3") == [
        (FindingType.LATE_UPLOAD, Severity.WARN)
    ]
    assert [
        (change.version, change.effective_time - NOON, change.author, change.approver, change.notes)
        for change in engine.rule_bases.changes
    ] == [(FIRST.version, 0, "", "", ""), ("strict", 100, "author", "approver", "notes")]


def test_a_version_that_waits_for_its_time_does_so_across_a_restart(reopen: Callable[[], Engine]) -> None:
    """Pins that the time is in the journal and not in somebody's memory; questions know it, too."""
    engine = reopen()
    engine.change_rule_base(STRICT, NOON * NS, Activation("a", "b", effective_time=NOON + 100))
    engine = reopen()
    question = ledger_service_pb2.VerifyCodesRequest(
        institution_code=SHOP, codes=[ledger_service_pb2.CodeQuestion(code=code(1))]
    )
    assert engine.verify(question, (NOON + 99) * NS).rule_base_version == FIRST.version
    assert engine.verify(question, (NOON + 100) * NS).rule_base_version == "strict"
    assert engine.verify_plain(question.SerializeToString(), (NOON + 100) * NS) is None
    engine.record(Submissions.of(late(1, NOON + 99)))
    engine.record(Submissions.of(late(2, NOON + 100)))
    assert versions(engine) == [FIRST.version, "strict"]


def test_what_was_received_before_keeps_the_rules_of_its_day(reopen: Callable[[], Engine]) -> None:
    """Pins that a later document in the same chain revises an earlier one by the earlier one's rules."""
    engine = reopen()
    day = [
        told(receipt(SHOP, "R1", NOON, line(code(1))), NOON + 60),
        told(sale(OTHER, "S1", NOON + HOUR, line(code(1))), NOON + HOUR + 60),
        told(sale(SHOP, "S2", NOON + 2 * HOUR, line(code(1))), NOON + 2 * HOUR + 60),
    ]
    engine.record(Submissions.of(*day))
    kind = document_pb2.DOCUMENT_KIND_SALE
    before = found(engine, OTHER, kind, "S1")
    assert (FindingType.DUP_SALE_CROSS_ORG, Severity.BLOCK) in before
    engine.change_rule_base(MILD, (NOON + 3 * HOUR) * NS, Activation("a", "b"))
    engine = reopen()
    engine.record(
        Submissions.of(told(sale(OTHER, "S3", NOON + 4 * HOUR, line(code(1))), NOON + 4 * HOUR + 60))
    )
    after = found(engine, OTHER, kind, "S1")
    assert (FindingType.DUP_SALE_CROSS_ORG, Severity.BLOCK) in after
    assert (FindingType.DUP_SALE_CROSS_ORG, Severity.INFO) in found(engine, OTHER, kind, "S3")
    for value in engine.entries(0, 100):
        entry = journal_pb2.JournalEntry.FromString(value)
        if entry.revision.revised_sequence:
            judged = journal_pb2.JournalEntry.FromString(
                engine.entries(entry.revision.revised_sequence - 1, 1)[0]
            )
            assert entry.revision.rule_base_version == judged.document.rule_base_version


def test_an_earlier_version_is_put_in_force_again_by_a_new_entry(reopen: Callable[[], Engine]) -> None:
    """Pins rollback, and that of two versions of one second the later entry holds."""
    engine = reopen()
    first = engine.rule_bases.changes[0].sequence
    engine.change_rule_base(STRICT, NOON * NS, Activation("a", "b"))
    engine.record(Submissions.of(late(1, NOON + 10)))
    engine.change_rule_base(FIRST, (NOON + 20) * NS, Activation("a", "b", restored_sequence=first))
    engine = reopen()
    engine.record(Submissions.of(late(2, NOON + 20)))
    engine.change_rule_base(STRICT, (NOON + 20) * NS, Activation("a", "b", effective_time=NOON + 50))
    engine.change_rule_base(MILD, (NOON + 20) * NS, Activation("a", "b", effective_time=NOON + 50))
    engine.record(Submissions.of(late(3, NOON + 49), late(4, NOON + 50)))
    assert versions(engine) == ["strict", FIRST.version, FIRST.version, "mild"]
    assert [change.restored_sequence for change in engine.rule_bases.changes] == [0, 0, first, 0, 0]


def test_the_service_file_takes_back_nothing_that_a_person_put_in_force(tmp_path: Path) -> None:
    """Pins a restart with the file of before, and with a changed one."""
    directory = tmp_path / "ledger"
    engine = begin(LmdbEngine(directory, FIRST, NOON * NS, map_size_bytes=2**28))
    engine.change_rule_base(STRICT, NOON * NS, Activation("a", "b"))
    engine.close()
    for file, expected in ((FIRST, "strict"), (MILD, "mild"), (None, "mild")):
        engine = LmdbEngine(directory, file, (NOON + 5) * NS, map_size_bytes=2**28)
        assert engine.rule_base.version == expected
        engine.close()


def test_changes_of_a_journal_that_does_not_link_them_are_found(tmp_path: Path) -> None:
    """Pins journals in which a change does not name the one before it."""
    memory = begin(MemoryEngine(FIRST, NOON * NS))
    for version in (STRICT, MILD):
        change = journal_pb2.RuleBaseChange(version=version.version, text=version.text)
        entry = journal_pb2.JournalEntry(
            sequence=memory.store.sequence + 1, receive_time_ns=(NOON + 1) * NS, rule_base_change=change
        )
        memory.store.append(entry.SerializeToString(deterministic=True))
        memory.index.apply(entry)
        memory.store.commit()
    found = RuleBases(memory.store)
    assert [change.version for change in found.changes] == [FIRST.version, "strict", "mild"]
    assert found.at(NOON).version == FIRST.version
    assert found.at(NOON + 1, found.last_sequence).version == "strict"
    assert found.at(NOON - 100).version == FIRST.version


@settings(max_examples=40, deadline=None)
@given(
    st.lists(documents(), min_size=2, max_size=12),
    st.lists(st.tuples(st.integers(-2, 62), st.sampled_from([FIRST, MILD, STRICT])), max_size=3),
)
def test_clearing_turns_to_the_next_version_at_the_second(
    day: list[tuple[document_pb2.Document, int, str]], changes: list[tuple[int, RuleBase]]
) -> None:
    """Pins that journals and indexes of both engines are equal when versions change within one call."""
    submissions = sorted(
        (
            Submission(
                document.SerializeToString(deterministic=True),
                (document.business_time.seconds + delay) * NS,
                request_id,
            )
            for document, delay, request_id in day
        ),
        key=lambda each: each.receive_time_ns,
    )
    with tempfile.TemporaryDirectory() as directory:
        lmdb = LmdbEngine(Path(directory) / "ledger", FIRST, NOON * NS, map_size_bytes=2**28)
        memory = MemoryEngine(FIRST, NOON * NS)
        for engine in (lmdb, memory):
            engine.import_products(PRODUCTS, NOON * NS)
            engine.import_institutions([*INSTITUTIONS, LEFT_ROW], NOON * NS)
            for hours, version in changes:
                engine.change_rule_base(
                    version, NOON * NS, Activation("a", "b", effective_time=NOON + hours * HOUR + 60)
                )
            engine.record(Submissions.of(*submissions))
        compare(lmdb, memory)
        lmdb.close()
