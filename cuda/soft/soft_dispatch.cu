#include "device/rows.cuh"
#include "ops/soft_dispatch.h"

namespace moe {
namespace {

constexpr int kColumns = 128, kSlots = 8;

/// Grid: columns, slots by eight, segments. A thread has one column of eight slots, so that a
/// token's value is read once for all of them.
template <class T>
__global__ void __launch_bounds__(kColumns)
    soft_dispatch(Rows<const T> x, Rows<const float> weights, const int32_t* segments, int H, int S,
                  int P, Rows<T> out, int experts, int32_t* offsets) {
  wait_prior_grid();
  launch_dependents();
  const int h = static_cast<int>(blockIdx.x * kColumns + threadIdx.x);
  const int first = static_cast<int>(blockIdx.y) * kSlots, b = static_cast<int>(blockIdx.z);
  const int B = static_cast<int>(gridDim.z), n = min(kSlots, S - first);
  if (blockIdx.x == 0 && blockIdx.y == 0 && b == 0)
    for (int e = static_cast<int>(threadIdx.x); e <= experts; e += kColumns) offsets[e] = e * B * P;
  if (h >= H) return;
  float sums[kSlots] = {};
  for (int t = segments[b]; t < segments[b + 1]; ++t) {
    const float value = to_float(x[t][h]);
    for (int i = 0; i < kSlots; ++i)
      if (i < n) sums[i] = fmaf(weights[t][first + i], value, sums[i]);
  }
  for (int i = 0; i < n; ++i) {
    const int s = first + i;
    out[int64_t{s / P * B + b} * P + s % P][h] = from_f32<T>(sums[i]);
  }
}

/// Without a segment there are no rows.
__global__ void no_rows(int experts, int32_t* offsets) {
  wait_prior_grid();
  launch_dependents();
  for (int e = static_cast<int>(threadIdx.x); e <= experts; e += static_cast<int>(blockDim.x))
    offsets[e] = 0;
}

}  // namespace

void SoftDispatch::run_cuda(const CudaContext& cuda) const {
  const int H = static_cast<int>(x.dim(1)), S = static_cast<int>(weights.dim(1));
  const int E = static_cast<int>(experts);
  const auto B = static_cast<unsigned>(segment_count(segments));
  if (B == 0 || H == 0 || S == 0) return cuda.launch(no_rows, 1, 32, 0, E, offsets.as<int32_t>());
  dispatch_activation(x.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    const dim3 grid(blocks_for(H, kColumns), blocks_for(S, kSlots), B);
    cuda.launch(soft_dispatch<Value>, grid, kColumns, 0, rows_of<const Value>(x),
                rows_of<const float>(weights), segments.as<const int32_t>(), H, S, S / E,
                rows_of<Value>(out), E, offsets.as<int32_t>());
  });
}

}  // namespace moe
