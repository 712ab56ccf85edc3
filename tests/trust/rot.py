"""A program that damages copies of a small ledger, opens each in a child, and compares what it says.

Arguments: the folder of the ledger, a folder for copies, the kind of damage, a seed, how many tries, and
`checked` or `unchecked`. It prints how the tries ended, as JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

import lmdb
from documents import HOUR, NOON, SHOP, code, line, sale

from tracecode._native import Store, crc32c
from tracecode.errors import DataLoss
from tracecode.v1 import finding_pb2
from trust.small_ledger import MAP_SIZE_BYTES, ask_all, open_small, read_clock

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
FILES = ("journal/data.mdb", "index/data.mdb")
OLDER = "older"
"""Beside the ledger: what it was in earlier days, for meta pages that were once right."""
SECONDS_MAX = 120
RIGHT, LOSS, WRONG = 0, 10, 20

Record = tuple[bytes, bytes]


def flip(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    """One bit. Mostly in a page that has something on it, or most would fall into room that is free."""
    page = rng.randrange(len(data) // PAGE_BYTES)
    at = page * PAGE_BYTES + (rng.randrange(PAGE_BYTES) if rng.random() < 0.5 else rng.randrange(200))
    data[at] ^= 1 << rng.randrange(8)


def flip_tail(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    """One bit where records lie: at the end of a page."""
    page = rng.randrange(2, len(data) // PAGE_BYTES)
    at = (page + 1) * PAGE_BYTES - 1 - rng.randrange(1500)
    data[at] ^= 1 << rng.randrange(8)


def swap(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    """Two pages change places, or one is written over another."""
    one, other = (page * PAGE_BYTES for page in rng.sample(range(len(data) // PAGE_BYTES), 2))
    first, second = data[one : one + PAGE_BYTES], data[other : other + PAGE_BYTES]
    data[one : one + PAGE_BYTES] = second
    if rng.random() < 0.7:
        data[other : other + PAGE_BYTES] = first


def truncate(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    """The end is gone, at a page's end or anywhere."""
    size = rng.randrange(len(data))
    del data[size - size % PAGE_BYTES if rng.random() < 0.5 else size :]


def age_meta(rng: random.Random, data: bytearray, older: list[bytes]) -> None:
    """A meta page is what it was before, or nothing, or both are."""
    for page in rng.choice([(0,), (1,), (0, 1)]):
        at = page * PAGE_BYTES
        past = rng.choice([*older, bytes(len(data)), bytes(data)[PAGE_BYTES : 2 * PAGE_BYTES] * 2])
        data[at : at + PAGE_BYTES] = past[at : at + PAGE_BYTES]


