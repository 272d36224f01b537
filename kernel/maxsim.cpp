// The kernels of one instruction set; LATEWOOD_ISA names it. Compiled once per set into object files that meet in one
// library, hence the rule: nothing here but the table at the end may have external linkage, inline functions and
// templates of the standard library included, or the linker would keep one set's copy for all.
#include "maxsim.h"

#define LATEWOOD_JOIN_(a, b) a##b
#define LATEWOOD_JOIN(a, b) LATEWOOD_JOIN_(a, b)
#define LATEWOOD_STRING_(a) #a
#define LATEWOOD_STRING(a) LATEWOOD_STRING_(a)

#if defined(LATEWOOD_AVX512) || defined(LATEWOOD_AVX512VBMI) || defined(LATEWOOD_AMX)
#include "simd_avx512.h"
#elif defined(LATEWOOD_AVX2)
#include "simd_avx2.h"
#elif defined(LATEWOOD_NEON)
#include "simd_neon.h"
#else
#include "simd_baseline.h"
#endif
#include "tile.h"
#include "walk.h"

#if defined(LATEWOOD_AMX)
#include "amx.h"
#endif
#include "bits.h"
#include "interact.h"
#include "rows.h"

namespace {

using namespace latewood;

inline std::int64_t group_slots(std::int64_t count) {
    std::int64_t slots = 0;
    for_each_group(count, [&](int registers, int step, std::int64_t, std::int64_t) {
        slots += slot_registers(registers, step) * kLanes;
    });
    return slots;
}

// float32 rows are read where they lie in memory; other formats' from a block that was widened beforehand.
struct WideTile : FloatTile {
    static constexpr bool kWideRows = true;
};

// How documents of a format reach the tiles.
template <Format>
struct Stored;
template <>
struct Stored<Format::float32> {
    using Tile = WideTile;
    using Token = float;
};
template <>
struct Stored<Format::float16> {
    using Tile = FloatTile;
    using Token = std::uint16_t;
};
template <>
struct Stored<Format::int8> {
    using Tile = IntTile;
    using Token = std::int8_t;
};
template <>
struct Stored<Format::table> {
    using Tile = TableTile;
    using Token = std::int8_t;
};

template <class A, class B>
constexpr bool kSame = false;
template <class A>
constexpr bool kSame<A, A> = true;

inline const float* elements(const Query& query, float) { return query.values; }
inline const std::int16_t* elements(const Query& query, std::int16_t) { return query.levels; }
inline const std::int16_t* elements(const Query& query, std::int8_t) { return query.levels; }

// ---- packed queries ----

template <class Tile>
std::int64_t strides_of(std::int64_t dim, int registers, int step) {
    const std::int64_t stride = shape_of<Tile>(registers, step).stride;
    return (dim + stride - 1) / stride;
}

template <class Tile>
std::int64_t group_elements(std::int64_t dim, int registers, int step) {
    return strides_of<Tile>(dim, registers, step) * shape_of<Tile>(registers, step).stride / step * registers * kLanes;
}

template <class Tile>
std::size_t packed_bytes_of(const Query& query) {
    std::int64_t total = 0;
    for_each_group(query.count, [&](int registers, int step, std::int64_t, std::int64_t) {
        total += group_elements<Tile>(query.dim, registers, step);
    });
    return static_cast<std::size_t>(total) * sizeof(typename Tile::Element);
}

template <class Tile>
void pack_as(const Query& query, void* packed) {
    using Element = typename Tile::Element;
    const auto* from = elements(query, Element{});
    Element* to = static_cast<Element*>(packed);
    for_each_group(query.count, [&](int registers, int step, std::int64_t first, std::int64_t queries) {
        const std::int64_t width = strides_of<Tile>(query.dim, registers, step) * shape_of<Tile>(registers, step).stride;
        const std::int64_t places = kLanes / step, run = step * Tile::kPerLane;  // in a register, of a place
        for (std::int64_t begin = 0; begin < width; begin += run)
            for (std::int64_t place = 0; place < registers * places; ++place) {
                const std::int64_t c = place / places, i = place % places;
                const std::int64_t q = is_pair(registers, step) ? pair_order(step, c, i) : place;
                for (std::int64_t d = begin; d < begin + run; ++d) {
                    const bool real = q < queries && d < query.dim;
                    *to++ = real ? static_cast<Element>(from[(first + q) * query.dim + d] + kOffset<Tile>) : Element{0};
                }
            }
    });
}

// ---- one call ----

// Documents pass as one stream of rows, a block at a time. A block holds whole documents and, at both ends, parts.
template <Format kFormat>
class Stream {
    using Tile = typename Stored<kFormat>::Tile;
    using Token = typename Stored<kFormat>::Token;
    using Element = typename Tile::Element;
    static constexpr bool kIntegers = kFormat == Format::int8 || kFormat == Format::table;
    static constexpr int kBlocks = 4;
    static constexpr int kMaxRows = kBlocks * kTileRows;
    static constexpr std::int64_t kBlockBytes = 12 << 10;  // a third of the smallest first-level cache in use

