"""Go's checksum database as an oracle: a program built once, asked line by line."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Self

SOURCE = Path(__file__).parent / "go" / "sumdb.go"
BUILD = Path(__file__).parent.parent / "build" / "go"


def build() -> Path:
    """The program, compiled if its source is newer. Debian brings the packages that it imports."""
    program = BUILD / "sumdb"
    if not program.exists() or program.stat().st_mtime < SOURCE.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        new = BUILD / f"sumdb.{os.getpid()}"
        environment = {
            **os.environ,
            "GO111MODULE": "off",
            "GOPATH": "/usr/share/gocode",
            "GOCACHE": str(BUILD / "cache"),
            "GOFLAGS": "",
            "CGO_ENABLED": "0",
        }
        subprocess.run(["go", "build", "-o", new, SOURCE], env=environment, check=True, timeout=110)
        new.replace(program)
    return program


class Sumdb:
    """A running oracle."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([build()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, question: str, **values: Any) -> dict[str, Any]:
        """Its answer; `Error` is empty if it found nothing wrong."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        told = {"Ask": question, **{name: _write(value) for name, value in values.items()}}
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        answer["Proof"] = [base64.b64decode(one) for one in answer["Proof"] or ()]
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def _write(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [_write(one) for one in value]
    return str(value) if isinstance(value, Path) else value
