// Few tokens of a sequence, and any dtype and head size. Bound by the bandwidth of the cache: keys
// and values go from memory straight into registers, 16 bytes a lane and many loads at a time.

#include "attention_lanes.cuh"
#include "attention_ranges.cuh"
#include "norm/norm.cuh"
#include "rope_cache.cuh"

namespace moe {
namespace {

constexpr int kWarps = 2, kThreads = 32 * kWarps;  // a warp has every second block of a range
constexpr int kResident = 4;                       // blocks on a multiprocessor
constexpr int kMostBlocks = 65535;                 // of a grid's second dimension

/// What is done with a token's q, k and v before its attention.
template <class T>
struct BeforeArgs {
  RopeArgs<T> rope;
  const float *q_norm, *k_norm;  // [D], or null
  float q_eps, k_eps;
  bool whole;  // see in_quads()
};

template <class T>
BeforeArgs<T> before_args(const RopeAttention& op) {
  BeforeArgs<T> args{};
  args.rope = rope_args<T>(op.rope);
  if (!op.norms) return args;
  const auto& [q, k] = *op.norms;
  args.rope.q = rows_of<T>(q.x);
  args.rope.k = rows_of<const T>(k.x);
  args.q_norm = q.weight.template as<const float>();
  args.k_norm = k.weight.template as<const float>();
  args.q_eps = q.eps;
  args.k_eps = k.eps;
  args.whole = in_quads(q.x, q.weight, k.x, k.weight);
  return args;
}

/// A warp's blocks of one range: its sums [V], and their softmax. `row_of(block)` is the head's
/// first row in a cache block, of 32.
template <class T, int C, class RowOf>
__device__ __forceinline__ Softmax attend_range(const Lanes<T>& lane, const Span& blocks,
                                                const Span& visible, const AttentionArgs& args,
                                                const DistanceBias& bias, const float* query,
                                                const T* keys, const T* values, const RowOf& row_of,
                                                float* warp_sums) {
  constexpr int kValues = Lanes<T>::kValues;
  constexpr int kAhead = C <= 2 ? 12 : 8;  // loads at a time: what fits the registers
  const int V = lane.V, warp = static_cast<int>(threadIdx.x / 32);
  Softmax softmax;
  float sums[C][kValues] = {};
  for (int block = blocks.first + warp; block <= blocks.last; block += kWarps) {
    const int64_t row = row_of(block);
    const int begin = visible.first - block * kKeys,
              count = min(kKeys, visible.last - block * kKeys + 1);
    const auto load = [&](int j, int c, Chunk<T>& chunk) {
      const int d = lane.first + 32 * kValues * c;
      const T* from = values + (row + j + lane.row) * V + d;
      // What is not visible may be not even finite, and a weight of 0 does not make it 0.
      const bool seen = j + lane.row >= begin && j + lane.row < count;
      if (lane.row >= lane.rows || !seen || d >= V)
        chunk.bits = {};
      else if (lane.whole)
        chunk.load(from);
      else
        chunk.load_some(from, V - d);
    };
    constexpr int kRows = kAhead / C;  // loads of values at a time
    Chunk<T> chunk[kRows][C];
#pragma unroll
    for (int u = 0; u < kRows; ++u)
#pragma unroll
      for (int c = 0; c < C; ++c) load(u * lane.rows, c, chunk[u][c]);

    float score = lane.template score<kAhead>(query, keys + row * args.D, args.D);
    const int position = block * kKeys + lane.key();
    const bool seen = position >= visible.first && position <= visible.last;
    score = seen ? bias.score(score, args.scale, position) : -INFINITY;
    const float keep = softmax.raise(warp_max(score));
    const float p = softmax.share(score);
    softmax.total += warp_sum(p);
#pragma unroll
    for (int c = 0; c < C; ++c)
#pragma unroll
      for (int i = 0; i < kValues; ++i) sums[c][i] *= keep;

    for (int j = 0; j < count; j += kRows * lane.rows) {
#pragma unroll
      for (int u = 0; u < kRows; ++u) {
        const int from = Lanes<T>::lane_of(min(j + u * lane.rows + lane.row, kKeys - 1));
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
      if (lane.row == 0 && d < V) warp_sums[warp * V + d] = sum;
    }
  return softmax;
}

/// Grid: query heads, then ranges of keys, or tokens where a block has all of a token's ranges. The
/// block that ends the last range of a token merges them all.
template <class T, int C, class Before>
__global__ void __launch_bounds__(kThreads, kResident)
    attend(const AttentionArgs args, Rows<const T> q, const T* keys, const T* values, Rows<T> out,
           const Before before, unsigned* counters) {
  constexpr bool kBefore = !std::is_same_v<Before, Nothing>;
  static_assert(kWarps == 2);  // one norms the query, the other the key
  const int D = args.D, V = args.V, n = static_cast<int>(blockIdx.x), g = n / (args.N / args.G);
  auto* normed = reinterpret_cast<T*>(shared_memory());  // [2, D], with norms
  auto* query = reinterpret_cast<float*>(normed);        // [D]
  if constexpr (kBefore)
    if (before.q_norm) query = reinterpret_cast<float*>(normed + 2 * D);
  float* warp_sums = query + D;            // [warps, V]
  float* merged = warp_sums + kWarps * V;  // [V]; a thread has its own columns
  float* factors = merged + V;             // [4, ranges]
  auto* softmaxes = reinterpret_cast<Softmax*>(factors + 4 * args.ranges);  // [warps]
  auto* flag = reinterpret_cast<int*>(softmaxes + kWarps);
  const int thread = static_cast<int>(threadIdx.x);
  const Lanes<T> lane(V);
  // Of the block's pieces, the next one's cache is asked for while it does one.
  const auto find = [&](int index) {
    const Piece piece = find_piece(args, index);
    if (n % (args.N / args.G) != 0) return piece;
    prefetch_cache(args, piece, g, keys, D);
    prefetch_cache(args, piece, g, values, V);
    return piece;
  };
  int index = static_cast<int>(blockIdx.y);
  Piece piece = find(index), next;
  wait_prior_grid();
  launch_dependents();

  for (; piece.token >= 0; piece = next) {
    next = find(index += static_cast<int>(gridDim.y));
    const int t = piece.token;
    if (piece.count == 0) continue;
    const Visible visible(args, t);
    const DistanceBias bias(args, t, n);
    const int32_t* table = args.block_table[args.sequences[t]];
    const auto row_of = [&](int block) { return (int64_t{table[block]} * args.G + g) * kKeys; };
    __syncthreads();  // whoever still reads what the piece before has left
    // Every head of a group writes the same to the cache, and then sees what it wrote.
    const bool writes = kBefore && piece.last == piece.count;
    if constexpr (kBefore) {
      const RopeArgs<T>& rope = before.rope;
      const T *query_head = rope.q[t] + n * D, *key_head = rope.k[t] + g * D;
      if (before.q_norm) {
        const bool first = thread < 32;
        T* to = first ? normed : normed + D;
        norm_run(first ? query_head : key_head, first ? before.q_norm : before.k_norm,
                 first ? before.q_eps : before.k_eps, D, before.whole,
                 [&](int h, const Quad& quad) { store_quad(to, h, D, before.whole, quad); });
        __syncthreads();
        query_head = normed, key_head = normed + D;
      }
      for (int d = thread; d < D; d += kThreads) {
        query[d] = to_float(rope.rotated(query_head, t, d));
        if (writes) rope.store_key(key_head, t, g, d);
      }
      for (int d = thread; writes && d < V; d += kThreads) rope.store_value(t, g, d);
    } else {
      for (int d = thread; d < D; d += kThreads) query[d] = to_float(q[t][n * D + d]);
    }
    for (int d = thread; d < V; d += kThreads) merged[d] = 0.f;
    __syncthreads();

    const bool apart = args.ranges > 1 && piece.count > 1;  // from other blocks
    const Partials partials(args, t, n);
    const Softmax start = Softmax::of_sink(args.sinks, n);
    Softmax all = start;
    for (int range = piece.first; range < piece.last; ++range) {
      const Softmax own = attend_range<T, C>(lane, visible.blocks(range), visible.positions, args,
                                             bias, query, keys, values, row_of, warp_sums);
      if (lane.lane == 0) softmaxes[thread / 32] = own;
      __syncthreads();
      Softmax both;
      float factor[kWarps];
      for (int w = 0; w < kWarps; ++w) both.best = fmaxf(both.best, softmaxes[w].best);
      for (int w = 0; w < kWarps; ++w) {
        factor[w] = both.share(softmaxes[w].best);
        both.total = fmaf(factor[w], softmaxes[w].total, both.total);
      }
      const Factors next = all.add(both);
      for (int d = thread; d < V; d += kThreads) {
        float sum = 0.f;
        for (int w = 0; w < kWarps; ++w) sum = fmaf(factor[w], warp_sums[w * V + d], sum);
        if (apart)
          partials.of(range)[d] = sum;
        else
          merged[d] = merge(merged[d], next, sum);
      }
      if (apart && thread == 0) partials.put(range, both);
      __syncthreads();  // before the next range's sums
    }

    if (!apart) {
      for (int d = thread; d < V; d += kThreads)
        out[t][n * V + d] = from_f32<T>(merged[d] / all.total);
    } else if (is_last(counters + t * args.N + n, static_cast<unsigned>(piece.count), flag)) {
      partials.merge_all(piece.count, start, factors,
                         [&](int d, float value) { out[t][n * V + d] = from_f32<T>(value); });
    }
  }
}

template <class T>
constexpr int kMost = static_cast<int>(Attention::kMaxHeadSize) / (32 * Chunk<T>::kValues);

template <class T>
void run(const CudaContext& cuda, const Attention& op, const RopeAttention* fused) {
  const auto D = static_cast<int>(op.keys.dim(2)), V = static_cast<int>(op.values.dim(3)),
             N = static_cast<int>(op.q.dim(1)) / D;
  AttentionArgs args{op.starts.as<const int32_t>(),
                     op.ends.as<const int32_t>(),
                     op.sequences.as<const int32_t>(),
                     rows_of<const int32_t>(op.block_table),
                     op.scale,
                     static_cast<int>(op.q.dim(0)),
                     N,
                     static_cast<int>(op.keys.dim(1)),
                     D,
                     V,
                     op.sinks ? op.sinks.as<const float>() : nullptr,
                     op.bias ? op.bias.as<const float>() : nullptr,
                     op.bias ? op.positions.as<const int32_t>() : nullptr,
                     op.bias ? static_cast<int>(op.bias.dim(1) / 2) : 0,
                     static_cast<int>(op.ranges()),
                     op.scratch.as<float>(),
                     false};
  // As many sequences as tokens: there is hardly a run.
  const bool decode = args.T == op.block_table.dim(0);
  args.runs_apart = is_bf16<T> && args.T >= kLongRun && !decode && !op.deterministic &&
                    attention_prefill(cuda, op, args);
  if (args.runs_apart && op.block_table.dim(0) == 1) return;  // one sequence: one long run
  // As many blocks as are resident at a time share what ranges there are.
  auto blocks = static_cast<unsigned>(std::min(args.T, kMostBlocks));
  if (args.ranges > 1) {
    const unsigned enough = blocks_for(kResident * cuda.multiprocessors, N);
    blocks = std::min(blocks * static_cast<unsigned>(args.ranges), std::max(blocks, enough));
  }
  const auto launch = [&](auto kernel, const auto& before) {
    const size_t normed = fused && fused->norms ? 2 * sizeof(T) * static_cast<size_t>(D) : 0;
    const size_t shared =
        normed + sizeof(float) *
                     static_cast<size_t>(D + (1 + kWarps) * V + 4 * args.ranges + 2 * kWarps + 1);
    cuda.launch(kernel, {static_cast<unsigned>(N), blocks}, kThreads, shared, args,
                rows_of<const T>(op.q), op.keys.as<const T>(), op.values.as<const T>(),
                rows_of<T>(op.out), before, cuda.counters);
  };
  const int chunks = (V + Chunk<T>::kValues - 1) / Chunk<T>::kValues;
  const auto of_width = [&](const auto& before) {
    using Before = std::decay_t<decltype(before)>;
    if (chunks <= 32)
      launch(attend<T, 1, Before>, before);
    else if (chunks <= 64)
      launch(attend<T, 2, Before>, before);
    else
      launch(attend<T, kMost<T>, Before>, before);
  };
  if (fused)
    of_width(before_args<T>(*fused));
  else
    of_width(Nothing{});
}

}  // namespace

void attention_cuda(const CudaContext& cuda, const Attention& op, const RopeAttention* before) {
  dispatch_activation(op.keys.dtype, Attention::kName,
                      [&](auto tag) { run<decltype(tag)>(cuda, op, before); });
}

void Attention::run_cuda(const CudaContext& cuda) const { attention_cuda(cuda, *this, nullptr); }

}  // namespace moe
