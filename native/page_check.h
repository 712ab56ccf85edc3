// Is an LMDB file (data version 1, LMDB 0.9) in one piece? LMDB has no checksums: a page that is not what was
// written can make it abort, read beyond the file, or not find what is there. So before LMDB is let near a file
// that was at rest, its pages are read here, with pread and with every number checked before it is followed:
//
//   - both meta pages, and that they are a pair that commits leave behind;
//   - the tree: what each page is and its own number, nodes that fill it without gap or overlap, keys in order and
//     between those of the branch above, every page in use once, and as many pages and entries as the meta says;
//   - the lists of free pages: in order, inside the file, and none of them in use;
//   - in the index the checksum of each record, in the journal that its keys are 1, 2, 3, ... without a gap.
//
// A file that passes has every record that the last commit left in it, and each can be found. What it does not
// tell: a page that holds what it held before an earlier commit (a write that the disk lost). Leaves are read
// only if `full`.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "crc32c.h"

namespace tracecode {

class PageCheck {
public:
    const char *fault = nullptr;  // what is wrong, of `page`; nullptr: nothing was found
    std::string record;           // the key of the record that is wrong, where one is
    uint64_t page = 0;
    uint64_t entries = 0;       // as the newest meta page counts them
    uint64_t transaction = 0;   // of the newest meta page
    uint64_t pages_read = 0;
    uint64_t unaccounted = 0;   // pages neither in use nor free, of a file that passed in full
    bool free_known = false;    // whether `is_free` may be asked

    // Behind the last page is what a commit wrote that did not come to its end.
    bool is_free(uint64_t number) const noexcept {
        return number > last_ || (number < pages_ && bit(free_, number));
    }

    // Check the file; the same as `fault == nullptr` afterwards.
    bool run(int file, bool journal, bool full) {
        file_ = file;
        journal_ = journal;
        full_ = full;
        expected_ = 1;
        if (!begin())
            return false;
        buffers_.assign(DEPTH_MAX, std::vector<char>(page_bytes_));
        // The free pages first: whoever looks for what is left of a damaged tree must know them.
        if (!tree(free_tree_, true))
            return false;
        free_known = true;
        if (!tree(main_tree_, false))
            return false;
        for (uint64_t i = 0; i < pages_ && i <= last_; i++) {
            if (bit(free_, i) && bit(used_, i))
                return fail("is in use and free at once", i);
            unaccounted += full && i > 1 && !bit(free_, i) && !bit(used_, i);
        }
        return true;
    }

private:
    struct Tree {
        uint16_t flags, depth;
        uint64_t branches, leaves, overflows, entries, root;
    };
    using Bits = std::vector<uint64_t>;

    static constexpr size_t HEADER_BYTES = 16, NODE_BYTES = 8, META_BYTES = 136, TREE_BYTES = 48;
    static constexpr uint32_t MAGIC = 0xBEEFC0DE, VERSION = 1;
    static constexpr uint16_t BRANCH = 1, LEAF = 2, OVERFLOW_PAGE = 4, META = 8, INTEGER_KEY = 8, BIG_DATA = 1;
    static constexpr uint64_t NONE = ~static_cast<uint64_t>(0);
    static constexpr size_t DEPTH_MAX = 32;

    template <typename Number>
    static Number read(const char *at) noexcept {
        Number number;
        memcpy(&number, at, sizeof number);
        return number;
    }

    static bool bit(const Bits &bits, uint64_t at) noexcept { return bits[at / 64] >> (at % 64) & 1; }
    static void set(Bits *bits, uint64_t at) noexcept { (*bits)[at / 64] |= static_cast<uint64_t>(1) << (at % 64); }

    bool fail(const char *what, uint64_t number) noexcept {
        fault = what;
        page = number;
        return false;
    }

    bool take(uint64_t offset, char *to, size_t size) noexcept {
        while (size > 0) {
            ssize_t got = pread(file_, to, size, static_cast<off_t>(offset));
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                return false;
            offset += static_cast<size_t>(got);
            to += got;
            size -= static_cast<size_t>(got);
        }
        return true;
    }

    static Tree read_tree(const char *at) noexcept {
        return {read<uint16_t>(at + 4),  read<uint16_t>(at + 6),  read<uint64_t>(at + 8), read<uint64_t>(at + 16),
                read<uint64_t>(at + 24), read<uint64_t>(at + 32), read<uint64_t>(at + 40)};
    }

