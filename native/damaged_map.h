// What becomes of a process that meets a damaged page in LMDB's memory map. A page that makes no sense can lead
// LMDB behind the end of a file (SIGBUS), out of its map (SIGSEGV) or into an assertion (SIGABRT), and so does a
// file that was cut short. None of that can be undone: LMDB may hold a lock. So the process says which file it
// was and ends with status 1, as after any other error that it cannot work on with; the next start looks at
// the files before LMDB does (page_check.h).
//
// Only functions that a signal handler may call are called here.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tracecode {

class DamagedMap {
public:
    // From now on; a second call changes nothing. False: the system does not let us.
    static bool install() noexcept {
        if (installed())
            return true;
        installed() = true;
        struct sigaction action;
        memset(&action, 0, sizeof action);
        action.sa_sigaction = meet;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigemptyset(&action.sa_mask);
        return sigaction(SIGBUS, &action, before(SIGBUS)) == 0 && sigaction(SIGSEGV, &action, before(SIGSEGV)) == 0;
    }

    // Which ledger this process has open, for a fault that does not tell which file it was.
    static void remember(const char *directory) noexcept {
        strncpy(directory_name(), directory, PATH_BYTES_MAX - 1);
    }

    // Called by LMDB before it aborts. Returns where nobody asked for another end.
    static void meet_assertion(const char *path) noexcept {
        if (installed())
            end(path == nullptr ? "a file of LMDB" : path, path == nullptr ? 14 : strlen(path));
    }

private:
    static constexpr size_t PATH_BYTES_MAX = 512;

    static bool &installed() noexcept {
        static bool value = false;
        return value;
    }

    static char *directory_name() noexcept {
        static char name[PATH_BYTES_MAX];
        return name;
    }

    static struct sigaction *before(int number) noexcept {
        static struct sigaction actions[2];
        return &actions[number == SIGBUS];
    }

    static void meet(int number, siginfo_t *info, void *context) noexcept {
        char path[PATH_BYTES_MAX];
        // What another process sent has no address.
        bool fault = info->si_code > 0;
        size_t size = fault ? find_file(reinterpret_cast<uintptr_t>(info->si_addr), "/data.mdb", path) : 0;
        if (size != 0)
            end(path, size);
#if defined(__x86_64__)
        auto *state = static_cast<ucontext_t *>(context);
        // LMDB was led to nowhere; by which of its files its own code does not know.
        if (fault && find_file(static_cast<uintptr_t>(state->uc_mcontext.gregs[REG_RIP]), "lmdb", path) != 0)
            end(directory_name(), strnlen(directory_name(), PATH_BYTES_MAX), "/journal or /index");
#endif
        // Not ours: it happens again, to whoever cared for it before; what somebody sent has to be sent again.
        sigaction(number, before(number), nullptr);
        if (info->si_code <= 0)
            raise(number);
    }

    // The file that is mapped at an address, if its path has `part` in it; 0: there is none.
    static size_t find_file(uintptr_t address, const char *part, char *path) noexcept {
        int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
        if (file < 0)
            return 0;
        char block[1024], line[PATH_BYTES_MAX + 128];
        size_t filled = 0, found = 0;
        ssize_t got;
        while (found == 0 && (got = read(file, block, sizeof block)) > 0) {
            for (ssize_t i = 0; i < got && found == 0; i++) {
                if (block[i] != '\n') {
                    if (filled < sizeof line)
                        line[filled++] = block[i];
                    continue;
                }
                const char *slash = static_cast<const char *>(memchr(line, '/', filled));
                size_t size = slash == nullptr ? 0 : filled - static_cast<size_t>(slash - line);
                if (size > 0 && size < PATH_BYTES_MAX && holds(line, filled, address) &&
                    memmem(slash, size, part, strlen(part)) != nullptr) {
                    memcpy(path, slash, size);
                    found = size;
                }
                filled = 0;
            }
        }
        close(file);
        return found;
    }

    // Whether a line of /proc/self/maps, which begins with "from-to ", is about the address.
    static bool holds(const char *line, size_t size, uintptr_t address) noexcept {
        uintptr_t ends[2] = {0, 0};
        size_t which = 0;
        for (size_t i = 0; i < size && line[i] != ' '; i++) {
            char c = line[i];
            if (c == '-' && which == 0)
                which = 1;
            else if (c >= '0' && c <= '9')
                ends[which] = ends[which] << 4 | static_cast<uintptr_t>(c - '0');
            else if (c >= 'a' && c <= 'f')
                ends[which] = ends[which] << 4 | static_cast<uintptr_t>(c - 'a' + 10);
            else
                return false;
        }
        return ends[0] <= address && address < ends[1];
    }

    [[noreturn]] static void end(const char *path, size_t size, const char *rest = "") noexcept {
        static const char BEFORE[] = "{\"event\": \"file_damaged\", \"level\": \"error\", \"message\": \"";
        static const char BEHIND[] =
            ": a page of it changed while it was in use, or the file was cut short; the process ends. What was"
            " acknowledged is in the journal; run `tracecode fsck --repair`\"}\n";
        char line[sizeof BEFORE + PATH_BYTES_MAX + 32 + sizeof BEHIND];
        size_t at = sizeof BEFORE - 1;
        memcpy(line, BEFORE, at);
        for (size_t i = 0; i < size && i < PATH_BYTES_MAX; i++) {
            bool plain = path[i] >= ' ' && path[i] < 127 && path[i] != '"' && path[i] != '\\';
            line[at++] = plain ? path[i] : '?';
        }
        for (size_t i = 0; rest[i] != 0 && i < 32; i++)
            line[at++] = rest[i];
        memcpy(line + at, BEHIND, sizeof BEHIND - 1);
        at += sizeof BEHIND - 1;
        if (write(STDERR_FILENO, line, at) < 0)
            _exit(2);
        _exit(1);
    }
};

}  // namespace tracecode
