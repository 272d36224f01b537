// The vocabulary of tile.h for AVX2, FMA and F16C: eight lanes of 32 bits.
#ifndef LATEWOOD_SIMD_AVX2_H
#define LATEWOOD_SIMD_AVX2_H

#include <immintrin.h>

#include <cstdint>

namespace {

constexpr int kLanes = 8;
constexpr int kAccumulators = 12;  // of 16 registers: the rest hold the query, a document value and a product

using Floats = __m256;

inline Floats load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Floats v) { _mm256_storeu_ps(p, v); }
inline Floats splat(float x) { return _mm256_set1_ps(x); }
inline Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
inline Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }

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
    static void add(Sum& sum, Vector q, Vector d) {
#if defined(__GNUC__)
        // As an instruction and not as an intrinsic, for the register allocator: gcc 12 reorders the intrinsics of a
        // tile, copies or spills its sums in the innermost loop, and takes up to 1.6 times as long.
        __asm__("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(q), "x"(d));
#else
        sum = _mm256_fmadd_ps(q, d, sum);
#endif
    }
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
    static void add(Sum& sum, Vector q, Vector d) {
        const __m256i products = _mm256_madd_epi16(q, d);
#if defined(__GNUC__)
        __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(products));  // as above
#else
        sum = _mm256_add_epi32(sum, products);
#endif
    }
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

// Codes [32, width] to nibbles [width, 2, 32]: of every byte the low four bits, then the high four. Row r and row 16 + r
// share a register, so that transposing 16 x 16 bytes in both halves gives the rows in order.
inline void transpose(const std::uint8_t* codes, std::int64_t width, std::uint8_t* nibbles) {
    const __m256i low = _mm256_set1_epi8(15);
    for (std::int64_t piece = 0; piece < width; piece += 16) {
        __m256i a[16], b[16];
#pragma GCC unroll 16
        for (int r = 0; r < 16; ++r) {
            const std::uint8_t* code = codes + r * width + piece;
            a[r] = _mm256_inserti128_si256(
                _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(code))),
                _mm_loadu_si128(reinterpret_cast<const __m128i*>(code + 16 * width)), 1);
        }
        // Four rounds of interleaving row i with row i + 8 bring byte j of row r from place 16 * r + j to 16 * j + r.
#pragma GCC unroll 4
        for (int round = 0; round < 4; ++round) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; ++i) {
                b[2 * i] = _mm256_unpacklo_epi8(a[i], a[i + 8]);
                b[2 * i + 1] = _mm256_unpackhi_epi8(a[i], a[i + 8]);
            }
#pragma GCC unroll 16
            for (int i = 0; i < 16; ++i) a[i] = b[i];
        }
#pragma GCC unroll 16
        for (int byte = 0; byte < 16; ++byte, nibbles += 64) {
            __m256i* to = reinterpret_cast<__m256i*>(nibbles);
            _mm256_storeu_si256(to, _mm256_and_si256(a[byte], low));
            _mm256_storeu_si256(to + 1, _mm256_and_si256(_mm256_srli_epi16(a[byte], 4), low));
        }
    }
}

// Sums of the table entries that the nibbles choose, for G query vectors: [G, 32], even rows before odd ones.
// `tables` are [G, bytes, 2, 16]. Two entries fit a byte; `both` adds the bytes as pairs, `odd` the upper of each pair,
// and what `odd` accounts for is taken out of `both` at the end. All of it modulo 2^16, which no true sum reaches.
template <int G>
inline void sum_bits(const std::uint8_t* nibbles, const std::uint8_t* tables, std::int64_t bytes, std::uint16_t* sums) {
    __m256i both[G], odd[G];
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) both[g] = odd[g] = _mm256_setzero_si256();
    for (std::int64_t byte = 0; byte < bytes; ++byte) {
        const __m256i* from = reinterpret_cast<const __m256i*>(nibbles + byte * 64);
        const __m256i low = _mm256_loadu_si256(from), high = _mm256_loadu_si256(from + 1);
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) {
            const __m128i* table = reinterpret_cast<const __m128i*>(tables + (g * bytes + byte) * 32);
            const __m256i entries = _mm256_add_epi8(
                _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table)), low),
                _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table + 1)), high));
            both[g] = _mm256_add_epi16(both[g], entries);
            odd[g] = _mm256_add_epi16(odd[g], _mm256_srli_epi16(entries, 8));
        }
    }
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) {
        __m256i* to = reinterpret_cast<__m256i*>(sums + g * 32);
        _mm256_storeu_si256(to, _mm256_sub_epi16(both[g], _mm256_slli_epi16(odd[g], 8)));
        _mm256_storeu_si256(to + 1, odd[g]);
    }
}

inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

}  // namespace

#endif
