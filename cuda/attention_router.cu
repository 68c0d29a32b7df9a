#include "ops/attention_router.h"

#include "rows.cuh"

namespace moe {
namespace {

/// One warp a token; a lane has every 32nd expert as query.
__global__ void attention_router(Rows<const float> qkv, int E, Rows<float> logits) {
  auto* keys = reinterpret_cast<float*>(shared_memory());
  float* values = keys + E;
  wait_for_grid();
  release_grid();
  const int lane = static_cast<int>(threadIdx.x);
  const float* q = qkv[blockIdx.x];
  float most = -INFINITY, least = INFINITY;
  for (int j = lane; j < E; j += 32) {
    keys[j] = q[E + j];
    values[j] = q[2 * E + j];
    most = fmaxf(most, keys[j]);
    least = fminf(least, keys[j]);
  }
  most = warp_max(most);
  least = -warp_max(-least);
  __syncwarp();
  for (int i = lane; i < E; i += 32) {
    const float top = q[i] * (q[i] < 0.f ? least : most);
    float total = 0.f, mixed = 0.f;
    for (int j = 0; j < E; ++j) {
      const float p = expf(q[i] * keys[j] - top);
      total += p;
      mixed += p * values[j];
    }
    logits[blockIdx.x][i] = mixed / total;
  }
}

}  // namespace

void AttentionRouter::run_cuda(const CudaContext& cuda) const {
  const auto E = static_cast<int>(logits.dim(1));
  cuda.launch(attention_router, blocks_for(logits.dim(0), 1), 32,
              2 * sizeof(float) * static_cast<size_t>(E), rows_of<const float>(qkv), E,
              rows_of<float>(logits));
}

}  // namespace moe
