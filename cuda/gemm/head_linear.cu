#include "gemm.h"
#include "ops/head_linear.h"

namespace moe {

void HeadLinear::run_cuda(const CudaContext& cuda) const {
  gemm_cuda(cuda, {.x = x_rows.tensor,
                   .gather = {},
                   .offsets = nullptr,
                   .weights = weights.data(),
                   .groups = heads(),
                   .epilogue = {},
                   .out = out_rows.tensor,
                   .deterministic = deterministic,
                   .head_rows = x.dim(0),
                   .x_step = x_rows.step,
                   .out_step = out_rows.step});
}

}  // namespace moe
