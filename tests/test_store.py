"""The native store: journal, overlay and index, under a model, under kill -9 and under damage."""

import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tracecode import _native
from tracecode.engine import records
from tracecode.errors import DataLoss, EngineStopped, Overloaded, StorageFull

MIB = 1 << 20


def open_store(directory: Path | str, **options: int) -> _native.Store:
    """A store small enough for a test, with options of one's own."""
    return _native.Store(
        str(directory), **{"map_size_bytes": 64 * MIB, "overlay_bytes_max": 4 * MIB} | options
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a store may be made."""
    return tmp_path / "ledger"


# --- The model: a dict and a list --------------------------------------------------------------------

KEYS = st.sampled_from(
    [
        records.code_key(b"N\x01"),
        records.code_key(b"N\x01\x02"),
        records.document_key(1, 1, "A-1"),
        records.batch_key(1, 4, "B1", 7),
        records.batch_key(1, 4, "B1", 8),
        records.batch_key(1, 4, "B12", 7),
        records.batch_key(256, 4, "B1", 7),
        records.batch_deletion_key(1, 4, "B1", 9),
        records.batch_deletion_key(1, 3, "B1", 9),
        records.code_hold_key(b"N\x01", "H1"),
        records.code_hold_key(b"N\x01", "H2"),
        records.code_hold_key(b"N\x01\x02", "H1"),
        records.lot_hold_key("8312345", "L1", "H1"),
        records.lot_hold_key("8312345", "L1", "H2"),
        records.lot_hold_key("8312345", "L12", "H1"),
        records.child_key(b"N\x09", b"N\x01"),
        records.parent_key(b"N\x01", b"N\x09"),
        records.product_key("8312345"),
        b"b",
        b"x\0",
        b"l8312345",
        b"z" * 511,
    ]
)
PREFIXES = st.one_of(
    KEYS,
    st.builds(lambda key, size: key[:size], KEYS, st.integers(0, 12)),
    st.sampled_from(
        [
            records.batch_key(1, 4, "B1", 0)[:-8],
            records.batch_deletion_key(1, 4, "B1", 0)[:-8],
            records.code_hold_key(b"N\x01"),
            records.lot_hold_key("8312345", "L1"),
            records.child_key(b"N\x09"),
            b"x\xff",
        ]
    ),
)
VALUES = st.one_of(st.binary(max_size=50), st.just(b"\xff" * 5000))
CHANGES = st.lists(st.tuples(KEYS, st.none() | VALUES), max_size=6)


class StoreMachine(RuleBasedStateMachine):
    """Does to a store what an engine does, and to a dict the same."""

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.entries: list[bytes] = []
        self.durable = 0
        self.kept: dict[bytes, bytes] = {}
        self.now: dict[bytes, bytes] = {}

    @initialize()
    def make(self) -> None:
        self.store = open_store(self.temporary.name + "/ledger", sync=False)

    def apply(self, entry: bytes) -> None:
        for key, value in json.loads(entry):
            if value is None:
                self.store.delete(bytes.fromhex(key))
            else:
                self.store.put(bytes.fromhex(key), bytes.fromhex(value))

    @rule(changes=CHANGES)
    def record(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        entry = json.dumps([(key.hex(), value if value is None else value.hex()) for key, value in changes])
        self.entries.append(entry.encode())
        assert self.store.append(entry.encode()) == len(self.entries)
        self.apply(entry.encode())
        for key, value in changes:
            if value is None:
                self.now.pop(key, None)
            else:
                self.now[key] = value

    @rule()
    def commit(self) -> None:
        self.store.commit()
        self.durable = len(self.entries)
        self.kept = dict(self.now)

    @rule()
    def rollback(self) -> None:
        self.store.rollback()
        self.now = dict(self.kept)
        del self.entries[self.durable :]

    @rule(wait=st.booleans())
    def flush(self, wait: bool) -> None:
        self.store.flush(wait)
        self.durable = len(self.entries)
        self.kept = dict(self.now)
        if wait:
            assert self.store.applied_sequence == self.durable

    @rule(clean=st.booleans())
    def reopen(self, clean: bool) -> None:
        """With or without a close: without, what the index lacks is replayed from the journal."""
        if clean:
            self.store.close()
        self.store = None
        deadline = time.monotonic() + 60
        while self.store is None:
            try:
                self.store = open_store(self.temporary.name + "/ledger", sync=False)
            except EngineStopped:
                # A flush that was under way holds the store until it is done.
                assert time.monotonic() < deadline
                time.sleep(0.001)
        del self.entries[self.durable :]
        self.now = dict(self.kept)
        assert not clean or self.store.applied_sequence == self.durable
        for sequence in range(self.store.applied_sequence + 1, self.store.durable_sequence + 1):
            self.apply(self.store.entry(sequence))
            self.store.replayed(sequence)

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        assert self.store.get(key) == self.now.get(key)

    @rule(prefix=PREFIXES, limit=st.integers(0, 3))
    def scan(self, prefix: bytes, limit: int) -> None:
        expected = sorted(item for item in self.now.items() if item[0].startswith(prefix))
        found = [item for item in self.store.scan(prefix) if not item[0].startswith(b"m")]

        assert found == expected
        if prefix:
            assert self.store.scan(prefix, limit) == (expected[:limit] if limit else expected)

    @rule(after=st.integers(0, 5), limit=st.integers(0, 5))
    def read_entries(self, after: int, limit: int) -> None:
        assert self.store.entries(after, limit) == self.entries[: self.durable][after : after + limit]

    @invariant()
    def positions_agree(self) -> None:
        if not hasattr(self, "store"):
            return
        assert self.store.sequence == len(self.entries)
        assert self.store.durable_sequence == self.durable
        assert self.store.applied_sequence <= self.durable
        assert self.store.entry(len(self.entries) + 1) is None
        assert self.store.entry(len(self.entries)) == (self.entries[-1] if self.entries else None)

    def teardown(self) -> None:
        if getattr(self, "store", None) is not None:
            self.store.close()
        self.temporary.cleanup()


TestStoreIsADict = StoreMachine.TestCase
TestStoreIsADict.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


# --- Commits and crashes -----------------------------------------------------------------------------

CHILD = """
import sys
from tracecode import _native
store = _native.Store(sys.argv[1], map_size_bytes=1 << 26, overlay_bytes_max=1 << 22)
for sequence in range(store.applied_sequence + 1, store.sequence + 1):
    store.put(b"c%d" % (sequence % 50), store.entry(sequence))
    store.replayed(sequence)
def record():
    entry = b"entry %d " % (store.sequence + 1) + b"." * 300
    store.append(entry)
    store.put(b"c%d" % (store.sequence % 50), entry)
def say(*words):
    print(*words, flush=True)
"""


@contextmanager
def child(directory: Path, script: str) -> Iterator[subprocess.Popen[str]]:
    """Another process with the store open; killed, not closed, at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD + script, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def read_line(process: subprocess.Popen[str]) -> str:
    """The next line that the child says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_what_was_committed_survives_a_kill_and_what_was_not_does_not(directory: Path) -> None:
    """Pins durability: after commit returned, kill -9 takes nothing; before it, nothing is half there."""
    with child(
        directory, "record(); record(); store.commit(); record(); say(store.sequence); input()"
    ) as other:
        assert read_line(other) == "3"

    with open_store(directory) as store:
        assert store.sequence == 2
        assert [entry.split(b" .")[0] for entry in store.entries(0, 10)] == [b"entry 1", b"entry 2"]
        assert store.applied_sequence == 0


def test_a_kill_at_any_moment_leaves_an_index_that_the_journal_completes(directory: Path) -> None:
    """Pins that after kill -9 under flushes no acknowledged entry is gone, and that the index holds
    exactly what follows from the entries up to its applied_sequence."""
    moments = random.Random(20261122)
    acknowledged = 0
    applied = set()
    for _ in range(6):
        script = "while True: record(); store.commit(); store.flush(wait=False); say(store.durable_sequence)"
        with child(directory, script) as other:
            assert int(read_line(other)) > acknowledged
            time.sleep(moments.uniform(0.02, 0.2))
            other.kill()
            assert other.stdout is not None
            lines = other.stdout.read().splitlines(keepends=True)
            acknowledged = max(int(line) for line in lines if line.endswith("\n"))

        # Only read, so that the next child meets what the kill left.
        with open_store(directory, read_only=True) as store:
            sequence = store.applied_sequence
            assert sequence <= store.sequence
            assert store.sequence >= acknowledged
            entries = store.entries(0, store.sequence)
            assert len(entries) == store.sequence
            last = {b"c%d" % (number % 50): entry for number, entry in enumerate(entries[:sequence], 1)}
            assert dict(store.scan(b"c")) == last
            applied.add(sequence)

    assert len(applied) > 3


def test_nothing_is_added_before_the_replay_is_done(directory: Path) -> None:
    """Pins that an engine cannot forget to replay: entries are refused until every one was applied."""
    with child(directory, "record(); record(); store.commit(); say(); input()") as other:
        read_line(other)
    with open_store(directory) as store:
        assert (store.applied_sequence, store.sequence) == (0, 2)

        for write in (store.commit, lambda: store.append(b"entry 3")):
            with pytest.raises(ValueError, match="0 of 2 are done"):
                write()
        with pytest.raises(ValueError, match="entry 2 is not the next to replay"):
            store.replayed(2)

        store.put(b"cold", b"1")
        store.replayed(1)
        store.flush(wait=False)
    with open_store(directory) as store:
        assert (store.applied_sequence, store.sequence) == (1, 2)
        assert store.get(b"cold") == b"1"
        store.replayed(2)
        assert store.append(b"entry 3") == 3


@pytest.mark.parametrize("sectors", [range(1, 16), range(8), range(0)])
def test_a_file_that_a_power_cut_tore_as_it_was_made_is_made_again(directory: Path, sectors: range) -> None:
    """Pins that a ledger opens when the two pages that an index begins with reached the disk in part, and a
    ledger that was not made to the end when those of its journal did; nothing is in them."""

    def tear(name: str) -> None:
        file = directory / name / "data.mdb"
        pages = file.read_bytes()[: 2 * resource.getpagesize()]
        kept = (pages[at * 512 : at * 512 + 512] if at in sectors else bytes(512) for at in range(16))
        file.write_bytes(b"".join(kept))

    with child(directory, "record(); store.commit(); say(); input()") as other:
        read_line(other)
    assert (directory / "index" / "data.mdb").stat().st_size == 2 * resource.getpagesize()
    tear("index")
    with open_store(directory) as store:
        assert (store.applied_sequence, store.sequence) == (0, 1)

    (directory / "format").unlink()
    tear("index")
    tear("journal")
    with open_store(directory) as store:
        assert (store.applied_sequence, store.sequence) == (0, 0)


def test_a_torn_journal_of_a_ledger_is_never_made_again(directory: Path) -> None:
    """Pins that only what holds nothing is: a ledger's journal and a longer file are refused as damaged."""
    with open_store(directory) as store:
        store.append(b"first")
        store.put(b"cN", b"1")
        store.commit()
    for name in ("journal", "index"):
        file = directory / name / "data.mdb"
        whole = file.read_bytes()
        for torn in (bytes(512) + whole[512:], whole[:512]):
            if name == "index" and len(torn) <= 2 * resource.getpagesize():
                continue
            file.write_bytes(torn)
            with pytest.raises(DataLoss, match=r"is no meta page|cannot be read|cut short"):
                open_store(directory)
            assert file.read_bytes() == torn
        file.write_bytes(whole)


def test_a_commit_that_cannot_be_written_stops_the_store(directory: Path) -> None:
    """Pins that after a write error nothing more is taken, reads go on, and reopening tells the truth."""
    store = open_store(directory)
    store.append(b"first")
    store.put(b"cfirst", b"1")
    store.commit()
    store.append(b"x" * MIB)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file that may not grow: Python ignores SIGXFSZ, so LMDB's write is cut short as on a failing disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (128 * 1024, limits[1]))
    try:
        with pytest.raises(EngineStopped, match=r"writing .*ledger/journal: Input/output error"):
            store.commit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    for write in (
        store.commit,
        store.flush,
        lambda: store.append(b"x"),
        lambda: store.put(b"ck", b"v"),
        lambda: store.delete(b"ck"),
    ):
        with pytest.raises(EngineStopped, match="Input/output error"):
            write()
    assert store.get(b"cfirst") == b"1"
    assert store.entries(0, 5) == [b"first"]
    store.close()
    with open_store(directory) as again:
        assert again.sequence == 1


def test_a_full_journal_says_what_to_raise_and_loses_nothing(directory: Path) -> None:
    """Pins MDB_MAP_FULL of the journal: what does not fit leaves nothing, and a larger map takes up there."""
    store = open_store(directory, map_size_bytes=256 * 1024)

    def fill() -> None:
        while True:
            store.append(b"x" * 10_000)
            store.commit()

    for _ in range(2):
        with pytest.raises(StorageFull, match="larger map_size_bytes"):
            fill()
    durable = store.durable_sequence
    assert durable > 5
    assert store.entry(durable) == b"x" * 10_000
    store.close()

    with open_store(directory, map_size_bytes=MIB) as again:
        assert again.sequence == durable
        for sequence in range(again.applied_sequence + 1, durable + 1):
            again.replayed(sequence)
        again.append(b"x" * 10_000)
        again.commit()


def test_a_full_journal_takes_nothing_of_another_and_goes_on(directory: Path) -> None:
    """Pins MDB_MAP_FULL where entries of a backup are added: none of them is kept, and fewer of them fit."""
    with open_store(directory, map_size_bytes=256 * 1024) as store:
        store.extend_journal([b"x" * 10_000])
        with pytest.raises(StorageFull, match="larger map_size_bytes"):
            store.extend_journal([b"x" * 10_000] * 100)
        assert store.durable_sequence == 1
        store.extend_journal([b"y"])
        assert store.entries(1, 5) == [b"y"]


def test_a_full_index_keeps_its_records_readable_until_the_overlay_is_full(directory: Path) -> None:
    """Pins MDB_MAP_FULL in the background: the records stay in memory, and the journal brings them back."""
    store = open_store(directory, map_size_bytes=256 * 1024)
    store.append(b"one")
    for number in range(100):
        store.put(b"c%03d" % number, b"x" * 3000)
    store.commit()
    for _ in range(2):
        with pytest.raises(StorageFull, match=r"writing .*ledger/index: .*larger map_size_bytes"):
            store.flush()

    assert store.get(b"c007") == b"x" * 3000
    assert len(store.scan(b"c")) == 100
    for number in range(1_000):
        try:
            store.append(b"two")
        except Overloaded:
            break
        store.put(b"d%03d" % number, b"x" * 10_000)
        store.commit()
    else:
        pytest.fail("nothing pushed back")
    last = store.sequence
    assert store.get(b"d000") == b"x" * 10_000
    store.close()
    with open_store(directory, map_size_bytes=MIB) as again:
        assert (again.applied_sequence, again.sequence) == (0, last)
        assert again.scan(b"c") == []


def test_the_store_pushes_back_at_its_bound_and_recovers(directory: Path) -> None:
    """Pins Overloaded: an entry is refused whole, what was put before it is kept, a commit takes the load."""
    with open_store(directory) as store:

        def fill() -> None:
            while True:
                store.append(b"entry")
                store.put(b"c%d" % store.sequence, b"x" * 1000)

        with pytest.raises(Overloaded, match="overlay_bytes_max is 4194304") as refusal:
            fill()
        taken = store.sequence
        assert refusal.value.retry_after_seconds == 1.0
        assert 3000 < taken < 4500

        store.commit()
        store.flush()

        assert store.memory()["overlay_records"] == 0
        assert store.append(b"entry") == taken + 1
        assert store.get(b"c%d" % taken) == b"x" * 1000


def test_the_overlay_is_written_back_by_itself_from_half_its_bound(directory: Path) -> None:
    """Pins that commits alone keep the overlay small: nobody has to call flush."""
    with open_store(directory, sync=False) as store:
        for batch in range(100):
            while store.sequence == batch:
                try:
                    store.append(b"entry")
                except Overloaded:
                    time.sleep(0.001)
            for number in range(200):
                store.put(b"c%d" % (batch * 200 + number), b"x" * 500)
            store.commit()
            memory = store.memory()
            assert memory["overlay_bytes"] + memory["frozen_bytes"] < 5 * MIB

        assert store.applied_sequence > 0
        store.flush()
        assert store.applied_sequence == 100
        assert len(store.scan(b"c")) == 20_000


def test_readers_see_every_commit_whole_while_it_is_written_back(directory: Path) -> None:
    """Pins that get, scan and entries beside commits and flushes never see an older value than before,
    nor a record missing between the overlay and the index."""
    store = open_store(directory, sync=False)
    for key in range(20):
        store.put(b"c%02d" % key, (0).to_bytes(4, "big"))
    store.append(b"0")
    store.commit()
    ended = threading.Event()
    rounds = [0, 0, 0]

    def read_values() -> None:
        seen = [0] * 20
        while not ended.is_set():
            for key in range(20):
                value = int.from_bytes(store.get(b"c%02d" % key) or b"\xff", "big")
                assert seen[key] <= value < 1 << 24
                seen[key] = value
            rounds[0] += 1

    def read_ranges() -> None:
        seen = [0] * 20
        while not ended.is_set():
            values = [int.from_bytes(value, "big") for _, value in store.scan(b"c")]
            assert len(values) == 20
            assert all(old <= new for old, new in zip(seen, values, strict=True))
            seen = values
            rounds[1] += 1

    def read_entries() -> None:
        while not ended.is_set():
            durable = store.durable_sequence
            assert store.entries(durable - 1, 1) == [str(durable - 1).encode()]
            assert (store.entry(store.sequence) or b"").isdigit()
            rounds[2] += 1

    failures: list[BaseException] = []

    def run(read: object) -> None:
        try:
            read()  # type: ignore[operator]
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=run, args=(read,)) for read in (read_values, read_ranges, read_entries)
    ]
    for thread in threads:
        thread.start()
    begin = time.monotonic()
    turn = 0
    # Two seconds, and where the machine is busy until each of them had its turns.
    while not failures and time.monotonic() < begin + (2 if min(*rounds, turn) > 20 else 60):
        turn += 1
        for key in range(20):
            store.put(b"c%02d" % key, turn.to_bytes(4, "big"))
        store.append(str(turn).encode())
        store.commit()
        store.flush(wait=turn % 7 == 0)
    ended.set()
    for thread in threads:
        thread.join()
    store.close()

    assert failures == []
    assert min(*rounds, turn) > 20