    const Query& query_;
    const Element* packed_;
    const Documents& documents_;
    const Token* tokens_;
    std::int64_t width_;    // elements of a row in `rows_`: D, and zeros up to what the widest fraction reads
    std::int64_t slots_;    // floats of a row in `best_` and `spill_`
    int block_rows_;
    bool in_place_;         // rows can be read where they are
    Element* rows_;         // [block_rows_, width_]
    float* best_;           // [block_rows_, slots_]: running maxima of the block's documents, one row per span
    float* spill_;          // [kTileRows, slots_]: similarities of a tile that more than one document shares
    Span spans_[kMaxRows];
    const Token* sources_[kMaxRows];  // per span: its first row
    float row_scales_[kMaxRows];
    std::int32_t row_starts_[kMaxRows];
    const std::int32_t* sums_ = nullptr;  // of each token's integers; tiles with an offset only
    int span_count_ = 0, filled_ = 0;
    Ahead ahead_;
    std::int64_t tile_bytes_;  // stored ones that a tile fetches ahead, so that all tiles of a block fetch the next

    static std::int64_t width_of(std::int64_t dim) { return round_up(dim, kLanes * Tile::kPerLane); }
    static int block_rows_of(std::int64_t dim) {
        const std::int64_t fit = kBlockBytes / (width_of(dim) * static_cast<std::int64_t>(sizeof(Element)) * kTileRows);
        return kTileRows * static_cast<int>(fit < 1 ? 1 : smaller(fit, kBlocks));
    }

  public:
    static std::int64_t slots_of(const Query& query) { return group_slots(query.count); }
    static std::size_t packed_bytes(const Query& query) { return packed_bytes_of<Tile>(query); }
    static void pack(const Query& query, void* packed) { pack_as<Tile>(query, packed); }
    static std::size_t workspace_bytes(const Query& query) {
        const std::int64_t rows = block_rows_of(query.dim), slots = slots_of(query);
        return aligned(static_cast<std::size_t>(rows * width_of(query.dim)) * sizeof(Element)) +
               aligned(static_cast<std::size_t>(rows * slots) * sizeof(float)) +
               aligned(static_cast<std::size_t>(kTileRows * slots) * sizeof(float));
    }

    Stream(const Query& query, const void* packed, const Documents& documents, void* workspace)
        : query_(query),
          packed_(static_cast<const Element*>(packed)),
          documents_(documents),
          tokens_(static_cast<const Token*>(documents.tokens)),
          width_(width_of(query.dim)),
          slots_(slots_of(query)),
          block_rows_(block_rows_of(query.dim)),
          in_place_(kSame<Token, Element> && width_ == query.dim) {
        char* p = static_cast<char*>(workspace);
        rows_ = reinterpret_cast<Element*>(p);
        p += aligned(static_cast<std::size_t>(block_rows_ * width_) * sizeof(Element));
        best_ = reinterpret_cast<float*>(p);
        p += aligned(static_cast<std::size_t>(block_rows_ * slots_) * sizeof(float));
        spill_ = reinterpret_cast<float*>(p);
        for (std::int64_t i = 0; i < block_rows_ * width_; ++i) rows_[i] = Element{0};
        for (int r = 0; r < kMaxRows; ++r) row_scales_[r] = 0.0f, row_starts_[r] = 0;
        std::int64_t tiles = 0;
        for_each_group(query.count, [&](int registers, int step, std::int64_t, std::int64_t) {
            tiles += block_rows_ / shape_of<Tile>(registers, step).rows;
        });
        tile_bytes_ = block_bytes() / tiles;
    }

