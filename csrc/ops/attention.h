#pragma once

#include <optional>

#include "core/op.h"
#include "ops/rope_cache.h"

namespace moe {

/// Causal attention over the block-table cache, for any mix of prefill chunks and decode tokens.
///
///   out[t, n] = sum_s softmax_s(q[t, n] . key[s, n / (N / G)] * scale) value[s, n / (N / G)]
///   for starts[t] <= s <= positions[t]
///
/// Softmax in f32, online over blocks of 32 keys (Dao et al. 2022, arXiv:2205.14135); a block's
/// place depends on the position only, so a token's bits do not depend on its chunk or its
/// neighbours.
struct Attention {
  static constexpr const char* kName = "attention";

  Tensor q;             // [T, N * D] f32 | bf16, may be a column slice
  Tensor keys, values;  // as RopeCache wrote them
  Tensor positions;     // [T] i32
  Tensor starts;        // [T] i32, first position that the token sees
  Tensor sequences;     // [T] i32, row of the block table
  Tensor block_table;   // [B, M] i32, cache blocks of each sequence in order
  Tensor out;           // [T, N * D] dtype of q
  float scale;
  Tensor scratch;                 // of the ranges on a GPU
  std::optional<RopeCache> rope;  // what rotates q and writes the cache, on a GPU
  bool deterministic = false;     // on a GPU: the same kernel for any number of tokens

  /// A decode step: nobody reads a key that another token of the step writes. As many sequences as
  /// tokens, each with one, is what a plan's steps have.
  using Before = RopeCache;
  bool absorb(const RopeCache& before) {
    const auto same = [](const Tensor& a, const Tensor& b) {
      return a.slot == b.slot && a.offset == b.offset;
    };
    const bool fits = q.dim(0) == block_table.dim(0) && same(before.q, q) &&
                      same(before.keys, keys) && same(before.values, values) &&
                      same(before.positions, positions);
    if (fits) rope = before;
    return fits;
  }

  static constexpr int64_t kMaxHeadSize = 1024;

  void check() const {
    const Check check(kName);
    check.rank("keys", keys, 4);
    check.activation("keys", keys);
    const int64_t G = keys.dim(1), D = keys.dim(2);
    check.shape("values", values, {keys.dim(0), G, kBlockTokens, D});
    check.dtype("values", values, {keys.dtype});
    check.that(D <= kMaxHeadSize, "keys", "of a head size of at most 1024", D);
    check.rank("q", q, 2);
    check.dtype("q", q, {keys.dtype});
    const int64_t T = q.dim(0);
    check.that(q.dim(1) % (G * D) == 0, "q", "a multiple of the key heads", q.shape.text());
    check.shape("out", out, {T, q.dim(1)});
    check.dtype("out", out, {keys.dtype});
    for (const auto& [name, tensor] :
         {std::pair{"positions", &positions}, {"starts", &starts}, {"sequences", &sequences}}) {
      check.shape(name, *tensor, {T});
      check.dtype(name, *tensor, {DType::i32});
    }
    check.rank("block_table", block_table, 2);
    check.dtype("block_table", block_table, {DType::i32});
  }

  /// A GPU cuts what a token sees into ranges of cache blocks and merges them in order. Their
  /// length depends on how many blocks the token sees, so that its bits depend on nothing else.
  static constexpr int64_t kMaxRanges = 64, kMinRangeBlocks = 2;
  static constexpr int64_t range_blocks(int64_t visible_blocks) {
    int64_t length = kMinRangeBlocks;
    while (length * kMaxRanges < visible_blocks) length *= 2;
    return length;
  }

  /// Few tokens would leave most of the GPU idle: each range has a thread block, and waits in
  /// scratch for the others. `ranges()`: as many as a token can have there; else 1.
  static constexpr int64_t kFewTokens = 64, kFewHeads = 256;
  int64_t ranges() const {
    if (q.dim(0) > kFewTokens || q.dim(1) > kFewHeads * keys.dim(2)) return 1;
    const int64_t most = (block_table.dim(1) + kMinRangeBlocks - 1) / kMinRangeBlocks;
    return std::clamp(most, int64_t{1}, kMaxRanges);
  }
  size_t scratch_bytes(const Device* device) const {
    if (!device || ranges() == 1) return 0;
    const int64_t D = keys.dim(2), heads = q.dim(1) / D;
    return static_cast<size_t>(q.dim(0) * heads * ranges() * (D + 2)) * sizeof(float);
  }

  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
