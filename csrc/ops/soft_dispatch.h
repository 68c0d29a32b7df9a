#pragma once

#include "ops/segments.h"

namespace moe {

/// The rows that Soft MoE's experts see (arXiv:2308.00951, section 2.1): each slot is a mix of all
/// tokens of its segment. Of B segments and E experts of P slots, slot p of expert e and segment b
/// is row (e B + b) P + p, so that an expert's rows are together.
///
///   out[(e B + b) P + p] = sum over the tokens t of b, ascending, of weights[t, e P + p] * x[t]
struct SoftDispatch {
  static constexpr const char* kName = "softDispatch";

  Tensor x;             // [T, H] f32 | bf16
  Tensor weights;       // [T, E * P] f32, `dispatch` of softWeights
  Tensor segments;      // [B + 1] i32, from 0 to T: tokens that are mixed
  int64_t experts = 0;  // E
  Tensor out;           // [E * B * P, H] dtype of x
  Tensor offsets;       // [E + 1] i32, rows of expert e are offsets[e] to offsets[e + 1]

  static constexpr auto fields() {
    return std::tuple(input("x", &SoftDispatch::x), input("weights", &SoftDispatch::weights),
                      input("segments", &SoftDispatch::segments),
                      value("experts", &SoftDispatch::experts), output("out", &SoftDispatch::out),
                      output("offsets", &SoftDispatch::offsets));
  }
  void check() const {
    const Check check(kName);
    check.rank("x", x, 2);
    check.activation("x", x);
    check.rank("weights", weights, 2);
    check.shape("weights", weights, {x.dim(0), weights.dim(1)});
    check.dtype("weights", weights, {DType::f32});
    check_segments(check, segments);
    check.that(experts >= 1 && weights.dim(1) % experts == 0, "experts",
               "a divisor of the width of weights", experts);
  }
  void make_outputs(const Make& make) {
    out = make({segment_count(segments) * weights.dim(1), x.dim(1)}, x.dtype);
    offsets = make({experts + 1}, DType::i32);
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
