#include "device/rows.cuh"
#include "weights/random.h"

namespace moe {
namespace {

template <class T>
__global__ void fill_random(T* out, int64_t count, float mean, float width, uint64_t seed) {
  wait_prior_grid();
  launch_dependents();
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step)
    out[i] = from_f32<T>(FillRandom::value(i, mean, width, seed));
}

}  // namespace

void FillRandom::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(out.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    const unsigned blocks = std::min(blocks_for(count, 256), 8u * cuda.multiprocessors);
    cuda.launch(fill_random<Value>, blocks, 256, 0, out.as<Value>(), count, mean, width, seed);
  });
}

}  // namespace moe
