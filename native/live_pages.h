// The pages of an LMDB file that is in use (data version 1, LMDB 0.9), as its memory map shows them. A file that
// passed native/page_check.h may rot behind us, and LMDB has no checksums: of a record whose key has changed, or
// whose page has, mdb_get says that there is none, or runs out of the file. So records of the index are looked up
// here, and before an entry is written, the pages that it goes to are looked at.
//
// From the root down each page is the one that its number says, of the kind and at the depth of its place, and
// nothing is read behind its end. What is found, its own checksum proves. Of a key that is not: the two records
// between which it would lie are whole, and where one of them lies on another page, no node is hidden at the end of
// this one, which lies within the bounds that the branches above it say. That costs some hundred nanoseconds.
//
// A page that holds what it held before an earlier commit, under its own number, is not found out.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "crc32c.h"

namespace tracecode {

class LivePages {
public:
    // Before a snapshot is looked at. `inside` points to any value that LMDB returned, which is asked for once;
    // `transaction` is the snapshot's mdb_txn_id. DAMAGED: its meta page is not what its commit left. The first
    // look at a commit's meta page is believed, since nobody else writes the file; REPLACED: it was never looked
    // at, and the commit after next has its place.
    enum Known { READY = 0, DAMAGED = 1, REPLACED = 2 };
    Known begin(const void *inside, size_t page_bytes, uint64_t transaction, bool journal) noexcept {
        page_bytes_ = page_bytes;
        journal_ = journal;
        if (base_ == nullptr && (inside == nullptr || !find_base(static_cast<const char *>(inside))))
            return DAMAGED;
        const char *meta = base_ + (transaction & 1) * page_bytes;
        uint64_t said = read<uint64_t>(meta + HEADER_BYTES + 128);
        bool replaced = said > transaction && (said - transaction) % 2 == 0;
        if (transaction != known_transaction_) {
            if (said != transaction)
                return replaced ? REPLACED : DAMAGED;
            memcpy(known_, meta, sizeof known_);
            known_transaction_ = transaction;
            if (memcmp(meta, known_, sizeof known_) != 0) {
                // Another process was about to replace it.
                known_transaction_ = NONE;
                return REPLACED;
            }
        } else if (memcmp(meta, known_, sizeof known_) != 0 && !replaced) {
            return DAMAGED;
        }
        const char *tree = known_ + HEADER_BYTES + 24 + 48;
        depth_ = read<uint16_t>(tree + 6);
        entries_ = read<uint64_t>(tree + 32);
        root_ = read<uint64_t>(tree + 40);
        last_ = read<uint64_t>(known_ + HEADER_BYTES + 120);
        bool sane = root_ == NONE ? entries_ == 0 : depth_ >= 1 && depth_ <= DEPTH_MAX && root_ <= last_;
        return sane ? READY : DAMAGED;
    }

    // Whether it knows where the file lies in memory, and needs no `inside` any more.
    bool is_known() const noexcept { return base_ != nullptr; }

    // Whether the next commit's meta page will be one: LMDB writes its figures, but not what stands before them.
    bool next_meta_is_whole() const noexcept {
        uint64_t next = (known_transaction_ + 1) & 1;
        const char *meta = base_ + next * page_bytes_;
        return read<uint64_t>(meta) == next && memcmp(meta + 8, known_ + 8, HEADER_BYTES + 16 - 8) == 0;
    }

    // The stored value of a key, its checksum included and not looked at; ABSENT: there is certainly none.
    enum Looked { FOUND_THERE = 0, ABSENT = 1, DAMAGED_THERE = 2 };
    Looked look(std::string_view key, std::string_view *stored) noexcept {
        if (root_ == NONE)
            return ABSENT;
        uint64_t number = root_;
        for (size_t depth = 1;; depth++) {
            Page page;
            if (!enter(number, depth == depth_, &page))
                return DAMAGED_THERE;
            size_t at = page.leaf ? 0 : 1, high = page.count;
            while (at < high) {
                size_t middle = (at + high) / 2;
                std::string_view found;
                if (!key_of(page, middle, &found))
                    return DAMAGED_THERE;
                int order = found.compare(key);
                if (order == 0 && page.leaf) {
                    here_ = {page, middle};
                    return value_of(page, middle, stored) ? FOUND_THERE : DAMAGED_THERE;
                }
                if (order > 0)
                    high = middle;
                else
                    at = middle + 1;
            }
            if (page.leaf)
                return is_between(page, at, key) ? ABSENT : DAMAGED_THERE;
            path_[depth - 1] = {page, at - 1};
            if (!is_ordered(page, at < 3 ? 1 : at - 2, at + 2 < page.count ? at + 2 : page.count) ||
                !child_of(page, at - 1, &number))
                return DAMAGED_THERE;
        }
    }

