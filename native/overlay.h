// The overlay: index records changed since the last flush, in memory, without Python objects.
//
// A hash table over an arena. Answers three questions in time that does not grow with its size: the
// record of a key, the records of a group (keys that share the prefix by which they are looked for,
// such as all deletions of one batch serial), and what to take back when a commit does not come.
// Order is made once, when the records are flushed. Not synchronized: the store's mutex is.
//
// Everything is noexcept: an allocation that fails ends the process, and the journal is the truth.
#pragma once

#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string_view>
#include <utility>
#include <vector>

namespace tracecode {

// A hash that a sender of documents cannot aim at: its seed is drawn when the process starts.
inline uint64_t hash_key(std::string_view key) noexcept {
    static const uint64_t seed = [] {
        uint64_t drawn = 0x9E3779B97F4A7C15u;
        return getrandom(&drawn, sizeof drawn, 0) == sizeof drawn ? drawn : 0x9E3779B97F4A7C15u;
    }();
    const char *at = key.data();
    size_t size = key.size();
    uint64_t hash = seed ^ (size * 0xA0761D6478BD642Fu);
    auto mix = [&hash](uint64_t word) {
        unsigned __int128 product =
            static_cast<unsigned __int128>(hash ^ word ^ 0xE7037ED1A0B428DBu) * 0x8EBC6AF09C88C6E3u;
        hash = static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
    };
    for (; size >= 8; size -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        mix(word);
    }
    uint64_t rest = 0;
    memcpy(&rest, at, size);
    mix(rest);
    mix(seed);
    return hash;
}

// How much of a key names its group, 0 if its table has no groups. The layouts are those of FORMAT.md.
// Also right for a prefix: it names a group, by the same bytes, as soon as it is long enough.
inline size_t group_size(std::string_view key) noexcept {
    size_t end;
    if (key.size() < 2)
        return 0;
    switch (key[0]) {
    case 'b':  // batch, deletion, superseded document: institution and type (5 bytes), text, NUL | sequence
    case 'x':
    case 'D':
    case 'w':  // sale without a receipt: institution and 00, identifier, NUL | code
        end = key.find('\0', 6);
        return end == key.npos ? 0 : end + 1;
    case 'U':  // document with an unknown product: identifier, NUL | sequence
        end = key.find('\0', 1);
        return end == key.npos ? 0 : end + 1;
    case 'h':  // code hold, child, parent: length and code | the rest
    case 'k':
    case 'q':
        end = 2 + static_cast<unsigned char>(key[1]);
        return end > key.size() ? 0 : end;
    case 'l':  // lot hold: identifier, NUL, lot, NUL | hold
        end = key.find('\0', 1);
        if (end != key.npos)
            end = key.find('\0', end + 1);
        return end == key.npos ? 0 : end + 1;
    default:
        return 0;
    }
}

// Memory from the system, zeroed. What is large comes in large pages where the system has them: an overlay is
// touched all over, and every small page costs a fault at first and a look-up in the tables ever after.
class Room {
public:
    Room() noexcept = default;

    explicit Room(size_t size) noexcept : size_(size) {
        if (size < MAPPED_BYTES_MIN) {
            at_ = static_cast<char *>(calloc(size, 1));
        } else {
            void *mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            at_ = mapped == MAP_FAILED ? nullptr : static_cast<char *>(mapped);
            if (at_ != nullptr)
                madvise(at_, size, MADV_HUGEPAGE);
        }
        if (at_ == nullptr)
            std::terminate();
    }

    Room(Room &&other) noexcept { *this = std::move(other); }

    Room &operator=(Room &&other) noexcept {
        std::swap(at_, other.at_);
        std::swap(size_, other.size_);
        return *this;
    }

    ~Room() {
        if (size_ < MAPPED_BYTES_MIN)
            free(at_);
        else
            munmap(at_, size_);
    }

    char *at() const noexcept { return at_; }

private:
    // From this size on the system gives large pages.
    static constexpr size_t MAPPED_BYTES_MIN = 4 << 20;

    char *at_ = nullptr;
    size_t size_ = 0;
};

// An open-addressing table of pointers with their hashes, so that a look-up touches a record only when its
// hash fits. Its memory comes zeroed, page by page as it is used: a large one costs nothing at once.
template <typename Item>
class HashTable {
public:
    struct Slot {
        uint64_t hash;
        Item *item;
    };

    explicit HashTable(size_t capacity) noexcept {
        while (size_ < capacity * 2)
            size_ *= 2;
        room_ = Room(bytes());
    }

    // The slot for which `same(item)` holds, or the empty one where it belongs.
    template <typename Same>
    Slot *find(uint64_t hash, Same same) const noexcept {
        Slot *slots = this->slots();
        for (size_t i = hash & (size_ - 1);; i = (i + 1) & (size_ - 1))
            if (slots[i].item == nullptr || (slots[i].hash == hash && same(slots[i].item)))
                return &slots[i];
    }

