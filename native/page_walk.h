// Many look-ups in an LMDB index at once. One look-up waits for memory a dozen times, and mdb_get makes
// each wait for the one before it. A walker goes down the tree for many keys side by side: while the bytes
// for one key are on their way, it works on the others.
//
// It only reads the pages of a snapshot that the caller holds, by the layout of data version 1 (LMDB 0.9, see
// lmdb.h and mdb.c of 0.9.36). What it does not recognize it leaves to mdb_get: `found` stays empty. So it
// may find less than mdb_get, never something else; whether a record is absent only mdb_get says.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace tracecode {

class PageWalk {
public:
    struct Wanted {
        std::string_view key;
        std::string_view found;  // the stored value, checksum included; no data where it was not found
    };

    // Take the snapshot's tree. `inside` points to any value that LMDB returned in it, `page_bytes` is the size
    // of its pages, which must be that of the system's, `transaction` is its mdb_txn_id. False if the pages do not look as expected; then `find` finds nothing.
    bool begin(const void *inside, size_t page_bytes, uint64_t transaction) noexcept {
        base_ = nullptr;
        const char *page = static_cast<const char *>(inside);
        page -= reinterpret_cast<uintptr_t>(page) & (page_bytes - 1);
        const char *base = page - read<uint64_t>(page) * page_bytes;
        // The page's own number may be damaged: what it leads to is looked at only if it is in memory.
        unsigned char resident[2];
        if (base != checked_ && mincore(const_cast<char *>(base), 2 * page_bytes, resident) != 0)
            return false;
        const char *meta = base + (transaction & 1) * page_bytes + HEADER_BYTES;
        if (read<uint32_t>(meta) != META_MAGIC || read<uint32_t>(meta + 4) != DATA_VERSION)
            return false;
        // A writer may have replaced the meta page since the snapshot was taken: then its root is gone.
        if (read<uint64_t>(meta + META_TRANSACTION) != transaction)
            return false;
        if (read<uint32_t>(meta + META_PAGE_BYTES) != page_bytes)
            return false;
        page_bytes_ = page_bytes;
        root_ = read<uint64_t>(meta + META_ROOT);
        last_ = read<uint64_t>(meta + META_LAST_PAGE);
        if (root_ > last_)
            return false;
        base_ = checked_ = base;
        return true;
    }

    void find(Wanted *wanted, size_t count) noexcept {
        Lane lanes[LANES];
        size_t next = 0, active = 0;
        for (size_t i = 0; i < count; i++)
            wanted[i].found = {};
        if (base_ == nullptr)
            return;
        for (; active < LANES && next < count; active++)
            start(&lanes[active], &wanted[next++]);
        while (active > 0) {
            for (size_t i = 0; i < active;) {
                if (step(&lanes[i])) {
                    i++;
                } else if (next < count) {
                    start(&lanes[i++], &wanted[next++]);
                } else {
                    lanes[i] = lanes[--active];
                }
            }
        }
    }

private:
    struct Lane {
        Wanted *wanted;
        uint64_t head;  // the first bytes of the key, as a number
        const char *page;
        const char *node;  // whose key is compared next; nullptr: the page was just reached
        int low, high, middle;
        bool leaf;
        int depth;
    };

    static constexpr size_t LANES = 32;
    static constexpr int DEPTH_MAX = 32;
    static constexpr uint32_t META_MAGIC = 0xBEEFC0DE, DATA_VERSION = 1;
    static constexpr uint16_t PAGE_BRANCH = 0x01, PAGE_LEAF = 0x02, PAGE_KINDS = 0x7F;
    static constexpr uint16_t NODE_IS_PLAIN = 0;
    // Offsets: page number (u64), pad, flags (u16), lower, upper (u16), then the places of the nodes (u16).
    static constexpr size_t PAGE_FLAGS = 10, PAGE_LOWER = 12, HEADER_BYTES = 16;
    // In a meta page behind its header: magic, version (u32), address, map size, two databases, then these.
    static constexpr size_t META_PAGE_BYTES = 24, META_ROOT = 24 + 48 + 40, META_LAST_PAGE = 120,
                            META_TRANSACTION = 128;
    // A node: two halves of the data's size or of the child's number (u16), flags, size of the key, the key.
    static constexpr size_t NODE_FLAGS = 4, NODE_KEY_SIZE = 6, NODE_BYTES = 8;

    template <typename Number>
    static Number read(const char *at) noexcept {
        Number number;
        memcpy(&number, at, sizeof number);
        return number;
    }

    void start(Lane *lane, Wanted *wanted) const noexcept {
        lane->wanted = wanted;
        lane->head = wanted->key.size() < 8 ? 0 : __builtin_bswap64(read<uint64_t>(wanted->key.data()));
        lane->depth = 0;
        reach(lane, root_);
    }

