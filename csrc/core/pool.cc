#include "core/pool.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "core/os.h"

namespace moe {
namespace {

// Long enough to bridge the gap between two ops, short enough not to starve a busy machine.
constexpr int kSpins = 2000;

/// Spins, then sleeps, while `value` equals `old`.
void wait_while(std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause_cpu();
  }
  value.wait(old);
}

}  // namespace

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

Pool& Pool::get() {
  static Pool* pool = new Pool(os::usable_cpus());
  return *pool;
}

Pool::Pool(int size) : ranges_(new Range[size]) {
  threads_.reserve(size);
  try {
    for (; size_ < size; ++size_) threads_.emplace_back([this, id = size_] { helper(id); });
  } catch (const std::system_error&) {
    // The system gives no more threads: go on with those there are.
  }
}

void Pool::work(int id) {
  for (int k = 0; k < participants_; ++k) {
    Range& range = ranges_[(id + k) % participants_];
    for (;;) {
      const int64_t begin = range.next.fetch_add(chunk_, std::memory_order_relaxed);
      if (begin >= range.end) break;
      try {
        job_.call(job_.body, begin, std::min(begin + chunk_, range.end));
      } catch (...) {
        const std::lock_guard lock(error_mutex_);
        if (!error_) error_ = std::current_exception();
      }
    }
  }
}

void Pool::helper(int id) {
  uint32_t seen = 0;
  for (;;) {
    uint32_t generation = generation_.load(std::memory_order_acquire);
    if (generation == seen || generation % 2 == 0) {
      wait_while(generation_, generation);
      continue;
    }
    // Both sides are sequentially consistent: either this thread sees that the job was closed, or
    // the caller sees it inside and waits.
    inside_.fetch_add(1);
    if (generation_.load() == generation && id < participants_) work(id);
    if (inside_.fetch_sub(1) == 1) inside_.notify_all();
    seen = generation;
  }
}

void Pool::share(int64_t items, int64_t chunk, int threads, Job job) {
  job_ = job;
  chunk_ = chunk;
  participants_ = std::min(threads, size_);
  for (int i = 0; i < participants_; ++i) {
    ranges_[i].next.store(items * i / participants_, std::memory_order_relaxed);
    ranges_[i].end = items * (i + 1) / participants_;
  }
  generation_.fetch_add(1);
  generation_.notify_all();
  work(0);
  generation_.fetch_add(1);
  for (uint32_t inside; (inside = inside_.load()) != 0;) wait_while(inside_, inside);
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace moe
