"""Filters and orders of lists: the subset of AIP-160 and AIP-132 that every list here understands.

    kind = SALE AND business_day >= 2026-03-01 AND (lot = "A1" OR lot = "A2") AND NOT findings:DUP_RETRY

`=` `!=` `<` `<=` `>` `>=` compare; `:` says that a list has a value, that a text contains one, or (`:*`) that
there is anything at all. `=` with a `*` at the end of a text compares how it begins. AND and OR side by side
want parentheses, since AIP-160 and SQL read them differently. Where there is no value every comparison but
`!=` is false, so that a row fits a filter or its negation, never neither.

A filter is typed by the table of columns of its list. It compiles to a predicate over rows, which is the
readable way, and to SQL with parameters; no text of the caller is ever part of the SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any

from tracecode.errors import FieldInvalid

FILTER_BYTES_MAX = 4_000
COMPARISONS_MAX = 100
DEPTH_MAX = 32
INTEGER_MAX = 2**63 - 1
ORDER_COLUMNS_MAX = 4

Predicate = Callable[[Mapping[str, Any]], bool]


class Type(Enum):
    """What a column holds."""

    TEXT = "a text"
    INTEGER = "a whole number"
    DECIMAL = "a number"
    BOOLEAN = "true or false"
    DAY = "a day, 2026-03-01"
    TIME = "a time, 2026-03-01T08:00:00+08:00"
    NAME = "a name"
    NAMES = "a list of names"


_ORDERED = {Type.TEXT, Type.INTEGER, Type.DECIMAL, Type.DAY, Type.TIME}


@dataclass(frozen=True, slots=True)
class Column:
    """What may be asked of one column of a list."""

    type: Type
    sql: str
    """The column of the relation."""
    names: Mapping[str, int] | None = None
    """Of NAME and NAMES: the numbers that names stand for. Severity and the like have an order."""
    ordered: bool = False
    """Names whose numbers may be compared by < and >."""
    read: Callable[[str], str] | None = None
    """Turns a text of the caller into what is stored, such as a person's token into its hash."""


Columns = Mapping[str, Column]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`name operator value`. `operator` is a sign, `^` or `!^` for how a text begins, or `?` for `:*`."""

    name: str
    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class Not:
    """What the other is not."""

    of: Node


@dataclass(frozen=True, slots=True)
class Every:
    """All of them (AND)."""

    of: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One of them at least (OR)."""

    of: tuple[Node, ...]


Node = Comparison | Not | Every | Either
ALL = Every(())
"""Lets everything through."""


# --- Reading ------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<sign><=|>=|!=|=|<|>|:)
      | (?P<bracket>[()])
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<word>[^\s()<>=!:"']+(?::[^\s()<>=!"']*)*)""",
    re.VERBOSE,
)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_CHINA = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    column: int


def parse_filter(text: str, columns: Columns, field: str = "filter") -> Node:
    """The filter in a text; the empty text lets everything through. Raises FieldInvalid, which names where in
    the text, counted from 1, and what would be right."""
    if len(text.encode(errors="replace")) > FILTER_BYTES_MAX:
        raise FieldInvalid(field, f"longer than {FILTER_BYTES_MAX} bytes")
    parser = _Parser(list(_cut(text, field)), columns, field, len(text) + 1)
    return parser.read()


def _cut(text: str, field: str) -> Iterator[_Token]:
    at = 0
    is_name = True
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            what = "a text has no closing quote" if text[at] in "\"'" else f"{text[at]!r} means nothing here"
            raise FieldInvalid(field, f"column {at + 1}: {what}")
        kind = found.lastgroup or ""
        end = found.end()
        if kind == "word" and is_name and ":" in found[0]:
            # Of a name only what stands before the colon; a time has colons of its own.
            end = at + found[0].index(":")
        if kind != "space":
            token = _Token(kind, text[at:end], at + 1)
            is_name = kind != "sign"
            yield token
        at = end


