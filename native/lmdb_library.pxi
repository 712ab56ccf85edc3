# LMDB's functions, found when the module is imported, and its return codes as sentences.

import errno
import os
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec

from tracecode.errors import DataLoss, EngineStopped, Overloaded, StorageFull

cimport lmdb


def _resolve_lmdb():
    """The prefix under which LMDB's functions were found; fills the table of lmdb.pxd."""
    remedy = "install the wheel again: pip install --force-reinstall 'lmdb>=3.0,<3.1'"
    # find_spec imports the package `lmdb`, which loads the library that is resolved from here.
    spec = find_spec("lmdb.cpython")
    if spec is None or not str(spec.origin).endswith(tuple(EXTENSION_SUFFIXES)):
        raise ImportError(f"tracecode needs py-lmdb with its compiled module lmdb.cpython; {remedy}")
    cdef bytes path = os.fsencode(spec.origin)
    cdef const char *prefix = NULL
    cdef const char *missing = lmdb.resolve(path, &prefix)
    if missing != NULL:
        raise ImportError(f"{spec.origin} offers no LMDB function {missing.decode()!r}; {remedy}")
    cdef int major = 0, minor = 0, patch = 0
    lmdb.version(&major, &minor, &patch)
    if (major, minor) != (0, 9):
        raise ImportError(f"{spec.origin} is LMDB {major}.{minor}.{patch}, not 0.9; {remedy}")
    return prefix.decode()


_LMDB_PREFIX = _resolve_lmdb()


def lmdb_symbols():
    """The exported name of every LMDB function in use -> its address, never 0."""
    cdef const lmdb.Symbol *symbol = lmdb.symbols
    result = {}
    while symbol.name != NULL:
        result[_LMDB_PREFIX + symbol.name.decode()] = <size_t> symbol.pointer[0]
        symbol += 1
    return result


def lmdb_error(int code, str doing):
    """The exception for a return code of LMDB, its own or an errno. `doing` is what failed, such as
    "writing the journal in /var/lib/tracecode"; the sentence ends with what to do about it."""
    text = f"{doing}: {lmdb.strerror(code).decode(errors='replace')}"
    if code == lmdb.MAP_FULL:
        return StorageFull(f"{text}. Restart with a larger map_size_bytes; nothing acknowledged is lost")
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageFull(f"{text}. Free disk space; nothing acknowledged is lost, and it goes on by itself")
    if code == lmdb.READERS_FULL:
        return Overloaded(f"{text}. Fewer processes may read this directory at a time")
    if code == lmdb.TXN_FULL:
        return EngineStopped(
            f"{text}. Restart with a smaller overlay_bytes_max; nothing acknowledged is lost"
        )
    if code in (lmdb.CORRUPTED, lmdb.PAGE_NOT_FOUND, lmdb.INVALID, lmdb.INCOMPATIBLE):
        return DataLoss(f"{text}. An index can be deleted, it is rebuilt from the journal at the next start;"
                        " a journal must be restored from a replica or a backup")
    if code == lmdb.VERSION_MISMATCH:
        return DataLoss(f"{text}. These files were written by another LMDB format; use the release that wrote"
                        " them")
    return EngineStopped(f"{text}. Restart the service; if it happens again, look at the disk")
