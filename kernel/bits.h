// MaxSim over documents of one bit per dimension.
//
// Bit d of a document vector is 1 for +1 and 0 for -1; a query vector is integers, |level| <= bit_levels(D). So
//     dot = 2 * agree - all,   agree = sum of |level| over dimensions where signs agree,   all = sum of |level|
// and `agree` is a sum of table entries: one for each four bits of the document vector, 16 entries of one byte. Document
// vectors lie in the lanes, a block of them transposed so that one shuffle looks up four dimensions of all of them.
//
// No overflow: an entry is at most 4 * 15 = 60, so four of them fit a byte; bit_levels(D) * D <= 65535, so `agree` fits
// 16 bits without sign.
#ifndef LATEWOOD_BITS_H
#define LATEWOOD_BITS_H

#include "maxsim.h"
#include "walk.h"

namespace {

using latewood::Query;

// How sums and tables lie, unless a set says otherwise (bits_vbmi.h).
#if !defined(LATEWOOD_BITS_BY_WORDS)
using BitSum = std::uint16_t;
constexpr int kBestLanes = kBitRows / 2;  // 16-bit sums come as those of even rows, then those of odd rows
constexpr int lane_of(int row) { return row / 2 + row % 2 * kBestLanes; }

// Bytes of a code are summed two at a time, so there are tables for an even number of them.
constexpr int kSummedTogether = 2;
constexpr std::int64_t place_of_table(std::int64_t nibble) { return nibble; }

// All ones in the lanes of some rows. The lanes of others then count as 0, which no maximum is below.
struct alignas(64) RowMask {
    std::uint16_t lanes[kBitRows];

    void set(int begin, int end) {
        const bool whole = end - begin == kBitRows;
        for (int i = 0; i < kBitRows; ++i) lanes[i] = whole ? 0xffff : 0;
        for (int r = begin; !whole && r < end; ++r) lanes[lane_of(r)] = 0xffff;
    }
};
inline void join_sums(const BitSum* sums, const RowMask& mask, BitSum* best) { join_sums(sums, mask.lanes, best); }
#endif

constexpr std::int64_t code_bytes(std::int64_t dim) { return (dim + 7) / 8; }
constexpr std::int64_t summed_bytes(std::int64_t dim) { return round_up(code_bytes(dim), kSummedTogether); }

// Packed: 32 bytes of tables for each query vector and byte of a code, 16 for each four bits; then `all`, [Q] int32.
inline std::int64_t table_bytes(const Query& query) { return query.count * summed_bytes(query.dim) * 32; }

inline std::size_t bit_table_bytes(const Query& query) {
    return static_cast<std::size_t>(table_bytes(query) + query.count * 4);
}

inline void pack_bit_tables(const Query& query, void* packed) {
    std::uint8_t* tables = static_cast<std::uint8_t*>(packed);
    const std::int64_t nibbles = summed_bytes(query.dim) * 2;
    std::int32_t* all = reinterpret_cast<std::int32_t*>(tables + table_bytes(query));
    for (std::int64_t q = 0; q < query.count; ++q, tables += nibbles * 16) {
        const std::int16_t* levels = query.levels + q * query.dim;
        all[q] = 0;
        for (std::int64_t nibble = 0; nibble < nibbles; ++nibble) {
            std::uint8_t* table = tables + place_of_table(nibble) * 16;
            std::int32_t level[4], agree = 0;
            for (int i = 0; i < 4; ++i) {
                level[i] = nibble * 4 + i < query.dim ? levels[nibble * 4 + i] : 0;
                all[q] += level[i] < 0 ? -level[i] : level[i];
                agree += level[i] < 0 ? -level[i] : 0;
            }
            // Without any bit set the negative levels agree; a bit that is set adds its level, whatever the sign.
            table[0] = static_cast<std::uint8_t>(agree);
            for (int i = 0; i < 4; ++i)
                for (int pattern = 0; pattern < 1 << i; ++pattern)
                    table[pattern | 1 << i] = static_cast<std::uint8_t>(table[pattern] + level[i]);
        }
    }
}

// Scores documents of bits; what Stream is to the other formats.
class BitStream {
    const Query& query_;
    const Documents& documents_;
    const std::uint8_t* tables_;
    const std::int32_t* all_;
    const std::uint8_t* codes_;
    std::int64_t bytes_;       // of a code
    std::int64_t width_;       // of a row in `rows_`: whole pieces of 16 bytes, as transpose() takes them
    std::uint8_t* rows_;       // [kBitRows, width_]
    std::uint8_t* nibbles_;    // [width_ * 2 * kBitRows]: the codes as transpose() leaves them, four bits in a byte
    BitSum* best_;             // [kBitRows, Q, kBestLanes]: largest `agree` so far, for each span
    Span spans_[kBitRows];
    std::int64_t sources_[kBitRows];
    RowMask masks_[kBitRows];  // per span
    alignas(64) BitSum sums_[kBitQueries][kBitRows];
    int span_count_ = 0, filled_ = 0;
    Ahead ahead_;

