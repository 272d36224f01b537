// Transposing bits.h's codes with AVX2, for the x86 sets that have it.
#ifndef LATEWOOD_TRANSPOSE_X86_H
#define LATEWOOD_TRANSPOSE_X86_H

#include <immintrin.h>

#include <cstdint>

namespace {

// Codes [32, width] to nibbles: of every byte the low four bits [32], and `pitch` further the high four; the next byte
// after 2 * pitch. Row r and row 16 + r share a register, so that transposing 16 x 16 bytes in both halves gives the
// rows in order.
inline void transpose_32(const std::uint8_t* codes, std::int64_t width, std::uint8_t* nibbles, std::int64_t pitch) {
    const __m256i low = _mm256_set1_epi8(15);
    for (std::int64_t piece = 0; piece < width; piece += 16) {
        __m256i a[16], b[16];
#pragma GCC unroll 16
        for (int r = 0; r < 16; ++r) {
            const std::uint8_t* code = codes + r * width + piece;
            a[r] = _mm256_inserti128_si256(
                _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(code))),
                _mm_loadu_si128(reinterpret_cast<const __m128i*>(code + 16 * width)), 1);
        }
        // Four rounds of interleaving row i with row i + 8 bring byte j of row r from place 16 * r + j to 16 * j + r.
#pragma GCC unroll 4
        for (int round = 0; round < 4; ++round) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; ++i) {
                b[2 * i] = _mm256_unpacklo_epi8(a[i], a[i + 8]);
                b[2 * i + 1] = _mm256_unpackhi_epi8(a[i], a[i + 8]);
            }
#pragma GCC unroll 16
            for (int i = 0; i < 16; ++i) a[i] = b[i];
        }
#pragma GCC unroll 16
        for (int byte = 0; byte < 16; ++byte, nibbles += 2 * pitch) {
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(nibbles), _mm256_and_si256(a[byte], low));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(nibbles + pitch),
                                _mm256_and_si256(_mm256_srli_epi16(a[byte], 4), low));
        }
    }
}

}  // namespace

#endif
