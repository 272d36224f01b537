// From a query to the documents worth scoring exactly, in three steps of rising cost over ever fewer documents:
//   first    the centroids nearest to each query vector name documents (postings); a document that a query vector doesn't
//            reach gets what the last centroid in reach would have given, less one (as WARP imputes)
//   second   centroid interaction: every token stands for its centroid, over a table of bytes (interact.h)
//   third    MaxSim over the signs of the tokens' dimensions (bits.h)
// Each orders the documents by its score, descending, then by number, ascending, so the answer is one and the same on
// every machine and for any number of callers. Those that leave it are at most so many, and near enough to the k-th: where
// few documents answer a query, the others stand far behind.
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

// Which documents leave a step.
struct Leaving {
    std::int64_t most;  // so many of them at most,
    double margin;      // whose score isn't lower than the k-th by more than this share of it; 1: whatever their score
};

struct Depths {
    std::int64_t probe;  // centroids that each query vector reaches; 0: every document passes the first step
    Leaving first, second, third;
    std::int64_t k;  // documents that are wanted in the end
    int last;        // 1: only the first step is taken; 2, 3: no further than that
};

struct Found {
    std::vector<std::int64_t> rows;  // the documents that leave the last step, best first
    std::vector<float> scores;       // theirs there, 0 for a document that has nothing to do with the query
    // Documents that the first step named, with those of parts without postings, which leave it behind the others.
    std::int64_t reached;
};

// `allowed` is null or says of each document whether it may be found. `values` is the query as [count, dim] floats.
Found candidates(const Centroids& centroids, const std::vector<Part>& parts, const float* values, std::int64_t count,
                 const Depths& depths, const std::uint8_t* allowed);

}  // namespace latewood

#endif
