# The directory of a ledger: whose it is, which format it has, and how a new one is made so that a crash
# leaves either nothing or all of it.

import fcntl
import os

from tracecode.errors import DataLoss, EngineStopped

FORMAT = 1
"""Number of the on-disk format this code reads and writes; docs: native/FORMAT.md."""

INDEX_FORMAT = 2
"""Number of the index's own layout: an index of an earlier one is thrown away and rebuilt."""


def _sync_directory(path):
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file(path):
    """Make a file durable, whoever wrote it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _file_size(path):
    """Its bytes; 0 if there is none."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _check_format(path, read_only):
    """Whether the directory holds a store of this format; False if it is to become one."""
    try:
        words = (path / "format").read_bytes().split()
    except FileNotFoundError:
        if read_only:
            raise EngineStopped(f"{path} holds no ledger; one that is only read must exist") from None
        # What a creation that was cut short leaves behind is taken for a new directory.
        if set(os.listdir(path)) - {"lock", "format.new", "journal", "index"}:
            raise EngineStopped(f"{path} is not empty and holds no ledger; name an empty directory") from None
        return False
    if len(words) != 3 or words[:2] != [b"tracecode", b"format"] or not words[2].isdigit():
        raise DataLoss(f"{path}/format does not read 'tracecode format {FORMAT}'; restore it from a backup")
    if int(words[2]) != FORMAT:
        raise EngineStopped(
            f"{path} holds format {int(words[2])} and this release reads format {FORMAT}; use the release"
            " that wrote it"
        )
    if not (path / "journal" / "data.mdb").exists():
        raise DataLoss(f"{path} has lost its journal; restore journal/data.mdb from a replica or a backup")
    return True


def _write_format(path):
    """The last step of a creation: from now on the directory holds a ledger."""
    with open(path / "format.new", "wb") as file:
        file.write(b"tracecode format %d\n" % FORMAT)
        file.flush()
        os.fsync(file.fileno())
    # A power cut must not leave the format of a ledger that has no journal.
    for directory in (path / "journal", path / "index", path):
        _sync_directory(directory)
    os.rename(path / "format.new", path / "format")
    for directory in (path, path.parent):
        _sync_directory(directory)


def _lock_directory(path):
    """A descriptor that holds the directory for this process until it is closed."""
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise EngineStopped(
            f"{path} is in use by another process ({owner}); stop that one, or name another directory"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, b"%d\n" % os.getpid())
    return descriptor


cdef lmdb.Env *_open_environment(
    str path, size_t map_size_bytes, unsigned int flags, bint forgettable
) except NULL:
    """An environment, made if need be. LMDB does not sync the two pages that a file begins with, and refuses
    a file in which a power cut tore them; so they are synced here, and where the cut came before that and
    the environment is `forgettable`, the file, which holds nothing yet, is made again."""
    cdef lmdb.Env *env = NULL
    cdef bytes name = os.fsencode(path)
    cdef str file = f"{path}/data.mdb"
    cdef size_t size = _file_size(file)
    cdef int code = _make_environment(name, map_size_bytes, flags, &env)
    if code == lmdb.INVALID and forgettable and size <= 2 * _page_bytes:
        os.unlink(file)
        size = 0
        code = _make_environment(name, map_size_bytes, flags, &env)
    if code != 0:
        raise lmdb_error(code, f"opening {path}")
    if size == 0 and not flags & (lmdb.READ_ONLY | lmdb.NO_SYNC):
        try:
            _sync_file(file)
        except BaseException:
            lmdb.env_close(env)
            raise
    return env


cdef extern from "damaged_map.h" namespace "tracecode" nogil:
    cdef cppclass DamagedMap:
        @staticmethod
        bint install() noexcept
        @staticmethod
        void remember(const char *directory) noexcept
        @staticmethod
        void meet_assertion(const char *path) noexcept


def end_on_damaged_map():
    """From now on this process says which file it was, and ends with status 1, where LMDB cannot go on with
    a page that changed in its map; else it ends by a signal. For a process of its own, not for a library."""
    if not DamagedMap.install():
        raise OSError("no handler for SIGBUS and SIGSEGV can be set")


cdef void _meet_assertion(lmdb.Env *env, const char *message) noexcept nogil:
    cdef const char *path = NULL
    lmdb.env_get_path(env, &path)
    DamagedMap.meet_assertion(path)


cdef int _make_environment(bytes name, size_t map_size_bytes, unsigned int flags, lmdb.Env **made):
    """LMDB's return code; without an error `made` is open."""
    cdef lmdb.Env *env = NULL
    cdef int code = lmdb.env_create(&env)
    if code == 0:
        # Only a reader that finds no map size of its own in the file would keep LMDB's 1 MiB.
        code = lmdb.env_set_mapsize(env, map_size_bytes)
    if code == 0:
        code = lmdb.env_set_assert(env, _meet_assertion)
    if code == 0:
        code = lmdb.env_open(env, name, flags | lmdb.NO_TLS | lmdb.NO_READ_AHEAD, 0o600)
    if code != 0 and env != NULL:
        lmdb.env_close(env)
    elif code == 0:
        made[0] = env
    return code


cdef unsigned int _open_database(lmdb.Env *env, str path, unsigned int flags, bint read_only) except? 0:
    """The handle of an environment's one database, made if need be."""
    cdef lmdb.Txn *txn = NULL
    cdef unsigned int dbi = 0
    cdef int dead = 0
    cdef int code = lmdb.txn_begin(env, NULL, lmdb.READ_ONLY if read_only else 0, &txn)
    if code == lmdb.READERS_FULL and lmdb.reader_check(env, &dead) == 0 and dead > 0:
        code = lmdb.txn_begin(env, NULL, lmdb.READ_ONLY if read_only else 0, &txn)
    if code == 0:
        code = lmdb.dbi_open(txn, NULL, flags if read_only else flags | lmdb.CREATE, &dbi)
        if code == 0:
            code = lmdb.txn_commit(txn)
        else:
            lmdb.txn_abort(txn)
    if code != 0:
        raise lmdb_error(code, f"opening {path}")
    return dbi
