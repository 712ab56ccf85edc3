"""The table of LMDB functions that the native code takes from the py-lmdb wheel."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from tracecode import _native
from tracecode.errors import DataLoss, EngineStopped, Overloaded, StorageFull, TracecodeError

# lmdb.h of 0.9 numbers its return codes from MDB_KEYEXIST to MDB_BAD_DBI (MDB_LAST_ERRCODE).
LMDB_CODES = range(-30799, -30780 + 1)


def test_every_function_is_found_in_the_library_that_python_uses() -> None:
    """Pins that each symbol resolves, all under one prefix, and that the library is a 0.9 like py-lmdb's."""
    symbols = _native.lmdb_symbols()

    assert len(symbols) >= 20
    assert all(symbols.values())
    assert len({name.split("_", 1)[0] for name in symbols}) == 1
    assert {name.split("_", 1)[1] for name in symbols} >= {"env_open", "put", "get", "txn_commit", "del"}
    assert lmdb.version()[:2] == (0, 9)


def test_every_function_in_use_is_declared_once() -> None:
    """Pins that the table and the declarations of lmdb.pxd name the same functions."""
    source = (Path(__file__).parent.parent / "native" / "lmdb.pxd").read_text()
    table = [line.split(", ")[1] for line in source.splitlines() if line.strip().startswith("F(")]
    declared = [
        line.split("(")[0].split()[-1].lstrip("*").replace('"lmdb::del"', "del")
        for line in source.splitlines()
        if line.endswith(" noexcept") and "resolve" not in line
    ]

    assert sorted(table) == sorted(declared)
    assert len(table) == len(_native.lmdb_symbols())


@pytest.mark.parametrize("code", LMDB_CODES)
def test_every_code_of_lmdb_becomes_a_sentence(code: int) -> None:
    """Pins that no return code is unknown: each has LMDB's words, what we were doing, and a remedy."""
    error = _native.lmdb_error(code, "writing the journal")

    words, remedy = str(error).split(". ", 1)
    assert isinstance(error, TracecodeError)
    assert words.startswith("writing the journal: MDB_")
    assert "Unknown error" not in words
    assert len(remedy) > 20


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (-30792, StorageFull, "larger map_size_bytes"),
        (-30788, EngineStopped, "smaller overlay_bytes_max"),
        (-30790, Overloaded, "Fewer processes"),
        (-30796, DataLoss, "rebuilt from the journal"),
        (-30797, DataLoss, "rebuilt from the journal"),
        (-30793, DataLoss, "rebuilt from the journal"),
        (-30794, DataLoss, "another LMDB format"),
        (-30795, EngineStopped, "Restart the service"),
        (errno.ENOSPC, StorageFull, "Free disk space"),
        (errno.EIO, EngineStopped, "look at the disk"),
    ],
)
def test_a_code_that_asks_for_something_says_what(code: int, kind: type[Exception], words: str) -> None:
    """Pins the class and the remedy of the codes that an operator will meet."""
    error = _native.lmdb_error(code, "writing")

    assert type(error) is kind
    assert words in str(error)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"__init__.py": ""}, "needs py-lmdb with its compiled module"),
        ({"__init__.py": "", "cpython.py": ""}, "needs py-lmdb with its compiled module"),
        (
            {"__init__.py": "", "cpython.cpython-311-x86_64-linux-gnu.so": "not a library"},
            "offers no LMDB function 'dlopen'",
        ),
    ],
)
def test_a_py_lmdb_without_its_library_is_named(tmp_path: Path, files: dict[str, str], words: str) -> None:
    """Pins that the import fails with what to install, not with a missing symbol later."""
    package = tmp_path / "lmdb"
    package.mkdir()
    for name, text in files.items():
        (package / name).write_text(text)

    run = subprocess.run(
        [sys.executable, "-c", "import tracecode._native"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 1
    assert "ImportError" in run.stderr
    assert words in run.stderr
    assert "pip install" in run.stderr
