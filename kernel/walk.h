// How the documents of a call reach the scoring: a block of vectors at a time, the next ones fetched meanwhile.
#ifndef LATEWOOD_WALK_H
#define LATEWOOD_WALK_H

#include <cstddef>
#include <cstdint>

#include "maxsim.h"

namespace {

using latewood::Documents;

constexpr float kNothing = -__builtin_inff();

constexpr std::size_t aligned(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
constexpr std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }
inline std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

// Rows [begin, end) of a block belong to the item'th document of the call.
struct Span {
    std::int64_t item;
    int begin, end;
    bool finished;  // the document's last vector is among them
};

// Hands documents [begin, end) of a call to `block`, cut where it is full, and has it join what it holds to the scores.
// A block is made of spans; one that ends within a document goes on in the next block.
template <class Block>
void feed(const Documents& documents, const std::int64_t* rows, std::int64_t begin, std::int64_t end, float* scores,
          Block& block) {
    for (std::int64_t item = begin; item < end; ++item) {
        const std::int64_t document = rows != nullptr ? rows[item] : item;
        const std::int64_t first = documents.offsets[document], last = documents.offsets[document + 1];
        if (first == last) scores[item] = kNothing;
        for (std::int64_t t = first; t < last;) {
            const std::int64_t take = smaller(block.room(), last - t);
            if (t == first) block.open();
            block.append(item, t, static_cast<int>(take), t + take == last);
            t += take;
            if (block.room() == 0) block.join(scores);
        }
    }
    if (!block.empty()) block.join(scores);
}

// Walks the documents of a call in the order in which they will be scored, some way ahead of the scoring, and has the
// cache lines fetched as it goes: the processor's own prefetcher stops at pages and at the end of a document.
class Ahead {
    const char* tokens_ = nullptr;
    const std::int64_t* offsets_ = nullptr;
    const std::int64_t* rows_ = nullptr;
    std::int64_t item_ = 0, end_ = 0;
    std::int64_t token_bytes_ = 0;
    const char* start_ = nullptr;  // of the document that `line_` lies in,
    const char* stop_ = nullptr;   // and its end
    const char* line_ = nullptr;

    // On to the document that `line_` lies in when the documents' bytes are counted through.
    void catch_up() {
        while (line_ >= stop_ && item_ < end_) {
            const std::int64_t document = rows_ != nullptr ? rows_[item_] : item_;
            const std::int64_t beyond = line_ - stop_;
            start_ = tokens_ + offsets_[document] * token_bytes_;
            stop_ = tokens_ + offsets_[document + 1] * token_bytes_;
            line_ = start_ + beyond;
            ++item_;
        }
        if (line_ > stop_) line_ = stop_;
    }

  public:
    Ahead() = default;
    Ahead(const Documents& documents, const std::int64_t* rows, std::int64_t begin, std::int64_t end,
          std::int64_t token_bytes)
        : tokens_(static_cast<const char*>(documents.tokens)),
          offsets_(documents.offsets),
          rows_(rows),
          item_(begin),
          end_(end),
          token_bytes_(token_bytes) {}

    // The next bytes to fetch. Where they reach into another document they lie in two places, and the longer part is given;
    // what is asked for next goes on behind both, or the walk would fall back with every document until it reached nothing
    // in time.
    const char* next(std::int64_t bytes) {
        catch_up();
        const char* line = line_;
        const char* stop = stop_;
        line_ += bytes;
        catch_up();
        const bool apart = stop_ != stop && start_ != stop;
        return apart && line_ - start_ > stop - line ? start_ : line;
    }
};

}  // namespace

#endif
