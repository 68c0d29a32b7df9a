#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "core/os.h"
#include "core/tensor.h"

namespace moe {

/// One or more files, read-only, as one contiguous range of memory. Publishers split large files by
/// bytes; parts whose sizes are whole pages are mapped side by side where the system can, others
/// are read into memory.
///
/// A file that is cut or written to while it is mapped makes `verify` throw. One that is replaced,
/// by a rename, stays mapped as it was.
class MappedFile : public Owner, public std::enable_shared_from_this<MappedFile> {
 public:
  static std::shared_ptr<MappedFile> open(const std::vector<std::string>& parts);
  ~MappedFile() override;

  size_t bytes() const { return bytes_; }
  std::byte* data() const { return mapped_ ? mapped_ : copy_.data(); }

  /// A view that keeps the mapping alive.
  Tensor tensor(size_t offset, const Shape& shape, DType dtype);

  void verify() const override;

 private:
  struct Part {
    std::string path;
    os::FileState state;  // when it was opened
  };

  MappedFile() = default;
  std::vector<Part> parts_;
  std::atomic<bool> lost_ = false;  // a page is gone
  std::byte* mapped_ = nullptr;
  Buffer copy_{0};  // where the parts could not be mapped
  size_t bytes_ = 0;
};

}  // namespace moe
