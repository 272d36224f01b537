#include "pool.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace latewood {
namespace {

// One call's work, as the pool sees it.
struct Job {
    PieceSource source;
    const std::function<void(PieceSource&)>& work;
    int wanted;       // helpers that may still join
    int running = 0;  // helpers inside `work`
    std::exception_ptr error;
};

class Pool {
    std::mutex mutex_;
    std::condition_variable posted_, left_;
    std::deque<Job*> jobs_;  // those that want helpers
    int threads_ = 0;

  public:
    // A job is on the caller's stack: it is taken off the list before the caller goes on.
    void run(Job& job) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            grow(job.wanted);
            jobs_.push_back(&job);
        }
        posted_.notify_all();
        std::exception_ptr error;
        try {
            job.work(job.source);
        } catch (...) {
            error = std::current_exception();
        }
        std::unique_lock<std::mutex> lock(mutex_);
        jobs_.erase(std::remove(jobs_.begin(), jobs_.end(), &job), jobs_.end());
        left_.wait(lock, [&job] { return job.running == 0; });
        if (!error) error = job.error;
        if (error) std::rethrow_exception(error);
    }

  private:
    // As many threads as the largest call so far wanted. Where the system refuses one, those that there are do the work.
    void grow(int wanted) {
        try {
            for (; threads_ < wanted; ++threads_) std::thread(&Pool::help, this).detach();
        } catch (const std::system_error&) {
        }
    }

    void help() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            posted_.wait(lock, [this] { return !jobs_.empty(); });
            Job& job = *jobs_.front();
            ++job.running;
            if (--job.wanted == 0) jobs_.pop_front();
            lock.unlock();
            std::exception_ptr error;
            try {
                job.work(job.source);
            } catch (...) {
                error = std::current_exception();
            }
            lock.lock();
            if (error) job.error = error;
            if (--job.running == 0) left_.notify_all();
        }
    }
};

// Never destroyed: at exit its threads are asleep, and whatever they might still touch must be there.
std::atomic<Pool*> the_pool{nullptr};
std::once_flag once;

// After a fork the child has none of the threads, and perhaps a locked mutex: it starts afresh.
void forget_pool() { the_pool = new Pool; }

Pool& pool() {
    std::call_once(once, [] {
        the_pool = new Pool;
#if !defined(_WIN32)
        pthread_atfork(nullptr, nullptr, forget_pool);
#endif
    });
    return *the_pool;
}

}  // namespace

void run_pieces(std::int64_t count, int threads, const std::function<void(PieceSource&)>& work) {
    const int helpers = static_cast<int>(std::min<std::int64_t>(threads, count)) - 1;
    if (helpers <= 0) {
        PieceSource source(count);
        work(source);
        return;
    }
    Job job{PieceSource(count), work, helpers, 0, nullptr};
    pool().run(job);
}

}  // namespace latewood
