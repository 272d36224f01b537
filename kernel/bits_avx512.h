// What bits.h needs of AVX-512 without VBMI. simd_avx2.h explains.
#ifndef LATEWOOD_BITS_AVX512_H
#define LATEWOOD_BITS_AVX512_H

#include <immintrin.h>

#include <cstdint>

#include "transpose_x86.h"

namespace {

constexpr int kBitRows = 64;
constexpr int kBitQueries = 4;

inline void transpose(const std::uint8_t* codes, std::int64_t width, std::uint8_t* nibbles) {
    transpose_32(codes, width, nibbles, kBitRows);
    transpose_32(codes + 32 * width, width, nibbles + 32, kBitRows);
}

inline __m512i entries_of(const std::uint8_t* table, const std::uint8_t* nibbles) {
    const __m128i* entries = reinterpret_cast<const __m128i*>(table);
    return _mm512_add_epi8(_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(entries)),
                                               _mm512_loadu_si512(nibbles)),
                           _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(entries + 1)),
                                               _mm512_loadu_si512(nibbles + 64)));
}

template <int G>
inline void sum_bits(const std::uint8_t* nibbles, const std::uint8_t* tables, std::int64_t bytes, std::uint16_t* sums) {
    __m512i both[G], odd[G];
    for (int g = 0; g < G; ++g) both[g] = odd[g] = _mm512_setzero_si512();
    for (std::int64_t byte = 0; byte < bytes; byte += 2) {
        const std::uint8_t* from = nibbles + byte * 128;
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) {
            const std::uint8_t* table = tables + (g * bytes + byte) * 32;
            const __m512i entries = _mm512_add_epi8(entries_of(table, from), entries_of(table + 32, from + 128));
            both[g] = _mm512_add_epi16(both[g], entries);
            odd[g] = _mm512_add_epi16(odd[g], _mm512_srli_epi16(entries, 8));
        }
    }
    for (int g = 0; g < G; ++g) {
        _mm512_storeu_si512(sums + g * 64, _mm512_sub_epi16(both[g], _mm512_slli_epi16(odd[g], 8)));
        _mm512_storeu_si512(sums + g * 64 + 32, odd[g]);
    }
}

inline void join_sums(const std::uint16_t* sums, const std::uint16_t* mask, std::uint16_t* best) {
    const __m512i even = _mm512_and_si512(_mm512_loadu_si512(sums), _mm512_loadu_si512(mask));
    const __m512i odd = _mm512_and_si512(_mm512_loadu_si512(sums + 32), _mm512_loadu_si512(mask + 32));
    _mm512_storeu_si512(best, _mm512_max_epu16(_mm512_loadu_si512(best), _mm512_max_epu16(even, odd)));
}

inline std::uint16_t largest_sum(const std::uint16_t* best) {
    const __m512i v = _mm512_loadu_si512(best);
    const __m256i half = _mm256_max_epu16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    const __m128i top = _mm_max_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    const __m128i least = _mm_minpos_epu16(_mm_xor_si128(top, _mm_set1_epi16(-1)));
    return static_cast<std::uint16_t>(~_mm_extract_epi16(least, 0));
}

}  // namespace

#endif
