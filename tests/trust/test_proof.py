"""Nothing of a published journal is altered unseen, and no kill makes the key sign two histories."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from tracecode.proof import tree as tree_module
from tracecode.proof import verify
from tracecode.proof.tree import (
    HASH_BYTES,
    Tree,
    hash_children,
    hash_leaf,
    is_consistent,
    is_included,
    prove_consistency,
    prove_inclusion,
)
from trust import killed_integrator
from trust.conftest import Effort
from trust.table import Row
from trust.tampering import KINDS, Tampered

AddRow = Callable[[Row], None]
BITS = tuple(1 << bit for bit in range(256))
RARE = {"acquittal": 0.02, "doctored index": 0.06}
"""Parts of all tries: to judge again and to compare an index takes longer than to hash."""


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A folder in memory where there is one."""
    shared = Path("/dev/shm")
    place = shared if os.access(shared, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="tracecode-", dir=place) as folder:
        yield Path(folder)


@pytest.mark.timeout(1800)
def test_what_was_tampered_with_is_found_and_named(
    memory_path: Path, effort: Effort, add_row: AddRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that seeded tamperings with a copied data folder are all found and named, with their entries, and
    that untouched ones raise no alarm. An auditor who does not compare the root is deceived."""
    tampered, rng = Tampered(memory_path), random.Random(20_260)
    tries, clean = effort.count(90, 10_000), effort.count(10, 1_000)
    common = [kind for kind in KINDS if kind not in RARE and kind != "nothing"]
    missed: list[str] = []
    for number in range(tries):
        part = number / tries
        kind = "acquittal" if part < RARE["acquittal"] else ""
        kind = kind or ("doctored index" if part < sum(RARE.values()) else common[number % len(common)])
        case = tampered.make(kind, rng)
        if not tampered.is_named(case):
            missed.append(f"{number} {kind} {case.first}-{case.last}: {tampered.examine(case).deviations}")
    alarms = []
    for _ in range(clean):
        case = tampered.make("nothing", rng)
        if not tampered.is_clean(case):
            alarms.append(tampered.examine(case).deviations)
    assert missed == []
    assert alarms == []

    monkeypatch.setattr(verify, "_check_tiles", lambda *_: True)
    deceived = []
    for _ in range(5):
        case = tampered.make("cover-up", rng)
        case.kept = False
        deceived.append(tampered.examine(case).ok)
    add_row(
        Row(
            fault="tampering with a published journal",
            how="edits, deletions, forks, rollbacks, ... of a copy",
            tries=tries + clean,
            lost=len(missed),
            wrong=len(alarms),
            control="an auditor who does not compare the root",
            control_failed=all(deceived),
        )
    )


@pytest.mark.timeout(900)
def test_a_killed_integrator_never_signs_two_histories(
    memory_path: Path, effort: Effort, add_row: AddRow
) -> None:
    """Pins kill -9 between any two lines of integrating and publishing: never two checkpoints of one size,
    never one ahead of the durable entries, and the next start goes on. A journal that loses its tail, under
    an integrator that forgets what it signed, is found out."""
    killed, wrong = run_killed(memory_path / "sound", effort.count(25, 1_200), "sound")
    _, seen = run_killed(memory_path / "forgetful", effort.count(10, 50), "forgetful")
    assert wrong == []
    assert killed >= effort.count(10, 200)
    add_row(
        Row(
            fault="kill -9 while the log is written",
            how="SIGKILL before one line or another",
            tries=killed,
            wrong=len(wrong),
            control="a journal that loses its tail, and no memory of what was signed",
            control_failed=bool(seen),
        )
    )


def run_killed(folder: Path, tries: int, manner: str) -> tuple[int, list[str]]:
    """How many children were killed, and what was wrong with what they left; a new log each hundred."""
    killed, wrong = 0, []
    for seed in range(max(1, tries // 100)):
        place = folder / str(seed)
        place.mkdir(parents=True)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        done = subprocess.run(
            [sys.executable, killed_integrator.__file__, place, str(seed), str(min(tries, 100)), manner],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        told = json.loads(done.stdout)
        killed += told["killed"]
        wrong += told["wrong"]
    return killed, wrong


@pytest.mark.timeout(600)
def test_every_changed_bit_of_a_proof_is_refused(
    effort: Effort, add_row: AddRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that of the proofs of all pairs up to 128 no changed bit is accepted (in the short form: each bit
    of those up to 10, and a seeded bit of each hash of the others). A bit that is changed back is, so the
    harness would see one."""
    # Every proof is checked by the verifier itself. Proofs of neighbours end alike, and so do most of the
    # hashes that it asks for: in this order few of them are computed more than once.
    monkeypatch.setattr(tree_module, "hash_children", lru_cache(4096)(hash_children))
    whole = effort.count(10, 128)
    if effort.is_short:
        found = [change_bits(size, whole) for size in range(1, 129)]
    else:
        with get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
            found = pool.starmap(change_bits, [(size, whole) for size in range(128, 0, -1)], chunksize=1)
    tries, accepted, unseen = map(sum, zip(*found, strict=True))
    assert effort.minutes < 10 or tries == 27_197_184
    add_row(
        Row(
            fault="a changed bit of a proof",
            how="each bit of inclusion and consistency proofs",
            tries=tries,
            wrong=accepted,
            control="a bit that was changed back",
            control_failed=unseen == 0,
        )
    )


def change_bits(size: int, whole: int) -> tuple[int, int, int]:
    """Each bit of all proofs of a size, or one bit a hash if it is beyond `whole`: how many were tried,
    how many accepted, and how many proofs were refused as they were made."""
    tree, rng = Tree(), random.Random(size)
    for number in range(size):
        tree.append(hash_leaf(b"entry %d" % number))
    root, unseen = tree.root(), 0
    alike: dict[tuple[bytes, ...], list[tuple[list[bytes], int, Callable[..., bool]]]] = {}
    for other in range(size):
        included = prove_inclusion(other, size, tree.node)
        consistent = prove_consistency(other + 1, size, tree.node)
        for proof, holds in (
            (included, partial(is_included, tree.node(0, other), other, size, root=root)),
            (consistent, partial(is_consistent, other + 1, tree.root(other + 1), size, root)),
        ):
            unseen += not holds(proof=proof)
            for at in range(len(proof)):
                alike.setdefault(tuple(proof[at:]), []).append((proof, at, holds))
    tries = accepted = 0
    for (sibling, *_), proofs in alike.items():
        value = int.from_bytes(sibling, "big")
        for mask in BITS if size <= whole else (rng.choice(BITS),):
            altered = (value ^ mask).to_bytes(HASH_BYTES, "big")
            for proof, at, holds in proofs:
                proof[at] = altered
                accepted += holds(proof=proof)
                proof[at] = sibling
            tries += len(proofs)
        for proof, _, holds in proofs:
            unseen += not holds(proof=proof)
    return tries, accepted, unseen
