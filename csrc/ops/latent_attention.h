#pragma once

#include "core/op.h"
#include "ops/attention.h"
#include "ops/latent_cache.h"

namespace moe {

/// Multi-head latent attention in its absorbed form (DeepSeek-AI 2024, arXiv:2405.04434, section
/// 2.1.2): all query heads read one row [c, r] a token, as key and as value.
///
///   out[t, n] = sum_s softmax_s((absorbed[t, n] . c[s] + q[t, n, :R] . r[s]) * scale) c[s]
///   for starts[t] <= s <= ends[t]
///
/// absorbed is the head's key projection, transposed, of the query's unrotated part; a head's value
/// projection of out gives its values. Softmax in f32, online as in `attention`.
struct LatentAttention {
  static constexpr const char* kName = "latentAttention";

  Tensor q;         // [T, N * D] f32 | bf16, rotated in place by latentCache; may be a column slice
  Tensor absorbed;  // [T, N * C] dtype of q
  int64_t heads = 0;   // N
  Tensor cache;        // [blocks, 32, C + R] as latentCache wrote it
  Tensor starts;       // [T] i32, first position that the token sees
  Tensor ends;         // [T] i32, the last one
  Tensor sequences;    // [T] i32, row of the block table
  Tensor block_table;  // [B, M] i32, cache blocks of each sequence in order
  float scale = 1;
  Tensor out;      // [T, N * C] dtype of q
  Tensor scratch;  // of the ranges

  static constexpr auto fields() {
    return std::tuple(
        input("q", &LatentAttention::q), input("absorbed", &LatentAttention::absorbed),
        value("heads", &LatentAttention::heads), input("cache", &LatentAttention::cache),
        input("starts", &LatentAttention::starts), input("ends", &LatentAttention::ends),
        input("sequences", &LatentAttention::sequences),
        input("blockTable", &LatentAttention::block_table), value("scale", &LatentAttention::scale),
        output("out", &LatentAttention::out));
  }
  int64_t C() const { return absorbed.dim(1) / heads; }
  int64_t R() const { return cache.dim(2) - C(); }

  void check() const {
    const Check check(kName);
    check.rank("cache", cache, 3);
    check.activation("cache", cache);
    const int64_t L = cache.dim(2);
    check.shape("cache", cache, {cache.dim(0), kBlockTokens, L});
    check.that(L >= 1 && L <= LatentCache::kMaxRow, "cache", "of rows of 1 to 1024 values", L);
    check.rank("q", q, 2);
    const int64_t T = q.dim(0);
    check.that(heads >= 1 && q.dim(1) % heads == 0, "heads", "a divisor of q's width", heads);
    check.shape("absorbed", absorbed, {T, absorbed ? absorbed.last() : 0});
    check.that(absorbed.dim(1) % heads == 0 && C() >= 1 && R() >= 0 && R() <= q.dim(1) / heads,
               "absorbed", "of heads that make up a cache row with q's rotated part",
               absorbed.shape.text());
    for (const auto& [name, tensor] : {std::pair{"q", &q}, {"absorbed", &absorbed}})
      check.dtype(name, *tensor, {cache.dtype});
    for (const auto& [name, tensor] :
         {std::pair{"starts", &starts}, {"ends", &ends}, {"sequences", &sequences}})
      check.indices(name, *tensor, {T});
    check.rank("blockTable", block_table, 2);
    check.dtype("blockTable", block_table, {DType::i32});
  }

  void make_outputs(const Make& make) { out = make(absorbed.shape, absorbed.dtype); }

  /// What a token sees is cut into ranges that are merged in order. Few queries would leave most of
  /// the machine idle: each range is then an item of its own, and waits in scratch for the others.
  /// On a GPU ranges are as in `attention`; on the CPU they are as long for every token, so that
  /// neighbours share the rows they read.
  static constexpr int64_t kFewQueries = 256, kFewQueriesGpu = 1024, kRangeBlocks = 16;
  int64_t ranges(bool gpu) const {
    const int64_t M = block_table.dim(1);
    if (q.dim(0) * heads > (gpu ? kFewQueriesGpu : kFewQueries)) return 1;
    return gpu ? Attention::most_ranges(M) : (M + kRangeBlocks - 1) / kRangeBlocks;
  }
  size_t scratch_bytes(const Device* device) const {
    const int64_t count = ranges(device != nullptr);
    if (count <= 1) return 0;
    return static_cast<size_t>(q.dim(0) * heads * count * (C() + 2)) * sizeof(float);
  }

  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
