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
  static Engine& get();
  void post(std::function<void()> job);

 private:
  Engine();
  void loop();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;
  std::atomic<int> queued_{0};
};

}  // namespace moe
