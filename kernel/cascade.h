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

// What is searched: N documents, K <= 65536 centroids. Plain pointers, checked by whoever fills this in.
struct Lists {
    Documents centroids;                  // int8, one vector each
    const std::int32_t* centroid_sums;    // [K], of each one's integers
    std::int64_t centroid_count;          // K
    float longest;                        // the greatest length of a centroid
    const std::uint16_t* numbers;         // the distinct centroids of each document,
    const std::int64_t* number_offsets;   // [N + 1]
    const std::int32_t* postings;         // the documents of each centroid, ascending,
    const std::int64_t* posting_offsets;  // [K + 1]
    Documents bits;                       // the tokens' signs
    std::int64_t documents;               // N
    bool signs;                           // whether there are bits
};

struct Depths {
    std::int64_t probe;   // centroids that each query vector reaches; 0: every document passes the first step
    std::int64_t first;   // documents that leave the first step
    std::int64_t second;  // ... the second
    std::int64_t third;   // ... the third; 0: the second is the last
    int last;             // 1: only the first step is taken; 2, 3: no further than that
};

// The documents that leave the last step, best first. `allowed` is null or says of each document whether it may be
// found. `values` is the query as [count, dim] floats. `reached` is how many documents the first step named.
std::vector<std::int64_t> candidates(const Lists& lists, const float* values, std::int64_t count, const Depths& depths,
                                     const std::uint8_t* allowed, std::int64_t* reached);

}  // namespace latewood

#endif
