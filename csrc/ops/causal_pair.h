#pragma once

#include "core/op.h"
#include "ops/rope_cache.h"

namespace moe {

/// Each token's row beside the row of the token before it: the input of a causal two-tap
/// convolution, which then is a plain matrix product (Yuan's localized filtering, arXiv:2405.17976,
/// section 3).
///
///   out[t, 2c] = previous(t)[c],  out[t, 2c + 1] = x[t, c]
///
/// Interleaved, so that a convolution weight [out, in, 2, 1] is the matrix as it stands. `previous`
/// is the row above in the same sequence, the saved state for the first token of a chunk, and zero
/// at position 0. The state of a cache block is the row of the last token written to it, so it is
/// shared, forked and truncated with the block.
struct CausalPair {
  static constexpr const char* kName = "causalPair";

  Tensor x;            // [T, C] f32 | bf16
  Tensor state;        // [blocks, C] dtype of x, updated
  Tensor positions;    // [T] i32
  Tensor slots;        // [T] i32, cache slots
  Tensor sequences;    // [T] i32, ascending
  Tensor block_table;  // [B, M] i32
  Tensor out;          // [T, 2C] dtype of x

  static constexpr auto fields() {
    return std::tuple(
        input("x", &CausalPair::x), update("state", &CausalPair::state),
        input("positions", &CausalPair::positions), input("slots", &CausalPair::slots),
        input("sequences", &CausalPair::sequences), input("blockTable", &CausalPair::block_table),
        output("out", &CausalPair::out));
  }
  void check() const {
    const Check check(kName);
    check.rank("x", x, 2);
    check.activation("x", x);
    check.contiguous("x", x);
    const int64_t T = x.dim(0), C = x.dim(1);
    check.rank("state", state, 2);
    check.shape("state", state, {state.dim(0), C});
    check.dtype("state", state, {x.dtype});
    for (const auto& [name, tensor] :
         {std::pair{"positions", &positions}, {"slots", &slots}, {"sequences", &sequences}})
      check.indices(name, *tensor, {T});
    check.rank("blockTable", block_table, 2);
    check.dtype("blockTable", block_table, {DType::i32});
  }
  void make_outputs(const Make& make) { out = make({x.dim(0), 2 * x.dim(1)}, x.dtype); }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
