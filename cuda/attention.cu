// Few tokens of a sequence, and any dtype and head size. Bound by the bandwidth of the cache: keys
// and values go from memory straight into registers, 16 bytes a lane and many loads at a time.

#include "attention_lanes.cuh"
#include "rope_cache.cuh"

namespace moe {
namespace {

constexpr int kWarps = 4;

/// A running softmax: the best score and the total of exp(score - best).
struct Softmax {
  float best = -INFINITY, total = 0.f;

  /// Moves to a better score and returns what sums so far are multiplied by.
  __device__ float raise(float score) {
    const float top = fmaxf(best, score);
    const float keep = best == -INFINITY ? 0.f : expf(best - top);
    best = top;
    total *= keep;
    return keep;
  }
};

/// One range of a token's keys.
struct Split {
  int token, index, count;  // count: ranges that the token has; token < 0: there are no more
};

/// The `index`-th of all tokens' ranges; every warp finds it alike. Ranges that no key of a token
/// is in are in no block's way.
__device__ Split find_split(const AttentionArgs& args, int index) {
  if (args.splits == 1) {
    const bool apart = index < args.T && args.runs_apart && in_long_run(args, index);
    return {index < args.T ? index : -1, 0, apart ? 0 : 1};
  }
  const int keys = kKeys * args.split_blocks;
  for (int base = 0; base < args.T; base += 32) {
    const int t = base + static_cast<int>(threadIdx.x % 32);
    int first = 0, count = 0;
    if (t < args.T && !(args.runs_apart && in_long_run(args, t))) {
      first = args.starts[t] / keys;
      count = args.positions[t] / keys - first + 1;
    }
    const int sum = warp_prefix(count);
    if (const uint32_t found = __ballot_sync(~0u, index < sum)) {
      const int lane = __ffs(static_cast<int>(found)) - 1;
      const int within = index - __shfl_sync(~0u, sum - count, lane);
      return {base + lane, __shfl_sync(~0u, first, lane) + within, __shfl_sync(~0u, count, lane)};
    }
    index -= __shfl_sync(~0u, sum, 31);
  }
  return {-1, 0, 0};
}

/// Grid: ranges of keys, query heads. A warp takes every fourth cache block of a range; the block
/// that ends a token's last range merges them all, in order.
template <class T, int C, class Rope>
__global__ void __launch_bounds__(32 * kWarps, 2)
    attend(const AttentionArgs args, Rows<const T> q, const T* keys, const T* values, Rows<T> out,
           const Rope rope, unsigned* counters) {
  using Lane = Lanes<T>;
  constexpr bool kRope = !std::is_same_v<Rope, Nothing>;
  constexpr int kValues = Lane::kValues;
  constexpr int kAhead = C <= 4 ? 12 : 8;  // loads at a time: what fits the registers
  const int D = args.D, n = static_cast<int>(blockIdx.y), g = n / (args.N / args.G);
  auto* query = reinterpret_cast<float*>(shared_memory());  // [D]
  float* warp_sums = query + D;                             // [warps, D]
  float* factors = warp_sums + kWarps * D;                  // [splits]
  float* totals = factors + args.splits;                    // [splits]
  auto* softmaxes = reinterpret_cast<Softmax*>(totals + args.splits);
  auto* flag = reinterpret_cast<int*>(softmaxes + kWarps);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const Lane lane(D);
  wait_for_grid();
  release_grid();

  for (int index = static_cast<int>(blockIdx.x);; index += static_cast<int>(gridDim.x)) {
    const auto [t, split, splits] = find_split(args, index);
    if (t < 0) return;
    if (splits == 0) continue;
    const int first = args.starts[t], last = args.positions[t];
    const int begin = max(first / kKeys, split * args.split_blocks);
    const int end = min(last / kKeys + 1, (split + 1) * args.split_blocks);
    __syncthreads();  // whoever still reads what the range before has left
    for (int d = thread; d < D; d += 32 * kWarps) {
      if constexpr (kRope) {
        query[d] = to_float(rope.query(t, n, d));
        // Every head of a group writes the same to the cache, and then sees what it wrote.
        if (end == last / kKeys + 1) rope.store_key(t, g, d), rope.store_value(t, g, d);
      } else {
        query[d] = to_float(q[t][n * D + d]);
      }
    }
    __syncthreads();

    Softmax softmax;
    float sums[C][kValues] = {};
    for (int block = begin + warp; block < end; block += kWarps) {
      const int64_t base =
          (int64_t{args.block_table[args.sequences[t]][block]} * args.G + g) * D * kKeys;
      const int count = min(kKeys, last - block * kKeys + 1);
      const auto load = [&](int j, int c, Chunk<T>& chunk) {
        const int d = lane.first + 32 * kValues * c;
        const T* from = values + base + (j + lane.row) * D + d;
        if (lane.row >= lane.rows || j + lane.row >= count || d >= D)
          chunk.bits = {};
        else if (lane.whole)
          chunk.load(from);
        else
          chunk.load_some(from, D - d);
      };
      constexpr int kRows = kAhead / C;  // loads of values at a time
      Chunk<T> chunk[kRows][C];
#pragma unroll
      for (int u = 0; u < kRows; ++u)
#pragma unroll
        for (int c = 0; c < C; ++c) load(u * lane.rows, c, chunk[u][c]);

      float score = lane.template score<kAhead>(query, keys + base);
      const int position = block * kKeys + lane.key();
      score = position < first || position > last ? -INFINITY : score * args.scale;
      const float keep = softmax.raise(warp_max(score));
      const float p = score == -INFINITY ? 0.f : expf(score - softmax.best);
      softmax.total += warp_sum(p);
#pragma unroll
      for (int c = 0; c < C; ++c)
#pragma unroll
        for (int i = 0; i < kValues; ++i) sums[c][i] *= keep;

      for (int j = 0; j < count; j += kRows * lane.rows) {
#pragma unroll
        for (int u = 0; u < kRows; ++u) {
          const int from = Lane::lane_of(min(j + u * lane.rows + lane.row, kKeys - 1));
          const float weight = __shfl_sync(~0u, p, from);
#pragma unroll
          for (int c = 0; c < C; ++c)
#pragma unroll
            for (int i = 0; i < kValues; ++i) sums[c][i] += weight * chunk[u][c][i];
        }
        if (j + kRows * lane.rows >= count) break;
#pragma unroll
        for (int u = 0; u < kRows; ++u)
#pragma unroll
          for (int c = 0; c < C; ++c) load(j + (kRows + u) * lane.rows, c, chunk[u][c]);
      }
    }

    // The lanes of a load's other rows hold sums of the same columns.
#pragma unroll
    for (int c = 0; c < C; ++c)
#pragma unroll
      for (int i = 0; i < kValues; ++i) {
        float sum = sums[c][i];
        for (int r = 1; r < lane.rows; ++r)
          sum += __shfl_sync(~0u, sums[c][i], lane.lane + r * lane.chunks);
        const int d = lane.first + 32 * kValues * c + i;
        if (lane.row == 0 && d < D) warp_sums[warp * D + d] = sum;
      }
    if (lane.lane == 0) softmaxes[warp] = softmax;
    __syncthreads();
    Softmax all;
    float factor[kWarps];
    for (int w = 0; w < kWarps; ++w) all.best = fmaxf(all.best, softmaxes[w].best);
    for (int w = 0; w < kWarps; ++w) {
      const Softmax& own = softmaxes[w];
      factor[w] = own.best == -INFINITY ? 0.f : expf(own.best - all.best);
      all.total += factor[w] * own.total;
    }
    float* partials = args.partial + (int64_t{t} * args.N + n) * args.splits * (D + 2);
    float* partial = partials + int64_t{split} * (D + 2);
    for (int d = thread; d < D; d += 32 * kWarps) {
      float sum = 0.f;
      for (int w = 0; w < kWarps; ++w) sum += factor[w] * warp_sums[w * D + d];
      if (splits == 1)
        out[t][n * D + d] = from_f32<T>(sum / all.total);
      else
        partial[d] = sum;
    }
    if (splits == 1) continue;
    if (thread == 0) partial[D] = all.best, partial[D + 1] = all.total;
    if (!is_last(counters + t * args.N + n, static_cast<unsigned>(splits), flag)) continue;

    const int begin_split = first / kKeys / args.split_blocks;
    const auto of = [&](int s) { return partials + int64_t{begin_split + s} * (D + 2); };
    for (int s = thread; s < splits; s += 32 * kWarps) {
      factors[s] = load_coherent(of(s) + D);
      totals[s] = load_coherent(of(s) + D + 1);
    }
    __syncthreads();
    Softmax merged;
    for (int s = 0; s < splits; ++s) merged.best = fmaxf(merged.best, factors[s]);
    __syncthreads();
    for (int s = thread; s < splits; s += 32 * kWarps)
      factors[s] = factors[s] == -INFINITY ? 0.f : expf(factors[s] - merged.best);
    __syncthreads();
    for (int s = 0; s < splits; ++s) merged.total += factors[s] * totals[s];
    for (int d = thread; d < D; d += 32 * kWarps) {
      float sum = 0.f;
#pragma unroll 8
      for (int s = 0; s < splits; ++s) sum += factors[s] * load_coherent(of(s) + d);
      out[t][n * D + d] = from_f32<T>(sum / merged.total);
    }
  }
}

template <class T>
constexpr int kMost = static_cast<int>(Attention::kMaxHeadSize) / (32 * Chunk<T>::kValues);

template <class T>
void run(const CudaContext& cuda, const Attention& op) {
  const auto D = static_cast<int>(op.keys.dim(2)), N = static_cast<int>(op.q.dim(1)) / D;
  AttentionArgs args{op.positions.as<const int32_t>(),
                     op.starts.as<const int32_t>(),
                     op.sequences.as<const int32_t>(),
                     rows_of<const int32_t>(op.block_table),
                     op.scale,
                     static_cast<int>(op.q.dim(0)),
                     N,
                     static_cast<int>(op.keys.dim(1)),
                     D,
                     static_cast<int>(op.splits()),
                     static_cast<int>(op.split_blocks()),
                     op.scratch.as<float>(),
                     false};
  // As many sequences as tokens: there is hardly a run.
  const bool decode = args.T == op.block_table.dim(0);
  args.runs_apart =
      sizeof(T) == 2 && args.T >= kLongRun && !decode && attention_runs(cuda, op, args);
  if (args.runs_apart && op.block_table.dim(0) == 1) return;  // one sequence: one long run
  // Enough blocks to fill the GPU; they share what ranges there are.
  unsigned blocks = static_cast<unsigned>(args.T);
  if (args.splits > 1) {
    const unsigned enough = blocks_for(8 * cuda.multiprocessors, N);
    blocks = std::min(blocks * static_cast<unsigned>(args.splits), std::max(blocks, enough));
  }
  const auto launch = [&](auto kernel, const auto& rope) {
    const size_t shared =
        sizeof(float) * static_cast<size_t>((1 + kWarps) * D + 2 * args.splits + 2 * kWarps + 1);
    cuda.launch(kernel, {blocks, static_cast<unsigned>(N)}, 32 * kWarps, shared, args,
                rows_of<const T>(op.q), op.keys.as<const T>(), op.values.as<const T>(),
                rows_of<T>(op.out), rope, cuda.counters);
  };
  const int chunks = (D + Chunk<T>::kValues - 1) / Chunk<T>::kValues;
  const auto of_width = [&](const auto& rope) {
    using Rope = std::decay_t<decltype(rope)>;
    if (chunks <= 32)
      launch(attend<T, 1, Rope>, rope);
    else if (chunks <= 64)
      launch(attend<T, 2, Rope>, rope);
    else
      launch(attend<T, kMost<T>, Rope>, rope);
  };
  if (op.rope)
    of_width(rope_args<T>(*op.rope));
  else
    of_width(Nothing{});
}

}  // namespace

void Attention::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(keys.dtype, kName, [&](auto tag) { run<decltype(tag)>(cuda, *this); });
}

}  // namespace moe
