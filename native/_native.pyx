# distutils: language = c++
"""tracecode._native: the one extension. Each part is a file of its own, included here.

Reading order: read_scan.pxi (a scan becomes a canonical key); FORMAT.md (what is on disk); store.pxi
(journal, index and overlay) on layouts.pxi, lmdb_library.pxi, page_check.pxi, directory.pxi and leaves.pxi
(hashes of a Merkle log); clearing.pxi (plain documents without Python) on wire.pxi and page_walk.h;
question.pxi and requests.pxi (the bytes of calls); lines.pxi (the journal as columns); code_events.pxi (what
it tells of one code); connections.pxi (who is connected).
Touch Python objects before and after a nogil block, never inside.
"""

# read_scan
include "read_scan.pxi"
# engine
include "layouts.pxi"
include "lmdb_library.pxi"
include "page_check.pxi"
include "directory.pxi"
include "leaves.pxi"
include "store.pxi"
include "wire.pxi"
include "clearing.pxi"
include "question.pxi"
include "requests.pxi"
# views
include "lines.pxi"
include "code_events.pxi"
# server
include "connections.pxi"
