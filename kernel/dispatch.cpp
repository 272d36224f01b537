#include "dispatch.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#if defined(LATEWOOD_HAS_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "buffer.h"
#include "query.h"

namespace latewood {
namespace {

// Shapes of the trial: a full register and every fraction, an odd dimension, documents of 0 to 40 vectors.
constexpr std::int64_t kTrialCounts[] = {1, 2, 3, 4, 6, 31, 39}, kTrialQueries = 39, kTrialDim = 67;
constexpr std::int64_t kTrialOffsets[] = {0, 1, 1, 4, 15, 16, 40, 80};
constexpr std::int64_t kTrialDocuments = 7, kTrialTokens = 80;

struct Trial {
    Buffer<float> values, tokens, token_scales;
    Buffer<std::uint16_t> halves;
    Buffer<std::int8_t> bytes;

    Trial()
        : values(kTrialQueries * kTrialDim),
          tokens(kTrialTokens * kTrialDim),
          token_scales(kTrialTokens),
          halves(kTrialTokens * kTrialDim),
          bytes(kTrialTokens * kTrialDim) {
        std::uint32_t state = 1;
        const auto next = [&state] { return (state = state * 1664525u + 1013904223u) >> 16; };
        const auto unit = [&next] { return static_cast<float>(next()) / 32768.0f - 1.0f; };
        for (std::int64_t i = 0; i < kTrialQueries * kTrialDim; ++i) values[i] = unit();
        for (std::int64_t i = 0; i < kTrialTokens * kTrialDim; ++i) {
            tokens[i] = unit();
            // Sign, exponents from subnormal to 2^3, any mantissa.
            halves[i] = static_cast<std::uint16_t>((next() & 0x83ff) | (next() % 19) << 10);
            bytes[i] = static_cast<std::int8_t>(next());
        }
        for (std::int64_t t = 0; t < kTrialTokens; ++t) token_scales[t] = 0.01f + std::fabs(unit());
    }

    Documents documents(Format format) const {
        const void* stored = format == Format::float32   ? static_cast<const void*>(tokens.get())
                             : format == Format::float16 ? static_cast<const void*>(halves.get())
                                                         : static_cast<const void*>(bytes.get());  // bits: any bytes
        return {format, kTrialDim, stored, kTrialOffsets, format == Format::int8 ? token_scales.get() : nullptr};
    }

    void run(const Kernels& kernels, Format format, std::int64_t queries, float* scores) const {
        Buffer<std::int16_t> levels(queries * kTrialDim);
        Buffer<float> scales(queries);
        quantize_query(values.get(), queries, kTrialDim,
                       format == Format::bits ? bit_levels(kTrialDim) : query_levels(kTrialDim), levels.get(),
                       scales.get());
        const Query query = {format, queries, kTrialDim, values.get(), levels.get(), scales.get()};
        Buffer<char> packed(static_cast<std::int64_t>(kernels.packed_bytes(query)));
        Buffer<char> workspace(static_cast<std::int64_t>(kernels.workspace_bytes(query)));
        kernels.pack(query, packed.get());
        kernels.score(query, packed.get(), documents(format), nullptr, 0, kTrialDocuments, scores, workspace.get());
    }

    // A table of bytes, and its peaks behind it.
    std::vector<std::uint8_t> table(const Kernels& kernels, std::int64_t queries) const {
        Buffer<std::int16_t> levels(queries * kTrialDim);
        Buffer<float> scales(queries);
        quantize_query(values.get(), queries, kTrialDim, table_levels, levels.get(), scales.get());
        const Query query = {Format::table, queries, kTrialDim, values.get(), levels.get(), scales.get()};
        Buffer<char> packed(static_cast<std::int64_t>(kernels.packed_bytes(query)));
        Buffer<char> workspace(static_cast<std::int64_t>(kernels.workspace_bytes(query)));
        kernels.pack(query, packed.get());
        std::int32_t sums[kTrialTokens] = {};
        for (std::int64_t i = 0; i < kTrialTokens * kTrialDim; ++i) sums[i / kTrialDim] += bytes[i];
        const std::int64_t width = kernels.table_width(query), size = kTrialTokens * width;
        std::vector<std::uint8_t> out(static_cast<std::size_t>(size + (kTrialTokens + 6) / 7 * width), 0);
        kernels.tabulate(query, packed.get(), documents(Format::int8), sums, kTrialTokens, 0.1f, 100.0f, 7, out.data(),
                         out.data() + size, workspace.get());
        std::sort(out.begin(), out.end());  // in the order of the lanes, which differs
        return out;
    }

