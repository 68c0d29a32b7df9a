#pragma once

#include <functional>
#include <vector>

#include "core/check.h"
#include "core/fields.h"

namespace moe {

// What an op may use to run: core/context.h, and cuda/context.h in the backend library.
struct CpuContext;
struct CudaContext;

/// Makes an activation: `make_outputs` of an op calls it for each output.
using Make = std::function<Tensor(const Shape&, DType)>;

/// Types of element that an op may be asked to write.
template <>
struct EnumNames<DType> {
  static constexpr const char* type = "DType";
  static constexpr const char* names[] = {"f32", "bf16", "f16", "i32", "u8"};
};

}  // namespace moe
