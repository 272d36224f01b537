#include "query.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace latewood {

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
        for (std::int64_t d = 0; d < dim; ++d) {
            // A subnormal scale is rounded so coarsely that the quotient can pass the limit.
            const float quotient = scales[q] > 0.0f ? std::nearbyint(from[d] / scales[q]) : 0.0f;
            integers[q * dim + d] = static_cast<std::int16_t>(std::clamp(quotient, -limit, limit));
        }
    }
}

}  // namespace latewood
