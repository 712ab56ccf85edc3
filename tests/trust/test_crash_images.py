"""Every image that a power cut may leave opens, holds what was acknowledged, and can be written to."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from pathlib import Path

from trust import crash_images, kills
from trust.conftest import Effort
from trust.crash_images import Event, Images, Named, Sync, Write, find_moments, make_image
from trust.recording import Checked, scratch_folder
from trust.table import NotInjected, Row

FAULT = "power cut, any unsynced sector lost"
WORKERS = 2
CONTROL_IMAGES = 60


def trace(folder: Path) -> list[Event]:
    """Record a ledger from its making to its closing, and what was written and synced meanwhile."""
    ledger, answers, lines = folder / "ledger", folder / "answers", folder / "trace"
    status = kills.run_gated(
        crash_images.record, ledger, answers, options=[*crash_images.TRACE_OPTIONS, "-o", str(lines)]
    )
    assert status == 0
    return crash_images.Trace(ledger, answers).read(lines.read_text(encoding="utf-8").splitlines())


def try_all(folder: Path, events: list[Event], count: int, *, syncs_ignored: bool = False) -> Images:
    """So many images, of which each worker has other moments."""
    recorded = folder / "recorded"
    recorded.write_bytes(pickle.dumps((events, folder / "ledger", syncs_ignored)))
    with ThreadPoolExecutor(WORKERS) as workers:
        parts = list(
            workers.map(
                lambda worker: kills.ask(
                    crash_images.work, recorded, folder / f"images{worker}", worker, WORKERS, count // WORKERS
                ),
                range(WORKERS),
            )
        )
    return Images(
        sum(part.tries for part in parts),
        sum(part.distinct for part in parts),
        reduce(add, (part.checked for part in parts), Checked()),
    )


def test_every_image_opens_and_holds_what_was_acknowledged(
    tmp_path: Path, effort: Effort, add_row: Callable[[Row | NotInjected], None]
) -> None:
    """Of a ledger's making, of commits, of writing back; unsynced writes dropped, reordered and torn."""
    reason = kills.why_no_strace()
    if reason:
        add_row(NotInjected(fault=FAULT, reason=reason))
        return
    kills.start_fork_server()
    with scratch_folder(tmp_path) as folder:
        events = trace(folder)
        images = try_all(folder, events, effort.count(800, 60_000))
        control = try_all(folder, events, CONTROL_IMAGES, syncs_ignored=True)
    add_row(
        Row(
            fault=FAULT,
            how="recorded writes laid out anew, torn at 512 bytes",
            tries=images.distinct,
            lost=images.checked.lost,
            doubled=images.checked.doubled,
            wrong=images.checked.wrong,
            aborts=images.checked.aborts,
            control="fdatasync ignored",
            control_failed=control.checked.lost + control.checked.wrong > 0,
            note="; ".join(
                [
                    f"{images.tries:,} images, {images.distinct:,} of them different",
                    f"control: {control.checked.lost} entries lost, {control.checked.wrong} images damaged"
                    f" of {control.tries}",
                    *images.checked.reasons[:3],
                ]
            ),
        )
    )


def test_the_recorded_writes_are_the_files(
    tmp_path: Path, add_row: Callable[[Row | NotInjected], None]
) -> None:
    """Pins that nothing that is written escapes the record: all of it in order makes the files."""
    reason = kills.why_no_strace()
    if reason:
        add_row(NotInjected(fault="writes that escape the record", reason=reason))
        return
    kills.start_fork_server()
    events = trace(tmp_path)
    laid = {name: bytearray() for name in crash_images.FILES}
    for event in events:
        if isinstance(event, Write):
            crash_images.put(laid[event.file], event.offset, event.content)

    assert events.count(Named()) == 1
    for name in crash_images.FILES:
        assert laid[name] == (tmp_path / "ledger" / name / "data.mdb").read_bytes()


def test_an_image_takes_any_sector_of_what_is_pending_and_none_of_what_is_durable() -> None:
    """Pins the model on a record made by hand: a write, its sync, and two writes that overlap."""
    old, new, newest = (bytes([octet]) * 1024 for octet in (1, 2, 3))
    events = [
        Write("journal", 0, old),
        Sync("journal"),
        Write("journal", 512, new),
        Write("journal", 1024, newest),
        Sync("journal"),
    ]
    moments = find_moments(events)
    assert [len(moment.pending["journal"]) for moment in moments] == [1, 2]

    seen = {make_image(moments[1], crash_images.chance_of("seed", n))[0]["journal"] for n in range(500)}

    assert all(image[:512] == old[:512] for image in seen)
    assert {image[512:1024] for image in seen} == {old[:512], new[:512]}
    assert {image[1024:1536] for image in seen} == {b"", bytes(512), new[:512], newest[:512]}
    ignored = find_moments(events, syncs_ignored=True)
    assert len(ignored[-1].pending["journal"]) == 3
