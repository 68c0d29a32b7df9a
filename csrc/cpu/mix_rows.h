#pragma once
// Sums of rows with weights, many of them from the same rows: what Soft MoE's ops are made of.

#include <algorithm>
#include <vector>

#include "cpu/pieces.h"

namespace moe {

constexpr int64_t kMixed = 32;      // rows that are added at a time
constexpr int64_t kMixedSums = 64;  // sums of one item of work

/// Columns `first` to `first + n` of rows, widened, one behind the other.
class MixedRows {
 public:
  /// Row j of them is `row_of(j)` of x.
  template <class RowOf>
  void read(const Kernels& kernels, const Tensor& x, int64_t first, int64_t n, int64_t count,
            const RowOf& row_of) {
    n_ = n, count_ = count;
    rows_.resize(static_cast<size_t>(kMixed * n));
    for (int64_t j = 0; j < count; ++j)
      for_pieces(kernels, x, row_of(j), first, n, [&](int64_t h, const float* from, int64_t part) {
        std::copy_n(from, part, rows_.data() + j * n + (h - first));
      });
  }

  /// sums(i) += sum over the rows, ascending, of weight(i, j) * row j, for i < m <= kMixedSums.
  template <class SumOf, class WeightOf>
  void add(const Kernels& kernels, int64_t m, const SumOf& sum_of, const WeightOf& weight) const {
    alignas(64) float p[kMixedSums * kMixed], ones[kMixedSums];
    float* sums[kMixedSums];
    for (int64_t i = 0; i < m; ++i) {
      sums[i] = sum_of(i), ones[i] = 1.f;
      for (int64_t j = 0; j < count_; ++j) p[i * kMixed + j] = weight(i, j);
    }
    kernels.add_values(p, static_cast<int>(m), count_, rows_.data(), false, n_, n_, ones, sums);
  }

 private:
  int64_t n_ = 0, count_ = 0;
  std::vector<float> rows_;
};

}  // namespace moe
