// The vocabulary of tile.h in plain C++: four lanes, loops that any compiler turns into what the machine has.
#ifndef LATEWOOD_SIMD_BASELINE_H
#define LATEWOOD_SIMD_BASELINE_H

#include <cstdint>
#include <cstring>

namespace {

constexpr int kLanes = 4;
constexpr int kAccumulators = 12;  // of the 16 registers that every 64-bit machine has at least

struct Floats {
    float lane[kLanes];
};

inline Floats load(const float* p) {
    Floats v;
    std::memcpy(v.lane, p, sizeof v.lane);
    return v;
}
inline void store(float* p, Floats v) { std::memcpy(p, v.lane, sizeof v.lane); }
inline Floats splat(float x) { return {{x, x, x, x}}; }
inline Floats max(Floats a, Floats b) {
    Floats v;
    for (int i = 0; i < kLanes; ++i) v.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
    return v;
}

// Sums of `Step` neighbours, moved to the front lanes.
template <int Step, class Lane>
inline void add_neighbours(const Lane* in, Lane* out) {
    for (int i = 0; i < kLanes / Step; ++i) {
        Lane sum = in[i * Step];
        for (int j = 1; j < Step; ++j) sum += in[i * Step + j];
        out[i] = sum;
    }
}

struct FloatTile {
    using Element = float;
    using Vector = Floats;
    using Sum = Floats;
    static constexpr int kPerLane = 1;

    static Sum zero() { return splat(0.0f); }
    static Vector query(const float* p) { return load(p); }
    template <int Step>
    static Vector spread(const float* p) {
        Vector v;
        for (int i = 0; i < kLanes; ++i) v.lane[i] = p[i % Step];
        return v;
    }
    static void add(Sum& sum, Vector q, Vector d) {
        for (int i = 0; i < kLanes; ++i) sum.lane[i] += q.lane[i] * d.lane[i];
    }
    template <int Step>
    static Floats finish(Sum sum, float) {
        Floats v = sum;
        add_neighbours<Step>(sum.lane, v.lane);
        return v;
    }
};

struct IntTile {
    using Element = std::int16_t;
    struct Vector {
        std::int16_t pair[2 * kLanes];
    };
    struct Sum {
        std::int32_t lane[kLanes];
    };
    static constexpr int kPerLane = 2;

    static Sum zero() { return {}; }
    static Vector query(const std::int16_t* p) {
        Vector v;
        std::memcpy(v.pair, p, sizeof v.pair);
        return v;
    }
    template <int Step>
    static Vector spread(const std::int16_t* p) {
        Vector v;
        for (int i = 0; i < 2 * kLanes; ++i) v.pair[i] = p[i % (2 * Step)];
        return v;
    }
    static void add(Sum& sum, Vector q, Vector d) {
        for (int i = 0; i < kLanes; ++i)
            sum.lane[i] += q.pair[2 * i] * d.pair[2 * i] + q.pair[2 * i + 1] * d.pair[2 * i + 1];
    }
    template <int Step>
    static Floats finish(Sum sum, float scale) {
        std::int32_t whole[kLanes] = {};
        add_neighbours<Step>(sum.lane, whole);
        Floats v;
        for (int i = 0; i < kLanes; ++i) v.lane[i] = static_cast<float>(whole[i]) * scale;
        return v;
    }
};
using TableTile = IntTile;

// IEEE binary16 to binary32, exact; infinities don't come here.
inline float from_half(std::uint16_t half) {
    const std::uint32_t magnitude = half & 0x7fff;
    float value;
    if (magnitude < 0x0400) {
        value = static_cast<float>(magnitude) * 0x1p-24f;  // subnormal: mantissa times the smallest step
    } else {
        const std::uint32_t bits = (magnitude << 13) + (112u << 23);  // exponent bias 15 to 127
        std::memcpy(&value, &bits, sizeof value);
    }
    return half & 0x8000 ? -value : value;
}

inline void widen(const std::uint16_t* from, float* to, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) to[i] = from_half(from[i]);
}
inline void widen(const std::int8_t* from, std::int16_t* to, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) to[i] = from[i];
}

// ---- bits.h ----

constexpr int kBitRows = 16;
constexpr int kBitQueries = 4;

// Codes [kBitRows, width] to nibbles [width, 2, kBitRows]: of every byte the low four bits, then the high four.
inline void transpose(const std::uint8_t* codes, std::int64_t width, std::uint8_t* nibbles) {
    for (std::int64_t byte = 0; byte < width; ++byte, nibbles += 2 * kBitRows)
        for (int r = 0; r < kBitRows; ++r) {
            nibbles[r] = codes[r * width + byte] & 15;
            nibbles[kBitRows + r] = static_cast<std::uint8_t>(codes[r * width + byte] >> 4);
        }
}

// Sums of the table entries that the nibbles choose, for G query vectors: [G, kBitRows], even rows before odd ones.
// `tables` are [G, bytes, 2, 16].
template <int G>
inline void sum_bits(const std::uint8_t* nibbles, const std::uint8_t* tables, std::int64_t bytes, std::uint16_t* sums) {
    for (int i = 0; i < G * kBitRows; ++i) sums[i] = 0;
    for (std::int64_t half = 0; half < 2 * bytes; ++half)
        for (int g = 0; g < G; ++g)
            for (int r = 0; r < kBitRows; ++r) {
                const std::uint8_t entry = tables[(g * 2 * bytes + half) * 16 + nibbles[half * kBitRows + r]];
                std::uint16_t& sum = sums[g * kBitRows + r / 2 + r % 2 * (kBitRows / 2)];
                sum = static_cast<std::uint16_t>(sum + entry);
            }
}

inline std::uint16_t larger(std::uint16_t a, std::uint16_t b) { return a > b ? a : b; }

// Joins sums [kBitRows] where `mask` is all ones to the maxima `best` [kBitRows / 2], an even and an odd row to each.
inline void join_sums(const std::uint16_t* sums, const std::uint16_t* mask, std::uint16_t* best) {
    constexpr int kOdd = kBitRows / 2;
    for (int i = 0; i < kOdd; ++i) {
        const auto even = static_cast<std::uint16_t>(sums[i] & mask[i]);
        const auto odd = static_cast<std::uint16_t>(sums[kOdd + i] & mask[kOdd + i]);
        best[i] = larger(best[i], larger(even, odd));
    }
}

inline std::uint16_t largest_sum(const std::uint16_t* best) {
    std::uint16_t top = 0;
    for (int i = 0; i < kBitRows / 2; ++i) top = larger(top, best[i]);
    return top;
}

inline void prefetch(const void* p) {
#if defined(__GNUC__)
    __builtin_prefetch(p);
#else
    (void)p;
#endif
}

}  // namespace

#endif
