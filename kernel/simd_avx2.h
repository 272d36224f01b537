// The vocabulary of tile.h for AVX2, FMA and F16C: eight lanes of 32 bits.
#ifndef LATEWOOD_SIMD_AVX2_H
#define LATEWOOD_SIMD_AVX2_H

#include <immintrin.h>

#include <cstdint>

#include "table_bytes.h"
#include "transpose_x86.h"

namespace {

constexpr int kLanes = 8;
constexpr int kAccumulators = 12;  // of 16 registers: the rest hold the query, a document value and a product

using Floats = __m256;

inline Floats load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Floats v) { _mm256_storeu_ps(p, v); }
inline Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }

// sum += term, in place. As instructions and not as intrinsics, for the register allocator: gcc 12 reorders the
// intrinsics of a tile, copies or spills its sums in the innermost loop, and takes up to 1.6 times as long.
#if defined(__GNUC__)
#define LATEWOOD_NOINLINE __attribute__((noinline))
inline void add_product(__m256& sum, __m256 a, __m256 b) { __asm__("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b)); }
inline void add_32(__m256i& sum, __m256i term) { __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(term)); }
inline void add_16(__m256i& sum, __m256i term) { __asm__("vpaddw %1, %0, %0" : "+x"(sum) : "x"(term)); }
#else
#define LATEWOOD_NOINLINE
inline void add_product(__m256& sum, __m256 a, __m256 b) { sum = _mm256_fmadd_ps(a, b, sum); }
inline void add_32(__m256i& sum, __m256i term) { sum = _mm256_add_epi32(sum, term); }
inline void add_16(__m256i& sum, __m256i term) { sum = _mm256_add_epi16(sum, term); }
#endif

// Lanes 0, 1, 4, 5 to the front: what hadd leaves behind of sums of two; 0, 4 of sums of four.
inline __m256i front_pairs(__m256i v) { return _mm256_permute4x64_epi64(v, 0b1000); }
inline __m256i front_singles(__m256i v) {
    return _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4));
}

struct FloatTile {
    using Element = float;
    using Vector = __m256;
    using Sum = __m256;
    static constexpr int kPerLane = 1;

    static Sum zero() { return _mm256_setzero_ps(); }
    static Vector query(const float* p) { return _mm256_loadu_ps(p); }
    template <int Step>
    static Vector spread(const float* p) {
        if constexpr (Step == 1) return _mm256_broadcast_ss(p);
        if constexpr (Step == 2) return _mm256_castpd_ps(_mm256_broadcast_sd(reinterpret_cast<const double*>(p)));
        if constexpr (Step == 4) return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p));
        if constexpr (Step == 8) return _mm256_loadu_ps(p);
    }
    static void add(Sum& sum, Vector q, Vector d) { add_product(sum, q, d); }
    template <int Step>
    static Floats finish(Sum v, float) {
        if constexpr (Step >= 2) v = _mm256_hadd_ps(v, v);
        if constexpr (Step >= 4) v = _mm256_hadd_ps(v, v);
        if constexpr (Step == 2) v = _mm256_castsi256_ps(front_pairs(_mm256_castps_si256(v)));
        if constexpr (Step == 4) v = _mm256_castsi256_ps(front_singles(_mm256_castps_si256(v)));
        if constexpr (Step == 8) v = _mm256_add_ps(v, _mm256_permute2f128_ps(v, v, 1));
        return v;
    }
};

struct IntTile {
    using Element = std::int16_t;
    using Vector = __m256i;
    using Sum = __m256i;
    static constexpr int kPerLane = 2;

    static Sum zero() { return _mm256_setzero_si256(); }
    static Vector query(const std::int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    template <int Step>
    static Vector spread(const std::int16_t* p) {
        if constexpr (Step == 1)
            return _mm256_castps_si256(_mm256_broadcast_ss(reinterpret_cast<const float*>(p)));
        if constexpr (Step == 2)
            return _mm256_castpd_si256(_mm256_broadcast_sd(reinterpret_cast<const double*>(p)));
        if constexpr (Step == 4)
            return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
        if constexpr (Step == 8) return query(p);
    }
    // |level| <= 8191 and |token| <= 128, so a pair of products stays below 2^21 and pmaddwd can't wrap;
    // query_levels() keeps the sum over all dimensions below 2^31.
    static void add(Sum& sum, Vector q, Vector d) { add_32(sum, _mm256_madd_epi16(q, d)); }
    template <int Step>
    static Floats finish(Sum v, float scale) {
        if constexpr (Step >= 2) v = _mm256_hadd_epi32(v, v);
        if constexpr (Step >= 4) v = _mm256_hadd_epi32(v, v);
        if constexpr (Step == 2) v = front_pairs(v);
        if constexpr (Step == 4) v = front_singles(v);
        if constexpr (Step == 8) v = _mm256_add_epi32(v, _mm256_permute2x128_si256(v, v, 1));
        return _mm256_mul_ps(_mm256_cvtepi32_ps(v), _mm256_set1_ps(scale));
    }
};
using TableTile = IntTile;

inline void widen(const std::uint16_t* from, float* to, std::int64_t n) {
    std::int64_t i = 0;
#pragma GCC unroll 4
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
    for (; i < n; ++i) to[i] = _cvtsh_ss(from[i]);
}
inline void widen(const std::int8_t* from, std::int16_t* to, std::int64_t n) {
    std::int64_t i = 0;
#pragma GCC unroll 4
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i),
                            _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
    for (; i < n; ++i) to[i] = from[i];
}

