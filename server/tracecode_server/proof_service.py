"""tracecode.v1.ProofService: reads the log's files; the integrator's process writes them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from tracecode.document import (
    DOCUMENT_NUMBER_BYTES_MAX,
    DocumentKind,
    check_institution_code,
    check_size,
)
from tracecode.errors import DataLoss, FieldInvalid, NotFound
from tracecode.ledger import Ledger
from tracecode.proof import checkpoint as checkpoints
from tracecode.proof import key, note
from tracecode.proof.checkpoint import SignedCheckpoint
from tracecode.proof.note import COSIGNATURE, NoteInvalid, PublicKey
from tracecode.proof.receipt import Receipt
from tracecode.proof.tiles import CHECKPOINT, COSIGNED, LogDamaged, TileReader, fetch_from, is_tile_name
from tracecode.proof.tree import prove_consistency, prove_inclusion
from tracecode.v1 import proof_service_pb2
from tracecode_server.errors import LogNotKept
from tracecode_server.read_pool import ReadPool
from tracecode_server.settings import Settings

Published = proof_service_pb2.PROOF_STATE_PUBLISHED
CHECKPOINT_BYTES_MAX = 16 * 1024
"""A checkpoint with the signatures of more witnesses than anybody has (ours)."""
Sequenced = proof_service_pb2.PROOF_STATE_SEQUENCED


class ProofService:
    """Answers from the log's folder. Belongs to the event loop; what it reads, threads of the pool read."""

    def __init__(self, ledger: Ledger, reads: ReadPool, settings: Settings) -> None:
        """Without a key there is no log, and every question that could be one is answered LOG_NOT_KEPT."""
        self._ledger = ledger
        self._reads = reads
        self._directory = settings.proof_folder
        self._key_file = settings.proof_key_file
        self._witnesses_file = settings.proof_witnesses_file
        self._fetch = fetch_from(self._directory or Path())
        self._cosigning = threading.Lock()

    async def GetCheckpoint(
        self, request: proof_service_pb2.GetCheckpointRequest
    ) -> proof_service_pb2.GetCheckpointResponse:
        return await self._reads.run(self._get_checkpoint, request)

    async def GetInclusionProof(
        self, request: proof_service_pb2.GetInclusionProofRequest
    ) -> proof_service_pb2.GetInclusionProofResponse:
        return await self._reads.run(self._get_inclusion_proof, request)

    async def GetConsistencyProof(
        self, request: proof_service_pb2.GetConsistencyProofRequest
    ) -> proof_service_pb2.GetConsistencyProofResponse:
        return await self._reads.run(self._get_consistency_proof, request)

    async def GetTile(self, request: proof_service_pb2.GetTileRequest) -> proof_service_pb2.GetTileResponse:
        return await self._reads.run(self._get_tile, request)

    async def AddCosignatures(
        self, request: proof_service_pb2.AddCosignaturesRequest
    ) -> proof_service_pb2.AddCosignaturesResponse:
        return await self._reads.run(self._add_cosignatures, request)

    def _get_checkpoint(
        self, request: proof_service_pb2.GetCheckpointRequest
    ) -> proof_service_pb2.GetCheckpointResponse:
        data, size = self._read_checkpoint(request.cosigned)
        return proof_service_pb2.GetCheckpointResponse(
            checkpoint=data, published=size, sequenced=self._ledger.engine.sequence
        )

    def _get_inclusion_proof(
        self, request: proof_service_pb2.GetInclusionProofRequest
    ) -> proof_service_pb2.GetInclusionProofResponse:
        sequence = self._find_sequence(request)
        data, size = self._read_checkpoint(request.cosigned)
        response = proof_service_pb2.GetInclusionProofResponse(
            sequence=sequence, state=Sequenced, published=size
        )
        if sequence <= size:
            response.state = Published
            tiles = TileReader(self._fetch, size)
            path = self._prove(lambda: prove_inclusion(sequence - 1, size, tiles.node))
            entry = b"" if request.without_entry else self._ledger.engine.entries(sequence - 1, 1)[0]
            response.receipt = Receipt(sequence - 1, tuple(path), data, entry).write()
        return response

    def _find_sequence(self, request: proof_service_pb2.GetInclusionProofRequest) -> int:
        if request.WhichOneof("entry") == "document":
            asked = request.document
            check_institution_code("document.institution_code", asked.institution_code)
            check_size("document.document_number", asked.document_number, DOCUMENT_NUMBER_BYTES_MAX)
            if asked.kind not in set(map(int, DocumentKind)):
                raise FieldInvalid("document.kind", "say which kind of document: SALE, RECEIPT, ...")
            self._need_log()
            found = self._ledger.engine.document(asked.institution_code, asked.kind, asked.document_number)
            if found is None:
                raise NotFound(f"{asked.institution_code} has reported no such document")
            return found.verdict_first.sequence
        if not request.sequence:
            raise FieldInvalid("sequence", "name an entry: its sequence, or the document's identity")
        self._need_log()
        if request.sequence > self._ledger.engine.sequence:
            raise NotFound(f"the journal has no entry {request.sequence} yet")
        return request.sequence

    def _get_consistency_proof(
        self, request: proof_service_pb2.GetConsistencyProofRequest
    ) -> proof_service_pb2.GetConsistencyProofResponse:
        data, published = self._read_checkpoint(False)
        size = request.size or published
        if size > published:
            raise FieldInvalid("size", f"only {published} entries are published")
        if request.old_size > size:
            raise FieldInvalid("old_size", f"a tree of {size} entries does not begin with one that is larger")
        tiles = TileReader(self._fetch, published)
        hashes = self._prove(lambda: prove_consistency(request.old_size, size, tiles.node))
        return proof_service_pb2.GetConsistencyProofResponse(
            old_size=request.old_size, size=size, hashes=hashes, checkpoint=data
        )

    def _get_tile(self, request: proof_service_pb2.GetTileRequest) -> proof_service_pb2.GetTileResponse:
        path = request.path
        if path not in (CHECKPOINT, COSIGNED) and not is_tile_name(path):
            raise FieldInvalid("path", "is no file of a log; write for example tile/0/x001/067")
        self._need_log()
        try:
            return proof_service_pb2.GetTileResponse(content=self._fetch(path))
        except FileNotFoundError:
            raise NotFound(f"the log has no {path}") from None

    def _add_cosignatures(
        self, request: proof_service_pb2.AddCosignaturesRequest
    ) -> proof_service_pb2.AddCosignaturesResponse:
        if len(request.checkpoint) > CHECKPOINT_BYTES_MAX:
            raise FieldInvalid(
                "checkpoint", f"longer than {CHECKPOINT_BYTES_MAX} bytes; a checkpoint is a few lines"
            )
        _, published = self._read_checkpoint(False)
        assert self._key_file is not None
        ours = [signer.public for signer in key.read(self._key_file)]
        witnesses = read_keys(self._witnesses_file)
        try:
            signed = checkpoints.verify(request.checkpoint, ours, witnesses)
        except NoteInvalid as error:
            raise FieldInvalid("checkpoint", str(error)) from None
        if not signed.cosignatures:
            raise FieldInvalid("checkpoint", "no witness whose key is configured here has signed it")
        checkpoint = signed.checkpoint
        with self._cosigning:
            tiles = TileReader(self._fetch, published)
            if checkpoint.size > published or tiles.root(checkpoint.size) != checkpoint.root:
                raise FieldInvalid("checkpoint", "is none of this log")
            before = self._read_cosigned(ours, witnesses)
            if before is not None and before.checkpoint.size > checkpoint.size:
                raise FieldInvalid(
                    "checkpoint", f"a later one, of {before.checkpoint.size} entries, is cosigned already"
                )
            kept = {(one.name, one.key_id): one for one in signed.cosignatures}
            if before is not None and before.checkpoint == checkpoint:
                kept = {(one.name, one.key_id): one for one in before.cosignatures} | kept
            own = note.verify(signed.note, ours)
            whole = note.Note(signed.note.text, (*own, *kept.values()))
            assert self._directory is not None
            _replace(self._directory / COSIGNED, whole.write())
        return proof_service_pb2.AddCosignaturesResponse(witnesses=[one.name for one in kept.values()])

    def _read_cosigned(self, ours: list[PublicKey], witnesses: list[PublicKey]) -> SignedCheckpoint | None:
        try:
            return checkpoints.verify(self._fetch(COSIGNED), ours, witnesses)
        except (FileNotFoundError, NoteInvalid):
            # Keys were exchanged since: what is there no longer counts.
            return None

    def _read_checkpoint(self, cosigned: bool) -> tuple[bytes, int]:
        self._need_log()
        try:
            data = self._fetch(COSIGNED if cosigned else CHECKPOINT)
        except FileNotFoundError:
            what = "cosigned" if cosigned else "published"
            raise NotFound(f"nothing is {what} yet; ask again in a second") from None
        try:
            return data, checkpoints.parse(note.parse(data).text).size
        except NoteInvalid as error:
            raise DataLoss(f"the checkpoint is not as it was written: {error}") from None

    def _need_log(self) -> None:
        if self._directory is None:
            raise LogNotKept("this service keeps no log; make a key and name it in proof_key_file")

    def _prove(self, prove: Callable[[], list[bytes]]) -> list[bytes]:
        try:
            return prove()
        except (FileNotFoundError, LogDamaged) as error:
            raise DataLoss(
                f"a tile is not as it was written: {error}; stop the service and delete {self._directory}, "
                "it is rebuilt from the journal"
            ) from None


def read_keys(path: Path | None) -> list[PublicKey]:
    """The witnesses' keys of a file, one a line, # before a remark. Raises FieldInvalid."""
    if path is None:
        raise FieldInvalid("checkpoint", "no witness is configured here: proof_witnesses_file")
    try:
        keys = [
            PublicKey.parse(line)
            for line in path.read_text().splitlines()
            if line.strip() and not line.startswith("#")
        ]
    except (OSError, NoteInvalid) as error:
        raise FieldInvalid("checkpoint", f"the witnesses' keys cannot be read: {error}") from None
    if any(one.type != COSIGNATURE for one in keys):
        raise FieldInvalid("checkpoint", "a key of proof_witnesses_file is no witness's (type 4)")
    return keys


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
