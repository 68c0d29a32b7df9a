#include "ops/soft_weights.h"

#include "cpu/context.h"

namespace moe {
namespace {

void softmax(const Kernels& kernels, float* x, int64_t n) {
  const float total = kernels.exp_sum(x, n, kernels.max_value(x, n));
  for (int64_t i = 0; i < n; ++i) x[i] /= total;
}

}  // namespace

void SoftWeights::run_cpu(const CpuContext& cpu) const {
  const int64_t T = logits.dim(0), S = logits.dim(1), B = segment_count(segments);
  const auto* segment = segments.as<int32_t>();
  cpu.parallel(T, 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      std::copy_n(logits.row<float>(t), S, combine.row<float>(t));
      softmax(cpu.kernels, combine.row<float>(t), S);
    }
  });
  cpu.parallel(B * S, 4, [&](int64_t begin, int64_t end) {
    std::vector<float> column;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t s = i % S, first = segment[i / S], n = segment[i / S + 1] - first;
      column.resize(static_cast<size_t>(n));
      for (int64_t t = 0; t < n; ++t) column[t] = logits.row<float>(first + t)[s];
      if (n > 0) softmax(cpu.kernels, column.data(), n);
      for (int64_t t = 0; t < n; ++t) dispatch.row<float>(first + t)[s] = column[t];
    }
  });
}

}  // namespace moe
