// Draws in two launches of all of a row's parts: masses and their bins, from which a part's last
// block takes what may be drawn; then the mass of each part, from which the last one takes the part
// and walks it. Sums are in a fixed order, so that a draw is the same in every run.

#include "core/splitmix64.h"
#include "select.cuh"

namespace moe {
namespace {

constexpr int kThreads = kSampleThreads;

/// What the row's options leave of its ids.
__device__ MassSet allowed(const SampleArgs& in, int s, const Selector& selector) {
  const float* options = in.options[s];
  MassSet set{0, 0, 0};  // every mass has bits above 0
  double mass;
  block_prefix(selector.first.mass, selector.shared.scratch, mass);
  const int k = at(in.counts[s], SampleCount::top_k);
  if (k > 0 && k < selector.n) {
    set = selector.smallest(false, k, set);
    mass = set.mass;
  }
  if (const float p = at(options, SampleOption::top_p); p < 1.f)
    set = selector.smallest(true, p * mass, set);
  return set;
}

/// Grid: parts of a row, rows.
__global__ void __launch_bounds__(kThreads, 1) weigh(const __grid_constant__ SampleArgs in) {
  unsigned char* shared = shared_memory();
  auto* counts = reinterpret_cast<unsigned*>(shared);  // [kMassBins]
  unsigned* rests = counts + kMassBins;
  auto* flag = reinterpret_cast<int*>(rests + kMassBins);
  wait_prior_grid();
  launch_dependents();
  const int s = static_cast<int>(blockIdx.y), n = in.vocabulary,
            thread = static_cast<int>(threadIdx.x);
  const Draw row = in.rows[s];
  if (!row.wanted) return;
  const float* options = in.options[s];
  float* masses = in.scratch + int64_t{2} * s * in.V;
  const float* logits = row.changed ? masses : in.logits[s];
  const float temperature = at(options, SampleOption::temperature);
  const int k = at(in.counts[s], SampleCount::top_k);
  const bool selects = (k > 0 && k < n) || at(options, SampleOption::top_p) < 1.f;
  counts[thread] = rests[thread] = 0;
  __syncthreads();
  for (int i = 0; i < kPartLogits / kThreads; ++i) {
    const int v = static_cast<int>(blockIdx.x) * kPartLogits + i * kThreads + thread;
    if (v >= n) break;
    const float mass = expf((logits[v] - row.best) / temperature);
    const float valid = mass > 0.f ? fminf(mass, 1.f) : 0.f;  // whatever the options are
    masses[v] = valid;
    const uint32_t bits = __float_as_uint(valid), digit = bits >> 2 * kDigitBits;
    if (!selects) continue;
    atomicAdd(&counts[digit], 1u);
    atomicAdd(&rests[digit], bits & ((1u << 2 * kDigitBits) - 1));  // 4096 of them fit
  }
  __syncthreads();
  const int place = s * kMassBins + thread;
  if (counts[thread]) {
    atomicAdd(&in.bins[place], counts[thread]);
    atomicAdd(&in.rests[place], static_cast<unsigned long long>(rests[thread]));
  }
  if (!is_last(in.counters + s, gridDim.x, flag)) return;

  MassSet set{0, 0, 0};
  if (selects) {
    const int digit = own_digit(), bin = s * kMassBins + digit;
    const auto count = static_cast<int>(load_coherent(&in.bins[bin]));
    const double mass = sum_of(static_cast<uint32_t>(digit) << 2 * kDigitBits, count,
                               load_coherent(&in.rests[bin]));
    set = allowed(in, s,
                  Selector{masses, n, {count, mass}, *reinterpret_cast<Selector::Shared*>(shared)});
  }
  const float p = at(options, SampleOption::min_p);
  if (p > 0.f && __float_as_uint(p) > set.key) set = {__float_as_uint(p) - 1, 0, 0};
  if (thread == 0) in.rows[s].key = set.key, in.rows[s].equals = set.equals;
}

/// Grid: parts of a row, rows.
__global__ void __launch_bounds__(kThreads, 1) walk(const __grid_constant__ SampleArgs in) {
  unsigned char* shared = shared_memory();
  auto* sums = reinterpret_cast<double*>(shared);       // [32]
  auto* numbers = reinterpret_cast<int*>(sums + 32);    // [32]
  auto* bests = reinterpret_cast<Best*>(numbers + 32);  // [32]
  auto* flag = reinterpret_cast<int*>(bests + 32);
  auto* before = reinterpret_cast<double*>(shared + 1024);       // [parts]
  auto* left = reinterpret_cast<int*>(before + kSampleThreads);  // [parts]
  wait_prior_grid();
  launch_dependents();
  const int s = static_cast<int>(blockIdx.y), n = in.vocabulary,
            thread = static_cast<int>(threadIdx.x), parts = static_cast<int>(gridDim.x);
  const Draw row = in.rows[s];
  if (!row.wanted) return;
  const float* masses = in.scratch + int64_t{2} * s * in.V;
  const bool whole = reinterpret_cast<uintptr_t>(masses) % 16 == 0 && n % 4 == 0;
  // Four neighbours of a part: of those with the key `equals_left` are in.
  const auto quad_of = [&](int part) {
    const int v = part * kPartLogits + 4 * thread;
    return v < n ? load_quad(masses, v, n, whole) : Quad{};
  };
  const auto equals_of = [&](int part, const Quad& quad) {
    int equals = 0;
    for (int i = 0; i < 4; ++i)
      equals += part * kPartLogits + 4 * thread + i < n && __float_as_uint(quad.v[i]) == row.key;
    return equals;
  };
  const auto own = static_cast<int>(blockIdx.x);
  const Quad quad = quad_of(own);
  double above = 0;
  for (float mass : quad.v) above += __float_as_uint(mass) > row.key ? mass : 0.;
  const double sum = block_sum(above, sums);
  const int equals = block_sum(equals_of(own, quad), numbers);
  PartMass* written = in.masses + int64_t{s} * parts;
  if (thread == 0) written[own] = {sum, equals};
  if (!is_last(in.counters + s, gridDim.x, flag)) return;

  const auto each = static_cast<double>(__uint_as_float(row.key));
  PartMass mine{0, 0};
  if (thread < parts)
    mine = {load_coherent(&written[thread].above), load_coherent(&written[thread].equals)};
  int all_equals;
  const int ahead = block_prefix(mine.equals, numbers, all_equals) - mine.equals;
  const int room = max(row.equals - ahead, 0);
  const double mass = mine.above + min(mine.equals, room) * each;
  double total;
  const double until = block_prefix(mass, sums, total);
  before[thread] = until;
  left[thread] = room;
  const auto seed =
      static_cast<uint64_t>(static_cast<uint32_t>(at(in.counts[s], SampleCount::seed_high))) << 32 |
      static_cast<uint32_t>(at(in.counts[s], SampleCount::seed_low));
  const auto step = static_cast<uint32_t>(at(in.counts[s], SampleCount::step));
  const double target = static_cast<double>(splitmix64(seed, step) >> 11) * 0x1p-53 * total;
  // The first part, and in it the first id, whose running sum passes the target.
  const int part = block_best({0.f, until > target ? thread : kThreads}, bests).id;
  if (part >= parts) return;  // rounding left nothing over: the best id
  const Quad values = quad_of(part);
  const int in_order = equals_of(part, values);
  int place = block_prefix(in_order, numbers, all_equals) - in_order;
  double run[4], running = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t bits = __float_as_uint(values.v[i]);
    const bool same = part * kPartLogits + 4 * thread + i < n && bits == row.key;
    const bool may = bits > row.key || (same && place < left[part]);
    place += same;
    run[i] = may ? static_cast<double>(values.v[i]) : 0.;
    running += run[i];
  }
  running = block_prefix(running, sums, total) - running + (part > 0 ? before[part - 1] : 0.);
  int drawn = n;
  for (int i = 0; i < 4; ++i) {
    running += run[i];
    if (run[i] > 0 && running > target && drawn == n) drawn = part * kPartLogits + 4 * thread + i;
  }
  drawn = block_best({0.f, drawn}, bests).id;
  if (thread != 0 || drawn >= n) return;
  in.ids[s] = drawn;
  in.logprobs[s] = in.logits[s][drawn] - row.log_total;
}

}  // namespace

void draw_rows(const CudaContext& cuda, const SampleArgs& in, dim3 grid) {
  cuda.launch(weigh, grid, kThreads, sizeof(Selector::Shared), in);
  cuda.launch(walk, grid, kThreads, 1024 + kThreads * (sizeof(double) + sizeof(int)), in);
}

}  // namespace moe
