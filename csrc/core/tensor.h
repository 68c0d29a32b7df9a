#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <memory>

#include "core/buffer.h"
#include "core/dtype.h"

namespace moe {

/// Up to four dimensions, outermost first.
class Shape {
 public:
  static constexpr int kMaxRank = 4;
  static constexpr int64_t kMaxCount = int64_t{1} << 48;
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) {
    for (int64_t dim : dims) push(dim);
  }
  void push(int64_t dim) {
    if (rank_ == kMaxRank) fail(Code::shape, "tensor: shape must have at most 4 dimensions");
    dims_[rank_++] = dim;
    // Sizes in bytes then fit 64 bits, also where another dimension is 0.
    if (__builtin_mul_overflow(size_, std::max<int64_t>(dim, 1), &size_) || size_ > kMaxCount)
      fail(Code::shape, "tensor: shape must be of at most 2^48 elements, got ", text());
  }
  int rank() const { return rank_; }
  int64_t operator[](int i) const { return dims_[i]; }
  int64_t count() const {
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= dims_[i];
    return n;
  }
  bool operator==(const Shape& other) const {
    return rank_ == other.rank_ &&
           std::equal(dims_.begin(), dims_.begin() + rank_, other.dims_.begin());
  }
  std::string text() const;

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
  int64_t size_ = 1;  // of all dimensions that are not 0
};

/// What keeps the memory of slots alive, such as a mapped file.
class Owner {
 public:
  virtual ~Owner() = default;
  /// Throws when what was read from the memory cannot be trusted.
  virtual void verify() const = 0;
};

/// Where a tensor's bytes are. Activations move when a plan is laid out, so tensors refer to a
/// slot.
struct Slot {
  std::shared_ptr<Buffer> buffer;  // null: `external` holds the address
  size_t offset = 0;
  size_t bytes = 0;
  std::byte* external = nullptr;
  std::shared_ptr<Owner> owner;  // of `external`
  bool in_file = false;          // pages of `external` that are let go come back from a file
  // For arena slots: the first and last op that touches it, and whether it must outlive the run.
  int first_use = -1, last_use = -1;
  bool keep = false;

  std::byte* data() const { return external ? external : buffer->data() + offset; }
  /// After reading: throws when the bytes were not what they should be.
  void verify() const {
    if (owner) owner->verify();
  }
  /// Whose kernels reach it; null: the CPU's alone.
  Device* device() const { return buffer ? buffer->device().get() : nullptr; }
  /// In host memory, whether or not a device's kernels reach it.
  bool on_host() const { return !device() || buffer->pinned(); }
  /// Takes the memory that was left for later.
  void take_memory() const {
    if (buffer) buffer->reserve(std::max<size_t>(bytes, 1));
  }
};

/// A row-major view of a slot, whose rows may be further apart than their length. Cheap to copy;
/// ops hold tensors by value.
struct Tensor {
  std::shared_ptr<Slot> slot;
  size_t offset = 0;  // bytes from the slot's start
  DType dtype = DType::f32;
  Shape shape;
  int64_t row_stride = 0;  // elements between rows of the last dimension

  explicit operator bool() const { return slot != nullptr; }
  int64_t dim(int i) const { return shape[i]; }
  int64_t rows() const { return shape.rank() ? shape.count() / std::max<int64_t>(last(), 1) : 1; }
  int64_t last() const { return shape.rank() ? shape[shape.rank() - 1] : 1; }
  size_t bytes() const { return static_cast<size_t>(shape.count()) * dtype_bytes(dtype); }
  bool contiguous() const { return row_stride == last() || rows() <= 1; }

  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(slot->data() + offset);
  }
  template <class T>
  T* row(int64_t i) const {
    return as<T>() + i * row_stride;
  }
};

/// A tensor that owns its memory, on the host or on `device`, and takes it by Slot::take_memory.
Tensor make_empty_tensor(const Shape& shape, DType dtype, std::shared_ptr<Device> device = nullptr);
/// The same with its memory, zeroed.
Tensor make_tensor(const Shape& shape, DType dtype, std::shared_ptr<Device> device = nullptr);

}  // namespace moe
