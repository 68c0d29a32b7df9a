#pragma once

#include <cstddef>
#include <memory>

namespace moe {

class Device;

/// Owner of one block of zeroed memory: 64-byte aligned on the host, where large blocks ask for
/// huge pages, or on a device.
class Buffer {
 public:
  explicit Buffer(size_t bytes = 0, std::shared_ptr<Device> device = nullptr)
      : device_(std::move(device)) {
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
  /// Null: host memory.
  const std::shared_ptr<Device>& device() const { return device_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  bool mapped_ = false;
  std::shared_ptr<std::byte> shared_;  // the memory, where it is a part of more
  std::shared_ptr<Device> device_;
};

}  // namespace moe
