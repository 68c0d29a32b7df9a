#include "fused/gather_gemm.h"
#include "gemm/gemm.h"

namespace moe {

void GatherGemm::run_cuda(const CudaContext& cuda) const {
  const auto groups = static_cast<int64_t>(gemm.weights.size());
  gemm_cuda(cuda, {.x = permute.x,
                   .gather = permute.rows,
                   .offsets = gemm.offsets.as<const int32_t>(),
                   .weights = gemm.weights.data(),
                   .groups = groups,
                   .epilogue = gemm.epilogue(),
                   .out = gemm.out,
                   .deterministic = gemm.deterministic,
                   .staged_groups = gemm.staged_groups(),
                   .staging = gemm.scratch.as<std::byte>()});
}

}  // namespace moe
