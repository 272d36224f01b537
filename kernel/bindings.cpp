// Python's view of the kernel: checks dtypes, shapes and layout, lets go of the GIL, calls. No copies, no logic.
// What the values must be (finite, in range, offsets that rise) is checked by latewood.maxsim and latewood.types.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cascade.h"
#include "dispatch.h"
#include "query.h"
#include "search.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using latewood::Documents;
using latewood::Format;
using latewood::Prepared;
using latewood::Ranked;

using Matrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Tokens = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Integers = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Scales = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

Format format_of(const Tokens& tokens) {
    if (tokens.dtype() == nb::dtype<float>()) return Format::float32;
    if (tokens.dtype() == nb::dtype<std::int8_t>()) return Format::int8;
    const nb::dlpack::dtype half = {static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float), 16, 1};
    if (tokens.dtype() == half) return Format::float16;
    if (tokens.dtype() == nb::dtype<std::uint8_t>()) return Format::bits;
    throw nb::type_error("tokens: expected float32, float16, int8, or uint8 for bits");
}

Documents documents_of(const Matrix& query, const Tokens& tokens, const Integers& offsets,
                       const std::optional<Scales>& scales) {
    const Format format = format_of(tokens);
    const std::size_t width = format == Format::bits ? (query.shape(1) + 7) / 8 : query.shape(1);
    if (tokens.shape(1) != width) throw nb::value_error("query and tokens: expected the same D");
    if (query.shape(0) == 0 || query.shape(1) == 0) throw nb::value_error("query: expected Q and D of at least 1");
    if (offsets.shape(0) == 0) throw nb::value_error("offsets: expected N + 1 values");
    if ((format == Format::int8) != scales.has_value()) throw nb::value_error("scales go with int8 tokens, only");
    if (scales && scales->shape(0) != tokens.shape(0)) throw nb::value_error("scales: expected one for each token");
    return {format, static_cast<std::int64_t>(query.shape(1)), tokens.data(), offsets.data(),
            scales ? scales->data() : nullptr};
}

// Largest integer of the quantised query; `levels` lowers it, 0 leaves it.
std::int32_t levels_of(Format format, std::int64_t dim, std::int32_t levels) {
    if (format != Format::int8 && format != Format::bits) return 0;
    const std::int32_t most = format == Format::int8 ? latewood::query_levels(dim) : latewood::bit_levels(dim);
    if (most == 0) throw nb::value_error("query: D is too large for documents of integers");
    if (levels < 0 || levels > most) throw nb::value_error("levels: more than D allows");
    return levels > 0 ? levels : most;
}

// A NumPy array of this shape that owns its memory.
template <class Element>
nb::ndarray<nb::numpy, Element> array_of(std::unique_ptr<Element[]> data, std::initializer_list<std::size_t> shape) {
    nb::capsule owner(data.get(), [](void* p) noexcept { delete[] static_cast<Element*>(p); });
    return nb::ndarray<nb::numpy, Element>(data.release(), shape, owner);
}

template <class Element>
std::unique_ptr<Element[]> allocate(std::int64_t count) {
    return std::unique_ptr<Element[]>(new Element[static_cast<std::size_t>(count)]);
}

std::int64_t count_of(const Matrix& query) { return static_cast<std::int64_t>(query.shape(0)); }

struct Selection {
    const std::int64_t* rows;
    std::int64_t count;

    Selection(const Integers& offsets, const std::optional<Integers>& list)
        : rows(list ? list->data() : nullptr),
          count(list ? static_cast<std::int64_t>(list->shape(0)) : static_cast<std::int64_t>(offsets.shape(0)) - 1) {
        const std::int64_t documents = static_cast<std::int64_t>(offsets.shape(0)) - 1;
        for (std::int64_t i = 0; rows != nullptr && i < count; ++i)
            if (rows[i] < 0 || rows[i] >= documents) throw nb::index_error("rows: a number is not that of a document");
    }
};

auto scores(const Matrix& query, const Tokens& tokens, const Integers& offsets, const std::optional<Scales>& scales,
            const std::optional<Integers>& rows, int threads, std::int32_t query_levels) {
    const Documents documents = documents_of(query, tokens, offsets, scales);
    const std::int32_t levels = levels_of(documents.format, documents.dim, query_levels);
    const Selection selection(offsets, rows);
    auto out = allocate<float>(selection.count);
    {
        const nb::gil_scoped_release unlocked;
        latewood::score(Prepared(query.data(), count_of(query), documents.dim, documents.format, levels), documents, selection.rows, selection.count, threads,
                        out.get());
    }
    return array_of(std::move(out), {static_cast<std::size_t>(selection.count)});
}

