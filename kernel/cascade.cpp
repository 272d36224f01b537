#include "cascade.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "buffer.h"
#include "dispatch.h"
#include "query.h"
#include "search.h"

namespace latewood {
namespace {

constexpr float kTop = 255.0f;
constexpr float kBelow = 0.25f;  // similarities from -kBelow of the greatest possible one are told apart
constexpr float kZero = kTop * kBelow / (1.0f + kBelow);  // what one of 0 is in a table
constexpr std::int64_t kBlocks = 512;

struct Scored {
    std::int32_t score;
    std::int32_t row;
};

bool better(const Scored& a, const Scored& b) { return a.score != b.score ? a.score > b.score : a.row < b.row; }

// What a query has gathered for a document: points in the lower half, and in the upper one when it was last seen, so that
// nothing need be cleared. Documents are taken so many at a time that their tallies stay in the second-level cache.
using Tally = std::uint32_t;
constexpr std::int64_t kTogether = 1 << 15;
constexpr std::int32_t kMostPoints = 65535;

// All bits set where a < b, both below 2^31. Of a comparison compilers make a branch at times.
inline std::int32_t less(std::int32_t a, std::int32_t b) { return (a - b) >> 31; }

// Memory that a thread keeps between queries: freshly mapped pages cost more than the work on them.
struct Scratch {
    std::vector<std::uint8_t> table;
    std::vector<std::uint8_t> peaks;
    std::vector<char> workspace;
    std::vector<Tally> tallies;
    std::int32_t clock = 0;
    std::vector<std::int32_t> rows;
    std::vector<std::int32_t> scores;
    std::vector<Scored> ranked;

    // A time later than all before, with `ticks` more to come.
    std::int32_t start(std::int64_t ticks) {
        if (tallies.empty() || ticks >= 65535 - clock) {
            tallies.assign(static_cast<std::size_t>(kTogether), Tally{0});
            clock = 0;
        }
        const std::int32_t now = clock + 1;
        clock += static_cast<std::int32_t>(ticks);
        return now;
    }
};

Scratch& scratch() {
    thread_local Scratch only;
    return only;
}

// The least score that isn't lower than the k-th by more than a share of what that is above `zero`.
double floor_of(double kth, double margin, double zero) { return kth - margin * std::max(0.0, kth - zero); }

// Leaves those that are near enough to the k-th, in any order; `better` orders them. `zero` is the score of a document that
// has nothing to do with the query.
template <class Any, class Better>
void keep_near(std::vector<Any>& ranked, std::int64_t k, double margin, double zero, Better better) {
    if (margin >= 1.0 || k < 1 || static_cast<std::int64_t>(ranked.size()) <= k) return;
    std::nth_element(ranked.begin(), ranked.begin() + k - 1, ranked.end(), better);
    const double floor = floor_of(ranked[static_cast<std::size_t>(k) - 1].score, margin, zero);
    ranked.erase(std::remove_if(ranked.begin() + k, ranked.end(), [&](const Any& one) { return one.score < floor; }),
                 ranked.end());
}

// The best `most`, in order.
void keep_best(std::vector<Scored>& ranked, std::int64_t most) {
    if (most < static_cast<std::int64_t>(ranked.size())) {
        std::nth_element(ranked.begin(), ranked.begin() + most, ranked.end(), better);
        ranked.resize(static_cast<std::size_t>(most));
    }
    std::sort(ranked.begin(), ranked.end(), better);
}

// Calls visit(i) for the bytes of a row that are above the floor's: few of many, so eight are looked at together.
template <class Visit>
void for_each_above(const std::uint8_t* row, const std::uint8_t* floor, std::int64_t width, Visit visit) {
    for (std::int64_t first = 0; first < width; first += 8) {
        std::uint8_t above[8];
        for (int i = 0; i < 8; ++i) above[i] = row[first + i] > floor[first + i] ? 1 : 0;
        std::uint64_t any = 0;
        std::memcpy(&any, above, sizeof any);
        for (int i = 0; any != 0 && i < 8; ++i)
            if (above[i] != 0) visit(first + i);
    }
}

// The table's rows that each of its columns reaches, best first.
struct Probes {
    std::int64_t column;
    std::vector<Scored> centroids;
};

class Table {
    Scratch& scratch_;
    std::int64_t rows_, width_;
    std::int64_t block_ = 1, blocks_ = 0;

