#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/gpu_limits.h"

namespace moe {

/// What `run_cuda` may use: the stream, and what the GPU can do.
struct CudaContext {
  cudaStream_t stream = nullptr;
  int capability = 0;    // 10 * major + minor
  bool overlap = false;  // a kernel may start before the one before it has ended
  int multiprocessors = 0;
  size_t shared_bytes = 0;  // at most this much a block
  bool warpgroups = false;  // the image has wgmma; see has_warpgroups()
  static constexpr int kCounters = GpuLimits::kSampleRows;
  unsigned* counters = nullptr;  // zero between kernels; of the last-block-done pattern

  static void check(cudaError_t error) {
    if (error != cudaSuccess) fail(Code::device, "cuda: ", cudaGetErrorString(error));
  }

  /// Launches `kernel` behind what the stream holds. With `overlap` it may start before the kernel
  /// before it has ended, so every kernel begins with wait_prior_grid().
  template <class... Parameters, class... Arguments>
  void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared,
              Arguments&&... arguments) const {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    if (shared > shared_bytes)
      fail(Code::unsupported, "cuda: a kernel needs ", shared, " bytes of shared memory, got ",
           shared_bytes, " on this GPU");
    if (shared > size_t{48} << 10)
      check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared)));
    cudaLaunchAttribute early{};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = &early;
    config.numAttrs = overlap ? 1 : 0;
    check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...));
  }
};

constexpr unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

}  // namespace moe
