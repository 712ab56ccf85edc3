# distutils: language = c++
"""tracecode._native: the one extension. Each part is a file of its own, included here.

Reading order: read_scan.pxi (a scan becomes a canonical key), then the engine's parts.
Touch Python objects before and after a nogil block, never inside.
"""

# read_scan
include "read_scan.pxi"
# engine
include "store.pxi"
include "wire.pxi"
include "clearing.pxi"
