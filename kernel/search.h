// Scores and rankings over many documents: threads and top-k on top of one instruction set's kernels.
#ifndef LATEWOOD_SEARCH_H
#define LATEWOOD_SEARCH_H

#include <cstdint>
#include <vector>

#include "buffer.h"
#include "maxsim.h"

namespace latewood {

// A query made ready for documents of one format, by the set that is active now. Shared by threads.
class Prepared {
    Buffer<std::int16_t> levels_;
    Buffer<float> scales_;
    Query query_;
    const Kernels* kernels_;
    Buffer<char> packed_;

  public:
    // `levels`: the largest integer of a quantised query, for formats that have one.
    Prepared(const float* values, std::int64_t count, std::int64_t dim, Format format, std::int32_t levels);

    const Query& query() const { return query_; }
    const Kernels& kernels() const { return *kernels_; }
    const void* packed() const { return packed_.get(); }
};

// scores[i] of document rows[i], or of document i where rows is null, for 0 <= i < count, on `threads` threads.
void score(const Prepared& query, const Documents& documents, const std::int64_t* rows, std::int64_t count, int threads,
           float* scores);

// The best `most` of the query's vectors for each of these tokens (Kernels::nearest), on `threads` threads.
void nearest(const Prepared& centres, const Documents& documents, const std::int64_t* tokens, std::int64_t count,
             const float* bias, std::int64_t most, int threads, std::int32_t* numbers, float* values);

// [Q, T] similarities to one document.
void similarities(const Prepared& query, const Documents& documents, std::int64_t document, float* out);

struct Ranked {
    std::int64_t document;
    float score;
};

// Leaves the best k, in order: by score descending, then document ascending.
void keep_best(std::vector<Ranked>& ranked, std::int64_t k);

// The best k of these documents by score descending, then document ascending; without those that have no vectors.
std::vector<Ranked> top_k(const Documents& documents, const std::int64_t* rows, std::int64_t count, const float* scores,
                          std::int64_t k);

}  // namespace latewood

#endif
