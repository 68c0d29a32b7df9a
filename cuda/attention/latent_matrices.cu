// Latent attention on matrix units, bf16: sixteen query heads of a token are the rows, and a block
// of the cache that has come to shared memory is keys first, then values, as FlashMLA reads it. For
// scores a warp has eight of the block's 32 keys, for sums a quarter of the columns. Probabilities
// are rounded to bf16.

#include "latent_attention.cuh"

namespace moe {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps, kHeads = 16, kStages = 2;
constexpr int kProbabilityRow = 2 * kKeys + 16;  // bytes; eight rows meet in no bank

/// Shared memory for rows of L values, padded to whole steps of 32.
struct Layout {
  int L, C, steps, row;  // a row's bytes, 16 more than needed, so that eight meet in no bank

  __host__ __device__ explicit Layout(int L, int C)
      : L(L), C(C), steps((L + 31) / 32), row(64 * steps + 16) {}
  __host__ __device__ int stage() const { return kKeys * row; }
  __host__ __device__ int stages_at() const { return kHeads * row; }
  __host__ __device__ int probabilities_at() const { return stages_at() + kStages * stage(); }
  /// [warps, heads] of the best scores, then of totals.
  __host__ __device__ int rows_at() const { return probabilities_at() + kHeads * kProbabilityRow; }
  __host__ __device__ int factors_at() const { return rows_at() + 2 * kWarps * kHeads * 4; }
  /// [heads, C] of ranges that one block walks.
  __host__ __device__ int merged_at(int ranges) const { return factors_at() + 16 * ranges + 16; }
  int bytes(int ranges) const { return merged_at(ranges) + (ranges == 1 ? kHeads * C * 4 : 0); }
};

/// Brings `count` rows of `from` to `to`, zeros behind them and behind their end.
__device__ __forceinline__ void load_rows(const Layout& layout, const bf16* from, int count,
                                          unsigned char* to) {
  const int chunks = 4 * layout.steps;
  for (int i = static_cast<int>(threadIdx.x); i < kKeys * chunks; i += kThreads) {
    const int j = i / chunks, c = i % chunks;
    const bool there = j < count && 8 * c < layout.L;
    cp_async16(to + j * layout.row + 16 * c, from + (there ? j * layout.L + 8 * c : 0),
               there ? 16 : 0);
  }
}

/// Two rows g and g + 8 of a warp's fragment.
struct Pair {
  float v[2];
};

/// VT: tiles of 8 columns of one warp.
template <int VT>
__global__ void __launch_bounds__(kThreads)
    latent_attend(const AttentionArgs args, const LatentQueries<bf16> q, const bf16* cache,
                  Rows<bf16> out, unsigned* counters) {
  const Layout layout(args.D, args.V);
  const int C = args.V, R = args.D - C;
  unsigned char* queries = shared_memory();
  unsigned char* stages = queries + layout.stages_at();
  unsigned char* probabilities = queries + layout.probabilities_at();
  auto* bests = reinterpret_cast<float*>(queries + layout.rows_at());
  float* totals = bests + kWarps * kHeads;
  auto* factors = reinterpret_cast<float*>(queries + layout.factors_at());  // [4, ranges]
  auto* flag = reinterpret_cast<int*>(factors + 4 * args.ranges);
  auto* merged = reinterpret_cast<float*>(queries + layout.merged_at(args.ranges));
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int g = lane / 4, t = lane % 4;
  const int n0 = static_cast<int>(blockIdx.x) * kHeads, count = min(kHeads, args.N - n0);
  const int first_column = 8 * VT * warp;
  const auto find = [&](int index) {
    const Piece piece = find_piece(args, index);
    if (blockIdx.x == 0) prefetch_cache(args, piece, 0, cache, args.D);
    return piece;
  };
  int index = static_cast<int>(blockIdx.y);
  Piece piece = find(index), next;
  wait_prior_grid();
  launch_dependents();

  for (; piece.token >= 0; piece = next) {
    next = find(index += static_cast<int>(gridDim.y));
    const int token = piece.token;
    const Visible visible(args, token);
    const int32_t* table = args.block_table[args.sequences[token]];
    __syncthreads();  // whoever still reads what the piece before has left
    for (int i = thread; i < kHeads * 4 * layout.steps; i += kThreads) {
      const int h = i / (4 * layout.steps), d = 8 * (i % (4 * layout.steps)), n = n0 + h;
      const bool there = h < count && d < args.D;
      const bf16* from =
          d < C ? q.absorbed[token] + n * C + d : q.rotated[token] + n * q.step + (d - C);
      cp_async16(queries + h * layout.row + 2 * d, there ? from : q.absorbed[token],
                 there ? 16 : 0);
    }
    const bool walks = piece.last - piece.first > 1;
    if (walks)
      for (int i = thread; i < kHeads * C; i += kThreads) merged[i] = 0.f;

    const bool apart = args.ranges > 1 && piece.count > 1;  // from other blocks
    Softmax all[2];
    for (int range = piece.first; range < piece.last; ++range) {
      const Span blocks = visible.blocks(range);
      const auto load = [&](int block) {
        if (block <= blocks.last)
          load_rows(layout, cache + int64_t{table[block]} * kKeys * args.D,
                    min(kKeys, visible.positions.last - block * kKeys + 1),
                    stages + (block - blocks.first) % kStages * layout.stage());
        cp_async_commit();
      };
      Pair best{{-INFINITY, -INFINITY}}, total{};  // total: of this lane's keys
      float sums[VT][4] = {};
      load(blocks.first);
      for (int block = blocks.first; block <= blocks.last; ++block) {
        load(block + 1);
        cp_async_wait<1>();
        __syncthreads();
        const unsigned char* stage = stages + (block - blocks.first) % kStages * layout.stage();

        float scores[4] = {};
        for (int step = 0; step < layout.steps; ++step) {
          uint32_t keys[4], a[4];
          ldmatrix_x4(keys, stage + (8 * warp + lane % 8) * layout.row + 64 * step + lane / 8 * 16);
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            ldmatrix_x4(a,
                        queries + lane % 16 * layout.row + 64 * step + 32 * half + lane / 16 * 16);
            const uint32_t b[2] = {keys[2 * half], keys[2 * half + 1]};
            mma_bf16(scores, a, b);
          }
        }

#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float top = -INFINITY;
          for (int h = 0; h < 2; ++h) {
            const int position = block * kKeys + 8 * warp + 2 * t + h;
            const bool seen =
                position >= visible.positions.first && position <= visible.positions.last;
            float& score = scores[2 * i + h];
            score = seen ? score * args.scale : -INFINITY;
            top = fmaxf(top, score);
          }
          top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
          top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
          if (t == 0) bests[warp * kHeads + g + 8 * i] = top;
        }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float top = best.v[i];
          for (int w = 0; w < kWarps; ++w) top = fmaxf(top, bests[w * kHeads + g + 8 * i]);
          const float keep = best.v[i] == -INFINITY ? 0.f : expf(best.v[i] - top);
          best.v[i] = top;
          float p[2];
          for (int h = 0; h < 2; ++h) {
            const float score = scores[2 * i + h];
            p[h] = score == -INFINITY ? 0.f : expf(score - top);
          }
          total.v[i] = total.v[i] * keep + (p[0] + p[1]);
          *reinterpret_cast<uint32_t*>(probabilities + (g + 8 * i) * kProbabilityRow +
                                       2 * (8 * warp + 2 * t)) = narrow2(p[0], p[1]);
#pragma unroll
          for (int k = 0; k < VT; ++k) sums[k][2 * i] *= keep, sums[k][2 * i + 1] *= keep;
        }
        __syncthreads();

#pragma unroll
        for (int step = 0; step < 2; ++step) {
          uint32_t p[4];
          ldmatrix_x4(p, probabilities + lane % 16 * kProbabilityRow + 32 * step + lane / 16 * 16);
#pragma unroll
          for (int k = 0; k < VT; k += 2) {
            const int column = first_column + 8 * k;
            if (column >= C) break;
            uint32_t r[4];
            ldmatrix_x4_trans(
                r, stage + (16 * step + lane % 16) * layout.row + 2 * (column + lane / 16 * 8));
            const uint32_t low[2] = {r[0], r[1]}, high[2] = {r[2], r[3]};
            mma_bf16(sums[k], p, low);
            mma_bf16(sums[k + 1], p, high);
          }
        }
        __syncthreads();  // before the block behind the next one comes here
      }
      cp_async_wait<0>();