  public:
    Table(Scratch& scratch, std::int64_t rows, std::int64_t width) : scratch_(scratch), rows_(rows), width_(width) {}

    const std::uint8_t* bytes() const { return scratch_.table.data(); }
    std::int64_t width() const { return width_; }

    // Every row, and the maxima over blocks of them: their probe-th greatest is a lower bound of the rows' probe-th
    // greatest.
    void fill(const Prepared& query, const Centroids& centroids, float gain, float shift, std::int64_t probe) {
        const Kernels& kernels = query.kernels();
        block_ = std::max<std::int64_t>(1, rows_ / std::max(kBlocks, 4 * probe));
        blocks_ = (rows_ + block_ - 1) / block_;
        scratch_.table.resize(static_cast<std::size_t>(rows_ * width_));
        scratch_.peaks.assign(static_cast<std::size_t>(blocks_ * width_), 0);
        Buffer<char> workspace(static_cast<std::int64_t>(kernels.workspace_bytes(query.query())));
        kernels.tabulate(query.query(), query.packed(), centroids.vectors, centroids.sums, rows_, gain, shift, block_,
                         scratch_.table.data(), scratch_.peaks.data(), workspace.get());
    }

    // For each column, about `probe` of the rows with the greatest values, and never fewer where as many are above 0.
    std::vector<Probes> probes(std::int64_t probe, const Kernels& kernels) {
        std::vector<std::uint8_t> floor(static_cast<std::size_t>(width_), 255);
        std::vector<Probes> found;
        std::vector<std::int64_t> place(static_cast<std::size_t>(width_), -1);
        for (std::int64_t column = 0; column < width_; ++column) {
            std::int32_t counts[256] = {};
            for (std::int64_t b = 0; b < blocks_; ++b) ++counts[scratch_.peaks[static_cast<std::size_t>(b * width_ + column)]];
            if (counts[0] == blocks_) continue;  // no query vector, or none that is near anything
            int value = 255;
            for (std::int64_t above = 0; value > 1; --value)
                if ((above += counts[value]) >= probe) break;
            floor[static_cast<std::size_t>(column)] = static_cast<std::uint8_t>(value - 1);
            place[static_cast<std::size_t>(column)] = static_cast<std::int64_t>(found.size());
            found.push_back({column, {}});
        }
        collect(floor, place, found, kernels);
        for (Probes& probes : found) keep_best(probes.centroids, probe);
        return found;
    }

  private:
    void collect(const std::vector<std::uint8_t>& floor, const std::vector<std::int64_t>& place,
                 std::vector<Probes>& found, const Kernels& kernels) {
        std::vector<std::int32_t>& rows = scratch_.rows;
        rows.resize(static_cast<std::size_t>(blocks_ + block_));
        std::int32_t* inside = rows.data() + blocks_;
        const std::int64_t blocks = kernels.passing(scratch_.peaks.data(), width_, floor.data(), 0, blocks_, rows.data());
        for (std::int64_t b = 0; b < blocks; ++b) {
            const std::int64_t first = rows[static_cast<std::size_t>(b)] * block_;
            const std::int64_t count =
                kernels.passing(bytes(), width_, floor.data(), first, std::min(rows_, first + block_), inside);
            for (std::int64_t r = 0; r < count; ++r) {
                const std::uint8_t* row = bytes() + inside[r] * width_;
                for_each_above(row, floor.data(), width_, [&](std::int64_t column) {
                    found[static_cast<std::size_t>(place[static_cast<std::size_t>(column)])].centroids.push_back(
                        {row[column], inside[r]});
                });
            }
        }
    }
};

// A centroid's documents in a part that haven't been looked at yet, and what they are given.
struct List {
    const std::int32_t* next;
    const std::int32_t* last;
    std::int32_t points;
    std::int32_t tick;  // the number of the query vector