auto top_k(const Matrix& query, const Tokens& tokens, const Integers& offsets, const std::optional<Scales>& scales,
           std::int64_t k, const std::optional<Integers>& rows, int threads, std::int32_t query_levels) {
    if (k < 0) throw nb::value_error("k: expected 0 or more");
    const Documents documents = documents_of(query, tokens, offsets, scales);
    const std::int32_t levels = levels_of(documents.format, documents.dim, query_levels);
    const Selection selection(offsets, rows);
    std::vector<Ranked> best;
    {
        const nb::gil_scoped_release unlocked;
        const auto all = allocate<float>(selection.count);
        latewood::score(Prepared(query.data(), count_of(query), documents.dim, documents.format, levels), documents, selection.rows, selection.count, threads,
                        all.get());
        best = latewood::top_k(documents, selection.rows, selection.count, all.get(), k);
    }
    auto found = allocate<std::int64_t>(static_cast<std::int64_t>(best.size()));
    auto values = allocate<float>(static_cast<std::int64_t>(best.size()));
    for (std::size_t i = 0; i < best.size(); ++i) {
        found[i] = best[i].document;
        values[i] = best[i].score;
    }
    return nb::make_tuple(array_of(std::move(found), {best.size()}), array_of(std::move(values), {best.size()}));
}

auto similarities(const Matrix& query, const Tokens& tokens, const Integers& offsets,
                  const std::optional<Scales>& scales, std::int64_t row, std::int32_t query_levels) {
    const Documents documents = documents_of(query, tokens, offsets, scales);
    const std::int32_t levels = levels_of(documents.format, documents.dim, query_levels);
    if (row < 0 || row + 1 >= static_cast<std::int64_t>(offsets.shape(0)))
        throw nb::index_error("row: not the number of a document");
    const std::int64_t count = count_of(query);
    const std::int64_t vectors = offsets.data()[row + 1] - offsets.data()[row];
    auto out = allocate<float>(count * vectors);
    {
        const nb::gil_scoped_release unlocked;
        latewood::similarities(Prepared(query.data(), count_of(query), documents.dim, documents.format, levels), documents, row, out.get());
    }
    return array_of(std::move(out), {static_cast<std::size_t>(count), static_cast<std::size_t>(vectors)});
}

auto nearest(const Matrix& centres, const Tokens& tokens, const Integers& offsets, const std::optional<Scales>& scales,
             const Scales& bias, std::int64_t most, const std::optional<Integers>& rows, int threads) {
    const Documents documents = documents_of(centres, tokens, offsets, scales);
    if (documents.format == Format::bits) throw nb::type_error("tokens: bits have no nearest centre");
    if (bias.shape(0) != centres.shape(0)) throw nb::value_error("bias: expected one for each centre");
    if (most < 1 || most > count_of(centres)) throw nb::value_error("most: expected 1 to the number of centres");
    const std::int64_t* list = rows ? rows->data() : nullptr;
    const std::int64_t count = static_cast<std::int64_t>(rows ? rows->shape(0) : tokens.shape(0));
    for (std::int64_t i = 0; list != nullptr && i < count; ++i)
        if (list[i] < 0 || list[i] >= static_cast<std::int64_t>(tokens.shape(0)))
            throw nb::index_error("rows: a number is not that of a token");
    auto numbers = allocate<std::int32_t>(count * most);
    auto values = allocate<float>(count * most);
    {
        const nb::gil_scoped_release unlocked;
        const Prepared prepared(centres.data(), count_of(centres), documents.dim, documents.format,
                                levels_of(documents.format, documents.dim, 0));
        latewood::nearest(prepared, documents, list, count, bias.data(), most, threads, numbers.get(), values.get());
    }
    const std::initializer_list<std::size_t> shape = {static_cast<std::size_t>(count), static_cast<std::size_t>(most)};
    return nb::make_tuple(array_of(std::move(numbers), shape), array_of(std::move(values), shape));
}

// The documents of several arrays, for callers that score some of each at a time.
class Parts {
    std::vector<std::tuple<Tokens, Integers, std::optional<Scales>>> arrays_;

  public:
    void add(const Tokens& tokens, const Integers& offsets, const std::optional<Scales>& scales) {
        arrays_.emplace_back(tokens, offsets, scales);
    }