    // The meta pages: the newer one of a pair that belongs together.
    bool begin() {
        struct stat status;
        char metas[2][HEADER_BYTES + META_BYTES];
        if (fstat(file_, &status) != 0)
            return fail("cannot be read", 0);
        page_bytes_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        pages_ = static_cast<uint64_t>(status.st_size) / page_bytes_;
        for (uint64_t i = 0; i < 2; i++) {
            if (!take(i * page_bytes_, metas[i], sizeof metas[i]))
                return fail("is missing: the file is cut short", i);
            const char *meta = metas[i] + HEADER_BYTES;
            if (read<uint64_t>(metas[i]) != i || read<uint16_t>(metas[i] + 10) != META)
                return fail("is no meta page", i);
            if (read<uint32_t>(meta) != MAGIC || read<uint32_t>(meta + 4) != VERSION)
                return fail("is no meta page of LMDB 0.9", i);
            if (read<uint32_t>(meta + 24) != page_bytes_)
                return fail("says another page size than this machine's", i);
            if (read<uint16_t>(meta + 28) != INTEGER_KEY)
                return fail("has flags that no commit writes", i);
        }
        uint64_t numbers[2] = {read<uint64_t>(metas[0] + HEADER_BYTES + 128),
                               read<uint64_t>(metas[1] + HEADER_BYTES + 128)};
        // Commits take turns between the two; only a file without a commit has 0 in both.
        size_t newer = numbers[1] > numbers[0];
        if (numbers[0] + numbers[1] != 0 && (numbers[newer] != numbers[1 - newer] + 1 || numbers[newer] % 2 != newer))
            return fail("does not belong to the meta page beside it", newer);
        const char *meta = metas[newer] + HEADER_BYTES;
        transaction = numbers[newer];
        free_tree_ = read_tree(meta + 24);
        main_tree_ = read_tree(meta + 24 + TREE_BYTES);
        last_ = read<uint64_t>(meta + 120);
        entries = main_tree_.entries;
        if (last_ < 1)
            return fail("says that the file ends before its meta pages", newer);
        // The map of whoever wrote it held all of its pages; LMDB would ask for a map as large as it says.
        if (last_ >= read<uint64_t>(meta + 16) / page_bytes_)
            return fail("says that the file ends behind its map", newer);
        // Only an empty database has no flags yet.
        if (main_tree_.flags != (journal_ ? INTEGER_KEY : 0) && (main_tree_.flags != 0 || main_tree_.root != NONE))
            return fail("has flags that the database was not made with", newer);
        used_.assign(pages_ / 64 + 1, 0);
        free_.assign(pages_ / 64 + 1, 0);
        set(&used_, 0);
        set(&used_, 1);
        return true;
    }

    bool tree(const Tree &said, bool free_list) {
        Tree found = {said.flags, said.depth, 0, 0, 0, 0, said.root};
        uint64_t of_meta = transaction & 1;
        if (said.root == NONE) {
            if (said.depth || said.branches || said.leaves || said.overflows || said.entries)
                return fail("counts pages of a tree that is empty", of_meta);
            return true;
        }
        if (said.depth == 0 || said.depth > DEPTH_MAX)
            return fail("says an impossible depth", of_meta);
        in_free_list_ = free_list;
        if (!walk(&found, said.root, 1, {}, {}, false))
            return false;
        bool whole = full_ || free_list;
        if (found.branches != said.branches || found.leaves != said.leaves)
            return fail("counts other pages than there are in the tree", of_meta);
        if (whole && (found.overflows != said.overflows || found.entries != said.entries))
            return fail("counts other entries than there are in the tree", of_meta);
        return true;
    }

    // Whether a page may be used here, which it may only once.
    bool claim(uint64_t number, uint64_t parent) {
        if (number < 2 || number > last_)
            return fail("leads to a page that does not exist", parent);
        if (number >= pages_)
            return fail("is missing: the file is cut short", number);
        if (bit(used_, number))
            return fail("is used twice", number);
        set(&used_, number);
        return true;
    }

    int compare(std::string_view one, std::string_view other) const noexcept {
        if (!journal_ && !in_free_list_)
            return one.compare(other);
        uint64_t left = read<uint64_t>(one.data()), right = read<uint64_t>(other.data());
        return left < right ? -1 : left > right;
    }

