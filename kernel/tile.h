// The inner loops, written once in the vocabulary of simd_*.h.
//
// A packed query is a row of groups. A group is C registers wide and one of three kinds:
//   whole      Step 1: register c holds kLanes query vectors, one per lane.
//   fraction   Step 2, 4, ...: C is 1, and kLanes / Step query vectors stand in it, Step neighbouring lanes each, which
//              hold neighbouring dimensions. A document vector is then read Step dimensions at a time, and the lanes of
//              one query vector are added up at the end.
//   pair       the same in two registers, with twice the step: 8 query vectors in 16 lanes are not 2 dimensions of all of
//              them but 4 dimensions of 4 and of 4. What is read of a document vector then serves two multiplications,
//              as with whole groups of two. Only for sets that load no faster than they multiply (LATEWOOD_PAIRS).
// For integers a lane holds a pair of dimensions wherever a float lane holds one (kPerLane).
#ifndef LATEWOOD_TILE_H
#define LATEWOOD_TILE_H

#include <cstddef>
#include <cstdint>

// Keeps a pointer in a register of its own, so that the compiler doesn't replace one that moves by many that don't.
#if defined(__GNUC__)
#define LATEWOOD_KEEP(pointer) __asm__("" : "+r"(pointer))
#else
#define LATEWOOD_KEEP(pointer) (void)(pointer)
#endif