    // scores[i] of document rows[i] of part parts[i].
    auto scores(const Matrix& query, const Integers& parts, const Integers& rows) const {
        const std::int64_t count = static_cast<std::int64_t>(parts.shape(0));
        if (static_cast<std::int64_t>(rows.shape(0)) != count) throw nb::value_error("rows: expected one for each part");
        std::vector<Documents> documents;
        for (const auto& [tokens, offsets, scales] : arrays_) {
            documents.push_back(documents_of(query, tokens, offsets, scales));
            if (documents.back().format != documents.front().format) throw nb::type_error("parts: of different formats");
        }
        for (std::int64_t i = 0; i < count; ++i) {
            const std::int64_t part = parts.data()[i], row = rows.data()[i];
            if (part < 0 || part >= static_cast<std::int64_t>(arrays_.size())) throw nb::index_error("parts: no such part");
            if (row < 0 || row + 1 >= static_cast<std::int64_t>(std::get<1>(arrays_[part]).shape(0)))
                throw nb::index_error("rows: a number is not that of a document");
        }
        auto out = allocate<float>(count);
        if (count > 0) {
            const nb::gil_scoped_release unlocked;
            const Format format = documents.front().format;
            const std::int64_t dim = documents.front().dim;
            const Prepared prepared(query.data(), count_of(query), dim, format, levels_of(format, dim, 0));
            for (std::int64_t first = 0, last; first < count; first = last) {
                const std::int64_t part = parts.data()[first];
                for (last = first; last < count && parts.data()[last] == part;) ++last;
                latewood::score(prepared, documents[part], rows.data() + first, last - first, 1, out.get() + first);
            }
        }
        return array_of(std::move(out), {static_cast<std::size_t>(count)});
    }
};

using Short = nb::ndarray<const std::uint16_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Codes = nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Vectors = nb::ndarray<const std::int8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// cascade.h, over arrays that these keep alive. What the numbers in them must be is checked by latewood.index.
class Centroids {
    Vectors vectors_;
    Scales scales_;
    std::vector<std::int64_t> offsets_;
    std::vector<std::int32_t> sums_;
    float longest_;

  public:
    Centroids(Vectors vectors, Scales scales, float longest)
        : vectors_(std::move(vectors)), scales_(std::move(scales)), longest_(longest) {
        const auto count = static_cast<std::int64_t>(vectors_.shape(0)), dim = static_cast<std::int64_t>(vectors_.shape(1));
        if (count == 0 || count > 65536 || dim == 0) throw nb::value_error("centroids: expected [1 to 65536, D]");
        if (scales_.shape(0) != vectors_.shape(0)) throw nb::value_error("scales: expected one for each centroid");
        for (std::int64_t i = 0; i <= count; ++i) offsets_.push_back(i);
        for (std::int64_t i = 0; i < count; ++i)
            sums_.push_back(std::accumulate(vectors_.data() + i * dim, vectors_.data() + (i + 1) * dim, 0));
    }

    latewood::Centroids view() const {
        const auto dim = static_cast<std::int64_t>(vectors_.shape(1));
        return {{Format::int8, dim, vectors_.data(), offsets_.data(), scales_.data()}, sums_.data(),
                static_cast<std::int64_t>(vectors_.shape(0)), longest_};
    }
};

class Lists {
    Short numbers_;
    Integers number_offsets_;
    std::optional<Words> postings_;
    std::optional<Integers> posting_offsets_;
    Codes codes_;
    Integers token_offsets_;

  public:
    Lists(Short numbers, Integers number_offsets, std::optional<Words> postings, std::optional<Integers> posting_offsets,
          Codes codes, Integers token_offsets)
        : numbers_(std::move(numbers)), number_offsets_(std::move(number_offsets)), postings_(std::move(postings)),
          posting_offsets_(std::move(posting_offsets)), codes_(std::move(codes)),
          token_offsets_(std::move(token_offsets)) {
        if (number_offsets_.shape(0) == 0 || token_offsets_.shape(0) != number_offsets_.shape(0) ||
            postings_.has_value() != posting_offsets_.has_value())
            throw nb::value_error("lists: arrays don't fit each other");
    }

    latewood::Part view(const latewood::Centroids& centroids) const {
        const std::int64_t dim = centroids.vectors.dim;
        if (codes_.shape(1) != static_cast<std::size_t>((dim + 7) / 8) ||
            (posting_offsets_ && posting_offsets_->shape(0) != static_cast<std::size_t>(centroids.count) + 1))
            throw nb::value_error("lists: made for other centroids");
        return {static_cast<std::int64_t>(number_offsets_.shape(0)) - 1, numbers_.data(), number_offsets_.data(),
                postings_ ? postings_->data() : nullptr, posting_offsets_ ? posting_offsets_->data() : nullptr,
                {Format::bits, dim, codes_.data(), token_offsets_.data(), nullptr}};
    }
};

class Cascade {
    std::shared_ptr<const Centroids> centroids_;
    std::vector<std::shared_ptr<const Lists>> lists_;
    latewood::Centroids table_;
    std::vector<latewood::Part> parts_;
    std::int64_t documents_ = 0;

  public:
    Cascade(std::shared_ptr<const Centroids> centroids, std::vector<std::shared_ptr<const Lists>> lists)
        : centroids_(std::move(centroids)), lists_(std::move(lists)), table_(centroids_->view()) {
        for (const auto& each : lists_) {
            parts_.push_back(each->view(table_));
            documents_ += parts_.back().documents;
        }
    }

