// Prefill: long runs of tokens of one sequence, bf16, on mma.sync; bound by the matrix units. The
// online softmax of FlashAttention-2 (Dao 2023, arXiv:2307.08691), a warp for 16 queries, with one
// cache block of keys and values in work and the next one on its way. Probabilities are rounded to
// bf16, as there.

#include "attention_runs.cuh"

namespace moe {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps, kQueries = 16 * kWarps;
constexpr int kStages = 2;

/// Shared memory for head sizes up to 16 DT, of keys and of values.
template <int DT>
struct Tiles {
  static constexpr int kRow = row_bytes(DT);             // bytes of a row of queries or values
  static constexpr int kKeyBytes = 16 * DT * kKeys * 2;  // [16 DT][keys], 16-byte chunks swizzled
  static constexpr int kStage = kKeyBytes + kKeys * kRow;
  static constexpr int kBytes = kQueries * kRow + kStages * kStage;
};

/// Chunk c (of 8 keys) of dimension d: eight dimensions' chunks meet in no bank.
__device__ __forceinline__ int key_chunk(int d, int c) { return d * 64 + (c ^ (d / 2 % 4)) * 16; }

template <int DT>
__device__ __forceinline__ void load_block(const AttentionArgs& args, const bf16* keys,
                                           const bf16* values, int64_t row, int from, int to,
                                           unsigned char* stage) {
  const int D = args.D, V = args.V, thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < 16 * DT * 4; i += kThreads) {
    const int d = i / 4, c = i % 4;
    const bool there = d < D;
    cp_async16(stage + key_chunk(d, c), keys + row * D + (there ? d * kKeys + c * 8 : 0),
               there ? 16 : 0);
  }
  // Rows outside of what is visible may be not even finite; those behind are whatever the cache had
  // before.
  for (int i = thread; i < kKeys * 2 * DT; i += kThreads) {
    const int j = i / (2 * DT), c = i % (2 * DT);
    const bool there = j >= from && j <= to && 8 * c < V;
    cp_async16(stage + Tiles<DT>::kKeyBytes + j * Tiles<DT>::kRow + c * 16,
               values + row * V + (there ? j * V + 8 * c : 0), there ? 16 : 0);
  }
}

/// Grid: tiles of 64 tokens, the last ones first, which see most: a long tile that starts last
/// keeps the GPU waiting. Then query heads. kBias: scores get what args.bias says of the distance.
template <int DT, bool kBias = false>
__global__ void __launch_bounds__(kThreads, DT <= 6 ? 3 : 2)
    attend_prefill(const AttentionArgs args, Rows<const bf16> q, const bf16* keys,
                   const bf16* values, Rows<bf16> out) {
  using Tile = Tiles<DT>;
  unsigned char* queries = shared_memory();
  unsigned char* stages = queries + kQueries * Tile::kRow;
  wait_prior_grid();
  launch_dependents();
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int g = lane / 4, t = lane % 4, n = static_cast<int>(blockIdx.y);
  const int head = n / (args.N / args.G);
  const int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kQueries,
            end = min(first + kQueries, args.T);
  load_queries<DT, kQueries>(args, q, n, first, end, queries);

  int alone_end = first;  // tokens before it come one by one
  Run run = next_run(args, first, end);
  while (run.begin < run.end) {
    const int32_t* table = args.block_table[args.sequences[run.begin]];
    const int begin_block = run.first_key / kKeys, end_block = run.last_key / kKeys + 1;
    const auto load = [&](int block) {
      if (block < end_block)
        load_block<DT>(args, keys, values, (int64_t{table[block]} * args.G + head) * kKeys,
                       run.first_key - block * kKeys, run.last_key - block * kKeys,
                       stages + (block - begin_block) % kStages * Tile::kStage);
      cp_async_commit();
    };
    // Rows g and g + 8 of the warp's 16; rows outside of the run see nothing.
    int from[2], to[2], tokens[2];
    for (int i = 0; i < 2; ++i) {
      const int token = first + 16 * warp + g + 8 * i;
      const bool own = token >= run.begin && token < run.end;
      from[i] = own ? args.starts[token] : 0;
      to[i] = own ? args.ends[token] : -1;
      tokens[i] = own ? token : run.begin;
    }
    const DistanceBias bias[2] = {{args, tokens[0], n}, {args, tokens[1], n}};
    // A sink is seen before all keys; its share is counted by one of the row's four lanes.
    const float sink = args.sinks ? args.sinks[n] : -INFINITY,
                share = args.sinks && t == 0 ? 1.f : 0.f;
    float best[2] = {sink, sink}, total[2] = {share, share}, sums[2 * DT][4] = {};
    load(begin_block);
    for (int block = begin_block; block < end_block; ++block) {
      load(block + 1);
      cp_async_wait<1>();
      __syncthreads();
      const unsigned char* stage = stages + (block - begin_block) % kStages * Tile::kStage;

      float scores[4][4] = {};  // tiles of 8 keys
#pragma unroll
      for (int step = 0; step < DT; ++step) {
        uint32_t a[4];
        ldmatrix_x4(a, queries + (16 * warp + lane % 16) * Tile::kRow + step * 32 + lane / 16 * 16);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          uint32_t r[4];
          const int d = 16 * step + lane % 16, c = 2 * half + lane / 16;
          ldmatrix_x4_trans(r, stage + key_chunk(d, c));
          const uint32_t low[2] = {r[0], r[1]}, high[2] = {r[2], r[3]};
          mma_bf16(scores[2 * half], a, low);
          mma_bf16(scores[2 * half + 1], a, high);
        }
      }

#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float top = best[i];
#pragma unroll
        for (int k = 0; k < 4; ++k)
          for (int h = 0; h < 2; ++h) {
            const int position = block * kKeys + 8 * k + 2 * t + h;
            float& score = scores[k][2 * i + h];
            const bool seen = position >= from[i] && position <= to[i];
            const float value =
                kBias ? bias[i].score(score, args.scale, position) : score * args.scale;
            score = seen ? value : -INFINITY;
            top = fmaxf(top, score);
          }
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
        const float keep = best[i] == -INFINITY ? 0.f : expf(best[i] - top);
        best[i] = top;
        float sum = 0.f;
#pragma unroll
        for (int k = 0; k < 4; ++k)
          for (int h = 0; h < 2; ++h) {
            float& score = scores[k][2 * i + h];
            score = score == -INFINITY ? 0.f : expf(score - top);
            sum += score;
          }
        total[i] = total[i] * keep + sum;  // this lane's share of the keys
#pragma unroll
        for (int k = 0; k < 2 * DT; ++k) sums[k][2 * i] *= keep, sums[k][2 * i + 1] *= keep;
      }

#pragma unroll
      for (int step = 0; step < 2; ++step) {
        uint32_t p[4];  // c of two score tiles is a of one step
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float(&c)[4] = scores[2 * step + i / 2];
          p[i] = narrow2(c[i % 2 * 2], c[i % 2 * 2 + 1]);
        }
#pragma unroll
        for (int k = 0; k < DT; ++k) {
          uint32_t r[4];
          const int j = 16 * step + lane % 16;
          ldmatrix_x4_trans(r, stage + Tile::kKeyBytes + j * Tile::kRow + k * 32 + lane / 16 * 16);
          const uint32_t low[2] = {r[0], r[1]}, high[2] = {r[2], r[3]};
          mma_bf16(sums[2 * k], p, low);
          mma_bf16(sums[2 * k + 1], p, high);
        }
      }
      __syncthreads();  // before the block behind the next one comes here
    }
    cp_async_wait<0>();

    bool undefined = false;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      total[i] += __shfl_xor_sync(~0u, total[i], 1);
      total[i] += __shfl_xor_sync(~0u, total[i], 2);
      if (to[i] < 0) continue;
      bf16* row = out[first + 16 * warp + g + 8 * i] + n * args.V;
