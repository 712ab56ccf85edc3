"""An honest client as a process of its own: it asks and records all the time, and says how it fared.

    python -m trust.honest_client HOST:PORT CALLS_PER_SECOND

For every line on its standard input it says on one line of JSON what came of its calls since the last one. A
call is timed from when it was due, so that time spent waiting for a slow one counts for those behind it, too.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import grpc
from wire import make_code, make_sale

from tracecode.v1 import ledger_service_pb2, ledger_service_pb2_grpc

# Far beyond what a till waits: what is late is seen by its seconds, whatever the machine is busy with.
DEADLINE_SECONDS = 10.0
# A machine that is too slow for the pace must not make it later and later.
BEHIND_SECONDS_MAX = 0.5
# Also a newcomer is served: a fresh connection for so many calls.
CALLS_PER_CONNECTION = 25
INSTITUTION = "P37020399001"


class HonestClient:
    """Calls at an even pace in a thread."""

    def __init__(self, address: str, calls_per_second: float) -> None:
        self.address = address
        self.pause_seconds = 1 / calls_per_second
        self.lock = threading.Lock()
        self.seconds: list[float] = []
        self.failures: list[str] = []

    def run(self) -> None:
        """Call for ever."""
        due = time.perf_counter()
        number = 0
        while True:
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
            with grpc.insecure_channel(self.address, options=options) as channel:
                stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
                for _ in range(CALLS_PER_CONNECTION):
                    wait = due - time.perf_counter()
                    if wait > 0:
                        time.sleep(wait)
                    elif wait < -BEHIND_SECONDS_MAX:
                        # What was missed is not asked after.
                        due = time.perf_counter()
                    self._call(stub, number, due)
                    due += self.pause_seconds
                    number += 1

    def _call(self, stub: ledger_service_pb2_grpc.LedgerServiceStub, number: int, due: float) -> None:
        failure = ""
        try:
            match number % 4:
                case 0:
                    sale = make_sale(make_honest_code(number), institution_code=INSTITUTION)
                    request = ledger_service_pb2.RecordSaleRequest(document=sale)
                    stub.RecordSale(request, timeout=DEADLINE_SECONDS)
                case 1:
                    asked = ledger_service_pb2.ListCodeEventsRequest(code=make_honest_code(number - 1))
                    stub.ListCodeEvents(asked, timeout=DEADLINE_SECONDS)
                case _:
                    question = ledger_service_pb2.VerifyCodesRequest(
                        institution_code=INSTITUTION,
                        codes=[ledger_service_pb2.CodeQuestion(code=make_code()) for _ in range(5)],
                    )
                    stub.VerifyCodes(question, timeout=DEADLINE_SECONDS)
        except grpc.RpcError as error:
            failure = f"{error.code().name}: {error.details()}"
        with self.lock:
            self.seconds.append(time.perf_counter() - due)
            if failure:
                self.failures.append(failure)

    def take(self) -> dict[str, object]:
        """What came of the calls since the last time."""
        with self.lock:
            seconds, failures = self.seconds, self.failures
            self.seconds, self.failures = [], []
        return {"seconds": seconds, "failures": failures}


def make_honest_code(number: int) -> str:
    """The code of a box that the honest pharmacy sells."""
    return f"8123457{number:013d}"


def main() -> None:
    """See the module."""
    client = HonestClient(sys.argv[1], float(sys.argv[2]))
    threading.Thread(target=client.run, daemon=True).start()
    print("calling", flush=True)
    for _line in sys.stdin:
        print(json.dumps(client.take()), flush=True)


if __name__ == "__main__":
    main()
