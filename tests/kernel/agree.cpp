// Do all instruction sets that this machine runs agree, on shapes drawn at random, with baseline, and do threads?
//
//     agree [cases] [seed]
//
// A program of its own because it must also run where Python is not: under an emulator of another processor, and under
// sanitizers that watch threads. Built and run by full.sh. Integers must agree to the bit; float32 sums to what rounding
// allows. Exits with 1 and a line about the first case that differs.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../../kernel/buffer.h"
#include "../../kernel/dispatch.h"
#include "../../kernel/query.h"
#include "../../kernel/search.h"
#include "../../kernel/walk.h"

namespace {

using namespace latewood;

struct Case {
    Format format;
    std::int64_t queries, dim;
    std::vector<float> query, tokens, scales;
    std::vector<std::uint16_t> halves;
    std::vector<std::uint8_t> bytes;
    std::vector<std::int64_t> offsets{0}, rows;

    explicit Case(std::mt19937& random) {
        const auto up_to = [&random](std::int64_t n) { return static_cast<std::int64_t>(random() % (n + 1)); };
        const auto unit = [&random] { return static_cast<float>(random() % 65536) / 32768.0f - 1.0f; };
        format = static_cast<Format>(up_to(3));
        queries = 1 + up_to(up_to(9) == 0 ? 127 : 40);
        dim = 1 + up_to(up_to(9) == 0 ? 1023 : 140);
        const std::int64_t documents = up_to(12);
        for (std::int64_t i = 0; i < documents; ++i)
            offsets.push_back(offsets.back() + (up_to(3) == 0 ? 0 : up_to(up_to(3) == 0 ? 150 : 20)));
        for (std::int64_t i = 0; documents > 0 && i < up_to(20); ++i) rows.push_back(up_to(documents - 1));
        const std::int64_t values = offsets.back() * dim;
        // Exactly as long as it must be, so that a read beyond is caught. Halves below 2, tokens of any byte.
        for (std::int64_t i = 0; i < queries * dim; ++i) query.push_back(unit());
        for (std::int64_t i = 0; format == Format::float32 && i < values; ++i) tokens.push_back(unit());
        for (std::int64_t i = 0; format == Format::float16 && i < values; ++i)
            halves.push_back(static_cast<std::uint16_t>(random() & 0xbfff));
        const std::int64_t count = format == Format::int8 ? values : offsets.back() * ((dim + 7) / 8);
        for (std::int64_t i = 0; format >= Format::int8 && i < count; ++i)
            bytes.push_back(static_cast<std::uint8_t>(random()));
        for (std::int64_t i = 0; i < offsets.back(); ++i) scales.push_back(std::fabs(unit()));
    }

    std::int32_t levels() const {
        return format == Format::int8 ? query_levels(dim) : format == Format::bits ? bit_levels(dim) : 0;
    }

    Documents documents_of() const {
        const void* stored = format == Format::float32   ? static_cast<const void*>(tokens.data())
                             : format == Format::float16 ? static_cast<const void*>(halves.data())
                                                         : static_cast<const void*>(bytes.data());
        return {format, dim, stored, offsets.data(), scales.data()};
    }

    std::vector<float> scores(int threads) const {
        const Documents documents = documents_of();
        const Prepared prepared(query.data(), queries, dim, format, levels());
        const auto all = static_cast<std::int64_t>(offsets.size()) - 1;
        std::vector<float> out(static_cast<std::size_t>(all) + rows.size());
        score(prepared, documents, nullptr, all, threads, out.data());
        score(prepared, documents, rows.data(), static_cast<std::int64_t>(rows.size()), threads, out.data() + all);
        for (std::int64_t i = 0; i < all; ++i) {
            std::vector<float> matrix(static_cast<std::size_t>(queries * (offsets[i + 1] - offsets[i])));
            similarities(prepared, documents, i, matrix.data());
            out.insert(out.end(), matrix.begin(), matrix.end());
        }
        return out;
    }

    // The three centres nearest to each vector, by value, and where integers make the choice certain by number.
    std::vector<float> nearest_centres() const {
        if (format == Format::bits) return {};
        const Prepared centres(query.data(), queries, dim, format, levels());
        const std::int64_t count = offsets.back(), most = std::min<std::int64_t>(3, queries);
        const std::vector<float> bias(static_cast<std::size_t>(queries), 0.25f);
        std::vector<std::int32_t> numbers(static_cast<std::size_t>(count * most));
        std::vector<float> out(numbers.size());
        nearest(centres, documents_of(), nullptr, count, bias.data(), most, 2, numbers.data(), out.data());
        if (format == Format::int8) out.insert(out.end(), numbers.begin(), numbers.end());
        return out;
    }

