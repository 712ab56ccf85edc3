"""Grows the corpora kept in tests/trust/corpora and keeps of them as little as reaches the same places.

Run from tests/ after `make trust` has built what it fuzzes, then look at what it changed and commit it:
`../.venv/bin/python -m trust.native_fuzz.grow 200000 1`: the inputs tried for each target, and the seed.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from trust.fuzzing import CORPORA, TARGETS, fuzz

INPUTS_MAX = 500
"""Of one target: what is kept is to be looked through, and four corpora stay far below half a megabyte."""


def list_features(target: str, inputs: Sequence[Path], directory: Path) -> list[set[int]]:
    """The places that each input reaches, as libFuzzer tells them to itself when it merges."""
    control = directory / "control"
    control.write_text("\n".join([str(len(inputs)), "0", *map(str, inputs)]) + "\n")
    fuzz(
        target,
        directory,
        0,
        seed=1,
        every=10**9,
        extra=(f"-merge_control_file={control}", "-merge_inner=1"),
    )
    features: list[set[int]] = [set() for _ in inputs]
    for line in control.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "FT":
            number, *places = rest.split()
            features[int(number)] = set(map(int, places))
    return features


def grow(target: str, runs: int, seed: int, directory: Path) -> None:
    """Fuzz on from what is kept; then keep the inputs that together reach most, small ones first."""
    ran = fuzz(target, directory, runs, seed=seed, every=50)
    if ran.fault:
        raise SystemExit(f"{target}: {ran.fault}; the input is in {directory}")
    kept = CORPORA / target
    found = sorted([*kept.iterdir(), *(directory / "found").iterdir()], key=lambda path: path.stat().st_size)
    left = list(zip(found, list_features(target, found, directory), strict=True))
    reached: set[int] = set()
    chosen: list[bytes] = []
    while left and len(chosen) < INPUTS_MAX:
        path, features = max(left, key=lambda one: len(one[1] - reached))
        reached |= features
        chosen.append(path.read_bytes())
        left = [one for one in left if not one[1] <= reached]
    for path in kept.iterdir():
        path.unlink()
    for content in chosen:
        (kept / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
    print(f"{target}: {len(chosen)} inputs, {sum(map(len, chosen)):,} bytes, {len(reached):,} places")


if __name__ == "__main__":
    tries, first_seed = map(int, sys.argv[1:] or ("200000", "1"))
    for one in TARGETS:
        with tempfile.TemporaryDirectory() as room:
            grow(one, tries, first_seed, Path(room))
