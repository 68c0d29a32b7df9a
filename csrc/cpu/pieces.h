#pragma once

#include "core/tensor.h"
#include "cpu/context.h"

namespace moe {

/// Values that are widened at a time.
constexpr int64_t kPiece = 256;

/// Calls `body(h, values, n)` for values h to h + n of row `row`, in pieces from `first` to
/// `first + count`, as f32.
template <class Body>
void for_pieces(const Kernels& kernels, const Tensor& x, int64_t row, int64_t first, int64_t count,
                const Body& body) {
  float piece[kPiece];
  for (int64_t h = first; h < first + count; h += kPiece) {
    const int64_t n = std::min(kPiece, first + count - h);
    if (x.dtype == DType::f32) {
      body(h, x.row<float>(row) + h, n);
    } else {
      kernels.widen(&x.row<bf16>(row)[h].bits, n, piece);
      body(h, piece, n);
    }
  }
}

/// Calls `body(values)`, which computes values h to h + n of row `row` as f32, and stores them.
template <class Body>
void store_piece(const Kernels& kernels, const Tensor& out, int64_t row, int64_t h, int64_t n,
                 const Body& body) {
  if (out.dtype == DType::f32) return body(out.row<float>(row) + h);
  float piece[kPiece];
  body(piece);
  kernels.narrow(piece, n, &out.row<bf16>(row)[h].bits);
}

}  // namespace moe
