#include "core/buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "core/device.h"

namespace moe {
namespace {

constexpr size_t kAlign = 64;
constexpr size_t kHugePage = size_t{2} << 20;

size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

/// `bytes` of anonymous memory at a huge page's boundary, so that all of it can be in huge pages.
void* map_aligned(size_t bytes) {
  void* base =
      mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  const auto start = reinterpret_cast<uintptr_t>(base);
  const uintptr_t aligned = round_up(start, kHugePage);
  if (aligned > start) munmap(base, aligned - start);
  const uintptr_t rest = start + kHugePage - aligned;
  if (rest > 0) munmap(reinterpret_cast<void*>(aligned + bytes), rest);
  void* memory = reinterpret_cast<void*>(aligned);
#ifdef MADV_HUGEPAGE
  madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return memory;
}

}  // namespace

void Buffer::reserve(size_t bytes) {
  if (bytes <= bytes_) return;
  release();
  void* memory = nullptr;
  if (device_) {
    memory = device_->allocate(bytes);
  } else if (bytes >= kHugePage) {
    bytes = round_up(bytes, kHugePage);
    memory = map_aligned(bytes);
    mapped_ = true;
  } else {
    bytes = round_up(bytes, kAlign);
    memory = std::aligned_alloc(kAlign, bytes);
    if (memory) std::memset(memory, 0, bytes);
    mapped_ = false;
  }
  if (!memory) fail(Code::out_of_memory, "memory: ", bytes, " bytes could not be allocated");
  data_ = static_cast<std::byte*>(memory);
  bytes_ = bytes;
}

void Buffer::release() {
  if (!data_) return;
  if (device_)
    device_->free(data_);
  else if (mapped_)
    munmap(data_, bytes_);
  else
    std::free(data_);
  data_ = nullptr;
  bytes_ = 0;
}

}  // namespace moe
