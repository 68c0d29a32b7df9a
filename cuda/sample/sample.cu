#include <cfloat>

#include "sample.cuh"

namespace moe {
namespace {

constexpr int kThreads = kSampleThreads, kPerThread = kPartLogits / kThreads;

/// Best of z[0, n) behind `after` in the order of better().
__device__ Best best_after(const float* z, int n, const Best* after, Best* scratch) {
  Best own{-INFINITY, n};
  for (int v = static_cast<int>(threadIdx.x); v < n; v += kThreads) {
    const Best candidate{z[v], v};
    if ((!after || better(*after, candidate)) && (own.id == n || better(candidate, own)))
      own = candidate;
  }
  return block_best(own, scratch);
}

/// Of a row's biases and mask; `mask` may be null.
__device__ void apply_choice(const SampleArgs& in, int s, const uint32_t* mask, float* z) {
  if (in.bias_ids)
    for (int i = in.bias_offsets[s] + static_cast<int>(threadIdx.x); i < in.bias_offsets[s + 1];
         i += kThreads)
      if (in.bias_ids[i] < in.vocabulary) z[in.bias_ids[i]] += in.biases[i];
  __syncthreads();
  if (mask)
    for (int v = threadIdx.x; v < in.vocabulary; v += kThreads)
      if (!(mask[v / 32] >> (v % 32) & 1)) z[v] = -INFINITY;
  __syncthreads();
}

/// What a penalty makes of a logit stays finite, so that it forbids nothing.
__device__ inline float penalized(float z, float to) {
  return z == -INFINITY ? z : fminf(fmaxf(to, -FLT_MAX), FLT_MAX);
}

__device__ void apply_penalties(const SampleArgs& in, int s, float* z, int32_t* seen) {
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
    for (int i = from + static_cast<int>(threadIdx.x); i < end; i += kThreads)
      if (in.history[i] < in.vocabulary) atomicAdd(&seen[in.history[i]], 1);
    __syncthreads();
  };
  if (begin == end) return;
  if (repetition != 1.f) {
    count(begin);
    for (int v = threadIdx.x; v < in.vocabulary; v += kThreads)
      if (seen[v]) z[v] = penalized(z[v], z[v] > 0 ? z[v] / repetition : z[v] * repetition);
  }
  if (presence != 0.f || frequency != 0.f) {
    count(begin + at(in.counts[s], SampleCount::prompt_length));
    for (int v = threadIdx.x; v < in.vocabulary; v += kThreads)
      if (seen[v])
        z[v] = penalized(z[v], z[v] - (presence + frequency * static_cast<float>(seen[v])));
  }
  __syncthreads();
}

__device__ Part read_part(const SampleArgs& in, int s, int part, unsigned char* shared) {
  auto* floats = reinterpret_cast<float*>(shared);
  auto* bests = reinterpret_cast<Best*>(shared + 256);
  float logit[kPerThread];
  float top = -INFINITY;
  Best own{-INFINITY, in.vocabulary}, odd{0.f, in.V};
  for (int i = 0; i < kPerThread; ++i) {
    const int v = part * kPartLogits + i * kThreads + static_cast<int>(threadIdx.x);
    logit[i] = v < in.V ? in.logits[s][v] : -INFINITY;
    if (v < in.V && odd.id == in.V && !isfinite(logit[i])) odd = {1.f, v};
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
  return {top, total, block_best(own, bests), block_best(odd, bests).id};
}

/// Grid: parts of a row, rows. The last block of a row merges its parts, which is all there is to
/// the best token; penalties and reports it makes alone. draw_rows() goes on with draws.
__global__ void __launch_bounds__(kThreads, 1) sample(const __grid_constant__ SampleArgs in) {
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
  if (in.draws && blockIdx.x == 0)  // for draw_rows()
    for (int bin = static_cast<int>(threadIdx.x); bin < kMassBins; bin += kThreads)
      in.bins[s * kMassBins + bin] = 0, in.rests[s * kMassBins + bin] = 0;
  if (!is_last(in.counters + s, gridDim.x, flag)) return;

  auto* all = reinterpret_cast<Part*>(shared + 1024);
  for (int p = static_cast<int>(threadIdx.x); p < parts; p += kThreads)
    all[p] = {load_coherent(&written[p].top),
              load_coherent(&written[p].total),
              {load_coherent(&written[p].best.value), load_coherent(&written[p].best.id)},
              load_coherent(&written[p].non_finite)};
  __syncthreads();
  // In order, so that the bits are the same in every run.
  float top = -INFINITY, total = 0.f;
  Best best{-INFINITY, in.vocabulary};
  int non_finite = V;
  for (int p = 0; p < parts; ++p) top = fmaxf(top, all[p].top);
  for (int p = 0; p < parts; ++p) {
    const Part& part = all[p];
    non_finite = min(non_finite, part.non_finite);
    if (part.top != -INFINITY) total += part.total * expf(part.top - top);
    if (part.best.id < in.vocabulary && (best.id == in.vocabulary || better(part.best, best)))
      best = part.best;
  }
  __syncthreads();  // the place is others' now
  const float log_total = top + logf(total);

  const int mask_row = in.mask_rows ? in.mask_rows[s] : -1;
  const uint32_t* mask = mask_row < 0 ? nullptr : in.masks[mask_row];
  const bool biased = in.bias_ids && in.bias_offsets[s] != in.bias_offsets[s + 1];
  const bool chosen = mask || biased;
  const bool changes = chosen || in.history_offsets[s] != in.history_offsets[s + 1];
  if (changes || in.top > 0) {
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
  if (chosen) apply_choice(in, s, mask, z);
  if (changes) {
    apply_penalties(in, s, z, seen);
    best = best_after(z, in.vocabulary, nullptr, bests);
  }
  if (threadIdx.x != 0) return;
  const int id = mask && best.value == -INFINITY ? -1 : best.id;
  in.ids[s] = id;
  in.logprobs[s] = id < 0 ? -INFINITY : in.logits[s][id] - log_total;
  in.non_finite[s] = non_finite < V ? non_finite : -1;
  if (!in.draws) return;
  const bool wanted = at(in.options[s], SampleOption::temperature) != 0.f && isfinite(best.value);
  in.rows[s] = {best.value, log_total, wanted, changes, 0, 0};
}

/// Parts of a scratch, one after the other.
struct Pieces {
  unsigned char* at;

  template <class T>
  T* take(int64_t count) {
    T* piece = reinterpret_cast<T*>(at);
    at += count * static_cast<int64_t>(sizeof(T));
    return piece;
  }
};

}  // namespace

void Sample::run_cuda(const CudaContext& cuda) const {
  const int64_t S = ids.dim(0), V = logits.dim(1);
  const dim3 grid(blocks_for(V, kPartLogits), static_cast<unsigned>(S));
  static_assert(kRowBytes >= kMassBins * 12 + sizeof(Draw));
  static_assert(kPartBytes >= sizeof(PartMass) + sizeof(Part) && kPartWidth == kPartLogits);
  Pieces pieces{scratch.as<unsigned char>()};
  auto* rests = pieces.take<unsigned long long>(S * kMassBins);
  auto* masses = pieces.take<PartMass>(S * grid.x);
  auto* changed = pieces.take<float>(S * 2 * V);
  auto* bins = pieces.take<unsigned>(S * kMassBins);
  auto* rows = pieces.take<Draw>(S);
  const SampleArgs in{rows_of<const float>(logits),
                      rows_of<const float>(options),
                      rows_of<const int32_t>(counts),
                      history.as<const int32_t>(),
                      history_offsets.as<const int32_t>(),
                      ids.as<int32_t>(),
                      logprobs.as<float>(),
                      non_finite.as<int32_t>(),
                      rows_of<int32_t>(top_ids),
                      rows_of<float>(top_logprobs),
                      rows_of<const uint32_t>(masks),
                      mask_rows ? mask_rows.as<const int32_t>() : nullptr,
                      bias_ids ? bias_ids.as<const int32_t>() : nullptr,
                      biases ? biases.as<const float>() : nullptr,
                      bias_offsets ? bias_offsets.as<const int32_t>() : nullptr,
                      static_cast<int>(V),
                      static_cast<int>(vocabulary),
                      top_ids ? static_cast<int>(top_ids.dim(1)) : 0,
                      draws,
                      changed,
                      pieces.take<Part>(S * grid.x),
                      rows,
                      bins,
                      rests,
                      masses,
                      cuda.counters};
  // The parts of the widest row.
  constexpr size_t kShared = 1024 + GpuLimits::kSampleWidth / kPartLogits * sizeof(Part);
  cuda.launch(sample, grid, kThreads, kShared, in);
  if (draws) draw_rows(cuda, in, grid);
}

}  // namespace moe