    bool walk(Tree *found, uint64_t number, size_t depth, std::string_view low, std::string_view high, bool bounded) {
        bool leaf = depth == found->depth;
        bool integer = journal_ || in_free_list_;
        (leaf ? found->leaves : found->branches)++;
        if (!claim(number, depth == 1 ? transaction & 1 : above_[depth - 1]))
            return false;
        if (leaf && !full_ && !in_free_list_)
            return true;
        above_[depth] = number;
        char *data = buffers_[depth - 1].data();
        if (!take(number * page_bytes_, data, page_bytes_))
            return fail("cannot be read", number);
        pages_read++;
        size_t lower = read<uint16_t>(data + 12), upper = read<uint16_t>(data + 14);
        if (read<uint64_t>(data) != number)
            return fail("is another page", number);
        if (read<uint16_t>(data + 10) != (leaf ? LEAF : BRANCH))
            return fail("is of another kind than its place in the tree", number);
        if (lower < HEADER_BYTES + 2 || lower % 2 != 0 || lower > upper || upper > page_bytes_)
            return fail("has an impossible size", number);
        size_t count = (lower - HEADER_BYTES) / 2;
        size_t filled = 0;
        Bits starts(page_bytes_ / 64 + 1, 0);
        std::vector<std::string_view> keys(count);
        for (size_t i = 0; i < count; i++) {
            size_t at = read<uint16_t>(data + HEADER_BYTES + 2 * i);
            if (at < upper || at % 2 != 0 || at + NODE_BYTES > page_bytes_ || bit(starts, at))
                return fail("has an entry outside of its room", number);
            set(&starts, at);
            size_t key_size = read<uint16_t>(data + at + 6);
            size_t size = NODE_BYTES + key_size;
            uint16_t flags = leaf ? read<uint16_t>(data + at + 4) : 0;
            if (flags != 0 && flags != BIG_DATA)
                return fail("has an entry of an unknown kind", number);
            if (leaf)
                size += flags == BIG_DATA ? 8 : value_size(data + at);
            if (at + size > page_bytes_)
                return fail("has an entry outside of its room", number);
            filled += size + (size & 1);
            if ((leaf || i > 0) && (integer ? key_size != 8 : key_size == 0 || key_size > 511))
                return fail("has a key of an impossible size", number);
            keys[i] = {data + at + NODE_BYTES, key_size};
        }
        if (filled != page_bytes_ - upper)
            return fail("has entries that overlap or are missing", number);
        for (size_t i = leaf ? 0 : 1; i < count; i++) {
            bool first = i == (leaf ? 0 : 1);
            if (first ? bounded && compare(keys[i], low) < (leaf ? 0 : 1) : compare(keys[i - 1], keys[i]) >= 0)
                return fail("has keys out of order", number);
        }
        if (count > (leaf ? 0 : 1) && high.data() != nullptr && compare(keys[count - 1], high) >= 0)
            return fail("has keys that belong on another page", number);
        if (!leaf) {
            if (depth + 1 == found->depth && (full_ || in_free_list_))
                send_for(data, count);
            for (size_t i = 0; i < count; i++) {
                const char *node = data + read<uint16_t>(data + HEADER_BYTES + 2 * i);
                uint64_t child = read<uint16_t>(node) | static_cast<uint64_t>(read<uint16_t>(node + 2)) << 16 |
                                 static_cast<uint64_t>(read<uint16_t>(node + 4)) << 32;
                if (!walk(found, child, depth + 1, i ? keys[i] : low, i + 1 < count ? keys[i + 1] : high,
                          i > 0 || bounded))
                    return false;
            }
            return true;
        }
        for (size_t i = 0; i < count; i++) {
            const char *node = data + read<uint16_t>(data + HEADER_BYTES + 2 * i);
            if (!entry(found, node, keys[i], number))
                return false;
        }
        found->entries += count;
        return true;
    }

    static size_t value_size(const char *node) noexcept {
        return read<uint16_t>(node) | static_cast<size_t>(read<uint16_t>(node + 2)) << 16;
    }

    // Let the disk fetch the leaves below a branch while they are looked at one by one.
    void send_for(const char *data, size_t count) const noexcept {
        for (size_t i = 0; i < count; i++) {
            const char *node = data + read<uint16_t>(data + HEADER_BYTES + 2 * i);
            uint64_t child = read<uint16_t>(node) | static_cast<uint64_t>(read<uint16_t>(node + 2)) << 16;
            posix_fadvise(file_, static_cast<off_t>(child * page_bytes_), static_cast<off_t>(page_bytes_),
                          POSIX_FADV_WILLNEED);
        }
    }

