"""The auditor: is the log what it was, and do journal and receipts agree with it?

Stands alone: of the project it needs the arithmetic (tree.py), the forms (note.py, checkpoint.py, tiles.py,
receipt.py), and nothing that it checks. A *kept* checkpoint is one that the auditor stored at another time,
out of reach of whoever runs the log; only against it can a log be found out whose owner has the key.

What is found are deviations: each says what was done, to which entries, and how that was seen.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tracecode.proof import checkpoint as checkpoints
from tracecode.proof import receipt as receipts
from tracecode.proof.checkpoint import Checkpoint, SignedCheckpoint
from tracecode.proof.note import NoteInvalid, PublicKey, cosigned_at_seconds
from tracecode.proof.receipt import ReceiptInvalid
from tracecode.proof.tiles import (
    CHECKPOINT,
    WIDTH,
    Fetch,
    LogDamaged,
    TileReader,
    fold_tile,
    read_entries,
    read_tile,
)
from tracecode.proof.tree import (
    find_root,
    hash_leaf,
    is_consistent,
    is_included,
    prove_consistency,
)

WINDOW = 1024
"""How far an entry may have moved and still be recognized."""
EDITED_RUN_MAX = 32
"""Of so many edited entries in a row the next are looked for elsewhere only now and then: a look is dear."""


class Change(StrEnum):
    """What was done."""

    EDITED = "edited"
    DELETED = "deleted"
    INSERTED = "inserted"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    FORKED = "forked"
    ROLLED_BACK = "rolled back"
    DAMAGED = "damaged"
    """A file of the log, or an entry, cannot be read or does not fit the checkpoint."""
    UNSIGNED = "unsigned"
    """No trusted key vouches for the checkpoint."""
    VERDICT = "another verdict"
    INDEX = "doctored index"


@dataclass(frozen=True, slots=True)
class Deviation:
    """What was done to the entries `first` to `last` (sequences; 0 = it cannot be told)."""

    change: Change
    first: int
    last: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Policy:
    """Whom an auditor trusts: keys of the log, keys of witnesses, and how many of those must have signed."""

    log_keys: tuple[PublicKey, ...]
    witness_keys: tuple[PublicKey, ...] = ()
    witnesses_min: int = 0

    def verify(self, data: bytes) -> SignedCheckpoint:
        """The checkpoint of a note. Raises NoteInvalid."""
        signed = checkpoints.verify(data, self.log_keys, self.witness_keys)
        if len(signed.cosignatures) < self.witnesses_min:
            raise NoteInvalid(
                f"{len(signed.cosignatures)} of the witnesses signed it, {self.witnesses_min} are asked for"
            )
        return signed


@dataclass(frozen=True, slots=True)
class ReceiptReport:
    """What a receipt proves."""

    sequence: int
    checkpoint: Checkpoint
    entry: bytes
    witnesses: tuple[tuple[str, int], ...]
    """Names, and when they signed, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was found. `published` is the size of the log, `sequenced` that of the journal if it was read."""

    checkpoint: SignedCheckpoint | None
    published: int
    sequenced: int
    deviations: tuple[Deviation, ...]

    @property
    def ok(self) -> bool:
        """Nothing was altered."""
        return not self.deviations


def check_receipt(data: bytes, policy: Policy, entry: bytes = b"") -> ReceiptReport:
    """What a receipt proves, offline. `entry`: the bytes it must be of; by default those it carries.

    Raises ReceiptInvalid or NoteInvalid when it proves nothing.
    """
    receipt = receipts.parse(data)
    signed = policy.verify(receipt.checkpoint)
    checkpoint = signed.checkpoint
    bytes_of_entry = entry or receipt.entry
    if not bytes_of_entry:
        raise ReceiptInvalid("the receipt carries no entry; hand in the one it is said to be of")
    leaf = hash_leaf(bytes_of_entry)
    if not is_included(leaf, receipt.index, checkpoint.size, receipt.path, checkpoint.root):
        raise ReceiptInvalid(
            f"the entry is not number {receipt.sequence} of the {checkpoint.size} that the checkpoint covers"
        )
    times = tuple((one.name, cosigned_at_seconds(one)) for one in signed.cosignatures)
    return ReceiptReport(receipt.sequence, checkpoint, bytes_of_entry, times)


def audit(
    fetch: Fetch,
    policy: Policy,
    *,
    kept: Sequence[Checkpoint] = (),
    entries: Iterable[bytes | None] | None = None,
    entries_count: int | None = None,
    bundles: bool = False,
) -> AuditReport:
    """Check a log, and a journal against it.

    `fetch` reads the log's files. `kept` are checkpoints from other times or places. `entries` are those of a
    journal or dump in order, None for one that cannot be read; `entries_count` says how many there are, where
    they are not all to be read. With `bundles` the entries that the log itself serves are compared, too.
    """
    found: list[Deviation] = []
    try:
        signed = policy.verify(fetch(CHECKPOINT))
    except (NoteInvalid, FileNotFoundError) as error:
        return AuditReport(None, 0, entries_count or 0, (_say_unsigned(error),))
    checkpoint = signed.checkpoint
    tiles = TileReader(fetch, checkpoint.size)
    authentic = _check_tiles(fetch, tiles, checkpoint, found)
    _compare_checkpoints(kept, checkpoint, tiles if authentic else None, found)
    if bundles and authentic:
        _check_bundles(fetch, tiles, found)
    sequenced = entries_count or 0
    if entries is not None:
        journal = _Counted(entries)
        if authentic:
            found += compare_entries(_leaves(tiles), journal, checkpoint.size)
        else:
            # Which entry it was cannot be told without the tiles; whether it is the journal, it can.
            root, size = _root_of(journal, checkpoint.size)
            if size < checkpoint.size:
                found.append(_say_truncated(size, checkpoint.size))
            elif root != checkpoint.root:
                sentence = "the journal's entries do not have the root that was signed"
                found.append(Deviation(Change.FORKED, 1, checkpoint.size, sentence))
            journal.exhaust()
        sequenced = journal.count
    elif entries_count is not None and entries_count < checkpoint.size:
        found.append(_say_truncated(entries_count, checkpoint.size))
    return AuditReport(signed, checkpoint.size, sequenced, tuple(found))


def compare_entries(leaves: Iterator[bytes], entries: Iterable[bytes | None], size: int) -> list[Deviation]:
    """What was done to entries whose first `size` leaf hashes were these. Holds some thousand of each."""
    found: list[Deviation] = []
    deleted: dict[bytes, int] = {}
    inserted: dict[bytes, int] = {}
    wanted, given = deque[bytes](), deque[tuple[bytes, bytes | None]]()
    source = iter(entries)
    index = run = 0

    def fill() -> None:
        for leaf in itertools.islice(leaves, max(0, WINDOW - len(wanted))):
            wanted.append(leaf)
        for entry in itertools.islice(source, max(0, WINDOW - len(given))):
            given.append((b"" if entry is None else hash_leaf(entry), entry))

    fill()
    while wanted and given:
        if wanted[0] == given[0][0]:
            wanted.popleft()
            given.popleft()
            index += 1
            run = 0
            if len(wanted) < WINDOW // 2 or len(given) < WINDOW // 2:
                fill()
            continue
        fill()
        entry = given[0][1]
        run += 1
        if entry is None:
            _add(found, Change.DAMAGED, index + 1, "cannot be read")
            skip_wanted, skip_given = 1, 1
        else:
            skip_wanted, skip_given = 1, 1
            if run < EDITED_RUN_MAX or run % WINDOW == 0:
                skip_wanted, skip_given = _resynchronize(wanted, given, index)
            if skip_wanted and skip_given:
                _add(found, Change.EDITED, index + 1, "is not the entry that was published")
            for at in range(skip_wanted if not skip_given else 0):
                deleted[wanted[at]] = index + at + 1
            for at in range(skip_given if not skip_wanted else 0):
                inserted[given[at][0]] = index + 1
        for _ in range(skip_wanted):
            wanted.popleft()
        for _ in range(skip_given):
            given.popleft()
        index += skip_wanted
        fill()
    # What was moved to the end, or from there, has its other half in what is left.
    for leaf, _ in given:
        if leaf in deleted:
            inserted[leaf] = deleted[leaf]
    gone = sum(leaf not in inserted for leaf in wanted)
    for at, leaf in enumerate(wanted):
        if leaf in inserted:
            deleted[leaf] = index + at + 1
    for leaf, sequence in deleted.items():
        if leaf in inserted:
            _add(found, Change.REORDERED, sequence, "stands elsewhere now")
        else:
            _add(found, Change.DELETED, sequence, "was published and is gone")
    for leaf, sequence in inserted.items():
        if leaf not in deleted:
            _add(found, Change.INSERTED, sequence, "stands before this one now and was never published")
    if gone:
        found.append(_say_truncated(index, size))
    return _merge(found)


def _resynchronize(
    wanted: Sequence[bytes], given: Sequence[tuple[bytes, bytes | None]], index: int
) -> tuple[int, int]:
    """How many published and how many present entries to pass over, to stand at the same entry again."""
    ahead = {leaf: at for at, leaf in reversed(list(enumerate(wanted)))}
    behind = {leaf: at for at, (leaf, _) in reversed(list(enumerate(given)))}
    missing, more = ahead.get(given[0][0]), behind.get(wanted[0])
    if missing is None and more is None:
        renumbered = _find_renumbered(wanted, given, index)
        # One that was edited stands where it stood: what is behind both is equal again, or edited too.
        return (renumbered, 0) if renumbered else (1, 1)
    if more is None or (missing is not None and missing <= more):
        assert missing is not None
        return missing, 0
    return 0, more


def _find_renumbered(wanted: Sequence[bytes], given: Sequence[tuple[bytes, bytes | None]], index: int) -> int:
    """How many entries were taken away before one that was given their number."""
    entry = given[0][1]
    if entry is None:
        return 0
    rest = _without_sequence(entry)
    for at in range(1, len(wanted)):
        if hash_leaf(_varint_field(index + at + 1) + rest) == wanted[at]:
            return at
    return 0


def _varint_field(sequence: int) -> bytes:
    """The first field of an entry: its sequence."""
    written = bytearray(b"\x08")
    while sequence > 0x7F:
        written.append(sequence & 0x7F | 0x80)
        sequence >>= 7
    written.append(sequence)
    return bytes(written)


def _without_sequence(entry: bytes) -> bytes:
    at = 1
    while at < len(entry) and entry[at] & 0x80:
        at += 1
    return entry[at + 1 :]


def _add(found: list[Deviation], change: Change, sequence: int, what: str) -> None:
    last = found[-1] if found else None
    if last is not None and last.change is change and last.last + 1 == sequence:
        found[-1] = Deviation(change, last.first, sequence, what)
    else:
        found.append(Deviation(change, sequence, sequence, what))


def _merge(found: list[Deviation]) -> list[Deviation]:
    """Neighbours to whom the same was done, as one."""
    merged: list[Deviation] = []
    for one in sorted(found, key=lambda deviation: (deviation.change, deviation.first)):
        last = merged[-1] if merged else None
        if last is not None and last.change is one.change and one.first <= last.last + 1:
            merged[-1] = Deviation(one.change, last.first, max(last.last, one.last), one.sentence)
        else:
            merged.append(one)
    return [
        Deviation(one.change, one.first, one.last, f"{_name(one.first, one.last)}: {one.sentence}")
        if not one.sentence.startswith(("entry ", "entries "))
        else one
        for one in sorted(merged, key=lambda deviation: deviation.first)
    ]


def _name(first: int, last: int) -> str:
    return f"entry {first}" if first == last else f"entries {first} to {last} ({last - first + 1})"


def _say_truncated(size: int, published: int) -> Deviation:
    sentence = (
        f"{_name(size + 1, published)}: the journal ends before, and {published} entries were published"
    )
    return Deviation(Change.TRUNCATED, size + 1, published, sentence)


def _say_unsigned(error: Exception) -> Deviation:
    change = Change.UNSIGNED if isinstance(error, NoteInvalid) else Change.DAMAGED
    return Deviation(change, 0, 0, f"the checkpoint cannot be used: {error}")


def _check_tiles(fetch: Fetch, tiles: TileReader, checkpoint: Checkpoint, found: list[Deviation]) -> bool:
    """Whether every leaf hash the log serves is under the root that was signed."""
    try:
        root = tiles.root()
        if root != checkpoint.root:
            sentence = f"the tiles have another root than the checkpoint of {checkpoint.size} entries"
            found.append(Deviation(Change.DAMAGED, 0, 0, sentence))
            return False
        authentic = True
        for level in range(1, 8):
            count = checkpoint.size >> (8 * level)
            for number in range(-(-count // WIDTH)):
                for at, above in enumerate(tiles.hashes(level, number)):
                    below = number * WIDTH + at
                    if fold_tile(read_tile(fetch, level - 1, below, WIDTH)) != above:
                        authentic = False
                        span = WIDTH**level
                        first, last = below * span + 1, (below + 1) * span
                        sentence = f"{_name(first, last)}: tile {level - 1}/{below} is not the one signed"
                        found.append(Deviation(Change.DAMAGED, first, last, sentence))
    except (FileNotFoundError, LogDamaged, IndexError) as error:
        found.append(Deviation(Change.DAMAGED, 0, 0, f"a tile cannot be read: {error}"))
        return False
    return authentic


def _compare_checkpoints(
    kept: Sequence[Checkpoint], now: Checkpoint, tiles: TileReader | None, found: list[Deviation]
) -> None:
    """Does the log continue what it was? The more was kept, the closer it is told where it does not."""
    good = 0
    for one in sorted(kept, key=lambda checkpoint: checkpoint.size):
        if one.origin != now.origin:
            sentence = f"the kept checkpoint is of {one.origin} and this log is {now.origin}"
            found.append(Deviation(Change.FORKED, 0, 0, sentence))
            return
        if one.size > now.size:
            sentence = (
                f"{_name(now.size + 1, one.size)}: the kept checkpoint covers {one.size} entries and the log "
                f"has only {now.size}"
            )
            found.append(Deviation(Change.ROLLED_BACK, now.size + 1, one.size, sentence))
            return
        if one.size == now.size:
            root = now.root
        elif tiles is None:
            continue
        else:
            root = tiles.root(one.size)
        if root != one.root:
            sentence = (
                f"{_name(good + 1, one.size)}: these are not what the kept checkpoint of {one.size} entries "
                "covers"
            )
            found.append(Deviation(Change.FORKED, good + 1, one.size, sentence))
            return
        good = one.size


def _check_bundles(fetch: Fetch, tiles: TileReader, found: list[Deviation]) -> None:
    for number in range(-(-tiles.size // WIDTH)):
        hashes = tiles.hashes(0, number)
        try:
            entries = read_entries(fetch, number, len(hashes))
        except (FileNotFoundError, LogDamaged) as error:
            first, last = number * WIDTH + 1, number * WIDTH + len(hashes)
            found.append(Deviation(Change.DAMAGED, first, last, f"{_name(first, last)}: {error}"))
            continue
        for at, (leaf, entry) in enumerate(zip(hashes, entries, strict=True)):
            if hash_leaf(entry) != leaf:
                sequence = number * WIDTH + at + 1
                sentence = f"entry {sequence}: the log serves another one than it published"
                found.append(Deviation(Change.EDITED, sequence, sequence, sentence))


def _leaves(tiles: TileReader) -> Iterator[bytes]:
    for number in range(-(-tiles.size // WIDTH)):
        yield from tiles.hashes(0, number)


class _Counted:
    """Entries, and how many were read."""

    def __init__(self, entries: Iterable[bytes | None]) -> None:
        self._entries = iter(entries)
        self.count = 0

    def __iter__(self) -> Iterator[bytes | None]:
        return self

    def __next__(self) -> bytes | None:
        entry = next(self._entries)
        self.count += 1
        return entry

    def exhaust(self) -> None:
        """Read to the end."""
        deque(self, maxlen=0)


def _root_of(entries: Iterable[bytes | None], size: int) -> tuple[bytes, int]:
    """The root of the first `size` entries, and how many there were. Holds one hash a level."""
    stack: list[tuple[int, bytes]] = []
    count = 0
    for entry in itertools.islice(entries, size):
        level, found = 0, hash_leaf(entry or b"")
        while stack and stack[-1][0] == level:
            found = fold_tile(stack.pop()[1] + found)
            level += 1
        stack.append((level, found))
        count += 1
    nodes = {}
    begin = 0
    for level, one in stack:
        nodes[level, begin >> level] = one
        begin += 1 << level
    return find_root(count, lambda level, index: nodes[level, index]), count


def read_dump(directory: Path) -> Iterator[bytes | None]:
    """The entries of a backup's folder `entries`: in files by name, each behind its length as a varint. None
    stands for what is cut short."""
    for path in sorted(directory.glob("*.entries")):
        with path.open("rb") as file:
            while first := file.read(1):
                size, shift, byte = 0, 0, first[0]
                while byte & 0x80 and shift < 28:
                    size |= (byte & 0x7F) << shift
                    shift += 7
                    byte = (file.read(1) or b"\x00")[0]
                size |= byte << shift
                entry = file.read(size)
                if len(entry) < size:
                    yield None
                    return
                yield entry


# --- Watching a log over time -----------------------------------------------------------------------


@dataclass(slots=True)
class Monitor:
    """Remembers in a file what a log has shown, and checks that each answer continues the ones before."""

    path: Path
    policy: Policy
    checkpoint: Checkpoint | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.path.exists():
            state = json.loads(self.path.read_text())
            self.checkpoint = self.policy.verify(state["checkpoint"].encode()).checkpoint

    def watch(self, fetch: Fetch) -> AuditReport:
        """Look once. What is in order is remembered; what is not leaves the memory as it was."""
        found: list[Deviation] = []
        try:
            signed = self.policy.verify(fetch(CHECKPOINT))
        except (NoteInvalid, FileNotFoundError) as error:
            change = Change.UNSIGNED if isinstance(error, NoteInvalid) else Change.DAMAGED
            return AuditReport(
                None, 0, 0, (Deviation(change, 0, 0, f"the checkpoint cannot be used: {error}"),)
            )
        now, before = signed.checkpoint, self.checkpoint
        tiles = TileReader(fetch, now.size)
        try:
            if tiles.root() != now.root:
                sentence = f"the tiles have another root than the checkpoint of {now.size} entries"
                found.append(Deviation(Change.DAMAGED, 0, 0, sentence))
            if before is not None:
                _compare_checkpoints([before], now, tiles, found)
                if not found and not is_consistent(
                    before.size,
                    before.root,
                    now.size,
                    now.root,
                    prove_consistency(before.size, now.size, tiles.node),
                ):
                    sentence = f"{_name(1, before.size)}: the log does not prove that it only grew"
                    found.append(Deviation(Change.FORKED, 1, before.size, sentence))
        except (FileNotFoundError, LogDamaged, IndexError) as error:
            found.append(Deviation(Change.DAMAGED, 0, 0, f"a tile cannot be read: {error}"))
        if not found:
            self._remember(signed)
        return AuditReport(signed, now.size, 0, tuple(found))

    def _remember(self, signed: SignedCheckpoint) -> None:
        self.checkpoint = signed.checkpoint
        new = self.path.with_name(self.path.name + ".new")
        with new.open("w") as file:
            json.dump({"checkpoint": signed.note.write().decode()}, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
