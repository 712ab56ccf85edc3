"""The index as the judge reads it and as an entry of the journal changes it.

`apply` is the whole meaning of an entry for the index: whoever applies the journal from its first entry to
its last has the index, and two engines that applied the same entries have the same bytes. Judging
never writes here.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tracecode._native import cut_entry
from tracecode.code import key_text, read_scan
from tracecode.document import (
    DELETED_TYPES,
    NS,
    Document,
    DocumentKind,
    Line,
    Operation,
    day_date,
    freeze_document,
)
from tracecode.engine import chain_order, desk, records
from tracecode.engine.document_codes import ReadDocument
from tracecode.engine.records import CodeFlag, CodeRecord, DocumentIndexRecord
from tracecode.errors import DataLoss
from tracecode.life_cycle import INBOUND, SALES, WHOLE, Event, InstitutionFacts, State, Step, fold
from tracecode.product import is_outer_package
from tracecode.v1 import catalogue_pb2, document_pb2, finding_pb2, journal_pb2

CACHED_BYTES_MAX = 64 * 2**20
"""What the documents that are kept read may weigh: 14,000 sales of a box, or 40 receipts of 3,000 (ours)."""

DOCUMENT_BYTES = 2_000
"""A document that is kept read takes so many bytes of memory at least, and with its events and lines made
BYTES_PER_ENTRY_BYTE for each of its entry's: fitted to sales of 1 and 3 codes and receipts of 50 to 3,000."""

BYTES_PER_ENTRY_BYTE = 23

CUT_BYTES_MIN = 2_000
"""Entries from this size on are read only as far as the code needs that is asked for (ours)."""

CUT_DOCUMENTS_MAX = 10_000
"""So many of what was cut out of them are kept: each is one line, and takes 4 kB (ours)."""

PRODUCTS_KEPT = 20_000
"""Products that are kept read, a kB each; one more, and they are read anew (ours)."""

INSTITUTIONS_KEPT = 10_000
"""Institutions likewise; a pooling area has a few thousand (ours)."""

EVENTS_MAX = 320
"""Of a code that more entries name, the first FIRST_EVENTS and the newest are read when it is judged (ours).
No box is reported so often: it is a constant of some till, or somebody sends it to keep the ledger busy."""

FIRST_EVENTS = 64
"""Of such a code, as many as found where the box came from and who sold it first."""

FIRST_ENTRIES_KEPT = 1_000
"""Codes of that kind whose first entries are remembered; to find them the whole chain is walked."""

UNKNOWN_DRUG_CODES_MAX = 16
"""Drug codes remembered of an identifier without a product: one product has few (ours)."""

UNKNOWN_INSTITUTIONS_MAX = 100
"""Institutions remembered of each of them; no rule base asks for so many before it learns (ours)."""

# Plain numbers: an IntFlag makes an object of every result.
_PACKAGE, _HELD, _REPLACED = int(CodeFlag.PACKAGE), int(CodeFlag.HELD), int(CodeFlag.REPLACED)
_LASTING = _PACKAGE | _HELD | _REPLACED
"""What a fold does not change."""

_UNSEEN = CodeRecord().to_bytes()

UNKNOWN_DOCUMENTS_MAX = 1_000
"""Documents of each of them that are judged again once it is learnt, the first to arrive (ours)."""

NOTHING_TOLD: Mapping[bytes, Sequence[bytes]] = {}


