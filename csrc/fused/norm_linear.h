#pragma once

#include <optional>

#include "ops/combine.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"

namespace moe {

/// RMSNorm and the dense projection that reads it, and before them the combine that makes the
/// norm's input, in one launch.
struct NormLinear {
  static constexpr const char* kName = "normLinear";

  std::optional<Combine> combine;
  RmsNorm norm;
  Linear linear;

  static constexpr int64_t kFewTokens = 4;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
