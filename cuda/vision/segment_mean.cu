#include "device/rows.cuh"
#include "ops/segment_mean.h"

namespace moe {
namespace {

constexpr int kColumns = 128;

/// Grid: columns, segments.
template <class X, class T>
__global__ void __launch_bounds__(kColumns)
    segment_mean(Rows<const X> x, const int32_t* segments, int H, Rows<T> out) {
  wait_prior_grid();
  launch_dependents();
  const int h = static_cast<int>(blockIdx.x * kColumns + threadIdx.x);
  const int begin = segments[blockIdx.y], end = segments[blockIdx.y + 1];
  if (h >= H) return;
  float sum = 0.f;
  for (int t = begin; t < end; ++t) sum += to_float(x[t][h]);
  out[blockIdx.y][h] = from_f32<T>(sum / static_cast<float>(max(end - begin, 1)));
}

}  // namespace

void SegmentMean::run_cuda(const CudaContext& cuda) const {
  const auto H = x.dim(1);
  const dim3 grid(blocks_for(H, kColumns), static_cast<unsigned>(segment_count(segments)));
  dispatch_activation(x.dtype, kName, [&](auto x_tag) {
    dispatch_activation(dtype, kName, [&](auto tag) {
      using X = decltype(x_tag);
      using T = decltype(tag);
      cuda.launch(segment_mean<X, T>, grid, kColumns, 0, rows_of<const X>(x),
                  segments.as<const int32_t>(), static_cast<int>(H), rows_of<T>(out));
    });
  });
}

}  // namespace moe
