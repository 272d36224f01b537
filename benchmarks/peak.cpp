// The machine's own speed limits, measured by benchmarks/kernel.py in the same run as everything else.
// Compiled by it with -march=native. Times are of this thread's processor time: another process that takes the core
// away for a while doesn't count.
#include <time.h>

#include <cstdint>

namespace {

double now() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef float Floats __attribute__((vector_size(4 * kLanes)));

}  // namespace

// GFLOP/s of fused multiply-adds on registers alone: twelve independent chains hide the latency of each.
extern "C" double fma_peak(std::int64_t rounds) {
    constexpr int kChains = 12;
    Floats sums[kChains] = {}, factor, term;
    for (int i = 0; i < kLanes; ++i) {
        factor[i] = 0.999f;
        term[i] = 0.001f;
    }
    const double start = now();
    for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
        for (int i = 0; i < kChains; ++i) {
            sums[i] = sums[i] * factor + term;
            __asm__ volatile("" : "+x"(sums[i]));
        }
    }
    return 2.0 * kChains * kLanes * static_cast<double>(rounds) / (now() - start) * 1e-9;
}

// GB/s of reading `bytes` once from `data`, a multiple of 64.
extern "C" double read_bandwidth(const std::uint64_t* data, std::int64_t bytes) {
    typedef std::uint64_t Words __attribute__((vector_size(32), aligned(8)));
    const Words* words = reinterpret_cast<const Words*>(data);
    Words a = {}, b = {};
    const double start = now();
    for (std::int64_t i = 0; i + 1 < bytes / 32; i += 2) {
        a ^= words[i];
        b ^= words[i + 1];
    }
    __asm__ volatile("" : "+x"(a), "+x"(b));
    return static_cast<double>(bytes) / (now() - start) * 1e-9;
}