    // The first record whose key is not before this one: FOUND_THERE, or ABSENT if there is none; `key` and
    // `stored` become its own.
    Looked seek(std::string_view *key, std::string_view *stored) noexcept {
        if (root_ == NONE)
            return ABSENT;
        Looked looked = look(*key, stored);
        if (looked == DAMAGED_THERE || (looked == ABSENT && here_.page.data == nullptr))
            return looked;
        if (!is_full(here_.page) || !is_ordered(here_.page, 0, here_.page.count) ||
            !is_in_bounds(here_.page, path_))
            return DAMAGED_THERE;
        return key_of(here_.page, here_.child, key) && value_of(here_.page, here_.child, stored) ? FOUND_THERE
                                                                                                : DAMAGED_THERE;
    }

    // The record behind the one that was found last.
    Looked advance(std::string_view *key, std::string_view *stored) noexcept {
        if (here_.child + 1 < here_.page.count) {
            here_.child++;
            return key_of(here_.page, here_.child, key) && value_of(here_.page, here_.child, stored)
                       ? FOUND_THERE
                       : DAMAGED_THERE;
        }
        char behind[KEY_BYTES_MAX + 1];
        std::string_view last;
        if (!key_of(here_.page, here_.child, &last) || last.size() > KEY_BYTES_MAX)
            return DAMAGED_THERE;
        memcpy(behind, last.data(), last.size());
        behind[last.size()] = 0;
        *key = {behind, last.size() + 1};
        return seek(key, stored);
    }

    // What the lists of free pages are, as a number: they have no checksum, and a page in use that they name would
    // be written over. 0: they make no sense. Two calls in one transaction give the same.
    uint64_t hash_free_lists() const noexcept {
        const char *tree = known_ + HEADER_BYTES + 24;
        uint64_t root = read<uint64_t>(tree + 40);
        uint32_t crc = 1;
        if (root != NONE && !hash_tree(root, 1, read<uint16_t>(tree + 6), &crc))
            return 0;
        return static_cast<uint64_t>(1) << 32 | crc;
    }

    // Whether what comes behind the last entry of the journal will lie behind it: the way to it is whole.
    bool end_is_whole(uint64_t last_sequence) noexcept {
        if (root_ == NONE)
            return last_sequence == 0;
        if (entries_ != last_sequence)
            return false;
        uint64_t number = root_;
        for (size_t depth = 1;; depth++) {
            Page page;
            if (!enter(number, depth == depth_, &page) || !is_full(page))
                return false;
            if (!page.leaf) {
                if (!child_of(page, page.count - 1, &number))
                    return false;
                continue;
            }
            for (size_t i = 0; i < page.count; i++) {
                std::string_view found;
                if (!key_of(page, i, &found) || found.size() != 8 ||
                    read<uint64_t>(found.data()) != last_sequence - (page.count - 1 - i))
                    return false;
            }
            return is_sound(page, page.count - 1);
        }
    }

private:
    struct Page {
        const char *data;
        size_t count;
        bool leaf;
    };
    struct Step {
        Page page;
        size_t child;
    };

    static constexpr size_t HEADER_BYTES = 16, NODE_BYTES = 8, META_BYTES = 136, DEPTH_MAX = 32, KEY_BYTES_MAX = 511;
    static constexpr uint16_t BRANCH = 1, LEAF = 2, OVERFLOW_PAGE = 4, BIG_DATA = 1;
    static constexpr uint32_t MAGIC = 0xBEEFC0DE, VERSION = 1;
    static constexpr uint64_t NONE = ~static_cast<uint64_t>(0);

    template <typename Number>
    static Number read(const char *at) noexcept {
        Number number;
        memcpy(&number, at, sizeof number);
        return number;
    }

