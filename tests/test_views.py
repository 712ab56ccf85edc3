"""Views: each entry counts once, whatever is cut, killed or lost, and what they say is what the journal says.

Goal: the incremental views, their rebuild and a sum made by hand agree. Method: a small ledger with findings,
revisions and deletions is followed in batches of random size, by processes that are killed, and after its
views were damaged in the ways that happen; records are compared byte for byte.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backed_up import fill_ledger
from documents import SHOP

import tracecode.views.parquet
from tracecode._native import Store
from tracecode.errors import EngineStopped
from tracecode.views import cohorts, institution_days, person_days, staff_days, stock
from tracecode.views.lines import extract
from tracecode.views.parquet import RELATIONS, list_files
from tracecode.views.projector import DIRECTORY, Projector, rebuild
from tracecode.views.store import ViewStore

Records = list[tuple[bytes, bytes]]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger with findings, revisions and deletions that nobody has open."""
    fill_ledger(tmp_path / "data", 16)
    return tmp_path / "data"


def read_entries(directory: Path) -> list[bytes]:
    """All entries of a ledger."""
    with Store(str(directory), map_size_bytes=1 << 30, overlay_bytes_max=0, read_only=True) as store:
        return store.entries(0, 100_000)


def read_records(directory: Path) -> Records:
    """Every record of the views of a ledger."""
    with ViewStore(directory / DIRECTORY, read_only=True) as store:
        return list(store.records())


def read_rows(directory: Path, relation: str) -> list[dict[str, object]]:
    """All rows of a relation's Parquet files, in the order of entries."""
    files = list_files(directory / DIRECTORY, relation)
    rows = pa.concat_tables([pq.read_table(path, partitioning=None) for path in files])
    entry = "entry" if relation == "findings" else "sequence"
    found: list[dict[str, object]] = sorted(rows.to_pylist(), key=lambda row: row[entry])
    return found


def assert_files_whole(directory: Path) -> None:
    """Each row of each relation stands in the files that count, once, and no other file lies there."""
    expected = extract(read_entries(directory), 0)
    for relation in RELATIONS:
        assert read_rows(directory, relation) == getattr(expected, relation).to_pylist()
        listed = set(list_files(directory / DIRECTORY, relation))
        assert set((directory / DIRECTORY / relation).glob("**/*.parquet*")) == listed


@pytest.mark.parametrize("seed", range(3))
def test_views_do_not_depend_on_where_batches_are_cut(
    ledger: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins byte-equal records, and each row in one file, for random batches, restarts and small files."""
    rebuild(ledger)
    whole = read_records(ledger)
    assert_files_whole(ledger)
    assert {key[:1] for key, _ in whole} == set(map(bytes, zip(b"\0scijkprtF", strict=True))) - {b"r"}
    monkeypatch.setattr(tracecode.views.parquet, "FILES_MAX", 4)
    rng = random.Random(seed)
    projector = Projector(ledger)
    projector.restart()
    while projector.step(rng.randint(1, 7), rng.randint(1, 30)):
        if rng.random() < 0.3:
            projector.write_files(whole=True)
        if rng.random() < 0.2:
            projector.close()
            projector = Projector(ledger)
    projector.write_files(whole=True)
    projector.close()
    assert read_records(ledger) == whole
    assert_files_whole(ledger)


def test_counts_are_those_of_the_rows(ledger: Path) -> None:
    """Pins what the counters mean by sums made by hand over the relation."""
    rebuild(ledger)
    rows = extract(read_entries(ledger), 0).lines.to_pylist()
    with ViewStore(ledger / DIRECTORY, read_only=True) as store, store.read() as reader:
        days = list(institution_days.COUNTERS.read(reader, SHOP))
        mine = [row for row in rows if row["institution_code"] == SHOP]
        assert sum(counts["document"] for _, counts in days) == len({row["sequence"] for row in mine})
        assert sum(counts["line"] for _, counts in days) == sum(row["line_row"] == 0 for row in mine)
        assert sum(counts["sold_code"] for _, counts in days) == sum(row["kind"] == 1 for row in mine)
        assert [key for key, _ in days] == sorted(key for key, _ in days)
        moved = list(stock.COUNTERS.read(reader, SHOP))
        quantity = sum(counts["quantity_e4"] for _, counts in moved)
        assert Decimal(quantity) / 10_000 == sum(row["quantity"] or 0 for row in mine)
        token = next(row["person_token"] for row in rows if row["person_token"])
        [person] = {key[0] for key, _ in person_days.COUNTERS.read(reader)}
        assert person == token
        assert sum(counts["coded"] for _, counts in staff_days.OPERATORS.read(reader)) == len(rows)
        assert not list(staff_days.PRESCRIBERS.read(reader))
        sold = sum(counts["sold_code"] for _, counts in cohorts.COUNTERS.read(reader, "8206233"))
        assert sold == sum(row["kind"] == 1 and row["product"] == "8206233" for row in rows)
        deletions = sum(counts["count"] for _, counts in institution_days.DELETIONS.read(reader, SHOP))
        assert deletions == 4


FOLLOW = """
import sys
from pathlib import Path
from tracecode.views.projector import Projector
projector = Projector(Path(sys.argv[1]))
print("begun", flush=True)
while projector.step(3):
    projector.write_files(whole=projector.sequence % 2 == 0)
projector.write_files(whole=True)
projector.close()
"""


def test_a_projector_that_is_killed_counts_nothing_twice(ledger: Path) -> None:
    """Pins exactly once, in records and files, across kills at random moments."""
    rebuild(ledger)
    whole = read_records(ledger)
    with Projector(ledger) as projector:
        projector.restart()
    rng = random.Random(5)
    kills = 0
    for _ in range(40):
        with subprocess.Popen([sys.executable, "-c", FOLLOW, str(ledger)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.08))
            process.send_signal(signal.SIGKILL)
            if process.wait() == 0:
                break
            kills += 1
        if kills == 3:
            break
    assert kills > 0
    subprocess.run([sys.executable, "-c", FOLLOW, str(ledger)], check=True, stdout=subprocess.DEVNULL)
    assert read_records(ledger) == whole
    assert_files_whole(ledger)


def test_views_of_another_boot_or_journal_are_built_again(ledger: Path, tmp_path: Path) -> None:
    """Pins that what a power cut may have torn, and what follows from another journal, is not used."""
    rebuild(ledger)
    whole = read_records(ledger)
    views = ledger / DIRECTORY
    # Killed in an earlier boot: the file that says which boot is there, and names another one.
    (views / "boot").write_text("another boot\n")
    (views / "data.mdb").write_bytes(b"torn")
    rebuilt = Projector(ledger)
    assert rebuilt.sequence == 0
    while rebuilt.step():
        pass
    rebuilt.close()
    assert read_records(ledger) == whole
    fill_ledger(tmp_path / "other", 3)
    (views).rename(tmp_path / "other" / DIRECTORY)
    with Projector(tmp_path / "other") as projector:
        assert projector.sequence == 0


def test_only_one_writes(ledger: Path) -> None:
    """Pins the lock, and what a reader is told where there are no views."""
    with pytest.raises(EngineStopped, match="no views yet"):
        ViewStore(ledger / DIRECTORY, read_only=True)
    with Projector(ledger), pytest.raises(EngineStopped, match="another process"):
        ViewStore(ledger / DIRECTORY)
