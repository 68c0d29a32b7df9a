#include "core/buffer.h"

#include <cstring>

#include "core/device.h"
#include "core/os.h"

namespace moe {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

}  // namespace

void Buffer::reserve(size_t bytes) {
  if (bytes <= bytes_) return;
  release();
  std::byte* memory = nullptr;
  if (device_) {
    memory = static_cast<std::byte*>(device_->allocate(bytes));
  } else if (bytes >= kHugePage) {
    bytes = round_up(bytes, kHugePage);
    memory = os::allocate_pages(bytes);
    mapped_ = true;
  } else {
    bytes = round_up(bytes, os::kAlign);
    memory = os::allocate_aligned(bytes);
    if (memory) std::memset(memory, 0, bytes);
    mapped_ = false;
  }
  if (!memory) fail(Code::out_of_memory, "memory: ", bytes, " bytes could not be allocated");
  data_ = memory;
  bytes_ = bytes;
}

void Buffer::release() {
  if (!data_) return;
  if (device_)
    device_->free(data_);
  else if (mapped_)
    os::free_pages(data_, bytes_);
  else
    os::free_aligned(data_);
  data_ = nullptr;
  bytes_ = 0;
}

}  // namespace moe
