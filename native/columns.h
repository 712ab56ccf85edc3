// Columns as Apache Arrow lays them out (format/Columnar.rst): a buffer of values; for texts and lists a buffer
// of 32-bit offsets; for columns that may be null a bitmap of what is not, least significant bit first.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace tracecode {

class Column {
  public:
    enum Kind : uint8_t { FIXED, BOOLEAN, TEXT, LIST };

    Column() noexcept = default;
    Column(const Column &) = delete;
    Column &operator=(const Column &) = delete;

    void begin(Kind kind, bool nullable) noexcept {
        kind_ = kind;
        nullable_ = nullable;
        if (kind >= TEXT) offsets_.add<int32_t>(0);
    }

    // Little-endian: the first bytes are the narrower number.
    void add_number(int64_t value, size_t width, size_t times) noexcept {
        for (size_t i = 0; i < times; i++) values_.add_bytes(&value, width);
        mark(true, times);
    }
    void add_decimal(int64_t value, size_t times) noexcept {  // 128 bits, never negative
        const int64_t both[2] = {value, 0};
        for (size_t i = 0; i < times; i++) values_.add_bytes(both, sizeof(both));
        mark(true, times);
    }
    void add_flag(bool value, size_t times) noexcept {
        for (size_t i = 0; i < times; i++) values_.add_bit(rows_ + i, value);
        mark(true, times);
    }
    void add_text(std::string_view text, size_t times) noexcept {
        for (size_t i = 0; i < times; i++) {
            values_.add_bytes(text.data(), text.size());
            offsets_.add(static_cast<int32_t>(values_.size()));
        }
        mark(true, times);
    }
    // Of the list that end_list closes.
    void add_item(int64_t item) noexcept { values_.add(static_cast<int16_t>(item)); }
    void end_list() noexcept {
        offsets_.add(static_cast<int32_t>(values_.size() / sizeof(int16_t)));
        mark(true, 1);
    }
    void add_null(size_t width) noexcept {  // width 0: a text
        const int64_t nothing[2] = {0, 0};
        if (kind_ == FIXED) values_.add_bytes(nothing, width);
        if (kind_ == TEXT) offsets_.add(static_cast<int32_t>(values_.size()));
        mark(false, 1);
        nulls_++;
    }

    Kind kind() const noexcept { return kind_; }
    bool nullable() const noexcept { return nullable_; }
    size_t nulls() const noexcept { return nulls_; }
    size_t rows() const noexcept { return rows_; }
    std::string_view values() const noexcept { return values_.view(); }
    std::string_view offsets() const noexcept { return offsets_.view(); }
    std::string_view valid() const noexcept { return valid_.view(); }

  private:
    class Buffer {
      public:
        Buffer() noexcept = default;
        ~Buffer() { std::free(at_); }
        template <typename Value>
        void add(Value value) noexcept {
            add_bytes(&value, sizeof(value));
        }
        void add_bytes(const void *bytes, size_t size) noexcept {
            if (size == 0) return;  // an empty view may point nowhere
            room(size);
            std::memcpy(at_ + size_, bytes, size);
            size_ += size;
        }
        void add_bit(size_t place, bool bit) noexcept {
            if (place % 8 == 0) add<uint8_t>(0);
            if (bit) at_[place / 8] |= static_cast<char>(1 << (place % 8));
        }
        size_t size() const noexcept { return size_; }
        std::string_view view() const noexcept { return {at_, size_}; }

      private:
        void room(size_t size) noexcept {
            if (size_ + size <= capacity_) return;
            capacity_ = (size_ + size) * 2 + 64;
            at_ = static_cast<char *>(std::realloc(at_, capacity_));
            if (at_ == nullptr) std::abort();
        }
        char *at_ = nullptr;
        size_t size_ = 0, capacity_ = 0;
    };

    void mark(bool valid, size_t times) noexcept {
        if (nullable_) {
            for (size_t i = 0; i < times; i++) valid_.add_bit(rows_ + i, valid);
        }
        rows_ += times;
    }

    Kind kind_ = FIXED;
    bool nullable_ = false;
    size_t rows_ = 0, nulls_ = 0;
    Buffer values_, offsets_, valid_;
};

// quantity (4 decimals) x price (6 decimals) in fen, half a fen upwards; false if it has more than 18 digits.
inline bool multiply_price(int64_t quantity, int64_t price, int64_t *fen) noexcept {
    __extension__ using Wide = unsigned __int128;
    const Wide product = (static_cast<Wide>(quantity) * static_cast<Wide>(price) + 50'000'000) / 100'000'000;
    *fen = static_cast<int64_t>(product);
    return product < static_cast<Wide>(1'000'000'000'000'000'000);
}

}  // namespace tracecode
