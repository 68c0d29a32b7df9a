#include "ops/attention_router.h"

#include "cpu/context.h"

namespace moe {

void AttentionRouter::run_cpu(const CpuContext& cpu) const {
  const int64_t T = logits.dim(0), E = logits.dim(1);
  cpu.parallel(T, 4, [&](int64_t begin, int64_t end) {
    alignas(64) float scores[kMaxExperts];
    for (int64_t t = begin; t < end; ++t) {
      const float *q = qkv.row<float>(t), *k = q + E, *v = k + E;
      for (int64_t i = 0; i < E; ++i) {
        for (int64_t j = 0; j < E; ++j) scores[j] = q[i] * k[j];
        const float total = cpu.kernels.exp_sum(scores, E, cpu.kernels.max_value(scores, E));
        float mixed = 0.f;
        for (int64_t j = 0; j < E; ++j) mixed += scores[j] * v[j];
        logits.row<float>(t)[i] = mixed / total;
      }
    }
  });
}

}  // namespace moe