    bool entry(Tree *found, const char *node, std::string_view key, uint64_t number) {
        size_t size = value_size(node);
        std::string_view value(key.data() + key.size(), size);
        if (read<uint16_t>(node + 4) == BIG_DATA) {
            uint64_t first = read<uint64_t>(key.data() + key.size());
            uint64_t pages = (HEADER_BYTES + size + page_bytes_ - 1) / page_bytes_;
            overflow_.resize(HEADER_BYTES + size);
            // Of a journal only what says where the pages are: its entries are checked when they are read.
            size_t wanted = journal_ && !in_free_list_ ? HEADER_BYTES : HEADER_BYTES + size;
            if (!take(first * page_bytes_, overflow_.data(), wanted))
                return fail("cannot be read", first);
            if (read<uint64_t>(overflow_.data()) != first)
                return fail("is another page", first);
            // A value that was written shorter in one transaction keeps all its pages.
            uint64_t said = read<uint32_t>(overflow_.data() + 12);
            if (read<uint16_t>(overflow_.data() + 10) != OVERFLOW_PAGE || said < pages)
                return fail("is of another kind than its place in the tree", first);
            for (uint64_t i = 0; i < said; i++)
                if (!claim(first + i, number))
                    return false;
            pages_read += said;
            found->overflows += said;
            value = {overflow_.data() + HEADER_BYTES, size};
        }
        if (in_free_list_)
            return free_pages(key, value, number);
        if (size < 4)
            return fail("has a value that is cut short", number);
        if (journal_) {
            if (read<uint64_t>(key.data()) != expected_++)
                return fail("lacks an entry", number);
            return true;
        }
        uint32_t crc = crc32c(crc32c(0, key.data(), key.size()), value.data() + 4, value.size() - 4);
        if (crc == read<uint32_t>(value.data()))
            return true;
        record = key;
        return fail("has a record that does not match its checksum", number);
    }

    bool free_pages(std::string_view key, std::string_view value, uint64_t number) {
        if (read<uint64_t>(key.data()) > transaction)
            return fail("has free pages of a commit that never was", number);
        uint64_t count = value.size() < 8 || value.size() % 8 != 0 ? NONE : read<uint64_t>(value.data());
        if (count > value.size() / 8 - 1)
            return fail("has a list of free pages that is cut short", number);
        uint64_t before = NONE;
        for (uint64_t i = 1; i <= count; i++) {
            uint64_t one = read<uint64_t>(value.data() + 8 * i);
            if (one >= before || one < 2 || one > last_ || (one < pages_ && bit(free_, one)))
                return fail("has an impossible list of free pages", number);
            if (one < pages_)
                set(&free_, one);
            before = one;
        }
        return true;
    }

    int file_ = -1;
    bool journal_ = false, full_ = false, in_free_list_ = false;
    size_t page_bytes_ = 0;
    uint64_t pages_ = 0, last_ = 0, expected_ = 1;
    Tree free_tree_ = {}, main_tree_ = {};
    Bits used_, free_;
    uint64_t above_[DEPTH_MAX + 1] = {};
    std::vector<std::vector<char>> buffers_;
    std::vector<char> overflow_;
};

// The journal's entries as far as they can be read, whatever became of the pages that lead to them. In each page in
// use entries are looked for: a key, and bytes that match their checksum and call themselves by that key. Where a
// page's own header is whole, only where it says that something stands: whoever sends documents might send bytes
// that look like an entry. Where it is not, everywhere; but what a whole page says counts for more.
class EntryHunt {
public:
    struct Found {
        uint64_t offset = 0;
        uint32_t size = 0;
        bool sound = false;     // found where a whole page says that it is
        bool doubtful = false;  // two different entries of this number were found
    };
    std::vector<Found> found;  // by sequence; size 0: not found

