#pragma once

#include "ops/segments.h"

namespace moe {

/// The mean of each segment's rows, in f32, summed in order. A segment without rows has mean 0.
struct SegmentMean {
  static constexpr const char* kName = "segmentMean";

  Tensor x;                  // [T, H] f32 | bf16
  Tensor segments;           // [B + 1] i32, from 0 to T
  DType dtype = DType::f32;  // f32 | bf16
  Tensor out;                // [B, H] dtype

  static constexpr auto fields() {
    return std::tuple(input("x", &SegmentMean::x), input("segments", &SegmentMean::segments),
                      setting("dtype", &SegmentMean::dtype), output("out", &SegmentMean::out));
  }
  void check() const {
    const Check check(kName);
    check.rank("x", x, 2);
    check.activation("x", x);
    check_segments(check, segments);
    check.activation("dtype", dtype);
  }
  void make_outputs(const Make& make) { out = make({segment_count(segments), x.dim(1)}, dtype); }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
