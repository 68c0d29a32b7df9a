#include "core/splitmix64.h"
#include "device/rows.cuh"
#include "ops/sample.h"

namespace moe {
namespace {

constexpr unsigned kThreads = 1024;

struct Part;

struct Inputs {
  Rows<const float> logits, options;
  Rows<const int32_t> counts;
  const int32_t *history, *history_offsets;
  int32_t* ids;
  float* logprobs;
  Rows<int32_t> top_ids;
  Rows<float> top_logprobs;
  int V, vocabulary, top;
  float* scratch;  // [S, 2V]: changed logits, then masses; counts of the history
  Part* parts;     // [S, parts of a row]
  unsigned* counters;
};

/// A row's value in the column of that name.
template <class Value, class Column>
__device__ Value at(const Value* row, Column column) {
  return row[static_cast<int>(column)];
}

/// A key that orders floats as integers.
__device__ uint32_t order_key(float value) {
  const uint32_t bits = __float_as_uint(value + 0.f);  // -0 equals 0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

struct Best {
  float value;
  int id;
};

__device__ bool better(const Best& a, const Best& b) {
  return a.value > b.value || (a.value == b.value && a.id < b.id);
}

/// The best of the block's candidates, the lowest id among equals, in every thread.
__device__ Best block_best(Best own, Best* scratch) {
  for (int bits = 16; bits; bits >>= 1) {
    const Best other{__shfl_xor_sync(~0u, own.value, bits), __shfl_xor_sync(~0u, own.id, bits)};
    if (better(other, own)) own = other;
  }
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = own;
  __syncthreads();
  Best best = scratch[0];
  for (unsigned w = 1; w < blockDim.x / 32; ++w)
    if (better(scratch[w], best)) best = scratch[w];
  return best;
}

/// Best of z[0, n) behind `after` in the order of better().
__device__ Best best_after(const float* z, int n, const Best* after, Best* scratch) {
  Best own{-INFINITY, n};
  for (int v = static_cast<int>(threadIdx.x); v < n; v += static_cast<int>(kThreads)) {
    const Best candidate{z[v], v};
    if ((!after || better(*after, candidate)) && (own.id == n || better(candidate, own)))
      own = candidate;
  }
  return block_best(own, scratch);
}

/// What a row may draw from: every id whose mass has a key above `key`, and of those with just this
/// key the first `equals` ids.
struct Candidates {
  uint32_t key;
  int equals;
};

__device__ void apply_penalties(const Inputs& in, int s, float* z, int32_t* seen) {
  const float* options = in.options[s];
  const float repetition = at(options, SampleOption::repetition),
              presence = at(options, SampleOption::presence);
  const float frequency = at(options, SampleOption::frequency);
  const int begin = in.history_offsets[s], end = in.history_offsets[s + 1];
  // Counts are integers: the order of the additions does not show.
  const auto count = [&](int from) {
    __syncthreads();
    for (int v = threadIdx.x; v < in.vocabulary; v += kThreads) seen[v] = 0;
    __syncthreads();
    for (int i = from + static_cast<int>(threadIdx.x); i < end; i += static_cast<int>(kThreads))
      if (in.history[i] < in.vocabulary) atomicAdd(&seen[in.history[i]], 1);
    __syncthreads();
  };
  if (begin == end) return;
  if (repetition != 1.f) {
    count(begin);
    for (int v = threadIdx.x; v < in.vocabulary; v += kThreads)
      if (seen[v]) z[v] = z[v] > 0 ? z[v] / repetition : z[v] * repetition;
  }
  if (presence != 0.f || frequency != 0.f) {
    count(begin + at(in.counts[s], SampleCount::prompt_length));
    for (int v = threadIdx.x; v < in.vocabulary; v += kThreads)
      if (seen[v]) z[v] -= presence + frequency * static_cast<float>(seen[v]);
  }
  __syncthreads();
}

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

/// What one part of a row's logits is: its softmax as if it were alone, and its best id.
struct Part {
  float top, total;
  Best best;
};

constexpr int kPerThread = 4, kPartLogits = kPerThread * static_cast<int>(kThreads);

__device__ Part read_part(const Inputs& in, int s, int part, unsigned char* shared) {
  auto* floats = reinterpret_cast<float*>(shared);
  auto* bests = reinterpret_cast<Best*>(shared + 256);
  float logit[kPerThread];
  float top = -INFINITY;
  Best own{-INFINITY, in.vocabulary};
  for (int i = 0; i < kPerThread; ++i) {
    const int v =
        part * kPartLogits + i * static_cast<int>(kThreads) + static_cast<int>(threadIdx.x);
    logit[i] = v < in.V ? in.logits[s][v] : -INFINITY;
    if (isnan(logit[i])) logit[i] = -INFINITY;
    top = fmaxf(top, logit[i]);
    const Best candidate{logit[i], v};
    if (v < in.vocabulary && (own.id == in.vocabulary || better(candidate, own))) own = candidate;
  }
  top = block_max(top, floats);
  float total = 0.f;
  for (float value : logit)
    if (value != -INFINITY) total += expf(value - top);
  total = block_sum(total, floats);
  return {top, total, block_best(own, bests)};
}

/// Grid: parts of a row, rows. The last block of a row merges its parts, which is all there is to
/// the best token; anything else it does alone.
__global__ void __launch_bounds__(kThreads, 1) sample(const __grid_constant__ Inputs in) {
  unsigned char* shared = shared_memory();
  auto* flag = reinterpret_cast<int*>(shared + 512);
  auto* bests = reinterpret_cast<Best*>(shared + 256);
  wait_prior_grid();
  launch_dependents();
  const int s = static_cast<int>(blockIdx.y), V = in.V, parts = static_cast<int>(gridDim.x);
  float* z = in.scratch + int64_t{2} * s * V;
  auto* seen = reinterpret_cast<int32_t*>(z + V);
  Part* written = in.parts + int64_t{s} * parts;
  const Part own = read_part(in, s, static_cast<int>(blockIdx.x), shared);
  if (threadIdx.x == 0) written[blockIdx.x] = own;
  if (!is_last(in.counters + s, gridDim.x, flag)) return;

  auto* all = reinterpret_cast<Part*>(shared + 1024);
  for (int p = static_cast<int>(threadIdx.x); p < parts; p += static_cast<int>(kThreads))
    all[p] = {load_coherent(&written[p].top),
              load_coherent(&written[p].total),
              {load_coherent(&written[p].best.value), load_coherent(&written[p].best.id)}};
  __syncthreads();
  // In order, so that the bits are the same in every run.
  float top = -INFINITY, total = 0.f;
  Best best{-INFINITY, in.vocabulary};
  for (int p = 0; p < parts; ++p) top = fmaxf(top, all[p].top);
  for (int p = 0; p < parts; ++p) {
    const Part& part = all[p];
    if (part.top != -INFINITY) total += part.total * expf(part.top - top);
    if (part.best.id < in.vocabulary && (best.id == in.vocabulary || better(part.best, best)))
      best = part.best;
  }
  __syncthreads();  // the place is others' now
  const float log_total = top + logf(total);

  const bool draws = at(in.options[s], SampleOption::temperature) != 0.f;
  const bool changes = in.history_offsets[s] != in.history_offsets[s + 1];
  if (draws || changes || in.top > 0) {
    for (int v = threadIdx.x; v < V; v += kThreads) {
      const float logit = in.logits[s][v];
      z[v] = isnan(logit) ? -INFINITY : logit;
    }
    __syncthreads();
  }
  Best last{INFINITY, -1};
  for (int i = 0; i < in.top; ++i) {
    last = best_after(z, in.vocabulary, &last, bests);
    if (threadIdx.x == 0) {
      in.top_ids[s][i] = last.id;
      in.top_logprobs[s][i] = z[last.id] - log_total;
    }
  }
  __syncthreads();  // what follows changes z
  if (changes) {
    apply_penalties(in, s, z, seen);
    best = best_after(z, in.vocabulary, nullptr, bests);
  }
  int id = best.id;
  if (draws && isfinite(best.value)) id = draw(in, s, z, best, shared);
  if (threadIdx.x == 0) {
    in.ids[s] = id;
    in.logprobs[s] = in.logits[s][id] - log_total;
  }
}

}  // namespace

void Sample::run_cuda(const CudaContext& cuda) const {
  const auto S = static_cast<unsigned>(ids.dim(0));
  const int64_t V = logits.dim(1);
  constexpr size_t kShared = kThreads * (sizeof(double) + sizeof(int));
  static_assert(GpuLimits::kSampleWidth / kPartLogits * sizeof(Part) <= kShared - 1024);
  auto* parts = reinterpret_cast<Part*>(scratch.as<float>() + int64_t{2} * S * V);
  const Inputs in{rows_of<const float>(logits),
                  rows_of<const float>(options),
                  rows_of<const int32_t>(counts),
                  history.as<const int32_t>(),
                  history_offsets.as<const int32_t>(),
                  ids.as<int32_t>(),
                  logprobs.as<float>(),
                  rows_of<int32_t>(top_ids),
                  rows_of<float>(top_logprobs),
                  static_cast<int>(V),
                  static_cast<int>(vocabulary),
                  top_ids ? static_cast<int>(top_ids.dim(1)) : 0,
                  scratch.as<float>(),
                  parts,
                  cuda.counters};
  cuda.launch(sample, {blocks_for(V, kPartLogits), S}, kThreads, kShared, in);
}

}  // namespace moe