namespace {

// What a tile adds to a query's integers so that they have no sign; the product of that with a row is taken off the sum
// before it starts. 0 for tiles that multiply signed integers.
template <class Tile>
constexpr int kOffset = [] {
    if constexpr (requires { Tile::kQueryOffset; })
        return Tile::kQueryOffset;
    else
        return 0;
}();

// Whether the rows that a tile reads are those of memory, four bytes for each dimension.
template <class Tile>
constexpr bool kWide = requires { Tile::kWideRows; };

// Rows of one block. Every tile height is kAccumulators / C or a divisor of kAccumulators, so tiles fill a block.
constexpr int kTileRows = kAccumulators;

#if defined(LATEWOOD_PAIRS)
constexpr bool kPairs = true;
#else
constexpr bool kPairs = false;
template <int Step>
inline Floats to_front(Floats v) {
    return v;  // as finish() left them
}
template <int Step>
Floats scales_of_rows(float, float);  // never called
template <int Step>
Floats larger_of_rows(Floats);
constexpr std::int64_t pair_order(int, std::int64_t, std::int64_t i) { return i; }
#endif

// Splits Q query vectors into groups: calls visit(registers, step, first query, number of queries).
template <class Visit>
inline void for_each_group(std::int64_t count, Visit visit) {
    std::int64_t first = 0;
    while (count - first > 0) {
        const std::int64_t left = count - first;
        std::int64_t registers = left / kLanes, queries = 0, step = 1;
        if (registers >= 1) {
            registers = registers == 1 || registers == 3 ? registers : 2;
            queries = registers * kLanes;
        } else {
            // One register for all that is left, unless a smaller fraction and another pass cost less than the lanes
            // that would be empty: 5 of 8 lanes are 4 + 1, 7 of 8 are one register.
            std::int64_t places = 1;
            while (places < left) places *= 2;
            if (places > 4 && 4 * left <= 3 * places) places /= 2;
            registers = 1;
            step = kLanes / places;
            queries = left < places ? left : places;
        }
        if (kPairs && registers == 1 && step < kLanes) registers = 2, step *= 2;
        visit(static_cast<int>(registers), static_cast<int>(step), first, queries);
        first += queries;
    }
}

constexpr bool is_pair(int registers, int step) { return registers == 2 && step > 1; }

// How far the similarities of a row lie apart before they are brought to the front.
constexpr int front_step(int registers, int step) { return is_pair(registers, step) ? step / 2 : step; }

// Registers of similarities that a group makes of a row.
constexpr int slot_registers(int registers, int step) { return step == 1 ? registers : 1; }

// Steps are taken a few at a time, so that the loop's own instructions weigh little. Packed queries and rows are padded
// with zeros to whole strides.
template <int Step>
constexpr int kStride = Step >= 4 ? 1 : 4 / Step;

// What a tile is called with.
template <class Tile>
struct Work {
    const typename Tile::Element* query;  // the packed group
    const typename Tile::Element* rows;   // the first row
    std::ptrdiff_t pitch;                 // elements from row to row
    std::int64_t strides;                 // kStride<Step> steps each
    const float* row_scales;              // [rows of the tile]; integers only
    const std::int32_t* row_starts;       // [rows of the tile]: what a sum starts at; tiles with an offset only
    float* best;                          // [slot registers * kLanes]: the tile's maxima are joined to it. Or null, and
    float* out;                           // [rows of the tile, the same]: the similarities are stored here,
    std::ptrdiff_t out_pitch;             // so many floats from row to row
    const char* ahead;                    // memory to fetch meanwhile, kFetches times per stride,
    std::ptrdiff_t ahead_move;            // so many bytes further each time
};

// How often a stride of a tile of R rows reaches ahead: once for each line that its rows are stored in, so that all rows
// are fetched when no other group does its part. Spread out, for a burst of fetches would keep the tile's own loads waiting.
template <class Tile, int R, int Step>
constexpr int kFetches = [] {
    constexpr int kStored = kWide<Tile> ? 4 : Tile::kPerLane == 1 ? 2 : 1;  // bytes of a dimension
    return (R * kStride<Step> * Step * Tile::kPerLane * kStored + 63) / 64;
}();

// A row's similarities with a register of a group, or with both of a pair.
template <class Tile, int C, int Step>
inline Floats similarity_of(typename Tile::Sum a, typename Tile::Sum b, float scale) {
    if constexpr (is_pair(C, Step))
        return Tile::template finish<Step / 2>(Tile::template pair<Step>(a, b), scale);
    else
        return Tile::template finish<Step>(a, scale);
}

// The largest similarities of a tile's rows, the c'th register of them. Rows of pairs are paired in turn where that saves
// additions: they add up as one row does, to the bit.
template <class Tile, int C, int R, int Step>
inline Floats largest_of(const Work<Tile>& work, const typename Tile::Sum (&sums)[R][C], int c) {
    Floats top;
    if constexpr (is_pair(C, Step) && Step >= 4) {
#pragma GCC unroll 24
        for (int r = 0; r < R; r += 2) {
            const auto two = Tile::template pair<Step / 2>(Tile::template pair<Step>(sums[r][0], sums[r][1]),
                                                           Tile::template pair<Step>(sums[r + 1][0], sums[r + 1][1]));
            const Floats scales = scales_of_rows<Step>(work.row_scales[r], work.row_scales[r + 1]);
            const Floats now = Tile::template finish<Step / 4>(two, scales);
            top = r == 0 ? now : max(top, now);
        }
        return larger_of_rows<Step>(top);
    } else {
#pragma GCC unroll 24
        for (int r = 0; r < R; ++r) {
            const Floats now = similarity_of<Tile, C, Step>(sums[r][c], sums[r][C - 1], work.row_scales[r]);
            top = r == 0 ? now : max(top, now);
        }
        return to_front<front_step(C, Step)>(top);
    }
}

// The similarities of a tile's rows to the maxima, or to `out`.
template <class Tile, int C, int R, int Step>
inline void finish_tile(const Work<Tile>& work, const typename Tile::Sum (&sums)[R][C]) {
    constexpr int kSlots = slot_registers(C, Step);
#pragma GCC unroll 4
    for (int c = 0; c < kSlots; ++c) {
        if (work.best != nullptr) {
            float* best = work.best + c * kLanes;
            store(best, max(load(best), largest_of<Tile, C, R, Step>(work, sums, c)));
        } else {
#pragma GCC unroll 24
            for (int r = 0; r < R; ++r) {
                const Floats now = similarity_of<Tile, C, Step>(sums[r][c], sums[r][C - 1], work.row_scales[r]);
                store(work.out + r * work.out_pitch + c * kLanes, to_front<front_step(C, Step)>(now));
            }
        }
    }
}

// R document rows against the C registers of a group.
template <class Tile, int C, int R, int Step>
void tile(const Work<Tile>& work) {
    constexpr int kVector = kLanes * Tile::kPerLane;
    constexpr int kMove = Step * Tile::kPerLane;
    typename Tile::Sum sums[R][C];
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
            if constexpr (kOffset<Tile> != 0)
                sums[r][c] = Tile::template start<Step>(work.row_starts[r]);
            else
                sums[r][c] = Tile::zero();
        }

