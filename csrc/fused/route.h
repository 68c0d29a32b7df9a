#pragma once

#include <optional>

#include "ops/attention_router.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/top_k.h"

namespace moe {

/// From the residual stream to the experts of each token in one launch: RMSNorm, router projection
/// and top-k routing.
///
///   logits = project(norm(x)) [+ carry(logits of the layer below)]  |  attention(project(norm(x)))
struct Route {
  static constexpr const char* kName = "route";

  RmsNorm norm;
  std::optional<Linear> carry;
  Linear project;  // perhaps with a bias
  std::optional<AttentionRouter> attention;
  TopK top_k;

  static constexpr int64_t kFewTokens = 8, kMostExperts = 256;
  static constexpr int64_t kMostCarried = 32;  // experts whose logits come from below
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
