#include "streams.h"

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>

namespace moe::sim {
namespace {

// Whoever frees memory waits for streams of other threads.
std::recursive_mutex mutex;
std::set<Stream*>& streams() {
  static auto* all = new std::set<Stream*>;
  return *all;
}
std::string failure;

/// False, and `failure`, where it fails.
bool succeeds(const std::function<void()>& work) {
  try {
    work();
    return true;
  } catch (const std::exception& error) {
    failure = error.what();
    return false;
  }
}

/// MOE_SIM_EVENTS names a file: r for an event recorded, w for one that the host has to wait for.
void note(char what) {
  static const char* file = std::getenv("MOE_SIM_EVENTS");
  if (!file) return;
  if (std::FILE* out = std::fopen(file, "a")) {
    std::fputc(what, out);
    std::fclose(out);
  }
}

}  // namespace

const char* last_failure() { return failure.c_str(); }

Stream::Stream(int device, bool late) : device(device), late(late) {
  const std::lock_guard lock(mutex);
  streams().insert(this);
}

Stream::~Stream() {
  const std::lock_guard lock(mutex);
  drain(nullptr);
  streams().erase(this);
}

cudaError_t Stream::submit(std::function<void()> work) {
  if (capturing) {
    capturing->nodes.push_back(std::move(work));
    return cudaSuccess;
  }
  if (!late) return succeeds(work) ? cudaSuccess : cudaErrorLaunchFailure;
  const std::lock_guard lock(mutex);
  pending_.push_back({std::move(work), nullptr});
  return cudaSuccess;
}

cudaError_t Stream::launch(const Graph& graph) {
  for (const auto& node : graph.nodes)
    if (const cudaError_t error = submit(node)) return error;
  return cudaSuccess;
}

cudaError_t Stream::record(Event* event) {
  const std::lock_guard lock(mutex);
  note('r');
  event->stream = this;
  event->passed = event->failed = false;
  event->asked = 0;
  pending_.push_back({[event] { event->at = std::chrono::steady_clock::now(); }, event});
  if (!late) drain(nullptr);
  return cudaSuccess;
}

void Stream::drain(const Event* until) {
  while (!pending_.empty() && !(until && until->passed)) {
    const Work work = std::move(pending_.front());
    pending_.pop_front();
    if (!succeeds(work.run)) return fail();
    if (work.event) work.event->passed = true;
  }
}

/// Nothing behind a failure happens.
void Stream::fail() {
  failed_ = true;
  for (const Work& work : pending_)
    if (work.event) work.event->passed = work.event->failed = true;
  pending_.clear();
}

cudaError_t Stream::wait(const Event* event) {
  const std::lock_guard lock(mutex);
  if (event && !event->passed) note('w');
  drain(event);
  const bool bad = event ? event->failed : failed_;
  if (bad || !event) failed_ = false;
  return bad ? cudaErrorLaunchFailure : cudaSuccess;
}

void wait_for_streams() {
  const std::lock_guard lock(mutex);
  for (Stream* stream : streams()) stream->drain(nullptr);
}

}  // namespace moe::sim
