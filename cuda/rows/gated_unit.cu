#include "gemm/gemm.cuh"
#include "ops/gated_unit.h"

namespace moe {
namespace {

constexpr int kThreads = 256;

/// One block a quad of each of its threads.
template <class T>
__global__ void __launch_bounds__(kThreads)
    gated_unit(Rows<const float> x, int width, int pieces, bool whole, Glu glu, Rows<T> out) {
  wait_prior_grid();
  launch_dependents();
  const int t = static_cast<int>(blockIdx.x) / pieces;
  const int piece = static_cast<int>(blockIdx.x) % pieces;
  const int i = 4 * (piece * kThreads + static_cast<int>(threadIdx.x));
  if (i >= width) return;
  Quad quad = load_quad(x[t], i, width, whole);
  const Quad up = load_quad(x[t] + width, i, width, whole);
  for (int j = 0; j < 4; ++j) quad.v[j] = activated(glu, quad.v[j], up.v[j]);
  store_quad(out[t], i, width, whole, quad);
}

}  // namespace

void GatedUnit::run_cuda(const CudaContext& cuda) const {
  const int width = static_cast<int>(out.dim(1));
  const unsigned pieces = blocks_for(width, 4 * kThreads);
  dispatch_activation(out.dtype, kName, [&](auto tag) {
    using T = decltype(tag);
    cuda.launch(gated_unit<T>, blocks_for(x.dim(0) * pieces, 1), kThreads, 0,
                rows_of<const float>(x), width, static_cast<int>(pieces), in_quads(x, out), glu(),
                rows_of<T>(out));
  });
}

}  // namespace moe
