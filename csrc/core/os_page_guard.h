#pragma once

#include <atomic>
#include <cstddef>

namespace moe::os {

/// POSIX only. Reading a mapped page that its file has no more raises SIGBUS on the reading thread.
/// Inside guarded ranges the handler puts zeros in the place of that page and all behind it, and
/// sets `*lost`, so the reader goes on and whoever owns the range asks the flag afterwards. No
/// stack is unwound, so this holds for every thread and below every frame. All other signals go to
/// the handler that was there before.
void guard_pages(void* memory, size_t bytes, std::atomic<bool>* lost);

/// Before the range is unmapped.
void unguard_pages(void* memory);

}  // namespace moe::os
