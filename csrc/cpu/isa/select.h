#pragma once

#include <string>
#include <vector>

#include "cpu/isa/kernels.h"

namespace moe {

/// The kernels in use: the best that this CPU and system support, or the one that MOE_CPU_ISA
/// names. Throws Error{option} when MOE_CPU_ISA names one that is not available here.
const Kernels& kernels();

/// Available instruction sets, weakest first.
std::vector<std::string> available_isas();

/// Uses another one from the next run on; for tests and benchmarks.
void select_isa(const std::string& name);

}  // namespace moe