      // A row's total is spread over the lanes of all warps.
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        total.v[i] += __shfl_xor_sync(~0u, total.v[i], 1);
        total.v[i] += __shfl_xor_sync(~0u, total.v[i], 2);
        if (t == 0) totals[warp * kHeads + g + 8 * i] = total.v[i];
      }
      __syncthreads();
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int h = g + 8 * i;
        Softmax own;
        own.best = best.v[i];
        for (int w = 0; w < kWarps; ++w) own.total += totals[w * kHeads + h];
        const Factors next = all[i].add(own);
        if (h >= count) continue;
        const Partials partials(args, token, n0 + h);
        if (apart && warp == 0 && t == 0) partials.put(range, own);
#pragma unroll
        for (int k = 0; k < VT; ++k)
          for (int j = 0; j < 2; ++j) {
            const int c = first_column + 8 * k + 2 * t + j;
            if (c >= C) continue;
            const float sum = sums[k][2 * i + j];
            if (apart)
              partials.of(range)[c] = sum;
            else if (walks)
              merged[h * C + c] = merge(merged[h * C + c], next, sum);
            if (!apart && range == piece.last - 1)
              out[token][(n0 + h) * C + c] =
                  narrow((walks ? merged[h * C + c] : sum) / all[i].total);
          }
      }
      __syncthreads();  // before the next range's totals
    }

    if (apart && is_last(counters + token * static_cast<int>(gridDim.x) + blockIdx.x,
                         static_cast<unsigned>(piece.count), flag))
      for (int n = n0; n < n0 + count; ++n) {
        __syncthreads();  // whoever still reads the factors of the head before
        Partials(args, token, n).merge_all(piece.count, {}, factors, [&](int c, float value) {
          out[token][n * C + c] = narrow(value);
        });
      }
  }
  cp_async_wait<0>();
}