    // Lists lie anywhere; behind the first lines the processor reaches ahead by itself.
    void fetch() const {
        constexpr std::int64_t kLine = 64 / sizeof(std::int32_t), kLines = 4;
        for (std::int64_t line = 0; line < kLines && line * kLine < last - next; ++line)
            __builtin_prefetch(next + line * kLine);
    }
};

std::vector<List> lists_of(const Part& part, const std::vector<Probes>& probes) {
    std::vector<List> lists;
    std::int32_t tick = 0;
    for (const Probes& probe : probes) {
        const std::int32_t missed = probe.centroids.back().score - 1;
        for (const Scored& centroid : probe.centroids) {
            const std::int64_t* offsets = part.posting_offsets + centroid.row;
            lists.push_back({part.postings + offsets[0], part.postings + offsets[1], centroid.score - missed, tick});
        }
        ++tick;
    }
    return lists;
}

// Documents of a part that are taken together, and the time at which that began.
struct Piece {
    std::int32_t begin, end, start;
};

// What the documents of a list in a piece are given; those that are new to the query are put down at `rows`, whose end is
// returned. `allowed` begins at the part, `tallies` at the piece. Without branches on what nobody could predict: a document
// may be new to the query, and a better centroid of it may have come first.
template <bool kSome>
std::int32_t* add_points(List& list, const Piece& piece, Tally* tallies, const std::uint8_t* allowed,
                         std::int32_t* rows) {
    const std::int32_t points = list.points, start = piece.start, now = start + list.tick, begin = piece.begin,
                       end = piece.end;
    const std::int32_t *posting = list.next, *const last = list.last;
    for (; posting != last && *posting < end; ++posting) {
        const std::int32_t row = *posting;
        if (kSome && allowed[row] == 0) continue;
        const Tally tally = tallies[row - begin];
        const auto seen = static_cast<std::int32_t>(tally >> 16);
        const std::int32_t is_new = less(seen, start);
        const std::int32_t sum = (static_cast<std::int32_t>(tally & 0xffff) & ~is_new) + (points & less(seen, now));
        tallies[row - begin] = static_cast<Tally>(now) << 16 | static_cast<Tally>(std::min(kMostPoints, sum));
        *rows = row;
        rows -= is_new;
    }
    list.next = posting;
    return rows;
}

// The first step: documents by the points that the probes give them.
void gather(Scratch& scratch, const std::vector<Part>& parts, const std::vector<Probes>& probes,
            const std::uint8_t* allowed) {
    const auto add = allowed == nullptr ? add_points<false> : add_points<true>;  // called, for its registers
    scratch.rows.resize(static_cast<std::size_t>(kTogether) + 1);
    std::int64_t first = 0;
    for (const Part& part : parts) {
        std::vector<List> lists;
        if (part.postings != nullptr) lists = lists_of(part, probes);
        for (std::int64_t begin = 0; begin < part.documents && !lists.empty(); begin += kTogether) {
            const Piece piece{static_cast<std::int32_t>(begin),
                              static_cast<std::int32_t>(std::min(part.documents, begin + kTogether)),
                              scratch.start(static_cast<std::int64_t>(probes.size()))};
            Tally* tallies = scratch.tallies.data();
            std::int32_t *rows = scratch.rows.data(), *named = rows;
            for (std::size_t i = 0; i < lists.size(); ++i) {
                if (i + 1 < lists.size()) lists[i + 1].fetch();
                named = add(lists[i], piece, tallies, allowed == nullptr ? nullptr : allowed + first, named);
            }
            const std::size_t before = scratch.ranked.size();
            scratch.ranked.resize(before + static_cast<std::size_t>(named - rows));
            for (Scored* to = scratch.ranked.data() + before; named != rows; ++to) {
                const std::int32_t row = *--named;
                *to = {static_cast<std::int32_t>(tallies[row - piece.begin] & 0xffff),
                       static_cast<std::int32_t>(first) + row};
            }
        }
        first += part.documents;
    }
}

// Adds the documents of parts without postings, or those of all parts, which then are the first step.
void add_unlisted(std::vector<Scored>& ranked, const std::vector<Part>& parts, bool all, const std::uint8_t* allowed) {
    std::int64_t first = 0;
    for (const Part& part : parts) {
        for (std::int64_t i = 0; (all || part.postings == nullptr) && i < part.documents; ++i)
            if ((allowed == nullptr || allowed[first + i] != 0) && part.number_offsets[i] != part.number_offsets[i + 1])
                ranked.push_back({0, static_cast<std::int32_t>(first + i)});
        first += part.documents;
    }
}

// Calls visit(part, rows, count, place) for the rows of each part, counted from its first one; `rows` rise, and place is
// where they begin among them.
template <class Row, class Visit>
void by_part(const std::vector<Part>& parts, std::vector<Row>& rows, Visit visit) {
    std::size_t place = 0;
    Row first = 0;
    for (const Part& part : parts) {
        const Row next = first + static_cast<Row>(part.documents);
        std::size_t end = place;
        for (; end < rows.size() && rows[end] < next; ++end) rows[end] -= first;
        if (end > place) visit(part, rows.data() + place, static_cast<std::int64_t>(end - place), place);
        for (; place < end; ++place) rows[place] += first;
        first = next;
    }
}

// Leaves those of `ranked` that are near enough to the k-th and among the best `most`, and whoever shares the last one's
// place, in any order. Scores are points of the first step: 0 to 65535.
void thin(std::vector<Scored>& ranked, const Leaving& leaving, std::int64_t k) {
    std::int32_t top = 0;
    for (const Scored& scored : ranked) top = std::max(top, scored.score);
    std::vector<std::int32_t> counts(static_cast<std::size_t>(top) + 1, 0);
    for (const Scored& scored : ranked) ++counts[static_cast<std::size_t>(scored.score)];
    const auto place = [&](std::int64_t wanted) {
        std::int32_t score = top;
        for (std::int64_t above = 0; score > 0; --score)
            if ((above += counts[static_cast<std::size_t>(score)]) >= wanted) break;
        return score;
    };
    const double near = leaving.margin < 1.0 && k > 0 ? floor_of(place(k), leaving.margin, 0.0) : 0.0;
    const std::int32_t floor = std::max(place(leaving.most), static_cast<std::int32_t>(std::ceil(near)));
    std::size_t kept = 0;
    for (const Scored scored : ranked) {
        ranked[kept] = scored;
        kept += scored.score >= floor ? 1 : 0;
    }
    ranked.resize(kept);
}

// The second step, over the documents in `ranked`.
void interact(Scratch& scratch, const Table& table, const std::vector<Part>& parts, const Kernels& kernels) {
    scratch.rows.resize(scratch.ranked.size());
    scratch.scores.resize(scratch.ranked.size());
    for (std::size_t i = 0; i < scratch.ranked.size(); ++i) scratch.rows[i] = scratch.ranked[i].row;
    // In the order of their lists, which then come from memory one after the other.
    std::sort(scratch.rows.begin(), scratch.rows.end());
    by_part(parts, scratch.rows, [&](const Part& part, const std::int32_t* rows, std::int64_t count, std::size_t place) {
        kernels.interact(table.bytes(), table.width(), part.numbers, part.number_offsets, rows, count,
                         scratch.scores.data() + place);
    });
    for (std::size_t i = 0; i < scratch.rows.size(); ++i) scratch.ranked[i] = {scratch.scores[i], scratch.rows[i]};
}

std::vector<std::int64_t> rows_of(const std::vector<Scored>& ranked) {
    std::vector<std::int64_t> rows(ranked.size());
    for (std::size_t i = 0; i < ranked.size(); ++i) rows[i] = ranked[i].row;
    return rows;
}

Found found(const std::vector<Scored>& ranked, float zero, std::int64_t reached) {
    Found found{rows_of(ranked), {}, reached};
    for (const Scored& scored : ranked) found.scores.push_back(static_cast<float>(scored.score) - zero);
    return found;
}

// The third step.
Found by_signs(const std::vector<Part>& parts, const float* values, std::int64_t count, std::int64_t dim,
               const Depths& depths, std::vector<std::int64_t> rows, std::int64_t reached) {
    std::sort(rows.begin(), rows.end());
    std::vector<float> scores(rows.size());
    const Prepared query(values, count, dim, Format::bits, bit_levels(dim));
    by_part(parts, rows, [&](const Part& part, const std::int64_t* mine, std::int64_t documents, std::size_t place) {
        score(query, part.bits, mine, documents, 1, scores.data() + place);
    });
    std::vector<Ranked> ranked(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) ranked[i] = {rows[i], scores[i]};
    keep_near(ranked, depths.k, depths.third.margin, 0.0, [](const Ranked& a, const Ranked& b) { return a.score > b.score; });
    keep_best(ranked, depths.third.most);
    Found found{{}, {}, reached};
    for (const Ranked& one : ranked) {
        found.rows.push_back(one.document);
        found.scores.push_back(one.score);
    }
    return found;
}

float longest_of(const float* values, std::int64_t count, std::int64_t dim) {
    float longest = 0.0f;
    for (std::int64_t q = 0; q < count; ++q) {
        float sum = 0.0f;
        for (std::int64_t d = 0; d < dim; ++d) sum += values[q * dim + d] * values[q * dim + d];
        longest = std::max(longest, std::sqrt(sum));
    }
    return longest;
}

}  // namespace

Found candidates(const Centroids& centroids, const std::vector<Part>& parts, const float* values, std::int64_t count,
                 const Depths& depths, const std::uint8_t* allowed) {
    Scratch& mine = scratch();
    const std::int64_t dim = centroids.vectors.dim;
    const Prepared query(values, count, dim, Format::table, table_levels);
    Table table(mine, centroids.count, query.kernels().table_width(query.query()));
    const float greatest = longest_of(values, count, dim) * centroids.longest;
    const float gain = greatest > 0.0f ? kTop / (greatest * (1.0f + kBelow)) : 0.0f;
    table.fill(query, centroids, gain, kZero, depths.probe);

    mine.ranked.clear();
    if (depths.probe > 0) gather(mine, parts, table.probes(depths.probe, query.kernels()), allowed);
    auto reached = static_cast<std::int64_t>(mine.ranked.size());
    if (depths.probe > 0) thin(mine.ranked, depths.first, depths.k);
    if (depths.probe > 0 && depths.last == 1) keep_best(mine.ranked, depths.first.most);
    const std::size_t listed = mine.ranked.size();
    add_unlisted(mine.ranked, parts, depths.probe == 0, allowed);
    reached += static_cast<std::int64_t>(mine.ranked.size() - listed);
    if (depths.probe > 0 && depths.last == 1) return found(mine.ranked, 0.0f, reached);

    interact(mine, table, parts, query.kernels());
    const float zero = kZero * static_cast<float>(count);
    keep_near(mine.ranked, depths.k, depths.second.margin, zero, better);
    keep_best(mine.ranked, depths.second.most);
    if (depths.last == 2) return found(mine.ranked, zero, reached);
    return by_signs(parts, values, count, dim, depths, rows_of(mine.ranked), reached);
}

}  // namespace latewood
