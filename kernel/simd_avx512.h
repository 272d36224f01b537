// The vocabulary of tile.h and bits.h for AVX-512 F, BW, VL, DQ and VNNI: sixteen lanes of 32 bits.
#ifndef LATEWOOD_SIMD_AVX512_H
#define LATEWOOD_SIMD_AVX512_H

#include <immintrin.h>

#include <cstdint>

#include "table_bytes.h"

namespace {

constexpr int kLanes = 16;
constexpr int kAccumulators = 24;  // of 32 registers

using Floats = __m512;

inline Floats load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Floats v) { _mm512_storeu_ps(p, v); }
inline Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }

// ---- pairs, as tile.h asks for them ----

#define LATEWOOD_PAIRS

// Lanes 0, Step, 2 * Step, ... to the front.
template <int Step>
inline Floats to_front(Floats v) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return Step == 1 ? v : _mm512_permutexvar_ps(_mm512_mullo_epi32(lanes, _mm512_set1_epi32(Step)), v);
}

// One half of every place of a pair of registers, and the other half.
struct Halves {
    __m512 one, other;
};
template <int Step>
inline Halves halves_of(__m512 a, __m512 b) {
    if constexpr (Step == 2) return {_mm512_shuffle_ps(a, b, 0b10001000), _mm512_shuffle_ps(a, b, 0b11011101)};
    if constexpr (Step == 4) {
        const __m512d c = _mm512_castps_pd(a), d = _mm512_castps_pd(b);
        return {_mm512_castpd_ps(_mm512_unpacklo_pd(c, d)), _mm512_castpd_ps(_mm512_unpackhi_pd(c, d))};
    }
    if constexpr (Step == 8) return {_mm512_shuffle_f32x4(a, b, 0b10001000), _mm512_shuffle_f32x4(a, b, 0b11011101)};
    if constexpr (Step == 16) return {_mm512_shuffle_f32x4(a, b, 0b01000100), _mm512_shuffle_f32x4(a, b, 0b11101110)};
}

// Which place of the halves' sum comes from place i of register c of the pair.
constexpr std::int64_t pair_order(int step, std::int64_t c, std::int64_t i) {
    return step == 16 ? c : step == 4 ? 2 * i + c : i / 2 * 4 + 2 * c + i % 2;
}

// Two rows whose pairs were added up, and then once more as a pair of their own: their scales by lanes, and of every two
// values the larger, to the front.
template <int Step>
inline Floats scales_of_rows(float first, float second) {
    return _mm512_mask_blend_ps(Step == 16 ? 0xff00 : 0xcccc, _mm512_set1_ps(first), _mm512_set1_ps(second));
}
template <int Step>
inline Floats larger_of_rows(Floats v) {
    if constexpr (Step == 16) return to_front<4>(max(v, _mm512_shuffle_f32x4(v, v, 0b01001110)));
    v = max(v, _mm512_permute_ps(v, 0b01001110));
    if constexpr (Step == 8) return to_front<4>(v);
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15), v);
}

inline Floats in_lanes(float scale) { return _mm512_set1_ps(scale); }
inline Floats in_lanes(Floats scales) { return scales; }

struct FloatTile {
    using Element = float;
    using Vector = __m512;
    using Sum = __m512;
    static constexpr int kPerLane = 1;

    static Sum zero() { return _mm512_setzero_ps(); }
    static Vector query(const float* p) { return _mm512_loadu_ps(p); }
    template <int Step>
    static Vector spread(const float* p) {
        if constexpr (Step == 1) return _mm512_set1_ps(*p);
        if constexpr (Step == 2)
            return _mm512_castpd_ps(_mm512_broadcastsd_pd(_mm_loadu_pd(reinterpret_cast<const double*>(p))));
        if constexpr (Step == 4) return _mm512_broadcast_f32x4(_mm_loadu_ps(p));
        if constexpr (Step == 8) return _mm512_broadcast_f32x8(_mm256_loadu_ps(p));
        if constexpr (Step == 16) return _mm512_loadu_ps(p);
    }
    // As assembler, like every sum of an inner loop here: simd_avx2.h says why.
    static void add(Sum& sum, Vector q, Vector d) { __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(q), "v"(d)); }
    // The far lanes first, as pairs of rows have it.
    template <int Step, class Scale>
    static Floats finish(Sum v, Scale) {
        if constexpr (Step >= 16) v = _mm512_add_ps(v, _mm512_shuffle_f32x4(v, v, 0b01001110));
        if constexpr (Step >= 8) v = _mm512_add_ps(v, _mm512_shuffle_f32x4(v, v, 0b10110001));
        if constexpr (Step >= 4) v = _mm512_add_ps(v, _mm512_permute_ps(v, 0b01001110));
        if constexpr (Step >= 2) v = _mm512_add_ps(v, _mm512_permute_ps(v, 0b10110001));
        return v;
    }
    template <int Step>
    static Sum pair(Sum a, Sum b) {
        const Halves halves = halves_of<Step>(a, b);
        return _mm512_add_ps(halves.one, halves.other);
    }
};

