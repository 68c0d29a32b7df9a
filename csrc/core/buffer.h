#pragma once

#include <cstddef>
#include <memory>

namespace moe {

/// Owner of one block of zeroed host memory, 64-byte aligned; large blocks ask for huge pages.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes) { reserve(bytes); }
  ~Buffer() { release(); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  /// Makes room for at least `bytes`; what was inside is lost when it has to grow.
  void reserve(size_t bytes);
  void release();

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  bool mapped_ = false;
};

}  // namespace moe