    // Send for the slot, and later for the item that it holds, before either is looked at.
    void prefetch(uint64_t hash) const noexcept { __builtin_prefetch(&slots()[hash & (size_ - 1)]); }

    void prefetch_item(uint64_t hash) const noexcept {
        const Slot &slot = slots()[hash & (size_ - 1)];
        if (slot.hash == hash && slot.item != nullptr)
            __builtin_prefetch(slot.item);
    }

    // Fill an empty slot that `find` returned; other slots may move.
    void fill(Slot *slot, uint64_t hash, Item *item) noexcept {
        *slot = {hash, item};
        if (++count_ * 2 <= size_)
            return;
        Room old = std::move(room_);
        const Slot *before = reinterpret_cast<const Slot *>(old.at());
        size_ *= 2;
        room_ = Room(bytes());
        for (size_t i = 0; i < size_ / 2; i++)
            if (before[i].item != nullptr)
                *find(before[i].hash, [](Item *) { return false; }) = before[i];
    }

    size_t bytes() const noexcept { return size_ * sizeof(Slot); }

    // Soon to grow, and so large that to grow takes longer than whoever writes may wait.
    bool strained() const noexcept { return bytes() >= STRAINED_BYTES_MIN && count_ > size_ / 8 * 3; }

    // Take all its pages from the system now.
    void touch() noexcept { memset(room_.at(), 0, bytes()); }

private:
    static constexpr size_t STRAINED_BYTES_MIN = 16 << 20;

    Slot *slots() const noexcept { return reinterpret_cast<Slot *>(room_.at()); }

    size_t size_ = 1024;
    size_t count_ = 0;
    Room room_;
};

class Overlay {
public:
    enum State : uint8_t {
        ABSENT,   // known by name only: what lies below the overlay counts
        ERASED,   // deleted, whatever lies below
        PRESENT,
    };

    struct Record {
        Record *group_next;
        const char *value_data;
        uint32_t value_size;
        uint32_t change;  // the last commit interval that touched it
        uint16_t key_size;
        State state;
        char key_data[1];  // key_size bytes

        std::string_view key() const noexcept { return {key_data, key_size}; }
        std::string_view value() const noexcept { return {value_data, value_size}; }
    };

    // What a slot of either table is looked for by.
    static auto named(std::string_view key) noexcept {
        return [key](const Record *record) { return record->key() == key; };
    }

    static auto grouped(std::string_view name) noexcept {
        return [name](const Record *head) { return head->key().substr(0, group_size(head->key())) == name; };
    }

    // `capacity` is how many records fit before the table grows: an overlay is as large as the last.
    explicit Overlay(size_t capacity = 0) noexcept : table_(capacity), groups_(0) { records_.reserve(capacity); }

    Overlay(const Overlay &) = delete;
    Overlay &operator=(const Overlay &) = delete;

    // The record, PRESENT or ERASED, or nullptr.
    const Record *find(std::string_view key, uint64_t hash) const noexcept {
        const Record *record = table_.find(hash, named(key))->item;
        return record == nullptr || record->state == ABSENT ? nullptr : record;
    }

    void prefetch(uint64_t hash) const noexcept { table_.prefetch(hash); }

    void prefetch_record(uint64_t hash) const noexcept { table_.prefetch_item(hash); }

    // Whether the record was changed since the last commit.
    bool pending(const Record *record) const noexcept { return record->change == change_; }

    void put(std::string_view key, uint64_t hash, std::string_view value) noexcept {
        Record *record = touch(key, hash);
        // Only bytes of this interval may be overwritten: older ones are what a rollback restores.
        if (record->value_data == nullptr || record->value_size != value.size())
            record->value_data = static_cast<char *>(allocate(std::max<size_t>(value.size(), 1)));
        if (!value.empty())
            memcpy(const_cast<char *>(record->value_data), value.data(), value.size());
        record->value_size = static_cast<uint32_t>(value.size());
        record->state = PRESENT;
    }

    void erase(std::string_view key, uint64_t hash) noexcept {
        Record *record = touch(key, hash);
        record->value_data = nullptr;
        record->value_size = 0;
        record->state = ERASED;
    }

    // Keep what changed since the last commit.
    void commit() noexcept {
        undo_.clear();
        change_++;
    }

    // Take back what changed since the last commit.
    void rollback() noexcept {
        for (auto at = undo_.rbegin(); at != undo_.rend(); ++at) {
            at->record->value_data = at->value_data;
            at->record->value_size = at->value_size;
            at->record->state = at->state;
        }
        commit();
    }

    bool changed() const noexcept { return !undo_.empty(); }