def blank(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    """A sector, or a page, of zeros or of noise."""
    size = rng.choice([512, PAGE_BYTES])
    at = rng.randrange(len(data) // size) * size
    data[at : at + size] = bytes(size) if rng.random() < 0.5 else rng.randbytes(size)


DAMAGES = {
    "flip": (flip, flip_tail),
    "swap": (swap,),
    "truncate": (truncate,),
    "meta": (age_meta,),
    "blank": (blank,),
}


def read_records(folder: Path) -> tuple[list[Record], list[bytes]]:
    """All records of the index but the one that says how far it is written back, and all entries."""
    with Store(str(folder), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=2**23, read_only=True) as store:
        records = [(key, value) for key, value in store.scan(b"") if key != b"mapplied_sequence"]
        return records, store.entries(0, 10**6)


def read_checked(
    folder: Path, records: list[Record], entries: list[bytes], answers: dict[str, bytes], thorough: bool
) -> int:
    """Open it as the service does and read all; what came of it."""
    try:
        ledger = open_small(folder)
    except DataLoss:
        return LOSS
    store = ledger.engine.native  # type: ignore[attr-defined]
    end = RIGHT
    for key, value in records:
        try:
            if store.get(key) != value:
                return WRONG
        except DataLoss:
            end = LOSS
        try:
            if store.get(key + b"\0") is not None:
                return WRONG
        except DataLoss:
            end = LOSS
    for sequence, entry in enumerate(entries, 1):
        try:
            if store.entry(sequence) != entry:
                return WRONG
        except DataLoss:
            end = LOSS
    if not thorough:
        ledger.close()
        return end
    for question, answer in ask_all(ledger).items():
        if answer == b"DataLoss":
            end = LOSS
        elif answer != answers[question]:
            return WRONG
    for number in range(20):
        try:
            (verdict,) = ledger.record([sale(SHOP, f"NEW{number}", NOON + HOUR, line(code(50_000 + number)))])
        except DataLoss:
            return LOSS
        if not isinstance(verdict, finding_pb2.Verdict) or verdict.sequence <= len(entries):
            return WRONG
    ledger.close()
    ledger = open_small(folder)
    again = ask_all(ledger)
    ledger.close()
    same = all(
        again[question] in (answer, b"DataLoss")
        for question, answer in answers.items()
        if question[:4] in ("code", "sale")
    )
    return end if same else WRONG


def read_unchecked(folder: Path, records: list[Record]) -> int:
    """Look everything up by LMDB alone, without a look at its pages: what the checks are there to prevent."""
    end = RIGHT
    try:
        with (
            lmdb.open(str(folder / "index"), readonly=True, lock=False, map_size=MAP_SIZE_BYTES) as index,
            index.begin() as snapshot,
        ):
            for key, value in records:
                stored = snapshot.get(key)
                if stored is None:
                    return WRONG
                if crc32c(key + stored[4:]) != int.from_bytes(stored[:4], "little"):
                    end = LOSS
                elif stored[4:] != value:
                    return WRONG
    except lmdb.Error:
        return LOSS
    return end


def run(ledger: Path, scratch: Path, kind: str, seed: int, tries: int, checked: bool) -> dict[str, int]:
    """How so many tries ended."""
    rng = random.Random(f"{kind} {seed}")
    records, entries = read_records(ledger)
    answers = ask_copy(ledger, scratch)
    contents = {name: (ledger / name).read_bytes() for name in FILES}
    older = {
        name: [path.read_bytes() for path in sorted((ledger.parent / OLDER).glob(f"*/{name}"))]
        for name in FILES
    }
    ends: Counter[str] = Counter()
    for number in range(tries):
        name = rng.choice(FILES)
        data = bytearray(contents[name])
        before = bytes(data)
        while data == before:
            rng.choice(DAMAGES[kind])(rng, data, older[name])
        copy(ledger, scratch, contents | {name: bytes(data)})
        thorough = number % 40 == 0
        child = os.fork()
        if child == 0:
            end = 99
            try:
                signal.alarm(SECONDS_MAX)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                end = (
                    read_checked(scratch, records, entries, answers, thorough)
                    if checked
                    else read_unchecked(scratch, records)
                )
            finally:
                os._exit(end)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            ends["aborts"] += 1
        else:
            ends[{RIGHT: "right", LOSS: "loss", WRONG: "wrong"}.get(os.WEXITSTATUS(status), "failed")] += 1
        if os.WIFSIGNALED(status) or os.WEXITSTATUS(status) not in (RIGHT, LOSS):
            ends[f"try {number} of {name}"] = status
    return dict(ends)


def copy(ledger: Path, scratch: Path, contents: dict[str, bytes]) -> None:
    """A copy of the ledger with these files."""
    shutil.rmtree(scratch, ignore_errors=True)
    for name, content in contents.items():
        (scratch / name).parent.mkdir(parents=True)
        (scratch / name).write_bytes(content)
    shutil.copy(ledger / "format", scratch / "format")


def ask_copy(ledger: Path, scratch: Path) -> dict[str, bytes]:
    """What a copy answers; in a child, since a process that has threads is not forked."""
    copy(ledger, scratch, {name: (ledger / name).read_bytes() for name in FILES})
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        opened = open_small(scratch)
        said = ask_all(opened)
        opened.close()
        with os.fdopen(writing, "w") as pipe:
            json.dump({question: answer.hex() for question, answer in said.items()}, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answers = {question: bytes.fromhex(answer) for question, answer in json.load(pipe).items()}
    os.waitpid(child, 0)
    return answers


if __name__ == "__main__":
    read_clock()
    given = sys.argv[1:]
    print(
        json.dumps(
            run(Path(given[0]), Path(given[1]), given[2], int(given[3]), int(given[4]), given[5] == "checked")
        )
    )