    bool find_base(const char *inside) noexcept {
        const char *page = inside - (reinterpret_cast<uintptr_t>(inside) & (page_bytes_ - 1));
        const char *base = page - read<uint64_t>(page) * page_bytes_;
        // The page's own number may be damaged: what it leads to is looked at only if it is in memory.
        unsigned char resident[2];
        if (mincore(const_cast<char *>(base), 2 * page_bytes_, resident) != 0)
            return false;
        if (read<uint32_t>(base + HEADER_BYTES) != MAGIC || read<uint32_t>(base + HEADER_BYTES + 4) != VERSION)
            return false;
        base_ = base;
        return true;
    }

    bool enter(uint64_t number, bool leaf, Page *page) const noexcept {
        if (number < 2 || number > last_)
            return false;
        const char *data = base_ + number * page_bytes_;
        size_t lower = read<uint16_t>(data + 12), upper = read<uint16_t>(data + 14);
        *page = {data, (lower - HEADER_BYTES) / 2, leaf};
        return read<uint64_t>(data) == number && read<uint16_t>(data + 10) == (leaf ? LEAF : BRANCH) &&
               lower >= HEADER_BYTES + 2 && lower % 2 == 0 && lower <= upper && upper <= page_bytes_;
    }

    // Where a node lies, nullptr if that is no place for one.
    const char *node_of(const Page &page, size_t i) const noexcept {
        size_t at = read<uint16_t>(page.data + HEADER_BYTES + 2 * i);
        if (at < HEADER_BYTES + 2 * page.count || at % 2 != 0 || at + NODE_BYTES > page_bytes_)
            return nullptr;
        const char *node = page.data + at;
        return at + size_of(page, node) > page_bytes_ ? nullptr : node;
    }

    static size_t value_size(const char *node) noexcept {
        return read<uint16_t>(node) | static_cast<size_t>(read<uint16_t>(node + 2)) << 16;
    }

    static size_t size_of(const Page &page, const char *node) noexcept {
        size_t size = NODE_BYTES + read<uint16_t>(node + 6);
        if (page.leaf)
            size += read<uint16_t>(node + 4) & BIG_DATA ? 8 : value_size(node);
        return size + (size & 1);
    }

    bool key_of(const Page &page, size_t i, std::string_view *key) const noexcept {
        const char *node = node_of(page, i);
        if (node == nullptr)
            return false;
        // Only the first node of a branch has none, and nobody asks for it.
        *key = {node + NODE_BYTES, read<uint16_t>(node + 6)};
        return !key->empty();
    }

    bool child_of(const Page &page, size_t i, uint64_t *number) const noexcept {
        const char *node = node_of(page, i);
        if (node == nullptr)
            return false;
        *number = read<uint16_t>(node) | static_cast<uint64_t>(read<uint16_t>(node + 2)) << 16 |
                  static_cast<uint64_t>(read<uint16_t>(node + 4)) << 32;
        return true;
    }

    // Whether its nodes fill it, so that none is hidden.
    bool is_full(const Page &page) const noexcept {
        size_t filled = 0;
        for (size_t i = 0; i < page.count; i++) {
            const char *node = node_of(page, i);
            if (node == nullptr)
                return false;
            filled += size_of(page, node);
        }
        return filled == page_bytes_ - read<uint16_t>(page.data + 14);
    }

    bool is_ordered(const Page &page, size_t begin, size_t end) const noexcept {
        std::string_view before, key;
        for (size_t i = begin; i < end; i++) {
            if (!key_of(page, i, &key) || (i > begin && before.compare(key) >= 0))
                return false;
            before = key;
        }
        return true;
    }

    bool hash_tree(uint64_t number, size_t depth, size_t depth_max, uint32_t *crc) const noexcept {
        Page page;
        if (depth_max > DEPTH_MAX || !enter(number, depth == depth_max, &page) || !is_full(page))
            return false;
        *crc = crc32c(*crc, page.data, page_bytes_);
        for (size_t i = 0; i < page.count; i++) {
            uint64_t child;
            std::string_view list;
            if (page.leaf ? !value_of(page, i, &list) : !child_of(page, i, &child))
                return false;
            if (page.leaf ? false : !hash_tree(child, depth + 1, depth_max, crc))
                return false;
            if (page.leaf)
                *crc = crc32c(*crc, list.data(), list.size());
        }
        return true;
    }

