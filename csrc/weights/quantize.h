#pragma once

#include <string>

#include "core/context.h"
#include "weights/row_run.h"
#include "weights/weight.h"

namespace moe {

/// Rows in the layout of compressed-tensors' files.
struct Quantized {
  std::shared_ptr<Buffer> values;  // int8 [rows, K] signed; int4 [rows, K / 2], nibbles q
  std::shared_ptr<Buffer> scales;  // int8 [rows] f32; int4 [rows, K / group] f16
  size_t value_bytes, scale_bytes;
};

/// Quantises rows [N, K] of floats as packing them in `format` would: int8, or int4_g32 or
/// int4_g128, of which K must be whole groups. Throws Error{checkpoint} naming the tensor where a
/// scale is not finite.
Quantized quantize(const CpuContext& cpu, const RowRun& run, WeightFormat format,
                   const std::string& name);

}  // namespace moe
