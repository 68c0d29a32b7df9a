#include "ops/limit_capacity.h"

#include <cmath>
#include <numeric>

#include "cpu/context.h"
#include "cpu/place_rows.h"

namespace moe {
namespace {

/// Tokens of a segment in the order in which they are served.
std::vector<int64_t> queue(const LimitCapacity& op, int64_t begin, int64_t end) {
  std::vector<int64_t> tokens(static_cast<size_t>(end - begin));
  std::iota(tokens.begin(), tokens.end(), begin);
  if (op.order != CapacityOrder::priority) return tokens;
  const auto key = [&](int64_t t) {
    const float best = *op.weights.row<float>(t);
    return std::isnan(best) ? -INFINITY : best;
  };
  std::stable_sort(tokens.begin(), tokens.end(),
                   [&](int64_t a, int64_t b) { return key(a) > key(b); });
  return tokens;
}

/// Marks the slots of a segment with 0, those that are dropped with -1.
void serve(const LimitCapacity& op, int64_t begin, int64_t end) {
  const int64_t K = op.ids.dim(1);
  std::vector<int64_t> taken(static_cast<size_t>(op.experts));
  const auto ask = [&](int64_t t, int64_t k) {
    const bool wanted = k == 0 || op.weights.row<float>(t)[k] > op.threshold;
    const int32_t id = op.ids.row<int32_t>(t)[k];
    op.rows.row<int32_t>(t)[k] = wanted && taken[id]++ < op.capacity ? 0 : -1;
  };
  const auto tokens = queue(op, begin, end);
  if (op.order == CapacityOrder::token) {
    for (int64_t t : tokens)
      for (int64_t k = 0; k < K; ++k) ask(t, k);
  } else {
    for (int64_t k = 0; k < K; ++k)
      for (int64_t t : tokens) ask(t, k);
  }
}

}  // namespace

void LimitCapacity::run_cpu(const CpuContext& cpu) const {
  const auto* segment = segments.as<int32_t>();
  cpu.parallel(segment_count(segments), 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) serve(*this, segment[b], segment[b + 1]);
  });
  const auto* id = ids.as<int32_t>();
  auto* row = rows.as<int32_t>();
  place_rows(
      ids.shape.count(), experts, [&](int64_t s) { return row[s] < 0 ? -1 : id[s]; }, row,
      offsets.as<int32_t>());
}

}  // namespace moe
