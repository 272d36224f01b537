#include "query.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace latewood {
namespace {

// 1.5 * 2^23: a float of this size has no room for a fraction.
constexpr float kRound = 12582912.0f;

}  // namespace

std::int32_t query_levels(std::int64_t dim) {
    const std::int64_t fit = std::numeric_limits<std::int32_t>::max() / (128 * dim);
    return static_cast<std::int32_t>(std::min<std::int64_t>(8191, fit));
}

std::int32_t bit_levels(std::int64_t dim) { return static_cast<std::int32_t>(std::min<std::int64_t>(15, 65535 / dim)); }

void quantize_query(const float* values, std::int64_t count, std::int64_t dim, std::int32_t levels,
                    std::int16_t* integers, float* scales) {
    const float limit = static_cast<float>(levels);
    for (std::int64_t q = 0; q < count; ++q) {
        const float* from = values + q * dim;
        float largest = 0.0f;
        for (std::int64_t d = 0; d < dim; ++d) largest = std::max(largest, std::fabs(from[d]));
        scales[q] = largest / limit;
        // Zeros, for the quotient, where the scale is 0.
        const float divisor = scales[q] > 0.0f ? scales[q] : std::numeric_limits<float>::infinity();
        std::int16_t* to = integers + q * dim;
        for (std::int64_t d = 0; d < dim; ++d) {
            // A subnormal scale is rounded so coarsely that the quotient can pass the limit.
            float quotient = from[d] / divisor;
            quotient = quotient < limit ? quotient : limit;
            quotient = quotient > -limit ? quotient : -limit;
            // To nearest, ties to even, as std::nearbyint, which compilers don't turn into vectors for every machine.
            const float rounded = (quotient + kRound) - kRound;
            to[d] = static_cast<std::int16_t>(static_cast<std::int32_t>(rounded));
        }
    }
}

}  // namespace latewood