    // A value as it is stored; false: there is no place for it.
    bool value_of(const Page &page, size_t i, std::string_view *stored) const noexcept {
        const char *node = node_of(page, i);
        if (node == nullptr)
            return false;
        const char *value = node + NODE_BYTES + read<uint16_t>(node + 6);
        size_t size = value_size(node);
        uint16_t flags = read<uint16_t>(node + 4);
        if (flags == BIG_DATA) {
            uint64_t first = read<uint64_t>(value);
            uint64_t pages = (HEADER_BYTES + size + page_bytes_ - 1) / page_bytes_;
            if (first < 2 || first > last_ || pages > last_ + 1 - first)
                return false;
            const char *page_of_value = base_ + first * page_bytes_;
            if (read<uint64_t>(page_of_value) != first || read<uint16_t>(page_of_value + 10) != OVERFLOW_PAGE)
                return false;
            value = page_of_value + HEADER_BYTES;
        } else if (flags != 0) {
            return false;
        }
        *stored = {value, size};
        return true;
    }

    // Whether the record is what its checksum says.
    bool is_sound(const Page &page, size_t i) const noexcept {
        std::string_view key, stored;
        if (!key_of(page, i, &key) || !value_of(page, i, &stored) || stored.size() < 4)
            return false;
        uint32_t crc = journal_ ? 0 : crc32c(0, key.data(), key.size());
        return crc32c(crc, stored.data() + 4, stored.size() - 4) == read<uint32_t>(stored.data());
    }

    // Whether a leaf is one that the way to it may lead to: its keys lie between those of the branches above.
    bool is_in_bounds(const Page &page, const Step *path) const noexcept {
        std::string_view first, last, bound;
        if (!key_of(page, 0, &first) || !key_of(page, page.count - 1, &last))
            return false;
        for (size_t depth = 1; depth < depth_; depth++, path++) {
            if (path->child > 0 && (!key_of(path->page, path->child, &bound) || first.compare(bound) < 0))
                return false;
            if (path->child + 1 < path->page.count &&
                (!key_of(path->page, path->child + 1, &bound) || last.compare(bound) >= 0))
                return false;
        }
        return true;
    }

    // Whether the records beside place `at` of a leaf are whole, and the key lies between them.
    bool is_between(const Page &page, size_t at, std::string_view key) noexcept {
        here_ = {page, at};
        if (at == page.count)
            here_.page.data = nullptr;
        if (!is_ordered(page, at < 2 ? 0 : at - 2, at + 2 < page.count ? at + 2 : page.count))
            return false;
        if (at > 0 && at < page.count)
            return is_sound(page, at - 1) && is_sound(page, at);
        if (!is_in_bounds(page, path_))
            return false;
        if (at == 0) {
            Step path[DEPTH_MAX];
            memcpy(path, path_, depth_ * sizeof path[0]);
            return is_sound(page, 0) && neighbour_is_sound(key, path, false);
        }
        return is_sound(page, at - 1) && is_full(page) && neighbour_is_sound(key, path_, true);
    }

    // The same of the record on the leaf before or behind the one that the path leads to, if there is one. Then
    // the path leads there.
    bool neighbour_is_sound(std::string_view key, Step *path, bool behind) noexcept {
        size_t depth = depth_ - 1;
        while (depth > 0) {
            const Step &step = path[depth - 1];
            if (behind ? step.child + 1 < step.page.count : step.child > 0)
                break;
            if (behind && !is_full(step.page))
                return false;
            depth--;
        }
        if (depth == 0)
            return true;
        Page page = path[depth - 1].page;
        size_t child = behind ? path[depth - 1].child + 1 : path[depth - 1].child - 1;
        for (; depth < depth_; depth++) {
            uint64_t number;
            path[depth - 1] = {page, child};
            if (!child_of(page, child, &number) || !enter(number, depth + 1 == depth_, &page))
                return false;
            child = behind ? 0 : page.count - 1;
        }
        std::string_view found;
        if (behind)
            here_ = {page, child};
        else if (!is_full(page))
            return false;
        return key_of(page, child, &found) && (behind ? found.compare(key) > 0 : found.compare(key) < 0) &&
               is_in_bounds(page, path) && is_sound(page, child);
    }

    const char *base_ = nullptr;
    size_t page_bytes_ = 0, depth_ = 0;
    bool journal_ = false;
    uint64_t root_ = NONE, last_ = 0, entries_ = 0;
    uint64_t known_transaction_ = NONE;
    char known_[HEADER_BYTES + META_BYTES] = {};
    Step path_[DEPTH_MAX];
    Step here_ = {};  // where the last look-up ended; no page: behind the last record
};

}  // namespace tracecode
