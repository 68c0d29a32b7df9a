#pragma once

#include <functional>
#include <vector>

#include "core/context.h"
#include "weights/format.h"
#include "weights/row_run.h"

namespace moe {

/// Packs the rows of `runs`, in order, into `out` [N, K], which gets its memory now. Source rows
/// are converted; f16 to f32 and bf16 to f32 exactly.
void pack(const CpuContext& cpu, const Weight& out, const std::vector<RowRun>& runs);

/// Gives `out` its memory and fills each of its panels, on many threads.
void fill_panels(const CpuContext& cpu, const Weight& out, const Packing& packing,
                 const std::function<void(int64_t panel, std::byte* to)>& fill);

}  // namespace moe
