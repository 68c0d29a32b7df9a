#include "device/rows.cuh"
#include "ops/soft_logits.h"

namespace moe {
namespace {

constexpr int kThreads = 256;

/// One block a token; a thread has every 256th slot.
template <class T>
__global__ void __launch_bounds__(kThreads)
    soft_logits(Rows<const T> x, Rows<const float> slots, const float* scale, int H, int S,
                Rows<float> logits) {
  wait_prior_grid();
  launch_dependents();
  auto* scratch = reinterpret_cast<float*>(shared_memory());
  const T* row = x[blockIdx.x];
  float squares = 0.f;
  for (int h = static_cast<int>(threadIdx.x); h < H; h += kThreads) {
    const float value = to_float(row[h]);
    squares += value * value;
  }
  const float own = 1.f / sqrtf(block_sum(squares, scratch) + SoftLogits::kEpsilon);
  for (int s = static_cast<int>(threadIdx.x); s < S; s += kThreads) {
    float sum = 0.f, length = SoftLogits::kEpsilon;
    for (int h = 0; h < H; ++h) {
      const float slot = slots[h][s];
      sum = fmaf(slot, to_float(row[h]), sum);
      length = fmaf(slot, slot, length);
    }
    logits[blockIdx.x][s] = sum * (own * (*scale / sqrtf(length)));
  }
}

}  // namespace

void SoftLogits::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(x.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    cuda.launch(soft_logits<Value>, blocks_for(x.dim(0), 1), kThreads, sizeof(float) * 32,
                rows_of<const Value>(x), rows_of<const float>(slots), scale.as<const float>(),
                static_cast<int>(x.dim(1)), static_cast<int>(slots.dim(1)), rows_of<float>(logits));
  });
}

}  // namespace moe
