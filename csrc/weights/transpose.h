#pragma once

#include "core/context.h"
#include "core/tensor.h"

namespace moe {

/// out [N, K] of the same dtype as source [K, N], which may be unaligned.
void transpose(const CpuContext& cpu, const Tensor& source, Tensor& out);

}  // namespace moe
