// Attention on the CPU: one item is one query head of one token. Heads run slowest, so that
// neighbouring tokens of a prefill find the head's keys and values in the cache.

#include "ops/attention.h"

#include <cmath>

namespace moe {
namespace {

/// Where one query's keys are.
struct Span {
  const int32_t* blocks;  // the sequence's row of the block table
  int64_t first, last;    // positions, both included
};

template <class T>
void attend(const Kernels& kernels, const Attention& op, const float* q, int64_t group, Span span,
            float* acc) {
  constexpr int kHalf = sizeof(T) == 2;
  const int64_t G = op.keys.dim(1), D = op.keys.dim(2);
  float best = -INFINITY, total = 0.f;
  std::fill_n(acc, D, 0.f);
  for (int64_t block = span.first / kBlockTokens; block <= span.last / kBlockTokens; ++block) {
    const int64_t base = (span.blocks[block] * G + group) * D * kBlockTokens;
    const int64_t n = std::min(kBlockTokens, span.last - block * kBlockTokens + 1);
    const int64_t skip = std::max<int64_t>(0, span.first - block * kBlockTokens);
    alignas(64) float p[kBlockTokens];
    kernels.key_scores(q, op.keys.as<T>() + base, kHalf, D, p);
    for (int64_t j = 0; j < kBlockTokens; ++j)
      p[j] = j < skip || j >= n ? -INFINITY : p[j] * op.scale;
    const float top = std::max(best, kernels.max_value(p, kBlockTokens));
    const float keep = best == -INFINITY ? 0.f : std::exp(best - top);
    total = total * keep + kernels.exp_sum(p, kBlockTokens, top);
    kernels.add_values(p, n, op.values.as<T>() + base, kHalf, D, keep, acc);
    best = top;
  }
  const float inverse = 1.f / total;
  for (int64_t i = 0; i < D; ++i) acc[i] *= inverse;
}

}  // namespace

void Attention::run_cpu(const CpuContext& cpu) const {
  const int64_t G = keys.dim(1), D = keys.dim(2), T = q.dim(0), N = q.dim(1) / D;
  dispatch_activation(keys.dtype, "attention", [&](auto tag) {
    using Value = decltype(tag);
    cpu.parallel(T * N, T < 16 ? 1 : 8, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t n = item / T, t = item % T;
        const Span span{block_table.row<int32_t>(sequences.as<int32_t>()[t]),
                        starts.as<int32_t>()[t], positions.as<int32_t>()[t]};
        alignas(64) float query[kMaxHeadSize], acc[kMaxHeadSize];
        for (int64_t i = 0; i < D; ++i) query[i] = to_float(q.row<Value>(t)[n * D + i]);
        attend<Value>(cpu.kernels, *this, query, n / (N / G), span, acc);
        for (int64_t i = 0; i < D; ++i) out.row<Value>(t)[n * D + i] = from_float<Value>(acc[i]);
      }
    });
  });
}

}  // namespace moe
