// What bits.h needs, with AVX-512 VBMI: a register as a table of 64 bytes.
//
// 32 bits of a document vector lie in a lane, four of them in each byte. So the four bytes of a lane need four tables of 16
// entries, which are one register, and a byte says which by its upper bits. Entries of a lane belong to one document:
// vpdpbusd adds them to a sum of 32 bits, where bytes that lay side by side for 64 documents had to be widened first.
#ifndef LATEWOOD_BITS_VBMI_H
#define LATEWOOD_BITS_VBMI_H

#include <immintrin.h>

#include <cstdint>

#define LATEWOOD_BITS_BY_WORDS

namespace {

constexpr int kBitRows = 64;
constexpr int kBitQueries = 4;

using BitSum = std::int32_t;
constexpr int kBestLanes = 16;
constexpr int kGroups = kBitRows / 16;  // of rows, a register of sums each

// transpose() exchanges the two digits of a row's number within its group.
constexpr int lane_of(int row) { return row / 16 * 16 + row % 4 * 4 + row / 4 % 4; }

// A word's low halves of bytes have a register of tables, then the high halves.
constexpr int kSummedTogether = 4;
constexpr std::int64_t place_of_table(std::int64_t nibble) {
    return nibble / 8 * 8 + nibble % 2 * 4 + nibble / 2 % 4;
}

// Four bits in every byte, and above them which of four tables they look up.
inline __m512i places_in_tables(__m512i words) {
    return _mm512_ternarylogic_epi32(words, _mm512_set1_epi8(15), _mm512_set1_epi32(0x30201000), 0xea);  // (a & b) | c
}

// Four pieces of 16 bytes, `width` apart.
inline __m512i four_rows(const std::uint8_t* from, std::int64_t width) {
    if (width == 16) return _mm512_loadu_si512(from);
    const auto row = [&](std::int64_t r) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + r * width)); };
    const __m512i two = _mm512_inserti32x4(_mm512_castsi128_si512(row(0)), row(1), 1);
    return _mm512_inserti32x4(_mm512_inserti32x4(two, row(2), 2), row(3), 3);
}

// Codes [kBitRows, width] to places in tables, [width / 4, 2, kGroups, 64]: of every word the low halves of its bytes, then
// the high ones.
inline void transpose(const std::uint8_t* codes, std::int64_t width, std::uint8_t* nibbles) {
    for (std::int64_t piece = 0; piece < width; piece += 16)
        for (int group = 0; group < kGroups; ++group) {
            const std::uint8_t* from = codes + group * 16 * width + piece;
            std::uint8_t* to = nibbles + (piece * 2 * kGroups + group * 4) * 16;
            const __m512i a = four_rows(from, width), b = four_rows(from + 4 * width, width);
            const __m512i c = four_rows(from + 8 * width, width), d = four_rows(from + 12 * width, width);
            const __m512i ab = _mm512_unpacklo_epi32(a, b), cd = _mm512_unpacklo_epi32(c, d);
            const __m512i ab_high = _mm512_unpackhi_epi32(a, b), cd_high = _mm512_unpackhi_epi32(c, d);
            const __m512i words[4] = {_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd),
                                      _mm512_unpacklo_epi64(ab_high, cd_high), _mm512_unpackhi_epi64(ab_high, cd_high)};
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i, to += 2 * kGroups * 64) {
                _mm512_storeu_si512(to, places_in_tables(words[i]));
                _mm512_storeu_si512(to + kGroups * 64, places_in_tables(_mm512_srli_epi32(words[i], 4)));
            }
        }
}

// Sums of the table entries that the nibbles choose, for G query vectors, `tables` [G, bytes * 32]: stored in `out`
// [G, kBitRows], or joined to maxima [G, kBestLanes] there.
template <int G, bool kJoined>
inline void sum_or_join_bits(const std::uint8_t* nibbles, const std::uint8_t* tables, std::int64_t bytes,
                             std::int32_t* out) {
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i total[G][kGroups];
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g)
#pragma GCC unroll 4
        for (int group = 0; group < kGroups; ++group) total[g][group] = _mm512_setzero_si512();
    for (std::int64_t byte = 0; byte < bytes; byte += 4, nibbles += 2 * kGroups * 64) {
        __m512i low[G], high[G];
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) {
            const std::uint8_t* table = tables + (g * bytes + byte) * 32;
            low[g] = _mm512_loadu_si512(table);
            high[g] = _mm512_loadu_si512(table + 64);
        }
#pragma GCC unroll 4
        for (int group = 0; group < kGroups; ++group) {
            const __m512i first = _mm512_loadu_si512(nibbles + group * 64);
            const __m512i second = _mm512_loadu_si512(nibbles + (kGroups + group) * 64);
#pragma GCC unroll 4
            for (int g = 0; g < G; ++g)
                total[g][group] = _mm512_dpbusd_epi32(
                    total[g][group],
                    _mm512_add_epi8(_mm512_permutexvar_epi8(first, low[g]), _mm512_permutexvar_epi8(second, high[g])),
                    ones);
        }
    }
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) {
        if constexpr (kJoined) {
            __m512i top = _mm512_loadu_si512(out + g * kBestLanes);
#pragma GCC unroll 4
            for (int group = 0; group < kGroups; ++group) top = _mm512_max_epi32(top, total[g][group]);
            _mm512_storeu_si512(out + g * kBestLanes, top);
        } else {
#pragma GCC unroll 4
            for (int group = 0; group < kGroups; ++group)
                _mm512_storeu_si512(out + g * kBitRows + group * 16, total[g][group]);
        }
    }
}

template <int G>
inline void sum_bits(const std::uint8_t* nibbles, const std::uint8_t* tables, std::int64_t bytes, std::int32_t* sums) {
    sum_or_join_bits<G, false>(nibbles, tables, bytes, sums);
}
// For a block that one document has to itself.
template <int G>
inline void join_bits(const std::uint8_t* nibbles, const std::uint8_t* tables, std::int64_t bytes, std::int32_t* best) {
    sum_or_join_bits<G, true>(nibbles, tables, bytes, best);
}

// The lanes of some rows.
struct RowMask {
    __mmask16 groups[kGroups];

    void set(int begin, int end) {
        const __m512i first_rows = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);  // by lane
        for (int group = 0; group < kGroups; ++group) {
            const __m512i rows = _mm512_add_epi32(first_rows, _mm512_set1_epi32(group * 16));
            groups[group] = _mm512_mask_cmplt_epi32_mask(_mm512_cmpge_epi32_mask(rows, _mm512_set1_epi32(begin)), rows,
                                                         _mm512_set1_epi32(end));
        }
    }
};

// Joins the sums [kBitRows] of some rows to the maxima `best` [16].
inline void join_sums(const std::int32_t* sums, const RowMask& mask, std::int32_t* best) {
    __m512i top = _mm512_loadu_si512(best);
#pragma GCC unroll 4
    for (int group = 0; group < kGroups; ++group)
        top = _mm512_mask_max_epi32(top, mask.groups[group], top, _mm512_loadu_si512(sums + group * 16));
    _mm512_storeu_si512(best, top);
}

inline std::int32_t largest_sum(const std::int32_t* best) { return _mm512_reduce_max_epi32(_mm512_loadu_si512(best)); }

}  // namespace

#endif
