#include "ops/linear.h"

#include "cpu/gemm.h"

namespace moe {

void Linear::run_cpu(const CpuContext& cpu) const {
  const int32_t offsets[] = {0, static_cast<int32_t>(x.dim(0))};
  gemm_cpu(cpu, {.x = x,
                 .offsets = offsets,
                 .weights = &weight,
                 .groups = 1,
                 .epilogue = epilogue(),
                 .out = out,
                 .scratch = scratch});
}

size_t Linear::scratch_bytes(const Device* device) const {
  return device ? 0 : gemm_scratch_bytes(x, weight.format, 1);
}

}  // namespace moe
