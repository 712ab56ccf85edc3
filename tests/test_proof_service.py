"""The log of a running service: published within seconds, receipts that are checked offline, the auditor."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from backed_up import tell_days
from documents import INSTITUTIONS, PRODUCTS, SHOP
from running_server import ServerProcess
from tracecode_server.cli import app as cli
from typer.testing import CliRunner

from tracecode.backup import back_up
from tracecode.client import CallInvalid, LedgerClient, NotKnown, ProofClient, StateConflict
from tracecode.proof import key, verify
from tracecode.proof.note import Note, Signature, Witness
from tracecode.proof.tiles import CHECKPOINT
from tracecode.proof.tree import is_consistent
from tracecode.proof.verify import Change
from tracecode.v1 import document_pb2, proof_service_pb2

WITNESS = Witness("witness.example/w1", b"w" * 32, 1_790_000_000)
DOCUMENTS = tell_days(12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the ledger, the key and the witness's key are."""
    folder = tmp_path_factory.mktemp("proof")
    key.create(folder / "keys/journal", "example.org/journal")
    (folder / "witnesses").write_text(f"# tests\n{WITNESS.public.line}\n")
    return folder


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[ServerProcess]:
    """A service that keeps a log, with some documents."""
    with ServerProcess(
        data_directory=folder / "ledger",
        proof_key_file=folder / "keys/journal",
        proof_witnesses_file=folder / "witnesses",
        proof_checkpoint_seconds=0.2,
    ) as process:
        with LedgerClient(process.address, deadline_seconds=30) as client:
            client.import_institutions(INSTITUTIONS)
            client.import_products(PRODUCTS)
            for document in DOCUMENTS:
                client.record(document)
        yield process


@pytest.fixture(scope="module")
def policy(folder: Path) -> verify.Policy:
    """Trust in the log's key."""
    (signer,) = key.read(folder / "keys/journal")
    return verify.Policy((signer.public,))


