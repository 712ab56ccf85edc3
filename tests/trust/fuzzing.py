"""Runs of libFuzzer over the native readers, each in a process of its own that a fault may kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LIBRARY = ROOT / "build" / "fuzz" / "_native.so"
CORPORA = HERE / "corpora"
TARGETS = ("scan", "document", "question", "requests")
INPUT_BYTES_MAX = {"scan": 256, "document": 4096, "question": 4096, "requests": 8192}


@dataclass(frozen=True, slots=True)
class FuzzRun:
    """What came of a run. `reads`, `taken` as plain and `compared` with the oracle are 0 after a fault."""

    status: int
    reads: int
    taken: int
    compared: int
    output: str

    @property
    def fault(self) -> str:
        """The sanitizer's or the oracle's own line about what was wrong, empty if nothing was."""
        if self.status == 0:
            return ""
        marks = ("ERROR:", "runtime error:", "AssertionError", "SUMMARY:")
        return next((line for line in self.output.splitlines() if any(m in line for m in marks)), "died")


@cache
def name_sanitizer() -> str:
    """The shared runtime of clang's address sanitizer, which must be there before the program is."""
    asked = ["clang-14", "-print-file-name=libclang_rt.asan-x86_64.so"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def fuzz(
    target: str,
    directory: Path,
    runs: int,
    *,
    seed: int,
    every: int,
    planted: bool = False,
    corpus: Path | None = None,
    extra: tuple[str, ...] = (),
    timeout_seconds: float = 600,
) -> FuzzRun:
    """Fuzz one target from its corpus with so many inputs of libFuzzer; `directory` gets what is new."""
    directory.mkdir(parents=True, exist_ok=True)
    found = directory / "found"
    found.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": name_sanitizer(),
        "PYTHONMALLOC": "malloc",
        # CPython never gives back what it holds at the end.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:handle_segv=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    arguments = [
        *(f"-runs={runs}", f"-seed={seed}", f"-max_len={INPUT_BYTES_MAX[target]}", "-timeout=20"),
        *(f"-artifact_prefix={directory}/", "-print_final_stats=1", "-rss_limit_mb=2048", *extra),
        *(str(found), str(corpus or CORPORA / target)),
    ]
    fault = "planted" if planted else "sound"
    ran = subprocess.run(
        [sys.executable, HERE / "native_fuzz" / "run.py", target, directory, str(every), fault, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_seconds,
    )
    figures = {"reads": 0, "taken": 0, "compared": 0}
    written = directory / "figures.json"
    if ran.returncode == 0:
        figures = json.loads(written.read_text())
    return FuzzRun(ran.returncode, **figures, output=ran.stdout + ran.stderr)
