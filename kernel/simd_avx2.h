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

inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

}  // namespace

#endif