class Store(Protocol):
    """Bytes by key, and the journal. Writes become durable together at `commit`."""

    @property
    def sequence(self) -> int:
        """The last entry, pending ones included."""

    @property
    def durable_sequence(self) -> int:
        """The last entry that was committed."""

    def get(self, key: bytes) -> bytes | None:
        """The record, or None."""

    def put(self, key: bytes, value: bytes) -> None:
        """Create or replace a record."""

    def delete(self, key: bytes) -> None:
        """Forget a record; no error if there is none."""

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """All records of one records.group, in key order."""

    def append(self, entry: bytes) -> int:
        """Add the entry sequence + 1; returns its number."""

    def entry(self, sequence: int) -> bytes | None:
        """An entry, pending ones included."""

    def entries(self, after: int, limit: int) -> list[bytes]:
        """Committed entries after+1 .. after+limit as far as they exist."""

    def commit(self) -> None:
        """Return when all appended entries are durable."""

    def rollback(self) -> None:
        """Forget what was appended, put or deleted since the last commit."""

    def close(self) -> None:
        """Release everything."""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document entry of the journal, read."""

    sequence: int
    entry: journal_pb2.JournalEntry
    read: ReadDocument
    previous: Mapping[bytes, int]


class Index:
    """Reads and changes the index over a store; keeps nothing that cannot be read again."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._products: dict[str, tuple[catalogue_pb2.Product, bool]] = {}
        self._institutions: dict[str, tuple[int, catalogue_pb2.Institution | None]] = {}
        self._facts: dict[str, InstitutionFacts] = {}
        self._documents: OrderedDict[int, tuple[StoredDocument, int]] = OrderedDict()
        self._parts: OrderedDict[tuple[int, bytes], StoredDocument] = OrderedDict()
        self._cached_bytes = 0
        # Code -> its first FIRST_EVENTS entries, newest first, of codes with more than EVENTS_MAX.
        self._first_entries: dict[bytes, list[int]] = {}

    def forget(self) -> None:
        """Read everything again: the store took back what it had been told."""
        self._products.clear()
        self._institutions.clear()
        self._facts.clear()
        self._documents.clear()
        self._parts.clear()
        self._cached_bytes = 0
        self._first_entries.clear()

    # What the catalogue says.

    def product(self, identifier: str) -> catalogue_pb2.Product | None:
        """A product by identifier, or None."""
        found = self._product(identifier)
        return None if found is None else found[0]

    def _product(self, identifier: str) -> tuple[catalogue_pb2.Product, bool] | None:
        found = self._products.get(identifier)
        if found is None:
            value = self.store.get(records.product_key(identifier))
            if value is None:
                # Not remembered: anybody may ask for any number of identifiers that do not exist.
                return None
            if len(self._products) >= PRODUCTS_KEPT:
                self._products.clear()
            found = self._products[identifier] = records.product_from_bytes(value)
        return found

    def institution(self, code: str) -> catalogue_pb2.Institution | None:
        """A registered institution, or None."""
        return self._institution(code)[1]

    def _institution(self, code: str) -> tuple[int, catalogue_pb2.Institution | None]:
        found = self._institutions.get(code)
        if found is None:
            value = self.store.get(records.institution_key(code))
            found = (0, None) if value is None else records.institution_from_bytes(value)
            if found[0]:
                if len(self._institutions) >= INSTITUTIONS_KEPT:
                    self._institutions.clear()
                self._institutions[code] = found
        return found

    def institution_number(self, code: str) -> int:
        """The number of an institution in records, 0 if it was never seen."""
        return self._institution(code)[0]

    def institution_code(self, number: int) -> str:
        """The institution of a number; empty for 0."""
        value = self.store.get(records.institution_number_key(number)) if number else None
        return "" if value is None else value.decode()

    def facts(self, code: str) -> InstitutionFacts:
        """What judging needs to know of an institution, registered or not."""
        facts = self._facts.get(code)
        if facts is None:
            number, institution = self._institution(code)
            if institution is None:
                facts = InstitutionFacts(code, division=code[1:7])
            else:
                facts = InstitutionFacts(
                    code=code,
                    division=institution.division_code,
                    group=institution.group_code,
                    uploads_receipt_codes=institution.uploads_receipt_codes,
                    registered=True,
                )
            if number:
                if len(self._facts) >= INSTITUTIONS_KEPT:
                    self._facts.clear()
                self._facts[code] = facts
        return facts

    def in_service(self, code: str, day: int) -> bool:
        """Registered, and its service agreement in force on that day (days since 1970)."""
        institution = self.institution(code)
        if institution is None:
            return False
        text = day_date(day).isoformat()
        periods = institution.service_periods
        return not periods or any(
            period.start_date <= text and (not period.end_date or text <= period.end_date)
            for period in periods
        )

    def holds(self, key: bytes, identifier: str, lots: Iterable[str]) -> tuple[catalogue_pb2.Hold, ...]:
        """Holds on a code or on lots of its product, whatever their dates."""
        found: list[bytes] = []
        if self._flags(key) & _HELD:
            found += [value for _, value in self.store.scan(records.code_hold_key(key))]
        product = self._product(identifier) if identifier else None
        if identifier and (product is None or product[1]):
            for lot in sorted({lot for lot in lots if lot}):
                found += [value for _, value in self.store.scan(records.lot_hold_key(identifier, lot))]
        return tuple(catalogue_pb2.Hold.FromString(value) for value in found)

    def hold(self, hold_id: str) -> catalogue_pb2.Hold | None:
        """A hold as imported, or None."""
        value = self.store.get(records.hold_key(hold_id))
        return None if value is None else catalogue_pb2.Hold.FromString(value)

    def replacement(self, old_code: str) -> catalogue_pb2.CodeReplacement | None:
        """The replacement of a code in canonical text or as scanned, or None."""
        key = read_scan(old_code)[0].key
        codes = self._codes_of_box(key)
        following = codes[codes.index(key) + 1 :]
        if not following:
            return None
        return catalogue_pb2.CodeReplacement(old_code=old_code, new_code=key_text(following[0]))

    def replaced_by(self, key: bytes) -> bytes | None:
        """The code that the platform gave last instead of this one, or None."""
        newest = self._codes_of_box(key)[-1]
        return None if newest == key else newest

    def _codes_of_box(self, key: bytes) -> tuple[bytes, ...]:
        """All codes of the box, the oldest first; only `key` where nothing was replaced."""
        if not self._flags(key) & _REPLACED:
            return (key,)
        value = self.store.get(records.replacement_key(key))
        return (key,) if value is None else records.codes_from_bytes(value)

    def learnable(
        self, read: ReadDocument, sales_min: int, institutions_min: int
    ) -> list[catalogue_pb2.Product]:
        """Products that consistent sales have taught, of the identifiers on a document.

        A drug code is learnt that enough institutions billed often enough. What others bill then adds to
        it or not, but takes nothing back: so the end is the same in whatever order the sales came.
        """
        if read.document.kind is not DocumentKind.SALE:
            return []
        products = []
        for identifier in _identifiers(read):
            known = self.product(identifier)
            if known is not None and not known.learned:
                continue
            seen = self._unknown(identifier)
            if seen is None:
                continue
            before = set() if known is None else set(known.drug_codes)
            billed = {line.drug_code for line in _lines_of(read, identifier)}
            if before and billed <= before:
                # Nothing new was seen: as if native code had cleared it.
                continue
            drug_codes = before | {
                drug_code
                for drug_code, sold in seen["drug_codes"].items()
                if sold["sales"] >= sales_min and len(sold["institutions"]) >= institutions_min
            }
            if drug_codes != before:
                products.append(
                    catalogue_pb2.Product(
                        identifier=identifier,
                        package_level=1,
                        drug_codes=sorted(drug_codes),
                        units_per_package=1,
                        learned=True,
                    )
                )
        return products

    def _unknown(self, identifier: str) -> dict[str, Any] | None:
        """What was seen of an identifier before the catalogue knew it."""
        value = self.store.get(records.unknown_product_key(identifier))
        return None if value is None else json.loads(value)

    def unknown_since(self, identifier: str, time: int) -> int:
        """First time an identifier without a product was seen, at most `time`."""
        seen = self._unknown(identifier)
        return time if seen is None else min(time, seen["first_seen"])

    def aged(self, read: ReadDocument, seconds: int) -> list[str]:
        """Unknown identifiers on a document that is the earliest of them, by more than `seconds`: others
        are now later than had been thought."""
        found = []
        for identifier in _identifiers(read):
            seen = self._unknown(identifier)
            if seen is not None and seen["first_seen"] == read.time < seen["last_seen"] - seconds:
                found.append(identifier)
        return found

    def unknown_documents(self, identifiers: Iterable[str]) -> list[int]:
        """Entries of the documents that had one of these identifiers before it was learnt."""
        found = set()
        for identifier in identifiers:
            for key, _ in self.store.scan(records.unknown_document_key(identifier, 0)[:-8]):
                found.add(int.from_bytes(key[-8:], "big"))
        return sorted(found)

    # What the journal says.

    def stored(self, sequence: int) -> StoredDocument:
        """A document entry. Raises DataLoss if the journal does not have it."""
        found = self._documents.get(sequence)
        if found is not None:
            self._documents.move_to_end(sequence)
            return found[0]
        value = self.store.entry(sequence)
        if value is None:
            raise DataLoss(f"journal entry {sequence} is missing; restore the journal from a backup")
        return self._remember(journal_pb2.JournalEntry.FromString(value), entry_bytes=len(value))

    def stored_for(self, sequence: int, key: bytes) -> StoredDocument:
        """A document entry as far as one code on it needs it: of a receipt of a thousand codes, which is
        read again whenever one of them is judged, only that code. Raises as `stored`."""
        if sequence in self._documents:
            return self.stored(sequence)
        part = self._parts.get((sequence, key))
        if part is not None:
            self._parts.move_to_end((sequence, key))
            return part
        value = self.store.entry(sequence)
        if value is None or len(value) < CUT_BYTES_MIN:
            return self.stored(sequence)
        cut = cut_entry(value, key)
        if cut is None:
            return self.stored(sequence)
        content, line = cut
        entry = journal_pb2.JournalEntry.FromString(content)
        message = document_pb2.Document.FromString(entry.document.document)
        # A line without a number has its place's, which it must keep.
        message.lines[0].line_number = message.lines[0].line_number or line + 1
        read = ReadDocument(freeze_document(message), sequence, entry.receive_time_ns // NS)
        part = StoredDocument(sequence, entry, read, {key: entry.document.previous_sequences[0]})
        self._parts[sequence, key] = part
        if len(self._parts) > CUT_DOCUMENTS_MAX:
            self._parts.popitem(last=False)
        return part

    def _remember(
        self, entry: journal_pb2.JournalEntry, read: ReadDocument | None = None, entry_bytes: int = 0
    ) -> StoredDocument:
        if not entry.HasField("document"):
            raise DataLoss(f"journal entry {entry.sequence} is no document; run tracecode fsck")
        if read is None:
            read = ReadDocument(
                freeze_document(document_pb2.Document.FromString(entry.document.document)),
                entry.sequence,
                entry.receive_time_ns // NS,
                refused=entry.document.outcome == finding_pb2.OUTCOME_REFUSED,
            )
        previous = dict(zip(read.events, entry.document.previous_sequences, strict=True))
        stored = StoredDocument(entry.sequence, entry, read, previous)
        weight = DOCUMENT_BYTES + BYTES_PER_ENTRY_BYTE * (entry_bytes or entry.ByteSize())
        self._cached_bytes += weight - self._documents.pop(entry.sequence, (stored, 0))[1]
        self._documents[entry.sequence] = stored, weight
        while self._cached_bytes > CACHED_BYTES_MAX and len(self._documents) > 1:
            _, (_, freed) = self._documents.popitem(last=False)
            self._cached_bytes -= freed
        return stored

    def document_record(self, document: Document) -> DocumentIndexRecord | None:
        """Where the document of this identity is, or None."""
        number = self.institution_number(document.institution_code)
        if not number:
            return None
        value = self.store.get(records.document_key(number, document.kind, document.number))
        return None if value is None else DocumentIndexRecord.from_bytes(value)

    def sequences_of(self, document_key: bytes) -> list[int]:
        """The entries of a document's number: who holds it now, and whom corrections took it from."""
        value = self.store.get(document_key)
        holder = 0 if value is None else DocumentIndexRecord.from_bytes(value).sequence
        found = [holder] if holder else []
        prefix = records.superseded_key(document_key, 0)[:-8]
        return found + [int.from_bytes(key[-8:], "big") for key, _ in self.store.scan(prefix)]

    def record_of(self, stored: StoredDocument) -> DocumentIndexRecord:
        """The record of a stored document, also of one whose number a correction took over."""
        document = stored.read.document
        key = records.document_key(
            self.institution_number(document.institution_code), document.kind, document.number
        )
        value = self.store.get(key)
        record = None if value is None else DocumentIndexRecord.from_bytes(value)
        if record is None or record.sequence != stored.sequence:
            value = self.store.get(records.superseded_key(key, stored.sequence))
            record = None if value is None else DocumentIndexRecord.from_bytes(value)
        if record is None:
            raise DataLoss(f"the index does not know entry {stored.sequence}; run tracecode fsck")
        return record

    def standing_findings(
        self, stored: StoredDocument, record: DocumentIndexRecord | None = None
    ) -> tuple[list[finding_pb2.Finding], int]:
        """The findings that stand of a document, and the number of its last revision. A record of it that
        was looked up need not be again."""
        record = record or self.record_of(stored)
        if not record.revision_sequence:
            return list(stored.entry.document.findings), 0
        value = self.store.entry(record.revision_sequence)
        if value is None:
            raise DataLoss(f"journal entry {record.revision_sequence} is missing")
        revision = journal_pb2.JournalEntry.FromString(value).revision
        return list(revision.findings), revision.revision

    # What is known of a code.

    def code_record(self, key: bytes) -> CodeRecord | None:
        """The record of a code, or None if it was never seen."""
        value = self.store.get(records.code_key(key))
        return None if value is None else CodeRecord.from_bytes(value)

    def head(self, key: bytes) -> int:
        """The last entry by arrival that tells of a code, 0 if it was never seen."""
        value = self.store.get(records.code_key(key))
        return 0 if value is None else records.code_head(value)

    def _flags(self, key: bytes) -> int:
        """CodeFlag of a code. Nearly all codes have none: then there is nothing to look for elsewhere."""
        value = self.store.get(records.code_key(key))
        return 0 if value is None else records.code_flags(value)

    def aliases(self, key: bytes) -> tuple[bytes, ...]:
        """The code, then, where the platform replaced it, the other codes of the same box."""
        codes = self._codes_of_box(key)
        return codes if len(codes) == 1 else (key, *(code for code in codes if code != key))

    def codes_text(self, key: bytes) -> frozenset[str]:
        """Canonical texts under which findings about a box stand."""
        return frozenset(key_text(alias) for alias in self.aliases(key))

    def boxes(self, read: ReadDocument) -> list[str]:
        """The item products of which a document receives an outer package without naming its contents."""
        named = {parent for parent, _ in read.relations}
        found = set()
        for key in read.events:
            product = self.product(identifier_of(key))
            if product is None or not is_outer_package(product) or not product.item_identifier:
                continue
            if key not in named and read.events[key].operation in INBOUND:
                found.add(product.item_identifier)
        return sorted(found)

    def received_boxed(self, institution_code: str, identifier: str) -> bool:
        """Whether an institution received an outer package of an item product with unnamed contents."""
        number = self.institution_number(institution_code)
        return bool(identifier) and self.store.get(records.outer_package_key(number, identifier)) is not None

    def unreceived(self, institution_code: str, identifier: str) -> list[bytes]:
        """The codes of a product that an institution sold without a receipt of their own."""
        prefix = records.unreceived_key(self.institution_number(institution_code), identifier)
        return [key[len(prefix) :] for key, _ in self.store.scan(prefix)]

    def parents(self, key: bytes) -> tuple[bytes, ...]:
        """The packages the code is inside of."""
        if not self._flags(key) & _PACKAGE:
            return ()
        prefix = records.parent_key(key)
        return tuple(found[len(prefix) :] for found, _ in self.store.scan(prefix))

    def children(self, key: bytes) -> tuple[bytes, ...]:
        """The codes inside the package."""
        if not self._flags(key) & _PACKAGE:
            return ()
        prefix = records.child_key(key)
        return tuple(found[len(prefix) :] for found, _ in self.store.scan(prefix))

    def covered(self, keys: Iterable[bytes]) -> tuple[bytes, ...]:
        """The codes and everything inside them, in a fixed order."""
        found: dict[bytes, None] = {}
        waiting = list(keys)
        while waiting:
            key = waiting.pop(0)
            if key not in found:
                found[key] = None
                waiting += self.children(key)
                waiting += [alias for alias in self.aliases(key) if alias not in found]
        return tuple(found)

    def packages_around(
        self, codes: Iterable[bytes], told: Mapping[bytes, Sequence[bytes]] = NOTHING_TOLD
    ) -> tuple[bytes, ...]:
        """The packages around a box of these codes; `told` adds, by child, what a document that is not
        in the index yet says of them."""
        own = tuple(codes)
        found: dict[bytes, None] = {}
        waiting = list(own)
        while waiting:
            key = waiting.pop()
            for parent in (*self.parents(key), *told.get(key, ())):
                if parent not in found and parent not in own:
                    found[parent] = None
                    waiting.append(parent)
        return tuple(sorted(found))

    def events(
        self,
        key: bytes,
        told: Mapping[bytes, Sequence[bytes]] = NOTHING_TOLD,
        awaited: Collection[bytes] = (),
    ) -> list[Event]:
        """The chain of a code, unordered: its own events, those of its packages, deletions. `told` as in
        `packages_around`; of the codes `awaited` the caller adds an event that is not in the journal yet.

        What a document says of several packages around a code is here for each of them; `fold` takes one.
        Of a code with more than EVENTS_MAX entries only the first and the newest are here.
        """
        found: list[Event] = []
        own = self.aliases(key)
        for alias in own:
            # A document that names two codes of one box tells of it once, by the first that is asked for.
            seen = {(event.sequence, event.deletes) for event in found}
            more: list[Event] = []
            self._collect(alias, b"", more, awaited)
            found += [event for event in more if (event.sequence, event.deletes) not in seen]
        for parent in self.packages_around(own, told):
            self._collect(parent, parent, found, awaited)
        return found

    def _collect(self, key: bytes, package: bytes, found: list[Event], awaited: Collection[bytes]) -> None:
        for sequence in self._deciding_entries(key, 1 if key in awaited else 0):
            event = self.event(sequence, key)
            if package:
                event = replace(event, package=package)
            if event.deleted_by:
                found.append(deletion_event(self.stored(event.deleted_by).read, event))
            found.append(event)

    def event(self, sequence: int, key: bytes, record: DocumentIndexRecord | None = None) -> Event:
        """What an entry tells of a code, and whether it was taken back; `record` saves looking it up."""
        stored = self.stored_for(sequence, key)
        event = stored.read.events[key]
        deleted_by = (record or self.record_of(stored)).deleted_by
        return replace(event, deleted_by=deleted_by) if deleted_by else event

    def _entries_of(self, key: bytes) -> Iterator[int]:
        """The entries that tell of a code, the newest by arrival first."""
        sequence = self.head(key)
        while sequence:
            yield sequence
            sequence = self.stored_for(sequence, key).previous[key]

    def _deciding_entries(self, key: bytes, awaited: int) -> list[int]:
        """The entries of a code that are judged: all, or of more than EVENTS_MAX the first and the newest.
        So many more are `awaited`."""
        found: list[int] = []
        first = self._first_entries.get(key)
        newest = EVENTS_MAX - FIRST_EVENTS - awaited
        for sequence in self._entries_of(key):
            if first is not None and len(found) == newest:
                return [*found, *first]
            found.append(sequence)
        if len(found) + awaited <= EVENTS_MAX:
            return found
        first = found[-FIRST_EVENTS:]
        if len(self._first_entries) >= FIRST_ENTRIES_KEPT:
            self._first_entries.pop(next(iter(self._first_entries)))
        self._first_entries[key] = first
        return [*found[:newest], *first]

    def is_long(self, key: bytes) -> bool:
        """Whether the chain of a code is too long to be folded as a whole."""
        record = self.code_record(key)
        return record is not None and record.event_count >= EVENTS_MAX

    def long_chain(self, key: bytes, start: int, limit: int) -> list[int]:
        """The entries of a long chain in effective order, `limit` of them from `start` on."""
        return chain_order.list_sequences(self.store, key, start, limit)

    def steps(self, key: bytes) -> tuple[Step, ...]:
        """The chain of a code folded, as far as `events` has it."""
        return fold(self.events(key), self.facts)

    def standing_sales(self, key: bytes) -> list[Event]:
        """The sales of a code that stand now, by time."""
        steps = [step for step in self.steps(key) if step.event.counted]
        return [sale.event for sale in steps[-1].after.sales] if steps else []

    # What a document means for others.

    def targets(self, document: Document) -> list[StoredDocument]:
        """The documents that a deletion takes back, of those that have arrived."""
        number = self.institution_number(document.institution_code)
        if not number:
            return []
        found: dict[int, StoredDocument] = {}
        if document.deleted_document_number:
            for kind, deleted_type in DELETED_TYPES.items():
                if deleted_type != document.deleted_type:
                    continue
                key = records.document_key(number, kind, document.deleted_document_number)
                for sequence in self.sequences_of(key):
                    found[sequence] = self.stored(sequence)
        else:
            prefix = records.batch_key(number, document.deleted_type, document.deleted_batch_serial, 0)[:-8]
            for key, _ in self.store.scan(prefix):
                sequence = int.from_bytes(key[-8:], "big")
                found[sequence] = self.stored(sequence)
        return [found[sequence] for sequence in sorted(found)]

    def taken_back(self, deletion: ReadDocument) -> list[StoredDocument]:
        """The documents that a deletion takes back, of those that have arrived. What several cover is taken
        back by the first of them in the chain, also if another arrived before."""
        found = []
        for target in self.targets(deletion.document):
            if takes_back(deletion, target.read):
                deleted_by = self.record_of(target).deleted_by
                if not deleted_by or _place(deletion) < _place(self.stored(deleted_by).read):
                    found.append(target)
        return found

    def pending_deletion(self, read: ReadDocument) -> int:
        """The deletion that arrived before this document and takes it back, the first in the chain where
        there are several; 0 = none."""
        document = read.document
        number = self.institution_number(document.institution_code)
        deleted_type = DELETED_TYPES.get(document.kind)
        if not number or deleted_type is None:
            return 0
        waiting: set[int] = set()
        prefixes = {records.number_deletion_key(number, deleted_type, document.number, 0)[:-8]}
        prefixes |= {
            records.batch_deletion_key(number, deleted_type, line.batch_serial, 0)[:-8]
            for line in document.lines
            if line.batch_serial
        }
        for prefix in prefixes:
            waiting |= {int.from_bytes(key[-8:], "big") for key, _ in self.store.scan(prefix)}
        deletions = [self.stored(sequence).read for sequence in sorted(waiting)]
        covering = [deletion for deletion in deletions if takes_back(deletion, read)]
        return min(covering, key=_place).sequence if covering else 0

    # What an entry changes.

    def apply(
        self,
        entry: journal_pb2.JournalEntry,
        read: ReadDocument | None = None,
        steps: Mapping[bytes, tuple[Step, ...]] | None = None,
    ) -> None:
        """Change the index by one entry. `read` and `steps` save the judge's work from being done twice."""
        match entry.WhichOneof("content"):
            case "document":
                self._apply_document(entry, read, steps or {})
            case "revision":
                self._apply_revision(entry)
            case "product_import":
                for product in entry.product_import.products:
                    self._put_product(product)
            case "institution_import":
                for institution in entry.institution_import.institutions:
                    self._put_institution(institution.institution_code, institution)
            case "hold_import":
                for hold in entry.hold_import.holds:
                    self._put_hold(hold)
            case "code_replacement_import":
                for replacement in entry.code_replacement_import.code_replacements:
                    self._put_replacement(replacement)
            case "rule_base_change":
                self.store.put(records.meta_key("rule_base"), records.U64.pack(entry.sequence))
            case content if content in desk.CONTENTS:
                desk.apply(self.store, entry)
            case _:
                raise DataLoss(f"journal entry {entry.sequence} has no content this version knows")

    def _apply_document(
        self,
        entry: journal_pb2.JournalEntry,
        read: ReadDocument | None,
        steps: Mapping[bytes, tuple[Step, ...]],
    ) -> None:
        pending = 0
        stored = self._remember(entry, read)
        read = stored.read
        document = read.document
        if document.kind is not DocumentKind.DELETION:
            pending = self.pending_deletion(read)
        number = self.institution_number(document.institution_code)
        if not number:
            number = self._put_institution(document.institution_code, None)
        key = records.document_key(number, document.kind, document.number)
        value = self.store.get(key)
        earlier = DocumentIndexRecord() if value is None else DocumentIndexRecord.from_bytes(value)
        if value is not None and earlier.sequence:
            if document.corrects == document.number:
                self.store.put(records.superseded_key(key, earlier.sequence), value)
            else:
                # Its correction came first and keeps the number.
                key = records.superseded_key(key, entry.sequence)
        self.store.put(key, DocumentIndexRecord(entry.sequence, deleted_by=pending).to_bytes())
        if entry.document.request_id:
            request = records.request_key(number, entry.document.request_id)
            self.store.put(request, records.U64.pack(entry.sequence))
        deleted_type = DELETED_TYPES.get(document.kind, 0)
        for serial in {line.batch_serial for line in document.lines if line.batch_serial}:
            self.store.put(records.batch_key(number, deleted_type, serial, entry.sequence), b"")
        for parent, child in read.relations:
            self.store.put(records.child_key(parent, child), b"")
            self.store.put(records.parent_key(child, parent), b"")
            self._flag_code(parent, CodeFlag.PACKAGE)
            self._flag_code(child, CodeFlag.PACKAGE)
        for identifier in self.boxes(read):
            self.store.put(records.outer_package_key(number, identifier), b"")
        touched = set(read.events)
        if document.kind is DocumentKind.DELETION:
            touched |= self._apply_deletion(entry.sequence, number, read)
        for code in read.events:
            record = records.code_key(code)
            known = self.store.get(record) or _UNSEEN
            self.store.put(record, records.code_with_head(known, entry.sequence))
        for code in self.covered(sorted(touched)):
            self._put_code(code, steps.get(code))
        self._observe_unknown(read)

    def _apply_deletion(self, sequence: int, number: int, read: ReadDocument) -> set[bytes]:
        document = read.document
        touched: set[bytes] = set()
        for target in self.taken_back(read):
            if target.sequence >= sequence:
                continue
            record = self.record_of(target)
            found = target.read.document
            key = records.document_key(number, found.kind, found.number)
            value = self.store.get(key)
            if value is None or DocumentIndexRecord.from_bytes(value).sequence != target.sequence:
                key = records.superseded_key(key, target.sequence)
            self.store.put(key, replace(record, deleted_by=sequence).to_bytes())
            touched |= set(target.read.events)
        if document.deleted_batch_serial:
            self.store.put(
                records.batch_deletion_key(
                    number, document.deleted_type, document.deleted_batch_serial, sequence
                ),
                b"",
            )
        else:
            for kind, deleted_type in DELETED_TYPES.items():
                if deleted_type != document.deleted_type:
                    continue
                key = records.document_key(number, kind, document.deleted_document_number)
                if self.store.get(key) is None:
                    # The document is still to come; that it is known already keeps clearing from taking it.
                    self.store.put(key, DocumentIndexRecord(deleted_by=sequence).to_bytes())
            self.store.put(
                records.number_deletion_key(
                    number, document.deleted_type, document.deleted_document_number, sequence
                ),
                b"",
            )
        return touched

    def _apply_revision(self, entry: journal_pb2.JournalEntry) -> None:
        stored = self.stored(entry.revision.revised_sequence)
        document = stored.read.document
        key = records.document_key(
            self.institution_number(document.institution_code), document.kind, document.number
        )
        value = self.store.get(key)
        if value is None or DocumentIndexRecord.from_bytes(value).sequence != stored.sequence:
            key = records.superseded_key(key, stored.sequence)
        record = self.record_of(stored)
        self.store.put(
            key,
            replace(record, revision_sequence=entry.sequence, revisions=entry.revision.revision).to_bytes(),
        )

    def _put_code(self, key: bytes, steps: tuple[Step, ...] | None) -> None:
        if steps is None:
            steps = self.steps(key)
        known = self.code_record(key) or CodeRecord()
        record = self._fold_to_record(key, known, steps)
        self.store.put(records.code_key(key), record.to_bytes())
        if record.event_count >= EVENTS_MAX:
            self._order(key, record.head)
        self._put_unreceived(key, steps)

    def _order(self, key: bytes, head: int) -> None:
        """Keep the order of a long chain's own entries: of the newest, or of all when it has become long."""
        places: list[bytes] = []
        sequence, newest = head, chain_order.newest(self.store, key)
        while sequence != newest:
            stored = self.stored_for(sequence, key)
            time, rank = stored.read.events[key].order[:2]
            places.append(chain_order.place(time, rank, sequence))
            sequence = stored.previous[key]
        if places:
            chain_order.insert(self.store, key, places[::-1])

    def _put_unreceived(self, key: bytes, steps: tuple[Step, ...]) -> None:
        """Remember a code that was sold without a receipt or a count before: its carton may still come in."""
        identifier = identifier_of(key)
        events = [step.event for step in steps]
        received = {event.institution for event in events if event.counted and event.operation in INBOUND}
        # Refused and deleted sales are judged like others.
        for event in events:
            here = event.institution
            if event.counted and event.operation is Operation.COUNT:
                # A count proves nothing of a sale before it.
                received.add(here)
            if identifier and event.operation in SALES and here not in received:
                if self.facts(here).uploads_receipt_codes:
                    number = self.institution_number(here)
                    self.store.put(records.unreceived_key(number, identifier, key), b"")

    def _fold_to_record(self, key: bytes, known: CodeRecord, steps: tuple[Step, ...]) -> CodeRecord:
        counted = [step for step in steps if step.event.counted]
        flags = known.flags & _LASTING
        # Where only a part of the chain is read, it is counted on.
        event_count = len(steps) if len(steps) < EVENTS_MAX else max(len(steps), known.event_count + 1)
        if not counted:
            if steps:
                flags |= CodeFlag.CHAIN
            # Nothing of what was taken back stays, or it would matter whether the deletion came first.
            return CodeRecord(state=State.UNKNOWN, flags=flags, event_count=event_count, head=known.head)
        place = counted[-1].after
        if place.conflict:
            flags |= CodeFlag.CONFLICT
        if len(counted) != len(steps) or any(step.odd or step.joined for step in steps):
            flags |= CodeFlag.CHAIN
        units_left = 0
        if place.state is State.SPLIT:
            product = self.product(identifier_of(key))
            units = sum((sale.event.units for sale in place.sales), WHOLE)
            units_left = max(0, int((product.splittable_units if product else 0) - units))
        received = place.received_at(place.institution)
        lot = expiry = None
        if received is not None:
            lot = received.lot_number or received.scan_lot_number
            expiry = received.expiry_day if received.expiry_day is not None else received.scan_expiry_day
            # One lot and one day is all that the record keeps: where the receipt names two, rules must look.
            if received.scan_lot_number not in ("", lot) or received.scan_expiry_day not in (None, expiry):
                flags |= CodeFlag.CHAIN
        return CodeRecord(
            state=int(place.state),
            flags=int(flags),
            event_count=event_count,
            institution=self.institution_number(place.institution),
            units_left=units_left,
            active_sales=len(place.sales),
            return_cycles=place.return_cycles,
            head=known.head,
            last_time=max(step.event.time for step in steps),
            lot_hash=records.lot_hash(lot or ""),
            expiry_day=records.NO_DAY if expiry is None else expiry,
        )

    def _put_product(self, product: catalogue_pb2.Product) -> None:
        known = self._product(product.identifier)
        if known is None:
            # A recall may be known before the product is.
            held = self.store.get(records.lot_hold_key(product.identifier, "")) is not None
        else:
            held = known[1]
        value = records.product_to_bytes(product, held=held)
        self.store.put(records.product_key(product.identifier), value)
        self._products.pop(product.identifier, None)

    def _put_institution(self, code: str, institution: catalogue_pb2.Institution | None) -> int:
        number = self.institution_number(code)
        if not number:
            value = self.store.get(records.meta_key("institutions"))
            number = 1 + (0 if value is None else records.U64.unpack(value)[0])
            self.store.put(records.meta_key("institutions"), records.U64.pack(number))
            self.store.put(records.institution_number_key(number), code.encode())
        self.store.put(records.institution_key(code), records.institution_to_bytes(number, institution))
        self._institutions.pop(code, None)
        self._facts.pop(code, None)
        return number

    def _put_hold(self, hold: catalogue_pb2.Hold) -> None:
        value = hold.SerializeToString(deterministic=True)
        before = self.hold(hold.hold_id)
        if before is not None:
            # What it no longer names is free of it. The flags stay: they only send a document to the rules.
            for reading in read_scan(before.code) if before.code else ():
                self.store.delete(records.code_hold_key(reading.key, hold.hold_id))
            if before.identifier:
                self.store.delete(records.lot_hold_key(before.identifier, before.lot_number, hold.hold_id))
        self.store.put(records.hold_key(hold.hold_id), value)
        if hold.code:
            for reading in read_scan(hold.code):
                self.store.put(records.code_hold_key(reading.key, hold.hold_id), value)
                self._flag_code(reading.key, CodeFlag.HELD)
            return
        self.store.put(records.lot_hold_key(hold.identifier, hold.lot_number, hold.hold_id), value)
        known = self._product(hold.identifier)
        if known is None:
            self.store.put(records.lot_hold_key(hold.identifier, ""), b"")
        else:
            self.store.put(
                records.product_key(hold.identifier), records.product_to_bytes(known[0], held=True)
            )
            self._products.pop(hold.identifier, None)

    def _put_replacement(self, replacement: catalogue_pb2.CodeReplacement) -> None:
        old, new = read_scan(replacement.old_code)[0].key, read_scan(replacement.new_code)[0].key
        together = (*self._codes_of_box(old), *self._codes_of_box(new))
        codes = [*(code for code in dict.fromkeys(together) if code != new), new]
        for code in codes:
            self.store.put(records.replacement_key(code), records.codes_to_bytes(codes))
            self._flag_code(code, CodeFlag.REPLACED)
        for code in codes:
            self._put_code(code, None)

    def _flag_code(self, key: bytes, flag: CodeFlag) -> None:
        known = self.code_record(key) or CodeRecord()
        self.store.put(records.code_key(key), replace(known, flags=known.flags | flag).to_bytes())

    def _observe_unknown(self, read: ReadDocument) -> None:
        """Remember what identifiers without a product are sold as, so that they can be learnt."""
        sold = read.document.kind is DocumentKind.SALE
        for key, lines in read.lines_of_code.items():
            identifier = identifier_of(key)
            product = self.product(identifier)
            if not identifier or (product is not None and not product.learned):
                continue
            for drug_code in (line.drug_code if sold else "" for line in lines):
                # What was learnt can be added to by what it is billed as elsewhere.
                if product is None or (drug_code and drug_code not in product.drug_codes):
                    self._observe(identifier, drug_code, read)

    def _observe(self, identifier: str, drug_code: str, read: ReadDocument) -> None:
        seen = self._unknown(identifier)
        if seen is None:
            seen = {"documents": 0, "drug_codes": {}, "first_seen": read.time, "last_seen": read.time}
        seen["first_seen"] = min(seen["first_seen"], read.time)
        seen["last_seen"] = max(seen["last_seen"], read.time)
        document = records.unknown_document_key(identifier, read.sequence)
        if seen["documents"] < UNKNOWN_DOCUMENTS_MAX and self.store.get(document) is None:
            seen["documents"] += 1
            self.store.put(document, b"")
        drug_codes = seen["drug_codes"]
        if drug_code and (drug_code in drug_codes or len(drug_codes) < UNKNOWN_DRUG_CODES_MAX):
            sold = drug_codes.setdefault(drug_code, {"sales": 0, "institutions": []})
            sold["sales"] += 1
            code, institutions = read.document.institution_code, sold["institutions"]
            if code not in institutions and len(institutions) < UNKNOWN_INSTITUTIONS_MAX:
                sold["institutions"] = sorted([*institutions, code])
        value = json.dumps(seen, sort_keys=True).encode()
        self.store.put(records.unknown_product_key(identifier), value)


def _identifiers(read: ReadDocument) -> list[str]:
    """The product identifiers on the lines of a document."""
    return sorted({identifier_of(key) for key in read.lines_of_code} - {""})


def _lines_of(read: ReadDocument, identifier: str) -> list[Line]:
    """The lines of a document that have codes of an identifier."""
    named = [lines for key, lines in read.lines_of_code.items() if identifier_of(key) == identifier]
    return [line for lines in named for line in lines]


def deletion_event(deletion: ReadDocument, target: Event) -> Event:
    """What a deletion says of the code of an event that it takes back."""
    document = deletion.document
    return Event(
        time=deletion.time,
        operation=Operation.DELETE,
        institution=document.institution_code,
        document_kind=document.kind,
        document_number=document.number,
        sequence=deletion.sequence,
        line_number=0,
        business_time=document.business_time,
        receive_time=deletion.receive_time,
        person=target.person,
        drug_code=target.drug_code,
        package=target.package,
        deletes=target.sequence,
    )


def _place(deletion: ReadDocument) -> tuple[int, str, bool]:
    """Where a deletion stands among those of its institution in a chain; see Event.order."""
    return (deletion.time, deletion.document.number, bool(deletion.document.corrects))


def takes_back(deletion: ReadDocument, target: ReadDocument) -> bool:
    """Whether a deletion covers a document it names: not one from after it, nor a correction of one."""
    return target.time <= deletion.time and not target.document.corrects


def identifier_of(key: bytes) -> str:
    """The product identifier inside a canonical key: 7 digits, a GTIN-14, or empty."""
    if key[:1] == b"N":
        return key[1:].hex()[:7]
    if key[:1] == b"G":
        return key[1:8].hex()
    return ""