    // A table of bytes with its peaks, the rows that pass a floor, and centroid interaction over the table.
    std::vector<float> table_steps() const {
        const std::int64_t count = offsets.back();
        if (format != Format::int8 || count == 0) return {};
        const Prepared prepared(query.data(), queries, dim, Format::table, table_levels);
        const Kernels& kernels = prepared.kernels();
        const std::int64_t width = kernels.table_width(prepared.query()), block = 1 + queries % 9;
        std::vector<std::uint8_t> table(static_cast<std::size_t>(count * width));
        std::vector<std::uint8_t> peaks(static_cast<std::size_t>((count + block - 1) / block * width), 0);
        std::vector<std::int32_t> sums(static_cast<std::size_t>(count), 0);
        for (std::int64_t i = 0; i < count * dim; ++i) sums[i / dim] += static_cast<std::int8_t>(bytes[i]);
        Buffer<char> workspace(static_cast<std::int64_t>(kernels.workspace_bytes(prepared.query())));
        kernels.tabulate(prepared.query(), prepared.packed(), documents_of(), sums.data(), count, 0.02f, 90.0f, block,
                         table.data(), peaks.data(), workspace.get());
        const std::vector<std::uint8_t> floor(static_cast<std::size_t>(width), 130);
        std::vector<std::int32_t> found(static_cast<std::size_t>(count) + 1);
        found.resize(static_cast<std::size_t>(kernels.passing(table.data(), width, floor.data(), 0, count, found.data())));
        std::vector<std::uint16_t> lists;
        for (std::int64_t t = 0; t < count; ++t) lists.push_back(static_cast<std::uint16_t>(count - 1 - t));
        std::vector<std::int32_t> documents, sums_of;
        for (std::size_t i = 0; i + 1 < offsets.size(); ++i) documents.push_back(static_cast<std::int32_t>(i));
        sums_of.resize(documents.size());
        kernels.interact(table.data(), width, lists.data(), offsets.data(), documents.data(),
                         static_cast<std::int64_t>(documents.size()), sums_of.data());
        std::vector<float> out(found.begin(), found.end());
        out.insert(out.end(), sums_of.begin(), sums_of.end());
        // In the order of the lanes, which differs, as does the room that no query vector takes and that stays 0.
        for (const auto* bytes_of : {&table, &peaks}) {
            std::vector<float> rising(bytes_of->begin(), bytes_of->end());
            std::erase(rising, 0.0f);
            std::sort(rising.begin(), rising.end());
            out.insert(out.end(), rising.begin(), rising.end());
        }
        return out;
    }

    float allowed() const {
        if (format >= Format::int8) return 0.0f;
        const auto terms = static_cast<float>(queries * dim);
        return 2.0f * terms * 2.0f * static_cast<float>(queries + dim) * std::numeric_limits<float>::epsilon();
    }
};

bool close(const std::vector<float>& a, const std::vector<float>& b, float allowed) {
    for (std::size_t i = 0; i < a.size(); ++i)
        if (a[i] != b[i] && !(std::fabs(a[i] - b[i]) <= allowed)) return false;
    return a.size() == b.size();
}

int differs(const char* what, const std::string& name, long number, const Case& c) {
    std::printf("%s: %s, case %ld: format %d, Q %ld, D %ld, N %zu\n", what, name.c_str(), number,
                static_cast<int>(c.format), static_cast<long>(c.queries), static_cast<long>(c.dim),
                c.offsets.size() - 1);
    return 1;
}

// Does what is fetched ahead stay as far ahead as it began, whatever the documents' lengths and wherever they lie? What is
// asked for after `done` bytes is the byte so far on in the order of scoring, or a document that begins in the piece.
bool keeps_ahead(const Case& c) {
    constexpr std::int64_t kToken = 7;
    const auto count = static_cast<std::int64_t>(c.rows.size()), bytes = 1 + c.queries * kToken;
    const std::vector<char> tokens(static_cast<std::size_t>(c.offsets.back() * kToken + 1));
    const Documents documents = {Format::int8, kToken, tokens.data(), c.offsets.data(), nullptr};
    Ahead ahead(documents, c.rows.data(), 0, count, kToken);
    std::vector<const char*> order;  // where the bytes are that will be scored
    std::vector<char> starts;
    for (const std::int64_t row : c.rows)
        for (std::int64_t at = c.offsets[row] * kToken; at < c.offsets[row + 1] * kToken; ++at) {
            order.push_back(tokens.data() + at);
            starts.push_back(at == c.offsets[row] * kToken);
        }
    for (std::size_t done = 0; done < order.size(); done += static_cast<std::size_t>(bytes)) {
        const char* line = ahead.next(bytes);
        bool found = line == order[done];
        for (std::size_t at = done; !found && at < std::min(order.size(), done + static_cast<std::size_t>(bytes)); ++at)
            found = starts[at] && line == order[at];
        if (!found) return false;
    }
    return true;
}

// Callers at once, each with threads of the one pool.
bool threads_agree(const Case& c) {
    const std::vector<float> alone = c.scores(1);
    std::vector<std::thread> callers;
    std::vector<char> same(4, 0);
    for (std::size_t i = 0; i < same.size(); ++i)
        callers.emplace_back([&, i] { same[i] = c.scores(static_cast<int>(i)) == alone; });
    for (std::thread& caller : callers) caller.join();
    for (const char each : same)
        if (each == 0) return false;
    return true;
}

}  // namespace

int main(int count, char** arguments) {
    const long cases = count > 1 ? std::atol(arguments[1]) : 1000;
    std::mt19937 random(count > 2 ? static_cast<unsigned>(std::atol(arguments[2])) : 1u);
    for (const std::string& name : rejected()) {
        std::printf("%s failed its self-check\n", name.c_str());
        return 1;
    }
    std::string names;
    for (const Kernels* kernels : usable()) names += std::string(" ") + kernels->name;
    for (long i = 0; i < cases; ++i) {
        const Case c(random);
        if (!keeps_ahead(c)) return differs("fetching ahead falls behind", "all", i, c);
        force("baseline");
        const std::vector<float> want = c.scores(1), centres = c.nearest_centres(), table = c.table_steps();
        for (const Kernels* kernels : usable()) {
            force(kernels->name);
            if (!close(c.scores(1), want, c.allowed())) return differs("not as baseline", kernels->name, i, c);
            if (!close(c.nearest_centres(), centres, c.allowed())) return differs("nearest", kernels->name, i, c);
            if (!close(c.table_steps(), table, 0.0f)) return differs("table", kernels->name, i, c);
            if (i % 16 == 0 && !threads_agree(c)) return differs("threads differ", kernels->name, i, c);
        }
    }
    std::printf("%ld cases agree on%s\n", cases, names.c_str());
    return 0;
}
