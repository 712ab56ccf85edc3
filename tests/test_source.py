"""The house style as a test: what a reader may count on in every file of the project.

Reads the sources as text and as syntax trees. What ruff, mypy, import-linter and buf can say is
left to them (`make check`); here stands only what none of them knows.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("docs", "native", "proto", "server", "tests", "tracecode")
# Made by tools or brought by registries; tracecode/v1 is protoc's and is told apart below.
NOT_OURS = {"__pycache__", "build", "node_modules"}
TEXT_SUFFIXES = set(".css .h .html .js .json .md .proto .pxd .pxi .py .pyi .pyx .sh .toml .yaml .yml".split())


def find_files() -> Iterator[str]:
    """The paths below the root of our text files, those at the top first."""
    paths = sorted(path for path in ROOT.iterdir() if path.is_file())
    for folder in FOLDERS:
        paths += sorted((ROOT / folder).rglob("*"))
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        ours = not NOT_OURS & set(name.split("/")) and not name.startswith("tracecode/v1/")
        if ours and (path.suffix in TEXT_SUFFIXES or name == "Makefile"):
            yield name


FILES = list(find_files())
MODULES = [name for name in FILES if name.endswith(".py")]
LIBRARY = [name for name in MODULES if name.startswith("tracecode/")]
TESTS = [name for name in MODULES if re.search(r"(^|/)test_\w+\.py$", name)]


def parse(name: str) -> ast.Module:
    """The syntax tree of the module at a path below the root."""
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), name)


def find_lines(names: list[str], pattern: str) -> list[str]:
    """The lines of these files in which the pattern occurs, each with its place."""
    return [
        f"{name}:{number}: {line.strip()}"
        for name in names
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]


def find_public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The public functions and classes of a module's or a class's body, each once."""
    for node in body:
        if isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        ) and not node.name.startswith("_"):
            marks = {ast.unparse(mark).split(".")[-1] for mark in node.decorator_list}
            if not marks & {"overload", "setter", "deleter"}:
                yield node


def find_imports(tree: ast.Module) -> Iterator[str]:
    """The dotted names that a module imports, at its top or anywhere else."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_tree_is_the_one_this_file_reads() -> None:
    """Pins that no list below is empty because a folder was moved or renamed."""
    assert {name.split("/")[0] for name in FILES} >= {
        "Makefile",
        "native",
        "proto",
        "server",
        "tests",
        "tracecode",
    }
    assert "proto/tracecode/v1/finding.proto" in FILES
    assert "tracecode/__init__.py" in LIBRARY
    assert "tests/test_source.py" in TESTS
    assert "tracecode/v1/__init__.py" not in FILES


def test_a_file_is_named_for_what_it_holds() -> None:
    """Pins that no file is a drawer for leftovers: a function goes into the file of its noun."""
    drawers = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}

    assert [name for name in FILES if drawers & set(re.split(r"[^a-z]+", name.lower()))] == []


def test_a_module_says_why_it_exists() -> None:
    """Pins a docstring at the head of every module, tests and package doors included."""
    assert [name for name in MODULES if not ast.get_docstring(parse(name))] == []


def test_what_the_library_offers_is_promised_in_words() -> None:
    """Pins a docstring on every public function, class and method; a method may inherit its contract's."""
    silent = []
    for name in LIBRARY:
        module = importlib.import_module(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        for node in find_public(parse(name).body):
            if not ast.get_docstring(node):
                silent.append(f"{name}:{node.lineno}: {node.name}")
            if isinstance(node, ast.ClassDef):
                silent += [
                    f"{name}:{method.lineno}: {node.name}.{method.name}"
                    for method in find_public(node.body)
                    if not inspect.getdoc(getattr(getattr(module, node.name), method.name))
                ]

    assert silent == []


def test_a_test_says_what_it_pins() -> None:
    """Pins a docstring on every test: one that nobody can explain is one that nobody dares to mend."""
    silent = [
        f"{name}:{node.lineno}: {node.name}"
        for name in TESTS
        for node in ast.walk(parse(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]

    assert silent == []


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    """Pins that no path of somebody's machine got in: it would work there and nowhere else."""
    assert find_lines(FILES, r"(?<![\w.~-])/(home|root|Users|work)/\w") == []


def test_nothing_is_left_for_later() -> None:
    """Pins that a promise to come back is an issue, never a comment in the code."""
    assert find_lines(FILES, r"\b(TO[D]O|FIX[M]E|XX[X])\b") == []


def test_no_test_is_skipped() -> None:
    """Pins that a test runs everywhere or is not there: what it needs, the Makefile installs."""
    assert find_lines(TESTS, r"\b(importorski[p]|pytest\.ski[p]|mark\.(ski[p]|xfai[l]))") == []


def test_only_the_engine_the_views_and_what_checks_or_copies_know_the_native_code() -> None:
    """Pins the one edge of the layers that import-linter cannot see, the compiled module."""
    knowing = [
        name
        for name in MODULES
        if any(imported.startswith("tracecode._native") for imported in find_imports(parse(name)))
    ]

    known = (
        "tracecode/engine/",
        "tracecode/views/",
        "tests/",
        "tracecode/fsck.py",
        "tracecode/backup.py",
        "tracecode/proof/audit.py",
        "tracecode/proof/integrator.py",
        # Reads the journal behind the views, and the desk's acts from the index.
        "tracecode/reports/",
        # Looks at its own sockets.
        "server/tracecode_server/connections.py",
    )
    assert [name for name in knowing if not name.startswith(known)] == []
