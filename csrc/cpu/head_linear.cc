#include "ops/head_linear.h"

#include <vector>

#include "cpu/gemm.h"

namespace moe {

void HeadLinear::run_cpu(const CpuContext& cpu) const {
  std::vector<int32_t> offsets;
  for (int64_t n = 0; n <= heads(); ++n) offsets.push_back(static_cast<int32_t>(n * x.dim(0)));
  gemm_cpu(cpu, {.x = x_rows.tensor,
                 .offsets = offsets.data(),
                 .weights = weights.data(),
                 .groups = heads(),
                 .epilogue = {},
                 .out = out_rows.tensor,
                 .scratch = scratch,
                 .head_rows = x.dim(0),
                 .x_step = x_rows.step,
                 .out_step = out_rows.step});
}

size_t HeadLinear::scratch_bytes(const Device* device) const {
  return device ? 0 : gemm_scratch_bytes(x_rows.tensor, weights[0].format, heads());
}

}  // namespace moe
