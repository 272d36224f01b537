// Centroid interaction: a document is a short list of rows of a table of bytes; a row holds what its centroid would score
// with every query vector. The max over the list, summed over the row, is the document's score.
#ifndef LATEWOOD_INTERACT_H
#define LATEWOOD_INTERACT_H

#include <cstdint>

#include "table_bytes.h"

namespace {

#if !defined(LATEWOOD_CUT_TO_BYTES)
// Of 32 values: times gain, plus shift, cut to 0 .. 255 and towards zero. For each instruction set in its own words, and
// here in a form that compilers turn into vectors.
inline TableBytes cut_to_bytes(const float* values, const float* gains, const float* shifts) {
    std::int32_t whole[kTableBytes];
    for (int i = 0; i < kTableBytes; ++i) {
        float value = values[i] * gains[i] + shifts[i];
        value = value > 0.0f ? value : 0.0f;
        value = value < 255.0f ? value : 255.0f;
        whole[i] = static_cast<std::int32_t>(value);
    }
    std::uint8_t bytes[kTableBytes];
    for (int i = 0; i < kTableBytes; ++i) bytes[i] = static_cast<std::uint8_t>(whole[i]);
    return table_bytes(bytes);
}
#endif

// Whether a row has a byte above the floor's.
inline bool passes(const std::uint8_t* row, const std::uint8_t* floor, std::int64_t width) {
    for (std::int64_t slot = 0; slot < width; slot += kTableBytes) {
        const TableBytes low = table_bytes(floor + slot), top = larger(table_bytes(row + slot), low);
        std::uint64_t a[kTableBytes / 8], b[kTableBytes / 8], differ = 0;
        __builtin_memcpy(a, &top, sizeof a);
        __builtin_memcpy(b, &low, sizeof b);
        for (int i = 0; i < kTableBytes / 8; ++i) differ |= a[i] ^ b[i];
        if (differ != 0) return true;
    }
    return false;
}

std::int64_t passing(const std::uint8_t* table, std::int64_t width, const std::uint8_t* floor, std::int64_t begin,
                     std::int64_t end, std::int32_t* rows) {
    std::int64_t found = 0;
    for (std::int64_t t = begin; t < end; ++t) {
        rows[found] = static_cast<std::int32_t>(t);
        found += passes(table + t * width, floor, width) ? 1 : 0;
    }
    return found;
}

void interact(const std::uint8_t* table, std::int64_t width, const std::uint16_t* numbers, const std::int64_t* offsets,
              const std::int32_t* rows, std::int64_t count, std::int32_t* scores) {
    constexpr std::int64_t kAhead = 8;  // documents: their lists are short and lie anywhere
    for (std::int64_t i = 0; i < count; ++i) {
        if (i + kAhead < count) {
            const std::int64_t later = offsets[rows[i + kAhead]];
            prefetch(numbers + later);
            prefetch(numbers + later + 32);
            prefetch(numbers + later + 64);
        }
        const std::int64_t first = offsets[rows[i]], last = offsets[rows[i] + 1];
        std::int32_t score = 0;
        for (std::int64_t slot = 0; slot < width; slot += kTableBytes) {
            const std::uint8_t* column = table + slot;
            TableBytes a{}, b{}, c{}, d{};
            std::int64_t j = first;
            for (; j + 4 <= last; j += 4) {
                a = larger(a, table_bytes(column + numbers[j] * width));
                b = larger(b, table_bytes(column + numbers[j + 1] * width));
                c = larger(c, table_bytes(column + numbers[j + 2] * width));
                d = larger(d, table_bytes(column + numbers[j + 3] * width));
            }
            for (; j < last; ++j) a = larger(a, table_bytes(column + numbers[j] * width));
            score += sum_of(larger(larger(a, b), larger(c, d)));
        }
        scores[i] = score;
    }
}

}  // namespace

#endif
