"""A harness that is a program: each of its processes has a share of the tries; their sums are added up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).parent.parent
WORKERS = 2


def run_shares(program: str, shares: Sequence[Sequence[str]], **environment: str) -> Counter[str]:
    """Run the program, a module, once for each share, which are its arguments; the sums of what they print.
    `environment` is added to ours."""
    children = [
        subprocess.Popen(
            [sys.executable, "-m", program, *share],
            env={**os.environ, "PYTHONPATH": str(TESTS), **environment},
            cwd=TESTS,
            stdout=subprocess.PIPE,
            text=True,
        )
        for share in shares
    ]
    outputs = [child.communicate()[0] for child in children]
    assert not any(child.returncode for child in children)
    ends: Counter[str] = Counter()
    for output in outputs:
        ends.update(json.loads(output))
    return ends
