#pragma once

#include "core/op.h"

namespace moe {

/// Rows of the embedding table: out[t, :] = scale * table[ids[t], :].
struct Embedding {
  static constexpr const char* kName = "embedding";

  Tensor table;  // [V, H] f32 | bf16 | f16
  Tensor ids;    // [T] i32, in [0, V)
  float scale = 1;
  Tensor out;  // [T, H] f32

  static constexpr auto fields() {
    return std::tuple(input("table", &Embedding::table), input("ids", &Embedding::ids),
                      setting("scale", &Embedding::scale), output("out", &Embedding::out));
  }
  void check() const {
    const Check check(kName);
    check.rank("table", table, 2);
    check.dtype("table", table, {DType::f32, DType::bf16, DType::f16});
    check.contiguous("table", table);
    check.rank("ids", ids, 1);
    check.dtype("ids", ids, {DType::i32});
  }
  void make_outputs(const Make& make) { out = make({ids.dim(0), table.dim(1)}, DType::f32); }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
