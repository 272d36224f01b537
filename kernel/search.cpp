#include "search.h"

#include <algorithm>

#include "dispatch.h"
#include "pool.h"
#include "query.h"

namespace latewood {
namespace {

// Vectors in one piece of work: long enough that fetching it costs nothing, short enough to share out fairly.
constexpr std::int64_t kPieceVectors = 2048;

}  // namespace

Prepared::Prepared(const float* values, std::int64_t count, std::int64_t dim, Format format, std::int32_t levels)
    : levels_(levels > 0 ? count * dim : 0),
      scales_(levels > 0 ? count : 0),
      query_{format, count, dim, values, levels_.get(), scales_.get()},
      kernels_(&active()),
      packed_(static_cast<std::int64_t>(kernels_->packed_bytes(query_))) {
    if (levels > 0) quantize_query(values, count, dim, levels, levels_.get(), scales_.get());
    kernels_->pack(query_, packed_.get());
}

void score(const Prepared& query, const Documents& documents, const std::int64_t* rows, std::int64_t count, int threads,
           float* scores) {
    std::vector<std::int64_t> pieces = {0};
    if (threads > 1) {
        std::int64_t vectors = 0;
        for (std::int64_t i = 0; i < count; ++i) {
            const std::int64_t document = rows != nullptr ? rows[i] : i;
            vectors += documents.offsets[document + 1] - documents.offsets[document];
            if (vectors >= kPieceVectors) {
                pieces.push_back(i + 1);
                vectors = 0;
            }
        }
    }
    if (pieces.back() != count) pieces.push_back(count);

    const Kernels& kernels = query.kernels();
    run_pieces(static_cast<std::int64_t>(pieces.size()) - 1, threads, [&](PieceSource& source) {
        Buffer<char> workspace(static_cast<std::int64_t>(kernels.workspace_bytes(query.query())));
        for (std::int64_t i; source.next(i);)
            kernels.score(query.query(), query.packed(), documents, rows, pieces[i], pieces[i + 1], scores,
                          workspace.get());
    });
}

void nearest(const Prepared& centres, const Documents& documents, const std::int64_t* tokens, std::int64_t count,
             const float* bias, std::int64_t most, int threads, std::int32_t* numbers, float* values) {
    const Kernels& kernels = centres.kernels();
    const std::int64_t pieces = (count + kPieceVectors - 1) / kPieceVectors;
    run_pieces(pieces, threads, [&](PieceSource& source) {
        Buffer<char> workspace(static_cast<std::int64_t>(kernels.workspace_bytes(centres.query())));
        for (std::int64_t i; source.next(i);)
            kernels.nearest(centres.query(), centres.packed(), documents, tokens, i * kPieceVectors,
                            std::min(count, (i + 1) * kPieceVectors), bias, most, numbers, values, workspace.get());
    });
}

void similarities(const Prepared& query, const Documents& documents, std::int64_t document, float* out) {
    const Kernels& kernels = query.kernels();
    Buffer<char> workspace(static_cast<std::int64_t>(kernels.workspace_bytes(query.query())));
    kernels.similarities(query.query(), query.packed(), documents, document, out, workspace.get());
}

void keep_best(std::vector<Ranked>& ranked, std::int64_t k) {
    const auto better = [](const Ranked& a, const Ranked& b) {
        return a.score != b.score ? a.score > b.score : a.document < b.document;
    };
    if (k < static_cast<std::int64_t>(ranked.size())) {
        std::nth_element(ranked.begin(), ranked.begin() + k, ranked.end(), better);
        ranked.resize(static_cast<std::size_t>(k));
    }
    std::sort(ranked.begin(), ranked.end(), better);
}

std::vector<Ranked> top_k(const Documents& documents, const std::int64_t* rows, std::int64_t count, const float* scores,
                          std::int64_t k) {
    std::vector<Ranked> ranked;
    ranked.reserve(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t document = rows != nullptr ? rows[i] : i;
        if (documents.offsets[document] != documents.offsets[document + 1]) ranked.push_back({document, scores[i]});
    }
    keep_best(ranked, k);
    return ranked;
}

}  // namespace latewood
