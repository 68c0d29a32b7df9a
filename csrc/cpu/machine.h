#pragma once

#include <string>

#include "cpu/context.h"

namespace moe {

struct Probed {
  double work;  // bytes or operations
  double seconds;
};

/// What this machine can do at the moment, on all threads of `cpu`: `read` bytes from memory, `f32`
/// multiply-adds, `bf16_dot` products (0 where there are none).
Probed probe(const CpuContext& cpu, const std::string& kind);

}  // namespace moe