    void score(const std::int64_t* rows, std::int64_t begin, std::int64_t end, float* scores) {
        ahead_ = Ahead(documents_, rows, begin, end, query_.dim * static_cast<std::int64_t>(sizeof(Token)));
        const char* start = ahead_.next(block_bytes());
        for (std::int64_t i = 0; i < block_bytes(); i += 64) prefetch(start + i);
        feed(documents_, rows, begin, end, scores, *this);
    }

    void similarities(std::int64_t document, float* out) {
        const std::int64_t first = documents_.offsets[document], count = documents_.offsets[document + 1] - first;
        for (std::int64_t t = 0; t < count; t += block_rows_) {
            append(0, first + t, static_cast<int>(smaller(block_rows_, count - t)), false);
            const Element* rows = gather();
            for (int r = 0; r < filled_; r += kTileRows) {
                spill_tiles(rows + r * width_, r);
                const int height = static_cast<int>(smaller(kTileRows, filled_ - r));
                for (int i = 0; i < height; ++i) copy_row(spill_ + i * slots_, out + t + r + i, count);
            }
            span_count_ = filled_ = 0;
        }
    }

    // What rows.h asks for.
    std::int64_t slots() const { return slots_; }
    template <class Visit>
    void for_each_run(Visit visit) const {
        std::int64_t slot = 0;
        for_each_group(query_.count, [&](int registers, int step, std::int64_t first, std::int64_t queries) {
            visit(slot, first, queries);
            slot += slot_registers(registers, step) * kLanes;
        });
    }
    float scaled(float similarity, std::int64_t q) const {
        if constexpr (kIntegers) return similarity * query_.scales[q];
        return similarity;
    }
    template <class Visit>
    void for_each_row(const std::int64_t* tokens, std::int64_t begin, std::int64_t end, Visit visit) {
        for (std::int64_t i = begin; i < end;) {
            const std::int64_t count = smaller(kTileRows, end - i);
            if (tokens == nullptr) {
                append(0, i, static_cast<int>(count), false);
            } else {
                for (std::int64_t r = 0; r < count; ++r) append(0, tokens[i + r], 1, false);
            }
            const Element* rows = gather();
            spill_tiles(rows, 0);
            for (std::int64_t r = 0; r < count; ++r) visit(spill_ + r * slots_, i + r);
            span_count_ = filled_ = 0;
            i += count;
        }
    }
    void use_sums(const std::int32_t* sums) { sums_ = sums; }

    // What feed() asks of a block.
    std::int64_t room() const { return block_rows_ - filled_; }
    bool empty() const { return filled_ == 0; }

    void open() {
        float* best = best_ + span_count_ * slots_;
        for (std::int64_t i = 0; i < slots_; ++i) best[i] = kNothing;
    }

    void append(std::int64_t item, std::int64_t token, int count, bool finished) {
        spans_[span_count_] = {item, filled_, filled_ + count, finished};
        sources_[span_count_] = tokens_ + token * query_.dim;
        if constexpr (kIntegers)
            for (int r = 0; r < count; ++r) row_scales_[filled_ + r] = documents_.scales[token + r];
        if constexpr (kOffset<Tile> != 0)
            for (int r = 0; r < count; ++r) row_starts_[filled_ + r] = -kOffset<Tile> * sums_[token + r];
        ++span_count_;
        filled_ += count;
    }

    // Scores one block: every group of queries against every tile of rows, then the documents that end here.
    void join(float* scores) {
        const Element* rows = gather();
        const Element* packed = packed_;
        std::int64_t slot = 0;
        for_each_group(query_.count, [&](int registers, int step, std::int64_t, std::int64_t) {
            const Shape<Tile> shape = shape_of<Tile>(registers, step);
            Work<Tile> work = work_of(packed, registers, step);
            // In 32 bits, for division takes as long as a few rows.
            const auto fetches = static_cast<std::uint32_t>(work.strides * shape.fetches);
            work.ahead_move = smaller(64, static_cast<std::uint32_t>(tile_bytes_) / fetches + 1);
            int span = 0;
            for (int r = 0; r < filled_; r += shape.rows) {
                while (spans_[span].end <= r) ++span;
                work.rows = rows + r * width_;
                work.row_scales = row_scales_ + r;
                work.row_starts = row_starts_ + r;
                work.ahead = ahead_.next(tile_bytes_);
                const bool whole = spans_[span].end >= r + shape.rows;
                work.best = whole ? best_ + span * slots_ + slot : nullptr;
                shape.run(work);
                if (!whole) share(span, r, r + shape.rows, slot_registers(registers, step), slot);
            }
            packed += group_elements<Tile>(query_.dim, registers, step);
            slot += slot_registers(registers, step) * kLanes;
        });
        finish_block(scores);
    }

