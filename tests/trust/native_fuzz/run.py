"""A process of its own: the sanitized native code in place of the ordinary one, and libFuzzer.

Started by trust/fuzzing.py with LD_PRELOAD of clang's address sanitizer. Its arguments are the target, the
directory it may write to, how many reads go by for each that the oracle looks at, `planted` or `sound`, and
those of libFuzzer.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ExtensionFileLoader
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def load_sanitized() -> None:
    """Make the library of build.py what `tracecode._native` is, before anybody imports the other."""
    name, path = "tracecode._native", str(ROOT / "build" / "fuzz" / "_native.so")
    loader = ExtensionFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)


def main(target: str, directory: str, every: str, fault: str, *arguments: str) -> None:
    """Fuzz until libFuzzer ends the process."""
    load_sanitized()
    # Only now: what these import takes the native code with it.
    from trust import oracle  # noqa: PLC0415

    from tracecode import _native  # noqa: PLC0415

    ledger = oracle.open_stocked_ledger(Path(directory) / "ledger")
    compare = {
        "scan": oracle.compare_scan,
        "document": oracle.compare_document,
        "question": lambda question, answer: oracle.compare_question(ledger, question, answer),
        "requests": oracle.compare_requests,
    }[target]
    _native.run_fuzzer(
        list(arguments),
        target,
        ledger.engine.native,
        compare,
        oracle.KEY.hash,
        every=int(every),
        now_ns=oracle.NOW_NS,
        key=oracle.STOCKED_KEY,
        figures_path=str(Path(directory) / "figures.json").encode(),
        planted=fault == "planted",
    )


main(*sys.argv[1:])
