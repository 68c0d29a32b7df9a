// The prefill of attention_prefill.cu on wgmma: two warpgroups of 64 queries each, 64 keys at a
// time, while the next 64 are on their way. Keys and values are both read as rows of k, as the
// cache has them. While one warpgroup is at its softmax the other one multiplies.

#include "attention_runs.cuh"

namespace moe {
namespace {

constexpr int kGroups = 2, kThreads = 128 * kGroups, kQueries = 64 * kGroups;
constexpr int kBlocks = 2, kStepKeys = kBlocks * kKeys;  // cache blocks at a time
constexpr int kStages = 2, kLine = 128;                  // bytes of a swizzled row

/// Shared memory for head sizes up to 16 DT, of keys and of values: stages, then queries.
template <int DT>
struct Tiles {
  static constexpr int kRow = row_bytes(DT);
  static constexpr int kKeyBytes = 16 * DT * kLine;       // [16 DT][keys]
  static constexpr int kColumnBytes = kStepKeys * kLine;  // [keys][64] of the values
  static constexpr int kStage = kKeyBytes + (DT + 3) / 4 * kColumnBytes;
  static constexpr int kAloneAt = kStages * kStage + kQueries * kRow, kBytes = kAloneAt + 16;
};

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

/// Where chunk c (of 8 values) of a swizzled row lies.
__device__ __forceinline__ int chunk_at(int row, int c) { return row * kLine + (c ^ row % 8) * 16; }

/// Asks for cache blocks `block` and the one behind it, as far as the run sees them. Values beyond
/// what is visible are whatever the cache had before, perhaps not even finite.
template <int DT>
__device__ __forceinline__ void load_blocks(const AttentionArgs& args, const bf16* keys,
                                            const bf16* values, const int32_t* table, int head,
                                            int block, const Run& run, unsigned char* stage) {
  const int D = args.D, V = args.V, thread = static_cast<int>(threadIdx.x);
  const int last = run.last_key / kKeys;
  int64_t rows[kBlocks];
  for (int b = 0; b < kBlocks; ++b)
    rows[b] = (int64_t{table[min(block + b, last)]} * args.G + head) * kKeys;
  for (int i = thread; i < 16 * DT * 8; i += kThreads) {
    const int d = i / 8, c = i % 8;
    const bool there = d < D && block + c / 4 <= last;
    const bf16* from = keys + (c / 4 ? rows[1] : rows[0]) * D;
    cp_async16(stage + chunk_at(d, c), from + (there ? d * kKeys + c % 4 * 8 : 0), there ? 16 : 0);
  }
  unsigned char* columns = stage + Tiles<DT>::kKeyBytes;
  for (int i = thread; i < kStepKeys * 2 * DT; i += kThreads) {
    const int j = i / (2 * DT), c = i % (2 * DT);
    const int key = block * kKeys + j;
    const bool there = key >= run.first_key && key <= run.last_key && 8 * c < V;
    const bf16* from = values + (j / kKeys ? rows[1] : rows[0]) * V;
    cp_async16(columns + c / 8 * Tiles<DT>::kColumnBytes + chunk_at(j, c % 8),
               from + (there ? j % kKeys * V + 8 * c : 0), there ? 16 : 0);
  }
}

/// First and last key that the warpgroup's rows of a run see; found by each warp alike.
__device__ __forceinline__ Run rows_of_run(const AttentionArgs& args, const Run& run, int begin) {
  Run own{max(run.begin, begin), min(run.end, begin + 64), run.last_key + 1, -1};
  for (int i = own.begin + static_cast<int>(threadIdx.x % 32); i < own.end; i += 32) {
    own.first_key = min(own.first_key, args.starts[i]);
    own.last_key = max(own.last_key, args.ends[i]);
  }
  for (int bits = 16; bits; bits >>= 1) {
    own.first_key = min(own.first_key, __shfl_xor_sync(~0u, own.first_key, bits));
    own.last_key = max(own.last_key, __shfl_xor_sync(~0u, own.last_key, bits));
  }
  return own;
}

/// A lane's rows g and g + 8 of its warp's 16. Scores are logarithms to the base 2.
struct QueryRows {
  int from[2], to[2];
  float best[2], total[2];

