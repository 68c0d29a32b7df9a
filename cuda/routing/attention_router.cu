#include "ops/attention_router.h"
#include "routing.cuh"

namespace moe {
namespace {

/// One warp a token.
__global__ void attention_router(Rows<const float> qkv, int E, Rows<float> logits) {
  auto* row = reinterpret_cast<float*>(shared_memory());
  wait_prior_grid();
  launch_dependents();
  for (int i = static_cast<int>(threadIdx.x); i < 3 * E; i += 32) row[i] = qkv[blockIdx.x][i];
  __syncwarp();
  attend_experts(row, E, logits[blockIdx.x]);
}

}  // namespace

void AttentionRouter::run_cuda(const CudaContext& cuda) const {
  const auto E = static_cast<int>(logits.dim(1));
  cuda.launch(attention_router, blocks_for(logits.dim(0), 1), 32,
              3 * sizeof(float) * static_cast<size_t>(E), rows_of<const float>(qkv), E,
              rows_of<float>(logits));
}

}  // namespace moe
