#include "ops/sample.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/splitmix64.h"
#include "cpu/context.h"

namespace moe {
namespace {

/// In [0, 1). Of seed and step only, so a draw does not depend on the batch either.
double uniform(uint64_t seed, uint64_t step) {
  return static_cast<double>(splitmix64(seed, step) >> 11) * 0x1p-53;
}

/// One row's view of the op.
struct Row {
  const float* options;
  const int32_t* counts;
  const int32_t *history, *history_end;
  float* z;        // [V] modified logits
  int32_t* order;  // [V] candidate ids
  int64_t V;       // ids that may be drawn

  float option(SampleOption o) const { return options[static_cast<int>(o)]; }
  int32_t count(SampleCount c) const { return counts[static_cast<int>(c)]; }
};

void apply_biases(const Sample& op, int64_t s, float* z) {
  if (!op.bias_ids) return;
  const auto* offset = op.bias_offsets.as<int32_t>() + s;
  for (int32_t i = offset[0]; i < offset[1]; ++i)
    if (const int32_t id = op.bias_ids.as<int32_t>()[i]; id < op.vocabulary)
      z[id] += op.biases.as<float>()[i];
}

/// What the row's mask leaves out is minus infinity. False without a mask.
bool apply_mask(const Sample& op, int64_t s, float* z) {
  const int32_t m = op.masks ? op.mask_rows.as<int32_t>()[s] : -1;
  if (m < 0) return false;
  const auto* mask = op.masks.row<uint32_t>(m);
  for (int64_t v = 0; v < op.vocabulary; ++v)
    if (!(mask[v / 32] >> (v % 32) & 1)) z[v] = -INFINITY;
  return true;
}

/// What a penalty makes of a logit stays finite, so that it forbids nothing.
float penalized(float z, float to) {
  constexpr float kMost = std::numeric_limits<float>::max();
  return z == -INFINITY ? z : std::fmin(std::fmax(to, -kMost), kMost);
}

void apply_penalties(const Row& row) {
  const float repetition = row.option(SampleOption::repetition);
  const float presence = row.option(SampleOption::presence),
              frequency = row.option(SampleOption::frequency);
  // Sorted by id, so that each id is met once together with its count. The candidates' array is
  // free.
  const int64_t prompt = row.count(SampleCount::prompt_length);
  const auto for_each_id = [&](const int32_t* begin, const int32_t* end, auto&& body) {
    std::vector<int32_t> ids(begin, end);
    std::sort(ids.begin(), ids.end());
    for (size_t i = 0; i < ids.size();) {
      size_t next = i;
      while (next < ids.size() && ids[next] == ids[i]) ++next;
      if (ids[i] < row.V) body(row.z[ids[i]], static_cast<float>(next - i));
      i = next;
    }
  };
  if (repetition != 1.f)
    for_each_id(row.history, row.history_end, [&](float& z, float) {
      z = penalized(z, z > 0 ? z / repetition : z * repetition);
    });
  if (presence != 0.f || frequency != 0.f)
    for_each_id(row.history + prompt, row.history_end, [&](float& z, float count) {
      z = penalized(z, z - (presence + frequency * count));
    });
}

/// The first of `n` values that is NaN or infinite; -1: none is.
int32_t first_non_finite(const float* z, int64_t n) {
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t any = 0;
  for (int64_t v = 0; v < n; ++v)
    any |= (std::bit_cast<uint32_t>(z[v]) & kExponent) == kExponent ? 1u : 0u;
  if (!any) return -1;
  return static_cast<int32_t>(std::find_if_not(z, z + n, [](float x) { return std::isfinite(x); }) -
                              z);
}

int32_t best_id(const Kernels& kernels, const float* z, int64_t V) {
  return static_cast<int32_t>(std::find(z, z + V, kernels.max_value(z, V)) - z);  // first of equals
}

/// Candidates by descending logit, lower id first among equals; only the first `n` are in order.
void order_first(const Row& row, int64_t n, int64_t size) {
  const auto better = [&](int32_t a, int32_t b) {
    return row.z[a] > row.z[b] || (row.z[a] == row.z[b] && a < b);
  };
  if (n < size) std::nth_element(row.order, row.order + n, row.order + size, better);
  std::sort(row.order, row.order + n, better);
}

int32_t draw(const Kernels& kernels, const Row& row, bool draws) {
  const float temperature = row.option(SampleOption::temperature);
  const int32_t best = best_id(kernels, row.z, row.V);
  const float top = row.z[best];
  if (!draws || temperature == 0.f || !std::isfinite(top)) return best;
  // From here on z holds each id's mass relative to the best one's.
  for (int64_t v = 0; v < row.V; ++v) row.z[v] = (row.z[v] - top) / temperature;
  kernels.exp_sum(row.z, row.V, 0.f);
  const auto mass_of = [&](int64_t size) {
    double total = 0;
    for (int64_t i = 0; i < size; ++i) total += row.z[row.order[i]];
    return total;
  };

  std::iota(row.order, row.order + row.V, 0);
  int64_t size = row.V;
  if (const int32_t k = row.count(SampleCount::top_k); k > 0 && k < size) {
    order_first(row, k, size);
    size = k;
  }
  if (const float p = row.option(SampleOption::top_p); p < 1.f) {
    const double total = mass_of(size);
    double sum = 0;
    // The nucleus is usually small: order a little, and more only when that does not reach p.
    int64_t ordered = 0, kept = 0;
    do {
      if (kept == ordered) {
        ordered = std::min(size, std::max<int64_t>(64, 4 * ordered));
        order_first(row, ordered, size);
      }
      sum += row.z[row.order[kept++]];
    } while (kept < size && sum < p * total);
    size = kept;
  }
  if (const float p = row.option(SampleOption::min_p); p > 0.f)
    size = std::partition(row.order, row.order + size, [&](int32_t id) { return row.z[id] >= p; }) -
           row.order;

  const auto seed = static_cast<uint64_t>(static_cast<uint32_t>(row.count(SampleCount::seed_high)))
                        << 32 |
                    static_cast<uint32_t>(row.count(SampleCount::seed_low));
  double target =
      uniform(seed, static_cast<uint32_t>(row.count(SampleCount::step))) * mass_of(size);
  for (int64_t i = 0; i < size; ++i) {
    target -= row.z[row.order[i]];
    if (target < 0) return row.order[i];
  }
  return best;  // rounding left nothing over
}

}  // namespace

void Sample::run_cpu(const CpuContext& cpu) const {
  const int64_t S = ids.dim(0), V = logits.dim(1), N = top_ids ? top_ids.dim(1) : 0;
  cpu.parallel(S, 1, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      float* z = scratch.as<float>() + 2 * s * V;
      auto* order = reinterpret_cast<int32_t*>(z + V);
      const auto* offset = history_offsets.as<int32_t>() + s;
      const Row row{options.row<float>(s),
                    counts.row<int32_t>(s),
                    history.as<int32_t>() + offset[0],
                    history.as<int32_t>() + offset[1],
                    z,
                    order,
                    vocabulary};

      non_finite.as<int32_t>()[s] = first_non_finite(logits.row<float>(s), V);
      // The softmax of the unmodified logits, over the whole vocabulary.
      cpu.kernels.nan_to_minus_inf(logits.row<float>(s), V, z);
      const float top = cpu.kernels.max_value(z, V);
      auto* masses = reinterpret_cast<float*>(order);
      std::copy_n(z, V, masses);
      const float log_total = top + std::log(cpu.kernels.exp_sum(masses, V, top));
      if (N > 0) {
        std::iota(order, order + vocabulary, 0);
        order_first(row, N, vocabulary);
        for (int64_t i = 0; i < N; ++i) {
          top_ids.row<int32_t>(s)[i] = order[i];
          top_logprobs.row<float>(s)[i] = z[order[i]] - log_total;
        }
      }
      apply_biases(*this, s, z);
      const bool masked = apply_mask(*this, s, z);
      const bool none = masked && cpu.kernels.max_value(z, vocabulary) == -INFINITY;
      apply_penalties(row);
      const int32_t id = none ? -1 : draw(cpu.kernels, row, draws);
      ids.as<int32_t>()[s] = id;
      logprobs.as<float>()[s] = none ? -INFINITY : logits.row<float>(s)[id] - log_total;
    }
  });
}

}  // namespace moe
