"""Asks a service for its log: checkpoints, receipts, proofs, and the files that auditors read."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import grpc

from tracecode.client.errors import NotKnown, read_failure
from tracecode.v1 import document_pb2, proof_service_pb2, proof_service_pb2_grpc

ANSWER_BYTES_MAX = 64 * 1024 * 1024
Answer = TypeVar("Answer")


class ProofClient:
    """Calls one service; believes nothing of what it says, which is for tracecode.proof.verify to check."""

    def __init__(self, target: str, *, deadline_seconds: float = 10.0) -> None:
        """`target` is host:port."""
        self._deadline_seconds = deadline_seconds
        self._channel = grpc.insecure_channel(
            target, options=[("grpc.max_receive_message_length", ANSWER_BYTES_MAX)]
        )
        self._stub = proof_service_pb2_grpc.ProofServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the connection. Safe to call twice."""
        self._channel.close()

    def get_checkpoint(self, *, cosigned: bool = False) -> proof_service_pb2.GetCheckpointResponse:
        """The last signed tree head, or the last that a witness has signed, too."""
        request = proof_service_pb2.GetCheckpointRequest(cosigned=cosigned)
        return self._ask(lambda: self._stub.GetCheckpoint(request, timeout=self._deadline_seconds))

    def get_inclusion_proof(
        self, sequence: int, *, cosigned: bool = False, without_entry: bool = False
    ) -> proof_service_pb2.GetInclusionProofResponse:
        """A receipt of the entry with this sequence, if it is published."""
        request = proof_service_pb2.GetInclusionProofRequest(
            sequence=sequence, cosigned=cosigned, without_entry=without_entry
        )
        return self._ask(lambda: self._stub.GetInclusionProof(request, timeout=self._deadline_seconds))

    def get_receipt_of_document(
        self,
        institution_code: str,
        kind: document_pb2.DocumentKind.ValueType,
        document_number: str,
        *,
        cosigned: bool = False,
        without_entry: bool = False,
    ) -> proof_service_pb2.GetInclusionProofResponse:
        """A receipt of a document's entry, if it is published."""
        request = proof_service_pb2.GetInclusionProofRequest(
            document=proof_service_pb2.DocumentIdentity(
                institution_code=institution_code, kind=kind, document_number=document_number
            ),
            cosigned=cosigned,
            without_entry=without_entry,
        )
        return self._ask(lambda: self._stub.GetInclusionProof(request, timeout=self._deadline_seconds))

    def get_consistency_proof(
        self, old_size: int, size: int = 0
    ) -> proof_service_pb2.GetConsistencyProofResponse:
        """That the tree of `size` entries, 0 = all that are published, begins with that of `old_size`."""
        request = proof_service_pb2.GetConsistencyProofRequest(old_size=old_size, size=size)
        return self._ask(lambda: self._stub.GetConsistencyProof(request, timeout=self._deadline_seconds))

    def add_cosignatures(self, checkpoint: bytes) -> proof_service_pb2.AddCosignaturesResponse:
        """Hand in a checkpoint that witnesses have signed."""
        request = proof_service_pb2.AddCosignaturesRequest(checkpoint=checkpoint)
        return self._ask(lambda: self._stub.AddCosignatures(request, timeout=self._deadline_seconds))

    def fetch(self, path: str) -> bytes:
        """A file of the log; FileNotFoundError if there is none, as `tracecode.proof.tiles.Fetch` has it."""
        request = proof_service_pb2.GetTileRequest(path=path)
        try:
            response = self._ask(lambda: self._stub.GetTile(request, timeout=self._deadline_seconds))
        except NotKnown as error:
            raise FileNotFoundError(str(error)) from None
        return response.content

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except grpc.RpcError as error:
            raise read_failure(error) from error
