#pragma once

#include <cstddef>

namespace moe::os {

/// Starts reading the pages of a mapped file that are not in memory yet, and does not wait. Looks
/// at a few of them first, since asking for pages that are there costs time for each. Does nothing
/// where the system cannot say.
void read_ahead(const std::byte* memory, size_t bytes);

}  // namespace moe::os
