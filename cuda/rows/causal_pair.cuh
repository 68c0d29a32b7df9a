#pragma once
// Each token's row beside the row of the token before it, for its own kernels and for the one that
// multiplies the pairs.

#include "device/rows.cuh"
#include "ops/causal_pair.h"

namespace moe {

template <class T>
struct PairArgs {
  static constexpr int kBlock = static_cast<int>(kBlockTokens);

  Rows<const T> x;
  Rows<T> state;
  const int32_t *positions, *slots, *sequences;
  Rows<const int32_t> block_table;
  int tokens, width;
  bool whole;  // see in_quads()

  /// Whether the row before token t's is token t - 1's.
  __device__ bool follows(int t) const { return t > 0 && sequences[t - 1] == sequences[t]; }

  /// Values h to h + 3 that the sequence remembers of the token before t; zero before the first.
  __device__ Quad remembered(int t, int h) const {
    if (positions[t] == 0) return {};
    const int block = block_table[sequences[t]][(positions[t] - 1) / kBlock];
    return load_quad<T>(state[block], h, width, whole);
  }

  /// Into a row of 2 width.
  __device__ void store(T* row, int h, const Quad& before, const Quad& own) const {
    const Quad low{before.v[0], own.v[0], before.v[1], own.v[1]};
    const Quad high{before.v[2], own.v[2], before.v[3], own.v[3]};
    store_quad(row, 2 * h, 2 * width, whole, low);
    store_quad(row, 2 * h + 4, 2 * width, whole, high);
  }
  /// The token's own values of such a row.
  __device__ Quad own_of(const T* row, int h) const {
    const Quad low = load_quad(row, 2 * h, 2 * width, whole);
    const Quad high = load_quad(row, 2 * h + 4, 2 * width, whole);
    return {{low.v[1], low.v[3], high.v[1], high.v[3]}};
  }

  /// Whether token t is the last of its cache block here, which is what the block remembers.
  __device__ bool is_last(int t) const {
    return t + 1 == tokens || sequences[t + 1] != sequences[t] ||
           slots[t + 1] / kBlock != slots[t] / kBlock;
  }
  __device__ void remember(int t, int h, const Quad& own) const {
    store_quad(state[slots[t] / kBlock], h, width, whole, own);
  }
};

template <class T>
PairArgs<T> pair_args(const CausalPair& op) {
  return {rows_of<const T>(op.x),           rows_of<T>(op.state),
          op.positions.as<const int32_t>(), op.slots.as<const int32_t>(),
          op.sequences.as<const int32_t>(), rows_of<const int32_t>(op.block_table),
          static_cast<int>(op.x.dim(0)),    static_cast<int>(op.x.dim(1)),
          in_quads(op.x, op.state)};
}

}  // namespace moe
