#pragma once

#include "ops/segments.h"

namespace moe {

/// The two softmaxes of Soft MoE (arXiv:2308.00951, equations 1 and 2): what a slot takes of each
/// token of its segment, and what a token takes of each slot.
///
///   dispatch[t, s] = exp(z[t, s]) / sum over tokens t' of the segment of exp(z[t', s])
///   combine[t, s] = exp(z[t, s]) / sum over slots s' of exp(z[t, s'])    z = logits
struct SoftWeights {
  static constexpr const char* kName = "softWeights";

  Tensor logits;    // [T, S] f32, of S = experts * slots of an expert
  Tensor segments;  // [B + 1] i32, from 0 to T: tokens that are mixed
  Tensor dispatch;  // [T, S] f32
  Tensor combine;   // [T, S] f32

  static constexpr auto fields() {
    return std::tuple(
        input("logits", &SoftWeights::logits), input("segments", &SoftWeights::segments),
        output("dispatch", &SoftWeights::dispatch), output("combine", &SoftWeights::combine));
  }
  void check() const {
    const Check check(kName);
    check.rank("logits", logits, 2);
    check.dtype("logits", logits, {DType::f32});
    check.contiguous("logits", logits);
    check_segments(check, segments);
  }
  void make_outputs(const Make& make) {
    dispatch = make(logits.shape, DType::f32);
    combine = make(logits.shape, DType::f32);
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
