// The vocabulary of tile.h and bits.h for AArch64: four lanes of 32 bits.
#ifndef LATEWOOD_SIMD_NEON_H
#define LATEWOOD_SIMD_NEON_H

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace {

constexpr int kLanes = 4;
constexpr int kAccumulators = 12;  // of 32 registers; integers take two each

using Floats = float32x4_t;

inline Floats load(const float* p) { return vld1q_f32(p); }
inline void store(float* p, Floats v) { vst1q_f32(p, v); }
inline Floats max(Floats a, Floats b) { return vmaxq_f32(a, b); }

inline std::int32_t read_32(const void* p) {
    std::int32_t word;
    std::memcpy(&word, p, sizeof word);
    return word;
}
inline std::int64_t read_64(const void* p) {
    std::int64_t word;
    std::memcpy(&word, p, sizeof word);
    return word;
}

struct FloatTile {
    using Element = float;
    using Vector = float32x4_t;
    using Sum = float32x4_t;
    static constexpr int kPerLane = 1;

    static Sum zero() { return vdupq_n_f32(0.0f); }
    static Vector query(const float* p) { return vld1q_f32(p); }
    template <int Step>
    static Vector spread(const float* p) {
        if constexpr (Step == 1) return vld1q_dup_f32(p);
        if constexpr (Step == 2) return vreinterpretq_f32_s64(vdupq_n_s64(read_64(p)));
        if constexpr (Step == 4) return vld1q_f32(p);
    }
    static void add(Sum& sum, Vector q, Vector d) { sum = vfmaq_f32(sum, q, d); }
    template <int Step>
    static Floats finish(Sum v, float) {
        if constexpr (Step >= 2) v = vpaddq_f32(v, v);
        if constexpr (Step >= 4) v = vpaddq_f32(v, v);
        return v;
    }
};

struct IntTile {
    using Element = std::int16_t;
    using Vector = int16x8_t;
    // Products of the even and odd dimensions of a lane stand side by side until the end: lanes 0 and 1, lanes 2 and 3.
    struct Sum {
        int32x4_t front, back;
    };
    static constexpr int kPerLane = 2;

    static Sum zero() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
    static Vector query(const std::int16_t* p) { return vld1q_s16(p); }
    template <int Step>
    static Vector spread(const std::int16_t* p) {
        if constexpr (Step == 1) return vreinterpretq_s16_s32(vdupq_n_s32(read_32(p)));
        if constexpr (Step == 2) return vreinterpretq_s16_s64(vdupq_n_s64(read_64(p)));
        if constexpr (Step == 4) return vld1q_s16(p);
    }
    static void add(Sum& sum, Vector q, Vector d) {
        sum.front = vmlal_s16(sum.front, vget_low_s16(q), vget_low_s16(d));
        sum.back = vmlal_high_s16(sum.back, q, d);
    }
    template <int Step>
    static Floats finish(Sum sum, float scale) {
        int32x4_t v = vpaddq_s32(sum.front, sum.back);
        if constexpr (Step >= 2) v = vpaddq_s32(v, v);
        if constexpr (Step >= 4) v = vpaddq_s32(v, v);
        return vmulq_n_f32(vcvtq_f32_s32(v), scale);
    }
};
using TableTile = IntTile;

inline void widen(const std::uint16_t* from, float* to, std::int64_t n) {
    std::int64_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(to + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + i))));
    for (; i < n; ++i) to[i] = vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(from[i]))), 0);
}
inline void widen(const std::int8_t* from, std::int16_t* to, std::int64_t n) {
    std::int64_t i = 0;
    for (; i + 8 <= n; i += 8) vst1q_s16(to + i, vmovl_s8(vld1_s8(from + i)));
    for (; i < n; ++i) to[i] = from[i];
}

// ---- bits.h; simd_avx2.h explains ----

constexpr int kBitRows = 16;
constexpr int kBitQueries = 4;

inline void transpose(const std::uint8_t* codes, std::int64_t width, std::uint8_t* nibbles) {
    for (std::int64_t byte = 0; byte < width; ++byte, nibbles += 2 * kBitRows)
        for (int r = 0; r < kBitRows; ++r) {
            nibbles[r] = codes[r * width + byte] & 15;
            nibbles[kBitRows + r] = static_cast<std::uint8_t>(codes[r * width + byte] >> 4);
        }
}

inline uint8x16_t entries_of(const std::uint8_t* table, const std::uint8_t* nibbles) {
    return vaddq_u8(vqtbl1q_u8(vld1q_u8(table), vld1q_u8(nibbles)),
                    vqtbl1q_u8(vld1q_u8(table + 16), vld1q_u8(nibbles + 16)));
}

template <int G>
inline void sum_bits(const std::uint8_t* nibbles, const std::uint8_t* tables, std::int64_t bytes, std::uint16_t* sums) {
    uint16x8_t both[G], odd[G];
    for (int g = 0; g < G; ++g) both[g] = odd[g] = vdupq_n_u16(0);
    for (std::int64_t byte = 0; byte < bytes; byte += 2) {
        const std::uint8_t* from = nibbles + byte * 32;
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) {
            const std::uint8_t* table = tables + (g * bytes + byte) * 32;
            const uint16x8_t entries =
                vreinterpretq_u16_u8(vaddq_u8(entries_of(table, from), entries_of(table + 32, from + 32)));
            both[g] = vaddq_u16(both[g], entries);
            odd[g] = vsraq_n_u16(odd[g], entries, 8);
        }
    }
    for (int g = 0; g < G; ++g) {
        vst1q_u16(sums + g * 16, vsubq_u16(both[g], vshlq_n_u16(odd[g], 8)));
        vst1q_u16(sums + g * 16 + 8, odd[g]);
    }
}

inline void join_sums(const std::uint16_t* sums, const std::uint16_t* mask, std::uint16_t* best) {
    const uint16x8_t even = vandq_u16(vld1q_u16(sums), vld1q_u16(mask));
    const uint16x8_t odd = vandq_u16(vld1q_u16(sums + 8), vld1q_u16(mask + 8));
    vst1q_u16(best, vmaxq_u16(vld1q_u16(best), vmaxq_u16(even, odd)));
}

inline std::uint16_t largest_sum(const std::uint16_t* best) { return vmaxvq_u16(vld1q_u16(best)); }

inline void prefetch(const void* p) { __builtin_prefetch(p); }

}  // namespace

#endif
