#include "core/engine.h"

#include <thread>

namespace moe {

Engine& Engine::get() {
  static Engine* engine = new Engine();
  return *engine;
}

Engine::Engine() {
  std::thread([this] { loop(); }).detach();
}

void Engine::post(std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void Engine::loop() {
  for (;;) {
    std::function<void()> job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return !jobs_.empty(); });
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

}  // namespace moe
