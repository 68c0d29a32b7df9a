#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

namespace moe {

/// The one thread per process that runs plans and loads weights, in the order they were posted.
/// Never destroyed: no static-destructor order at exit.
class Engine {
 public:
  /// What is left of a job: `finish` waits for a device where `arrived` is there and says no.
  struct Rest {
    std::function<bool()> arrived;
    std::function<void()> finish;
  };
  /// `device`: where the job waits at its end, perhaps. The next job starts before it has ended if
  /// that is of the same device. Null: nothing starts before the job has ended.
  struct Job {
    std::function<Rest()> start;
    const void* device = nullptr;
  };

  static Engine& get();
  void post(Job job);

 private:
  struct Waiting {
    Rest rest;
    const void* device;
  };

  Engine();
  void loop();
  Job take();
  bool next_may_start(const Waiting& oldest);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  std::atomic<int> queued_{0};
};

}  // namespace moe
