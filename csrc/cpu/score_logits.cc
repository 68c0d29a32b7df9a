#include "cpu/score_logits.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/check.h"

namespace moe {
namespace {

/// log sum exp z
double log_sum(const float* z, int64_t n) {
  const double top = *std::max_element(z, z + n);
  double sum = 0;
  for (int64_t v = 0; v < n; ++v) sum += std::exp(z[v] - top);
  return top + std::log(sum);
}

LogitScores score_row(const float* p, const float* q, int64_t n, int32_t target) {
  LogitScores row;
  const double log_p = log_sum(p, n);
  row.loss = log_p - p[target];
  if (!q) return row;
  const double log_q = log_sum(q, n);
  row.other_loss = log_q - q[target];
  for (int64_t v = 0; v < n; ++v)
    row.divergence += std::exp(q[v] - log_q) * ((q[v] - log_q) - (p[v] - log_p));
  row.agreed = std::max_element(p, p + n) - p == std::max_element(q, q + n) - q;
  return row;
}

}  // namespace

LogitScores score_logits(const CpuContext& cpu, const Tensor& logits, const Tensor& targets,
                         const Tensor& other) {
  const Check check("scoreLogits");
  check.dtype("logits", logits, {DType::f32});
  if (logits.shape.rank() != 2 || logits.last() == 0)
    fail(Code::shape, "scoreLogits: logits must be [T, V], got ", logits.shape.text());
  const int64_t T = logits.shape[0], V = logits.last();
  check.shape("targets", targets, {T});
  check.dtype("targets", targets, {DType::i32});
  if (other) {
    check.shape("other", other, logits.shape);
    check.dtype("other", other, {DType::f32});
  }
  for (const Tensor* one : {&logits, &targets, &other})
    if (*one && one->slot->device())
      fail(Code::device, "scoreLogits: tensors must be in host memory, got one on a GPU");
  const auto* ids = targets.as<int32_t>();
  for (int64_t t = 0; t < T; ++t)
    check.that(ids[t] >= 0 && ids[t] < V, "targets", "ids of the vocabulary", ids[t]);
  std::vector<LogitScores> rows(static_cast<size_t>(T));
  cpu.parallel(T, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      rows[static_cast<size_t>(t)] = score_row(
          logits.as<float>() + t * V, other ? other.as<float>() + t * V : nullptr, V, ids[t]);
  });
  LogitScores sum;
  for (const LogitScores& row : rows) {
    sum.loss += row.loss;
    sum.other_loss += row.other_loss;
    sum.divergence += row.divergence;
    sum.agreed += row.agreed;
  }
  return sum;
}

}  // namespace moe
