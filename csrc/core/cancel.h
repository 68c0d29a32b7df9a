#pragma once

#include <atomic>
#include <memory>

namespace moe {

/// Set by the caller who gave up; whoever works looks at it between pieces. Null: never.
using CancelFlag = std::shared_ptr<std::atomic<bool>>;

}  // namespace moe