  private:
    // Of a block where it is stored.
    std::int64_t block_bytes() const {
        return block_rows_ * query_.dim * static_cast<std::int64_t>(sizeof(Token));
    }

    // A group's tile before it knows its rows: similarities go to `spill_`, nothing is fetched ahead.
    Work<Tile> work_of(const Element* packed, int registers, int step) const {
        return {packed,  nullptr, width_, strides_of<Tile>(query_.dim, registers, step), nullptr, nullptr, nullptr, spill_,
                slots_, static_cast<const char*>(documents_.tokens), 0};
    }

    // The block's rows as elements, `width_` apart: converted, or where they are.
    const Element* gather() {
        if constexpr (kSame<Token, Element>) {
            bool contiguous = in_place_ && filled_ % kTileRows == 0;
            for (int i = 1; contiguous && i < span_count_; ++i)
                contiguous = sources_[i] == sources_[0] + spans_[i].begin * query_.dim;
            if (contiguous) return sources_[0];
        }
        for (int i = 0; i < span_count_; ++i) {
            const Span& span = spans_[i];
            if (width_ == query_.dim) {
                convert(sources_[i], rows_ + span.begin * width_, (span.end - span.begin) * width_);
            } else {
                for (int r = span.begin; r < span.end; ++r)
                    convert(sources_[i] + (r - span.begin) * query_.dim, rows_ + r * width_, query_.dim);
            }
        }
        return rows_;
    }

    void convert(const Token* from, Element* to, std::int64_t count) const {
        if constexpr (kSame<Token, Element>)
            __builtin_memcpy(to, from, static_cast<std::size_t>(count) * sizeof(Token));
        else
            widen(from, to, count);
    }

    // Joins the spilled similarities of rows [begin, end) to the maxima of their documents, `span` the first of them.
    void share(int span, int begin, int end, int registers, std::int64_t slot) {
        for (; span < span_count_ && spans_[span].begin < end; ++span) {
            const int from = spans_[span].begin > begin ? spans_[span].begin : begin;
            const int to = spans_[span].end < end ? spans_[span].end : end;
            for (int c = 0; c < registers; ++c) {
                float* best = best_ + span * slots_ + slot + c * kLanes;
                Floats top = load(best);
                for (int r = from; r < to; ++r) top = max(top, load(spill_ + (r - begin) * slots_ + c * kLanes));
                store(best, top);
            }
        }
    }

    void finish_block(float* scores) {
        for (int i = 0; i < span_count_; ++i)
            if (spans_[i].finished) scores[spans_[i].item] = total(best_ + i * slots_);
        const int last = span_count_ - 1;
        if (!spans_[last].finished && last > 0)  // goes on in the next block, as its first span
            for (std::int64_t i = 0; i < slots_; ++i) best_[i] = best_[last * slots_ + i];
        span_count_ = filled_ = 0;
    }

    float total(const float* best) const {
        float sum = 0.0f;
        std::int64_t slot = 0;
        for_each_group(query_.count, [&](int registers, int step, std::int64_t first, std::int64_t queries) {
            for (std::int64_t i = 0; i < queries; ++i) sum += scaled(best[slot + i], first + i);
            slot += slot_registers(registers, step) * kLanes;
        });
        return sum;
    }