    static std::int64_t width_of(std::int64_t dim) { return round_up(code_bytes(dim), 16); }

  public:
    static std::size_t packed_bytes(const Query& query) { return bit_table_bytes(query); }
    static void pack(const Query& query, void* packed) { pack_bit_tables(query, packed); }
    static std::size_t workspace_bytes(const Query& query) {
        const auto rows = static_cast<std::size_t>(width_of(query.dim)) * kBitRows;
        return 3 * rows + static_cast<std::size_t>(query.count) * kBitRows * kBestLanes * sizeof(BitSum);
    }

    BitStream(const Query& query, const void* packed, const Documents& documents, void* workspace)
        : query_(query),
          documents_(documents),
          tables_(static_cast<const std::uint8_t*>(packed)),
          all_(reinterpret_cast<const std::int32_t*>(tables_ + table_bytes(query))),
          codes_(static_cast<const std::uint8_t*>(documents.tokens)),
          bytes_(code_bytes(query.dim)),
          width_(width_of(query.dim)),
          rows_(static_cast<std::uint8_t*>(workspace)),
          nibbles_(rows_ + width_ * kBitRows),
          best_(reinterpret_cast<BitSum*>(nibbles_ + 2 * width_ * kBitRows)) {
        for (std::int64_t i = 0; i < width_ * kBitRows; ++i) rows_[i] = 0;
    }

    void score(const std::int64_t* rows, std::int64_t begin, std::int64_t end, float* scores) {
        ahead_ = Ahead(documents_, rows, begin, end, bytes_);
        fetch_block();
        feed(documents_, rows, begin, end, scores, *this);
    }

    void similarities(std::int64_t document, float* out) {
        const std::int64_t first = documents_.offsets[document], count = documents_.offsets[document + 1] - first;
        for (std::int64_t t = 0; t < count; t += kBitRows) {
            append(0, first + t, static_cast<int>(smaller(kBitRows, count - t)), false);
            gather();
            for (std::int64_t q = 0; q < query_.count; q += kBitQueries) {
                const int group = sum_group(q);
                for (int i = 0; i < group; ++i)
                    for (int r = 0; r < filled_; ++r)
                        out[(q + i) * count + t + r] = similarity(sums_[i][lane_of(r)], q + i);
            }
            span_count_ = filled_ = 0;
        }
    }

    // What feed() asks of a block.
    std::int64_t room() const { return kBitRows - filled_; }
    bool empty() const { return filled_ == 0; }

    void open() {
        BitSum* best = best_ + span_count_ * query_.count * kBestLanes;
        for (std::int64_t i = 0; i < query_.count * kBestLanes; ++i) best[i] = 0;
    }

    void append(std::int64_t item, std::int64_t token, int count, bool finished) {
        spans_[span_count_] = {item, filled_, filled_ + count, finished};
        sources_[span_count_] = token;
        ++span_count_;
        filled_ += count;
    }

    void join(float* scores) {
        fetch_block();
        gather();
        if (!join_at_once()) {
            mask_spans();
            for (std::int64_t q = 0; q < query_.count; q += kBitQueries) {
                const int group = sum_group(q);
                for (int i = 0; i < group; ++i)
                    for (int span = 0; span < span_count_; ++span)
                        join_sums(sums_[i], masks_[span], best_ + (span * query_.count + q + i) * kBestLanes);
            }
        }
        for (int i = 0; i < span_count_; ++i)
            if (spans_[i].finished) scores[spans_[i].item] = total(best_ + i * query_.count * kBestLanes);
        const int last = span_count_ - 1;
        if (!spans_[last].finished && last > 0)  // goes on in the next block, as its first span
            for (std::int64_t i = 0; i < query_.count * kBestLanes; ++i) best_[i] = best_[last * query_.count * kBestLanes + i];
        span_count_ = filled_ = 0;
    }