    // `check` tells which pages are free, and what stands there is not read: it may be of a commit that never was.
    bool run(int file, const PageCheck &check) {
        struct stat status;
        if (fstat(file, &status) != 0)
            return false;
        page_bytes_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        size_ = static_cast<uint64_t>(status.st_size);
        pages_ = (size_ + page_bytes_ - 1) / page_bytes_;
        page_.assign(page_bytes_, 0);
        for (uint64_t number = 2; number < pages_; number++) {
            if (check.free_known && check.is_free(number))
                continue;
            ssize_t got = pread(file, page_.data(), page_bytes_, static_cast<off_t>(number * page_bytes_));
            size_t there = got < 0 ? 0 : static_cast<size_t>(got);
            uint16_t kind = there < 16 || number_at<uint64_t>(page_.data()) != number
                                ? 0
                                : number_at<uint16_t>(page_.data() + 10) & 0x7F;
            size_t lower = number_at<uint16_t>(page_.data() + 12), upper = number_at<uint16_t>(page_.data() + 14);
            if (kind == BRANCH)
                continue;
            if (kind == OVERFLOW && number_at<uint32_t>(page_.data() + 12) <= pages_ - number) {
                number += std::max<uint64_t>(number_at<uint32_t>(page_.data() + 12), 1) - 1;
            } else if (kind == LEAF && lower >= 16 && lower % 2 == 0 && lower <= upper && upper <= there) {
                for (size_t i = 16; i < lower; i += 2)
                    look(file, number, number_at<uint16_t>(page_.data() + i), there, true);
            } else {
                for (size_t at = 16; at < there; at += 2)
                    look(file, number, at, there, false);
            }
        }
        return true;
    }

private:
    static constexpr uint16_t BRANCH = 0x01, LEAF = 0x02, OVERFLOW = 0x04;

    // Whether an entry stands at a place of the page.
    void look(int file, uint64_t number, size_t at, size_t there, bool sound) {
        if (at < 16 || at + 16 + 6 > there)
            return;
        const char *node = page_.data() + at;
        uint16_t flags = number_at<uint16_t>(node + 4);
        uint64_t sequence = number_at<uint64_t>(node + 8);
        uint32_t value_size = number_at<uint32_t>(node);
        if (number_at<uint16_t>(node + 6) != 8 || flags > 1 || value_size < 6 || sequence == 0 || sequence > 256 * pages_)
            return;
        if (flags == 0) {
            if (at + 16 + value_size <= there && matches(node + 16, value_size, sequence))
                keep(file, sequence, number * page_bytes_ + at + 16, value_size, sound);
            return;
        }
        uint64_t place = at + 24 <= there ? number_at<uint64_t>(node + 16) * page_bytes_ + 16 : size_;
        if (place >= size_ || value_size > size_ - place)
            return;
        big_.resize(value_size);
        if (pread(file, big_.data(), value_size, static_cast<off_t>(place)) == static_cast<ssize_t>(value_size) &&
            matches(big_.data(), value_size, sequence))
            keep(file, sequence, place, value_size, sound);
    }

    template <typename Number>
    static Number number_at(const char *at) noexcept {
        Number number;
        memcpy(&number, at, sizeof number);
        return number;
    }

    // Field 1 of an entry is its sequence.
    static bool matches(const char *value, size_t size, uint64_t sequence) noexcept {
        size_t at = 4;
        if (value[at++] != 0x08)
            return false;
        for (; sequence >= 0x80; sequence >>= 7)
            if (at + 1 >= size || static_cast<unsigned char>(value[at++]) != ((sequence & 0x7F) | 0x80))
                return false;
        return static_cast<unsigned char>(value[at]) == sequence &&
               crc32c(0, value + 4, size - 4) == number_at<uint32_t>(value);
    }

    void keep(int file, uint64_t sequence, uint64_t offset, uint32_t size, bool sound) {
        if (found.size() <= sequence)
            found.resize(sequence + 1);
        Found *one = &found[sequence];
        if (one->size == 0 || (sound && !one->sound)) {
            *one = {offset, size, sound, false};
        } else if (one->sound && !sound) {
            return;
        } else if (!one->doubtful) {
            std::vector<char> here(size), there(one->size);
            one->doubtful = one->size != size ||
                            pread(file, here.data(), size, static_cast<off_t>(offset)) != static_cast<ssize_t>(size) ||
                            pread(file, there.data(), size, static_cast<off_t>(one->offset)) !=
                                static_cast<ssize_t>(size) ||
                            memcmp(here.data(), there.data(), size) != 0;
        }
    }

    size_t page_bytes_ = 0;
    uint64_t size_ = 0, pages_ = 0;
    std::vector<char> page_, big_;
};

}  // namespace tracecode
