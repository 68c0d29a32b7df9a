#pragma once
// Work in the order in which a stream is given it. On a device whose asynchronous work lands late
// nothing of it happens before the host waits for it: what pinned memory has before then is lost,
// and an error shows up where the host waits, as on hardware.

#include <chrono>
#include <deque>
#include <functional>
#include <vector>

#include "cuda_runtime.h"

namespace moe::sim {

struct Graph {
  std::vector<std::function<void()>> nodes;
};

struct Event {
  std::chrono::steady_clock::time_point at{};
  bool passed = true;   // nothing was recorded, or it has happened
  bool failed = false;  // what came before it in its stream has
  size_t asked = 0;
  Stream* stream = nullptr;
};

struct Stream {
  Stream(int device, bool late);
  ~Stream();

  cudaError_t submit(std::function<void()> work);
  cudaError_t record(Event* event);
  cudaError_t launch(const Graph& graph);
  /// The stream's work up to `event`, or all of it, has happened. What failed is said once.
  cudaError_t wait(const Event* event = nullptr);

  const int device;
  const bool late;
  Graph* capturing = nullptr;
  uint64_t settled = 0;  // the last launch that the host has waited for

 private:
  struct Work {
    std::function<void()> run;
    Event* event;  // null: it is none
  };
  friend void wait_for_streams();
  void drain(const Event* until);
  void fail();

  std::deque<Work> pending_;
  bool failed_ = false;
};

/// Waits for all streams, as who frees memory does.
void wait_for_streams();
/// What the last failure said.
const char* last_failure();

}  // namespace moe::sim
