#include "ops/top_k.h"

#include <cmath>

#include "cpu/context.h"
#include "cpu/place_rows.h"

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

/// exp(z - top), where infinities have a share of 0 or 1.
float share(float z, float top) {
  if (top == -INFINITY || top == INFINITY) return z == top ? 1.f : 0.f;
  return std::exp(z - top);
}

/// The choice of one token at a time.
class Chooser {
 public:
  explicit Chooser(const TopK& op) : op_(op), E_(op.logits.dim(1)), by_score_(op.by_score()) {}

  void choose(int64_t t) {
    const float* row = op_.logits.row<float>(t);
    const float factor = norm_factor(row, E_, op_.norm_std);
    const int32_t adjusted = op_.adjust_of ? op_.adjust_of.as<int32_t>()[t] : -1;
    const float* adjust = adjusted < 0 ? nullptr : op_.adjust.row<float>(adjusted);
    bool defined = true;
    top_ = -INFINITY;
    int64_t forced = 0;
    for (int64_t e = 0; e < E_; ++e) {
      forced_[e] = adjust && adjust[e] == INFINITY;
      forced += forced_[e];
      z_[e] = row[e] * factor;
      if (adjust && !forced_[e]) z_[e] += adjust[e];
      defined &= row[e] < INFINITY && z_[e] < INFINITY;  // and not NaN
      if (std::isnan(z_[e])) z_[e] = -INFINITY;
      top_ = std::max(top_, z_[e]);
      taken_[e] = false;
    }
    const bool softmax = op_.score == RouterScore::softmax;
    float whole = 1.f;  // what a score is a share of
    if (softmax && (by_score_ || op_.kind == TopKWeights::scores)) {
      whole = 0.f;
      for (int64_t e = 0; e < E_; ++e) whole += share(z_[e], top_);
    }
    for (int64_t e = 0; e < E_; ++e) {
      c_[e] = z_[e];
      if (!by_score_ || z_[e] == -INFINITY) continue;
      c_[e] = score(e) / whole;
      if (op_.choice_bias) c_[e] += op_.choice_bias.as<float>()[e];
      if (!(c_[e] < INFINITY)) defined = false, c_[e] = -INFINITY;
    }
    keep_groups();

    const int64_t K = op_.top_k;
    int32_t* chosen = op_.ids.row<int32_t>(t);
    float* weight = op_.weights.row<float>(t);
    int64_t ready = 0;
    if (forced > 0) ready = pick(chosen, 0, [&](int64_t e) { return forced_[e]; });
    pick(chosen, ready, [&](int64_t e) { return !taken_[e] && !forced_[e]; });
    float total = 0.f;
    int64_t heir = -1;
    for (int64_t k = 0; k < K; ++k) {
      const int64_t best = chosen[k];
      const bool gives = !op_.gives_share.empty() && op_.gives_share[best];
      if (heir < 0 && !gives) heir = k;
      weight[k] = gives ? 0.f : score(best);
      total += weight[k];
      taken_[best] = true;
    }
    if (op_.kind == TopKWeights::scores) {
      total = whole;
    } else if (!softmax) {
      total += 1e-20f;  // as DeepSeek-V3 does
    } else if (total == 0.f && !op_.gives_share.empty() && heir >= 0) {
      // The best gave its share away and the others' underflowed: they still share the 1.
      weight[heir] = total = 1.f;
    }
    if (!defined) total = NAN;
    if (total == 0.f) return;
    for (int64_t k = 0; k < K; ++k) weight[k] = weight[k] / total * op_.factor;
  }

 private:
  /// Of an expert that is not taken; for softmax before it is divided by the sum.
  float score(int64_t e) const {
    const float z = z_[e];
    switch (op_.score) {
      case RouterScore::softmax:
        return share(z, top_);
      case RouterScore::sigmoid:
        return 1.f / (1.f + std::exp(-z));
      case RouterScore::identity:
        return z == -INFINITY ? 0.f : z;
      case RouterScore::one:
        return z == -INFINITY ? 0.f : 1.f;
      case RouterScore::sparsemixer:
        break;
    }
    float total = 0.f;
    for (int64_t i = 0; i < E_; ++i)
      if (!taken_[i] && !((z - z_[i]) / std::max(std::fabs(z_[i]), z) > 2.f * op_.jitter))
        total += share(z_[i], z);
    return 1.f / total;
  }

  /// The best experts that are free, best first, behind the `first` that are chosen; how many there
  /// are then.
  template <class Free>
  int64_t pick(int32_t* chosen, int64_t first, const Free& is_free) const {
    const int64_t K = op_.top_k;
    int64_t size = first;
    for (int64_t e = 0; e < E_ && first < K; ++e) {
      if (!is_free(e) || (size == K && !(c_[e] > c_[chosen[K - 1]]))) continue;
      int64_t k = size < K ? size++ : K - 1;
      for (; k > first && c_[e] > c_[chosen[k - 1]]; --k) chosen[k] = chosen[k - 1];
      chosen[k] = static_cast<int32_t>(e);
    }
    return size;
  }

  /// Takes the experts of groups that are not kept.
  void keep_groups() {
    const int64_t n = E_ / op_.groups;
    if (op_.kept_groups == op_.groups) return;
    float worth[TopK::kMaxGroups];
    bool kept[TopK::kMaxGroups] = {};
    for (int64_t g = 0; g < op_.groups; ++g) {
      float first = -INFINITY, second = -INFINITY;
      for (int64_t e = g * n; e < (g + 1) * n; ++e) {
        second = std::max(second, std::min(first, c_[e]));
        first = std::max(first, c_[e]);
      }
      worth[g] = op_.group_score == GroupScore::max ? first : first + second;
    }
    for (int64_t k = 0; k < op_.kept_groups; ++k) {
      int64_t best = -1;
      for (int64_t g = 0; g < op_.groups; ++g)
        if (!kept[g] && (best < 0 || worth[g] > worth[best])) best = g;
      kept[best] = true;
    }
    for (int64_t e = 0; e < E_; ++e) taken_[e] = !kept[e / n];
  }

  const TopK& op_;
  const int64_t E_;
  const bool by_score_;
  float z_[TopK::kMaxExperts];      // logits, normed
  float c_[TopK::kMaxExperts];      // what experts are compared by
  bool taken_[TopK::kMaxExperts];   // chosen, or of no kept group
  bool forced_[TopK::kMaxExperts];  // to be chosen before others
  float top_ = 0;
};

void count_choices(const TopK& op) {
  auto* counts = op.counts.as<uint64_t>();
  const auto* id = op.ids.as<int32_t>();
  for (int64_t s = 0; s < op.ids.shape.count(); ++s) ++counts[id[s]];
}

}  // namespace

void TopK::run_cpu(const CpuContext& cpu) const {
  cpu.parallel(logits.dim(0), 16, [&](int64_t begin, int64_t end) {
    Chooser chooser(*this);
    for (int64_t t = begin; t < end; ++t) chooser.choose(t);
  });
  const auto* id = ids.as<int32_t>();
  place_rows(
      ids.shape.count(), offsets.dim(0) - 1, [&](int64_t s) { return ffn_of[id[s]]; },
      rows.as<int32_t>(), offsets.as<int32_t>());
  if (counts) count_choices(*this);
}

}  // namespace moe
