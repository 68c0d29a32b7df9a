#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/error.h"

namespace moe {

/// One GPU: memory, copies, kernels and captured graphs, in order on one stream. Code that takes a
/// `Device*` means the CPU by null.
class Device {
 public:
  /// `type` is cuda or cuda-sim. Throws Error{cuda_unavailable} that says what is missing. Opened
  /// once per process and never closed: buffers may outlive every owner.
  static std::shared_ptr<Device> open(const std::string& type, int index);

  /// A GPU that the driver counts. With `why` it does not answer, and `info` has a name only.
  struct Listed {
    MoeGpuInfo info{};
    std::string why;
  };
  /// The GPUs of a backend by their index; empty, with the reason in `why`, when there are none.
  static std::vector<Listed> list(const std::string& type, std::string& why);

  void* allocate(size_t bytes);  // zeroed
  void free(void* memory) { backend_.free(gpu_, memory); }
  /// Host memory that kernels read over the bus, at the same address; not zeroed.
  void* allocate_pinned(size_t bytes);
  void free_pinned(void* memory) { backend_.free_pinned(gpu_, memory); }
  size_t free_memory();
  /// Fills memory that no plan uses yet; from any thread.
  void initialize(void* to, const void* from, size_t bytes) {
    if (bytes) check(backend_.initialize(gpu_, to, from, bytes));
  }

  // The engine's thread only from here on.

  /// From the GPU, or from memory that is not pinned: then returns when `from` may be reused.
  void upload(void* to, const void* from, size_t bytes);
  /// To pinned memory: returns before the copy is done; to other memory: when it is.
  void download(void* to, const void* from, size_t bytes);
  void synchronize() { check(backend_.synchronize(gpu_)); }
  /// Seconds that the GPU takes for what `body` puts on the stream, without the host's part.
  double time(const std::function<void()>& body);

  /// Streams `bytes` to the device through pinned memory: `fill(buffer, begin, end)` makes one
  /// piece while the one before it travels, the last one of the call before included. Pieces begin
  /// at multiples of `unit`.
  void stream(void* to, size_t bytes, size_t unit,
              const std::function<void(std::byte*, size_t, size_t)>& fill);

  MoeKernel kernel(const char* op);
  void run(MoeKernel kernel, const void* op) { check(kernel(gpu_, op)); }

  using Graph = std::shared_ptr<MoeGraph>;
  /// Records what `body` runs.
  Graph capture(const std::function<void()>& body);
  void launch(const Graph& graph) { check(backend_.launch(gpu_, graph.get())); }
  size_t kernels(const Graph& graph) const { return backend_.kernels(graph.get()); }

 private:
  friend class DeviceRun;
  Device(const MoeBackend& backend, MoeGpu* gpu) : backend_(backend), gpu_(gpu) {}
  static void check(const MoeFailure* failure) {
    if (failure) throw Error(static_cast<Code>(failure->code), failure->text);
  }

  const MoeBackend& backend_;
  MoeGpu* gpu_;
  std::byte* staging_ = nullptr;  // two pieces, pinned; engine thread only
  bool staging_turn_ = false;     // the second piece is free
  std::byte* runs_ = nullptr;     // of DeviceRun; pinned, engine thread only
  int run_turn_ = 0;
};

}  // namespace moe