#pragma unroll
      for (int k = 0; k < 2 * DT; ++k) {
        undefined |= isnan(sums[k][2 * i] + sums[k][2 * i + 1]);
        if (8 * k < args.V)
          *reinterpret_cast<uint32_t*>(row + 8 * k + 2 * t) =
              narrow2(sums[k][2 * i] / total[i], sums[k][2 * i + 1] / total[i]);
      }
    }
    // A probability of 0 times a value that is not finite is NaN: then each token comes once more
    // by itself, without what it does not see.
    if (run.end > alone_end && __syncthreads_or(undefined)) {
      alone_end = run.end;
      run = alone(args, run.begin);
    } else {
      run = run.end < alone_end ? alone(args, run.end) : next_run(args, run.end, end);
    }
  }
  cp_async_wait<0>();
}

}  // namespace

bool attention_prefill(const CudaContext& cuda, const Attention& op, const AttentionArgs& args) {
  const auto q = rows_of<const bf16>(op.q);
  const auto out = rows_of<bf16>(op.out);
  const int widest = std::max(args.D, args.V);
  if (args.D % 8 != 0 || args.V % 8 != 0 || !aligned(q) || !aligned(out)) return false;
  if (widest > (op.bias ? 128 : 256)) return false;
  if (cuda.warpgroups && !op.bias) {  // which has no place for what distance adds
    attention_warpgroup(cuda, op, args);
    return true;
  }
  const auto launch = [&](auto kernel, int bytes) {
    cuda.launch(kernel, {blocks_for(args.T, kQueries), static_cast<unsigned>(args.N)}, kThreads,
                static_cast<size_t>(bytes), args, q, op.keys.as<const bf16>(),
                op.values.as<const bf16>(), out);
  };
  if (op.bias && widest <= 64)
    launch(attend_prefill<4, true>, Tiles<4>::kBytes);
  else if (op.bias)
    launch(attend_prefill<8, true>, Tiles<8>::kBytes);
  else if (widest <= 64)
    launch(attend_prefill<4>, Tiles<4>::kBytes);
  else if (widest <= 96)
    launch(attend_prefill<6>, Tiles<6>::kBytes);
  else if (widest <= 128)
    launch(attend_prefill<8>, Tiles<8>::kBytes);
  else
    launch(attend_prefill<16>, Tiles<16>::kBytes);
  return true;
}

}  // namespace moe
