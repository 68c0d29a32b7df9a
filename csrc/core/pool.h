#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace moe {

/// The process's worker threads. One caller at a time shares out a range of items; helpers join
/// while the range is open. The caller can finish every item alone and waits only for helpers that
/// have started, so a descheduled helper costs its own item and nothing else.
class Pool {
 public:
  /// As many threads as affinity and the cgroup's CPU quota allow. Never destroyed: its threads may
  /// run until the process ends.
  static Pool& get();

  int size() const { return size_; }

  /// Calls `body(begin, end)` over [0, items) in pieces of at most `chunk`, on at most `threads`
  /// threads. Neighbouring items go to the same thread; idle threads steal. Throws what a body
  /// threw, once no thread is inside any more.
  template <class Body>
  void run(int64_t items, int64_t chunk, int threads, const Body& body) {
    if (items <= 0) return;
    if (threads <= 1 || items <= chunk || size_ <= 1) return body(int64_t{0}, items);
    share(
        items, chunk, threads,
        {[](const void* f, int64_t b, int64_t e) { (*static_cast<const Body*>(f))(b, e); }, &body});
  }

 private:
  struct Job {
    void (*call)(const void*, int64_t, int64_t);
    const void* body;
  };
  struct alignas(64) Range {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  explicit Pool(int size);
  void share(int64_t items, int64_t chunk, int threads, Job job);
  void work(int id);
  void helper(int id);

  int size_ = 1;
  std::unique_ptr<Range[]> ranges_;
  Job job_{};
  int64_t chunk_ = 1;
  int participants_ = 1;
  std::mutex error_mutex_;
  std::exception_ptr error_;                         // the first of the job
  alignas(64) std::atomic<uint32_t> generation_{0};  // odd while a job is open
  alignas(64) std::atomic<uint32_t> inside_{0};      // helpers that may touch the job
  std::vector<std::thread> threads_;
};

/// Tells the CPU that this is a spin loop.
void pause_cpu();

}  // namespace moe
