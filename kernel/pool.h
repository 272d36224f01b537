// A pool of threads that is started when first needed and shared by all callers.
#ifndef LATEWOOD_POOL_H
#define LATEWOOD_POOL_H

#include <atomic>
#include <cstdint>
#include <functional>

namespace latewood {

// Hands out the numbers 0 .. count - 1, each once, to whichever thread asks.
class PieceSource {
    std::atomic<std::int64_t> next_{0};
    const std::int64_t count_;

  public:
    explicit PieceSource(std::int64_t count) : count_(count) {}

    bool next(std::int64_t& piece) {
        piece = next_.fetch_add(1, std::memory_order_relaxed);
        return piece < count_;
    }
};

// Runs `work` on up to `threads` threads, the caller's among them, until `source` is empty. An exception in one of them
// is thrown here once all have stopped. Callers may be many; a caller never waits for another's work to end, since its
// own thread works too.
void run_pieces(std::int64_t count, int threads, const std::function<void(PieceSource&)>& work);

}  // namespace latewood

#endif
