#pragma once

#include <optional>

#include "ops/attention.h"
#include "ops/rms_norm.h"
#include "ops/rope_cache.h"

namespace moe {

/// RMSNorm of each head of q and k by itself.
struct HeadNorms {
  RmsNorm q, k;
};

/// Norms of heads, rotation, the write to the cache and attention, in a decode step: one token a
/// sequence, so that no token reads a key that this step writes for another.
struct RopeAttention {
  static constexpr const char* kName = "ropeAttention";

  std::optional<HeadNorms> norms;
  RopeCache rope;
  Attention attention;

  Tensor* scratch_tensor() { return &attention.scratch; }
  size_t scratch_bytes(const Device* device) const { return attention.scratch_bytes(device); }
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
