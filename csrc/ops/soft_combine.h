#pragma once

#include "ops/segments.h"

namespace moe {

/// What Soft MoE's experts return, mixed for each token, plus the residual stream
/// (arXiv:2308.00951, section 2.1). Rows as in softDispatch.
///
///   out[t] = residual[t] + sum over slots s = e P + p, ascending, of
///            weights[t, s] * expertOut[(e B + b) P + p], b the segment of t
struct SoftCombine {
  static constexpr const char* kName = "softCombine";

  Tensor expert_out;    // [E * B * P, H] f32 | bf16
  Tensor weights;       // [T, E * P] f32, `combine` of softWeights
  Tensor segments;      // [B + 1] i32, from 0 to T: tokens that are mixed
  Tensor residual;      // [T, H] f32
  int64_t experts = 0;  // E
  Tensor out;           // [T, H] f32

  static constexpr auto fields() {
    return std::tuple(
        input("expertOut", &SoftCombine::expert_out), input("weights", &SoftCombine::weights),
        input("segments", &SoftCombine::segments), input("residual", &SoftCombine::residual),
        value("experts", &SoftCombine::experts), output("out", &SoftCombine::out));
  }
  void check() const {
    const Check check(kName);
    check.rank("residual", residual, 2);
    check.dtype("residual", residual, {DType::f32});
    check.rank("weights", weights, 2);
    check.shape("weights", weights, {residual.dim(0), weights.dim(1)});
    check.dtype("weights", weights, {DType::f32});
    check_segments(check, segments);
    check.that(experts >= 1 && weights.dim(1) % experts == 0, "experts",
               "a divisor of the width of weights", experts);
    check.shape("expertOut", expert_out,
                {segment_count(segments) * weights.dim(1), residual.dim(1)});
    check.activation("expertOut", expert_out);
  }
  void make_outputs(const Make& make) { out = make(residual.shape, DType::f32); }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
