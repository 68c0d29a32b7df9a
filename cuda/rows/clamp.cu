#include "device/rows.cuh"
#include "ops/clamp.h"

namespace moe {
namespace {

/// One block a token.
template <class T>
__global__ void clamp(Rows<T> x, int width, bool whole, float limit) {
  wait_prior_grid();
  launch_dependents();
  T* row = x[blockIdx.x];
  for_quads(width, [&](int h) {
    Quad quad = load_quad(row, h, width, whole);
    for (float& v : quad.v) v = v > limit ? limit : v < -limit ? -limit : v;
    store_quad(row, h, width, whole, quad);
  });
}

}  // namespace

void Clamp::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(x.dtype, kName, [&](auto tag) {
    using T = decltype(tag);
    cuda.launch(clamp<T>, blocks_for(x.dim(0), 1), 256, 0, rows_of<T>(x),
                static_cast<int>(x.dim(1)), in_quads(x), limit);
  });
}

}  // namespace moe
