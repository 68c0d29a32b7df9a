#pragma once

#include <string>
#include <vector>

#include "core/tensor.h"

namespace moe {

/// A matrix [N, K] that a file has by other means than its values. Rows are read where they lie;
/// the matrix is never unpacked as a whole.
struct EncodedMatrix {
  int64_t N = 0, K = 0;
  std::string name;  // for errors

  virtual ~EncodedMatrix() = default;
  /// Once before reading: throws Error{shape, dtype, checkpoint}.
  virtual void prepare() = 0;
  /// The tensors of the file that it reads.
  virtual std::vector<Tensor> parts() const = 0;
  /// Weights begin .. begin + count of row n.
  virtual void read(int64_t n, int64_t begin, int64_t count, float* to) const = 0;
};

}  // namespace moe