def test_an_end_without_close_costs_a_replay_and_nothing_else(directory: Path) -> None:
    """Pins that a store that is only dropped lets go of its files, and that close may be called twice."""
    store = open_store(directory)
    store.append(b"one")
    store.commit()
    del store

    again = open_store(directory)
    assert (again.applied_sequence, again.sequence) == (0, 1)
    again.replayed(1)
    again.close()
    again.close()
    for read in (
        lambda: again.get(b"c"),
        lambda: again.scan(b"c"),
        lambda: again.entries(0, 1),
        again.memory,
    ):
        with pytest.raises(EngineStopped, match="is closed"):
            read()
    assert again.sequence == 1


# --- Damage ------------------------------------------------------------------------------------------

MARK = b"\xa5\x5a\xc3\x3c" * 8


def damage(file: Path) -> None:
    """Flip one bit of the marked value, wherever LMDB put it."""
    data = bytearray(file.read_bytes())
    places = [at for at in range(len(data)) if data.startswith(MARK, at)]
    assert places
    for place in places:
        data[place + 5] ^= 0x10
    file.write_bytes(data)


def test_a_flipped_bit_in_the_index_is_named_not_answered(directory: Path) -> None:
    """Pins the checksum of index records: DataLoss names the record, its neighbours are still answered,
    and an index that is deleted comes back from the journal."""
    with open_store(directory) as store:
        store.append(b"one")
        store.put(b"cgood", b"1")
        store.put(b"cmarked", MARK)
        store.commit()
    damage(directory / "index" / "data.mdb")

    with pytest.raises(
        DataLoss, match=r"page .* has a record that does not match its checksum, [0-9a-f]+; .*fsck --repair"
    ):
        open_store(directory)
    with open_store(directory, full_check=False) as store:
        assert store.get(b"cgood") == b"1"
        for read in (lambda: store.get(b"cmarked"), lambda: store.scan(b"c")):
            with pytest.raises(DataLoss, match=f"record {b'cmarked'.hex()} of .* rebuilt from the journal"):
                read()
    for file in (directory / "index").iterdir():
        file.unlink()
    with open_store(directory) as store:
        assert (store.applied_sequence, store.sequence) == (0, 1)


