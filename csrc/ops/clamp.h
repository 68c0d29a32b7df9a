#pragma once

#include "core/op.h"

namespace moe {

/// x = min(max(x, -limit), limit), in place. NaN stays.
struct Clamp {
  static constexpr const char* kName = "clamp";

  Tensor x;         // [T, H] f32 | bf16, may be a column slice
  float limit = 0;  // above 0

  static constexpr auto fields() {
    return std::tuple(update("x", &Clamp::x), value("limit", &Clamp::limit));
  }
  void check() const {
    const Check check(kName);
    check.rank("x", x, 2);
    check.activation("x", x);
    check.that(limit > 0, "limit", "above 0", limit);
  }
  void make_outputs(const Make&) {}
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