  /// Makes probabilities of scores, as mma.m16n8k16 has c, of keys `key`, ...; and says what sums
  /// so far are multiplied by.
  __device__ __forceinline__ void softmax(float (&scores)[kStepKeys / 2], int key, float scale,
                                          float (&keep)[2]) {
    const int t = static_cast<int>(threadIdx.x % 4);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float top = best[i];
#pragma unroll
      for (int k = 0; k < kStepKeys / 8; ++k)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const int position = key + 8 * k + 2 * t + h;
          float& score = scores[4 * k + 2 * i + h];
          score = position < from[i] || position > to[i] ? -INFINITY : score * scale;
          top = fmaxf(top, score);
        }
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
      const float base = top == -INFINITY ? 0.f : top;
      keep[i] = exp2f(best[i] - base);
      best[i] = top;
      float sum = 0.f;
#pragma unroll
      for (int k = 0; k < kStepKeys / 8; ++k)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float& score = scores[4 * k + 2 * i + h];
          score = exp2f(score - base);
          sum += score;
        }
      total[i] = total[i] * keep[i] + sum;  // this lane's share of the keys
    }
  }
};

/// Scores of 64 queries and the stage's keys. `meanwhile()` is called while matrices are in flight.
template <int DT, class Meanwhile>
__device__ __forceinline__ void score(const unsigned char* queries, const unsigned char* stage,
                                      float (&scores)[kStepKeys / 2], const Meanwhile& meanwhile) {
  constexpr int kAhead = 2;  // steps of 16 dimensions
  const int lane = static_cast<int>(threadIdx.x % 32);
  uint32_t a[2][kAhead][4];  // one half while the other's matrices are in flight
#pragma unroll
  for (int step = 0; step < DT; step += kAhead) {
    auto& own = a[step / kAhead % 2];
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      ldmatrix_x4(own[i], queries + lane % 16 * Tiles<DT>::kRow + (step + i) * 32 + lane / 16 * 16);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      wgmma_rows<kStepKeys>(scores, own[i],
                            wgmma_rows_descriptor(stage + (step + i) * 16 * kLine, 0));
    wgmma_commit();
    if (step + kAhead < DT) wgmma_wait<1>();
  }
  meanwhile();
  wgmma_wait<0>();
}

/// Adds the probabilities' share of the stage's values.
template <int DT>
__device__ __forceinline__ void add_values(const float (&p)[kStepKeys / 2],
                                           const unsigned char* columns, float (&sums)[8 * DT]) {
  constexpr int kSteps = kStepKeys / 16;
  uint32_t a[kSteps][4];  // c of two score tiles is a of one step
#pragma unroll
  for (int i = 0; i < kSteps * 4; ++i)
    a[i / 4][i % 4] = narrow2(p[4 * (i / 2) + i % 2 * 2], p[4 * (i / 2) + i % 2 * 2 + 1]);
  wgmma_fence();
#pragma unroll
  for (int step = 0; step < kSteps; ++step)
    wgmma_rows<16 * DT>(
        sums, a[step], wgmma_rows_descriptor(columns + step * 16 * kLine, Tiles<DT>::kColumnBytes));
  wgmma_commit();
  wgmma_wait<0>();
}

#endif