    // Rows are addressed from every third one, as base, base + pitch and base + 2 * pitch, which x86 folds into the
    // load: a pointer to each row would not fit the registers.
    constexpr int kBases = (R + 2) / 3;
    const std::ptrdiff_t pitch = work.pitch;
    const typename Tile::Element* query = work.query;
    const typename Tile::Element* bases[kBases];
#pragma GCC unroll 8
    for (int b = 0; b < kBases; ++b) bases[b] = work.rows + 3 * b * pitch;
    const char* ahead = work.ahead;

    for (std::int64_t stride = work.strides; stride > 0; --stride) {
#pragma GCC unroll 4
        for (int u = 0; u < kStride<Step>; ++u) {
            typename Tile::Vector q[C];
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) q[c] = Tile::query(query + (u * C + c) * kVector);
#pragma GCC unroll 24
            for (int r = 0; r < R; ++r) {
                const auto d = Tile::template spread<Step>(bases[r / 3] + r % 3 * pitch + u * kMove);
#pragma GCC unroll 4
                for (int c = 0; c < C; ++c) Tile::add(sums[r][c], q[c], d);
            }
#pragma GCC unroll 24
            for (int f = u; f < kFetches<Tile, R, Step>; f += kStride<Step>) {
                prefetch(ahead);
                ahead += work.ahead_move;
            }
        }
        query += kStride<Step> * C * kVector;
#pragma GCC unroll 8
        for (int b = 0; b < kBases; ++b) {
            bases[b] += kStride<Step> * kMove;
            LATEWOOD_KEEP(bases[b]);
        }
    }
    finish_tile<Tile, C, R, Step>(work, sums);
}

template <class Tile>
struct Shape {
    void (*run)(const Work<Tile>&);
    int rows;    // R
    int stride;  // dimensions in a stride
    int fetches;
};

template <class Tile, int C, int Step>
constexpr Shape<Tile> shape() {
    constexpr int kRows = kAccumulators / C;
    return {tile<Tile, C, kRows, Step>, kRows, kStride<Step> * Step * Tile::kPerLane, kFetches<Tile, kRows, Step>};
}

template <class Tile>
inline Shape<Tile> shape_of(int registers, int step) {
    if (registers == 3) return shape<Tile, 3, 1>();
    if constexpr (kPairs) {
        if (registers == 1) return shape<Tile, 1, kLanes>();
        if (step == 2) return shape<Tile, 2, 2>();
        if (step == 4) return shape<Tile, 2, 4>();
        if (step == 8) return shape<Tile, 2, 8>();
        if (step == 16) return shape<Tile, 2, 16>();
        return shape<Tile, 2, 1>();
    } else {
        if (registers == 2) return shape<Tile, 2, 1>();
        if (step == 2) return shape<Tile, 1, 2>();
        if (step == 4) return shape<Tile, 1, 4>();
        if constexpr (kLanes >= 8)
            if (step == 8) return shape<Tile, 1, 8>();
        return shape<Tile, 1, 1>();
    }
}

}  // namespace

#endif