class _Parser:
    def __init__(self, tokens: list[_Token], columns: Columns, field: str, end: int) -> None:
        self._tokens = tokens
        self._columns = columns
        self._field = field
        self._end = end
        self._at = 0
        self._comparisons = 0

    def read(self) -> Node:
        if not self._tokens:
            return ALL
        node = self._expression(0)
        if self._at < len(self._tokens):
            token = self._tokens[self._at]
            raise self._wrong(f"{token.text[:40]!r} where AND, OR or the end is expected", token)
        return node

    def _wrong(self, message: str, token: _Token | None = None) -> FieldInvalid:
        column = self._end if token is None else token.column
        return FieldInvalid(self._field, f"column {column}: {message}")

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self, expected: str) -> _Token:
        token = self._peek()
        if token is None:
            raise self._wrong(f"ends where {expected} is expected")
        self._at += 1
        return token

    def _expression(self, depth: int) -> Node:
        if depth > DEPTH_MAX:
            raise self._wrong(f"more than {DEPTH_MAX} levels of parentheses", self._peek())
        parts = [self._term(depth)]
        joined = ""
        while (token := self._peek()) is not None and token.text in ("AND", "OR") and token.kind == "word":
            if joined and token.text != joined:
                raise self._wrong(
                    "AND and OR side by side are read differently by different people; use parentheses", token
                )
            joined = token.text
            self._at += 1
            parts.append(self._term(depth))
        if len(parts) == 1:
            return parts[0]
        return Every(tuple(parts)) if joined == "AND" else Either(tuple(parts))

    def _term(self, depth: int) -> Node:
        token = self._take("a column")
        if token.kind == "word" and token.text == "NOT":
            if depth > DEPTH_MAX:
                raise self._wrong(f"more than {DEPTH_MAX} levels of NOT", token)
            return Not(self._term(depth + 1))
        if token.text == "(":
            node = self._expression(depth + 1)
            closing = self._take("a closing parenthesis")
            if closing.text != ")":
                raise self._wrong(f"{closing.text[:40]!r} where AND, OR or ) is expected", closing)
            return node
        return self._comparison(token)

    def _comparison(self, name: _Token) -> Comparison:
        column = self._columns.get(name.text) if name.kind == "word" else None
        if column is None:
            allowed = ", ".join(sorted(self._columns))
            raise self._wrong(f"{name.text[:40]!r} is no column of this list; there are: {allowed}", name)
        self._comparisons += 1
        if self._comparisons > COMPARISONS_MAX:
            raise self._wrong(f"more than {COMPARISONS_MAX} comparisons", name)
        sign = self._take("= != < <= > >= or :")
        if sign.kind != "sign":
            raise self._wrong(f"{sign.text[:40]!r} where = != < <= > >= or : is expected", sign)
        allowed_signs = _signs(column)
        if sign.text not in allowed_signs:
            raise self._wrong(
                f"{name.text} is {column.type.value} and is compared by {' '.join(allowed_signs)}", sign
            )
        value = self._take("a value")
        if value.kind not in ("text", "word"):
            raise self._wrong(f"{value.text[:40]!r} where a value is expected", value)
        if sign.text == ":" and value.kind == "word" and value.text == "*":
            return Comparison(name.text, "?", None)
        try:
            return _compare(name.text, column, sign.text, value)
        except ValueError as error:
            raise self._wrong(f"{name.text} is {error}, not {value.text[:40]!r}", value) from None


def _signs(column: Column) -> tuple[str, ...]:
    if column.type is Type.NAMES:
        return (":",)
    signs: tuple[str, ...] = ("=", "!=")
    if (column.type in _ORDERED and column.read is None) or column.ordered:
        signs += ("<", "<=", ">", ">=")
    return (*signs, ":")


def _compare(name: str, column: Column, sign: str, token: _Token) -> Comparison:
    """Raises ValueError, which says what the column is."""
    text = token.text
    if token.kind == "text":
        text = re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
    if "\0" in text:
        raise ValueError("a text without zero bytes")
    if column.type is Type.TEXT and column.read is not None:
        if sign == ":":
            raise ValueError("compared as a whole; : asks only whether there is one, as :*")
        return Comparison(name, sign, column.read(text))
    if column.type is Type.TEXT:
        if sign in ("=", "!=") and _ends_with_star(token):
            return Comparison(name, "^" if sign == "=" else "!^", text[:-1])
        return Comparison(name, sign, text)
    if sign == ":" and column.type is not Type.NAMES:
        raise ValueError(f"{column.type.value}, of which : asks only whether there is one, as :*")
    return Comparison(name, sign, _read_value(column, text))


