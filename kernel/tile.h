// The inner loops, written once in the vocabulary of simd_*.h.
//
// A packed query is a row of groups. A group is C registers wide and one of two kinds:
//   whole      Step 1: register c holds kLanes query vectors, one per lane.
//   fraction   Step 2, 4, ...: C is 1, and kLanes / Step query vectors stand in it, Step neighbouring lanes each, which
//              hold neighbouring dimensions. A document vector is then read Step dimensions at a time, and the lanes of
//              one query vector are added up at the end.
// For integers a lane holds a pair of dimensions wherever a float lane holds one (kPerLane).
#ifndef LATEWOOD_TILE_H
#define LATEWOOD_TILE_H

#include <cstddef>
#include <cstdint>

namespace {

// Rows of one block. Every tile height is kAccumulators / C or a divisor of kAccumulators, so tiles fill a block.
constexpr int kTileRows = kAccumulators;

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
        visit(static_cast<int>(registers), static_cast<int>(step), first, queries);
        first += queries;
    }
}

// R document rows against the C registers of a group. `rows` has `stride` elements from row to row and is readable
// for steps * Step * kPerLane elements. With `best` the tile's maxima are joined to it, [C * kLanes]; without, the
// similarities are stored to `out`, `out_stride` floats from row to row.
template <class Tile, int C, int R, int Step>
void tile(const typename Tile::Element* query, const typename Tile::Element* rows, std::ptrdiff_t stride,
          std::int64_t steps, const float* row_scales, float* best, float* out, std::ptrdiff_t out_stride) {
    constexpr int kVector = kLanes * Tile::kPerLane;
    typename Tile::Sum sums[R][C];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sums[r][c] = Tile::zero();

    for (std::int64_t s = 0; s < steps; ++s) {
        typename Tile::Vector q[C];
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) q[c] = Tile::query(query + c * kVector);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            const typename Tile::Vector d = Tile::template spread<Step>(rows + r * stride);
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) sums[r][c] = Tile::add(sums[r][c], q[c], d);
        }
        query += C * kVector;
        rows += Step * Tile::kPerLane;
    }

#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
        if (best != nullptr) {
            Floats top = load(best + c * kLanes);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) top = max(top, Tile::template finish<Step>(sums[r][c], row_scales[r]));
            store(best + c * kLanes, top);
        } else {
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r)
                store(out + r * out_stride + c * kLanes, Tile::template finish<Step>(sums[r][c], row_scales[r]));
        }
    }
}

template <class Tile>
using TileFunction = void (*)(const typename Tile::Element*, const typename Tile::Element*, std::ptrdiff_t,
                              std::int64_t, const float*, float*, float*, std::ptrdiff_t);

template <class Tile>
struct Shape {
    TileFunction<Tile> run;
    int rows;
};

template <class Tile, int C, int Step>
constexpr Shape<Tile> shape() {
    return {tile<Tile, C, kAccumulators / C, Step>, kAccumulators / C};
}

template <class Tile>
inline Shape<Tile> shape_of(int registers, int step) {
    if (registers == 2) return shape<Tile, 2, 1>();
    if (registers == 3) return shape<Tile, 3, 1>();
    if (step == 2) return shape<Tile, 1, 2>();
    if (step == 4) return shape<Tile, 1, 4>();
    if constexpr (kLanes >= 8)
        if (step == 8) return shape<Tile, 1, 8>();
    if constexpr (kLanes >= 16)
        if (step == 16) return shape<Tile, 1, 16>();
    return shape<Tile, 1, 1>();
}

}  // namespace

#endif
