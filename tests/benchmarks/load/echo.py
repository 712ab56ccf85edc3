"""The least that a service in grpc.aio costs: any method answers with so many bytes, and nothing else is
done.

Same event loop and same channel options as our edge. Arguments: the size of the answer. Prints its port.
"""

from __future__ import annotations

import asyncio
import sys

import grpc
import uvloop
from tracecode_server.listener import list_options
from tracecode_server.settings import Settings


class Echo(grpc.GenericRpcHandler):
    """Takes bytes, gives bytes."""

    def __init__(self, answer: bytes) -> None:
        async def take(_request: bytes, _context: object) -> bytes:
            return answer

        self._handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(take)

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The same for every method."""
        return self._handler


async def serve(size: int) -> None:
    """Answer until the process is ended."""
    server = grpc.aio.server(options=list_options(Settings(engine="memory")))
    server.add_generic_rpc_handlers((Echo(bytes(size)),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