def _ends_with_star(token: _Token) -> bool:
    if token.kind == "word":
        return token.text.endswith("*")
    inner = token.text[1:-1]
    before = inner[:-1]
    # Of the backslashes before the star, each second one stands for itself.
    return inner.endswith("*") and (len(before) - len(before.rstrip("\\"))) % 2 == 0


def _read_value(column: Column, text: str) -> Any:
    match column.type:
        case Type.NAME | Type.NAMES:
            names = column.names or {}
            if text not in names:
                raise ValueError(f"one of {', '.join(names)}")
            return names[text]
        case Type.BOOLEAN:
            if text not in ("true", "false"):
                raise ValueError(column.type.value)
            return text == "true"
        case Type.INTEGER:
            if not re.fullmatch(r"-?[0-9]{1,19}", text, re.ASCII) or abs(int(text)) > INTEGER_MAX:
                raise ValueError(column.type.value)
            return int(text)
        case Type.DECIMAL:
            try:
                if re.fullmatch(r"-?[0-9]{1,16}(\.[0-9]{1,6})?", text, re.ASCII):
                    return Decimal(text)
            except InvalidOperation:
                pass
        case Type.DAY:
            if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII):
                try:
                    return date.fromisoformat(text)
                except ValueError:
                    pass
        case Type.TIME:
            return _read_time(text)
    raise ValueError(column.type.value)


def _read_time(text: str) -> datetime:
    """Without a zone: in China. UTC without a zone in the value, as relations have it."""
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            time = time.replace(tzinfo=_CHINA)
        return time.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise ValueError(Type.TIME.value) from None


# --- Writing ------------------------------------------------------------------------------------


def write_filter(node: Node, columns: Columns) -> str:
    """The filter as canonical text: the same for the same question, with values as they are stored."""
    match node:
        case Comparison(name, operator, value):
            return _write_comparison(name, operator, value, columns[name])
        case Not(of):
            return f"NOT ({write_filter(of, columns)})"
        case Every(of):
            return " AND ".join(_bracket(each, columns) for each in of)
        case Either(of):
            return " OR ".join(_bracket(each, columns) for each in of)


def _bracket(node: Node, columns: Columns) -> str:
    text = write_filter(node, columns)
    return f"({text})" if isinstance(node, Every | Either) else text


def _write_comparison(name: str, operator: str, value: Any, column: Column) -> str:
    if operator == "?":
        return f"{name}:*"
    if operator in ("^", "!^"):
        return f'{name} {"=" if operator == "^" else "!="} {_quote(value)[:-1]}*"'
    if column.names is not None:
        value = next(key for key, number in column.names.items() if number == value)
    elif isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, str):
        value = _quote(value[:-1])[:-1] + '\\*"' if value.endswith("*") else _quote(value)
    elif isinstance(value, datetime):
        value = value.isoformat() + "+00:00"
    return f"{name}:{value}" if operator == ":" else f"{name} {operator} {value}"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# --- Compiling ----------------------------------------------------------------------------------


def compile_predicate(node: Node, columns: Columns) -> Predicate:
    """The filter over a row, by its columns' names in the relation."""
    match node:
        case Comparison(name, operator, value):
            sql = columns[name].sql
            test = _TESTS[operator]
            return lambda row: test(row[sql], value)
        case Not(of):
            inner = compile_predicate(of, columns)
            return lambda row: not inner(row)
        case Every(of):
            every = [compile_predicate(each, columns) for each in of]
            return lambda row: all(each(row) for each in every)
        case Either(of):
            either = [compile_predicate(each, columns) for each in of]
            return lambda row: any(each(row) for each in either)


def _has(seen: Any, value: Any) -> bool:
    return seen is not None and value in seen


_TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda seen, value: seen is not None and bool(seen == value),
    "!=": lambda seen, value: seen is None or bool(seen != value),
    "<": lambda seen, value: seen is not None and bool(seen < value),
    "<=": lambda seen, value: seen is not None and bool(seen <= value),
    ">": lambda seen, value: seen is not None and bool(seen > value),
    ">=": lambda seen, value: seen is not None and bool(seen >= value),
    ":": _has,
    "^": lambda seen, value: seen is not None and bool(seen.startswith(value)),
    "!^": lambda seen, value: seen is None or not seen.startswith(value),
    "?": lambda seen, _: seen is not None and seen not in ("", []),
}


