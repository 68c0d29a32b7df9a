#include "ops/top_k.h"

#include "rows.cuh"

namespace moe {
namespace {

constexpr int kWarps = 4;

struct Flags {
  uint8_t of[TopK::kMaxExperts];
};

/// Factor of the logits norm: norm_std / (unbiased standard deviation). In f64, as few terms as
/// there are; a router's margin is worth it.
__device__ float norm_factor(const float* logits, int E, float norm_std, int lane) {
  double mean = 0, squares = 0;
  for (int e = lane; e < E; e += 32) mean += logits[e];
  mean = warp_sum(mean) / E;
  for (int e = lane; e < E; e += 32) squares += (logits[e] - mean) * (logits[e] - mean);
  const double factor = norm_std / sqrt(warp_sum(squares) / (E - 1));
  return isfinite(factor) ? static_cast<float>(factor) : 1.f;
}

/// exp(z - top), where infinities have a share of 0 or 1.
__device__ float share(float z, float top) {
  if (top == -INFINITY || top == INFINITY) return z == top ? 1.f : 0.f;
  return expf(z - top);
}

/// One warp a token; lane l has the logits l, l + 32, ..., V of them at most.
template <int V>
__global__ void __launch_bounds__(32 * kWarps)
    top_k(Rows<const float> logits, int T, int E, int K, bool full_softmax, float norm_std,
          bool some_give, const __grid_constant__ Flags gives, Rows<int32_t> ids,
          Rows<float> weights) {
  wait_for_grid();
  release_grid();
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int t = static_cast<int>(blockIdx.x * kWarps + threadIdx.x / 32);
  if (t >= T) return;
  const float* row = logits[t];
  const float factor = norm_std == 0.f ? 1.f : norm_factor(row, E, norm_std, lane);
  float z[V];
  for (int i = 0; i < V; ++i) {
    const int e = lane + 32 * i;
    z[i] = e < E && !isnan(row[e]) ? row[e] * factor : -INFINITY;
  }

  uint32_t taken = 0;
  float top = 0.f, total = 0.f;
  int heir = -1;
  for (int k = 0; k < K; ++k) {
    // The best that is left; the lowest id among equals.
    float best = -INFINITY;
    int id = E;
    for (int i = 0; i < V; ++i) {
      const int e = lane + 32 * i;
      if (e < E && !(taken >> i & 1) && (z[i] > best || id == E)) best = z[i], id = e;
    }
    for (int bits = 16; bits; bits >>= 1) {
      const float other = __shfl_xor_sync(~0u, best, bits);
      const int other_id = __shfl_xor_sync(~0u, id, bits);
      if (other_id < E && (id == E || other > best || (other == best && other_id < id)))
        best = other, id = other_id;
    }
    if (id % 32 == lane) taken |= 1u << (id / 32);
    if (k == 0) top = best;
    const bool gives_away = some_give && gives.of[id];
    if (heir < 0 && !gives_away) heir = k;
    const float weight = gives_away ? 0.f : share(best, top);
    total += weight;
    if (lane == 0) {
      ids[t][k] = id;
      weights[t][k] = weight;
    }
  }
  if (full_softmax) {
    total = 0.f;
    for (int i = 0; i < V; ++i)
      if (lane + 32 * i < E) total += share(z[i], top);
    total = warp_sum(total);
  } else if (total == 0.f && some_give && heir >= 0) {
    // The best gave its share away and the others' underflowed: they still share the 1.
    if (lane == 0) weights[t][heir] = 1.f;
    total = 1.f;
  }
  __syncwarp();
  if (total > 0.f)
    for (int k = lane; k < K; k += 32) weights[t][k] /= total;
}

}  // namespace

void TopK::run_cuda(const CudaContext& cuda) const {
  const auto T = static_cast<int>(logits.dim(0)), E = static_cast<int>(logits.dim(1));
  Flags flags{};
  std::copy(gives_share.begin(), gives_share.end(), flags.of);
  const auto launch = [&](auto kernel) {
    cuda.launch(kernel, blocks_for(T, kWarps), 32 * kWarps, 0, rows_of<const float>(logits), T, E,
                static_cast<int>(ids.dim(1)), kind == TopKWeights::softmax, norm_std,
                !gives_share.empty(), flags, rows_of<int32_t>(ids), rows_of<float>(weights));
  };
  if (E <= 32) return launch(top_k<1>);
  if (E <= 128) return launch(top_k<4>);
  launch(top_k<32>);
}

}  // namespace moe
