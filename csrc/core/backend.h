#pragma once

#include <stddef.h>
#include <stdint.h>

// The whole contract between the addon and a GPU backend library: a table of C functions. The addon
// has no CUDA in it; `libmoe_cuda` and the simulator `libmoe_cuda_sim` export the same table, made
// from the same sources. Functions that can fail return null or what went wrong.

extern "C" {

struct MoeGpu;    // one opened GPU with its stream
struct MoeGraph;  // a captured sequence of kernels

/// Valid until the thread's next call.
struct MoeFailure {
  int code;  // a moe::Code
  const char* text;
};

struct MoeGpuInfo {
  char name[128];
  size_t memory;        // bytes in all
  int capability;       // 10 * major + minor
  int driver, runtime;  // CUDA versions, 1000 * major + 10 * minor
};

/// Runs one op; `op` points to the op's struct from csrc/ops.
typedef const MoeFailure* (*MoeKernel)(MoeGpu* gpu, const void* op);

struct MoeBackend {
  uint32_t version;  // kBackendVersion; the rest is only valid when it matches
  const MoeFailure* (*count)(int* gpus);
  const MoeFailure* (*describe)(int index, MoeGpuInfo* info);
  const MoeFailure* (*open)(int index, MoeGpu** gpu);  // for as long as the process runs

  // From any thread, not in order with the stream.
  const MoeFailure* (*allocate)(MoeGpu* gpu, size_t bytes,
                                void** memory);  // null memory: none left
  void (*free)(MoeGpu* gpu, void* memory);
  const MoeFailure* (*initialize)(MoeGpu* gpu, void* to, const void* from,
                                  size_t bytes);  // null: zeros
  const MoeFailure* (*free_memory)(MoeGpu* gpu, size_t* bytes);
  // Host memory for fast copies, which kernels can read, too; null memory: none left.
  const MoeFailure* (*allocate_pinned)(MoeGpu* gpu, size_t bytes, void** memory);
  void (*free_pinned)(MoeGpu* gpu, void* memory);

  // In order on the stream. `upload` is from the host or the GPU, and may return before the copy is
  // done when `from` is pinned.
  const MoeFailure* (*upload)(MoeGpu* gpu, void* to, const void* from, size_t bytes);
  const MoeFailure* (*download)(MoeGpu* gpu, void* to, const void* from, size_t bytes);
  const MoeFailure* (*synchronize)(MoeGpu* gpu);
  // One of two marks (0 or 1) in the stream: sets it behind everything so far; whether the GPU has
  // passed it; waits until it has.
  const MoeFailure* (*set_mark)(MoeGpu* gpu, int which);
  const MoeFailure* (*passed_mark)(MoeGpu* gpu, int which, bool* yes);
  const MoeFailure* (*await_mark)(MoeGpu* gpu, int which);
  // The GPU's own clock: notes when it comes to here, then seconds between two notes that it has
  // passed.
  const MoeFailure* (*note_time)(MoeGpu* gpu, bool end);
  const MoeFailure* (*noted_seconds)(MoeGpu* gpu, double* seconds);

  MoeKernel (*kernel)(const char* op);  // null: unknown op

  // Between the two, kernels are recorded instead of run.
  const MoeFailure* (*begin_capture)(MoeGpu* gpu);
  const MoeFailure* (*end_capture)(MoeGpu* gpu, MoeGraph** graph);
  const MoeFailure* (*launch)(MoeGpu* gpu, MoeGraph* graph);
  size_t (*kernels)(const MoeGraph* graph);  // how many there are in it
  void (*free_graph)(MoeGraph* graph);
};

/// What a backend library exports.
typedef const MoeBackend* (*MoeGetBackend)(void);
}

namespace moe {

/// Changes with the table and with the layout of any op or tensor.
constexpr uint32_t kBackendVersion = 11;
constexpr const char* kBackendSymbol = "moe_backend";

}  // namespace moe
