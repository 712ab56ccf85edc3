"""The Merkle tree of RFC 6962, section 2.1: roots, proofs, and how they are checked (RFC 9162, section 2.1).

A tree of any size is made of perfect subtrees. `Nodes` gives the root of one of them, wherever it is kept;
everything else here is arithmetic on sizes and SHA-256.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()
LEVELS_MAX = 64
"""No tree is higher: sizes fit 64 bits."""

Nodes = Callable[[int, int], bytes]
"""Of (level, index) the root of the perfect subtree of 2**level leaves from leaf index * 2**level on."""


def hash_leaf(entry: bytes) -> bytes:
    """The hash of an entry."""
    return sha256(b"\x00" + entry).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """The hash of a node with two children."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree in memory, whole: 64 bytes a leaf. Tests and small logs only; tiles.py keeps the large ones."""

    def __init__(self) -> None:
        self._levels: list[list[bytes]] = [[]]

    def __len__(self) -> int:
        return len(self._levels[0])

    def append(self, leaf: bytes) -> None:
        """Add a leaf, by its hash, and every perfect subtree that it completes."""
        self._levels[0].append(leaf)
        level = 0
        while len(self._levels[level]) % 2 == 0:
            if level + 1 == len(self._levels):
                self._levels.append([])
            left, right = self._levels[level][-2:]
            level += 1
            self._levels[level].append(hash_children(left, right))

    def node(self, level: int, index: int) -> bytes:
        """See `Nodes`."""
        return self._levels[level][index]

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` leaves, of all if it is None."""
        return find_root(len(self) if size is None else size, self.node)


def find_root(size: int, nodes: Nodes) -> bytes:
    """The root of the first `size` leaves."""
    return _find_root(0, size, nodes) if size else EMPTY_ROOT


def prove_inclusion(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """The audit path of a leaf in the tree of the first `size`: its sibling first.

    Raises ValueError when there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    return _prove_inclusion(index, 0, size, nodes)


def prove_consistency(old_size: int, size: int, nodes: Nodes) -> list[bytes]:
    """The proof that the tree of the first `size` leaves begins with the tree of `old_size`.

    Empty where there is nothing to prove: from the empty tree, and of equal sizes. Raises ValueError when the
    old tree is the larger one.
    """
    if not 0 <= old_size <= size:
        raise ValueError(f"a tree of {size} leaves does not begin with {old_size}")
    if old_size in (0, size):
        return []
    return _prove_consistency(old_size, 0, size, True, nodes)


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof shows that the leaf, a hash, has this index in the tree of this root (RFC 9162,
    section 2.1.3.2)."""
    if not 0 <= index < size or not _are_hashes(leaf, root, *proof):
        return False
    number, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if number % 2 or number == last:
            found = hash_children(sibling, found)
            while number % 2 == 0 and number:
                number, last = number >> 1, last >> 1
        else:
            found = hash_children(found, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and found == root


def is_consistent(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the tree of `root` begins with that of `old_root` (RFC 9162, section
    2.1.4.2). Of the empty tree nothing is proved: any tree begins with it."""
    if not 0 <= old_size <= size or not _are_hashes(old_root, root, *proof):
        return False
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT and (size > 0 or root == EMPTY_ROOT)
    if old_size == size:
        return not proof and old_root == root
    path = [*proof]
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    number, last = old_size - 1, size - 1
    while number % 2:
        number, last = number >> 1, last >> 1
    old_found = found = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if number % 2 or number == last:
            old_found, found = hash_children(sibling, old_found), hash_children(sibling, found)
            while number % 2 == 0 and number:
                number, last = number >> 1, last >> 1
        else:
            found = hash_children(found, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and old_found == old_root and found == root


def _are_hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_BYTES for value in values)


def _split(size: int) -> int:
    """The largest power of two below `size`, the leaves of the left child."""
    return 1 << (size - 1).bit_length() - 1


def _find_root(begin: int, end: int, nodes: Nodes) -> bytes:
    """The root of the leaves begin .. end-1; `begin` is a multiple of the power of two that they need."""
    size = end - begin
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return nodes(level, begin >> level)
    middle = begin + _split(size)
    return hash_children(_find_root(begin, middle, nodes), _find_root(middle, end, nodes))


def _prove_inclusion(index: int, begin: int, end: int, nodes: Nodes) -> list[bytes]:
    if end - begin == 1:
        return []
    middle = begin + _split(end - begin)
    if index < middle:
        return [*_prove_inclusion(index, begin, middle, nodes), _find_root(middle, end, nodes)]
    return [*_prove_inclusion(index, middle, end, nodes), _find_root(begin, middle, nodes)]


def _prove_consistency(old: int, begin: int, end: int, known: bool, nodes: Nodes) -> list[bytes]:
    """The proof for the leaves begin .. end-1; `known`: whoever checks has the root of the old ones."""
    if old == end:
        return [] if known else [_find_root(begin, end, nodes)]
    middle = begin + _split(end - begin)
    if old <= middle:
        return [*_prove_consistency(old, begin, middle, known, nodes), _find_root(middle, end, nodes)]
    return [*_prove_consistency(old, middle, end, False, nodes), _find_root(begin, middle, nodes)]
