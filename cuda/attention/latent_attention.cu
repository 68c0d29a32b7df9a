// Latent attention of any dtype and size: a warp has two query heads of a token and reads the rows
// of a cache block once for both, as keys and as values.

#include "latent_attention.cuh"

namespace moe {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps, kWarpHeads = 2, kHeads = kWarps * kWarpHeads;

/// A warp's heads, and what they have of a range in shared memory.
struct WarpHeads {
  int count;
  const float* query;  // [heads, L], [c, r] each
  float* sums;         // [heads, C]
  float* p;            // [heads, keys]
};

/// The blocks of one range, by one warp.
template <class T>
__device__ __forceinline__ void attend_range(const AttentionArgs& args, const Span& blocks,
                                             const Span& visible, const int32_t* table,
                                             const T* cache, const WarpHeads& heads,
                                             Softmax (&softmax)[kWarpHeads]) {
  const int L = args.D, C = args.V, lane = static_cast<int>(threadIdx.x % 32);
  for (int i = 0; i < kWarpHeads; ++i) softmax[i] = {};
  for (int c = lane; c < heads.count * C; c += 32) heads.sums[c] = 0.f;
  for (int block = blocks.first; block <= blocks.last; ++block) {
    const T* rows = cache + int64_t{table[block]} * kKeys * L;
    const int count = min(kKeys, visible.last - block * kKeys + 1);
    float score[kWarpHeads] = {}, keep[kWarpHeads] = {};
    for (int d = 0; lane < count && d < L; ++d) {
      const float key = to_float(rows[lane * L + d]);
      for (int i = 0; i < heads.count; ++i) score[i] += heads.query[i * L + d] * key;
    }
    const int position = block * kKeys + lane;
    const bool seen = position >= visible.first && position <= visible.last;
    for (int i = 0; i < heads.count; ++i) {
      score[i] = seen ? score[i] * args.scale : -INFINITY;
      keep[i] = softmax[i].raise(warp_max(score[i]));
      const float p = softmax[i].share(score[i]);
      softmax[i].total += warp_sum(p);
      heads.p[i * kKeys + lane] = p;
    }
    __syncwarp();
    for (int c = lane; c < C; c += 32) {
      float sum[kWarpHeads] = {};
      for (int i = 0; i < heads.count; ++i) sum[i] = heads.sums[i * C + c] * keep[i];
      for (int j = 0; j < count; ++j) {
        const float value = to_float(rows[j * L + c]);
        for (int i = 0; i < heads.count; ++i) sum[i] += heads.p[i * kKeys + j] * value;
      }
      for (int i = 0; i < heads.count; ++i) heads.sums[i * C + c] = sum[i];
    }
    __syncwarp();  // before the next block's p
  }
}

/// Grid: tiles of query heads, then ranges of keys, or tokens where a block has all of a token's
/// ranges. The block that ends the last range of a token merges them all.
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    latent_attend(const AttentionArgs args, const LatentQueries<T> q, const T* cache, Rows<T> out,
                  unsigned* counters) {
  const int L = args.D, C = args.V, R = L - C;
  auto* query = reinterpret_cast<float*>(shared_memory());  // [heads, L]
  float* sums = query + kHeads * L;                         // [heads, C]
  float* merged = sums + kHeads * C;                        // [heads, C]
  float* p = merged + kHeads * C;                           // [heads, keys]
  float* factors = p + kHeads * kKeys;                      // [4, ranges]
  auto* flag = reinterpret_cast<int*>(factors + 4 * args.ranges);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int n0 = static_cast<int>(blockIdx.x) * kHeads, count = min(kHeads, args.N - n0);
  const int own = warp * kWarpHeads;  // the warp's first head
  const WarpHeads heads{max(min(kWarpHeads, count - own), 0), query + own * L, sums + own * C,
                        p + own * kKeys};
  const auto find = [&](int index) {
    const Piece piece = find_piece(args, index);
    if (blockIdx.x == 0) prefetch_cache(args, piece, 0, cache, L);
    return piece;
  };
  int index = static_cast<int>(blockIdx.y);
  Piece piece = find(index), next;
  wait_prior_grid();
  launch_dependents();

  for (; piece.token >= 0; piece = next) {
    next = find(index += static_cast<int>(gridDim.y));
    const int t = piece.token;
    const Visible visible(args, t);
    const int32_t* table = args.block_table[args.sequences[t]];
    __syncthreads();  // whoever still reads what the piece before has left
    for (int i = thread; i < count * L; i += kThreads) {
      const int n = n0 + i / L, d = i % L;
      query[i] = to_float(d < C ? q.absorbed[t][n * C + d] : q.rotated[t][n * q.step + d - C]);
    }
    for (int i = thread; i < count * C; i += kThreads) merged[i] = 0.f;
    __syncthreads();

    const bool apart = args.ranges > 1 && piece.count > 1;  // from other blocks
    Softmax all[kWarpHeads];
    for (int range = piece.first; range < piece.last; ++range) {
      Softmax softmax[kWarpHeads];
      attend_range(args, visible.blocks(range), visible.positions, table, cache, heads, softmax);
      for (int i = 0; i < heads.count; ++i) {
        const Partials partials(args, t, n0 + own + i);
        const Factors next = all[i].add(softmax[i]);
        for (int c = lane; c < C; c += 32) {
          const float sum = heads.sums[i * C + c];
          float& to = merged[(own + i) * C + c];
          if (apart)
            partials.of(range)[c] = sum;
          else
            to = merge(to, next, sum);
        }
        if (apart && lane == 0) partials.put(range, softmax[i]);
      }
      __syncwarp();
    }

    const auto put = [&](int n, int c, float value) { out[t][n * C + c] = from_f32<T>(value); };
    if (!apart) {
      for (int i = 0; i < heads.count; ++i)
        for (int c = lane; c < C; c += 32)
          put(n0 + own + i, c, merged[(own + i) * C + c] / all[i].total);
    } else if (is_last(counters + t * gridDim.x + blockIdx.x, static_cast<unsigned>(piece.count),
                       flag)) {
      for (int n = n0; n < n0 + count; ++n) {
        __syncthreads();  // whoever still reads the factors of the head before
        Partials(args, t, n).merge_all(piece.count, {}, factors, [&](int c, float value) {
          put(n, c, value);
        });
      }
    }
  }
}

}  // namespace

void LatentAttention::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(cache.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    AttentionArgs args{};
    args.starts = starts.as<const int32_t>();
    args.ends = ends.as<const int32_t>();
    args.sequences = sequences.as<const int32_t>();
    args.block_table = rows_of<const int32_t>(block_table);
    args.scale = scale;
    args.T = static_cast<int>(q.dim(0));
    args.N = static_cast<int>(heads);
    args.G = 1;
    args.D = static_cast<int>(cache.dim(2));
    args.V = static_cast<int>(C());
    args.ranges = static_cast<int>(ranges(true));
    args.partial = args.ranges > 1 ? scratch.as<float>() : nullptr;
    if (is_bf16<Value> && latent_matrices(cuda, *this, args)) return;
    const unsigned tiles = blocks_for(heads, kHeads);
    const size_t shared =
        sizeof(float) * (kHeads * static_cast<size_t>(args.D + 2 * args.V + kKeys) +
                         4 * static_cast<size_t>(args.ranges) + 1);
    cuda.launch(latent_attend<Value>, {tiles, latent_blocks(cuda, args, tiles, 2)}, kThreads,
                shared, args, latent_queries<Value>(*this), cache.as<const Value>(),
                rows_of<Value>(out), cuda.counters);
  });
}

}  // namespace moe