def wait_until_published(client: ProofClient) -> proof_service_pb2.GetCheckpointResponse:
    """The first checkpoint that covers all that is sequenced."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            response = client.get_checkpoint()
        except NotKnown:
            response = None
        if response is not None and response.published == response.sequenced:
            return response
        time.sleep(0.05)
    raise TimeoutError("not published within 60 s")


def test_what_is_sequenced_is_published_and_proved(service: ServerProcess, policy: verify.Policy) -> None:
    """Pins that receipts, by sequence and by the document's identity, prove offline that the journal holds
    the verdict; that a new sale is sequenced first, then published; and that the log only grew meanwhile."""
    with LedgerClient(service.address, deadline_seconds=30) as ledger, ProofClient(service.address) as client:
        first = wait_until_published(client)
        report = verify.check_receipt(client.get_inclusion_proof(7).receipt, policy)
        assert report.sequence == 7
        of_document = client.get_receipt_of_document(SHOP, document_pb2.DOCUMENT_KIND_SALE, "S3")
        kept = ledger.get_document(SHOP, document_pb2.DOCUMENT_KIND_SALE, "S3")
        report = verify.check_receipt(of_document.receipt, policy)
        assert report.sequence == of_document.sequence == kept.verdict_first.sequence
        assert b"S3" in report.entry
        bare = client.get_inclusion_proof(7, without_entry=True).receipt
        assert len(bare) < len(client.get_inclusion_proof(7).receipt)

        sequence = ledger.record(tell_days(13)[-1]).sequence
        answer = client.get_inclusion_proof(sequence)
        assert answer.state in (
            proof_service_pb2.PROOF_STATE_SEQUENCED,
            proof_service_pb2.PROOF_STATE_PUBLISHED,
        )
        assert bool(answer.receipt) == (answer.state == proof_service_pb2.PROOF_STATE_PUBLISHED)
        second = wait_until_published(client)
        assert verify.check_receipt(client.get_inclusion_proof(sequence).receipt, policy).sequence == sequence
        old = policy.verify(first.checkpoint).checkpoint
        grown = client.get_consistency_proof(old.size)
        new = policy.verify(grown.checkpoint).checkpoint
        assert new == policy.verify(second.checkpoint).checkpoint
        assert is_consistent(old.size, old.root, new.size, new.root, grown.hashes)
        assert verify.audit(client.fetch, policy, kept=[old]).ok


def test_a_question_that_cannot_be_answered_says_why(service: ServerProcess) -> None:
    """Pins the refusals: no such entry, document, tile, size; a path that is none; no entry named."""
    with ProofClient(service.address) as client:
        wait_until_published(client)
        for ask in (
            lambda: client.get_inclusion_proof(10**6),
            lambda: client.get_receipt_of_document(SHOP, document_pb2.DOCUMENT_KIND_SALE, "none"),
        ):
            with pytest.raises(NotKnown):
                ask()
        with pytest.raises(FileNotFoundError):
            client.fetch("tile/5/000")
        with pytest.raises(FileNotFoundError):
            client.fetch("tile/entries/000")
        for ask in (
            lambda: client.get_inclusion_proof(0),
            lambda: client.get_consistency_proof(1, 10**6),
            lambda: client.get_consistency_proof(5, 4),
            lambda: client.fetch("../journal/data.mdb"),
            lambda: client.add_cosignatures(b"no note"),
            lambda: client.add_cosignatures(client.fetch(CHECKPOINT)),
        ):
            with pytest.raises(CallInvalid):
                ask()


def test_a_witness_cosigns_and_receipts_carry_it(service: ServerProcess, policy: verify.Policy) -> None:
    """Pins that a cosigned checkpoint is verified and kept, and that one that was changed, or that the log
    never signed, is refused."""
    strict = verify.Policy(policy.log_keys, (WITNESS.public,), witnesses_min=1)
    with ProofClient(service.address) as client:
        data = wait_until_published(client).checkpoint
        signed = policy.verify(data)
        theirs = Signature(WITNESS.name, WITNESS.key_id, WITNESS.sign(signed.note.text))
        wrong = Signature(WITNESS.name, WITNESS.key_id, theirs.value[:-1] + bytes([theirs.value[-1] ^ 1]))
        for signatures in ((*signed.note.signatures, wrong), (theirs,)):
            with pytest.raises(CallInvalid):
                client.add_cosignatures(Note(signed.note.text, signatures).write())
        cosigned = Note(signed.note.text, (*signed.note.signatures, theirs)).write()
        assert list(client.add_cosignatures(cosigned).witnesses) == [WITNESS.name]
        assert client.get_checkpoint(cosigned=True).checkpoint == cosigned
        receipt = client.get_inclusion_proof(3, cosigned=True).receipt
        assert verify.check_receipt(receipt, strict).witnesses == ((WITNESS.name, 1_790_000_000),)


def test_the_commands_audit_and_check(service: ServerProcess, policy: verify.Policy, folder: Path) -> None:
    """Pins `tracecode proof` and `tracecode audit` on a served log, a data folder beside its service, and a
    backup; exit 4 and the place for an entry that was exchanged."""
    shell, line = CliRunner(), policy.log_keys[0].line
    with ProofClient(service.address) as client:
        wait_until_published(client)
    at = ["--server", service.address]
    kept = shell.invoke(cli.app, ["proof", "checkpoint", *at])
    (folder / "kept").write_text(kept.output)
    out = folder / "receipt.tlog-proof"
    assert shell.invoke(cli.app, ["proof", "receipt", "5", *at, "--out", str(out)]).exit_code == 0
    for given in (["5"], ["--institution", SHOP, "--number", "S3"]):
        assert shell.invoke(cli.app, ["proof", "receipt", *given, *at]).exit_code == 0
    checked = shell.invoke(cli.app, ["proof", "check", str(out), "--key", line, "--json"])
    assert json.loads(checked.output)["sequence"] == 5
    out.write_bytes(out.read_bytes().replace(b"index 4", b"index 3"))
    assert shell.invoke(cli.app, ["proof", "check", str(out), "--key", line]).exit_code == 4
    backup = folder / "backup"
    back_up(folder / "ledger", backup)
    log = ["--log", str(folder / "ledger/proof")]
    for given in (
        at,
        [str(folder / "ledger"), "--rejudge", "--kept", str(folder / "kept")],
        [str(backup), *log],
        [*log, "--state", str(folder / "state")],
        [*at, "--state", str(folder / "state")],
    ):
        done = shell.invoke(cli.app, ["audit", *given, "--key", line, "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.output)["ok"]
    (segment,) = (backup / "entries").iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"S3", b"S9", 1))
    done = shell.invoke(cli.app, ["audit", str(backup), *log, "--key", line, "--json"])
    assert done.exit_code == 4
    (found,) = json.loads(done.output)["deviations"]
    assert found["change"] == Change.EDITED.value


def test_without_a_key_no_log_is_kept(tmp_path: Path) -> None:
    """Pins that the log is off by default, and that a key inside the data folder is refused."""
    with ServerProcess(data_directory=tmp_path / "ledger") as process:
        with (
            ProofClient(process.address) as client,
            pytest.raises(StateConflict, match="LOG_NOT_KEPT: this service keeps no log; make a key"),
        ):
            client.get_checkpoint()
    assert not (tmp_path / "ledger/proof").exists()
    key.create(tmp_path / "ledger/key", "example.org/journal")
    with ServerProcess(data_directory=tmp_path / "ledger", proof_key_file=tmp_path / "ledger/key") as process:
        assert process.wait() != 0
        assert any("keep it elsewhere" in line for line in process.other)
