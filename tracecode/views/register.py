"""The register: institutions and products as the catalogue has them now, of a ledger that may be served.

They are read from the index. What the service has taken and not yet brought into the index stands at the end
of the journal, and is read from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tracecode._native import Store
from tracecode.engine import records
from tracecode.v1 import catalogue_pb2, journal_pb2

MAP_SIZE_BYTES = 256 * 2**30
ENTRIES_PER_READ = 10_000


def read_register(directory: Path) -> tuple[list[catalogue_pb2.Institution], list[catalogue_pb2.Product]]:
    """Institutions and products of the ledger in a data folder, by their codes.

    Raises DataLoss if the index or the journal is damaged.
    """
    institutions: dict[str, catalogue_pb2.Institution] = {}
    products: dict[str, catalogue_pb2.Product] = {}
    with Store(
        str(directory), map_size_bytes=MAP_SIZE_BYTES, overlay_bytes_max=0, read_only=True, full_check=False
    ) as store:
        # First how far the index is: what it takes in meanwhile is read twice, and is the same.
        applied = store.applied_sequence
        for _, value in store.scan(bytes([records.Table.INSTITUTION])):
            _, institution = records.institution_from_bytes(value)
            if institution is not None:
                institutions[institution.institution_code] = institution
        for _, value in store.scan(bytes([records.Table.PRODUCT])):
            product, _ = records.product_from_bytes(value)
            products[product.identifier] = product
        for entry in _read_entries(store, applied):
            for institution in entry.institution_import.institutions:
                institutions[institution.institution_code] = institution
            for product in entry.product_import.products:
                products[product.identifier] = product
    return (
        [institutions[code] for code in sorted(institutions)],
        [products[identifier] for identifier in sorted(products)],
    )


def _read_entries(store: Store, after: int) -> Iterator[journal_pb2.JournalEntry]:
    while values := store.entries(after, ENTRIES_PER_READ):
        after += len(values)
        for value in values:
            yield journal_pb2.JournalEntry.FromString(value)
