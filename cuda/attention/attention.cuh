#pragma once
// What the two attention kernels share.

#include "device/rows.cuh"
#include "fused/rope_attention.h"

namespace moe {

constexpr int kKeys = static_cast<int>(kBlockTokens);  // of a cache block

struct AttentionArgs {
  // The host writes these, no kernel: they may be read before wait_prior_grid(), by load_again().
  const int32_t *starts, *ends, *sequences;
  Rows<const int32_t> block_table;
  float scale;
  int T, N, G, D, V;
  const float* sinks;        // [N], or null
  const float* bias;         // [N, 2 far + 1], or null
  const int32_t* positions;  // of tokens; with bias
  int far;
  int ranges;       // a token has at most, each with a block of its own; 1: one block has them all
  float* partial;   // [T, N, ranges, V + 2]: sums, then best score and total; unused for one
  bool runs_apart;  // long runs have a kernel of their own
};

/// Tokens of one sequence in a row that make it worth a matrix's rows.
constexpr int kLongRun = 8;

/// Whether token t stands in a long run. It depends on the token's own chunk alone.
__device__ __forceinline__ bool in_long_run(const AttentionArgs& args, int t) {
  const auto sequence_of = [&](int s) { return load_again(args.sequences + s); };
  const int sequence = sequence_of(t);
  int length = 1;
  for (int s = t - 1; s >= 0 && length < kLongRun && sequence_of(s) == sequence; --s) ++length;
  for (int s = t + 1; s < args.T && length < kLongRun && sequence_of(s) == sequence; ++s) ++length;
  return length >= kLongRun;
}

/// What a head adds to a token's scores by the distance of their keys.
struct DistanceBias {
  const float* table;  // its row of the bias from distance 0 on; null: nothing is added
  int far, own;        // the token's position

  __device__ __forceinline__ DistanceBias(const AttentionArgs& args, int t, int n)
      : table(args.bias ? args.bias + n * (2 * args.far + 1) + args.far : nullptr),
        far(args.far),
        own(args.bias ? args.positions[t] : 0) {}

  /// A score as the softmax takes it.
  __device__ __forceinline__ float score(float product, float scale, int key) const {
    if (!table) return product * scale;
    return fmaf(product, scale, table[min(max(key - own, -far), far)]);
  }
};

/// `before`: what is done with q and the cache in the same launch; null: that was done before.
void attention_cuda(const CudaContext& cuda, const Attention& op, const RopeAttention* before);

/// Long runs on matrix units, bf16; false where its copies cannot reach the rows.
bool attention_prefill(const CudaContext& cuda, const Attention& op, const AttentionArgs& args);

}  // namespace moe
