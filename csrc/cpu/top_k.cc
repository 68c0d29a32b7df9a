#include "ops/top_k.h"

#include <cmath>

#include "cpu/context.h"

namespace moe {
namespace {

/// Factor of the logits norm: norm_std / (unbiased standard deviation).
float norm_factor(const float* logits, int64_t E, float norm_std) {
  if (norm_std == 0.f) return 1.f;
  double mean = 0, squares = 0;
  for (int64_t e = 0; e < E; ++e) mean += logits[e];
  mean /= static_cast<double>(E);
  for (int64_t e = 0; e < E; ++e) squares += (logits[e] - mean) * (logits[e] - mean);
  const double deviation = std::sqrt(squares / static_cast<double>(E - 1));
  const double factor = norm_std / deviation;
  return std::isfinite(factor) ? static_cast<float>(factor) : 1.f;
}

/// Counting sort of the slots by group; `offset[g + 1]` counts, then becomes the end of group g.
void place_rows(const TopK& op) {
  const int64_t slots = op.ids.shape.count(), G = op.offsets.dim(0) - 1;
  const auto* id = op.ids.as<int32_t>();
  auto* row = op.rows.as<int32_t>();
  auto* offset = op.offsets.as<int32_t>();
  std::fill_n(offset, G + 1, 0);
  for (int64_t s = 0; s < slots; ++s)
    if (op.groups[id[s]] >= 0) ++offset[op.groups[id[s]] + 1];
  for (int64_t g = 0; g < G; ++g) offset[g + 1] += offset[g];
  for (int64_t s = 0; s < slots; ++s)
    row[s] = op.groups[id[s]] < 0 ? -1 : offset[op.groups[id[s]]]++;
  for (int64_t g = G; g > 0; --g) offset[g] = offset[g - 1];
  offset[0] = 0;
}

}  // namespace

void TopK::run_cpu(const CpuContext& cpu) const {
  const int64_t T = logits.dim(0), E = logits.dim(1), K = ids.dim(1);
  cpu.parallel(T, 16, [&](int64_t begin, int64_t end) {
    float z[kMaxExperts];
    bool taken[kMaxExperts];
    for (int64_t t = begin; t < end; ++t) {
      const float* row = logits.row<float>(t);
      const float factor = norm_factor(row, E, norm_std);
      bool defined = true;
      for (int64_t e = 0; e < E; ++e) {
        defined &= row[e] < INFINITY;  // and not NaN
        z[e] = std::isnan(row[e]) ? -INFINITY : row[e] * factor;
        taken[e] = false;
      }
      int32_t* chosen = ids.row<int32_t>(t);
      float* weight = weights.row<float>(t);
      for (int64_t k = 0; k < K; ++k) {
        int64_t best = -1;
        for (int64_t e = 0; e < E; ++e)
          if (!taken[e] && (best < 0 || z[e] > z[best])) best = e;
        taken[best] = true;
        chosen[k] = static_cast<int32_t>(best);
      }

      const float top = z[chosen[0]];
      const auto exp_of = [&](int64_t e) {
        if (top == -INFINITY || top == INFINITY) return z[e] == top ? 1.f : 0.f;
        return std::exp(z[e] - top);
      };
      float total = 0.f;
      for (int64_t k = 0; k < K; ++k) {
        const bool gives = !gives_share.empty() && gives_share[chosen[k]];
        weight[k] = gives ? 0.f : exp_of(chosen[k]);
        total += weight[k];
      }
      if (kind == TopKWeights::softmax) {
        total = 0.f;
        for (int64_t e = 0; e < E; ++e) total += exp_of(e);
      } else if (total == 0.f && !gives_share.empty()) {
        // The best gave its share away and the others' underflowed: they still share the 1.
        int64_t heir = 0;
        while (heir < K && gives_share[chosen[heir]]) ++heir;
        if (heir < K) weight[heir] = total = 1.f;
      }
      if (!defined) std::fill_n(weight, K, NAN);
      for (int64_t k = 0; k < K && total > 0.f; ++k) weight[k] /= total;
    }
  });
  place_rows(*this);
}

}  // namespace moe