def test_a_flipped_bit_in_the_journal_is_named_not_answered(directory: Path) -> None:
    """Pins the checksum of entries."""
    with open_store(directory) as store:
        store.append(b"one")
        store.append(MARK)
        store.append(b"three")
        store.commit()
    damage(directory / "journal" / "data.mdb")

    with open_store(directory) as store:
        assert store.entries(0, 1) == [b"one"]
        assert store.entry(3) == b"three"
        for read in (lambda: store.entry(2), lambda: store.entries(0, 3)):
            with pytest.raises(DataLoss, match=r"entry 2 of .*journal does not match its checksum"):
                read()


# --- Who may open what -------------------------------------------------------------------------------


def test_a_second_process_is_refused_by_name(directory: Path) -> None:
    """Pins that two writers never meet: the sentence names the directory and the process that has it."""
    with child(directory, "say(); input()") as other:
        read_line(other)

        with pytest.raises(EngineStopped, match=f"ledger is in use by another process .{other.pid}."):
            open_store(directory)

    open_store(directory).close()


def test_a_second_store_in_one_process_is_refused(directory: Path) -> None:
    """Pins that LMDB never sees one environment twice in a process, not even through another name."""
    with open_store(directory):
        (directory.parent / "other").symlink_to(directory)
        for name in (directory, directory.parent / "other"):
            with pytest.raises(EngineStopped, match="open in this process already"):
                open_store(name, read_only=True)


