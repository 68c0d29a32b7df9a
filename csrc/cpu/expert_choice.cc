#include "ops/expert_choice.h"

#include <cmath>
#include <numeric>

#include "cpu/context.h"
#include "cpu/place_rows.h"

namespace moe {
namespace {

void softmax(const CpuContext& cpu, const float* logits, int64_t E, float* p) {
  const float top = cpu.kernels.max_value(logits, E);
  std::copy_n(logits, E, p);
  const float total = cpu.kernels.exp_sum(p, E, top);
  bool defined = top < INFINITY;
  for (int64_t e = 0; e < E; ++e) defined &= !std::isnan(logits[e]);
  for (int64_t e = 0; e < E; ++e) p[e] = defined ? p[e] / total : NAN;
}

/// Marks with 0 the tokens of a segment that expert `e` takes, the others with -1.
void take(const ExpertChoice& op, int64_t e, int64_t begin, int64_t end) {
  const auto key = [&](int64_t t) {
    const float p = op.weights.row<float>(t)[e];
    return std::isnan(p) ? -1.f : p;
  };
  std::vector<int64_t> tokens(static_cast<size_t>(end - begin));
  std::iota(tokens.begin(), tokens.end(), begin);
  const int64_t taken = std::min(op.capacity, end - begin);
  std::partial_sort(
      tokens.begin(), tokens.begin() + taken, tokens.end(),
      [&](int64_t a, int64_t b) { return key(a) > key(b) || (key(a) == key(b) && a < b); });
  for (int64_t t = begin; t < end; ++t) op.rows.row<int32_t>(t)[e] = -1;
  for (int64_t i = 0; i < taken; ++i) op.rows.row<int32_t>(tokens[i])[e] = 0;
}

}  // namespace

void ExpertChoice::run_cpu(const CpuContext& cpu) const {
  const int64_t T = logits.dim(0), E = logits.dim(1), B = segment_count(segments);
  const auto* segment = segments.as<int32_t>();
  cpu.parallel(T, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      softmax(cpu, logits.row<float>(t), E, weights.row<float>(t));
      std::iota(ids.row<int32_t>(t), ids.row<int32_t>(t) + E, 0);
    }
  });
  cpu.parallel(B * E, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) take(*this, i % E, segment[i / E], segment[i / E + 1]);
  });
  auto* row = rows.as<int32_t>();
  place_rows(
      T * E, E, [&](int64_t s) { return row[s] < 0 ? -1 : static_cast<int32_t>(s % E); }, row,
      offsets.as<int32_t>());
}

}  // namespace moe