/// Grid: tiles of 128 tokens, the last ones first, which see most. Then query heads.
template <int DT>
__global__ void __launch_bounds__(kThreads, 1)
    attend_warpgroups(const __grid_constant__ AttentionArgs args, Rows<const bf16> q,
                      const bf16* keys, const bf16* values, Rows<bf16> out) {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using Tile = Tiles<DT>;
  constexpr float kLog2e = 1.44269504f;
  unsigned char* stages = shared_memory();
  unsigned char* queries = stages + kStages * Tile::kStage;
  wait_prior_grid();
  launch_dependents();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, g = lane / 4, t = lane % 4;
  const int n = static_cast<int>(blockIdx.y), head = n / (args.N / args.G);
  const int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kQueries,
            end = min(first + kQueries, args.T);
  const int group = thread / 128 * 64, rows = thread / 32 * 16;  // of the tile: first rows
  load_queries<DT, kQueries>(args, q, n, first, end, queries);

  // Tokens before it come one by one. In shared memory, for there is no register left.
  int* alone_end = reinterpret_cast<int*>(stages + Tile::kAloneAt);
  *alone_end = first;
  Run run = next_run(args, first, end);
  while (run.begin < run.end) {
    const int32_t* table = args.block_table[args.sequences[run.begin]];
    // From an even block on: which keys are added together depends on their positions alone.
    const int begin = run.first_key / kStepKeys, steps = run.last_key / kStepKeys + 1 - begin;
    const auto load = [&](int step) {
      if (step < steps)
        load_blocks<DT>(args, keys, values, table, head, (begin + step) * kBlocks, run,
                        stages + step % kStages * Tile::kStage);
      cp_async_commit();
    };
    const Run own = rows_of_run(args, run, first + group);
    QueryRows query;
    for (int i = 0; i < 2; ++i) {
      const int token = first + rows + g + 8 * i;
      const bool in_run = token >= run.begin && token < run.end;
      query.from[i] = in_run ? args.starts[token] : 0;
      query.to[i] = in_run ? args.ends[token] : -1;
      // A sink is seen before all keys; its share is counted by one of the row's four lanes.
      query.best[i] = args.sinks ? args.sinks[n] * kLog2e : -INFINITY;
      query.total[i] = args.sinks && t == 0 ? 1.f : 0.f;
    }
    float sums[8 * DT] = {};
    load(0);
    for (int step = 0; step < steps; ++step) {
      cp_async_wait<0>();
      fence_shared_for_wgmma();
      __syncthreads();  // the keys are here, and nobody reads those before them any more
      const auto load_next = [&] { load(step + 1); };
      const unsigned char* stage = stages + step % kStages * Tile::kStage;
      const int key = (begin + step) * kStepKeys;
      if (key <= own.last_key && key + kStepKeys > own.first_key) {
        float scores[kStepKeys / 2] = {}, keep[2];
        score<DT>(queries + rows * Tile::kRow, stage, scores, load_next);
        query.softmax(scores, key, args.scale * kLog2e, keep);
#pragma unroll
        for (int k = 0; k < 8 * DT; ++k) sums[k] *= keep[k / 2 % 2];
        add_values<DT>(scores, stage + Tile::kKeyBytes, sums);
      } else {
        load_next();
      }
    }
    __syncthreads();  // before the next run's keys come here

    bool undefined = false;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float total = query.total[i];
      total += __shfl_xor_sync(~0u, total, 1);
      total += __shfl_xor_sync(~0u, total, 2);
      if (query.to[i] < 0) continue;
      bf16* row = out[first + rows + g + 8 * i] + n * args.V;
#pragma unroll
      for (int k = 0; k < 2 * DT; ++k) {
        undefined |= isnan(sums[4 * k + 2 * i] + sums[4 * k + 2 * i + 1]);
        if (8 * k < args.V)
          *reinterpret_cast<uint32_t*>(row + 8 * k + 2 * t) =
              narrow2(sums[4 * k + 2 * i] / total, sums[4 * k + 2 * i + 1] / total);
      }
    }
    // A probability of 0 times a value that is not finite is NaN: then each token comes once more
    // by itself, without what it does not see.
    const int alone_until = *alone_end;
    if (run.end > alone_until && __syncthreads_or(undefined)) {
      *alone_end = run.end;
      run = alone(args, run.begin);
    } else {
      run = run.end < alone_until ? alone(args, run.end) : next_run(args, run.end, end);
    }
  }
  cp_async_wait<0>();
#else
  __trap();  // rather than outputs that nobody has written
#endif
}

}  // namespace

void attention_warpgroup(const CudaContext& cuda, const Attention& op, const AttentionArgs& args) {
  const auto launch = [&](auto kernel, int bytes) {
    cuda.launch(kernel, {blocks_for(args.T, kQueries), static_cast<unsigned>(args.N)}, kThreads,
                static_cast<size_t>(bytes), args, rows_of<const bf16>(op.q),
                op.keys.as<const bf16>(), op.values.as<const bf16>(), rows_of<bf16>(op.out));
  };
  const int widest = std::max(args.D, args.V);
  if (widest <= 64)
    launch(attend_warpgroups<4>, Tiles<4>::kBytes);
  else if (widest <= 96)
    launch(attend_warpgroups<6>, Tiles<6>::kBytes);
  else if (widest <= 128)
    launch(attend_warpgroups<8>, Tiles<8>::kBytes);
  else
    launch(attend_warpgroups<16>, Tiles<16>::kBytes);
}

}  // namespace moe
