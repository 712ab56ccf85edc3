"""Signed notes, checkpoints, keys and receipts, by themselves and as Go reads them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from sumdb import Sumdb

from tracecode.proof import checkpoint as checkpoints
from tracecode.proof import key, note, receipt, verify
from tracecode.proof.checkpoint import Checkpoint
from tracecode.proof.note import Ed25519Signer, Note, NoteInvalid, PublicKey, Witness
from tracecode.proof.receipt import Receipt, ReceiptInvalid
from tracecode.proof.tree import Tree, hash_leaf, prove_inclusion

LOG = "example.org/journal"
OLD, NEW = Ed25519Signer(LOG, b"o" * 32), Ed25519Signer(LOG, b"n" * 32)
WITNESS = Witness("witness.example/w1", b"w" * 32, 1_790_000_000)
CHECKPOINT = Checkpoint(LOG, 5, bytes(range(32)))


def test_go_opens_our_notes_and_we_open_those_of_go(tmp_path: Path) -> None:
    """Pins signed notes of one key, of two during a rotation and of a witness with Go's note.Open, the text
    of a tree head with tlog.FormatTree, and a note that Go signs with our key file."""
    signed = CHECKPOINT.sign([OLD, NEW, WITNESS])
    signer = key.create(tmp_path / "key", LOG)
    with Sumdb() as go:
        asked = {"Note": signed.write().decode(), "Witnesses": [WITNESS.public.line]}
        answer = go.ask("note", Keys=[OLD.public.line, NEW.public.line], **asked)
        assert not answer["Error"]
        assert answer["Text"] == CHECKPOINT.text
        assert answer["Names"] == [f"{one.name}+{one.key_id.hex()}" for one in (OLD, NEW, WITNESS)]
        assert not go.ask("note", Keys=[NEW.public.line], **asked)["Error"]
        other = asked | {"Note": asked["Note"].replace("\n5\n", "\n6\n")}
        assert go.ask("note", Keys=[OLD.public.line], **other)["Error"]
        assert go.ask("tree", Size=5, Root=CHECKPOINT.root)["Text"] == (
            Checkpoint("go.sum database tree", 5, CHECKPOINT.root).text
        )
        theirs = go.ask("sign", Text=CHECKPOINT.text, Keys=[(tmp_path / "key").read_text().strip()])
    assert theirs["Text"].encode() == CHECKPOINT.sign([signer]).write()


def test_a_checkpoint_is_read_back_and_no_changed_byte_is_accepted() -> None:
    """Pins that of a checkpoint signed by one key every single changed bit is refused."""
    data = CHECKPOINT.sign([OLD]).write()
    assert checkpoints.verify(data, [OLD.public]).checkpoint == CHECKPOINT
    for at in range(len(data) * 8):
        altered = bytearray(data)
        altered[at // 8] ^= 1 << at % 8
        with pytest.raises(NoteInvalid):
            checkpoints.verify(bytes(altered), [OLD.public])


def test_keys_vouch_as_they_should() -> None:
    """Pins that unknown signatures are passed over, and that a wrong, doubled or missing one of a known key
    is refused, as is a checkpoint of another log."""
    both = CHECKPOINT.sign([OLD, NEW])
    for known in ([OLD], [NEW], [OLD, NEW]):
        assert checkpoints.verify(both.write(), [one.public for one in known]).checkpoint == CHECKPOINT
    stranger = Ed25519Signer("example.org/other", b"s" * 32)
    with pytest.raises(NoteInvalid, match="no key that is trusted"):
        checkpoints.verify(both.write(), [stranger.public])
    wrong = note.sign("another text\n", [OLD]).signatures
    for signatures, said in (
        ((*wrong, both.signatures[1]), "not over this text"),
        ((both.signatures[0], both.signatures[0]), "signed twice"),
    ):
        with pytest.raises(NoteInvalid, match=said):
            checkpoints.verify(Note(CHECKPOINT.text, signatures).write(), [OLD.public, NEW.public])
    elsewhere = Checkpoint("example.org/other", 5, CHECKPOINT.root).sign([OLD])
    with pytest.raises(NoteInvalid, match=r"not of example\.org/journal"):
        checkpoints.verify(elsewhere.write(), [OLD.public])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n",
        "a\n1\n",
        "a\n01\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "a\n-1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "a\n9223372036854775808\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "a\n1\nAAAA\n",
        "a\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n",
        "\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "a\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """Pins the form: sizes without leading zeroes, a whole root, no empty lines."""
    with pytest.raises(NoteInvalid):
        checkpoints.parse(text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        "text\n\n— a".encode(),
        "text\n\n— a AAAA\n".encode(),
        b"text\n\n- a AAAAAAAA\n",
        "text\n\n— a+b AAAAAAAA\n".encode(),
        "te\txt\n\n— a AAAAAAAA\n".encode(),
        b"te\xffxt\n\n- a AAAAAAAA\n",
        "text\n\n— a AAAAAAB=\n".encode(),
    ],
)
def test_what_is_no_note_is_refused(data: bytes) -> None:
    """Pins the form: text, empty line, signatures in the base64 that its encoder writes."""
    with pytest.raises(NoteInvalid):
        note.parse(data)


def test_a_witness_is_asked_for() -> None:
    """Pins that a policy counts cosignatures of its witnesses only, and that one of another time is wrong."""
    policy = verify.Policy((OLD.public,), (WITNESS.public,), witnesses_min=1)
    signed = policy.verify(CHECKPOINT.sign([OLD, WITNESS]).write())
    assert [note.cosigned_at_seconds(one) for one in signed.cosignatures] == [1_790_000_000]
    with pytest.raises(NoteInvalid, match="0 of the witnesses"):
        policy.verify(CHECKPOINT.sign([OLD]).write())
    data = CHECKPOINT.sign([WITNESS]).signatures[0]
    later = note.Signature(data.name, data.key_id, (1_790_000_001).to_bytes(8, "big") + data.value[8:])
    with pytest.raises(NoteInvalid, match="not over this text"):
        policy.verify(Note(CHECKPOINT.text, (*CHECKPOINT.sign([OLD]).signatures, later)).write())


def test_a_public_key_is_a_line_that_cannot_be_changed() -> None:
    """Pins that a key's line is read back, and that one with a changed bit is refused."""
    for public in (OLD.public, WITNESS.public):
        assert PublicKey.parse(public.line) == public
        for at in range(len(public.line) * 8):
            altered = bytearray(public.line.encode())
            altered[at // 8] ^= 1 << at % 8
            try:
                read = PublicKey.parse(altered.decode())
            except (NoteInvalid, UnicodeDecodeError):
                continue
            # Hex digits in capitals, and space around, say the same.
            assert read == public


def test_a_key_file_is_its_owners_and_is_exchanged_with_overlap(tmp_path: Path) -> None:
    """Pins permissions 0600, the refusal of a file that others can read, adding and retiring a key, and that
    no text about a signer tells its secret."""
    path = tmp_path / "keys" / "journal"
    first = key.create(path, LOG)
    assert path.stat().st_mode & 0o777 == 0o600
    assert key.read(path) == [first]
    with pytest.raises(FileExistsError):
        key.create(path, LOG)
    second = key.add(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert key.read(path) == [first, second]
    with pytest.raises(NoteInvalid, match="has no key 00000000"):
        key.retire(path, "00000000")
    key.retire(path, first.key_id.hex())
    assert key.read(path) == [second]
    with pytest.raises(NoteInvalid, match="the only key"):
        key.retire(path, second.key_id.hex())
    assert repr(second.seed) not in repr(second)
    assert repr(WITNESS.seed) not in repr(WITNESS)
    path.chmod(0o640)
    with pytest.raises(NoteInvalid, match="chmod 600"):
        key.read(path)
    path.chmod(0o600)
    path.write_text(path.read_text().replace("journal", "journey"))
    with pytest.raises(NoteInvalid, match="was changed"):
        key.read(path)
    for name in ("", "a b", "a+b"):
        with pytest.raises(NoteInvalid, match="names no log"):
            key.create(tmp_path / "other", name)


def test_a_receipt_is_checked_by_itself_and_every_changed_bit_is_found() -> None:
    """Pins a receipt with its entry, and without it; of changed bits none proves another entry or place."""
    tree, entries = Tree(), [b"entry %d" % number for number in range(11)]
    for entry in entries:
        tree.append(hash_leaf(entry))
    head = Checkpoint(LOG, 11, tree.root())
    policy = verify.Policy((OLD.public,))
    for index, entry in enumerate(entries):
        path = tuple(prove_inclusion(index, 11, tree.node))
        kept = Receipt(index, path, head.sign([OLD]).write(), entry)
        assert receipt.parse(kept.write()) == kept
        report = verify.check_receipt(kept.write(), policy)
        assert (report.sequence, report.checkpoint, report.entry) == (index + 1, head, entry)
        bare = Receipt(index, path, kept.checkpoint)
        assert verify.check_receipt(bare.write(), policy, entry).sequence == index + 1
        with pytest.raises(ReceiptInvalid, match="carries no entry"):
            verify.check_receipt(bare.write(), policy)
        with pytest.raises(ReceiptInvalid, match="is not number"):
            verify.check_receipt(kept.write(), policy, b"another")
        data, seeded = kept.write(), random.Random(index)
        for at in range(len(data) * 8) if index == 10 else seeded.sample(range(len(data) * 8), 40):
            altered = bytearray(data)
            altered[at // 8] ^= 1 << at % 8
            with pytest.raises((ReceiptInvalid, NoteInvalid)):
                verify.check_receipt(bytes(altered), policy)
