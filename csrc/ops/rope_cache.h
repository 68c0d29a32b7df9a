#pragma once

#include "core/op.h"

namespace moe {

/// Tokens of one block of the key/value cache.
constexpr int64_t kBlockTokens = 32;

/// Rotary position embedding (Su et al. 2021, arXiv:2104.09864) on queries and keys, and the write
/// of keys and values to the cache.
///
/// Half-split pairs over the first r values of a head, r/2 = table columns / 2:
///   a'_j = a_j cos - a_{j + r/2} sin,  a'_{j + r/2} = a_{j + r/2} cos + a_j sin
/// The other D - r values pass unchanged. Queries are rotated in place. Without a table nothing is
/// rotated, and without queries keys and values are only written: those of an encoder's output.
///
/// Cache block b holds keys [G, D, 32] (so that the scores of 32 keys are one vector operation) and
/// values [G, 32, V]; token slot s is block s / 32, column s % 32.
struct RopeCache {
  static constexpr const char* kName = "ropeCache";

  Tensor q;          // [T, N * D] f32 | bf16, rotated in place; may be a column slice
  Tensor k;          // [T, G * D] dtype of q
  Tensor v;          // [T, G * V] dtype of q
  Tensor positions;  // [T] i32, below the table's rows; with table
  Tensor slots;      // [T] i32, cache slot of each token
  Tensor table;      // [P, r] f32: r/2 cosines, then r/2 sines
  Tensor keys;       // [blocks, G, D, 32] dtype of q
  Tensor values;     // [blocks, G, 32, V] dtype of q

  static constexpr int64_t kMaxHeadSize = 1024;

  static constexpr auto fields() {
    return std::tuple(optional_update("q", &RopeCache::q), input("k", &RopeCache::k),
                      input("v", &RopeCache::v), optional("positions", &RopeCache::positions),
                      input("slots", &RopeCache::slots), optional("table", &RopeCache::table),
                      update("keys", &RopeCache::keys), update("values", &RopeCache::values));
  }
  void check() const {
    const Check check(kName);
    check.rank("keys", keys, 4);
    check.rank("values", values, 4);
    check.activation("keys", keys);
    const int64_t G = keys.dim(1), D = keys.dim(2);
    check.shape("keys", keys, {keys.dim(0), G, D, kBlockTokens});
    const int64_t V = values.dim(3);
    check.shape("values", values, {keys.dim(0), G, kBlockTokens, V});
    for (const auto& [name, size] : {std::pair{"keys", D}, {"values", V}})
      check.that(size >= 1 && size <= kMaxHeadSize, name, "of a head size from 1 to 1024", size);
    check.rank("k", k, 2);
    const int64_t T = k.dim(0);
    check.shape("k", k, {T, G * D});
    check.shape("v", v, {T, G * V});
    check.indices("slots", slots, {T});
    for (const auto& [name, tensor] : {std::pair{"k", &k}, {"v", &v}, {"values", &values}})
      check.dtype(name, *tensor, {keys.dtype});
    if (q) {
      check.rank("q", q, 2);
      check.that(q.dim(1) % D == 0, "q", "whole heads", q.shape.text());
      check.shape("q", q, {T, q.dim(1)});
      check.dtype("q", q, {keys.dtype});
    }
    if (table) {
      check.rank("table", table, 2);
      check.that(table.dim(1) % 2 == 0 && table.dim(1) <= D, "table",
                 "an even width of at most the head size", table.shape.text());
      check.dtype("table", table, {DType::f32});
      check.present("positions", positions);
    }
    if (positions) check.indices("positions", positions, {T});
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
