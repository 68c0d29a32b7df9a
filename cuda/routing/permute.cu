#include "device/rows.cuh"
#include "ops/permute.h"

namespace moe {
namespace {

/// One block a slot.
template <class T>
__global__ void __launch_bounds__(256) permute(Rows<const T> x, const int32_t* rows, int K,
                                               int width, bool whole, float scale, Rows<T> out) {
  wait_prior_grid();
  launch_dependents();
  const int slot = static_cast<int>(blockIdx.x), row = rows[slot];
  if (row < 0) return;
  for_quads(width, [&](int h) {
    Quad quad = load_quad(x[slot / K], h, width, whole);
    for (float& v : quad.v) v *= scale;
    store_quad(out[row], h, width, whole, quad);
  });
}

}  // namespace

void Permute::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(x.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    cuda.launch(permute<Value>, blocks_for(rows.shape.count(), 1), 256, 0, rows_of<const Value>(x),
                rows.as<const int32_t>(), static_cast<int>(rows.dim(1)), static_cast<int>(x.dim(1)),
                in_quads(x, out), scale, rows_of<Value>(out));
  });
}

}  // namespace moe