def test_another_process_may_read_beside_the_writer(directory: Path) -> None:
    """Pins read_only: it follows the writer's commits and flushes, and cannot write."""
    script = """
for line in sys.stdin:
    record(); store.flush(); say(store.sequence)
"""
    with child(directory, script) as other:
        assert other.stdin is not None
        print(file=other.stdin, flush=True)
        read_line(other)
        with open_store(directory, read_only=True, map_size_bytes=MIB) as store:
            assert (store.sequence, store.applied_sequence) == (1, 1)
            assert store.get(b"c1") == store.entry(1)
            print(file=other.stdin, flush=True)
            read_line(other)
            assert (store.sequence, store.applied_sequence) == (2, 2)
            assert store.get(b"c2") == store.entry(2)
            with pytest.raises(EngineStopped, match="for reading only"):
                store.put(b"c2", b"")


@pytest.mark.parametrize("name", ["journal", "index"])
def test_a_file_that_says_it_has_more_pages_than_its_map_is_damaged(directory: Path, name: str) -> None:
    """Pins one flipped bit of a meta page, for which LMDB would ask for a map of terabytes."""
    with open_store(directory) as store:
        store.append(b"one")
        store.commit()
    file = directory / name / "data.mdb"
    data = bytearray(file.read_bytes())
    for page in (0, os.sysconf("SC_PAGE_SIZE")):
        data[page + 141] ^= 8
    file.write_bytes(data)

    with pytest.raises(DataLoss, match=f"{name}/data.mdb: page [01] says that the file ends behind its map"):
        open_store(directory)


