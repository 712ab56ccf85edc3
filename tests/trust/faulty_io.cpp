// A disk that fails when it is told to: loaded before the C library, it counts the writes and syncs of files whose
// names contain a word, and lets the one of a given number fail, or that one and all behind it.
#include <dlfcn.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

enum Kind { WRITE = 0, SYNC = 1, SHORT_WRITE = 2 };

char word[64];
int armed_kind, armed_error, armed_always;
long armed_at;           // 0: never
long counts[2];

bool concerns(int file) {
    if (word[0] == 0)
        return false;
    char link[64], name[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, name, sizeof name - 1);
    if (size < 0)
        return false;
    name[size] = 0;
    return strstr(name, word) != nullptr;
}

// Whether this call is to fail.
bool fails(int file, Kind kind) {
    if (!concerns(file))
        return false;
    long number = ++counts[kind];
    Kind wanted = armed_kind == SHORT_WRITE ? WRITE : static_cast<Kind>(armed_kind);
    return armed_at != 0 && kind == wanted && (number == armed_at || (armed_always && number > armed_at));
}

template <typename Function>
Function next(const char *name) {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

ssize_t refuse() {
    errno = armed_error;
    return -1;
}

ssize_t write_at(int file, const void *data, size_t size, off_t offset, const char *name) {
    static auto real = next<ssize_t (*)(int, const void *, size_t, off_t)>("pwrite64");
    (void)name;
    if (!fails(file, WRITE))
        return real(file, data, size, offset);
    return armed_kind == SHORT_WRITE ? real(file, data, size / 2, offset) : refuse();
}

}  // namespace

extern "C" {

void faulty_io_arm(const char *part, int kind, long at, int error, int always) {
    counts[0] = counts[1] = 0;
    armed_kind = kind;
    armed_at = at;
    armed_error = error;
    armed_always = always;
    strncpy(word, part, sizeof word - 1);
}

long faulty_io_count(int kind) { return counts[kind == SYNC]; }

ssize_t pwrite(int file, const void *data, size_t size, off_t offset) {
    return write_at(file, data, size, offset, "pwrite");
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) {
    return write_at(file, data, size, offset, "pwrite64");
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    static auto real = next<ssize_t (*)(int, const struct iovec *, int)>("writev");
    if (!fails(file, WRITE))
        return real(file, parts, count);
    return armed_kind == SHORT_WRITE ? real(file, parts, (count + 1) / 2) : refuse();
}

ssize_t write(int file, const void *data, size_t size) {
    static auto real = next<ssize_t (*)(int, const void *, size_t)>("write");
    if (!fails(file, WRITE))
        return real(file, data, size);
    return armed_kind == SHORT_WRITE ? real(file, data, size / 2) : refuse();
}

int fdatasync(int file) {
    static auto real = next<int (*)(int)>("fdatasync");
    return fails(file, SYNC) ? static_cast<int>(refuse()) : real(file);
}

int fsync(int file) {
    static auto real = next<int (*)(int)>("fsync");
    return fails(file, SYNC) ? static_cast<int>(refuse()) : real(file);
}

// A process may be told by its environment: word kind at error always.
__attribute__((constructor)) static void read_environment() {
    const char *told = getenv("FAULTY_IO");
    char part[64];
    int kind, error, always;
    long at;
    if (told != nullptr && sscanf(told, "%63s %d %ld %d %d", part, &kind, &at, &error, &always) == 5)
        faulty_io_arm(part, kind, at, error, always);
}

}  // extern "C"
