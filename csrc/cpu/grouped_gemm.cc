#include "ops/grouped_gemm.h"

#include "cpu/gemm.h"

namespace moe {

void GroupedGemm::run_cpu(const CpuContext& cpu) const {
  if (weights.empty()) return;
  if (rows) permute().run_cpu(cpu);
  gemm_cpu(cpu, {.x = rows ? gathered : x,
                 .offsets = offsets.as<int32_t>(),
                 .weights = weights.data(),
                 .groups = static_cast<int64_t>(weights.size()),
                 .bias = nullptr,
                 .residual = nullptr,
                 .activation = activation,
                 .out = out,
                 .scratch = scratch});
}

size_t GroupedGemm::scratch_bytes(const Device* device) const {
  if (device || weights.empty()) return 0;
  return gemm_scratch_bytes(rows ? gathered : x, weights[0].format,
                            static_cast<int64_t>(weights.size()));
}

}  // namespace moe