    void reach(Lane *lane, uint64_t page) const noexcept {
        lane->page = base_ + page * page_bytes_;
        lane->node = nullptr;
        __builtin_prefetch(lane->page);
        __builtin_prefetch(lane->page + 64);
        __builtin_prefetch(lane->page + 128);
    }

    // Less, equal or greater than 0. The first eight bytes tell most keys apart.
    static int compare(const Lane &lane, std::string_view key) noexcept {
        if (key.size() >= 8 && lane.wanted->key.size() >= 8) {
            uint64_t head = __builtin_bswap64(read<uint64_t>(key.data()));
            if (lane.head != head)
                return lane.head < head ? -1 : 1;
        }
        return lane.wanted->key.compare(key);
    }

    // One comparison, or the first look at a page; false when the lane is done.
    bool step(Lane *lane) const noexcept {
        if (lane->node == nullptr)
            return enter(lane) && aim(lane);
        size_t at = static_cast<size_t>(lane->node - lane->page);
        size_t size = read<uint16_t>(lane->node + NODE_KEY_SIZE);
        if (at + NODE_BYTES + size > page_bytes_)
            return false;
        int order = compare(*lane, std::string_view(lane->node + NODE_BYTES, size));
        if (order == 0 && lane->leaf) {
            take(lane, at, size);
            return false;
        }
        if (order == 0)
            return descend(lane, lane->middle);
        if (order > 0)
            lane->low = lane->middle + 1;
        else
            lane->high = lane->middle - 1;
        if (lane->low <= lane->high)
            return aim(lane);
        // Where the key would be put: in a branch it lies below the node before that.
        return !lane->leaf && descend(lane, lane->low - 1);
    }

    bool enter(Lane *lane) const noexcept {
        uint16_t flags = read<uint16_t>(lane->page + PAGE_FLAGS) & PAGE_KINDS;
        size_t lower = read<uint16_t>(lane->page + PAGE_LOWER);
        if ((flags != PAGE_BRANCH && flags != PAGE_LEAF) || lower < HEADER_BYTES || lower > page_bytes_)
            return false;
        // Another page in its place, maybe one that held the same records once.
        if (read<uint64_t>(lane->page) * page_bytes_ != static_cast<size_t>(lane->page - base_))
            return false;
        lane->leaf = flags == PAGE_LEAF;
        // The first key of a branch is not stored: it is less than any.
        lane->low = lane->leaf ? 0 : 1;
        lane->high = static_cast<int>((lower - HEADER_BYTES) / 2) - 1;
        if (!lane->leaf && lane->high < 0)
            return false;
        if (lane->low > lane->high)
            return !lane->leaf && descend(lane, 0);
        return true;
    }

    // Choose the node to compare with next, and send for it.
    bool aim(Lane *lane) const noexcept {
        if (lane->node == nullptr && lane->low > lane->high)
            return true;  // `enter` has gone down already
        lane->middle = (lane->low + lane->high) / 2;
        size_t at = place(lane, lane->middle);
        if (at == 0)
            return false;
        lane->node = lane->page + at;
        __builtin_prefetch(lane->node);
        return true;
    }

    // Where a node lies in its page, 0 if that is no place for one.
    size_t place(const Lane *lane, int node) const noexcept {
        size_t at = read<uint16_t>(lane->page + HEADER_BYTES + 2 * static_cast<size_t>(node));
        return at < HEADER_BYTES || at + NODE_BYTES > page_bytes_ ? 0 : at;
    }

    bool descend(Lane *lane, int node) const noexcept {
        size_t at = place(lane, node);
        if (at == 0 || ++lane->depth > DEPTH_MAX)
            return false;
        const char *branch = lane->page + at;
        uint64_t page = read<uint16_t>(branch) | static_cast<uint64_t>(read<uint16_t>(branch + 2)) << 16 |
                        static_cast<uint64_t>(read<uint16_t>(branch + NODE_FLAGS)) << 32;
        if (page > last_)
            return false;
        reach(lane, page);
        return true;
    }

    void take(Lane *lane, size_t at, size_t key_size) const noexcept {
        size_t size = read<uint16_t>(lane->node) | static_cast<size_t>(read<uint16_t>(lane->node + 2)) << 16;
        size_t begin = at + NODE_BYTES + key_size;
        // A large value lies on pages of its own.
        if (read<uint16_t>(lane->node + NODE_FLAGS) != NODE_IS_PLAIN || begin + size > page_bytes_)
            return;
        lane->wanted->found = {lane->page + begin, size};
        __builtin_prefetch(lane->page + begin + size - 1);
    }

    const char *base_ = nullptr;
    const char *checked_ = nullptr;  // the last base that was one
    size_t page_bytes_ = 0;
    uint64_t root_ = 0, last_ = 0;
};

}  // namespace tracecode
