"""tracecode.v1.ConsumerService: a few questions a second from each host."""

from __future__ import annotations

from tracecode.ledger import Ledger
from tracecode.v1 import consumer_service_pb2
from tracecode_server.limits import PeerLimits
from tracecode_server.method import PEER
from tracecode_server.read_pool import ReadPool

CALLS_MAX = 64
"""Questions of one host that are being answered."""


class ConsumerService:
    """Answers for a ledger. Raises the ledger's errors and PeerOverLimit."""

    def __init__(self, ledger: Ledger, reads: ReadPool, questions_per_second_max: int) -> None:
        self._ledger = ledger
        self._reads = reads
        self._limits = PeerLimits(CALLS_MAX, 0, questions_per_second_max)

    async def GetCodeSales(
        self, request: consumer_service_pb2.GetCodeSalesRequest
    ) -> consumer_service_pb2.GetCodeSalesResponse:
        peer = PEER.get()
        self._limits.enter(peer, stream=False)
        try:
            return await self._reads.run(self._ledger.get_code_sales, request)
        finally:
            self._limits.leave(peer, stream=False)

    async def FileComplaint(
        self, request: consumer_service_pb2.FileComplaintRequest
    ) -> consumer_service_pb2.FileComplaintResponse:
        peer = PEER.get()
        self._limits.enter(peer, stream=False)
        try:
            return await self._reads.run(self._ledger.file_complaint, request)
        finally:
            self._limits.leave(peer, stream=False)
