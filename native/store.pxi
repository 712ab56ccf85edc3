# The store: the journal, the index, and the overlay of index records that are not written back yet.
#
#   append, put, delete ─▶ pending entries ──commit──▶ journal/   (LMDB, integer keys; durable: the truth)
#                     └──▶ live overlay ──freeze──▶ frozen overlay ──flush──▶ index/   (LMDB; derived)
#
# A reader looks into the live overlay, then the frozen one, then the index. A flush writes a whole frozen
# overlay and the number of the entry it is complete up to ("applied_sequence") in one transaction, so
# that after a crash the entries behind that number, and no others, are applied again.
#
# Threads. One thread, the engine's, calls what writes. `get`, `scan`, `entry`, `entries`, `verify`,
# `memory` and `reader_check` may be called by any thread. A flush runs in a thread of its own, which also
# makes the next overlay ready. What is shared (the overlays, the pending entries, the index's read
# transaction) is guarded by `mutex`, under one rule: nobody waits for the mutex while holding the GIL, so a
# holder of the mutex may wait for the GIL. Commits and clearing run without the GIL; the journal is touched
# by commits and by read transactions of their own only, and needs no mutex.
#
# An allocation that fails in the C++ parts ends the process: what was answered is in the journal.

import errno
import os
import threading
import time
from pathlib import Path

from tracecode.errors import DataLoss, EngineStopped, Overloaded, StorageFull

from cython.operator cimport dereference as inner
from cython.operator cimport preincrement
from libcpp.map cimport map as ordered_map
from libcpp.mutex cimport mutex as Mutex
from libcpp.utility cimport pair

cdef enum:
    KEY_BYTES_MAX = 511           # LMDB's limit as every build of 0.9 has it
    ENTRY_BYTES_MAX = 64 << 20    # far above any document; a larger one is a mistake of the caller
    OVERLAY_BYTES_MIN = 4 << 20
    QUESTION_WITH_GIL_BYTES_MAX = 4096
    REPLAY_AT_ONCE = 8192
    FLUSH_NICENESS = 10           # of 19
    SPARE_RECORDS_MIN = 200_000   # smaller overlays are made when they are needed
    SHORT_WRITE_FREE_BYTES = 64 << 20    # with less room than this a write error is taken for a full disk

cdef enum:
    # What a look-up found; every other value is a return code of LMDB, which uses none of these.
    FOUND = -1
    MISSING = -2
    CORRUPT = -3
    UNSETTLED = -4                # changed by what is not committed yet, where only settled records count

cdef set _open_directories = set()    # real paths: one environment must never be opened twice in a process
cdef size_t _page_bytes = os.sysconf("SC_PAGE_SIZE")
cdef bytes _applied_sequence_key = b"mapplied_sequence"
cdef bytes _format_key = b"mformat"


cdef inline string_view unseal(string_view key, const lmdb.Val *stored, int *found) noexcept nogil:
    """A value of the index without its checksum; `found` becomes FOUND or CORRUPT."""
    cdef const char *data = <const char *> stored.data
    cdef uint32_t crc
    found[0] = CORRUPT
    if stored.size < 4:
        return string_view()
    memcpy(&crc, data, 4)
    if crc32c_extend(crc32c_extend(0, key.data(), key.size()), data + 4, stored.size - 4) != crc:
        return string_view()
    found[0] = FOUND
    return string_view(data + 4, stored.size - 4)


cdef int prepare(
    list documents, list request_ids, list receive_times_ns, vector[Candidate] *candidates
) except -1:
    """What clearing needs of Python's objects, which the lists keep alive."""
    cdef Candidate candidate
    cdef bytes document
    cdef str request_id
    cdef const char *at
    cdef Py_ssize_t size = 0
    for document, request_id, receive_time_ns in zip(documents, request_ids, receive_times_ns, strict=True):
        candidate.document = view_of(document)
        candidate.receive_time_ns = receive_time_ns
        try:
            at = scan_utf8(request_id, &size)
            candidate.request_id = string_view(at, <size_t> size)
        except UnicodeEncodeError:
            # Half a surrogate pair is no text. The full path says so; time 0 is never plain.
            candidate.receive_time_ns = 0
        candidates.push_back(candidate)
    return 0


