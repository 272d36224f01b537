// MaxSim on the matrix unit of Intel's server processors (AMX), for int8 documents and tables: what Stream is to the other
// instruction sets.
//
// The unit multiplies 16 rows of 64 bytes by 64 bytes of 16 columns and adds to 16 x 16 sums of 32 bits. Document vectors
// are the rows, as they are stored where that is possible; query vectors are the columns, packed beforehand. So a row of
// sums holds 16 query vectors side by side, and the max over document vectors is vertical here, too.
//   int8    a query's integer is 128 * high + low: two columns, whose sums are exact, and so is what they make
// docs/kernel.md says why floats and bits aren't here.
#ifndef LATEWOOD_AMX_H
#define LATEWOOD_AMX_H

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "maxsim.h"
#include "rows.h"
#include "walk.h"

namespace {

using latewood::Format;
using latewood::Query;

constexpr int kUnitRows = 16;               // of a tile register; also the query vectors in one
constexpr int kUnitBytes = 64;              // of a row of one
constexpr std::int64_t kUnitTile = 1024;
constexpr int kHeight = 2 * kUnitRows;      // rows of a block

// As instructions: the intrinsics of some compilers don't say that they read and write memory.
#define LATEWOOD_TILE_LOAD(tile, from, pitch) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(from), "r"(pitch) : "memory")
#define LATEWOOD_TILE_STORE(tile, to) \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" : : "r"(to), "r"(std::ptrdiff_t{kUnitBytes}) : "memory")
#define LATEWOOD_TILE_ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile : : :)
#define LATEWOOD_TILE_MULTIPLY(sum, a, b) __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #sum : : :)

// The unit in use by this thread; it costs 50 ns, and switching threads less when it isn't.
class UnitInUse {
    struct alignas(64) Shapes {
        std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
        std::uint16_t row_bytes[16] = {};
        std::uint8_t rows[16] = {};
    };

  public:
    UnitInUse() {
        Shapes shapes;
        for (int i = 0; i < 8; ++i) {
            shapes.row_bytes[i] = kUnitBytes;
            shapes.rows[i] = kUnitRows;
        }
        __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
    }
    UnitInUse(const UnitInUse&) = delete;
    UnitInUse& operator=(const UnitInUse&) = delete;
    ~UnitInUse() { __asm__ volatile("tilerelease" : : :); }
};

// Columns of a query vector.
template <Format kFormat>
constexpr int kColumns = kFormat == Format::int8 ? 2 : 1;

constexpr int kSlab = kUnitBytes;  // dimensions in a row of a tile register

inline std::int64_t slabs_of(std::int64_t dim) { return (dim + kSlab - 1) / kSlab; }
inline std::int64_t unit_groups(std::int64_t count) { return (count + kUnitRows - 1) / kUnitRows; }

// ---- packed queries: tiles [group of 16, column, slab] ----

template <Format kFormat>
std::size_t unit_packed_bytes(const Query& query) {
    return static_cast<std::size_t>(unit_groups(query.count) * kColumns<kFormat> * slabs_of(query.dim) * kUnitTile);
}

template <Format kFormat>
inline std::int8_t level_in_column(std::int16_t level, int column) {
    if (kFormat != Format::int8) return static_cast<std::int8_t>(level);
    const int high = (level + 64) >> 7;  // -64 .. 64, and the rest -64 .. 63
    return static_cast<std::int8_t>(column == 0 ? high : level - 128 * high);
}

template <Format kFormat>
void pack_for_unit(const Query& query, void* packed) {
    auto* to = static_cast<std::int8_t*>(packed);
    for (std::int64_t group = 0; group < unit_groups(query.count); ++group)
        for (int column = 0; column < kColumns<kFormat>; ++column)
            for (std::int64_t first = 0; first < slabs_of(query.dim) * kSlab; first += 4)
                for (std::int64_t q = group * kUnitRows; q < (group + 1) * kUnitRows; ++q)
                    for (std::int64_t d = first; d < first + 4; ++d) {
                        const bool real = q < query.count && d < query.dim;
                        *to++ = real ? level_in_column<kFormat>(query.levels[q * query.dim + d], column) : std::int8_t{0};
                    }
}

// ---- one call ----

// Blocks of rows pass in three steps: gathered, multiplied, and their sums read. The unit works for itself, so the
// sums of a block are read when the next one's products have been asked for.
template <Format kFormat>
class UnitStream {
    static constexpr int kStep = 2 / kColumns<kFormat>;  // groups that are multiplied together
    static constexpr std::int64_t kSlabBytes = kHeight * kUnitBytes;

