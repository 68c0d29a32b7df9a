#include "device/rows.cuh"
#include "ops/gather_rows.h"

namespace moe {
namespace {

/// One block a row.
template <class T>
__global__ void gather_rows(Rows<const T> x, const int32_t* rows, int width, Rows<T> out) {
  wait_prior_grid();
  launch_dependents();
  const T* from = x[rows[blockIdx.x]];
  for (int h = threadIdx.x; h < width; h += blockDim.x) out[blockIdx.x][h] = from[h];
}

}  // namespace

void GatherRows::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(x.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    cuda.launch(gather_rows<Value>, blocks_for(rows.dim(0), 1), 256, 0, rows_of<const Value>(x),
                rows.as<const int32_t>(), static_cast<int>(x.dim(1)), rows_of<Value>(out));
  });
}

}  // namespace moe
