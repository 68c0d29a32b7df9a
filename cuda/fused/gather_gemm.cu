#include "fused/gather_gemm.h"
#include "gemm/gemm.h"

namespace moe {

void GatherGemm::run_cuda(const CudaContext& cuda) const {
  const auto groups = static_cast<int64_t>(gemm.weights.size());
  gemm_cuda(cuda, {permute.x, permute.rows, gemm.offsets.as<const int32_t>(), gemm.weights.data(),
                   groups, gemm.epilogue(), gemm.out, gemm.deterministic});
}

}  // namespace moe