  private:
    void fetch_block() {
        const char* line = ahead_.next(kBitRows * bytes_);
        for (std::int64_t i = 0; i < kBitRows * bytes_; i += 64) prefetch(line + i);
    }

    // The block's nibbles, from the codes where they are if they follow each other, else by way of `rows_`.
    void gather() {
        bool contiguous = bytes_ == width_ && filled_ == kBitRows;
        for (int i = 1; contiguous && i < span_count_; ++i) contiguous = sources_[i] == sources_[0] + spans_[i].begin;
        if (contiguous) return transpose(codes_ + sources_[0] * bytes_, width_, nibbles_);
        for (int i = 0; i < span_count_; ++i) {
            const std::uint8_t* code = codes_ + sources_[i] * bytes_;
            for (int r = spans_[i].begin; r < spans_[i].end; ++r, code += bytes_) copy_code(code, rows_ + r * width_);
        }
        transpose(rows_, width_, nibbles_);
    }

    // In words, of which the last may overlap the one before: codes are too short for a call.
    void copy_code(const std::uint8_t* from, std::uint8_t* to) const {
        if (bytes_ == 16) {
            __builtin_memcpy(to, from, 16);
        } else if (bytes_ >= 8) {
            for (std::int64_t i = 0; i < bytes_ - 8; i += 8) __builtin_memcpy(to + i, from + i, 8);
            __builtin_memcpy(to + bytes_ - 8, from + bytes_ - 8, 8);
        } else if (bytes_ >= 4) {
            __builtin_memcpy(to, from, 4);
            __builtin_memcpy(to + bytes_ - 4, from + bytes_ - 4, 4);
        } else {
            for (std::int64_t i = 0; i < bytes_; ++i) to[i] = from[i];
        }
    }

    // Calls visit<G>(tables) for up to kBitQueries query vectors from q on, which are G.
    template <class Visit>
    int with_group(std::int64_t q, Visit visit) const {
        const int group = static_cast<int>(smaller(kBitQueries, query_.count - q));
        const std::uint8_t* tables = tables_ + q * summed_bytes(query_.dim) * 32;
        switch (group) {
            case 1: visit.template operator()<1>(tables); break;
            case 2: visit.template operator()<2>(tables); break;
            case 3: visit.template operator()<3>(tables); break;
            default: visit.template operator()<4>(tables); break;
        }
        return group;
    }

    // `agree` of the block's rows with up to kBitQueries query vectors from q on, to `sums_`; how many there were.
    int sum_group(std::int64_t q) {
        return with_group(q, [&]<int G>(const std::uint8_t* tables) {
            sum_bits<G>(nibbles_, tables, summed_bytes(query_.dim), sums_[0]);
        });
    }

    // The whole block to the maxima of the only document in it, by sets that can without storing sums.
    bool join_at_once() {
#if defined(LATEWOOD_BITS_BY_WORDS)
        if (span_count_ > 1 || filled_ < kBitRows) return false;
        for (std::int64_t q = 0; q < query_.count; q += kBitQueries)
            with_group(q, [&]<int G>(const std::uint8_t* tables) {
                join_bits<G>(nibbles_, tables, summed_bytes(query_.dim), best_ + q * kBestLanes);
            });
        return true;
#else
        return false;
#endif
    }

    void mask_spans() {
        for (int span = 0; span < span_count_; ++span) masks_[span].set(spans_[span].begin, spans_[span].end);
    }

    float similarity(std::int32_t agree, std::int64_t q) const {
        return static_cast<float>(2 * agree - all_[q]) * query_.scales[q];
    }

    float total(const BitSum* best) const {
        float sum = 0.0f;
        for (std::int64_t q = 0; q < query_.count; ++q, best += kBestLanes) {
            sum += similarity(largest_sum(best), q);
        }
        return sum;
    }
};

}  // namespace

#endif
