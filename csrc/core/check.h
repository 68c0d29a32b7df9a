#pragma once

#include "core/tensor.h"

namespace moe {

/// The checks an op's `check()` is made of. `where` is the op, `name` the argument.
class Check {
 public:
  explicit Check(const char* where) : where_(where) {}
  const char* where() const { return where_; }

  void shape(const char* name, const Tensor& tensor, const Shape& expected) const {
    present(name, tensor);
    if (!(tensor.shape == expected))
      fail(Code::shape, where_, ": ", name, " must be ", expected.text(), ", got ",
           tensor.shape.text());
  }

  void rank(const char* name, const Tensor& tensor, int rank) const {
    present(name, tensor);
    if (tensor.shape.rank() != rank)
      fail(Code::shape, where_, ": ", name, " must have ", rank, " dimensions, got ",
           tensor.shape.text());
  }

  void dtype(const char* name, const Tensor& tensor, std::initializer_list<DType> allowed) const {
    present(name, tensor);
    if (std::find(allowed.begin(), allowed.end(), tensor.dtype) != allowed.end()) return;
    std::string expected;
    for (DType d : allowed)
      expected += (expected.empty() ? "" : " or ") + std::string(dtype_name(d));
    fail(Code::dtype, where_, ": ", name, " must be ", expected, ", got ",
         dtype_name(tensor.dtype));
  }

  void indices(const char* name, const Tensor& tensor, const Shape& expected) const {
    shape(name, tensor, expected);
    dtype(name, tensor, {DType::i32});
  }

  void activation(const char* name, const Tensor& tensor) const {
    dtype(name, tensor, {DType::f32, DType::bf16});
  }

  /// An option that says what an op is to write.
  void activation(const char* name, DType dtype) const {
    if (dtype != DType::f32 && dtype != DType::bf16)
      fail(Code::dtype, where_, ": ", name, " must be f32 or bf16, got ", dtype_name(dtype));
  }

  void contiguous(const char* name, const Tensor& tensor) const {
    present(name, tensor);
    if (!tensor.contiguous())
      fail(Code::shape, where_, ": ", name, " must be contiguous, got a column slice");
  }

  void present(const char* name, const Tensor& tensor) const {
    if (!tensor) fail(Code::option, where_, ": ", name, " must be a tensor, got nothing");
  }

  template <class Value>
  void that(bool ok, const char* name, const char* expected, const Value& got) const {
    if (!ok) fail(Code::option, where_, ": ", name, " must be ", expected, ", got ", got);
  }

 private:
  const char* where_;
};

}  // namespace moe
