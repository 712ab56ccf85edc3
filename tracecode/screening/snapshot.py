"""The relations of a ledger as they stand now, kept for one run while the service goes on writing.

The views make many small files into one and remove the small ones, maybe while they are read. So a run reads
hard links of its own, which cost nothing, and the register as it was at that time. A run that is resumed
finds the same files, and what its models said of them is still true.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from tracecode.screening.base import Relations, find_year_before
from tracecode.screening.write import write_register_of
from tracecode.views.projector import DIRECTORY
from tracecode.views.register import read_register
from tracecode.views.store import ViewStore

__all__ = ["drop_snapshot", "snapshot_sequence", "take_snapshot"]

FILES = "files"
"""Their folder in the folder of the run."""
TOLD = "snapshot.json"
TRIES_MAX = 20

_PLACE = re.compile(r"lines/day=([0-9-]{10})/division=([^/]*)/")


def take_snapshot(
    directory: Path,
    out: Path,
    first: date,
    last: date,
    *,
    lookback_days: int,
    division: str = "",
    care_homes: Path | None = None,
) -> Relations:
    """What a screening of the period reads of the ledger in a data folder, under `out`.

    Where a snapshot of the same question was begun and not dropped, it is that. Raises EngineStopped if the
    ledger has no views, OSError if the disk refuses.
    """
    folder = out / FILES
    told = folder / TOLD
    question = {"first": str(first), "last": str(last), "lookback_days": lookback_days, "division": division}
    if not told.exists() or json.loads(told.read_text("utf-8"))["question"] != question:
        spans = ((first - timedelta(days=lookback_days), last), find_year_before(first, last, lookback_days))
        sequence = _link(directory / DIRECTORY, folder, spans, division)
        write_register_of(*read_register(directory), folder)
        begun = told.with_suffix(".new")
        begun.write_text(json.dumps({"question": question, "sequence": sequence}), "utf-8")
        begun.replace(told)
    return Relations.under(folder, care_homes)


def snapshot_sequence(out: Path) -> int:
    """The entry of the journal up to which its rows go."""
    return int(json.loads((out / FILES / TOLD).read_text("utf-8"))["sequence"])


def drop_snapshot(out: Path) -> None:
    """Let go of the files of a run that has ended: links keep the room of what the views removed."""
    shutil.rmtree(out / FILES, ignore_errors=True)


def _link(views: Path, folder: Path, spans: Sequence[tuple[date, date]], division: str) -> int:
    """Link the files that count; up to which entry rows are in them."""
    for _ in range(TRIES_MAX):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with ViewStore(views, read_only=True) as store, store.read() as reader:
            sequence, paths = reader.files_sequence, list(reader.files())
        try:
            for path in paths:
                place = _PLACE.match(path)
                if place is not None and not (
                    any(str(first) <= place[1] <= str(last) for first, last in spans)
                    and place[2].startswith(division)
                ):
                    continue
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                _link_file(views / path, target)
        except FileNotFoundError:
            # Made into a larger one since we asked: the list has changed, too.
            continue
        return sequence
    raise OSError(errno.EAGAIN, "the views' files change faster than they can be linked", str(views))


def _link_file(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        shutil.copy2(source, target)
