#include "device/rows.cuh"
#include "ops/soft_combine.h"
#include "routing/place.cuh"

namespace moe {
namespace {

constexpr int kColumns = 128, kTokens = 8;

/// Grid: columns, tokens by eight. A thread has one column of eight tokens, so that a slot's value
/// is read once for those of one segment.
template <class V>
__global__ void __launch_bounds__(kColumns)
    soft_combine(Rows<const V> rows, Rows<const float> weights, const int32_t* segments, int B,
                 Rows<const float> residual, int T, int H, int S, int P, Rows<float> out) {
  wait_prior_grid();
  launch_dependents();
  const int h = static_cast<int>(blockIdx.x * kColumns + threadIdx.x);
  const int first = static_cast<int>(blockIdx.y) * kTokens, n = min(kTokens, T - first);
  if (h >= H) return;
  float sums[kTokens];
  for (int i = 0; i < kTokens; ++i) sums[i] = i < n ? residual[first + i][h] : 0.f;
  for (int b = segment_of(segments, B, first); b < B && segments[b] < first + n; ++b) {
    const int begin = segments[b] - first, end = segments[b + 1] - first;
    for (int s = 0; s < S; ++s) {
      const float value = to_float(rows[int64_t{s / P * B + b} * P + s % P][h]);
      for (int i = 0; i < kTokens; ++i)
        if (i < n && i >= begin && i < end) sums[i] = fmaf(weights[first + i][s], value, sums[i]);
    }
  }
  for (int i = 0; i < n; ++i) out[first + i][h] = sums[i];
}

}  // namespace

void SoftCombine::run_cuda(const CudaContext& cuda) const {
  const int T = static_cast<int>(residual.dim(0)), H = static_cast<int>(residual.dim(1));
  const int S = static_cast<int>(weights.dim(1));
  dispatch_activation(expert_out.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    const dim3 grid(blocks_for(H, kColumns), blocks_for(T, kTokens));
    cuda.launch(soft_combine<Value>, grid, kColumns, 0, rows_of<const Value>(expert_out),
                rows_of<const float>(weights), segments.as<const int32_t>(),
                static_cast<int>(segment_count(segments)), rows_of<const float>(residual), T, H, S,
                S / static_cast<int>(experts), rows_of<float>(out));
  });
}

}  // namespace moe
