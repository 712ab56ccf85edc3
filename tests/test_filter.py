"""Filters: what a text means, said twice, and what is wrong with one, said where.

Goal: the readable predicate and the SQL that DuckDB runs let the same rows through. Method: random filters
over random rows, with missing values, quotes and stars in texts, are asked both ways.
"""

from __future__ import annotations

import random
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracecode.errors import FieldInvalid
from tracecode.filter import (
    Column,
    Comparison,
    Either,
    Every,
    Node,
    Not,
    OrderColumn,
    Type,
    bounds_of,
    compile_after,
    compile_predicate,
    compile_sql,
    parse_filter,
    parse_order,
    write_filter,
)

NAMES = {"LOW": 1, "MIDDLE": 2, "HIGH": 3}
COLUMNS = {
    "text": Column(Type.TEXT, "t"),
    "whole": Column(Type.INTEGER, "i"),
    "price": Column(Type.DECIMAL, "d"),
    "flag": Column(Type.BOOLEAN, "b"),
    "day": Column(Type.DAY, "day_column"),
    "time": Column(Type.TIME, "time_column"),
    "kind": Column(Type.NAME, "n", NAMES),
    "severity": Column(Type.NAME, "n", NAMES, ordered=True),
    "found": Column(Type.NAMES, "l", NAMES),
    "token": Column(Type.TEXT, "t", read=lambda text: text.upper()),
}
SCHEMA = pa.schema(
    [
        ("t", pa.string()),
        ("i", pa.int64()),
        ("d", pa.decimal128(16, 4)),
        ("b", pa.bool_()),
        ("day_column", pa.date32()),
        ("time_column", pa.timestamp("us")),
        ("n", pa.int8()),
        ("l", pa.list_(pa.int16())),
    ]
)
TEXTS = st.sampled_from(
    ["", "a", "A", "ab", "a*", "*", "a\\", 'a"b', "a'b", "药", "\ue000", "\U0001f48a", "a%_"]
)
WHOLES = st.sampled_from([-(2**63) + 1, -1, 0, 1, 2, 2**63 - 1])
DECIMALS = st.sampled_from(["0", "-1.5", "1.5000", "2", "999999999999.9999"]).map(Decimal)
DAYS = st.sampled_from([date(2026, 3, 1), date(2026, 3, 2), date(1969, 12, 31)])
TIMES = st.sampled_from(
    [datetime(2026, 3, 1, 0, 0, 0), datetime(2026, 3, 1, 0, 0, 0, 1), datetime(2026, 2, 28, 23)]
)
NUMBERS = st.sampled_from([1, 2, 3])
ROWS = st.fixed_dictionaries(
    {
        "t": TEXTS | st.none(),
        "i": WHOLES | st.none(),
        "d": DECIMALS | st.none(),
        "b": st.booleans() | st.none(),
        "day_column": DAYS | st.none(),
        "time_column": TIMES | st.none(),
        "n": NUMBERS | st.none(),
        "l": st.lists(NUMBERS, max_size=3) | st.none(),
    }
)
DATABASE = duckdb.connect(config={"threads": 1})
ORDERED = ["=", "!=", "<", "<=", ">", ">="]


def comparisons(name: str, operators: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Node]:
    """Comparisons of one column, and whether it has a value."""
    named = st.builds(Comparison, st.just(name), st.sampled_from(operators), values)
    return named | st.just(Comparison(name, "?", None))