def test_who_only_reads_is_told_that_the_index_was_only_begun(directory: Path) -> None:
    """Pins the sentence for what a kill leaves when an index is made again; the next start makes it whole."""
    with open_store(directory) as store:
        store.append(b"1")
        store.commit()
    (directory / "index" / "data.mdb").write_bytes(b"")

    with pytest.raises(DataLoss, match="index is gone, or was only begun; the next start rebuilds it"):
        open_store(directory, read_only=True)

    with open_store(directory) as store:
        assert (store.sequence, store.applied_sequence) == (1, 0)


def test_the_ledger_is_nobody_elses_to_read(directory: Path) -> None:
    """Pins the permissions of a new directory: persons' tokens are hashed, but sales are sales."""
    open_store(directory).close()

    for path in (directory, directory / "journal", directory / "index"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_ledger_of_the_future_is_refused(directory: Path) -> None:
    """Pins the format number, in the file and in the index; a directory refused is left as it was."""
    with open_store(directory) as store:
        store.put(records.meta_key("format"), records.U64.pack(records.INDEX_FORMAT + 1))
        store.flush()
    with pytest.raises(EngineStopped, match=r"index has layout 3 .* delete .*index"):
        open_store(directory)
    (directory / "format").write_text("tracecode format 12\n")
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("data.mdb")}

    with pytest.raises(EngineStopped, match="holds format 12 and this release reads format 1"):
        open_store(directory)

    assert {path: path.stat().st_mtime_ns for path in directory.rglob("data.mdb")} == before
    assert _native.FORMAT == records.FORMAT