def compile_sql(node: Node, columns: Columns) -> tuple[str, list[Any]]:
    """The filter as an SQL expression for DuckDB that is never null, and the parameters for its `?`."""
    parameters: list[Any] = []
    return _sql(node, columns, parameters), parameters


def _sql(node: Node, columns: Columns, parameters: list[Any]) -> str:
    match node:
        case Comparison(name, operator, value):
            return _sql_comparison(columns[name], operator, value, parameters)
        case Not(of):
            return f"(NOT {_sql(of, columns, parameters)})"
        case Every(of):
            return "(" + (" AND ".join(_sql(each, columns, parameters) for each in of) or "true") + ")"
        case Either(of):
            return "(" + (" OR ".join(_sql(each, columns, parameters) for each in of) or "false") + ")"


def _sql_comparison(column: Column, operator: str, value: Any, parameters: list[Any]) -> str:
    sql = column.sql
    if operator == "?":
        if column.type is Type.NAMES:
            return f"coalesce(len({sql}) > 0, false)"
        return f"coalesce({sql} <> '', false)" if column.type is Type.TEXT else f"({sql} IS NOT NULL)"
    parameters.append(value)
    if operator == ":":
        function = "list_contains" if column.type is Type.NAMES else "contains"
        return f"coalesce({function}({sql}, ?), false)"
    if operator == "^":
        return f"coalesce(starts_with({sql}, ?), false)"
    if operator == "!^":
        return f"(NOT coalesce(starts_with({sql}, ?), false))"
    if operator == "!=":
        return f"({sql} IS DISTINCT FROM ?)"
    return f"coalesce({sql} {operator} ?, false)"


def names_of(node: Node) -> set[str]:
    """The columns that a filter asks of."""
    if isinstance(node, Comparison):
        return {node.name}
    inner = (node.of,) if isinstance(node, Not) else node.of
    return {name for each in inner for name in names_of(each)}


def bounds_of(node: Node, name: str) -> list[Comparison]:
    """What every row that the filter lets through satisfies in one column, as far as it is plain to see."""
    if isinstance(node, Comparison):
        return [node] if node.name == name else []
    if isinstance(node, Every):
        return [bound for each in node.of for bound in bounds_of(each, name)]
    return []


# --- Order --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OrderColumn:
    """One column of an order."""

    name: str
    descending: bool = False


def parse_order(
    text: str, columns: Columns, sortable: Sequence[str], default: str, field: str = "order_by"
) -> tuple[OrderColumn, ...]:
    """`a, b desc` as AIP-132 writes it. Raises FieldInvalid."""
    if len(text.encode(errors="replace")) > FILTER_BYTES_MAX:
        raise FieldInvalid(field, f"longer than {FILTER_BYTES_MAX} bytes")
    order: list[OrderColumn] = []
    for part in (text.strip() or default).split(","):
        words = part.split()
        if not 1 <= len(words) <= 2 or (len(words) == 2 and words[1] not in ("asc", "desc")):
            raise FieldInvalid(field, f"{part.strip()[:40]!r} is not `column`, or `column desc`")
        if words[0] not in sortable or words[0] not in columns:
            raise FieldInvalid(field, f"{words[0][:40]!r} is not one of {', '.join(sortable)}")
        if any(each.name == words[0] for each in order):
            raise FieldInvalid(field, f"{words[0]} stands there twice")
        order.append(OrderColumn(words[0], words[-1] == "desc"))
    if len(order) > ORDER_COLUMNS_MAX:
        raise FieldInvalid(field, f"more than {ORDER_COLUMNS_MAX} columns")
    return tuple(order)


def compile_after(order: Sequence[tuple[str, bool]], key: Sequence[Any]) -> tuple[str, list[Any]]:
    """SQL for the rows behind a key in an order of columns (SQL, descending), none of which is ever null."""
    parts: list[str] = []
    parameters: list[Any] = []
    for position, (sql, descending) in enumerate(order):
        equal = [f"{before} = ?" for before, _ in order[:position]]
        parts.append("(" + " AND ".join([*equal, f"{sql} {'<' if descending else '>'} ?"]) + ")")
        parameters += key[: position + 1]
    return "(" + " OR ".join(parts) + ")", parameters
