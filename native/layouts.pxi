# The C++ parts as Cython sees them (crc32c.h, overlay.h, clearing.h), and views of bytes.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from libcpp.string cimport string
from libcpp.vector cimport vector


cdef extern from "crc32c.h" nogil:
    uint32_t crc32c_extend "tracecode::crc32c"(uint32_t seed, const void *data, size_t size) noexcept
    uint32_t crc32c_by_table "tracecode::crc32c_by_table"(
        uint32_t seed, const void *data, size_t size
    ) noexcept

cdef extern from "<string_view>" namespace "std" nogil:
    cdef cppclass string_view:
        string_view() noexcept
        string_view(const char *data, size_t size) noexcept
        const char *data() noexcept
        size_t size() noexcept

cdef extern from "overlay.h" namespace "tracecode" nogil:
    uint64_t hash_key(string_view key) noexcept
    cdef cppclass Record "tracecode::Overlay::Record":
        uint8_t state
        string_view key() noexcept
        string_view value() noexcept
    cdef cppclass Overlay:
        Overlay(size_t capacity) noexcept
        const Record *find(string_view key, uint64_t hash) noexcept
        void prefetch(uint64_t hash) noexcept
        void prefetch_record(uint64_t hash) noexcept
        bint pending(const Record *record) noexcept
        void put(string_view key, uint64_t hash, string_view value) noexcept
        void erase(string_view key, uint64_t hash) noexcept
        void commit() noexcept
        void rollback() noexcept
        bint changed() noexcept
        vector[const Record *] matching(string_view prefix) noexcept
        vector[const Record *] sorted() noexcept
        bint strained() noexcept
        void touch() noexcept
        size_t records() noexcept
        size_t records_of(char table) noexcept
        size_t bytes() noexcept
    cdef uint8_t ERASED "tracecode::Overlay::ERASED"

cdef extern from "page_walk.h" namespace "tracecode" nogil:
    cdef cppclass PageWalk:
        PageWalk() noexcept
        bint begin(const void *inside, size_t page_bytes, uint64_t transaction) noexcept
        void find(Wanted *wanted, size_t count) noexcept
    cdef cppclass Wanted "tracecode::PageWalk::Wanted":
        Wanted() noexcept
        string_view key
        string_view found

cdef extern from "live_pages.h" namespace "tracecode" nogil:
    cdef cppclass LivePages:
        LivePages() noexcept
        int begin(const void *inside, size_t page_bytes, uint64_t transaction, bint journal) noexcept
        bint is_known() noexcept
        int look(string_view key, string_view *stored) noexcept
        bint next_meta_is_whole() noexcept
        uint64_t hash_free_lists() noexcept
        bint end_is_whole(uint64_t last_sequence) noexcept
        int seek(string_view *key, string_view *stored) noexcept
        int advance(string_view *key, string_view *stored) noexcept

cdef extern from "clearing.h" namespace "tracecode" nogil:
    ctypedef struct CodeRecord:
        uint8_t state
        uint8_t flags
        uint16_t event_count
        uint32_t institution
        uint32_t units_left
        uint16_t active_sales
        uint16_t return_cycles
        uint64_t head
        uint32_t last_time
        uint32_t lot_hash
        int32_t expiry_day
    ctypedef struct DocumentRecord:
        uint64_t sequence
        uint64_t deleted_by
        uint64_t revision_sequence
        uint32_t revisions
        uint32_t flags
    ctypedef struct ProductHead:
        uint8_t package_level
        uint8_t flags
        uint16_t drug_code_count
    ctypedef struct InstitutionHead:
        uint32_t number
        uint8_t flags
        int32_t service_start_day
        int32_t service_end_day
    cdef cppclass Guards:
        Guards() noexcept
        int64_t late_seconds
        int64_t future_skew_seconds
        int64_t provisional_seconds
        int32_t legacy_stock_until_day
    cdef cppclass ScopedGuards:
        ScopedGuards() noexcept
        void clear() noexcept
        void add(
            string_view institution, string_view division, int32_t start_day, int32_t end_day,
            const Guards &guards
        ) except +
        bint silent(int64_t late_seconds, int64_t ahead_seconds, int32_t day) noexcept
        Guards at(Guards guards, string_view institution, string_view division, int32_t day) noexcept
    cdef cppclass Notice:
        Notice() noexcept
        uint32_t line_number
        string code
    cdef cppclass Candidate:
        string_view document
        string_view request_id
        int64_t receive_time_ns
    cdef cppclass PlainLine:
        string_view drug_code
        string_view lot
        int32_t expiry_day
        uint32_t number
    cdef cppclass PlainCode:
        size_t key_at
        size_t key_size
        uint64_t hash
        uint32_t lot_hash
        int32_t expiry_day
        uint32_t line_number
        uint64_t previous
        CodeRecord record
    cdef cppclass Plain:
        Plain() noexcept
        uint8_t kind
        uint8_t deleted_type
        uint32_t institution
        uint32_t line_number
        int64_t time
        int32_t day
        int32_t legacy_stock_until_day
        bint uploads_receipt_codes
        string institution_code
        string division_code
        vector[Notice] notices
        string document_key
        uint64_t document_hash
        vector[string_view] lines
        vector[string_view] scans
        vector[string_view] batch_serials
        vector[PlainCode] codes
        vector[uint64_t] hashes
        string_view document_found
        vector[Wanted] wanted
        string keys
        string product_identifier
        string_view product
        string key
        string entry
        string body
        void reset() noexcept


def crc32c(bytes data not None, uint32_t seed=0):
    """CRC-32C of `data`; `seed` is the CRC of what came before."""
    return crc32c_extend(seed, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


def _crc32c_by_table(bytes data not None, uint32_t seed=0):
    """The same without the processor's instruction."""
    return crc32c_by_table(seed, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef inline string_view view_of(bytes data) noexcept:
    return string_view(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef inline string_view view_of_string(const string &text) noexcept nogil:
    return string_view(text.data(), text.size())


cdef inline bytes bytes_of(string_view view):
    return PyBytes_FromStringAndSize(view.data(), <Py_ssize_t> view.size())


cdef inline int compare(string_view a, string_view b) noexcept nogil:
    """Less, equal or greater than 0, in the order of LMDB's keys."""
    cdef int order = memcmp(a.data(), b.data(), min(a.size(), b.size()))
    return order if order != 0 else (a.size() > b.size()) - (a.size() < b.size())