LEAVES = (
    comparisons("text", [*ORDERED, ":", "^", "!^"], TEXTS)
    | comparisons("whole", ORDERED, WHOLES)
    | comparisons("price", ORDERED, DECIMALS)
    | comparisons("flag", ["=", "!="], st.booleans())
    | comparisons("day", ORDERED, DAYS)
    | comparisons("time", ORDERED, TIMES)
    | comparisons("kind", ["=", "!="], NUMBERS)
    | comparisons("severity", ORDERED, NUMBERS)
    | comparisons("found", [":"], NUMBERS)
)
NODES = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(Every, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(Either, st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(NODES, st.lists(ROWS, min_size=1, max_size=8))
def test_predicate_and_sql_let_the_same_rows_through(node: Node, rows: list[dict[str, Any]]) -> None:
    """Pins the two meanings of a filter against each other, also where there is no value; a row fits a filter
    or its negation."""
    told = pa.Table.from_pylist(rows, SCHEMA).add_column(0, "position", pa.array(range(len(rows))))
    with DATABASE.cursor() as connection:
        connection.register("told", told)
        for each in (node, Not(node)):
            predicate = compile_predicate(each, COLUMNS)
            expected = [position for position, row in enumerate(rows) if predicate(row)]
            sql, parameters = compile_sql(each, COLUMNS)
            found = connection.execute(
                f"SELECT position FROM told WHERE {sql} ORDER BY position", parameters
            ).fetchall()
            assert [position for (position,) in found] == expected
            nulls = connection.execute(f"SELECT count(*) FROM told WHERE ({sql}) IS NULL", parameters)
            assert nulls.fetchone() == (0,)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(NODES)
def test_a_filter_reads_as_it_was_written(node: Node) -> None:
    """Pins that the canonical text means the filter it was written from."""
    assert parse_filter(write_filter(node, COLUMNS), COLUMNS) == node


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Every(())),
        ("text = a", Comparison("text", "=", "a")),
        ('text = "a*"', Comparison("text", "^", "a")),
        (r'text = "a\*"', Comparison("text", "=", "a*")),
        (r'text = "a\\*"', Comparison("text", "^", "a\\")),
        ("text != 3702*", Comparison("text", "!^", "3702")),
        ("text:*", Comparison("text", "?", None)),
        ("text:'*'", Comparison("text", ":", "*")),
        ("token = abc", Comparison("token", "=", "ABC")),
        ("found:HIGH", Comparison("found", ":", 3)),
        ("severity>=MIDDLE", Comparison("severity", ">=", 2)),
        ("time < 2026-03-01T08:00:00+08:00", Comparison("time", "<", datetime(2026, 3, 1))),
        ("time < 2026-03-01T08:00:00", Comparison("time", "<", datetime(2026, 3, 1))),
        (
            "NOT (flag = true OR whole = -1) AND price > 1.50",
            Every(
                (
                    Not(Either((Comparison("flag", "=", True), Comparison("whole", "=", -1)))),
                    Comparison("price", ">", Decimal("1.50")),
                )
            ),
        ),
    ],
)
def test_texts_mean_what_docs_say(text: str, expected: Node) -> None:
    """Pins the grammar by example."""
    assert parse_filter(text, COLUMNS) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("txt = a", "column 1: 'txt' is no column of this list; there are: day, flag,"),
        ("text = a AND", "column 13: ends where a column is expected"),
        ("text = a flag = true", "column 10: 'flag' where AND, OR or the end is expected"),
        ("(text = a", "column 10: ends where a closing parenthesis is expected"),
        ("text a", "column 6: 'a' where = != < <= > >= or : is expected"),
        ("text = (", "column 8: '(' where a value is expected"),
        ('text = "a', "column 8: a text has no closing quote"),
        ("flag = yes", "column 8: flag is true or false, not 'yes'"),
        ("flag > true", "column 6: flag is true or false and is compared by = != :"),
        ("kind = SOME", "column 8: kind is one of LOW, MIDDLE, HIGH, not 'SOME'"),
        ("found = HIGH", "column 7: found is a list of names and is compared by :"),
        ("day = 2026-02-30", "column 7: day is a day, 2026-03-01, not '2026-02-30'"),
        ("time = yesterday", "column 8: time is a time,"),
        ("whole = 9223372036854775808", "column 9: whole is a whole number"),
        ("price = 1e5", "column 9: price is a number"),
        ("token < a", "column 7: token is a text and is compared by = != :"),
        ("token:a", "column 7: token is compared as a whole"),
        ("text = a AND text = b OR text = c", "column 23: AND and OR side by side"),
        ("(" * 40 + "text = a" + ")" * 40, "column 34: more than 32 levels of parentheses"),
        ("NOT " * 40 + "text = a", "more than 32 levels of NOT"),
        (" AND ".join(["text = a"] * 101), "more than 100 comparisons"),
        ("text = " + "a" * 4_000, "longer than 4000 bytes"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(text: str, message: str) -> None:
    """Pins errors that name the column and what would be right."""
    with pytest.raises(FieldInvalid) as raised:
        parse_filter(text, COLUMNS)
    assert raised.value.field == "filter"
    assert message in raised.value.message


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text("ab AND OR NOT()=:<>!\"'\\*textflag 12-", max_size=40))
def test_no_text_fails_otherwise(text: str) -> None:
    """Pins that a text is a filter or FieldInvalid."""
    try:
        node = parse_filter(text, COLUMNS)
    except FieldInvalid:
        return
    compile_sql(node, COLUMNS)


def test_bounds_are_only_what_every_row_satisfies() -> None:
    """Pins that files are left out by what stands beside AND, never by what stands in OR or NOT."""
    node = parse_filter(
        "day >= 2026-03-01 AND (day < 2026-03-05 AND flag = true) AND (day = 2026-03-02 OR text = a) "
        "AND NOT day = 2026-03-03",
        COLUMNS,
    )
    assert [(each.operator, each.value.day) for each in bounds_of(node, "day")] == [(">=", 1), ("<", 5)]


def test_orders_are_read_and_refused() -> None:
    """Pins `a, b desc`."""
    allowed = ("text", "whole")
    assert parse_order("", COLUMNS, allowed, "whole desc") == (OrderColumn("whole", True),)
    assert parse_order("text asc , whole desc", COLUMNS, allowed, "") == (
        OrderColumn("text"),
        OrderColumn("whole", True),
    )
    for text in ("flag", "text text", "text,text", "text,,whole", "text down", ","):
        with pytest.raises(FieldInvalid):
            parse_order(text, COLUMNS, allowed, "whole")


@pytest.mark.parametrize("seed", range(5))
def test_what_is_behind_a_key_is_what_follows_in_the_order(seed: int) -> None:
    """Pins pages: the rows behind each row of an order of mixed directions."""
    rng = random.Random(seed)
    rows = list({(rng.randint(0, 3), rng.randint(0, 3), rng.randint(0, 9)) for _ in range(40)})
    order = [(name, rng.random() < 0.5) for name in ("a", "b", "c")]
    signs = [-1 if descending else 1 for _, descending in order]
    rows.sort(key=lambda row: [sign * value for sign, value in zip(signs, row, strict=True)])
    by = ", ".join(f"{name} {'DESC' if descending else 'ASC'}" for name, descending in order)
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE told (a INT, b INT, c INT)")
        connection.executemany("INSERT INTO told VALUES (?, ?, ?)", rows)
        for position, row in enumerate(rows):
            sql, parameters = compile_after(order, row)
            found = connection.execute(f"SELECT * FROM told WHERE {sql} ORDER BY {by}", parameters).fetchall()
            assert found == rows[position + 1 :]
