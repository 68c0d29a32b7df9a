#include "ops/grouped_gemm.h"

#include "cpu/gemm.h"

namespace moe {

void GroupedGemm::run_cpu(const CpuContext& cpu) const {
  gemm_cpu(cpu, {.x = x,
                 .offsets = offsets.as<int32_t>(),
                 .weights = weights.data(),
                 .groups = static_cast<int64_t>(weights.size()),
                 .epilogue = epilogue(),
                 .out = out,
                 .scratch = scratch});
}

size_t GroupedGemm::scratch_bytes(const Device* device) const {
  return device ? 0
                : gemm_scratch_bytes(x, weights[0].format, static_cast<int64_t>(weights.size()));
}

}  // namespace moe
