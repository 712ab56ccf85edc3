// What clearing works with: the layouts of the records it reads and writes (FORMAT.md), and a document while
// it is checked.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "page_walk.h"

namespace tracecode {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are little-endian and copied as they are");

#pragma pack(push, 1)
struct CodeRecord {
    uint8_t state;
    uint8_t flags;
    uint16_t event_count;
    uint32_t institution;
    uint32_t units_left;
    uint16_t active_sales;
    uint16_t return_cycles;
    uint64_t head : 48;
    uint32_t last_time;
    uint32_t lot_hash;
    int32_t expiry_day;
};

struct DocumentRecord {
    uint64_t sequence;
    uint64_t deleted_by;
    uint64_t revision_sequence;
    uint32_t revisions;
    uint32_t flags;
};

struct ProductHead {  // the drug codes follow, each behind its length
    uint8_t package_level;
    uint8_t flags;
    uint16_t drug_code_count;
    uint32_t units_per_package;
    uint32_t splittable_units;
};

struct InstitutionHead {
    uint32_t number;
    uint8_t flags;
    uint8_t rest[3];
    int32_t service_start_day;
    int32_t service_end_day;
};
#pragma pack(pop)

static_assert(sizeof(CodeRecord) == 34);
static_assert(sizeof(DocumentRecord) == 32);
static_assert(sizeof(ProductHead) == 12);
static_assert(sizeof(InstitutionHead) == 16);

struct Notice {  // STOCK_NEVER_RECEIVED of a sold code, which tells where receipts carry no codes
    uint32_t line_number;
    std::string code;  // canonical text

    bool operator<(const Notice &other) const noexcept {
        return line_number != other.line_number ? line_number < other.line_number : code < other.code;
    }
};

struct Guards {  // of the rule base in force
    int64_t late_seconds = 0;
    int64_t future_skew_seconds = 0;
    int64_t provisional_seconds = 0;
    int32_t legacy_stock_until_day = 0;
};

class ScopedGuards {  // of rows of the rule base that hold for some institutions and days only
public:
    void clear() noexcept {
        rows_.clear();
        shapes_.clear();
        strictest_ = loosest();
    }

    void add(std::string_view institution, std::string_view division, int32_t start_day, int32_t end_day,
             const Guards &guards) {
        const std::pair<size_t, size_t> shape(institution.size(), division.size());
        if (std::find(shapes_.begin(), shapes_.end(), shape) == shapes_.end()) {
            shapes_.push_back(shape);
        }
        set_key(institution, division);
        rows_[key_].push_back({start_day, end_day, guards});
        tighten(&strictest_, guards);
    }

    // Whether no row, whomever it is for, would make anything of such a document.
    bool silent(int64_t late_seconds, int64_t ahead_seconds, int32_t day) const noexcept {
        return late_seconds <= strictest_.late_seconds && ahead_seconds <= strictest_.future_skew_seconds &&
               day >= strictest_.legacy_stock_until_day;
    }

    // The strictest of the guards and of all rows that may be for this institution on this day.
    Guards at(Guards guards, std::string_view institution, std::string_view division, int32_t day) noexcept {
        for (const auto &[institution_size, division_size] : shapes_) {
            set_key(institution.substr(0, institution_size), division.substr(0, division_size));
            const auto found = rows_.find(key_);
            if (found == rows_.end()) {
                continue;
            }
            for (const Row &row : found->second) {
                if (row.start_day <= day && day <= row.end_day) {
                    tighten(&guards, row.guards);
                }
            }
        }
        return guards;
    }

private:
    struct Row {
        int32_t start_day, end_day;
        Guards guards;
    };

    static Guards loosest() noexcept {
        return {INT64_MAX, INT64_MAX, 0, INT32_MIN};
    }

    static void tighten(Guards *guards, const Guards &other) noexcept {
        guards->late_seconds = std::min(guards->late_seconds, other.late_seconds);
        guards->future_skew_seconds = std::min(guards->future_skew_seconds, other.future_skew_seconds);
        guards->legacy_stock_until_day = std::max(guards->legacy_stock_until_day, other.legacy_stock_until_day);
    }

    void set_key(std::string_view institution, std::string_view division) {
        key_.assign(institution);
        key_.push_back('\0');
        key_.append(division);
    }

    std::unordered_map<std::string, std::vector<Row>> rows_;
    std::vector<std::pair<size_t, size_t>> shapes_;  // lengths that occur, a handful
    Guards strictest_ = loosest();
    std::string key_;
};

struct Candidate {  // a document that may be plain
    std::string_view document;
    std::string_view request_id;
    int64_t receive_time_ns;
};

struct PlainLine {
    std::string_view drug_code;
    std::string_view lot;
    int32_t expiry_day;
    uint32_t number;
};

struct PlainCode {
    size_t key_at;  // in Plain::keys, the table's byte included
    size_t key_size;
    uint64_t hash;
    uint32_t lot_hash;   // as the document says, 0 and NO_DAY where it says nothing
    int32_t expiry_day;
    uint32_t line_number;
    uint64_t previous;  // the entry before in the code's chain by arrival
    CodeRecord record;  // as it will be
};

struct Plain {  // a document so far; kept and used again, so that nothing is allocated per document
    uint8_t kind;
    uint8_t deleted_type;
    uint32_t institution;
    uint32_t line_number;  // of the line before
    int64_t time;
    int32_t day;
    int32_t legacy_stock_until_day;  // of the guards that hold for the institution
    bool uploads_receipt_codes;
    std::string institution_code, division_code;  // where it does not upload them, or rows ask for them
    std::vector<Notice> notices;
    std::string document_key;
    uint64_t document_hash;
    std::vector<std::string_view> lines;
    std::vector<std::string_view> scans;
    std::vector<std::string_view> batch_serials;
    std::vector<PlainCode> codes;
    std::vector<uint64_t> hashes;
    std::string_view document_found;        // what looking ahead found of the document's record
    std::vector<PageWalk::Wanted> wanted;  // and of those of its codes
    std::string keys;
    std::string product_identifier;  // the last one looked up, and what was found
    std::string_view product;
    std::string key, entry, body;  // being built

    void reset() noexcept {
        lines.clear();
        batch_serials.clear();
        codes.clear();
        notices.clear();
        keys.clear();
        product_identifier.clear();
        line_number = 0;
    }
};

}  // namespace tracecode
