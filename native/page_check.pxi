# The pages of a ledger's files, looked at without LMDB: are they whole, and what is left of a journal if not.

cdef extern from "page_check.h" namespace "tracecode" nogil:
    cdef cppclass PageCheck:
        const char *fault
        string record
        uint64_t page, entries, transaction, pages_read, unaccounted
        bint free_known
        bint run(int file, bint journal, bint full) except +
    struct FoundEntry "tracecode::EntryHunt::Found":
        uint64_t offset
        uint32_t size
        bint doubtful
    cdef cppclass EntryHunt:
        vector[FoundEntry] found
        bint run(int file, const PageCheck &check) except +


def check_pages(str path not None, *, bint journal, bint full):
    """Check that the pages of an LMDB file are those that its last commit left; native/page_check.h says what
    is looked at. Returns the figures of the check. Raises DataLoss with the page and what is wrong with
    it."""
    cdef PageCheck check
    cdef int descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with nogil:
            check.run(descriptor, journal, full)
    finally:
        os.close(descriptor)
    if check.fault != NULL:
        record = f", {(<bytes> check.record).hex()}" if check.record.size() else ""
        raise DataLoss(f"{path}: page {check.page} {check.fault.decode()}{record}")
    return {
        "entries": check.entries,
        "transaction": check.transaction,
        "pages_read": check.pages_read,
        "unaccounted": check.unaccounted,
    }


cdef class JournalRemains:
    """What can be read of a journal whatever became of its pages. `entries_said` is how many its newest meta
    page counts, 0 if no meta page can be believed; `certain` is whether its lists of free pages can be: if
    not, an entry may be one of a commit that was never finished."""

    cdef readonly str path
    cdef readonly uint64_t entries_said
    cdef readonly bint certain
    cdef int descriptor
    cdef EntryHunt hunt

    def __cinit__(self):
        self.descriptor = -1

    def __init__(self, str path not None):
        cdef PageCheck check
        cdef int descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.path = path
        self.descriptor = descriptor
        with nogil:
            check.run(descriptor, True, True)
            self.hunt.run(descriptor, check)
        self.certain = check.free_known
        self.entries_said = check.entries

    @property
    def last(self):
        """The greatest number of an entry that can be read; 0 = none."""
        return self.hunt.found.size() - 1 if self.hunt.found.size() else 0

    def entry(self, uint64_t sequence):
        """The bytes of an entry, or None if they cannot be read or there are two that differ."""
        cdef FoundEntry found
        if sequence == 0 or sequence >= self.hunt.found.size():
            return None
        found = self.hunt.found[sequence]
        if found.size == 0 or found.doubtful:
            return None
        return os.pread(self.descriptor, found.size - 4, found.offset + 4)

    def missing(self, uint64_t last):
        """The ranges (first, last) of the entries 1 .. last that cannot be read."""
        cdef uint64_t sequence
        cdef uint64_t first = 0
        result = []
        for sequence in range(1, last + 1):
            if (
                sequence < self.hunt.found.size()
                and self.hunt.found[sequence].size != 0
                and not self.hunt.found[sequence].doubtful
            ):
                if first != 0:
                    result.append((first, sequence - 1))
                    first = 0
            elif first == 0:
                first = sequence
        if first != 0:
            result.append((first, last))
        return result

    def close(self):
        """Release the file. Safe to call twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __dealloc__(self):
        if self.descriptor >= 0:
            os.close(self.descriptor)


def _check_files(str directory, bint full):
    """Check both files of a ledger before LMDB opens them, or say what is to be done. An index that is gone,
    or was only begun, is left to be made again."""
    journal, index = f"{directory}/journal/data.mdb", f"{directory}/index/data.mdb"
    try:
        check_pages(journal, journal=True, full=full)
    except DataLoss as loss:
        raise DataLoss(
            f"{loss}; `tracecode fsck` says which entries can be read, `fsck --repair` mends what needs no"
            " backup"
        ) from None
    if not os.path.exists(index):
        return
    try:
        check_pages(index, journal=False, full=full)
    except DataLoss as loss:
        if _file_size(index) <= 2 * _page_bytes:
            # Its meta pages at most, which a power cut tore as it was made.
            os.unlink(index)
            return
        raise DataLoss(
            f"{loss}; run `tracecode fsck --repair`, which rebuilds the index from the journal"
        ) from None
