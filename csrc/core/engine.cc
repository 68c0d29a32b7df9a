#include "core/engine.h"

#include <system_error>
#include <thread>

#include "core/error.h"
#include "core/pool.h"

namespace moe {
namespace {

// While text is generated the next step comes within a fraction of a millisecond, sooner than a
// sleeping thread would wake.
constexpr int kSpins = 4000;

}  // namespace

Engine& Engine::get() {
  static Engine* engine = new Engine();
  return *engine;
}

Engine::Engine() {
  try {
    std::thread([this] { loop(); }).detach();
  } catch (const std::system_error& error) {
    fail(Code::out_of_memory, "engine: a thread must be possible, got ", error.what());
  }
}

void Engine::post(std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  queued_.fetch_add(1, std::memory_order_release);
  wake_.notify_one();
}

void Engine::loop() {
  for (;;) {
    for (int i = 0; i < kSpins && queued_.load(std::memory_order_acquire) == 0; ++i) pause_cpu();
    std::function<void()> job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return !jobs_.empty(); });
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    queued_.fetch_sub(1, std::memory_order_relaxed);
    job();
  }
}

}  // namespace moe
