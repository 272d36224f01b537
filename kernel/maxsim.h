// MaxSim over ragged vectors: the contract between the instruction sets and the rest of the kernel.
//
//   MaxSim(query, document) = sum over query vectors q of  max over document vectors t of  <q, t>
//
// Higher is better. A document without vectors scores -infinity.
//
// Shapes (letters as everywhere: N documents, Q query vectors, T document vectors, D dimensions)
//   query      [Q, D] row-major float32, Q >= 1, D >= 1, finite
//   tokens     [T, D] row-major float32, float16 (IEEE binary16, as uint16) or int8, finite, any alignment
//   offsets    [N + 1] rising from 0 to T: document i owns the rows offsets[i] .. offsets[i + 1]
//   codes      in the place of tokens, [T, ceil(D / 8)] uint8: one bit per dimension, bit d % 8 of byte d / 8 is 1 where
//              the vector's value is +1 and 0 where it is -1; bits beyond D are ignored
//   scales     [T] float32 >= 0, int8 only: row t stands for tokens[t] * scales[t]
// All of it belongs to the caller and is only read; tokens may be a memory map.
//
// Precision
//   float32, float16   float16 is converted exactly; products and sums in float32, in an order that depends on Q and D
//                      and the instruction set alone: never on the other documents, the thread, or how rows were listed.
//   int8               each query vector is quantised to integers of at most `query_levels(D)` with a scale of its own, so
//                      that dot products are exact in int32. A similarity is (float(dot) * scales[t]) * query_scale[q]:
//                      the conversion and the two products round to nearest. All instruction sets agree bit for bit.
//   table              int8 documents and query integers of at most `table_levels`, exact as well; a byte is rounded from it.
//   bits               the same with |integer| <= bit_levels(D): a similarity is float(dot) * query_scale[q].
//   all                a score is the float32 sum of the maxima over query vectors, from the first to the last.
//   Values so large that a dot product leaves the range of float32 are the caller's to avoid.
//
// How
//   Query vectors lie in the SIMD lanes, so a document vector is broadcast and the max over document vectors is a
//   vertical operation (for bits, document vectors lie in the lanes: bits.h). Query vectors that don't fill a register take a fraction of one, several dimensions side by
//   side (tile.h), so that Q = 10 costs ten eighths of Q = 8 and not two. Rows of neighbouring documents share a block,
//   so short documents don't waste lanes or rows either.
//
// Instruction sets: one source (maxsim.cpp), compiled once for each.
//   baseline   plain C++, for any machine          avx2   x86-64 with AVX2, FMA and F16C
//   avx512     x86-64 with AVX-512 F, BW, VL, DQ and VNNI          neon   AArch64
//   avx512vbmi the same with VBMI: bits_vbmi.h
//   amx        avx512vbmi with AMX-INT8, on Linux: amx.h for integers
// dispatch.h chooses.
#ifndef LATEWOOD_MAXSIM_H
#define LATEWOOD_MAXSIM_H

#include <cstddef>
#include <cstdint>

namespace latewood {

// `table` is no form of documents: it says of a query that int8 documents are met by tabulate().
enum class Format : std::int32_t { float32, float16, int8, bits, table };

// N documents. Plain pointers: whoever fills this in has checked what the head of this file asks for.
struct Documents {
    Format format;
    std::int64_t dim;
    const void* tokens;
    const std::int64_t* offsets;
    const float* scales;  // null unless int8
};

// Q query vectors in the form that meets documents of one format: `values` or, for int8 and bits, `levels`
// with `scales`.
struct Query {
    Format format;
    std::int64_t count;
    std::int64_t dim;
    const float* values;         // [Q, D], floats only
    const std::int16_t* levels;  // [Q, D], int8, bits and table
    const float* scales;         // [Q], the same
};

// What one instruction set offers. Memory is the caller's: `packed` and `workspace` are 64-byte aligned, of at least
// the bytes asked for; a packed query may be shared by threads, a workspace may not.
struct Kernels {
    const char* name;
    std::size_t (*packed_bytes)(const Query& query);
    void (*pack)(const Query& query, void* packed);
    std::size_t (*workspace_bytes)(const Query& query);

    // scores[i] of document rows[i], or of document i where rows is null, for begin <= i < end.
    void (*score)(const Query& query, const void* packed, const Documents& documents, const std::int64_t* rows,
                  std::int64_t begin, std::int64_t end, float* scores, void* workspace);

    // The [Q, T] similarities to the T vectors of one document, row-major. The maxima of its rows, summed, are the score.
    void (*similarities)(const Query& query, const void* packed, const Documents& documents, std::int64_t document,
                         float* out, void* workspace);

    // The best `most` of the Q vectors of the query for token tokens[i], or token i where tokens is null, by
    // similarity + bias[q], begin <= i < end: numbers[i * most ..] and values[i * most ..], best first, the lower number
    // first among equals. The query's part is played by the centres of clusters; not for bits.
    void (*nearest)(const Query& query, const void* packed, const Documents& documents, const std::int64_t* tokens,
                    std::int64_t begin, std::int64_t end, const float* bias, std::int64_t most, std::int32_t* numbers,
                    float* values, void* workspace);

    // A table of bytes, `count` rows of table_width(Q) bytes: row t holds, in the order of the lanes, the similarities of
    // token t with the query vectors, times `gain`, plus `shift`, rounded to nearest and cut to 0 .. 255. Bytes without a
    // query vector are 0. int8 documents only, and a query of the format `table`. sums[t] is the sum of token t's
    // integers. Peaks: for every `block` rows a row of their maxima, joined to what is there.
    std::int64_t (*table_width)(const Query& query);
    void (*tabulate)(const Query& query, const void* packed, const Documents& documents, const std::int32_t* sums,
                     std::int64_t count, float gain, float shift, std::int64_t block, std::uint8_t* table,
                     std::uint8_t* peaks, void* workspace);

    // Those of the table's rows begin .. end that have a byte greater than the floor's [width]: how many, and their
    // numbers, rising, in `rows`, which has room for all.
    std::int64_t (*passing)(const std::uint8_t* table, std::int64_t width, const std::uint8_t* floor, std::int64_t begin,
                            std::int64_t end, std::int32_t* rows);

    // scores[i], for 0 <= i < count: the sum over the bytes of a row of the max over the table's rows that document
    // rows[i] lists, numbers[offsets[row]] .. numbers[offsets[row + 1]]. 0 for one that lists none.
    void (*interact)(const std::uint8_t* table, std::int64_t width, const std::uint16_t* numbers,
                     const std::int64_t* offsets, const std::int32_t* rows, std::int64_t count, std::int32_t* scores);
};

extern "C" {
extern const Kernels latewood_kernels_baseline;
extern const Kernels latewood_kernels_avx2;
extern const Kernels latewood_kernels_avx512;
extern const Kernels latewood_kernels_avx512vbmi;
extern const Kernels latewood_kernels_amx;
extern const Kernels latewood_kernels_neon;
}

}  // namespace latewood

#endif
