#pragma once

#include "core/op.h"
#include "ops/rope_cache.h"

namespace moe {

/// Attention over the block-table cache, for any mix of prefill chunks and decode tokens.
///
///   out[t, n] = sum_s softmax_s(q[t, n] . key[s, n / (N / G)] * scale) value[s, n / (N / G)]
///   for starts[t] <= s <= ends[t]
///
/// With `bias` [N, 2 F + 1] a score also gets bias[n, F + r], where r is the key's distance from
/// the token, s - positions[t], cut to -F .. F (T5, arXiv:1910.10683, section 2.1).
///
/// A sink is one more score of its head, not scaled and without a value: it takes its share of the
/// softmax and adds nothing (gpt-oss, arXiv:2508.10925).
///
/// Softmax in f32, online over blocks of 32 keys (Dao et al. 2022, arXiv:2205.14135); a block's
/// place depends on the position only, so a token's bits do not depend on its chunk or its
/// neighbours.
struct Attention {
  static constexpr const char* kName = "attention";

  Tensor q;             // [T, N * D] f32 | bf16, may be a column slice
  Tensor keys, values;  // [blocks, G, D, 32] and [blocks, G, 32, V], as RopeCache wrote them
  Tensor sinks;         // [N] f32
  Tensor bias;          // [N, 2 F + 1] f32, by a key's distance from the token
  Tensor positions;     // [T] i32, the token's own; with bias
  Tensor starts;        // [T] i32, first position that the token sees
  Tensor ends;          // [T] i32, the last one: its own, where attention is causal
  Tensor sequences;     // [T] i32, row of the block table
  Tensor block_table;   // [B, M] i32, cache blocks of each sequence in order
  float scale = 1;
  Tensor out;      // [T, N * V] dtype of q
  Tensor scratch;  // of the ranges on a GPU

  static constexpr auto fields() {
    return std::tuple(
        input("q", &Attention::q), input("keys", &Attention::keys),
        input("values", &Attention::values), optional("sinks", &Attention::sinks),
        optional("bias", &Attention::bias), optional("positions", &Attention::positions),
        input("starts", &Attention::starts), input("ends", &Attention::ends),
        input("sequences", &Attention::sequences), input("blockTable", &Attention::block_table),
        value("scale", &Attention::scale), output("out", &Attention::out));
  }

  static constexpr int64_t kMaxHeadSize = 1024;

  void check() const {
    const Check check(kName);
    check.rank("keys", keys, 4);
    check.activation("keys", keys);
    const int64_t G = keys.dim(1), D = keys.dim(2);
    check.shape("keys", keys, {keys.dim(0), G, D, kBlockTokens});
    check.rank("values", values, 4);
    const int64_t V = values.dim(3);
    check.shape("values", values, {keys.dim(0), G, kBlockTokens, V});
    check.dtype("values", values, {keys.dtype});
    for (const auto& [name, size] : {std::pair{"keys", D}, {"values", V}})
      check.that(size >= 1 && size <= kMaxHeadSize, name, "of a head size from 1 to 1024", size);
    check.rank("q", q, 2);
    check.dtype("q", q, {keys.dtype});
    const int64_t T = q.dim(0);
    check.that(q.dim(1) % (G * D) == 0, "q", "a multiple of the key heads", q.shape.text());
    if (sinks) {
      check.shape("sinks", sinks, {q.dim(1) / D});
      check.dtype("sinks", sinks, {DType::f32});
    }
    if (bias) {
      check.rank("bias", bias, 2);
      check.shape("bias", bias, {q.dim(1) / D, bias.dim(1)});
      check.dtype("bias", bias, {DType::f32});
      check.contiguous("bias", bias);
      check.that(bias.dim(1) % 2 == 1, "bias", "an odd number of distances", bias.dim(1));
      check.present("positions", positions);
    }
    if (positions) check.indices("positions", positions, {T});
    for (const auto& [name, tensor] :
         {std::pair{"starts", &starts}, {"ends", &ends}, {"sequences", &sequences}})
      check.indices(name, *tensor, {T});
    check.rank("blockTable", block_table, 2);
    check.dtype("blockTable", block_table, {DType::i32});
  }

  void make_outputs(const Make& make) {
    out = make({q.dim(0), q.dim(1) / keys.dim(2) * values.dim(3)}, q.dtype);
  }

  /// A GPU cuts what a token sees into ranges of cache blocks and merges them in order. Their
  /// length depends on how many blocks the token sees, so that its bits depend on nothing else.
  static constexpr int64_t kMaxRanges = 64, kMinRangeBlocks = 2;
  static constexpr int64_t range_blocks(int64_t visible_blocks) {
    int64_t length = kMinRangeBlocks;
    while (length * kMaxRanges < visible_blocks) length *= 2;
    return length;
  }

  /// Of a token whose sequence has at most `blocks` blocks.
  static constexpr int64_t most_ranges(int64_t blocks) {
    return std::clamp((blocks + kMinRangeBlocks - 1) / kMinRangeBlocks, int64_t{1}, kMaxRanges);
  }

  /// Few tokens would leave most of the GPU idle: each range has a thread block, and waits in
  /// scratch for the others. `ranges()`: as many as a token can have there; else 1.
  static constexpr int64_t kFewTokens = 64, kFewHeads = 256;
  int64_t ranges() const {
    if (q.dim(0) > kFewTokens || q.dim(1) > kFewHeads * keys.dim(2)) return 1;
    return most_ranges(block_table.dim(1));
  }
  size_t scratch_bytes(const Device* device) const {
    if (!device || ranges() == 1) return 0;
    const int64_t heads = q.dim(1) / keys.dim(2);
    return static_cast<size_t>(q.dim(0) * heads * ranges() * (values.dim(3) + 2)) * sizeof(float);
  }

  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

  bool deterministic = false;  // on a GPU, one path for any number of tokens
};

}  // namespace moe
