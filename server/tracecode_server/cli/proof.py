"""Commands of the log: its keys, its receipts, and the auditor."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tracecode import fsck
from tracecode.client.proof_client import ProofClient
from tracecode.proof import audit as folders
from tracecode.proof import key, verify
from tracecode.proof.checkpoint import Checkpoint
from tracecode.proof.note import NoteInvalid, PublicKey
from tracecode.proof.receipt import ReceiptInvalid
from tracecode.proof.tiles import fetch_from
from tracecode.proof.verify import AuditReport, Change, Deviation, Monitor, Policy
from tracecode.v1.document_pb2 import DocumentKind
from tracecode.v1.proof_service_pb2 import PROOF_STATE_PUBLISHED
from tracecode_server.cli.exit_code import ExitCode
from tracecode_server.cli.screen import JsonOption, open_screen, remark, show, track, write_json
from tracecode_server.cli.target import SERVER_DEFAULT, ServerOption

key_app = typer.Typer(no_args_is_help=True, help="Make and exchange the key that signs the log.")
proof_app = typer.Typer(no_args_is_help=True, help="Ask for checkpoints and receipts, and check them.")

KeyOption = Annotated[
    list[str],
    typer.Option("--key", "-k", metavar="KEY", help="A key of the log, name+id+base64, or a file of them."),
]
WitnessOption = Annotated[
    list[str] | None,
    typer.Option("--witness", metavar="KEY", help="A witness's key, or a file of them.", show_default=False),
]
WitnessesMinOption = Annotated[
    int, typer.Option("--witnesses-min", min=0, help="How many of the witnesses must have signed.")
]
CosignedOption = Annotated[
    bool, typer.Option("--cosigned", help="By the last checkpoint that a witness has signed, too.")
]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The key file, outside the data folder.")]


@key_app.command("new")
def new_key(
    path: FileArgument,
    log: Annotated[
        str, typer.Option("--log", metavar="NAME", help="What the log is called, like example.org/journal.")
    ],
) -> None:
    """Make a key file that only its owner can read, and print the half that others verify with."""
    with _refusing():
        typer.echo(key.create(path, log).public.line)


@key_app.command("add")
def add_key(path: FileArgument) -> None:
    """Add a key: from the next start on all of them sign. Prints the new public half, to be told to all who
    verify before the old key is retired."""
    with _refusing():
        typer.echo(key.add(path).public.line)


@key_app.command("retire")
def retire_key(
    path: FileArgument, key_id: Annotated[str, typer.Argument(metavar="ID", help="8 hex digits.")]
) -> None:
    """Take a key away, when nobody verifies with it any more."""
    with _refusing():
        key.retire(path, key_id)


@key_app.command("show")
def show_keys(path: FileArgument) -> None:
    """Print the public halves, a line each, oldest first."""
    with _refusing():
        for signer in key.read(path):
            typer.echo(signer.public.line)


@proof_app.command()
def checkpoint(server: ServerOption = None, cosigned: CosignedOption = False) -> None:
    """Print the last checkpoint. Whoever keeps it, away from the service, can tell later what was altered."""
    with ProofClient(server or SERVER_DEFAULT) as client:
        typer.echo(client.get_checkpoint(cosigned=cosigned).checkpoint.decode(), nl=False)


@proof_app.command()
def receipt(
    sequence: Annotated[
        int | None, typer.Argument(metavar="SEQUENCE", help="The entry, as the verdict named it.", min=1)
    ] = None,
    institution: Annotated[
        str | None,
        typer.Option("--institution", "-i", metavar="CODE", help="... or the document's", show_default=False),
    ] = None,
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="sale, receipt, ...")] = "sale",
    number: Annotated[
        str | None,
        typer.Option("--number", "-n", metavar="NUMBER", help="document number.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where to put it.", show_default=False)
    ] = None,
    cosigned: CosignedOption = False,
    without_entry: Annotated[
        bool, typer.Option("--without-entry", help="Leave the entry out; who checks must have it.")
    ] = False,
    server: ServerOption = None,
) -> None:
    """Fetch a receipt of an entry: a file that proves, offline, that the journal holds it.

    Exit 1: the entry is sequenced and not published yet; ask again in a second.
    """
    if (sequence is None) == (institution is None or number is None):
        raise typer.BadParameter("name the entry: SEQUENCE, or --institution and --number")
    with ProofClient(server or SERVER_DEFAULT) as client:
        if sequence is not None:
            response = client.get_inclusion_proof(sequence, cosigned=cosigned, without_entry=without_entry)
        else:
            try:
                value = DocumentKind.Value(f"DOCUMENT_KIND_{kind.upper()}")
            except ValueError:
                raise typer.BadParameter(f"{kind!r} is no kind of document") from None
            response = client.get_receipt_of_document(
                institution or "", value, number or "", cosigned=cosigned, without_entry=without_entry
            )
    if response.state != PROOF_STATE_PUBLISHED:
        remark(f"entry {response.sequence} is sequenced; published are {response.published}")
        raise typer.Exit(ExitCode.FINDINGS)
    if out is None:
        typer.echo(response.receipt.decode(), nl=False)
    else:
        out.write_bytes(response.receipt)
        remark(f"entry {response.sequence}: {out}")


@proof_app.command()
def check(
    path: Annotated[Path, typer.Argument(metavar="RECEIPT", help="A .tlog-proof file.")],
    keys: KeyOption,
    witnesses: WitnessOption = None,
    witnesses_min: WitnessesMinOption = 0,
    entry: Annotated[
        Path | None,
        typer.Option(
            "--entry", metavar="FILE", help="The entry, if the receipt has none.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a receipt, offline. Exit 4: it does not prove what it says."""
    policy = _read_policy(keys, witnesses, witnesses_min)
    try:
        report = verify.check_receipt(path.read_bytes(), policy, b"" if entry is None else entry.read_bytes())
    except (ReceiptInvalid, NoteInvalid) as error:
        if as_json:
            write_json({"ok": False, "message": str(error)})
        else:
            open_screen().print(Text(show(str(error)), "red"), soft_wrap=True)
        raise typer.Exit(ExitCode.DATA_LOSS) from None
    checkpoint = report.checkpoint
    if as_json:
        write_json(
            {
                "ok": True,
                "log": checkpoint.origin,
                "sequence": report.sequence,
                "size": checkpoint.size,
                "witnesses": [name for name, _ in report.witnesses],
            }
        )
        return
    screen = open_screen()
    sentence = f"ok: entry {report.sequence} of the {checkpoint.size:,} of {show(checkpoint.origin)}"
    screen.print(Text(sentence, "green"), soft_wrap=True)
    for name, seconds in report.witnesses:
        said = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(min(seconds, 2**33)))
        screen.print(Text(f"witnessed by {show(name)} at {said}"), soft_wrap=True)


