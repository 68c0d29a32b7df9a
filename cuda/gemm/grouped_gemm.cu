#include "gemm.h"
#include "ops/grouped_gemm.h"

namespace moe {

void GroupedGemm::run_cuda(const CudaContext& cuda) const {
  const auto groups = static_cast<int64_t>(weights.size());
  gemm_cuda(cuda, {.x = x,
                   .gather = {},
                   .offsets = offsets.as<const int32_t>(),
                   .weights = weights.data(),
                   .groups = groups,
                   .epilogue = epilogue(),
                   .out = out,
                   .deterministic = deterministic,
                   .staged_groups = staged_groups(),
                   .staging = scratch.as<std::byte>(),
                   .settled = true});
}

}  // namespace moe