struct IntTile {
    using Element = std::int16_t;
    using Vector = __m512i;
    using Sum = __m512i;
    static constexpr int kPerLane = 2;

    static Sum zero() { return _mm512_setzero_si512(); }
    static Vector query(const std::int16_t* p) { return _mm512_loadu_si512(p); }
    template <int Step>
    static Vector spread(const std::int16_t* p) {
        return _mm512_castps_si512(FloatTile::spread<Step>(reinterpret_cast<const float*>(p)));
    }
    // Products of 16 bits, added in pairs and to the sum without saturation; query_levels() keeps it below 2^31.
    static void add(Sum& sum, Vector q, Vector d) { __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(q), "v"(d)); }
    template <int Step, class Scale>
    static Floats finish(Sum v, Scale scale) {
        if constexpr (Step >= 16) v = _mm512_add_epi32(v, _mm512_shuffle_i32x4(v, v, 0b01001110));
        if constexpr (Step >= 8) v = _mm512_add_epi32(v, _mm512_shuffle_i32x4(v, v, 0b10110001));
        if constexpr (Step >= 4) v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_ENUM(0b01001110)));
        if constexpr (Step >= 2) v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_ENUM(0b10110001)));
        return _mm512_mul_ps(_mm512_cvtepi32_ps(v), in_lanes(scale));
    }
    template <int Step>
    static Sum pair(Sum a, Sum b) {
        const Halves halves = halves_of<Step>(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b));
        return _mm512_add_epi32(_mm512_castps_si512(halves.one), _mm512_castps_si512(halves.other));
    }
};

// For tables (maxsim.h): four dimensions in a lane instead of two, and documents as they are stored. The instruction wants
// one side without a sign.
struct ByteTile {
    using Element = std::int8_t;
    using Vector = __m512i;
    using Sum = __m512i;
    static constexpr int kPerLane = 4;
    static constexpr int kQueryOffset = 128;

    // In the first of the lanes that are added up at the end.
    template <int Step>
    static Sum start(std::int32_t value) {
        constexpr __mmask16 kFirst = Step == 1 ? 0xffff : Step == 2 ? 0x5555 : Step == 4 ? 0x1111 : Step == 8 ? 0x0101 : 1;
        return _mm512_maskz_set1_epi32(kFirst, value);
    }
    static Vector query(const std::int8_t* p) { return _mm512_loadu_si512(p); }
    template <int Step>
    static Vector spread(const std::int8_t* p) {
        return IntTile::spread<Step>(reinterpret_cast<const std::int16_t*>(p));
    }
    // Products of 16 bits, four added to the sum, without saturation.
    static void add(Sum& sum, Vector q, Vector d) { __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(q), "v"(d)); }
    template <int Step, class Scale>
    static Floats finish(Sum v, Scale scale) {
        return IntTile::finish<Step>(v, scale);
    }
    template <int Step>
    static Sum pair(Sum a, Sum b) {
        return IntTile::pair<Step>(a, b);
    }
};
using TableTile = ByteTile;

inline void widen(const std::uint16_t* from, float* to, std::int64_t n) {
    std::int64_t i = 0;
#pragma GCC unroll 4
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(to + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i))));
    if (i == n) return;
    const auto left = static_cast<__mmask16>((1u << (n - i)) - 1);
    _mm512_mask_storeu_ps(to + i, left, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(left, from + i)));
}
inline void widen(const std::int8_t* from, std::int16_t* to, std::int64_t n) {
    std::int64_t i = 0;
#pragma GCC unroll 4
    for (; i + 32 <= n; i += 32)
        _mm512_storeu_si512(to + i,
                            _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i))));
    if (i == n) return;
    const __mmask32 left = (1u << (n - i)) - 1;
    _mm512_mask_storeu_epi16(to + i, left, _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(left, from + i)));
}

// ---- interact.h ----

#define LATEWOOD_CUT_TO_BYTES

inline __m128i sixteen_bytes(const float* values, const float* gains, const float* shifts) {
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(values), _mm512_loadu_ps(gains));
    const __m512 value = _mm512_max_ps(_mm512_add_ps(scaled, _mm512_loadu_ps(shifts)), _mm512_setzero_ps());
    return _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(_mm512_min_ps(value, _mm512_set1_ps(255.0f))));
}

inline TableBytes cut_to_bytes(const float* values, const float* gains, const float* shifts) {
    const __m128i first = sixteen_bytes(values, gains, shifts);
    return reinterpret_cast<TableBytes>(
        _mm256_setr_m128i(first, sixteen_bytes(values + 16, gains + 16, shifts + 16)));
}

inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

}  // namespace

#if defined(__AVX512VBMI__)
#include "bits_vbmi.h"
#else
#include "bits_avx512.h"
#endif

#endif