@proof_app.command("cosign")
def add_cosignatures(
    path: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint that a witness signed.")],
    server: ServerOption = None,
) -> None:
    """Hand in a checkpoint with the signatures of witnesses; receipts with --cosigned then carry them."""
    with ProofClient(server or SERVER_DEFAULT) as client:
        for name in client.add_cosignatures(path.read_bytes()).witnesses:
            typer.echo(show(name))


def audit(
    keys: KeyOption,
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="A data folder, or a backup of one.", show_default=False),
    ] = None,
    server: ServerOption = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="DIR", help="The log's files, if not DIR/proof.", show_default=False),
    ] = None,
    kept: Annotated[
        list[Path] | None,
        typer.Option("--kept", metavar="FILE", help="A checkpoint kept from earlier.", show_default=False),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="FILE",
            help="Remember here what the log has shown, and hold it to that.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=0, help="Look again and again; with --state.")
    ] = 0,
    witnesses: WitnessOption = None,
    witnesses_min: WitnessesMinOption = 0,
    rejudge: Annotated[
        bool, typer.Option("--rejudge", help="Judge every entry again and compare the verdicts.")
    ] = False,
    index: Annotated[
        bool, typer.Option("--index", help="Compare the index, too; no service may have DIR open.")
    ] = False,
    bundles: Annotated[
        bool, typer.Option("--bundles", help="Check the entries that the log serves.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check that nothing was altered: a data folder or a backup against its log, a log against checkpoints
    kept from earlier. Names what was edited, deleted, reordered, truncated, forked or rolled back.

    Exit 4: something was altered.
    """
    policy = _read_policy(keys, witnesses, witnesses_min)
    earlier = [_read_kept(path, policy) for path in kept or ()]
    if every and state is None:
        raise typer.BadParameter("--every goes with --state FILE")
    if (rejudge or index) and directory is None:
        raise typer.BadParameter("--rejudge and --index go with DIR")
    if directory is None and log is None:
        with ProofClient(server or SERVER_DEFAULT) as client:
            if state is None:
                _tell(verify.audit(client.fetch, policy, kept=earlier, bundles=bundles), as_json)
                return
            with _refusing():
                monitor = Monitor(state, policy)
            _watch(monitor, client, every, as_json)
        return
    fetch = fetch_from(log if log is not None else (directory or Path()) / folders.LOG)
    if state is not None:
        with _refusing():
            monitor = Monitor(state, policy)
        if monitor.checkpoint is not None:
            earlier.append(monitor.checkpoint)
        first = monitor.watch(fetch)
        if not first.ok:
            _tell(first, as_json)
    if directory is None:
        report = verify.audit(fetch, policy, kept=earlier, bundles=bundles)
    elif (directory / "backup.json").exists():
        dump = verify.read_dump(directory / "entries")
        report = verify.audit(fetch, policy, kept=earlier, entries=dump, bundles=bundles)
    else:
        with track("entries") as bar:
            report = folders.audit(
                directory,
                policy,
                fetch=fetch,
                kept=earlier,
                rejudge=rejudge,
                bundles=bundles,
                progress=bar.show,
            )
        if index:
            found = [Deviation(Change.INDEX, 0, 0, line) for line in fsck.check(directory).lines]
            report = AuditReport(
                report.checkpoint, report.published, report.sequenced, (*report.deviations, *found)
            )
    _tell(report, as_json)


def _watch(monitor: Monitor, client: ProofClient, every: float, as_json: bool) -> None:
    while True:
        _tell(monitor.watch(client.fetch), as_json)
        if not every:
            return
        time.sleep(every)


def _tell(report: AuditReport, as_json: bool) -> None:
    if as_json:
        write_json(
            {
                "ok": report.ok,
                "published": report.published,
                "sequenced": report.sequenced,
                "deviations": [
                    {
                        "change": one.change.value,
                        "first": one.first,
                        "last": one.last,
                        "message": one.sentence,
                    }
                    for one in report.deviations
                ],
            }
        )
    else:
        screen = open_screen()
        for one in report.deviations:
            screen.print(Text(f"{one.change.value}: {show(one.sentence, 2_000)}", "red"), soft_wrap=True)
        sums = f"{report.published:,} entries published"
        if report.sequenced:
            sums += f", {report.sequenced:,} sequenced"
        if report.ok:
            screen.print(Text(f"ok: {sums}, nothing altered", "green"))
    if not report.ok:
        raise typer.Exit(ExitCode.DATA_LOSS)


def _read_policy(keys: list[str], witnesses: list[str] | None, witnesses_min: int) -> Policy:
    return Policy(_read_keys(keys), _read_keys(witnesses or []), witnesses_min)


def _read_keys(given: list[str]) -> tuple[PublicKey, ...]:
    found = []
    with _refusing():
        for text in given:
            lines = Path(text).read_text().splitlines() if Path(text).is_file() else [text]
            found += [PublicKey.parse(line) for line in lines if line.strip() and not line.startswith("#")]
    return tuple(found)


def _read_kept(path: Path, policy: Policy) -> Checkpoint:
    try:
        return policy.verify(path.read_bytes()).checkpoint
    except NoteInvalid as error:
        raise typer.BadParameter(f"{path}: {error}") from None


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what is wrong with a key into a sentence."""
    try:
        yield
    except NoteInvalid as error:
        raise typer.BadParameter(str(error)) from None
