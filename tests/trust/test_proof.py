"""Nothing of a published journal is altered unseen, and no kill makes the key sign two histories."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tracecode.proof import verify
from tracecode.proof.tree import (
    Tree,
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


@pytest.mark.timeout(1800)
def test_every_changed_bit_of_a_proof_is_refused(effort: Effort, add_row: AddRow) -> None:
    """Pins that of the proofs of all pairs up to 128 (in the short form of those up to 16, and of a bit of
    each other) no changed bit is accepted. A proof as it was made is, so the harness would see it."""
    tree, rng = Tree(), random.Random(128)
    for number in range(128):
        tree.append(hash_leaf(b"entry %d" % number))
    tries = accepted = unseen = 0
    whole = effort.count(16, 128)
    for size in range(1, 129):
        root = tree.root(size)
        for other in range(size):
            leaf, old_root = tree.node(0, other), tree.root(other + 1)
            for proof, holds in (
                (
                    prove_inclusion(other, size, tree.node),
                    lambda proof, leaf=leaf, other=other, size=size, root=root: is_included(
                        leaf, other, size, proof, root
                    ),
                ),
                (
                    prove_consistency(other + 1, size, tree.node),
                    lambda proof, old_root=old_root, other=other, size=size, root=root: is_consistent(
                        other + 1, old_root, size, root, proof
                    ),
                ),
            ):
                bits = range(len(proof) * 256)
                for bit in bits if size <= whole else rng.sample(bits, min(1, len(bits))):
                    altered = [*proof]
                    value = bytearray(altered[bit // 256])
                    value[bit % 256 // 8] ^= 1 << bit % 8
                    altered[bit // 256] = bytes(value)
                    accepted += holds(altered)
                    tries += 1
                unseen += not holds(proof)
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
