#include "ops/rms_norm.h"
#include "rows.cuh"

namespace moe {
namespace {

constexpr unsigned kThreads = 256;

/// One block a token.
template <class T>
__global__ void __launch_bounds__(kThreads)
    rms_norm(Rows<const float> x, const float* weight, int width, float eps, Rows<T> out) {
  auto* scratch = reinterpret_cast<float*>(shared_memory());
  wait_for_grid();
  release_grid();
  const float* row = x[blockIdx.x];
  float squares = 0.f;
  for (int h = threadIdx.x; h < width; h += kThreads) squares += row[h] * row[h];
  const float mean = block_sum(squares, scratch) / static_cast<float>(width);
  const float inverse = 1.f / sqrtf(mean + eps);
  for (int h = threadIdx.x; h < width; h += kThreads)
    out[blockIdx.x][h] = from_f32<T>(row[h] * inverse * weight[h]);
}

}  // namespace

void RmsNorm::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(out.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    cuda.launch(rms_norm<Value>, blocks_for(x.dim(0), 1), kThreads, 32 * sizeof(float),
                rows_of<const float>(x), weight.as<const float>(), static_cast<int>(x.dim(1)), eps,
                rows_of<Value>(out));
  });
}

}  // namespace moe
