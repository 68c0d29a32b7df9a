#pragma once

#include "core/tensor.h"
#include "cpu/context.h"

namespace moe {

/// Fills `out` (f32 or bf16, any layout) with uniform numbers of mean `mean` and standard deviation
/// `scale`. The same seed gives the same numbers on any number of threads.
void fill_random(const CpuContext& cpu, Tensor& out, float mean, float scale, uint64_t seed);

}  // namespace moe