    struct Block {
        Span spans[kHeight];
        bool opens[kHeight];    // the document's first vector is in this span
        float scales[kHeight];  // of the rows
        int span_count = 0, filled = 0;
        std::int32_t* sums;            // [groups * kColumns, kHeight, kUnitRows]
    };

    const Query& query_;
    const char* packed_;
    const Documents& documents_;
    const char* tokens_;
    std::int64_t token_bytes_;  // of a stored vector
    std::int64_t slabs_, groups_, slots_;
    bool in_place_;             // rows can be read where they are
    char* rows_;                // [slabs, kHeight, kUnitBytes]
    float* best_;               // [slots_]: running maxima of the document that a block begins with
    float* row_;                // [slots_]
    const char* sources_[kHeight];  // where each row is stored
    const char* following_ = nullptr;  // the rows after the block, where they are known
    bool opening_ = false;
    int now_ = 0;               // the block that is being filled; the other one is empty, or its sums are to be read
    Block blocks_[2];
    Ahead ahead_;
    UnitInUse unit_;

  public:
    static std::int64_t slots_of(const Query& query) { return unit_groups(query.count) * kUnitRows; }
    static std::size_t packed_bytes(const Query& query) { return unit_packed_bytes<kFormat>(query); }
    static void pack(const Query& query, void* packed) { pack_for_unit<kFormat>(query, packed); }
    static std::size_t workspace_bytes(const Query& query) {
        const std::int64_t slots = slots_of(query);
        return static_cast<std::size_t>(slabs_of(query.dim) * kSlabBytes +
                                        (2 * kColumns<kFormat> * kHeight + 2) * slots * 4);
    }

    UnitStream(const Query& query, const void* packed, const Documents& documents, void* workspace)
        : query_(query),
          packed_(static_cast<const char*>(packed)),
          documents_(documents),
          tokens_(static_cast<const char*>(documents.tokens)),
          token_bytes_(query.dim),
          slabs_(slabs_of(query.dim)),
          groups_(unit_groups(query.count)),
          slots_(slots_of(query)),
          in_place_(slabs_ * kUnitBytes == query.dim),
          rows_(static_cast<char*>(workspace)),
          best_(reinterpret_cast<float*>(rows_ + slabs_ * kSlabBytes)),
          row_(best_ + slots_) {
        for (std::int64_t i = 0; i < slabs_ * kSlabBytes; ++i) rows_[i] = 0;
        blocks_[0].sums = reinterpret_cast<std::int32_t*>(row_ + slots_);
        blocks_[1].sums = blocks_[0].sums + kColumns<kFormat> * kHeight * slots_;
    }

    void score(const std::int64_t* rows, std::int64_t begin, std::int64_t end, float* scores) {
        ahead_ = Ahead(documents_, rows, begin, end, token_bytes_);
        const char* start = ahead_.next(kHeight * token_bytes_);
        for (std::int64_t i = 0; i < kHeight * token_bytes_; i += 64) prefetch(start + i);
        feed(documents_, rows, begin, end, scores, *this);
        read_scores(other(), scores, start, 0);
    }

    void similarities(std::int64_t document, float* out) {
        const std::int64_t first = documents_.offsets[document], count = documents_.offsets[document + 1] - first;
        std::int64_t t = 0;
        walk_rows([&] {
            const std::int64_t take = smaller(kHeight, count - t);
            if (take > 0) append(0, first + t, static_cast<int>(take), false);
            t += take;
            return take;
        }, [&](const float* row, std::int64_t i) {
            for (std::int64_t q = 0; q < query_.count; ++q) out[q * count + i] = scaled(row[q], q);
        });
    }

    // What rows.h asks for.
    std::int64_t slots() const { return slots_; }
    template <class Visit>
    void for_each_run(Visit visit) const {
        visit(std::int64_t{0}, std::int64_t{0}, query_.count);
    }
    float scaled(float similarity, std::int64_t q) const { return similarity * query_.scales[q]; }
    template <class Visit>
    void for_each_row(const std::int64_t* tokens, std::int64_t begin, std::int64_t end, Visit visit) {
        std::int64_t t = begin;
        walk_rows([&] {
            const std::int64_t take = smaller(kHeight, end - t);
            if (tokens == nullptr && take > 0) append(0, t, static_cast<int>(take), false);
            for (std::int64_t r = 0; tokens != nullptr && r < take; ++r) append(0, tokens[t + r], 1, false);
            t += take;
            if (tokens == nullptr) following_ = tokens_ + t * token_bytes_;
            return take;
        }, [&](const float* row, std::int64_t i) { visit(row, begin + i); });
    }
    void use_sums(const std::int32_t*) {}

