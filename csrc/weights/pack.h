#pragma once

#include <vector>

#include "core/context.h"
#include "weights/row_run.h"
#include "weights/weight.h"

namespace moe {

/// Packs the rows of `runs`, in order, into `out` [N, K], which gets its memory now. Source rows
/// are converted; f16 to f32 and bf16 to f32 exactly.
void pack(const CpuContext& cpu, const Weight& out, const std::vector<RowRun>& runs);

}  // namespace moe
