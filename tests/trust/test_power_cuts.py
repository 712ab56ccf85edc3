"""Power cuts of real file systems under a ledger that records: nothing that was acknowledged is lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import reduce
from operator import add
from pathlib import Path

import pytest

from trust.conftest import Effort
from trust.kills import start_fork_server
from trust.power_cuts import MAKERS, Disk, cut, why_not
from trust.recording import Checked, scratch_folder
from trust.table import NotInjected, Row

SEED = 20261122


@pytest.mark.parametrize("kind", MAKERS)
def test_a_power_cut_loses_nothing_that_was_acknowledged(
    kind: str, tmp_path: Path, effort: Effort, add_row: Callable[[Row | NotInjected], None]
) -> None:
    """Cut at moments by chance, again and again on one ledger; unsynced, the same cuts must lose."""
    fault = f"power cut of {kind}"
    chance = random.Random(SEED)
    with scratch_folder(tmp_path) as folder:
        reason = why_not(kind, folder)
        if reason:
            add_row(NotInjected(fault=fault, reason=reason))
            return
        start_fork_server()
        disk = Disk.make(kind, folder)
        disk.mount()
        try:
            count = effort.count(2, 20)
            cuts = [
                cut(disk, folder / "answers", chance, whole=number == count - 1) for number in range(count)
            ]
            control = cut(disk, folder / "answers", chance, unsafe=True)
        finally:
            disk.unmount()
    checked = reduce(add, (one.checked for one in cuts), Checked())
    add_row(
        Row(
            fault=fault,
            how="FS_IOC_SHUTDOWN on a loop device",
            tries=len(cuts),
            lost=checked.lost,
            doubled=checked.doubled,
            wrong=checked.wrong,
            aborts=checked.aborts,
            control="sync=False",
            control_failed=control.checked.lost + control.checked.wrong + control.checked.aborts > 0,
            note="; ".join(
                [f"{sum(one.acknowledged for one in cuts):,} documents acknowledged", *checked.reasons[:3]]
            ),
        )
    )
