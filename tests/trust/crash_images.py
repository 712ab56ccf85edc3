"""What a power cut may leave of a ledger's two files, made from a record of every write and sync.

Between two syncs any part of what was written may be on the disk and any other part not, in any order, and a
write may be torn at 512 bytes. An image is one such choice for both files. It is opened, read, completed
from its journal, written to, and read once more. LMDB writes its meta page through a descriptor with
O_DSYNC: that write alone is durable when it returns.
"""

from __future__ import annotations

import os
import pickle
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from documents import FAR, SHOP

from tracecode import fsck
from tracecode._native import FORMAT, Store
from tracecode.engine.index import Index
from tracecode.engine.lmdb import replay
from tracecode.engine.memory import MemoryStore
from tracecode.v1 import journal_pb2
from trust import recording
from trust.recording import Answer, Checked, judged_documents, sell, stock

SECTOR_BYTES = 512
FILES = ("journal", "index")
MAP_SIZE_BYTES = 2**26
WHOLE_EACH = 500
"""Every so many images, fsck reads the ledger besides."""
SEED = 20261122
AGAIN_EACH = 4
"""And every so many, it is opened once more after it was written to."""
OWN_OF_STORE = fsck.OWN_OF_STORE


# --- the record ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that go to one of the files; not on the disk before a sync of it, or its own end."""

    file: str
    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Sync:
    """All that was written to a file is on the disk; with `only`, that write alone is."""

    file: str
    only: Write | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """The ledger has its file `format`: it is made."""


Event = Write | Sync | Named | Answer


