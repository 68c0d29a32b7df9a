#pragma once

#include <vector>

#include "core/check.h"

namespace moe {

// What an op may use to run: cpu/context.h, and cuda/context.h in the backend library.
struct CpuContext;
struct CudaContext;

}  // namespace moe