    // What feed() asks of a block.
    std::int64_t room() const { return kHeight - blocks_[now_].filled; }
    bool empty() const { return blocks_[now_].filled == 0; }

    void open() { opening_ = true; }

    void append(std::int64_t item, std::int64_t token, int count, bool finished) {
        Block& block = blocks_[now_];
        block.spans[block.span_count] = {item, block.filled, block.filled + count, finished};
        block.opens[block.span_count] = opening_;
        opening_ = false;
        for (int r = 0; r < count; ++r) sources_[block.filled + r] = tokens_ + (token + r) * token_bytes_;
        for (int r = 0; r < count; ++r) block.scales[block.filled + r] = documents_.scales[token + r];
        ++block.span_count;
        block.filled += count;
    }

    void join(float* scores) {
        const std::int64_t bytes = kHeight * token_bytes_;
        const char* ahead = ahead_.next(bytes);
        multiply();
        now_ = 1 - now_;
        // Lines of the next block, spread over the rows and groups.
        read_scores(blocks_[now_], scores, ahead, smaller(64, bytes / (kHeight * groups_) + 1));
    }

  private:
    Block& other() { return blocks_[1 - now_]; }

    // Blocks by `fill`, which appends rows and says how many, 0 at the end; visit(row of similarities, number) for each row.
    template <class Fill, class Visit>
    void walk_rows(Fill fill, Visit visit) {
        std::int64_t seen = 0;
        for (bool more = true; more;) {
            more = fill() > 0;
            if (more) multiply();
            now_ = 1 - now_;
            Block& block = blocks_[now_];  // the one before
            for (int r = 0; r < block.filled; ++r, ++seen) {
                for (std::int64_t at = 0; following_ != nullptr && at < token_bytes_; at += 64)
                    prefetch(following_ + r * token_bytes_ + at);
                for (std::int64_t group = 0; group < groups_; ++group)
                    store(row_ + group * kUnitRows, value(block, group, r));
                visit(row_, seen);
            }
            block.span_count = block.filled = 0;
        }
    }

    // A slab of the block's rows as bytes, to `rows_`.
    void gather(std::int64_t slab) {
        char* to = rows_ + slab * kSlabBytes;
        const std::int64_t left = smaller(kSlab, query_.dim - slab * kSlab);
        const __mmask64 there = left == kSlab ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1;
        for (int r = 0; r < blocks_[now_].filled; ++r, to += kUnitBytes)
            _mm512_storeu_si512(to, _mm512_maskz_loadu_epi8(there, sources_[r] + slab * kSlab));
    }

    // Whether the block's rows are bytes that follow each other.
    bool as_stored() const {
        return in_place_ && blocks_[now_].filled == kHeight &&
               sources_[kHeight - 1] - sources_[0] == (kHeight - 1) * token_bytes_ && follows();
    }
    bool follows() const {
        const Block& block = blocks_[now_];
        for (int i = 1; i < block.span_count; ++i) {
            const int r = block.spans[i].begin;
            if (sources_[r] - sources_[r - 1] != token_bytes_) return false;
        }
        return true;
    }

    // The products of all groups with the block's rows, to its sums.
    void multiply() {
        const Block& block = blocks_[now_];
        const std::int64_t column = slabs_ * kUnitTile;
        const bool tall = block.filled > kUnitRows;
        Rows rows = {rows_, kUnitBytes, kSlabBytes, true};
        if (as_stored()) rows = {sources_[0], token_bytes_, kSlab, false};
        for (std::int64_t slab = 0; rows.gather && slab < slabs_; ++slab) gather(slab);
        for (std::int64_t group = 0; group < groups_; group += kStep) {
            // Two columns at a time: of one group, or of two.
            const char* first = packed_ + group * kColumns<kFormat> * column;
            const char* second = first + column;
            const bool two = kStep == 1 || group + 1 < groups_;
            std::int32_t* sums = block.sums + group * kColumns<kFormat> * kHeight * kUnitRows;
            if (two)
                tall ? tiles<true, true>(rows, first, second, sums) : tiles<true, false>(rows, first, second, sums);
            else
                tall ? tiles<false, true>(rows, first, second, sums) : tiles<false, false>(rows, first, second, sums);
            rows.gather = false;
        }
    }

