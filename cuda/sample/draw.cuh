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

constexpr int kCuts = 3;

/// Sums of measure(mass) over z whose key is above each of `keys`.
template <int N, class Measure>
__device__ void sums_above(const float* z, int n, const uint32_t (&keys)[N], double (&sums)[N],
                           double* scratch, const Measure& measure) {
  const unsigned warp = threadIdx.x / 32;
  for (double& sum : sums) sum = 0;
  const bool whole = reinterpret_cast<uintptr_t>(z) % 16 == 0 && n % 4 == 0;
  for_quads(n, [&](int v) {
    const Quad quad = load_quad(z, v, n, whole);
    for (int i = 0; i < 4; ++i) {
      if (v + i >= n) break;
      const uint32_t key = order_key(quad.v[i]);
      const double own = measure(quad.v[i]);
#pragma unroll
      for (int c = 0; c < N; ++c)
        if (key > keys[c]) sums[c] += own;
    }
  });
  __syncthreads();  // whoever still reads the scratch of the sums before
#pragma unroll
  for (int c = 0; c < N; ++c) {
    const double sum = warp_sum(sums[c]);
    if (threadIdx.x % 32 == 0) scratch[c * 32 + warp] = sum;
    sums[c] = 0;
  }
  __syncthreads();
  for (unsigned w = 0; w < kThreads / 32; ++w)
#pragma unroll
    for (int c = 0; c < N; ++c) sums[c] += scratch[c * 32 + w];
}

template <class Measure>
__device__ double sum_above(const float* z, int n, uint32_t key, double* scratch,
                            const Measure& measure) {
  double sum[1];
  sums_above(z, n, {key}, sum, scratch, measure);
  return sum[0];
}

/// The smallest set of best ids whose measure reaches `wanted`, inside `all`. A set is found by
/// narrowing down its lowest key, a quarter at a time, so that nothing is sorted and no order of
/// additions is left open.
template <class Measure>
__device__ Candidates smallest_set(const float* z, int n, Candidates all, double wanted,
                                   double* scratch, const Measure& measure) {
  uint32_t low = all.key,
           high = ~0u;  // ids above `low` reach it (or low is all.key), above `high` do not
  if (sum_above(z, n, all.key, scratch, measure) < wanted) {
    high = all.key;
  } else {
    while (high - low > 1) {
      const uint32_t quarter = max((high - low) / (kCuts + 1), 1u);
      uint32_t cuts[kCuts];
      for (uint32_t c = 0; c < kCuts; ++c) cuts[c] = min(low + (c + 1) * quarter, high);
      double sums[kCuts];
      sums_above(z, n, cuts, sums, scratch, measure);
      // Sums fall from cut to cut; at `high` they are known to be too small.
      for (uint32_t c = 0; c < kCuts; ++c)
        if (cuts[c] < high && sums[c] >= wanted)
          low = cuts[c];
        else if (cuts[c] < high)
          high = cuts[c];
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

/// The sum over this thread and those before it; `all`: over the block. In a fixed order.
template <class T>
__device__ T block_prefix(T value, T* scratch, T& all) {
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (unsigned distance = 1; distance < 32; distance *= 2) {
    const T before = __shfl_up_sync(~0u, value, distance);
    if (lane >= distance) value += before;
  }
  __syncthreads();
  if (lane == 31) scratch[warp] = value;
  __syncthreads();
  T before = 0;
  all = 0;
  for (unsigned w = 0; w < kThreads / 32; ++w) {
    if (w == warp) before = all;
    all += scratch[w];
  }
  return before + value;
}

/// Walks the candidates by id, in 1024 ranges: first ranges' masses, then inside the one drawn. A
/// warp reads 32 ranges one after the other; each of its lanes keeps the sums of one.
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

  // How many of the equals come before a range decides which of its own are in.
  const int lane = thread % 32, per_range = (n + int{kThreads} - 1) / int{kThreads};
  const auto begin_of = [&](int range) { return min((thread - lane + range) * per_range, n); };
  int own_equals = 0;
  for (int range = 0; range < 32; ++range) {
    int count = 0;
    for (int v = begin_of(range) + lane; v < begin_of(range + 1); v += 32)
      count += order_key(z[v]) == set.key;
    count = warp_sum(count);
    if (range == lane) own_equals = count;
  }
  int all_equals = 0;
  const int equals_before = block_prefix(own_equals, equals, all_equals) - own_equals;
  // Calls visit(v, mass) for 32 ids of a range at a time; outside of the set masses are 0.
  const auto for_each = [&](int range, auto&& visit) {
    int place = __shfl_sync(~0u, equals_before, range);
    for (int base = begin_of(range); base < begin_of(range + 1); base += 32) {
      const int v = base + lane;
      const bool there = v < begin_of(range + 1);
      const float value = there ? z[v] : 0.f;
      const uint32_t key = order_key(value);
      const uint32_t same = __ballot_sync(~0u, there && key == set.key);
      const bool equal_in = place + __popc(same & ((1u << lane) - 1)) < set.equals;
      place += __popc(same);
      const bool in_set = there && (key > set.key || (key == set.key && equal_in));
      visit(v, in_set ? static_cast<double>(value) : 0.);
    }
  };
  double own = 0;
  for (int range = 0; range < 32; ++range) {
    double sum = 0;
    for_each(range, [&](int, double value) { sum += value; });
    sum = warp_sum(sum);
    if (range == lane) own = sum;
  }
  double total = 0;
  const double until = block_prefix(own, sums, total);
  const auto seed = static_cast<uint64_t>(static_cast<uint32_t>(at(counts, SampleCount::seed_high)))
                        << 32 |
                    static_cast<uint32_t>(at(counts, SampleCount::seed_low));
  const double target =
      static_cast<double>(splitmix64(seed, static_cast<uint32_t>(at(counts, SampleCount::step))) >>
                          11) *
      0x1p-53 * total;
  Best drawn{0.f, n};  // the first id whose running sum passes the target
  if (const uint32_t passed = __ballot_sync(~0u, until > target)) {
    const int range = __ffs(static_cast<int>(passed)) - 1;
    double sum = __shfl_sync(~0u, until - own, range);
    for_each(range, [&](int v, double value) {
      double running = value;
      for (unsigned distance = 1; distance < 32; distance *= 2) {
        const double before = __shfl_up_sync(~0u, running, distance);
        if (lane >= static_cast<int>(distance)) running += before;
      }
      if (value > 0 && sum + running > target && drawn.id == n) drawn.id = v;
      sum += __shfl_sync(~0u, running, 31);
    });
  }
  const Best first = block_best(drawn, reinterpret_cast<Best*>(equals));
  return first.id < n ? first.id : best.id;  // rounding left nothing over
}

}  // namespace
}  // namespace moe
