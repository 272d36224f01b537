// Python's view of the kernel: checks dtypes, shapes and layout, lets go of the GIL, calls. No copies, no logic.
// What the values must be (finite, in range, offsets that rise) is checked by latewood.maxsim and latewood.types.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

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
    module.def("isa", [] { return std::string(latewood::active().name); }, "The instruction set in use.");
    module.def("usable", &usable_names, "The instruction sets that can be forced here, best first.");
    module.def("rejected", [] { return latewood::rejected(); }, "Sets that disagreed with baseline when loaded.");
    module.def("force", &latewood::force, "name"_a, "Use this set from now on; False if it isn't usable.");
    latewood::usable();  // the trial runs now, not in the first search
}
