#include "device/rows.cuh"
#include "ops/embedding.h"

namespace moe {
namespace {

/// One block a token.
template <class T>
__global__ void embedding(const T* table, const int32_t* ids, int64_t width, float scale,
                          Rows<float> out) {
  wait_prior_grid();
  launch_dependents();
  const T* row = table + ids[blockIdx.x] * width;
  float* to = out[blockIdx.x];
  for (int64_t h = threadIdx.x; h < width; h += blockDim.x) to[h] = scale * to_float(row[h]);
}

}  // namespace

void Embedding::run_cuda(const CudaContext& cuda) const {
  const auto launch = [&](auto tag) {
    using Value = decltype(tag);
    cuda.launch(embedding<Value>, blocks_for(ids.dim(0), 1), 256, 0, table.as<Value>(),
                ids.as<int32_t>(), table.dim(1), scale, rows_of<float>(out));
  };
  if (table.dtype == DType::f32) return launch(float{});
  if (table.dtype == DType::bf16) return launch(bf16{});
  launch(f16{});
}

}  // namespace moe
