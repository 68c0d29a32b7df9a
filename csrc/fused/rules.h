#pragma once

#include "core/plan.h"

namespace moe {

/// Replaces ops by the fused ones of this folder, which give the same bits.
void fuse(std::vector<Node>& nodes);

}  // namespace moe
