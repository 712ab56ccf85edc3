"""A process that records a city until somebody kills it: arguments are the city and the ledger's folder.

After each commit it prints the identity of every document that it acknowledges.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tracecode.city.score import import_catalogue, read_documents, read_start
from tracecode.errors import DocumentRejected
from tracecode.ledger import Ledger
from tracecode.person import PersonKey

PERSON_KEY = PersonKey(b"k" * 32)
DOCUMENTS_PER_CALL = 25


def record(city: Path, folder: Path) -> None:
    """Record the whole city, or what is left of it."""
    start = read_start(city)
    ledger = Ledger.open(folder, person_key=PERSON_KEY, clock_ns=lambda: start)
    import_catalogue(city, ledger)
    rows = list(read_documents(city))
    for at in range(0, len(rows), DOCUMENTS_PER_CALL):
        some = rows[at : at + DOCUMENTS_PER_CALL]
        answers = ledger.record([document for _, document in some], [time for time, _ in some])
        for (_, document), answer in zip(some, answers, strict=True):
            if not isinstance(answer, DocumentRejected):
                kind = document.WhichOneof("content")
                print(document.institution_code, kind, document.document_number, answer.sequence)
        sys.stdout.flush()
    ledger.close()


if __name__ == "__main__":
    record(Path(sys.argv[1]), Path(sys.argv[2]))