    // All similarities of a tile of rows to `spill_`, the block's rows from `first` on.
    void spill_tiles(const Element* rows, int first_row) {
        const Element* packed = packed_;
        std::int64_t slot = 0;
        for_each_group(query_.count, [&](int registers, int step, std::int64_t, std::int64_t) {
            const Shape<Tile> shape = shape_of<Tile>(registers, step);
            Work<Tile> work = work_of(packed, registers, step);
            for (int r = 0; r < kTileRows; r += shape.rows) {
                work.rows = rows + r * width_;
                work.row_scales = row_scales_ + first_row + r;
                work.row_starts = row_starts_ + first_row + r;
                work.out = spill_ + r * slots_ + slot;
                shape.run(work);
            }
            packed += group_elements<Tile>(query_.dim, registers, step);
            slot += slot_registers(registers, step) * kLanes;
        });
    }

    void copy_row(const float* spilled, float* out, std::int64_t stride) const {
        std::int64_t slot = 0;
        for_each_group(query_.count, [&](int registers, int step, std::int64_t first, std::int64_t queries) {
            for (std::int64_t i = 0; i < queries; ++i) out[(first + i) * stride] = scaled(spilled[slot + i], first + i);
            slot += slot_registers(registers, step) * kLanes;
        });
    }
};

// ---- the table ----

// Calls visit<the class that serves documents of this format>().
template <class Visit>
auto with_engine(Format format, Visit visit) {
#if defined(LATEWOOD_AMX)
    switch (format) {
        case Format::int8: return visit.template operator()<UnitStream<Format::int8>>();
        case Format::table: return visit.template operator()<UnitStream<Format::table>>();
        default: break;
    }
#endif
    switch (format) {
        case Format::float16: return visit.template operator()<Stream<Format::float16>>();
        case Format::int8: return visit.template operator()<Stream<Format::int8>>();
        case Format::bits: return visit.template operator()<BitStream>();
        case Format::table: return visit.template operator()<Stream<Format::table>>();
        default: return visit.template operator()<Stream<Format::float32>>();
    }
}

std::size_t packed_bytes(const Query& query) {
    return with_engine(query.format, [&]<class Type>() { return Type::packed_bytes(query); });
}

void pack(const Query& query, void* packed) {
    with_engine(query.format, [&]<class Type>() { Type::pack(query, packed); });
}

std::size_t workspace_bytes(const Query& query) {
    return with_engine(query.format, [&]<class Type>() { return Type::workspace_bytes(query); });
}

void score(const Query& query, const void* packed, const Documents& documents, const std::int64_t* rows,
           std::int64_t begin, std::int64_t end, float* scores, void* workspace) {
    with_engine(documents.format, [&]<class Type>() {
        Type(query, packed, documents, workspace).score(rows, begin, end, scores);
    });
}

void similarities(const Query& query, const void* packed, const Documents& documents, std::int64_t document,
                  float* out, void* workspace) {
    with_engine(documents.format, [&]<class Type>() {
        Type(query, packed, documents, workspace).similarities(document, out);
    });
}

void nearest(const Query& query, const void* packed, const Documents& documents, const std::int64_t* tokens,
             std::int64_t begin, std::int64_t end, const float* bias, std::int64_t most, std::int32_t* numbers,
             float* values, void* workspace) {
    with_engine(documents.format, [&]<class Type>() {
        if constexpr (requires(Type& stream) { stream.slots(); }) {
            Type stream(query, packed, documents, workspace);
            nearest_of(stream, tokens, begin, end, bias, most, numbers, values);
        }
    });
}

#if defined(LATEWOOD_AMX)
using Tables = UnitStream<Format::table>;
#else
using Tables = Stream<Format::table>;
#endif

std::int64_t table_width(const Query& query) { return round_up(Tables::slots_of(query), kTableBytes); }

void tabulate(const Query& query, const void* packed, const Documents& documents, const std::int32_t* sums,
              std::int64_t count, float gain, float shift, std::int64_t block, std::uint8_t* table, std::uint8_t* peaks,
              void* workspace) {
    Tables stream(query, packed, documents, workspace);
    stream.use_sums(sums);
    tabulate_of(stream, table_width(query), gain, shift, count, block, table, peaks);
}

}  // namespace

extern "C" const latewood::Kernels LATEWOOD_JOIN(latewood_kernels_, LATEWOOD_ISA) = {
    LATEWOOD_STRING(LATEWOOD_ISA), packed_bytes, pack, workspace_bytes, score, similarities, nearest,
    table_width, tabulate, passing, interact,
};
