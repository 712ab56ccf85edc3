"""Lines written directly as Parquet: a month of receipts and sales, seeded, as large as one likes.

Every box is received in the morning and sold on the same day. One sale in a thousand bills a code that
another institution sold the day before, one in two hundred a code that nobody received; one institution in
a hundred has a single prescriber.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tracecode.screening.write import INSTITUTIONS, PRODUCTS
from tracecode.views.lines import LINES

FIRST = date(2026, 12, 2)
DAYS = 30
DIVISIONS = ("370202", "440402", "350102", "510104")
PRODUCTS_COUNT = 2_000
PERSONS = 1_000_000


def write_lines(out: Path, rows: int, seed: int = 1) -> Iterator[Path]:
    """Write so many rows of lines with register and catalogue under `out`; yields each file."""
    rng = np.random.default_rng(seed)
    per_file = rows // (DAYS * len(DIVISIONS))
    places = max(20, rows // 20_000)
    drugs = np.array(
        [f"XA{number % 90 + 10}BA{number:04d}A0010101{number:05d}" for number in range(PRODUCTS_COUNT)]
    )
    out.mkdir(parents=True)
    _write_register(out, places, drugs)
    sequence = 0
    for day in range(DAYS):
        for division, name in enumerate(DIVISIONS):
            folder = out / f"lines/day={FIRST + timedelta(days=day)}/division={name}"
            folder.mkdir(parents=True)
            table = _make_rows(rng, day, division, per_file, places, drugs, sequence)
            sequence += per_file
            pq.write_table(table, folder / "part-0.parquet", compression="zstd")
            yield folder / "part-0.parquet"


def _write_register(out: Path, places: int, drugs: np.ndarray) -> None:
    codes = [f"P{division}{place:05d}" for division in DIVISIONS for place in range(places)]
    rows = [
        {
            "institution_code": code,
            "name": code,
            "division_code": code[1:7],
            "group_code": "",
            "uploads": True,
        }
        for code in codes
    ]
    pq.write_table(pa.Table.from_pylist(rows, INSTITUTIONS), out / "institutions.parquet")
    products = [{"identifier": f"8{n:06d}", "drug_codes": [str(drug)]} for n, drug in enumerate(drugs)]
    pq.write_table(pa.Table.from_pylist(products, PRODUCTS), out / "products.parquet")


def _make_rows(
    rng: np.random.Generator, day: int, division: int, rows: int, places: int, drugs: np.ndarray, after: int
) -> pa.Table:
    half = rows // 2
    box = np.arange(half, dtype=np.int64)
    place = box % places
    serial = (day * len(DIVISIONS) + division) * half + box
    sold = serial.copy()
    # Sold elsewhere the day before: the serial of a day and a place earlier.
    resold = rng.random(half) < 0.001
    if day:
        sold[resold] -= len(DIVISIONS) * half - 1
    sold[rng.random(half) < 0.005] += 600_000_000
    drug = np.concatenate([serial, sold]) % PRODUCTS_COUNT
    midnight = np.datetime64(FIRST + timedelta(days=day), "us") - np.timedelta64(8, "h")
    received = midnight + np.full(half, 7 * 3_600, "timedelta64[s]")
    opened = midnight + rng.integers(8 * 3_600, 21 * 3_600, half).astype("timedelta64[s]")
    settlement = serial // 2
    prescriber = np.where(place % 100 == 0, place, rng.integers(10_000, 40_000, half))
    kinds = np.repeat(np.array([3, 1], np.int8), half)
    count = 2 * half
    both = np.concatenate
    institution = _text(f"P{DIVISIONS[division]}", both([place, place]), 5)
    product = _text("8", drug, 6)
    codes = pa.array(
        np.char.add(
            np.char.add(_digits("8", drug, 6), _digits("", both([serial, sold]), 9)),
            "0000",
        )
    )
    sale = kinds == 1
    price = pa.array(np.round(3.5 + drug * 0.05, 2)).cast(pa.decimal128(18, 6), safe=False)
    given: dict[str, pa.Array] = {
        "sequence": pa.array(after + 1 + np.arange(count) // 2 * 2),
        "receive_time": pa.array(both([received, opened])),
        "business_time": pa.array(both([received, opened])),
        "business_day": pa.array([FIRST + timedelta(days=day)] * count, pa.date32()),
        "institution_code": institution,
        "division_code": pa.array([DIVISIONS[division]] * count),
        "kind": pa.array(kinds),
        "operation": pa.array(np.repeat(np.array([1, 2], np.int8), half)),
        "stage": pa.array(np.where(sale, 2, 0).astype(np.int8)),
        "channel": pa.array(np.full(count, 2, np.int8)),
        "document_number": _text("D", np.arange(count) // 2 + after, 12),
        "settlement_id": _where(sale, _digits("S", both([settlement, settlement]), 12)),
        "settlement_type": pa.array(np.where(sale, 1, 0).astype(np.int8)),
        "person_token": _where(sale, _digits("p", rng.integers(0, PERSONS, count), 15)),
        "prescriber_token": _where(sale, _digits("d", both([prescriber, prescriber]), 15)),
        "terminal_id": pa.array(["T1"] * count),
        "line_number": pa.array((np.arange(count) % 2 + 1).astype(np.int32)),
        "line_rows": pa.array(np.ones(count, np.int32)),
        "drug_code": pa.array(drugs[drug]),
        "quantity": pa.array(np.ones(count, np.int64))
        .cast(pa.decimal128(19, 0))
        .cast(pa.decimal128(23, 4))
        .cast(pa.decimal128(16, 4)),
        "price": price,
        "amount": price.cast(pa.decimal128(18, 2), safe=False),
        "lot": _text("L", drug, 6),
        "code": codes,
        "product": product,
        "code_class": pa.array(np.full(count, 2, np.int8)),
        "cleared": pa.array(np.ones(count, bool)),
    }
    arrays = [given[field.name] if field.name in given else _blank(field, count) for field in LINES]
    return pa.Table.from_arrays(arrays, schema=LINES)


def _digits(head: str, numbers: np.ndarray, width: int) -> np.ndarray:
    return np.char.add(head, np.char.zfill(numbers.astype(f"U{width}"), width))


def _text(head: str, numbers: np.ndarray, width: int) -> pa.Array:
    return pa.array(_digits(head, numbers, width))


def _where(sale: np.ndarray, texts: np.ndarray) -> pa.Array:
    return pa.array(np.where(sale, texts, ""))


def _blank(field: pa.Field, count: int) -> pa.Array:
    if field.nullable:
        return pa.nulls(count, field.type)
    if pa.types.is_list(field.type):
        return pa.array([[]] * count, field.type)
    if pa.types.is_string(field.type):
        return pa.array([""] * count)
    if pa.types.is_boolean(field.type):
        return pa.array(np.zeros(count, bool))
    return pa.array(np.zeros(count, np.int64)).cast(field.type)