def record(folder: Path, answers: Path, gate: Connection) -> None:
    """What is recorded: a ledger is made, told plain and judged documents, and flushed now and then."""
    file = os.open(answers, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    gate.recv()
    ledger = recording.open_ledger(folder)
    position = 0
    groups = [
        (stock(SHOP, "RK1", range(40)),),
        *((sell(SHOP, serial),) for serial in range(20, 24)),
        tuple(sell(SHOP, serial) for serial in range(24, 30)),
        *((document,) for document in judged_documents()),
        (stock(SHOP, "RK9", range(40, 60)), sell(FAR, 20), sell(SHOP, 41)),
        (sell(SHOP, 42),),
    ]
    for number, group in enumerate(groups):
        for answer in recording.tell(ledger, group, position):
            os.write(file, str(answer).encode())
        position += len(group)
        if number % 3 == 1:
            recording.native_of(ledger).flush()
    ledger.close()
    os._exit(0)


_CALLS = "openat,close,lseek,write,pwrite64,writev,pwritev,fdatasync,fsync,msync,ftruncate,rename"
TRACE_OPTIONS = ("-xx", "-s", "1000000", "-e", f"trace={_CALLS}")
_LINE = re.compile(r"(\d+) +(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def _bytes_of(texts: str) -> bytes:
    return b"".join(bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(texts))


class Trace:
    """Reads strace's lines as what happened to the two files."""

    def __init__(self, folder: Path, answers: Path) -> None:
        self._paths = {str(folder / name / "data.mdb"): name for name in FILES} | {str(answers): "answers"}
        self._format = str(folder / "format")
        self._open: dict[int, tuple[str, bool]] = {}
        self._at: dict[int, int] = {}

    def read(self, lines: Iterable[str]) -> list[Event]:
        """All that happened. A write counts from its begin, a sync from its end."""
        events: list[Event | None] = []
        begun: dict[str, tuple[str, int]] = {}
        for line in lines:
            found = _LINE.match(line)
            if found is None:
                continue
            thread, text = found.groups()
            begin = len(events)
            if text.endswith("<unfinished ...>"):
                begun[thread] = text.removesuffix("<unfinished ...>").rstrip(), begin
                # A place for what counts from here.
                events.append(None)
                continue
            if text.startswith("<... "):
                head, begin = begun.pop(thread)
                text = head + text.partition("resumed>")[2]
            call = _CALL.match(text)
            if call is None:
                continue
            written, ended = self._read_call(call[1], call[2], int(call[3]))
            if begin < len(events) and written:
                events[begin] = written[0]
                written = written[1:]
            events += [*written, *ended]
        return [event for event in events if event is not None]

    def _read_call(self, name: str, arguments: str, result: int) -> tuple[list[Event], list[Event]]:
        """What counts from its begin, and what from its end."""
        if result < 0:
            return [], []
        if name == "openat":
            file = self._paths.get(_bytes_of(arguments).decode())
            if file is not None:
                self._open[result] = file, "O_DSYNC" in arguments
            return [], []
        if name == "rename":
            renamed = [Named()] if _bytes_of(arguments).decode().endswith(self._format) else []
            return [], [*renamed]
        descriptor = int(arguments.partition(",")[0])
        if descriptor not in self._open:
            return [], []
        file, durable = self._open[descriptor]
        if name == "close":
            del self._open[descriptor]
        if name == "lseek":
            self._at[descriptor] = result
        if name in ("fdatasync", "fsync"):
            return [], [Sync(file)]
        if name not in ("write", "pwrite64", "writev"):
            assert name in ("close", "lseek"), f"{name} is not understood here"
            return [], []
        content = _bytes_of(arguments)
        assert len(content) == result, f"{name} wrote {result} of {len(content)} bytes"
        if file == "answers":
            return [Answer.parse(text) for text in content.decode().splitlines()], []
        offset = int(arguments.rpartition(",")[2]) if name == "pwrite64" else self._at[descriptor]
        if name != "pwrite64":
            self._at[descriptor] = offset + result
        write = Write(file, offset, content)
        return [write], [Sync(file, write)] if durable else []


# --- moments ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moment:
    """Just before a sync: what is on the disk for certain, what may be, and what was acknowledged."""

    made: bool
    durable: dict[str, bytes]
    pending: dict[str, tuple[Write, ...]]
    acknowledged: int
    """Entries."""

    @property
    def sectors(self) -> int:
        """How much may be on the disk or not."""
        return sum(len(write.content) // SECTOR_BYTES + 1 for one in self.pending.values() for write in one)


def put(content: bytearray, offset: int, data: bytes) -> None:
    """Write into a file, which grows where it must."""
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def find_moments(events: Iterable[Event], *, syncs_ignored: bool = False) -> list[Moment]:
    """Every moment that ends a time in which something was pending, and the last one. With `syncs_ignored`,
    which is sabotage, the disk says that it has synced and has not."""
    durable = {name: bytearray() for name in FILES}
    pending: dict[str, list[Write]] = {name: [] for name in FILES}
    moments = []
    made = False
    acknowledged = 0

    def add() -> None:
        if any(pending.values()):
            moments.append(
                Moment(
                    made,
                    {name: bytes(content) for name, content in durable.items()},
                    {name: tuple(writes) for name, writes in pending.items()},
                    acknowledged,
                )
            )

    for event in events:
        match event:
            case Write():
                pending[event.file].append(event)
            case Sync(only=None) if syncs_ignored:
                add()
            case Sync():
                add()
                through = pending[event.file] if event.only is None else [event.only]
                for write in through:
                    put(durable[event.file], write.offset, write.content)
                pending[event.file] = [write for write in pending[event.file] if write not in through]
            case Named():
                made = True
            case Answer():
                acknowledged = max(acknowledged, event.sequence)
    add()
    return moments


def chance_of(seed: str, number: int) -> random.Random:
    """Of one image, so that it can be made again alone."""
    return random.Random(f"{seed}/{number}")


def make_image(moment: Moment, chance: random.Random) -> tuple[dict[str, bytes], int]:
    """What may be on the disk after a cut at this moment, and a number that tells the choice from others."""
    image = {}
    chosen = []
    for name in FILES:
        content = bytearray(moment.durable[name])
        pieces = [
            (write.offset + at, write.content[at : at + SECTOR_BYTES - (write.offset + at) % SECTOR_BYTES])
            for write in moment.pending[name]
            for at in _sector_starts(write)
        ]
        kept = _choose(len(pieces), chance)
        for number in kept:
            put(content, *pieces[number])
        if pieces and chance.random() < 0.25:
            # The file has grown, but not what it has grown by.
            longest = max(offset + len(data) for offset, data in pieces)
            content.extend(bytes(max(0, longest - len(content))))
        chosen.append((name, len(content), tuple(kept)))
        image[name] = bytes(content)
    return image, hash(tuple(chosen))


def _sector_starts(write: Write) -> Iterator[int]:
    at = 0
    while at < len(write.content):
        yield at
        at += SECTOR_BYTES - (write.offset + at) % SECTOR_BYTES


def _choose(count: int, chance: random.Random) -> list[int]:
    """Some of the sectors, in the order in which they were written where one was written twice."""
    way = chance.randrange(12)
    if way == 0:
        begin, end = sorted((chance.randint(0, count), chance.randint(0, count)))
        return [*range(begin, end)]
    if way == 1:
        begin, end = sorted((chance.randint(0, count), chance.randint(0, count)))
        return [*range(begin), *range(end, count)]
    share = chance.choice((0.2, 0.35, 0.5, 0.65, 0.8))
    return [number for number in range(count) if chance.random() < share]


# --- what must hold -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expected:
    """The whole journal, and the index that follows from so many of its entries, for each number of them."""

    journal: tuple[bytes, ...]
    indexes: tuple[tuple[tuple[bytes, bytes], ...], ...]

    @classmethod
    def read(cls, folder: Path) -> Expected:
        """Of the ledger that was recorded."""
        with Store(
            str(folder), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=2**22, read_only=True
        ) as store:
            journal = tuple(store.entries(0, store.sequence))
        memory = MemoryStore()
        index = Index(memory)
        indexes: list[tuple[tuple[bytes, bytes], ...]] = [()]
        for value in journal:
            memory.append(value)
            index.apply(journal_pb2.JournalEntry.FromString(value))
            memory.commit()
            indexes.append(tuple(sorted(row for row in memory.dump().items() if row[0] not in OWN_OF_STORE)))
        return cls(journal, tuple(indexes))


def _index(store: Store) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(row for row in store.scan(b"") if row[0] not in OWN_OF_STORE)


def _open(folder: Path) -> Store:
    return Store(str(folder), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=2**22)


def check(folder: Path, moment: Moment, expected: Expected, *, again: bool, whole: bool) -> Checked:
    """Hold an image, which lies in the folder, against what must be left of the ledger."""
    store = _open(folder)
    kept = store.entries(0, store.sequence)
    if len(kept) < moment.acknowledged:
        return Checked(lost=moment.acknowledged - len(kept), reasons=(f"{len(kept)} entries",))
    if kept != list(expected.journal[: len(kept)]):
        return Checked(wrong=1, reasons=("the journal is another",))
    if _index(store) != expected.indexes[store.applied_sequence]:
        return Checked(wrong=1, reasons=("the index is not that of its last entry",))
    replay(store)
    if _index(store) != expected.indexes[len(kept)]:
        return Checked(wrong=1, reasons=("replay ends in another index",))
    if whole:
        store.close()
        report = fsck.check(folder)
        if not report.ok:
            return Checked(wrong=1, reasons=report.lines[:1])
        store = _open(folder)
    store.append(b"one more")
    store.put(b"cN", b"one more")
    store.commit()
    store.flush()
    store.close()
    if again:
        store = _open(folder)
        if store.entries(0, 10_000) != [*kept, b"one more"] or store.applied_sequence != len(kept) + 1:
            return Checked(wrong=1, reasons=("what was written afterwards is not there",))
        if store.get(b"cN") != b"one more":
            return Checked(wrong=1, reasons=("a record written afterwards is not there",))
        store.close()
    return Checked()


def _lay(folder: Path, made: bool, image: dict[str, bytes]) -> None:
    for name in FILES:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "data.mdb").write_bytes(image[name])
    if made:
        (folder / "format").write_bytes(b"tracecode format %d\n" % FORMAT)
    else:
        (folder / "format").unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Images:
    """What came of them."""

    tries: int
    distinct: int
    checked: Checked


def try_images(folder: Path, moments: list[Moment], expected: Expected, count: int, seed: str) -> Images:
    """Make and check so many images, of each moment as many as it has choices for. They are opened in a
    process that is forked for them, and forked again where one kills it."""
    weights = [min(moment.sectors, 64) for moment in moments]
    plan = random.Random(seed).choices(range(len(moments)), weights, k=count)
    outcomes: Counter[str] = Counter()
    seen: set[tuple[int, int]] = set()
    checked = Checked()
    done = 0
    while done < count:
        theirs, ours = os.pipe()
        child = os.fork()
        if not child:
            os.close(theirs)
            os._exit(_try_from(done, folder, moments, plan, expected, seed, ours))
        os.close(ours)
        with os.fdopen(theirs, "r") as results:
            for line in results:
                choice, *numbers, reason = line.rstrip("\n").split("\t")
                seen.add((plan[done], int(choice)))
                outcomes["tries"] += 1
                lost, wrong = map(int, numbers)
                if lost or wrong:
                    named = f"image {done} of {seed}: {reason}"
                    checked += Checked(lost=lost, wrong=wrong, reasons=(named,) * (len(checked.reasons) < 5))
                done += 1
        _, status = os.waitpid(child, 0)
        if done < count:
            named = f"image {done} of {seed} ended its process with {os.waitstatus_to_exitcode(status)}"
            checked += Checked(aborts=1, reasons=(named,) * (len(checked.reasons) < 5))
            outcomes["tries"] += 1
            done += 1
    return Images(outcomes["tries"], len(seen), checked)


def _try_from(
    first: int,
    folder: Path,
    moments: list[Moment],
    plan: list[int],
    expected: Expected,
    seed: str,
    results: int,
) -> int:
    for number in range(first, len(plan)):
        moment = moments[plan[number]]
        image, choice = make_image(moment, chance_of(seed, number))
        _lay(folder, moment.made, image)
        try:
            checked = check(
                folder, moment, expected, again=number % AGAIN_EACH == 0, whole=number % WHOLE_EACH == 1
            )
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            checked = Checked(wrong=1, reasons=(text,))
        if not checked.ok:
            # What it left open would be in the way of the next.
            shutil.rmtree(folder)
            folder = folder.with_name(f"{folder.name.partition('-')[0]}-{number}")
        reason = checked.reasons[0] if checked.reasons else ""
        os.write(results, f"{choice}\t{checked.lost}\t{checked.wrong}\t{reason}\n".encode())
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def work(recorded: Path, folder: Path, worker: int, workers: int, count: int) -> Images:
    """One worker's share: every so many moments of what was recorded."""
    events, ledger, syncs_ignored = pickle.loads(recorded.read_bytes())
    # In the record those with little pending follow those with much: in turns, one worker would get them all.
    moments = sorted(find_moments(events, syncs_ignored=syncs_ignored), key=lambda moment: moment.sectors)
    seed = f"{SEED}, worker {worker}"
    return try_images(folder, moments[worker::workers], Expected.read(ledger), count, seed)
