"""LMDB as Cython sees it: the only file that names mdb_*.

There is no lmdb.h and nothing is linked. The py-lmdb wheel carries liblmdb 0.9 with the CVE fixes that
distributions lack, and its shared object exports every function as mdb09_*; a py-lmdb that was built
against a system library offers plain mdb_*. `resolve` fills one function pointer per symbol from
whichever of the two is there. The declarations follow lmdb.h of 0.9.36 (OpenLDAP Public License 2.8).
"""

cdef extern from * namespace "lmdb" nogil:
    """
    #include <dlfcn.h>
    #include <cstddef>
    #include <cstdio>

    namespace lmdb {

    struct MDB_env;
    struct MDB_txn;
    struct MDB_cursor;
    struct MDB_val { size_t mv_size; void *mv_data; };
    struct MDB_stat {
        unsigned int ms_psize, ms_depth;
        size_t ms_branch_pages, ms_leaf_pages, ms_overflow_pages, ms_entries;
    };
    struct MDB_envinfo {
        void *me_mapaddr;
        size_t me_mapsize, me_last_pgno, me_last_txnid;
        unsigned int me_maxreaders, me_numreaders;
    };

    typedef void (*AssertFunction)(MDB_env *env, const char *message);

    #define LMDB_FUNCTIONS(F) \\
        F(char *, version, (int *major, int *minor, int *patch)) \\
        F(char *, strerror, (int code)) \\
        F(int, env_create, (MDB_env **env)) \\
        F(int, env_open, (MDB_env *env, const char *path, unsigned int flags, unsigned int mode)) \\
        F(void, env_close, (MDB_env *env)) \\
        F(int, env_info, (MDB_env *env, MDB_envinfo *info)) \\
        F(int, env_stat, (MDB_env *env, MDB_stat *stat)) \\
        F(int, env_set_mapsize, (MDB_env *env, size_t size)) \\
        F(int, env_get_path, (MDB_env *env, const char **path)) \\
        F(int, env_set_assert, (MDB_env *env, AssertFunction function)) \\
        F(int, reader_check, (MDB_env *env, int *dead)) \\
        F(int, txn_begin, (MDB_env *env, MDB_txn *parent, unsigned int flags, MDB_txn **txn)) \\
        F(int, txn_commit, (MDB_txn *txn)) \\
        F(void, txn_abort, (MDB_txn *txn)) \\
        F(void, txn_reset, (MDB_txn *txn)) \\
        F(int, txn_renew, (MDB_txn *txn)) \\
        F(size_t, txn_id, (MDB_txn *txn)) \\
        F(int, dbi_open, (MDB_txn *txn, const char *name, unsigned int flags, unsigned int *dbi)) \\
        F(int, get, (MDB_txn *txn, unsigned int dbi, MDB_val *key, MDB_val *data)) \\
        F(int, put, (MDB_txn *txn, unsigned int dbi, MDB_val *key, MDB_val *data, unsigned int flags)) \\
        F(int, del, (MDB_txn *txn, unsigned int dbi, MDB_val *key, MDB_val *data)) \\
        F(int, cursor_open, (MDB_txn *txn, unsigned int dbi, MDB_cursor **cursor)) \\
        F(void, cursor_close, (MDB_cursor *cursor)) \\
        F(int, cursor_get, (MDB_cursor *cursor, MDB_val *key, MDB_val *data, int operation))

    #define LMDB_POINTER(type, name, arguments) static type (*name) arguments = nullptr;
    LMDB_FUNCTIONS(LMDB_POINTER)
    #undef LMDB_POINTER

    struct Symbol { const char *name; void **pointer; };
    #define LMDB_SYMBOL(type, name, arguments) {#name, reinterpret_cast<void **>(&name)},
    static const Symbol symbols[] = { LMDB_FUNCTIONS(LMDB_SYMBOL) {nullptr, nullptr} };
    #undef LMDB_SYMBOL

    // Fills the table from one library; the first name that no prefix finds, or nullptr if all are there.
    // The library stays loaded for good: the interpreter holds the same one as a module.
    static const char *resolve(const char *path, const char **prefix_found) noexcept {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr)
            return "dlopen";
        const char *missing = nullptr;
        for (const char *prefix : {"mdb09_", "mdb_"}) {
            missing = nullptr;
            for (const Symbol *symbol = symbols; symbol->name != nullptr && missing == nullptr; symbol++) {
                char name[64];
                snprintf(name, sizeof name, "%s%s", prefix, symbol->name);
                *symbol->pointer = dlsym(library, name);
                if (*symbol->pointer == nullptr)
                    missing = symbol->name;
            }
            *prefix_found = prefix;
            if (missing == nullptr)
                break;
        }
        return missing;
    }

    }  // namespace lmdb
    """

    ctypedef struct Env "lmdb::MDB_env":
        pass
    ctypedef struct Txn "lmdb::MDB_txn":
        pass
    ctypedef struct Cursor "lmdb::MDB_cursor":
        pass
    ctypedef struct Val "lmdb::MDB_val":
        size_t size "mv_size"
        void *data "mv_data"
    ctypedef struct EnvInfo "lmdb::MDB_envinfo":
        size_t map_size "me_mapsize"
        size_t last_page "me_last_pgno"
        unsigned int reader_count "me_numreaders"
    ctypedef struct Stat "lmdb::MDB_stat":
        unsigned int page_bytes "ms_psize"
    ctypedef struct Symbol:
        const char *name
        void **pointer

    ctypedef void (*AssertFunction "lmdb::AssertFunction")(Env *env, const char *message) noexcept nogil

    const Symbol *symbols
    const char *resolve(const char *path, const char **prefix_found) noexcept

    char *version(int *major, int *minor, int *patch) noexcept
    char *strerror(int code) noexcept
    int env_create(Env **env) noexcept
    int env_open(Env *env, const char *path, unsigned int flags, unsigned int mode) noexcept
    void env_close(Env *env) noexcept
    int env_info(Env *env, EnvInfo *info) noexcept
    int env_stat(Env *env, Stat *stat) noexcept
    int env_set_mapsize(Env *env, size_t size) noexcept
    int env_get_path(Env *env, const char **path) noexcept
    int env_set_assert(Env *env, AssertFunction function) noexcept
    int reader_check(Env *env, int *dead) noexcept
    int txn_begin(Env *env, Txn *parent, unsigned int flags, Txn **txn) noexcept
    int txn_commit(Txn *txn) noexcept
    void txn_abort(Txn *txn) noexcept
    void txn_reset(Txn *txn) noexcept
    int txn_renew(Txn *txn) noexcept
    size_t txn_id(Txn *txn) noexcept
    int dbi_open(Txn *txn, const char *name, unsigned int flags, unsigned int *dbi) noexcept
    int get(Txn *txn, unsigned int dbi, Val *key, Val *data) noexcept
    int put(Txn *txn, unsigned int dbi, Val *key, Val *data, unsigned int flags) noexcept
    int delete "lmdb::del"(Txn *txn, unsigned int dbi, Val *key, Val *data) noexcept
    int cursor_open(Txn *txn, unsigned int dbi, Cursor **cursor) noexcept
    void cursor_close(Cursor *cursor) noexcept
    int cursor_get(Cursor *cursor, Val *key, Val *data, int operation) noexcept


