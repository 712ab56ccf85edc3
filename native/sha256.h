// SHA-256 (FIPS 180-4) of the two things a Merkle log hashes: entries as leaves, and nodes of two children.
// hashlib does as well and is what this is compared with; but each call of it costs more than the hash does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace tracecode {

alignas(16) static const uint32_t SHA256_ROUNDS[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

inline uint32_t turn_right(uint32_t word, int bits) noexcept { return word >> bits | word << (32 - bits); }

// For machines without the instructions; also what the instructions are tested against.
inline void sha256_blocks_by_word(uint32_t *state, const uint8_t *data, size_t blocks) noexcept {
    for (; blocks > 0; blocks--, data += 64) {
        uint32_t w[64], s[8];
        for (int i = 0; i < 16; i++) {
            memcpy(&w[i], data + 4 * i, 4);
            w[i] = __builtin_bswap32(w[i]);
        }
        for (int i = 16; i < 64; i++) {
            uint32_t low = turn_right(w[i - 15], 7) ^ turn_right(w[i - 15], 18) ^ w[i - 15] >> 3;
            uint32_t high = turn_right(w[i - 2], 17) ^ turn_right(w[i - 2], 19) ^ w[i - 2] >> 10;
            w[i] = w[i - 16] + low + w[i - 7] + high;
        }
        memcpy(s, state, sizeof(s));
        for (int i = 0; i < 64; i++) {
            uint32_t e = s[4], a = s[0];
            uint32_t one = s[7] + (turn_right(e, 6) ^ turn_right(e, 11) ^ turn_right(e, 25)) +
                           ((e & s[5]) ^ (~e & s[6])) + SHA256_ROUNDS[i] + w[i];
            uint32_t two = (turn_right(a, 2) ^ turn_right(a, 13) ^ turn_right(a, 22)) +
                           ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
            memmove(s + 1, s, 7 * sizeof(uint32_t));
            s[4] += one;
            s[0] = one + two;
        }
        for (int i = 0; i < 8; i++)
            state[i] += s[i];
    }
}

#if defined(__x86_64__)
// The instructions keep the state as (a, b, e, f) and (c, d, g, h) and do two rounds at a time.
__attribute__((target("sha,sse4.1,ssse3")))
inline void sha256_blocks_by_instruction(uint32_t *state, const uint8_t *data, size_t blocks) noexcept {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(state)), 0xB1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(state + 4)), 0x1B);
    __m128i abef = _mm_alignr_epi8(badc, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, badc, 0xF0);
    for (; blocks > 0; blocks--, data += 64) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[4];
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            __m128i words;
            if (i < 4) {
                words = _mm_loadu_si128(reinterpret_cast<const __m128i *>(data + 16 * i));
                words = _mm_shuffle_epi8(words, big_endian);
            } else {
                words = _mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]);
                words = _mm_add_epi32(words, _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4));
                words = _mm_sha256msg2_epu32(words, w[(i + 3) & 3]);
            }
            w[i & 3] = words;
            const __m128i *rounds = reinterpret_cast<const __m128i *>(SHA256_ROUNDS + 4 * i);
            words = _mm_add_epi32(words, _mm_load_si128(rounds));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, words);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(words, 0x0E));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, 0x1B);
    const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xB1);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(state), _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

inline bool has_sha256_instructions() noexcept {
    unsigned int a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 29);
}
#endif

inline void sha256_blocks(uint32_t *state, const uint8_t *data, size_t blocks, bool by_word) noexcept {
#if defined(__x86_64__)
    static const bool has_instructions = has_sha256_instructions();
    if (has_instructions && !by_word)
        return sha256_blocks_by_instruction(state, data, blocks);
#endif
    sha256_blocks_by_word(state, data, blocks);
}

// SHA-256 of one byte and what follows it; 32 bytes to `hash`.
inline void sha256_behind(uint8_t first, const void *data, size_t size, uint8_t *hash, bool by_word) noexcept {
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    const uint8_t *at = static_cast<const uint8_t *>(data);
    uint8_t block[128];
    size_t held = 1, rest = size;
    block[0] = first;
    if (rest >= 63) {
        memcpy(block + 1, at, 63);
        sha256_blocks(state, block, 1, by_word);
        at += 63;
        rest -= 63;
        sha256_blocks(state, at, rest / 64, by_word);
        at += rest / 64 * 64;
        rest %= 64;
        held = 0;
    }
    memcpy(block + held, at, rest);
    held += rest;
    block[held++] = 0x80;
    const size_t end = held <= 56 ? 64 : 128;
    memset(block + held, 0, end - held);
    const uint64_t bits = __builtin_bswap64((static_cast<uint64_t>(size) + 1) * 8);
    memcpy(block + end - 8, &bits, 8);
    sha256_blocks(state, block, end / 64, by_word);
    for (int i = 0; i < 8; i++) {
        const uint32_t word = __builtin_bswap32(state[i]);
        memcpy(hash + 4 * i, &word, 4);
    }
}

// The root of a perfect tree over `count` hashes, a power of two; they are overwritten.
inline void fold_hashes(uint8_t *hashes, size_t count) noexcept {
    for (; count > 1; count /= 2)
        for (size_t i = 0; i < count / 2; i++)
            sha256_behind(1, hashes + 64 * i, 64, hashes + 32 * i, false);
}

}  // namespace tracecode
