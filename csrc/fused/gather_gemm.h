#pragma once

#include "ops/grouped_gemm.h"
#include "ops/permute.h"

namespace moe {

/// Grouped GEMM that gathers its rows instead of reading permuted ones: for few rows. What
/// `permute` would write is not there.
struct GatherGemm {
  static constexpr const char* kName = "gatherGemm";

  Permute permute;
  GroupedGemm gemm;

  Tensor* scratch_tensor() { return &gemm.scratch; }
  size_t scratch_bytes(const Device* device) const { return gemm.scratch_bytes(device); }
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