    // Where the unit finds a block.
    struct Rows {
        const char* first;
        std::ptrdiff_t pitch, slab;  // bytes from row to row, and from slab to slab
        bool gather;                 // it isn't there yet
    };

    template <bool kTwo, bool kTall>
    void tiles(const Rows& rows, const char* first, const char* second, std::int32_t* sums) {
        LATEWOOD_TILE_ZERO(0);
        if constexpr (kTwo) LATEWOOD_TILE_ZERO(1);
        if constexpr (kTall) LATEWOOD_TILE_ZERO(2);
        if constexpr (kTwo && kTall) LATEWOOD_TILE_ZERO(3);
        const std::ptrdiff_t pitch = rows.pitch, width = kUnitBytes;
        for (std::int64_t slab = 0; slab < slabs_; ++slab) {
            const char* from = rows.first + slab * rows.slab;
            LATEWOOD_TILE_LOAD(4, from, pitch);
            if constexpr (kTall) LATEWOOD_TILE_LOAD(5, from + kUnitRows * pitch, pitch);
            LATEWOOD_TILE_LOAD(6, first + slab * kUnitTile, width);
            if constexpr (kTwo) LATEWOOD_TILE_LOAD(7, second + slab * kUnitTile, width);
            LATEWOOD_TILE_MULTIPLY(0, 4, 6);
            if constexpr (kTwo) LATEWOOD_TILE_MULTIPLY(1, 4, 7);
            if constexpr (kTall) LATEWOOD_TILE_MULTIPLY(2, 5, 6);
            if constexpr (kTwo && kTall) LATEWOOD_TILE_MULTIPLY(3, 5, 7);
        }
        constexpr std::int64_t kTile = kUnitRows * kUnitRows, kColumn = kHeight * kUnitRows;
        LATEWOOD_TILE_STORE(0, sums);
        if constexpr (kTwo) LATEWOOD_TILE_STORE(1, sums + kColumn);
        if constexpr (kTall) LATEWOOD_TILE_STORE(2, sums + kTile);
        if constexpr (kTwo && kTall) LATEWOOD_TILE_STORE(3, sums + kColumn + kTile);
    }

    // The similarities of a row with a group of 16 query vectors.
    static Floats value(const Block& block, std::int64_t group, int row) {
        const std::int32_t* at = block.sums + (group * kColumns<kFormat> * kHeight + row) * kUnitRows;
        __m512i sum = _mm512_loadu_si512(at);
        if constexpr (kColumns<kFormat> == 2)
            sum = _mm512_add_epi32(_mm512_slli_epi32(sum, 7), _mm512_loadu_si512(at + kHeight * kUnitRows));
        return _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(block.scales[row]));
    }

    // The maxima of a span's similarities with a group of 16 query vectors. Lines from `ahead` on are fetched meanwhile.
    static Floats greatest(const Block& block, std::int64_t group, const Span& span, const char* ahead, std::int64_t move) {
        Floats top = _mm512_set1_ps(kNothing);
        for (int r = span.begin; r < span.end; ++r, ahead += move) {
            top = max(top, value(block, group, r));
            prefetch(ahead);
        }
        return top;
    }

    // Joins the block's rows to the maxima of their documents, and scores those that end here.
    void read_scores(Block& block, float* scores, const char* ahead, std::int64_t move) {
        for (int i = 0; i < block.span_count; ++i) {
            const Span& span = block.spans[i];
            for (std::int64_t group = 0; group < groups_; ++group) {
                float* best = best_ + group * kUnitRows;
                const Floats top = block.opens[i] ? _mm512_set1_ps(kNothing) : load(best);
                const char* line = move > 0 ? ahead + (group * kHeight + span.begin) * move : ahead;
                store(best, max(top, greatest(block, group, span, line, move)));
            }
            if (!span.finished) continue;
            float sum = 0.0f;
            for (std::int64_t q = 0; q < query_.count; ++q) sum += scaled(best_[q], q);
            scores[span.item] = sum;
        }
        block.span_count = block.filled = 0;
    }
};

}  // namespace

#endif