cdef enum:
    # Flags of env_open.
    NO_SYNC = 0x10000
    READ_ONLY = 0x20000
    NO_TLS = 0x200000
    NO_READ_AHEAD = 0x800000
    # Flags of dbi_open.
    INTEGER_KEY = 0x08
    CREATE = 0x40000
    # Flags of put.
    RESERVE = 0x10000
    APPEND = 0x20000
    # Operations of cursor_get.
    FIRST = 0
    LAST = 6
    NEXT = 8
    SET_RANGE = 17

cdef enum:
    # What the functions return besides 0 and errno; LMDB numbers its own from -30799 to -30780.
    KEY_EXISTS = -30799
    NOT_FOUND = -30798
    PAGE_NOT_FOUND = -30797
    CORRUPTED = -30796
    PANIC = -30795
    VERSION_MISMATCH = -30794
    INVALID = -30793
    MAP_FULL = -30792
    DBS_FULL = -30791
    READERS_FULL = -30790
    TLS_FULL = -30789
    TXN_FULL = -30788
    CURSOR_FULL = -30787
    PAGE_FULL = -30786
    MAP_RESIZED = -30785
    INCOMPATIBLE = -30784
    BAD_RSLOT = -30783
    BAD_TXN = -30782
    BAD_VALSIZE = -30781
    BAD_DBI = -30780