def test_a_directory_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    """Pins that nothing is written among somebody's files, and that a lost part is said to be lost."""
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(EngineStopped, match="is not empty and holds no ledger"):
        open_store(tmp_path)
    with pytest.raises(EngineStopped, match="holds no ledger"):
        open_store(tmp_path / "nothing", read_only=True)
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "photo.jpg").unlink()

    with open_store(tmp_path) as store:
        store.append(b"one")
        store.commit()
    (tmp_path / "format").rename(tmp_path / "format.lost")
    with pytest.raises(EngineStopped, match="is not empty and holds no ledger"):
        open_store(tmp_path)
    (tmp_path / "format.lost").unlink()
    with pytest.raises(DataLoss, match="has a journal but no file `format`"):
        open_store(tmp_path)
    (tmp_path / "format").write_text("tracecode format one\n")
    with pytest.raises(DataLoss, match="does not read 'tracecode format 1'"):
        open_store(tmp_path)
    (tmp_path / "format").write_text("tracecode format 1\n")
    os.rename(tmp_path / "journal", tmp_path / "elsewhere")
    with pytest.raises(DataLoss, match="has lost its journal"):
        open_store(tmp_path)


def test_a_journal_older_than_its_index_is_refused(tmp_path: Path) -> None:
    """Pins that a journal restored from a backup does not answer from the index of its successor."""
    for name, count in (("long", 2), ("short", 1)):
        with open_store(tmp_path / name) as store:
            for number in range(count):
                store.append(b"entry %d" % number)
            store.commit()
    (tmp_path / "short/journal/data.mdb").replace(tmp_path / "long/journal/data.mdb")

    with pytest.raises(DataLoss, match="complete up to entry 2, but the journal ends with 1"):
        open_store(tmp_path / "long")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda store: store.put(b"", b"v"), "a key has 1 to 511 bytes, not 0"),
        (lambda store: store.put(b"k" * 512, b"v"), "a key has 1 to 511 bytes, not 512"),
        (lambda store: store.delete(b"k" * 512), "a key has 1 to 511 bytes, not 512"),
        (lambda store: store.append(b""), "an entry has 1 to 67108864 bytes, not 0"),
        (lambda store: store.__init__("x", map_size_bytes=1, overlay_bytes_max=1 << 22), "opened once"),
        (
            lambda store: open_store(store.directory + "2", overlay_bytes_max=1),
            "overlay_bytes_max must be at least 4194304",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(directory: Path, act: object, message: str) -> None:
    """Pins the bounds of keys, entries and options."""
    with open_store(directory) as store, pytest.raises(ValueError, match=message):
        act(store)  # type: ignore[operator]


# --- The checksum ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0x00000000),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_the_checksum_is_crc32c(data: bytes, crc: int) -> None:
    """Pins the examples of RFC 3720 B.4, with the processor's instruction and without."""
    assert _native.crc32c(data) == crc
    assert _native._crc32c_by_table(data) == crc


def test_the_checksum_of_parts_is_that_of_the_whole() -> None:
    """Pins the seed, at every length and cut of a word, and that both ways of counting agree."""
    data = random.Random(7).randbytes(40)
    for size in range(41):
        whole = _native.crc32c(data[:size])
        assert _native._crc32c_by_table(data[:size]) == whole
        for cut in range(size + 1):
            assert _native.crc32c(data[cut:size], _native.crc32c(data[:cut])) == whole
