#include "gemm.h"
#include "ops/grouped_gemm.h"

namespace moe {

void GroupedGemm::run_cuda(const CudaContext& cuda) const {
  const auto groups = static_cast<int64_t>(weights.size());
  gemm_cuda(
      cuda,
      {x, {}, offsets.as<const int32_t>(), weights.data(), groups, epilogue(), out, deterministic});
}

}  // namespace moe
