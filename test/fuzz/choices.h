#pragma once
// What a fuzz target makes of the fuzzer's bytes: sizes, numbers, tensors in memory of their exact
// size.

#include <fuzzer/FuzzedDataProvider.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "core/op.h"
#include "core/splitmix64.h"
#include "weights/weight.h"

namespace moe::fuzz {

/// The same inputs for everyone: the bytes decide all of it. When they have run out, zeros come.
class Choices {
 public:
  Choices(const uint8_t* data, size_t size) : bytes_(data, size) {}

  int64_t between(int64_t least, int64_t most) {
    return bytes_.ConsumeIntegralInRange<int64_t>(least, most);
  }
  /// Once in `n` times.
  bool rarely(int n) { return between(0, n - 1) == n - 1; }
  template <class Enum>
  Enum one_of() {
    return static_cast<Enum>(between(0, std::size(EnumNames<Enum>::names) - 1));
  }
  DType activation() { return rarely(2) ? DType::bf16 : DType::f32; }

  /// Mostly a number of use; else one from the ends of the range, or none.
  float real() {
    using Limits = std::numeric_limits<float>;
    constexpr float kEnds[] = {
        0.f, -0.f, 1.f, -1.f, Limits::min(), Limits::denorm_min(), Limits::max(), -Limits::max()};
    if (rarely(4)) return kEnds[between(0, std::size(kEnds) - 1)];
    return static_cast<float>(between(-512, 512)) / 256.f;
  }

  /// A tensor of this shape and dtype; rarely of another, a column slice, or none.
  Tensor tensor(Shape shape, DType dtype) {
    if (rarely(64)) shape = other(shape);
    if (rarely(64)) dtype = one_of<DType>();
    if (rarely(128)) return {};
    return exact(shape, dtype, shape.rank() == 2 && rarely(8) ? between(0, 9) : 0);
  }

  /// In memory of its exact size, with `gap` elements between rows.
  Tensor exact(const Shape& shape, DType dtype, int64_t gap = 0) {
    Tensor tensor;
    tensor.slot = std::make_shared<Slot>();
    tensor.dtype = dtype;
    tensor.shape = shape;
    tensor.row_stride = tensor.last() + gap;
    const int64_t rows = tensor.rows();
    const int64_t elements = shape.count() ? (rows - 1) * tensor.row_stride + tensor.last() : 0;
    tensor.slot->bytes = static_cast<size_t>(elements) * dtype_bytes(dtype);
    fill(*tensor.slot);
    return tensor;
  }

  Weight weight(int64_t n, int64_t k, WeightFormat format, bool gate_up) {
    if (rarely(64)) n = between(0, 130) * (gate_up ? 2 : 1);
    if (rarely(64)) k = between(0, 70);
    if (rarely(128)) format = one_of_formats();
    if (rarely(128)) return {};
    Weight weight = make_weight(n, k, format, gate_up, nullptr);
    weight.slot->buffer = nullptr;
    fill(*weight.slot);
    return weight;
  }
  WeightFormat one_of_formats() { return rarely(2) ? WeightFormat::bf16 : WeightFormat::f32; }

  /// Memory of exactly the slot's bytes: what is read or written beside it is found.
  void fill(Slot& slot) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 64, std::max<size_t>(slot.bytes, 1))) std::abort();
    slot.owner = std::make_shared<Memory>(memory);
    slot.external = static_cast<std::byte*>(memory);
    write(slot.external, slot.bytes);
  }

 private:
  struct Memory : Owner {
    explicit Memory(void* bytes) : bytes(bytes, std::free) {}
    void verify() const override {}
    std::unique_ptr<void, decltype(&std::free)> bytes;
  };

  Shape other(const Shape& shape) {
    Shape changed;
    const int64_t rank = rarely(4) ? between(0, Shape::kMaxRank) : shape.rank();
    const int64_t at = between(0, Shape::kMaxRank - 1);
    for (int64_t i = 0; i < rank; ++i) {
      const int64_t old = i < shape.rank() ? shape[static_cast<int>(i)] : 1;
      changed.push(i == at ? between(0, 40) : old);
    }
    return changed.count() > (1 << 16) ? shape : changed;
  }

  /// Bytes that are f32 of a kind, for whatever dtype.
  void write(std::byte* to, size_t bytes) {
    const auto kind = between(0, 7);
    const auto seed = static_cast<uint64_t>(between(0, 255));
    for (size_t i = 0; i < bytes; i += 4) {
      const uint64_t random = splitmix64(seed, i);
      float value = static_cast<float>(random >> 40) * 0x1p-23f - 1.f;
      if (kind == 0) value = 0.f;
      if (kind == 1) value = bits_to_float(static_cast<uint32_t>(random));
      if (kind == 2 && random % 16 == 0) value = std::nanf("");
      if (kind == 3 && random % 16 == 0) value = random & 16 ? INFINITY : -INFINITY;
      if (kind == 4) value = static_cast<float>(random % 3);
      std::memcpy(to + i, &value, std::min<size_t>(4, bytes - i));
    }
  }

  FuzzedDataProvider bytes_;
};

}  // namespace moe::fuzz
