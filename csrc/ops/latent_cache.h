#pragma once

#include "core/op.h"
#include "ops/rope_cache.h"

namespace moe {

/// What multi-head latent attention keeps of a token, and rotary positions on its queries
/// (DeepSeek-AI 2024, arXiv:2405.04434, eq. 9, 14, 15).
///
///   cache[slot] = [scale * RMSNorm(c), rotated r]  for latent[t] = [c, r]
///
/// Half-split pairs as ropeCache has them, over the first R values of each query head, in place.
/// A row of the cache is key and value at once: C + R values a token, whatever the number of heads.
struct LatentCache {
  static constexpr const char* kName = "latentCache";

  Tensor q;           // [T, N * D] f32 | bf16, rotated in place; may be a column slice
  Tensor latent;      // [T, C + R] f32 | bf16, may be a column slice
  Tensor weight;      // [C] f32, of the norm
  float eps = 0;      // of the norm
  float scale = 1;    // of the normed c
  int64_t heads = 0;  // N
  Tensor positions;   // [T] i32, below the table's rows
  Tensor slots;       // [T] i32, cache slot of each token
  Tensor table;       // [P, R] f32: R/2 cosines, then R/2 sines
  Tensor cache;       // [blocks, 32, C + R] dtype of q

  static constexpr int64_t kMaxRow = 1024;

  static constexpr auto fields() {
    return std::tuple(update("q", &LatentCache::q), input("latent", &LatentCache::latent),
                      input("weight", &LatentCache::weight), value("eps", &LatentCache::eps),
                      setting("scale", &LatentCache::scale), value("heads", &LatentCache::heads),
                      input("positions", &LatentCache::positions),
                      input("slots", &LatentCache::slots), input("table", &LatentCache::table),
                      update("cache", &LatentCache::cache));
  }
  void check() const {
    const Check check(kName);
    check.rank("cache", cache, 3);
    check.activation("cache", cache);
    const int64_t L = cache.dim(2);
    check.shape("cache", cache, {cache.dim(0), kBlockTokens, L});
    check.that(L >= 1 && L <= kMaxRow, "cache", "of rows of 1 to 1024 values", L);
    check.rank("q", q, 2);
    const int64_t T = q.dim(0);
    check.that(heads >= 1 && q.dim(1) % heads == 0, "heads", "a divisor of q's width", heads);
    check.shape("latent", latent, {T, L});
    check.rank("weight", weight, 1);
    check.rank("table", table, 2);
    const int64_t C = weight.dim(0), R = table.dim(1);
    check.that(C >= 1 && C + R == L, "weight",
               "as wide as the cache's rows without the rotated part", C);
    check.that(R % 2 == 0 && R <= q.dim(1) / heads, "table",
               "an even width of at most a query head", R);
    check.that(eps >= 0, "eps", "at least 0", eps);
    check.shape("positions", positions, {T});
    check.shape("slots", slots, {T});
    check.dtype("q", q, {cache.dtype});
    check.activation("latent", latent);
    for (const auto& [name, tensor] : {std::pair{"weight", &weight}, {"table", &table}})
      check.dtype(name, *tensor, {DType::f32});
    for (const auto& [name, tensor] : {std::pair{"positions", &positions}, {"slots", &slots}})
      check.dtype(name, *tensor, {DType::i32});
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
