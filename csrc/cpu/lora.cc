#include "ops/lora.h"

#include "cpu/pieces.h"

namespace moe {
namespace {

/// Rows of A that share a pass over a row of x.
constexpr int64_t kRanks = 8;
/// Outputs whose sums stay in the first-level cache.
constexpr int64_t kColumns = 1024;

}  // namespace

void Lora::run_cpu(const CpuContext& cpu) const {
  const Kernels& kernels = cpu.kernels;
  const int64_t T = x.dim(0), K = x.dim(1), S = ids.dim(1), P = parts(), R = most_rank();
  const auto pair_of = [&](int64_t t, int64_t s, int64_t p) -> const Tensor* {
    const int32_t id = ids.row<int32_t>(t)[s];
    return id < 0 ? nullptr : &pairs[static_cast<size_t>(id * P + p)];
  };
  const auto products = [&](int64_t t, int64_t s, int64_t p) {
    return scratch.as<float>() + ((t * S + s) * P + p) * R;
  };

  const int64_t blocks = (R + kRanks - 1) / kRanks;
  cpu.parallel(T * S * P * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t p = i / blocks % P, s = i / blocks / P % S, t = i / blocks / P / S;
      const Tensor* pair = pair_of(t, s, p);
      const int64_t first = i % blocks * kRanks;
      const int64_t count = pair ? std::min(kRanks, pair->dim(0) - first) : 0;
      if (count <= 0) continue;
      float sums[kRanks] = {};
      for_pieces(kernels, x, t, 0, K, [&](int64_t k, const float* values, int64_t n) {
        for (int64_t j = 0; j < count; ++j)
          sums[j] += kernels.dot(values, pair->row<float>(first + j) + k, n);
      });
      std::copy_n(sums, count, products(t, s, p) + first);
    }
  });

  const int64_t N = outputs(), pieces = (N + kColumns - 1) / kColumns;
  cpu.parallel(T * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t t = i / pieces, low = i % pieces * kColumns, high = std::min(N, low + kColumns);
      float* to = out.row<float>(t);
      if (residual)
        std::copy(residual.row<float>(t) + low, residual.row<float>(t) + high, to + low);
      else
        std::fill(to + low, to + high, -0.f);
      float total = epsilon;
      for (int64_t s = 0; weights && s < S; ++s) total += weights.row<float>(t)[s];
      for (int64_t p = 0; p < P; ++p) {
        const int64_t from = std::max(low, column(p)), until = std::min(high, column(p) + size(p));
        if (from >= until) continue;
        for (int64_t s = 0; s < S; ++s) {
          const Tensor* pair = pair_of(t, s, p);
          if (!pair) continue;
          float factor = scale;
          if (weights) factor *= weights.row<float>(t)[s] / (epsilon > 0.f ? total : 1.f);
          const float* products_of = products(t, s, p);
          for (int64_t j = 0; j < pair->dim(0); ++j)
            kernels.add_scaled(pair->row<float>(j) + K + from - column(p), factor * products_of[j],
                               until - from, to + from);
        }
      }
    }
  });
}

}  // namespace moe