template <class T>
bool aligned(const Rows<T>& rows) {
  return reinterpret_cast<uintptr_t>(rows.data) % 16 == 0 && rows.stride % 8 == 0;
}

}  // namespace

bool latent_matrices(const CudaContext& cuda, const LatentAttention& op,
                     const AttentionArgs& args) {
  const auto queries = latent_queries<bf16>(op);
  const Layout layout(args.D, args.V);
  const auto bytes = static_cast<size_t>(layout.bytes(args.ranges));
  if (args.V % 8 != 0 || args.D % 8 != 0 || queries.step % 8 != 0 || !aligned(queries.absorbed) ||
      !aligned(queries.rotated) || bytes > cuda.shared_bytes)
    return false;
  const unsigned tiles = blocks_for(args.N, kHeads);
  const auto launch = [&](auto kernel) {
    cuda.launch(kernel, {tiles, latent_blocks(cuda, args, tiles, 2)}, kThreads, bytes, args,
                queries, op.cache.as<const bf16>(), rows_of<bf16>(op.out), cuda.counters);
  };
  if (args.V <= 8 * 4 * kWarps)
    launch(latent_attend<4>);
  else if (args.V <= 8 * 16 * kWarps)
    launch(latent_attend<16>);
  else
    launch(latent_attend<32>);
  return true;
}

}  // namespace moe
