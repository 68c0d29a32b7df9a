#pragma once

#include "ops/causal_pair.h"
#include "ops/linear.h"

namespace moe {

/// CausalPair and the projection that reads it, in one launch: a two-tap convolution.
struct PairLinear {
  static constexpr const char* kName = "pairLinear";

  CausalPair pair;  // its output is not there
  Linear linear;

  static constexpr int64_t kFewTokens = 4;
  static constexpr int64_t kMostBytes = int64_t{32} << 10;  // of the pairs, in shared memory
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
