# What libFuzzer calls: one function, which hands its bytes to the reader that was chosen. Included behind
# native/_native.pyx in a build of its own, so that all of it carries coverage counters and sanitizers.
#
# Every input is copied into memory of exactly its size. Python's bytes end in a zero that belongs to them, and
# would hide a read of one byte too many.

from libc.stdint cimport uint8_t
from libc.stdio cimport fprintf, fopen, fclose, FILE
from libc.stdlib cimport abort, atexit, free, malloc

import traceback as _traceback

cdef extern from *:
    """
    extern "C" int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*one)(const uint8_t *data, size_t size));
    """
    int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*one)(const uint8_t *, size_t) noexcept)

cdef enum:
    FUZZ_SCAN
    FUZZ_DOCUMENT
    FUZZ_QUESTION
    FUZZ_REQUESTS
    # A scan is read whole and cut off at up to so many places.
    FUZZ_CUTS = 7

cdef int fuzz_target = FUZZ_SCAN
cdef Store fuzz_store = None
cdef object fuzz_compare = None
cdef uint64_t fuzz_every = 1          # one read in so many is compared with the oracle
cdef int64_t fuzz_now_ns = 0
cdef uint64_t fuzz_reads = 0
cdef uint64_t fuzz_taken = 0          # by the reader, as plain
cdef uint64_t fuzz_compared = 0
cdef string fuzz_figures_path


cdef void fuzz_write_figures() noexcept nogil:
    cdef FILE *file = fopen(fuzz_figures_path.c_str(), b"w")
    if file != NULL:
        fprintf(file, b"{\"reads\": %llu, \"taken\": %llu, \"compared\": %llu}\n",
                <unsigned long long> fuzz_reads, <unsigned long long> fuzz_taken,
                <unsigned long long> fuzz_compared)
        fclose(file)


cdef void fuzz_ask(data, found) noexcept:
    """Let the oracle look at what was read; libFuzzer keeps the input of a process that aborts."""
    global fuzz_compared
    fuzz_compared += 1
    try:
        fuzz_compare(data, found)
    except BaseException:
        _traceback.print_exc()
        abort()


cdef void fuzz_scan(const uint8_t *at, size_t size) noexcept:
    """Both doors to the parser; what the first clears the second must read alike."""
    global fuzz_reads, fuzz_taken
    cdef PlainReading plain
    cdef vector[PlainReading] readings
    cdef ScanText text
    cdef bint cleared
    fuzz_reads += 1
    cleared = read_plain(at, <Py_ssize_t> size, &plain)
    fuzz_taken += cleared
    if size <= SCAN_BYTES_MAX // 4 and wire_is_text(string_view(<const char *> at, size), False):
        text = scan_strip(scan_text(at, <Py_ssize_t> size), False)
        scan_read_fields(text, &readings)
        if cleared and (
            readings.size() != 1
            or readings[0].code_class != plain.code_class
            or readings[0].hint != HINT_NONE
            or readings[0].key_length != plain.key_length
            or memcmp(readings[0].key, plain.key, <size_t> plain.key_length) != 0
        ):
            abort()
    elif cleared:
        abort()
    if fuzz_reads % fuzz_every == 0:
        fuzz_ask(at[:size], plain.key[:plain.key_length] if cleared else None)


cdef void fuzz_document(string_view document) noexcept:
    """Clear a document and forget it."""
    global fuzz_reads, fuzz_taken
    cdef vector[Candidate] candidates
    cdef Candidate candidate
    cdef bytes content
    candidate.document = document
    candidate.receive_time_ns = fuzz_now_ns
    candidates.push_back(candidate)
    fuzz_reads += 1
    if fuzz_store.clear_step(&candidates) == 1:
        fuzz_taken += 1
        if fuzz_taken % fuzz_every == 0:
            fuzz_ask(bytes_of(document), bytes_of(view_of_string(fuzz_store.verdicts)))
        fuzz_store.pending.clear()
        fuzz_store.live.rollback()


