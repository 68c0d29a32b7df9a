#pragma once

#include <cstddef>
#include <memory>

namespace moe {

class Device;

/// Owner of one block of zeroed memory: 64-byte aligned on the host, where large blocks ask for
/// huge pages; on a device; or, pinned, on the host where that device's kernels read it.
class Buffer {
 public:
  explicit Buffer(size_t bytes = 0, std::shared_ptr<Device> device = nullptr, bool pinned = false)
      : device_(std::move(device)), pinned_(pinned) {
    reserve(bytes);
  }
  ~Buffer() { release(); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  /// Makes room for at least `bytes`; what was inside is lost when it has to grow.
  void reserve(size_t bytes);
  /// The same for memory that stays as long as its neighbours, such as weights: on the host, blocks
  /// that do not fill huge pages share them.
  void reserve_beside_others(size_t bytes);
  void release();

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  /// Whose kernels reach it; null: the CPU's alone.
  const std::shared_ptr<Device>& device() const { return device_; }
  /// Of a device: it is in host memory all the same.
  bool pinned() const { return pinned_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  bool mapped_ = false;
  std::shared_ptr<std::byte> shared_;  // the memory, where it is a part of more
  std::shared_ptr<Device> device_;
  bool pinned_;
};

}  // namespace moe
