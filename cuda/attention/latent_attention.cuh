#pragma once
// What the two kernels of latent attention share.

#include "attention_ranges.cuh"
#include "ops/latent_attention.h"

namespace moe {

/// Queries of a token's heads as they come: [c] and, with other values behind it, [r].
template <class T>
struct LatentQueries {
  Rows<const T> absorbed, rotated;
  int step;  // between heads of `rotated`
};

template <class T>
LatentQueries<T> latent_queries(const LatentAttention& op) {
  return {rows_of<const T>(op.absorbed), rows_of<const T>(op.q),
          static_cast<int>(op.q.dim(1) / op.heads)};
}

/// Blocks of a grid of `tiles` tiles of heads: as many as are resident at a time share what ranges
/// there are; with one range a token each has a token.
inline unsigned latent_blocks(const CudaContext& cuda, const AttentionArgs& args, unsigned tiles,
                              int resident) {
  constexpr int kMostBlocks = 65535;  // of a grid's second dimension
  const auto blocks = static_cast<unsigned>(std::min(args.T, kMostBlocks));
  if (args.ranges == 1) return blocks;
  const unsigned enough = blocks_for(resident * cuda.multiprocessors, tiles);
  return std::min(blocks * static_cast<unsigned>(args.ranges), std::max(blocks, enough));
}

/// On matrix units, bf16; false where its copies cannot reach the rows.
bool latent_matrices(const CudaContext& cuda, const LatentAttention& op, const AttentionArgs& args);

}  // namespace moe
