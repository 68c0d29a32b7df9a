#include "device/rows.cuh"
#include "ops/soft_weights.h"

namespace moe {
namespace {

constexpr int kThreads = 256;

/// One warp a token: softmax over slots.
__global__ void __launch_bounds__(kThreads)
    soft_combine_weights(const float* logits, int T, int S, float* combine) {
  wait_prior_grid();
  launch_dependents();
  const int t = static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  if (t >= T) return;
  const float* z = logits + int64_t{t} * S;
  float top = -INFINITY, total = 0.f;
  for (int s = lane; s < S; s += 32) top = fmaxf(top, z[s]);
  top = warp_max(top);
  for (int s = lane; s < S; s += 32) total += expf(z[s] - top);
  total = warp_sum(total);
  for (int s = lane; s < S; s += 32) combine[int64_t{t} * S + s] = expf(z[s] - top) / total;
}

/// One thread a slot of a segment: softmax over tokens.
__global__ void __launch_bounds__(kThreads)
    soft_dispatch_weights(const float* logits, const int32_t* segments, int S, float* dispatch) {
  wait_prior_grid();
  launch_dependents();
  const int s = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (s >= S) return;
  const int begin = segments[blockIdx.y], end = segments[blockIdx.y + 1];
  float top = -INFINITY, total = 0.f;
  for (int t = begin; t < end; ++t) top = fmaxf(top, logits[int64_t{t} * S + s]);
  for (int t = begin; t < end; ++t) total += expf(logits[int64_t{t} * S + s] - top);
  for (int t = begin; t < end; ++t)
    dispatch[int64_t{t} * S + s] = expf(logits[int64_t{t} * S + s] - top) / total;
}

}  // namespace

void SoftWeights::run_cuda(const CudaContext& cuda) const {
  const int T = static_cast<int>(logits.dim(0)), S = static_cast<int>(logits.dim(1));
  cuda.launch(soft_combine_weights, blocks_for(T, kThreads / 32), kThreads, 0,
              logits.as<const float>(), T, S, combine.as<float>());
  const dim3 grid(blocks_for(S, kThreads), static_cast<unsigned>(segment_count(segments)));
  cuda.launch(soft_dispatch_weights, grid, kThreads, 0, logits.as<const float>(),
              segments.as<const int32_t>(), S, dispatch.as<float>());
}

}  // namespace moe
