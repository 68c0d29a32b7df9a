#pragma once

#include "core/op.h"

namespace moe {

/// Gathers token rows grouped by expert, in token order inside an expert.
///
///   out[rows[t, k], :] = scale * x[t, :]   for each slot whose expert has a group
///
/// Only FFN experts have a group; slots of zero, copy and constant experts get row -1 and never
/// enter the GEMM. rows[t, k] is the inverse permutation that `combine` reads.
struct Permute {
  static constexpr const char* kName = "permute";

  Tensor x;                     // [T, H] f32 | bf16
  Tensor ids;                   // [T, K] i32
  std::vector<int32_t> groups;  // group of each expert; -1: none
  int64_t num_groups;           // G
  float scale;
  Tensor out;      // [T * K, H] dtype of x; rows from offsets[G] on are not written
  Tensor offsets;  // [G + 1] i32, rows of group g are offsets[g] to offsets[g + 1]
  Tensor rows;     // [T, K] i32

  void check() const {
    const Check check(kName);
    check.rank("x", x, 2);
    check.activation("x", x);
    check.contiguous("x", x);
    check.rank("ids", ids, 2);
    const int64_t T = x.dim(0), K = ids.dim(1);
    check.shape("ids", ids, {T, K});
    check.shape("rows", rows, {T, K});
    check.shape("out", out, {T * K, x.dim(1)});
    check.dtype("out", out, {x.dtype});
    check.shape("offsets", offsets, {num_groups + 1});
    for (const auto& [name, tensor] :
         {std::pair{"ids", &ids}, {"rows", &rows}, {"offsets", &offsets}})
      check.dtype(name, *tensor, {DType::i32});
    for (int32_t group : groups)
      check.that(group >= -1 && group < num_groups, "groups", "-1 or a group index", group);
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
