#pragma once

#include <vector>

#include "core/context.h"
#include "weights/weight.h"

namespace moe {

/// `count` rows of `source` from `start` on.
struct RowRun {
  Tensor source;  // [*, K] f32 | bf16 | f16, row-major; may be unaligned
  int64_t start;
  int64_t count;
  bool turned = false;  // the run is [K, N], all of the weight
};

/// Packs the rows of `runs`, in order, into `out` [N, K], which gets its memory now. Source rows
/// are converted; f16 to f32 and bf16 to f32 exactly.
void pack(const CpuContext& cpu, const Weight& out, const std::vector<RowRun>& runs);

}  // namespace moe
