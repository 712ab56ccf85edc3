"""The lines relation as Parquet files out of a whole journal, as of a city that is measured.

A ledger in service has its files from the views, which follow the journal; this writes the same rows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracecode.v1 import catalogue_pb2, journal_pb2
from tracecode.views.lines import DELETIONS, FINDINGS, read_entries

__all__ = ["INSTITUTIONS", "PRODUCTS", "write_register_of", "write_relations"]

ENTRIES_PER_BATCH = 5_000

INSTITUTIONS = pa.schema(
    [
        pa.field("institution_code", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("division_code", pa.string(), nullable=False),
        pa.field("group_code", pa.string(), nullable=False),
        pa.field("uploads", pa.bool_(), nullable=False),
    ]
)

PRODUCTS = pa.schema(
    [
        pa.field("identifier", pa.string(), nullable=False),
        pa.field("drug_codes", pa.list_(pa.string()), nullable=False),
    ]
)


def write_relations(
    entries: Iterable[bytes], out: Path, progress: Callable[[int], object] | None = None
) -> int:
    """Write all relations of a journal under `out`, which must not hold any yet; returns rows of lines.

    `entries` are the journal's from its first. Lines lie in day=YYYY-MM-DD/division=NNNNNN/part-0.parquet.
    `progress` is told how many entries are done.
    """
    source = iter(entries)
    institutions: dict[str, dict[str, Any]] = {}
    products: dict[str, dict[str, Any]] = {}
    lines: dict[tuple[date, str], pq.ParquetWriter] = {}
    rows = after = 0
    for name in ("findings", "deletions"):
        (out / name).mkdir(parents=True)
    with (
        pq.ParquetWriter(out / "findings/part-0.parquet", FINDINGS) as findings,
        pq.ParquetWriter(out / "deletions/part-0.parquet", DELETIONS) as deletions,
    ):
        try:
            while batch := list(islice(source, ENTRIES_PER_BATCH)):
                found = read_entries(batch, after)
                after = found.sequence
                rows += found.lines.num_rows
                findings.write_batch(found.findings)
                deletions.write_batch(found.deletions)
                _write_lines(found.lines, out / "lines", lines)
                _read_catalogue(batch, institutions, products)
                if progress is not None:
                    progress(after)
        finally:
            for writer in lines.values():
                writer.close()
    _write_catalogue(out, institutions, products)
    return rows


def write_register_of(
    institutions: Iterable[catalogue_pb2.Institution], products: Iterable[catalogue_pb2.Product], out: Path
) -> None:
    """Write institutions.parquet and products.parquet alone, of a ledger whose views write the rest."""
    _write_catalogue(
        out,
        {row.institution_code: _institution_row(row) for row in institutions},
        {product.identifier: _product_row(product) for product in products},
    )


def _write_catalogue(
    out: Path, institutions: dict[str, dict[str, Any]], products: dict[str, dict[str, Any]]
) -> None:
    table = pa.Table.from_pylist(list(institutions.values()), INSTITUTIONS)
    pq.write_table(table, out / "institutions.parquet")
    table = pa.Table.from_pylist(list(products.values()), PRODUCTS)
    pq.write_table(table, out / "products.parquet")


def _write_lines(batch: pa.RecordBatch, out: Path, writers: dict[tuple[date, str], pq.ParquetWriter]) -> None:
    table = pa.Table.from_batches([batch])
    places = table.select(["business_day", "division_code"]).group_by(["business_day", "division_code"])
    for place in places.aggregate([]).to_pylist():
        day, division = place["business_day"], place["division_code"]
        chosen = table.filter(
            pc.and_(pc.equal(table["business_day"], day), pc.equal(table["division_code"], division))
        )
        writer = writers.get((day, division))
        if writer is None:
            folder = out / f"day={day}" / f"division={division}"
            folder.mkdir(parents=True, exist_ok=True)
            writer = writers[day, division] = pq.ParquetWriter(folder / "part-0.parquet", table.schema)
        writer.write_table(chosen)


def _read_catalogue(
    batch: Sequence[bytes], institutions: dict[str, dict[str, Any]], products: dict[str, dict[str, Any]]
) -> None:
    for stored in batch:
        entry = journal_pb2.JournalEntry.FromString(stored)
        for row in entry.institution_import.institutions:
            institutions[row.institution_code] = _institution_row(row)
        for product in entry.product_import.products:
            products[product.identifier] = _product_row(product)


def _institution_row(row: catalogue_pb2.Institution) -> dict[str, Any]:
    return {
        "institution_code": row.institution_code,
        "name": row.name,
        "division_code": row.division_code,
        "group_code": row.group_code,
        "uploads": row.uploads_receipt_codes,
    }


def _product_row(product: catalogue_pb2.Product) -> dict[str, Any]:
    return {"identifier": product.identifier, "drug_codes": list(product.drug_codes)}
