// From a query to the documents worth scoring exactly, in three steps of rising cost over ever fewer documents:
//   first    the centroids nearest to each query vector name documents (postings); a document that a query vector doesn't
//            reach gets what the last centroid in reach would have given, less one (as WARP imputes)
//   second   centroid interaction: every token stands for its centroid, over a table of bytes (interact.h)
//   third    MaxSim over the signs of the tokens' dimensions (bits.h)
// Each orders the documents by its score, descending, then by number, ascending, so the answer is one and the same on
// every machine and for any number of callers.
#ifndef LATEWOOD_CASCADE_H
#define LATEWOOD_CASCADE_H

#include <cstdint>
#include <vector>

#include "maxsim.h"

namespace latewood {

// The centroids that tokens stand for, K <= 65536. Plain pointers, here and below, checked by whoever fills them in.
struct Centroids {
    Documents vectors;         // int8, one vector each
    const std::int32_t* sums;  // [K], of each one's integers
    std::int64_t count;        // K
    float longest;             // the greatest length of a centroid
};

// Some of the documents that are searched, n of them: an index grows by such parts. Its documents are numbered behind
// those of the part before it.
struct Part {
    std::int64_t documents;               // n
    const std::uint16_t* numbers;         // the distinct centroids of each document,
    const std::int64_t* number_offsets;   // [n + 1]
    const std::int32_t* postings;         // the documents of each centroid, ascending, the part's first one 0; null: all
    const std::int64_t* posting_offsets;  // [K + 1]                             of them pass the first step
    Documents bits;                       // the tokens' signs
};

struct Depths {
    std::int64_t probe;   // centroids that each query vector reaches; 0: every document passes the first step
    std::int64_t first;   // documents that leave the first step
    std::int64_t second;  // ... the second
    std::int64_t third;   // ... the third; 0: the second is the last
    int last;             // 1: only the first step is taken; 2, 3: no further than that
};

// The documents that leave the last step, best first. `allowed` is null or says of each document whether it may be
// found. `values` is the query as [count, dim] floats. `reached` is how many documents the first step named, those of
// parts without postings included, which leave it behind the others.
std::vector<std::int64_t> candidates(const Centroids& centroids, const std::vector<Part>& parts, const float* values,
                                     std::int64_t count, const Depths& depths, const std::uint8_t* allowed,
                                     std::int64_t* reached);

}  // namespace latewood

#endif
