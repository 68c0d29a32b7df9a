#pragma once
// Top-k and top-p of a row's masses by one block: radix selection. A mass is at most 1, so its bits
// are an integer below 2^30 of three digits, and order as it does. A digit's masses have one
// exponent, so their sum is a whole number of their last place: no order of additions shows.

#include "sample.cuh"

namespace moe {

constexpr int kDigitBits = 10, kDigits = 3;
static_assert(kMassBins == 1 << kDigitBits && kMassBins == int{kSampleThreads});

/// One bin a thread, the best first: thread t has digit kMassBins - 1 - t.
struct MassBin {
  int count;
  double mass;
};
__device__ inline int own_digit() { return kMassBins - 1 - static_cast<int>(threadIdx.x); }

/// The sum of `count` masses with the bits `base` and rests that are `rests` in all.
__device__ inline double sum_of(uint32_t base, int count, unsigned long long rests) {
  const uint32_t exponent = base >> 23, fraction = base & 0x7fffff;
  const uint64_t each = exponent ? fraction | 1u << 23 : fraction;
  const auto places = static_cast<double>(static_cast<uint64_t>(count) * each + rests);
  return places * (0x1p-23 * static_cast<double>(__uint_as_float(max(exponent, 1u) << 23)));
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
  for (unsigned w = 0; w < blockDim.x / 32; ++w) {
    if (w == warp) before = all;
    all += scratch[w];
  }
  return before + value;
}

/// What a draw may draw from, and its mass.
struct MassSet {
  uint32_t key;  // every id whose mass has bits above it
  int equals;    // of those with just these bits the first ones
  double mass;
};

/// Finds sets of best ids of a row.
struct Selector {
  static constexpr int kListed = 4096;
  struct Shared {
    double masses[kMassBins];  // sums up to each thread's bin
    int numbers[kMassBins];
    unsigned counts[kMassBins], rests[kMassBins];
    uint32_t list[kListed];
    double scratch[32];
    Best bests[32];
    unsigned listed;
  };
  const float* masses;  // [n]; other blocks have written them
  int n;
  MassBin first;  // of the first digit
  Shared& shared;

  /// Calls visit(bits) for all masses.
  template <class Visit>
  __device__ void for_each(const Visit& visit) const {
    if (reinterpret_cast<uintptr_t>(masses) % 16 != 0 || n % 4 != 0) {
      for (int v = static_cast<int>(threadIdx.x); v < n; v += kMassBins)
        visit(__float_as_uint(load_coherent(masses + v)));
      return;
    }
    for (int v = 4 * static_cast<int>(threadIdx.x); v < n; v += 4 * kMassBins) {
      const float4 quad = load_coherent(reinterpret_cast<const float4*>(masses + v));
      visit(__float_as_uint(quad.x)), visit(__float_as_uint(quad.y));
      visit(__float_as_uint(quad.z)), visit(__float_as_uint(quad.w));
    }
  }

  /// The bins of digit `level` of the masses that begin with `prefix`. The few there usually are
  /// are listed for the digit after it.
  __device__ MassBin gather(int level, uint32_t prefix) const {
    const int shift = kDigitBits * (kDigits - 1 - level);
    const uint32_t rest = (1u << shift) - 1;
    __syncthreads();  // whoever still reads
    shared.counts[threadIdx.x] = shared.rests[threadIdx.x] = 0;
    if (level == 1 && threadIdx.x == 0) shared.listed = 0;
    __syncthreads();
    const auto visit = [&](uint32_t bits) {
      if (bits >> (shift + kDigitBits) != prefix) return;
      const uint32_t digit = bits >> shift & (kMassBins - 1);
      atomicAdd(&shared.counts[digit], 1u);
      if (level != 1) return;
      atomicAdd(&shared.rests[digit], bits & rest);
      if (const unsigned at = atomicAdd(&shared.listed, 1u); at < kListed) shared.list[at] = bits;
    };
    if (level > 1 && shared.listed <= kListed)
      for (unsigned i = threadIdx.x; i < shared.listed; i += kMassBins) visit(shared.list[i]);
    else
      for_each(visit);
    __syncthreads();
    const int digit = own_digit(), count = static_cast<int>(shared.counts[digit]);
    const uint32_t base = (prefix << kDigitBits | static_cast<uint32_t>(digit)) << shift;
    return {count, sum_of(base, count, shared.rests[digit])};
  }

  /// The smallest set of best ids whose number or mass reaches `wanted`, which all of them do; of
  /// those with the bits of `all.key` it has `all.equals` at most.
  __device__ MassSet smallest(bool by_mass, double wanted, const MassSet& all) const {
    uint32_t key = 0;
    int above = 0;
    double mass_above = 0;
    MassBin own = first;
    for (int level = 0;; ++level) {
      const double missing = wanted - (by_mass ? mass_above : above);
      int numbers;
      double total;
      const double mass = block_prefix(own.mass, shared.scratch, total);
      const int number = block_prefix(own.count, reinterpret_cast<int*>(shared.scratch), numbers);
      shared.masses[threadIdx.x] = mass;
      shared.numbers[threadIdx.x] = number;
      // The first bin that reaches it; else, by rounding, the last one that has any.
      const int thread = static_cast<int>(threadIdx.x);
      const bool reaches = (by_mass ? mass : number) >= missing;
      const Best best = block_best({reaches     ? 2.f
                                    : own.count ? 1.f
                                                : 0.f,
                                    reaches ? thread : kMassBins - thread},
                                   shared.bests);
      const int bin = best.value == 2.f ? best.id : kMassBins - best.id;
      key = key << kDigitBits | static_cast<uint32_t>(kMassBins - 1 - bin);
      if (bin > 0) above += shared.numbers[bin - 1], mass_above += shared.masses[bin - 1];
      if (level == kDigits - 1) break;
      own = gather(level + 1, key);
    }
    const double each = static_cast<double>(__uint_as_float(key));
    const double missing =
        by_mass ? each > 0 ? ceil((wanted - mass_above) / each) : 0 : wanted - above;
    const int most = key == all.key ? all.equals : n;
    const int equals = static_cast<int>(fmin(fmax(missing, 0.), static_cast<double>(most)));
    return {key, equals, mass_above + equals * each};
  }
};

}  // namespace moe
