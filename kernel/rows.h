// What is done with the similarities of one vector after the other, for whichever stream computes them. A stream gives
//   for_each_row(tokens, begin, end, visit)   visit(similarities by slot, i) for token tokens[i], or i where that is null
//   for_each_run(visit)                       visit(slot, first, queries): so many query vectors lie from that slot on
//   scaled(similarity, q), slots()
#ifndef LATEWOOD_ROWS_H
#define LATEWOOD_ROWS_H

#include <cstddef>
#include <cstdint>

#include "interact.h"
#include "maxsim.h"

namespace {

// Slots that a table of bytes has at most; the door refuses longer queries.
constexpr std::int64_t kTableSlots = 2048;

// The best centres of tokens, which come as documents of one vector each.
template <class Stream>
void nearest_of(Stream& stream, const std::int64_t* tokens, std::int64_t begin, std::int64_t end, const float* bias,
                std::int64_t most, std::int32_t* numbers, float* values) {
    stream.for_each_row(tokens, begin, end, [&](const float* row, std::int64_t i) {
        std::int32_t* number = numbers + i * most;
        float* value = values + i * most;
        std::int64_t found = 0;
        stream.for_each_run([&](std::int64_t slot, std::int64_t first, std::int64_t queries) {
            for (std::int64_t q = first; q < first + queries; ++q) {
                const float now = stream.scaled(row[slot + q - first], q) + bias[q];
                if (found == most && !(now > value[most - 1])) continue;
                std::int64_t at = found < most ? found++ : most - 1;
                for (; at > 0 && now > value[at - 1]; --at) {
                    value[at] = value[at - 1];
                    number[at] = number[at - 1];
                }
                value[at] = now;
                number[at] = static_cast<std::int32_t>(q);
            }
        });
    });
}

// A table of bytes, and the maxima of every `block` rows of it (maxsim.h).
template <class Stream>
void tabulate_of(Stream& stream, std::int64_t width, float gain, float shift, std::int64_t count, std::int64_t block,
                 std::uint8_t* table, std::uint8_t* peaks) {
    float gains[kTableSlots], shifts[kTableSlots], row[kTableSlots];
    for (std::int64_t slot = 0; slot < width; ++slot) gains[slot] = shifts[slot] = row[slot] = 0.0f;
    stream.for_each_run([&](std::int64_t slot, std::int64_t first, std::int64_t queries) {
        for (std::int64_t i = 0; i < queries; ++i) {
            gains[slot + i] = stream.scaled(gain, first + i);
            shifts[slot + i] = shift + 0.5f;  // what follows cuts towards zero
        }
    });
    std::int64_t last = block;  // of the rows that share a peak
    stream.for_each_row(nullptr, 0, count, [&](const float* similarities, std::int64_t t) {
        if (t == last) peaks += width, last += block;
        const float* values = similarities;
        if (stream.slots() != width) {
            __builtin_memcpy(row, similarities, static_cast<std::size_t>(stream.slots()) * sizeof(float));
            values = row;
        }
        std::uint8_t* to = table + t * width;
        for (std::int64_t slot = 0; slot < width; slot += kTableBytes) {
            const TableBytes now = cut_to_bytes(values + slot, gains + slot, shifts + slot);
            store_bytes(to + slot, now);
            store_bytes(peaks + slot, larger(table_bytes(peaks + slot), now));
        }
    });
}

}  // namespace

#endif