cdef class Store:
    """A directory with a journal and an index, and the records not written back yet; see store.pxi.

    `overlay_bytes_max` bounds the records held in memory: from half of it they are written back, at the
    bound `append` and `clear` raise Overloaded. `sync=False` gives up durability, for measurements only.
    A writer checks the pages of both files before it uses them, with `full_check=False` not their leaves.
    Raises EngineStopped if the directory cannot be used, DataLoss if it is damaged.
    """

    cdef readonly str directory
    cdef object path
    cdef bint read_only, closed, writing
    cdef int reading                    # calls that walk a snapshot of their own; closing waits for them
    cdef str stopped                    # why it takes no more writes; None while it does
    cdef int lock_descriptor
    cdef size_t overlay_bytes_max
    cdef object flush_thread
    cdef double flush_again_seconds     # after a flush found no room: not before this time
    cdef str flush_failure              # and what it said

    cdef lmdb.Env *journal_env
    cdef lmdb.Env *index_env
    cdef unsigned int journal_dbi, index_dbi

    # Guarded by the mutex from here on.
    cdef Mutex mutex
    cdef Overlay *live
    cdef Overlay *frozen                # being written back; not changed any more
    cdef Overlay *spare                 # made ready to be the next live one; the flush thread's while it runs
    cdef vector[string] pending         # the entries after durable
    cdef uint64_t durable               # the last entry of the journal
    cdef uint64_t complete              # overlay and index hold what follows from the entries to here
    cdef uint64_t frozen_complete
    cdef uint64_t applied               # the same for the index alone
    cdef lmdb.Txn *index_txn            # the read transaction of look-ups, renewed for each call
    cdef bint index_txn_active, index_txn_kept
    cdef bint replaying                 # what was cleared is applied again: some answers are known
    cdef bint settled_only              # whoever looks must not see what is not committed yet
    cdef bint index_txn_stale           # a flush ended since it was renewed
    cdef bint index_tables_known
    cdef bint index_tables[256]         # whether the index on disk has records of a table, of those asked for
    cdef PageWalk walk                  # over the snapshot of index_txn
    cdef bint walk_ready, walk_fits     # it knows pages of the system's size only
    cdef LivePages pages                # of the index, for look-ups
    cdef int pages_code                 # what `know_pages` said of the snapshot of index_txn
    cdef LivePages flush_pages          # the same for whoever writes the index; outside of the mutex
    cdef uint64_t index_free            # what the index's lists of free pages were after the last commit
    cdef uint64_t journal_free          # what the journal's lists of free pages were after the last commit
    cdef LivePages journal_pages        # of the journal, for whoever writes it; outside of the mutex
    cdef vector[Wanted] wanted
    cdef vector[Plain] plains           # the documents that are being cleared
    cdef string verdicts                # of those that were, one behind the other
    cdef vector[size_t] verdict_ends
    cdef Plain question                 # the sale that is asked about
    cdef vector[PlainReading] readings
    cdef vector[string_view] service_periods    # read past
    cdef string answer, part, text      # being built

    cdef Guards guards                  # what clearing needs of the rule base in force
    cdef ScopedGuards scoped_guards     # and of its rows for some institutions and days
    cdef string rule_base_version
    cdef string pass_finding            # serialized, as answered of a document in which nothing was found
    cdef string notice_head             # STOCK_NEVER_RECEIVED at INFO up to its line; empty: not cleared
    cdef string notice_tail, notice_tail_answered   # and behind its evidence, as stored and as answered
    cdef bint configured

    def __cinit__(self):
        self.lock_descriptor = -1
        self.live = new Overlay(0)
        self.plains.resize(DOCUMENTS_AT_ONCE)

    def __init__(
        self,
        str directory not None,
        *,
        size_t map_size_bytes,
        size_t overlay_bytes_max,
        bint read_only=False,
        bint sync=True,
        bint full_check=True,
    ):
        if self.directory is not None:
            raise ValueError("a Store is opened once; make a new one")
        if overlay_bytes_max < OVERLAY_BYTES_MIN and not read_only:
            raise ValueError(f"overlay_bytes_max must be at least {OVERLAY_BYTES_MIN}")
        if not read_only:
            os.makedirs(directory, mode=0o700, exist_ok=True)
        path = Path(os.path.realpath(directory))
        if str(path) in _open_directories:
            raise EngineStopped(f"{path} is open in this process already; close that store first")
        self.directory = str(path)
        DamagedMap.remember(os.fsencode(self.directory))
        self.path = path
        self.read_only = read_only
        self.overlay_bytes_max = overlay_bytes_max
        _open_directories.add(self.directory)
        try:
            self._open(map_size_bytes, sync, full_check)
        except BaseException:
            self._release()
            raise

    def _open(self, size_t map_size_bytes, bint sync, bint full_check):
        cdef unsigned int flags = lmdb.READ_ONLY if self.read_only else 0
        if not sync:
            flags |= lmdb.NO_SYNC
        if not self.read_only:
            self.lock_descriptor = _lock_directory(self.path)
        known = _check_format(self.path, self.read_only)
        if known and not self.read_only:
            _check_files(self.directory, full_check)
        journal, index = f"{self.directory}/journal", f"{self.directory}/index"
        if not self.read_only:
            os.makedirs(journal, mode=0o700, exist_ok=True)
            os.makedirs(index, mode=0o700, exist_ok=True)
        elif _file_size(f"{index}/data.mdb") == 0:
            # LMDB would begin it, and say of a file that it may not write "Bad file descriptor".
            raise DataLoss(f"{index} is gone, or was only begun; the next start rebuilds it from the journal")
        self.journal_env = _open_environment(journal, map_size_bytes, flags, not known)
        self.journal_dbi = _open_database(self.journal_env, journal, lmdb.INTEGER_KEY, self.read_only)
        self._open_index(index, map_size_bytes, flags)
        self.durable = self._read_durable()
        held = self._index_format()
        if 0 < held < INDEX_FORMAT:
            if self.read_only:
                raise EngineStopped(
                    f"{index} has layout {held} and this release reads layout {INDEX_FORMAT}; the next start"
                    " rebuilds it from the journal"
                )
            self._close_index()
            os.unlink(f"{index}/data.mdb")
            self._open_index(index, map_size_bytes, flags)
            held = 0
        if held == 0:
            # A new index, also one that was deleted to have it rebuilt.
            if not self.read_only:
                self.put(_format_key, INDEX_FORMAT.to_bytes(8, "little"))
                self.live.commit()
        elif held != INDEX_FORMAT:
            raise EngineStopped(
                f"{index} has layout {held} and this release reads layout {INDEX_FORMAT}; delete {index}, it"
                " is rebuilt from the journal"
            )
        if not self.read_only and self.pages.is_known():
            self.flush_pages = self.pages
            self.index_free = self.flush_pages.hash_free_lists()
        number = self.get(_applied_sequence_key)
        self.applied = 0 if number is None else int.from_bytes(number, "little")
        self.complete = self.applied
        if self.applied > self.durable and not self.read_only:
            raise DataLoss(
                f"{index} is complete up to entry {self.applied}, but the journal ends with {self.durable}:"
                " the journal was replaced by an older one; delete the index, it is rebuilt from the journal"
            )
        if not known:
            if self.durable != 0:
                raise DataLoss(
                    f"{self.directory} has a journal but no file `format`; restore it from a backup"
                )
            _write_format(self.path)

    def _open_index(self, str index, size_t map_size_bytes, unsigned int flags):
        cdef lmdb.Stat stat
        self.index_env = _open_environment(index, map_size_bytes, flags, not self.read_only)
        self.index_dbi = _open_database(self.index_env, index, 0, self.read_only)
        self.reader_check()
        self.walk_fits = lmdb.env_stat(self.index_env, &stat) == 0 and stat.page_bytes == _page_bytes
        cdef int code = lmdb.txn_begin(self.index_env, NULL, lmdb.READ_ONLY, &self.index_txn)
        if code != 0:
            raise lmdb_error(code, f"opening {index}")
        lmdb.txn_reset(self.index_txn)

    def _close_index(self):
        if self.index_txn != NULL:
            lmdb.txn_abort(self.index_txn)
            self.index_txn = NULL
        if self.index_env != NULL:
            lmdb.env_close(self.index_env)
            self.index_env = NULL
        self.index_txn_active = self.index_tables_known = False

    def _index_format(self):
        """The layout of the index, 0 of one that holds nothing yet."""
        number = self.get(_format_key)
        return 0 if number is None else int.from_bytes(number, "little")

    # --- Where it stands ------------------------------------------------------------------------

    @property
    def sequence(self):
        """The last entry, pending ones included; 0 = none."""
        cdef uint64_t sequence
        if self.read_only:
            return self.durable_sequence
        self._lock()
        sequence = self.durable + self.pending.size()
        self.mutex.unlock()
        return sequence

    @property
    def durable_sequence(self):
        """The last entry in the journal; 0 = none."""
        if self.read_only and not self.closed:
            self.durable = self._read_durable()
        return self.durable

    @property
    def applied_sequence(self):
        """The entry up to which the index on disk is complete. After opening, the entries behind it are to
        be applied again, each followed by `replayed`."""
        cdef uint64_t applied
        if self.read_only and not self.closed:
            number = self.get(_applied_sequence_key)
            return 0 if number is None else int.from_bytes(number, "little")
        self._lock()
        applied = self.applied
        self.mutex.unlock()
        return applied

    def memory(self):
        """What it occupies, in bytes and records: the overlays, and how much of each map is used."""
        cdef lmdb.EnvInfo journal, index
        self._lock_open()
        result = {
            "overlay_bytes": self.live.bytes(),
            "overlay_records": self.live.records(),
            "frozen_bytes": self.frozen.bytes() if self.frozen != NULL else 0,
            "frozen_records": self.frozen.records() if self.frozen != NULL else 0,
            "overlay_bytes_max": self.overlay_bytes_max,
        }
        lmdb.env_info(self.journal_env, &journal)
        lmdb.env_info(self.index_env, &index)
        self.mutex.unlock()
        result["journal_bytes"] = (journal.last_page + 1) * _page_bytes
        result["journal_map_bytes"] = journal.map_size
        result["index_bytes"] = (index.last_page + 1) * _page_bytes
        result["index_map_bytes"] = index.map_size
        return result

    def reader_check(self):
        """Free the places of readers that died without leaving; returns how many there were. Their old
        snapshots would keep freed pages from being used again."""
        cdef int journal = 0, index = 0
        self._check_open()
        lmdb.reader_check(self.journal_env, &journal)
        lmdb.reader_check(self.index_env, &index)
        return journal + index

    # --- Reading --------------------------------------------------------------------------------

    def get(self, bytes key not None):
        """The record of a key, or None. Raises DataLoss if its checksum does not match."""
        cdef string_view view = view_of(key), value
        cdef uint64_t hash = hash_key(view)
        cdef object result = None
        if not 0 < view.size() <= KEY_BYTES_MAX:
            return None
        self._lock_open()
        cdef int found = self.find(view, hash, &value)
        if found == FOUND:
            result = bytes_of(value)
        self.end_find()
        self.mutex.unlock()
        if found != FOUND and found != MISSING:
            raise self._read_error(found, key)
        return result

    def verify(self, bytes request not None, int64_t now_ns):
        """The serialized VerifyCodesResponse, as it is answered, to a serialized VerifyCodesRequest of which
        every code is plainly in order by what is committed, else None. Never waits for a commit."""
        cdef string_view asked = view_of(request)
        cdef bint plain
        if self.read_only or not self.configured or now_ns <= 0:
            return None
        self._lock_open()
        self.settled_only = self.index_txn_kept = True
        # Taking back the GIL can take milliseconds while another thread computes.
        if PyBytes_GET_SIZE(request) < QUESTION_WITH_GIL_BYTES_MAX:
            plain = answer_question(self, asked, now_ns)
        else:
            with nogil:
                plain = answer_question(self, asked, now_ns)
        self.settled_only = self.index_txn_kept = False
        self.end_find()
        try:
            return bytes_of(view_of_string(self.answer)) if plain else None
        finally:
            self.mutex.unlock()

    def _find_ahead(self, list keys not None):
        """What looking ahead for these records finds of each in the index on disk, or None; for tests."""
        cdef vector[Wanted] wanted
        cdef Wanted one
        cdef string_view value
        cdef bytes key
        cdef size_t i
        cdef int found
        result = []
        for key in keys:
            one.key = view_of(key)
            wanted.push_back(one)
        self._lock_open()
        self.index_txn_kept = True
        self.wanted = wanted
        self.walk_pages()
        for i in range(wanted.size()):
            if self.wanted[i].found.data() == NULL:
                result.append(None)
                continue
            found = self.find_walked(self.wanted[i].key, 0, self.wanted[i].found, &value)
            result.append(bytes_of(value) if found == FOUND else found)
        self.index_txn_kept = False
        self.end_find()
        self.mutex.unlock()
        return result

    def scan(self, bytes prefix not None, size_t limit=0):
        """The records whose keys begin with `prefix`, by key; at most `limit` of them if it is not 0."""
        cdef ordered_map[string, pair[bint, string]] changed
        cdef ordered_map[string, pair[bint, string]].iterator at
        cdef lmdb.Txn *txn = NULL
        cdef int code = 0
        cdef string_view view = view_of(prefix)
        self._lock_open()
        if self.frozen != NULL:
            self.collect(self.frozen, view, &changed)
        self.collect(self.live, view, &changed)
        # Begun under the mutex: no flush can end between what was collected and this snapshot.
        code = self.begin_read(self.index_env, &txn)
        cdef LivePages pages
        cdef int known = MISSING
        if code == 0:
            known = self.know_pages(&self.pages, txn, lmdb.txn_id(txn))
            pages = self.pages
        self.mutex.unlock()
        if code != 0:
            raise lmdb_error(code, f"reading {self.directory}/index")

        cdef lmdb.Cursor *cursor = NULL
        cdef lmdb.Val key, stored
        cdef string_view key_view, value
        cdef int found, order
        result = []
        key.size, key.data = view.size(), <void *> view.data()
        at = changed.begin()
        self.reading += 1
        try:
            code = lmdb.cursor_open(txn, self.index_dbi, &cursor)
            if code == 0:
                code = self.move_cursor(&pages, known, cursor, &key, &stored, True)
            while limit == 0 or <size_t> len(result) < limit:
                if code == 0 and (key.size < view.size() or memcmp(key.data, view.data(), view.size()) != 0):
                    code = lmdb.NOT_FOUND
                if code != 0 and code != lmdb.NOT_FOUND:
                    raise self._read_error(CORRUPT if code == lmdb.CORRUPTED else code, prefix)
                if at == changed.end():
                    if code != 0:
                        break
                    order = -1
                elif code != 0:
                    order = 1
                else:
                    key_view = string_view(<const char *> key.data, key.size)
                    order = compare(key_view, view_of_string(inner(at).first))
                if order >= 0:
                    if not inner(at).second.first:
                        result.append((
                            bytes_of(view_of_string(inner(at).first)),
                            bytes_of(view_of_string(inner(at).second.second)),
                        ))
                    preincrement(at)
                else:
                    key_view = string_view(<const char *> key.data, key.size)
                    value = unseal(key_view, &stored, &found)
                    if found != FOUND:
                        raise self._read_error(found, bytes_of(key_view))
                    result.append((bytes_of(key_view), bytes_of(value)))
                if order <= 0:
                    code = self.move_cursor(&pages, known, cursor, &key, &stored, False)
        finally:
            if cursor != NULL:
                lmdb.cursor_close(cursor)
            lmdb.txn_abort(txn)
            self.reading -= 1
        return result

    def entry(self, uint64_t sequence):
        """The bytes of an entry, pending ones included, or None."""
        cdef object result = None
        cdef bint known = False
        self._lock_open()
        if sequence > self.durable:
            known = True
            if sequence - self.durable <= self.pending.size():
                result = bytes_of(view_of_string(self.pending[sequence - self.durable - 1]))
        self.mutex.unlock()
        if known and not self.read_only:
            return result
        if sequence == 0:
            return None
        entries = self.entries(sequence - 1, 1)
        return entries[0] if entries else None

    def entries(self, uint64_t after, size_t limit):
        """The bytes of the durable entries after+1 .. after+limit, as far as they exist. Raises DataLoss if
        one of them is missing or does not match its checksum."""
        cdef lmdb.Txn *txn = NULL
        cdef lmdb.Cursor *cursor = NULL
        cdef lmdb.Val key, stored
        cdef uint64_t sequence = after + 1
        cdef uint32_t crc
        cdef const char *data
        # What a reader knows of another process's journal is a meta page, perhaps older than its snapshot.
        cdef uint64_t durable = self.durable
        result = []
        self._check_open()
        if limit == 0 or sequence == 0:
            return result
        cdef int code = self.begin_read(self.journal_env, &txn)
        if code != 0:
            raise lmdb_error(code, f"reading {self.directory}/journal")
        key.size, key.data = sizeof(sequence), &sequence
        self.reading += 1
        try:
            code = lmdb.cursor_open(txn, self.journal_dbi, &cursor)
            if code == 0:
                code = lmdb.cursor_get(cursor, &key, &stored, lmdb.SET_RANGE)
            while code == 0:
                data = <const char *> stored.data
                if key.size != sizeof(sequence) or memcmp(key.data, &sequence, sizeof(sequence)) != 0:
                    raise self._entry_lost(sequence, "is missing")
                if stored.size < 4:
                    raise self._entry_lost(sequence, "is cut short")
                memcpy(&crc, data, 4)
                if crc32c_extend(0, data + 4, stored.size - 4) != crc:
                    raise self._entry_lost(sequence, "does not match its checksum")
                result.append(PyBytes_FromStringAndSize(data + 4, <Py_ssize_t> stored.size - 4))
                if <size_t> len(result) == limit:
                    return result
                sequence += 1
                code = lmdb.cursor_get(cursor, &key, &stored, lmdb.NEXT)
            if code != lmdb.NOT_FOUND:
                raise lmdb_error(code, f"reading {self.directory}/journal")
            if sequence <= durable:
                raise self._entry_lost(sequence, "is missing")
        finally:
            if cursor != NULL:
                lmdb.cursor_close(cursor)
            lmdb.txn_abort(txn)
            self.reading -= 1
        return result

    def code_events(self, bytes key not None, list codes not None, list sequences not None):
        """What durable entries tell of a code, each as a serialized CodeEvent without texts and what only a
        fold knows; None of one that is not plain: read it. `codes`: serialized canonical texts under which
        findings about the box stand."""
        cdef lmdb.Txn *txn = NULL
        cdef vector[string_view] names
        cdef string event
        cdef bytes code
        cdef uint64_t sequence
        cdef int failed
        for code in codes:
            names.push_back(view_of(code))
        events = []
        self._check_open()
        self.reading += 1
        try:
            failed = self.begin_read(self.journal_env, &txn)
            if failed != 0:
                raise lmdb_error(failed, f"reading {self.directory}/journal")
            self._lock_open()
            try:
                for sequence in sequences:
                    if write_code_event(self, txn, sequence, view_of(key), names, &event):
                        events.append(bytes_of(view_of_string(event)))
                    else:
                        events.append(None)
            finally:
                self.end_find()
                self.mutex.unlock()
        finally:
            if txn != NULL:
                lmdb.txn_abort(txn)
            self.reading -= 1
        return events

    def leaf_hashes(self, uint64_t after, size_t limit):
        """The Merkle leaf hashes of the durable entries after+1 .. after+limit, as far as they exist, one
        behind the other. Raises DataLoss as `entries` does."""
        cdef lmdb.Txn *txn = NULL
        cdef string hashes
        cdef uint64_t sequence = after + 1
        cdef uint64_t durable = self.durable
        cdef const char *lost = NULL
        cdef int code
        self._check_open()
        if limit == 0 or sequence == 0:
            return b""
        self.reading += 1
        try:
            with nogil:
                code = self.begin_read(self.journal_env, &txn)
                if code == 0:
                    code = self.hash_entries(txn, &sequence, limit, &hashes, &lost)
                    lmdb.txn_abort(txn)
        finally:
            self.reading -= 1
        if lost != NULL:
            raise self._entry_lost(sequence, lost.decode())
        if code != 0 and code != lmdb.NOT_FOUND:
            raise lmdb_error(code, f"reading {self.directory}/journal")
        if code == lmdb.NOT_FOUND and sequence <= durable:
            raise self._entry_lost(sequence, "is missing")
        return bytes_of(view_of_string(hashes))

    cdef int hash_entries(
        self, lmdb.Txn *txn, uint64_t *sequence, size_t limit, string *hashes, const char **lost
    ) noexcept nogil:
        """Append the leaf hashes of entries from `sequence` on; `lost`: what is wrong with that one."""
        cdef lmdb.Cursor *cursor = NULL
        cdef lmdb.Val key, stored
        cdef uint8_t hash[32]
        cdef uint32_t crc
        cdef const char *data
        cdef uint64_t last = sequence[0] + limit
        cdef int code = lmdb.cursor_open(txn, self.journal_dbi, &cursor)
        if code != 0:
            return code
        key.size, key.data = sizeof(uint64_t), sequence
        code = lmdb.cursor_get(cursor, &key, &stored, lmdb.SET_RANGE)
        while code == 0 and sequence[0] != last:
            data = <const char *> stored.data
            if key.size != sizeof(uint64_t) or memcmp(key.data, sequence, sizeof(uint64_t)) != 0:
                lost[0] = b"is missing"
                break
            if stored.size < 4:
                lost[0] = b"is cut short"
                break
            memcpy(&crc, data, 4)
            if crc32c_extend(0, data + 4, stored.size - 4) != crc:
                lost[0] = b"does not match its checksum"
                break
            sha256_behind(0, data + 4, stored.size - 4, hash, False)
            hashes.append(<const char *> hash, 32)
            sequence[0] += 1
            code = lmdb.cursor_get(cursor, &key, &stored, lmdb.NEXT)
        lmdb.cursor_close(cursor)
        return code

    # --- Writing: one thread only ---------------------------------------------------------------

    def put(self, bytes key not None, bytes value not None):
        """Keep a record, replacing the one before. Never raises Overloaded: what belongs to one entry is
        kept whole, and `append` pushes back before it."""
        cdef string_view view = view_of(key)
        if not 0 < view.size() <= KEY_BYTES_MAX:
            raise ValueError(f"a key has 1 to {KEY_BYTES_MAX} bytes, not {view.size()}")
        self._check_writable()
        self._lock()
        self.live.put(view, hash_key(view), view_of(value))
        self.mutex.unlock()

    def delete(self, bytes key not None):
        """Forget a record; no error if there is none."""
        cdef string_view view = view_of(key)
        if not 0 < view.size() <= KEY_BYTES_MAX:
            raise ValueError(f"a key has 1 to {KEY_BYTES_MAX} bytes, not {view.size()}")
        self._check_writable()
        self._lock()
        self.live.erase(view, hash_key(view))
        self.mutex.unlock()

    def append(self, bytes entry not None):
        """Add an entry, which waits for `commit`; returns its sequence. Raises Overloaded, and adds
        nothing, when the overlay has reached its bound."""
        cdef uint64_t sequence
        if not 0 < len(entry) <= ENTRY_BYTES_MAX:
            raise ValueError(f"an entry has 1 to {ENTRY_BYTES_MAX} bytes, not {len(entry)}")
        self._check_writable()
        self._check_replayed()
        self._check_load()
        self._lock()
        self.pending.push_back(entry)
        sequence = self.durable + self.pending.size()
        self.mutex.unlock()
        return sequence

    def commit(self):
        """Make the pending entries durable, in one transaction of the journal, and keep the records put
        since the last commit. Raises StorageFull, and keeps nothing, where there is no room for them. Any
        other error stops the store: then only reopening tells what was written."""
        self._check_writable()
        self._check_replayed()
        if self.pending.size() > 0:
            self._write_pending()
        self._lock()
        self.durable += self.pending.size()
        self.pending.clear()
        self.complete = self.durable
        self.live.commit()
        self.mutex.unlock()
        if self.live.strained() and self.spare == NULL:
            # The first large one. The next is made ready before this one makes way for it.
            if not self._flushing():
                self._begin_in_thread(self._make_spare, self.capacity_like(self.live))
        elif self.live.strained() or self.live.bytes() > self.overlay_bytes_max // 2:
            self._start_flush()

    def extend_journal(self, list entries not None):
        """Add entries of another journal, durable on return. What follows from them is not known yet: they
        are replayed as after opening. Nothing of our own may be pending. Raises what `commit` does."""
        cdef bytes entry
        self._check_writable()
        if self.pending.size() != 0:
            raise ValueError("commit or roll back what is pending first")
        for entry in entries:
            if not 0 < len(entry) <= ENTRY_BYTES_MAX:
                raise ValueError(f"an entry has 1 to {ENTRY_BYTES_MAX} bytes, not {len(entry)}")
        self._lock()
        for entry in entries:
            self.pending.push_back(entry)
        self.mutex.unlock()
        self._write_pending()
        self._lock()
        self.durable += self.pending.size()
        self.pending.clear()
        self.mutex.unlock()

    cdef int _write_pending(self) except -1:
        """Make the pending entries durable, or drop them and say why; unless there was no room, nothing can
        be written any more."""
        cdef int code
        self.writing = True
        with nogil:
            code = self.write_journal()
        self.writing = False
        if code == 0:
            return 0
        # Whoever reads on reads what is known to be durable.
        self.rollback()
        error = lmdb_error(code, f"writing {self.directory}/journal")
        if self._is_full(code) and not self._is_in_panic():
            # LMDB has dropped the transaction before it wrote the meta page: nothing of it counts.
            raise error if isinstance(error, StorageFull) else StorageFull(str(error))
        self.stopped = str(error)
        raise EngineStopped(self.stopped)

    def rollback(self):
        """Forget the pending entries and the records put or deleted since the last commit."""
        self._check_open()
        self._check_not_writing()
        self._lock()
        self.pending.clear()
        self.live.rollback()
        self.mutex.unlock()

    def replayed(self, uint64_t sequence):
        """After opening: the records that follow from entry `sequence` were put again. Entries are
        replayed one after another from applied_sequence + 1 to durable_sequence; `append` and `commit`
        wait for that. Writes the overlay back when it is half full."""
        self._check_writable()
        if sequence != self.complete + 1 or sequence > self.durable:
            raise ValueError(
                f"entry {sequence} is not the next to replay: {self.complete} of {self.durable} are done"
            )
        self._lock()
        self.complete = sequence
        self.live.commit()
        self.mutex.unlock()
        self._relieve()

    def replay_cleared(self, size_t limit):
        """After opening: apply again the next entries, as long as they are such as were cleared; how many, at
        most `limit`. The same as to apply each by the rules and to call `replayed`."""
        cdef size_t done = 0
        cdef size_t step = 1
        cdef int code = 0
        self._check_writable()
        # What the rule base demanded held at the time.
        self.guards.late_seconds = self.guards.future_skew_seconds = 1 << 40
        self.guards.legacy_stock_until_day = NO_DAY
        self.notice_head = b"any"
        while step != 0 and done < limit:
            with nogil:
                step = self.replay_step(min(limit - done, <size_t> REPLAY_AT_ONCE), &code)
            if code != 0:
                raise lmdb_error(code, f"reading {self.directory}/journal")
            done += step
            self._relieve()
        return done

    def _relieve(self):
        """While entries are replayed: write the overlay back when it is half full."""
        if self.live.bytes() > self.overlay_bytes_max // 2:
            if self.frozen != NULL and self.live.bytes() + self.frozen.bytes() > self.overlay_bytes_max:
                self._join_flush()
                self._check_flushed()
            self._start_flush()

    def configure(
        self,
        *,
        str rule_base_version not None,
        int64_t late_seconds,
        int64_t future_skew_seconds,
        int64_t provisional_seconds,
        bytes pass_finding not None,
        tuple never_received=None,
        int32_t legacy_stock_until_day=0,
        tuple scoped=(),
    ):
        """What clearing needs of the rule base in force: its version, which entries name, how late a document
        may be, and how far in the receiver's future its business time; and of answers: how long a verdict
        is provisional, and the serialized Finding that says that nothing was found. `never_received` are
        the serialized parts of the Finding for a code that nobody has seen where receipts carry no codes (up
        to its line; behind its evidence as stored; as answered), None where the rule base has its own
        mind about it; for sales from `legacy_stock_until_day` (since 1970) on. `scoped` are guards that hold
        besides for some: (beginning of institution codes, of division codes, first day, last day,
        late_seconds, future_skew_seconds, legacy_stock_until_day), of which the strictest counts."""
        cdef ScopedGuards scoped_guards
        cdef Guards guards
        cdef string institution, division
        cdef string version = rule_base_version.encode()
        cdef string passed = pass_finding
        cdef string head, tail, tail_answered
        self._check_writable()
        guards.provisional_seconds = provisional_seconds
        for row in scoped:
            institution, division = row[0].encode(), row[1].encode()
            guards.late_seconds = row[4]
            guards.future_skew_seconds = row[5]
            guards.legacy_stock_until_day = row[6]
            scoped_guards.add(view_of_string(institution), view_of_string(division), row[2], row[3], guards)
        if never_received is not None:
            head, tail, tail_answered = never_received
        self._lock()
        self.rule_base_version = version
        self.pass_finding = passed
        self.guards.late_seconds = late_seconds
        self.guards.future_skew_seconds = future_skew_seconds
        self.guards.provisional_seconds = provisional_seconds
        self.guards.legacy_stock_until_day = legacy_stock_until_day
        self.scoped_guards = scoped_guards
        self.notice_head = head
        self.notice_tail = tail
        self.notice_tail_answered = tail_answered
        self.configured = True
        self.mutex.unlock()

    def clear(
        self,
        list documents not None,
        list request_ids not None,
        list receive_times_ns not None,
        Py_ssize_t start=0,
    ):
        """Clear plain documents one after another from `start` on: append their entries and put their
        records. Stops at the first that is not plain, and returns the serialized verdicts, as they are
        answered, of those that were cleared; they wait for `commit`. Receive times never decrease. Raises
        Overloaded, and clears nothing, at the bound."""
        cdef Py_ssize_t count = len(documents)
        cdef Py_ssize_t begin = start
        cdef Py_ssize_t step = 8
        cdef size_t cleared = 0
        cdef size_t i, at
        cdef vector[Candidate] candidates
        cdef list verdicts = []
        if len(request_ids) != count or len(receive_times_ns) != count:
            raise ValueError("documents, request_ids and receive_times_ns must be equally long")
        if start < 0:
            raise ValueError("start counts from 0")
        self._check_writable()
        self._check_replayed()
        if not self.configured:
            raise ValueError("configure says by which rule base documents are cleared")
        self._check_load()
        self.writing = True
        try:
            while begin < count:
                # In steps: where little is plain, little is prepared in vain.
                held = documents[begin:begin + step], request_ids[begin:begin + step]
                candidates.clear()
                prepare(held[0], held[1], receive_times_ns[begin:begin + step], &candidates)
                with nogil:
                    cleared = self.clear_step(&candidates)
                begin += <Py_ssize_t> cleared
                at = 0
                for i in range(self.verdict_ends.size()):
                    verdicts.append(bytes_of(
                        string_view(self.verdicts.data() + at, self.verdict_ends[i] - at)
                    ))
                    at = self.verdict_ends[i]
                if cleared < candidates.size() or candidates.size() == 0:
                    break
                step = min(2 * step, 1024)
        finally:
            self.writing = False
        return verdicts

    def flush(self, bint wait=True):
        """Commit what is pending and write all records back to the index; with `wait` the index is
        complete up to durable_sequence on return, else a thread sees to it."""
        self._check_writable()
        if self.pending.size() > 0 or self.live.changed():
            self.commit()
        if not wait:
            self._start_flush()
            return
        self._join_flush()
        self._check_writable()
        if self.frozen != NULL:
            self._write_back()
            self._check_flushed()
        if self._freeze():
            self._write_back()
            self._check_flushed()

    def close(self):
        """Write back what was committed, forget what was not, and release the files. Safe to call twice.
        What could not be written back follows from the journal at the next opening."""
        if self.closed:
            return
        self._check_not_writing()
        self._join_flush()
        if not self.read_only and self.stopped is None:
            self.rollback()
            if self.frozen != NULL:
                self._write_back()
            if self.frozen == NULL and self._freeze():
                self._write_back()
        self._release()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- The parts of it that need no GIL; the caller holds the mutex where it says so -----------

    cdef int find(self, string_view key, uint64_t hash, string_view *value) noexcept nogil:
        """FOUND, MISSING, CORRUPT or LMDB's error. Under the mutex; `value` is good until `end_find`."""
        return self.find_walked(key, hash, string_view(), value)

    cdef int find_walked(
        self, string_view key, uint64_t hash, string_view found, string_view *value
    ) noexcept nogil:
        """The same where `walk_pages` has looked before in this snapshot; `found` is what it found."""
        cdef const Record *record = self.live.find(key, hash)
        if record == NULL and self.frozen != NULL:
            record = self.frozen.find(key, hash)
        elif record != NULL and self.settled_only and self.live.pending(record):
            return UNSETTLED
        if record != NULL:
            if record.state == ERASED:
                return MISSING
            value[0] = (<Record *> record).value()
            return FOUND

        cdef lmdb.Val wanted, stored
        cdef int code
        if found.data() != NULL:
            stored.size, stored.data = found.size(), <void *> found.data()
            value[0] = unseal(key, &stored, &code)
            return code
        code = self.begin_find()
        if code != 0:
            return code
        if self.pages_code == 0:
            code = self.pages.look(key, &found)
            if code != 0:
                return MISSING if code == 1 else CORRUPT
            stored.size, stored.data = found.size(), <void *> found.data()
            value[0] = unseal(key, &stored, &code)
            return code
        if self.pages_code != MISSING:
            return self.pages_code
        wanted.size, wanted.data = key.size(), <void *> key.data()
        code = lmdb.get(self.index_txn, self.index_dbi, &wanted, &stored)
        if code == lmdb.NOT_FOUND:
            return MISSING
        if code != 0:
            return code
        value[0] = unseal(key, &stored, &code)
        return code

    cdef int move_cursor(
        self, LivePages *pages, int known, lmdb.Cursor *cursor, lmdb.Val *key, lmdb.Val *stored, bint begin
    ) noexcept nogil:
        """Go to the first record at or behind `key`, or to the one behind that: 0, NOT_FOUND or another code
        of LMDB. `known` is what `know_pages` said of the snapshot; where it told nothing LMDB is asked."""
        cdef string_view key_view, value
        cdef int looked
        if known == MISSING:
            if not begin:
                return lmdb.cursor_get(cursor, key, stored, lmdb.NEXT)
            return lmdb.cursor_get(cursor, key, stored, lmdb.SET_RANGE if key.size else lmdb.FIRST)
        if known != 0:
            return known
        key_view = string_view(<const char *> key.data, key.size)
        looked = pages.seek(&key_view, &value) if begin else pages.advance(&key_view, &value)
        key.size, key.data = key_view.size(), <void *> key_view.data()
        stored.size, stored.data = value.size(), <void *> value.data()
        return 0 if looked == 0 else lmdb.NOT_FOUND if looked == 1 else lmdb.CORRUPTED

    cdef int know_pages(self, LivePages *pages, lmdb.Txn *txn, uint64_t transaction) noexcept nogil:
        """0; MISSING where nothing can be told: the index on disk holds nothing, or has pages of another
        size, or its meta page was replaced; or CORRUPTED."""
        cdef lmdb.Val key, stored
        if not self.walk_fits:
            return MISSING
        stored.data = NULL
        if not pages.is_known():
            key.size, key.data = 7, <void *> <const char *> b"mformat"
            if lmdb.get(txn, self.index_dbi, &key, &stored) != 0:
                # Written with the first flush.
                return MISSING
        cdef int known = pages.begin(stored.data, _page_bytes, transaction, False)
        return 0 if known == 0 else lmdb.CORRUPTED if known == 1 else MISSING

    cdef void prefetch(self, uint64_t hash) noexcept nogil:
        """Send for where the overlays would have a record of this hash. Under the mutex."""
        self.live.prefetch(hash)
        if self.frozen != NULL:
            self.frozen.prefetch(hash)

    cdef void prefetch_records(self, uint64_t hash) noexcept nogil:
        """The same for the records, some time after `prefetch`. Under the mutex."""
        self.live.prefetch_record(hash)
        if self.frozen != NULL:
            self.frozen.prefetch_record(hash)

    cdef void walk_pages(self) noexcept nogil:
        """Look in the index for all that is `wanted`. What is found there holds until the snapshot is let go
        or renewed: index_txn_kept keeps it. Under the mutex."""
        cdef lmdb.Val key, stored
        cdef size_t i
        if self.begin_find() != 0:
            self.walk_ready = False
        elif self.pages_code != 0:
            self.walk_ready = False
        elif not self.walk_ready:
            key.size, key.data = 7, <void *> <const char *> b"mformat"
            if lmdb.get(self.index_txn, self.index_dbi, &key, &stored) == 0:
                self.walk_ready = self.walk.begin(stored.data, _page_bytes, lmdb.txn_id(self.index_txn))
        if self.walk_ready:
            self.walk.find(self.wanted.data(), self.wanted.size())

    cdef int begin_find(self) noexcept nogil:
        """Take a snapshot of the index, unless there is one that is not outdated. Under the mutex."""
        cdef int code
        if self.index_txn_active and self.index_txn_stale:
            lmdb.txn_reset(self.index_txn)
            self.index_txn_active = False
        if self.index_txn_active:
            return 0
        code = lmdb.txn_renew(self.index_txn)
        if code == lmdb.MAP_RESIZED:
            lmdb.env_set_mapsize(self.index_env, 0)
            self.pages = LivePages()
            code = lmdb.txn_renew(self.index_txn)
        if code == 0:
            self.index_txn_active = True
            self.index_txn_stale = False
            self.walk_ready = False
            self.pages_code = self.know_pages(&self.pages, self.index_txn, lmdb.txn_id(self.index_txn))
        return code

    cdef void end_find(self) noexcept nogil:
        """Let the snapshot go, so that its pages can be used again. Under the mutex."""
        if self.index_txn_active and not self.index_txn_kept:
            lmdb.txn_reset(self.index_txn)
            self.index_txn_active = False

    cdef void collect(
        self, Overlay *overlay, string_view prefix, ordered_map[string, pair[bint, string]] *changed
    ) noexcept nogil:
        """Copy what an overlay knows under a prefix over what is known below it. Under the mutex."""
        cdef vector[const Record *] records = overlay.matching(prefix)
        cdef Record *record
        cdef pair[bint, string] known
        cdef size_t i
        for i in range(records.size()):
            record = <Record *> records[i]
            known.first = record.state == ERASED
            known.second = string(record.value().data(), record.value().size())
            changed[0][string(record.key().data(), record.key().size())] = known

    cdef int names(self, string_view prefix, vector[string] *found) noexcept nogil:
        """Add the keys that begin with `prefix` to `found`, in no order; 0 or LMDB's error. Costs little
        where a table has no records at all: only `x`, `k` and `q` may be asked for. Under the mutex."""
        cdef ordered_map[string, pair[bint, string]] changed
        cdef ordered_map[string, pair[bint, string]].iterator at
        cdef lmdb.Cursor *cursor = NULL
        cdef lmdb.Val key, stored
        cdef string name
        cdef char table = prefix.data()[0]
        cdef int sealed = FOUND
        cdef int code = self.begin_find()
        if code == 0:
            code = self.know_tables()
        if code != 0:
            return code
        if self.frozen != NULL and self.frozen.records_of(table):
            self.collect(self.frozen, prefix, &changed)
        if self.live.records_of(table):
            self.collect(self.live, prefix, &changed)
        if self.index_tables[<uint8_t> table]:
            key.size, key.data = prefix.size(), <void *> prefix.data()
            code = lmdb.cursor_open(self.index_txn, self.index_dbi, &cursor)
            if code == 0:
                code = self.move_cursor(&self.pages, self.pages_code, cursor, &key, &stored, True)
            while code == 0:
                unseal(string_view(<const char *> key.data, key.size), &stored, &sealed)
                if sealed != FOUND:
                    code = lmdb.CORRUPTED
                    break
                if key.size < prefix.size() or memcmp(key.data, prefix.data(), prefix.size()) != 0:
                    break
                name = string(<const char *> key.data, key.size)
                if changed.find(name) == changed.end():
                    found.push_back(name)
                code = self.move_cursor(&self.pages, self.pages_code, cursor, &key, &stored, False)
            if cursor != NULL:
                lmdb.cursor_close(cursor)
            if code != 0 and code != lmdb.NOT_FOUND:
                return code
        at = changed.begin()
        while at != changed.end():
            if not inner(at).second.first:
                found.push_back(inner(at).first)
            preincrement(at)
        return 0

    cdef int know_tables(self) noexcept nogil:
        """Find out which of the tables that are rarely filled have records in the snapshot."""
        cdef lmdb.Cursor *cursor = NULL
        cdef lmdb.Val key, stored
        cdef char table
        if self.index_tables_known:
            return 0
        cdef int code = lmdb.cursor_open(self.index_txn, self.index_dbi, &cursor)
        if code != 0:
            return code
        for table in b"xkq":
            key.size, key.data = 1, &table
            code = self.move_cursor(&self.pages, self.pages_code, cursor, &key, &stored, True)
            if code != 0 and code != lmdb.NOT_FOUND:
                break
            self.index_tables[<uint8_t> table] = code == 0 and (<char *> key.data)[0] == table
        lmdb.cursor_close(cursor)
        if code != 0 and code != lmdb.NOT_FOUND:
            return code
        self.index_tables_known = True
        return 0

    cdef int begin_read(self, lmdb.Env *env, lmdb.Txn **txn) noexcept nogil:
        """A read transaction. Another process may have grown the map meanwhile: then ours grows too. Where
        no place is left for a reader, those that died give theirs."""
        cdef int dead = 0
        cdef int code = lmdb.txn_begin(env, NULL, lmdb.READ_ONLY, txn)
        if code == lmdb.READERS_FULL and lmdb.reader_check(env, &dead) == 0 and dead > 0:
            code = lmdb.txn_begin(env, NULL, lmdb.READ_ONLY, txn)
        if code == lmdb.MAP_RESIZED:
            lmdb.env_set_mapsize(env, 0)
            if env == self.index_env:
                # Under the mutex, as all that reads the index. The map may lie elsewhere now.
                self.pages = LivePages()
            code = lmdb.txn_begin(env, NULL, lmdb.READ_ONLY, txn)
        return code

    cdef size_t clear_step(self, vector[Candidate] *candidates) noexcept nogil:
        """Clear candidates in order; how many were plain. Other threads may read now and then."""
        cdef size_t i = 0
        cdef size_t held, some, cleared
        cdef bint plain = True
        self.verdicts.clear()
        self.verdict_ends.clear()
        while plain and i < candidates.size():
            some = min(candidates.size() - i, <size_t> DOCUMENTS_AT_ONCE)
            self.mutex.lock()
            self.index_txn_kept = True
            held = self.live.bytes()
            if self.frozen != NULL:
                held += self.frozen.bytes()
            plain = held < self.overlay_bytes_max
            if plain:
                cleared = clear_documents(self, &candidates[0][i], some, &plain)
                i += cleared
            if not plain or i == candidates.size():
                self.index_txn_kept = False
                self.end_find()
            self.mutex.unlock()
        return i

    cdef size_t replay_step(self, size_t limit, int *code) noexcept nogil:
        """Apply again at most `limit` entries that were cleared; how many. What cannot be read is left to
        `entries`, which says what is wrong with it."""
        cdef lmdb.Txn *txn = NULL
        cdef lmdb.Cursor *cursor = NULL
        cdef lmdb.Val key, stored
        cdef vector[Candidate] candidates
        cdef vector[string_view] findings
        cdef Candidate candidate
        cdef uint64_t sequence = self.complete + 1
        cdef uint32_t crc
        cdef const char *data
        cdef size_t i, some, applied
        cdef size_t done = 0
        cdef bint plain = True
        code[0] = self.begin_read(self.journal_env, &txn)
        if code[0] != 0:
            return 0
        key.size, key.data = sizeof(sequence), &sequence
        code[0] = lmdb.cursor_open(txn, self.journal_dbi, &cursor)
        if code[0] == 0:
            code[0] = lmdb.cursor_get(cursor, &key, &stored, lmdb.SET_RANGE)
        while code[0] == 0 and candidates.size() < limit:
            data = <const char *> stored.data
            if key.size != sizeof(sequence) or memcmp(key.data, &sequence, sizeof(sequence)) != 0:
                break
            if stored.size < 4:
                break
            memcpy(&crc, data, 4)
            if crc32c_extend(0, data + 4, stored.size - 4) != crc:
                break
            findings.clear()
            if not read_cleared(string_view(data + 4, stored.size - 4), sequence, &candidate, &findings):
                break
            candidates.push_back(candidate)
            sequence += 1
            code[0] = lmdb.cursor_get(cursor, &key, &stored, lmdb.NEXT)
        if code[0] == lmdb.NOT_FOUND:
            code[0] = 0
        while plain and done < candidates.size():
            some = min(candidates.size() - done, <size_t> DOCUMENTS_AT_ONCE)
            self.mutex.lock()
            self.index_txn_kept = True
            applied = replay_documents(self, &candidates[done], some, self.complete + 1, &plain)
            self.complete += applied
            self.live.commit()
            self.index_txn_kept = False
            self.end_find()
            self.mutex.unlock()
            done += applied
        if cursor != NULL:
            lmdb.cursor_close(cursor)
        lmdb.txn_abort(txn)
        return done

    cdef int write_journal(self) noexcept nogil:
        """The pending entries in one durable transaction; once more, if the map was full and readers that
        died kept its pages."""
        cdef int dead = 0
        cdef int code = self.write_pending()
        if code == lmdb.MAP_FULL and lmdb.reader_check(self.journal_env, &dead) == 0 and dead > 0:
            code = self.write_pending()
        return code

    cdef int write_pending(self) noexcept nogil:
        """One try of `write_journal`. Only readers touch `pending` meanwhile."""
        cdef lmdb.Txn *txn = NULL
        cdef lmdb.Val key, stored
        cdef uint64_t sequence = self.durable
        cdef uint32_t crc
        cdef size_t i
        cdef int code = lmdb.txn_begin(self.journal_env, NULL, 0, &txn)
        if code != 0:
            return code
        cdef uint64_t transaction = lmdb.txn_id(txn)
        if self.durable != 0 and self.walk_fits and not self.end_is_whole(txn):
            lmdb.txn_abort(txn)
            return lmdb.CORRUPTED
        for i in range(self.pending.size()):
            sequence += 1
            key.size, key.data = sizeof(sequence), &sequence
            stored.size, stored.data = 4 + self.pending[i].size(), NULL
            code = lmdb.put(txn, self.journal_dbi, &key, &stored, lmdb.APPEND | lmdb.RESERVE)
            if code != 0:
                lmdb.txn_abort(txn)
                return code
            crc = crc32c_extend(0, self.pending[i].data(), self.pending[i].size())
            memcpy(stored.data, &crc, 4)
            memcpy(<char *> stored.data + 4, self.pending[i].data(), self.pending[i].size())
        code = lmdb.txn_commit(txn)
        if code == 0 and self.journal_pages.is_known() and self.journal_pages.begin(
            NULL, _page_bytes, transaction, True
        ) == 0:
            self.journal_free = self.journal_pages.hash_free_lists()
        return code

    cdef bint end_is_whole(self, lmdb.Txn *txn) noexcept nogil:
        """Whether the pages that a writer of the journal will put entries on, and lead there, are whole: else
        it could put what is acknowledged next where nobody finds it."""
        cdef lmdb.Cursor *cursor = NULL
        cdef lmdb.Val key, stored
        cdef void *inside = NULL
        if not self.journal_pages.is_known():
            if lmdb.cursor_open(txn, self.journal_dbi, &cursor) != 0:
                return False
            # A value may lie on pages of its own; a key does not.
            if lmdb.cursor_get(cursor, &key, &stored, lmdb.LAST) == 0:
                inside = key.data
            lmdb.cursor_close(cursor)
        if self.journal_pages.begin(inside, _page_bytes, lmdb.txn_id(txn) - 1, True) != 0:
            return False
        cdef uint64_t free_lists = self.journal_pages.hash_free_lists()
        # What a commit left in the lists is what the next one finds; before the first they were checked.
        return (
            free_lists != 0
            and self.journal_pages.next_meta_is_whole()
            and (self.journal_free == 0 or self.journal_free == free_lists)
            and self.journal_pages.end_is_whole(self.durable)
        )

    cdef int write_index(self) noexcept nogil:
        """The frozen overlay and the number of its last entry, in one transaction and in key order."""
        cdef lmdb.Txn *txn = NULL
        cdef vector[const Record *] records = self.frozen.sorted()
        cdef Record *record
        cdef string_view applied_key = string_view(<const char *> b"mapplied_sequence", 17)
        cdef size_t i
        cdef uint64_t transaction, free_lists
        cdef bint changed
        cdef int code = lmdb.txn_begin(self.index_env, NULL, 0, &txn)
        if code != 0:
            return code
        transaction = lmdb.txn_id(txn)
        code = self.know_pages(&self.flush_pages, txn, transaction - 1)
        if code == 0:
            free_lists = self.flush_pages.hash_free_lists()
            changed = self.index_free != 0 and free_lists != self.index_free
            if free_lists == 0 or changed or not self.flush_pages.next_meta_is_whole():
                code = lmdb.CORRUPTED
        if code != 0 and code != MISSING:
            lmdb.txn_abort(txn)
            return code
        for i in range(records.size()):
            record = <Record *> records[i]
            if record.state == ERASED:
                code = self.erase_index(txn, record.key())
            else:
                code = self.put_index(txn, record.key(), record.value())
            if code != 0:
                lmdb.txn_abort(txn)
                return code
        code = self.put_index(
            txn, applied_key, string_view(<const char *> &self.frozen_complete, sizeof(self.frozen_complete))
        )
        if code != 0:
            lmdb.txn_abort(txn)
            return code
        code = lmdb.txn_commit(txn)
        self.index_free = 0
        if code == 0 and self.flush_pages.is_known() and self.flush_pages.begin(
            NULL, _page_bytes, transaction, False
        ) == 0:
            self.index_free = self.flush_pages.hash_free_lists()
        return code

    cdef int put_index(self, lmdb.Txn *txn, string_view key, string_view value) noexcept nogil:
        cdef lmdb.Val wanted, stored
        cdef uint32_t crc
        wanted.size, wanted.data = key.size(), <void *> key.data()
        stored.size, stored.data = 4 + value.size(), NULL
        cdef int code = lmdb.put(txn, self.index_dbi, &wanted, &stored, lmdb.RESERVE)
        if code == 0:
            crc = crc32c_extend(0, key.data(), key.size())
            crc = crc32c_extend(crc, value.data(), value.size())
            memcpy(stored.data, &crc, 4)
            memcpy(<char *> stored.data + 4, value.data(), value.size())
        return code

    cdef int erase_index(self, lmdb.Txn *txn, string_view key) noexcept nogil:
        cdef lmdb.Val wanted
        wanted.size, wanted.data = key.size(), <void *> key.data()
        cdef int code = lmdb.delete(txn, self.index_dbi, &wanted, NULL)
        return 0 if code == lmdb.NOT_FOUND else code

    # --- The parts that hold the GIL ------------------------------------------------------------

    cdef int _lock(self) except -1:
        """Take the mutex; never wait for it with the GIL, which its holder may be waiting for."""
        if not self.mutex.try_lock():
            with nogil:
                self.mutex.lock()
        return 0

    cdef int _lock_open(self) except -1:
        """Take the mutex of a store that is open."""
        self._lock()
        if self.closed or self.index_env == NULL:
            self.mutex.unlock()
            raise EngineStopped(f"the store in {self.directory} is closed; open it again")
        return 0

    cdef int _check_open(self) except -1:
        if self.closed or self.index_env == NULL:
            raise EngineStopped(f"the store in {self.directory} is closed; open it again")
        return 0

    cdef int _check_not_writing(self) except -1:
        if self.writing:
            raise RuntimeError("a store is written by one thread: another one is in commit or clear")
        return 0

    cdef int _check_writable(self) except -1:
        self._check_open()
        if self.read_only:
            raise EngineStopped(f"the store in {self.directory} is open for reading only")
        if self.stopped is not None:
            raise EngineStopped(self.stopped)
        return self._check_not_writing()

    cdef int _check_replayed(self) except -1:
        if self.complete != self.durable:
            raise ValueError(f"entries are to be replayed first: {self.complete} of {self.durable} are done")
        return 0

    cdef int _check_load(self) except -1:
        """Raise Overloaded at the bound, and see to it that the load is being taken off."""
        cdef size_t held
        self._lock()
        held = self.live.bytes() + (self.frozen.bytes() if self.frozen != NULL else 0)
        self.mutex.unlock()
        if held < self.overlay_bytes_max:
            return 0
        if self.pending.size() == 0 and not self.live.changed():
            self._start_flush()
        raise Overloaded(
            f"{held} bytes of records wait to be written back, overlay_bytes_max is {self.overlay_bytes_max}"
        )

    def _read_durable(self):
        cdef lmdb.Txn *txn = NULL
        cdef lmdb.Cursor *cursor = NULL
        cdef lmdb.Val key, stored
        cdef uint64_t last = 0
        cdef int code = self.begin_read(self.journal_env, &txn)
        if code == 0:
            code = lmdb.cursor_open(txn, self.journal_dbi, &cursor)
            if code == 0:
                code = lmdb.cursor_get(cursor, &key, &stored, lmdb.LAST)
                if code == 0:
                    memcpy(&last, key.data, sizeof(last))
                    if not self.read_only and self.walk_fits and self.journal_pages.begin(
                        key.data, _page_bytes, lmdb.txn_id(txn), True
                    ) == 0:
                        self.journal_free = self.journal_pages.hash_free_lists()
                lmdb.cursor_close(cursor)
            lmdb.txn_abort(txn)
        if code != 0 and code != lmdb.NOT_FOUND:
            raise lmdb_error(code, f"reading {self.directory}/journal")
        return last

    def _read_error(self, int found, bytes key):
        """The exception for a look-up that failed."""
        if found != CORRUPT:
            return lmdb_error(found, f"reading record {key.hex()} of {self.directory}/index")
        return DataLoss(
            f"record {key.hex()} of {self.directory}/index, or a page that leads to it, is not what was"
            " written; stop the service and run `tracecode fsck --repair`: the index is rebuilt from the"
            " journal"
        )

    def _entry_lost(self, uint64_t sequence, str what):
        return DataLoss(
            f"entry {sequence} of {self.directory}/journal {what}; restore the journal from a replica or a"
            " backup"
        )

    cdef bint _freeze(self) except -1:
        """Make the live overlay the frozen one; False if the index is complete already."""
        if self.live.records() == 0 and self.applied == self.complete:
            return False
        cdef Overlay *fresh = self.spare
        if fresh == NULL:
            fresh = new Overlay(self.live.records())
        self._lock()
        self.spare = NULL
        self.frozen = self.live
        self.frozen_complete = self.complete
        self.live = fresh
        self.mutex.unlock()
        return True

    def _start_flush(self):
        """Write the live overlay back in a thread of its own, unless one is at work."""
        if self._flushing() or self.stopped is not None or time.monotonic() < self.flush_again_seconds:
            return
        if self.frozen != NULL or self._freeze():
            self._begin_in_thread(self._write_back)

    cdef bint _flushing(self) except -1:
        return self.flush_thread is not None and self.flush_thread.is_alive()

    def _begin_in_thread(self, work, *arguments):
        self.flush_thread = threading.Thread(target=work, args=arguments, name="tracecode-flush")
        self.flush_thread.start()

    def _make_spare(self, size_t capacity):
        with nogil:
            self.make_spare(capacity)

    cdef size_t capacity_like(self, Overlay *overlay) noexcept nogil:
        """How many records like those of an overlay half the bound has room for."""
        return overlay.records() * (self.overlay_bytes_max // 2) // overlay.bytes()

    cdef void make_spare(self, size_t capacity) noexcept nogil:
        cdef Overlay *fresh = new Overlay(capacity)
        fresh.touch()
        self.spare = fresh

    def _join_flush(self):
        if self.flush_thread is not None:
            self.flush_thread.join()
            self.flush_thread = None

    def _write_back(self):
        """Write the frozen overlay to the index and drop it. After an error it stays, for readers."""
        cdef int code
        cdef size_t capacity = 0
        cdef Overlay *written = NULL
        if threading.current_thread() is self.flush_thread:
            # Of this thread alone, on Linux: where cores are few, a till goes before the flush.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), FLUSH_NICENESS)
        with nogil:
            code = self.write_index()
            if code == 0:
                self.mutex.lock()
                written = self.frozen
                self.frozen = NULL
                self.applied = self.frozen_complete
                self.index_txn_stale = True
                self.index_tables_known = False
                self.mutex.unlock()
                if written.records() > SPARE_RECORDS_MIN:
                    capacity = self.capacity_like(written)
                del written
                if capacity != 0 and self.spare == NULL:
                    self.make_spare(capacity)
        if code != 0 and self._is_full(code):
            # The records stay where they are, and are written once there is room.
            self.flush_failure = str(lmdb_error(code, f"writing {self.directory}/index"))
            self.flush_again_seconds = time.monotonic() + 1.0
        elif code != 0:
            self.stopped = str(lmdb_error(code, f"writing {self.directory}/index"))

    cdef int _check_flushed(self) except -1:
        """Raise what kept the frozen overlay from being written back, if anything did."""
        self._check_writable()
        if self.frozen != NULL:
            raise StorageFull(self.flush_failure)
        return 0

    cdef bint _is_in_panic(self) except -1:
        """Whether LMDB could not write the journal's meta page: then it does not know what counts."""
        cdef lmdb.Txn *txn = NULL
        cdef int code = self.begin_read(self.journal_env, &txn)
        if code == 0:
            lmdb.txn_abort(txn)
        return code == lmdb.PANIC

    cdef bint _is_full(self, int code) except -1:
        """Whether a write failed for want of room. LMDB calls a write that was cut short an I/O error."""
        if code in (lmdb.MAP_FULL, errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        if code != errno.EIO:
            return False
        room = os.statvfs(self.directory)
        return room.f_bavail * room.f_frsize < SHORT_WRITE_FREE_BYTES

    def _release(self):
        """Close the files when nobody walks them any more."""
        self.closed = True
        while self.reading:
            time.sleep(0.001)
        self._lock()
        self._close_index()
        if self.journal_env != NULL:
            lmdb.env_close(self.journal_env)
            self.journal_env = NULL
        self.mutex.unlock()
        if self.lock_descriptor >= 0:
            os.close(self.lock_descriptor)
            self.lock_descriptor = -1
        if self.directory is not None:
            _open_directories.discard(self.directory)

    def __dealloc__(self):
        # Not closed: what was committed is in the journal and is applied again at the next opening.
        if self.index_txn != NULL:
            lmdb.txn_abort(self.index_txn)
        if self.index_env != NULL:
            lmdb.env_close(self.index_env)
        if self.journal_env != NULL:
            lmdb.env_close(self.journal_env)
        if self.lock_descriptor >= 0:
            os.close(self.lock_descriptor)
        if not self.closed and self.directory is not None:
            _open_directories.discard(self.directory)
        del self.live
        del self.frozen
        del self.spare