    // Integers to the bit. Floats to the rounding of two sums of D products and Q maxima, values below 16, errors adding up
    // at worst.
    bool agree(const Kernels& kernels, const Kernels& baseline) const {
        const float slack = 2.0f * kTrialQueries * kTrialDim * 16.0f * (kTrialDim + kTrialQueries) * 6e-8f;
        for (const Format format : {Format::float32, Format::float16, Format::int8, Format::bits}) {
            for (const std::int64_t queries : kTrialCounts) {
                float want[kTrialDocuments], got[kTrialDocuments];
                run(baseline, format, queries, want);
                run(kernels, format, queries, got);
                for (std::int64_t i = 0; i < kTrialDocuments; ++i) {
                    const bool exact = format == Format::int8 || format == Format::bits;
                    const float allowed = exact ? 0.0f : slack;
                    if (want[i] != got[i] && !(std::fabs(want[i] - got[i]) <= allowed)) return false;
                }
            }
        }
        for (const std::int64_t queries : kTrialCounts) {
            std::vector<std::uint8_t> want = table(baseline, queries), got = table(kernels, queries);
            // Widths differ, too: bytes without a query vector are 0.
            want.erase(want.begin(), std::upper_bound(want.begin(), want.end(), 0));
            got.erase(got.begin(), std::upper_bound(got.begin(), got.end(), 0));
            if (want != got) return false;
        }
        return true;
    }
};

#if defined(LATEWOOD_HAS_AMX)
// Whether the processor has what amx.h uses, and the system lets this process use it: threads then keep 8 KB more of
// registers, so Linux wants to be asked.
bool amx_granted() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kTiles = 1u << 24, kIntegers = 1u << 25;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kTiles) == 0 || (d & kIntegers) == 0) return false;
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

struct Choice {
    std::vector<const Kernels*> usable;
    std::vector<std::string> rejected;
    std::atomic<const Kernels*> active;

    Choice() {
        std::vector<const Kernels*> runnable;
#if defined(LATEWOOD_HAS_X86)
        __builtin_cpu_init();
#if defined(LATEWOOD_HAS_AVX512)
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512vnni")) {
            if (__builtin_cpu_supports("avx512vbmi")) {
#if defined(LATEWOOD_HAS_AMX)
                if (amx_granted()) runnable.push_back(&latewood_kernels_amx);
#endif
                runnable.push_back(&latewood_kernels_avx512vbmi);
            }
            runnable.push_back(&latewood_kernels_avx512);
        }
#endif
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
            runnable.push_back(&latewood_kernels_avx2);
#endif
#if defined(LATEWOOD_HAS_NEON)
        runnable.push_back(&latewood_kernels_neon);
#endif
        if (!runnable.empty()) {
            const Trial trial;
            for (const Kernels* kernels : runnable) {
                if (trial.agree(*kernels, latewood_kernels_baseline))
                    usable.push_back(kernels);
                else
                    rejected.emplace_back(kernels->name);
            }
        }
        usable.push_back(&latewood_kernels_baseline);
        active = usable.front();
    }
};

Choice& choice() {
    static Choice only;
    return only;
}

}  // namespace

const std::vector<const Kernels*>& usable() { return choice().usable; }
const std::vector<std::string>& rejected() { return choice().rejected; }
const Kernels& active() { return *choice().active; }

bool force(const std::string& name) {
    for (const Kernels* kernels : usable())
        if (name == kernels->name) {
            choice().active = kernels;
            return true;
        }
    return false;
}

}  // namespace latewood