    // `leaving`: most and margin of each step.
    auto candidates(const Matrix& query, std::int64_t probe, const std::array<std::pair<std::int64_t, double>, 3>& leaving,
                    std::int64_t k, int last, const std::optional<Bytes>& allowed) const {
        if (static_cast<std::int64_t>(query.shape(1)) != table_.vectors.dim || query.shape(0) == 0)
            throw nb::value_error("query: expected [Q, D]");
        if (query.shape(0) > kMostQueries) throw nb::value_error("query: more vectors than a table has room for");
        if (allowed && static_cast<std::int64_t>(allowed->shape(0)) != documents_)
            throw nb::value_error("allowed: expected one for each document");
        const auto leaves = [&](int step) { return latewood::Leaving{leaving[step].first, leaving[step].second}; };
        const latewood::Depths depths{probe, leaves(0), leaves(1), leaves(2), k, last};
        latewood::Found found;
        {
            const nb::gil_scoped_release unlocked;
            found = latewood::candidates(table_, parts_, query.data(), count_of(query), depths,
                                         allowed ? allowed->data() : nullptr);
        }
        const std::size_t count = found.rows.size();
        auto rows = allocate<std::int64_t>(static_cast<std::int64_t>(count));
        auto scores = allocate<float>(static_cast<std::int64_t>(count));
        std::copy(found.rows.begin(), found.rows.end(), rows.get());
        std::copy(found.scores.begin(), found.scores.end(), scores.get());
        return nb::make_tuple(array_of(std::move(rows), {count}), array_of(std::move(scores), {count}), found.reached);
    }

    static constexpr std::size_t kMostQueries = 1024;
};

std::vector<std::string> usable_names() {
    std::vector<std::string> names;
    for (const latewood::Kernels* kernels : latewood::usable()) names.emplace_back(kernels->name);
    return names;
}

}  // namespace

NB_MODULE(_kernel, module) {
    module.doc() = "MaxSim in C++. latewood.maxsim is its one caller and documents it.";
    module.def("scores", &scores, "query"_a.noconvert(), "tokens"_a.noconvert(), "offsets"_a.noconvert(),
               "scales"_a.noconvert().none(), "rows"_a.noconvert().none(), "threads"_a, "levels"_a = 0);
    module.def("top_k", &top_k, "query"_a.noconvert(), "tokens"_a.noconvert(), "offsets"_a.noconvert(),
               "scales"_a.noconvert().none(), "k"_a, "rows"_a.noconvert().none(), "threads"_a, "levels"_a = 0);
    module.def("similarities", &similarities, "query"_a.noconvert(), "tokens"_a.noconvert(), "offsets"_a.noconvert(),
               "scales"_a.noconvert().none(), "row"_a, "levels"_a = 0);
    module.def("nearest", &nearest, "centres"_a.noconvert(), "tokens"_a.noconvert(), "offsets"_a.noconvert(),
               "scales"_a.noconvert().none(), "bias"_a.noconvert(), "most"_a, "rows"_a.noconvert().none(), "threads"_a);
    nb::class_<Parts>(module, "Parts")
        .def(nb::init<>())
        .def("add", &Parts::add, "tokens"_a.noconvert(), "offsets"_a.noconvert(), "scales"_a.noconvert().none())
        .def("scores", &Parts::scores, "query"_a.noconvert(), "parts"_a.noconvert(), "rows"_a.noconvert());
    nb::class_<Centroids>(module, "Centroids")
        .def(nb::init<Vectors, Scales, float>(), "vectors"_a.noconvert(), "scales"_a.noconvert(), "longest"_a);
    nb::class_<Lists>(module, "Lists")
        .def(nb::init<Short, Integers, std::optional<Words>, std::optional<Integers>, Codes, Integers>(),
             "numbers"_a.noconvert(), "number_offsets"_a.noconvert(), "postings"_a.noconvert().none(),
             "posting_offsets"_a.noconvert().none(), "codes"_a.noconvert(), "token_offsets"_a.noconvert());
    nb::class_<Cascade>(module, "Cascade")
        .def(nb::init<std::shared_ptr<const Centroids>, std::vector<std::shared_ptr<const Lists>>>(), "centroids"_a,
             "lists"_a)
        .def("candidates", &Cascade::candidates, "query"_a.noconvert(), "probe"_a, "leaving"_a, "k"_a, "last"_a,
             "allowed"_a.noconvert().none());
    module.def("isa", [] { return std::string(latewood::active().name); }, "The instruction set in use.");
    module.def("usable", &usable_names, "The instruction sets that can be forced here, best first.");
    module.def("rejected", [] { return latewood::rejected(); }, "Sets that disagreed with baseline when loaded.");
    module.def("force", &latewood::force, "name"_a, "Use this set from now on; False if it isn't usable.");
    latewood::usable();  // the trial runs now, not in the first search
}
