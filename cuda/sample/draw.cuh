#pragma once
// One draw from a row by one block: candidates by top-k, top-p and min-p, then a walk over their
// masses. Sums are f64 in a fixed order, so that a draw is the same in every run.

#include "core/splitmix64.h"
#include "sample.cuh"

namespace moe {
namespace {

/// A key that orders floats as integers.
__device__ uint32_t order_key(float value) {
  const uint32_t bits = __float_as_uint(value + 0.f);  // -0 equals 0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/// What a row may draw from: every id whose mass has a key above `key`, and of those with just this
/// key the first `equals` ids.
struct Candidates {
  uint32_t key;
  int equals;
};

/// Sum of measure(mass) over z whose key is above `key`.
template <class Measure>
__device__ double sum_above(const float* z, int n, uint32_t key, double* scratch,
                            const Measure& measure) {
  double sum = 0;
  const bool whole = reinterpret_cast<uintptr_t>(z) % 16 == 0 && n % 4 == 0;
  for_quads(n, [&](int v) {
    const Quad quad = load_quad(z, v, n, whole);
    for (int i = 0; i < 4; ++i)
      if (v + i < n && order_key(quad.v[i]) > key) sum += measure(quad.v[i]);
  });
  return block_sum(sum, scratch);
}

/// The smallest set of best ids whose measure reaches `wanted`, inside `all`. A set is found by
/// bisection of its lowest key, so that nothing is sorted and no order of additions is left open.
template <class Measure>
__device__ Candidates smallest_set(const float* z, int n, Candidates all, double wanted,
                                   double* scratch, const Measure& measure) {
  uint32_t low = all.key,
           high = ~0u;  // ids above `low` reach it (or low is all.key), above `high` do not
  if (sum_above(z, n, all.key, scratch, measure) < wanted) {
    high = all.key;
  } else {
    while (high - low > 1) {
      const uint32_t middle = low + (high - low) / 2;
      if (sum_above(z, n, middle, scratch, measure) >= wanted)
        low = middle;
      else
        high = middle;
    }
  }
  // `high` is the key of the last ids needed; all of them have one measure.
  const double above = sum_above(z, n, high, scratch, measure);
  const uint32_t bits = high & 0x80000000u ? high & 0x7fffffffu : ~high;
  const double each = measure(__uint_as_float(bits));
  const double missing = each > 0 ? ceil((wanted - above) / each) : 0;
  const int most = high == all.key ? all.equals : n;
  return {high, static_cast<int>(fmin(fmax(missing, 0), static_cast<double>(most)))};
}

/// Walks the candidates by id, in 1024 ranges: first ranges' masses, then inside the one drawn.
__device__ int draw(const Inputs& in, int s, float* z, const Best& best, unsigned char* shared) {
  auto* sums = reinterpret_cast<double*>(shared);          // [kThreads]
  auto* equals = reinterpret_cast<int*>(sums + kThreads);  // [kThreads]
  const float* options = in.options[s];
  const int32_t* counts = in.counts[s];
  const int n = in.vocabulary, thread = static_cast<int>(threadIdx.x);
  for (int v = thread; v < n; v += static_cast<int>(kThreads))
    z[v] = expf((z[v] - best.value) / at(options, SampleOption::temperature));
  __syncthreads();

  const auto one = [](float) { return 1.0; };
  const auto mass = [](float m) { return static_cast<double>(m); };
  Candidates set{0, 0};  // every mass has a key above 0
  if (const int k = at(counts, SampleCount::top_k); k > 0 && k < n)
    set = smallest_set(z, n, set, k, sums, one);
  const auto total_of = [&] {
    const uint32_t bits = set.key & 0x80000000u ? set.key & 0x7fffffffu : ~set.key;
    const double same = set.equals ? set.equals * mass(__uint_as_float(bits)) : 0;
    return sum_above(z, n, set.key, sums, mass) + same;
  };
  if (const float p = at(options, SampleOption::top_p); p < 1.f)
    set = smallest_set(z, n, set, p * total_of(), sums, mass);
  if (const float p = at(options, SampleOption::min_p); p > 0.f && order_key(p) > set.key)
    set = {order_key(p) - 1, 0};

  // Each thread has a range of ids; how many of the equals come before it decides which are in.
  const int per_thread = (n + static_cast<int>(kThreads) - 1) / static_cast<int>(kThreads);
  const int begin = min(thread * per_thread, n), end = min(begin + per_thread, n);
  int own_equals = 0;
  for (int v = begin; v < end; ++v) own_equals += order_key(z[v]) == set.key;
  __syncthreads();
  equals[thread] = own_equals;
  __syncthreads();
  int before = 0;
  for (int i = 0; i < thread; ++i) before += equals[i];
  const auto for_each = [&](auto&& visit) {
    int place = before;
    for (int v = begin; v < end; ++v) {
      const uint32_t key = order_key(z[v]);
      if (key > set.key || (key == set.key && place++ < set.equals)) visit(v);
    }
  };
  double own = 0;
  for_each([&](int v) { own += z[v]; });
  __syncthreads();
  sums[thread] = own;
  __syncthreads();
  double total = 0, until = 0;
  for (int i = 0; i < static_cast<int>(kThreads); ++i) {
    if (i == thread) until = total;
    total += sums[i];
  }
  const auto seed = static_cast<uint64_t>(static_cast<uint32_t>(at(counts, SampleCount::seed_high)))
                        << 32 |
                    static_cast<uint32_t>(at(counts, SampleCount::seed_low));
  const double target =
      static_cast<double>(splitmix64(seed, static_cast<uint32_t>(at(counts, SampleCount::step))) >>
                          11) *
      0x1p-53 * total;
  Best drawn{0.f, n};  // the first id whose running sum passes the target
  if (until + own > target) {
    double sum = until;
    for_each([&](int v) {
      sum += z[v];
      if (sum > target && drawn.id == n) drawn.id = v;
    });
  }
  const Best first = block_best(drawn, reinterpret_cast<Best*>(equals));
  return first.id < n ? first.id : best.id;  // rounding left nothing over
}

}  // namespace
}  // namespace moe
