#include "attention/attention.cuh"
#include "fused/rope_attention.h"

namespace moe {

void RopeAttention::run_cuda(const CudaContext& cuda) const {
  attention_cuda(cuda, attention, this);
}

}  // namespace moe