// ---- bits.h ----

constexpr int kBitRows = 32;
constexpr int kBitQueries = 4;

inline void transpose(const std::uint8_t* codes, std::int64_t width, std::uint8_t* nibbles) {
    transpose_32(codes, width, nibbles, kBitRows);
}

// Entries of 32 rows for one byte of their codes, low and high four bits.
inline __m256i entries_of(const std::uint8_t* table, __m256i low, __m256i high) {
    const __m128i* entries = reinterpret_cast<const __m128i*>(table);
    return _mm256_add_epi8(
        _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(entries)), low),
        _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(entries + 1)), high));
}

// Sums of the table entries that the nibbles choose, for G query vectors: [G, 32], even rows before odd ones.
// `tables` are [G, bytes, 2, 16], `bytes` even. Four entries fit a byte; `both` adds those bytes as pairs, `odd` the
// upper of each pair, and what `odd` accounts for is taken out of `both` at the end. All of it modulo 2^16, which no true
// sum reaches. A function of its own: inlined, gcc 12 keeps the sums in memory.
template <int G>
LATEWOOD_NOINLINE void sum_bits(const std::uint8_t* nibbles, const std::uint8_t* tables, std::int64_t bytes,
                                std::uint16_t* sums) {
    __m256i both[G], odd[G];
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) both[g] = odd[g] = _mm256_setzero_si256();
    for (std::int64_t byte = 0; byte < bytes; byte += 2) {
        const __m256i* from = reinterpret_cast<const __m256i*>(nibbles + byte * 64);
        const __m256i low = _mm256_loadu_si256(from), high = _mm256_loadu_si256(from + 1);
        const __m256i next_low = _mm256_loadu_si256(from + 2), next_high = _mm256_loadu_si256(from + 3);
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) {
            const std::uint8_t* table = tables + (g * bytes + byte) * 32;
            const __m256i entries =
                _mm256_add_epi8(entries_of(table, low, high), entries_of(table + 32, next_low, next_high));
            add_16(both[g], entries);
            add_16(odd[g], _mm256_srli_epi16(entries, 8));
        }
    }
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) {
        __m256i* to = reinterpret_cast<__m256i*>(sums + g * 32);
        _mm256_storeu_si256(to, _mm256_sub_epi16(both[g], _mm256_slli_epi16(odd[g], 8)));
        _mm256_storeu_si256(to + 1, odd[g]);
    }
}

// Joins sums [32] where `mask` is all ones to the maxima `best` [16], an even and an odd row to each.
inline void join_sums(const std::uint16_t* sums, const std::uint16_t* mask, std::uint16_t* best) {
    const __m256i* from = reinterpret_cast<const __m256i*>(sums);
    const __m256i* lanes = reinterpret_cast<const __m256i*>(mask);
    __m256i* to = reinterpret_cast<__m256i*>(best);
    const __m256i even = _mm256_and_si256(_mm256_loadu_si256(from), _mm256_loadu_si256(lanes));
    const __m256i odd = _mm256_and_si256(_mm256_loadu_si256(from + 1), _mm256_loadu_si256(lanes + 1));
    _mm256_storeu_si256(to, _mm256_max_epu16(_mm256_loadu_si256(to), _mm256_max_epu16(even, odd)));
}

inline std::uint16_t largest_sum(const std::uint16_t* best) {
    const __m128i* from = reinterpret_cast<const __m128i*>(best);
    const __m128i top = _mm_max_epu16(_mm_loadu_si128(from), _mm_loadu_si128(from + 1));
    // The machine has the smallest of eight, so look for it among complements.
    const __m128i least = _mm_minpos_epu16(_mm_xor_si128(top, _mm_set1_epi16(-1)));
    return static_cast<std::uint16_t>(~_mm_extract_epi16(least, 0));
}

// ---- interact.h ----

#define LATEWOOD_CUT_TO_BYTES

inline __m256i eight_integers(const float* values, const float* gains, const float* shifts) {
    const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(values), _mm256_loadu_ps(gains));
    const __m256 value = _mm256_max_ps(_mm256_add_ps(scaled, _mm256_loadu_ps(shifts)), _mm256_setzero_ps());
    return _mm256_cvttps_epi32(_mm256_min_ps(value, _mm256_set1_ps(255.0f)));
}

inline TableBytes cut_to_bytes(const float* values, const float* gains, const float* shifts) {
    const __m256i a = _mm256_packs_epi32(eight_integers(values, gains, shifts),
                                         eight_integers(values + 8, gains + 8, shifts + 8));
    const __m256i b = _mm256_packs_epi32(eight_integers(values + 16, gains + 16, shifts + 16),
                                         eight_integers(values + 24, gains + 24, shifts + 24));
    // Packing works on halves of a register: fours of values come out as 0 2 4 6 1 3 5 7.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return reinterpret_cast<TableBytes>(_mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), order));
}

inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

}  // namespace

#endif
