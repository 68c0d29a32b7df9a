#include "core/buffer.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <set>

#include "core/device.h"
#include "core/os.h"

namespace moe {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

/// Huge pages that blocks are cut from, one behind the other; free when the last block is. Room
/// behind the last block that is held is cut again.
class Slab : public std::enable_shared_from_this<Slab> {
 public:
  static constexpr size_t kBytes = size_t{64} << 20;
  static constexpr size_t kLeast = size_t{256} << 10, kMost = kBytes / 4;  // of a block

  Slab() : data_(os::allocate_pages(kBytes)) {
    if (!data_) fail(Code::out_of_memory, "memory: ", kBytes, " bytes could not be allocated");
  }
  ~Slab() { os::free_pages(data_, kBytes); }

  /// Zeroed, and held as long as what is returned; null: it does not fit.
  std::shared_ptr<std::byte> cut(size_t bytes) {
    const std::lock_guard lock(mutex_);
    const size_t begin = ends_.empty() ? 0 : *ends_.rbegin(), end = begin + bytes;
    if (end > kBytes) return nullptr;
    if (begin < touched_) std::memset(data_ + begin, 0, std::min(end, touched_) - begin);
    touched_ = std::max(touched_, end);
    ends_.insert(end);
    return {data_ + begin, [slab = shared_from_this(), end](std::byte*) {
              const std::lock_guard lock(slab->mutex_);
              slab->ends_.erase(end);
            }};
  }

 private:
  std::byte* data_;
  std::mutex mutex_;
  std::set<size_t> ends_;  // of the blocks that are held
  size_t touched_ = 0;     // what is behind has never been written
};

}  // namespace

void Buffer::reserve_beside_others(size_t bytes) {
  if (bytes <= bytes_) return;
  if (device_ || bytes < Slab::kLeast || bytes > Slab::kMost) return reserve(bytes);
  release();
  static std::mutex mutex;
  static std::weak_ptr<Slab> open;  // the one that the last block was cut from
  const std::lock_guard lock(mutex);
  bytes = round_up(bytes, os::kAlign);
  std::shared_ptr<Slab> slab = open.lock();
  if (slab) shared_ = slab->cut(bytes);
  if (!shared_) {
    slab = std::make_shared<Slab>();
    shared_ = slab->cut(bytes);
    open = slab;
  }
  data_ = shared_.get();
  bytes_ = bytes;
}

void Buffer::reserve(size_t bytes) {
  if (bytes <= bytes_) return;
  release();
  std::byte* memory = nullptr;
  if (pinned_) {
    memory = static_cast<std::byte*>(device_->allocate_pinned(bytes));
    std::memset(memory, 0, bytes);
  } else if (device_) {
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
  if (shared_)
    shared_.reset();
  else if (pinned_)
    device_->free_pinned(data_);
  else if (device_)
    device_->free(data_);
  else if (mapped_)
    os::free_pages(data_, bytes_);
  else
    os::free_aligned(data_);
  data_ = nullptr;
  bytes_ = 0;
}

}  // namespace moe
