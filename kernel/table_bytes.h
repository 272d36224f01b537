// Rows of a table of bytes, thirty-two at a time (interact.h).
#ifndef LATEWOOD_TABLE_BYTES_H
#define LATEWOOD_TABLE_BYTES_H

#include <cstdint>

namespace {

constexpr std::int64_t kTableBytes = 32;  // a row is a multiple of it

#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wpsabi"  // everything here is inlined
typedef std::uint8_t TableBytes __attribute__((vector_size(32), aligned(1), may_alias));
inline TableBytes larger(TableBytes a, TableBytes b) { return a > b ? a : b; }
inline void store_bytes(std::uint8_t* p, TableBytes v) { *reinterpret_cast<TableBytes*>(p) = v; }
inline TableBytes table_bytes(const std::uint8_t* p) { return *reinterpret_cast<const TableBytes*>(p); }
inline std::int32_t sum_of(TableBytes v) {
    std::int32_t sum = 0;
    for (int i = 0; i < 32; ++i) sum += v[i];
    return sum;
}
#else
struct TableBytes {
    std::uint8_t value[32];
};
inline TableBytes larger(TableBytes a, const TableBytes& b) {
    for (int i = 0; i < 32; ++i) a.value[i] = a.value[i] > b.value[i] ? a.value[i] : b.value[i];
    return a;
}
inline void store_bytes(std::uint8_t* p, const TableBytes& v) { *reinterpret_cast<TableBytes*>(p) = v; }
inline TableBytes table_bytes(const std::uint8_t* p) { return *reinterpret_cast<const TableBytes*>(p); }
inline std::int32_t sum_of(const TableBytes& v) {
    std::int32_t sum = 0;
    for (int i = 0; i < 32; ++i) sum += v.value[i];
    return sum;
}
#endif

}  // namespace

#endif
