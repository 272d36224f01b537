// Query vectors as integers, for documents that are stored as integers. The same on every machine.
#ifndef LATEWOOD_QUERY_H
#define LATEWOOD_QUERY_H

#include <cstdint>

namespace latewood {

// The largest integer that a query vector of `dim` dimensions is quantised to, for int8 documents.
//
// |dot| <= dim * 128 * levels must stay below 2^31. With 8191 = 2^13 - 1 that holds for dim <= 2048, as
// 2048 * 2^7 * (2^13 - 1) < 2^31; beyond, levels = floor((2^31 - 1) / (128 * dim)) holds by its own definition.
// It reaches 0 at dim = 2^24, which the caller refuses.
std::int32_t query_levels(std::int64_t dim);

// The same for tables, whose bytes can't tell more apart: both factors then fit eight bits.
constexpr std::int32_t table_levels = 127;

// The same for documents of bits: dim * levels must fit 16 bits without sign, and sixteen levels a byte (bits.h).
// 15 for dim <= 4369; reaches 0 at dim = 65536, which the caller refuses.
std::int32_t bit_levels(std::int64_t dim);

// scales[q] = max |values[q]| / levels in float32, and integers[q] = round to nearest even of values[q] / scales[q].
// A scale of 0 (a vector of zeros, or too small for its scale to be a float) gives zeros.
void quantize_query(const float* values, std::int64_t count, std::int64_t dim, std::int32_t levels,
                    std::int16_t* integers, float* scales);

}  // namespace latewood

#endif
