"""Commands that keep a ledger safe: copy it while it is used, look at the copy, make a ledger of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tracecode.backup import Manifest, back_up
from tracecode.backup import restore as restore_backup
from tracecode.backup import verify as verify_backup
from tracecode_server.cli.screen import JsonOption, open_screen, remark, show, track, write_json

MEGABYTE = 1_000_000


def backup(
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Data folder; a service may have it open.", show_default=False),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Argument(
            metavar="TO",
            help="Folder of the backup; made if missing, and added to if it holds one of this ledger.",
            show_default=False,
        ),
    ] = None,
    throttle: Annotated[
        float, typer.Option("--throttle", metavar="MB/S", min=0, help="At most so many MB/s; 0 = no limit.")
    ] = 0,
    verify: Annotated[
        Path | None,
        typer.Option(
            "--verify",
            metavar="TO",
            help="Make none: read this backup whole and compare it with its checksums.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the journal of a ledger, also while it is served, or add what is new to an earlier backup.

    What is written is read back and compared. All else follows from the journal. The key by which persons
    are hashed (DIR.person-key) is never in a backup: keep a copy of it elsewhere.

    Exit 4: the journal or the backup is not as it was written.
    """
    if verify is not None:
        if directory is not None:
            raise typer.BadParameter("--verify TO stands alone")
        with track("entries") as bar:
            manifest = verify_backup(verify, bar.show)
        _tell(verify, manifest, {"verified": True}, "every byte is as it was written", as_json)
        return
    if directory is None or to is None:
        raise typer.BadParameter("name the data folder and the folder of the backup: DIR TO")
    with track("entries") as bar:
        report = back_up(directory, to, bytes_per_second_max=throttle * MEGABYTE, progress=bar.show)
    new = {"entriesNew": report.entries_new, "bytesNew": report.bytes_new}
    _tell(to, report.manifest, new, f"{report.entries_new:,} of them are new", as_json)


def restore(
    source: Annotated[Path, typer.Argument(metavar="FROM", help="Folder of a backup.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Data folder to make; empty or missing.")],
    to_sequence: Annotated[
        int | None,
        typer.Option(
            "--to-sequence",
            metavar="N",
            help="As it stood after entry N and what that one brought about. Default: all.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a ledger of a backup: the journal entry by entry, compared with its checksums, then its index.

    A restore that fails or is cut short leaves no ledger.

    Exit 4: the backup is not as it was written.
    """
    with track("entries") as bar:
        # It fills twice: for the journal, then for its index.
        report = restore_backup(
            source, directory, to_sequence=to_sequence, progress=bar.show, on_replay=bar.show
        )
    key = directory.absolute().with_name(directory.absolute().name + ".person-key")
    if as_json:
        write_json(
            {
                "directory": str(directory),
                "lastSequence": report.last_sequence,
                "lastReceiveTime": report.last_receive_time,
            }
        )
    else:
        open_screen().print(
            Text(
                f"{show(str(directory))}: {report.last_sequence:,} entries, the last received "
                f"{report.last_receive_time}",
                "green",
            ),
            soft_wrap=True,
        )
    if not key.exists():
        remark(
            f"no person key is in a backup: put the old one to {key} before it is served, or a sale that is "
            "sent again with a person in it is taken for another one"
        )


def _tell(to: Path, manifest: Manifest, more: Mapping[str, object], sentence: str, as_json: bool) -> None:
    if as_json:
        write_json(
            {
                "backup": str(to),
                "lastSequence": manifest.last_sequence,
                "lastReceiveTime": manifest.last_receive_time,
                "bytes": manifest.bytes,
                "sha256": manifest.sha256,
                "format": manifest.format,
                "ruleBaseVersion": manifest.rule_base_version,
                **more,
            }
        )
        return
    screen = open_screen()
    screen.print(
        Text(
            f"{show(str(to))}: {manifest.last_sequence:,} entries in {manifest.bytes:,} bytes, the last "
            f"received {manifest.last_receive_time}; {sentence}",
            "green",
        ),
        soft_wrap=True,
    )
    screen.print(Text(f"sha256 {manifest.sha256}"), soft_wrap=True)
