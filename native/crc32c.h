// CRC-32C (Castagnoli, RFC 3720 appendix B.4): the checksum of every stored record.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace tracecode {

// One table per byte lane: eight bytes are folded in a step ("slicing by eight").
struct Crc32cTables {
    uint32_t lane[8][256];

    Crc32cTables() noexcept {
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t crc = byte;
            for (int bit = 0; bit < 8; bit++)
                crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0);
            lane[0][byte] = crc;
        }
        for (uint32_t byte = 0; byte < 256; byte++)
            for (int i = 1; i < 8; i++)
                lane[i][byte] = (lane[i - 1][byte] >> 8) ^ lane[0][lane[i - 1][byte] & 0xFF];
    }
};

// For machines without the instruction; also what the instruction is tested against.
inline uint32_t crc32c_by_table(uint32_t seed, const void *data, size_t size) noexcept {
    static const Crc32cTables tables;
    const unsigned char *at = static_cast<const unsigned char *>(data);
    uint32_t crc = ~seed;
    for (; size >= 8; size -= 8, at += 8) {
        uint32_t low = crc ^ (at[0] | at[1] << 8 | at[2] << 16 | static_cast<uint32_t>(at[3]) << 24);
        crc = tables.lane[7][low & 0xFF] ^ tables.lane[6][low >> 8 & 0xFF] ^
              tables.lane[5][low >> 16 & 0xFF] ^ tables.lane[4][low >> 24] ^
              tables.lane[3][at[4]] ^ tables.lane[2][at[5]] ^ tables.lane[1][at[6]] ^ tables.lane[0][at[7]];
    }
    for (; size > 0; size--, at++)
        crc = (crc >> 8) ^ tables.lane[0][(crc ^ *at) & 0xFF];
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2")))
inline uint32_t crc32c_by_instruction(uint32_t seed, const void *data, size_t size) noexcept {
    const char *at = static_cast<const char *>(data);
    uint64_t crc = static_cast<uint32_t>(~seed);
    for (; size >= 8; size -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        crc = _mm_crc32_u64(crc, word);
    }
    uint32_t rest = static_cast<uint32_t>(crc);
    for (; size > 0; size--, at++)
        rest = _mm_crc32_u8(rest, static_cast<unsigned char>(*at));
    return ~rest;
}
#endif

// `seed` is the CRC of what came before, 0 at the beginning: crc32c(crc32c(0, a), b) is that of a + b.
inline uint32_t crc32c(uint32_t seed, const void *data, size_t size) noexcept {
#if defined(__x86_64__)
    static const bool has_instruction = __builtin_cpu_supports("sse4.2");
    if (has_instruction)
        return crc32c_by_instruction(seed, data, size);
#endif
    return crc32c_by_table(seed, data, size);
}

}  // namespace tracecode
