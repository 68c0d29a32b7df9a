#include "ops/lora.h"

#include "cpu/pieces.h"

namespace moe {
namespace {

/// Rows of x that share a pass over rows of A or B, and how many of A: pieces of both stay in the
/// first-level cache.
constexpr int64_t kTokens = 16, kRanks = 8;
/// Outputs of a pass.
constexpr int64_t kColumns = 512;

/// Some tokens that have the same pair in a slot: each gets its factors times B added.
struct Run {
  const Tensor* pair = nullptr;
  int64_t count = 0;
  const float* products[kTokens];
  float factors[kTokens];
  float* out[kTokens];

  /// `n` outputs, whose rows of B begin at `column` of the pair's.
  void add(const Kernels& kernels, int64_t column, int64_t n) const {
    constexpr int64_t kRows = 32;  // of one call
    float scaled[kTokens * kRows], ones[kTokens];
    std::fill_n(ones, kTokens, 1.f);
    for (int64_t first = 0; count && first < pair->dim(0); first += kRows) {
      const int64_t rows = std::min(kRows, pair->dim(0) - first);
      for (int64_t i = 0; i < count; ++i)
        for (int64_t j = 0; j < rows; ++j)
          scaled[i * kRows + j] = factors[i] * products[i][first + j];
      kernels.add_values(scaled, static_cast<int>(count), rows, pair->row<float>(first) + column,
                         false, n, pair->row_stride, ones, out);
    }
  }
};

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

  const int64_t tile = T < kTokens ? 1 : kTokens;  // few tokens: so that all threads have some
  const int64_t tiles = (T + tile - 1) / tile, blocks = (R + kRanks - 1) / kRanks;
  cpu.parallel(tiles * S * P * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t p = i / blocks % P, s = i / blocks / P % S, low = i / blocks / P / S * tile;
      const int64_t high = std::min(T, low + tile), first = i % blocks * kRanks;
      float sums[kTokens][kRanks] = {};
      for (int64_t k = 0; k < K; k += kPiece)
        for (int64_t t = low; t < high; ++t) {
          const Tensor* pair = pair_of(t, s, p);
          const int64_t count = pair ? std::min(kRanks, pair->dim(0) - first) : 0;
          if (count <= 0) continue;
          const auto add = [&](int64_t h, const float* values, int64_t n) {
            for (int64_t j = 0; j < count; ++j)
              sums[t - low][j] += kernels.dot(values, pair->row<float>(first + j) + h, n);
          };
          for_pieces(kernels, x, t, k, std::min(kPiece, K - k), add);
        }
      for (int64_t t = low; t < high; ++t)
        std::copy_n(sums[t - low], std::min(kRanks, R - first), products(t, s, p) + first);
    }
  });

  const int64_t N = outputs(), pieces = (N + kColumns - 1) / kColumns;
  const auto factor_of = [&](int64_t t, int64_t s) {
    if (!weights) return scale;
    const float* row = weights.row<float>(t);
    float total = epsilon;
    for (int64_t i = 0; i < S; ++i) total += row[i];
    return scale * row[s] / (epsilon > 0.f ? total : 1.f);
  };
  cpu.parallel(tiles * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % tiles * tile, last = std::min(T, first + tile);
      const int64_t low = i / tiles * kColumns, high = std::min(N, low + kColumns);
      for (int64_t t = first; t < last; ++t) {
        float* to = out.row<float>(t);
        if (residual)
          std::copy(residual.row<float>(t) + low, residual.row<float>(t) + high, to + low);
        else
          std::fill(to + low, to + high, -0.f);
      }
      for (int64_t p = 0; p < P; ++p) {
        const int64_t from = std::max(low, column(p)), until = std::min(high, column(p) + size(p));
        if (from >= until) continue;
        for (int64_t s = 0; s < S; ++s) {
          Run run;
          for (int64_t t = first; t <= last; ++t) {
            const Tensor* pair = t < last ? pair_of(t, s, p) : nullptr;
            if (pair != run.pair) {
              run.add(kernels, K + from - column(p), until - from);
              run.pair = pair, run.count = 0;
            }
            if (!pair) continue;
            run.products[run.count] = products(t, s, p);
            run.factors[run.count] = factor_of(t, s);
            run.out[run.count++] = out.row<float>(t) + from;
          }
        }
      }
    }
  });
}

}  // namespace moe
