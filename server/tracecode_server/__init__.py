"""The edge of tracecode: the ledger served over gRPC, and the command line."""

import os

# Read by gRPC's core when it is first imported. It would write lines of its own between those of our log and
# into a terminal's picture; what it has to say comes as an error, too.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
