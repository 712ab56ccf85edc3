"""Builds the native code once more, for libFuzzer: coverage counters, address and undefined sanitizers.

The sources are copied, and in the copy some bounds get a `+ fuzz_planted`: 0 but in a control, whose planted
fault the fuzzer must find. A bound that is not there any more fails the build.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
BUILD = ROOT / "build" / "fuzz"
LIBRARY = BUILD / "_native.so"
CLANG = "clang++-14"
SANITIZE = "address,undefined"


@dataclass(frozen=True, slots=True)
class Plant:
    """A bound in a source, and what it becomes; `fuzz_planted` is 1 in a control."""

    source: str
    bound: str
    planted: str

    def fits(self) -> bool:
        """Whether the source has that bound, once."""
        return (ROOT / "native" / self.source).read_text(encoding="utf-8").count(self.bound) == 1


PLANTS = (
    # One byte too far behind a percent sign.
    Plant(
        "read_scan.pxi",
        "if text.at[place] == 0x25 and place + 2 < text.length:",
        "if text.at[place] == 0x25 and place + 2 < text.length + fuzz_planted:",
    ),
    # A length that may be one more than what is left.
    Plant(
        "wire.pxi",
        "if tag & 7 != 2 or value > <uint64_t> (end - at):",
        "if tag & 7 != 2 or value > <uint64_t> (end - at) + <uint64_t> fuzz_planted:",
    ),
)


def build() -> None:
    """Write build/fuzz/_native.so."""
    sources = BUILD / "native"
    shutil.rmtree(BUILD, ignore_errors=True)
    shutil.copytree(ROOT / "native", sources, ignore=shutil.ignore_patterns("*.cpp"))
    for plant in PLANTS:
        if not plant.fits():
            raise SystemExit(f"{plant.source} has no such bound to plant a fault in: {plant.bound}")
        text = (sources / plant.source).read_text(encoding="utf-8")
        (sources / plant.source).write_text(text.replace(plant.bound, plant.planted), encoding="utf-8")
    shutil.copy(Path(__file__).with_name("fuzz.pxi"), sources)
    module = sources / "fuzz.pyx"
    module.write_text('include "fuzz_planted.pxi"\ninclude "_native.pyx"\ninclude "fuzz.pxi"\n')
    (sources / "fuzz_planted.pxi").write_text(
        'cdef extern from *:\n    """\n    static int fuzz_planted = 0;\n    """\n    int fuzz_planted\n'
    )
    generated = BUILD / "_native.cpp"
    directives = "boundscheck=False,wraparound=False,cdivision=True,embedsignature=True"
    run(
        *(sys.executable, "-m", "cython", "-3", "--cplus", "--module-name", "tracecode._native"),
        *("-I", sources, "-X", directives, "-o", generated, module),
    )
    resources = subprocess.run(
        [CLANG, "-print-resource-dir"], check=True, capture_output=True, text=True
    ).stdout.strip()
    run(
        *(CLANG, "-O2", "-g1", "-std=c++17", "-msse4.2", "-fPIC", "-shared", "-shared-libasan", "-w"),
        *(f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=undefined"),
        # Cython calls C functions of Python through pointers of its own types.
        "-fno-sanitize=vptr,function",
        # Without the fuzzer's look at each comparison, which halves the speed: the corpora have the words.
        "-fsanitize-coverage=inline-8bit-counters,pc-table",
        # The sanitizer's runtime has empty functions of the names by which coverage is told to the fuzzer.
        "-Wl,-Bsymbolic",
        *(f"-I{sources}", f"-I{sysconfig.get_path('include')}", generated),
        Path(resources) / "lib" / "linux" / "libclang_rt.fuzzer_no_main-x86_64.a",
        *("-o", LIBRARY, "-lstdc++", "-lpthread", "-ldl", "-lm"),
    )


def run(*command: object) -> None:
    """Run a command; its failure ends the build."""
    subprocess.run([str(part) for part in command], check=True)


if __name__ == "__main__":
    build()
