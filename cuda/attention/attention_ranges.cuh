#pragma once
// The ranges of cache blocks that a token's keys are cut into, and how their softmaxes are merged:
// always one after the other, so that bits do not depend on how many thread blocks share the work.

#include "attention.cuh"

namespace moe {

/// What sums so far and a range's are multiplied by when they are added.
struct Factors {
  float keep, share;
};

/// A running softmax: the best score and the total of exp(score - best).
struct Softmax {
  float best = -INFINITY, total = 0.f;

  /// Before all keys: a sink has been seen, where the head has one.
  __device__ static __forceinline__ Softmax of_sink(const float* sinks, int n) {
    return sinks ? Softmax{sinks[n], 1.f} : Softmax{};
  }

  /// Moves to a better score and returns what sums so far are multiplied by.
  __device__ __forceinline__ float raise(float score) {
    const float top = fmaxf(best, score);
    const float keep = best == -INFINITY ? 0.f : expf(best - top);
    best = top;
    total *= keep;
    return keep;
  }
  /// What the sums below another best score are multiplied by.
  __device__ __forceinline__ float share(float score) const {
    return score == -INFINITY ? 0.f : expf(score - best);
  }
  /// Adds the softmax of the next range.
  __device__ __forceinline__ Factors add(const Softmax& range) {
    const float keep = raise(range.best);
    const Factors factors{keep, share(range.best)};
    total = fmaf(factors.share, range.total, total);
    return factors;
  }
};

/// A sum that one more range is added to; without a choice of how products are contracted.
__device__ __forceinline__ float merge(float sum, const Factors& factors, float range) {
  return fmaf(factors.share, range, sum * factors.keep);
}

/// Positions or cache blocks, both ends included.
struct Span {
  int first, last;
};

/// What a token sees, and the ranges that it is cut into.
struct Visible {
  Span positions;
  int first_block, last_block, length;  // of a range, in blocks

  __device__ __forceinline__ Visible(const AttentionArgs& args, int t)
      : positions{load_again(args.starts + t), load_again(args.ends + t)},
        first_block(positions.first / kKeys),
        last_block(positions.last / kKeys),
        length(static_cast<int>(Attention::range_blocks(last_block - first_block + 1))) {}

  __device__ __forceinline__ int ranges() const { return (last_block - first_block) / length + 1; }
  __device__ __forceinline__ Span blocks(int range) const {
    const int first = first_block + range * length;
    return {first, min(first + length - 1, last_block)};
  }
};

/// What one thread block does at a time: ranges first, ..., last - 1 of `count` of a token; token
/// < 0: there is no more to do.
struct Piece {
  int token, first, last, count;
};

/// The `index`-th range of all tokens, or token where a block has all of one; every warp finds it
/// alike. Tokens of long runs have none.
__device__ inline Piece find_piece(const AttentionArgs& args, int index) {
  const auto ranges_of = [&](int t) {
    return args.runs_apart && in_long_run(args, t) ? 0 : Visible(args, t).ranges();
  };
  if (args.ranges == 1) {
    if (index >= args.T) return {-1, 0, 0, 0};
    const int count = ranges_of(index);
    return {index, 0, count, count};
  }
  for (int base = 0; base < args.T; base += 32) {
    const int t = base + static_cast<int>(threadIdx.x % 32);
    const int count = t < args.T ? ranges_of(t) : 0, sum = warp_prefix(count);
    if (const uint32_t found = __ballot_sync(~0u, index < sum)) {
      const int lane = __ffs(static_cast<int>(found)) - 1;
      const int range = index - __shfl_sync(~0u, sum - count, lane);
      return {base + lane, range, range + 1, __shfl_sync(~0u, count, lane)};
    }
    index -= __shfl_sync(~0u, sum, 31);
  }
  return {-1, 0, 0, 0};
}

/// Asks for what a piece's first blocks have in the cache of group `g`, in rows of `width`, also
/// before wait_prior_grid(): all but the last tokens' are older than this step.
template <class T>
__device__ __forceinline__ void prefetch_cache(const AttentionArgs& args, const Piece& piece, int g,
                                               const T* cache, int width) {
  constexpr int kBlocks = 2;
  const int i = static_cast<int>(threadIdx.x);
  if (piece.token < 0 || piece.count == 0 || i >= kBlocks) return;
  const Span blocks = Visible(args, piece.token).blocks(piece.first);
  if (blocks.first + i > blocks.last) return;
  const int32_t* table = args.block_table[load_again(args.sequences + piece.token)];
  const int64_t row = (int64_t{load_again(table + blocks.first + i)} * args.G + g) * kKeys;
  prefetch_l2(cache + row * width, static_cast<unsigned>(kKeys * width) * sizeof(T));
}

/// The ranges of one token and head while they wait for each other.
struct Partials {
  float* data;
  int V;

  __device__ __forceinline__ Partials(const AttentionArgs& args, int t, int n)
      : data(args.partial + (int64_t{t} * args.N + n) * args.ranges * (args.V + 2)), V(args.V) {}

  /// A range's sums [V], then its softmax.
  __device__ __forceinline__ float* of(int range) const { return data + int64_t{range} * (V + 2); }
  __device__ __forceinline__ void put(int range, const Softmax& softmax) const {
    of(range)[V] = softmax.best, of(range)[V + 1] = softmax.total;
  }

  /// Merges all ranges into `start` as one block after the other would, by all threads of a block:
  /// `put(d, value)` for each column. `shared` has room for 4 * count.
  template <class Put>
  __device__ __forceinline__ void merge_all(int count, const Softmax& start, float* shared,
                                            const Put& put) const {
    auto* softmaxes = reinterpret_cast<Softmax*>(shared);
    auto* factors = reinterpret_cast<Factors*>(softmaxes + count);
    const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    for (int r = thread; r < count; r += threads)
      softmaxes[r] = {load_coherent(of(r) + V), load_coherent(of(r) + V + 1)};
    __syncthreads();
    for (int r = thread; r < count; r += threads) {
      Softmax before = start;
      for (int i = 0; i < r; ++i) before.best = fmaxf(before.best, softmaxes[i].best);
      factors[r] = before.add(softmaxes[r]);
    }
    __syncthreads();
    float total = start.total;
    for (int r = 0; r < count; ++r) total = merge(total, factors[r], softmaxes[r].total);
    for (int d = thread; d < V; d += threads) {
      float sum = 0.f;
#pragma unroll 8
      for (int r = 0; r < count; ++r) sum = merge(sum, factors[r], load_coherent(of(r) + d));
      put(d, sum / total);
    }
  }
};

}  // namespace moe
