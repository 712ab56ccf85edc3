"""The Merkle tree of the log, against another library's, a brute-force one, and Go's."""

from __future__ import annotations

import hashlib
import random
from functools import cache

import pytest
from pymerkle import InmemoryTree
from sumdb import Sumdb

from tracecode._native import fold_tiles
from tracecode._native import hash_leaf as hash_leaf_natively
from tracecode.proof.tiles import fold_tile
from tracecode.proof.tree import (
    EMPTY_ROOT,
    Tree,
    find_root,
    hash_leaf,
    is_consistent,
    is_included,
    prove_consistency,
    prove_inclusion,
)

ENTRIES = [b"entry %d" % number for number in range(1000)]


def grow(size: int) -> Tree:
    """A tree of the first entries."""
    tree = Tree()
    for entry in ENTRIES[:size]:
        tree.append(hash_leaf(entry))
    return tree


@cache
def hash_by_definition(begin: int, end: int) -> bytes:
    """The root of a range, word by word as RFC 6962, section 2.1 has it."""
    if begin == end:
        return hashlib.sha256().digest()
    if end - begin == 1:
        return hashlib.sha256(b"\x00" + ENTRIES[begin]).digest()
    half = 1
    while half * 2 < end - begin:
        half *= 2
    left, right = hash_by_definition(begin, begin + half), hash_by_definition(begin + half, end)
    return hashlib.sha256(b"\x01" + left + right).digest()


def test_roots_are_those_of_the_definition_and_of_another_library() -> None:
    """Pins the root of every size from 0 to 1,000."""
    tree, other = Tree(), InmemoryTree(algorithm="sha256")
    assert tree.root() == EMPTY_ROOT == hash_by_definition(0, 0)
    for size, entry in enumerate(ENTRIES, 1):
        tree.append(hash_leaf(entry))
        other.append_entry(entry)
        assert tree.root() == hash_by_definition(0, size) == other.get_root()
    whole = grow(1000)
    assert [whole.root(size) for size in range(1001)] == [hash_by_definition(0, n) for n in range(1001)]


def test_proofs_of_all_pairs_verify_and_of_no_other_place() -> None:
    """Pins inclusion of every entry and consistency of every pair of sizes up to 128; a proof of one place
    or size does not do for the neighbour's."""
    tree = grow(130)
    roots = [tree.root(size) for size in range(131)]
    leaves = [tree.node(0, index) for index in range(130)]
    for size in range(1, 129):
        for index in range(size):
            proof = prove_inclusion(index, size, tree.node)
            assert is_included(leaves[index], index, size, proof, roots[size])
            assert not is_included(leaves[index], index, size, proof, roots[size + 1])
            assert not is_included(leaves[index + 1], index, size, proof, roots[size])
            assert not is_included(leaves[index], index, size, [*proof, roots[size]], roots[size])
            if size > 1:
                assert not is_included(leaves[index], index ^ 1, size, proof, roots[size])
                assert not is_included(leaves[index], index, size, proof[:-1], roots[size])
        for old in range(size + 1):
            proof = prove_consistency(old, size, tree.node)
            assert is_consistent(old, roots[old], size, roots[size], proof)
            assert not is_consistent(old, roots[old + 1], size, roots[size], proof)
            assert not is_consistent(old, roots[old], size, roots[size], [*proof, roots[size]])
            if proof:
                assert not is_consistent(old, roots[old], size, roots[size + 1], proof)
                assert not is_consistent(old, roots[old], size, roots[size], proof[:-1])


def test_the_smallest_trees_follow_the_rfc() -> None:
    """Pins the empty tree, that of one leaf, and two of one size: nothing to prove, nothing else accepted."""
    tree = grow(3)
    leaf, root = tree.node(0, 0), tree.root()
    assert prove_inclusion(0, 1, tree.node) == []
    assert is_included(leaf, 0, 1, [], leaf)
    assert not is_included(leaf, 0, 1, [leaf], leaf)
    assert not is_included(leaf, 0, 0, [], EMPTY_ROOT)
    assert not is_included(leaf, 1, 1, [], leaf)
    assert not is_included(leaf, -1, 1, [], leaf)
    assert prove_consistency(0, 3, tree.node) == prove_consistency(3, 3, tree.node) == []
    assert is_consistent(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    assert is_consistent(0, EMPTY_ROOT, 3, root, [])
    assert not is_consistent(0, root, 3, root, [])
    assert not is_consistent(0, EMPTY_ROOT, 0, root, [])
    assert is_consistent(3, root, 3, root, [])
    assert not is_consistent(3, root, 3, leaf, [])
    assert not is_consistent(3, root, 3, root, [leaf])
    assert not is_consistent(3, root, 2, tree.root(2), [])
    assert not is_consistent(1, leaf, 3, root, [])
    for index, size in ((0, 0), (3, 3), (-1, 3)):
        with pytest.raises(ValueError, match="has no leaf"):
            prove_inclusion(index, size, tree.node)
    with pytest.raises(ValueError, match="does not begin"):
        prove_consistency(4, 3, tree.node)


def test_go_accepts_our_proofs_and_no_altered_ones() -> None:
    """Pins proofs of seeded pairs with Go's tlog.CheckRecord and CheckTree, and that both refuse the same."""
    seeded, tree = random.Random(6962), grow(1000)
    with Sumdb() as go:
        for _ in range(150):
            size = seeded.randint(1, 1000)
            index, old = seeded.randrange(size), seeded.randint(1, size)
            root, old_root = tree.root(size), tree.root(old)
            path = prove_inclusion(index, size, tree.node)
            asked = {"Size": size, "Root": root, "Index": index, "Entry": ENTRIES[index]}
            assert not go.ask("inclusion", Proof=path, **asked)["Error"]
            history = prove_consistency(old, size, tree.node)
            asked_history = {"Size": size, "Root": root, "Old": old, "OldRoot": old_root}
            assert not go.ask("consistency", Proof=history, **asked_history)["Error"]
            for proof in (path, history):
                if proof:
                    at = seeded.randrange(len(proof))
                    proof[at] = bytes([proof[at][0] ^ 1]) + proof[at][1:]
                else:
                    proof.append(root)
            assert go.ask("inclusion", Proof=path, **asked)["Error"]
            assert not is_included(hash_leaf(ENTRIES[index]), index, size, path, root)
            assert go.ask("consistency", Proof=history, **asked_history)["Error"]
            assert not is_consistent(old, old_root, size, root, history)


def test_native_hashes_are_those_of_python() -> None:
    """Pins leaf hashes of every length around the blocks of SHA-256, with and without the instructions of the
    processor, and the roots of full tiles."""
    seeded = random.Random(256)
    for length in (*range(260), 1000, 65_535, 100_000):
        entry = seeded.randbytes(length)
        assert hash_leaf_natively(entry) == hash_leaf_natively(entry, by_word=True) == hash_leaf(entry)
    tiles = [seeded.randbytes(8192) for _ in range(3)]
    assert fold_tiles(b"".join(tiles)) == b"".join(map(fold_tile, tiles))
    leaves = [tiles[0][at : at + 32] for at in range(0, 8192, 32)]
    tree = Tree()
    for leaf in leaves:
        tree.append(leaf)
    assert fold_tiles(tiles[0]) == find_root(256, tree.node)
    with pytest.raises(ValueError, match="full tiles have 8192 bytes"):
        fold_tiles(tiles[0][:-1])
