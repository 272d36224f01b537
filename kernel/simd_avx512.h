// The vocabulary of tile.h and bits.h for AVX-512 F, BW, VL, DQ and VNNI: sixteen lanes of 32 bits.
#ifndef LATEWOOD_SIMD_AVX512_H
#define LATEWOOD_SIMD_AVX512_H

#include <immintrin.h>

#include <cstdint>

#include "transpose_x86.h"

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
    template <int Step>
    static Floats finish(Sum v, float) {
        if constexpr (Step >= 2) v = _mm512_add_ps(v, _mm512_permute_ps(v, 0b10110001));
        if constexpr (Step >= 4) v = _mm512_add_ps(v, _mm512_permute_ps(v, 0b01001110));
        if constexpr (Step >= 8) v = _mm512_add_ps(v, _mm512_shuffle_f32x4(v, v, 0b10110001));
        if constexpr (Step >= 16) v = _mm512_add_ps(v, _mm512_shuffle_f32x4(v, v, 0b01001110));
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
    template <int Step>
    static Floats finish(Sum v, float scale) {
        if constexpr (Step >= 2) v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_ENUM(0b10110001)));
        if constexpr (Step >= 4) v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_ENUM(0b01001110)));
        if constexpr (Step >= 8) v = _mm512_add_epi32(v, _mm512_shuffle_i32x4(v, v, 0b10110001));
        if constexpr (Step >= 16) v = _mm512_add_epi32(v, _mm512_shuffle_i32x4(v, v, 0b01001110));
        return _mm512_mul_ps(_mm512_cvtepi32_ps(v), _mm512_set1_ps(scale));
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
    template <int Step>
    static Floats finish(Sum v, float scale) {
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

// ---- bits.h; simd_avx2.h explains ----

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

// ---- interact.h ----

#define LATEWOOD_CUT_TO_BYTES

inline __m128i sixteen_bytes(const float* values, const float* gains, const float* shifts) {
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(values), _mm512_loadu_ps(gains));
    const __m512 value = _mm512_max_ps(_mm512_add_ps(scaled, _mm512_loadu_ps(shifts)), _mm512_setzero_ps());
    return _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(_mm512_min_ps(value, _mm512_set1_ps(255.0f))));
}

inline void cut_to_bytes(const float* values, const float* gains, const float* shifts, std::uint8_t* out) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), sixteen_bytes(values, gains, shifts));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16), sixteen_bytes(values + 16, gains + 16, shifts + 16));
}

inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

}  // namespace

#endif