    // The records, PRESENT or ERASED, whose keys begin with `prefix`; in no order. Takes time by the size
    // of the group if the prefix names one, else by that of the overlay.
    std::vector<const Record *> matching(std::string_view prefix) const noexcept {
        std::vector<const Record *> result;
        auto look = [&](const Record *record) {
            if (record->state != ABSENT && record->key().substr(0, prefix.size()) == prefix)
                result.push_back(record);
        };
        if (!prefix.empty() && tables_[static_cast<unsigned char>(prefix[0])] == 0)
            return result;
        size_t group = group_size(prefix);
        if (group == 0) {
            for (const Record *record : records_)
                look(record);
            return result;
        }
        std::string_view name = prefix.substr(0, group);
        for (const Record *at = groups_.find(hash_key(name), grouped(name))->item; at; at = at->group_next)
            look(at);
        return result;
    }

    // All records in the order of their keys.
    std::vector<const Record *> sorted() const noexcept {
        struct Entry {
            uint64_t head;
            const Record *record;
        };
        std::vector<Entry> entries;
        entries.reserve(records_.size());
        for (const Record *record : records_) {
            if (record->state == ABSENT)
                continue;
            uint64_t head = 0;
            memcpy(&head, record->key_data, std::min<size_t>(record->key_size, 8));
            entries.push_back({__builtin_bswap64(head), record});
        }
        std::sort(entries.begin(), entries.end(), [](const Entry &a, const Entry &b) {
            return a.head != b.head ? a.head < b.head : a.record->key() < b.record->key();
        });
        std::vector<const Record *> result;
        result.reserve(entries.size());
        for (const Entry &entry : entries)
            result.push_back(entry.record);
        return result;
    }

    bool strained() const noexcept { return table_.strained(); }

    // Take the memory of an empty overlay's tables from the system, which can take longer than a till may wait.
    void touch() noexcept {
        table_.touch();
        records_.resize(records_.capacity());
        records_.clear();
    }

    size_t records() const noexcept { return records_.size(); }

    // How many of them are of one table, the first byte of a key.
    size_t records_of(char table) const noexcept { return tables_[static_cast<unsigned char>(table)]; }

    // What it holds of memory, superseded values included.
    size_t bytes() const noexcept {
        return arena_bytes_ + table_.bytes() + groups_.bytes() + records_.capacity() * sizeof(void *) +
               undo_.capacity() * sizeof(Undo);
    }

private:
    struct Undo {
        Record *record;
        const char *value_data;
        uint32_t value_size;
        State state;
    };

    static constexpr size_t CHUNK_BYTES_MIN = 1 << 18, CHUNK_BYTES_MAX = 16 << 20;

    // The record of the key, made if need be, with what it was noted for a rollback.
    Record *touch(std::string_view key, uint64_t hash) noexcept {
        auto *slot = table_.find(hash, named(key));
        Record *record = slot->item;
        if (record == nullptr) {
            record = insert(key);
            table_.fill(slot, hash, record);
        }
        if (record->change != change_) {
            undo_.push_back({record, record->value_data, record->value_size, record->state});
            record->change = change_;
            record->value_data = nullptr;
        }
        return record;
    }

    Record *insert(std::string_view key) noexcept {
        Record *record = static_cast<Record *>(allocate(offsetof(Record, key_data) + key.size()));
        record->group_next = nullptr;
        record->value_data = nullptr;
        record->value_size = 0;
        record->change = change_ - 1;
        record->key_size = static_cast<uint16_t>(key.size());
        record->state = ABSENT;
        memcpy(record->key_data, key.data(), key.size());
        records_.push_back(record);
        tables_[static_cast<unsigned char>(key[0])]++;
        if (size_t size = group_size(key)) {
            std::string_view name = key.substr(0, size);
            uint64_t group_hash = hash_key(name);
            auto *slot = groups_.find(group_hash, grouped(name));
            record->group_next = slot->item;
            if (slot->item != nullptr)
                slot->item = record;
            else
                groups_.fill(slot, group_hash, record);
        }
        return record;
    }

    void *allocate(size_t size) noexcept {
        size = (size + 7) & ~size_t{7};
        if (size > chunk_left_) {
            // A record larger than a chunk gets one of its own, and the rest of the current one stays in use.
            if (size > CHUNK_BYTES_MIN / 4)
                return new_chunk(size);
            // Chunks grow with the overlay: a small one takes little, a large one large pages.
            chunk_left_ = std::clamp(arena_bytes_ / 4, CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
            chunk_at_ = static_cast<char *>(new_chunk(chunk_left_));
        }
        void *result = chunk_at_;
        chunk_at_ += size;
        chunk_left_ -= size;
        return result;
    }

    void *new_chunk(size_t size) noexcept {
        chunks_.emplace_back(size);
        arena_bytes_ += size;
        return chunks_.back().at();
    }

    HashTable<Record> table_;
    HashTable<Record> groups_;  // the last record of each group; the others hang on it
    std::vector<Record *> records_;
    std::vector<Undo> undo_;
    uint32_t change_ = 1;
    size_t tables_[256] = {};
    std::vector<Room> chunks_;
    char *chunk_at_ = nullptr;
    size_t chunk_left_ = 0;
    size_t arena_bytes_ = 0;
};

}  // namespace tracecode
