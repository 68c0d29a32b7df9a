#include "core/engine.h"

#include <system_error>
#include <thread>

#include "core/device_run.h"
#include "core/error.h"
#include "core/pool.h"

namespace moe {
namespace {

// While text is generated the next step comes within a fraction of a millisecond, sooner than a
// sleeping thread would wake.
constexpr int kSpins = 4000;
constexpr int kPauses = 32;  // between two questions to a device

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

void Engine::post(Job job) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  queued_.fetch_add(1, std::memory_order_release);
  wake_.notify_one();
}

Engine::Job Engine::take() {
  for (int i = 0; i < kSpins && queued_.load(std::memory_order_acquire) == 0; ++i) pause_cpu();
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return !jobs_.empty(); });
  Job job = std::move(jobs_.front());
  jobs_.pop_front();
  queued_.fetch_sub(1, std::memory_order_relaxed);
  return job;
}

/// Whether the next job is to start before `oldest` ends. Looks for one as long as
/// that would wait.
bool Engine::next_may_start(const Waiting& oldest) {
  for (;;) {
    const bool arrived = !oldest.rest.arrived || oldest.rest.arrived();
    if (queued_.load(std::memory_order_acquire) > 0) {
      const std::lock_guard lock(mutex_);
      return oldest.device && jobs_.front().device == oldest.device;
    }
    if (arrived) return false;
    for (int i = 0; i < kPauses; ++i) pause_cpu();
  }
}

void Engine::loop() {
  std::deque<Waiting> waiting;  // on one device
  for (;;) {
    if (waiting.size() == DeviceRun::kUnderWay ||
        (!waiting.empty() && !next_may_start(waiting.front()))) {
      waiting.front().rest.finish();
      waiting.pop_front();
      continue;
    }
    Job job = take();
    waiting.push_back({job.start(), job.device});
  }
}

}  // namespace moe