cdef void fuzz_question(string_view question) noexcept:
    """Answer a question as Store.verify does."""
    global fuzz_reads, fuzz_taken
    cdef bint plain
    fuzz_reads += 1
    fuzz_store.mutex.lock()
    fuzz_store.settled_only = fuzz_store.index_txn_kept = True
    plain = answer_question(fuzz_store, question, fuzz_now_ns)
    fuzz_store.settled_only = fuzz_store.index_txn_kept = False
    fuzz_store.end_find()
    fuzz_store.mutex.unlock()
    fuzz_taken += plain
    if plain and fuzz_taken % fuzz_every == 0:
        fuzz_ask(bytes_of(question), bytes_of(view_of_string(fuzz_store.answer)))


cdef void fuzz_requests(string_view message) noexcept:
    """Find the documents of a RecordDocumentsRequest, and read them as an entry of the journal, too."""
    global fuzz_reads, fuzz_taken
    cdef vector[string_view] requests, lines, scans, findings
    cdef WireMessage fields
    cdef Candidate candidate
    cdef string kept
    cdef size_t i
    cdef size_t place = 0
    cdef size_t line = 0
    fuzz_reads += 1
    read_cleared(message, 1, &candidate, &findings)
    if not wire_read(message, WIRE_REQUESTS, &fields, &requests):
        return
    documents = []
    try:
        for i in range(requests.size()):
            if not wire_read(requests[i], WIRE_REQUEST, &fields, NULL):
                return
            document = read_request(fields.texts[REQUEST_DOCUMENT], 0, _fuzz_hide, &lines, &scans)
            if document is None:
                return
            cut_document(&kept, view_of(document), view_of(_fuzz_key), &place, &line)
            documents.append(document)
    except BaseException:
        _traceback.print_exc()
        abort()
    fuzz_taken += 1
    if fuzz_taken % fuzz_every == 0:
        fuzz_ask(bytes_of(message), documents)


_fuzz_hide = None
_fuzz_key = b""


cdef int fuzz_exact(const uint8_t *data, size_t size) noexcept:
    cdef uint8_t *copy = <uint8_t *> malloc(size)
    if copy == NULL:
        return 0
    memcpy(copy, data, size)
    if fuzz_target == FUZZ_SCAN:
        fuzz_scan(copy, size)
    elif fuzz_target == FUZZ_DOCUMENT:
        fuzz_document(string_view(<const char *> copy, size))
    elif fuzz_target == FUZZ_QUESTION:
        fuzz_question(string_view(<const char *> copy, size))
    else:
        fuzz_requests(string_view(<const char *> copy, size))
    free(copy)
    return 0


cdef int fuzz_one(const uint8_t *data, size_t size) noexcept:
    cdef uint64_t place = 0xCBF29CE484222325
    cdef size_t i
    fuzz_exact(data, size)
    if fuzz_target == FUZZ_SCAN and size > 1:
        for i in range(size):
            place = (place ^ data[i]) * <uint64_t> 0x100000001B3
        for i in range(min(<size_t> FUZZ_CUTS, size - 1)):
            place = (place ^ (place >> 29)) * <uint64_t> 0xBF58476D1CE4E5B9
            fuzz_exact(data, 1 + <size_t> (place >> 11) % (size - 1))
    return 0


def run_fuzzer(
    list arguments, str target, Store store, compare, hide, *,
    uint64_t every, int64_t now_ns, bytes key, bytes figures_path, bint planted
):
    """Run libFuzzer; it ends the process. `compare(input, found)` raises where the reader was wrong."""
    global fuzz_target, fuzz_store, fuzz_compare, fuzz_every, fuzz_now_ns, fuzz_figures_path, _fuzz_hide
    global _fuzz_key, fuzz_planted
    fuzz_target = ["scan", "document", "question", "requests"].index(target)
    fuzz_store, fuzz_compare, fuzz_every, fuzz_now_ns = store, compare, every, now_ns
    fuzz_figures_path = figures_path
    _fuzz_hide, _fuzz_key = hide, key
    fuzz_planted = planted
    cdef vector[char *] pointers
    cdef list held = [text.encode() for text in ["fuzz", *arguments]]
    cdef bytes argument
    for argument in held:
        pointers.push_back(<char *> argument)
    cdef int count = <int> pointers.size()
    pointers.push_back(NULL)
    cdef char **first = pointers.data()
    atexit(fuzz_write_figures)
    return LLVMFuzzerRunDriver(&count, &first, fuzz_one)
